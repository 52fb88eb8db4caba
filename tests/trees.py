"""DAGs folders for tests: the factory and its package, with the configs and definitions of the test."""

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
ETL = REPOSITORY / "dags" / "etl"
DATA = REPOSITORY / "tests" / "data"
# Realistic configs and pipelines, those that the documentation describes. Tests use these and not the definitions that
# this repository ships, which anybody may change.
COMPANY = DATA / "company"

SMALL = """\
start_date: 2022-01-01
tasks:
  load: {task_definition: loader}
providers:
  un: {}
  wcm: {}
"""


def stem(case: Path) -> str:
    """Return the name of a case: its file without the suffix."""
    return case.stem


def tree(folder: Path, pipelines: Dict[str, str], name: str = "etl", configs: Path = DATA / "configs") -> Path:
    """Make ``folder/dags/<name>`` with the factory, configs and pipelines (text by "family/name.yaml"); return it."""
    root = folder / "dags" / name
    (root / "pipelines").mkdir(parents=True)
    for name in ("factory.py", "problems.py"):
        shutil.copy(str(ETL / name), str(root))
    shutil.copytree(str(ETL / "orchestrator"), str(root / "orchestrator"), ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(str(configs), str(root / "configs"))
    shutil.copy(str(REPOSITORY / ".airflowignore"), str(root))
    for path, text in pipelines.items():
        file = root / "pipelines" / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return root


def folder_tree(folder: Path, source: Path) -> Path:
    """Make ``folder/dags/etl`` with the factory and with the configs and pipelines of ``source``; return it."""
    files = (source / "pipelines").glob("*/*.yaml")
    pipelines = {f"{file.parent.name}/{file.name}": file.read_text(encoding="utf-8") for file in files}
    return tree(folder, pipelines, configs=source / "configs")


def limit_import(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Set core.dagbag_import_timeout, which Airflow 2.2.2 reads when it is imported."""
    monkeypatch.setenv("AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT", str(seconds))
    monkeypatch.setattr("airflow.models.dagbag.DagBag.DAGBAG_IMPORT_TIMEOUT", seconds, raising=False)


@contextmanager
def late_alarm() -> Iterator[None]:
    """Set an alarm as Airflow's, but ten times as late as that.

    The timer that leaves a slow file out takes its time from it. With the real one, what lies at a counted limit would
    be left out by a machine that is busy or slow.
    """
    signal.setitimer(signal.ITIMER_REAL, 300)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def dag_bag(root: Path) -> Any:
    """Parse the DAG files of a tree as the scheduler does: in Airflow 3, problems.py too."""
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:
        from airflow.models.dagbag import DagBag

        return DagBag(str(root / "factory.py"), include_examples=False)
    bag: Any = DagBag(str(root / "factory.py"), include_examples=False)
    if not bag.import_errors and (root / "problems.py").is_file():
        bag.import_errors.update(DagBag(str(root / "problems.py"), include_examples=False).import_errors)
    return bag


def import_error(bag: Any) -> str:
    """Return the one import error of a bag; fail if there is another."""
    (error,) = bag.import_errors.values()
    return re.sub("^DefinitionProblems: ", "", str(error))  # the class, which newer versions show


def python(
    code: str, *arguments: str, environment: Optional[Dict[str, str]] = None
) -> "subprocess.CompletedProcess[str]":
    """Run Python code in a new process, as a worker does."""
    command: List[str] = [sys.executable, "-W", "ignore", "-c", code, *arguments]
    return subprocess.run(
        command,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
