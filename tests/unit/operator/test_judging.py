"""Whether a stopped ECS task has succeeded."""

from typing import Any, Dict

import pytest
from airflow.exceptions import AirflowException

from tests.ecs import BADLY, WELL, Operator, described


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"failures": [{"reason": "MISSING"}], "tasks": []}, "MISSING"),
        (described(BADLY), "not in success state"),
        (described([*WELL, *BADLY]), "not in success state"),
        (described([{"lastStatus": "STOPPED"}]), "not in success state"),
        (described([{"lastStatus": "PENDING"}]), "still pending"),
        (described([{"reason": "CannotPullContainerError: no image"}]), "during launching: cannotpull"),
        (described(stoppedReason="Host EC2 (instance i-0123456789abcdef) terminated."), "host instance terminated"),
        (described(stoppedReason="Host EC2 (instance i-0123456789abcdef) stopped."), "host instance terminated"),
    ],
)
def test_a_task_that_did_not_succeed_fails(
    answer: Dict[str, Any], message: str, client: Any, operator: Operator
) -> None:
    client.describe_tasks.return_value = answer

    with pytest.raises(AirflowException, match=message):
        operator().execute({})


def test_a_task_without_failed_containers_succeeds(client: Any, operator: Operator) -> None:
    client.describe_tasks.return_value = {"tasks": [{"containers": [{"name": "sidecar", "lastStatus": "RUNNING"}]}]}

    assert operator().execute({}) is None


@pytest.mark.parametrize("code", ["UserInitiated", "SpotInterruption", "TerminationNotice"])
def test_a_stopped_task_fails_although_its_container_exited_with_0(code: str, client: Any, operator: Operator) -> None:
    client.describe_tasks.return_value = described(WELL, stopCode=code, stoppedReason="enough")

    with pytest.raises(AirflowException, match=f"was stopped: {code}: enough"):
        operator().execute({})
