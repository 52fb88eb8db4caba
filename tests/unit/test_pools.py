"""The preflight asks the Airflow of an MWAA environment, by way of its web server, for the pools that tasks name."""

import base64
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Dict, Iterator, List

import pytest
from orchestrator import load

from tests.trees import tree
from tools.deploying.cloud import CloudError
from tools.deploying.named import uses_of
from tools.deploying.pools import check_pools

PIPELINE = """\
start_date: 2022-01-01
tasks:
  a: {task_definition: a, pool: heavvy}
  b: {task_definition: b, pool: heavy}
  c: {task_definition: c}
providers: {un: {}, wcm: {}}
"""
LOG = "[2022-01-01 00:00:00,000] {cli_action_loggers.py:105} WARNING - Failed to log action\n"
POOLS = LOG + json.dumps([{"pool": name, "slots": "1", "description": ""} for name in ("default_pool", "heavy")]) + "\n"


class Mwaa(HTTPServer):
    """Both AWS's API and the web server of an environment."""

    status, printed = 200, POOLS

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: List[Any] = []


class Handler(BaseHTTPRequestHandler):
    server: Mwaa

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.server.asked.append((self.path, body))
        token: Dict[str, str] = {"CliToken": "t", "WebServerHostname": f"127.0.0.1:{self.server.server_port}"}
        status, answer = self.server.status, token
        if self.path == "/aws_mwaa/cli":
            assert self.headers["Authorization"] == "Bearer t"
            status, answer = 200, {"stdout": base64.b64encode(self.server.printed.encode()).decode(), "stderr": ""}
        self.send_response(status)
        if status == 403:
            self.send_header("x-amzn-ErrorType", "AccessDeniedException")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: Any) -> None:
        """Keep the report of the tests clean."""


@pytest.fixture
def mwaa(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mwaa]:
    server = Mwaa()
    thread = Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def report(folder: Path, pipeline: str = PIPELINE) -> List[str]:
    root = tree(folder, {"cwr/big.yaml": pipeline})
    with (root / "configs" / "staging.yaml").open("a") as config:
        config.write("pools: [heavvy, heavy]\n")
    definitions = load(root, "staging").definitions
    assert definitions
    return [str(problem) for problem in check_pools(uses_of(definitions), "eu-west-1", "etl-staging")]


def test_a_pool_that_does_not_exist_is_reported_once_with_the_one_that_was_meant(mwaa: Mwaa, tmp_path: Path) -> None:
    (problem,) = report(tmp_path)

    assert "big.yaml:3:33: there is no pool 'heavvy' in etl-staging [preflight]" in problem
    assert "did you mean 'heavy'?" in problem
    assert mwaa.asked == [("/clitoken/etl-staging", ""), ("/aws_mwaa/cli", "pools list --output json")]


def test_credentials_that_may_not_ask_are_told_which_permission_they_need(mwaa: Mwaa, tmp_path: Path) -> None:
    mwaa.status = 403

    assert all("these credentials need airflow:CreateCliToken" in problem for problem in report(tmp_path))


def test_an_answer_without_pools_is_no_list_of_none(mwaa: Mwaa, tmp_path: Path) -> None:
    mwaa.printed = "airflow command error"

    with pytest.raises(CloudError, match="asking the Airflow of etl-staging for its pools: it answers 'airflow"):
        report(tmp_path)


def test_nobody_is_asked_without_a_pool(mwaa: Mwaa, tmp_path: Path) -> None:
    assert not report(tmp_path, PIPELINE.replace("pool: heavvy", "").replace("pool: heavy", ""))
    assert not mwaa.asked
