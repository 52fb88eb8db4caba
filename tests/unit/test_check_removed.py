"""The rule `removed`: a DAG loses no task, unless the pipeline lists it as retired."""

import subprocess
from pathlib import Path
from typing import Callable, List

import pytest

from tests import goldens
from tests.goldens import Golden
from tests.trees import DATA, tree
from tools import checkout
from tools.checks.definitions import check_definitions
from tools.commands import check

REMOVED = DATA / "bad" / "removed"
PIPELINE = (REMOVED / "before.yaml").read_text()
Told = Callable[[str], List[str]]


def git(folder: Path, *arguments: str) -> None:
    author = ("-c", "user.name=Test", "-c", "user.email=test@example.invalid")
    subprocess.run(["git", *author, *arguments], cwd=folder, check=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository whose main branch has the pipeline."""
    root = tree(tmp_path, {"cwr/big.yaml": PIPELINE})
    monkeypatch.setattr(checkout, "ETL", root)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "symbolic-ref", "HEAD", "refs/heads/main")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message=One")
    return tmp_path


@pytest.fixture
def told(repository: Path) -> Told:
    """Return a function that writes another text of the pipeline and returns its problems."""

    def run(text: str) -> List[str]:
        (checkout.ETL / "pipelines" / "cwr" / "big.yaml").write_text(text)
        report = check_definitions(checkout.ETL)
        return [f"{p.location.line}:{p.location.column}: {p.message} [{p.rule}]" for p in report.problems]

    return run


def without_load(text: str = PIPELINE) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if "load:" not in line)


@pytest.mark.parametrize("case", goldens.cases("bad/removed/task_*.yaml"))
def test_the_report_of_a_change_equals_its_golden(case: Path, golden: Golden, told: Told) -> None:
    told(case.read_text())

    problems = check_definitions(checkout.ETL).problems
    golden.check("\n".join(map(str, problems)) + "\n")


def test_a_removed_task_is_reported_at_the_tasks(told: Told) -> None:
    assert told(without_load()) == ["2:1: task 'load' is gone from cwr-big_dag_un, cwr-big_dag_wcm [removed]"]


def test_a_renamed_task_is_reported_with_a_hint(told: Told) -> None:
    assert told(PIPELINE.replace("load:", "upload:")) == [
        "2:1: task 'load' is gone from cwr-big_dag_un, cwr-big_dag_wcm [removed]"
    ]
    (problem,) = check_definitions(checkout.ETL).problems
    assert "give the changed pipeline a new name" in problem.hint
    assert "'retired_tasks: [load]'" in problem.hint
    assert problem.location.source == "tasks:"


def test_a_task_that_a_provider_removes_is_reported_there(told: Told) -> None:
    assert told(PIPELINE.replace("un: {}", "un: {tasks: {load: null}}")) == [
        "6:16: task 'load' is gone from cwr-big_dag_un [removed]"
    ]


def test_retired_tasks_may_be_removed(told: Told) -> None:
    assert told(without_load() + "retired_tasks: [load]\n") == []
    assert told(without_load() + "retired_tasks: [fetched]\n") != []


def test_the_tasks_of_a_removed_dag_are_not_reported(told: Told, repository: Path) -> None:
    text = without_load().replace("  un: {}\n  wcm: {}\n", "  gema: {}\n")

    assert told(text) == []
    (checkout.ETL / "pipelines" / "cwr" / "big.yaml").rename(checkout.ETL / "pipelines" / "cwr" / "small.yaml")
    assert check_definitions(checkout.ETL).problems == []


def test_other_changes_are_no_removal(told: Told) -> None:
    assert told("# A comment\n" + PIPELINE.replace("fetcher", "fetcher:2").replace("wcm", "sony")) == []


def test_a_removed_task_is_reported_beside_other_mistakes(told: Told) -> None:
    rules = [line.rsplit(" ", 1)[1] for line in told(without_load() + "retrys: 1\n")]

    assert rules == ["[removed]", "[schema]"]


def test_a_broken_definition_on_either_side_is_compared_as_far_as_possible(told: Told, repository: Path) -> None:
    assert [line.rsplit(" ", 1)[1] for line in told("tasks: [fetch]\nproviders: un\n")] == ["[schema]", "[schema]"]
    git(repository, "commit", "--quiet", "--all", "--message=Broken")
    assert told(PIPELINE) == []


def test_the_commit_may_be_named(told: Told, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(without_load()) != []
    git(repository, "commit", "--quiet", "--all", "--message=Two")

    assert told(without_load()) == []
    assert check.main(["--against", "HEAD~1"]) == 1
    assert check.main(["--against", "nowhere"]) == 2
    assert capsys.readouterr().err == "etl check: there is no commit 'nowhere'\n"


def test_without_a_main_branch_a_note_says_that_nothing_is_compared(
    told: Told, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git(repository, "branch", "--quiet", "--move", "topic")

    assert told(without_load()) == []
    assert check.main([]) == 0
    assert "found no main branch to look for removed tasks in" in capsys.readouterr().err


def test_without_git_nothing_is_compared(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    assert told(without_load()) == []
    assert check.main(["--against", "main"]) == 2
