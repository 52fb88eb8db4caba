"""Killing a task stops its ECS task, even if ECS has not answered yet."""

from typing import Any, List
from unittest.mock import Mock

import pytest
from airflow.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout
from botocore.exceptions import (
    EndpointConnectionError,
)

from tests.ecs import ARN, Operator, client_error


def test_on_kill_stops_the_task(client: Any, operator: Operator) -> None:
    task = operator()
    task.execute({})
    client.stop_task.assert_not_called()

    task.on_kill()

    client.stop_task.assert_called_once_with(cluster="etl", task=ARN, reason="Task killed by the user")


def test_on_kill_without_a_task_stops_nothing(client: Any, operator: Operator) -> None:
    operator().on_kill()

    client.stop_task.assert_not_called()


def operator_that_reattaches(operator: Operator) -> Any:
    """Return an operator whose ECS task a later try could take up."""
    task = operator(reattach=True)
    task._try_reattach_task = task.note = Mock()
    return task


FIRST_TRY = {"run_id": "manual", "ti": Mock(try_number=1)}


def test_on_kill_stops_a_task_whose_start_ecs_has_not_confirmed(client: Any, operator: Operator) -> None:
    task = operator_that_reattaches(operator)
    client.run_task.side_effect = AirflowTaskTimeout
    client.list_tasks.return_value = {"taskArns": [ARN]}
    with pytest.raises(AirflowTaskTimeout):
        task.execute(FIRST_TRY)

    task.on_kill()  # as Airflow does then

    client.stop_task.assert_called_once_with(cluster="etl", task=ARN, reason="Task killed by the user")
    request = client.run_task.call_args[1]
    client.list_tasks.assert_called_once_with(cluster="etl", startedBy=request["startedBy"], desiredStatus="RUNNING")


@pytest.mark.parametrize(
    "refusal", [client_error("AccessDeniedException"), EndpointConnectionError(endpoint_url="https://ecs")]
)
def test_on_kill_searches_for_no_task_that_ecs_refused(
    refusal: Any, client: Any, operator: Operator, pauses: List[float]
) -> None:
    task = operator_that_reattaches(operator)
    client.run_task.side_effect = refusal
    with pytest.raises((AirflowFailException, EndpointConnectionError)):
        task.execute(FIRST_TRY)

    task.on_kill()

    client.list_tasks.assert_not_called()
    client.stop_task.assert_not_called()


def test_a_kill_before_the_request_starts_no_ecs_task(client: Any, operator: Operator) -> None:
    task = operator()

    def get_conn() -> Any:
        task.on_kill()  # after which the provider swallows what Airflow raises
        return client

    task.hook.get_conn = get_conn

    with pytest.raises(AirflowException, match="before ECS was asked"):
        task.execute({})
    client.run_task.assert_not_called()


def test_a_kill_fails_the_task_although_the_provider_swallows_the_signal(client: Any, operator: Operator) -> None:
    task = operator()
    client.get_waiter.return_value.wait.side_effect = lambda **_: task.on_kill()

    with pytest.raises(AirflowException, match="by SIGTERM"):
        task.execute({})
