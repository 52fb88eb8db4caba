"""What changes of the DAGs between two ``dags/etl`` folders, after all layers, in each environment."""

import json
from glob import escape, glob
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Set, Tuple

from orchestrator import Definition, LoadResult, Problem, display_path, read_template

from tools.checkout import load_all, load_dag, no_environment
from tools.views.effective import effective
from tools.views.selection import Selection


class FieldChange(NamedTuple):
    """A value that is another one; None where there is none."""

    field: str  # its path, with dots
    old: Any
    new: Any


class TaskChange(NamedTuple):
    """A task of a DAG that stays, which is added, removed or changed."""

    task_id: str
    kind: str
    fields: List[FieldChange]


class DagChange(NamedTuple):
    """A DAG that is added, removed, changed, broken, or repaired (it was broken before)."""

    dag_id: str
    path: str
    kind: str
    tasks_after: List[str]
    fields: List[FieldChange]
    tasks: List[TaskChange]


KINDS = {"added": "+", "removed": "-", "changed": "~", "repaired": "+", "broken": "!"}


class Comparison(NamedTuple):
    """What happens to the DAGs of each environment, and the problems of the definitions."""

    base: str
    environments: Dict[str, List[DagChange]]
    problems: List[Problem]


def compare(base: str, before: Path, after: Path, selection: Optional[Selection] = None) -> Comparison:
    """Compare two ``dags/etl`` folders.

    Args:
        base: What the first one is called for a person.
        before: The first one; the definitions that do not change are deleted from it.
        after: The second one.
        selection: The DAGs to compare; None for all.

    Raises:
        UnknownSelection: It selects nothing in either folder.
    """
    same_files = thin_out(before, after)
    old, missing = load_all(before), no_environment(after)
    # Without any environment, nothing says that DAGs are to be removed: none can be read.
    new = {name: LoadResult([], missing) for name in old} if missing else load_all(after)
    problems = sorted({*missing, *(problem for found in new.values() for problem in found.problems)})
    for name, found in new.items():
        others = [definition for definition in found.definitions if definition.path not in same_files]
        new[name] = found._replace(definitions=others)
    nothing = LoadResult([], [])
    environments = {
        name: list(dag_changes(name, (before, old.get(name, nothing)), (after, new.get(name, nothing))))
        for name in sorted({*old, *new})
    }
    comparison = Comparison(base, environments, problems)
    return select_changes(comparison, selection, after) if selection else comparison


def select_changes(comparison: Comparison, selection: Selection, after: Path) -> Comparison:
    """Return what changes of the selected DAGs; raise UnknownSelection if it selects nothing in either folder."""
    environments = {
        name: [change for change in changes if selection.includes(change.dag_id, change.path)]
        for name, changes in comparison.environments.items()
    }
    problems = [problem for problem in comparison.problems if selection.concerns(problem.location.path)]
    if not problems and not any(environments.values()):
        selection.check_known(after)
    return comparison._replace(environments=environments, problems=problems)


def thin_out(before: Path, after: Path) -> Set[str]:
    """Delete the definitions that are byte for byte the same, and return their paths; none if an environment changed.

    Reading takes most of the time, 1.2 ms a DAG, and of a large repository a branch changes little.
    """
    if contents(before, "configs/*.yaml") != contents(after, "configs/*.yaml"):
        return set()
    now = contents(after, "pipelines/*/*.yaml")
    same = {name for name, text in contents(before, "pipelines/*/*.yaml").items() if now.get(name) == text}
    for name in same:
        (before / name).unlink()
    return {display_path(after, after / name) for name in same}


def contents(etl: Path, pattern: str) -> Dict[str, Optional[bytes]]:
    """Return the content of the regular files that a pattern finds, by path; None of one that cannot be read."""
    # pathlib's glob raises where a folder vanishes meanwhile.
    found = map(Path, glob(f"{escape(str(etl))}/{pattern}"))
    files = [file for file in found if file.is_file() and not file.is_symlink()]
    return {file.relative_to(etl).as_posix(): content(file) for file in files}


def content(file: Path) -> Optional[bytes]:
    """Read a file; None if it cannot be read, which the factory reports."""
    try:
        return file.read_bytes()
    except OSError:
        return None


def dag_changes(
    environment: str, before: Tuple[Path, LoadResult], after: Tuple[Path, LoadResult]
) -> Iterator[DagChange]:
    """Yield the DAGs of an environment that are not what they were, by their ids."""
    old = {definition.dag_id: definition for definition in before[1].definitions}
    new = {definition.dag_id: definition for definition in after[1].definitions}
    for dag_id in sorted({*old, *new}):
        if dag_id not in new:
            kind = "broken" if is_broken(after, environment, dag_id) else "removed"
            yield DagChange(dag_id, old[dag_id].path, kind, [], [], [])
        elif dag_id not in old:
            kind = "repaired" if is_broken(before, environment, dag_id) else "added"
            yield DagChange(dag_id, new[dag_id].path, kind, list(new[dag_id].plan.tasks), [], [])
        else:
            fields, tasks = difference(comparable(old[dag_id]), comparable(new[dag_id]))
            if fields or tasks:
                yield DagChange(dag_id, new[dag_id].path, "changed", list(new[dag_id].plan.tasks), fields, tasks)


def is_broken(side: Tuple[Path, LoadResult], environment: str, dag_id: str) -> bool:
    """Return whether a DAG that is not there is only kept out by problems."""
    etl, found = side
    return bool(found.problems and load_dag(etl, environment, dag_id).problems)


def difference(old: Dict[str, Any], new: Dict[str, Any]) -> Tuple[List[FieldChange], List[TaskChange]]:
    """Return the settings and the tasks that differ between two DAGs."""
    if same(old, new):
        return [], []
    old_tasks, new_tasks = old.pop("tasks"), new.pop("tasks")
    tasks = []
    for task_id in [*new_tasks, *(task_id for task_id in old_tasks if task_id not in new_tasks)]:
        kind = "added" if task_id not in old_tasks else "removed" if task_id not in new_tasks else "changed"
        fields = list(field_changes(old_tasks.get(task_id, {}), new_tasks.get(task_id, {})))
        if fields:
            tasks.append(TaskChange(task_id, kind, [] if kind == "removed" else fields))
    return list(field_changes(old, new)), tasks


def field_changes(old: Mapping[str, Any], new: Mapping[str, Any], above: str = "") -> Iterator[FieldChange]:
    """Yield the values that differ between two mappings; lists are values, as the layers replace them whole."""
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) or isinstance(after, dict):
            below = [value if isinstance(value, dict) else {} for value in (before, after)]
            others = [None if isinstance(value, dict) else value for value in (before, after)]
            if others[0] != others[1]:  # one of them is no mapping
                yield FieldChange(above + key, *others)
            yield from field_changes(below[0], below[1], f"{above}{key}.")
        elif not same(before, after):
            yield FieldChange(above + key, before, after)


def same(one: Any, other: Any) -> bool:
    """Return whether two values are equal and of one type: to Python, 1 is True."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def comparable(definition: Definition) -> Dict[str, Any]:
    """Return what makes the DAG what it is, without the variables that no template of it names."""
    data = effective(definition)
    templated = [data[key] for key in ("tasks", "clusters", "wait_for") if key in data]
    members = {member for text in texts(templated) for member in read_template(text).members}
    data["variables"] = {
        root: {name: value for name, value in values.items() if (root, name) in members}
        for root, values in data["variables"].items()
    }
    return data


def texts(value: Any) -> Iterator[str]:
    """Yield the templates in plain data; a key may be one, too."""
    if isinstance(value, str) and "{" in value:
        yield value
    elif isinstance(value, (dict, list)):
        for item in (*value, *value.values()) if isinstance(value, dict) else value:
            yield from texts(item)
