"""The configuration of a triggered run: it is checked before anything starts, and templates see it."""

from typing import Any, List
from unittest.mock import Mock

import pytest
from airflow.exceptions import AirflowFailException
from orchestrator import WAIT_FOR, Param
from orchestrator.operators import params_of_run

from tests.ecs import Runs


def command(task: Any) -> List[str]:
    (override,) = task.overrides["containerOverrides"]
    return list(override["command"])


def test_templates_see_the_configuration_of_the_run_over_the_defaults(runs: Runs) -> None:
    task = runs.attempt(runs.create(conf={"full": True}))

    assert command(task) == ["load", "True", "2022-01-01"]


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"ful": True}, "unknown key 'ful', did you mean 'full'?"),
        ({"full": "yes"}, "'full': 'yes' is not of type 'boolean'"),
        ({"day": "yesterday"}, "'day': 'yesterday' is not a 'date'"),
    ],
)
def test_an_invalid_configuration_fails_before_an_ecs_task_starts(conf: Any, message: str, runs: Runs) -> None:
    with pytest.raises(AirflowFailException) as caught:
        runs.attempt(runs.create(conf=conf))

    assert message in str(caught.value)
    runs.client.run_task.assert_not_called()


def test_an_invalid_configuration_fails_the_delivery_sensor_too(runs: Runs) -> None:
    instance = runs.create({"ful": True}, WAIT_FOR)

    with pytest.raises(AirflowFailException, match="unknown key 'ful'"):
        instance.render_templates()


def test_all_mistakes_of_a_configuration_are_reported_together() -> None:
    with pytest.raises(AirflowFailException, match="unknown key 'a', this DAG takes none; unknown key 'b'"):
        params_of_run({}, {"dag_run": Mock(conf={"a": 1, "b": 2})})


def test_a_template_that_changes_a_param_changes_it_for_that_task_only() -> None:
    params = {"days": Param(type="array", default=[1])}

    params_of_run(params, {})["days"].append(2)

    assert params_of_run(params, {}) == {"days": [1]}
