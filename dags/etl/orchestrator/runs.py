"""Which run of another DAG is awaited, and how it is doing."""

import re
from datetime import timedelta
from typing import Any, Mapping, NamedTuple, Optional

import pendulum
from airflow.timetables.base import DataInterval, TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable

from .definitions import Awaited
from .generations import HAS_DATABASE

if HAS_DATABASE:
    from airflow.models import DagRun, TaskInstance
    from airflow.utils.session import create_session

# Begins Airflow's own ids of runs: the kind, and the moment of which it is.
MOMENT = re.compile(r"[a-z_]+__([0-9-]{10}T[0-9:.]+)")


class Run(NamedTuple):
    """A run of another DAG: the states of the tasks that are awaited by their ids, or its own, by "" as the id."""

    run_id: str
    states: Mapping[str, Optional[str]]


def awaited_date(awaited: Awaited, moment: pendulum.DateTime) -> Optional[pendulum.DateTime]:
    """Return the logical date of the last scheduled run whose data interval ends by a moment; None if none does."""
    schedule, start, end = awaited.schedule, awaited.start, awaited.end
    if schedule is None or start is None or start > moment:
        return None
    if schedule == "@once":
        return start
    timetable = CronDataIntervalTimetable(schedule, start.timezone)  # type: ignore[arg-type]
    restriction = TimeRestriction(earliest=None, latest=end, catchup=True)
    interval = interval_before(timetable, moment if end is None else min(moment, end))
    while True:
        following = timetable.next_dagrun_info(last_automated_data_interval=interval, restriction=restriction)
        if following is None or following.data_interval.end > moment:
            break
        interval = following.data_interval
    return pendulum.instance(interval.start) if start <= interval.start else None


def interval_before(timetable: CronDataIntervalTimetable, moment: pendulum.DateTime) -> DataInterval:
    """Return a data interval that is a day and two intervals before a moment, or more.

    From there, Airflow's timetable counts forward, as the scheduler does. Backward, 2.2.2 finds other intervals where
    the clocks change, and stays where an hour does not exist.
    """
    before, found = moment - timedelta(days=1), 0
    while True:
        interval = timetable.infer_manual_data_interval(run_after=before)
        is_one = interval.start < interval.end <= before
        found, before = found + is_one, interval.start if is_one else before - timedelta(hours=3)
        if found == 3:
            return interval


def find_run(ti: Any, awaited: Awaited, date: Optional[pendulum.DateTime]) -> Optional[Run]:
    """Return the run of a logical date, or else the newest one, whatever has started it; None if there is none.

    Args:
        ti: The task instance that asks: in Airflow 3, it cannot see the database.
        awaited: The DAG.
        date: The run's logical date.
    """
    return find_in_database(awaited, date) if HAS_DATABASE else find_by_api(ti, awaited, date)


def find_in_database(awaited: Awaited, date: Optional[pendulum.DateTime]) -> Optional[Run]:
    """Return a run as :func:`find_run` does, in Airflow 2."""
    with create_session() as session:
        runs = session.query(DagRun).filter(DagRun.dag_id == awaited.dag_id)
        if date is not None:
            runs = runs.filter(DagRun.execution_date == date)
        run = runs.order_by(DagRun.id.desc()).first()
        if run is None:
            return None
        if awaited.is_whole:
            return Run(run.run_id, {"": run.state})
        states = session.query(TaskInstance.task_id, TaskInstance.state).filter(
            TaskInstance.dag_id == awaited.dag_id,
            TaskInstance.run_id == run.run_id,
            TaskInstance.task_id.in_(awaited.task_ids),
        )
        return Run(run.run_id, dict(states.all()))


def find_by_api(ti: Any, awaited: Awaited, date: Optional[pendulum.DateTime]) -> Optional[Run]:
    """Return a run as :func:`find_run` does, in Airflow 3, whose API tells only the ids of runs, and states.

    The newest run is the one whose id has the latest moment. An id that a person has written has none.
    """
    dates = None if date is None else [date]
    runs = ti.get_task_states(awaited.dag_id, task_ids=list(awaited.task_ids), logical_dates=dates)
    if not runs:
        return None
    run_id = max(runs, key=moment_of)
    if awaited.is_whole:
        state = ti.get_dagrun_state(awaited.dag_id, run_id)
        return Run(run_id, {"": getattr(state, "value", state)})  # its text would be DagRunState.SUCCESS
    return Run(run_id, runs[run_id])


def moment_of(run_id: str) -> str:
    """Return the moment in the id of a run; "" if there is none."""
    match = MOMENT.match(run_id)
    return match.group(1) if match else ""
