"""Airflow with CeleryExecutor, as on MWAA: a queue in Redis, a database in PostgreSQL, two workers."""

import shutil
import signal
import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Dict, List

from tools.local import engine, worker
from tools.local.generations import AIRFLOW
from tools.local.processes import Process, Processes, die_with_parent
from tools.local.servers import Postgres, start_redis
from tools.setup.environments import LOCAL, lock
from tools.terminal import print_status

WORKERS = ("worker-1", "worker-2")

LIKE_MWAA = {
    "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
    "AIRFLOW__CORE__EXECUTE_TASKS_NEW_PYTHON_INTERPRETER": "False",
    "AIRFLOW__CELERY__WORKER_CONCURRENCY": "10",  # of an mw1.medium
}

# Quicker than on MWAA to notice that a worker has died, which takes it 5 minutes.
QUICK = {
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "3",
    "AIRFLOW__SCHEDULER__SCHEDULER_ZOMBIE_TASK_THRESHOLD": "15",
    "AIRFLOW__CELERY__TASK_ADOPTION_TIMEOUT": "60",
    # Seconds until another worker gets what one has taken from the queue and not finished. It
    # also gets a task that still runs then, and leaves it alone, as the database says so.
    "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "60",
    # By default a task must be in the queue within 1 s, which two busy cores do not always make.
    "AIRFLOW__CELERY__OPERATION_TIMEOUT": "10",
}


def prepare(processes: Processes, home: Path, environ: Dict[str, str]) -> Dict[str, str]:
    """Start Redis and PostgreSQL for an AIRFLOW_HOME; return ``environ`` with where they are.

    Raises:
        Died: One of them does not start.
        SetupError: One of them is not there, or cannot reach its data.
    """
    print_status("starting Redis and PostgreSQL")
    engine.prepare_config(home)
    broker = start_redis(processes, engine.inherited(), home / "redis")
    database = start_database(processes, home)
    return {**environ, **database_environ(database), "AIRFLOW__CELERY__BROKER_URL": broker}


def start_database(processes: Processes, home: Path) -> str:
    """Start PostgreSQL with the database of an AIRFLOW_HOME, made if need be; return its URL.

    Making one takes some 15 s, so it is made once and copied.
    """
    postgres = Postgres(processes, engine.inherited())
    name = f"postgres-{postgres.version()}-airflow-{AIRFLOW.version}"
    if not (home / name).exists():
        template = LOCAL / "template-postgres" / name
        with lock(LOCAL / "template.lock"):
            if not template.exists():
                make_template(postgres, template)
        home.mkdir(parents=True, exist_ok=True)
        copy(template, home / name)
    _, url = postgres.start(home / name)
    return url


def make_template(postgres: Postgres, template: Path) -> None:
    """Make a database with Airflow's tables and a user, and leave it stopped."""
    print_status("making a database, once")
    making = LOCAL / "template-postgres.new"
    shutil.rmtree(making, ignore_errors=True)
    postgres.create(making / "database")
    server, url = postgres.start(making / "database")
    engine.fill_database(postgres.processes, {**engine.base_environ(making), **database_environ(url)})
    postgres.processes.end(server)
    template.parent.mkdir(exist_ok=True)
    (making / "database").rename(template)


def copy(template: Path, folder: Path) -> None:
    """Copy a database with its owner, so that it is whole if it is there."""
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    subprocess.run(["cp", "-a", str(template), str(part)], check=True)
    part.rename(folder)


def database_environ(url: str) -> Dict[str, str]:
    """Return the options of Airflow that name the database and the executor, which must fit it."""
    return {
        **LIKE_MWAA,
        **QUICK,
        **AIRFLOW.postgres(url),
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{url}",
    }


def start_workers(processes: Processes, home: Path, environ: Dict[str, str]) -> List[Process]:
    """Start the workers.

    They would serve their tasks' logs on a port of every address; the web page reads the files.
    """
    return [start_worker(processes, home, environ, name) for name in WORKERS]


def start_worker(processes: Processes, home: Path, environ: Dict[str, str], name: str) -> Process:
    """Start the worker ``name``; Airflow shows that as the host of its tasks."""
    pid_file = home / f"{name}.pid"
    # One that was killed leaves it, and its number may be another process's now.
    with suppress(FileNotFoundError):
        pid_file.unlink()
    command = engine.python(["tools.local.worker", "--celery-hostname", f"{name}@localhost"])
    command += ["--pid", str(pid_file), "--skip-serve-logs", "--without-mingle", "--without-gossip"]
    named = {"AIRFLOW__CORE__HOSTNAME_CALLABLE": "tools.local.worker.hostname", worker.NAME: name}
    # Asked to end, it would wait for its tasks, which without us never end.
    dies = partial(die_with_parent, signal.SIGKILL)
    return processes.start(name, command, {**environ, **named}, peers="workers", preexec_fn=dies)
