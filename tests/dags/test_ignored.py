"""What .airflowignore hides is the same in each generation of Airflow."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.trees import SMALL, tree
from tools.setup.environments import GENERATIONS, ensure

DAG_FILE = "from airflow.models import DAG\n"
# The files that Airflow parses in a DAGs folder. An earlier version of Airflow names them from the root of the folder.
PARSED = """
import json, sys
from airflow.models import DagBag
bag = DagBag(sys.argv[1], include_examples=False)
print(json.dumps(sorted(stat.file.split(sys.argv[1])[-1].lstrip("/") for stat in bag.dagbag_stats)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("generation", GENERATIONS)
def test_only_dag_files_are_parsed(generation: str, tmp_path: Path) -> None:
    dags = tree(tmp_path, {"ddex/small.yaml": SMALL}).parent
    tree(tmp_path, {"ddex/small.yaml": SMALL}, name="releases_of_me")  # a sandbox, whose name has that of a folder
    hidden = ["releases/1/orchestrator/extra.py", "releases/1/other.py", "configs/extra.py", "pipelines/ddex/extra.py"]
    for path in [*(f"etl/{path}" for path in hidden), "somebody/pipelines/theirs.py", "etl/beside.py"]:
        (dags / path).parent.mkdir(parents=True, exist_ok=True)
        (dags / path).write_text(DAG_FILE)

    python = str(ensure(GENERATIONS[generation]))
    environ = {**os.environ, "AIRFLOW_HOME": str(tmp_path / "home"), "AIRFLOW__ETL__ENVIRONMENT": "development"}
    done = subprocess.run(
        [python, "-W", "ignore", "-c", PARSED, str(dags)], env=environ, capture_output=True, text=True, check=True
    )

    others = {"somebody/pipelines/theirs.py", "etl/beside.py"}  # no files of ours, or not in a folder that is hidden
    assert set(json.loads(done.stdout.splitlines()[-1])) - {"etl/problems.py", "releases_of_me/problems.py"} == {
        "etl/factory.py",
        "releases_of_me/factory.py",
        *others,
    }
