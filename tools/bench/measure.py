"""Measure what a DAG file costs a process of Airflow's.

The process is a fork of one that has imported Airflow, as a DagFileProcessor is one of the scheduler's and a task one
of a Celery worker's. This module runs in the environment that has the contender; it reads jobs as lines of JSON from
stdin and answers each with one on stdout.
"""

import gc
import json
import logging
import multiprocessing
import os
import resource
import signal
import sys
import time
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Callable, Dict, List

from tools.local.processes import die_with_parent

Job = Dict[str, Any]
# What all contenders have to make alike.
DAG_FIELDS = "description catchup max_active_runs".split()
OPERATOR_FIELDS = (
    "owner retries retry_delay execution_timeout task_definition cluster launch_type aws_conn_id region_name "
    "network_configuration overrides"
).split()


def serve() -> None:
    """Answer jobs until there are no more."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what Airflow or a DAG file prints is no answer
    from airflow.dag_processing import processor

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the one who asks
    logging.disable(logging.CRITICAL)
    if find_spec("airflow.jobs.scheduler_job"):  # 2.2.2: what it has imported before it forks; others are only parsed
        for name in ("local_task_job", "scheduler_job"):
            import_module(f"airflow.jobs.{name}")
        watch_passes(processor)
    gc.collect()
    gc.freeze()  # or whether 60 ms go into looking through all of Airflow hangs on a single object more
    for line in sys.stdin:
        print(json.dumps(run_forked(json.loads(line))), file=answers, flush=True)


def run_forked(job: Job) -> Dict[str, Any]:
    """Do a job in a fork of its own."""
    forks = multiprocessing.get_context("fork")
    receiving, sending = forks.Pipe(duplex=False)
    process = forks.Process(target=do, args=(job, sending))
    process.start()
    sending.close()
    try:
        answer: Dict[str, Any] = receiving.recv()
    except EOFError:
        process.join()
        was_cut_off = process.exitcode == -signal.SIGXCPU
        return {"timeout": True} if was_cut_off else {"error": "its process has died, see above"}
    process.join()
    return answer


def do(job: Job, sending: Any) -> None:
    """Do a job, and send what it costs: seconds of CPU, and bytes above what the process had before."""
    die_with_parent(signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CPU, (job["limit"], job["limit"] + 1))
    sys.argv = ["airflow", "tasks", "run", job["dag_id"]] if job["row"] == "task" else ["airflow", "scheduler"]
    if job["row"] == "task":
        os.environ["_AIRFLOW_PARSING_CONTEXT_DAG_ID"] = job["dag_id"]  # by which newer versions tell it
    if job["row"] == "warm":
        parse(job["warm_up"])
    before, started = peak(), time.process_time()
    bag = process_file(job["file"]) if job["row"] in ("first", "steady") else parse(job["file"])
    cost = {"cpu": time.process_time() - started, "memory": peak() - before, "peak": peak()}
    if bag.import_errors:
        sending.send({"error": next(iter(bag.import_errors.values()))})
    else:
        shaped = shape(bag.dags[job["dag_id"]])
        sending.send({**cost, "parts": PARTS, "dags": len(bag.dags), "shape": shaped})


def peak() -> int:
    """Return the most memory that this process has had so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def parse(file: str) -> Any:
    """Parse as Airflow does."""
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # before 3
        from airflow.models.dagbag import DagBag

    return DagBag(file, include_examples=False)


# ---------------------------------------------------------------------------------------------------------- passes

PARTS: Dict[str, float] = {}  # seconds of CPU that a pass spends on each of its parts; and its queries
BAGS: List[Any] = []


def process_file(file: str) -> Any:
    """Do what a DagFileProcessor does with a file, and return its DagBag."""
    from airflow.dag_processing.processor import DagFileProcessor

    DagFileProcessor([], logging.getLogger("bench")).process_file(file, [])
    return BAGS[0]


def watch_passes(processor: Any) -> None:
    """Wrap Airflow's own functions so that they note how long they take."""
    from airflow.models.dag import DAG
    from airflow.models.dagbag import DagBag
    from airflow.models.serialized_dag import SerializedDagModel
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def bag(*arguments: Any, **options: Any) -> Any:
        BAGS.append(DagBag(*arguments, **options))
        return BAGS[-1]

    processor.DagBag = bag
    watch(DagBag, "_load_modules_from_file", "import")  # this alone is what core.dagbag_import_timeout bounds
    watch(SerializedDagModel, "__init__", "serialize")
    watch(DagBag, "_sync_perm_for_dag", "permissions")
    watch(DAG, "bulk_write_to_db", "rows")
    event.listen(Engine, "before_cursor_execute", lambda *_: add("queries", 1))


def watch(owner: Any, name: str, part: str) -> None:
    """Wrap a function of a class so that it notes how long it takes."""
    function = vars(owner)[name]
    is_classmethod = isinstance(function, classmethod)
    run = timed(part, function.__func__ if is_classmethod else function)
    setattr(owner, name, classmethod(run) if is_classmethod else run)


def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that does the same and notes how long it takes."""

    def run(*arguments: Any, **options: Any) -> Any:
        started = time.process_time()
        try:
            return function(*arguments, **options)
        finally:
            add(part, time.process_time() - started)

    return run


def add(part: str, amount: float) -> None:
    """Note something that a pass has spent."""
    PARTS[part] = PARTS.get(part, 0) + amount


# ---------------------------------------------------------------------------------------------------------- fairness


def shape(dag: Any) -> str:
    """Return what a contender has made of a DAG, in a form in which all of them are alike."""
    tasks = {
        task.task_id: {
            "downstream": sorted(task.downstream_task_ids),
            "start_date": task.start_date.isoformat(),
            **{name: getattr(task, name) for name in OPERATOR_FIELDS},
        }
        for task in dag.tasks
    }
    settings = {name: getattr(dag, name) for name in DAG_FIELDS}
    settings["schedule"] = getattr(dag, "schedule_interval", None) or dag.timetable.expression  # the one before 3
    text = json.dumps([settings, len(dag.tags), tasks], sort_keys=True, default=str)
    provider = dag.dag_id.rpartition("_")[2]
    text = text.replace("{{ provider.name }}", provider).replace("{{ env.bucket }}", "data")
    return text.replace(provider, "PROVIDER")


if __name__ == "__main__":
    serve()
