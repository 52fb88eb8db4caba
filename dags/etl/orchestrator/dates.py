"""The dates of a run in templates: the same text in each version of Airflow."""

from datetime import datetime
from typing import Any, Dict

import pendulum

NAMES = "logical_date", "data_interval_start", "data_interval_end"


class Date(pendulum.DateTime):
    """A date whose text has a T, as in Airflow 2.2.2: newer versions of pendulum write a space."""

    def __str__(self) -> str:
        return self.isoformat()


def as_date(value: Any) -> Any:
    """Return a date as templates get it."""
    if str(value) == value.isoformat():
        return value
    return Date.instance(value)  # type: ignore[attr-defined]  # of newer versions of pendulum


def as_written(value: Any) -> Any:
    """Return what a template writes for the value of an expression; not all dates come from here."""
    return value.isoformat() if isinstance(value, pendulum.DateTime) else value


def dates_of_run(context: Any) -> Dict[str, Any]:
    """Return the names of templates that are dates of the run.

    In Airflow 3, a run that is triggered has only ``run_after``: it gets the dates that 2.2.2 gives one at that moment.
    """
    dates = {name: as_date(context[name]) for name in NAMES if context.get(name)}
    run = context.get("dag_run")
    if not isinstance(getattr(run, "run_after", None), datetime):  # before 3
        return dates
    others: Dict[str, Any] = {}
    if not dates:
        date = as_date(pendulum.instance(run.run_after))
        dates = dict(zip(NAMES, (date, *interval_at(date, context["dag"].timetable))))
        ds, ts = date.strftime("%Y-%m-%d"), date.isoformat()
        others = {"ds": ds, "ds_nodash": ds.replace("-", ""), "ts": ts, "ts_nodash": date.strftime("%Y%m%dT%H%M%S")}
        others["ts_nodash_with_tz"] = ts.replace("-", "").replace(":", "")
        others.update(prev_data_interval_start_success=None, prev_data_interval_end_success=None)
    kind = getattr(run.run_type, "value", run.run_type)  # the text of the member would be DagRunType.MANUAL
    return {**dates, **others, "dag_run": run.model_copy(update={**dates, "run_type": kind})}


def interval_at(date: Any, timetable: Any) -> Any:
    """Return the start and end of the last whole interval before a date; without a cron expression, the date itself."""
    from airflow.timetables.interval import CronDataIntervalTimetable  # here, since few tasks need it

    if not hasattr(timetable, "expression"):
        return date, date
    reckoning = CronDataIntervalTimetable(timetable.expression, timetable.timezone)
    return tuple(map(as_date, reckoning.infer_manual_data_interval(run_after=date)))
