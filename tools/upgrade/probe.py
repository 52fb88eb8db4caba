"""Print what one generation of Airflow makes of the definitions, as JSON: ``python -m tools.upgrade.probe``.

    python -m tools.upgrade.probe dags/etl development 2026-01-01T00:00:00+00:00

It runs in the environment of that generation, and needs neither its database nor AWS. Keys: ``problems``; ``dags``,
each with its next runs after the moment and the requests of its tasks in two runs, one scheduled and one triggered.
What only the database of Airflow knows, such as XComs, is the same made-up value in each generation.
"""

import json
import sys
import uuid
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple

import pendulum
from airflow.timetables.base import TimeRestriction
from orchestrator import load
from orchestrator.dags import build
from orchestrator.generations import IS_3
from orchestrator.planning import run_task_parameters
from orchestrator.runs import awaited_date

RUNS = 10  # that are compared of each schedule
LONG_AGO = pendulum.datetime(2021, 12, 31, 7, 30)
NAME = "upgrade-test"  # startedBy, which differs from run to run


class Run(NamedTuple):
    """A DAG run: its id, its moments, and whether the scheduler or a person starts it."""

    run_id: str
    logical_date: Any
    start: Any
    end: Any
    run_after: Any
    is_scheduled: bool


class MadeUp(str):
    """Stands for a value of Airflow's database: text, and a member by any name."""

    def __getattr__(self, name: str) -> "MadeUp":
        if name.startswith("__"):
            raise AttributeError(name)
        return MadeUp(f"{self}.{name}")


class Variables:
    """Stands for Airflow's variables."""

    def __getattr__(self, name: str) -> MadeUp:
        if name.startswith("__"):
            raise AttributeError(name)
        return MadeUp(f"variable-{name}")

    def get(self, item: str, *_: Any, **__: Any) -> MadeUp:
        """Return the value of a variable."""
        return MadeUp(f"variable-{item}")


MADE_UP = {
    "var": {"value": Variables(), "json": Variables()},
    "prev_data_interval_start_success": LONG_AGO,
    "prev_data_interval_end_success": LONG_AGO.add(days=1),
    "prev_start_date_success": LONG_AGO.add(days=1, minutes=5),
    "prev_execution_date_success": LONG_AGO,
}


def probe(etl: Path, environment: str, now: Any) -> Dict[str, Any]:
    """Return what is printed."""
    dags, problems = build(load(etl, environment))
    return {"problems": list(map(str, problems)), "dags": {dag_id: look_at(dag, now) for dag_id, dag in dags.items()}}


def look_at(dag: Any, now: Any) -> Dict[str, Any]:
    """Return the next runs of a DAG, and the requests of its tasks."""
    stored = as_stored(dag)
    next_runs = list(runs_after(stored, now))
    triggered = run_by_hand(stored, now)
    requests = {}
    for name, run in (("scheduled", next_runs[0] if next_runs else None), ("triggered", triggered)):
        if run:
            requests[name] = {task.task_id: request_of(task, run) for task in dag.tasks}
    moments = [[each.isoformat() for each in (run.start, run.end, run.run_after)] for run in next_runs]
    return {"runs": moments, "requests": requests}


def as_stored(dag: Any) -> Any:
    """Return a DAG as the scheduler has it, by way of its database."""
    module: Any = import_module("airflow.serialization.serialized_objects")
    serialization = getattr(module, "DagSerialization", None) or module.SerializedDAG
    return serialization.from_dict(json.loads(json.dumps(serialization.to_dict(dag))))


def runs_after(dag: Any, now: Any) -> Iterator[Run]:
    """Yield the next runs that the scheduler starts."""
    start = pendulum.instance(max(dag.start_date, now))
    restriction = TimeRestriction(earliest=start, latest=dag.end_date, catchup=True)
    last = None
    for _ in range(RUNS):
        info = dag.timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
        if info is None:
            return
        last = info.data_interval
        yield Run(f"scheduled__{last.start.isoformat()}", last.start, last.start, last.end, info.run_after, True)


def run_by_hand(dag: Any, now: Any) -> Run:
    """Return the run that a person starts at a moment."""
    interval = dag.timetable.infer_manual_data_interval(run_after=now)
    return Run(f"manual__{now.isoformat()}", now, interval.start, interval.end, now, False)


def request_of(task: Any, run: Run) -> Any:
    """Return the RunTask request of a task in a run, what a sensor looks for, or why there is none."""
    if hasattr(task, "awaited"):
        date = awaited_date(task.awaited, run.end) if run.is_scheduled and task.awaited.schedule else "the newest run"
        return {"dag_id": task.external_dag_id, "task_ids": task.awaited.task_ids, "run": str(date)}
    task = task.prepare_for_execution()
    try:
        ti = task_instance(task, run)
        object.__setattr__(ti, "xcom_pull", lambda task_ids=None, key=None, **_: f"xcom-{task_ids}-{key}")
        context = ti.get_template_context()
        context.update({name: value for name, value in MADE_UP.items() if name in context})
        task.render_template_fields(context)
    except Exception as error:  # a template is code, and can fail in any way
        return f"{type(error).__name__}: {error}"
    return task.bucket_key if hasattr(task, "bucket_key") else run_task_parameters(vars(task), NAME)


def task_instance(task: Any, run: Run) -> Any:
    """Return a task instance in its first try, which is in no database."""
    return task_instance_of(task, dag_run(task, run, conf_of(task, run))) if IS_3 else task_instance_2(task, run)


def dag_run(task: Any, run: Run, conf: Any) -> Any:
    """Return a run as a task of Airflow 3 sees it."""
    api: Any = import_module("airflow.sdk.api.datamodels._generated")
    of_run = {"logical_date": run.logical_date, "data_interval_start": run.start, "data_interval_end": run.end}
    return api.DagRun(
        dag_id=task.dag_id,
        run_id=run.run_id,
        run_after=run.run_after,
        start_date=run.run_after,
        run_type="scheduled" if run.is_scheduled else "manual",
        state="running",
        conf=conf,
        consumed_asset_events=[],
        **(of_run if run.is_scheduled else {}),  # a run by hand has none of these
    )


def task_instance_of(task: Any, dag_run: Any) -> Any:
    """Return the task instance of a run in Airflow 3."""
    api: Any = import_module("airflow.sdk.api.datamodels._generated")
    runner: Any = import_module("airflow.sdk.execution_time.task_runner")
    ti = runner.RuntimeTaskInstance.model_construct(
        id=uuid.UUID(int=0),
        task=task,
        task_id=task.task_id,
        dag_id=task.dag_id,
        run_id=dag_run.run_id,
        try_number=1,
        max_tries=task.retries,
    )
    ti._ti_context_from_server = api.TIRunContext(dag_run=dag_run, max_tries=task.retries)
    return ti


def conf_of(task: Any, run: Run) -> Dict[str, Any]:
    """Return what a person types at the trigger: the defaults, as the form of newer versions sends them."""
    params = {} if run.is_scheduled else getattr(task, "typed_params", {})
    return {name: param.default for name, param in params.items()}


def task_instance_2(task: Any, run: Run) -> Any:
    """Do so in Airflow 2."""
    from airflow import settings
    from airflow.models import DagRun, TaskInstance

    dag_run = DagRun(
        dag_id=task.dag_id,
        run_id=run.run_id,
        execution_date=run.logical_date,
        data_interval=(run.start, run.end),
        run_type="scheduled" if run.is_scheduled else "manual",
        external_trigger=not run.is_scheduled,
        conf=conf_of(task, run),
    )
    # Without these, it would be looked for in the database; 2.11 looks for the run before it, and finds none.
    ti: Any = TaskInstance(task, run_id=run.run_id, state=None)
    ti.dag_run = dag_run
    if not ti.try_number:  # 2.2.2 gives that of the try that comes next
        ti.try_number = 1
    DagRun.__table__.create(settings.engine, checkfirst=True)
    return ti


def main(arguments: List[str]) -> int:
    """Print what this generation makes of the definitions."""
    etl, environment, now = arguments
    print(json.dumps(probe(Path(etl), environment, pendulum.instance(datetime.fromisoformat(now)))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
