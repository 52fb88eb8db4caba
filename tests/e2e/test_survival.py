"""Runs whose worker dies, whose ECS task is refused, whose definition is wrong or whose delivery is late."""

import json
import signal
import subprocess
from typing import Any, Dict, Iterator, List

import pytest

from tests.e2e.alerts import Alerts
from tests.e2e.engine import Engine, Run
from tests.trees import DATA, folder_tree
from tools.local import engine as local


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("survival")
    with Engine(folder / "home", folder_tree(folder, DATA / "survival").parent) as engine:
        yield engine


@pytest.fixture(scope="module")
def alerts(engine: Engine) -> Alerts:
    return Alerts(engine)


def ecs_task(engine: Engine, family: str, status: str) -> Dict[str, Any]:
    """Wait until the one ECS task of a family has the status; return it."""

    def look() -> List[Dict[str, Any]]:
        return [task for task in engine.agent.tasks(family) if task["status"] == status]

    (task,) = engine.wait_for(look)
    return task


def running(engine: Engine, provider: str) -> Run:
    """Start the run of a provider whose ECS task runs until the agent ends it."""
    engine.agent.set(seconds={provider: 3600})
    run = engine.trigger(f"ecs-trouble_dag_{provider}")
    ecs_task(engine, provider, "RUNNING")
    return run


def kill(engine: Engine, run: Run) -> None:
    """Kill the worker and all processes below it, as if its machine had failed."""
    for process in engine.processes(run.dag_id):
        process.kill()


# ------------------------------------------------------------------------------------------------ exactly one ECS task


def test_the_ecs_task_of_a_killed_worker_is_taken_up(engine: Engine, alerts: Alerts) -> None:
    lost = running(engine, "killed_for_good")
    kill(engine, lost)
    finished = running(engine, "killed_finished")
    kill(engine, finished)
    engine.agent.set(seconds={"killed_finished": 0})
    ecs_task(engine, "killed_finished", "STOPPED")
    # Last, as the try that takes it up keeps the executor busy until the agent ends the ECS task.
    running_still = running(engine, "killed_running")
    kill(engine, running_still)
    engine.wait_for(lambda: "Taking up" in running_still.log(attempt=2))
    engine.agent.set(seconds={"killed_running": 0})

    for run, status in ((running_still, "RUNNING"), (finished, "STOPPED")):
        assert run.end() == "success"
        assert f"which an earlier try started: {status}" in run.log(attempt=2)
        assert run.task()["try_number"] == 2
        assert len(engine.agent.tasks(run.dag_id.partition("_dag_")[2])) == 1
    assert "emulated: app would run load upsert" in finished.log(attempt=2)
    assert lost.end() == "failed"
    (alert,) = engine.wait_for(lambda: alerts.of(Run=lost.run_id))
    assert alert["Reason"].endswith("as zombie")  # a parse reports it, as its worker no longer can

    engine.agent.set(seconds={"killed_for_good": 0})
    ecs_task(engine, "killed_for_good", "STOPPED")
    engine.ask("clear", lost.dag_id, lost.run_id, "load")  # clearing a task means that it should run again
    assert lost.end() == "success"
    assert "had done its work before tasks of this run were cleared" in lost.log(attempt=2)
    assert len(engine.agent.tasks("killed_for_good")) == 2


# --------------------------------------------------------------------------------------------------------- ECS trouble


@pytest.mark.parametrize(
    ("provider", "kind", "times", "expected", "ecs_tasks"),
    [
        ("no_capacity", "failure: RESOURCE:MEMORY", 2, "RESOURCE:MEMORY", 1),
        ("throttled", "ThrottlingException", 2, "ThrottlingException", 1),
        ("not_started", "", 1, "ResourceInitializationError", 2),
        ("unanswered", "lost", 1, "its answer got lost", 1),
    ],
)
def test_temporary_failures_of_ecs_are_retried_within_one_try(
    provider: str, kind: str, times: int, expected: str, ecs_tasks: int, engine: Engine
) -> None:
    if kind:
        engine.agent.add_fault("RunTask", kind, family=provider, times=times)
    else:
        engine.agent.set(ends={provider: ["ResourceInitializationError: no address"]})
    run = engine.trigger(f"ecs-trouble_dag_{provider}")

    assert run.end() == "success"
    assert run.task()["try_number"] == 1
    assert expected in run.log()
    assert run.log().count("Attempt ") == times
    assert len(engine.agent.tasks(provider)) == ecs_tasks


def test_requests_to_an_unavailable_api_are_retried(engine: Engine) -> None:
    run = running(engine, "away")
    engine.agent.add_fault("*", "drop", seconds=5)
    engine.agent.set(seconds={"away": 0})

    assert run.end() == "success"
    assert run.task()["try_number"] == 1
    assert "Connection was closed" in run.log()
    assert "Attempt 2 of 8" in run.log()
    assert len(engine.agent.tasks("away")) == 1


@pytest.mark.parametrize(
    ("provider", "error", "line"),
    [
        ("denied", "AccessDeniedException: not authorized to perform: ecs:RunTask", "task_definition:"),
        ("unknown", "ClientException: Unable to describe task definition.", "task_definition:"),
        ("no_cluster", "ClusterNotFoundException: Cluster not found.", "no_cluster:"),
    ],
)
def test_a_mistake_in_the_definition_fails_at_once_and_names_its_line(
    provider: str, error: str, line: str, engine: Engine, alerts: Alerts
) -> None:
    definition = (DATA / "survival" / "pipelines" / "ecs" / "trouble.yaml").read_text().splitlines()
    number = next(number for number, text in enumerate(definition, 1) if text.strip().startswith(line))
    engine.agent.add_fault("RunTask", error, family=provider, times=1)
    run = engine.trigger(f"ecs-trouble_dag_{provider}")

    assert run.end() == "failed"
    assert run.task()["try_number"] == 1
    assert engine.agent.tasks(provider) == []
    code, _, message = error.partition(": ")
    expected = (
        f"({code}) when calling the RunTask operation: {message}. Look at dags/etl/pipelines/ecs/trouble.yaml:{number}:"
    )
    assert expected in run.log()
    (alert,) = engine.wait_for(lambda: alerts.of(Run=run.run_id))
    assert alert["Try"] == "1 of 4"
    assert expected in alert["Reason"]


# -------------------------------------------------------------------------------------------------- stopped by Airflow


def test_a_timeout_stops_the_ecs_task(engine: Engine, alerts: Alerts) -> None:
    run = running(engine, "timeout")

    assert run.end() == "failed"
    assert ecs_task(engine, "timeout", "STOPPED")["stop_code"] == "UserInitiated"
    assert "AirflowTaskTimeout" in run.log()
    assert len(engine.wait_for(lambda: alerts.of(Run=run.run_id))) == 1


def test_a_task_marked_failed_stops_the_ecs_task(engine: Engine, alerts: Alerts) -> None:
    run = running(engine, "marked")
    engine.ask("mark", run.dag_id, run.run_id, "load", "failed")

    assert ecs_task(engine, "marked", "STOPPED")["stop_code"] == "UserInitiated"
    assert run.end() == "failed"
    (alert,) = engine.wait_for(lambda: alerts.of(Run=run.run_id))
    assert alert["Reason"] == "task marked as failed externally"


def test_a_terminated_worker_stops_the_ecs_task_and_alerts_once(engine: Engine, alerts: Alerts) -> None:
    run = running(engine, "terminated")
    # Airflow's exception for SIGTERM is one that the provider takes for bad credentials while it makes a client.
    engine.wait_for(lambda: "emulated: app would run" in run.log())
    supervisor, *_ = engine.processes(run.dag_id)
    supervisor.send_signal(signal.SIGTERM)

    assert ecs_task(engine, "terminated", "STOPPED")["stop_code"] == "UserInitiated"
    assert run.end() == "failed"
    engine.wait_for(lambda: not engine.processes(run.dag_id))
    (alert,) = alerts.of(Run=run.run_id)
    assert "SIGTERM" in alert["Reason"]


# -------------------------------------------------------------------------------------------------------------- alerts


def test_a_successful_retry_sends_no_alert(engine: Engine, alerts: Alerts) -> None:
    engine.agent.set(ends={"flaky": [1]})
    run = engine.trigger("ecs-trouble_dag_flaky")

    assert run.end() == "success"
    assert run.task()["try_number"] == 2
    assert "emulated: exited with code 1" in run.log(attempt=1)
    assert len(engine.agent.tasks("flaky")) == 2
    assert alerts.of(Run=run.run_id) == []


def test_a_failed_task_sends_one_complete_alert(engine: Engine, alerts: Alerts) -> None:
    engine.agent.set(ends={"flaky": [3, 3]})
    run = engine.trigger("ecs-trouble_dag_flaky")

    assert run.end() == "failed"
    (alert,) = engine.wait_for(lambda: alerts.of(Run=run.run_id))
    assert alert["Subject"] == "ecs-trouble_dag_flaky load failed"
    assert (alert["DAG"], alert["Provider"], alert["Task"]) == ("ecs-trouble_dag_flaky", "flaky", "load")
    assert alert["Try"] == "2 of 2"
    assert alert["Reason"].startswith("This task is not in success state")
    assert alert["Log"].startswith("http://localhost:8080/log?execution_date=")


# ---------------------------------------------------------------------------------------------------------- deliveries


def test_a_late_delivery_fails_with_the_awaited_address(engine: Engine, alerts: Alerts) -> None:
    run = engine.trigger("s3-deliveries_dag_late")

    assert run.end() == "failed"
    awaited = "Not delivered within 0:00:01: s3://deliveries/late/part-?_*.xml"
    assert awaited in run.log("wait_for_delivery")
    assert run.task()["state"] == "upstream_failed"
    (alert,) = engine.wait_for(lambda: alerts.of(Run=run.run_id))
    assert alert["Reason"] == awaited


def test_a_delivery_is_found_by_its_wildcards(engine: Engine) -> None:
    s3 = engine.client("s3")
    s3.put_object(Bucket="deliveries", Key="wildcard/part-1_2022.xml.part", Body=b"not yet")
    run = engine.trigger("s3-deliveries_dag_wildcard")
    run.wait_for_task("wait_for_delivery", "up_for_reschedule")

    s3.put_object(Bucket="deliveries", Key="wildcard/part-1_2022.xml", Body=b"<catalogue/>")

    assert run.end() == "success"
    assert run.task("wait_for_delivery")["try_number"] == 1


# -------------------------------------------------------------------------------------------------------- typed params


@pytest.mark.parametrize(
    ("conf", "state", "message"),
    [
        ({"mode": "full"}, "success", "emulated: app would run load full"),
        ({"mod": "full"}, "failed", "unknown key 'mod', did you mean 'mode'?"),
        ({"mode": 1}, "failed", "'mode': 1 is not of type 'string'"),
    ],
)
def test_a_configuration_from_the_command_line_is_checked_and_used(
    conf: Dict[str, Any], state: str, message: str, engine: Engine
) -> None:
    engine.wait_for_dag("ecs-trouble_dag_typed")
    before = len(engine.agent.tasks("typed"))
    run_id = f"typed {json.dumps(conf)}"
    command = local.airflow("dags", "trigger", "ecs-trouble_dag_typed", "--run-id", run_id, "--conf", json.dumps(conf))
    subprocess.run(command, env=engine.environ, check=True, capture_output=True)
    run = Run(engine, "ecs-trouble_dag_typed", run_id)

    assert run.end() == state
    assert message in run.log()
    assert len(engine.agent.tasks("typed")) - before == (state == "success")
