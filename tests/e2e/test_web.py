"""``./etl run``: a scheduler and a web page that start and end."""

import json
import signal
import time
import urllib.request
from typing import List

import pytest

from tests.e2e.conftest import TIMEOUT, Etl, listening
from tests.e2e.engine import command_of
from tools.local.servers import free_port


def start(etls: List[Etl], port: int) -> Etl:
    etl = Etl("run", "--port", str(port))
    etls.append(etl)
    etl.read_until("http://127.0.0.1")
    return etl


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def web(etls: List[Etl], port: int) -> Etl:
    return start(etls, port)


def test_the_page_answers_and_the_scheduler_is_alive(web: Etl, port: int) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as response:
        assert json.load(response)["scheduler"]["status"] == "healthy"


def test_only_the_loopback_address_is_listened_on(web: Etl, port: int) -> None:
    assert {connection.laddr.ip for connection in listening(web.processes())} == {"127.0.0.1"}


def test_a_taken_port_is_reported(web: Etl, port: int) -> None:
    etl = Etl("run", "--port", str(port))
    assert etl.wait() == 1
    assert f"port {port} is taken; choose another: ./etl run --port {port + 1}" in etl.output


def test_a_second_run_of_an_environment_is_refused(web: Etl) -> None:
    etl = Etl("run", "--port", str(free_port()))
    assert etl.wait() == 1
    assert "another ./etl run serves the environment development" in etl.output


def test_ctrl_c_leaves_no_process_behind(web: Etl) -> None:
    assert len(web.processes()) > 4
    web.popen.send_signal(signal.SIGINT)
    assert web.wait() == 0, web.output
    assert web.processes() == []


def test_sigkill_leaves_no_process_behind(etls: List[Etl]) -> None:
    etl = start(etls, free_port())
    assert len(etl.processes()) > 4
    etl.popen.kill()
    etl.wait()
    deadline = time.monotonic() + TIMEOUT
    while etl.processes() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert etl.processes() == []


def test_the_end_of_one_process_is_reported_and_ends_all(etls: List[Etl]) -> None:
    etl = start(etls, free_port())
    scheduler = next(process for process in etl.processes() if "scheduler" in command_of(process))
    scheduler.kill()
    assert etl.wait() == 1, etl.output
    assert "the scheduler has ended with exit code -9" in etl.output
    assert etl.processes() == []
