"""A real Airflow on this machine: its settings, its database, its processes."""

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Dict, List
from urllib.parse import quote

import importlib_metadata

from tools import ROOT
from tools.local.processes import Died, Process, Processes, obituary
from tools.setup.environments import AIRFLOW, AWS, LOCAL, lock
from tools.terminal import print_status

DAGS = ROOT / "dags"
USER = PASSWORD = "admin"  # the web page is on 127.0.0.1 only
STARTUP = 120.0  # seconds that the web page and the scheduler have to answer

# All that the engine's processes have of the person's environment. AIRFLOW__*, AWS_*,
# proxies and the like must not decide what happens here, least of all where.
KEPT = {"HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "TERM", "TMPDIR", "TZ", "USER"}
KEPT_PREFIX = "ECS_LOCAL_"

# As on MWAA 2.2.2, where it matters to a DAG.
LIKE_MWAA = {
    "AIRFLOW__CORE__DAG_RUN_CONF_OVERRIDES_PARAMS": "False",
    "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "30",
    "AIRFLOW__CORE__DAG_FILE_PROCESSOR_TIMEOUT": "50",
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__SCHEDULER__CATCHUP_BY_DEFAULT": "False",
}

# The REST API takes the user and password of the web page; Airflow's default refuses everybody.
OPEN = {"AIRFLOW__API__AUTH_BACKEND": "airflow.api.auth.backend.basic_auth"}

# Quicker than on MWAA: a person is waiting.
QUICK = {
    "AIRFLOW__SCHEDULER__MIN_FILE_PROCESS_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__DAG_DIR_LIST_INTERVAL": "30",
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
        [str(AIRFLOW.python), "-m", "tools.local.inventory", environment, str(dags / "etl")],
        env={**inherited(), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if result.returncode != 0:
        raise Failed(result.stderr.strip())
    inventory: Dict[str, Any] = json.loads(result.stdout)
    return inventory


def airflow_environ(home: Path, environment: str, cloud: Cloud) -> Dict[str, str]:
    """Return the whole environment of an Airflow process.

    Args:
        home: AIRFLOW_HOME, which holds the database.
        environment: The environment that the factory builds for.
        cloud: The emulated AWS.
    """
    endpoint = quote(cloud.address, safe="")
    # Airflow hides a connection's password wherever it stands in a log: it is a word that
    # stands nowhere else.
    connection = f"aws://emulated:emulated-secret@/?region_name={cloud.region}&host={endpoint}"
    return {
        **base_environ(home, cloud.dags),
        "AIRFLOW__ETL__ENVIRONMENT": environment,
        f"AIRFLOW_CONN_{cloud.connection.upper()}": connection,
        # Nothing of the person's own AWS set-up, should a client bypass the connection.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def base_environ(home: Path, dags: Path = DAGS) -> Dict[str, str]:
    """Return the environment of an Airflow process that needs no AWS and builds no DAGs."""
    path = os.pathsep.join((str(AIRFLOW.folder / "bin"), os.environ.get("PATH", os.defpath)))
    return {
        **inherited(),
        **LIKE_MWAA,
        **OPEN,
        **QUICK,
        "PATH": path,  # the scheduler starts `airflow tasks run`
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tools" / "local" / "settings"))),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__EXECUTOR": "SequentialExecutor",
        "AIRFLOW__CORE__SQL_ALCHEMY_CONN": f"sqlite:///{database(home)}",
    }


def airflow_version() -> str:
    """Return the installed version; a database's name holds it, as the tables fit that version only."""
    version: str = importlib_metadata.version("apache-airflow")  # type: ignore[no-untyped-call]
    return version


def database(home: Path) -> Path:
    """Return the SQLite file."""
    return home / f"airflow-{airflow_version()}.db"


def airflow(*arguments: str) -> List[str]:
    """Return the command line of an Airflow command."""
    return [str(AIRFLOW.python), "-m", "airflow", *arguments]


def prepare_database(processes: Processes, home: Path) -> None:
    """Make in ``home`` a database with the tables and a user, unless it has one.

    Making one takes some 10 s, so it is made once and copied.

    Raises:
        Died: Airflow could not make it.
    """
    prepare_config(home)
    if database(home).exists():
        return
    template = LOCAL / "template"
    with lock(LOCAL / "template.lock"):
        if not database(template).exists():
            print_status("making a database, once")
            making = LOCAL / "template.new"
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
        fernet_key = base64.urlsafe_b64encode(os.urandom(32)).decode()
        part.write_text(f"[core]\nfernet_key = {fernet_key}\n[webserver]\nsecret_key = {os.urandom(16).hex()}\n")
        part.rename(file)


def fill_database(processes: Processes, environ: Dict[str, str]) -> None:
    """Make Airflow's tables and the web page's user in an empty database.

    Raises:
        Died: Airflow could not make them.
    """
    processes.call("database set-up", airflow("db", "init"), environ)
    user = ["--username", USER, "--password", PASSWORD, "--role", "Admin"]
    user += ["--firstname", "Local", "--lastname", "Admin", "--email", "admin@localhost"]
    processes.call("user set-up", airflow("users", "create", *user), environ)


def start_scheduler(processes: Processes, environ: Dict[str, str]) -> Process:
    """Start the scheduler, which also runs the tasks if there are no workers.

    It would serve their logs on port 8793 of every address; the web page reads the files.
    """
    return processes.start("scheduler", airflow("scheduler", "--skip-serve-logs"), environ)


def start_webserver(processes: Processes, environ: Dict[str, str], port: int) -> Process:
    """Start the web page on 127.0.0.1.

    This is the gunicorn of `airflow webserver`, without its monitor, which replaces workers
    once in a while, doubles the time to start, and trips over the pid file of a killed one.
    """
    command = [str(AIRFLOW.python), "-m", "gunicorn", "--workers", "1", "--timeout", "120"]
    command += ["--bind", f"127.0.0.1:{port}", "--config", "python:airflow.www.gunicorn_config"]
    return processes.start("web server", [*command, "airflow.www.app:cached_app()"], environ)


def wait_until_healthy(processes: Processes, port: int) -> None:
    """Wait until the web page answers and says that the scheduler is alive.

    Raises:
        Died: A process has ended meanwhile.
        Failed: It takes too long.
    """
    deadline = time.monotonic() + STARTUP
    while not is_healthy(port):
        processes.check()
        if time.monotonic() > deadline:
            raise Failed(f"Airflow does not answer after {STARTUP:.0f} s; see {processes.logs}")
        time.sleep(0.2)


def is_healthy(port: int) -> bool:
    """Return whether Airflow's /health says so."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://127.0.0.1:{port}/health", timeout=10) as response:
            health = json.load(response)
    except (urllib.error.URLError, OSError):
        return False
    return bool(health["scheduler"]["status"] == "healthy")
