"""``./etl run --executor celery``: twenty tasks at the same time, and a worker that is killed."""

import signal
import time
from collections import Counter
from pathlib import Path
from typing import List, Set

import psutil
import pytest

from tests.e2e.agent import Agent
from tests.e2e.conftest import TIMEOUT, Etl, listening
from tests.e2e.emulated import aws_client
from tests.trees import tree

pytestmark = pytest.mark.slow

DAG = "testing-parallel_dag_un"
SIBLINGS = {"testing-parallel_dag_sony", "testing-parallel_dag_wcm"}
PARTS = [f"part-{number:02}" for number in range(20)]
SUCCESS = "  {}: success\n"
PIPELINE = "\n".join(
    [
        "start_date: 2022-01-01",
        f"max_active_tasks: {len(PARTS)}",
        "defaults: {retries: 3}",
        "tasks:",
        *(f"  {part}: {{task_definition: part, command: [{part}]}}" for part in PARTS),
        f"  last: {{task_definition: last, depends_on: [{', '.join(PARTS)}]}}",
        "providers: {sony: {}, un: {}, wcm: {}}",
    ]
)
# Appended to the factory: each process that parses it writes a line with its title and the DAGs that it built.
WITNESS = """
from airflow.models import DAG
from setproctitle import getproctitle

with open(__file__ + ".built", "a") as file:
    dag_ids = [value.dag_id for value in globals().values() if isinstance(value, DAG)]
    print(getproctitle(), *dag_ids, sep="|", file=file)
"""
SECONDS = "3600"  # that an ECS task runs until the agent ends it: all of them run at the same time


class Distributed:
    """A DAG run up to the task after the twenty, with a worker that was killed while all of these ran."""

    def __init__(self, folder: Path, etls: List[Etl]) -> None:
        self.factory = tree(folder, {"testing/parallel.yaml": PIPELINE}) / "factory.py"
        with open(str(self.factory), "a") as file:
            file.write(WITNESS)
        arguments = ["--executor", "celery", "--dags", str(folder / "dags"), "--trigger", DAG]
        self.etl = Etl("run", *arguments, ECS_LOCAL_SECONDS=SECONDS)
        etls.append(self.etl)
        self.logs = Path(self.etl.read_until("logs are in").split()[-1]) / "logs" / DAG
        address = self.etl.read_until("the emulated AWS is at").split()[-1]
        self.etl.read_until("runs as")
        deadline = time.monotonic() + TIMEOUT
        # Not as soon as ECS has a task: a worker that dies before it has noted the task leaves it behind.
        while not all("The ECS task in the console" in self.log(part, 1) for part in PARTS):
            assert time.monotonic() < deadline, self.etl.output
            time.sleep(0.2)
        self.addresses = {connection.laddr.ip for connection in listening(self.etl.processes())}
        kill_worker(self.etl, "worker-1")
        Agent(address).set(seconds={"part": 0})
        self.etl.read_until("last: running")
        for part in PARTS:  # tasks of the same poll may be printed after it
            if SUCCESS.format(part) not in self.etl.output:
                self.etl.read_until(SUCCESS.format(part))
        self.commands = commands_on_ecs(address)

    def log(self, task: str, attempt: int) -> str:
        """Return the log of one try of a task; empty if there was none."""
        return "".join(file.read_text() for file in self.logs.glob(f"{task}/*/{attempt}.log"))

    def tasks_of(self, worker: str, attempt: int) -> Set[str]:
        """Return the tasks that a worker ran in their first, second, ... try."""
        return {part for part in PARTS if f"on host {worker}\n" in self.log(part, attempt)}

    def built(self) -> List[List[str]]:
        """Return the title of the process and the DAGs that it built, for each parse of the factory."""
        return [line.split("|") for line in Path(f"{self.factory}.built").read_text().splitlines()]


def commands_on_ecs(address: str) -> List[str]:
    """Return the command of every ECS task that was started for a part."""
    ecs = aws_client(address, "ecs")
    arns: Set[str] = set()
    for status in ("RUNNING", "STOPPED"):
        arns.update(ecs.list_tasks(cluster="etl", family="part", desiredStatus=status)["taskArns"])
    tasks = ecs.describe_tasks(cluster="etl", tasks=sorted(arns))["tasks"]
    return [task["overrides"]["containerOverrides"][0]["command"][0] for task in tasks]


def process_of(etl: Etl, argument: str) -> psutil.Process:
    """Return the one child process of the command with ``argument`` in its command line."""
    started = psutil.Process(etl.popen.pid).children()
    (process,) = (process for process in started if any(argument in part for part in process.cmdline()))
    return process


def kill_worker(etl: Etl, name: str) -> None:
    """Kill a worker and its tasks at the same moment, as if its machine had failed."""
    worker = process_of(etl, f"{name}@localhost:MainProcess")
    tree = [worker, *worker.children(recursive=True)]
    for process in tree:
        process.suspend()
    for process in tree:
        process.kill()


@pytest.fixture(scope="module")
def distributed(tmp_path_factory: pytest.TempPathFactory, etls: List[Etl]) -> Distributed:
    return Distributed(tmp_path_factory.mktemp("celery"), etls)


def test_both_workers_run_tasks(distributed: Distributed) -> None:
    first, second = distributed.tasks_of("worker-1", 1), distributed.tasks_of("worker-2", 1)
    assert first
    assert second
    assert first | second == set(PARTS)


def test_the_other_worker_takes_up_the_tasks_of_the_killed_one(distributed: Distributed) -> None:
    retried = distributed.tasks_of("worker-2", 2)
    assert retried
    assert retried <= distributed.tasks_of("worker-1", 1)
    assert all("which an earlier try started" in distributed.log(part, 2) for part in retried)
    assert "worker-1 has ended with exit code -9; the other workers go on" in distributed.etl.output


def test_every_task_has_succeeded_with_one_ecs_task(distributed: Distributed) -> None:
    assert Counter(distributed.commands) == Counter(PARTS)
    for part in PARTS:
        assert SUCCESS.format(part) in distributed.etl.output


def test_the_start_of_a_task_builds_its_dag_only(distributed: Distributed) -> None:
    by_task = [dags for title, *dags in distributed.built() if title.startswith("airflow task supervisor")]
    others = [dags for title, *dags in distributed.built() if not title.startswith("airflow task supervisor")]
    assert len(by_task) > len(PARTS)
    assert all(dags == [DAG] for dags in by_task)
    assert others
    assert all(set(dags) == {DAG, *SIBLINGS} for dags in others)


def test_only_the_loopback_address_is_listened_on(distributed: Distributed) -> None:
    assert distributed.addresses == {"127.0.0.1"}


def test_ctrl_c_leaves_no_process_behind(distributed: Distributed) -> None:
    assert len(distributed.etl.processes()) > 10
    distributed.etl.popen.send_signal(signal.SIGINT)
    assert distributed.etl.wait() == 130, distributed.etl.output
    assert distributed.etl.processes() == []
