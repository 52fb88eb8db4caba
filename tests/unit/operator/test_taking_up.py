"""Taking up the ECS task that an earlier try has started before its worker died."""

from typing import Any, Dict, List

import pendulum
import pytest
from botocore.exceptions import (
    ConnectionClosedError,
    ReadTimeoutError,
)

from tests.ecs import ARN, BADLY, OTHER_ARN, WELL, Runs, client_error, described, refused, started


class Killed(BaseException):
    """The death of the worker."""


def kill_while_waiting(runs: Runs, instance: Any) -> None:
    """Start the ECS task, then end the worker while it waits."""
    waiter = runs.client.get_waiter.return_value
    waiter.wait.side_effect = Killed
    with pytest.raises(Killed):
        runs.attempt(instance)
    waiter.wait.side_effect = None


@pytest.mark.parametrize("status", ["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING"])
def test_a_running_task_is_taken_up(status: str, runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    instance = runs.create()
    kill_while_waiting(runs, instance)
    runs.client.describe_tasks.side_effect = [
        described([], lastStatus=status, desiredStatus="RUNNING", stopCode=None),
        described(),
        described(),
    ]

    task = runs.attempt(instance)

    assert runs.client.run_task.call_count == 1
    runs.client.get_waiter.return_value.wait.assert_called_with(cluster="etl", tasks=[ARN])
    assert (task.arn, task.ecs_task_id) == (ARN, ARN.split("/")[-1])
    assert f"Taking up {ARN}" in caplog.text
    assert caplog.text.count("The ECS task in the console") == 2  # in the log of each try


def kill_while_starting(runs: Runs, instance: Any) -> str:
    """End the worker before it notes the answer of ECS; return the startedBy of the ECS task."""
    runs.client.run_task.side_effect = Killed
    with pytest.raises(Killed):
        runs.attempt(instance)
    runs.client.run_task.side_effect = None
    return str(runs.client.run_task.call_args[1]["startedBy"])


@pytest.mark.parametrize("listed", [{"RUNNING": [ARN]}, {"RUNNING": [], "STOPPED": [ARN]}], ids=["runs", "has stopped"])
def test_a_started_task_without_a_note_is_taken_up(listed: Dict[str, List[str]], runs: Runs) -> None:
    instance = runs.create()
    name = kill_while_starting(runs, instance)
    runs.client.list_tasks.side_effect = lambda **request: {"taskArns": listed[request["desiredStatus"]]}

    task = runs.attempt(instance)

    assert runs.client.run_task.call_count == 1
    assert task.arn == ARN
    assert {call[1]["startedBy"] for call in runs.client.list_tasks.call_args_list} == {name}


def test_a_task_that_was_never_started_is_started(runs: Runs) -> None:
    instance = runs.create()
    kill_while_starting(runs, instance)
    runs.client.list_tasks.return_value = {"taskArns": []}

    runs.attempt(instance)

    assert runs.client.run_task.call_count == 2


@pytest.mark.parametrize(
    "error",
    [
        ReadTimeoutError(endpoint_url="https://ecs"),
        ConnectionClosedError(endpoint_url="https://ecs"),
        client_error("ServerException", status=500),
    ],
)
def test_a_started_task_is_taken_up_when_the_answer_is_lost(error: Any, runs: Runs, pauses: List[float]) -> None:
    runs.client.run_task.side_effect = error
    runs.client.list_tasks.return_value = {"taskArns": [ARN]}
    instance = runs.create()

    task = runs.attempt(instance)

    assert (task.arn, task.ecs_task_id) == (ARN, ARN.split("/")[-1])
    request = runs.client.run_task.call_args[1]
    runs.client.list_tasks.assert_called_once_with(
        cluster="etl", startedBy=request["startedBy"], desiredStatus="RUNNING"
    )
    assert runs.client.run_task.call_count == 1
    assert pauses == [2]


def test_a_task_is_started_when_a_lost_request_started_none(runs: Runs, pauses: List[float]) -> None:
    runs.client.run_task.side_effect = [
        ReadTimeoutError(endpoint_url="https://ecs"),
        refused("RESOURCE:CPU"),
        started(),
    ]
    runs.client.list_tasks.return_value = {"taskArns": []}

    runs.attempt(runs.create())

    assert runs.client.run_task.call_count == 3
    assert runs.client.list_tasks.call_count == 2  # once for each status; not again after an answer came
    assert pauses == [2, 4]


def test_the_note_of_an_earlier_attempt_is_not_used_for_the_last(runs: Runs) -> None:
    instance = runs.create()
    kill_while_waiting(runs, instance)
    runs.client.describe_tasks.return_value = described([{"exitCode": 1, "lastStatus": "STOPPED"}])
    name = kill_while_starting(runs, instance)
    runs.client.list_tasks.return_value = {"taskArns": [OTHER_ARN]}
    runs.client.describe_tasks.return_value = described()

    task = runs.attempt(instance)

    assert task.arn == OTHER_ARN
    assert runs.client.list_tasks.call_args[1]["startedBy"] == name


def test_a_task_that_succeeded_is_not_run_again(runs: Runs) -> None:
    instance = runs.create()
    kill_while_waiting(runs, instance)

    runs.attempt(instance)

    assert runs.client.run_task.call_count == 1


def test_a_task_that_is_ending_is_awaited_and_not_run_again(runs: Runs) -> None:
    instance = runs.create()
    kill_while_waiting(runs, instance)
    ending = described([{"name": "loader", "lastStatus": "RUNNING"}], lastStatus="DEPROVISIONING")
    runs.client.describe_tasks.side_effect = [ending, described(), described(), described()]

    runs.attempt(instance)

    assert runs.client.run_task.call_count == 1


@pytest.mark.parametrize(
    "answers",
    [
        [described(BADLY), described(BADLY)],
        [described([], stopCode="TaskFailedToStart"), described([], stopCode="TaskFailedToStart")],
        [described(WELL, stopCode="UserInitiated"), described(WELL, stopCode="UserInitiated")],
        [described([], lastStatus="STOPPING", stopCode="UserInitiated"), described([], stopCode="UserInitiated")],
        [{"tasks": [], "failures": [{"reason": "MISSING"}]}],
    ],
    ids=["failed", "not started", "stopped", "being stopped", "unknown"],
)
def test_a_failed_stopped_or_unknown_task_is_started_again(
    answers: List[Any], runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    instance = runs.create()
    kill_while_waiting(runs, instance)
    runs.client.run_task.return_value = started(OTHER_ARN)
    runs.client.describe_tasks.side_effect = [*answers, described(), described()]

    task = runs.attempt(instance)

    assert task.arn == OTHER_ARN
    assert "Starting anew" in caplog.text


def test_a_task_in_a_former_cluster_is_started_again(runs: Runs) -> None:
    instance = runs.create()
    runs.client.run_task.return_value = started(ARN.replace("/etl/", "/before/"))
    kill_while_waiting(runs, instance)
    runs.client.run_task.return_value = started()

    assert runs.attempt(instance).arn == ARN
    assert all(call[1]["tasks"] == [ARN] for call in runs.client.describe_tasks.call_args_list)


def test_taking_up_calls_neither_list_tasks_nor_describe_task_definition(runs: Runs) -> None:
    instance = runs.create()
    kill_while_waiting(runs, instance)

    runs.attempt(instance)

    runs.client.list_tasks.assert_not_called()
    runs.client.describe_task_definition.assert_not_called()


def test_each_run_takes_up_its_own_task(runs: Runs) -> None:
    first, second = runs.create(), runs.create()
    kill_while_waiting(runs, first)
    runs.client.run_task.return_value = started(OTHER_ARN)
    assert runs.attempt(second).arn == OTHER_ARN

    task = runs.attempt(first)

    assert task.arn == ARN
    assert runs.client.run_task.call_count == 2


@pytest.mark.parametrize(("hours", "arn"), [(-1, OTHER_ARN), (1, ARN)], ids=["before", "after"])
def test_a_task_finished_after_its_worker_died_counts_until_the_run_is_cleared(
    hours: int, arn: str, runs: Runs
) -> None:
    cleared = pendulum.now("UTC")
    instance = runs.create(start_date=cleared)
    kill_while_waiting(runs, instance)
    runs.client.run_task.return_value = started(OTHER_ARN)
    runs.client.describe_tasks.return_value = described(startedAt=cleared.add(hours=hours))

    assert runs.attempt(instance).arn == arn


def test_a_running_task_is_taken_up_after_clearing(runs: Runs) -> None:
    cleared = pendulum.now("UTC")
    instance = runs.create(start_date=cleared)
    kill_while_waiting(runs, instance)
    running = described([], lastStatus="RUNNING", desiredStatus="RUNNING", startedAt=cleared.add(hours=-1))
    runs.client.describe_tasks.side_effect = [running, described(), described()]

    assert runs.attempt(instance).arn == ARN
    assert runs.client.run_task.call_count == 1


def test_a_task_that_succeeded_is_run_again_after_clearing(runs: Runs) -> None:
    instance = runs.create()
    runs.attempt(instance)
    runs.client.run_task.return_value = started(OTHER_ARN)

    assert runs.attempt(instance).arn == OTHER_ARN
