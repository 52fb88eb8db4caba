"""The tests of a build pass after definitions are added, changed and removed as the documentation shows."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, List, Set

import pytest
import yaml

from tests.checkouts import commit, run, shipped_checkout
from tests.trees import REPOSITORY
from tools.setup.environments import AIRFLOW, AWS, DEFINITIONS

BUILDSPEC = yaml.safe_load((REPOSITORY / ".aws" / "buildspec.yml").read_text(encoding="utf-8"))
# Left out is what makes all its definitions itself and takes minutes for it, and what looks at Python alone.
ELSEWHERE = [
    "tests/dags/test_abuse.py",
    "tests/dags/test_awaited_runs.py",
    "tests/dags/test_fuzz.py",
    "tests/dags/test_isolation.py",
    "tests/dags/test_races.py",
    "tests/dags/test_releases.py",
    "tests/dags/test_requests_of_generations.py",
    "tests/dags/test_slas.py",
    "tests/dags/test_templates_rendered.py",
    "tests/dags/test_time_limits.py",
    "tests/unit/operator/",
    "tests/unit/test_bench.py",
    "tests/unit/test_emulated_ecs.py",
    "tests/unit/test_fields.py",
    "tests/unit/test_patterns.py",
    "tests/unit/test_static.py",
    "tests/unit/test_work_costs.py",
    "tests/unit/test_work_limits.py",
]
PARTS = ("unit", "dags")
# Those of docs/adding-a-provider.md.
FAMILY, PIPELINE, PROVIDER, OTHER = "radio", "plays", "sony", "acme"


def pipelines(copy: Path) -> List[Path]:
    return sorted((copy / "dags" / "etl" / "pipelines").glob("*/*.yaml"))


def free(name: str, taken: List[str]) -> str:
    """Return the name, or one like it if this repository already has it."""
    return name if name not in taken else free(f"{name}_2", taken)


def etl(copy: Path, *arguments: str) -> None:
    done = run(copy, "./etl", *arguments)
    assert done.returncode == 0, f"./etl {' '.join(arguments)}\n{done.stdout}"


def add_provider(copy: Path, file: Path, name: str) -> None:
    """Add a provider with the variables that all providers of the pipeline have, as templates may need them."""
    providers: Dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8")).get("providers") or {}
    variables_of = [(provider or {}).get("variables") or {} for provider in providers.values()]
    wanted: Set[str] = set(variables_of[0]).intersection(*variables_of) if variables_of else set()
    variables = [f"--variable={variable}={variables_of[0][variable]}" for variable in sorted(wanted)]
    etl(copy, "new", "provider", f"{file.parent.name}/{file.stem}", free(name, list(providers)), *variables)


def remove_first_provider(file: Path) -> None:
    """Delete the lines of a pipeline's first provider, if it has others."""
    text = file.read_text(encoding="utf-8")
    top = {key.value: value for key, value in yaml.compose(text).value}
    first, *others = (key.start_mark.index for key, _ in top["providers"].value)
    if others:
        file.write_text(text[:first] + text[others[0] :], encoding="utf-8")


def change_schedule(file: Path) -> None:
    """Change the schedule of a pipeline, if it has one."""
    text = file.read_text(encoding="utf-8")
    file.write_text(re.sub('^schedule: ".*?"', 'schedule: "17 4 * * *"', text, flags=re.MULTILINE), encoding="utf-8")


def selection() -> str:
    """Return the command with which a build runs the tests."""
    (command,) = (line for line in BUILDSPEC["phases"]["build"]["commands"] if line.startswith("./etl test"))
    assert '-m "unit or dags"' in command  # PARTS
    return str(command)


@pytest.mark.slow
def test_a_build_passes_after_an_ordinary_change(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    copy = shipped_checkout(tmp_path, DEFINITIONS, AIRFLOW, AWS)
    shipped = pipelines(copy)

    for file in shipped:
        add_provider(copy, file, PROVIDER)
        remove_first_provider(file)
        change_schedule(file)
    for file in shipped[-1:]:
        file.unlink()
    name = free(PIPELINE, [file.stem for file in shipped if file.parent.name == FAMILY])
    etl(copy, "new", "pipeline", f"{FAMILY}/{name}")
    for provider in (PROVIDER, OTHER):
        etl(copy, "new", "provider", f"{FAMILY}/{name}", provider)
    etl(copy, "check")
    commit(copy)

    # A build does not run this test; should that change, it must not run itself.
    left_out = " ".join(f"--deselect {test}" for test in [*ELSEWHERE, request.node.nodeid])
    # Airflow writes its configuration at the first import, and two processes would do so at once.
    run(copy, "env", "AIRFLOW_HOME=.local/home/tests", ".local/airflow/bin/python", "-c", "import airflow")
    # What a build runs in turn, at the same time: one process for each folder that it selects.
    commands = [f"{selection()} --exitfirst {left_out} --junitxml .local/{part}.xml tests/{part}" for part in PARTS]
    with ThreadPoolExecutor(len(PARTS)) as pool:
        results = list(pool.map(lambda command: run(copy, "sh", "-c", command), commands))

    for done in results:
        assert done.returncode == 0, done.stdout
        assert re.search(r"^=* ?\d+ passed", done.stdout, re.MULTILINE)
