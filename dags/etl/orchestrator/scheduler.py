"""What the DAGs of a pipeline take of the scheduler, which all DAGs share."""

from collections import Counter
from functools import lru_cache
from typing import Dict, List, Mapping, Sequence

from croniter import croniter

from .definitions import PlannedTask
from .documents import Document
from .graphs import sort_tasks
from .models import SETTING_DEFAULTS, Settings
from .problems import Rejected

# The scheduler creates 10 runs in each of its loops, which take 1 to 2 s, and first those that lie back furthest
# (DagModel.dags_needing_dagruns): DAGs that need more keep all others from getting any.
DAY = 24 * 60 * 60  # seconds
MAX_RUNS_A_DAY = 2 * DAY
MAX_CATCHING_UP = 1000  # runs at once for days past, where a DAG has several: created in a few minutes
MAX_AWAITED = 10_000  # other DAGs, as often as one is awaited: to find it takes 7 us, at every parse


def check_runs(document: Document, settings: Sequence[Settings]) -> None:
    """Check that the scheduler can create the runs of all DAGs of a pipeline, and parse what they wait for.

    Args:
        document: The pipeline's.
        settings: Those of its DAGs; providers share them.

    Raises:
        Rejected: It cannot.
    """
    shared = {id(each): each for each in settings}
    a_day, catching_up, awaited = 0.0, 0, 0
    for key, number in Counter(map(id, settings)).items():
        each = shared[key]
        awaited += number * sum(wait.pipeline is not None for _, wait in each.waits)
        if each.schedule is not None:
            a_day += number * runs_a_day(each)
            catching_up += number * active_runs(each) if each.catchup and active_runs(each) > 1 else 0
    if awaited > MAX_AWAITED:
        message = f"the DAGs wait for other DAGs {awaited} times; those of a file at most {MAX_AWAITED} times"
        raise Rejected(document.problem(("providers",), message, "wait for fewer, or make more files", at_key=True))
    if a_day > MAX_RUNS_A_DAY:
        message = f"the DAGs could need {a_day:.0f} runs a day; those of a file have at most {MAX_RUNS_A_DAY}"
        hint = "let them run less often; with catchup, give dagrun_timeout more time"
        raise Rejected(document.problem(("providers",), message, hint, "schedule", at_key=True))
    if catching_up > MAX_CATCHING_UP:
        message = f"the DAGs could catch up with {catching_up} runs at once; those of a file with {MAX_CATCHING_UP}"
        hint = "write a smaller max_active_runs"
        raise Rejected(document.problem(("providers",), message, hint, "schedule", at_key=True))


def runs_a_day(settings: Settings) -> float:
    """Return how many runs a DAG with a schedule needs on a day, at most.

    One that catches up needs the next run as soon as one ends, which is after ``dagrun_timeout`` at the latest.
    """
    ends = DAY / settings.dagrun_timeout.total_seconds() if settings.catchup and settings.dagrun_timeout else 0
    return max(times_a_day(str(settings.schedule)), active_runs(settings) * ends)


@lru_cache(maxsize=1024)  # a thousand providers share a few schedules
def times_a_day(schedule: str) -> int:
    """Return how many times a schedule names on a day, at most."""
    if schedule.startswith("@"):
        return 24 if schedule == "@hourly" else 1
    (minutes, hours, *_), _ = croniter.expand(schedule)
    return (60 if minutes == ["*"] else len(minutes)) * (24 if hours == ["*"] else len(hours))


def active_runs(settings: Settings) -> int:
    """Return how many runs a DAG may have at once."""
    return int(settings.max_active_runs or SETTING_DEFAULTS["max_active_runs"])


# The priority of tasks that may be ready and not run, as their DAG has max_active_tasks: 2.2.2's scheduler looks at as
# many tasks as there are slots, those of the highest priority first, and takes out these only then. So they would keep
# the tasks of all other DAGs from being looked at. One for all of them, so that none is before others for ever.
LAST = -10_001


def ready_at_once(tasks: Mapping[str, PlannedTask]) -> int:
    """Return how many tasks of a run are ready at once, at most: of the longest row of tasks it is only one.

    Args:
        tasks: Those of a DAG, by their names; one with for_each is as many as it has items.
    """
    before: Dict[str, List[str]] = {}
    for name, each in tasks.items():
        waits = (each.task.trigger_rule or "all_success").startswith(("all_", "none_"))  # for the end of all of them
        before[name] = [other for other in each.task.depends_on or () if other in tasks] if waits else []
    row: Dict[str, int] = {}
    for name in sort_tasks(before)[0]:
        row[name] = 1 + max((row[other] for other in before[name]), default=0)
    number = sum(1 if each.task.for_each is None else len(each.task.for_each) for each in tasks.values())
    return number - max(row.values(), default=0) + 1
