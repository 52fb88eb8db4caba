"""Releases in a real Airflow: what passes over factory.py do to the database, and tasks that outlive their release."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

import pytest

from tests.e2e.engine import Engine
from tests.releases import HALF, NEW, OLD, current, empty_home, put, real_files, with_manifest, write
from tests.trees import SMALL
from tools.local import engine as local
from tools.local.processes import Processes

# Does what the scheduler's manager does with a file at each line of its input, and prints what the database has then.
PASSES = """\
import json, sys, time
from airflow.dag_processing.processor import DagFileProcessorProcess
from airflow.models import DagModel
from airflow.models.errors import ImportError as Row
from airflow.models.serialized_dag import SerializedDagModel
from airflow.utils.session import create_session
for _ in sys.stdin:
    process = DagFileProcessorProcess(sys.argv[1], pickle_dags=False, dag_ids=None, callback_requests=[])
    process.start()
    while not process.done:
        time.sleep(0.02)
    with create_session() as session:
        active = {dag.dag_id for dag in session.query(DagModel) if dag.is_active}
        stored = {row.dag_id: row.data["dag"]["doc_md"] for row in session.query(SerializedDagModel)}
        errors = [row.stacktrace for row in session.query(Row)]
    dags = {dag_id: stored.get(dag_id, "") for dag_id in sorted(active)}
    print("pass", json.dumps({"is_done": process.result is not None, "dags": dags, "errors": errors}), flush=True)
"""
CHANGED = SMALL.replace("loader", "loader, command: [anew]")


class Scheduler:
    """The file processing of a scheduler, with a database of its own."""

    def __init__(self, folder: Path) -> None:
        self.home = empty_home(folder)
        database = folder / "airflow"
        with Processes(folder / "processes") as processes:
            local.prepare_database(processes, database)
        options = {
            "AIRFLOW__ETL__ENVIRONMENT": "development",
            "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
        }
        environ = {**local.base_environ(database, self.home.parent), **options}
        command = [sys.executable, "-W", "ignore", "-c", PASSES, str(self.home / "factory.py")]
        self.popen = subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def look(self) -> Dict[str, Any]:
        """Process factory.py once; return whether that had a result, the active DAGs and their docs, the errors."""
        assert self.popen.stdin
        assert self.popen.stdout
        print(file=self.popen.stdin, flush=True)
        line = next(line for line in self.popen.stdout if line.startswith("pass "))
        return dict(json.loads(line[5:]))


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[Scheduler]:
    scheduler = Scheduler(tmp_path)
    yield scheduler
    scheduler.popen.communicate()


def test_passes_of_a_scheduler_while_a_release_arrives(scheduler: Scheduler, tmp_path: Path) -> None:
    """The classes of subsets that a container may have, in the order in which a copy may make them."""
    home = scheduler.home
    pipelines = {"cwr/big.yaml": SMALL, "cwr/gone.yaml": SMALL}
    old = with_manifest(real_files(tmp_path / "old", pipelines))
    new = with_manifest(real_files(tmp_path / "new", {"cwr/big.yaml": CHANGED, "cwr/more.yaml": SMALL}))
    kept, gone, more = (
        [f"cwr-{name}_dag_{provider}" for provider in ("un", "wcm")] for name in ("big", "gone", "more")
    )
    nothing = {"is_done": False, "dags": {}, "errors": []}
    package = {path: content for path, content in old.items() if path.startswith("orchestrator/")}

    # A new container, with a new database: nothing may be written.
    assert scheduler.look() == nothing
    put(home, OLD, package)
    assert scheduler.look() == nothing
    write(home / "current", current(OLD), HALF)
    assert scheduler.look() == nothing
    write(home / "current", current(OLD))
    assert scheduler.look() == nothing
    put(home, OLD, old)
    first = scheduler.look()
    assert (list(first["dags"]), first["errors"]) == ([*kept, *gone], [])
    assert "anew" not in first["dags"][kept[0]]

    # The next release arrives.
    states: List[Tuple[Mapping[str, bytes], Optional[bytes]]] = [
        ({"pipelines/cwr/big.yaml": CHANGED.encode()}, current(OLD)),
        ({path: content for path, content in new.items() if path != "manifest.json"}, current(NEW, OLD)),
        ({"manifest.json": new["manifest.json"][:100]}, current(NEW, OLD)),
        ({**new, "orchestrator/dags.py": new["orchestrator/dags.py"][:1000]}, current(NEW, OLD)),
        ({**new, "pipelines/cwr/more.yaml": b""}, current(NEW, OLD)),
    ]
    for objects, content in states:
        put(home, NEW, objects)
        write(home / "current", content)
        assert scheduler.look() == first
    write(home / "current", current(NEW, OLD), HALF)
    put(home, NEW, new)
    assert scheduler.look() == {**first, "is_done": False}

    write(home / "current", current(NEW, OLD))
    second = scheduler.look()
    assert (list(second["dags"]), second["errors"]) == ([*kept, *more], [])
    assert "anew" in second["dags"][kept[0]]

    # A release whose package cannot be imported, and one that works again.
    put(home, "2" * 16, with_manifest({**new, "orchestrator/rules.py": b"import not_installed"}))
    write(home / "current", current("2" * 16, NEW, OLD))
    third = scheduler.look()
    assert third["dags"] == second["dags"]
    assert "No module named 'not_installed'" in third["errors"][0]
    write(home / "current", current(OLD, NEW))
    assert scheduler.look() == first

    # All is lost, as when somebody empties the folder: nothing changes.
    shutil.rmtree(str(home / "releases"))
    assert scheduler.look() == {**first, "is_done": False}


def test_a_task_ends_well_after_its_release_has_gone(tmp_path: Path) -> None:
    home = empty_home(tmp_path)
    files = real_files(tmp_path / "old", {"cwr/big.yaml": SMALL})
    for path, content in files.items():  # at first as a folder that was copied by hand, which the emulated AWS reads
        write(home / path, content)
    write(home / ".airflowignore", (home.parents[1] / "old" / "dags" / "etl" / ".airflowignore").read_bytes())
    with Engine(tmp_path / "home", home.parent) as engine:
        engine.agent.set(seconds={"loader": 3600})
        put(home, OLD, with_manifest(files))
        write(home / "current", current(OLD))
        for name in ("orchestrator", "configs", "pipelines"):
            shutil.rmtree(str(home / name))
        run = engine.trigger("cwr-big_dag_un")
        engine.wait_for(lambda: [task for task in engine.agent.tasks("loader") if task["status"] == "RUNNING"])

        put(home, NEW, with_manifest({**files, "pipelines/cwr/big.yaml": CHANGED.encode()}))
        write(home / "current", current(NEW, OLD))
        time.sleep(3)  # while which the scheduler parses it
        write(home / "current", current(NEW))
        shutil.rmtree(str(home / "releases" / OLD))
        engine.agent.set(seconds={"loader": 0})

        assert run.end() == "success"
        assert len(engine.agent.tasks("loader")) == 1
        again = engine.trigger("cwr-big_dag_un")
        assert again.end() == "success"
        assert "anew" in again.log()
