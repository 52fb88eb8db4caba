"""When a DAG runs, as Airflow 2.2.2 reckons it: next runs, data intervals, and schedules in words."""

from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any, Callable, List, NamedTuple, Optional, Tuple, Union

import pendulum
from cron_descriptor import ExpressionDescriptor, FormatException, Options
from croniter import croniter
from orchestrator import SETTING_DEFAULTS, Definition

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
    """The times of a cron expression by the clocks of a time zone: CronDataIntervalTimetable of Airflow 2.2.2."""

    def __init__(self, expression: str, timezone: Any) -> None:
        self.expression, self.timezone = expression, timezone
        times = croniter(expression)
        one, other = times.get_next(datetime), times.get_next(datetime)
        self._is_fixed = (one.hour, one.minute) == (other.hour, other.minute)

    def next(self, moment: datetime) -> pendulum.DateTime:
        """Return the first time after a moment."""
        return self._utc(moment, lambda local: croniter(self.expression, local).get_next(datetime))

    def previous(self, moment: datetime) -> pendulum.DateTime:
        """Return the last time before a moment."""
        return self._utc(moment, lambda local: croniter(self.expression, local).get_prev(datetime))

    def align(self, moment: datetime) -> pendulum.DateTime:
        """Return the first time at or after a moment."""
        after = self.next(moment)
        return after if self.previous(after) != moment else pendulum.instance(moment).in_timezone("UTC")

    def _utc(self, moment: datetime, find: Callable[[datetime], Any]) -> pendulum.DateTime:
        """Return what is found among the times of the clocks; many times a day are counted from the moment on."""
        here = pendulum.instance(moment).in_timezone(self.timezone)
        # pendulum's own would count in days and months, and has no timetuple() of the day that Samoa left out.
        local = datetime(here.year, here.month, here.day, here.hour, here.minute, here.second, here.microsecond)
        found: datetime = find(local)
        time = pendulum.instance(found, self.timezone) if self._is_fixed else pendulum.instance(here + (found - local))
        return time.in_timezone("UTC")


def cron_of(definition: Definition) -> Optional[Cron]:
    """Return the times at which a DAG's data intervals meet; None where it has none (triggered, @once)."""
    schedule = definition.schedule
    if schedule is None or schedule == "@once":
        return None
    return Cron(PRESETS.get(schedule, schedule), start_of(definition).timezone)


def start_of(definition: Definition) -> pendulum.DateTime:
    """Return the start date, which every definition has."""
    start, _ = definition.settings.period
    if start is None:
        raise ValueError(f"{definition.dag_id} has no start_date")
    return start


def zone_of(definition: Definition) -> str:
    """Return the name of a DAG's time zone."""
    return str(definition.settings.timezone or SETTING_DEFAULTS["timezone"])


def next_run(definition: Definition, now: datetime) -> Optional[datetime]:
    """Return the moment after ``now`` at which the scheduler starts a run, in UTC; None if there is none.

    A run starts when its data interval ends, so the first one a whole interval after the start date.
    """
    start, cron = start_of(definition), cron_of(definition)
    if cron is None:
        return start.in_timezone("UTC") if definition.schedule and start > now else None
    logical_date = max(cron.previous(cron.next(now)), cron.align(start))
    _, end_date = definition.settings.period
    return None if end_date and logical_date > end_date else cron.next(logical_date)


def in_words(definition: Definition) -> str:
    """Return when a DAG runs."""
    schedule = definition.schedule
    if schedule is None:
        off = definition.settings.schedule
        return f"only when triggered ({off} is off in {definition.context.name})" if off else "only when triggered"
    if schedule == "@once":
        return "once"
    zone = zone_of(definition)
    return describe(PRESETS.get(schedule, schedule)) + ("" if zone == "UTC" else f", {zone}")


def next_runs(definition: Definition, now: datetime) -> List[pendulum.DateTime]:
    """Return the next run, and the first after the next change of the clocks, on the clocks of the DAG's time zone."""
    first = next_run(definition, now)
    if first is None:
        return []
    zone = zone_of(definition)
    change = change_of_clocks(zone, now) if cron_of(definition) else None
    later = next_run(definition, change) if change else None
    return [pendulum.instance(run).in_timezone(zone) for run in (first, later) if run and (run is first or run > first)]


@lru_cache(maxsize=1024)  # many DAGs have the same
def change_of_clocks(zone: str, now: datetime) -> Optional[datetime]:
    """Return the moment before the clocks of a zone change next, to the minute; None if they do not within a year."""

    def offset(minutes: int) -> Any:
        return pendulum.instance(now + timedelta(minutes=minutes)).in_timezone(zone).offset

    def has_changed(minutes: int) -> bool:
        return bool(offset(minutes) != offset(0))

    days = (24 * 60 * number for number in range(1, 367))
    after = next((minutes for minutes in days if has_changed(minutes)), None)
    if after is None:
        return None
    before = after - 24 * 60
    while after - before > 1:
        middle = (before + after) // 2
        before, after = (before, middle) if has_changed(middle) else (middle, after)
    return now + timedelta(minutes=before)


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
    earliest, latest = limits(start, when)  # a day is that of the DAG's time zone
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


def limits(start: pendulum.DateTime, when: Union[date, datetime, None]) -> Tuple[pendulum.DateTime, pendulum.DateTime]:
    """Return the first moment of a logical date, and the first one after it, in UTC."""
    if when is None or isinstance(when, datetime):
        moment = pendulum.instance(when or start).in_timezone("UTC")
        return moment, moment + timedelta(microseconds=1)
    day = pendulum.datetime(when.year, when.month, when.day, tz=start.timezone)
    return day.in_timezone("UTC"), day.add(days=1).in_timezone("UTC")


def make_run(is_scheduled: bool, logical_date: pendulum.DateTime, start: Any, end: Any) -> Run:
    """Name a run as Airflow does."""
    kind = "scheduled" if is_scheduled else "manual"
    return Run(f"{kind}__{logical_date.isoformat()}", is_scheduled, logical_date, start, end)
