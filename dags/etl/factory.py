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
import hashlib
import json
import logging
import os
import re
import stat
import sys
import textwrap
import threading
import time
from collections import deque
from copy import copy, deepcopy
from datetime import date, datetime, timedelta
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    ClassVar,
    Deque,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
    Type,
    Union,
)

import jinja2
import jinja2.ext
import jinja2.nodes
import pendulum
import yaml
from croniter import croniter
from pydantic import BaseModel, ConstrainedInt, Field, PydanticValueError, StrictBool, ValidationError, validator
from pydantic.errors import DictError
from pydantic.fields import SHAPE_DICT, SHAPE_SINGLETON, ModelField
from typing_extensions import Literal
from yaml.composer import Composer, ComposerError
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.cyaml import CParser  # type: ignore[attr-defined]
from yaml.resolver import Resolver

if TYPE_CHECKING:
    from airflow.models.baseoperator import BaseOperator
    from airflow.providers.amazon.aws.operators.ecs import EcsOperator
    from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor
else:  # what is mixed into them stands here without the 1.5 s that they take to import
    BaseOperator = EcsOperator = S3KeySensor = object

KeyPath = Tuple[Any, ...]

# libyaml reads about 0.5 MB/s, and a file is read every 30 s: 512 KiB are some 10,000 providers.
MAX_FILE_BYTES = 512 * 1024
MAX_DEPTH = 50
# What bounds the work that a file can ask for. 10,000 providers of 3 tasks fit.
MAX_VALUES = 50_000  # keys and values as they are written
MAX_NUMBER = 100  # characters: reading a number takes the square of them
MAX_TASKS = 30_000  # of all DAGs of a file
MAX_CHARACTERS = 16 * 2**20  # of what providers share, times providers
MAX_FAULTS = 10  # of a template that are told
MAX_HINTS = 100  # looking for a near name takes 10 us a name that there is
MAX_TOLD = 100  # problems of a file in the banner
WAIT_FOR = "wait_for_delivery"  # task id of the sensor
# Without one of these, what else a pipeline says cannot be judged.
DECISIVE = {"cluster", "defaults", "environments", "params", "providers", "tasks", "variables"}
LEFT_OUT = "left-out"  # stands in a list for what is wrong
# What holds where no layer says anything else.
SETTING_DEFAULTS: Dict[str, Any] = {"owner": "airflow", "catchup": False, "max_active_runs": 1}
MAX_DAG_ID = 250  # a column of Airflow's database
# ECS limits: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
MAX_OVERRIDES = 8192  # characters of JSON
MAX_ECS_TAGS = 50
# SNS limits: https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
MAX_SUBJECT = 99  # characters
MAX_FIELD = 10_000  # characters; a reason holds lines of a container, and a message takes 256 KiB
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


# What a credential looks like, and what one is called. `./etl check` knows more; here is what cannot be anything else.
SECRET = re.compile(
    r"\b(?P<AWS_access_key>(?:AKIA|ASIA)[0-9A-Z]{16})\b"
    r"|(?P<private_key>-----BEGIN [A-Z ]*PRIVATE KEY-----(?:.*?-----END [A-Z ]*PRIVATE KEY-----|.*))"
    r"|\b(?P<token>gh[pousr]_\w{36,}|xox[abprs]-[\w-]{10,}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+)"
    r"|://(?P<password_in_a_URL>[^\s/:@'\"{}]*:[^\s/@'\"{}]+)@",
    re.DOTALL,
)
SECRET_WORD = r"(?:password|passwd|pwd|secret|token|api[_-]?key|(?:access|private)[_-]?key|credentials?)"
SECRET_NAME = re.compile(SECRET_WORD + "$", re.I)
NO_SECRET = re.compile(r"|true|false|yes|no|null|~|arn:.*|.*\{\{.*", re.I | re.DOTALL)
# The spaces are bounded: a pattern that can go back over a whole file can take hours.
NAMED_SECRET = re.compile(
    SECRET_WORD + r"""["']?[ \t]{0,9}(?:[:=,]|\n[ \t]{0,99}-)[ \t]{0,9}\n?[ \t]{0,99}"""
    r"""(?P<value>"[^"\n]*"|'[^'\n]*'|[^\s,}\]\[{|>&][^\s,}\]]*)""",
    re.I,
)
TOKENS = re.compile(r"\{[{%]|[%}]\}|\w+|\S")  # of a template
NO_LINE_END = r"[^\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]"  # what str.splitlines() takes for the middle of a line
# What is another value when a task is run again: Python's and Airflow's ways by Jinja, and the shell's.
NOT_IDEMPOTENT = re.compile(
    r"\b(?:now|today)\(|\butcnow\b|\bmacros\.(?:time|uuid|random)\b[\w.]*|\bdatetime\.(?:now|today)\b|\|\s*random\b"
    r"|\$\(date\b|`date\b|\buuidgen\b|\buuid[14]\(|\$\{?RANDOM\b"
)


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

    @property
    def place(self) -> str:
        """Where it is, as editors take it."""
        return f"{self.path}:{self.line}:{self.column}"

    def __str__(self) -> str:
        lines = [f"{self.place}: {self.message} [{self.rule}]"]
        if self.source:
            start = max(0, self.column - 80)
            shown = self.source[start : start + 120]
            caret = "^" * max(1, min(self.width, start + len(shown) - self.column + 1))
            lines.append(f"   {self.line:>4} | {shown}")
            lines.append(f"        | {' ' * (self.column - 1 - start)}{caret}")
        if self.hint:
            # The web page's banner cuts a line that is longer than the page is wide.
            lines += textwrap.wrap(self.hint, 110, initial_indent="        = ", subsequent_indent="          ")
        # PostgreSQL stores no NUL and no half of a surrogate pair, and then no DAG of the file either.
        return "\n".join("".join(c if c.isprintable() else " " for c in line) for line in lines)


class Rejected(Exception):
    """A file that gives no definition at all; its arguments are the problems."""


class Hints:
    """How many mistakes of the file that is read may still ask which name was meant."""

    left = MAX_HINTS


def nearest(name: Any, known: Iterable[str]) -> str:
    """Say which of the known names was meant, or all of them if none is near; "" if there are none.

    In a file with very many mistakes, only the first ones are told.
    """
    Hints.left -= 1
    return nearest_of(name, sorted(known)[:1000]) if Hints.left >= 0 else ""


def nearest_of(name: Any, names: Sequence[str]) -> str:
    """Say the same of a few names, however often it is asked."""
    close = difflib.get_close_matches(str(name), names, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known: {', '.join(sorted(names)[:20])}" if names else ""


def describe(value: Any) -> str:
    """Name a value as YAML read it, for a message."""
    if value is None:
        return "nothing"
    if isinstance(value, Misread):
        return f"what YAML 1.1 reads as the number {value.value}"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, (int, float)):
        return f"the number {str(value)[:40]}"
    if isinstance(value, date):
        return f"the date {value}"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    return {"dict": "a mapping", "list": "a list"}.get(type(value).__name__, f"a {type(value).__name__}")


# ------------------------------------------------------------------------------------------------------ models


class Wrong(PydanticValueError):
    """What a validator says; ``key`` is the key of a mapping that it is said of, which pydantic does not tell.

    Where the value as a whole is that mapping, it is ``within``.
    ``{source}`` in a hint becomes the text as it stands in the file.
    """

    code = "wrong"
    msg_template = "{message}"

    def __init__(
        self, message: str, hint: str = "", rule: str = "schema", key: Any = None, within: bool = False
    ) -> None:
        super().__init__(message=message, hint=hint, rule=rule, key=key, within=within)


class Misread:
    """An integer as YAML 1.1 reads it and nobody means it: ``010`` is 8, ``1:30`` is 90, ``1_000`` is 1000."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:  # as a key it is looked for
        return isinstance(other, Misread) and other.value == self.value

    def __hash__(self) -> int:
        return hash(("Misread", self.value))


class Shape:
    """A kind of value, which pydantic checks with ``validate``."""

    @classmethod
    def __get_validators__(cls) -> Iterator[Any]:
        yield cls.validate

    @classmethod
    def validate(cls, value: Any) -> Any:
        raise NotImplementedError


class Text(Shape, str):
    """Text without control characters."""

    pattern = re.compile(r"[^\x00-\x08\x0b-\x1f\x7f]*")

    @classmethod
    def what(cls) -> str:
        """Say what it should be, for a message: the class's docstring."""
        words = (cls.__doc__ or "").splitlines()[0].rstrip(".")
        return words[0].lower() + words[1:]

    @classmethod
    def validate(cls, value: Any) -> str:
        if not isinstance(value, str):
            hint = "quote it: '{source}'" if isinstance(value, (bool, int, float, date, Misread)) else ""
            raise Wrong(f"expected text, got {describe(value)}", hint, key=value)
        if not cls.pattern.fullmatch(value):
            raise Wrong(f"{value[:60]!r} is not {cls.what()}", key=value)
        return value


class PlainText(Text):
    """Plain text on one line (a template does not work here)."""

    pattern = re.compile(r"[^\x00-\x1f\x7f{}]+")


class FolderName(Text):
    """A name for a sandbox: at most 100 letters, digits, _, - and dots."""

    pattern = re.compile(r"[\w.-]{1,100}")  # it begins DAG ids, and is a tag


class FamilyName(Text):
    """A family's name: lower-case letters, digits and _."""

    pattern = re.compile(r"[a-z0-9][a-z0-9_]*")


class PipelineName(Text):
    """A pipeline's name: lower-case letters, digits, _ and -, without '_dag_'."""

    # Not '_dag_' in it, nor '_dag' at its end: the first '_dag_' of a DAG id is where the provider begins.
    pattern = re.compile(r"(?!.*_dag(?:_|$))[a-z0-9][a-z0-9_-]*")


class ProviderName(Text):
    """A provider's name: lower-case letters, digits and _."""

    pattern = re.compile(r"[a-z0-9][a-z0-9_]*")


class TaskId(Text):
    """A task's name: lower-case letters, digits, _ and -."""

    pattern = re.compile(r"[a-z0-9][a-z0-9_-]{0,249}")


class Identifier(Text):
    """A name that templates can use: letters, digits and _."""

    pattern = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


class VariableName(Text):
    """A variable's name: letters, digits and _, and not 'name', which is there already."""

    pattern = re.compile(r"(?!name$)[A-Za-z][A-Za-z0-9_]*")


class Owner(Text):
    """An owner: 1 to 36 letters, digits, _ and - (ECS takes it for startedBy)."""

    pattern = re.compile(r"[A-Za-z0-9_-]{1,36}")


class DagTag(Text):
    """A tag of 1 to 100 characters."""

    pattern = re.compile(r"[^\x00-\x1f\x7f]{1,100}")  # a column of Airflow's database


class TaskDefinition(Text):
    """A task definition: family, family:revision or ARN."""

    pattern = re.compile(r"[A-Za-z0-9_-]{1,255}(:[0-9]+)?|arn:[^\s{}]+:task-definition/[^\s{}:]+(:[0-9]+)?|.*\{\{.*")


class S3Address(Text):
    """An address on S3: s3://bucket/key."""

    pattern = re.compile(r"s3://[^/\x00-\x1f\x7f]+/[^\x00-\x1f\x7f]+")


class EcsTagKey(Text):
    """A tag's key: 1 to 128 characters, not starting with 'aws:'."""

    pattern = re.compile(r"(?!aws:)[^\x00-\x1f\x7f]{1,128}")


class EcsTagValue(Text):
    """A tag's value: at most 256 characters."""

    pattern = re.compile(r"[^\x00-\x1f\x7f]{0,256}")


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
        """Give message and hint, or None. Airflow would find a bad expression only when the DAG is bagged."""
        if text.startswith("@"):
            return None if text in cls.presets else (f"unknown schedule {text[:60]!r}", nearest_of(text, cls.presets))
        parts = text.split()
        if len(parts) != len(cls.fields):
            return f"a cron expression has five fields, this has {len(parts)}", f"they are: {', '.join(cls.fields)}"
        for index, part in enumerate(parts):
            probe = ["*"] * len(parts)
            probe[index] = part
            # croniter's R and H are random: another time at every parse.
            random = re.search(r"[^0-9A-Za-z*,/#-]|\b[RHrh]\b", part)
            # It takes day 0 and month 0 for 1.
            zero = index in (2, 3) and re.search(r"(?:^|[,-])0+(?:$|[,/-])", part)
            if random or zero or not croniter.is_valid(" ".join(probe)):
                return f"{part[:60]!r} is not a cron field for the {cls.fields[index]}", "daily at 3 is '0 3 * * *'"
        try:
            croniter(text, datetime(2000, 1, 1)).get_next()
            # Airflow reckons back as well, and croniter 1.0.15 cannot from 29 February.
            croniter(text, datetime(2001, 1, 1)).get_prev()
        except ValueError:
            hint = "there is no such day in every year; a daily task can ask for the date itself"
            return f"Airflow cannot reckon with the schedule {text!r}", hint
        return None


class Moment(Shape, datetime):
    """A static date such as 2022-01-01, UTC midnight; with a time, 2022-01-01T03:00:00Z, it needs its time zone.

    The value has pendulum's time zone, which Airflow insists on.
    """

    @classmethod
    def validate(cls, value: Any) -> datetime:
        hint = "a date is static, so that every parse gives the same DAG: write one such as 2022-01-01"
        if isinstance(value, str):
            try:
                text = re.sub("Z$", "+00:00", value)  # Python 3.7 does not read the Z
                value = datetime.fromisoformat(text) if len(text) > 10 else date.fromisoformat(text)
            except ValueError:
                raise Wrong(f"expected a date, got {describe(value)}", hint, "schedule") from None
        if not isinstance(value, date):
            raise Wrong(f"expected a date, got {describe(value)}", hint, "schedule")
        if not 1970 <= value.year <= 2100:  # Airflow adds intervals to it, and a date has its end
            raise Wrong("a date lies between 1970 and 2100", hint, "schedule")
        if not isinstance(value, datetime):
            return pendulum.datetime(value.year, value.month, value.day)
        if value.tzinfo is None:
            hint = f"write {value.isoformat()}Z for UTC, or an offset such as +01:00"
            raise Wrong("a date with a time needs its time zone", hint, "schedule")
        return pendulum.instance(value)


class Duration(Shape, timedelta):
    """A length of time: ``30m``, ``6h``, ``1d12h``, or seconds."""

    pattern = re.compile(r"(?=.)(?:(\d{1,3})d)?(?:(\d{1,4})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s)?")

    @classmethod
    def validate(cls, value: Any) -> timedelta:
        if isinstance(value, timedelta):
            return value
        match = cls.pattern.fullmatch(value) if isinstance(value, str) else None
        if match:
            days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        elif type(value) is int and abs(value) < 2**31:
            days, hours, minutes, seconds = 0, 0, 0, value
        else:
            raise Wrong(f"expected a duration, got {describe(value)}", "write it as 30m, 6h, 1d12h or in seconds")
        length = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        if length <= timedelta(0):  # Airflow would take it for no timeout
            raise Wrong("a duration is longer than nothing")
        return length


class Scalar(Shape):
    """What a variable may be: text, a number or a boolean."""

    @classmethod
    def validate(cls, value: Any) -> Union[str, int, float, bool]:
        return value if isinstance(value, (bool, int, float)) else Text.validate(value)


class Count(ConstrainedInt):
    """A whole number from 0, in the 32 bits that Airflow's database and ECS keep."""

    strict, ge, le = True, 0, 2**31 - 1


class Positive(Count):
    """A whole number from 1."""

    ge = 1


class Weight(Positive):
    """A priority: Airflow adds up those of all tasks that come after, in 32 bits."""

    le = 10_000


def not_a_key(key: Any) -> Tuple[str, str]:
    """Give message and hint for a key that is no text."""
    return f"expected text as a key, got {describe(key)}", "quote it, or leave it out"


class Model(BaseModel):
    """A mapping with known keys."""

    class Config:
        extra = "forbid"
        allow_mutation = False

    @classmethod
    def validate(cls, value: Any) -> Any:
        if not isinstance(value, (dict, cls)):  # pydantic would make a mapping of a list of pairs
            raise DictError()
        for key in value if isinstance(value, dict) else ():
            if not isinstance(key, str):
                raise Wrong(*not_a_key(key), key=key, within=True)
        return super().validate(value)

    @validator("*", pre=True, allow_reuse=True)
    def mapping_is_mapping(cls, value: Any, field: ModelField) -> Any:
        if field.shape == SHAPE_DICT and not isinstance(value, dict) and not (value is None and field.allow_none):
            raise DictError()
        return value


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
        None, description="ECS task definition: family, family:revision or ARN. Templated."
    )
    container: Optional[Text] = Field(
        None, description="Container to override; default: the task definition's family. Templated."
    )
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
    priority_weight: Optional[Weight] = Field(None, description="Higher goes first when slots are scarce.")
    trigger_rule: Optional[TriggerRule] = Field(
        None, description="When the task runs, by the states of those before it."
    )
    depends_on_past: Optional[StrictBool] = Field(None, description="Wait for this task's success in the run before.")


JsonType = Literal["string", "number", "integer", "boolean", "array", "object", "null"]


class Param(Model):
    """What a person may set when triggering by hand, as JSON Schema."""

    type: Union[JsonType, List[JsonType], None] = Field(None, description="JSON Schema type, or a list of them.")
    default: Any = Field(None, description="The value unless a person types another. Required, but for type null.")
    description: Optional[Text] = Field(None, description="What it is for; the DAG's page shows it.")
    title: Optional[Text] = Field(None, description="A short name for people.")
    enum: Optional[List[Any]] = Field(None, description="The values allowed.")
    minimum: Any = Field(None, description="The smallest number allowed.")
    maximum: Any = Field(None, description="The largest number allowed.")
    minLength: Optional[Count] = Field(None, description="The fewest characters.")  # noqa: N815 (JSON Schema's name)
    maxLength: Optional[Count] = Field(None, description="The most characters.")  # noqa: N815
    format: Optional[Literal["date", "date-time", "time", "email", "ipv4", "ipv6"]] = Field(
        None, description="What the text has to look like."
    )


class WaitFor(Model):
    """The provider's delivery, awaited before anything runs."""

    s3: Optional[S3Address] = Field(None, description="s3://bucket/key, with * and ? as wildcards. Templated.")
    timeout: Optional[Duration] = Field(None, description="How long to wait.")
    poke_interval: Optional[Duration] = Field(None, description="Pause between looks.")


class Settings(Model):
    """What a pipeline says of its DAGs and a provider may override."""

    owner: Optional[Owner] = Field(None, description="Owner of the DAG; startedBy of its ECS tasks begins with it.")
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

    @property
    def the_params(self) -> Dict[str, Param]:
        """The params that no layer takes away."""
        return {name: param for name, param in (self.params or {}).items() if param is not None}


class Provider(Settings):
    """A data provider: what differs from the pipeline for it."""

    variables: Dict[VariableName, Scalar] = Field({}, description="`{{ provider.x }}` in templates.")
    defaults: Optional[Task] = Field(None, description="Every task of this provider starts from these.")
    tasks: Dict[TaskId, Optional[Task]] = Field(
        {}, description="What differs for a task; null: this provider has none."
    )


class Pipeline(Settings):
    """The definition of a pipeline: its tasks, and the data providers that each get a DAG of them."""

    description: Optional[Text] = Field(None, description="What the DAGs are for; the web page shows it.")
    defaults: Optional[Task] = Field(None, description="Every task starts from these.")
    tasks: Dict[TaskId, Task] = Field(..., description="The tasks by their name.", minProperties=1)
    providers: Dict[ProviderName, Optional[Provider]] = Field(..., description="The data providers by their name.")
    retired_tasks: List[TaskId] = Field([], description="Tasks that were taken away although that hides their history.")


class CapacityProvider(Model):
    """One part of a capacity provider strategy, as ECS has it."""

    capacity_provider: PlainText = Field(..., description="Its name, or FARGATE or FARGATE_SPOT.")
    weight: Optional[Count] = Field(None, description="Its share of the tasks beyond every base.")
    base: Optional[Count] = Field(None, description="How many tasks it takes before weights count.")


class Logs(Model):
    """Where the containers' awslogs driver writes: streams are called prefix/container/task id."""

    group: PlainText = Field(..., description="CloudWatch log group: awslogs-group of the task definition.")
    prefix: PlainText = Field(..., description="Start of the streams: awslogs-stream-prefix of the task definition.")
    region: Optional[PlainText] = Field(None, description="Default: the environment's.")


class Cluster(Model):
    """Where and how an ECS task runs."""

    cluster: Text = Field(..., description="Name or ARN of the ECS cluster. Templated.")
    launch_type: Optional[Literal["FARGATE", "EC2", "EXTERNAL"]] = Field(
        None, description="What the tasks run on; default: the cluster's own capacity provider strategy."
    )
    capacity_provider_strategy: Optional[List[CapacityProvider]] = Field(None, description="Instead of launch_type.")
    platform_version: Optional[PlainText] = Field(None, description="Fargate's, such as 1.4.0; default: the latest.")
    subnets: Optional[List[Text]] = Field(
        None, description="1 to 16 subnets of the awsvpc network. Templated.", maxItems=16
    )
    security_groups: Optional[List[Text]] = Field(
        None, description="At most 5 security groups of the awsvpc network. Templated.", maxItems=5
    )
    assign_public_ip: Optional[StrictBool] = Field(None, description="Give the tasks a public address; default: false.")
    logs: Optional[Logs] = None

    @property
    def is_fargate(self) -> bool:
        """Whether its tasks run on Fargate, whose sizes are fixed."""
        strategy = self.capacity_provider_strategy or []
        return self.launch_type == "FARGATE" or any(s.capacity_provider.startswith("FARGATE") for s in strategy)


class Alerts(Model):
    """Who is told of a failed run."""

    sns_topic_arn: PlainText = Field(..., description="The SNS topic that is told.")


class Environment(Model):
    """One environment of the company: where its tasks run."""

    region: PlainText = Field(..., description="AWS region of the clusters, such as eu-west-1.")
    aws_conn_id: PlainText = Field("aws_default", description="Airflow connection for AWS.")
    variables: Dict[VariableName, Scalar] = Field({}, description="`{{ env.x }}` in templates.")
    schedules: StrictBool = Field(True, description="False: it runs only what a person triggers.")
    clusters: Dict[PlainText, Cluster] = Field(..., description="Names that a task's `cluster` may say.")
    alerts: Optional[Alerts] = None
    defaults: Optional[Task] = Field(None, description="Every task of every pipeline starts from these.")


# ----------------------------------------------------------------------------------------------------- reading


NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class Loader(Composer, CParser, SafeConstructor, Resolver):
    """Plain data of one YAML document, from libyaml's events.

    Not ``yaml.CSafeLoader``: its composer recurses in C, and 50,000 brackets end the process with a segmentation
    fault (measured with libyaml 0.2.5). This one also tells duplicate keys, and takes 1.5 times as long.
    """

    def __init__(self, text: str) -> None:
        CParser.__init__(self, text)
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)
        self.depth = self.values = 0
        self.duplicates: List[yaml.Node] = []

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node, but not an alias and not for ever."""
        event: Any = self.peek_event()
        if isinstance(event, yaml.AliasEvent):  # 9 lines of them can stand for a billion values
            raise ComposerError(None, None, "aliases (*) are not part of the language", event.start_mark)
        if self.depth == MAX_DEPTH:
            raise ComposerError(None, None, f"nested deeper than {MAX_DEPTH} levels", event.start_mark)
        if self.values == MAX_VALUES:
            raise ComposerError(None, None, f"more than {MAX_VALUES} keys and values", event.start_mark)
        self.depth += 1
        self.values += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """Construct a value; what is none, such as the date 2022-13-45, is an error of YAML."""
        if len(node.value) > MAX_NUMBER and node.tag in NUMBERS:
            raise ConstructorError(None, None, f"a number of more than {MAX_NUMBER} characters", node.start_mark)
        try:
            return super().construct_object(node, deep)  # type: ignore[no-untyped-call]
        except (ValueError, OverflowError) as error:
            raise ConstructorError(None, None, str(error), node.start_mark) from error

    def construct_mapping(self, node: Any, deep: bool = False) -> Dict[Any, Any]:
        """Construct a mapping and keep in mind the keys that stand twice."""
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            seen = set()
            for key, _ in node.value:
                if (key.tag, key.value) in seen:
                    self.duplicates.append(key)
                seen.add((key.tag, key.value))
        return mapping

    def construct_yaml_int(self, node: Any) -> Any:
        """Construct an int, or a Misread for what is written as no one reads it."""
        value = super().construct_yaml_int(node)
        return value if re.fullmatch(r"-?(0|[1-9][0-9]*)", node.value) else Misread(value)


Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_yaml_int)  # type: ignore[type-var]


class Document:
    """A YAML file that was read: path, text and data. It finds the place of a value only when asked to."""

    def __init__(self, path: str, text: str) -> None:
        self.path, self.text = path, text
        self._lines: List[str] = []
        self._root: Any = None
        self._children: Dict[int, Dict[Any, Tuple[Any, Any]]] = {}
        loader = Loader(text)
        try:
            self._root = loader.get_single_node()
            self.data: Any = loader.construct_document(self._root) if self._root else None  # type: ignore[no-untyped-call]
        except yaml.YAMLError as error:
            raise Rejected(self._syntax_problem(error)) from error
        if not isinstance(self.data, dict):
            raise Rejected(self.problem((), f"expected a mapping, got {describe(self.data)}"))
        odd = [key for key in self.data if not isinstance(key, str)]
        if odd:
            raise Rejected(*(self.problem((key,), *not_a_key(key), at_key=True) for key in odd))
        self.secrets = self._hide_secrets() if SECRET.search(text) or re.search(SECRET_WORD, text, re.I) else {}
        self.problems = [
            self._problem_at(key, f"duplicate key '{key.value[:60]}'", "YAML would take the last one silently")
            for key in loader.duplicates
        ]

    @property
    def lines(self) -> List[str]:
        """The lines as problems show them: without credentials."""
        if not self._lines:
            self._lines = hide_secrets(self.text).splitlines() or [""]
        return self._lines

    def problem(
        self, path: KeyPath, message: str, hint: str = "", rule: str = "schema", at_key: bool = False, within: str = ""
    ) -> Problem:
        """Make the problem of the value at ``path``, of its key, or of the text ``within`` the value.

        Where there is no such value, it is that of the nearest above.
        """
        key, value = None, self._root
        for part in path:
            found = self._child(value, part)
            if found is None:
                at_key = True
                break
            key, value = found
        is_text = isinstance(value, yaml.ScalarNode) and value.value
        node = key if key is not None and (at_key or not is_text) else value
        if within and node is value and is_text:
            mark = self._find(node, within, find_in_template) if rule == "template" else None
            mark = mark or self._find(node, within, str.find)
            if mark:
                return self._problem_at(None, message, hint, rule, mark, len(within))
        return self._problem_at(node, message, hint, rule)

    def _find(self, node: Any, text: str, find: Callable[[str, str, int, int], int]) -> Any:
        """Give the mark of the first line of a node in which ``find`` finds a text; None if it does in none."""
        for line, start, end in self._spans(node):
            column = find(self.lines[line], text, start, end)
            if column >= 0:
                return SimpleNamespace(line=line, column=column)
        return None

    def _spans(self, node: Any) -> Iterator[Tuple[int, int, int]]:
        """Give the lines that a node stands in, each with the column it begins at there and the one it ends before."""
        first, last = node.start_mark, node.end_mark
        for line in range(first.line, min(last.line + 1, len(self.lines))):
            start = first.column if line == first.line else 0
            yield line, start, last.column if line == last.line else len(self.lines[line])

    def _problem_at(
        self, node: Any, message: str, hint: str = "", rule: str = "schema", mark: Any = None, width: int = 1
    ) -> Problem:
        mark = mark or (node and node.start_mark)
        line = min(mark.line, len(self.lines) - 1) if mark else 0
        column = min(mark.column, len(self.lines[line])) if mark else 0
        if isinstance(node, yaml.ScalarNode) and node.end_mark.line == line:
            width = node.end_mark.column - column
            hint = hint.replace("{source}", node.value[:60])
        return Problem(self.path, line + 1, column + 1, SECRET.sub("***", message), hint, rule, self.lines[line], width)

    def _hide_secrets(self) -> Dict[KeyPath, Problem]:
        """Find the credentials, hide them in the lines that problems show, and give the problem of each."""
        hint = "keep it in AWS Secrets Manager, and name it under 'secrets' in the ECS task definition"
        found = list(credentials(self._root, (), ""))
        for _, node, _ in found:
            for number, start, end in self._spans(node):
                line = self.lines[number]
                self.lines[number] = line[:start] + "*" * (end - start) + line[end:]
        return {path: self._problem_at(node, message, hint, "secret") for path, node, message in found}

    def _child(self, node: Any, part: Any) -> Optional[Tuple[Any, Any]]:
        if isinstance(node, yaml.MappingNode):
            if id(node) not in self._children:  # a mapping of thousands may have thousands of problems
                loader, pairs = Loader(""), [pair for pair in node.value if isinstance(pair[0], yaml.ScalarNode)]
                self._children[id(node)] = {loader.construct_object(key): (key, value) for key, value in pairs}
            return self._children[id(node)].get(part)
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            return None, node.value[part]
        return None

    def _syntax_problem(self, error: yaml.YAMLError) -> Problem:
        mark, hint = getattr(error, "problem_mark", None), ""
        message = ", ".join(
            part for part in (getattr(error, "context", ""), getattr(error, "problem", str(error))) if part
        )
        if isinstance(error, yaml.reader.ReaderError):  # its position counts bytes
            before = self.text.encode()[: error.position].decode(errors="replace")
            line, column = end_of(before)
            message, mark = error.reason, SimpleNamespace(line=line - 1, column=column - 1)
        elif "unhashable" in message:
            hint = 'a template is quoted: "{{ ds }}"'
        elif "tab character" in message or "cannot start any token" in message:
            hint = "indent with spaces, and quote text that starts with %, @, ` or a tab"
        return self._problem_at(None, f"not YAML: {message}", hint, mark=mark)


def find_in_template(line: str, name: str, start: int, end: int) -> int:
    """Give the column of a name in a template of a line, where it may also be a word outside; -1 for none."""
    is_inside = False
    for match in TOKENS.finditer(line, start, end):
        token, after = match.group(), match.start() + len(name)
        if is_inside and line.startswith(name, match.start()) and not re.match(r"\w", line[after : after + 1]):
            return match.start()
        is_inside = token in ("{{", "{%") or (is_inside and token not in ("}}", "%}"))
    return -1


def end_of(text: str) -> Tuple[int, int]:
    """Give line and column, from 1, of what comes after a text; YAML knows more line ends than LF."""
    lines = f"{text}|".splitlines()
    return len(lines), len(lines[-1])


def hide_secrets(text: str) -> str:
    """Put asterisks for what looks like a credential, or is the value of something called like one."""
    for pattern in (SECRET, NAMED_SECRET):
        text = pattern.sub(lambda match: mask(match, match.lastgroup or 0), text)
    return text


def mask(match: Any, group: Union[str, int]) -> str:
    """Give the text of a match with one group of it in asterisks, line by line."""
    whole, start, end = match.group(), match.start(group) - match.start(), match.end(group) - match.start()
    if group == "value" and NO_SECRET.fullmatch(match.group(group).strip("\"'")):
        return str(whole)
    return str(whole[:start] + re.sub(NO_LINE_END, "*", whole[start:end]) + whole[end:])


def credentials(node: Any, path: KeyPath, name: str) -> Iterator[Tuple[KeyPath, Any, str]]:
    """Give path, node and message of each credential at or below a node that is called ``name``."""
    if isinstance(node, yaml.ScalarNode):
        match = SECRET.search(node.value)
        if match:
            yield path, node, f"a credential is written down: {str(match.lastgroup).replace('_', ' ')}"
        elif SECRET_NAME.search(name) and not NO_SECRET.fullmatch(node.value):
            yield path, node, f"a credential is written down: '{name}' has a literal value"
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            part = key.value if isinstance(key, yaml.ScalarNode) else ""
            yield from credentials(key, (*path, part), "")
            yield from credentials(value, (*path, part), name if part == "default" else str(part))
    elif isinstance(node, yaml.SequenceNode):
        flag = ""
        for index, item in enumerate(node.value):
            yield from credentials(item, (*path, index), flag)
            text = item.value if isinstance(item, yaml.ScalarNode) else ""
            option, _, value = text.partition("=")
            flag = option if option.startswith("-") and not value else ""
            if value and SECRET_NAME.search(option) and not NO_SECRET.fullmatch(value):
                yield (*path, index), item, f"a credential is written down: '{option}' has a literal value"


def open_at_once(path: str, flags: int) -> int:
    """Open for open(): no link, and a pipe without waiting for its writer."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW)


def read_document(root: Path, file: Path) -> Document:
    """Read a definition: a regular file (no link, pipe or device) of UTF-8, at most 512 KiB. Raises Rejected."""
    path = shown(root, file)
    Hints.left = MAX_HINTS

    def rejected(message: str, hint: str) -> Rejected:
        return Rejected(Problem(path, 1, 1, message, hint, "schema"))

    if os.path.islink(file):
        raise rejected("is a link", "put the definition itself here")
    try:
        with open(str(file), "rb", opener=open_at_once) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise rejected("is not a regular file", "a definition is a file that ends in .yaml")
            content = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise rejected(f"cannot be read: {error.strerror}", "a definition is a file that ends in .yaml") from error
    if len(content) > MAX_FILE_BYTES:
        raise rejected(f"is larger than {MAX_FILE_BYTES // 1024} KiB", "split it into several pipelines")
    try:
        return Document(path, content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        place = end_of(error.object[: error.start].decode())  # which has no byte order mark, as content may
        raise Rejected(Problem(path, *place, "is not UTF-8", "save the file as UTF-8", "schema")) from error


EXPECTED = {
    "type_error.dict": ("a mapping", "write it as lines of 'key: value'"),
    "type_error.list": ("a list", "write it as [one, two]"),
    "type_error.integer": ("a whole number", ""),
    "type_error.none.not_allowed": ("a value", ""),
    "value_error.strictbool": ("true or false", ""),
}


def schema_problems(document: Document, model: Type[BaseModel], error: ValidationError) -> Dict[KeyPath, Problem]:
    """Put pydantic's errors into words and places, by the path that is at fault."""
    problems: Dict[KeyPath, Problem] = {}
    for entry in error.errors():
        path: KeyPath = tuple(entry["loc"])
        kind, message, context = entry["type"], entry["msg"], entry.get("ctx", {})
        hint, rule, at_key = context.get("hint", ""), context.get("rule", "schema"), False
        if path[-1] == "__key__" and not has_value(document.data, path):  # or else a person's key is called so
            path, at_key = (*path[:-1], context.get("key")), True
            if kind == "type_error.none.not_allowed":
                message = f"expected text, got {describe(None)}"
        elif context.get("within"):
            path, at_key = (*path, context["key"]), True
        elif kind == "value_error.extra":
            message, hint, at_key = f"unknown key '{path[-1]}'", nearest(path[-1], keys_at(model, path[:-1])), True
            if path[-1] in Task.__fields__ and model is Pipeline:
                hint = "it is a task's: put it under the task or, for all of them, under 'defaults:'"
        elif kind == "value_error.missing":
            message = f"missing key '{path[-1]}'"
        elif kind == "value_error.const":
            message, hint = f"unknown value {context['given']!r}", nearest(context["given"], context["permitted"])
        elif kind.startswith("value_error.number"):
            bound = "at most" if kind.endswith("le") else "at least"
            message = f"expected a whole number, {bound} {context['limit_value']}"
        elif kind in EXPECTED:
            (expected, hint), value = EXPECTED[kind], value_at(document.data, path)
            message = f"expected {expected}, got {describe(value)}"
            if isinstance(value, Misread):
                hint = f"write {value.value}"
            elif not hint and isinstance(value, str) and re.fullmatch("[0-9]+|true|false", value):
                hint = f"leave out the quotes: {value}"
        problems.setdefault(path, document.problem(path, message, hint, rule, at_key))
    return problems


def keys_at(model: Type[BaseModel], path: KeyPath) -> Iterable[str]:
    """Give the keys that the language has at ``path``."""
    in_container = False
    for part in path:
        if in_container or part not in model.__fields__:
            in_container = False
            continue
        field = model.__fields__[part]
        in_container = field.shape != SHAPE_SINGLETON
        model = field.sub_fields[0].type_ if field.sub_fields else field.type_
    return model.__fields__


def value_at(data: Any, path: KeyPath) -> Any:
    """Give the value at ``path``; raises LookupError or TypeError where there is none."""
    for part in path:
        data = data[part]
    return data


def has_value(data: Any, path: KeyPath) -> bool:
    """Tell whether there is a value at ``path``."""
    try:
        value_at(data, path)
    except (LookupError, TypeError):
        return False
    return True


def read_environment(document: Document) -> Environment:
    """Give the environment of a document; raises Rejected."""
    problems = [*document.problems, *document.secrets.values()]
    try:
        environment = Environment.parse_obj(document.data)
    except ValidationError as error:
        found = {**schema_problems(document, Environment, error), **document.secrets}
        raise Rejected(*document.problems, *found.values()) from error
    for name, cluster in environment.clusters.items():
        problems += check_cluster(document, ("clusters", name), cluster)
    if problems:
        raise Rejected(*problems)
    return environment


def check_extent(document: Document, providers: int) -> None:
    """Check that what all providers of a file hold together can be built in time; raises Rejected."""
    shared = {key: value for key, value in document.data.items() if key != "providers"}
    tasks = len(shared["tasks"]) if isinstance(shared.get("tasks"), dict) else 0
    if tasks * providers > MAX_TASKS:
        message = (
            f"{providers} providers of {tasks} tasks are {tasks * providers} tasks; a file has at most {MAX_TASKS}"
        )
    elif len(repr(shared)) * providers > MAX_CHARACTERS:
        message = f"the pipeline is too long for {providers} providers"
    else:
        return
    raise Rejected(document.problem(("providers",), message, "split it into several pipelines", at_key=True))


def read_pipeline(
    document: Document, provider: Optional[str] = None
) -> Tuple[Optional[Pipeline], Dict[KeyPath, Problem]]:
    """Give the pipeline of a document without the providers that are wrong, and what is wrong, by its path.

    With ``provider``, the others are hardly looked at. None for a pipeline in which more is wrong than providers.
    """
    data = document.data
    if isinstance(data.get("providers"), dict):
        check_extent(document, len(data["providers"]))
    if isinstance(data.get("providers"), dict) and provider in data["providers"]:
        data = {**data, "providers": {provider: data["providers"][provider]}}
    found: Dict[KeyPath, Problem] = {}
    pipeline = None
    try:
        pipeline = Pipeline.parse_obj(data)
    except ValidationError as error:
        found = schema_problems(document, Pipeline, error)
    found.update(
        (path, problem)
        for path, problem in document.secrets.items()
        if path[0] != "providers" or path[1:2] == (provider,) or provider is None
    )
    if document.problems or any(path[:1] != ("providers",) or len(path) < 2 for path in found):
        return None, found
    if found:
        bad = {path[1] for path in found}
        good = {name: value for name, value in data["providers"].items() if name not in bad}
        pipeline = Pipeline.parse_obj({**data, "providers": good})
    return pipeline, found


# ------------------------------------------------------------------------------------------------------ layers


class Layer(NamedTuple):
    """Where one layer of settings stands."""

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
                merged[key] = merge([below, value] if isinstance(below, dict) else [value])
            else:
                merged[key] = value
    return merged


def given(model: BaseModel) -> Dict[str, Any]:
    """Give what a person wrote, without the defaults."""
    return model.dict(exclude_unset=True)


def problem_in(layers: List[Layer], path: KeyPath, message: str, hint: str, rule: str, within: str = "") -> Problem:
    """Make the problem of a merged value at the last layer that holds it, or else the longest part of its path."""
    for length in range(len(path), 0, -1):
        for document, above in reversed(layers):
            if has_value(document.data, above + path[:length]):
                return document.problem(above + path[:length], message, hint, rule, within=within)
    document, above = layers[0]
    return document.problem(above, message, hint, rule, at_key=True)


class PlannedTask(NamedTuple):
    """A task after all layers."""

    task: Task
    layers: List[Layer]  # the task's own first, then from the lowest to the highest
    operator: Dict[str, Any]  # arguments of the ECS operator, but for owner and DAG
    references: List[Tuple[KeyPath, str, str]]  # place in the task, env | provider | params, member
    places: Dict[str, str]  # path:line of its task definition and cluster, for a person who reads the task's log


class Plan(NamedTuple):
    """The tasks of a pipeline, shared by all providers that do not override them."""

    tasks: Dict[str, PlannedTask]
    problems: List[Problem]
    table: str  # HTML, for the DAG's page


class Context(NamedTuple):
    """What every pipeline is laid over."""

    name: str  # of the environment
    environment: Environment
    document: Document
    environments: List[str]  # the names of all
    folder: str  # "etl", or the sandbox's
    commits: Mapping[str, str]  # that are deployed: by the path of a file that was deployed alone, "" for all else


class Definition(NamedTuple):
    """One DAG to be: a pipeline for a data provider in an environment, after all layers."""

    dag_id: str
    path: str  # of the pipeline's file
    family: str
    pipeline: str
    provider: str
    context: Context
    description: str
    schedule: Optional[str]  # None where nothing is scheduled
    settings: Settings
    layers: List[Layer]  # of the settings
    variables: Dict[str, Dict[str, Any]]  # what templates find in env and provider
    plan: Plan


def format_dag_id(family: str, pipeline: str, provider: str, folder: str = "etl") -> str:
    """Give the id of a DAG; a sandbox's begins with its folder."""
    return ("" if folder == "etl" else f"{folder}.") + f"{family}-{pipeline}_dag_{provider}"


def parse_dag_id(dag_id: str, folder: str = "etl") -> Optional[Tuple[str, str, str]]:
    """Give (family, pipeline, provider) of a DAG id, or None if it is none of this folder's."""
    match = re.search(r"([a-z0-9_]+)-([a-z0-9_-]+?)_dag_([a-z0-9_]+)$", dag_id)
    if not match:
        return None
    family, pipeline, provider = match.groups()
    return (family, pipeline, provider) if format_dag_id(family, pipeline, provider, folder) == dag_id else None


# ------------------------------------------------------------------------------------------------------- rules


def check_cluster(document: Document, path: KeyPath, cluster: Cluster) -> List[Problem]:
    """Check what RunTask says of launch type and network."""
    wrong = []
    if cluster.launch_type and cluster.capacity_provider_strategy:
        wrong.append(
            ("launch_type", "launch_type and capacity_provider_strategy exclude each other", "keep one of them")
        )
    if cluster.is_fargate and not cluster.subnets:
        wrong.append(("subnets", "Fargate needs subnets", "add 'subnets: [subnet-...]'"))
    for key, limit in (("subnets", 16), ("security_groups", 5)):
        if len(getattr(cluster, key) or ()) > limit:
            wrong.append((key, f"ECS takes at most {limit} {key}", ""))
    problems = [document.problem((*path, key), message, hint, "ecs", at_key=True) for key, message, hint in wrong]
    texts: List[Tuple[KeyPath, str]] = [(("cluster",), cluster.cluster)]
    for key in ("subnets", "security_groups"):
        texts += [((key, index), text) for index, text in enumerate(getattr(cluster, key) or ())]
    for place, text in texts:
        for message, hint, rule, within in check_text(text):
            problems.append(document.problem((*path, *place), message, hint, rule, within=within))
    return problems


# What Airflow 2.2.2 gives a template: TaskInstance.get_template_context(), Jinja's own functions, and ours.
TEMPLATE_NAMES = frozenset(
    "dag dag_run data_interval_end data_interval_start ds ds_nodash execution_date inlets logical_date macros"
    " next_ds next_ds_nodash next_execution_date outlets params prev_data_interval_end_success"
    " prev_data_interval_start_success prev_ds prev_ds_nodash prev_execution_date prev_execution_date_success"
    " prev_start_date_success run_id task task_instance task_instance_key_str test_mode ti tomorrow_ds"
    " tomorrow_ds_nodash ts ts_nodash ts_nodash_with_tz var yesterday_ds yesterday_ds_nodash"
    " cycler dict joiner loop namespace range env provider".split()
)


# What leads from a template to credentials, to other runs, or by way of a module to any code at all (Airflow's sandbox
# lets macros.dateutil.tz.tz.os.system pass). Of these objects there is only what belongs to the run, and may be shown.
CLOSED = {
    "conf": "",
    "conn": "",
    "dag": "catchup dag_id description end_date max_active_runs owner schedule_interval start_date tags",
    "dag_run": "conf dag_id data_interval_end data_interval_start end_date execution_date external_trigger logical_date"
    " queued_at run_id run_type start_date state",
    "macros": "dateutil.parser.parse dateutil.relativedelta.relativedelta datetime datetime_diff_for_humans ds_add"
    " ds_format timedelta",
    "task": "owner pool queue retries task_id",
    "ti": "dag_id execution_date hostname job_id log_url max_tries pool queue run_id start_date task_id try_number"
    " xcom_pull",
}
CLOSED["task_instance"] = CLOSED["ti"]
OPEN_MEMBERS = {f"{root}.{member}" for root, members in CLOSED.items() for member in members.split()}


@lru_cache(maxsize=1)
def jinja_environment() -> jinja2.Environment:
    """Templates are only parsed here; Airflow renders them, in its own sandbox, when the task runs."""
    environment = jinja2.Environment(extensions=["jinja2.ext.do"])
    environment.filters.update(dict.fromkeys(("ds", "ds_nodash", "ts", "ts_nodash", "ts_nodash_with_tz"), str))
    return environment


class Fault(NamedTuple):
    """What is wrong with a templated text."""

    message: str
    hint: str
    within: str  # the part of the text that is wrong
    known: Iterable[str] = ()  # what could have been meant by it

    def told(self) -> Tuple[str, str]:
        """Give message and hint; a near name is looked for at each place that is told, and not when parsing."""
        return self.message, self.hint or nearest(self.within, self.known)


class Template(NamedTuple):
    """What is wrong with a templated text, and what it names."""

    faults: List[Fault]
    members: List[Tuple[str, str]]  # (env | provider | params, member)


@lru_cache(maxsize=4096)
def read_template(text: str) -> Template:
    """Parse a template and look at its names.

    Not with ``jinja2.meta``: that compiles the template, and the compiler works constants out, such as ``9**9**9``.
    """
    if "{" not in text:  # most are not
        return Template([], [])
    if len(text) > MAX_OVERRIDES:
        message = f"a text of {len(text)} characters; ECS takes {MAX_OVERRIDES} for all of a task"
        return Template([Fault(message, "", "")], [])
    try:
        return template_names(jinja_environment().parse(text))
    except jinja2.TemplateSyntaxError as error:
        hint = "a template is {{ name }}, or {% if ... %} with its {% endif %}"
        return Template([Fault(f"not a Jinja template: {error.message}", hint, broken_expression(text))], [])
    except RecursionError:
        return Template([Fault("not a Jinja template: nested too deep", "write it in parts", "")], [])


def template_names(tree: Any) -> Template:
    """Look at the names of a parsed template."""
    environment, nodes = jinja_environment(), jinja2.nodes
    faults = []
    if next(tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)), None):
        faults.append(Fault("a template cannot take in another one", "write it out", "{%"))
    reached = next(reached_in(tree), None)
    if reached:
        root, _, of_root = reached.partition(".")
        hint = "a template takes values: names, their members and items"
        if root in CLOSED:
            there = ", ".join(CLOSED[root].split())
            other = "credentials belong under 'secrets' in the ECS task definition, other values under 'variables'"
            hint = f"of '{root}' there are: {there}" if there else other
        faults.append(Fault(f"a template cannot reach '{reached}'", hint, of_root or root))
    names = list(tree.find_all(nodes.Name))
    known = {name.name for name in names if name.ctx != "load"} | TEMPLATE_NAMES
    wanted = [("name", name.name, known) for name in names if name.name not in CLOSED]
    wanted += [("filter", node.name, environment.filters) for node in tree.find_all(nodes.Filter)]
    wanted += [("test", node.name, environment.tests) for node in tree.find_all(nodes.Test)]
    faults += [
        Fault(f"unknown {kind} '{name}' in the template", "", name, existing)
        for kind, name, existing in wanted
        if name not in existing
    ]
    members = set()
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        if isinstance(node.node, nodes.Name) and node.node.name in ("env", "provider", "params"):
            member = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None)
            if isinstance(member, str):
                members.add((node.node.name, member))
    once = {fault.message: fault for fault in faults}
    return Template(list(once.values())[:MAX_FAULTS], sorted(members))


def reached_in(node: Any) -> Iterator[str]:
    """Give what a template names of what it cannot have: a closed object or member, or a private attribute."""
    path: List[str] = []
    below = node
    while isinstance(below, (jinja2.nodes.Getattr, jinja2.nodes.Getitem)):
        key = below.attr if isinstance(below, jinja2.nodes.Getattr) else getattr(below.arg, "value", None)
        path.insert(0, key if isinstance(key, str) else "")
        if isinstance(key, str) and key.startswith("_" if isinstance(below, jinja2.nodes.Getattr) else "__"):
            yield key
        if isinstance(below, jinja2.nodes.Getitem):
            yield from reached_in(below.arg)
        below = below.node
    if isinstance(below, jinja2.nodes.Name):
        path.insert(0, below.name)
        if path[0] in CLOSED and not any(".".join(path[:end]) in OPEN_MEMBERS for end in range(2, len(path) + 1)):
            yield ".".join(path)
        return
    if isinstance(below, jinja2.nodes.Filter) and below.name == "attr":
        yield "|attr"
    for child in below.iter_child_nodes():
        yield from reached_in(child)


def broken_expression(text: str) -> str:
    """Give the first line of the first expression that Jinja cannot parse alone, or of the whole text."""
    for expression in re.findall(r"\{\{.*?(?:\}\}|$)", text, re.DOTALL):
        try:
            jinja_environment().parse(expression)
        except (jinja2.TemplateSyntaxError, RecursionError):
            return str(expression).splitlines()[0]
    return text.splitlines()[0]


def check_text(text: str) -> Iterator[Tuple[str, str, str, str]]:
    """Give message, hint and rule of each mistake in a templated text, and the part of it that is wrong."""
    for fault in read_template(text).faults:
        yield (*fault.told(), "template", fault.within)
    for again in sorted({match.group() for match in NOT_IDEMPOTENT.finditer(text)}):
        hint = "take the run's own date: {{ ds }}, {{ ts }} or {{ data_interval_start }}; {{ run_id }} as a name"
        yield f"'{again}' gives something else when the task runs again", hint, "idempotency", again


def templates(task: Task) -> Iterator[Tuple[KeyPath, str]]:
    """Give the templated texts of a task, each with its place in the task."""
    for key in ("task_definition", "container", "task_role_arn", "execution_role_arn"):
        yield (key,), getattr(task, key) or ""
    for index, text in enumerate(task.command or ()):
        yield ("command", index), text
    for key in ("environment", "tags"):
        for name, text in (getattr(task, key) or {}).items():
            yield (key, name), text


def check_fargate(task: Task) -> Iterator[Tuple[KeyPath, str, str, str]]:
    """Check that Fargate has the size: CPU units, MiB and GiB."""
    cpus = ", ".join(map(str, FARGATE_MEMORY))
    if task.cpu is not None and task.cpu not in FARGATE_MEMORY:
        yield ("cpu",), f"Fargate has no {task.cpu} CPU", f"it has {cpus}", "ecs"
    elif task.cpu is None and task.memory is not None:
        yield ("memory",), "on Fargate, memory goes with cpu", f"add 'cpu:', one of {cpus}", "ecs"
    elif task.cpu is not None and task.memory not in FARGATE_MEMORY[task.cpu]:
        sizes = FARGATE_MEMORY[task.cpu]
        takes = f"{sizes[0]} to {sizes[-1]} MiB in steps of {sizes[-1] - sizes[-2]}"
        if len(sizes) == 3:
            takes = "512, 1024 or 2048 MiB"
        message = f"Fargate has no {task.memory} MiB" if task.memory else "on Fargate, cpu goes with memory"
        yield ("memory",) if task.memory else ("cpu",), message, f"Fargate's {task.cpu} CPU takes {takes}", "ecs"
    if task.ephemeral_storage is not None and not 21 <= task.ephemeral_storage <= 200:
        message = f"Fargate has no ephemeral storage of {task.ephemeral_storage} GiB"
        yield ("ephemeral_storage",), message, "it takes 21 to 200", "ecs"


def check_dependencies(tasks: Mapping[str, PlannedTask]) -> List[Problem]:
    """Check that the tasks that others wait for are there and do not wait for one another."""
    problems = []
    before: Dict[str, List[str]] = {task_id: [] for task_id in tasks}
    for task_id, planned in tasks.items():
        for index, other in enumerate(planned.task.depends_on or ()):
            if other in tasks and other != task_id:
                before[task_id].append(other)
                continue
            message, hint = f"unknown task '{other}'", nearest(other, (name for name in tasks if name != task_id))
            if other == task_id:
                message, hint = f"task '{task_id}' depends on itself", "leave it out"
            problems.append(problem_in(planned.layers, ("depends_on", index), message, hint, "dependencies"))
    after: Dict[str, List[str]] = {task_id: [] for task_id in tasks}
    for name, others in before.items():
        for earlier in others:
            after[earlier].append(name)
    missing = {task_id: len(others) for task_id, others in before.items()}
    ready = [task_id for task_id, number in missing.items() if not number]
    for done in ready:
        for later in after[done]:
            missing[later] -= 1
            if not missing[later]:
                ready.append(later)
    waiting = [task_id for task_id, number in missing.items() if number]
    if waiting:
        chain: Dict[str, int] = {}
        at: str = waiting[0]
        while at not in chain:
            chain[at] = len(chain)
            at = next(other for other in before[at] if missing[other])
        cycle = [*list(chain)[chain[at] :], at]
        shown_cycle = cycle if len(cycle) < 20 else [*cycle[:9], "...", *cycle[-9:]]
        place = ("depends_on", list(tasks[cycle[0]].task.depends_on or ()).index(Text(cycle[1])))
        message, hint = f"a cycle: {' -> '.join(shown_cycle)}", "a task waits for those before the arrow to end"
        problems.append(problem_in(tasks[cycle[0]].layers, place, message, hint, "dependencies"))
    return problems


def check_settings(settings: Settings, layers: List[Layer], context: Context) -> List[Problem]:
    """Check what a pipeline and a provider say of their DAG together."""
    problems: List[Problem] = []

    def report(path: KeyPath, message: str, hint: str, rule: str, within: str = "") -> None:
        problems.append(problem_in(layers, path, message, hint, rule, within))

    if settings.start_date is None:
        report((), "missing key 'start_date'", "add a static date such as 'start_date: 2022-01-01'", "schema")
    elif settings.end_date is not None and settings.end_date < settings.start_date:
        report(("end_date",), "end_date is before start_date", "", "schedule")
    for index, name in enumerate(settings.environments or ()):
        if name not in context.environments:
            hint = nearest(name, context.environments)
            report(("environments", index), f"unknown environment '{name}'", hint, "schema")
    for param_name, param in settings.the_params.items():
        for message in param_problems(param):
            report(("params", param_name), message, "", "schema")
    if settings.wait_for is not None:
        if not settings.wait_for.s3:
            report(("wait_for",), "missing key 's3'", "write 's3: s3://bucket/key'", "schema")
        for wrong in check_text(settings.wait_for.s3 or ""):
            report(("wait_for", "s3"), *wrong)
    return problems


def param_parts(param: Param) -> Tuple[Any, Optional[str], Dict[str, Any]]:
    """Give default, description and JSON Schema of a param."""
    schema = given(param)
    return schema.pop("default", None), schema.pop("description", None), schema


def param_problems(param: Param) -> List[str]:
    """Say what is wrong with a param's schema or its default."""
    from jsonschema import Draft7Validator
    from jsonschema.exceptions import SchemaError

    default, _, schema = param_parts(param)
    if default is None and "null" not in (param.type or ()):
        return ["a param needs a 'default': a scheduled run has nobody to type a value"]
    try:
        json.dumps(default, allow_nan=False)
    except (TypeError, ValueError):
        return [f"the default is not JSON: {describe(default)}; quote it"]
    try:
        Draft7Validator.check_schema(schema)
    except SchemaError as error:
        return [f"not a JSON Schema: {error.message[:200]}"]
    return [f"the default does not fit: {message[:200]}" for message in misfits(default, schema)]


def misfits(value: Any, schema: Mapping[str, Any]) -> List[str]:
    """Say why a value is not what a JSON Schema asks for."""
    from jsonschema import Draft7Validator, FormatChecker  # what Airflow's Param validates with

    return [error.message for error in Draft7Validator(schema, format_checker=FormatChecker()).iter_errors(value)]


# ------------------------------------------------------------------------------------------------- definitions

AIRFLOW_ARGUMENTS = (
    "retries retry_delay retry_exponential_backoff max_retry_delay execution_timeout sla pool priority_weight"
    " trigger_rule depends_on_past"
).split()


def operator_arguments(task: Task, container: str, cluster: Cluster, environment: Environment) -> Dict[str, Any]:
    """Give the ECS operator's arguments for a task, but for owner and DAG.

    A size is the ECS task's, not the container's: on Fargate that is what is paid for, and what a container
    without limits of its own gets.
    """
    override: Dict[str, Any] = {"name": container}
    if task.command is not None:
        override["command"] = task.command
    if task.environment is not None:
        override["environment"] = [{"name": name, "value": value} for name, value in task.environment.items()]
    overrides = {
        "containerOverrides": [override],
        "cpu": task.cpu and str(task.cpu),
        "memory": task.memory and str(task.memory),
        "ephemeralStorage": task.ephemeral_storage and {"sizeInGiB": task.ephemeral_storage},
        "taskRoleArn": task.task_role_arn,
        "executionRoleArn": task.execution_role_arn,
    }
    arguments: Dict[str, Any] = {
        "task_definition": task.task_definition,
        "cluster": cluster.cluster,
        "overrides": {key: value for key, value in overrides.items() if value is not None},
        "aws_conn_id": environment.aws_conn_id,
        "region_name": environment.region,
        "launch_type": cluster.launch_type,  # None: the cluster's own strategy; the operator's default is EC2
        "platform_version": cluster.platform_version,
        "tags": task.tags,
    }
    if cluster.capacity_provider_strategy:
        arguments["capacity_provider_strategy"] = [
            {"capacityProvider" if key == "capacity_provider" else key: value for key, value in given(item).items()}
            for item in cluster.capacity_provider_strategy
        ]
    if cluster.subnets:
        public = "ENABLED" if cluster.assign_public_ip else "DISABLED"
        network = {
            "subnets": cluster.subnets,
            "securityGroups": cluster.security_groups or [],
            "assignPublicIp": public,
        }
        arguments["network_configuration"] = {"awsvpcConfiguration": network}
    if cluster.logs:
        arguments["awslogs_group"] = cluster.logs.group
        arguments["awslogs_region"] = cluster.logs.region
        arguments["awslogs_stream_prefix"] = f"{cluster.logs.prefix}/{container}"  # the operator adds the task's id
        # The fetcher sleeps this out before a task ends; the operator's default is 30 s.
        arguments["awslogs_fetch_interval"] = timedelta(seconds=5)
    arguments.update({key: getattr(task, key) for key in AIRFLOW_ARGUMENTS if getattr(task, key) is not None})
    return arguments


def plan_task(
    task_id: str, layers: List[Layer], models: List[Optional[Task]], environment: Environment
) -> Tuple[PlannedTask, List[Problem]]:
    """Merge the layers of a task, check the result and turn it into the operator's arguments."""
    task = Task.parse_obj(merge(given(model) for model in models if model is not None))
    problems: List[Problem] = []

    def report(path: KeyPath, message: str, hint: str, rule: str, within: str = "") -> None:
        problems.append(problem_in(layers, path, message, hint, rule, within))

    references: List[Tuple[KeyPath, str, str]] = []
    for path, text in templates(task):
        for wrong in check_text(text):
            report(path, *wrong)
        references += [(path, *member) for member in read_template(text).members]

    container = task.container or re.sub(r".*task-definition/|:[0-9]+$", "", task.task_definition or "")
    if task.task_definition is None:
        report((), f"task '{task_id}' has no task_definition", "add 'task_definition: <family>'", "schema")
    elif task.container is None and "{" in container:
        message, hint = "a templated task definition needs a container", "add 'container: <name>'"
        report(("task_definition",), message, hint, "schema")
    cluster = environment.clusters.get(PlainText(task.cluster or "default"))
    if cluster is None:
        message = f"unknown cluster '{task.cluster}'" if task.cluster else f"task '{task_id}' has no cluster"
        report(("cluster",), message, nearest(task.cluster, environment.clusters), "schema")
    elif cluster.is_fargate:
        for size in check_fargate(task):
            report(*size)
    if len(task.tags or ()) > MAX_ECS_TAGS:
        report(("tags",), f"ECS takes at most {MAX_ECS_TAGS} tags", "", "ecs")
    operator = operator_arguments(task, container, cluster, environment) if cluster else {"overrides": {}}
    length = len(json.dumps(operator["overrides"]))
    if length > MAX_OVERRIDES:
        message = f"command, environment and sizes are {length} characters of JSON; ECS takes at most {MAX_OVERRIDES}"
        report(("environment",) if task.environment else ("command",), message, "put the data on S3", "ecs")
    places = {key: problem_in(layers, (key,), "", "", "").place for key in ("cluster", "task_definition")}
    return PlannedTask(task, layers, operator, references, places), problems


def plan_tasks(document: Document, pipeline: Pipeline, provider: Optional[str], context: Context) -> Plan:
    """Lay environment, pipeline and, if one is named, provider over one another for every task."""
    override = (provider and pipeline.providers[ProviderName(provider)]) or Provider()
    above: KeyPath = ("providers", provider)
    problems = []
    for name in (name for name in override.tasks if name not in pipeline.tasks):
        place, hint = (*above, "tasks", name), nearest(name, pipeline.tasks)
        problems.append(document.problem(place, f"unknown task '{name}'", hint, "dependencies", at_key=True))
    tasks: Dict[str, PlannedTask] = {}
    for task_id, task in pipeline.tasks.items():
        own = override.tasks.get(task_id)
        if own is None and task_id in override.tasks:
            continue
        own_place = Layer(document, ("tasks", task_id))
        layers = [own_place, Layer(context.document, ("defaults",)), Layer(document, ("defaults",)), own_place]
        layers += [Layer(document, (*above, "defaults")), Layer(document, (*above, "tasks", task_id))]
        models = [context.environment.defaults, pipeline.defaults, task, override.defaults, own]
        tasks[task_id], found = plan_task(task_id, layers, models, context.environment)
        problems += found
    if not tasks:
        place = (*above, "tasks") if provider else ("tasks",)
        problems.append(document.problem(place, "there is no task", "a DAG has at least one", at_key=True))
    problems += check_dependencies(tasks)
    return Plan(tasks, problems, "" if problems else task_table(tasks))


def define(document: Document, pipeline: Pipeline, context: Context) -> Tuple[List[Definition], List[Problem]]:
    """Give the DAGs of a pipeline in an environment, and what is wrong with its providers.

    What a provider does not override is merged and checked once for all such providers.
    """
    definitions: List[Definition] = []
    problems: List[Problem] = []
    family, name = document.path.split("/")[-2], Path(document.path).stem
    env = {**given(context.environment).get("variables", {}), "name": context.name}
    checked: Dict[Optional[str], Tuple[Settings, List[Problem]]] = {}
    plans: Dict[Optional[str], Plan] = {}
    for provider, override in pipeline.providers.items():
        override = override or Provider()
        own = override.__fields_set__ & set(Settings.__fields__)
        who = provider if own else None
        layers = [Layer(document, ()), Layer(document, ("providers", who))]
        if who not in checked:
            below = pipeline.dict(include=set(Settings.__fields__), exclude_unset=True)
            settings = Settings.parse_obj(merge([below, override.dict(include=own, exclude_unset=True)]))
            checked[who] = settings, check_settings(settings, layers, context)
        settings, found = checked[who]
        if not found and settings.environments is not None and context.name not in settings.environments:
            continue
        who = provider if override.__fields_set__ & {"defaults", "tasks"} else None
        if who not in plans:
            plans[who] = plan_tasks(document, pipeline, who, context)
        plan = plans[who]
        definition = Definition(
            dag_id=format_dag_id(family, name, provider, context.folder),
            path=document.path,
            family=family,
            pipeline=name,
            provider=provider,
            context=context,
            description=pipeline.description or "",
            schedule=settings.schedule if context.environment.schedules and context.folder == "etl" else None,
            settings=settings,
            layers=layers,
            variables={
                "env": env,
                "provider": {**given(override).get("variables", {}), "name": provider},
            },
            plan=plan,
        )
        found = found + plan.problems + check_references(definition)
        if settings.wait_for is not None and WAIT_FOR in plan.tasks:
            message = f"a task cannot be called '{WAIT_FOR}' beside wait_for"
            found.append(document.problem(("tasks", WAIT_FOR), message, "rename it", at_key=True))
        if len(definition.dag_id) > MAX_DAG_ID:
            message = f"the DAG's id would have {len(definition.dag_id)} characters; Airflow takes {MAX_DAG_ID}"
            found.append(document.problem(("providers", provider), message, "shorten the names", at_key=True))
        problems += found
        if not found:
            definitions.append(definition)
    return definitions, problems


def problems_beside(document: Document, wrong: Mapping[KeyPath, Problem], context: Context) -> List[Problem]:
    """Give what else is wrong with a pipeline: what is told of it without the values that are wrong by themselves.

    Left out is what may be wrong for want of such a value only: what names its key, or the key that was meant.
    """
    if len(wrong) > MAX_HINTS:
        return []
    rest = copy(document)
    rest.data = deepcopy(document.data)
    names = {LEFT_OUT, *(take_out(rest.data, path) for path in wrong)}
    names.update(name for problem in wrong.values() for name in re.findall("^did you mean '(.*)'", problem.hint))
    if names & DECISIVE or not rest.data.get("tasks"):
        return []
    try:
        pipeline = Pipeline.parse_obj(rest.data)
    except ValidationError:  # as where a key is missing
        return []
    _, problems = define(rest, pipeline, context)
    return [problem for problem in problems if not names & named_in(problem.message)]


def named_in(message: str) -> Set[str]:
    """Give what a message names: what it has in quotes, without 'params.' and the like, and keys of the language."""
    words = set(re.findall(r"\w+", message))
    return {*re.findall(r"'(?:\w+\.)?([^']*)'", message), *(words & {*Task.__fields__, *Settings.__fields__})}


def take_out(data: Any, path: KeyPath) -> str:
    """Take a value out of plain data, if it is there, and give its key; in a list, something else stands for it."""
    above = value_at(data, path[:-1]) if has_value(data, path) else None
    if isinstance(above, list):
        above[path[-1]] = LEFT_OUT
        return str(path[-2])
    if isinstance(above, dict):
        del above[path[-1]]
    return str(path[-1])


def check_references(definition: Definition) -> List[Problem]:
    """Check that env, provider and params have what the templates name of them."""
    known: Dict[str, Iterable[str]] = {**definition.variables, "params": definition.settings.the_params}
    named = [
        (planned.layers, *reference) for planned in definition.plan.tasks.values() for reference in planned.references
    ]
    if definition.settings.wait_for is not None:
        members = read_template(definition.settings.wait_for.s3 or "").members
        named += [(definition.layers, ("wait_for", "s3"), root, member) for root, member in members]
    problems = []
    for layers, path, root, member in named:
        if member not in known[root]:
            message = f"unknown name '{root}.{member}' in the template, for provider '{definition.provider}'"
            hint = nearest(member, known[root])
            problems.append(problem_in(layers, path, message, hint, "template", f"{root}.{member}"))
    return problems


# ----------------------------------------------------------------------------------------------------- loading


class Found(NamedTuple):
    """What the files of one environment hold."""

    definitions: List[Definition]
    problems: List[Problem]


def shown(root: Path, file: Path) -> str:
    """Give the path that a person knows a file by: from the DAGs folder's name on."""
    return os.fsencode(str(file.relative_to(root.parent.parent))).decode(errors="replace")


def read_context(root: Path, environment: Optional[str]) -> Context:
    """Read the environment that the Airflow option [etl] environment names; raises Rejected."""
    names = sorted(file.stem for file in root.glob("configs/*.yaml"))
    if not FolderName.pattern.fullmatch(root.name):
        message = f"{root.name!r} is not {FolderName.what()}"
        raise Rejected(Problem(shown(root, root), 1, 1, message, "rename the folder", "schema"))
    if not names:
        hint = "one is configs/<name>.yaml; configs is deployed with the folder"
        raise Rejected(Problem(shown(root, root / "configs"), 1, 1, "there is no environment", hint, "schema"))
    if environment not in names:
        message = f"unknown environment '{environment}'" if environment else "no environment is chosen"
        hint = f"set the Airflow option [etl] environment (AIRFLOW__ETL__ENVIRONMENT) to one of: {', '.join(names)}"
        raise Rejected(Problem(shown(root, root / "configs"), 1, 1, message, hint, "schema"))
    document = read_document(root, root / "configs" / f"{environment}.yaml")
    return Context(str(environment), read_environment(document), document, names, root.name, read_commits(root))


def read_commits(root: Path) -> Dict[str, str]:
    """Read which commits ``./etl deploy`` says are here, by path below ``root`` or "" for all; shortened.

    A line is ``<commit>[ with uncommitted changes][ <path>]``. They are only shown: whatever else the file holds, and
    that there is none, is no problem.
    """
    try:
        with open(str(root / "commit.txt"), encoding="ascii", errors="replace", opener=open_at_once) as file:
            text = file.read(MAX_FILE_BYTES)
    except OSError:
        return {}
    line = r"^([0-9a-f]{12})[0-9a-f]{28}( with uncommitted changes)?(?: ([\w./-]+))?$"
    return {path: commit + dirty for commit, dirty, path in re.findall(line, text, re.MULTILINE)}


def pipeline_files(root: Path) -> Tuple[List[Path], List[Problem]]:
    """Give whatever stands where a definition stands or is called like one, and the folders that cannot be read.

    Hidden files are not meant, nor are those that an editor or a copy has not finished with.
    """
    problems: List[Problem] = []

    def entries(folder: Path) -> List[Path]:
        try:
            return [path for path in folder.iterdir() if not path.name.startswith(".")]
        except OSError as error:
            message, hint = f"cannot be read: {error.strerror}", "it is the folder of the definitions"
            problems.append(Problem(shown(root, folder), 1, 1, message, hint, "schema"))
            return []

    files = []
    for path in entries(root / "pipelines"):
        if os.path.isdir(path) and not os.path.islink(path):  # pathlib's raise where looking is not permitted
            files += entries(path)
        else:
            files.append(path)
    return sorted(path for path in files if path.suffix in (".yaml", ".yml") or os.path.islink(path)), problems


def read_file(root: Path, file: Path, context: Context, provider: Optional[str] = None) -> Found:
    """Give the DAGs of one file, or of one of its providers."""
    path, hint = shown(root, file), "a definition is pipelines/<family>/<name>.yaml"
    try:
        if file.suffix != ".yaml" or file.parent.parent != root / "pipelines" or os.path.islink(file.parent):
            raise Rejected(Problem(path, 1, 1, "is not called or placed like a definition", hint, "schema"))
        kinds: List[Tuple[str, Type[Text]]] = [(file.parent.name, FamilyName), (file.stem, PipelineName)]
        for text, kind in kinds:
            if not kind.pattern.fullmatch(text):
                raise Rejected(Problem(path, 1, 1, f"{text!r} is not {kind.what()}", hint, "schema"))
        document = read_document(root, file)
        pipeline, wrong = read_pipeline(document, provider)
        definitions, problems = define(document, pipeline, context) if pipeline else ([], [])
        if wrong or document.problems:
            problems += [*document.problems, *wrong.values(), *problems_beside(document, wrong, context)]
        return Found(definitions, problems)
    except Rejected as rejected:
        return Found([], list(rejected.args))
    except Exception as error:
        return Found([], [unforeseen(path, error)])


def load(root: Path, environment: Optional[str], dag_id: Optional[str] = None) -> Found:
    """Read all definitions below ``root`` for an environment, or only the one that a DAG id names.

    Problems come in the order of files and places, each once.
    """
    try:
        context = read_context(root, environment)
    except Rejected as rejected:
        return Found([], list(rejected.args))
    names = parse_dag_id(dag_id, context.folder) if dag_id else None
    if names:
        return read_file(root, root / "pipelines" / names[0] / f"{names[1]}.yaml", context, names[2])
    definitions: List[Definition] = []
    problems: List[Problem] = []
    files, unreadable = pipeline_files(root)
    problems += unreadable
    for file in files:
        found = read_file(root, file, context)
        definitions += found.definitions
        problems += found.problems
    return Found(definitions, sorted(set(problems)))


def unforeseen(path: str, error: Exception) -> Problem:
    """Tell of an error of the factory's own: it must not cost the other DAGs. The log has it whole."""
    if type(error).__name__ == "AirflowTaskTimeout":  # the parse took too long, and that is Airflow's to tell
        raise error
    logging.getLogger(__name__).exception("The factory failed on %s", path)
    message = f"the factory failed: {type(error).__name__}: {error}"
    return Problem(path, 1, 1, message, "this is an error of the factory; the log has its traceback", "factory")


# --------------------------------------------------------------------------------------------------------- DAG


def markdown(text: str) -> str:
    """Escape text for Markdown and HTML: the web page shows a DAG's docs as they come."""
    return re.sub(r"[^A-Za-z0-9 ,.:/=-]", lambda match: f"&#{ord(match.group())};", text)


def html_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Give a table in the page's own style; one of Airflow's Markdown has no space between its columns."""

    def line(cells: Iterable[str], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{markdown(cell)}</{tag}>' for cell in cells)}</tr>"

    return "\n".join(
        ['<table class="table table-condensed">', line(head, "th"), *(line(row, "td") for row in rows), "</table>"]
    )


def task_table(tasks: Mapping[str, PlannedTask]) -> str:
    """Give a table of what the tasks run."""
    rows = []
    for task_id, planned in tasks.items():
        task = planned.task
        size = f"{task.cpu or '-'} / {task.memory or '-'}"
        after, command = ", ".join(task.depends_on or ()), " ".join(task.command or ())
        rows.append((task_id, after, task.task_definition or "", planned.operator["cluster"], size, command))
    return html_table(("Task", "After", "Task definition", "Cluster", "CPU / MiB", "Command"), rows)


def param_table(params: Mapping[str, Param]) -> str:
    """Give a table of what a person may type at the trigger."""
    rows = []
    for name, param in params.items():
        kind = " or ".join(param.type) if isinstance(param.type, list) else param.type or "any"
        rows.append((name, kind, json.dumps(param.default), param.description or param.title or ""))
    return html_table(("Param", "Type", "Default", "Description"), rows)


def doc_md(definition: Definition) -> str:
    """Tell a person in the web page where the DAG comes from and what its tasks run."""
    schedule = definition.schedule or "only when triggered"
    if definition.settings.schedule and not definition.schedule:
        schedule = f"only when triggered ({definition.settings.schedule} is off here)"
    params = definition.settings.the_params
    commits = definition.context.commits
    commit = commits.get(definition.path.split("/", 2)[-1], commits.get(""))
    paragraphs = [
        markdown(definition.description),
        f"Provider **{definition.provider}** of {markdown(definition.path)}"
        f" in environment **{definition.context.name}**. Schedule: {markdown(schedule)}."
        + (f" Commit **{commit}**." if commit else ""),
        *([markdown(f"It waits for {definition.settings.wait_for.s3}.")] if definition.settings.wait_for else []),
        definition.plan.table,
        # The trigger page says otherwise where core.dag_run_conf_overrides_params is False, as on MWAA.
        *(["What is typed at the trigger reaches the tasks:", param_table(params)] if params else []),
    ]
    return "\n\n".join(paragraphs)


class WithTypedParams(BaseOperator):
    """A task whose templates see what a person typed at the trigger."""

    typed_params: ClassVar[Mapping[str, Param]] = {}

    def render_template_fields(self, context: Any, jinja_env: Any = None) -> None:
        """Check what was typed before anything starts: Airflow takes unknown keys, and MWAA uses none at all."""
        run = context.get("dag_run")
        context["params"] = check_typed(self.typed_params, (run and run.conf) or {})
        super().render_template_fields(context, jinja_env)


def check_typed(params: Mapping[str, Param], typed: Mapping[str, Any]) -> Dict[str, Any]:
    """Lay what a person typed over the defaults; raises AirflowFailException, after which there is no retry."""
    from airflow.exceptions import AirflowFailException

    wrong = [
        f"unknown key '{key}', {nearest(key, params) or 'this DAG takes none'}" for key in typed if key not in params
    ]
    values = {}
    for name, param in params.items():
        default, _, schema = param_parts(param)
        values[name] = typed.get(name, default)
        if name in typed:
            wrong += [f"'{name}': {message}" for message in misfits(typed[name], schema)]
    if wrong:
        raise AirflowFailException(f"The run's configuration is not what this DAG takes: {'; '.join(wrong)}")
    return values


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
    """Tell whether ECS may do at a later try what it does not do now."""
    from botocore import exceptions

    failures = getattr(error, "failures", None)  # the provider's EcsOperatorError, which MWAA's own calls otherwise
    if failures is not None:  # what is missing, such as RESOURCE:MEMORY
        return all(NO_CAPACITY.match(failure.get("reason", "")) for failure in failures)
    if isinstance(error, (exceptions.ClientError, exceptions.WaiterError)):
        return bool(TRANSIENT.search(str(error)))
    return isinstance(error, (exceptions.ConnectionError, exceptions.HTTPClientError)) and not interruption(error)


def interruption(error: BaseException) -> Optional[BaseException]:
    """Give what Airflow raises at a timeout or SIGTERM, where botocore, amidst a request, wraps it as its own error."""
    from airflow.exceptions import AirflowException

    wrapped = getattr(error, "kwargs", {}).get("error")
    return wrapped if isinstance(wrapped, AirflowException) else None


def has_not_started(error: BaseException) -> bool:
    """Tell whether ECS surely has not started the task; it may have when no answer came, or one that it has failed."""
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

    if isinstance(error, ClientError):
        return bool(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) < 500)
    if isinstance(error, BotoCoreError):
        return not isinstance(error, HTTPClientError)
    return hasattr(error, "failures")  # the provider's EcsOperatorError


def failed_to_start(error: BaseException) -> bool:
    """Tell whether ECS took the task, but did not get its containers to run."""
    from airflow.providers.amazon.aws.exceptions import EcsTaskFailToStart

    return isinstance(error, EcsTaskFailToStart)


class LogTail(threading.Thread):
    """Follows a container's output in CloudWatch Logs and writes it to the task's log; stop() ends it within 2 s.

    The provider's own reads the stream from its head at every look, and sleeps its whole interval before it ends.
    """

    def __init__(self, client: Any, group: str, stream: str, interval: timedelta, log: Any, keep: int) -> None:
        super().__init__(daemon=True, name="log tail")
        self.client, self.log, self.interval = client, log, interval.total_seconds()
        self.request: Dict[str, Any] = {"logGroupName": group, "logStreamName": stream, "startFromHead": True}
        self.last: Deque[str] = deque(maxlen=keep)
        self.told: Set[str] = set()
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(self.interval):
            self.read()
        time.sleep(1)  # CloudWatch has the last lines a moment after the container has ended
        self.read()

    def read(self) -> None:
        """Write what has come since the last look. What goes wrong is told once, and is no reason to fail."""
        from botocore.exceptions import BotoCoreError, ClientError

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
            if not not_yet and str(error) not in self.told:
                self.told.add(str(error))
                self.log.warning("The container's log cannot be read from %s: %s", self.request["logGroupName"], error)

    def stop(self) -> None:
        """Read once more and end."""
        self.stopped.set()

    def get_last_log_messages(self, number: int) -> List[str]:
        """Give the last messages, for the error of a failed task."""
        return list(self.last)[-number:]

    def get_last_log_message(self) -> Optional[str]:
        """Give the last message, which becomes the task's XCom."""
        return self.last[-1] if self.last else None


class EcsTask(WithTypedParams, EcsOperator):
    """The provider's operator, without its holes."""

    places: ClassVar[Mapping[str, str]] = {}  # path:line of what a mistake is in: cluster, task_definition
    first_pause: ClassVar[float] = 2.0  # seconds before the second attempt; each pause is twice the one before
    logical_date: Any = None
    starts = 0  # within this try
    unanswered = ""  # startedBy of a RunTask that ECS may have taken without telling
    killed = False  # by Airflow

    def get_hook(self) -> Any:
        """Give the provider's hook for a client that tries once: botocore would repeat a RunTask without looking."""
        from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
        from botocore.config import Config

        if not self.hook:
            once = Config(retries={"max_attempts": 0})
            self.hook = AwsBaseHook(self.aws_conn_id, client_type="ecs", region_name=self.region_name, config=once)
        return self.hook

    def execute(self, context: Any, session: Any = None) -> Any:
        """Run the ECS task to its end; a mistake in the definition fails at once, without retries."""
        from airflow.exceptions import AirflowFailException
        from botocore.exceptions import ClientError, HTTPClientError, WaiterError

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
        """Call again with growing pauses while ``when`` says of the error that it may pass, at most 8 times."""
        import tenacity

        def tell(state: Any) -> None:
            error = state.outcome.exception()
            reason, pause = getattr(error, "failures", error), state.next_action.sleep
            self.log.warning("%s. Attempt %d of %d in %.0f s", reason, state.attempt_number + 1, ATTEMPTS, pause)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(when),
            wait=tenacity.wait_exponential(multiplier=self.first_pause, max=60),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            before_sleep=tell,
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
        self.tell_address()

    def tell_address(self) -> None:
        """Log where a person finds the ECS task in AWS's console."""
        client: Any = self.client
        region, cluster = client.meta.region_name, self.cluster.split("/")[-1]
        address = f"https://{region}.console.aws.amazon.com/ecs/v2/clusters/{cluster}/tasks/{self.ecs_task_id}"
        self.log.info("The ECS task in the console: %s?region=%s", address, region)

    def _run_task(self, context: Any) -> None:
        """Ask ECS to run the task, unless it does so already and only its answer got lost on the way."""
        from airflow.exceptions import AirflowException

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
        from airflow.exceptions import AirflowException

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
            self.tell_address()

    def find(self, name: str) -> Optional[str]:
        """Give the ARN of the ECS task that has ``name`` as startedBy; one that runs before one that has stopped."""
        client: Any = self.client
        for status in ("RUNNING", "STOPPED"):
            found = self.persist(client.list_tasks, cluster=self.cluster, startedBy=name, desiredStatus=status)
            if found["taskArns"]:
                return str(found["taskArns"][0])
        return None

    def look_at(self, arn: str) -> Optional[Mapping[str, Any]]:
        """Give an ECS task as DescribeTasks has it; None if it is gone, or in a cluster that we had before."""
        if arn.split("/")[1:-1] not in ([], [self.cluster.split("/")[-1]]):  # ECS would refuse to look
            return None
        client: Any = self.client
        tasks = self.persist(client.describe_tasks, cluster=self.cluster, tasks=[arn])["tasks"]
        return tasks[0] if tasks else None

    def _xcom_del(self, session: Any, task_id: str) -> None:
        """Forget the ECS task of this run; the provider forgets those of all runs."""
        from airflow.models.xcom import XCom

        # Not by run_id: for that, Airflow 2.2.2's own clear() makes a query that SQLAlchemy cannot delete by.
        XCom.clear(self.logical_date, dag_id=self.dag_id, task_id=task_id, session=session)

    def _get_task_log_fetcher(self) -> Any:
        from airflow.providers.amazon.aws.hooks.logs import AwsLogsHook
        from botocore.config import Config

        # The next look is the better retry: waiting for this one would delay the task's end.
        config = Config(connect_timeout=2, read_timeout=5, retries={"max_attempts": 0})
        hook = AwsLogsHook(aws_conn_id=self.aws_conn_id, region_name=self.awslogs_region, config=config)
        stream = f"{self.awslogs_stream_prefix}/{self.ecs_task_id}"
        keep = max(self.number_logs_exception, 1)
        return LogTail(hook.get_conn(), str(self.awslogs_group), stream, self.awslogs_fetch_interval, self.log, keep)


def started_by(owner: str, dag_id: str, task_id: str, run_id: str, attempt: str) -> str:
    """Give what ECS shows as startedBy: the owner, and what no other attempt of any task has; at most 36 characters."""
    attempt_of = "/".join((dag_id, task_id, run_id, attempt))
    return f"{owner[:25]}-{hashlib.sha1(attempt_of.encode()).hexdigest()[:10]}"


def ended_by_itself(task: Mapping[str, Any]) -> bool:
    """Tell whether a stopped ECS task was not stopped by a person, Airflow, or the loss of a Spot instance."""
    ended = "EssentialContainerExited"
    return bool(task.get("stopCode", ended) == ended)


def has_succeeded(task: Mapping[str, Any]) -> bool:
    """Tell whether a stopped ECS task has done its work, as DescribeTasks has it."""
    containers = task.get("containers") or [{}]
    return ended_by_itself(task) and all(container.get("exitCode") == 0 for container in containers)


class Delivery(WithTypedParams, S3KeySensor):
    """Waits for a provider's delivery on S3."""

    def poke(self, context: Any) -> bool:
        """Look for a key that fits; the provider's sensor takes any key with the part before the first wildcard."""
        return all(self.has_arrived(url) for url in self.bucket_key)

    def has_arrived(self, url: str) -> bool:
        """Look for one s3:// address, with wildcards."""
        bucket, _, key = url.partition("://")[2].partition("/")
        self.log.info("Looking for s3://%s/%s", bucket, key)
        # The hook knows [abc] as a wildcard, too; in a definition that is part of the name.
        return bool(self.get_hook().check_for_wildcard_key(key.replace("[", "[[]"), bucket))

    def execute(self, context: Any) -> Any:
        """Wait; when the time is over, say for what."""
        from airflow.exceptions import AirflowSensorTimeout

        try:
            return super().execute(context)
        except AirflowSensorTimeout:
            length = timedelta(seconds=self.timeout)
            raise AirflowSensorTimeout(f"Not delivered within {length}: {', '.join(self.bucket_key)}") from None


# The attributes of an operator that Airflow changes in place. Two operators may share all others.
CHANGED_IN_PLACE = frozenset(
    "_upstream_task_ids _downstream_task_ids executor_config inlets outlets _inlets _outlets".split()
)


@lru_cache(maxsize=1)
def ecs_operator() -> Any:
    """Give the class of the ECS tasks.

    Here, in delivery_sensor and in build_dag stands all that depends on the versions of Airflow and the provider.
    """
    try:
        from airflow.providers.amazon.aws.operators.ecs import EcsOperator
    except ImportError:  # the provider in MWAA's own image
        from airflow.providers.amazon.aws.operators.ecs import ECSOperator as EcsOperator

    templated = ("cluster", "task_definition", "network_configuration", "tags")
    fields = {"template_fields": (*EcsOperator.template_fields, *templated)}
    return type("PipelineEcsOperator", (EcsTask, EcsOperator), fields)


@lru_cache(maxsize=1)
def delivery_sensor() -> Any:
    """Give the class of the delivery sensor, for a DAG that waits: to import it is a tenth of a small parse."""
    try:
        from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor
    except ImportError:  # the provider in MWAA's own image
        from airflow.providers.amazon.aws.sensors.s3_key import S3KeySensor

    return type("DeliverySensor", (Delivery, S3KeySensor), {})


def build_tasks(plan: Plan, owner: str) -> Dict[str, Any]:
    """Make the operators of a plan, by their task ids; they belong to no DAG yet."""
    ecs_task = ecs_operator()
    tasks = {}
    for task_id, planned in plan.tasks.items():
        tasks[task_id] = ecs_task(task_id=task_id, owner=owner, reattach=True, **planned.operator)
        tasks[task_id].places = planned.places
    return tasks


def join(dag: Any, task: Any) -> Any:
    """Put a copy of an operator into a DAG: making one takes 0.2 ms, five times as long."""
    own = object.__new__(type(task))
    for name, value in vars(task).items():  # one by one: instances then share their keys, which saves 4 KB each
        object.__setattr__(own, name, copy(value) if name in CHANGED_IN_PLACE else value)
    own.params = deepcopy(dag.params)
    dag.task_group.add(own)
    dag.add_task(own)
    return own


def build_dag(definition: Definition, made: Optional[Dict[Tuple[int, str], Dict[str, Any]]] = None) -> Any:
    """Make the Airflow DAG of a definition.

    ``made`` keeps the operators by the id of their plan and by owner, for the providers that share them.
    """
    from airflow.models.dag import DAG
    from airflow.models.param import Param as AirflowParam

    settings, folder, environment = definition.settings, definition.context.folder, definition.context.environment
    tags = {
        definition.family,
        definition.pipeline,
        definition.provider,
        definition.context.name,
        *(settings.tags or ()),
    }
    optional: Dict[str, Any] = {"max_active_tasks": settings.max_active_tasks} if settings.max_active_tasks else {}
    alerts: Dict[str, Any] = {}
    if environment.alerts:
        tell = partial(publish, environment, definition.provider)
        alerts = {
            "sla_miss_callback": partial(alert_sla_miss, tell),
            "on_failure_callback": partial(alert_timeout, tell),
        }
    dag = DAG(
        definition.dag_id,
        description=definition.description,
        schedule_interval=definition.schedule,
        start_date=settings.start_date,
        end_date=settings.end_date,
        catchup=settings.catchup or SETTING_DEFAULTS["catchup"],
        max_active_runs=settings.max_active_runs or SETTING_DEFAULTS["max_active_runs"],
        dagrun_timeout=settings.dagrun_timeout,
        tags=sorted(tags if folder == "etl" else tags | {folder}),
        # Without their schema: Airflow would refuse a wrong type at the trigger and take an unknown key.
        params={
            name: AirflowParam(param.default, param.description or "") for name, param in settings.the_params.items()
        },
        user_defined_macros={name: SimpleNamespace(**values) for name, values in definition.variables.items()},
        doc_md=doc_md(definition),
        **alerts,
        **optional,
    )
    made = {} if made is None else made
    owner = settings.owner or SETTING_DEFAULTS["owner"]
    key = id(definition.plan), owner
    if key not in made:
        made[key] = build_tasks(definition.plan, owner)
    tasks = {task_id: join(dag, task) for task_id, task in made[key].items()}
    for task_id, planned in definition.plan.tasks.items():
        if planned.task.depends_on:
            tasks[task_id].set_upstream([tasks[other] for other in planned.task.depends_on])
    if settings.wait_for is not None:
        roots = [task for task in tasks.values() if not task.upstream_task_ids]
        sensor = delivery_sensor()(
            task_id=WAIT_FOR,
            dag=dag,
            owner=owner,
            bucket_key=[settings.wait_for.s3],
            aws_conn_id=environment.aws_conn_id,
            mode="reschedule",  # a worker's slot is taken only for the moment of a look
            poke_interval=(settings.wait_for.poke_interval or timedelta(minutes=5)).total_seconds(),
            timeout=(settings.wait_for.timeout or timedelta(hours=12)).total_seconds(),
            retries=3,  # of a look that failed; a delivery that is too late is not tried again
        )
        sensor.set_downstream(roots)
        tasks[WAIT_FOR] = sensor
    for task in tasks.values():
        if settings.the_params:
            task.typed_params = settings.the_params
        if environment.alerts:
            task.on_failure_callback = partial(alert_failure, tell)
    return dag


def alert_failure(tell: Any, context: Any) -> None:
    """Tell of a task that has failed and has no retries left."""
    ti = context["task_instance"]
    fields = {
        "Run": context["run_id"],
        "Try": f"{ti.prev_attempted_tries} of {ti.max_tries + 1}",
        "Reason": context.get("exception") or "its process was killed on the worker, perhaps for want of memory",
        "Log": ti.log_url,
    }
    tell(f"{ti.dag_id} {ti.task_id} failed", {"DAG": ti.dag_id, "Task": ti.task_id, **fields})


def alert_timeout(tell: Any, context: Any) -> None:
    """Tell of a run that has exceeded its dagrun_timeout: Airflow skips its tasks, so that none of them fails."""
    if context["reason"] == "timed_out":
        run, reason = context["dag_run"], f"it took longer than {context['dag'].dagrun_timeout}"
        tell(f"{run.dag_id} timed out", {"DAG": run.dag_id, "Run": run.run_id, "Reason": reason})


def alert_sla_miss(tell: Any, dag: Any, task_list: Any, blocking: Any, slas: Any, blocking_tis: Any) -> None:
    """Tell of the tasks that have not succeeded in their time."""
    for sla in slas:
        if dag.has_task(sla.task_id):  # Airflow asks again and again for one that has been taken away
            reason = f"it had not succeeded {dag.get_task(sla.task_id).sla} after the run's planned start"
            fields = {"DAG": sla.dag_id, "Task": sla.task_id, "Run of": sla.execution_date, "Reason": reason}
            tell(f"{sla.dag_id} {sla.task_id} missed its SLA", fields)


UNREACHABLE: Set[str] = set()  # topics; for as long as a process lives: a parse, or a try of a task


def publish(environment: Environment, provider: str, subject: str, fields: Mapping[str, Any]) -> None:
    """Publish an alert to the environment's topic; that it cannot be is logged, and changes nothing of the run."""
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
    from botocore import exceptions
    from botocore.config import Config

    message = "\n".join(f"{name}: {str(value)[:MAX_FIELD]}" for name, value in {"Provider": provider, **fields}.items())
    topic = environment.alerts.sns_topic_arn if environment.alerts else ""
    log = logging.getLogger(__name__)  # Airflow's own for tasks is silent in a parse, which tells of what no task can
    if topic in UNREACHABLE:
        log.error("The alert was not published, as %s could not be reached before:\n%s", topic, message)
        return
    # By default botocore tries for 5 minutes; Airflow ends a parse, which is that of all DAGs, after 50 s.
    config = Config(connect_timeout=2, read_timeout=5, retries={"max_attempts": 1})
    region = environment.region
    try:
        hook = AwsBaseHook(environment.aws_conn_id, client_type="sns", region_name=region, config=config)
        hook.get_conn().publish(TopicArn=topic, Subject=subject[:MAX_SUBJECT], Message=message)
    except Exception as error:
        if isinstance(error, (exceptions.ConnectionError, exceptions.HTTPClientError)):
            UNREACHABLE.add(topic)
        log.exception("The alert could not be published to %s:\n%s", topic, message)


def told(problems: Iterable[Problem]) -> Iterator[str]:
    """Give the texts of problems, of each file only the first ones: a banner of megabytes is none."""
    for path, group in groupby(problems, key=lambda problem: problem.path):
        of_file = list(group)
        yield from map(str, of_file[:MAX_TOLD])
        if len(of_file) > MAX_TOLD:
            yield f"{path}: {len(of_file) - MAX_TOLD} more; ./etl check lists all"


def problem_dag(problems: List[Problem]) -> Any:
    """Make a DAG that Airflow cannot bag: its error becomes the file's import error, beside the healthy DAGs."""
    from airflow.exceptions import AirflowClusterPolicyViolation
    from airflow.models.dag import DAG

    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    text = "\n\n".join([f"{count} in the definitions:", *told(problems)])

    class ProblemDag(DAG):
        def resolve_template_files(self) -> None:
            raise AirflowClusterPolicyViolation(text)

    return ProblemDag("etl_problems", schedule_interval=None)


# ------------------------------------------------------------------------------------------------ registration


def dag_id_of_task() -> Optional[str]:
    """Give the id of the DAG whose task this process runs; None in any other process.

    ``airflow tasks run <dag_id> ...`` is the command line of a new interpreter (Sequential and Local executor) and
    stands in the process title of a fork (Celery and Local executor). Airflow has an API for it from 2.5 on.
    """
    if sys.argv[1:3] == ["tasks", "run"] and len(sys.argv) > 3:
        return sys.argv[3]
    from setproctitle import getproctitle

    match = re.match(r"airflow task supervisor: \['airflow', 'tasks', 'run', '([^']+)'", getproctitle())
    return match.group(1) if match else None


def build(found: Found) -> Tuple[Dict[str, Any], List[Problem]]:
    """Make the DAGs of what was found, by their ids, and tell all problems."""
    dags: Dict[str, Any] = {}
    problems = list(found.problems)
    made: Dict[Tuple[int, str], Dict[str, Any]] = {}
    for definition in found.definitions:
        try:
            dags[definition.dag_id] = build_dag(definition, made)
        except Exception as error:
            problems.append(unforeseen(definition.path, error))
    return dags, problems


def register(namespace: Dict[str, Any]) -> None:
    """Put the DAGs of the environment into the module's namespace, where Airflow looks for them."""
    from airflow.configuration import conf

    root = Path(__file__).absolute().parent
    try:
        environment, dag_id = conf.get("etl", "environment", fallback=None), dag_id_of_task()
        dags, problems = build(load(root, environment, dag_id))
        if dag_id and (problems or list(dags) != [dag_id]):  # it cannot be had alone
            dags, problems = build(load(root, environment))
    except Exception as error:
        dags, problems = {}, [unforeseen(shown(root, root), error)]
    namespace.update(dags)
    if problems:
        namespace["etl_problems"] = problem_dag(problems)


def main(arguments: List[str]) -> int:
    """Print what Airflow would get from this file: ``python dags/etl/factory.py development``."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python dags/etl/factory.py ENVIRONMENT\ne.g.:  python dags/etl/factory.py development")
        return 2
    found = load(Path(__file__).absolute().parent, arguments[0])
    dags, problems = build(found)
    print(f"environment {arguments[0]}\n")
    providers: Dict[str, List[str]] = {}
    for definition in found.definitions:
        providers.setdefault(f"{definition.family}-{definition.pipeline}", []).append(definition.provider)
    for pipeline, names in providers.items():
        print(f"{pipeline}: {', '.join(names)}")
    print()
    for definition in found.definitions:
        if definition.dag_id in dags:
            print(f"{definition.dag_id}  {definition.path}")
    for problem in problems:
        print(f"\n{problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
elif __name__ != "factory":  # Airflow imports a DAG file under a name of its own; tools import "factory"
    register(globals())
