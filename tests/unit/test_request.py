"""The arguments of the operator that the fields of a task become."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Dict, List

import pytest
from orchestrator import AIRFLOW_ARGUMENTS, FARGATE_MEMORY, Document, Layer, Layers, Task, load, run_task_request
from orchestrator.dags import Builder
from orchestrator.planning import run_task_parameters
from orchestrator.rules import check_fargate

from tests.trees import SMALL, tree
from tools.checks.run_task import check_requests

TASK = """\
start_date: 2022-01-01
tasks:
  load:
    task_definition: {definition}
    {more}
providers: {{un: {{}}}}
"""

WHAT_ECS_CAN_DO = """propagate_tags: TASK_DEFINITION
    enable_execute_command: true"""


def operator(tmp_path: Path, more: str = "cpu: null", definition: str = "loader") -> Dict[str, Any]:
    root = tree(tmp_path, {"cwr/big.yaml": TASK.format(definition=definition, more=more)})
    with (root / "configs" / "development.yaml").open("a") as config:
        config.write("pools: [heavy]\n")
    result = load(root, "development")
    assert not result.problems
    arguments: Dict[str, Any] = result.definitions[0].plan.tasks["load"].operator
    return arguments


@pytest.mark.parametrize(
    ("definition", "container"),
    [
        ("loader", "loader"),
        ("loader:12", "loader"),
        ("arn:aws:ecs:eu-west-1:000000000000:task-definition/loader:12", "loader"),
        ("arn:aws:ecs:eu-west-1:000000000000:task-definition/loader", "loader"),
    ],
)
def test_the_container_is_the_family_unless_named(definition: str, container: str, tmp_path: Path) -> None:
    arguments = operator(tmp_path, definition=f'"{definition}"')

    assert arguments["task_definition"] == definition
    assert arguments["overrides"]["containerOverrides"] == [{"name": container}]
    assert arguments["awslogs_stream_prefix"] == f"etl/{container}"
    assert arguments["awslogs_group"] == "/ecs/etl"


def test_a_templated_task_definition_names_its_container(tmp_path: Path) -> None:
    arguments = operator(tmp_path, "container: app", '"{{ provider.name }}-loader"')

    assert arguments["overrides"]["containerOverrides"] == [{"name": "app"}]


def test_the_characters_of_overrides_are_counted_as_ecs_does(tmp_path: Path) -> None:
    room = 8192 - len('{"containerOverrides":[{"name":"loader","command":[""]}]}')

    def problems(length: int) -> List[str]:
        root = tree(
            tmp_path / str(length), {"cwr/big.yaml": SMALL.replace("loader", f"loader, command: [{'é' * length}]")}
        )
        return [problem.message for problem in load(root, "development").problems]

    assert problems(room) == []
    assert problems(room + 1) == ["command, environment and sizes are 8193 characters of JSON; ECS takes at most 8192"]


def test_overrides_have_the_form_of_run_task(tmp_path: Path) -> None:
    more = """cpu: 1024
    memory: 2048
    ephemeral_storage: 50
    task_role_arn: role
    execution_role_arn: execution
    command: [load, "{{ ds }}"]
    environment: {A: "1"}
    tags: {team: etl}"""
    arguments = operator(tmp_path, more)

    assert arguments["overrides"] == {
        "containerOverrides": [
            {"name": "loader", "command": ["load", "{{ ds }}"], "environment": [{"name": "A", "value": "1"}]}
        ],
        "cpu": "1024",
        "memory": "2048",
        "ephemeralStorage": {"sizeInGiB": 50},
        "taskRoleArn": "role",
        "executionRoleArn": "execution",
    }
    assert arguments["tags"] == {"team": "etl"}
    assert arguments["network_configuration"] == {
        "awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": [], "assignPublicIp": "DISABLED"}
    }
    assert arguments["launch_type"] == "FARGATE"


def test_the_request_has_what_ecs_can_do(tmp_path: Path) -> None:
    root = tree(tmp_path, {"cwr/big.yaml": TASK.format(definition="loader", more=WHAT_ECS_CAN_DO)})
    (definition,) = load(root, "development").definitions
    request = run_task_request(definition, "load")

    assert (request["propagateTags"], request["enableExecuteCommand"]) == ("TASK_DEFINITION", True)
    assert list(check_requests([definition])) == []  # botocore's model
    operator = Builder().build(definition).get_task("load")
    assert run_task_parameters(vars(operator), request["startedBy"]) == request  # as it asks ECS


def test_a_capacity_provider_replaces_the_launch_type(tmp_path: Path) -> None:
    arguments = operator(tmp_path, "cluster: spot")

    assert arguments["launch_type"] is None
    assert arguments["capacity_provider_strategy"] == [{"capacityProvider": "etl-spot", "weight": 1}]
    assert "network_configuration" not in arguments


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("30m", timedelta(minutes=30)),
        ("6h", timedelta(hours=6)),
        ("1d12h", timedelta(hours=36)),
        ("1d2h3m4s", timedelta(days=1, hours=2, minutes=3, seconds=4)),
        ("90", timedelta(seconds=90)),
    ],
)
def test_durations(text: str, length: timedelta, tmp_path: Path) -> None:
    assert operator(tmp_path, f"execution_timeout: {text}")["execution_timeout"] == length


def test_fields_of_airflow_are_passed_to_the_operator(tmp_path: Path) -> None:
    more = """retries: 3
    retry_delay: 1m
    retry_exponential_backoff: true
    max_retry_delay: 10m
    sla: 1h
    pool: heavy
    priority_weight: 5
    trigger_rule: all_done
    depends_on_past: true"""
    arguments = operator(tmp_path, more)

    assert {key: arguments[key] for key in AIRFLOW_ARGUMENTS if key in arguments} == {
        "retries": 3,
        "retry_delay": timedelta(minutes=1),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=10),
        "sla": timedelta(hours=1),
        "pool": "heavy",
        "priority_weight": 5,
        "trigger_rule": "all_done",
        "depends_on_past": True,
    }


def test_every_size_of_fargate_is_accepted_and_no_other(tmp_path: Path) -> None:
    layers = Layers.of(Layer(Document("dags/etl/pipelines/cwr/big.yaml", SMALL), ("tasks", "load")))
    assert FARGATE_MEMORY[256] == (512, 1024, 2048)
    for cpu, sizes in FARGATE_MEMORY.items():
        for memory in sizes:
            assert not list(check_fargate(Task(cpu=cpu, memory=memory), layers))
        assert list(check_fargate(Task(cpu=cpu, memory=sizes[-1] + 1024), layers))
        assert list(check_fargate(Task(cpu=cpu, memory=sizes[0] - 256), layers))
    assert {max(sizes) for sizes in FARGATE_MEMORY.values()} == {2048, 4096, 8192, 16384, 30720, 61440, 122880}
