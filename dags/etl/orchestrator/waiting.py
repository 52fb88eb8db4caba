"""What DAGs wait for: whether it can be awaited, and which DAG of which definition is meant."""

from datetime import timedelta
from itertools import chain, islice
from typing import Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from .definitions import Awaited, Definition, Layers, LoadResult, format_dag_id, sensor_ids
from .graphs import find_cycles, sort_tasks
from .models import Settings, WaitFor
from .problems import MAX_PROBLEMS, KeyPath, Problem, name_providers
from .rules import text_problems
from .templates import read_template
from .values import TaskId

# -------------------------------------------------------------------------------------------- what one file says

# Looks of a task. Airflow 2.2.2 reads all before it at each, for the first one's time: 20,000 take 0.5 s and 50 MB of a
# worker, and 500,000, which a poke_interval of 1 s makes in a month, 14 s and 1.3 GB.
MAX_TASK_LOOKS = 20_000
LOOK = timedelta(seconds=3)  # takes one, with the worker's start
MAX_WAITS = 10  # each has a sensor, and every task that comes first waits for all of them


def check_waits(settings: Settings, layers: Layers) -> Iterator[Problem]:
    """Check what a DAG says it waits for, whether or not there is such a DAG."""
    ids = sensor_ids(settings)
    seen: Dict[str, WaitFor] = {}
    if isinstance(settings.wait_for, list) and not 1 <= len(ids) <= MAX_WAITS:
        message, hint = f"wait_for has {len(ids)} entries", f"it has 1 to {MAX_WAITS}; null: nothing is awaited"
        yield layers.problem(("wait_for",), message, hint)
    for (path, wait), sensor_id in list(zip(settings.waits, ids))[:MAX_WAITS]:
        given = [key for key in ("s3", "pipeline", "provider", "task") if getattr(wait, key) is not None]
        if given[:1] not in (["s3"], ["pipeline"]):
            hint = "write 's3: s3://bucket/key' for a delivery, or 'pipeline: family/name' for another DAG"
            yield layers.problem(path, "missing key 's3' or 'pipeline'", hint, names=("s3", "pipeline"))
        elif given[0] == "s3" and len(given) > 1:
            message = f"'s3' and '{given[1]}' exclude each other"
            hint = "wait for several things by a list: 'wait_for: [{s3: ...}, {pipeline: ...}]'"
            yield layers.problem((*path, given[1]), message, hint, at_key=True)
        elif sensor_id in seen and wait.pipeline == seen[sensor_id].pipeline:
            yield layers.problem(path, "the same DAG is awaited twice", "leave one out", names=(sensor_id,))
        elif sensor_id in seen:
            message, hint = f"two tasks that wait are called '{sensor_id}'", "name the 'provider' of one of them"
            yield layers.problem(path, message, hint, names=(sensor_id,))
        elif not TaskId.pattern.fullmatch(sensor_id):
            message = f"the id of the task that waits, '{sensor_id[:60]}...', is longer than Airflow takes"
            yield layers.problem(path, message, "shorten the names")
        seen[sensor_id] = wait
        looks = wait.longest // (wait.pause + LOOK)
        if looks > MAX_TASK_LOOKS:
            message = f"it looks {looks} times until its timeout; a task has at most {MAX_TASK_LOOKS} looks"
            hint = "write a shorter timeout, or a longer poke_interval"
            yield layers.problem((*path, "timeout"), message, hint)
        yield from text_problems(wait.s3 or "", layers, (*path, "s3"))
        for other in sorted(read_template(wait.s3 or "").pulled)[:1]:
            message = f"there is no XCom of '{other[:60]}' yet: a DAG waits before all its tasks"
            hint = "name the delivery by the run's dates, a param or the provider"
            yield layers.problem((*path, "s3"), message, hint, "template", other)


def check_sensors(definition: Definition) -> Iterator[Problem]:
    """Check that no task or group has the id of a task that waits."""
    ids, tasks = set(sensor_ids(definition.settings)), definition.plan.tasks
    named = {planned.name: planned for planned in tasks.values()}
    named.update((task_id, tasks[task_id]) for task_id in sorted(ids & tasks.keys()))  # of items, too
    for name, planned in named.items():
        group = planned.task.group
        if name in ids:
            message = f"a task cannot be called '{name}' beside wait_for"
            yield planned.layers.problem((), message, "rename it", at_key=True, names=(name, "wait_for"))
        elif group in ids:
            message, names = f"a group cannot be called '{group}' beside wait_for", (str(group), "wait_for")
            yield planned.layers.problem(("group",), message, "call the group otherwise", names=names)


# ------------------------------------------------------------------------------------------- what other files say

MAX_CYCLES = 20  # that are reported
PASSES = 3  # over all DAGs that wait: one misses a circle where a DAG waits for another circle first


class OtherDags:
    """Finds the DAGs that DAGs wait for. A mistake disables no DAG: somebody else may have made it.

    Args:
        lookup: Returns what the file of a pipeline, as ``family/name``, holds for a provider; None if there is no file.
        names: Returns all pipelines that have a file.
    """

    def __init__(self, lookup: Callable[[str, str], Optional[LoadResult]], names: Callable[[], Iterable[str]]) -> None:
        self.found: Dict[str, Definition] = {}  # all that are awaited, by their ids
        self._lookup, self._list_names = lookup, names
        self._names: List[str] = []
        self._results: Dict[int, Tuple[LoadResult, Dict[str, Definition]]] = {}  # with the definitions by provider

    def resolve(self, definitions: Iterable[Definition]) -> LoadResult:
        """Return definitions that know what they wait for, and the problems of what cannot be awaited."""
        resolved: List[Definition] = []
        problems: List[Problem] = []
        for definition in definitions:
            if definition.settings.wait_for is None:
                resolved.append(definition)
                continue
            awaited: Dict[str, Awaited] = {}
            for sensor_id, path, wait in waits_for_dags(definition):
                awaited[sensor_id], hint, key = self.find(definition, wait)
                if awaited[sensor_id].mistake and len(problems) < MAX_PROBLEMS:
                    place: KeyPath = (*path, key)
                    message, names = awaited[sensor_id].mistake, (sensor_id,)
                    problem = definition.layers.problem(place, message, hint, "dependencies", names=names)
                    problems.append(problem._replace(provider=definition.provider))
            resolved.append(definition._replace(awaited=awaited) if awaited else definition)
        return LoadResult(resolved, list(name_providers(problems)))

    def find(self, definition: Definition, wait: WaitFor) -> Tuple[Awaited, str, str]:
        """Return the DAG that a definition waits for; of a mistake also what to write instead, and at which key."""
        pipeline, provider = str(wait.pipeline), wait.provider or definition.provider
        dag_id = awaited_dag_id(definition, wait)
        if dag_id == definition.dag_id:
            hint = "a task waits for the run before by 'depends_on_past: true'"
            return Awaited(dag_id, mistake="the DAG waits for itself"), hint, "pipeline"
        result = self._lookup(pipeline, provider)
        if result is None:
            self._names = self._names or list(self._list_names())  # once, however many mistakes there are
            hint = definition.layers.did_you_mean(pipeline, self._names)
            return Awaited(dag_id, mistake=f"unknown pipeline '{pipeline}'"), hint, "pipeline"
        if id(result) not in self._results:
            self._results[id(result)] = result, {each.provider: each for each in result.definitions}
        providers = self._results[id(result)][1]
        other = providers.get(provider)
        if other is None:
            if result.problems:  # which tell why
                return Awaited(dag_id, is_known=False), "", ""
            hint = definition.layers.did_you_mean(provider, providers) or "see its 'environments'"
            mistake = f"'{pipeline}' has no DAG here for provider '{provider}'"
            return Awaited(dag_id, mistake=mistake), hint, "provider" if wait.provider else "pipeline"
        self.found[dag_id] = other
        tasks = other.plan.tasks
        task_ids = tuple(task_id for task_id, planned in tasks.items() if wait.task in (None, planned.name))
        if not task_ids:
            hint = definition.layers.did_you_mean(wait.task, {planned.name for planned in tasks.values()})
            return Awaited(dag_id, mistake=f"'{pipeline}' has no task '{wait.task}'"), hint, "task"
        if definition.settings.schedule and not other.settings.schedule:
            hint = "give it one, or take the schedule from here: what is triggered by hand waits for its newest run"
            mistake = f"'{pipeline}' has no schedule, so that none of its runs belongs to one of this DAG's"
            return Awaited(dag_id, mistake=mistake), hint, "pipeline"
        is_whole, task_ids = wait.task is None, task_ids[:1] if wait.task is None else task_ids
        return Awaited(dag_id, is_whole, task_ids, other.settings.schedule, *other.settings.period), "", ""


def waits_for_dags(definition: Definition) -> Iterator[Tuple[str, KeyPath, WaitFor]]:
    """Yield each wait for another DAG, with the id of the task that waits and the place."""
    for (path, wait), sensor_id in zip(definition.settings.waits, sensor_ids(definition.settings)):
        if wait.pipeline is not None:
            yield sensor_id, path, wait


def awaited_dag_id(definition: Definition, wait: WaitFor) -> str:
    """Return the id of the DAG that a definition waits for."""
    family, _, name = str(wait.pipeline).partition("/")
    return format_dag_id(family, name, wait.provider or definition.provider, definition.context.folder)


def wait_for_unknown(definition: Definition) -> Definition:
    """Return a definition of which nobody knows whether the DAGs that it waits for are there."""
    waits = waits_for_dags(definition)
    awaited = {sensor_id: Awaited(awaited_dag_id(definition, wait), is_known=False) for sensor_id, _, wait in waits}
    return definition._replace(awaited=awaited)


def check_circles(definitions: Mapping[str, Definition], dag_ids: Iterable[str]) -> List[Problem]:
    """Return a problem for each DAG of those that wait for one another: each would wait until its time is over.

    Args:
        definitions: All, by the ids of their DAGs.
        dag_ids: The DAGs whose problems are asked for.
    """
    before = {
        dag_id: [each.dag_id for each in definition.awaited.values() if each.dag_id in definitions]
        for dag_id, definition in definitions.items()
    }
    asked, cycles = set(dag_ids), []
    for _ in range(PASSES):
        left = sort_tasks(before)[1]
        found = find_cycles(before, left)
        cycles += [cycle for cycle in found if not asked.isdisjoint(cycle)]
        kept = left.keys() - chain.from_iterable(found)
        before = {dag_id: [each for each in before[dag_id] if each in kept] for dag_id in kept}
    problems = chain.from_iterable(circle([definitions[each] for each in cycle]) for cycle in cycles[:MAX_CYCLES])
    of_asked = (problem for dag_id, problem in problems if dag_id in asked)
    return list(name_providers(islice(of_asked, MAX_PROBLEMS)))


def circle(cycle: Sequence[Definition]) -> Iterator[Tuple[str, Problem]]:
    """Yield the problem of each DAG of a circle, with its id."""
    is_one_provider = len({each.provider for each in cycle}) == 1
    names = [f"{each.family}/{each.pipeline}" if is_one_provider else each.dag_id for each in cycle]
    number = len(cycle)
    for start, definition in enumerate(cycle):
        later = cycle[(start + 1) % number]
        steps = range(number + 1) if number < 19 else (*range(9), *range(number - 8, number + 1))
        shown = [names[(start + step) % number] for step in steps]
        excerpt = shown if number < 19 else [*shown[:9], "...", *shown[9:]]
        waits = waits_for_dags(definition)
        sensor_id, path = next(
            (name, path) for name, path, wait in waits if awaited_dag_id(definition, wait) == later.dag_id
        )
        message, hint = f"a circle of DAGs: {' -> '.join(excerpt)}", "each waits for the one after its arrow"
        problem = definition.layers.problem((*path, "pipeline"), message, hint, "dependencies", names=(sensor_id,))
        yield definition.dag_id, problem._replace(provider=definition.provider)
