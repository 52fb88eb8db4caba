"""``python dags/etl/factory.py ENVIRONMENT``: the factory without Airflow's scheduler."""

import os
import subprocess
import sys
from pathlib import Path
from typing import List

from tests.trees import SMALL, python, tree


def run(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command: List[str] = [sys.executable, "-W", "ignore", str(root / "factory.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_prints_the_dags(tmp_path: Path) -> None:
    done = run(tree(tmp_path, {"cwr/big.yaml": SMALL}), "development")

    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "environment development",
        "",
        "cwr-big: un, wcm",
        "",
        "cwr-big_dag_un  dags/etl/pipelines/cwr/big.yaml",
        "cwr-big_dag_wcm  dags/etl/pipelines/cwr/big.yaml",
    ]


def test_the_command_prints_the_problems_and_exits_with_1(tmp_path: Path) -> None:
    done = run(tree(tmp_path, {"cwr/big.yaml": SMALL, "cwr/bad.yaml": "tasks: ["}), "development")

    assert done.returncode == 1
    assert "cwr-big_dag_un" in done.stdout
    assert "dags/etl/pipelines/cwr/bad.yaml:1:1: not YAML" in done.stdout


def test_the_command_reports_its_usage(tmp_path: Path) -> None:
    root = tree(tmp_path, {})
    assert run(root).returncode == 2
    assert "factory.py development" in run(root, "--help").stdout
    assert "known" not in run(root, "production").stderr
    assert "development, staging" in run(root, "production").stdout


def test_the_command_reports_a_full_disk_and_is_silent_for_a_closed_pipe(tmp_path: Path) -> None:
    root = tree(tmp_path, {"cwr/big.yaml": SMALL})
    command = [sys.executable, "-W", "ignore", str(root / "factory.py"), "development"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    reader, writer = os.pipe()
    os.close(reader)
    closed = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)

    assert (done.returncode, done.stderr) == (1, "the output cannot be written: No space left on device\n")
    assert (closed.returncode, closed.stderr) == (1, "")


def test_the_package_loads_definitions_without_airflow(tmp_path: Path) -> None:
    root = tree(tmp_path, {"cwr/big.yaml": SMALL})
    code = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); from orchestrator import load\n"
        "assert len(load(pathlib.Path(sys.argv[1]), 'development').definitions) == 2\n"
        "assert not [name for name in sys.modules if name.split('.')[0] == 'airflow']"
    )
    done = python(code, str(root))

    assert done.returncode == 0, done.stderr
