"""The log of the container: it is read while it grows, and its last lines are in the failure and the XCom."""

from threading import Thread
from typing import Any, List, Optional

import pytest
from airflow.exceptions import AirflowException
from orchestrator.operators import MAX_MESSAGE

from tests.ecs import LONG, Runs, wait_until
from tests.fake_ecs import FakeEcs


def written(caplog: pytest.LogCaptureFixture) -> List[str]:
    """Return the container's lines in the log of the task."""
    messages = (record.getMessage() for record in caplog.records if record.name == "tests.operator")
    return [message.partition("] ")[2] for message in messages if message.startswith("[20")]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["first", "last"], "last"),
        (["x" * MAX_MESSAGE], "x" * MAX_MESSAGE),
        (["x" * (MAX_MESSAGE + 1)], None),
        (["first", "y" * 300_000], None),
        (["a\0b"], "a\ufffdb"),
    ],
    ids=["lines", "longest", "too long", "300 KB", "NUL"],
)
def test_the_last_line_of_the_log_is_the_xcom(
    lines: List[str], expected: Optional[str], runs: Runs, ecs: FakeEcs, caplog: pytest.LogCaptureFixture
) -> None:
    ecs.set(log_lines={"*": lines})

    assert runs.attempt(runs.create()) == expected
    assert written(caplog)[1:] == [line.replace("\0", "\ufffd") for line in lines]


def test_broken_utf8_is_no_reason_to_lose_a_line(runs: Runs, ecs: FakeEcs, caplog: pytest.LogCaptureFixture) -> None:
    ecs.set(log_lines={"*": ["a\udcffb", "last"]})

    assert runs.attempt(runs.create()) == "last"
    written(caplog)[1].encode()


def test_a_failure_quotes_the_newest_lines(runs: Runs, ecs: FakeEcs) -> None:
    ecs.set(ends={"*": 1}, log_lines={"*": ["a" * 300_000, "the reason"]})

    with pytest.raises(AirflowException) as caught:
        runs.attempt(runs.create())

    assert str(caught.value).endswith("a\nthe reason")
    assert len(str(caught.value)) < 10_000


def test_every_line_is_written_once_while_the_log_grows(
    runs: Runs, ecs: FakeEcs, caplog: pytest.LogCaptureFixture
) -> None:
    ecs.set(seconds={"*": LONG})
    ecs.logs.limit = 2

    def write() -> None:
        for number in range(5):
            looks = len(ecs.requests) + 3
            wait_until(lambda: len(ecs.requests) >= looks)  # noqa: B023 (it is called at once)
            ecs.log(ecs.tasks()[0]["arn"], f"line {number}", f"more {number}")
        ecs.finish(ecs.tasks()[0]["arn"], 0)

    writer = Thread(target=write)
    writer.start()
    runs.attempt(runs.create())
    writer.join()

    expected = [f"{word} {number}" for number in range(5) for word in ("line", "more")]
    assert written(caplog)[1:-1] == expected


@pytest.mark.parametrize("kind", ["ThrottlingException: Rate exceeded", 503, "drop"])
def test_a_fault_at_the_last_read_loses_nothing(kind: Any, runs: Runs, ecs: FakeEcs) -> None:
    ecs.set(log_lines={"*": ["first", "last"]})
    ecs.faults.add("GetLogEvents", kind, times=4)

    assert runs.attempt(runs.create()) == "last"


def test_a_line_that_arrives_after_the_end_is_the_last_one(runs: Runs, ecs: FakeEcs) -> None:
    ecs.set(log_lines={"*": ["late"]}, log_lag={"*": 0.3})

    assert runs.attempt(runs.create(pace=1)) == "late"


def test_a_log_that_the_container_has_not_begun_is_no_fault(
    runs: Runs, ecs: FakeEcs, caplog: pytest.LogCaptureFixture
) -> None:
    ecs.set(starting={"*": 0.3})

    runs.attempt(runs.create())

    assert ecs.operations().index("GetLogEvents") < len(ecs.operations()) - 3
    assert "cannot be read" not in caplog.text


@pytest.mark.parametrize("attributes", [{"awslogs_group": "/none"}, {}], ids=["no such group", "denied"])
def test_an_unreadable_log_is_reported_once_and_fails_nothing(
    attributes: Any, runs: Runs, ecs: FakeEcs, caplog: pytest.LogCaptureFixture
) -> None:
    ecs.set(seconds={"*": 0.3})
    if not attributes:
        ecs.faults.add("GetLogEvents", "AccessDeniedException: not authorized to perform: logs:GetLogEvents")

    assert runs.attempt(runs.create(**attributes)) is None

    assert caplog.text.count("The container's log cannot be read") == 1


def test_without_logs_nothing_is_read(runs: Runs, ecs: FakeEcs) -> None:
    runs.attempt(runs.create(awslogs_group=None))

    assert "GetLogEvents" not in ecs.operations()
