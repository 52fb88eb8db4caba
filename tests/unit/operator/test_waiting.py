"""Waiting for an ECS task: whatever AWS answers meanwhile, the ECS task runs on."""

import os
import time
from threading import Thread, Timer
from typing import Any

import pytest
from airflow.exceptions import AirflowException, AirflowFailException
from orchestrator.operators import FORGOTTEN

from tests.ecs import LONG, Runs, wait_until
from tests.fake_ecs import REGION, FakeEcs

KINDS = [503, "drop", "lost", "ThrottlingException: Rate exceeded"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operation", ["RunTask", "DescribeTasks", "GetLogEvents", "ListTasks"])
def test_a_fault_at_any_request_is_outlasted(operation: str, kind: Any, runs: Runs, ecs: FakeEcs) -> None:
    ecs.set(seconds={"*": 0.05})
    instance = runs.create()
    runs.lose(instance)
    ecs.faults.add(operation, kind, times=3)
    runs.attempt(instance)
    assert len(ecs.tasks()) == 1

    ecs.faults.clear()
    ecs.faults.add(operation, kind, times=3)
    runs.attempt(runs.create())
    assert len(ecs.tasks()) == 2


def test_missing_credentials_of_the_worker_are_outlasted(
    runs: Runs, ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "emulated", "AWS_SECRET_ACCESS_KEY": "emulated-secret"}
    host = ecs.connection.partition("&host=")[2]
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", f"aws://@/?region_name={REGION}&host={host}")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    for name in keys:
        monkeypatch.setenv(name, "")
    Timer(0.2, os.environ.update, [keys]).start()

    runs.attempt(runs.create(pace=0.01))

    assert len(ecs.tasks()) == 1


@pytest.mark.parametrize("operation", ["ListTasks", "DescribeTasks", "RunTask"])
def test_a_mistake_before_the_start_fails_without_retry(operation: str, runs: Runs, ecs: FakeEcs) -> None:
    ecs.set(ends={"loader": 1})
    instance = runs.create(places={"task_definition": "etl/big.yaml:4:7"})
    with pytest.raises(AirflowException, match="exited with code 1"):
        runs.attempt(instance)
    ecs.faults.add(operation, f"AccessDeniedException: not authorized to perform: ecs:{operation}")

    with pytest.raises(AirflowFailException, match=f"ecs:{operation}.*Look at etl/big.yaml:4:7"):
        runs.attempt(instance)

    assert len(ecs.tasks()) == 1


def test_a_permission_that_is_missing_for_a_while_is_outlasted(runs: Runs, ecs: FakeEcs) -> None:
    ecs.faults.add("DescribeTasks", "AccessDeniedException: no", times=9)  # more than before the start

    runs.attempt(runs.create(pace=0.01))  # 3 s of pauses within the hour of 36 s, however slow the machine is

    assert len(ecs.tasks()) == 1


def test_a_fault_that_lasts_stops_the_ecs_task_before_the_try_fails(runs: Runs, ecs: FakeEcs) -> None:
    ecs.set(seconds={"*": LONG})
    ecs.faults.add("DescribeTasks", "AccessDeniedException: not authorized to perform: ecs:DescribeTasks")

    with pytest.raises(AirflowException, match="ecs:DescribeTasks"):
        runs.attempt(runs.create(pace=0.0005))

    (task,) = ecs.tasks()
    assert task["status"] == "STOPPED"


def test_an_ecs_task_that_ecs_has_forgotten_fails_in_words(runs: Runs, ecs: FakeEcs) -> None:
    ecs.set(seconds={"*": LONG})

    def forget() -> None:
        wait_until(lambda: "GetLogEvents" in ecs.operations())
        ecs.set(forget=["loader"])

    Thread(target=forget).start()

    with pytest.raises(AirflowException, match=r"ECS no longer knows the task .*MISSING"):
        runs.attempt(runs.create())


def test_an_ecs_task_that_ecs_does_not_know_now_and_then_is_waited_for(runs: Runs, ecs: FakeEcs) -> None:
    ecs.set(seconds={"*": LONG})
    pace = 0.04  # a minute is longer than two looks of a busy machine

    def wait_for_looks() -> None:
        asked = ecs.operations().count("DescribeTasks")
        wait_until(lambda: ecs.operations().count("DescribeTasks") > asked + 1)

    def forget() -> None:
        for _ in range(2):  # moments with more than a minute between
            wait_for_looks()
            ecs.set(forget=["loader"])
            wait_for_looks()
            for task in ecs._tasks.by_arn.values():
                task.forgotten = False
            time.sleep((FORGOTTEN + 5) * pace)
        ecs.set(seconds={"*": 0})

    Thread(target=forget).start()

    runs.attempt(runs.create(pace=pace))

    assert len(ecs.tasks()) == 1
