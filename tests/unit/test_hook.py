"""The hook that pre-commit runs before a commit: ``./etl check`` on what is committed, and on nothing else."""

import shlex
from pathlib import Path
from typing import Tuple

import pytest
import yaml

from tests.checkouts import checkout, git, run
from tools.setup.environments import DEFINITIONS

BIG = Path("dags") / "etl" / "pipelines" / "cwr" / "big.yaml"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkout(tmp_path_factory.mktemp("hook"), DEFINITIONS)


def run_hook(copy: Path) -> Tuple[int, str]:
    """Run the hook as pre-commit does once it has put aside what is not staged."""
    ((hook,),) = (each["hooks"] for each in yaml.safe_load((copy / ".pre-commit-config.yaml").read_text())["repos"])
    assert (hook["language"], hook["pass_filenames"], hook["always_run"]) == ("system", False, True)
    done = run(copy, *shlex.split(hook["entry"]))
    return done.returncode, done.stdout


def test_the_hook_passes_over_what_is_no_definition(copy: Path) -> None:
    pipelines = copy / "dags" / "etl" / "pipelines"
    others = ["README.md", ".gitkeep", ".hidden.yaml", "cwr/.gitkeep", "cwr/.hidden.yaml", "cwr/old/big.yaml"]
    others += [".hidden/big.yaml", "../../../configs/old/staging.yaml", "../../../configs/.hidden.yaml"]
    for path in others:
        (pipelines / path).parent.mkdir(exist_ok=True)
        (pipelines / path).write_text("no definition")
    git(copy, "add", "--all")

    assert run_hook(copy) == (0, "no problems in 8 files, 12 DAGs, 2 environments\n")

    for path in ("misplaced.yaml", "cwr/wrong.yml", "../../../configs/wrong.yml"):
        (pipelines / path).write_text((copy / BIG).read_text())
    git(copy, "add", "--all")
    status, output = run_hook(copy)
    assert status
    assert output.count("is not called ") == 3, output
    git(copy, "reset", "--quiet", "--hard")


def test_the_hook_fails_for_a_problem_that_is_committed_and_not_for_a_draft(copy: Path) -> None:
    broken = (copy / BIG).read_text().replace("retries:", "retrys:")
    (copy / BIG).with_name("draft.yaml").write_text(broken)
    assert run_hook(copy) == (0, "no problems in 8 files, 12 DAGs, 2 environments\n")

    git(copy, "add", "--all")
    status, output = run_hook(copy)
    assert status
    assert "cwr/draft.yaml" in output
    assert "unknown key 'retrys'" in output

    git(copy, "rm", "--quiet", "--force", "configs/staging.yaml", str(BIG.with_name("draft.yaml")))
    status, output = run_hook(copy)
    assert status
    assert "unknown environment 'staging'" in output
