"""The names of templates are in a run what the vocabulary says that they are."""

from pathlib import Path
from typing import Any, Dict

import pytest
from orchestrator import load
from orchestrator.dags import Builder
from orchestrator.generations import IS_3
from orchestrator.vocabulary import DATE, DATETIME, LATER, MEMBERS, NAMES, TEXT

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
# In 3, and what a task asks its server for: tests/dags/test_requests_of_generations.py has that.
SUCCESSES = {"prev_data_interval_start_success", "prev_data_interval_end_success", "prev_start_date_success"}
OF_THE_TASK = {"task_instance.execution_date", "task_instance.pool", "task_instance.queue"}
GONE = {*LATER["3"], *SUCCESSES, *OF_THE_TASK} if IS_3 else set()


@pytest.fixture(scope="module")
def dag(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Build a DAG with a schedule: without one, there is no time before a run."""
    folder: Path = tmp_path_factory.mktemp("dag")
    (definition,) = load(tree(folder, {"cwr/big.yaml": PIPELINE}), "development").definitions
    return Builder().build(definition._replace(schedule="@daily"))


def succeed(runs: Runs) -> None:
    """Let a run succeed: the next one has the dates of it."""
    from airflow.utils.session import create_session

    run = runs.create().get_dagrun()
    with create_session() as session:
        run.state, run.start_date = "success", run.execution_date
        session.merge(run)


def test_dates_and_texts_have_the_members_of_their_kinds(runs: Runs) -> None:
    if not IS_3:  # where a run by hand has no dates of the one before
        succeed(runs)
    entries = {name: entry for name, entry in NAMES.items() if not entry.takes and name not in GONE}
    texts = [f"{{{{ [{name}] | join }}}}" for name, entry in entries.items() if entry.kind == TEXT]
    for kind in (DATE, DATETIME):
        names = [name for name, entry in entries.items() if entry.kind == kind]
        for member, entry in MEMBERS[kind].items():
            call = "" if entry.takes is None else CALLS.get(member, "()")
            texts += [f"{{{{ {name}.{member}{call} }}}}" for name in names]

    runs.begin(runs.create(item="de", overrides={"containerOverrides": [{"name": "loader", "command": texts}]}))

    assert len(texts) > (100 if IS_3 else 400)
