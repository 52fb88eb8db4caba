"""The rule `removed`: a DAG loses no task, unless the pipeline lists it as retired."""

from pathlib import Path
from typing import Callable, List

import pytest

from tests import goldens
from tests.checkouts import begin_history, commit, git
from tests.goldens import Golden
from tests.trees import DATA, tree
from tools import checkout
from tools.checks.definitions import check_definitions
from tools.commands import check

REMOVED = DATA / "bad" / "removed"
PIPELINE = (REMOVED / "before.yaml").read_text()
Reporter = Callable[[str], List[str]]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository whose main branch has the pipeline."""
    root = tree(tmp_path, {"cwr/big.yaml": PIPELINE})
    monkeypatch.setattr(checkout, "ETL", root)
    begin_history(tmp_path)
    return tmp_path


@pytest.fixture
def report_of(repository: Path) -> Reporter:
    """Return a function that writes another text of the pipeline and returns its problems."""

    def run(text: str) -> List[str]:
        (checkout.ETL / "pipelines" / "cwr" / "big.yaml").write_text(text)
        result = check_definitions(checkout.ETL)
        return [f"{p.location.line}:{p.location.column}: {p.message} [{p.rule}]" for p in result.problems]

    return run


def without_load(text: str = PIPELINE) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if "load:" not in line)


@pytest.mark.parametrize("case", goldens.cases("bad/removed/task_*.yaml"))
def test_the_report_of_a_change_equals_its_golden(case: Path, golden: Golden, report_of: Reporter) -> None:
    report_of(case.read_text())

    problems = check_definitions(checkout.ETL).problems
    golden.check("\n".join(map(str, problems)) + "\n")


def test_a_removed_task_is_reported_at_the_tasks(report_of: Reporter) -> None:
    assert report_of(without_load()) == ["2:1: task 'load' is gone from cwr-big_dag_un, cwr-big_dag_wcm [removed]"]


def test_a_renamed_task_is_reported_with_a_hint(report_of: Reporter) -> None:
    assert report_of(PIPELINE.replace("load:", "upload:")) == [
        "2:1: task 'load' is gone from cwr-big_dag_un, cwr-big_dag_wcm [removed]"
    ]
    (problem,) = check_definitions(checkout.ETL).problems
    assert "give the changed pipeline a new name" in problem.hint
    assert "'retired_tasks: [load]'" in problem.hint
    assert problem.location.source == "tasks:"


def test_a_task_that_a_provider_removes_is_reported_there(report_of: Reporter) -> None:
    assert report_of(PIPELINE.replace("un: {}", "un: {tasks: {load: null}}")) == [
        "6:16: task 'load' is gone from cwr-big_dag_un [removed]"
    ]


def test_retired_tasks_may_be_removed(report_of: Reporter) -> None:
    assert report_of(without_load() + "retired_tasks: [load]\n") == []
    assert report_of(without_load() + "retired_tasks: [fetched]\n") != []


def test_the_tasks_of_a_removed_dag_are_not_reported(report_of: Reporter, repository: Path) -> None:
    text = without_load().replace("  un: {}\n  wcm: {}\n", "  gema: {}\n")

    assert report_of(text) == []
    (checkout.ETL / "pipelines" / "cwr" / "big.yaml").rename(checkout.ETL / "pipelines" / "cwr" / "small.yaml")
    assert check_definitions(checkout.ETL).problems == []


def test_other_changes_are_no_removal(report_of: Reporter) -> None:
    assert report_of("# A comment\n" + PIPELINE.replace("fetcher", "fetcher:2").replace("wcm", "sony")) == []


def test_a_removed_task_is_reported_beside_other_mistakes(report_of: Reporter) -> None:
    rules = [line.rsplit(" ", 1)[1] for line in report_of(without_load() + "retrys: 1\n")]

    assert rules == ["[removed]", "[schema]"]


def test_a_broken_definition_on_either_side_is_compared_as_far_as_possible(
    report_of: Reporter, repository: Path
) -> None:
    assert [line.rsplit(" ", 1)[1] for line in report_of("tasks: [fetch]\nproviders: un\n")] == ["[schema]", "[schema]"]
    commit(repository)
    assert report_of(PIPELINE) == []


def test_the_commit_may_be_named(report_of: Reporter, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report_of(without_load()) != []
    commit(repository)

    assert report_of(without_load()) == []
    assert check.main(["--against", "HEAD~1"]) == 1
    assert check.main(["--against", "nowhere"]) == 2
    assert capsys.readouterr().err == "etl check: there is no commit 'nowhere'\n"
    assert check.main(["--against", ""]) == 2  # a variable of a script that is not set
    assert capsys.readouterr().err == "etl check: there is no commit ''\n"


def test_without_a_main_branch_a_note_says_that_nothing_is_compared(
    report_of: Reporter, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git(repository, "branch", "--quiet", "--move", "topic")

    assert report_of(without_load()) == []
    assert check.main([]) == 0
    assert capsys.readouterr().err == (
        "etl check: no removed tasks are looked for without --against: "
        "there is no main branch here that this one comes from; "
        "name a commit, such as HEAD, or fetch all of main: git fetch --unshallow\n"
    )


def test_a_hook_of_a_worktree_compares_as_anybody_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path / "project", {"cwr/big.yaml": PIPELINE})
    begin_history(tmp_path)
    (root / "pipelines" / "cwr" / "big.yaml").write_text(without_load())

    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    (problem,) = check_definitions(root).problems
    assert problem.message == "task 'load' is gone from cwr-big_dag_un, cwr-big_dag_wcm"


def test_a_repository_that_git_cannot_read_is_reported_in_its_words(
    report_of: Reporter, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository / ".git" / "HEAD").write_text("broken")

    assert report_of(without_load()) == []
    assert check.main([]) == 0
    assert "without --against: fatal: not a git repository" in capsys.readouterr().err


def test_without_git_a_note_says_that_nothing_is_compared(
    report_of: Reporter, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")

    assert report_of(without_load()) == []
    assert check.main([]) == 0
    assert "no removed tasks are looked for without --against: git is not installed" in capsys.readouterr().err
    assert check.main(["--against", "main"]) == 2
