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
LOOKING = 5  # seconds of processor time in a pass,
LEAST_LOOKING = 0.005  # but for these of each SLA of a DAG that has 2 to 4, and twice these of others: 4 steps of 1 ms
MAX_LATE = 10_000  # intervals that are late, of all tasks in a pass, 0.3 ms each, but for 1 of each task
MAX_DATES = 100  # of a DAG that are late: 25 for each task, and its tasks may have different SLAs
MAX_READ = 2**17  # tasks of such dates, of all DAGs in a pass, which Airflow reads: 60 us and 4 KB each,
LEAST_DATES = 4  # but for those of these dates of each DAG: 120,000 of the 30,000 tasks that a file has at most


class Budget:
    """What a pass may take of something: each DAG an equal part, or a fiftieth of what is left if that is more.

    Of a thousand DAGs, few are late, and need more than a thousandth. All together take twice as much at most, and what
    is the least for each.
    """

    def __init__(self, total: float) -> None:
        self.total = self.left = total

    def part(self, dags: int) -> float:
        """Return what one of a number of DAGs may take."""
        return max(self.total / max(1, dags), self.left / 50)


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
    looking: ClassVar[Budget] = Budget(LOOKING)
    late: ClassVar[Budget] = Budget(MAX_LATE)
    read: ClassVar[Budget] = Budget(MAX_READ)
    number: int = 0  # of its tasks that have an SLA
    slas: int = 0  # different ones
    sla: Optional[timedelta] = None  # of the task that Airflow has just asked for
    is_told: bool = False  # what comes next: Airflow does not tell of the first interval of a task
    share: float = 0  # seconds of processor time that its looks may take; 0 before the first
    spent: float = 0  # of these
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
        slas = {task.task_id: task.sla for task in self.tasks if task.sla is not None}
        self.task_ids = OnePass(self.task_dict, slas) if REPEATS_SLA_LOOKS else list(self.task_dict)
        self.number, self.slas = len(slas), len({*slas.values()})
        if self.number and self.timetable.periodic:
            self.dags.add(self.dag_id)

    def get_task(self, task_id: str, include_subdags: bool = False) -> Any:
        """Return a task; Airflow asks for that whose missed SLAs it then looks for."""
        task = super().get_task(task_id, include_subdags)
        self.sla, self.is_told = task.sla, False
        return task

    def begin_looks(self) -> None:
        """Take this DAG's part of what a pass has, when Airflow first looks for its missed SLAs.

        Each SLA has the same number of intervals, the last ones.
        """
        dags = len(self.dags)
        self.share = max(LEAST_LOOKING * (self.slas if 2 <= self.slas <= 4 else 2), self.looking.part(dags))
        self.most_dates = max(LEAST_DATES, min(MAX_DATES, int(self.read.part(dags) / len(self.task_dict))))
        self.most = max(1, min(25, self.most_dates // self.slas, int(self.late.part(dags) / self.number)))

    def next_dagrun_info(self, last: Any, *, restricted: bool = True) -> Optional[DagRunInfo]:
        """Return what comes after an interval; if Airflow looks for missed SLAs, only what is late."""
        if restricted or self.sla is None or not isinstance(last, DataInterval):
            return super().next_dagrun_info(last, restricted=restricted)
        if not self.share:
            self.begin_looks()
        if self.spent > self.share:
            return None
        started = time.process_time()
        info = self.after(max(last, self.start_of_looks(self.sla)))
        if info and info.data_interval.start < last.end:  # across a clock change, Airflow goes back on another way
            info = self.after(last)
        taken = time.process_time() - started
        self.spent += taken
        self.looking.left -= taken
        if info is None or info.logical_date + self.sla >= self.now:
            return None
        if not self.is_told:
            self.is_told = True
            return info
        if info.logical_date not in self.dates:
            if len(self.dates) >= self.most_dates:
                return None
            self.dates.add(info.logical_date)
            self.read.left -= len(self.task_dict)
        self.late.left -= 1
        return info

    def _start_of_looks(self, sla: timedelta) -> DataInterval:
        """Return the interval after which the looks for missed SLAs begin; Airflow tells of all but the first.

        The way back has a third of the time: the way forward has as many steps and must reach the last intervals. On
        the day before an hour that the clocks leave out, 2.2.2 stays at an empty interval in that hour.
        """
        moment, end = self.now - sla, time.process_time() + self.share / 3 / self.slas
        for step in range(self.most + 1):
            interval = self.latest_before(run_after=moment)
            is_one = interval.start < interval.end <= moment
            moment = interval.start + MOMENT if is_one else midnight_before(moment)
            if step and time.process_time() > end:
                break
        return interval


def midnight_before(moment: datetime) -> datetime:
    """Return the beginning of the day in which the second before a moment lies: the same for many moments."""
    return (moment - MOMENT).replace(hour=0, minute=0, second=0, microsecond=0)


def is_pass() -> bool:
    """Return whether this process passes over the DAG file, and so looks for missed SLAs."""
    return "DagFileProcessor" in setproctitle.getproctitle()
