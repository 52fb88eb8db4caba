"""requirements.txt on top of the image of MWAA, installed as MWAA does: with pip and without constraints."""

import json
import os
import subprocess
from pathlib import Path
from typing import Dict, NamedTuple

import pytest

from tests.trees import COMPANY, DATA, REPOSITORY, folder_tree
from tools.checkout import environments
from tools.setup.environments import AIRFLOW, find_uv

pytestmark = pytest.mark.slow

# They are distributed as C sources and need headers that few machines have. No package that is installed here requires
# either: `pip check` would report it.
LEFT_OUT = {"psycopg2", "pycurl"}
TIMEOUT = 300  # seconds for a command; all of them together take about 20 on an idle machine
BAG = """
import json, sys
from airflow.models.dagbag import DagBag
bag = DagBag(sys.argv[1], include_examples=False)
print(json.dumps([sorted(bag.dags), bag.import_errors]))
"""
# Runs a task that fails on ECS, and pokes a sensor once.
TRY = """
import json, os, sys
from types import SimpleNamespace
from unittest.mock import Mock
from airflow.models.dagbag import DagBag
from tests.fake_ecs import FakeEcs
bag = DagBag(sys.argv[1], include_examples=False)
load = bag.dags["cwr-big_dag_un"].get_task("load")
load.cluster, load.awslogs_group = "etl", None
container = load.overrides["containerOverrides"][0]["name"]
ti = SimpleNamespace(prev_attempted_tries=1, max_tries=0, test_mode=False, dag_id="d", task_id="load", task=load)
ti.refresh_from_db = lambda: None
with FakeEcs(definitions={load.task_definition.split(":")[0]: [container]}, ends={"*": 3}) as ecs:
    os.environ[f"AIRFLOW_CONN_{load.aws_conn_id.upper()}"] = ecs.connection
    try:
        message = str(load.execute({"ti": ti, "dag_run": SimpleNamespace(id=1, run_id="run")}))
    except Exception as error:
        message = str(error)
sensor = bag.dags["ddex-releases_dag_orchard"].get_task("wait_for_delivery")
hook = Mock()
listing = hook.get_conn().get_paginator().paginate
listing.return_value = []
vars(sys.modules[type(sensor).__module__])["S3Hook"] = lambda connection: hook
sensor.poke({})
print(json.dumps([sorted(bag.dags), bag.import_errors, message, listing.call_args[1]]))
"""


class Installed(NamedTuple):
    """A Python with the packages of the image, and its packages before and after requirements.txt."""

    python: str
    before: Dict[str, str]
    after: Dict[str, str]
    output_before: str  # the output of TRY before, with the amazon provider of the image


def run(*command: str, **environ: str) -> str:
    """Run a command at the root of this checkout; return its standard output."""
    done = subprocess.run(
        command,
        cwd=str(REPOSITORY),
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def pins(text: str) -> Dict[str, str]:
    """Return the versions by name of a list such as `pip freeze` prints."""
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    return dict(line.split("==") for line in lines if line)


@pytest.fixture(scope="module")
def factory_py(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(folder_tree(tmp_path_factory.mktemp("company"), COMPANY) / "factory.py")


@pytest.fixture(scope="module")
def installed(factory_py: str, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("mwaa")
    image = pins((DATA / "mwaa-2.2.2.freeze").read_text(encoding="utf-8"))
    base = [f"{name}=={version}" for name, version in image.items() if name not in LEFT_OUT]
    python = str(folder / "bin" / "python")
    uv = find_uv()  # it takes 2 s where pip takes a minute
    run(uv, "venv", "--quiet", "--seed", "--python", str(AIRFLOW.python), str(folder))
    run(uv, "pip", "install", "--quiet", "--no-deps", "--python", python, *base)
    before = pins(run(python, "-m", "pip", "freeze", "--all"))
    assert before.items() >= {name: image[name] for name in image if name not in LEFT_OUT}.items()
    pydantic = f"pydantic=={pins((REPOSITORY / 'requirements.txt').read_text(encoding='utf-8'))['pydantic']}"
    beside = str(folder / "pydantic")  # the one package that the image lacks
    run(uv, "pip", "install", "--quiet", "--no-deps", "--python", python, "--target", beside, pydantic)
    environ = {"AIRFLOW__ETL__ENVIRONMENT": "staging", "AIRFLOW_HOME": str(folder / "home"), "PYTHONPATH": beside}
    output_before = run(python, "-W", "ignore", "-c", TRY, factory_py, **environ)
    run(python, "-m", "pip", "install", "--retries", "1", "--requirement", "requirements.txt")
    return Installed(python, before, pins(run(python, "-m", "pip", "freeze", "--all")), output_before)


def test_only_pinned_packages_are_added_or_changed(installed: Installed) -> None:
    pinned = pins((REPOSITORY / "requirements.txt").read_text(encoding="utf-8"))
    assert installed.after == {**installed.before, **pinned}


def test_only_the_amazon_provider_of_the_image_changes(installed: Installed) -> None:
    before, after = installed.before, installed.after
    assert [name for name in before if after.get(name) != before[name]] == ["apache-airflow-providers-amazon"]
    assert after["watchtower"] == "2.0.1"


def test_the_packages_are_compatible(installed: Installed) -> None:
    assert run(installed.python, "-m", "pip", "check") == "No broken requirements found.\n"


@pytest.mark.parametrize("environment", environments(COMPANY))
def test_the_factory_parses_with_the_packages_of_the_image(
    installed: Installed, factory_py: str, environment: str, tmp_path: Path
) -> None:
    environ = {"AIRFLOW__ETL__ENVIRONMENT": environment, "AIRFLOW_HOME": str(tmp_path)}
    dags, errors = json.loads(run(installed.python, "-W", "ignore", "-c", BAG, factory_py, **environ).splitlines()[-1])
    assert errors == {}
    assert len(dags) >= 10
    output = run(installed.python, factory_py, environment)  # run() checks the exit status
    assert [dag_id for dag_id in dags if f"{dag_id}  dags/etl/" not in output] == []


def test_the_amazon_provider_of_the_image_runs_tasks_and_sensors(installed: Installed) -> None:
    dags, errors, message, arguments = json.loads(installed.output_before.splitlines()[-1])
    assert errors == {}
    assert len(dags) >= 10
    assert "exited with code 3" in message
    assert arguments["Bucket"] == "{{ env.bucket }}"  # not rendered yet
