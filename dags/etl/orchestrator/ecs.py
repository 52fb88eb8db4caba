"""Requests to ECS and CloudWatch Logs: what their errors mean, how an ECS task ended, what its container wrote."""

import re
import signal
import time
from collections import deque
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Callable, Deque, Dict, Iterator, Mapping, Optional, Sequence

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
NO_CAPACITY = re.compile(r"RESOURCE:|AGENT$|.*[Cc]apacity is unavailable")  # reasons of a task that does not start
ATTEMPTS, PAUSE, MAX_PAUSE = 8, 2.0, 60.0  # seconds; each pause is twice the one before: some 3 minutes


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


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold back SIGTERM and the alarm of a timeout.

    What their handlers raise, botocore takes for a broken connection, and the provider's hook for bad credentials;
    and a second SIGTERM would end what the first one began.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGALRM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Aws:
    """Sends the requests of one task: once, or again and again while a fault lasts.

    Args:
        connection: Airflow's; None for the worker's role.
        region: Of ECS.
        log: Where faults are noted.
        pace: All pauses are multiplied with it.
    """

    # Short, as Airflow kills a task 60 s after SIGTERM. Once, as botocore would not tell of the attempts between.
    CONFIG = Config(connect_timeout=3, read_timeout=7, retries={"max_attempts": 0})

    def __init__(self, connection: Optional[str], region: Optional[str], log: Any, pace: float) -> None:
        self.connection, self.region, self.log, self.pace = connection, region, log, pace
        self._clients: Dict[Any, Any] = {}

    def ask(self, operation: str, **request: Any) -> Dict[str, Any]:
        """Send a request to ECS once; return the answer."""
        return self._send("ecs", self.region, operation, request)

    def ask_logs(self, region: Optional[str], operation: str, **request: Any) -> Dict[str, Any]:
        """Send a request to CloudWatch Logs once; return the answer."""
        return self._send("logs", region, operation, request)

    def _send(self, service: str, region: Optional[str], operation: str, request: Mapping[str, Any]) -> Dict[str, Any]:
        with signals_held():
            try:
                client = self._clients.get(service)
                if not client:
                    hook = AwsBaseHook(self.connection, client_type=service, region_name=region, config=self.CONFIG)
                    self._clients[service] = client = hook.get_conn()
                    if service == "ecs":  # the botocore in MWAA's image does not know this member of the request
                        members = client.meta.service_model.operation_model("RunTask").input_shape.members
                        members.setdefault("clientToken", members["group"])
                answer: Dict[str, Any] = getattr(client, operation)(**request)
                return answer
            except (BotoCoreError, ClientError):
                self._clients.pop(service, None)  # the next attempt looks for credentials again
                raise

    def outlast(self, operation: str, **request: Any) -> Dict[str, Any]:
        """Send a request to ECS until no fault stands in its way; return the answer."""
        answer: Dict[str, Any] = self.persist(lambda: self.ask(operation, **request))
        return answer

    def persist(
        self,
        call: Callable[[], Any],
        stop: Any = None,
        fault: Callable[[BaseException], bool] = is_fault,
        max_pause: float = MAX_PAUSE,
    ) -> Any:
        """Call again, with growing pauses, while a fault lasts; raise the last one."""

        def log_fault(state: Any) -> None:
            number, pause = state.attempt_number + 1, state.next_action.sleep
            self.log.warning("%s. Attempt %d in %.0f s", state.outcome.exception(), number, pause)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(fault),
            wait=tenacity.wait_exponential(multiplier=PAUSE * self.pace, max=max_pause * self.pace),
            stop=stop or tenacity.stop_after_attempt(ATTEMPTS),
            before_sleep=log_fault,
            reraise=True,
        )
        return retrying(call)


# ---------------------------------------------------------------------------------------- the end of an ECS task

ESSENTIAL = "EssentialContainerExited"


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
        self.aws, self.region, self.group = aws, region, group
        self.request: Dict[str, Any] = {"logGroupName": group, "logStreamName": stream, "startFromHead": True}
        self.last: Deque[str] = deque(maxlen=LAST_LINES)
        self.reported = ""

    def read(self) -> None:
        """Write what has come since the last look; raise what AWS raises."""
        while self.group:
            try:
                page = self.aws.ask_logs(self.region, "get_log_events", **self.request)
            except ClientError as error:
                if "stream does not exist" in str(error):  # the container has not written yet
                    return
                raise
            for event in page["events"]:
                line = clean(event["message"])
                self.last.append(line)
                written = datetime.utcfromtimestamp(event["timestamp"] / 1000).isoformat(" ", "milliseconds")
                self.aws.log.info("[%s] %s", written, line)
            if self.request.get("nextToken") == page["nextForwardToken"]:
                return
            self.request["nextToken"] = page["nextForwardToken"]

    def try_to_read(self, read: Optional[Callable[[], None]] = None) -> None:
        """Read; an error is logged once, and is no reason to fail: the next look has the lines, too."""
        try:
            (read or self.read)()
        except (BotoCoreError, ClientError) as error:
            if str(error) != self.reported:
                self.reported = str(error)
                self.aws.log.warning("The container's log cannot be read from %s: %s", self.group, error)

    def read_to_the_end(self) -> None:
        """Read what the container wrote last; CloudWatch has that a moment after it has ended."""
        if self.group:
            time.sleep(self.aws.pace)
            self.try_to_read(lambda: self.aws.persist(self.read))


def clean(text: str) -> str:
    """Return a line without what a log or a database cannot take: NUL, and surrogates of broken UTF-8."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def excerpt(lines: Sequence[str]) -> str:
    """Return the last lines for the reason of a failure."""
    text = "\n".join(lines)
    return f"\nThe last lines of its log:\n{text[-MAX_EXCERPT:]}" if lines else ""
