"""Starting processes, and leaving none of them behind."""

import collections
import ctypes
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Set, Type

import psutil

from tools.terminal import print_status

LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
PR_SET_CHILD_SUBREAPER = 36
PATIENCE = 10.0  # seconds from asking processes to end to killing them
TAIL = 15  # lines of a log that are shown when its process has died


class Died(Exception):
    """A process has ended that should not have; the text shows the end of its log."""


class Process(NamedTuple):
    """A process of ours and the file that its output goes to."""

    name: str
    popen: "subprocess.Popen[str]"
    log: Path
    serves: bool = False  # the others, so that it ends after them
    peers: str = ""  # what those are called that can do its work


class Processes:
    """The processes that this one started: leaving the context ends them all.

    So that none escapes, children of theirs that lose their parent become ours: Airflow's
    tasks have process groups of their own, which a signal to their parent's does not reach.

    Args:
        logs: The folder of the log files.
    """

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.started: List[Process] = []
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> "Processes":
        adopt_orphans(True)
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        # Ending takes a moment; a second Ctrl-C must not leave half of them behind.
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
        self.stop()
        # What this process does and starts afterwards must be able to end again.
        for number, handler in handlers.items():
            signal.signal(number, handler)
        adopt_orphans(False)

    def start(
        self,
        name: str,
        command: List[str],
        environ: Mapping[str, str],
        serves: bool = False,
        peers: str = "",
        **options: Any,
    ) -> Process:
        """Start a process in a session of its own, so that a Ctrl-C reaches only us.

        Args:
            name: What people call it; names its log.
            command: The program and its arguments.
            environ: Its whole environment.
            serves: Whether the others need it to their end.
            peers: What it shares with those that can do its work; it may end while one is left.
            options: More for ``subprocess.Popen``; its output goes to the log if not here.
        """
        log = self.logs / f"{name}.log"
        with open(log, "w") as file:
            settings: Dict[str, Any] = {
                "stdin": subprocess.DEVNULL,
                "stdout": file,
                "stderr": file,
                "text": True,
                "start_new_session": True,
                "preexec_fn": die_with_parent,
            }
            settings.update(options)
            popen = subprocess.Popen(command, env=dict(environ), **settings)
        process = Process(name, popen, log, serves, peers)
        self.started.append(process)
        return process

    def call(self, name: str, command: List[str], environ: Mapping[str, str], **options: Any) -> None:
        """Run a process to its end.

        Raises:
            Died: It failed.
        """
        process = self.start(name, command, environ, **options)
        if process.popen.wait() != 0:
            raise Died(obituary(process))
        self.started.remove(process)

    def end(self, process: Process) -> None:
        """Ask one process to end, and wait for it."""
        process.popen.terminate()
        process.popen.wait()
        self.started.remove(process)

    def check(self, besides: Optional[Process] = None) -> None:
        """Raise ``Died`` if a process has ended whose work nobody else does, ``besides`` one that may."""
        for process in list(self.started):
            if process is besides or process.popen.poll() is None:
                continue
            self.started.remove(process)
            if not any(process.peers and process.peers == other.peers for other in self.started):
                raise Died(obituary(process))
            print_status(
                f"{process.name} has ended with exit code {process.popen.returncode}; the other {process.peers} go on"
            )

    def stop(self) -> None:
        """End all processes, those that serve the others last.

        A task that is stopped still asks the emulated AWS to stop its container.
        """
        end_all({process.popen.pid for process in self.started if process.serves})
        end_all(set())
        self.started.clear()


def end_all(kept: Set[int]) -> None:
    """Ask the processes below this one to end, and kill those that have not in time.

    Args:
        kept: Ids of children that are left alone, with what is below them.
    """
    asked: Set[psutil.Process] = set()
    deadline = time.monotonic() + PATIENCE
    while True:
        alive = descendants(kept)
        if not alive:
            return
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                if time.monotonic() > deadline:
                    process.kill()
                elif process not in asked:
                    process.terminate()
        asked.update(alive)
        psutil.wait_procs(alive, timeout=0.2)  # also takes the exit status of our children


def descendants(kept: Set[int]) -> List[psutil.Process]:
    """Return the processes below this one, without the children ``kept`` and what is below them."""
    found = []
    for child in psutil.Process().children():
        if child.pid not in kept:
            found.append(child)
            # If it has ended just now, what was below it is ours now, and found next time.
            with suppress(psutil.NoSuchProcess):
                found.extend(child.children(recursive=True))
    return found


def adopt_orphans(adopt: bool) -> None:
    """Decide whether what is below this process becomes its child when it loses its parent."""
    if LIBC:
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)


def die_with_parent(number: int = signal.SIGTERM) -> None:
    """In a new child: get the signal ``number`` when the parent is killed outright."""
    if LIBC:
        LIBC.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


def obituary(process: Process) -> str:
    """Return a message about a process that has ended, with the end of its log."""
    with open(process.log, errors="replace") as file:
        tail = "".join(collections.deque(file, maxlen=TAIL)).rstrip()
    return f"the {process.name} has ended with exit code {process.popen.returncode}; the end of {process.log}:\n{tail}"
