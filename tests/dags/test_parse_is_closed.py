"""Parsing uses no database, no network, no other process and no Airflow variable."""

import os
from pathlib import Path
from typing import Tuple

import pytest

from tests.trees import COMPANY, folder_tree, python

PARSE = """
import os, socket, subprocess, sys
from airflow import settings
from airflow.models import Connection, Variable
from airflow.models.dagbag import DagBag
import airflow.providers.amazon.aws.operators.ecs, boto3

def refuse(name):
    def refused(*arguments, **more):
        print("REFUSED", name, file=sys.stderr)
        os._exit(3)
    return refused

socket.socket.connect = refuse("connect")
socket.getaddrinfo = refuse("getaddrinfo")
settings.engine.connect = refuse("database")
settings.Session = refuse("session")
Variable.get = refuse("Variable.get")
Connection.get_connection_from_secrets = refuse("connection")
boto3.client = boto3.session.Session.client = refuse("boto3")
subprocess.Popen.__init__ = os.fork = os.system = refuse("process")
for probe in sys.argv[2:]:
    exec(probe)
bag = DagBag(sys.argv[1], include_examples=False)
assert not bag.import_errors, bag.import_errors
print(len(bag.dags))
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_tree(tmp_path_factory.mktemp("company"), COMPANY) / "factory.py"


def parse(file: Path, *probes: str) -> Tuple[int, str, str]:
    done = python(PARSE, str(file), *probes, environment={"AIRFLOW__ETL__ENVIRONMENT": "staging"})
    return done.returncode, done.stdout, done.stderr


def test_parsing_uses_no_database_network_process_or_variable(file: Path) -> None:
    status, output, errors = parse(file)

    assert status == 0, errors
    assert int(output.splitlines()[-1]) >= 10


def test_a_refused_access_fails_the_parse(file: Path) -> None:
    for probe in ("settings.Session()", "settings.engine.connect()", "socket.create_connection(('127.0.0.1', 9))"):
        assert parse(file, probe)[0] == 3


def test_parsing_emits_no_warning_from_our_code(file: Path) -> None:
    code = "import sys; from airflow.models.dagbag import DagBag; DagBag(sys.argv[1], include_examples=False)"
    done = python(
        "import warnings; warnings.resetwarnings(); warnings.simplefilter('always');" + code,
        str(file),
        environment={"AIRFLOW__ETL__ENVIRONMENT": "staging", "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING"},
    )
    assert f"{file.parent}{os.sep}" not in done.stderr, done.stderr
