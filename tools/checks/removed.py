"""The rule `removed`: no task goes away from a DAG that stays.

Airflow's web page shows the history of a DAG by the tasks that it has now, so that of a removed one is out of sight.
"""

from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Set

from orchestrator import Document, Problem, Rejected, display_path, internal_error, listed, read_document

from tools.checkout import etl_of_commit


def check_removed(etl: Path, files: Iterable[Path], revision: str) -> List[Problem]:
    """Return a problem for each task that a DAG of these files had in a commit and has no more.

    A pipeline's ``retired_tasks`` are meant to be gone. Raises RevisionError where there is no such commit.
    """
    problems: List[Problem] = []
    with etl_of_commit(revision, etl.parent.parent) as old:
        for file in files:
            try:
                before, now = read(old, old / file.relative_to(etl)), read(etl, file)
                if before and now and before[0].text != now[0].text:
                    problems += removed_tasks(before[0].data, now[0])
            except Exception as error:
                problems.append(internal_error(display_path(etl, file), error, is_quoted=False))
    return problems


def read(etl: Path, file: Path) -> List[Document]:
    """Return the document of a file, or none; its problems are reported elsewhere."""
    try:
        return [read_document(etl, file)]
    except Rejected:
        return []


def removed_tasks(before: Mapping[str, Any], document: Document) -> Iterator[Problem]:
    """Yield a problem for each task that is gone: at the pipeline's tasks, or else the first provider's."""
    now = document.data
    tasks_before, tasks_now = tasks_of_providers(before), tasks_of_providers(now)
    gone: Dict[str, List[str]] = {}  # providers by task
    for provider in sorted(set(tasks_before) & set(tasks_now)):
        for task in sorted(tasks_before[provider] - tasks_now[provider] - set(items(now.get("retired_tasks")))):
            gone.setdefault(task, []).append(provider)
    prefix = "-".join(Path(document.path).with_suffix("").parts[-2:])
    for task, providers in gone.items():
        hint = (
            "Airflow's web page then hides the task's history: give the changed pipeline a new name,"
            f" or accept it with 'retired_tasks: [{task}]'"
        )
        message = f"task '{task}' is gone from {listed([f'{prefix}_dag_{provider}' for provider in providers])}"
        is_shared = task not in mapping(now.get("tasks"))
        place = ("tasks",) if is_shared else ("providers", providers[0], "tasks", task)
        yield document.problem(place, message, hint, "removed", True)


def tasks_of_providers(data: Mapping[str, Any]) -> Dict[str, Set[str]]:
    """Return the tasks of each provider by what is written, whether or not today's rules would accept it."""
    tasks, found = mapping(data.get("tasks")), {}
    for provider, override in mapping(data.get("providers")).items():
        own = mapping(mapping(override).get("tasks"))
        left = [task for task in tasks if own.get(task, {}) is not None]
        defaults = data.get("defaults"), mapping(override).get("defaults")
        layers = {task: (defaults[0], tasks[task], defaults[1], own.get(task)) for task in left}
        found[provider] = {task_id for task in left for task_id in ids_of(task, layers[task])}
    return found


def ids_of(task: str, layers: Iterable[Any]) -> List[str]:
    """Return the ids of a task in Airflow: one for each item, if the last layer that says for_each has some."""
    said = [layer["for_each"] for layer in map(mapping, layers) if "for_each" in layer]
    return [f"{task}-{item}" for item in said[-1]] if said and isinstance(said[-1], list) else [task]


def mapping(value: Any) -> Dict[str, Any]:
    """Return the entries of a mapping that have a text for a name; none of anything else."""
    return {key: item for key, item in value.items() if isinstance(key, str)} if isinstance(value, dict) else {}


def items(value: Any) -> List[str]:
    """Return the texts in a list; none of anything else."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
