"""Running ``./etl`` as a person does, and finding the processes that it leaves behind."""

import os
import subprocess
import threading
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Optional, Set

import psutil
import pytest

from tests.trees import COMPANY, REPOSITORY, folder_tree

MARK = "ECS_LOCAL_MARK"  # ./etl run passes variables with this prefix to every process that it starts
TIMEOUT = 300  # seconds; a run takes some 20 s on two idle cores


class Etl:
    """One ``./etl`` command, its output, and all processes that it starts."""

    def __init__(self, *arguments: str, **environ: str) -> None:
        self.mark = uuid.uuid4().hex
        self.popen = subprocess.Popen(
            [str(REPOSITORY / "etl"), *arguments],
            env={**os.environ, **environ, MARK: self.mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""
        self.sessions: Set[int] = set()

    def read_until(self, text: str) -> str:
        """Read the output up to a line with ``text``; return that line."""
        watchdog = threading.Timer(TIMEOUT, self.popen.kill)  # which ends the output
        watchdog.start()
        try:
            for line in self.popen.stdout or ():
                self.output += line
                if text in line:
                    return line
        finally:
            watchdog.cancel()
        raise AssertionError(f"{text!r} is not in the output:\n{self.output}")

    def wait(self) -> int:
        """Read the output to its end; return the exit status."""
        self.output += self.popen.communicate(timeout=TIMEOUT)[0]
        return self.popen.returncode

    def processes(self) -> List[psutil.Process]:
        """Return the processes of this command that run now, wherever they are in the tree.

        They are identified by a variable in their environment or, as some overwrite theirs with a title, by a session
        that was seen below the command.
        """
        everything = list(psutil.process_iter())
        marked = [process for process in everything if environ_of(process).get(MARK) == self.mark]
        if self.popen.poll() is None:
            below = psutil.Process(self.popen.pid).children(recursive=True)
            self.sessions.update(filter(None, map(session_of, below)))
        self.sessions.discard(os.getsid(0))  # the command itself is in the tests' own session
        return [process for process in everything if process in marked or session_of(process) in self.sessions]

    def kill(self) -> None:
        """Kill all processes of the command, whatever state it is in."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
                process.kill()
        self.popen.communicate()


def session_of(process: psutil.Process) -> Optional[int]:
    """Return the id of the session of a process; None if it has ended."""
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return None


def environ_of(process: psutil.Process) -> Dict[str, Any]:
    """Return the environment that a process was started with; empty if it cannot be read."""
    try:
        environ: Dict[str, Any] = process.environ()
    except psutil.Error:  # it has ended, or is another user's
        return {}
    return environ


def listening(processes: Iterable[psutil.Process]) -> List[Any]:
    """Return the sockets that any of the processes listens on."""
    pids = {process.pid for process in processes}
    return [
        connection
        for connection in psutil.net_connections("inet")
        if connection.pid in pids and connection.status == psutil.CONN_LISTEN
    ]


@pytest.fixture(scope="session")
def company(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a DAGs folder with realistic definitions."""
    return folder_tree(tmp_path_factory.mktemp("company"), COMPANY).parent


@pytest.fixture(scope="module")
def etls() -> Iterator[List[Etl]]:
    """Collect the commands that a test starts; kill them at the end of its module."""
    started: List[Etl] = []
    yield started
    for etl in started:
        etl.kill()
