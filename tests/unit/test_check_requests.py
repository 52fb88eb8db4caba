"""The RunTask request of each task: the operator sends it, and botocore accepts it."""

from pathlib import Path
from typing import Any, Dict

import pytest
from orchestrator import Definition, load, run_task_request
from orchestrator.dags import Builder

from tests.ecs import sent_by, without_hash
from tests.trees import COMPANY, tree
from tools import checkout
from tools.checks.run_task import check_requests, request_errors

ALL = [definition for result in checkout.load_all(COMPANY).values() for definition in result.definitions]


@pytest.mark.parametrize("definition", ALL, ids=lambda d: f"{d.dag_id} in {d.context.name}")
def test_botocore_accepts_every_request(definition: Definition) -> None:
    assert list(check_requests([definition])) == []


@pytest.mark.parametrize("definition", ALL, ids=lambda d: f"{d.dag_id} in {d.context.name}")
def test_the_operator_sends_the_request_of_its_definition(definition: Definition) -> None:
    tasks = Builder().build(definition).task_dict
    for task_id in definition.plan.tasks:
        assert sent_by(tasks[task_id]) == without_hash(run_task_request(definition, task_id))


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        ({"taskDefinition": None}, "Invalid type for parameter taskDefinition"),
        ({"overrides": {"containerOverrides": [{"command": "load"}]}}, "containerOverrides[0].command"),
        ({"overrides": {"cpus": "256"}}, 'Unknown parameter in overrides: "cpus"'),
        ({"tags": {"a": "b"}}, "Invalid type for parameter tags"),
    ],
)
def test_a_request_that_botocore_refuses_has_errors(broken: Dict[str, Any], error: str) -> None:
    request = run_task_request(ALL[0], next(iter(ALL[0].plan.tasks)))
    assert request_errors(request) == []

    (message,) = request_errors({**request, **broken})

    assert error in message


def test_a_refused_request_is_reported_once_at_its_task(tmp_path: Path) -> None:
    text = "start_date: 2022-01-01\ntasks:\n  load: {task_definition: loader}\nproviders: {un: {}, wcm: {}}\n"
    result = load(tree(tmp_path, {"cwr/big.yaml": text}), "development")
    result.definitions[0].plan.tasks["load"].operator["overrides"]["cpus"] = "256"

    (problem,) = check_requests(result.definitions)

    assert (problem.location.path, problem.location.line, problem.location.column) == (
        "dags/etl/pipelines/cwr/big.yaml",
        3,
        3,
    )
    assert problem.rule == "ecs"
    assert problem.message.startswith('not a RunTask request: Unknown parameter in overrides: "cpus"')
