"""DAGs as Airflow's pass over the DAG file has them: it looks for their missed SLAs."""

from datetime import timedelta
from functools import lru_cache, partial
from typing import Any, ClassVar, Iterator, List, Optional, Set

import pendulum
import setproctitle
from airflow.timetables.base import DagRunInfo, DataInterval
from airflow.timetables.interval import CronDataIntervalTimetable

from .generations import DAG, REPEATS_SLA_LOOKS
from .runs import interval_before

MAX_LATE = 25_000  # intervals that are late, of all tasks in a pass, but for 2 of each task


class OnePass(List[str]):
    """Texts that can be gone through once; whether one is among them can be asked for ever."""

    is_over = False

    def __iter__(self) -> Iterator[str]:
        """Return all of them, and from the second time on none."""
        texts = iter(()) if self.is_over else super().__iter__()
        self.is_over = True
        return texts


class SlaDag(DAG):
    """A DAG whose missed SLAs are looked for once, among its latest intervals; only for the pass that looks for them.

    Templates such as ``{{ next_ds }}`` ask in the same way, in the process of a task.

    Airflow 2.2.2 looks at every interval since a task's last success (DagFileProcessor.manage_slas), and does so in the
    pass over the DAG file. 20,000 of them, of one DAG that catches up, took longer than the 50 s that a pass has. So it
    looks at the last 25 intervals that are late, or at 2 where many tasks have an SLA, and computes each once for all
    tasks of a DAG: it takes 0.4 ms.

    It also does so once for each look that the scheduler had at a run since the pass before, some hundred times, and
    reads the last success of every task from all runs there have been: 20 DAGs of 3 tasks that had run every minute for
    30 days made a pass of 37 s. So a DAG has tasks only the first time. Later versions look once.
    """

    dags: ClassVar[Set[str]] = set()  # with SLAs, of this process, which is a pass
    number: int = 0  # of its tasks that have an SLA
    sla: Optional[timedelta] = None  # of the task that Airflow has just asked for
    task_ids: List[str] = OnePass()  # Airflow reads the successes of those that it gets one by one

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.now = pendulum.now("UTC")
        self.after = lru_cache(maxsize=None)(partial(super().next_dagrun_info, restricted=False))
        self.latest_before = lru_cache(maxsize=None)(self.timetable.infer_manual_data_interval)
        self.start_of_looks = lru_cache(maxsize=None)(self._start_of_looks)

    def prepare_looks(self) -> None:
        """Count what has an SLA, when the DAG has all its tasks."""
        self.task_ids = OnePass(self.task_dict) if REPEATS_SLA_LOOKS else list(self.task_dict)
        self.number = sum(task.sla is not None for task in self.tasks)
        if self.number:
            self.dags.add(self.dag_id)

    def get_task(self, task_id: str, include_subdags: bool = False) -> Any:
        """Return a task; Airflow asks for that whose missed SLAs it then looks for."""
        task = super().get_task(task_id, include_subdags)
        self.sla = task.sla
        return task

    def next_dagrun_info(self, last: Any, *, restricted: bool = True) -> Optional[DagRunInfo]:
        """Return what comes after an interval; if Airflow looks for missed SLAs, only what is late."""
        is_cron = isinstance(self.timetable, CronDataIntervalTimetable)  # others have no intervals, such as @once
        if restricted or self.sla is None or not is_cron or not isinstance(last, DataInterval):
            return super().next_dagrun_info(last, restricted=restricted)
        info = self.after(max(last, self.start_of_looks(self.sla)))
        if info and info.data_interval.start < last.end:  # across a clock change, Airflow goes back on another way
            info = self.after(last)
        return info if info and info.logical_date + self.sla < self.now else None

    def _start_of_looks(self, sla: timedelta) -> DataInterval:
        """Return the interval after which the looks for missed SLAs begin; Airflow tells of all but the first."""
        most = max(2, min(25, MAX_LATE // max(1, len(self.dags) * self.number)))
        return interval_before(self.latest_before, self.now - sla, most + 1)


def is_pass() -> bool:
    """Return whether this process passes over the DAG file, and so looks for missed SLAs."""
    return "DagFileProcessor" in setproctitle.getproctitle()
