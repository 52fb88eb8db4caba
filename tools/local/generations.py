"""What differs between the generations of Airflow that run on this machine: options, processes, logs, triggering.

Each runs in the environment of its own generation, as all of tools.local does; ``AIRFLOW`` is the one of this process.
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Dict, List, NamedTuple, Sequence

import importlib_metadata

from tools.setup.environments import GENERATIONS

USER = PASSWORD = "admin"  # the web page is on 127.0.0.1 only
CREATE_USER = ["users", "create", "--username", USER, "--password", PASSWORD, "--role", "Admin"]
CREATE_USER += ["--firstname", "Local", "--lastname", "Admin", "--email", "admin@localhost"]


class Command(NamedTuple):
    """A process of Airflow: its name for people, and the arguments of Python after ``-m``."""

    name: str
    arguments: Sequence[str]


class Airflow:
    """Airflow 2.2.2."""

    database_option = "AIRFLOW__CORE__SQL_ALCHEMY_CONN"
    executor = "SequentialExecutor"  # one task at a time, which is all that SQLite takes
    endpoint = "host"  # of an AWS connection, where AWS is
    health = "/health"
    login = f"user {USER}, password {PASSWORD}"
    keys: ClassVar[Sequence[str]] = ("core.fernet_key", "webserver.secret_key")
    options: ClassVar[Dict[str, str]] = {
        # As on MWAA, with the options that docs/operations.md lists, where it matters to a DAG or to who triggers one.
        "AIRFLOW__CORE__DAG_RUN_CONF_OVERRIDES_PARAMS": "True",
        "AIRFLOW__CORE__DAG_FILE_PROCESSOR_TIMEOUT": "50",
        # The REST API takes the user and password of the web page; Airflow's default refuses everybody.
        "AIRFLOW__API__AUTH_BACKEND": "airflow.api.auth.backend.basic_auth",
        # Quicker than on MWAA: a person is waiting.
        "AIRFLOW__SCHEDULER__MIN_FILE_PROCESS_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__DAG_DIR_LIST_INTERVAL": "30",
    }
    set_up: ClassVar[Sequence[Command]] = (
        Command("database set-up", ["airflow", "db", "init"]),
        Command("user set-up", ["airflow", *CREATE_USER]),
    )

    def __init__(self) -> None:
        self.version: str = importlib_metadata.version("apache-airflow")  # type: ignore[no-untyped-call]

    def environ(self, port: int) -> Dict[str, str]:
        """Return options that name the port of the web page."""
        return {}

    def postgres(self, url: str) -> Dict[str, str]:
        """Return options that name a database in PostgreSQL."""
        return {self.database_option: url}

    def server(self, port: int) -> List[Command]:
        """Return the processes that must answer before a task starts; by default tasks know the database."""
        return []

    def background(self) -> List[Command]:
        """Return the processes that run tasks, by which a person sees nothing yet.

        The scheduler also runs the tasks if there are no workers. It would serve their logs on port 8793 of every
        address; the web page reads the files.
        """
        return [Command("scheduler", ["airflow", "scheduler", "--skip-serve-logs"])]

    def web(self, port: int) -> List[Command]:
        """Return the processes that the web page needs besides.

        This is the gunicorn of `airflow webserver`, without its monitor, which replaces workers once in a while,
        doubles the time to start, and trips over the pid file of a killed one.
        """
        arguments = ["gunicorn", "--workers", "1", "--timeout", "120", "--bind", f"127.0.0.1:{port}"]
        arguments += ["--config", "python:airflow.www.gunicorn_config", "airflow.www.app:cached_app()"]
        return [Command("web server", arguments)]

    def trigger(self, dag_id: str, conf: Dict[str, Any]) -> str:
        """Trigger a DAG as ``airflow dags trigger`` does; return the id of the run."""
        from airflow.api.common.experimental.trigger_dag import trigger_dag

        run: Any = trigger_dag(dag_id, conf=conf, replace_microseconds=False)  # there may be two runs in a second
        return str(run.run_id)

    def clear(self, dag_id: str, tasks: List[Any], session: Any) -> None:
        """Clear tasks, as a person does in the web page."""
        from airflow.models.serialized_dag import SerializedDagModel
        from airflow.models.taskinstance import clear_task_instances

        stored: Any = SerializedDagModel.get(dag_id, session)
        clear_task_instances(tasks, session, dag=stored.dag)

    def add_pool(self, session: Any, name: str, slots: int) -> None:
        """Make a pool."""
        from airflow.models import Pool

        session.add(Pool(pool=name, slots=slots))

    def log_folder(self, base: Path, dag_id: str, run: Any, task_id: str) -> Path:
        """Return where the logs of a task are; ``run`` has the run's columns."""
        return base / dag_id / task_id / str(run.execution_date.isoformat())

    def log(self, folder: Path, attempt: int = 0) -> str:
        """Return the log of one try of a task, or of the last one; empty if there is none."""
        files = {int(file.stem.split("=")[-1]): file for file in folder.glob("*.log")}
        file = files.get(attempt or max(files, default=0))
        return self.log_text(file.read_text(errors="replace")) if file else ""

    def log_text(self, text: str) -> str:
        """Return what a file of a log says."""
        return text


class Airflow211(Airflow):
    """Airflow 2.11."""

    database_option = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
    endpoint = "endpoint_url"
    options: ClassVar[Dict[str, str]] = {
        "AIRFLOW__CORE__DAG_FILE_PROCESSOR_TIMEOUT": "50",
        "AIRFLOW__API__AUTH_BACKENDS": "airflow.api.auth.backend.basic_auth,airflow.api.auth.backend.session",
        "AIRFLOW__SCHEDULER__MIN_FILE_PROCESS_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__DAG_DIR_LIST_INTERVAL": "30",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "GUNICORN_CMD_ARGS": "--no-control-socket",  # gunicorn.ctl in the checkout
    }
    set_up: ClassVar[Sequence[Command]] = (
        Command("database set-up", ["airflow", "db", "migrate"]),
        Command("user set-up", ["airflow", *CREATE_USER]),
    )

    def trigger(self, dag_id: str, conf: Dict[str, Any]) -> str:
        api: Any = import_module("airflow.api.common.trigger_dag")
        return str(api.trigger_dag(dag_id, conf=conf, replace_microseconds=False).run_id)

    def add_pool(self, session: Any, name: str, slots: int) -> None:
        from airflow.models import Pool

        session.add(Pool(pool=name, slots=slots, include_deferred=False))

    def log_folder(self, base: Path, dag_id: str, run: Any, task_id: str) -> Path:
        return base / f"dag_id={dag_id}" / f"run_id={run.run_id}" / f"task_id={task_id}"


class Airflow3(Airflow211):
    """Airflow 3, whose tasks know no database: the web page's server is their only way to it."""

    executor = "LocalExecutor"
    health = "/api/v2/monitor/health"
    login = "everybody is an admin"
    keys: ClassVar[Sequence[str]] = ("core.fernet_key", "api.secret_key", "api_auth.jwt_secret")
    options: ClassVar[Dict[str, str]] = {
        "AIRFLOW__CORE__PARALLELISM": "1",  # one task at a time, which is all that SQLite takes
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "50",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    set_up: ClassVar[Sequence[Command]] = (Command("database set-up", ["airflow", "db", "migrate"]),)

    def environ(self, port: int) -> Dict[str, str]:
        return {
            "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        }

    def postgres(self, url: str) -> Dict[str, str]:
        """Return options that name a database in PostgreSQL; what needs another driver is not used here."""
        return {**super().postgres(url), "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": ""}

    def server(self, port: int) -> List[Command]:
        arguments = ["airflow", "api-server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
        return [Command("web server", arguments)]

    def background(self) -> List[Command]:
        return [Command("DAG processor", ["airflow", "dag-processor"]), *super().background()]

    def web(self, port: int) -> List[Command]:
        return []

    def trigger(self, dag_id: str, conf: Dict[str, Any]) -> str:
        api: Any = import_module("airflow.api.common.trigger_dag")
        types: Any = import_module("airflow.utils.types")
        return str(api.trigger_dag(dag_id, conf=conf, triggered_by=types.DagRunTriggeredByType.CLI).run_id)

    def clear(self, dag_id: str, tasks: List[Any], session: Any) -> None:
        from airflow.models.taskinstance import clear_task_instances

        clear_task_instances(tasks, session)

    def log_text(self, text: str) -> str:
        """Return the log as Airflow 2 writes it: a line of Airflow 3 is JSON."""
        return "".join(f"{as_text(line)}\n" for line in text.splitlines())


def as_text(line: str) -> str:
    """Return a line of a log of Airflow 3 as Airflow 2 writes it, with its exceptions below."""
    try:
        entry = json.loads(line)
    except ValueError:  # what a process has written by itself
        return line
    place = f"{entry.get('filename', 'task.py')}:{entry.get('lineno', 0)}"
    lines = [f"[{entry.get('timestamp')}] {{{place}}} {entry.get('level', '').upper()} - {entry.get('event')}"]
    for error in entry.get("error_detail", ()):
        lines.append(f"{error.get('exc_type')}: {error.get('exc_value')}")
    return "\n".join(lines)


NAME = next((name for name, each in GENERATIONS.items() if each.name == Path(sys.prefix).name), "2.2.2")
AIRFLOW = {"2.2.2": Airflow, "2.11": Airflow211, "3": Airflow3}[NAME]()
