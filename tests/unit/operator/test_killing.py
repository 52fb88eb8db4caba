"""Killing a task stops its ECS task, wherever the kill meets it; whatever else happens, it raises nothing."""

import io
import logging
import os
import signal
from contextlib import suppress
from importlib import import_module
from multiprocessing import get_context
from threading import Thread
from typing import Any, Iterator, List, Optional

import pytest
from airflow.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout
from orchestrator.generations import IS_3, mark_try

from tests.ecs import LONG, Runs, Try, wait_until
from tests.fake_ecs import FakeEcs


@pytest.fixture(autouse=True)
def _endless(ecs: FakeEcs) -> None:
    ecs.set(seconds={"*": LONG})


@pytest.fixture(autouse=True)
def _handler() -> Iterator[None]:
    """Restore what handles SIGTERM."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def execute_until(begun: Try, operation: str, count: int = 1) -> BaseException:
    """Execute a try; send SIGTERM once ECS has had so many requests for an operation; return what is raised."""

    def handle(number: int, frame: Any) -> None:  # as TaskInstance has it
        begun.task.on_kill()
        raise AirflowException("Task received SIGTERM signal")

    def send() -> None:
        wait_until(lambda: begun.ecs.operations().count(operation) >= count)
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, handle)
    sender = Thread(target=send)
    sender.start()
    with pytest.raises(AirflowException) as caught:
        begun.execute()
    sender.join()
    return caught.value


def running(ecs: FakeEcs) -> List[str]:
    return [task["arn"] for task in ecs.tasks() if task["status"] != "STOPPED"]


def test_a_kill_before_execution_does_nothing(runs: Runs, ecs: FakeEcs) -> None:
    runs.begin(runs.create()).task.on_kill()

    assert ecs.operations() == []


@pytest.mark.parametrize(
    ("operation", "fault"),
    [
        ("RunTask", None),
        ("RunTask", "slow: 0.3"),
        ("RunTask", "drop"),
        ("RunTask", "lost"),
        ("RunTask", 503),
        ("RunTask", "ThrottlingException: Rate exceeded"),
        ("DescribeTasks", None),
        ("DescribeTasks", "slow: 0.3"),
        ("DescribeTasks", 503),
        ("DescribeTasks", "drop"),
        ("GetLogEvents", None),
        ("GetLogEvents", "slow: 0.3"),
        ("GetLogEvents", "AccessDeniedException: no"),
    ],
)
def test_sigterm_leaves_no_ecs_task_and_is_the_reason(
    operation: str, fault: Optional[Any], runs: Runs, ecs: FakeEcs
) -> None:
    if fault:
        ecs.faults.add(operation, fault, times=1)

    reason = execute_until(runs.begin(runs.create(), pace=0.05), operation)

    assert str(reason) == "Task received SIGTERM signal"
    assert running(ecs) == []
    assert len(ecs.tasks()) <= 1
    assert all(task["reason"] == "Airflow has ended the try" for task in ecs.tasks())


@pytest.mark.parametrize("operation", ["ListTasks", "DescribeTasks"])
@pytest.mark.parametrize("fault", [None, "slow: 0.3", 503])
def test_sigterm_while_a_later_try_looks_for_the_ecs_task_stops_that(
    operation: str, fault: Optional[Any], runs: Runs, ecs: FakeEcs
) -> None:
    instance = runs.create()
    runs.lose(instance)
    described = ecs.operations().count(operation)
    if fault:
        ecs.faults.add(operation, fault, times=1)

    execute_until(runs.begin(instance, pace=0.05), operation, described + 1)

    assert len(ecs.tasks()) == 1
    assert running(ecs) == []


@pytest.mark.parametrize("operation", ["RunTask", "DescribeTasks", "GetLogEvents"])
def test_a_timeout_during_a_request_is_not_taken_for_a_fault_of_aws(operation: str, runs: Runs, ecs: FakeEcs) -> None:
    from airflow.utils.timeout import timeout

    ecs.faults.add(operation, "slow: 3", times=1)
    begun = runs.begin(runs.create())

    with pytest.raises(AirflowTaskTimeout), timeout(2):  # type: ignore[no-untyped-call]
        begun.execute()
    begun.task.on_kill()  # as Airflow does then

    assert len(ecs.tasks()) == 1
    assert running(ecs) == []


@pytest.mark.parametrize(
    "fault",
    [
        "AccessDeniedException: not authorized to perform: ecs:StopTask",
        "ThrottlingException: Rate exceeded",
        503,
        "drop",
        "slow: 0.2",
        "InvalidParameterException: The referenced task was not found.",
    ],
)
def test_a_kill_raises_nothing_and_ends_in_time_although_stopping_fails(
    fault: Any, runs: Runs, ecs: FakeEcs, caplog: pytest.LogCaptureFixture
) -> None:
    begun = runs.begin(runs.create(), pace=0.02)
    ecs.faults.add("StopTask", fault)

    reason = execute_until(begun, "DescribeTasks")

    assert str(reason) == "Task received SIGTERM signal"
    # At 0, 2, 6, 10, 14 and 18 s and after 20 s, by the clock: on a busy machine there are fewer.
    assert 1 <= ecs.operations().count("StopTask") <= 7
    if str(fault).startswith("slow"):
        assert running(ecs) == []
    else:
        assert "The ECS task could not be stopped" in caplog.text


@pytest.mark.parametrize("fault", ["ThrottlingException: Rate exceeded", 503, "drop"])
def test_a_kill_stops_the_ecs_task_when_aws_is_back(fault: Any, runs: Runs, ecs: FakeEcs) -> None:
    ecs.faults.add("StopTask", fault, times=1)

    execute_until(runs.begin(runs.create(), pace=0.5), "DescribeTasks")  # a second of pause, and 10 s for all

    assert running(ecs) == []


@pytest.mark.parametrize(("sign", "started"), [("Attempt 2 in", 0), ("DescribeTasks", 1)])
def test_a_try_ends_where_airflow_raises_nothing_after_a_kill(
    sign: str, started: int, runs: Runs, ecs: FakeEcs, caplog: pytest.LogCaptureFixture
) -> None:
    """As in Airflow 3, which lets the task go on: in the pause before another RunTask, and while the ECS task runs."""
    ecs.faults.add("RunTask", "ThrottlingException: Rate exceeded", times=1)
    begun = runs.begin(runs.create(pace=0.25))
    signal.signal(signal.SIGTERM, lambda number, frame: begun.task.on_kill())

    def send() -> None:
        wait_until(lambda: sign in caplog.text or sign in ecs.operations())
        os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=send).start()
    with pytest.raises(AirflowException, match="Task received SIGTERM signal"):
        begun.execute()

    assert running(ecs) == []
    assert len(ecs.tasks()) == started


def test_a_person_who_interrupts_a_trial_leaves_no_ecs_task(runs: Runs, ecs: FakeEcs) -> None:
    def interrupt() -> None:
        wait_until(lambda: "DescribeTasks" in ecs.operations())
        os.kill(os.getpid(), signal.SIGINT)

    Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        runs.attempt(runs.create())

    assert running(ecs) == []


def test_a_process_that_wakes_after_another_try_has_taken_over_leaves_the_ecs_task_alone(
    runs: Runs, ecs: FakeEcs
) -> None:
    instance = runs.create()
    first = runs.begin(instance)
    first.lose()
    asleep = first.twin()
    asleep.context["ti"] = runs.seen_by_its_process(instance)

    class Later(Exception):
        """The next try begins."""

    def handle(number: int, frame: Any) -> None:
        raise Later

    signal.signal(signal.SIGTERM, handle)

    def send() -> None:
        wait_until(lambda: len(ecs.requests) > 8)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = Thread(target=send)
    sender.start()
    with pytest.raises(Later):
        asleep.execute()
    sender.join()
    ecs.faults.add("ListTasks", "AccessDeniedException: no", times=1)
    with pytest.raises(AirflowFailException):  # it has begun, and leaves the ECS task to yet another one
        runs.attempt(instance)

    asleep.task.on_kill()

    assert "StopTask" not in ecs.operations()
    assert len(running(ecs)) == 1


def test_a_process_that_wakes_before_its_start_starts_nothing_beside_a_later_try(runs: Runs, ecs: FakeEcs) -> None:
    instance = runs.create(pace=0.5)
    asleep = runs.begin(instance)
    asleep.context["ti"] = runs.seen_by_its_process(instance)
    ecs.faults.add("RunTask", "ThrottlingException: Rate exceeded", times=1)

    def begin_another() -> None:
        wait_until(lambda: "RunTask" in ecs.operations())
        mark_try(runs.begin(instance).context["ti"])

    Thread(target=begin_another).start()
    with pytest.raises(AirflowException, match="A later try has taken over"):
        asleep.execute()

    assert ecs.tasks() == []


def test_what_a_lost_answer_may_have_started_is_stopped_before_the_try_fails(runs: Runs, ecs: FakeEcs) -> None:
    ecs.set(seconds={"*": LONG})
    ecs.faults.add("RunTask", "lost", times=1)
    ecs.faults.add("RunTask", "AccessDeniedException: no", times=1)

    with pytest.raises(AirflowFailException, match="AccessDenied"):
        runs.attempt(runs.create())

    assert len(ecs.tasks()) == 1
    assert running(ecs) == []


class Interrupted(io.StringIO):
    """A log during whose first line of ours a signal arrives."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, text: str) -> int:
        if "in the console" in text:
            os.kill(os.getpid(), self.number)
        return super().write(text)


def log_to(stream: Any) -> Any:
    """Return a logger that writes to a stream as that of a task does: in 3, with a lock that a process takes once."""
    if IS_3:
        structlog = import_module("structlog")
        return structlog.wrap_logger(
            structlog.PrintLogger(stream), wrapper_class=structlog.make_filtering_bound_logger(20)
        )
    log = logging.Logger("interrupted")
    log.addHandler(logging.StreamHandler(stream))
    return log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGALRM])
def test_a_signal_while_a_line_is_written_ends_the_try_and_its_ecs_task(number: int, runs: Runs, ecs: FakeEcs) -> None:
    runs.log = log_to(Interrupted(number))
    begun = runs.begin(runs.create())

    def handle(number: int, frame: Any) -> None:  # as Airflow has it
        begun.task.log.error("Received signal")
        begun.task.on_kill()
        raise AirflowException("The reason")

    def execute() -> None:
        signal.signal(number, handle)
        with pytest.raises(AirflowException, match=r"^The reason$"):
            begun.execute()

    process = get_context("fork").Process(target=execute)  # if it waits for a lock, it does so for ever
    process.start()
    process.join(30)
    process.kill()
    process.join()

    assert process.exitcode == 0
    assert len(ecs.tasks()) == 1
    assert running(ecs) == []


def test_a_second_sigterm_does_not_interrupt_the_first(runs: Runs, ecs: FakeEcs) -> None:
    ecs.faults.add("StopTask", "slow: 0.4", times=1)
    begun = runs.begin(runs.create())

    def send() -> None:
        wait_until(lambda: "StopTask" in ecs.operations())
        os.kill(os.getpid(), signal.SIGTERM)

    sender = Thread(target=send)
    sender.start()
    with suppress(AirflowException):
        execute_until(begun, "DescribeTasks")
    sender.join()

    assert running(ecs) == []
