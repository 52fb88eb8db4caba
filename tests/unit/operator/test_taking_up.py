"""Taking up the ECS task that an earlier try has started before its worker died: one ECS task, whatever happened."""

from contextlib import nullcontext
from threading import Thread, Timer
from typing import Any, Dict

import pytest
from airflow.exceptions import AirflowSkipException
from orchestrator.generations import IS_3

from tests.ecs import LONG, Runs, wait_until
from tests.fake_ecs import FakeEcs


@pytest.mark.parametrize(
    ("settings", "end", "number"),
    [
        ({"seconds": {"*": LONG}}, None, 1),  # it runs
        ({"seconds": {"*": LONG}, "starting": {"*": 0.4}}, None, 1),
        ({"seconds": {"*": LONG}}, 0, 1),  # it has ended meanwhile
        ({"seconds": {"*": LONG}}, 99, 1),
        ({"seconds": {"*": LONG}}, 1, 2),
        ({"seconds": {"*": LONG}, "ending": {"*": 0.3}}, 0, 1),  # it is ending
        ({"seconds": {"*": LONG}, "ending": {"*": 0.3}}, 1, 2),
    ],
)
@pytest.mark.parametrize("operation", ["RunTask", "DescribeTasks"])
def test_what_becomes_of_the_ecs_task_of_a_lost_worker(
    operation: str, settings: Dict[str, Any], end: Any, number: int, runs: Runs, ecs: FakeEcs
) -> None:
    ecs.set(**settings)
    instance = runs.create(pace=0.02)
    runs.lose(instance, operation)
    if end is None:
        Timer(0.6, ecs.set, kwargs={"seconds": {"*": 0}}).start()
    else:
        ecs.finish(ecs.tasks()[0]["arn"], end)
        ecs.set(seconds={"*": 0})

    with pytest.raises(AirflowSkipException) if end == 99 else nullcontext():
        runs.attempt(instance, skip_exit_codes=[99])

    assert len(ecs.tasks()) == number


def test_an_ecs_task_that_is_listed_only_after_a_while_is_taken_up(runs: Runs, ecs: FakeEcs) -> None:
    ecs.set(seconds={"*": LONG}, lag={"*": 1.5})
    instance = runs.create(pace=0.3)
    runs.lose(instance, "RunTask")

    def finish() -> None:
        wait_until(lambda: "DescribeTasks" in ecs.operations())
        ecs.set(seconds={"*": 0})

    finisher = Thread(target=finish)
    finisher.start()
    runs.attempt(instance)
    finisher.join()

    assert len(ecs.tasks()) == 1


def test_a_start_without_capacity_does_not_hide_the_one_after_it(runs: Runs, ecs: FakeEcs) -> None:
    ecs.set(ends={"loader": ["Capacity is unavailable at this time."]}, seconds={"*": LONG}, lag={"*": 0.6})
    instance = runs.create(pace=0.5)
    runs.lose(instance, "RunTask", 2)

    def finish() -> None:
        wait_until(lambda: "ListTasks" in ecs.operations())
        ecs.set(seconds={"*": 0})

    Thread(target=finish).start()
    runs.attempt(instance)

    assert [task["stop_code"] for task in ecs.tasks()] == ["TaskFailedToStart", "EssentialContainerExited"]


def test_a_cluster_that_is_gone_has_no_ecs_task_of_the_try_before(runs: Runs, ecs: FakeEcs) -> None:
    ecs.clusters.append("gone")
    ecs.set(seconds={"*": LONG})
    instance = runs.create(cluster="gone")
    runs.lose(instance)
    ecs.clusters.remove("gone")
    ecs.set(seconds={"*": 0})

    runs.attempt(instance, cluster="etl")

    assert len(ecs.tasks()) == 2


@pytest.mark.skipif(IS_3, reason="a task of 3 does not see the rendered fields of the try before")
@pytest.mark.parametrize("end", [None, 0], ids=["runs", "has ended"])
@pytest.mark.parametrize("change", [{"cluster": "other"}, {"task_definition": "other", "tags": {}}])
def test_a_deploy_between_two_tries_does_not_hide_the_ecs_task(
    change: Dict[str, Any], end: Any, runs: Runs, ecs: FakeEcs
) -> None:
    ecs.clusters.append("other")
    ecs.definitions["other"] = ("loader",)
    ecs.set(seconds={"*": LONG})
    instance = runs.create()
    runs.lose(instance)
    Timer(0 if end == 0 else 0.5, ecs.set, kwargs={"seconds": {"*": 0}}).start()

    runs.attempt(instance, **change)

    assert len(ecs.tasks()) == 1


def test_a_try_that_clearing_has_set_aside_does_not_count(runs: Runs, ecs: FakeEcs) -> None:
    instance = runs.create()
    runs.attempt(instance)
    runs.change(instance, max_tries=1 + instance.task.retries)  # as clear_task_instances does
    runs.attempt(instance)

    assert len(ecs.tasks()) == 2


def test_what_still_runs_of_a_cleared_try_is_stopped_before_another_one_starts(runs: Runs, ecs: FakeEcs) -> None:
    ecs.set(seconds={"*": LONG})
    instance = runs.create()
    runs.lose(instance)
    runs.change(instance, max_tries=1 + instance.task.retries)
    ecs.set(seconds={"*": LONG}, stop_seconds={"*": 0.1})
    begun = runs.begin(instance)

    def finish() -> None:
        wait_until(lambda: len(ecs.tasks()) == 2)
        ecs.set(seconds={"*": 0})

    finisher = Thread(target=finish)
    finisher.start()

    begun.execute()
    finisher.join()

    first, second = ecs.tasks()
    assert (first["stop_code"], first["reason"]) == ("UserInitiated", "The Airflow task was cleared")
    assert second["stop_code"] == "EssentialContainerExited"
    operations = ecs.operations()
    assert operations.index("StopTask") < len(operations) - 1 - operations[::-1].index("RunTask")


def test_each_run_takes_up_its_own_ecs_task(runs: Runs, ecs: FakeEcs) -> None:
    ecs.set(seconds={"*": LONG})
    first, second = runs.create(), runs.create()
    runs.lose(first)
    runs.lose(second)
    ecs.set(seconds={"*": 0})

    runs.attempt(first)
    runs.attempt(second)

    assert len(ecs.tasks()) == 2


def test_5000_stopped_ecs_tasks_of_the_family_hide_none(runs: Runs, ecs: FakeEcs) -> None:
    instance = runs.create()
    runs.lose(instance)
    ecs.set(crowd={"loader": ["etl", 5000]})

    runs.attempt(instance)

    assert len([task for task in ecs.tasks() if task["clientToken"]]) == 1
