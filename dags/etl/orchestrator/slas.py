"""DAGs as Airflow's pass over the DAG file has them: it looks for their missed SLAs."""

import time
from datetime import datetime, timedelta
from functools import lru_cache, partial
from typing import Any, ClassVar, Iterable, Iterator, List, Optional, Set

import pendulum
import setproctitle
from airflow.timetables.base import DagRunInfo, DataInterval

from .generations import DAG, REPEATS_SLA_LOOKS

MOMENT = timedelta(seconds=1)  # 2.2.2 finds the interval that ends before a moment, later versions one that ends then
LOOKING = 10  # seconds of processor time in a pass, which all DAGs have in equal parts,
LEAST_LOOKING = 0.01  # but for these of each DAG: 8 steps back at most times, and one where croniter is slowest
MAX_LATE = 25_000  # intervals that are late, of all tasks in a pass, but for 2 of each task
MAX_DATES = 100  # of a DAG that are late: 25 for each task, and its tasks may have different SLAs
MAX_READ = 2**17  # tasks of such dates, of all DAGs in a pass, which Airflow reads: 60 us and 4 KB each,
LEAST_DATES = 4  # but for those of these dates of each DAG: 120,000 of the 30,000 tasks that a file has at most


class OnePass(List[str]):
    """Texts of which some can be gone through once; whether one is among all of them can be asked for ever."""

    def __init__(self, texts: Iterable[str] = (), once: Iterable[str] = ()) -> None:
        super().__init__(texts)
        self.once = iter(once)

    def __iter__(self) -> Iterator[str]:
        """Return those that are left to go through."""
        return self.once


class SlaDag(DAG):
    """A DAG whose missed SLAs are looked for once, among its latest intervals; only for the pass that looks for them.

    Templates such as ``{{ next_ds }}`` ask in the same way, in the process of a task.

    Airflow 2.2.2 looks at every interval since a task's last success (DagFileProcessor.manage_slas), and does so in the
    pass over the DAG file. 20,000 of them, of one DAG that catches up, took longer than the 50 s that a pass has. So it
    looks at the last 25 intervals that are late, or at fewer where there are many tasks, and computes each once for all
    tasks of a DAG: it takes 0.4 ms.

    It also does so once for each look that the scheduler had at a run since the pass before, some hundred times, and
    reads the last success of every task from all runs there have been: 20 DAGs of 3 tasks that had run every minute for
    30 days made a pass of 37 s. So a DAG has tasks only the first time, and only those with an SLA. Later versions look
    once.
    """

    dags: ClassVar[Set[str]] = set()  # with a schedule and SLAs, of this process, which is a pass
    number: int = 0  # of its tasks that have an SLA
    sla: Optional[timedelta] = None  # of the task that Airflow has just asked for
    spent: float = 0  # seconds of processor time
    task_ids: List[str] = OnePass()  # Airflow reads the successes of those that it goes through

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.now = pendulum.now("UTC")
        self.dates: Set[datetime] = set()  # of which Airflow reads all tasks
        self.after = lru_cache(maxsize=None)(partial(super().next_dagrun_info, restricted=False))
        self.latest_before = lru_cache(maxsize=None)(self.timetable.infer_manual_data_interval)
        self.start_of_looks = lru_cache(maxsize=None)(self._start_of_looks)

    def prepare_looks(self) -> None:
        """Count what has an SLA, when the DAG has all its tasks."""
        with_sla = [task.task_id for task in self.tasks if task.sla is not None]
        self.task_ids = OnePass(self.task_dict, with_sla) if REPEATS_SLA_LOOKS else list(self.task_dict)
        self.number = len(with_sla)
        if self.number and self.timetable.periodic:
            self.dags.add(self.dag_id)

    def get_task(self, task_id: str, include_subdags: bool = False) -> Any:
        """Return a task; Airflow asks for that whose missed SLAs it then looks for."""
        task = super().get_task(task_id, include_subdags)
        self.sla = task.sla
        return task

    @property
    def most(self) -> int:
        """The number of intervals that are looked at for a task, after one that Airflow does not tell of."""
        return max(2, min(25, self.most_dates - 1, MAX_LATE // max(1, len(self.dags) * self.number)))

    @property
    def most_dates(self) -> int:
        """The number of dates that all tasks of this DAG together may be late for."""
        return max(LEAST_DATES, min(MAX_DATES, MAX_READ // max(1, len(self.dags) * len(self.task_dict))))

    @property
    def share(self) -> float:
        """The seconds of processor time that looks of this DAG may take in this pass."""
        return max(LEAST_LOOKING, LOOKING / max(1, len(self.dags)))

    def next_dagrun_info(self, last: Any, *, restricted: bool = True) -> Optional[DagRunInfo]:
        """Return what comes after an interval; if Airflow looks for missed SLAs, only what is late."""
        if restricted or self.sla is None or not isinstance(last, DataInterval):
            return super().next_dagrun_info(last, restricted=restricted)
        if self.spent > self.share:
            return None
        started = time.process_time()
        info = self.after(max(last, self.start_of_looks(self.sla)))
        if info and info.data_interval.start < last.end:  # across a clock change, Airflow goes back on another way
            info = self.after(last)
        self.spent += time.process_time() - started
        if info is None or info.logical_date + self.sla >= self.now:
            return None
        if info.logical_date not in self.dates and len(self.dates) >= self.most_dates:
            return None
        self.dates.add(info.logical_date)
        return info

    def _start_of_looks(self, sla: timedelta) -> DataInterval:
        """Return the interval after which the looks for missed SLAs begin; Airflow tells of all but the first.

        On the day before an hour that the clocks leave out, 2.2.2 stays at an empty interval in that hour.
        """
        moment, end = self.now - sla, time.process_time() + self.share / 2
        for _ in range(self.most + 1):
            interval = self.latest_before(run_after=moment)
            is_one = interval.start < interval.end <= moment
            moment = interval.start + MOMENT if is_one else midnight_before(moment)
            if time.process_time() > end:
                break
        return interval


def midnight_before(moment: datetime) -> datetime:
    """Return the beginning of the day in which the second before a moment lies: the same for many moments."""
    return (moment - MOMENT).replace(hour=0, minute=0, second=0, microsecond=0)


def is_pass() -> bool:
    """Return whether this process passes over the DAG file, and so looks for missed SLAs."""
    return "DagFileProcessor" in setproctitle.getproctitle()
