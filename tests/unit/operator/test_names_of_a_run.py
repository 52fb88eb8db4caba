"""The names of templates are in a run what the vocabulary says that they are."""

from pathlib import Path
from typing import Any, Dict

import pytest
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from orchestrator import load
from orchestrator.dags import Builder
from orchestrator.vocabulary import DATE, DATETIME, MEMBERS, NAMES, TEXT

from tests.ecs import PIPELINE, Runs
from tests.trees import tree

CALLS: Dict[str, str] = {  # of the members that take arguments
    "replace": "(day=1)",
    "strftime": "('%Y')",
    "add": "(days=1)",
    "subtract": "(days=1)",
    "start_of": "('day')",
    "end_of": "('day')",
    "in_timezone": "('Europe/London')",
    "in_tz": "('Europe/London')",
    "format": "('YYYY')",
}


@pytest.fixture(scope="module")
def dag(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Build a DAG with a schedule: without one, there is no time before a run."""
    folder: Path = tmp_path_factory.mktemp("dag")
    (definition,) = load(tree(folder, {"cwr/big.yaml": PIPELINE}), "development").definitions
    return Builder().build(definition._replace(schedule="@daily"))


def test_dates_and_texts_have_the_members_of_their_kinds(runs: Runs) -> None:
    run = runs.create().get_dagrun()
    with create_session() as session:
        run.state, run.start_date = DagRunState.SUCCESS, run.execution_date
        session.merge(run)
    texts = [f"{{{{ [{name}] | join }}}}" for name, entry in NAMES.items() if entry.kind == TEXT and not entry.takes]
    for kind in (DATE, DATETIME):
        names = [name for name, entry in NAMES.items() if entry.kind == kind and not entry.takes]
        for member, entry in MEMBERS[kind].items():
            call = "" if entry.takes is None else CALLS.get(member, "()")
            texts += [f"{{{{ {name}.{member}{call} }}}}" for name in names]

    runs.begin(runs.create(item="de", overrides={"containerOverrides": [{"name": "loader", "command": texts}]}))

    assert len(texts) > 400
