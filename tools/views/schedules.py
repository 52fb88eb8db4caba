"""When a DAG runs, as Airflow 2.2.2 reckons it: next runs, data intervals, and schedules in words."""

from datetime import date, datetime, timedelta
from typing import Any, NamedTuple, Optional, Tuple, Union

import pendulum
from cron_descriptor import ExpressionDescriptor, FormatException, Options
from croniter import croniter
from orchestrator import Definition

# cron_presets of airflow/utils/dates.py
PRESETS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@quarterly": "0 0 1 */3 *",
    "@yearly": "0 0 1 1 *",
}


class Cron:
    """The times of a cron expression in the time zone of a DAG's start date, which is a fixed offset from UTC."""

    def __init__(self, expression: str, timezone: Any) -> None:
        self.expression, self.timezone = expression, timezone

    def next(self, moment: datetime) -> pendulum.DateTime:
        """Return the first time after a moment."""
        return self._utc(self._from(moment).get_next(datetime))

    def previous(self, moment: datetime) -> pendulum.DateTime:
        """Return the last time before a moment."""
        return self._utc(self._from(moment).get_prev(datetime))

    def align(self, moment: datetime) -> pendulum.DateTime:
        """Return the first time at or after a moment."""
        return self.next(moment - timedelta(microseconds=1))

    def _from(self, moment: datetime) -> croniter:
        return croniter(self.expression, moment.astimezone(self.timezone).replace(tzinfo=None))

    def _utc(self, local: datetime) -> pendulum.DateTime:
        return pendulum.instance(local, self.timezone).in_timezone("UTC")


def cron_of(definition: Definition) -> Optional[Cron]:
    """Return the times at which a DAG's data intervals meet; None where it has none (triggered, @once)."""
    schedule = definition.schedule
    if schedule is None or schedule == "@once":
        return None
    return Cron(PRESETS.get(schedule, schedule), start_of(definition).tzinfo)


def start_of(definition: Definition) -> datetime:
    """Return the start date, which every definition has."""
    start = definition.settings.start_date
    if start is None:
        raise ValueError(f"{definition.dag_id} has no start_date")
    return start


def next_run(definition: Definition, now: datetime) -> Optional[datetime]:
    """Return the moment after ``now`` at which the scheduler starts a run, in UTC; None if there is none.

    A run starts when its data interval ends, so the first one a whole interval after the start date.
    """
    start, cron = start_of(definition), cron_of(definition)
    if cron is None:
        return start if definition.schedule and start > now else None
    logical_date = max(cron.previous(cron.next(now)), cron.align(start))
    end_date = definition.settings.end_date
    return None if end_date and logical_date > end_date else cron.next(logical_date)


def in_words(definition: Definition) -> str:
    """Return when a DAG runs."""
    schedule = definition.schedule
    if schedule is None:
        off = definition.settings.schedule
        return f"only when triggered ({off} is off in {definition.context.name})" if off else "only when triggered"
    if schedule == "@once":
        return "once"
    offset = start_of(definition).isoformat()[-6:]
    return describe(PRESETS.get(schedule, schedule)) + ("" if offset == "+00:00" else f", UTC{offset}")


def describe(expression: str) -> str:
    """Return a cron expression in English words, or as it is where cron-descriptor cannot describe it."""
    options = Options()
    options.locale_code = "en_US"  # not the person's: all else here is English
    options.use_24hour_time_format = True
    try:
        return str(ExpressionDescriptor(expression, options).get_description())
    except (FormatException, IndexError, ValueError):
        return expression


# --------------------------------------------------------------------------------------------------- one DAG run


class Run(NamedTuple):
    """A DAG run, as far as it can be known before."""

    run_id: str
    is_scheduled: bool
    logical_date: pendulum.DateTime
    data_interval_start: pendulum.DateTime
    data_interval_end: pendulum.DateTime


def run_at(definition: Definition, when: Union[date, datetime, None]) -> Run:
    """Return the DAG run of a day, of an exact logical date, or the first there can be.

    On a day it is the first run that the schedule has then; without one, and for a logical date that the schedule
    does not have, it is what triggering by hand gives.
    """
    start, cron = start_of(definition), cron_of(definition)
    earliest, latest = limits(start, when)
    if cron is None:
        on_schedule = definition.schedule is not None and earliest <= start < latest
        moment = pendulum.instance(start if on_schedule else earliest).in_timezone("UTC")
        return make_run(on_schedule, moment, moment, moment)
    moment = cron.align(earliest)
    if when is None or moment < latest:
        return make_run(True, moment, moment, cron.next(moment))
    # Airflow: the last interval that is complete.
    end = cron.previous(moment)
    return make_run(False, earliest, cron.previous(end), end)


def limits(start: datetime, when: Union[date, datetime, None]) -> Tuple[pendulum.DateTime, pendulum.DateTime]:
    """Return the first moment of a logical date, and the first one after it, in UTC."""
    if when is None or isinstance(when, datetime):
        moment = pendulum.instance(when or start).in_timezone("UTC")
        return moment, moment + timedelta(microseconds=1)
    day = pendulum.datetime(when.year, when.month, when.day)
    return day, day.add(days=1)


def make_run(is_scheduled: bool, logical_date: pendulum.DateTime, start: Any, end: Any) -> Run:
    """Name a run as Airflow does."""
    kind = "scheduled" if is_scheduled else "manual"
    return Run(f"{kind}__{logical_date.isoformat()}", is_scheduled, logical_date, start, end)
