"""The task of a DAG that is not there, in a run of its database: it fails, and touches no other task."""

from typing import Any, List

import pytest
from airflow.exceptions import AirflowException
from orchestrator.generations import IS_2_2
from orchestrator.missing import missing_dag

from tests.ecs import Runs

pytestmark = pytest.mark.skipif(not IS_2_2, reason="newer Airflows have their own way")


def run(runs: Runs, max_tries: int) -> Any:
    """Run the task as a worker's process does; return its task instance."""
    instance = runs.create()
    runs.change(instance, max_tries=max_tries, state="running", _try_number=1)
    instance.task = missing_dag(instance.dag_id, "load", []).get_task("load")
    with pytest.raises(AirflowException, match="is not there"):
        instance._run_raw_task()
    instance.refresh_from_db()
    return instance


@pytest.mark.parametrize(("max_tries", "state"), [(0, "failed"), (3, "up_for_retry")])
def test_it_fails_and_is_tried_as_often_as_the_database_says(max_tries: int, state: str, runs: Runs) -> None:
    assert run(runs, max_tries).state == state


def test_other_tasks_of_a_paused_dag_keep_their_state(runs: Runs) -> None:
    from airflow.jobs.local_task_job import LocalTaskJob
    from airflow.models import DagModel
    from airflow.utils.session import create_session

    instance = run(runs, 0)
    with create_session() as session:
        session.merge(DagModel(dag_id=instance.dag_id, is_paused=True))  # type: ignore[no-untyped-call]

    def states() -> List[Any]:
        return sorted((each.task_id, each.state) for each in instance.get_dagrun().get_task_instances())

    before = states()
    assert len(before) > 1
    LocalTaskJob(instance)._update_dagrun_state_for_paused_dag()
    assert states() == before
