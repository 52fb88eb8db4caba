"""The DAG factory: one Airflow DAG of ECS tasks for each pipeline, data provider and environment.

Airflow runs this file in the scheduler every 30 seconds and once at the start of every task. It reads
``configs/<environment>.yaml`` and ``pipelines/<family>/<name>.yaml`` beside it and puts a DAG called
``<family>-<name>_dag_<provider>`` into ``globals()`` for every data provider. It reads top to bottom as the data
flows: problems -> models -> reading -> layers -> rules -> DAG -> registration.

No exception may leave this module, since Airflow then deactivates every DAG in it: what is wrong with a
definition becomes a :class:`Problem` and costs that provider, or else that file. All problems together are one
import error in the web page, beside the healthy DAGs.

It imports nothing of ours, and Airflow only where a DAG is built: a copy of the folder under another name is a
sandbox, and tools read definitions without the 1.5 s that importing Airflow takes.
"""

import difflib
import json
import logging
import os
import re
import stat
import sys
from datetime import date, datetime, timedelta, timezone
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, FrozenSet, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Tuple, Type, Union

import jinja2
import jinja2.meta
import yaml
from croniter import croniter
from pydantic import BaseModel, Field, PydanticValueError, StrictBool, ValidationError
from pydantic.fields import SHAPE_SINGLETON
from typing_extensions import Literal
from yaml.composer import Composer, ComposerError
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.cyaml import CParser
from yaml.resolver import Resolver

KeyPath = Tuple[Any, ...]

# libyaml reads about 0.5 MB/s, and a file is read every 30 s: 512 KiB are some 10,000 providers.
MAX_FILE_BYTES = 512 * 1024
MAX_DEPTH = 50
MAX_DAG_ID = 250  # a column of Airflow's database
MAX_DAG_TAG = 100  # likewise
# ECS limits: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
MAX_OVERRIDES = 8192  # characters of JSON
MAX_ECS_TAGS = 50
# Fargate's sizes: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html
FARGATE_MEMORY: Dict[int, Tuple[int, ...]] = {
    256: (512, 1024, 2048),
    512: tuple(range(1024, 4096 + 1, 1024)),
    1024: tuple(range(2048, 8192 + 1, 1024)),
    2048: tuple(range(4096, 16384 + 1, 1024)),
    4096: tuple(range(8192, 30720 + 1, 1024)),
    8192: tuple(range(16384, 61440 + 1, 4096)),
    16384: tuple(range(32768, 122880 + 1, 8192)),
}


# ---------------------------------------------------------------------------------------------------- problems


class Problem(NamedTuple):
    """One mistake, told to the person who made it.

    ``path`` starts at the DAGs folder; ``line`` and ``column`` count from 1, in characters; ``source`` is the text
    of that line and ``width`` the number of characters to mark in it.
    """

    path: str
    line: int
    column: int
    message: str
    hint: str
    rule: str
    source: str = ""
    width: int = 1

    def __str__(self) -> str:
        lines = [f"{self.path}:{self.line}:{self.column}: {self.message} [{self.rule}]"]
        if self.source:
            start = max(0, self.column - 80)
            shown = "".join(c if c.isprintable() else " " for c in self.source[start : start + 120])
            caret = "^" * max(1, min(self.width, start + len(shown) - self.column + 1))
            lines.append(f"   {self.line:>4} | {shown}")
            lines.append(f"        | {' ' * (self.column - 1 - start)}{caret}")
        if self.hint:
            lines.append(f"        = {self.hint}")
        return "\n".join(lines)


class Rejected(Exception):
    """A file that gives no definition at all; carries its problems."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems = list(problems)


def nearest(name: Any, known: Iterable[str]) -> str:
    """Say which of the known names was meant, or all of them if none is near; "" if there are none."""
    names = list(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known: {', '.join(sorted(names)[:20])}" if names else ""


def describe(value: Any) -> str:
    """Name a value as YAML read it, for a message."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, date):
        return f"the date {value}"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    return {"dict": "a mapping", "list": "a list"}.get(type(value).__name__, f"a {type(value).__name__}")


# ------------------------------------------------------------------------------------------------------ models


class Wrong(PydanticValueError):
    """A validator's message; ``key`` is the mapping's key where that is at fault, since pydantic does not tell."""

    code = "wrong"
    msg_template = "{message}"

    def __init__(self, message: str, hint: str = "", rule: str = "schema", key: Any = None) -> None:
        super().__init__(message=message, hint=hint, rule=rule, key=key)


class Misread(int):
    """An integer that YAML 1.1 reads and nobody means: ``010`` is 8, ``1:30`` is 90, ``1_000`` is 1000."""

    text: str


def integer(value: Any, minimum: int) -> int:
    if isinstance(value, Misread):
        raise Wrong(f"YAML reads {value.text} as {int(value)}", f"write {int(value)}, or quote it: '{value.text}'")
    if type(value) is not int:
        raise Wrong(f"expected a whole number, got {describe(value)}")
    if not minimum <= value < 2**31:  # Airflow's database and ECS keep 32 bits
        raise Wrong(f"expected a number from {minimum} to {2**31 - 1}, got {value}")
    return value


class Count(int):
    """A whole number from 0."""

    @classmethod
    def __get_validators__(cls) -> Iterator[Any]:
        yield lambda value: integer(value, 0)

    @classmethod
    def __modify_schema__(cls, schema: Dict[str, Any]) -> None:
        schema.update(type="integer", minimum=0)


class Positive(int):
    """A whole number from 1."""

    @classmethod
    def __get_validators__(cls) -> Iterator[Any]:
        yield lambda value: integer(value, 1)

    @classmethod
    def __modify_schema__(cls, schema: Dict[str, Any]) -> None:
        schema.update(type="integer", minimum=1)


class Text(str):
    """Text, and nothing that YAML reads as something else; subclasses say which text."""

    pattern = re.compile(r"[^\x00-\x08\x0b-\x1f\x7f]*")
    what = "text without control characters"

    @classmethod
    def __get_validators__(cls) -> Iterator[Any]:
        yield cls.validate

    @classmethod
    def __modify_schema__(cls, schema: Dict[str, Any]) -> None:
        schema.update(type="string", pattern=f"^(?:{cls.pattern.pattern})$")

    @classmethod
    def validate(cls, value: Any) -> str:
        if not isinstance(value, str):
            raise Wrong(f"expected text, got {describe(value)}", key=value)
        if not cls.pattern.fullmatch(value):
            raise Wrong(f"{value[:60]!r} is not {cls.what}", key=value)
        return value


class PlainText(Text):
    pattern = re.compile(r"[^\x00-\x1f\x7f{}]+")
    what = "plain text on one line (a template does not work here)"


class FamilyName(Text):
    pattern = re.compile(r"[a-z0-9][a-z0-9_]*")
    what = "a family's name: lower-case letters, digits and _"


class PipelineName(Text):
    # Not '_dag_' in it, nor '_dag' at its end: the first '_dag_' of a DAG id is where the provider begins.
    pattern = re.compile(r"(?!.*_dag(?:_|$))[a-z0-9][a-z0-9_-]*")
    what = "a pipeline's name: lower-case letters, digits, _ and -, without '_dag_'"


class ProviderName(Text):
    pattern = re.compile(r"[a-z0-9][a-z0-9_]*")
    what = "a provider's name: lower-case letters, digits and _"


class TaskId(Text):
    pattern = re.compile(r"[a-z0-9][a-z0-9_-]*")
    what = "a task's name: lower-case letters, digits, _ and -"


class Identifier(Text):
    pattern = re.compile(r"(?!name$)[A-Za-z_][A-Za-z0-9_]*")
    what = "a name for templates: letters, digits and _, and not 'name', which is there already"


class Owner(Text):
    pattern = re.compile(r"[A-Za-z0-9_-]{1,36}")
    what = "an owner: 1 to 36 letters, digits, _ and - (ECS takes it as startedBy)"


class DagTag(Text):
    pattern = re.compile(rf"[^\x00-\x1f\x7f]{{1,{MAX_DAG_TAG}}}")
    what = f"a tag of 1 to {MAX_DAG_TAG} characters"


class TaskDefinition(Text):
    pattern = re.compile(r"[A-Za-z0-9_-]{1,255}(:[0-9]+)?|arn:[^\s{}]+:task-definition/[^\s{}:]+(:[0-9]+)?|.*\{\{.*")
    what = "a task definition: family, family:revision or ARN"


class EcsTagKey(Text):
    pattern = re.compile(r"(?!aws:)[^\x00-\x1f\x7f]{1,128}")
    what = "a tag's key: 1 to 128 characters, not starting with 'aws:'"


class EcsTagValue(Text):
    pattern = re.compile(r"[^\x00-\x1f\x7f]{0,256}")
    what = "a tag's value: at most 256 characters"


class Cron(Text):
    """A cron expression of five fields, or a preset."""

    presets = ("@once", "@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")
    fields = ("minute", "hour", "day of month", "month", "day of week")

    @classmethod
    def validate(cls, value: Any) -> str:
        text = super().validate(value)
        problem = cls.problem(text)
        if problem:
            raise Wrong(*problem, rule="schedule")
        return text

    @classmethod
    @lru_cache(maxsize=256)
    def problem(cls, text: str) -> Optional[Tuple[str, str]]:
        """Message and hint, or None. A bad expression would fail only when Airflow bags the DAG."""
        if text.startswith("@"):
            known = text in cls.presets
            return None if known else (f"unknown schedule {text[:60]!r}", nearest(text, cls.presets))
        parts = text.split()
        if len(parts) != len(cls.fields):
            return (f"a cron expression has five fields, this has {len(parts)}", f"they are: {', '.join(cls.fields)}")
        for index, part in enumerate(parts):
            probe = ["*"] * len(parts)
            probe[index] = part
            # 'R' and 'H' are croniter's random and hashed fields: another time at every parse.
            random = re.search(r"[^0-9A-Za-z*,/#-]|\b[RHrh]\b", part)
            if random or not croniter.is_valid(" ".join(probe)):
                return (
                    f"{part[:60]!r} is not a cron field for the {cls.fields[index]}",
                    'e.g. "0 3 * * *": daily at 3',
                )
        try:
            croniter(text, datetime(2000, 1, 1)).get_next()
        except ValueError:
            return (f"the schedule {text!r} never comes", "there is no such day in the calendar")
        return None


class Moment(datetime):
    """A static date, in UTC unless it says otherwise."""

    @classmethod
    def __get_validators__(cls) -> Iterator[Any]:
        yield cls.validate

    @classmethod
    def __modify_schema__(cls, schema: Dict[str, Any]) -> None:
        schema.update(
            type="string", pattern=r"^\d{4}-\d{2}-\d{2}([Tt ]\d{2}:\d{2}(:\d{2})?(\.\d+)?(Z|[+-]\d{2}:\d{2}))?$"
        )

    @classmethod
    def validate(cls, value: Any) -> datetime:
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value) if len(value) > 10 else date.fromisoformat(value)
            except ValueError:
                hint = "a date is static, so that every parse gives the same DAG: write one such as 2022-01-01"
                raise Wrong(f"expected a date, got {describe(value)}", hint, rule="schedule")
        if not isinstance(value, date):
            raise Wrong(f"expected a date, got {describe(value)}", "write a date such as 2022-01-01", rule="schedule")
        if not isinstance(value, datetime):
            return datetime(value.year, value.month, value.day, tzinfo=timezone.utc)
        if value.tzinfo is None:
            hint = f"write {value.isoformat()}Z for UTC, or an offset such as +01:00"
            raise Wrong("a date with a time needs its time zone", hint, rule="schedule")
        return value


class Duration(timedelta):
    """A length of time: ``30m``, ``6h``, ``1d12h``, or seconds."""

    pattern = re.compile(r"(?=.)(?:(\d{1,5})d)?(?:(\d{1,5})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s)?")

    @classmethod
    def __get_validators__(cls) -> Iterator[Any]:
        yield cls.validate

    @classmethod
    def __modify_schema__(cls, schema: Dict[str, Any]) -> None:
        schema.update(
            anyOf=[{"type": "integer", "minimum": 1}, {"type": "string", "pattern": f"^{cls.pattern.pattern}$"}]
        )

    @classmethod
    def validate(cls, value: Any) -> timedelta:
        if isinstance(value, timedelta):
            return value
        if isinstance(value, str):
            match = cls.pattern.fullmatch(value)
            if not match:
                raise Wrong(f"{value[:40]!r} is not a duration", "write it as 30m, 6h, 1d12h or in seconds")
            days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
            length = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        else:
            length = timedelta(seconds=integer(value, 0))
        # Airflow takes a timeout of nothing for no timeout.
        if not timedelta(0) < length <= timedelta(days=366):
            raise Wrong("a duration is longer than nothing and at most 366 days")
        return length


class Scalar:
    """What a variable may be: text, a number or a boolean."""

    @classmethod
    def __get_validators__(cls) -> Iterator[Any]:
        yield cls.validate

    @classmethod
    def __modify_schema__(cls, schema: Dict[str, Any]) -> None:
        schema.update(type=["string", "number", "boolean"])

    @classmethod
    def validate(cls, value: Any) -> Union[str, int, float, bool]:
        if isinstance(value, Misread):
            return integer(value, 0)
        if isinstance(value, (bool, int, float)):
            return value
        return Text.validate(value)


class Model(BaseModel):
    class Config:
        extra = "forbid"
        allow_mutation = False


TriggerRule = Literal[
    "all_success",
    "all_failed",
    "all_done",
    "one_success",
    "one_failed",
    "none_failed",
    "none_failed_min_one_success",
    "none_skipped",
    "always",
]


class Task(Model):
    """A task of a pipeline, or one layer of it: nothing is required until the layers are merged."""

    task_definition: Optional[TaskDefinition] = Field(
        None, description="ECS task definition: family, family:revision or ARN."
    )
    container: Optional[Text] = Field(None, description="Container to override; default: the task definition's family.")
    cluster: Optional[Text] = Field(None, description="A name under `clusters` of the environment; default: `default`.")
    command: Optional[List[Text]] = Field(None, description="The container's command, one text an argument. Templated.")
    environment: Optional[Dict[Text, Optional[Text]]] = Field(
        None, description="The container's environment variables. Templated. Secrets belong in the task definition."
    )
    cpu: Optional[Positive] = Field(None, description="CPU units of the ECS task; 1024 are one vCPU.")
    memory: Optional[Positive] = Field(None, description="Memory of the ECS task in MiB.")
    ephemeral_storage: Optional[Positive] = Field(None, description="Fargate's ephemeral storage in GiB, 21 to 200.")
    task_role_arn: Optional[Text] = Field(None, description="IAM role of the containers. Templated.")
    execution_role_arn: Optional[Text] = Field(None, description="IAM role that ECS starts the task with. Templated.")
    tags: Optional[Dict[EcsTagKey, Optional[EcsTagValue]]] = Field(None, description="Tags of the ECS task. Templated.")
    depends_on: Optional[List[Text]] = Field(None, description="Tasks of this pipeline that come before.")
    retries: Optional[Count] = Field(None, description="How often a failed task is tried again.")
    retry_delay: Optional[Duration] = Field(None, description="Pause before the next try.")
    retry_exponential_backoff: Optional[StrictBool] = Field(None, description="Double the pause with every try.")
    max_retry_delay: Optional[Duration] = Field(None, description="The longest pause between tries.")
    execution_timeout: Optional[Duration] = Field(
        None, description="A try that takes longer is stopped and has failed."
    )
    sla: Optional[Duration] = Field(
        None, description="When the task should have succeeded, from the run's planned start."
    )
    pool: Optional[PlainText] = Field(None, description="Airflow pool that the task takes a slot of.")
    priority_weight: Optional[Positive] = Field(None, description="Higher goes first when slots are scarce.")
    trigger_rule: Optional[TriggerRule] = Field(
        None, description="When the task runs, by the states of those before it."
    )
    depends_on_past: Optional[StrictBool] = Field(None, description="Wait for this task's success in the run before.")


class Param(Model):
    """What a person may set when triggering by hand, as JSON Schema."""

    type: Union[None, PlainText, List[PlainText]] = Field(None, description="JSON Schema type.")
    default: Any = Field(None, description="The value unless a person types another. Required, but for type null.")
    description: Optional[Text] = None
    title: Optional[Text] = None
    enum: Optional[List[Any]] = Field(None, description="The values allowed.")
    minimum: Any = None
    maximum: Any = None
    minLength: Optional[Count] = None
    maxLength: Optional[Count] = None
    format: Optional[Literal["date", "date-time", "time", "email", "ipv4", "ipv6"]] = None


class WaitFor(Model):
    """The provider's delivery, awaited before anything runs."""

    s3: Optional[Text] = Field(None, description="s3://bucket/key, with * and ? as wildcards. Templated.")
    timeout: Optional[Duration] = Field(None, description="How long to wait.")
    poke_interval: Optional[Duration] = Field(None, description="Pause between looks.")


class Settings(Model):
    """What a pipeline says of its DAGs and a provider may override."""

    owner: Optional[Owner] = Field(None, description="Owner of the DAG; ECS shows it as startedBy.")
    schedule: Optional[Cron] = Field(
        None, description="Cron expression, preset such as @daily, or null: only triggered."
    )
    start_date: Optional[Moment] = Field(None, description="First day, UTC unless it says otherwise.")
    end_date: Optional[Moment] = Field(None, description="No runs are scheduled after it.")
    catchup: Optional[StrictBool] = Field(
        None, description="Run the intervals missed since start_date; default: false."
    )
    max_active_runs: Optional[Positive] = Field(None, description="Runs at the same time; default: 1.")
    max_active_tasks: Optional[Positive] = Field(None, description="Tasks at the same time over all runs.")
    dagrun_timeout: Optional[Duration] = Field(None, description="A scheduled run that takes longer has failed.")
    tags: Optional[List[DagTag]] = Field(
        None, description="Tags of the DAG, beside family, pipeline, provider, environment."
    )
    params: Optional[Dict[Identifier, Optional[Param]]] = Field(
        None, description="What a person may set when triggering."
    )
    wait_for: Optional[WaitFor] = None
    environments: Optional[List[Text]] = Field(None, description="Where it exists; default: everywhere.")


class Provider(Settings):
    """A data provider: what differs from the pipeline for it."""

    variables: Dict[Identifier, Scalar] = Field({}, description="`{{ provider.x }}` in templates.")
    defaults: Task = Field(Task(), description="Every task of this provider starts from these.")
    tasks: Dict[TaskId, Optional[Task]] = Field(
        {}, description="What differs for a task; null: this provider has none."
    )


class Pipeline(Settings):
    """The definition of a pipeline: its tasks, and the data providers that each get a DAG of them."""

    description: Optional[Text] = None
    defaults: Task = Field(Task(), description="Every task starts from these.")
    tasks: Dict[TaskId, Task] = Field(..., description="The tasks by their name.")
    providers: Dict[ProviderName, Optional[Provider]] = Field(..., description="The data providers by their name.")


class CapacityProvider(Model):
    capacity_provider: PlainText
    weight: Optional[Count] = None
    base: Optional[Count] = None


class Logs(Model):
    """Where the containers' awslogs driver writes: streams are called prefix/container/task id."""

    group: PlainText
    prefix: PlainText
    region: Optional[PlainText] = Field(None, description="Default: the environment's.")


class Cluster(Model):
    """Where and how an ECS task runs."""

    cluster: Text = Field(..., description="Name or ARN of the ECS cluster. Templated.")
    launch_type: Optional[Literal["FARGATE", "EC2", "EXTERNAL"]] = None
    capacity_provider_strategy: Optional[List[CapacityProvider]] = Field(None, description="Instead of launch_type.")
    platform_version: Optional[PlainText] = None
    subnets: Optional[List[Text]] = Field(None, description="1 to 16 subnets of the awsvpc network. Templated.")
    security_groups: Optional[List[Text]] = Field(None, description="At most 5. Templated.")
    assign_public_ip: Optional[StrictBool] = None
    logs: Optional[Logs] = None

    @property
    def is_fargate(self) -> bool:
        strategy = self.capacity_provider_strategy or []
        return self.launch_type == "FARGATE" or any(s.capacity_provider.startswith("FARGATE") for s in strategy)


class Alerts(Model):
    sns_topic_arn: PlainText


class Environment(Model):
    """One environment of the company: where its tasks run."""

    region: PlainText
    aws_conn_id: PlainText = Field("aws_default", description="Airflow connection for AWS.")
    variables: Dict[Identifier, Scalar] = Field({}, description="`{{ env.x }}` in templates.")
    schedules: StrictBool = Field(True, description="False: it runs only what a person triggers.")
    clusters: Dict[PlainText, Cluster] = Field(..., description="Names that a task's `cluster` may say.")
    alerts: Optional[Alerts] = None
    defaults: Task = Field(Task(), description="Every task of every pipeline starts from these.")


# ----------------------------------------------------------------------------------------------------- reading


class Loader(Composer, CParser, SafeConstructor, Resolver):
    """Plain data of one YAML document, from libyaml's events.

    Not ``yaml.CSafeLoader``: its composer recurses in C, and 50,000 brackets end the process with a segmentation
    fault (measured with libyaml 0.2.5). This one also tells duplicate keys, and costs 1.5 times as much.
    """

    def __init__(self, text: str) -> None:
        CParser.__init__(self, text)
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)
        self.depth = 0
        self.duplicates: List[yaml.Node] = []

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            # An alias bomb is 9 lines long, and a value with two places cannot be told of in one.
            raise ComposerError(None, None, "aliases (*) are not part of the language", event.start_mark)
        if self.depth == MAX_DEPTH:
            raise ComposerError(None, None, f"nested deeper than {MAX_DEPTH} levels", event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:  # e.g. the date 2022-13-45
            raise ConstructorError(None, None, str(error), node.start_mark)

    def construct_mapping(self, node: Any, deep: bool = False) -> Dict[Any, Any]:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            keys = set()
            for key, _ in node.value:
                if (key.tag, key.value) in keys:
                    self.duplicates.append(key)
                keys.add((key.tag, key.value))
        return mapping

    def construct_yaml_int(self, node: Any) -> int:
        value = super().construct_yaml_int(node)
        if re.fullmatch(r"-?(0|[1-9][0-9]*)", node.value):
            return value
        misread = Misread(value)
        misread.text = node.value
        return misread


Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_yaml_int)


class Document:
    """A YAML file that was read: its path, text and data; finds the place of anything in it."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self._root: Optional[yaml.Node] = None
        loader = Loader(text)
        try:
            self.data = loader.get_single_data()
        except yaml.YAMLError as error:
            raise Rejected(self._yaml_problem(error))
        except RecursionError:
            raise Rejected(self.problem_at(0, 0, "nested too deep"))
        self.duplicates = [
            self.problem_at(
                key.start_mark.line,
                key.start_mark.column,
                f"duplicate key '{key.value[:60]}'",
                "YAML would silently take the last one",
                width=len(key.value),
            )
            for key in loader.duplicates
        ]

    def problem_at(
        self, line: int, column: int, message: str, hint: str = "", rule: str = "schema", width: int = 1
    ) -> Problem:
        """Make the problem of a place, counted from 0."""
        lines = self.text.splitlines() or [""]
        line = min(line, len(lines) - 1)
        column = min(column, len(lines[line]))
        return Problem(self.path, line + 1, column + 1, message, hint, rule, lines[line], width)

    def problem(
        self, path: KeyPath, message: str, hint: str = "", rule: str = "schema", at_key: bool = False
    ) -> Problem:
        """Make the problem of the value at ``path``, or of its key, or else of the nearest that is there."""
        if self._root is None:
            self._root = Loader(self.text).get_single_node()
        key, value = None, self._root
        for part in path:
            found = self._child(value, part)
            if not found:
                at_key = True
                break
            key, value = found
        node = key if key is not None and (at_key or not isinstance(value, yaml.ScalarNode)) else value
        if node is None:
            return self.problem_at(0, 0, message, hint, rule)
        start, end = node.start_mark, node.end_mark
        scalar = isinstance(node, yaml.ScalarNode)
        if not hint and message.startswith("expected text") and scalar and node.style is None and node.value:
            hint = f"quote it: '{node.value[:60]}'"
        width = end.column - start.column if scalar and end.line == start.line else 1
        return self.problem_at(start.line, start.column, message, hint, rule, width)

    @staticmethod
    def _child(node: Any, part: Any) -> Optional[Tuple[Any, Any]]:
        if isinstance(node, yaml.MappingNode):
            for key, value in reversed(node.value):
                if isinstance(key, yaml.ScalarNode) and (
                    key.value == part if isinstance(part, str) else Loader("").construct_object(key) == part
                ):
                    return key, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            return None, node.value[part]
        return None

    def _yaml_problem(self, error: yaml.YAMLError) -> Problem:
        hint = ""
        if isinstance(error, yaml.reader.ReaderError):
            before = self.text.encode()[: error.position].decode(errors="replace")
            return self.problem_at(before.count("\n"), len(before.rpartition("\n")[2]), f"not YAML: {error.reason}")
        mark = getattr(error, "problem_mark", None)
        message = str(getattr(error, "problem", None) or error)
        if "unhashable" in message:
            message, hint = "a mapping as a key", 'a template in braces is quoted: "{{ ds }}"'
        elif "tab character" in message or "cannot start any token" in message:
            hint = "YAML is indented with spaces, and text that starts with %, @, ` or a tab is quoted"
        line, column = (mark.line, mark.column) if mark else (0, 0)
        return self.problem_at(line, column, f"not YAML: {message}", hint)


def read_text(file: Path, shown: str) -> str:
    """Read a definition: a regular file (no link, pipe or device) of UTF-8, at most 512 KiB.

    Raises Rejected.
    """

    def rejected(message: str, hint: str = "") -> Rejected:
        return Rejected(Problem(shown, 1, 1, message, hint, "schema"))

    try:
        # Without O_NONBLOCK, opening a pipe waits for its writer for ever.
        descriptor = os.open(str(file), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            if not stat.S_ISREG(mode):
                what = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
                raise rejected(f"is {what}", "a definition is a file that ends in .yaml")
            content = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        if file.is_symlink():
            raise rejected("is a link", "put the definition itself here")
        if file.is_dir():
            raise rejected("is a folder", "a definition is a file that ends in .yaml")
        raise rejected(f"cannot be read: {error.strerror}")
    if len(content) > MAX_FILE_BYTES:
        raise rejected(f"is larger than {MAX_FILE_BYTES // 1024} KiB", "split it into several pipelines")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        good = content[: error.start].decode()
        line, column = good.count("\n"), len(good.rpartition("\n")[2])
        raise Rejected(Problem(shown, line + 1, column + 1, "is not UTF-8", "save the file as UTF-8", "schema"))


EXPECTED = {
    "type_error.dict": "a mapping",
    "type_error.list": "a list",
    "type_error": "another type",
    "value_error.strictbool": "true or false",
    "value_error.any_str.max_length": "shorter text",
}


def model_at(model: Type[BaseModel], path: KeyPath) -> Type[BaseModel]:
    """Find the model whose keys stand at ``path``."""
    in_container = False
    for part in path:
        if in_container:
            in_container = False
        elif part in model.__fields__:
            field = model.__fields__[part]
            in_container = field.shape != SHAPE_SINGLETON
            if isinstance(field.type_, type) and issubclass(field.type_, BaseModel):
                model = field.type_
    return model


def value_at(data: Any, path: KeyPath) -> Any:
    for part in path:
        data = data[part]
    return data


def schema_problems(document: Document, model: Type[BaseModel], error: ValidationError) -> Dict[KeyPath, Problem]:
    """Put pydantic's errors into words and places, by the path that is at fault."""
    problems: Dict[KeyPath, Problem] = {}
    for entry in error.errors():
        path, kind, context = tuple(entry["loc"]), entry["type"], entry.get("ctx", {})
        hint, rule, at_key = context.get("hint", ""), context.get("rule", "schema"), False
        if path[-1] == "__key__":
            path, at_key, message = path[:-1] + (context["key"],), True, entry["msg"]
        elif path == ("__root__",):
            path, message = (), f"expected a mapping, got {describe(document.data)}"
        elif kind == "value_error.extra":
            at_key, message = True, f"unknown key '{path[-1]}'"
            hint = nearest(path[-1], model_at(model, path[:-1]).__fields__)
        elif kind == "value_error.missing":
            message = f"missing key '{path[-1]}'"
        elif kind == "value_error.const":
            message, hint = f"unknown value {context['given']!r}", nearest(context["given"], context["permitted"])
        elif kind == "type_error.none.not_allowed":
            message = "expected a value, got nothing"
        elif kind in EXPECTED:
            message = f"expected {EXPECTED[kind]}, got {describe(value_at(document.data, path))}"
        else:
            message = entry["msg"]
        problems.setdefault(path, document.problem(path, message, hint, rule, at_key))
    return problems


def read_environment(document: Document) -> Environment:
    """Give the environment of a document; raises Rejected."""
    problems = list(document.duplicates)
    try:
        environment = Environment.parse_obj(document.data)
    except ValidationError as error:
        raise Rejected(*problems, *schema_problems(document, Environment, error).values())
    for name, cluster in environment.clusters.items():
        problems += check_cluster(document, ("clusters", name), cluster)
    if problems:
        raise Rejected(*problems)
    return environment


def read_pipeline(document: Document, provider: Optional[str] = None) -> Tuple[Pipeline, List[Problem]]:
    """Give the pipeline of a document without the providers that are wrong, and what is wrong with them.

    With ``provider``, the other providers are not even looked at. Raises Rejected when more than providers is wrong.
    """
    data = document.data
    if document.duplicates:
        problems = list(document.duplicates)
        try:
            Pipeline.parse_obj(data)
        except ValidationError as error:
            problems += schema_problems(document, Pipeline, error).values()
        raise Rejected(*problems)
    if isinstance(data, dict) and isinstance(data.get("providers"), dict) and provider in data["providers"]:
        data = {**data, "providers": {provider: data["providers"][provider]}}
    try:
        return Pipeline.parse_obj(data), []
    except ValidationError as error:
        found = schema_problems(document, Pipeline, error)
    bad = {path[1] for path in found if len(path) > 1 and path[0] == "providers"}
    if any(len(path) < 2 or path[0] != "providers" for path in found):
        raise Rejected(*found.values())
    good = {name: value for name, value in data["providers"].items() if name not in bad}
    return Pipeline.parse_obj({**data, "providers": good}), list(found.values())


# ------------------------------------------------------------------------------------------------------ layers


class Layer(NamedTuple):
    """Where a layer of settings stands."""

    document: Document
    path: KeyPath


def merge(layers: Iterable[Mapping[str, Any]]) -> Dict[str, Any]:
    """Lay mappings over one another: mappings merge by key, all else is replaced, None takes a value away."""
    merged: Dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            if value is None:
                merged.pop(key, None)
            elif isinstance(value, dict):
                below = merged.get(key)
                merged[key] = merge([below if isinstance(below, dict) else {}, value])
            else:
                merged[key] = value
    return merged


def given(model: BaseModel) -> Dict[str, Any]:
    """Give what a person wrote, without the defaults."""
    return model.dict(exclude_unset=True)


def supplied_by(layers: List[Layer], path: KeyPath) -> Tuple[Document, KeyPath]:
    """Find the last layer that holds ``path``, or the longest part of it."""
    for length in range(len(path), 0, -1):
        for layer in reversed(layers):
            try:
                value_at(layer.document.data, layer.path + path[:length])
            except (KeyError, IndexError, TypeError):
                continue
            return layer.document, layer.path + path[:length]
    own = [layer for layer in layers if layer.path[-2:-1] == ("tasks",)] or layers
    return own[0].document, own[0].path


class PlannedTask(NamedTuple):
    """A task after all layers."""

    task: Task
    layers: List[Layer]
    operator: Dict[str, Any]  # arguments of the ECS operator, but for owner and DAG
    references: FrozenSet[Tuple[str, str, KeyPath]]  # (env | provider | params, member, where in the task)


class Plan(NamedTuple):
    """The tasks of a pipeline, shared by all providers that do not override them."""

    tasks: Dict[str, PlannedTask]
    problems: List[Problem]
    table: str  # Markdown, for the DAG's page


class Definition(NamedTuple):
    """One DAG to be: a pipeline for a data provider in an environment, after all layers."""

    dag_id: str
    path: str  # of the pipeline's file
    family: str
    pipeline: str
    provider: str
    environment: str
    folder: str  # "etl", or the sandbox's
    description: str
    schedule: Optional[str]  # None where nothing is scheduled
    settings: Settings
    env_variables: Mapping[str, Any]
    provider_variables: Mapping[str, Any]
    plan: Plan


def format_dag_id(family: str, pipeline: str, provider: str, folder: str = "etl") -> str:
    """Give the id of a DAG; a sandbox's begins with its folder."""
    return ("" if folder == "etl" else f"{folder}.") + f"{family}-{pipeline}_dag_{provider}"


def parse_dag_id(dag_id: str, folder: str = "etl") -> Optional[Tuple[str, str, str]]:
    """Give (family, pipeline, provider) of a DAG id, or None if it is not one of this folder's."""
    match = re.fullmatch(
        r"([a-z0-9_]+)-([a-z0-9_-]+?)_dag_([a-z0-9_]+)", dag_id[0 if folder == "etl" else len(folder) + 1 :]
    )
    if not match or format_dag_id(*match.groups(), folder=folder) != dag_id:
        return None
    family, pipeline, provider = match.groups()
    return family, pipeline, provider


# ------------------------------------------------------------------------------------------------------- rules


def check_cluster(document: Document, path: KeyPath, cluster: Cluster) -> List[Problem]:
    """Check what RunTask says of launch type and network."""
    problems = []
    if cluster.launch_type and cluster.capacity_provider_strategy:
        message = "launch_type and capacity_provider_strategy exclude each other"
        problems.append(document.problem(path + ("launch_type",), message, "keep one of them", "ecs", at_key=True))
    if cluster.is_fargate and not cluster.subnets:
        problems.append(document.problem(path, "Fargate needs subnets", "add 'subnets: [subnet-...]'", "ecs"))
    for key, limit in (("subnets", 16), ("security_groups", 5)):
        if len(getattr(cluster, key) or ()) > limit:
            problems.append(
                document.problem(path + (key,), f"ECS takes at most {limit} {key}", rule="ecs", at_key=True)
            )
    return problems


# What Airflow 2.2.2 gives a template: TaskInstance.get_template_context(), and Jinja's own functions.
TEMPLATE_NAMES = frozenset(
    "conf conn dag dag_run data_interval_end data_interval_start ds ds_nodash execution_date inlets logical_date macros"
    " next_ds next_ds_nodash next_execution_date outlets params prev_data_interval_end_success"
    " prev_data_interval_start_success prev_ds prev_ds_nodash prev_execution_date prev_execution_date_success"
    " prev_start_date_success run_id task task_instance task_instance_key_str test_mode ti tomorrow_ds"
    " tomorrow_ds_nodash ts ts_nodash ts_nodash_with_tz var yesterday_ds yesterday_ds_nodash"
    " cycler dict joiner lipsum namespace range env provider".split()
)


@lru_cache(maxsize=1)
def jinja_environment() -> jinja2.Environment:
    """Templates are only parsed here; Airflow renders them, in its own sandbox, when the task runs."""
    environment = jinja2.Environment(extensions=["jinja2.ext.do"])
    environment.filters.update(dict.fromkeys(("ds", "ds_nodash", "ts", "ts_nodash", "ts_nodash_with_tz"), str))
    return environment


@lru_cache(maxsize=4096)
def read_template(text: str) -> Tuple[Tuple[str, str], FrozenSet[Tuple[str, str]]]:
    """Give what is wrong with a template (message and hint, or "") and its members of env, provider and params."""
    environment = jinja_environment()
    try:
        tree = environment.parse(text)
        unknown = sorted(jinja2.meta.find_undeclared_variables(tree) - TEMPLATE_NAMES)
    except jinja2.TemplateSyntaxError as error:
        named = re.match(r"no (filter|test) named '(.*)'", error.message)
        hint = nearest(named.group(2), environment.filters if named.group(1) == "filter" else environment.tests) if named else ""
        return (f"not a Jinja template: {error.message} (line {error.lineno} of the text)", hint), frozenset()
    if unknown:
        return (f"unknown name '{unknown[0]}' in the template", nearest(unknown[0], TEMPLATE_NAMES)), frozenset()
    members = set()
    for node in tree.find_all((jinja2.nodes.Getattr, jinja2.nodes.Getitem)):
        if isinstance(node.node, jinja2.nodes.Name) and node.node.name in ("env", "provider", "params"):
            member = node.attr if isinstance(node, jinja2.nodes.Getattr) else getattr(node.arg, "value", None)
            if isinstance(member, str):
                members.add((node.node.name, member))
    return ("", ""), frozenset(members)


def templates(task: Task) -> Iterator[Tuple[KeyPath, str]]:
    """Give the templated texts of a task, each with its place in the task."""
    for key in ("task_definition", "container", "task_role_arn", "execution_role_arn"):
        if getattr(task, key):
            yield (key,), getattr(task, key)
    for index, text in enumerate(task.command or ()):
        yield ("command", index), text
    for key, mapping in (("environment", task.environment), ("tags", task.tags)):
        for name, text in (mapping or {}).items():
            yield (key, name), text or ""


def fargate_problem(cpu: Optional[int], memory: Optional[int]) -> Optional[Tuple[str, str]]:
    """Give message and hint if Fargate has no such size (CPU units, MiB), or None."""
    if cpu is not None and cpu not in FARGATE_MEMORY:
        return f"Fargate has no {cpu} CPU", f"it has {', '.join(map(str, FARGATE_MEMORY))}"
    sizes = FARGATE_MEMORY[cpu] if cpu else sorted(set().union(*FARGATE_MEMORY.values()))
    if memory is None or memory in sizes:
        return None
    if cpu is None:
        return f"Fargate has no {memory} MiB", "the sizes are multiples of 1024 MiB"
    step = f" in steps of {sizes[1] - sizes[0]}" if cpu > 256 else f": {', '.join(map(str, sizes))}"
    return (
        f"Fargate has no {memory} MiB for {cpu} CPU",
        f"Fargate's {cpu} CPU takes {sizes[0]} to {sizes[-1]} MiB{step}",
    )


def operator_arguments(task: Task, container: str, cluster: Cluster, environment: Environment) -> Dict[str, Any]:
    """Give the ECS operator's arguments for a task, but for owner and DAG.

    A size goes to the ECS task, not to the container: on Fargate that is what is paid for, and what a container
    without limits of its own gets.
    """
    override: Dict[str, Any] = {"name": container}
    if task.command is not None:
        override["command"] = task.command
    if task.environment is not None:
        override["environment"] = [{"name": name, "value": value} for name, value in task.environment.items()]
    overrides: Dict[str, Any] = {"containerOverrides": [override]}
    for key, value in (("cpu", task.cpu), ("memory", task.memory)):
        if value is not None:
            overrides[key] = str(value)
    if task.ephemeral_storage is not None:
        overrides["ephemeralStorage"] = {"sizeInGiB": task.ephemeral_storage}
    for key, value in (("taskRoleArn", task.task_role_arn), ("executionRoleArn", task.execution_role_arn)):
        if value is not None:
            overrides[key] = value

    arguments: Dict[str, Any] = {
        "task_definition": task.task_definition,
        "cluster": cluster.cluster,
        "overrides": overrides,
        "aws_conn_id": environment.aws_conn_id,
        "region_name": environment.region,
        "launch_type": cluster.launch_type,  # None: the cluster's default strategy; the operator's default is EC2
        "platform_version": cluster.platform_version,
        "tags": task.tags,
    }
    if cluster.capacity_provider_strategy:
        arguments["capacity_provider_strategy"] = [
            {{"capacity_provider": "capacityProvider"}.get(key, key): value for key, value in given(item).items()}
            for item in cluster.capacity_provider_strategy
        ]
    if cluster.subnets:
        network = {"subnets": cluster.subnets, "securityGroups": cluster.security_groups or []}
        network["assignPublicIp"] = "ENABLED" if cluster.assign_public_ip else "DISABLED"
        arguments["network_configuration"] = {"awsvpcConfiguration": network}
    if cluster.logs:
        arguments["awslogs_group"] = cluster.logs.group
        arguments["awslogs_region"] = cluster.logs.region
        # The operator adds only the ECS task's id to the stream's name.
        arguments["awslogs_stream_prefix"] = f"{cluster.logs.prefix}/{container}"
        # The fetcher sleeps this out before a task ends; the operator's default is 30 s.
        arguments["awslogs_fetch_interval"] = timedelta(seconds=5)
    for key in AIRFLOW_ARGUMENTS:
        value = getattr(task, key)
        if value is not None:
            arguments[key] = value
    return arguments


AIRFLOW_ARGUMENTS = (
    "retries retry_delay retry_exponential_backoff max_retry_delay execution_timeout sla pool priority_weight"
    " trigger_rule depends_on_past"
).split()


def plan_task(
    task_id: str, layers: List[Layer], models: List[Optional[Task]], environment: Environment
) -> Tuple[PlannedTask, List[Problem]]:
    """Merge the layers of a task, check the result and turn it into the operator's arguments."""
    task = Task.parse_obj(merge(given(model) for model in models if model is not None))
    problems: List[Problem] = []

    def report(path: KeyPath, message: str, hint: str = "", rule: str = "ecs") -> None:
        document, place = supplied_by(layers, path)
        problems.append(document.problem(place, message, hint, rule))

    references = set()
    for path, text in templates(task):
        if "{" in text:
            (message, hint), members = read_template(text)
            if message:
                report(path, message, hint, "template")
            references.update((root, member, path) for root, member in members)

    container = task.container or re.sub(r".*task-definition/|:[0-9]+$", "", task.task_definition or "")
    if task.task_definition is None:
        report((), f"task '{task_id}' has no task_definition", "add 'task_definition: <family>'", "schema")
    elif task.container is None and "{" in container:
        report(("task_definition",), "a task definition with a template needs a container", "add 'container: <name>'")

    cluster = environment.clusters.get(task.cluster or "default")
    if cluster is None and task.cluster is None:
        report((), f"task '{task_id}' has no cluster", nearest("default", environment.clusters))
    elif cluster is None:
        report(("cluster",), f"unknown cluster '{task.cluster}'", nearest(task.cluster, environment.clusters))
    if problems or cluster is None:
        return PlannedTask(task, layers, {}, frozenset(references)), problems

    if cluster.is_fargate:
        size = fargate_problem(task.cpu, task.memory)
        if size:
            report(("memory",) if task.memory else ("cpu",), *size)
        if task.ephemeral_storage and not 21 <= task.ephemeral_storage <= 200:
            report(("ephemeral_storage",), "Fargate's ephemeral storage is 21 to 200 GiB")
    operator = operator_arguments(task, container, cluster, environment)
    length = len(json.dumps(operator["overrides"]))
    if length > MAX_OVERRIDES:
        message = f"the overrides are {length} characters of JSON; ECS takes at most {MAX_OVERRIDES}"
        report(("environment",) if task.environment else ("command",), message, "put data on S3 and pass its address")
    if len(task.tags or ()) > MAX_ECS_TAGS:
        report(("tags",), f"ECS takes at most {MAX_ECS_TAGS} tags")
    return PlannedTask(task, layers, operator, frozenset(references)), problems


def check_dependencies(tasks: Mapping[str, PlannedTask]) -> List[Problem]:
    """Check that the tasks that others wait for are there and do not wait for one another."""
    problems = []
    before: Dict[str, List[str]] = {}
    for task_id, planned in tasks.items():
        before[task_id] = []
        for index, other in enumerate(planned.task.depends_on or ()):
            if other in tasks and other != task_id:
                before[task_id].append(other)
                continue
            document, place = supplied_by(planned.layers, ("depends_on", index))
            message, hint = f"unknown task '{other}'", nearest(other, set(tasks) - {task_id})
            if other == task_id:
                message, hint = f"task '{task_id}' depends on itself", ""
            problems.append(document.problem(place, message, hint, "dependencies"))
    waiting = dict(before)
    ready = True
    while ready:
        ready = [task_id for task_id, others in waiting.items() if not any(other in waiting for other in others)]
        for task_id in ready:
            del waiting[task_id]
    if waiting:
        chain = [next(iter(waiting))]
        while chain[-1] not in chain[:-1]:
            chain.append(next(other for other in before[chain[-1]] if other in waiting))
        cycle = chain[chain.index(chain[-1]) :]
        document, place = supplied_by(tasks[cycle[0]].layers, ("depends_on", before[cycle[0]].index(cycle[1])))
        problems.append(document.problem(place, f"a cycle: {' -> '.join(cycle)}", "", "dependencies"))
    return problems


def check_settings(settings: Settings, layers: List[Layer], environments: Iterable[str]) -> List[Problem]:
    """Check what a pipeline and a provider say of their DAG together."""
    problems = []

    def report(path: KeyPath, message: str, hint: str = "", rule: str = "schedule") -> None:
        document, place = supplied_by(layers, path)
        problems.append(document.problem(place, message, hint, rule))

    if settings.start_date is None:
        report((), "missing key 'start_date'", "add a static date such as 'start_date: 2022-01-01'", "schema")
    elif settings.end_date is not None and settings.end_date < settings.start_date:
        report(("end_date",), "end_date is before start_date")
    for index, name in enumerate(settings.environments or ()):
        if name not in environments:
            report(("environments", index), f"unknown environment '{name}'", nearest(name, environments), "schema")
    for name, param in (settings.params or {}).items():
        problem = param_problem(param)
        if problem:
            report(("params", name), problem, rule="schema")
    if settings.wait_for is not None:
        report(("wait_for",), "wait_for does nothing yet", "leave it out until it does", "schema")
    return problems


def param_problem(param: Param) -> str:
    """Say what is wrong with a param's schema or default, or give ""."""
    from jsonschema import Draft7Validator, FormatChecker  # what Airflow's Param validates with
    from jsonschema.exceptions import SchemaError

    default, _, schema = param_parts(param)
    if default is None and "null" not in (param.type or ()):
        return "a param needs a default, or nobody can run the DAG without typing one"
    try:
        Draft7Validator.check_schema(schema)
    except SchemaError as error:
        return f"not a JSON Schema: {error.message}"
    errors = list(Draft7Validator(schema, format_checker=FormatChecker()).iter_errors(default))
    return f"the default does not fit: {errors[0].message}" if errors else ""


def param_parts(param: Param) -> Tuple[Any, Optional[str], Dict[str, Any]]:
    """Give default, description and JSON Schema of a param."""
    schema = given(param)
    return schema.pop("default", None), schema.pop("description", None), schema


# ------------------------------------------------------------------------------------------------- definitions


class Context(NamedTuple):
    """What every pipeline is laid over."""

    name: str  # of the environment
    environment: Environment
    document: Document
    environments: List[str]  # the names of all
    folder: str  # "etl", or the sandbox's


def plan_tasks(document: Document, pipeline: Pipeline, provider: Optional[str], context: Context) -> Plan:
    """Lay environment, pipeline and, if one is named, provider over one another for every task."""
    override = (provider and pipeline.providers[provider]) or Provider()
    place: KeyPath = ("providers", provider)
    tasks: Dict[str, PlannedTask] = {}
    problems: List[Problem] = []
    for task_id, task in pipeline.tasks.items():
        own = override.tasks.get(task_id)
        if own is None and task_id in override.tasks:
            continue
        layers = [
            Layer(context.document, ("defaults",)),
            Layer(document, ("defaults",)),
            Layer(document, ("tasks", task_id)),
        ]
        models: List[Optional[Task]] = [context.environment.defaults, pipeline.defaults, task]
        if provider:
            layers += [Layer(document, place + ("defaults",)), Layer(document, place + ("tasks", task_id))]
            models += [override.defaults, own]
        tasks[task_id], found = plan_task(task_id, layers, models, context.environment)
        problems += found
    for task_id in override.tasks:
        if task_id not in pipeline.tasks:
            message, hint = f"unknown task '{task_id}'", nearest(task_id, pipeline.tasks)
            path = place + ("tasks", task_id)
            problems.append(document.problem(path, message, hint, "dependencies", at_key=True))
    problems += check_dependencies(tasks)
    return Plan(tasks, problems, "" if problems else task_table(tasks))


def define(document: Document, pipeline: Pipeline, context: Context) -> Tuple[List[Definition], List[Problem]]:
    """Give the DAGs of a pipeline in an environment, and what is wrong with its providers."""
    definitions: List[Definition] = []
    problems: List[Problem] = []
    family, name = document.path.split("/")[-2], Path(document.path).stem
    plans: Dict[Optional[str], Plan] = {}
    checked: Dict[Optional[str], Tuple[Settings, List[Problem]]] = {}
    for provider, override in pipeline.providers.items():
        override = override or Provider()
        own_settings = override.__fields_set__ & set(Settings.__fields__)
        settings_of = provider if own_settings else None
        if settings_of not in checked:
            merged = merge([given(pipeline), override.dict(include=own_settings, exclude_unset=True)])
            settings = Settings.parse_obj({key: merged[key] for key in merged if key in Settings.__fields__})
            layers = [Layer(document, ()), Layer(document, ("providers", provider) if settings_of else ())]
            checked[settings_of] = settings, check_settings(settings, layers, context.environments)
        settings, found = checked[settings_of]
        if settings.environments is not None and context.name not in settings.environments and not found:
            continue
        plan_of = provider if override.__fields_set__ & {"defaults", "tasks"} else None
        if plan_of not in plans:
            plans[plan_of] = plan_tasks(document, pipeline, plan_of, context)
        plan = plans[plan_of]

        definition = Definition(
            dag_id=format_dag_id(family, name, provider, context.folder),
            path=document.path,
            family=family,
            pipeline=name,
            provider=provider,
            environment=context.name,
            folder=context.folder,
            description=pipeline.description or "",
            schedule=settings.schedule if context.environment.schedules and context.folder == "etl" else None,
            settings=settings,
            env_variables={**context.environment.variables, "name": context.name},
            provider_variables={**override.variables, "name": provider},
            plan=plan,
        )
        found = found + plan.problems + check_references(definition)
        if len(definition.dag_id) > MAX_DAG_ID:
            message = f"the DAG's id would have {len(definition.dag_id)} characters; Airflow takes {MAX_DAG_ID}"
            found.append(document.problem(("providers", provider), message, "choose a shorter name", at_key=True))
        problems += found
        if not found:
            definitions.append(definition)
    return definitions, problems


def check_references(definition: Definition) -> List[Problem]:
    """Check that env, provider and params have what the templates name of them."""
    known: Dict[str, Iterable[str]] = {
        "env": definition.env_variables,
        "provider": definition.provider_variables,
        "params": definition.settings.params or {},
    }
    problems = []
    for planned in definition.plan.tasks.values():
        for root, member, path in planned.references:
            if member not in known[root]:
                document, place = supplied_by(planned.layers, path)
                of = {"env": definition.environment, "provider": definition.provider, "params": definition.pipeline}[
                    root
                ]
                message = f"unknown name '{root}.{member}' in the template: {of} has no such {root} variable"
                problems.append(document.problem(place, message, nearest(member, known[root]), "template"))
    return problems


class Found(NamedTuple):
    """What the files of one environment hold."""

    definitions: List[Definition]
    problems: List[Problem]


def shown(root: Path, file: Path) -> str:
    """Give the path a person knows a file by: from the DAGs folder's name on."""
    return file.relative_to(root.parent.parent).as_posix()


def environment_names(root: Path) -> List[str]:
    return sorted(file.stem for file in root.glob("configs/*.yaml"))


def read_context(root: Path, environment_name: Optional[str]) -> Context:
    """Read the environment that the Airflow option [etl] environment names; raises Rejected."""
    names = environment_names(root)
    if environment_name not in names:
        message = f"unknown environment '{environment_name}'" if environment_name else "no environment is chosen"
        hint = f"set the Airflow option [etl] environment (AIRFLOW__ETL__ENVIRONMENT) to one of: {', '.join(names)}"
        raise Rejected(Problem(shown(root, root / "configs"), 1, 1, message, hint, "schema"))
    file = root / "configs" / f"{environment_name}.yaml"
    document = Document(shown(root, file), read_text(file, shown(root, file)))
    return Context(str(environment_name), read_environment(document), document, names, root.name)


def pipeline_files(root: Path) -> Iterator[Path]:
    """Give everything that stands where a definition stands, in the order of names; hidden files are not meant."""
    for family in sorted((root / "pipelines").iterdir()):
        if family.name.startswith("."):
            continue
        if family.is_dir() and not family.is_symlink():
            yield from (
                file for file in sorted(family.iterdir()) if file.suffix in (".yaml", ".yml") and file.name[0] != "."
            )
        elif family.suffix in (".yaml", ".yml") or family.is_symlink():
            yield family


def read_file(root: Path, file: Path, context: Context, provider: Optional[str] = None) -> Found:
    """Give the DAGs of one file, or of one of its providers."""
    path = shown(root, file)
    try:
        for text, kind in ((file.parent.name, FamilyName), (file.stem, PipelineName)):
            if file.parent.parent == root / "pipelines" and not kind.pattern.fullmatch(text):
                raise Rejected(Problem(path, 1, 1, f"{text!r} is not {kind.what}", "rename it", "schema"))
        if file.suffix != ".yaml" or file.parent.parent != root / "pipelines":
            hint = "a definition is pipelines/<family>/<name>.yaml"
            raise Rejected(Problem(path, 1, 1, "is not where or what a definition is", hint, "schema"))
        document = Document(path, read_text(file, path))
        pipeline, problems = read_pipeline(document, provider)
        definitions, found = define(document, pipeline, context)
        return Found(definitions, problems + found)
    except Rejected as rejected:
        return Found([], rejected.problems)


def load(root: Path, environment_name: Optional[str], dag_id: Optional[str] = None) -> Found:
    """Read all definitions below ``root`` for an environment, or only the one that a DAG id names.

    Problems come in the order of files and places, each once.
    """
    try:
        context = read_context(root, environment_name)
        names = parse_dag_id(dag_id, context.folder) if dag_id else None
        if names:
            return read_file(root, root / "pipelines" / names[0] / f"{names[1]}.yaml", context, names[2])
        files = list(pipeline_files(root))
    except Rejected as rejected:
        return Found([], rejected.problems)
    found = Found(
        [],
        [Problem(context.document.path, 1, 1, "alerts do nothing yet", "", "schema")]
        if context.environment.alerts
        else [],
    )
    for file in files:
        try:
            definitions, problems = read_file(root, file, context)
        except Exception as error:
            definitions, problems = [], [unforeseen(shown(root, file), error)]
        found.definitions.extend(definitions)
        found.problems.extend(problems)
    return Found(found.definitions, sorted(set(found.problems), key=lambda problem: problem[:4]))


def unforeseen(path: str, error: Exception) -> Problem:
    """Tell of an error that is the factory's own. It is logged whole, and must not cost the other DAGs."""
    if type(error).__name__ == "AirflowTaskTimeout":  # the import timeout is Airflow's to tell
        raise error
    logging.getLogger(__name__).exception("The factory failed on %s", path)
    message = f"the factory failed: {type(error).__name__}: {error}"
    return Problem(path, 1, 1, message, "this is an error of the factory: the log has the traceback", "factory")


# --------------------------------------------------------------------------------------------------------- DAG


def markdown(text: str) -> str:
    """Escape text for Markdown and HTML: the web page shows a DAG's docs as they come."""
    return re.sub(r"[^A-Za-z0-9 ,.:/=-]", lambda match: f"&#{ord(match.group())};", text)


def task_table(tasks: Mapping[str, PlannedTask]) -> str:
    """Give a Markdown table of the tasks; Airflow knows tables, but no code blocks."""
    rows = [
        "| Task | After | Task definition | Cluster | CPU / MiB | Command |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for task_id, planned in tasks.items():
        task, overrides = planned.task, planned.operator["overrides"]
        cells = (
            task_id,
            ", ".join(task.depends_on or ()),
            task.task_definition or "",
            planned.operator["cluster"],
            f"{overrides['cpu'] if task.cpu else '-'} / {overrides['memory'] if task.memory else '-'}",
            " ".join(task.command or ()),
        )
        rows.append(f"| {' | '.join(map(markdown, cells))} |")
    return "\n".join(rows)


def doc_md(definition: Definition) -> str:
    """Tell a person in the web page where the DAG comes from and what its tasks run."""
    schedule = definition.schedule or "only when triggered"
    if definition.settings.schedule and not definition.schedule:
        schedule = f"{definition.settings.schedule} is off here: only when triggered"
    params = "".join(
        f"\n\n`{name}`: {markdown(param.description or '')}"
        for name, param in (definition.settings.params or {}).items()
    )
    return (
        f"{markdown(definition.description)}\n\nProvider **{definition.provider}** of {markdown(definition.path)}"
        f" in environment **{definition.environment}**. Schedule: {markdown(schedule)}.{params}\n\n{definition.plan.table}"
    )


@lru_cache(maxsize=1)
def ecs_operator() -> Any:
    """Give the operator of the tasks. Here and in build_dag stands all that depends on Airflow's version."""
    try:
        from airflow.providers.amazon.aws.operators.ecs import EcsOperator
    except ImportError:  # the provider in MWAA's own image
        from airflow.providers.amazon.aws.operators.ecs import ECSOperator as EcsOperator
    from airflow.configuration import conf
    from airflow.exceptions import AirflowFailException

    class PipelineEcsOperator(EcsOperator):  # type: ignore[misc, valid-type]
        template_fields = tuple(EcsOperator.template_fields) + (
            "cluster",
            "task_definition",
            "network_configuration",
            "tags",
        )

        def set_xcomargs_dependencies(self) -> None:
            """Do nothing: no field of ours holds an XComArg, and looking for them is a third of the building time."""

        def execute(self, context: Any, session: Any = None) -> Any:
            typed = context["dag_run"].conf
            if typed and not conf.getboolean("core", "dag_run_conf_overrides_params"):
                keys = ", ".join(sorted(typed))
                raise AirflowFailException(
                    f"what was typed at the trigger ({keys}) is not used yet: trigger without it"
                )
            return super().execute(context)

    # Airflow's metaclass wraps the inherited __init__ once more, which costs 20 % of building an operator.
    PipelineEcsOperator.__init__ = EcsOperator.__init__
    return PipelineEcsOperator


def build_dag(definition: Definition) -> Any:
    """Make the Airflow DAG of a definition."""
    from airflow.models.dag import DAG
    from airflow.models.param import Param as AirflowParam

    settings = definition.settings
    owner = settings.owner or "airflow"
    params = {}
    for name, param in (settings.params or {}).items():
        default, description, schema = param_parts(param)
        params[name] = AirflowParam(default, description, **schema)
    sandbox = [definition.folder] if definition.folder != "etl" else []
    names = [definition.family, definition.pipeline, definition.provider, definition.environment]
    optional = {"max_active_tasks": settings.max_active_tasks} if settings.max_active_tasks else {}
    dag = DAG(
        definition.dag_id,
        description=definition.description,
        schedule_interval=definition.schedule,
        start_date=settings.start_date,
        end_date=settings.end_date,
        catchup=bool(settings.catchup),
        max_active_runs=settings.max_active_runs or 1,
        dagrun_timeout=settings.dagrun_timeout,
        tags=sorted({*names, *sandbox, *(settings.tags or ())}),
        params=params,
        user_defined_macros={
            "env": SimpleNamespace(**definition.env_variables),
            "provider": SimpleNamespace(**definition.provider_variables),
        },
        doc_md=doc_md(definition),
        **optional,
    )
    operator = ecs_operator()
    operators = {
        task_id: operator(task_id=task_id, dag=dag, owner=owner, **planned.operator)
        for task_id, planned in definition.plan.tasks.items()
    }
    for task_id, planned in definition.plan.tasks.items():
        if planned.task.depends_on:
            operators[task_id].set_upstream([operators[other] for other in planned.task.depends_on])
    return dag


def problem_dag(problems: List[Problem]) -> Any:
    """Make a DAG that Airflow cannot bag: its error becomes the file's import error, beside the healthy DAGs."""
    from airflow.exceptions import AirflowClusterPolicyViolation
    from airflow.models.dag import DAG

    text = f"{len(problems)} problem{'s' * (len(problems) != 1)} in the definitions:\n\n" + "\n\n".join(
        map(str, problems)
    )

    class ProblemDag(DAG):
        def resolve_template_files(self) -> None:
            raise AirflowClusterPolicyViolation(text)

    return ProblemDag("etl_problems", schedule_interval=None)


# ------------------------------------------------------------------------------------------------ registration


def dag_id_of_task() -> Optional[str]:
    """Give the id of the DAG whose task this process runs; None in any other process.

    ``airflow tasks run <dag_id> ...`` is the command line of a new interpreter (Sequential and Local executor) and,
    in a fork (Celery and Local executor), stands in the process title. Airflow has an API for it from 2.5 on.
    """
    if sys.argv[1:3] == ["tasks", "run"] and len(sys.argv) > 3:
        return sys.argv[3]
    from setproctitle import getproctitle

    match = re.match(r"airflow task supervisor: \['airflow', 'tasks', 'run', '([^']+)'", getproctitle())
    return match.group(1) if match else None


def build_all(
    root: Path, environment_name: Optional[str], dag_id: Optional[str] = None
) -> Tuple[Dict[str, Any], List[Problem]]:
    """Give the DAGs by their ids and all problems; with ``dag_id`` only that DAG, or all if it cannot be had alone."""
    definitions, problems = load(root, environment_name, dag_id)
    if dag_id and (problems or [definition.dag_id for definition in definitions] != [dag_id]):
        definitions, problems = load(root, environment_name)
    dags = {}
    for definition in definitions:
        try:
            dags[definition.dag_id] = build_dag(definition)
        except Exception as error:
            problems.append(unforeseen(definition.path, error))
    return dags, problems


def register(namespace: Dict[str, Any]) -> None:
    """Put the DAGs of the environment into the module's namespace, where Airflow looks for them."""
    from airflow.configuration import conf

    dags, problems = build_all(
        Path(__file__).absolute().parent, conf.get("etl", "environment", fallback=None), dag_id_of_task()
    )
    namespace.update(dags)
    if problems:
        namespace["etl_problems"] = problem_dag(problems)


def main(arguments: List[str]) -> int:
    """Print what Airflow would get from this file: ``python dags/etl/factory.py development``."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python dags/etl/factory.py ENVIRONMENT\ne.g.:  python dags/etl/factory.py development")
        return 2
    root = Path(__file__).absolute().parent
    definitions, problems = load(root, arguments[0])
    print(f"environment: {arguments[0]}")
    providers: Dict[str, List[str]] = {}
    for definition in definitions:
        providers.setdefault(f"{definition.family}-{definition.pipeline}", []).append(definition.provider)
    for pipeline, names in providers.items():
        print(f"{pipeline}: {', '.join(names)}")
    for definition in definitions:
        try:
            build_dag(definition)
            print(f"{definition.dag_id}  {definition.path}")
        except Exception as error:
            problems.append(unforeseen(definition.path, error))
    for problem in problems:
        print(f"\n{problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
elif __name__ != "factory":  # Airflow imports a DAG file under a name of its own, tools import "factory"
    register(globals())
