"""Waiting for an ECS task: failures of ECS are retried, exceptions of Airflow are not."""

from typing import Any, List

import pytest
from airflow.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout
from botocore.exceptions import (
    HTTPClientError,
    WaiterError,
)

from tests.ecs import ARN, Operator, client_error, described


def test_waiting_has_no_time_limit(client: Any, operator: Operator) -> None:
    operator().execute({})

    client.get_waiter.assert_called_once_with("tasks_stopped")
    waiter = client.get_waiter.return_value
    assert waiter.config.max_attempts > 10**9
    waiter.wait.assert_called_once_with(cluster="etl", tasks=[ARN])


def test_waiting_describing_and_stopping_are_retried(client: Any, operator: Operator, pauses: List[float]) -> None:
    throttled = client_error("ThrottlingException", "DescribeTasks")
    client.get_waiter.return_value.wait.side_effect = [WaiterError("TasksStopped", str(throttled), {}), None]
    client.describe_tasks.side_effect = [throttled, described(), throttled, described()]
    client.stop_task.side_effect = [throttled, {}]
    task = operator()

    task.execute({})
    task.on_kill()

    assert client.run_task.call_count == 1
    assert client.stop_task.call_count == 2
    assert len(pauses) == 4


def test_a_missing_permission_to_describe_the_task_fails_at_once(client: Any, operator: Operator) -> None:
    denied = client_error("AccessDeniedException", "DescribeTasks", "not authorized: ecs:DescribeTasks")
    client.get_waiter.return_value.wait.side_effect = WaiterError("TasksStopped", str(denied), {})

    with pytest.raises(AirflowFailException, match="ecs:DescribeTasks"):
        operator().execute({})


@pytest.mark.parametrize("raised", [AirflowTaskTimeout("too long"), AirflowException("Task received SIGTERM signal")])
def test_an_exception_of_airflow_during_a_request_is_not_retried(
    raised: Exception, client: Any, operator: Operator, pauses: List[float]
) -> None:
    waiter = client.get_waiter.return_value
    waiter.wait.side_effect = HTTPClientError(error=raised)  # as botocore wraps it

    with pytest.raises(type(raised), match=str(raised)):
        operator().execute({})

    assert (waiter.wait.call_count, pauses) == (1, [])
