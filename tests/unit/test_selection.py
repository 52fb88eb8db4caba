"""Selecting DAGs on the command lines of ``./etl show`` and ``./etl plan``."""

import json
from pathlib import Path
from typing import List

import pytest

from tests.checkouts import begin_history, commit
from tests.trees import SMALL, tree
from tools.commands import plan, show

PIPELINES = {"cwr/big": "un wcm", "cwr/small": "un", "cwrx/big": "un", "vi/works": "prs"}
ALL = [
    "cwr-big_dag_un",
    "cwr-big_dag_wcm",
    "cwr-small_dag_un",
    "cwrx-big_dag_un",
    "vi-works_dag_prs",
]
SELECTIONS = [
    ("cwr", ALL[:3]),
    ("cwr/big", ALL[:2]),
    ("cwr/*", ALL[:3]),
    ("*/big", [*ALL[:2], ALL[3]]),
    ("cwr-*", ALL[:3]),
    ("cwr*", ALL[:4]),
    ("*_dag_un", [ALL[0], ALL[2], ALL[3]]),
    ("?wr-big_dag_*", ALL[:2]),
    ("*", ALL),
]
UNKNOWN = [
    ("cwr/bgi", "did you mean 'cwr/big'?"),
    ("wcr", "did you mean 'cwr'?"),
    ("cwr-big_dag_nu", "did you mean 'cwr-big_dag_un'?"),
    ("radio/*", "./etl show lists all DAGs"),
    ("", "./etl show lists all DAGs"),
]


def text_of(providers: str) -> str:
    return (
        SMALL.partition("providers:")[0] + "providers:\n" + "".join(f"  {name}: {{}}\n" for name in providers.split())
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a checkout with two environments, whose first commit has no definitions yet."""
    etl = tree(tmp_path, {})
    begin_history(tmp_path)
    for name, providers in PIPELINES.items():
        write(etl, name, text_of(providers))
    return tmp_path


def write(etl: Path, name: str, text: str) -> None:
    file = etl / "pipelines" / f"{name}.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)


def in_table(root: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> List[str]:
    """Return the ids that ./etl show prints for staging."""
    show.main([*arguments, "--environment", "staging", "--format", "json"], root / "dags" / "etl")
    return [row["dag_id"] for row in json.loads(capsys.readouterr().out)]


def in_plan(root: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> List[str]:
    """Return the ids that ./etl plan prints for staging."""
    plan.main([*arguments, "--format", "json"], root)
    return [change["dag_id"] for change in json.loads(capsys.readouterr().out)["environments"]["staging"]]


@pytest.mark.parametrize(("selection", "dag_ids"), SELECTIONS)
def test_a_selection_is_a_family_a_pipeline_or_a_pattern(
    selection: str, dag_ids: List[str], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert in_table(root, capsys, selection) == dag_ids
    assert in_plan(root, capsys, "--only", selection) == dag_ids


def test_without_a_selection_all_dags_are_selected(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert in_table(root, capsys) == in_plan(root, capsys) == ALL


def test_a_full_dag_id_prints_its_details(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    etl = root / "dags" / "etl"

    assert show.main(["cwr-big_dag_un"], etl) == 0
    assert "RunTask requests" in capsys.readouterr().out
    assert show.main(["cwr-big_dag_u?"], etl) == 0  # a pattern prints a table, even for one DAG
    assert capsys.readouterr().out.startswith("DAG ")
    assert in_plan(root, capsys, "--only", "cwr-big_dag_un") == ["cwr-big_dag_un"]


@pytest.mark.parametrize(("selection", "hint"), UNKNOWN)
def test_an_unknown_selection_is_a_usage_error(
    selection: str, hint: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert show.main([selection], root / "dags" / "etl") == 2
    of_show = capsys.readouterr()
    assert plan.main(["--only", selection], root) == 1  # 2 would be a change, with --exit-code
    of_plan = capsys.readouterr()

    assert of_show.out == of_plan.out == ""
    assert f"'{selection}'" in of_show.err
    assert hint in of_plan.err
    assert hint in of_show.err


def test_an_unchanged_selection_is_no_error(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commit(root)
    write(root / "dags" / "etl", "vi/works", text_of("prs gema"))

    assert in_plan(root, capsys, "--only", "cwr/big", "--exit-code") == []
    assert plan.main(["--only", "cwr-big_dag_un", "--exit-code"], root) == 0
    assert "staging: no changes" in capsys.readouterr().out
    assert plan.main(["--only", "vi", "--exit-code"], root) == 2
    assert plan.main(["HEAD~1", "--only", "cwr", "--exit-code"], root) == 2


def test_a_removed_dag_can_be_selected(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commit(root)
    (root / "dags" / "etl" / "pipelines" / "vi" / "works.yaml").unlink()

    assert in_plan(root, capsys, "--only", "vi") == in_plan(root, capsys, "--only", "vi-works_dag_prs") == [ALL[4]]


@pytest.mark.parametrize(
    ("selection", "status"),
    [("vi", 0), ("vi/*", 0), ("vi-*", 0), ("vi-works_dag_prs", 0), ("*_dag_prs", 1), ("cwr/small", 1), ("cwr*", 1)],
)
def test_only_problems_that_may_affect_the_selection_count(
    selection: str, status: int, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(root / "dags" / "etl", "cwr/small", "tasks: [")

    assert show.main([selection], root / "dags" / "etl") == status
    assert plan.main(["--only", selection], root) == status
    assert ("cwr/small.yaml" in capsys.readouterr().out) == bool(status)


def test_a_problem_of_an_environment_affects_every_selection(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "dags" / "etl" / "configs" / "staging.yaml").write_text("region: [")

    assert show.main(["vi"], root / "dags" / "etl") == 1
    assert plan.main(["--only", "vi"], root) == 1


def test_a_selection_of_another_environment_names_that_environment(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = text_of("un").replace("un: {}", "un: {environments: [development]}")
    write(root / "dags" / "etl", "radio/plays", text)

    assert show.main(["radio", "--environment", "staging"], root / "dags" / "etl") == 2
    assert capsys.readouterr().err == "etl: 'radio' is not in staging; it is in development\n"
    assert show.main(["radio"], root / "dags" / "etl") == 0


def test_a_pipeline_without_providers_has_an_empty_table(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(root / "dags" / "etl", "radio/plays", SMALL.partition("providers:")[0] + "providers: {}\n")

    assert show.main(["radio/plays"], root / "dags" / "etl") == 0
    assert capsys.readouterr().err == "etl: 'radio/plays' has no DAG here\n"
