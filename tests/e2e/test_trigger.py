"""``./etl run --trigger``: one DAG run, reported as text."""

import signal
from pathlib import Path
from typing import Dict, List

import pytest
from orchestrator import load

from tests.e2e.conftest import Etl
from tools import ETL

DAG = "cwr-big_dag_un"


class Triggered:
    """Three commands at the same time, which must not affect one another."""

    def __init__(self, etls: List[Etl], dags: str) -> None:
        foreign = {"AWS_PROFILE": "production", "AIRFLOW__CORE__DAGS_FOLDER": "/elsewhere"}
        self.success = Etl("run", "--trigger", DAG, "--dags", dags, **foreign)
        self.failure = Etl("run", "--trigger", DAG, "--dags", dags, ECS_LOCAL_FAIL="cwr-parse:3")
        self.unknown = Etl("run", "--trigger", "cwr-big_dag_u", "--dags", dags)
        etls += [self.success, self.failure, self.unknown]


@pytest.fixture(scope="module")
def triggered(etls: List[Etl], company: Path) -> Triggered:
    return Triggered(etls, str(company))


def test_a_run_that_succeeds_exits_with_0_and_reports_each_task(triggered: Triggered) -> None:
    assert triggered.success.wait() == 0, triggered.success.output
    assert triggered.success.processes() == []
    report = report_of(triggered.success)
    assert [line.split()[:2] for line in report] == [["fetch", "success"], ["parse", "success"], ["load", "success"]]
    assert all("exited with code 0" in line for line in report)


def test_a_run_that_fails_exits_with_1_and_names_the_task(triggered: Triggered) -> None:
    assert triggered.failure.wait() == 1, triggered.failure.output
    fetch, parse, load, *_ = report_of(triggered.failure)
    assert fetch.split()[:2] == ["fetch", "success"]
    assert parse.split()[:2] == ["parse", "failed"]
    assert "exited with code 3" in parse
    assert load.split() == ["load", "upstream_failed"]


def test_an_unknown_dag_exits_with_2_and_suggests_the_nearest(triggered: Triggered) -> None:
    assert triggered.unknown.wait() == 2, triggered.unknown.output
    assert f"there is no DAG 'cwr-big_dag_u'; did you mean {DAG}?" in triggered.unknown.output


def test_a_dag_of_this_repository_runs(etls: List[Etl]) -> None:
    result = load(ETL, "development")  # the default environment of ./etl run
    dag_ids = [definition.dag_id for definition in result.definitions if not definition.settings.wait_for]
    if not dag_ids:
        pytest.skip("every DAG of this repository waits for a delivery")
    etl = Etl("run", "--trigger", dag_ids[0])
    etls.append(etl)

    assert etl.wait() == 0, etl.output
    assert f"\n{dag_ids[0]}: success" in etl.output


def test_an_interrupted_run_exits_with_130_and_leaves_nothing(etls: List[Etl], company: Path) -> None:
    etl = Etl("run", "--trigger", DAG, "--dags", str(company), ECS_LOCAL_SECONDS="600")
    etls.append(etl)
    etl.read_until("fetch: running")
    assert len(etl.processes()) > 5
    etl.popen.send_signal(signal.SIGINT)
    assert etl.wait() == 130, etl.output
    assert etl.processes() == []


@pytest.mark.parametrize(
    ("arguments", "environ", "status", "message"),
    [
        (["--conf", "{"], {}, 2, "'{' is not JSON"),
        (["--conf", "[1]"], {}, 2, "'[1]' is not a JSON object"),
        (["--trigger", ""], {}, 2, "--trigger: it is empty; name a DAG"),
        (["--port", "65536"], {}, 2, "'65536' is not a port"),
        (["--dags", "docs"], {}, 2, "'docs' is not a DAGs folder: it has no etl/factory.py"),
        ([], {"ECS_LOCAL_FAIL": "cwr-parse:x"}, 1, "'cwr-parse:x' is not <task definition>[:exit code]"),
        ([], {"ECS_LOCAL_SECONDS": "soon"}, 1, "ECS_LOCAL_SECONDS: 'soon' is not a number of seconds"),
        (["--environment", "nowhere"], {}, 1, "nowhere"),
    ],
)
def test_an_invalid_setting_is_reported(
    arguments: List[str], environ: Dict[str, str], status: int, message: str, company: Path
) -> None:
    etl = Etl("run", "--trigger", DAG, "--dags", str(company), *arguments, **environ)
    assert etl.wait() == status, etl.output
    assert message in etl.output
    assert "Traceback" not in etl.output


def test_a_configuration_without_a_trigger_is_reported() -> None:
    etl = Etl("run", "--conf", "{}")
    assert etl.wait() == 2, etl.output
    assert "add --trigger DAG_ID" in etl.output


def report_of(etl: Etl) -> List[str]:
    """Return the lines below the result of the run, one for each task."""
    return etl.output.partition(f"\n{DAG}: ")[2].splitlines()[1:]
