"""A worker builds only the DAG of its task, and reads only its file."""

import json
from pathlib import Path
from typing import Any, Dict, List

import pytest

from tests.trees import SMALL, python, tree

# Parses as a worker process with this argv and process title, and reports which files were read and which DAGs built.
PARSE = """
import builtins, io, json, os, sys
arguments = json.loads(sys.argv[1])
sys.argv = arguments["argv"]
if arguments["title"]:
    from setproctitle import setproctitle
    setproctitle(arguments["title"])
from airflow.models.dagbag import DagBag
opened, real = [], os.open
def spy(path, *more):
    if str(path).endswith((".yaml", ".yml")):
        opened.append(os.path.basename(str(path)))
    return real(path, *more)
os.open = spy
bag = DagBag(arguments["file"], include_examples=False)
print(json.dumps({
    "dags": sorted(bag.dags), "errors": len(bag.import_errors), "opened": sorted(opened),
    "sensor": "airflow.providers.amazon.aws.sensors.s3" in sys.modules,
}))
"""
RUN = [
    "airflow",
    "tasks",
    "run",
    "cwr-big_dag_un",
    "load",
    "manual__1",
    "--local",
    "--subdir",
    "DAGS_FOLDER/etl/factory.py",
]
EVERYTHING = ["cwr-big_dag_un", "cwr-big_dag_wcm", "vi-works_dag_un", "vi-works_dag_wcm"]


def parse(root: Path, argv: List[str], title: str = "") -> Dict[str, Any]:
    arguments = json.dumps({"argv": argv, "title": title, "file": str(root / "factory.py")})
    done = python(PARSE, arguments, environment={"AIRFLOW__ETL__ENVIRONMENT": "development"})
    assert done.returncode == 0, done.stderr
    result: Dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path, {"cwr/big.yaml": SMALL, "vi/works.yaml": SMALL})


@pytest.mark.parametrize(
    ("argv", "title"),
    [
        (RUN, ""),  # Sequential and Local executor: a new interpreter
        (["/usr/bin/airflow", "celery", "worker"], f"airflow task supervisor: {RUN}"),  # Celery executor: a fork
        (["/usr/bin/airflow", "scheduler"], f"airflow task supervisor: {RUN}"),  # Local executor: a fork
    ],
    ids=["command line", "fork of a Celery worker", "fork of a Local worker"],
)
def test_only_the_dag_of_the_task_is_built(argv: List[str], title: str, root: Path) -> None:
    assert parse(root, argv, title) == {
        "dags": ["cwr-big_dag_un"],
        "errors": 0,
        "opened": ["big.yaml", "development.yaml"],
        "sensor": False,  # none of its tasks waits for a delivery
    }


@pytest.mark.parametrize(
    ("argv", "title"),
    [
        (["airflow", "scheduler"], "airflow scheduler - DagFileProcessor /dags/etl/factory.py"),
        (["airflow", "dags", "list"], ""),
        (["airflow", "tasks", "list", "cwr-big_dag_un"], ""),
        (["airflow", "tasks", "run"], ""),
        (["airflow", "tasks", "run", "--local", "cwr-big_dag_un", "load"], ""),
        (["airflow", "tasks", "run", "other", "load"], ""),
        (["airflow", "tasks", "run", "cwr-../../big_dag_un", "load"], ""),
        (["airflow", "celery", "worker"], "airflow task supervisor: ['airflow', 'tasks', 'r"),
    ],
)
def test_all_dags_are_built_in_any_other_process(argv: List[str], title: str, root: Path) -> None:
    assert parse(root, argv, title)["dags"] == EVERYTHING


# Executes a task in a process like a worker's, and prints why it fails.
TRY = """
import json, logging, sys
file, dag_id, task_id = sys.argv[1:]
sys.argv = ["airflow", "tasks", "run", dag_id, task_id]
from airflow.exceptions import AirflowException
from airflow.models.dagbag import DagBag
bag = DagBag(file, include_examples=False)
task = bag.dags[dag_id].get_task(task_id)
try:
    task.execute({})
except AirflowException as error:
    seen = {"dags": list(bag.dags), "errors": len(bag.import_errors)}
    print(json.dumps({**seen, "why": str(error), "kind": type(error).__name__}))
"""


@pytest.mark.parametrize("change", ["provider", "file", "mistake", "environment", "task"])
def test_the_task_of_a_dag_that_is_not_there_fails_and_says_why(change: str, root: Path) -> None:
    file = root / "pipelines" / "cwr" / "big.yaml"
    if change == "file":
        file.unlink()
    elif change == "task":
        file.write_text(SMALL.replace("load: ", "store: "))
    elif change != "environment":
        file.write_text(SMALL.replace("un: {}", "un: {retrys: 1}" if change == "mistake" else "wmg: {}"))
    broken = root / "pipelines" / "vi" / "works.yaml"
    broken.write_text(broken.read_text() + "ownr: x\n")

    environment = "nowhere" if change == "environment" else "development"
    arguments = (str(root / "factory.py"), "cwr-big_dag_un", "load")
    done = python(TRY, *arguments, environment={"AIRFLOW__ETL__ENVIRONMENT": environment})

    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    why, *reasons = seen["why"].splitlines()
    assert (seen["dags"], seen["errors"]) == (["cwr-big_dag_un"], 0)
    assert seen["kind"] == "AirflowException"  # another try may find it: what is deployed arrives at its own time
    assert why.startswith(
        "task load of DAG cwr-big_dag_un is not there: it was deleted or renamed, its definition has a mistake"
    )
    expected = {
        "file": "dags/etl/pipelines/cwr/big.yaml:1:1: cannot be read: No such file or directory",
        "mistake": "dags/etl/pipelines/cwr/big.yaml:5:8: unknown key 'retrys'",
        "environment": "dags/etl/configs:1:1: unknown environment 'nowhere'",
    }.get(change)
    assert bool(reasons) == bool(expected)
    assert not expected or reasons[0].startswith(expected)


def test_a_broken_sibling_does_not_affect_the_task(root: Path) -> None:
    (root / "pipelines" / "cwr" / "big.yaml").write_text(SMALL.replace("wcm: {}", "wcm: {retrys: 1}"))

    parsed = parse(root, RUN)

    assert (parsed["dags"], parsed["errors"]) == (["cwr-big_dag_un"], 0)
    assert parsed["opened"] == ["big.yaml", "development.yaml"]


def test_a_sandbox_builds_its_own_dag(root: Path, tmp_path: Path) -> None:
    sandbox = tree(tmp_path, {"cwr/big.yaml": SMALL}, name="test_merge")
    argv = [word.replace("cwr-big", "test_merge.cwr-big") for word in RUN]

    assert parse(sandbox, argv)["dags"] == ["test_merge.cwr-big_dag_un"]
    assert parse(root, argv)["dags"] == EVERYTHING
