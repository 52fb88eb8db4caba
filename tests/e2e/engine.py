"""An engine for tests: a real scheduler and an emulated AWS, with the DAGs and Airflow options of a test.

``python -m tests.e2e.engine HOME DAGS OPTIONS`` runs one until its standard input ends. Each line there is a request,
``[name, arguments]`` as JSON; each is answered with a line of JSON. Tests use :class:`Engine`.
"""

import json
import os
import select
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Callable, Dict, List, Optional, Sequence, TypeVar

import psutil
from sqlalchemy import create_engine
from sqlalchemy.engine import Connection
from sqlalchemy.pool import NullPool

from tests.e2e.agent import Agent
from tests.e2e.emulated import aws_client
from tools import ROOT
from tools.local import distributed, engine
from tools.local.generations import AIRFLOW
from tools.local.processes import Processes
from tools.setup.environments import GENERATIONS, LOCAL, ensure

POLL = 0.2  # seconds between two polls
TIMEOUT = 240.0  # seconds for one condition; other tests may use the processors meanwhile
QUICK = {
    "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "1",
    "AWS_MAX_ATTEMPTS": "1",  # botocore itself retries nothing
}
# For tasks that run at the same time, each in a process that the scheduler forks. This needs PostgreSQL.
PARALLEL = {
    "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
    # For fifty runs at once. Without a limit, each task is a fork of the scheduler, and closes its connection to
    # PostgreSQL: now and then that ends the scheduler.
    "AIRFLOW__CORE__PARALLELISM": "56",
    "AIRFLOW__CORE__EXECUTE_TASKS_NEW_PYTHON_INTERPRETER": "False",
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "2",
}

OF_RUN = "WHERE dag_id = %s AND run_id = %s"
Result = TypeVar("Result")


class Engine:
    """A running engine; leaving the context ends it.

    Args:
        home: An empty folder for its AIRFLOW_HOME.
        dags: The DAGs folder.
        airflow: The generation of Airflow; by default that of the tests.
        options: Environment variables of Airflow, over the engine's own.
    """

    def __init__(self, home: Path, dags: Path, airflow: str = "", **options: str) -> None:
        self.home, self.dags, self.generation = home, dags, airflow
        self.python = str(ensure(GENERATIONS[airflow])) if airflow else sys.executable
        command = [self.python, "-m", "tests.e2e.engine", str(home), str(dags), json.dumps(options)]
        environ = {**os.environ, "ECS_LOCAL_SECONDS": "0.2"}
        self.popen = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> "Engine":
        self.environ: Dict[str, str] = self._answer()
        self.database = create_engine(self.environ["DATABASE"], poolclass=NullPool)
        self.agent = Agent(self.environ["EMULATED_AWS"])
        return self

    def __exit__(self, *_: object) -> None:
        self.popen.communicate()

    def _answer(self) -> Any:
        line = next(iter(self.popen.stdout or ()), "")
        if not line:
            raise AssertionError(f"the engine has ended with {self.popen.wait()}; see {self.home}")
        return json.loads(line)

    def ask(self, name: str, *arguments: Any) -> Any:
        """Call one of the functions below in the process of the engine; return its result."""
        print(json.dumps([name, arguments]), file=self.popen.stdin, flush=True)
        return self._answer()

    def airflow(self, *arguments: str) -> List[str]:
        """Return the command line of a command of its Airflow, which takes the engine's ``environ``."""
        return [self.python, "-m", "airflow", *arguments]

    def trigger(self, dag_id: str, **conf: Any) -> "Run":
        """Trigger a DAG as soon as the scheduler knows it; return the run."""
        self.wait_for_dag(dag_id)
        return Run(self, dag_id, self.ask("trigger", dag_id, conf))

    def wait_for_dag(self, dag_id: str) -> None:
        """Wait until the scheduler knows a DAG."""
        known = "SELECT 1 FROM dag JOIN serialized_dag USING (dag_id) WHERE dag_id = %s"
        self.wait_for(lambda: self.query(known, dag_id))

    def client(self, service: str) -> Any:
        """Return a boto3 client for the emulated AWS."""
        return aws_client(self.environ["EMULATED_AWS"], service)

    def query(self, sql: str, *values: Any) -> List[Any]:
        """Return the rows that a query of Airflow's database returns; ``%s`` stands for each of the values."""
        with self.database.connect() as connection:
            return [getattr(row, "_mapping", row) for row in execute(connection, sql, *values)]

    def wait_for(self, look: Callable[[], Result]) -> Result:
        """Call a function until it returns something true; return that."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline and self.popen.poll() is None:
            result = look()
            if result:
                return result
            time.sleep(POLL)
        logs = [path.read_text(errors="replace") for path in sorted(self.home.glob("processes/*.log"))]
        errors = [line for log in logs for line in log.splitlines() if "ERROR" in line or "Error: " in line]
        told = "\n".join(["", *errors[-10:]])  # a scheduler that fails waits for the tasks that run
        raise AssertionError(f"the engine has ended, or nothing comes in {TIMEOUT:.0f} s; see {self.home}{told}")

    def kill(self, runs: Sequence["Run"]) -> None:
        """Kill the workers of runs at the same moment, as if their machine had failed; Airflow finds that out at once.

        It otherwise waits for 5 minutes without a heartbeat. A shorter time would lose tasks of a busy machine, too.
        """
        processes = [process for run in runs for process in run.processes()]
        for process in processes:
            process.suspend()
        for process in processes:
            process.kill()
        long_ago = "'2022-01-01T00:00:00Z'"
        sql = f"UPDATE job SET latest_heartbeat = {long_ago} WHERE id IN (SELECT job_id FROM task_instance {OF_RUN})"
        if self.generation == "3":
            sql = f"UPDATE task_instance SET last_heartbeat_at = {long_ago} {OF_RUN}"
        with self.database.begin() as connection:
            for run in runs:
                execute(connection, sql, run.dag_id, run.run_id)


class Run:
    """A DAG run."""

    def __init__(self, engine: Engine, dag_id: str, run_id: str) -> None:
        self.engine, self.dag_id, self.run_id = engine, dag_id, run_id

    def row(self) -> Any:
        """Return the run in Airflow's database."""
        (row,) = self.engine.query(f"SELECT * FROM dag_run {OF_RUN}", self.dag_id, self.run_id)
        return row

    def task(self, task_id: str = "load") -> Any:
        """Return a task of the run in Airflow's database; None before it exists."""
        sql = f"SELECT * FROM task_instance {OF_RUN} AND task_id = %s"
        return next(iter(self.engine.query(sql, self.dag_id, self.run_id, task_id)), None)

    def processes(self) -> List[psutil.Process]:
        """Return the processes that run a task of the run, the supervisor first; of several ones each with its own."""
        rows = self.engine.query(f"SELECT * FROM task_instance {OF_RUN}", self.dag_id, self.run_id)
        ids = [str(row["id"]).replace("-", "") for row in rows if "id" in row.keys()]  # noqa: SIM118 (it is a row)
        below = psutil.Process(self.engine.popen.pid).children(recursive=True)
        supervisors = [process for process in below if supervises(command_of(process), self.dag_id, self.run_id, ids)]
        return [each for supervisor in supervisors for each in (supervisor, *supervisor.children(recursive=True))]

    def wait_for_task(self, task_id: str, *states: str) -> Any:
        """Wait until a task is in one of the states; return its row."""

        def look() -> Optional[Any]:
            task = self.task(task_id)
            return task if task and task["state"] in states else None

        return self.engine.wait_for(look)

    def end(self) -> str:
        """Wait until the run has ended; return its state."""

        def look() -> str:
            state = str(self.row()["state"])
            return state if state in ("success", "failed") else ""

        return self.engine.wait_for(look)

    def log(self, task_id: str = "load", attempt: int = 1) -> str:
        """Return the log of one try of a task; empty before it exists."""
        text: str = self.engine.ask("log", self.dag_id, self.run_id, task_id, attempt)
        return text


def execute(connection: Connection, sql: str, *values: Any) -> Any:
    """Execute SQL with ``%s`` for each of the values; return the result."""
    if connection.dialect.name == "sqlite":
        sql = sql.replace("%s", "?")
    return getattr(connection, "exec_driver_sql", connection.execute)(sql, values)  # the same in newer versions


def command_of(process: psutil.Process) -> List[str]:
    """Return the command line of a process; empty if it has ended."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def supervises(command: List[str], dag_id: str, run_id: str, ids: List[str]) -> bool:
    """Return whether a command line is that of a process that starts a task of a run, and looks after it.

    In Airflow 3, it names the id of the task instance only.
    """
    title = " ".join(command)
    forked = f"airflow task supervisor: ['airflow', 'tasks', 'run', '{dag_id}', "
    is_one = run_id in title and (command[2:5] == ["tasks", "run", dag_id] or title.startswith(forked))
    return is_one or title.strip().partition("LocalExecutor: ")[2].replace("-", "") in ids


# ------------------------------------------------------------------------------------------- in the engine's process


def main(home: Path, dags: Path, options: Dict[str, str]) -> None:
    """Run an engine, and answer requests until there are no more."""
    sys.stdout = sys.stderr  # what Airflow prints is no answer
    # Not in pytest's own folder, which is closed to the user that PostgreSQL runs as.
    with TemporaryDirectory(prefix="engine-", dir=str(LOCAL)) as folder, Processes(home / "processes") as processes:
        os.chmod(folder, 0o711)
        cloud = engine.Cloud(processes, "development", dags)
        engine.prepare_database(processes, home)
        environ = {**engine.airflow_environ(home, "development", cloud), **QUICK, **options}
        if "AIRFLOW__CORE__EXECUTOR" in options:  # SQLite is for one task at a time
            environ.update(AIRFLOW.postgres(distributed.start_database(processes, Path(folder))))
        engine.start_scheduler(processes, environ)
        os.environ.update(environ)  # before Airflow is imported, which reads it
        sys.path[:0] = environ["PYTHONPATH"].split(os.pathsep)
        reply({**environ, "DATABASE": environ[AIRFLOW.database_option], "EMULATED_AWS": cloud.address})
        requests: Dict[str, Callable[..., Any]] = {**REQUESTS, "serve": partial(serve, processes, environ)}
        while True:
            processes.check()
            if select.select([sys.stdin], [], [], POLL)[0]:
                line = sys.stdin.readline()
                if not line:
                    return
                name, arguments = json.loads(line)
                reply(requests[name](*arguments))


def reply(value: Any) -> None:
    """Answer with a line of JSON."""
    print(json.dumps(value), file=sys.__stdout__, flush=True)


def serve(processes: Processes, environ: Dict[str, str]) -> str:
    """Start the web page, unless tasks need its server anyway; return its address."""
    engine.start_webserver(processes, environ)
    port = int(environ[engine.PORT])
    engine.wait_until_healthy(processes, port)
    return f"http://127.0.0.1:{port}"


def trigger(dag_id: str, conf: Dict[str, Any]) -> str:
    """Trigger a DAG as ``airflow dags trigger`` does; return the id of the run."""
    return AIRFLOW.trigger(dag_id, conf)


def mark(dag_id: str, run_id: str, task_id: str, state: str) -> None:
    """Set the state of a task, as a person does in the web page."""
    from airflow.models import TaskInstance
    from airflow.utils.session import create_session

    with create_session() as session:
        session.query(TaskInstance).filter_by(dag_id=dag_id, run_id=run_id, task_id=task_id).update({"state": state})


def clear(dag_id: str, run_id: str, task_id: str) -> None:
    """Clear a task, as a person does in the web page."""
    from airflow.models import TaskInstance
    from airflow.utils.session import create_session

    with create_session() as session:
        task = session.query(TaskInstance).filter_by(dag_id=dag_id, run_id=run_id, task_id=task_id).one()
        AIRFLOW.clear(dag_id, [task], session)


def log(dag_id: str, run_id: str, task_id: str, attempt: int) -> str:
    """Return the log of one try of a task; empty before it exists."""
    from airflow.configuration import conf
    from airflow.models import DagRun

    (run,) = DagRun.find(dag_id=dag_id, run_id=run_id)
    base = Path(conf.get("logging", "base_log_folder"))
    return AIRFLOW.log(AIRFLOW.log_folder(base, dag_id, run, task_id), attempt)


def add_pool(name: str, slots: int) -> None:
    """Create a pool."""
    from airflow.utils.session import create_session

    with create_session() as session:
        AIRFLOW.add_pool(session, name, slots)


REQUESTS: Dict[str, Callable[..., Any]] = {
    "trigger": trigger,
    "mark": mark,
    "clear": clear,
    "log": log,
    "add_pool": add_pool,
}

if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
