"""Trigger one DAG and wait for it; runs inside the engine's environment.

    python -m tools.local.trigger DAG_ID [CONF]

Exits with 0 if the run succeeded, 1 if not, 2 if there is no such DAG.
"""

import difflib
import json
import re
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

from airflow.configuration import conf as options
from airflow.exceptions import AirflowException
from airflow.models import DagBag, DagModel, DagRun, Pool, TaskInstance
from airflow.models.serialized_dag import SerializedDagModel
from airflow.utils.session import create_session
from airflow.utils.state import State

from tools.local.generations import AIRFLOW

SUCCESS, FAILURE, NO_SUCH_DAG = 0, 1, 2
PARSING = 120.0  # seconds that the scheduler has to take the DAG over
POLL = 0.3  # seconds between two looks at the database
POOL_SLOTS = 128  # as Airflow's own default pool

# A line of a task's log, and one that a container wrote, as the log fetcher marks it.
ENTRY = re.compile(r"\[[^]]+\] \{[\w.]+:\d+\} (?P<level>[A-Z]+) - (?P<text>.*)")
CONTAINER = re.compile(r"\[\d{4}-\d\d-\d\d[^]]*\] (?P<text>.*)")


def main(arguments: List[str]) -> int:
    """Trigger the DAG, wait for its run, and report."""
    dag_id, conf = arguments[0], json.loads(arguments[1]) if arguments[1:] else {}
    bag = DagBag(include_examples=False)
    for problems in bag.import_errors.values():
        print(problems.rstrip(), end="\n\n", flush=True)
    dag = bag.dags.get(dag_id)
    if dag is None:
        print(unknown(dag_id, bag.dag_ids), file=sys.stderr)
        return NO_SUCH_DAG
    if not wait_for_scheduler(dag_id):
        print(f"the scheduler has not taken {dag_id} over in {PARSING:.0f} s", file=sys.stderr)
        return FAILURE
    add_pools(dag)
    with create_session() as session:
        session.query(DagModel).filter_by(dag_id=dag_id).update({"is_paused": False})
    started = time.monotonic()
    try:
        run_id = AIRFLOW.trigger(dag_id, conf)
    except (ValueError, AirflowException) as error:
        print(f"{dag_id} cannot be triggered: {error}", file=sys.stderr)
        return FAILURE
    (run,) = DagRun.find(dag_id=dag_id, run_id=run_id)
    print(f"{dag_id} runs as {run.run_id}", flush=True)
    state = follow(run)
    print(f"\n{dag_id}: {state} after {time.monotonic() - started:.0f} s")
    report(dag, run)
    if state != State.SUCCESS:
        print(f"  logs: {options.get('logging', 'base_log_folder')}/{dag_id}")
    return SUCCESS if state == State.SUCCESS else FAILURE


def unknown(dag_id: str, known: List[str]) -> str:
    """Return a message about a DAG that is not there."""
    nearest = difflib.get_close_matches(dag_id, known, n=1)
    if nearest:
        return f"there is no DAG {dag_id!r}; did you mean {nearest[0]}?"
    return f"there is no DAG {dag_id!r}; there are: {', '.join(sorted(known)) or 'none'}"


def wait_for_scheduler(dag_id: str) -> bool:
    """Wait until the scheduler has read the DAG; return False if that takes too long.

    It writes the DAG's tasks first and its line in the list of DAGs after all others' tasks.
    """
    deadline = time.monotonic() + PARSING
    while not (DagModel.get_dagmodel(dag_id) and SerializedDagModel.has_dag(dag_id)):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True


def add_pools(dag: Any) -> None:
    """Make the pools that the tasks name: without its pool a task waits for ever."""
    with create_session() as session:
        existing = {pool.pool for pool in session.query(Pool)}
        for name in {task.pool for task in dag.tasks} - existing:
            AIRFLOW.add_pool(session, name, POOL_SLOTS)


def follow(run: DagRun) -> str:
    """Report every change of a task's state until the run has ended; return its final state."""
    reported: Dict[str, Optional[str]] = {}
    while True:
        run.refresh_from_db()  # before the tasks: once it has ended they change no more
        for instance in task_instances(run):
            if instance.state and reported.get(instance.task_id) != instance.state:
                reported[instance.task_id] = instance.state
                print(f"  {instance.task_id}: {instance.state}", flush=True)
        if run.state in State.finished:
            return str(run.state)
        time.sleep(POLL)


def task_instances(run: DagRun) -> List[TaskInstance]:
    """Return the run's tasks, as they are now."""
    with create_session() as session:
        instances = list(run.get_task_instances(session=session))
        session.expunge_all()
    return instances


def report(dag: Any, run: DagRun) -> None:
    """Print each task with its state and the last line of its log, in the DAG's order."""
    by_id = {instance.task_id: instance for instance in task_instances(run)}
    width = max(map(len, by_id), default=0)
    for task in dag.topological_sort():
        instance = by_id[task.task_id]
        folder = AIRFLOW.log_folder(Path(options.get("logging", "base_log_folder")), dag.dag_id, run, task.task_id)
        log = last_line(AIRFLOW.log(folder))
        print(f"  {task.task_id:<{width}}  {instance.state or 'none':<15}  {log}".rstrip())


def last_line(log: str) -> str:
    """Return the line of a task's log that says most about its end.

    Airflow ends every log with lines of its own, so this is, if there is one, the last line
    that the container wrote; else the last line of the last error; else the last line.
    """
    lines = log.splitlines()
    container, error, in_error = "", "", False
    for line in lines:
        entry = ENTRY.match(line)
        text = entry["text"] if entry else line.strip()
        if entry:
            in_error = entry["level"] in ("ERROR", "CRITICAL")
            written = CONTAINER.match(text)
            container = written["text"] if written else container
        if in_error and text:
            error = text
    return container or error or "".join(lines[-1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
