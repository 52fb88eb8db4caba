"""The sensor for another DAG: which run it looks at, when it is done, and what it says when it is not."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List

import pendulum
import pytest
from airflow.exceptions import AirflowFailException, AirflowSensorTimeout
from orchestrator import load
from orchestrator.dags import Builder
from orchestrator.generations import IS_3

from tests.trees import tree

pytestmark = pytest.mark.skipif(IS_3, reason="its tasks ask a server, which tests/e2e/test_newer_airflow.py has")

HEAD = "start_date: 2022-01-01\n"
MEDIUM = f"""\
{HEAD}schedule: "0 */6 * * *"
tasks: {{fetch: {{task_definition: a}}, load: {{task_definition: a, for_each: [de, fr]}}}}
providers: {{un: {{}}, sony: {{}}}}
"""
BIG = f"""\
{HEAD}schedule: "@daily"
wait_for: {{pipeline: cwr/medium, timeout: 2h}}
tasks: {{a: {{task_definition: a}}}}
providers:
  un: {{}}
  wcm: {{wait_for: {{provider: un, task: load}}}}
  none: {{}}
"""


class World:
    """The DAGs, and runs of one of them in the database."""

    def __init__(self, dags: Dict[str, Any]) -> None:
        self.dags = dags

    def run(self, start: pendulum.DateTime, state: str = "success", kind: str = "scheduled", **tasks: str) -> None:
        """Make a run of the DAG that is awaited; tasks whose state is not named are in the state of the run."""
        from airflow.utils.session import create_session

        run = self.dags["cwr-medium_dag_un"].create_dagrun(
            run_id=f"{kind}__{start.isoformat()}",
            run_type=kind,
            execution_date=start,
            data_interval=(start, start.add(hours=6)),
            state=state,
        )
        with create_session() as session:
            for instance in run.get_task_instances(session=session):
                instance.state = tasks.get(instance.task_id.replace("-", "_"), state)

    def sensor(self, provider: str = "un") -> Any:
        """Return the sensor of a provider's DAG."""
        dag = self.dags[f"cwr-big_dag_{provider}"]
        return next(task for task in dag.tasks if task.task_id.startswith("wait_for_"))


@pytest.fixture
def world(database: None, tmp_path: Path) -> World:
    from airflow.models import DagRun, TaskInstance
    from airflow.utils.session import create_session

    with create_session() as session:
        models: List[Any] = [TaskInstance, DagRun]
        for model in models:
            session.query(model).filter(model.dag_id == "cwr-medium_dag_un").delete()
    root = tree(tmp_path, {"cwr/medium.yaml": MEDIUM, "cwr/big.yaml": BIG})
    definitions = load(root, "staging").definitions
    return World({definition.dag_id: Builder().build(definition) for definition in definitions})


def context(kind: str = "scheduled") -> Dict[str, Any]:
    """Return the context of a run of the 5th of January."""
    return {"dag_run": SimpleNamespace(run_type=kind), "data_interval_end": DAY.add(days=1), "ti": None}


DAY = pendulum.datetime(2022, 1, 5)


def test_a_scheduled_run_waits_for_the_last_that_ends_by_its_own_end(world: World) -> None:
    sensor = world.sensor()
    world.run(DAY.add(hours=12))
    world.run(DAY.add(days=1))  # which ends after it
    assert sensor.poke(context()) is False
    assert sensor.seen == "there is no run of 2022-01-05T18:00:00+00:00 yet; is the DAG switched on?"

    world.run(DAY.add(hours=18))
    assert sensor.poke(context()) is True


@pytest.mark.parametrize("state", ["failed", "running", "queued"])
def test_it_goes_on_waiting_for_a_run_that_fails_or_is_cleared(state: str, world: World) -> None:
    sensor = world.sensor()
    sensor.timeout, sensor.mode = 0, "poke"  # the other way asks for the task instance
    world.run(DAY.add(hours=18), state=state)
    with pytest.raises(AirflowSensorTimeout) as raised:
        sensor.execute(context())
    run_id = "scheduled__2022-01-05T18:00:00+00:00"
    assert str(raised.value) == f"cwr-medium_dag_un has not succeeded (run {run_id}: it is {state}) within 0:00:00"


def test_it_waits_for_all_items_of_a_task_and_for_nothing_else(world: World) -> None:
    sensor = world.sensor("wcm")
    world.run(DAY.add(hours=18), state="running", load_de="success", load_fr="running")
    assert sensor.poke(context()) is False
    assert sensor.seen.endswith(": load-de is success, load-fr is running")


@pytest.mark.parametrize("state", ["success", "skipped"])
def test_a_task_that_is_skipped_is_done_with(state: str, world: World) -> None:
    world.run(DAY.add(hours=18), state="running", load_de=state, load_fr="success")
    assert world.sensor("wcm").poke(context()) is True


def test_a_run_that_a_person_triggers_waits_for_the_newest(world: World) -> None:
    sensor = world.sensor()
    assert sensor.poke(context("manual")) is False
    assert sensor.seen == "there is no run yet; is the DAG switched on?"

    world.run(DAY.add(hours=18))
    assert sensor.poke(context("manual")) is True

    world.run(DAY.add(days=9), state="running", kind="manual")
    assert sensor.poke(context("manual")) is False
    assert "run manual__2022-01-14T00:00:00+00:00: it is running" in sensor.seen
    assert sensor.poke(context()) is True


def test_what_can_never_come_fails_at_once(world: World) -> None:
    with pytest.raises(AirflowFailException, match="has no scheduled run that ends by 2022-01-01T00:00:00"):
        world.sensor().poke({**context(), "data_interval_end": pendulum.datetime(2022, 1, 1)})
    with pytest.raises(AirflowFailException, match="'cwr/medium' has no DAG here for provider 'none'"):
        world.sensor("none").poke(context())


def test_a_definition_with_problems_is_waited_for(world: World, tmp_path: Path) -> None:
    (tmp_path / "dags" / "etl" / "pipelines" / "cwr" / "medium.yaml").write_text("tasks: [")
    result = load(tmp_path / "dags" / "etl", "staging", "cwr-big_dag_un")
    sensor: Any = Builder().build(result.definitions[0]).get_task("wait_for_cwr-medium")
    assert sensor.poke(context()) is False
    assert sensor.seen == "its definition has problems, or takes too long to read"
