"""Fixtures for the tests of the operators: a mock of ECS, an operator that calls it, and runs in a database."""

import logging
from typing import Any, Dict, Iterator, List
from unittest.mock import Mock

import pytest
from orchestrator import load
from orchestrator.dags import Builder
from orchestrator.operators import PipelineEcsOperator

from tests.ecs import PIPELINE, Operator, Runs, described, started
from tests.trees import tree


@pytest.fixture
def client() -> Any:
    """Return a mock of ECS that starts every task, which then succeeds."""
    client = Mock(name="ECS")
    client.meta.region_name = "eu-west-1"
    client.run_task.return_value = started()
    client.describe_tasks.return_value = described()
    return client


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> logging.Logger:
    """Return a logger that pytest captures; those of Airflow do not propagate."""
    caplog.set_level(logging.INFO)
    return logging.getLogger("tests.operator")


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> List[float]:
    """Record the pauses between attempts instead of sleeping."""
    pauses: List[float] = []
    monkeypatch.setattr("tenacity.nap.time", Mock(sleep=pauses.append))
    return pauses


@pytest.fixture
def operator(client: Any, log: logging.Logger) -> Operator:
    """Return a function that makes one of our operators, which calls ``client``."""

    def make(**arguments: Any) -> Any:
        parameters: Dict[str, Any] = {"cluster": "etl", "overrides": {}, **arguments}
        task: Any = PipelineEcsOperator(
            task_id="load", task_definition="loader", owner="data-provisioning", **parameters
        )
        task.hook, task._log = Mock(), log
        task.hook.get_conn.return_value = client
        task.places = {"cluster": "etl/big.yaml:5:7", "task_definition": "etl/big.yaml:4:7"}
        return task

    return make


@pytest.fixture(scope="module")
def dag(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Build a DAG from a definition."""
    (definition,) = load(tree(tmp_path_factory.mktemp("dag"), {"cwr/big.yaml": PIPELINE}), "development")[0]
    return Builder().build(definition)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Create the tables of Airflow in SQLite, without the migrations, which take 10 s."""
    from airflow import settings
    from airflow.models.base import Base
    from sqlalchemy import create_engine
    from sqlalchemy.orm import scoped_session, sessionmaker

    engine = create_engine(f"sqlite:///{tmp_path_factory.mktemp('database')}/airflow.db")
    Base.metadata.create_all(engine)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "engine", engine)
        session = scoped_session(sessionmaker(autocommit=False, autoflush=False, bind=engine, expire_on_commit=False))
        patch.setattr(settings, "Session", session)
        yield
        session.remove()


@pytest.fixture
def runs(dag: Any, database: None, client: Any, log: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.setenv("AIRFLOW__CORE__DAG_RUN_CONF_OVERRIDES_PARAMS", "False")  # as on MWAA
    return Runs(dag, client, log)
