"""A real PostgreSQL stores, and a real scheduler schedules, a DAG in which everything lies at its limit."""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Dict, Iterator

import pytest
from orchestrator import MAX_DAG_TASKS, MAX_FOR_EACH

from tests.limits import ENVIRONMENT, FAMILY, PIPELINE, POOL, PROVIDER, limits_tree
from tests.trees import REPOSITORY, SMALL
from tools.local.processes import Processes
from tools.local.servers import Postgres

pytestmark = pytest.mark.slow

# The scheduler, with its processor of DAG files, until it has queued tasks of every DAG; its executor runs none.
SCHEDULE = """
import json, sys, time
from airflow.executors.base_executor import BaseExecutor
from airflow.jobs.scheduler_job import SchedulerJob
from airflow.models import DagModel, DagTag, Pool, TaskInstance
from airflow.models.serialized_dag import SerializedDagModel
from airflow.utils import timezone
from airflow.utils.session import create_session

factory, pool, wanted, seconds = sys.argv[1:]
with create_session() as session:
    session.add(Pool(pool=pool, slots=128))
deadline = time.monotonic() + float(seconds)

class Idle(BaseExecutor):
    clears = 0

    def trigger_tasks(self, open_slots):
        with create_session() as session:
            of_queued = session.query(TaskInstance.dag_id).filter_by(state="queued").distinct().count()
            if of_queued == int(wanted) and not self.clears:  # a person has cleared a task 8 times
                self.clears = 1
                first = session.query(TaskInstance).filter_by(pool=pool, state="queued").first()
                first.state, first._try_number, first.end_date = "up_for_retry", 900, timezone.utcnow()
            elif self.clears:
                self.clears += 1
        if self.clears == 3 or time.monotonic() > deadline:
            raise SystemExit  # which ends the scheduler in order

    def end(self):
        pass

job = SchedulerJob(subdir=factory, executor=Idle())
job.run()
with create_session() as session:
    states = {}
    for dag_id, state in session.query(TaskInstance.dag_id, TaskInstance.state):
        of_dag = states.setdefault(dag_id, {})
        of_dag[str(state)] = of_dag.get(str(state), 0) + 1
    stored = session.query(SerializedDagModel).count()
    tags = [tag.name for tag in session.query(DagTag)]
print(json.dumps({"stored": stored, "states": states, "tags": tags, "retried": job.executor.clears}))
"""


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dict[str, str]]:
    """Run PostgreSQL with Airflow's tables; return what Airflow's processes find in their environment."""
    home = tmp_path_factory.mktemp("limits")
    options = {
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONWARNINGS": "ignore",
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "0",
        "AIRFLOW__ETL__ENVIRONMENT": ENVIRONMENT,
    }
    # Not in pytest's own folder, which is closed to the user that PostgreSQL runs as.
    local = str(REPOSITORY / ".local")
    with TemporaryDirectory(prefix="limits-", dir=local) as folder, Processes(home / "logs") as processes:
        os.chmod(folder, 0o711)
        postgres = Postgres(processes, dict(os.environ))
        postgres.create(Path(folder) / "postgres")
        _, url = postgres.start(Path(folder) / "postgres")
        variables = {**os.environ, **options, "AIRFLOW__CORE__SQL_ALCHEMY_CONN": url}
        command = [sys.executable, "-m", "airflow", "db", "init"]
        subprocess.run(command, env=variables, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        yield variables


# Two tasks may run of 200 of the highest priority; the others are more than the 128 slots of Airflow's own pool.
CROWD = f"""\
schedule: "@daily"
start_date: 2022-01-01
max_active_tasks: 1
tasks: {{load: {{task_definition: loader, priority_weight: 10000, for_each: {list(range(MAX_FOR_EACH))}}}}}
providers: {{un: {{}}, wcm: {{}}}}
"""


def schedule(root: Path, environ: Dict[str, str], dags: int) -> Any:
    """Run the scheduler for a folder until it has queued tasks of that many DAGs; return what is in the database."""
    variables = {**environ, "AIRFLOW__CORE__DAGS_FOLDER": str(root.parent)}
    command = [sys.executable, "-c", SCHEDULE, str(root / "factory.py"), POOL, str(dags), "240"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-3000:]}{done.stderr[-6000:]}"
    return json.loads(done.stdout.splitlines()[-1])


def test_what_lies_at_every_limit_is_stored_and_scheduled_beside_others(
    environ: Dict[str, str], tmp_path: Path
) -> None:
    root = limits_tree(tmp_path)
    (root / "pipelines" / "healthy").mkdir()
    (root / "pipelines" / "healthy" / "small.yaml").write_text(f'schedule: "@daily"\n{SMALL}')
    (root / "pipelines" / "healthy" / "crowd.yaml").write_text(CROWD)

    result = schedule(root, environ, dags=6)

    assert result["stored"] == 6
    assert {FAMILY, PIPELINE, PROVIDER, ENVIRONMENT, "00".ljust(100, "t")} <= set(result["tags"])
    states = result["states"]
    assert sum(states[f"{FAMILY}-{PIPELINE}_dag_{PROVIDER}"].values()) == MAX_DAG_TASKS
    assert sum(states[f"{FAMILY}-{PIPELINE}_dag_w"].values()) == MAX_DAG_TASKS + 1
    assert states["healthy-small_dag_un"] == states["healthy-small_dag_wcm"] == {"queued": 1}
    for crowd in ("healthy-crowd_dag_un", "healthy-crowd_dag_wcm"):
        assert states[crowd] == {"queued": 1, "scheduled": MAX_FOR_EACH - 1}
    assert result["retried"] == 3, "the scheduler has not come back to the task of 900 tries"
