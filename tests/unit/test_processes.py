"""Which processes may end while the others run."""

import signal
import time
from pathlib import Path
from typing import Iterator

import pytest

from tools.local.processes import Died, Process, Processes


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    processes = Processes(tmp_path)
    yield processes
    for process in list(processes.started):
        processes.end(process)


def start(processes: Processes, name: str, peers: str = "") -> Process:
    return processes.start(name, ["sleep", "60"], {"PATH": "/usr/bin:/bin"}, peers=peers)


def kill(process: Process) -> None:
    process.popen.kill()
    process.popen.wait()


def test_the_end_of_a_process_is_reported(processes: Processes) -> None:
    start(processes, "other")
    kill(start(processes, "scheduler"))
    with pytest.raises(Died, match="the scheduler has ended with exit code -9"):
        processes.check()


def test_a_process_may_end_while_a_peer_runs(processes: Processes, capsys: pytest.CaptureFixture[str]) -> None:
    start(processes, "other")
    first, second = start(processes, "worker-1", "workers"), start(processes, "worker-2", "workers")
    kill(first)
    processes.check()
    processes.check()
    assert capsys.readouterr().err.count("worker-1 has ended with exit code -9; the other workers go on") == 1
    kill(second)
    with pytest.raises(Died, match="the worker-2 has ended"):
        processes.check()


def test_the_end_of_all_peers_is_an_error(processes: Processes) -> None:
    both = [start(processes, "worker-1", "workers"), start(processes, "worker-2", "workers")]
    for process in both:
        kill(process)
    with pytest.raises(Died, match="the worker-2 has ended"):
        processes.check()


def test_one_process_can_be_ended(processes: Processes) -> None:
    started = time.monotonic()
    processes.end(start(processes, "database"))
    assert processes.started == []
    assert time.monotonic() - started < 10


def test_afterwards_signals_are_handled_as_before(tmp_path: Path) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    with Processes(tmp_path):
        pass
    assert [signal.getsignal(number) for number in numbers] == before
