"""Redis and PostgreSQL on 127.0.0.1, with their data in a folder of ours.

The programs are the machine's; Debian's packages are installed if they are missing. The
servers that these packages run for the whole machine are neither started nor used.
"""

import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple, Type

import psycopg2
import redis

from tools.environments import LOCAL, SetupError, lock, run, say
from tools.local.processes import Died, Process, Processes, die_with_parent, obituary

PACKAGES = {"redis-server": "redis-server", "postgres": "postgresql"}  # Debian's, by the program
SERVICE_POLICY = Path("/usr/sbin/policy-rc.d")  # what Debian's packages ask before they start a service
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


def ensure() -> None:
    """Install the servers that this machine does not have.

    Raises:
        SetupError: They cannot be installed.
    """
    if missing():
        LOCAL.mkdir(exist_ok=True)
        with lock(LOCAL / "servers.lock"):
            install(missing())  # another ./etl may have installed them meanwhile


def missing() -> List[str]:
    """The Debian packages of the programs that are not there."""
    return [package for name, package in PACKAGES.items() if find(name) is None]


def find(name: str) -> Optional[Path]:
    """A server's program; Debian keeps those of PostgreSQL out of the PATH."""
    path = shutil.which(name)
    if path:
        return Path(path)  # not resolved: redis-server is one of several names of its program
    versions = Path("/usr/lib/postgresql").glob(f"*/bin/{name}")
    newest_first = sorted(versions, key=lambda found: float(found.parts[-3]), reverse=True)
    return next(iter(newest_first), None)


def program(name: str) -> Path:
    """A server's program.

    Raises:
        SetupError: It is not there.
    """
    path = find(name)
    if path is None:
        raise SetupError(f"{name} is not on the PATH; install it, e.g.: apt-get install {PACKAGES[name]}")
    return path


def install(packages: List[str]) -> None:
    """Install Debian packages, without their services."""
    if not packages:
        return
    names = " ".join(packages)
    command = f"apt-get install --no-install-recommends {names}"
    if shutil.which("apt-get") is None:
        raise SetupError(f"the Celery executor needs {' and '.join(packages)}; install what has them on the PATH")
    if os.geteuid() != 0:
        raise SetupError(f"the Celery executor needs {' and '.join(packages)}; install them: sudo {command}")
    say(f"installing Debian's {' and '.join(packages)}")
    apt_get = ["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
    with services_kept_off():
        run("env", *apt_get, "update")  # if it fails, the lists of last time may do
        if not run("env", *apt_get, "install", "-y", "--no-install-recommends", *packages):
            raise SetupError(f"the packages could not be installed (see above); try it by hand: {command}")


@contextmanager
def services_kept_off() -> Iterator[None]:
    """Keep packages from starting a service, unless the machine has a policy of its own for that."""
    if SERVICE_POLICY.exists():
        yield
        return
    SERVICE_POLICY.write_text("#!/bin/sh\nexit 101\n")  # "action forbidden by policy"
    SERVICE_POLICY.chmod(0o755)
    try:
        yield
    finally:
        SERVICE_POLICY.unlink()


def start_redis(processes: Processes, environ: Dict[str, str], folder: Path) -> str:
    """Start Redis, with its data in ``folder``; gives its URL."""
    folder.mkdir(parents=True, exist_ok=True)
    port, password = free_port(), secrets.token_hex(16)
    # In a file, as everybody on the machine can read a command line.
    settings = folder / "redis.conf"
    write_secret(settings, f"bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave 60 1\n")
    command = [str(program("redis-server")), settings.name]
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
        self.programs = program("postgres").resolve().parent  # which has initdb as well
        self.account = postgres_account() if os.geteuid() == 0 else None

    def version(self) -> str:
        """The major version, which alone can read its data."""
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
        """Start it with the database in ``folder``; gives the process, and its URL as SQLAlchemy's."""
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
    """The system user that root has PostgreSQL run as.

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
    """See that the folders above ``folder`` let a user of no special group pass.

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
    """A port of 127.0.0.1 that nobody listens on."""
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
