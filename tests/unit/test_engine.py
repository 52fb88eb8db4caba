"""What ``./etl run`` writes before it starts Airflow, and the order in which it starts it."""

import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tools.local import engine
from tools.local.generations import Command
from tools.local.processes import Processes
from tools.local.servers import free_port
from tools.setup.environments import AIRFLOW

KEYS = (
    "from airflow.configuration import conf; print(conf.get('core', 'fernet_key'), conf.get('webserver', 'secret_key'))"
)


def keys(home: Path) -> str:
    command = [str(AIRFLOW.python), "-c", KEYS]
    return subprocess.run(command, env=engine.base_environ(home), check=True, stdout=subprocess.PIPE, text=True).stdout


def test_the_configuration_is_written_once_and_its_keys_are_kept(tmp_path: Path) -> None:
    home = tmp_path / "home"
    engine.prepare_config(home)
    file = home / "airflow.cfg"
    text = file.read_text()

    first = keys(home)
    engine.prepare_config(home)  # as the next ./etl run does

    assert file.read_text() == text
    assert keys(home) == first
    assert all(len(key) > 30 and key in text for key in first.split())


# Two modules: Airflow's server, which needs a while, and what starts tasks, which asks it once.
SERVER = """
import http.server, sys, time
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"scheduler": {"status": "unhealthy"}}')
time.sleep(1)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Health).serve_forever()
"""
SCHEDULER = """
import pathlib, sys, time, urllib.request
try:
    answer = urllib.request.urlopen(sys.argv[1]).read().decode()
except OSError as error:
    answer = str(error)
pathlib.Path(sys.argv[2]).write_text(answer)
time.sleep(60)
"""


def test_nothing_starts_tasks_before_the_server_that_they_need_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, answer = free_port(), tmp_path / "answer"
    (tmp_path / "slow_server.py").write_text(SERVER)
    (tmp_path / "asks_once.py").write_text(SCHEDULER)
    address = f"http://127.0.0.1:{port}{engine.AIRFLOW.health}"
    airflow = SimpleNamespace(
        health=engine.AIRFLOW.health,
        server=lambda port: [Command("server", ["slow_server", str(port)])],
        background=lambda: [Command("scheduler", ["asks_once", address, str(answer)])],
    )
    monkeypatch.setattr(engine, "AIRFLOW", airflow)

    with Processes(tmp_path / "logs") as processes:
        engine.start_scheduler(processes, {engine.PORT: str(port), "PYTHONPATH": str(tmp_path)})
        while not answer.exists() or not answer.read_text():
            processes.check()
            time.sleep(0.1)

    assert answer.read_text() == '{"scheduler": {"status": "unhealthy"}}'
