"""Starting an ECS task: the request to RunTask, and the handling of its failures."""

import re
from typing import Any, Dict, List

import pytest
from airflow.exceptions import AirflowFailException
from airflow.providers.amazon.aws.exceptions import EcsOperatorError, EcsTaskFailToStart
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
)
from orchestrator import started_by
from orchestrator.operators import ATTEMPTS

from tests.ecs import ARN, OTHER_ARN, Operator, client_error, described, refused, started


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, {"launchType": "EC2"}),
        ({"launch_type": "EXTERNAL"}, {"launchType": "EXTERNAL"}),
        ({"launch_type": "FARGATE"}, {"launchType": "FARGATE"}),
        ({"launch_type": None}, {}),
        ({"platform_version": "1.4.0"}, {"launchType": "EC2", "platformVersion": "1.4.0"}),
        ({"tags": {"team": "etl"}}, {"launchType": "EC2", "tags": [{"key": "team", "value": "etl"}]}),
        ({"tags": {}}, {"launchType": "EC2", "tags": []}),
        ({"group": "nightly"}, {"launchType": "EC2", "group": "nightly"}),
        ({"propagate_tags": "TASK_DEFINITION"}, {"launchType": "EC2", "propagateTags": "TASK_DEFINITION"}),
        (
            {"placement_constraints": [{"type": "distinctInstance"}], "placement_strategy": [{"type": "random"}]},
            {
                "launchType": "EC2",
                "placementConstraints": [{"type": "distinctInstance"}],
                "placementStrategy": [{"type": "random"}],
            },
        ),
        (
            {"launch_type": "FARGATE", "capacity_provider_strategy": [{"capacityProvider": "FARGATE_SPOT"}]},
            {"capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT"}]},
        ),
        (
            {"network_configuration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}},
            {"launchType": "EC2", "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}},
        ),
    ],
)
def test_run_task_is_called_with_the_arguments_of_the_operator(
    arguments: Dict[str, Any], expected: Dict[str, Any], client: Any, operator: Operator
) -> None:
    overrides = {"containerOverrides": [{"name": "loader", "command": ["load"]}]}

    operator(overrides=overrides, **arguments).execute({})

    client.run_task.assert_called_once_with(
        cluster="etl", taskDefinition="loader", overrides=overrides, startedBy="data-provisioning", **expected
    )


def test_a_failure_in_the_answer_of_run_task_fails_the_task(client: Any, operator: Operator) -> None:
    client.run_task.return_value = refused("ATTRIBUTE")

    with pytest.raises(EcsOperatorError):
        operator().execute({})
    client.get_waiter.assert_not_called()


@pytest.mark.parametrize(
    "trouble",
    [
        refused("RESOURCE:MEMORY"),
        refused("RESOURCE:CPU"),
        refused("AGENT"),
        refused("Capacity is unavailable at this time. Please try again later"),
        client_error("ThrottlingException"),
        client_error("ServerException"),
        client_error("ClientException", message="You've reached the limit on the number of vCPUs you can run"),
        client_error("InvalidParameterException", message="No Container Instances were found in your cluster."),
        EndpointConnectionError(endpoint_url="https://ecs"),
        ConnectTimeoutError(endpoint_url="https://ecs"),
    ],
)
def test_a_temporary_failure_is_retried_and_logged(
    trouble: Any, client: Any, operator: Operator, pauses: List[float], caplog: pytest.LogCaptureFixture
) -> None:
    client.run_task.side_effect = [trouble, trouble, started()]

    operator().execute({})

    assert client.run_task.call_count == 3
    assert pauses == [2, 4]
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [message.rpartition("Attempt ")[2] for message in warnings] == ["2 of 8 in 2 s", "3 of 8 in 4 s"]
    reason = trouble["failures"][0]["reason"] if isinstance(trouble, dict) else str(trouble)
    assert all(reason in message for message in warnings)


def test_the_number_of_attempts_is_limited(client: Any, operator: Operator, pauses: List[float]) -> None:
    client.run_task.return_value = refused("RESOURCE:MEMORY")

    with pytest.raises(EcsOperatorError):
        operator().execute({})
    assert client.run_task.call_count == ATTEMPTS
    assert pauses == [2, 4, 8, 16, 32, 60, 60]


def test_a_task_that_fails_to_start_is_started_again(
    client: Any, operator: Operator, pauses: List[float], caplog: pytest.LogCaptureFixture
) -> None:
    failed = described([], stopCode="TaskFailedToStart", stoppedReason="ResourceInitializationError: no network")
    client.run_task.side_effect = [started(OTHER_ARN), started()]
    client.describe_tasks.side_effect = [failed, described(), described()]

    task = operator()
    task.execute({})

    assert task.arn == ARN
    assert "ResourceInitializationError: no network. Attempt 2 of 8 in 2 s" in caplog.text


def test_a_task_that_never_starts_fails(client: Any, operator: Operator, pauses: List[float]) -> None:
    client.describe_tasks.return_value = described([], stopCode="TaskFailedToStart", stoppedReason="no image")

    with pytest.raises(EcsTaskFailToStart, match="no image"):
        operator().execute({})
    assert client.run_task.call_count == ATTEMPTS


@pytest.mark.parametrize(
    ("error", "place"),
    [
        (client_error("ClientException", message="Unable to describe task definition."), "etl/big.yaml:4:7"),
        (client_error("ClusterNotFoundException", message="Cluster not found."), "etl/big.yaml:5:7"),
        (client_error("AccessDeniedException", message="not authorized: ecs:RunTask"), "etl/big.yaml:4:7"),
        (
            client_error("InvalidParameterException", message="Override for container named x is not a container"),
            "etl/big.yaml:4:7",
        ),
    ],
)
def test_a_mistake_in_the_definition_fails_at_once_and_names_its_line(
    error: Exception, place: str, client: Any, operator: Operator, pauses: List[float]
) -> None:
    client.run_task.side_effect = error

    with pytest.raises(AirflowFailException) as caught:
        operator().execute({})
    assert str(error) in str(caught.value)
    assert str(caught.value).endswith(f"Look at {place}")
    assert client.run_task.call_count == 1


def test_an_unknown_error_is_left_to_the_retries_of_airflow(client: Any, operator: Operator) -> None:
    client.run_task.side_effect = client_error("SomethingNew")

    with pytest.raises(ClientError):
        operator().execute({})


def test_the_log_links_to_the_task_in_the_console(operator: Operator, caplog: pytest.LogCaptureFixture) -> None:
    operator(cluster="arn:aws:ecs:eu-west-1:000000000000:cluster/etl").execute({})

    console = "https://eu-west-1.console.aws.amazon.com/ecs/v2/clusters/etl/tasks/d8c67b3cac87?region=eu-west-1"
    assert console in caplog.text


def test_the_client_itself_does_not_retry(operator: Operator) -> None:
    task = operator()
    task.hook = None

    assert task.get_hook().config.retries == {"max_attempts": 0}


def test_started_by_is_valid_and_differs_for_each_attempt() -> None:
    attempts = [
        tuple(attempt.split())
        for attempt in ("a b c 1.1", "a b c 1.2", "a b c 2.1", "a b d 1.1", "a e c 1.1", "f b c 1.1")
    ]
    for owner in ("etl", "x" * 36):
        names = {started_by(owner, *attempt) for attempt in attempts}
        assert len(names) == len(attempts)
        assert all(re.fullmatch("[A-Za-z0-9_-]{1,36}", name) and name.startswith(owner[:25]) for name in names)
