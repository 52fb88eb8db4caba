"""Kinds of values: text, names, schedules, moments, durations, numbers; and what is reported of a wrong one.

The first line of a kind's docstring says what a value should be, in messages and in the reference.
"""

import re
from contextlib import suppress
from datetime import date, datetime, timedelta
from functools import lru_cache
from math import isfinite
from typing import Any, ClassVar, Dict, Iterator, Optional, Tuple, Union

from croniter import croniter

from .compat import ConstrainedInt, PydanticValueError, is_time_zone, time_zones
from .problems import AmbiguousInteger, closest, describe, did_you_mean
from .vocabulary import MAX_VARIABLE


class InvalidValue(PydanticValueError):
    """What a validator reports.

    Args:
        message: What is wrong.
        hint: What to write instead; ``{source}`` becomes the text as it stands in the file.
        rule: A rule of docs/rules.md.
        key: The key of a mapping that is wrong, which pydantic does not report.
        within: Whether the value as a whole is that mapping.
    """

    code = "invalid"
    msg_template = "{message}"

    def __init__(
        self, message: str, hint: str = "", rule: str = "schema", key: Any = None, within: bool = False
    ) -> None:
        super().__init__(message=message, hint=hint, rule=rule, key=key, within=within)


class Shape:
    """A kind of value, which pydantic checks with ``validate``."""

    @classmethod
    def __get_validators__(cls) -> Iterator[Any]:
        yield cls.validate

    @classmethod
    def validate(cls, value: Any) -> Any:
        raise NotImplementedError


MAX_TEXT = 8192  # characters of any text: ECS takes as many for all of a task


class Text(Shape, str):
    """Text without control characters."""

    hint = ""  # what to write instead
    pattern = re.compile(r"[^\x00-\x08\x0b-\x1f\x7f-\x9f]*")

    @classmethod
    def what(cls) -> str:
        """Return what a value should be, for a message: the first line of the class's docstring."""
        words = (cls.__doc__ or "").splitlines()[0].rstrip(".")
        return words[0].lower() + words[1:]

    @classmethod
    def validate(cls, value: Any) -> str:
        if not isinstance(value, str):
            if not isinstance(value, (bool, int, float, date, AmbiguousInteger)):
                raise InvalidValue(f"expected text, got {describe(value)}", key=value)
            in_quotes = str(value.value if isinstance(value, AmbiguousInteger) else value).lower()
            if not cls.pattern.fullmatch(in_quotes):  # as it would be refused then, too
                raise InvalidValue(f"expected {cls.what()}, got {describe(value)}", cls.hint, key=value)
            raise InvalidValue(f"expected text, got {describe(value)}", "quote it: '{source}'", key=value)
        if len(value) > MAX_TEXT:
            raise InvalidValue(f"a text of {len(value)} characters; at most {MAX_TEXT} are taken", key=value)
        if not cls.pattern.fullmatch(value):
            raise InvalidValue(f"{value[:60]!r} is not {cls.what()}", cls.hint, key=value)
        return value


class Constant(Text):
    """Text without {{ and {% (a template does not work here)."""

    hint = "write the template where the value is used: in the command or environment of a task"
    pattern = re.compile(r"(?s)(?!.*\{[{%])[^\x00-\x08\x0b-\x1f\x7f-\x9f]*")


class PlainText(Text):
    """Plain text on one line (a template does not work here)."""

    pattern = re.compile(r"[^\x00-\x1f\x7f-\x9f{}]+")


class FolderName(Text):
    """A name for a sandbox: at most 100 letters, digits, _, - and dots."""

    pattern = re.compile(r"[\w.-]{1,100}")  # it begins DAG ids, and is a tag


class EnvironmentName(Text):
    """An environment's name: at most 100 letters, digits, _, - and dots."""

    pattern = FolderName.pattern  # it is a tag, too


class FamilyName(Text):
    """A family's name: at most 100 lower-case letters, digits and _."""

    pattern = re.compile(r"[a-z0-9][a-z0-9_]{0,99}")  # it is a tag


class PipelineName(Text):
    """A pipeline's name: at most 100 lower-case letters, digits, _ and -, without '_dag_'."""

    # Not '_dag_' in it, nor '_dag' at its end: the first '_dag_' of a DAG id is where the provider begins.
    pattern = re.compile(r"(?!.*_dag(?:_|$))[a-z0-9][a-z0-9_-]{0,99}")  # it is a tag


class PipelineAddress(Text):
    """A pipeline's family and name, such as cwr/big."""

    pattern = re.compile(f"{FamilyName.pattern.pattern}/{PipelineName.pattern.pattern}")


class ProviderName(Text):
    """A provider's name: at most 100 lower-case letters, digits and _."""

    pattern = re.compile(r"[a-z0-9][a-z0-9_]{0,99}")  # it is a tag


class TaskId(Text):
    """A task's name: at most 250 lower-case letters, digits, _ and -."""

    pattern = re.compile(r"[a-z0-9][a-z0-9_-]{0,249}")


class Item(Text):
    """An item: a whole number, or 1 to 100 lower-case letters, digits, _ and -."""

    pattern = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")  # it ends a task's name

    @classmethod
    def validate(cls, value: Any) -> str:
        if isinstance(value, str) and value != value.lower():
            hint = "write it in small letters, and {{ item | upper }} where it is used"
            raise InvalidValue(f"{value[:60]!r} has capitals", hint, key=value)
        return super().validate(str(value) if type(value) is int else value)


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

    pattern = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,100}")  # a column of Airflow's database


class Pool(PlainText):
    """A pool's name: 1 to 256 characters on one line (a template does not work here)."""

    pattern = re.compile(r"[^\x00-\x1f\x7f-\x9f{}]{1,256}")  # task_instance.pool


class ConnectionId(PlainText):
    """A connection's name: 1 to 250 characters on one line (a template does not work here)."""

    pattern = re.compile(r"(?! *$)[^\x00-\x1f\x7f-\x9f{}]{1,250}")  # connection.conn_id


class TaskDefinition(Text):
    """A task definition: family, family:revision or ARN."""

    pattern = re.compile(
        r"[A-Za-z0-9_-]{1,255}(:[0-9]+)?|arn:[^\s{}]+:task-definition/[^\s{}:]+(:[0-9]+)?|(?=.*\{\{).+"
    )


class S3Address(Text):
    """An address on S3: s3://bucket/key."""

    pattern = re.compile(r"s3://[^/\x00-\x1f\x7f-\x9f]+/[^\x00-\x1f\x7f-\x9f]+")


class AlertsName(Text):
    """A name of alerts: 1 to 100 letters, digits, _ and -."""

    pattern = re.compile(r"[A-Za-z0-9_-]{1,100}")

    @classmethod
    def validate(cls, value: Any) -> str:
        if isinstance(value, (dict, list, bool)) or re.match("arn:|.*@", str(value)):
            hint = "write the name of one under 'alerts' of the environment, or null: nobody is told"
            raise InvalidValue(f"expected a name, got {describe(value)}", hint)
        if value == "sns_topic_arn":  # what an environment had before it could have several
            hint = "write 'default: {sns_topic_arn: ...}'; other names are for 'alerts' of pipelines and providers"
            raise InvalidValue("alerts have a name", hint, key=value)
        return super().validate(value)


class EcsTagKey(Text):
    """A tag's key: 1 to 128 characters, not starting with 'aws:' (a template does not work here)."""

    pattern = re.compile(r"(?!aws:)[^\x00-\x1f\x7f-\x9f{}]{1,128}")


class EcsTagValue(Text):
    """A tag's value: at most 256 characters."""

    pattern = re.compile(r"[^\x00-\x1f\x7f-\x9f]{0,256}")


class EcsName(PlainText):
    """A name in AWS: 1 to 255 characters on one line (a template does not work here)."""

    pattern = re.compile(r"[^\x00-\x1f\x7f-\x9f{}]{1,255}")  # as of a cluster, a family, a capacity provider


class LogGroup(PlainText):
    """A log group: 1 to 512 letters, digits and _ / . # -."""

    # https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogGroup.html
    pattern = re.compile(r"[A-Za-z0-9_/.#-]{1,512}")


class LogPrefix(PlainText):
    """The start of log streams: 1 to 200 characters on one line, without : and * (a template does not work here)."""

    # A stream has at most 512 characters: prefix/container/task id, of which a container's name may be 255.
    pattern = re.compile(r"[^\x00-\x1f\x7f-\x9f{}:*]{1,200}")


# croniter and Airflow expand a field value by value, for each DAG: "0-59," twenty times takes 20 ms. Airflow 3 stores
# no DAG beside one whose schedule in words has more than 1,000 characters: of 70 there are 973; all hours are 69.
MAX_CRON = 70  # characters


class Cron(Text):
    """A cron expression of five fields, or a preset."""

    presets = ("@once", "@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")
    presets_of_cron: ClassVar[Dict[str, str]] = {"@midnight": "@daily", "@annually": "@yearly"}
    # How many values each has: of days of the week, 0 and 7 are Sunday.
    fields: ClassVar[Dict[str, int]] = {"minute": 60, "hour": 24, "day of month": 31, "month": 12, "day of week": 8}

    @classmethod
    def validate(cls, value: Any) -> str:
        if not isinstance(value, str):
            hint = "write a cron expression such as '0 3 * * *', or null for a DAG that is only triggered"
            raise InvalidValue(f"expected a schedule, got {describe(value)}", hint, key=value)
        text = super().validate(value)
        if len(text) > MAX_CRON:
            message = f"a schedule of {len(text)} characters; it has at most {MAX_CRON}"
            raise InvalidValue(message, "write a list as a range or a step: 0-29 or */2", rule="schedule")
        mistake = cls.mistake_in(text)
        if mistake:
            raise InvalidValue(*mistake, rule="schedule")
        return text

    @classmethod
    @lru_cache(maxsize=1024)  # a thousand providers share a few schedules; a file has at most 1,000 (MAX_SCHEDULES)
    def mistake_in(cls, text: str) -> Optional[Tuple[str, str]]:
        """Return message and hint, or None. Airflow itself finds a bad expression only when it bags the DAG."""
        preset = f"@{text.lower().lstrip('@')}"
        if text in cls.presets:
            return None
        if text.startswith("@") or preset in (*cls.presets, *cls.presets_of_cron):
            meant = cls.presets_of_cron.get(preset) or closest(preset, cls.presets)
            # YAML refuses an @ without quotes.
            hint = f"write '{meant}', with its quotes" if meant else did_you_mean(text, cls.presets)
            return f"unknown schedule {text[:60]!r}", hint
        parts = text.split()
        if len(parts) != len(cls.fields):
            hint = f"they are: {', '.join(cls.fields)}"
            hint += "; or write null for a DAG that is only triggered" if len(parts) < 2 else ""
            return f"a cron expression has five fields, this has {len(parts)}", hint
        for index, (part, (field, most)) in enumerate(zip(parts, cls.fields.items())):
            ranges = [abs(int(end) - int(start)) + 1 for start, end in re.findall("(?<![0-9])([0-9]+)-([0-9]+)", part)]
            if sum(ranges) + part.count("*") * most > most:
                return f"the ranges of {part!r} overlap", "name each value once"
            probe = ["*"] * len(parts)
            probe[index] = part
            # croniter's R and H are random: another schedule at every parse. At L-3 and L/3 it fails with a NameError.
            random = re.search(r"[^0-9A-Za-z*,/#-]|\b[RHrh]\b|\b[Ll][/-]", part)
            # It takes day 0 and month 0 for 1.
            zero = index in (2, 3) and re.search(r"(?:^|[,-])0+(?:$|[,/-])", part)
            if random or zero or not croniter.is_valid(" ".join(probe)):
                return f"{part[:60]!r} is not a cron field for the {field}", "daily at 3 is '0 3 * * *'"
        # croniter takes # and L of the weekday for the day of the month as well, and may search for 60 ms, not for 7.
        if parts[2] != "*" and re.search("[#Ll]", parts[4]):
            return f"Airflow misreads a day of the month beside {parts[4]!r}", "write * for one of the two"
        try:
            # Years without 29 February, from which croniter 1.0.15 cannot compute the time before.
            croniter(text, datetime(2001, 1, 1), max_years_between_matches=1).get_next()
            croniter(text, datetime(2000, 1, 1), max_years_between_matches=1).get_prev()
        except ValueError:
            hint = "there is no such day in every year; a daily task can ask for the date itself"
            return f"Airflow cannot compute the runs of the schedule {text!r}", hint
        return None


class TimeZone(Text):
    """A time zone: UTC, or a region and city such as Europe/London."""

    pattern = re.compile(r"UTC|(?!posix/|right/)[A-Za-z]{1,20}(/[A-Za-z0-9_+-]{1,20}){1,2}")

    @classmethod
    def validate(cls, value: Any) -> str:
        if isinstance(value, str) and cls.pattern.fullmatch(value) and is_time_zone(value):
            return value
        hint = cls.hint_for(value[:60] if isinstance(value, str) else "")
        raise InvalidValue(f"expected a time zone, got {describe(value)}", hint, "schedule")

    @classmethod
    @lru_cache(maxsize=256)  # a file has at most 50 different ones (MAX_ZONES)
    def hint_for(cls, name: str) -> str:
        """Return which zone was meant by a name, or by a city; none of Etc, whose GMT+1 is an hour behind."""
        zones = [zone for zone in sorted(time_zones()) if cls.pattern.fullmatch(zone) and zone[:4] != "Etc/"]
        cities = {zone.rpartition("/")[2]: zone for zone in reversed(zones)}
        meant = closest(cities.get(name.rpartition("/")[2].replace(" ", "_"), name), zones)
        return f"did you mean '{meant}'?" if meant else "write UTC, or a region and city such as Europe/London"


class Moment(Shape, date):
    """A static date such as 2022-01-01, midnight in its time zone; with a time, a moment: 2022-01-01T03:00:00Z."""

    @classmethod
    def validate(cls, value: Any) -> date:
        hint = "a date is static, so that every parse gives the same DAG: write one such as 2022-01-01"
        if isinstance(value, str):
            with suppress(ValueError):
                text = re.sub("Z$", "+00:00", value)  # Python 3.7 does not read the Z
                value = datetime.fromisoformat(text) if len(text) > 10 else date.fromisoformat(text)
        if not isinstance(value, date):
            raise InvalidValue(f"expected a date, got {describe(value)}", hint, "schedule")
        if not 1970 <= value.year <= 2100:  # Airflow adds intervals to it, and a date has its end
            raise InvalidValue("a date lies between 1970 and 2100", hint, "schedule")
        if isinstance(value, datetime) and value.tzinfo is None:
            hint = f"write {value.isoformat()}Z for UTC, or an offset such as +01:00"
            raise InvalidValue("a date with a time needs its offset from UTC", hint, "schedule")
        return value


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
            hint = "write it as 30m, 6h, 1d12h or in seconds"
            raise InvalidValue(f"expected a duration, got {describe(value)}", hint)
        length = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        if length <= timedelta(0):  # Airflow would take it for no timeout
            raise InvalidValue("a duration is longer than nothing")
        return length


NOT_FINITE = "a number is finite, and at most some 1.8e308"


class Scalar(Shape):
    """What a variable may be: text, a number or a boolean."""

    @classmethod
    def validate(cls, value: Any) -> Union[str, int, float, bool]:
        if isinstance(value, float) and not isfinite(value):
            raise InvalidValue(f"expected a number, got {value}", NOT_FINITE)
        if isinstance(value, (bool, int, float)):
            return value
        text = Constant.validate(value)
        if len(text) > MAX_VARIABLE:
            message = f"a variable has at most {MAX_VARIABLE} characters, this has {len(text)}"
            raise InvalidValue(message, "put the data on S3, and its address in a variable")
        return text


class Count(ConstrainedInt):
    """A whole number from 0, in the 32 bits that Airflow's database and ECS keep."""

    strict, ge, le = True, 0, 2**31 - 1


class Positive(Count):
    """A whole number from 1."""

    ge = 1


class ActiveRuns(Positive):
    """A number of runs: the scheduler creates 10 in each loop, first those that lie back furthest, of whichever DAG."""

    le = 100


class Weight(Positive):
    """A priority: Airflow adds up those of all tasks that come after, in 32 bits."""

    le = 10_000


class Retries(Count):
    """A number of retries."""

    # With exponential backoff, the scheduler computes retry_delay * 2 ** (tries - 2): TaskInstance.next_retry_datetime.
    # After 995 tries with the longest delay, an OverflowError ends it for all DAGs. Clearing adds to the tries.
    le = 100


class ExitCode(Positive):
    """A container's exit code that is no success."""

    le = 255


class ProviderWeight(Count):
    """The weight of a capacity provider: CapacityProviderStrategyItemWeight of ECS's model."""

    le = 1000


class ProviderBase(Count):
    """The base of a capacity provider: CapacityProviderStrategyItemBase of ECS's model."""

    le = 100_000
