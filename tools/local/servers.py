"""Redis and PostgreSQL on 127.0.0.1, with their data in a folder of ours.

The programs are the machine's, or installed from Debian's packages. The servers that these
packages run for the whole machine are neither started nor used.
"""

import os
import pwd
import secrets
import signal
import socket
import stat
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Tuple, Type

import psycopg2
import redis

from tools.local.processes import Died, Process, Processes, die_with_parent, obituary
from tools.setup.debian import ensure_program
from tools.setup.environments import SetupError

POSTGRES_FOLDER = "/usr/lib/postgresql/*/bin"  # where Debian has what only its own scripts are to run
POSTGRES_ACCOUNT = "postgres"  # the system user that Debian's package makes
DATABASE_USER = "airflow"
POSTGRES_SETTINGS = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",  # its path would have to be shorter than 108 bytes
    "max_connections=200",  # ten tasks of each worker have some hundred
    # The data has to outlive the processes, and not a crash of the machine.
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
]
STARTUP = 60.0  # seconds that a server has to answer
POLL = 0.05  # seconds between two tries


def start_redis(processes: Processes, environ: Dict[str, str], folder: Path) -> str:
    """Start Redis, with its data in ``folder``; return its URL."""
    folder.mkdir(parents=True, exist_ok=True)
    port, password = free_port(), secrets.token_hex(16)
    # In a file, as everybody on the machine can read a command line.
    settings = folder / "redis.conf"
    write_secret(settings, f"bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave 60 1\n")
    command = [ensure_program("redis-server", "redis-server"), settings.name]
    process = processes.start("Redis", command, environ, serves=True, cwd=str(folder))
    client = redis.Redis(host="127.0.0.1", port=port, password=password)
    wait_for_answer(process, client.ping, redis.ConnectionError)
    return f"redis://:{password}@127.0.0.1:{port}/0"


class Postgres:
    """PostgreSQL, and the user it runs as: it refuses to be root.

    Args:
        processes: Who ends it.
        environ: The environment of its processes.
    """

    def __init__(self, processes: Processes, environ: Dict[str, str]) -> None:
        self.processes = processes
        self.environ = environ
        postgres = ensure_program("postgres", "postgresql", POSTGRES_FOLDER)
        self.programs = Path(postgres).resolve().parent  # which has initdb as well
        self.account = postgres_account() if os.geteuid() == 0 else None

    def version(self) -> str:
        """Return the major version, which alone can read its data."""
        command = [str(self.programs / "postgres"), "--version"]
        printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        # "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"
        return printed.partition(")")[2].partition(".")[0].strip()

    def create(self, folder: Path) -> None:
        """Make an empty database in the new ``folder``.

        Raises:
            Died: PostgreSQL cannot make it.
            SetupError: Its user cannot go there.
        """
        folder.mkdir(parents=True, mode=0o700)
        password = folder / "password"
        write_secret(password, secrets.token_hex(16))
        if self.account:
            check_reach(self.account, folder)
            for path in (folder, password):
                os.chown(str(path), self.account.pw_uid, self.account.pw_gid)
        command = [str(self.programs / "initdb"), "--pgdata", "data", "--username", DATABASE_USER]
        command += ["--auth", "scram-sha-256", "--pwfile", password.name]
        command += ["--encoding", "UTF8", "--locale", "C", "--no-sync"]
        self.processes.call("initdb", command, self.environ, **self._options(folder))

    def start(self, folder: Path) -> Tuple[Process, str]:
        """Start it with the database in ``folder``; return the process, and its URL as SQLAlchemy's."""
        port, password = free_port(), (folder / "password").read_text()
        command = [str(self.programs / "postgres"), "-D", "data", "-p", str(port)]
        for setting in POSTGRES_SETTINGS:
            command += ["-c", setting]
        process = self.processes.start("PostgreSQL", command, self.environ, serves=True, **self._options(folder))
        url = f"postgresql://{DATABASE_USER}:{password}@127.0.0.1:{port}/postgres"
        wait_for_answer(process, lambda: psycopg2.connect(url).close(), psycopg2.OperationalError)
        return process, url

    def _options(self, folder: Path) -> Dict[str, Any]:
        return {"cwd": str(folder), "preexec_fn": partial(become, self.account)}


def postgres_account() -> pwd.struct_passwd:
    """Return the system user that root has PostgreSQL run as.

    Raises:
        SetupError: There is none.
    """
    try:
        return pwd.getpwnam(POSTGRES_ACCOUNT)
    except KeyError:
        raise SetupError(
            f"PostgreSQL cannot run as root, and there is no user {POSTGRES_ACCOUNT}; "
            f"make one: useradd --system {POSTGRES_ACCOUNT}"
        ) from None


def become(account: Optional[pwd.struct_passwd]) -> None:
    """In a new child of root's: take another user's identity; in any: end with the parent.

    To change the user takes back what die_with_parent asked for, so that comes last. SIGINT is
    PostgreSQL's fast shutdown: at SIGTERM it waits for its clients.
    """
    if account:
        os.initgroups(account.pw_name, account.pw_gid)
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    die_with_parent(signal.SIGINT)


def check_reach(account: pwd.struct_passwd, folder: Path) -> None:
    """Check that the folders above ``folder`` let a user of no special group pass.

    Raises:
        SetupError: One does not.
    """
    for parent in folder.resolve().parents:
        status = parent.stat()
        if status.st_uid != account.pw_uid and not status.st_mode & stat.S_IXOTH:
            raise SetupError(
                f"PostgreSQL runs as the user {account.pw_name}, who cannot pass {parent}; "
                f"let it: chmod o+x {parent}, or move this checkout"
            )


def write_secret(file: Path, text: str) -> None:
    """Write a file that nobody else can read."""
    file.touch(mode=0o600)
    file.write_text(text)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_answer(process: Process, ask: Callable[[], object], refused: Type[Exception]) -> None:
    """Ask a server until it answers.

    Args:
        process: The server.
        ask: What asks it.
        refused: What ``ask`` raises while it does not answer.

    Raises:
        Died: It has ended.
        refused: It does not answer in time.
    """
    deadline = time.monotonic() + STARTUP
    while True:
        try:
            ask()
            return
        except refused:
            if process.popen.poll() is not None:
                raise Died(obituary(process)) from None
            if time.monotonic() > deadline:
                raise
        time.sleep(POLL)
