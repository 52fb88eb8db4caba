"""Fixtures for the tests of the operators: an emulated ECS, and runs in a database that call it."""

import logging
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Iterator

import pytest
from orchestrator import load
from orchestrator.dags import Builder
from orchestrator.generations import IS_3

from tests.ecs import PIPELINE, Runs, TaskRuns
from tests.fake_ecs import FakeEcs
from tests.trees import tree


@pytest.fixture
def ecs(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEcs]:
    """Serve an ECS whose tasks take no time and end with 0."""
    with FakeEcs() as ecs:
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", ecs.connection)
        yield ecs


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> logging.Logger:
    """Return a logger that pytest captures; those of Airflow do not propagate."""
    caplog.set_level(logging.INFO, "tests.operator")
    return logging.getLogger("tests.operator")


@pytest.fixture(scope="module")
def dag(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Build a DAG from a definition."""
    configs = tmp_path_factory.mktemp("configs")
    (configs / "development.yaml").write_text(
        "region: eu-west-1\nclusters:\n  default: {cluster: etl, logs: {group: /ecs/etl, prefix: etl}}\n"
    )
    root = tree(tmp_path_factory.mktemp("dag"), {"cwr/big.yaml": PIPELINE}, configs=configs)
    (definition,) = load(root, "development")[0]
    return Builder().build(definition)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Create the tables of Airflow in SQLite, without the migrations, which take 10 s."""
    if IS_3:  # whose tasks see no database
        yield
        return
    from airflow import settings
    from airflow.models.base import Base
    from airflow.utils import db

    if find_spec("airflow.providers.fab"):
        import_module("airflow.providers.fab.auth_manager.models")  # 2.11 has a foreign key to it
    from sqlalchemy import create_engine
    from sqlalchemy.orm import scoped_session, sessionmaker

    engine = create_engine(f"sqlite:///{tmp_path_factory.mktemp('database')}/airflow.db")
    Base.metadata.create_all(engine)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "engine", engine)
        session = scoped_session(sessionmaker(autocommit=False, autoflush=False, bind=engine, expire_on_commit=False))
        patch.setattr(settings, "Session", session)
        if hasattr(db, "synchronize_log_template"):  # which a run refers to
            db.synchronize_log_template()
        yield
        session.remove()


@pytest.fixture
def runs(dag: Any, database: None, ecs: FakeEcs, log: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.setenv("AIRFLOW__CORE__DAG_RUN_CONF_OVERRIDES_PARAMS", "False")  # as on MWAA
    return (TaskRuns if IS_3 else Runs)(dag, ecs, log)
