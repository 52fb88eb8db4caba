"""What the DAGs of a pipeline take of the scheduler, which all DAGs share."""

from collections import Counter, defaultdict
from functools import lru_cache, reduce
from operator import or_
from typing import Dict, Iterable, Iterator, List, Mapping, Sequence, Tuple

from croniter import croniter

from .definitions import Definition, PlannedTask
from .documents import Document
from .graphs import sort_tasks
from .models import SETTING_DEFAULTS, Settings
from .problems import KeyPath, Problem, Rejected

# The scheduler creates 10 runs in each of its loops, which take 1 to 2 s, and first those that lie back furthest
# (DagModel.dags_needing_dagruns): DAGs that need more keep all others from getting any. So do runs of many tasks: it
# makes a row of each, in 2 ms, and 60 DAGs of 500 tasks that ran twice a minute let no other DAG have a run.
DAY = 24 * 60 * 60  # seconds
MAX_RUNS_A_DAY = 2 * DAY
MAX_TASKS_A_DAY = 100 * DAY
# When a run for a day past ends after another one, 2.2.2 sets the DAG's next date back to the one after it, and goes
# through the runs that are there already, one in a loop, each in the place of a new one. So a DAG with many runs takes
# a place of every loop: 60 DAGs with 5 runs of 10 s, or 20 with 5 of 3 s, let 20 others have no run in 150 s. However
# many runs 8 DAGs have, they leave 2 of the 10 places. With 2 runs hardly one is gone through, but each that ends needs
# a place: 50 DAGs with 2 runs of 3 s took nearly all. With one run, the next has to wait for the next pass.
MAX_DAGS_CATCHING_UP = 8  # with more than 2 runs
MAX_CATCHING_UP = 50  # runs at once of all DAGs with more than one
# 2.2.2 computes the next run of each in every pass, in up to 5 ms, and looks for its missed SLAs in 15 ms: a pass after
# a deploy of 4,000 DAGs, of which 1,000 were late, took 43 to 50 s, which is all that it has.
MAX_SCHEDULED = 2000
MAX_LOOKS = 500  # a minute, of sensors: each takes a worker's slot for some 3 s, and comes before the tasks behind it
MAX_AWAITED = 10_000  # other DAGs, as often as one is awaited: to find it takes 7 us, at every parse

# The scheduler computes a task's weight by a recursion over all tasks after it (BaseOperator.get_flat_relative_ids), as
# do web pages that clear tasks. A chain of 1,000 tasks ends the scheduler for all DAGs with RecursionError. The sensor
# of wait_for is one more.
MAX_CHAIN = 300
# It does so for every task: 500 tasks with 25,000 dependencies take 0.24 s whenever the scheduler reads the DAG again,
# and the time grows with the square.
MAX_DAG_TASKS = 500
MAX_DAG_DEPENDENCIES = 25_000  # 5 tasks of 100 items each, which all wait for those before them, have 100,000
# Tasks of a DAG with depends_on_past: for each, 2.2.2 asks the database once or twice at each look at a run, and has 20
# looks in a loop. 60 DAGs of 500 such tasks made a loop of 60 s; without, it took 3 s.
MAX_PAST = 50
# The page "Tree" draws all tasks once for each that waits for none. 250 of these before 250 others were 57 MB, and took
# the web server 16 s, and the page asks every 3 s while a run is active; 100 before 100 took 3 s.
MAX_DRAWN = 12_000


def numbers_of(tasks: Mapping[str, PlannedTask]) -> Dict[str, int]:
    """Return how many tasks of a DAG each name stands for: one, or as many as it has items."""
    return {name: 1 if each.task.for_each is None else len(each.task.for_each) for name, each in tasks.items()}


def check_size(
    tasks: Mapping[str, PlannedTask], order: Sequence[str], before: Mapping[str, List[str]]
) -> Iterator[Problem]:
    """Check that the scheduler bears the tasks: how many, with what, and how many wait for one another in a row.

    Args:
        tasks: Those of a DAG.
        order: Their ids, each after those that it waits for.
        before: The tasks that each task waits for.
    """
    items = numbers_of(tasks)
    dependencies = sum(items[name] * sum(items[other] for other in others) for name, others in before.items())
    if dependencies > MAX_DAG_DEPENDENCIES:
        widest = tasks[max(before, key=lambda name: items[name] * sum(items[other] for other in before[name]))]
        message = f"{dependencies} dependencies between tasks and items; a DAG has at most {MAX_DAG_DEPENDENCIES}"
        hint = "let a task without for_each stand between: it waits for all items, and all others for it"
        yield widest.layers.problem(("depends_on",), message, hint, "dependencies")
    every = list(tasks)
    past = [name for name in every if tasks[name].task.depends_on_past]
    at_first = "write it at the first tasks only: the others wait for these"
    bounds: Iterable[Tuple[List[str], KeyPath, int, str, str]] = (
        (every, (), MAX_DAG_TASKS, "tasks", "split it into several pipelines"),
        (past, ("depends_on_past",), MAX_PAST, "tasks with depends_on_past", at_first),
    )
    for names, path, most, what, hint in bounds:
        number = sum(items[name] for name in names)
        if number > most:
            message = f"{number} {what}; a DAG has at most {most}"
            yield tasks[names[: most + 1][-1]].layers.problem(path, message, hint, "dependencies")
    roots = sum(items[name] for name in order if not before[name])
    is_wide = dependencies <= MAX_DAG_DEPENDENCIES and roots * sum(items.values()) > MAX_DRAWN
    if is_wide and drawn_in_tree(items, order, before) > MAX_DRAWN:
        first = next(name for name in order if not before[name])
        message = f"too many tasks come after {roots} that wait for none: Airflow's page draws them once for each"
        hint = "let one task come before all others, or split the pipeline"
        yield tasks[first].layers.problem((), message, hint, "dependencies")
    length: Dict[str, int] = {}
    for task_id in order:
        length[task_id] = 1 + max((length[earlier] for earlier in before[task_id]), default=0)
        if length[task_id] > MAX_CHAIN:
            message = f"more than {MAX_CHAIN} tasks in a row wait for one another"
            hint = "let some run side by side, or split the pipeline"
            yield tasks[task_id].layers.problem(("depends_on",), message, hint, "dependencies")
            return


def drawn_in_tree(items: Mapping[str, int], order: Sequence[str], before: Mapping[str, List[str]]) -> int:
    """Return how many tasks Airflow's page "Tree" draws: for each that waits for none, those that come after it, too.

    Args:
        items: How many tasks of a DAG each name stands for.
        order: The names, each after those that it waits for.
        before: The names that each one waits for.
    """
    roots: Dict[str, int] = {}  # those that come before a task, as bits
    counts: List[int] = []
    for name in order:
        if not before[name]:
            roots[name] = 1 << len(counts)
            counts.append(items[name])
        else:
            roots[name] = reduce(or_, (roots[other] for other in before[name]))
    drawn = sum(counts)
    for name in order:
        if before[name]:
            drawn += items[name] * sum(count for bit, count in enumerate(counts) if roots[name] >> bit & 1)
    return drawn


def check_runs(document: Document, definitions: Sequence[Definition]) -> None:
    """Check that the scheduler can create the runs of all DAGs of a pipeline, and parse what they wait for.

    Args:
        document: The pipeline's.
        definitions: The DAGs; providers share settings.

    Raises:
        Rejected: It cannot.
    """
    shared = {id(each.settings): each.settings for each in definitions}
    counts: Dict[str, float] = defaultdict(int)
    tasks: Dict[int, int] = defaultdict(int)
    for each in definitions:
        tasks[id(each.settings)] += len(each.plan.tasks)
    for key, number in Counter(id(each.settings) for each in definitions).items():
        settings = shared[key]
        tasks[key] += number * len(settings.waits)
        counts["awaited"] += number * sum(wait.pipeline is not None for _, wait in settings.waits)
        if settings.schedule is not None:
            a_day, at_once = runs_a_day(settings), active_runs(settings)
            looks = sum(60 / wait.pause.total_seconds() for _, wait in settings.waits)
            counts["looks"] += number * looks * at_once  # what is late is awaited by run after run
            counts["scheduled"] += number
            counts["runs"] += number * a_day
            counts["tasks"] += tasks[key] * a_day
            if settings.catchup and at_once > 1:
                counts["runs at once"] += number * at_once
                counts["catching up"] += number * (at_once > 2)
    rarely = "let them run less often; with catchup, give dagrun_timeout more time"
    few = "write a smaller max_active_runs: DAGs with 1 do not count"
    for name, most, what, rule, hint in (
        ("awaited", MAX_AWAITED, "wait for other DAGs {} times", "schema", "wait for fewer, or make more files"),
        ("scheduled", MAX_SCHEDULED, "with a schedule are {}", "schedule", "make more files"),
        ("runs", MAX_RUNS_A_DAY, "could need {} runs a day", "schedule", rarely),
        ("tasks", MAX_TASKS_A_DAY, "could need {} tasks a day", "schedule", rarely),
        (
            "looks",
            MAX_LOOKS,
            "could look {} times a minute at what they wait for",
            "schema",
            "write a longer poke_interval",
        ),
        ("runs at once", MAX_CATCHING_UP, "could catch up with {} runs at once", "schedule", few),
        (
            "catching up",
            MAX_DAGS_CATCHING_UP,
            "with catchup and max_active_runs of 3 or more are {}",
            "schedule",
            "let the others have max_active_runs: 2",
        ),
    ):
        if counts[name] > most:
            message = f"the DAGs {what.format(round(counts[name]))}; those of a file at most {most}"
            raise Rejected(document.problem(("providers",), message, hint, rule, at_key=True))


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


# The priority of tasks that may be ready and not run, as their DAG has max_active_tasks, or their pool so many slots:
# 2.2.2's scheduler looks at as many tasks as there are slots, those of the highest priority first, and takes out these
# only then. So they would keep the tasks of all other DAGs from being looked at. One for all of a DAG's, so that none
# is before others for ever; priority_weight, which is at most 10,000, counts among those of pools.
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
    return sum(numbers_of(tasks).values()) - max(row.values(), default=0) + 1
