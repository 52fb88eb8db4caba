"""The ECS task: one for each try of an Airflow task, taken up by the next try if its worker was lost."""

import time
from contextlib import contextmanager
from datetime import datetime
from itertools import chain
from typing import Any, Callable, ClassVar, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple
from uuid import uuid4

import tenacity
from airflow.configuration import conf
from airflow.utils.timezone import coerce_datetime
from botocore.exceptions import BotoCoreError, ClientError
from jinja2.runtime import Context as JinjaContext
from lazy_object_proxy import Proxy  # type: ignore[import]

from .dates import as_written, dates_of_run
from .definitions import JSON_OPTIONS, ParamValues, items_alone, json_length
from .ecs import (
    FAILED_TO_START,
    NO_CAPACITY,
    Aws,
    LogTail,
    NoCapacity,
    describe_end,
    excerpt,
    exit_code,
    is_answer,
    is_fault,
    is_from_aws,
    signals_held,
    tasks_of,
)
from .generations import (
    EcsOperator,
    base_url,
    exceptions,
    fields_of_try_before,
    is_latest_try,
    is_test,
    mark_try,
    number_of_try,
    origin_of_run,
)
from .models import Param
from .planning import run_task_parameters, started_by
from .problems import did_you_mean
from .rules import misfits, overrides_length
from .templates import MAX_OVERRIDES
from .vocabulary import MAX_PARAM_CHARACTERS

# ------------------------------------------------------------------------------------------------ typed params


MAX_UNKNOWN = 10  # keys that a message names


def params_of_run(params: Mapping[str, Param], context: Any) -> Dict[str, Any]:
    """Lay what a person typed at the trigger over the defaults, for the templates of a task.

    Airflow takes unknown keys in silence, and none at all where core.dag_run_conf_overrides_params is False: MWAA's own
    value.

    Raises:
        AirflowFailException: What was typed is not what the DAG takes; no retry could change that.
    """
    run = context.get("dag_run")
    typed = (run and run.conf) or {}
    unknown = [key for key in typed if key not in params]
    mistakes = [
        f"unknown key {key[:60]!r}, {did_you_mean(key, params) or 'this DAG takes none'}"
        for key in unknown[:MAX_UNKNOWN]
    ]
    if len(unknown) > MAX_UNKNOWN:
        mistakes.append(f"{len(unknown) - MAX_UNKNOWN} more unknown keys")
    values = {name: typed.get(name, param.default) for name, param in params.items()}
    for name in params:
        if name in typed:
            mistakes += [f"'{name}': {error.message[:200]}" for error in misfits(typed[name], params[name].json_schema)]
    length = json_length(values)
    if length > MAX_PARAM_CHARACTERS:  # a template could grow by more than it is checked for
        mistakes.append(f"all params together are {length} characters of JSON, and may be {MAX_PARAM_CHARACTERS}")
    if mistakes:
        raise exceptions.AirflowFailException(
            f"The run's configuration is not what this DAG takes: {'; '.join(mistakes)}"
        )
    return values


class PlainContext(JinjaContext):  # type: ignore[misc]
    """Gives templates the values themselves that Airflow computes late, such as ``next_ds``, and dates as pendulum's.

    Airflow wraps them in Proxy: ``macros.ds_add(next_ds, 1)`` is a TypeError of it, and no proxy ``is none``. Some are
    dates from the database, which know neither ``add`` nor ``format``.
    """

    def resolve_or_missing(self, key: str) -> Any:
        """Return the value of a name."""
        value = super().resolve_or_missing(key)
        plain = value.__wrapped__ if type(value) is Proxy else value
        return coerce_datetime(plain) if isinstance(plain, datetime) else plain


# A field that is filled in before all others. The web server would fill in those of a task that has not run yet, and
# without our bounds; it does not know the filter, says so, and shows the templates themselves.
IN_TASK = "{{ '' | in_task }}"


def render_with_params(task: Any, context: Any, jinja_env: Any) -> Any:
    """Let the templates of a task see what a person typed; return the Jinja environment to render them in."""
    context.update(dates_of_run(context))
    context["params"] = ParamValues(params_of_run(task.typed_params, context))
    environment = jinja_env or task.get_template_env()
    environment.context_class = PlainContext
    environment.finalize = as_written
    environment.filters["in_task"] = str
    environment.policies["json.dumps_kwargs"] = JSON_OPTIONS
    environment.getitem = items_alone(environment)
    return environment


MAX_GROWTH = 2**15  # characters of JSON: 50 tags of ECS are 20,000


def stored_length(task: Any) -> int:
    """Return how many characters Airflow stores of a task's fields, but for overrides, which ECS bounds."""
    return json_length({name: getattr(task, name) for name in task.template_fields if name != "overrides"})


@contextmanager
def growth_bounded(task: Any) -> Iterator[None]:
    """Check that a task's templates do not make it long: Airflow stores its fields before it executes the task.

    Around what fills them in. What is written in the definition has bounds of its own.

    Raises:
        AirflowFailException: They do.
    """
    written = stored_length(task)
    yield
    length = stored_length(task)
    if length > written + MAX_GROWTH:
        message = f"what the task is given, with its templates filled in, is {length} characters of JSON"
        raise exceptions.AirflowFailException(f"{message}; its templates may add {MAX_GROWTH}")


# ------------------------------------------------------------------------------------------------------ the task

LOOKS = (0, 3, 7)  # seconds before each look for an ECS task: ListTasks shows a new one only after a while
FORGOTTEN = 60  # seconds for which ECS may not know a task: DescribeTasks, too, shows a new one only after a while
OUTAGE = 3600  # seconds of unbroken fault while an ECS task runs
KILLING = 20  # seconds, and the last attempt; Airflow kills a task 60 s after SIGTERM
MAX_CLEARED = 3  # tries before the last clearing of whose ECS tasks one may still run
MAX_POLL = 6  # seconds between two looks at an ECS task that has run for long; after its start it is one
MAX_MESSAGE = 8_192  # characters of a last line that becomes the XCom


class EcsTask(EcsOperator):
    """Runs an ECS task to its end: one for each try, whatever becomes of AWS, of this process and of its worker."""

    # Those of the provider differ, and what its others hold is no template.
    template_fields = ("in_task", "overrides", "cluster", "task_definition", "network_configuration", "tags")
    in_task = IN_TASK
    typed_params: Mapping[str, Param] = {}
    places: Mapping[str, str] = {}  # path:line:column of what a mistake is in: cluster, task_definition
    item: Optional[str] = None  # of for_each
    skip_exit_codes: Sequence[int] = ()
    enable_execute_command: Optional[bool] = None  # as RunTask has it
    pace: ClassVar[float] = 1.0  # all times are multiplied with it; tests are in a hurry

    aws: Any = None  # until the task is executed
    before: Mapping[str, Any] = {}  # the rendered fields of the try before this one
    earlier: Sequence[str] = ()  # startedBy of the tries before this one
    attempt = 1
    killed = False
    unanswered = False  # ECS may have started a task without telling
    ecs_task: Optional[Dict[str, str]] = None  # its cluster and task, as StopTask has them

    def render_template_fields(self, context: Any, jinja_env: Any = None) -> None:
        """Fill the templates in, with what a person typed at the trigger; check that before anything starts."""
        if "ti" in context:
            self.before = fields_of_try_before(context["ti"])
        if self.item is not None:
            context["item"] = self.item
        with growth_bounded(self):
            super().render_template_fields(context, render_with_params(self, context, jinja_env))
            length = overrides_length(self.overrides)
            if length > MAX_OVERRIDES:
                message = "command, environment and sizes, with their templates filled in"
                message += f", are {length} characters of JSON; ECS takes at most {MAX_OVERRIDES}"
                raise exceptions.AirflowFailException(f"{message}: put the data on S3")

    def execute(self, context: Any, **_: Any) -> Optional[str]:
        """Run the ECS task to its end; return the last line of its container's log, which becomes the XCom.

        Raises:
            AirflowSkipException: It has ended with an exit code of ``skip_exit_codes``.
            AirflowFailException: AWS refuses what only a person can change; no retry would help.
            AirflowException: It has failed, or AWS could not be asked for too long.
        """
        self.ti = context["ti"]
        self.number_of_try = number_of_try(self.ti)
        with signals_held():
            mark_try(self.ti)
        self.container = self.overrides["containerOverrides"][0]["name"]
        cleared, (*self.earlier, name) = names_of_tries(self.owner, context)
        self.request = run_task_parameters(vars(self), name)
        self.aws = Aws(self.aws_conn_id, self.region_name, self.log, self.pace)
        try:
            self.stop_cleared(cleared)
            self.take_up(self.earlier)
            task, lines = self.aws.persist(self.start_and_wait)
        except (BotoCoreError, ClientError, NoCapacity) as error:
            if self.unanswered:  # it may run, and perhaps no try comes after this one
                self.on_kill()
            if is_fault(error):
                raise exceptions.AirflowException(f"ECS could not start the task: {error}") from error
            place = self.places.get("cluster" if "luster" in str(error) else "task_definition", "the definition")
            raise exceptions.AirflowFailException(f"ECS refuses the task: {error}. Look at {place}") from error
        except KeyboardInterrupt:  # of ``airflow tasks test``
            self.on_kill()
            raise
        return self.judge(task, lines)

    def start_and_wait(self) -> Tuple[Mapping[str, Any], Sequence[str]]:
        """Start the ECS task, unless one was taken up, and wait for its end."""
        self.end_if_killed()
        if not self.ecs_task:
            self.start()
        task, lines = self.wait()
        reason = task.get("stoppedReason", "")
        if task.get("stopCode") == FAILED_TO_START and NO_CAPACITY.match(reason):
            self.attempt, self.ecs_task = self.attempt + 1, None
            raise NoCapacity(reason)
        return task, lines

    def start(self) -> None:
        """Ask ECS to start the task. What got no answer is sent again as it was, and then starts nothing twice."""
        if not self.is_current():
            raise exceptions.AirflowException("A later try has taken over")
        name, repeated = self.request["startedBy"], self.unanswered
        self.unanswered = True
        try:
            answer = self.aws.ask("run_task", **self.request, clientToken=f"{name}-{self.attempt}")
        except ClientError as error:
            if is_answer(error) and not repeated:  # else the request without an answer may have started the task
                self.unanswered, self.attempt = False, self.attempt + 1
            if error.response["Error"]["Code"] != "ConflictException":
                raise
            self.take_up([name])  # this try has started it, from another version of the definition
            if not self.ecs_task:
                raise exceptions.AirflowException(
                    f"ECS has started the task before, and does not show it: {error}"
                ) from error
            return
        self.unanswered = False
        if not answer["failures"]:
            self.follow(answer["tasks"][0])
            return
        self.attempt += 1
        reasons = ", ".join(failure.get("reason", "") for failure in answer["failures"])
        raise (
            NoCapacity(reasons)
            if NO_CAPACITY.match(reasons)
            else exceptions.AirflowException(f"ECS: {answer['failures']}")
        )

    def follow(self, task: Mapping[str, Any]) -> None:
        """Note an ECS task as this try's, and log where a person finds it in AWS's console."""
        self.ecs_task = {"cluster": task["clusterArn"], "task": task["taskArn"]}
        region, cluster, number = task["taskArn"].split(":")[3], *(arn.split("/")[-1] for arn in self.ecs_task.values())
        console = f"https://{region}.console.aws.amazon.com/ecs/v2/clusters"
        self.aws.log.info("The ECS task in the console: %s/%s/tasks/%s?region=%s", console, cluster, number, region)

    # ------------------------------------------------------------------------------------- tasks of earlier tries

    def take_up(self, names: Sequence[str]) -> None:
        """Follow an ECS task with one of the names as startedBy, if there is one that runs or has done its work."""
        for pause in LOOKS if names else ():
            time.sleep(pause * self.pace)
            seen = []
            for task in chain(self.running(names, self.aws.outlast), self.stopped(names)):
                arn, status = task["taskArn"], task["lastStatus"]
                if status != "STOPPED" and task["desiredStatus"] == "STOPPED":  # only its end tells how
                    self.follow(task)
                    task, self.ecs_task, status = self.wait()[0], None, "STOPPED"
                if status != "STOPPED" or exit_code(task, self.container) in (0, *self.skip_exit_codes):
                    self.aws.log.info("Taking up %s, which an earlier try started: %s", arn, status)
                    self.follow(task)
                    return
                self.aws.log.info("An earlier try started %s: %s", arn, describe_end(task, self.container))
                if task.get("stopCode") != FAILED_TO_START:  # after which the same try may have started another one
                    seen.append(task["startedBy"])
            if names[-1] in seen:
                return

    def stop_cleared(self, names: Sequence[str]) -> None:
        """Stop ECS tasks of tries that a person has cleared, and await their end: two at once could do harm."""
        for task in list(self.running(names, self.aws.outlast)):
            self.aws.log.info("Stopping %s: the try that started it was cleared", task["taskArn"])
            self.follow(task)
            self.aws.outlast("stop_task", **self.ecs_task, reason="The Airflow task was cleared")
            self.wait()
            self.ecs_task = None

    def running(self, names: Sequence[str], ask: Callable[..., Any]) -> Iterator[Mapping[str, Any]]:
        """Yield the ECS tasks that run, those of the latest try first."""
        for cluster in dict.fromkeys((self.cluster, self.before.get("cluster", self.cluster))):
            for name in reversed(names):  # ListTasks takes no other filter beside startedBy
                yield from tasks_of(ask, cluster, startedBy=name)

    def stopped(self, names: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """Yield the ECS tasks that are to stop, or have stopped within the last hour."""
        now, before = vars(self), {**vars(self), **self.before}
        for cluster, definition in dict.fromkeys((each["cluster"], each["task_definition"]) for each in (now, before)):
            family = definition.split("/")[-1].split(":")[0]
            for task in tasks_of(self.aws.outlast, cluster, family=family, desiredStatus="STOPPED"):
                if task.get("startedBy") in names:
                    yield task

    # ------------------------------------------------------------------------------------------- wait, judge, kill

    def wait(self) -> Tuple[Mapping[str, Any], Sequence[str]]:
        """Return the ECS task when it has stopped, as DescribeTasks has it, and the last lines of its log."""
        assert self.ecs_task
        cluster, arn = self.ecs_task.values()
        stream = f"{self.awslogs_stream_prefix}/{arn.split('/')[-1]}"
        tail = LogTail(self.aws, self.awslogs_region, self.awslogs_group, stream)
        outage = tenacity.stop_after_delay(OUTAGE * self.pace)
        started, unknown_since = time.monotonic(), None
        while True:
            try:  # whatever AWS answers, the ECS task runs on
                answer = self.aws.outlast("describe_tasks", outage, is_from_aws, cluster=cluster, tasks=[arn])
            except (BotoCoreError, ClientError) as error:
                self.on_kill()
                raise exceptions.AirflowException(f"ECS did not tell for an hour how {arn} is: {error}") from error
            tail.read()
            self.end_if_killed()
            now = time.monotonic()
            if not answer["tasks"]:
                unknown_since = unknown_since or now
                if now - unknown_since > FORGOTTEN * self.pace:
                    raise exceptions.AirflowException(f"ECS no longer knows the task {arn}: {answer['failures']}")
            elif answer["tasks"][0]["lastStatus"] == "STOPPED":
                tail.read_to_the_end()
                return answer["tasks"][0], tail.last
            else:
                unknown_since = None
            time.sleep(min(1 + (now - started) / 20, MAX_POLL) * self.pace)

    def judge(self, task: Mapping[str, Any], lines: Sequence[str]) -> Optional[str]:
        """Return the last line of a stopped ECS task, or raise what :meth:`execute` does."""
        code, end = exit_code(task, self.container), describe_end(task, self.container)
        self.aws.log.info("The ECS task has ended: %s", end)
        if code in self.skip_exit_codes:
            raise exceptions.AirflowSkipException(end)
        if code != 0:
            raise exceptions.AirflowException(f"The ECS task has failed: {end}{excerpt(lines)}")
        last = lines[-1] if lines else ""
        if len(last) > MAX_MESSAGE:
            self.aws.log.warning("The last line is no XCom: it has %d characters, more than %d", len(last), MAX_MESSAGE)
        return last if 0 < len(last) <= MAX_MESSAGE else None

    def on_kill(self) -> None:
        """Stop the ECS task, in 45 s at most. Never raise: why Airflow ends the try is what a person has to read."""
        self.killed = True
        with signals_held():
            try:
                if self.aws and self.is_current():
                    self.aws.persist(self.stop, tenacity.stop_after_delay(KILLING * self.pace), max_pause=4)
            except Exception:
                self.log.exception("The ECS task could not be stopped")

    def end_if_killed(self) -> None:
        """Raise what Airflow 2 does after :meth:`on_kill`; 3 lets the task go on."""
        if self.killed:
            raise exceptions.AirflowException("Task received SIGTERM signal")

    def stop(self) -> None:
        """Ask ECS to stop the task: also one whose RunTask has no answer yet, or that was not yet taken up."""
        if self.unanswered:
            self.start()
        left = next(self.running(self.earlier, self.aws.ask), None) if not self.ecs_task else None
        if left:
            self.follow(left)
        if self.ecs_task:
            self.aws.ask("stop_task", **self.ecs_task, reason="Airflow has ended the try")

    def is_current(self) -> bool:
        """Return whether no later try has taken over, while this process slept or was cut off from the database."""
        with signals_held():  # a signal must not come amidst a question to Airflow
            return is_latest_try(self.ti, self.number_of_try, self.log)


def names_of_tries(owner: str, context: Any) -> Tuple[List[str], List[str]]:
    """Return startedBy of the tries that a person has cleared, and of those that count; this one's is the last."""
    ti, run = context["ti"], context["dag_run"]
    number = number_of_try(ti)
    if is_test(context):
        return [], [started_by(owner, uuid4().hex)]
    airflow = conf.get("etl", "identity", fallback=base_url())
    of_run = owner, airflow, ti.dag_id, ti.task_id, run.run_id, origin_of_run(run)
    names = [started_by(*of_run, each + 1) for each in range(number)]
    cleared = min(max(0, ti.max_tries - ti.task.retries), number - 1)
    return names[max(0, cleared - MAX_CLEARED) : cleared], names[cleared:]
