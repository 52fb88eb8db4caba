"""A real Airflow on this machine: its settings, its database, its processes."""

import base64
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence
from urllib.parse import quote

from tools import ROOT
from tools.local.generations import AIRFLOW, Command
from tools.local.processes import Died, Processes, obituary
from tools.local.servers import free_port
from tools.setup.environments import AWS, LOCAL, lock
from tools.terminal import print_status

DAGS = ROOT / "dags"
STARTUP = 120.0  # seconds that the web page and the scheduler have to answer

# All that the engine's processes have of the person's environment. AIRFLOW__*, AWS_*,
# proxies and the like must not decide what happens here, least of all where.
KEPT = {"HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "TERM", "TMPDIR", "TZ", "USER"}
KEPT_PREFIX = "ECS_LOCAL_"
PORT = "ETL_WEB_PORT"  # of the web page

# As on MWAA, where it matters to a DAG.
LIKE_MWAA = {
    "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "30",
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__SCHEDULER__CATCHUP_BY_DEFAULT": "False",
}

# Quicker than on MWAA: a person is waiting.
QUICK = {
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
    # Airflow 2.2.2 warns of its own use of distutils, at every start.
    "PYTHONWARNINGS": "ignore::DeprecationWarning:airflow.configuration",
}


class Failed(Exception):
    """The engine cannot run; the text says why."""


def inherited() -> Dict[str, str]:
    """Return what of the person's environment reaches the engine."""
    return {key: value for key, value in os.environ.items() if key in KEPT or key.startswith(KEPT_PREFIX)}


class Cloud:
    """The emulated AWS, running; it has what the definitions of one environment name.

    Args:
        processes: Who ends it.
        environment: The environment whose definitions count.
        dags: The DAGs folder.

    Raises:
        Died: It does not start.
        Failed: The definitions cannot be read.
    """

    def __init__(self, processes: Processes, environment: str, dags: Path = DAGS) -> None:
        self.environment = environment
        self.dags = dags
        self.process = processes.start(
            "emulated AWS",
            [str(AWS.python), "-m", "tools.local.aws"],
            {**inherited(), "PYTHONPATH": str(ROOT)},
            serves=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.definitions = definition_files(dags)
        inventory = read_inventory(environment, dags)
        self.address = self._answer()
        self.region = inventory["region"]
        self.connection = inventory.get("aws_conn_id", "aws_default")
        self._seed(inventory)

    def refresh(self) -> bool:
        """Take over the definitions if their files have changed; return whether they have.

        Raises:
            Failed: The definitions cannot be read.
        """
        definitions = definition_files(self.dags)
        if definitions == self.definitions:
            return False
        self.definitions = definitions
        self._seed(read_inventory(self.environment, self.dags))
        return True

    def _seed(self, inventory: Dict[str, Any]) -> None:
        print(json.dumps(inventory), file=self.process.popen.stdin, flush=True)
        self._answer()

    def _answer(self) -> str:
        line = next(iter(self.process.popen.stdout or ()), "").strip()
        if not line:
            self.process.popen.wait()
            raise Died(obituary(self.process))
        return line


def definition_files(dags: Path) -> Dict[Path, int]:
    """Return when each file of the definitions last changed, in nanoseconds."""
    files = {}
    for folder in (dags, dags / "etl" / "configs"):  # in a checkout a link, which rglob does not follow
        for path in folder.rglob("*.yaml"):
            try:
                files[path] = path.stat().st_mtime_ns
            except OSError:
                continue  # a dangling link, or removed just now
    return files


def read_inventory(environment: str, dags: Path) -> Dict[str, Any]:
    """Return what the definitions of the environment need in AWS, by ``tools.local.inventory``.

    Raises:
        Failed: It says nothing, and why.
    """
    result = subprocess.run(
        [sys.executable, "-m", "tools.local.inventory", environment, str(dags / "etl")],
        env={**inherited(), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if result.returncode != 0:
        raise Failed(result.stderr.strip())
    inventory: Dict[str, Any] = json.loads(result.stdout)
    return inventory


def airflow_environ(home: Path, environment: str, cloud: Cloud, port: Optional[int] = None) -> Dict[str, str]:
    """Return the whole environment of an Airflow process.

    Args:
        home: AIRFLOW_HOME, which holds the database.
        environment: The environment that the factory builds for.
        cloud: The emulated AWS.
        port: Of the web page; one that is free, where tasks need it and a person does not.
    """
    port = port or free_port()
    endpoint = quote(cloud.address, safe="")
    # Airflow hides a connection's password wherever it stands in a log: it is a word that
    # stands nowhere else.
    connection = f"aws://emulated:emulated-secret@/?region_name={cloud.region}&{AIRFLOW.endpoint}={endpoint}"
    return {
        **base_environ(home, cloud.dags),
        **AIRFLOW.environ(port),
        PORT: str(port),
        "AIRFLOW__ETL__ENVIRONMENT": environment,
        f"AIRFLOW_CONN_{cloud.connection.upper()}": connection,
        # Nothing of the person's own AWS set-up, should a client bypass the connection.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def base_environ(home: Path, dags: Path = DAGS) -> Dict[str, str]:
    """Return the environment of an Airflow process that needs no AWS and builds no DAGs."""
    path = os.pathsep.join((str(Path(sys.prefix) / "bin"), os.environ.get("PATH", os.defpath)))
    return {
        **inherited(),
        **LIKE_MWAA,
        **QUICK,
        **AIRFLOW.options,
        "PATH": path,  # the scheduler starts `airflow tasks run`
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tools" / "local" / "settings"))),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__EXECUTOR": AIRFLOW.executor,
        AIRFLOW.database_option: f"sqlite:///{database(home)}",
    }


def database(home: Path) -> Path:
    """Return the SQLite file; its name holds the version of Airflow, as the tables fit that only."""
    return home / f"airflow-{AIRFLOW.version}.db"


def airflow(*arguments: str) -> List[str]:
    """Return the command line of an Airflow command."""
    return python(["airflow", *arguments])


def python(arguments: Sequence[str]) -> List[str]:
    """Return the command line of a Python module."""
    return [sys.executable, "-m", *arguments]


def prepare_database(processes: Processes, home: Path) -> None:
    """Make in ``home`` a database with the tables and a user, unless it has one.

    Making one takes some 10 s, so it is made once and copied.

    Raises:
        Died: Airflow could not make it.
    """
    prepare_config(home)
    if database(home).exists():
        return
    template = LOCAL / f"template-{AIRFLOW.version}"
    with lock(LOCAL / "template.lock"):
        if not database(template).exists():
            print_status("making a database, once")
            making = template.with_suffix(".new")
            shutil.rmtree(making, ignore_errors=True)
            fill_database(processes, base_environ(making))
            shutil.rmtree(template, ignore_errors=True)
            making.rename(template)
    home.mkdir(parents=True, exist_ok=True)
    part = home / "database.part"
    shutil.copyfile(database(template), part)
    part.rename(database(home))


def prepare_config(home: Path) -> None:
    """Write in ``home`` a configuration file with keys of its own, unless it has one; all else is Airflow's default.

    Without one, each Airflow process that starts writes one, and may read what another has half written.
    """
    file, part = home / "airflow.cfg", home / "airflow.cfg.part"
    if not file.exists():
        home.mkdir(parents=True, exist_ok=True)
        lines = "".join("[{}]\n{} = {}\n".format(*key.split("."), new_key()) for key in AIRFLOW.keys)
        part.write_text(lines)
        part.rename(file)


def new_key() -> str:
    """Return a key in the shape that Fernet wants."""
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def fill_database(processes: Processes, environ: Dict[str, str]) -> None:
    """Make Airflow's tables, and the web page's user where it has users, in an empty database.

    Raises:
        Died: Airflow could not make them.
    """
    for name, arguments in AIRFLOW.set_up:
        processes.call(name, python(arguments), environ)


def start_scheduler(processes: Processes, environ: Dict[str, str]) -> None:
    """Start all of Airflow that runs tasks.

    Raises:
        Died: A process has ended meanwhile.
        Failed: It takes too long.
    """
    port = int(environ[PORT])
    server = AIRFLOW.server(port)
    if server:  # a task that starts before it answers has failed
        start_all(processes, environ, server)
        wait_until(processes, lambda: health(port) is not None)
    start_all(processes, environ, AIRFLOW.background())


def start_webserver(processes: Processes, environ: Dict[str, str]) -> None:
    """Start what the web page on 127.0.0.1 needs besides."""
    start_all(processes, environ, AIRFLOW.web(int(environ[PORT])))


def start_all(processes: Processes, environ: Dict[str, str], commands: Iterable[Command]) -> None:
    """Start processes of Airflow."""
    for name, arguments in commands:
        processes.start(name, python(arguments), environ)


def wait_until_healthy(processes: Processes, port: int) -> None:
    """Wait until the web page answers and says that the scheduler is alive.

    Raises:
        Died: A process has ended meanwhile.
        Failed: It takes too long.
    """
    wait_until(processes, lambda: is_healthy(port))


def wait_until(processes: Processes, is_there: Callable[[], bool]) -> None:
    """Wait until something of Airflow is there; raise as :func:`wait_until_healthy` does."""
    deadline = time.monotonic() + STARTUP
    while not is_there():
        processes.check()
        if time.monotonic() > deadline:
            raise Failed(f"Airflow does not answer after {STARTUP:.0f} s; see {processes.logs}")
        time.sleep(0.2)


def is_healthy(port: int) -> bool:
    """Return whether Airflow's health says so."""
    answer = health(port)
    return answer is not None and answer["scheduler"]["status"] == "healthy"


def health(port: int) -> Optional[Dict[str, Any]]:
    """Return what Airflow says of its health; None while it does not answer."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://127.0.0.1:{port}{AIRFLOW.health}", timeout=10) as response:
            answer: Dict[str, Any] = json.load(response)
            return answer
    except (urllib.error.URLError, OSError):
        return None
