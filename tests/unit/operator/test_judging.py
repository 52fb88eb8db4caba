"""What an ended ECS task comes to, and that a person reads why."""

import pickle
from typing import Any, Optional, Sequence

import pytest
from airflow.exceptions import AirflowException, AirflowSkipException

from tests.ecs import LONG, Runs
from tests.fake_ecs import FakeEcs

OOM = [137, "OutOfMemoryError: Container killed due to memory usage"]


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (0, None),
        ({"side": 143, "loader": 0}, None),
        ({"side": 0, "loader": 1}, ["container 'loader' exited with code 1;", "'side' exited with code 0"]),
        (3, ["exited with code 3", "EssentialContainerExited: Essential container in task exited"]),
        ({"loader": OOM}, ["exited with code 137, out of memory or killed", f"({OOM[1]})"]),
        ("CannotPullContainerError: no such image", ["did not run", "CannotPullContainerError: no such image"]),
    ],
)
def test_the_container_that_was_overridden_decides(
    end: Any, expected: Optional[Sequence[str]], runs: Runs, ecs: FakeEcs
) -> None:
    ecs.definitions["loader"] = ("side", "loader") if isinstance(end, dict) else ("loader", "side")
    ecs.set(ends={"loader": end})
    if expected is None:
        runs.attempt(runs.create())
        return

    with pytest.raises(AirflowException) as caught:
        runs.attempt(runs.create())

    for words in expected:
        assert words in str(caught.value)
    assert repr(pickle.loads(pickle.dumps(caught.value))) == repr(caught.value)


def test_an_ecs_task_stopped_from_outside_has_failed_although_it_exited_with_0(runs: Runs, ecs: FakeEcs) -> None:
    ecs.set(seconds={"*": LONG}, stop_exit_codes={"*": 0})
    instance = runs.create()
    runs.lose(instance)
    arn = ecs.tasks()[0]["arn"]
    ecs.set(stop_seconds={"*": 0.2})
    ecs.client("ecs").stop_task(cluster="etl", task=arn, reason="enough")
    ecs.set(seconds={"*": 0}, ends={"loader": 5})

    with pytest.raises(AirflowException, match="code 5"):  # anew
        runs.attempt(instance)

    assert len(ecs.tasks()) == 2


@pytest.mark.parametrize(("code", "skips"), [(99, True), (98, False)])
def test_an_exit_code_of_skip_exit_codes_skips_the_task(code: int, skips: bool, runs: Runs, ecs: FakeEcs) -> None:
    ecs.set(ends={"loader": code})

    with pytest.raises(AirflowException, match=f"exited with code {code}") as caught:
        runs.attempt(runs.create(skip_exit_codes=[99]))

    assert isinstance(caught.value, AirflowSkipException) == skips


@pytest.mark.parametrize("operation", ["RunTask", "DescribeTasks"])
@pytest.mark.parametrize("kind", [503, "drop", "ThrottlingException: no", "AccessDeniedException: no"])
def test_what_is_raised_for_an_error_of_aws_can_be_read_back_by_the_callbacks(
    operation: str, kind: Any, runs: Runs, ecs: FakeEcs
) -> None:
    ecs.faults.add(operation, kind)

    with pytest.raises(AirflowException) as caught:
        runs.attempt(runs.create(pace=0.0005))

    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
