"""The log of the container: it is read while it grows, and its last lines are in the failure and the XCom."""

import logging
import threading
from datetime import timedelta
from typing import Any, Dict, List, Optional
from unittest.mock import Mock

import pytest
from airflow.exceptions import AirflowException
from botocore.exceptions import (
    EndpointConnectionError,
)
from orchestrator.operators import LogTail

from tests.ecs import BADLY, Operator, client_error, described

LOGS: Dict[str, Any] = {
    "awslogs_group": "/ecs/etl",
    "awslogs_region": "eu-west-1",
    "awslogs_stream_prefix": "etl/loader",
}


class Tail:
    """A fetcher that has already read a log."""

    def __init__(self, *messages: str) -> None:
        self.messages = list(messages)
        self.start = self.stop = self.join = Mock()

    def get_last_log_message(self) -> Optional[str]:
        return self.messages[-1] if self.messages else None

    def get_last_log_messages(self, number: int) -> List[str]:
        return self.messages[-number:]


@pytest.mark.parametrize(
    ("arguments", "messages", "expected"),
    [
        (LOGS, ("first", "last"), "last"),
        (LOGS, (), None),
        (dict(LOGS, do_xcom_push=False), ("first", "last"), None),
        ({}, ("first", "last"), None),
    ],
)
def test_the_last_line_of_the_log_is_the_xcom(
    arguments: Dict[str, Any], messages: Any, expected: Optional[str], operator: Operator
) -> None:
    task = operator(**arguments)
    task._get_task_log_fetcher = lambda: Tail(*messages)

    assert task.execute({}) == expected


def test_a_failure_quotes_the_last_lines_of_the_log(client: Any, operator: Operator) -> None:
    client.describe_tasks.return_value = described(BADLY)
    task = operator(**LOGS, number_logs_exception=2)
    task._get_task_log_fetcher = lambda: Tail("first", "second", "third")

    with pytest.raises(AirflowException, match=r"last 2 logs from Cloudwatch:\nsecond\nthird$"):
        task.execute({})


def test_reading_the_log_stops_when_waiting_fails(client: Any, operator: Operator) -> None:
    client.get_waiter.return_value.wait.side_effect = ValueError
    task, tail = operator(**LOGS), Tail()
    task._get_task_log_fetcher = lambda: tail

    with pytest.raises(ValueError):  # noqa: PT011 (any)
        task.execute({})
    assert tail.stop.called


class CloudWatch:
    """A log stream that grows."""

    def __init__(self) -> None:
        self.messages: List[str] = []
        self.requests: List[Dict[str, Any]] = []

    def get_log_events(self, **request: Any) -> Dict[str, Any]:
        self.requests.append(request)
        begin = 0 if request["startFromHead"] else len(self.messages)
        first = int(request.get("nextToken", f"f/{begin}").split("/")[1])
        page = self.messages[first : first + 2]
        events = [{"timestamp": 1_640_995_200_000, "message": message} for message in page]
        return {"events": events, "nextForwardToken": f"f/{first + len(page)}"}


def log_tail(client: Any, log: logging.Logger, keep: int = 10) -> Any:
    return LogTail(client, "/ecs/etl", "etl/loader/1", timedelta(seconds=30), log, keep)


def test_every_line_is_read_once(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    client = CloudWatch()
    tail = log_tail(client, log)
    client.messages += ["one", "two", "three"]
    tail.read()
    client.messages += ["four"]
    tail.read()

    written = [record.getMessage() for record in caplog.records]
    assert written == [f"[2022-01-01 00:00:00.000] {text}" for text in ("one", "two", "three", "four")]
    tokens = [request.get("nextToken") for request in client.requests]
    assert tokens == [None, "f/2", "f/3", "f/3", "f/4"]
    assert tail.get_last_log_message() == "four"
    assert tail.get_last_log_messages(2) == ["three", "four"]


def test_reading_ends_within_two_seconds_and_includes_the_last_line(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, pauses = CloudWatch(), []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        client.messages.append("last")  # CloudWatch receives it only now

    monkeypatch.setattr("orchestrator.operators.time", Mock(sleep=sleep))
    tail = log_tail(client, log)
    tail.start()
    tail.stop()
    tail.join()

    assert sum(pauses) < 2
    assert tail.get_last_log_message() == "last"


def test_a_stream_that_does_not_exist_yet_is_not_reported(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    missing = client_error("ResourceNotFoundException", "GetLogEvents", "The specified log stream does not exist.")
    tail = log_tail(Mock(get_log_events=Mock(side_effect=missing)), log)
    tail.read()

    assert not caplog.records
    assert tail.get_last_log_message() is None
    assert tail.get_last_log_messages(3) == []


@pytest.mark.parametrize(
    "error",
    [
        client_error("ResourceNotFoundException", "GetLogEvents", "The specified log group does not exist."),
        client_error("AccessDeniedException", "GetLogEvents"),
        EndpointConnectionError(endpoint_url="https://logs"),
    ],
)
def test_an_unreadable_log_is_reported_in_one_warning(
    error: Exception, log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    tail = log_tail(Mock(get_log_events=Mock(side_effect=error)), log)
    tail.read()
    tail.read()

    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert str(error) in record.getMessage()


def test_the_operator_reads_its_own_stream_without_retries(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = Mock()
    monkeypatch.setattr("orchestrator.operators.AwsLogsHook", hook)
    task = operator(**LOGS, awslogs_fetch_interval=timedelta(seconds=5), aws_conn_id="aws_etl")
    task.ecs_task_id = "d8c67b3cac87"

    tail = task._get_task_log_fetcher()

    assert tail.request["logGroupName"] == "/ecs/etl"
    assert tail.request["logStreamName"] == "etl/loader/d8c67b3cac87"
    assert tail.interval == 5
    assert isinstance(tail, threading.Thread)
    (call,) = hook.call_args_list
    assert call[1]["aws_conn_id"] == "aws_etl"
    assert call[1]["config"].retries == {"max_attempts": 0}
