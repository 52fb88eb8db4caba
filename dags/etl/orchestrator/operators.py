"""The ECS task: the provider's operator, without its holes."""

import re
import threading
import time
from collections import deque
from datetime import datetime, timedelta
from typing import Any, ClassVar, Deque, Dict, List, Mapping, Optional, Set

import tenacity
from airflow.exceptions import AirflowException, AirflowFailException
from airflow.models.xcom import XCom
from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from airflow.providers.amazon.aws.hooks.logs import AwsLogsHook
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, WaiterError
from botocore.exceptions import ConnectionError as BotoConnectionError

from .definitions import JSON_OPTIONS, ParamValues
from .generations import EcsOperator
from .models import Param
from .planning import started_by
from .problems import did_you_mean
from .rules import json_length, misfits
from .vocabulary import MAX_PARAM_CHARACTERS

# ------------------------------------------------------------------------------------------------ typed params


def params_of_run(params: Mapping[str, Param], context: Any) -> Dict[str, Any]:
    """Lay what a person typed at the trigger over the defaults, for the templates of a task.

    Airflow takes unknown keys in silence, and on MWAA none at all reaches ``params``: AWS sets
    core.dag_run_conf_overrides_params to False there.

    Raises:
        AirflowFailException: What was typed is not what the DAG takes; no retry could change that.
    """
    run = context.get("dag_run")
    typed = (run and run.conf) or {}
    mistakes = [
        f"unknown key '{key}', {did_you_mean(key, params) or 'this DAG takes none'}"
        for key in typed
        if key not in params
    ]
    values = {name: typed.get(name, param.default) for name, param in params.items()}
    for name in params:
        if name in typed:
            mistakes += [f"'{name}': {message[:200]}" for message in misfits(typed[name], params[name].json_schema)]
    length = json_length(values)
    if length > MAX_PARAM_CHARACTERS:  # a template could grow by more than it is checked for
        mistakes.append(f"all params together are {length} characters of JSON, and may be {MAX_PARAM_CHARACTERS}")
    if mistakes:
        raise AirflowFailException(f"The run's configuration is not what this DAG takes: {'; '.join(mistakes)}")
    return values


def render_with_params(task: Any, context: Any, jinja_env: Any) -> Any:
    """Let the templates of a task see what a person typed; return the Jinja environment to render them in."""
    context["params"] = ParamValues(params_of_run(task.typed_params, context))
    environment = jinja_env or task.get_template_env()
    environment.policies["json.dumps_kwargs"] = JSON_OPTIONS
    return environment


# ------------------------------------------------------------------------------------------------------ faults

# What ECS answers when a later try may succeed, and when a person has to change something.
TRANSIENT = re.compile(
    r"Throttl|TooManyRequests|RequestLimitExceeded|ServerException|ServiceUnavailable|InternalFailure|InternalError"
    r"|RequestTimeout|limit on the number of|[Cc]apacity is unavailable|No Container Instances were found"
)
NO_CAPACITY = re.compile(r"RESOURCE:|AGENT$|Capacity is unavailable")
MISTAKE = re.compile(
    r"ClientException|InvalidParameterException|ClusterNotFound|AccessDenied|PlatformUnknown|UnsupportedFeature|Blocked"
)
ATTEMPTS = 8  # 3 minutes of pauses; then the task's own retries go on


def is_transient(error: BaseException) -> bool:
    """Return whether ECS may do at a later try what it does not do now."""
    failures = getattr(error, "failures", None)  # the provider's EcsOperatorError, which MWAA's own calls otherwise
    if failures is not None:  # what is missing, such as RESOURCE:MEMORY
        return all(NO_CAPACITY.match(failure.get("reason", "")) for failure in failures)
    if isinstance(error, (ClientError, WaiterError)):
        return bool(TRANSIENT.search(str(error)))
    return isinstance(error, (BotoConnectionError, HTTPClientError)) and not interruption(error)


def interruption(error: BaseException) -> Optional[BaseException]:
    """Return what Airflow raised at a timeout or SIGTERM, if botocore has wrapped it in the middle of a request."""
    wrapped = getattr(error, "kwargs", {}).get("error")
    return wrapped if isinstance(wrapped, AirflowException) else None


def has_not_started(error: BaseException) -> bool:
    """Return whether ECS surely has not started the task; it may have if no answer came, or one of a failure."""
    if isinstance(error, ClientError):
        return bool(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) < 500)
    if isinstance(error, BotoCoreError):
        return not isinstance(error, HTTPClientError)
    return hasattr(error, "failures")  # the provider's EcsOperatorError


def failed_to_start(error: BaseException) -> bool:
    """Return whether ECS took the task, but did not get its containers to run."""
    return type(error).__name__ == "EcsTaskFailToStart"  # which the provider in MWAA's own image does not have


class LogTail(threading.Thread):
    """Follows a container's output in CloudWatch Logs and writes it to the task's log; stop() ends it within 2 s.

    The provider's own reads the stream from its head at every look, and sleeps its whole interval before it ends.
    """

    def __init__(self, client: Any, group: str, stream: str, interval: timedelta, log: Any, keep: int) -> None:
        super().__init__(daemon=True, name="log tail")
        self.client, self.log, self.interval = client, log, interval.total_seconds()
        self.request: Dict[str, Any] = {"logGroupName": group, "logStreamName": stream, "startFromHead": True}
        self.last: Deque[str] = deque(maxlen=keep)
        self.reported: Set[str] = set()
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(self.interval):
            self.read()
        time.sleep(1)  # CloudWatch has the last lines a moment after the container has ended
        self.read()

    def read(self) -> None:
        """Write what has come since the last look. An error is reported once, and is no reason to fail."""
        try:
            while True:
                response = self.client.get_log_events(**self.request)
                for event in response["events"]:
                    self.last.append(event["message"])
                    written = datetime.utcfromtimestamp(event["timestamp"] / 1000).isoformat(" ", "milliseconds")
                    self.log.info("[%s] %s", written, event["message"])
                if self.request.get("nextToken") == response["nextForwardToken"]:
                    return
                self.request["nextToken"] = response["nextForwardToken"]
        except (BotoCoreError, ClientError) as error:
            not_yet = "stream does not exist" in str(error)  # the container has not written yet
            if not not_yet and str(error) not in self.reported:
                self.reported.add(str(error))
                self.log.warning("The container's log cannot be read from %s: %s", self.request["logGroupName"], error)

    def stop(self) -> None:
        """Read once more and end."""
        self.stopped.set()

    def get_last_log_messages(self, number: int) -> List[str]:
        """Return the last messages, for the error of a failed task."""
        return list(self.last)[-number:]

    def get_last_log_message(self) -> Optional[str]:
        """Return the last message, which becomes the task's XCom."""
        return self.last[-1] if self.last else None


class PipelineEcsOperator(EcsOperator):
    """Runs an ECS task to its end.

    The private methods of the provider 3.4.0 that it overrides are those that lose a task, start one twice, or give up
    where waiting is right.
    """

    template_fields = (*EcsOperator.template_fields, "cluster", "task_definition", "network_configuration", "tags")
    typed_params: Mapping[str, Param] = {}
    places: Mapping[str, str] = {}  # path:line:column of what a mistake is in: cluster, task_definition
    first_pause: ClassVar[float] = 2.0  # seconds before the second attempt; each pause is twice the one before
    logical_date: Any = None
    starts = 0  # within this try
    unanswered = ""  # startedBy of a RunTask that ECS may have taken without telling
    killed = False  # by Airflow

    def render_template_fields(self, context: Any, jinja_env: Any = None) -> None:
        """Fill the templates in, with what a person typed at the trigger; check that before anything starts."""
        super().render_template_fields(context, render_with_params(self, context, jinja_env))

    def get_hook(self) -> Any:
        """Return the provider's hook for a client that tries once: botocore would repeat a RunTask without looking."""
        if not self.hook:
            once = Config(retries={"max_attempts": 0})
            self.hook = AwsBaseHook(self.aws_conn_id, client_type="ecs", region_name=self.region_name, config=once)
        return self.hook

    def execute(self, context: Any, session: Any = None) -> Any:
        """Run the ECS task to its end; a mistake in the definition fails at once, without retries."""
        self.logical_date = context.get("logical_date")
        try:
            return super().execute(context)
        except HTTPClientError as error:
            raised = interruption(error)
            if raised:
                raise raised from None
            raise
        except (ClientError, WaiterError) as error:  # who may not DescribeTasks hears it from the waiter
            if not MISTAKE.search(str(error)) or is_transient(error):
                raise
            place = self.places.get("cluster" if "luster" in str(error) else "task_definition", "the definition")
            raise AirflowFailException(f"ECS refuses the task: {error}. Look at {place}") from error

    def persist(self, call: Any, *arguments: Any, when: Any = is_transient, **more: Any) -> Any:
        """Call again with growing pauses while ``when`` says of the error that it may pass, at most 8 times.

        ``retries: 0`` has to survive a throttled call, and a try is a line in the history that somebody has to read.
        """

        def log_attempt(state: Any) -> None:
            error = state.outcome.exception()
            reason, pause = getattr(error, "failures", error), state.next_action.sleep
            self.log.warning("%s. Attempt %d of %d in %.0f s", reason, state.attempt_number + 1, ATTEMPTS, pause)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(when),
            wait=tenacity.wait_exponential(multiplier=self.first_pause, max=60),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            before_sleep=log_attempt,
            reraise=True,
        )
        return retrying(call, *arguments, **more)

    def _start_wait_check_task(self, context: Any) -> None:
        self.persist(super()._start_wait_check_task, context, when=failed_to_start)

    def _start_task(self, context: Any) -> None:
        owner = self.owner
        if self.reattach:
            # Noted before ECS is asked: by it, the task of a worker that died before it noted the answer is found.
            self.starts += 1
            run_id, attempt = context["run_id"], f"{context['ti'].try_number}.{self.starts}"
            self.owner = started_by(owner, self.dag_id, self.task_id, run_id, attempt)  # what the provider sends
            self.note(context, self.owner)
        try:
            self.persist(self._run_task, context)
        finally:
            self.owner = owner
        self.log_address()

    def log_address(self) -> None:
        """Log where a person finds the ECS task in AWS's console."""
        client: Any = self.client
        region, cluster = client.meta.region_name, self.cluster.split("/")[-1]
        address = f"https://{region}.console.aws.amazon.com/ecs/v2/clusters/{cluster}/tasks/{self.ecs_task_id}"
        self.log.info("The ECS task in the console: %s?region=%s", address, region)

    def _run_task(self, context: Any) -> None:
        """Ask ECS to run the task, unless it does so already and only its answer got lost on the way."""
        if self.killed:  # while a client was made: what Airflow raises then, the provider takes for bad credentials
            raise AirflowException("Airflow has ended the task by SIGTERM before ECS was asked for anything")
        start: Any = super()._start_task
        arn = self.find(self.unanswered) if self.unanswered else None
        self.unanswered = self.owner if self.reattach and not arn else ""
        if arn:
            self.log.info("Taking up %s: ECS has started it, and its answer got lost", arn)
            self.arn, self.ecs_task_id = arn, arn.split("/")[-1]
            self.note(context, arn)
            return
        try:
            start(context)
            self.unanswered = ""
        except Exception as error:
            if has_not_started(error):
                self.unanswered = ""
            raise

    def note(self, context: Any, value: str) -> None:
        """Keep the startedBy or the ARN of an ECS task for a later try of this run, where the provider looks for it."""
        keep: Any = self._xcom_set
        memory = self.REATTACH_XCOM_TASK_ID_TEMPLATE.format(task_id=self.task_id)
        keep(context, key=self.REATTACH_XCOM_KEY, value=value, task_id=memory)

    def _wait_for_task_ended(self) -> None:
        self.persist(super()._wait_for_task_ended)

    def _check_success_task(self) -> None:
        """Fail for a task that was stopped from outside, too: its containers may have taken that well."""
        if self.killed:  # and what Airflow raised then was swallowed, as the provider does while it makes a client
            raise AirflowException("Airflow has ended the task by SIGTERM")
        self.persist(super()._check_success_task)
        task = self.arn and self.look_at(self.arn)
        if task and not ended_by_itself(task):
            raise AirflowException(f"The task was stopped: {task['stopCode']}: {task.get('stoppedReason')}")

    def on_kill(self) -> None:
        """Stop the ECS task, also one whose RunTask ECS has yet to answer, and also when the API is slow to take it."""
        self.killed = True
        if self.unanswered:
            self.arn = self.find(self.unanswered)
        self.persist(super().on_kill)

    def _try_reattach_task(self, context: Any) -> None:
        """Take up the ECS task of a worker that died, if it runs or has done its work since the run began.

        DescribeTasks knows the one task, stopped or not, where the provider lists 100 running ones of the family.
        ListTasks is asked only for a task that was started, but not noted. ECS forgets a stopped task after an hour.
        """
        memory = self.REATTACH_XCOM_TASK_ID_TEMPLATE.format(task_id=self.task_id)
        arn: Any = self.xcom_pull(context, task_ids=memory, key=self.REATTACH_XCOM_KEY)  # type: ignore[arg-type]
        if arn and not arn.startswith("arn:"):
            arn = self.find(arn)
        if not arn:
            return
        task = self.look_at(arn)
        if task and task.get("desiredStatus") == "STOPPED":  # only its end tells how, and two at once could do harm
            self.arn = arn
            self._wait_for_task_ended()
            self.arn, task = None, self.look_at(arn)
        began = context["dag_run"].start_date  # again when a person clears tasks of it, who wants them to run again
        if not task:
            self.log.info("Starting anew: ECS no longer knows %s, which an earlier try started", arn)
        elif task["lastStatus"] == "STOPPED" and not has_succeeded(task):
            self.log.info("Starting anew: %s, which an earlier try started, has failed or was stopped", arn)
        elif task["lastStatus"] == "STOPPED" and began and task.get("startedAt", began) < began:
            self.log.info("Starting anew: %s had done its work before tasks of this run were cleared", arn)
        else:
            self.log.info("Taking up %s, which an earlier try started: %s", arn, task["lastStatus"])
            self.arn, self.ecs_task_id = arn, arn.split("/")[-1]
            self.log_address()

    def find(self, name: str) -> Optional[str]:
        """Return the ARN of the ECS task whose startedBy is ``name``; one that runs before one that has stopped."""
        client: Any = self.client
        for status in ("RUNNING", "STOPPED"):
            found = self.persist(client.list_tasks, cluster=self.cluster, startedBy=name, desiredStatus=status)
            if found["taskArns"]:
                return str(found["taskArns"][0])
        return None

    def look_at(self, arn: str) -> Optional[Mapping[str, Any]]:
        """Return an ECS task as DescribeTasks has it; None if it is gone, or in a cluster that we had before."""
        if arn.split("/")[1:-1] not in ([], [self.cluster.split("/")[-1]]):  # ECS would refuse to look
            return None
        client: Any = self.client
        tasks = self.persist(client.describe_tasks, cluster=self.cluster, tasks=[arn])["tasks"]
        return tasks[0] if tasks else None

    def _xcom_del(self, session: Any, task_id: str) -> None:
        """Forget the ECS task of this run; the provider forgets those of all runs."""
        # Not by run_id: for that, Airflow 2.2.2's own clear() makes a query that SQLAlchemy cannot delete by.
        XCom.clear(self.logical_date, dag_id=self.dag_id, task_id=task_id, session=session)

    def _get_task_log_fetcher(self) -> Any:
        # The next look is the better retry: waiting for this one would delay the task's end.
        config = Config(connect_timeout=2, read_timeout=5, retries={"max_attempts": 0})
        hook = AwsLogsHook(aws_conn_id=self.aws_conn_id, region_name=self.awslogs_region, config=config)
        stream = f"{self.awslogs_stream_prefix}/{self.ecs_task_id}"
        keep = max(self.number_logs_exception, 1)
        return LogTail(hook.get_conn(), str(self.awslogs_group), stream, self.awslogs_fetch_interval, self.log, keep)


def ended_by_itself(task: Mapping[str, Any]) -> bool:
    """Return whether a stopped ECS task ended by itself: a person, Airflow or a lost Spot instance may stop one."""
    ended = "EssentialContainerExited"
    return bool(task.get("stopCode", ended) == ended)


def has_succeeded(task: Mapping[str, Any]) -> bool:
    """Return whether a stopped ECS task has done its work, as DescribeTasks has it."""
    containers = task.get("containers") or [{}]
    return ended_by_itself(task) and all(container.get("exitCode") == 0 for container in containers)
