"""Requests to ECS and CloudWatch Logs: what their errors mean, how an ECS task ended, what its container wrote."""

import logging
import re
import signal
import time
from collections import deque
from contextlib import contextmanager
from datetime import datetime
from threading import get_ident
from typing import Any, Callable, Deque, Dict, Iterator, List, Mapping, Optional, Sequence

import tenacity
from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

# ------------------------------------------------------------------------------------------------------ faults

# Answers below 500 that have nothing against the request: it may succeed later.
PASSING = re.compile(
    r"Throttl|TooManyRequests|RequestLimitExceeded|RequestTimeout|RequestExpired|ExpiredToken"
    r"|limit on the number of|[Cc]apacity is unavailable|No Container Instances were found"
)
ATTEMPTS = 8  # with pauses of 2, 4, 8 ... 60 s: some 3 minutes; then the task's own retries go on
NO_CAPACITY = re.compile(r"RESOURCE:|AGENT$|.*[Cc]apacity is unavailable")  # reasons of a task that does not start


class NoCapacity(Exception):
    """ECS has answered, and has no place for the task."""


def is_answer(error: BaseException) -> bool:
    """Return whether AWS has refused the request, so that it surely had no effect."""
    return isinstance(error, ClientError) and error.response["ResponseMetadata"]["HTTPStatusCode"] < 500


def is_fault(error: BaseException) -> bool:
    """Return whether the same request may succeed later: AWS is busy or away, or a worker's role is.

    Every other answer is a mistake, of the definition or of the permissions.
    """
    if isinstance(error, ClientError):
        return not is_answer(error) or bool(PASSING.search(str(error)))
    return isinstance(error, (BotoCoreError, NoCapacity)) and not isinstance(error, ParamValidationError)


def is_from_aws(error: BaseException) -> bool:
    """Return whether AWS, or the way to it, is the reason."""
    return isinstance(error, (BotoCoreError, ClientError))


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold back SIGTERM, Ctrl-C and the alarm of a timeout.

    What their handlers raise, botocore takes for a broken connection, and the provider's hook for bad credentials;
    and a second SIGTERM would end what the first one began. A mask would not do: it is that of one thread, and another
    one, as of a log handler, would take the signal and have Python call the handler here.
    """
    held: List[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)}
    for number in before:
        signal.signal(number, lambda signum, frame: held.append(signum))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if held:
            signal.pthread_kill(get_ident(), held[0])  # the handler is called here, and nowhere else


class HeldLog(logging.LoggerAdapter):  # type: ignore[type-arg]  # it has none in Python 3.7
    """Writes each line with signals held, as their handlers write too, and raise.

    In 3, the lock of the log would have ``on_kill`` wait for the line that it interrupts; before 3, a handler of the
    log swallows what is raised.
    """

    def log(self, level: int, msg: Any, *args: Any, **options: Any) -> None:
        with signals_held():
            self.logger.log(level, msg, *args, **options)


class Aws:
    """Sends the requests of one task: once, or again and again while a fault lasts.

    Args:
        connection: Airflow's; None for the worker's role.
        region: Of ECS.
        log: Where faults are noted, and all else that the task writes while it runs.
        pace: All pauses are multiplied with it.
    """

    # Short, as Airflow kills a task 60 s after SIGTERM. Once, as botocore would not tell of the attempts between.
    CONFIG = Config(connect_timeout=3, read_timeout=7, retries={"max_attempts": 0})

    def __init__(self, connection: Optional[str], region: Optional[str], log: Any, pace: float) -> None:
        self.connection, self.region, self.log, self.pace = connection, region, HeldLog(log, {}), pace
        self._clients: Dict[str, Any] = {}

    def ask(self, operation: str, service: str = "ecs", region: Optional[str] = None, **request: Any) -> Any:
        """Send a request once; return the answer."""
        with signals_held():
            try:
                if service not in self._clients:
                    where = {"aws_conn_id": self.connection, "region_name": region or self.region}
                    hook = AwsBaseHook(**where, client_type=service, config=self.CONFIG)
                    self._clients[service] = client = hook.get_conn()
                    if service == "ecs":  # the botocore in MWAA's image does not know this member of the request
                        members = client.meta.service_model.operation_model("RunTask").input_shape.members
                        members.setdefault("clientToken", members["group"])
                return getattr(self._clients[service], operation)(**request)
            except (BotoCoreError, ClientError):
                self._clients.pop(service, None)  # the next attempt looks for credentials again
                raise

    def outlast(self, operation: str, stop: Any = None, fault: Any = is_fault, **request: Any) -> Any:
        """Send a request, again and again while a fault lasts; return the answer."""
        return self.persist(lambda: self.ask(operation, **request), stop, fault)

    def persist(self, call: Callable[[], Any], stop: Any = None, fault: Any = is_fault, max_pause: float = 60) -> Any:
        """Call again, with growing pauses, while a fault lasts; raise the last one after 8 attempts in 3 minutes.

        Args:
            call: What raises the fault.
            stop: When to give up instead, as tenacity has it.
            fault: Tells of an exception whether it is one.
            max_pause: Seconds.
        """

        def log_fault(state: Any) -> None:
            number, pause = state.attempt_number + 1, state.next_action.sleep
            self.log.warning("%s. Attempt %d in %.0f s", state.outcome.exception(), number, pause)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(fault),
            wait=tenacity.wait_exponential(multiplier=2 * self.pace, max=max_pause * self.pace),
            stop=stop or tenacity.stop_after_attempt(ATTEMPTS),
            before_sleep=log_fault,
            reraise=True,
        )
        return retrying(call)


MAX_PAGES = 100  # of 100 ECS tasks each


def tasks_of(ask: Callable[..., Any], cluster: str, **which: Optional[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the ECS tasks of a cluster that ListTasks has, as DescribeTasks has them; none of a cluster that is gone.

    Args:
        ask: :meth:`Aws.ask` or :meth:`Aws.outlast`.
        cluster: Name or ARN.
        which: The filters of ListTasks.
    """
    for _ in range(MAX_PAGES):
        try:
            page = ask("list_tasks", cluster=cluster, **which)
        except ClientError as error:
            if "ClusterNotFound" in str(error):
                return
            raise
        if page["taskArns"]:
            yield from ask("describe_tasks", cluster=cluster, tasks=page["taskArns"])["tasks"]
        if not page.get("nextToken"):
            return
        which["nextToken"] = page["nextToken"]


# ---------------------------------------------------------------------------------------- the end of an ECS task

ESSENTIAL, FAILED_TO_START = "EssentialContainerExited", "TaskFailedToStart"  # stop codes


def exit_code(task: Mapping[str, Any], container: str) -> Optional[int]:
    """Return the exit code of the container that does the work; None if it did not end by itself, or never ran.

    The codes of sidecars do not count: they may end by a signal when the work is done. Nor does that of a container
    which was stopped by a person, by Airflow or with a lost Spot instance: it may exit with 0.
    """
    if task.get("stopCode", ESSENTIAL) != ESSENTIAL:
        return None
    return next((each.get("exitCode") for each in task["containers"] if each.get("name") == container), None)


def describe_end(task: Mapping[str, Any], container: str) -> str:
    """Return in words how a stopped ECS task has ended, first the container that does the work."""
    parts = []
    for each in sorted(task["containers"], key=lambda each: bool(each.get("name") != container)):
        code = each.get("exitCode")
        how = "did not run" if code is None else f"exited with code {code}"
        how += ", out of memory or killed" if code == 137 else ""
        parts.append(f"container '{each.get('name')}' {how}" + (f" ({each['reason']})" if each.get("reason") else ""))
    return f"{'; '.join(parts)}. ECS says: {task.get('stopCode')}: {task.get('stoppedReason')}"


# ------------------------------------------------------------------------------------------------- a container's log

LAST_LINES = 10  # of a container's log, for the reason of a failure
MAX_EXCERPT = 8_000  # characters of these; the newest are kept


class LogTail:
    """Writes a container's output in CloudWatch Logs to the task's log, each look from where the last one ended."""

    def __init__(self, aws: Aws, region: Optional[str], group: Optional[str], stream: str) -> None:
        self.aws, self.group, self.reported, self.at_end = aws, group, "", False
        self.request: Dict[str, Any] = {"service": "logs", "region": region, "startFromHead": True}
        self.request.update(logGroupName=group, logStreamName=stream)
        self.last: Deque[str] = deque(maxlen=LAST_LINES)

    def read(self, persist: Callable[..., Any] = lambda call: call()) -> None:
        """Write what has come since the last look. An error is no reason to fail: the next look has the same lines."""
        try:
            while self.group and persist(self.read_page):
                pass
        except (BotoCoreError, ClientError) as error:
            too_early = "ResourceNotFound" in str(error) and not self.at_end  # the container has not written yet
            if not too_early and str(error) != self.reported:
                self.reported = str(error)
                self.aws.log.warning("The container's log cannot be read from %s: %s", self.group, error)

    def read_to_the_end(self) -> None:
        """Read what the container wrote last; CloudWatch has that a moment after it has ended."""
        self.at_end = True
        time.sleep(self.aws.pace)
        self.read(self.aws.persist)

    def read_page(self) -> bool:
        """Write one page; return whether there may be another."""
        page = self.aws.ask("get_log_events", **self.request)
        for event in page["events"]:
            self.last.append(clean(event["message"]))
            written = datetime.utcfromtimestamp(event["timestamp"] / 1000).isoformat(" ", "milliseconds")
            self.aws.log.info("[%s] %s", written, self.last[-1])
        before, self.request["nextToken"] = self.request.get("nextToken"), page["nextForwardToken"]
        return bool(before != page["nextForwardToken"])


def clean(text: str) -> str:
    """Return a line without what a log or a database cannot take: NUL, and surrogates of broken UTF-8."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def excerpt(lines: Sequence[str]) -> str:
    """Return the last lines for the reason of a failure."""
    text = "\n".join(lines)
    return f"\nThe last lines of its log:\n{text[-MAX_EXCERPT:]}" if lines else ""
