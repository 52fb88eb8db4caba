"""What waits for what: an order, or the circles that leave none. Of the tasks of a DAG, and of DAGs."""

from typing import Dict, List, Mapping, Tuple


def sort_tasks(before: Mapping[str, List[str]]) -> Tuple[List[str], Dict[str, int]]:
    """Return tasks, each after those that it waits for, and the others with the number of these that are left.

    Args:
        before: The tasks that each task waits for.
    """
    after: Dict[str, List[str]] = {task_id: [] for task_id in before}
    for name, others in before.items():
        for earlier in others:
            after[earlier].append(name)
    missing = {task_id: len(others) for task_id, others in before.items()}
    ready = [task_id for task_id, number in missing.items() if not number]
    for done in ready:
        for later in after[done]:
            missing[later] -= 1
            if not missing[later]:
                ready.append(later)
    return ready, {task_id: number for task_id, number in missing.items() if number}


def find_cycles(before: Mapping[str, List[str]], waiting: Mapping[str, int]) -> List[List[str]]:
    """Return circles of tasks that wait for one another, with no task in two of them; at least one if tasks are left.

    Args:
        before: The tasks that each task waits for.
        waiting: Those that :func:`sort_tasks` leaves.
    """
    cycles: List[List[str]] = []
    seen: Dict[str, str] = {}  # the tasks that have been looked at, with where the walk to them began
    for start in waiting:
        walk, at = [], start
        while at not in seen:
            seen[at] = start
            walk.append(at)
            at = next(other for other in before[at] if other in waiting)
        if seen[at] == start:
            cycles.append(walk[walk.index(at) :])
    return cycles
