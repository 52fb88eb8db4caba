"""Layers: environment < pipeline < task < defaults of the provider < task of the provider; null removes a value."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Dict

import pytest
from orchestrator import load

from tests.trees import tree

CONFIG = """\
region: eu-west-1
clusters:
  default: {cluster: etl}
defaults: {retries: 1, environment: {A: env, B: env, C: env, D: env, E: env}}
"""
PIPELINE = """\
start_date: 2022-01-01
defaults: {retries: 2, environment: {B: pipeline, C: pipeline, D: pipeline, E: pipeline}}
tasks:
  load:
    task_definition: loader
    retries: 3
    execution_timeout: 1d12h
    command: [load, all]
    environment: {C: task, D: task, E: task}
  clean: {task_definition: cleaner, depends_on: [load]}
providers:
  un: {}
  wcm:
    defaults: {retries: 4, environment: {D: provider, E: provider}}
    tasks:
      load: {retries: 5, command: [load], environment: {E: provider task}}
  prs:
    tasks:
      load: {retries: null, execution_timeout: null, command: null, environment: {A: null, E: null}}
      clean: {depends_on: null}
  gema:
    tasks: {clean: null}
"""


@pytest.fixture
def operators(tmp_path: Path) -> Dict[str, Dict[str, Dict[str, Any]]]:
    """Return the arguments of the operator by provider and task."""
    root = tree(tmp_path, {"cwr/big.yaml": PIPELINE})
    (root / "configs" / "development.yaml").write_text(CONFIG)
    result = load(root, "development")
    assert not result.problems
    return {
        definition.provider: {task_id: task.operator for task_id, task in definition.plan.tasks.items()}
        for definition in result.definitions
    }


def environment(operator: Dict[str, Any]) -> Dict[str, str]:
    (container,) = operator["overrides"]["containerOverrides"]
    return {variable["name"]: variable["value"] for variable in container["environment"]}


def test_later_layers_win(operators: Any) -> None:
    assert operators["un"]["load"]["retries"] == 3
    assert operators["un"]["clean"]["retries"] == 2
    assert operators["wcm"]["load"]["retries"] == 5
    assert operators["wcm"]["clean"]["retries"] == 4


def test_mappings_merge_by_key(operators: Any) -> None:
    assert environment(operators["un"]["load"]) == {"A": "env", "B": "pipeline", "C": "task", "D": "task", "E": "task"}
    assert environment(operators["wcm"]["load"]) == {
        "A": "env",
        "B": "pipeline",
        "C": "task",
        "D": "provider",
        "E": "provider task",
    }


def test_lists_are_replaced(operators: Any) -> None:
    assert operators["wcm"]["load"]["overrides"]["containerOverrides"][0]["command"] == ["load"]


def test_null_removes_a_value(operators: Any) -> None:
    load = operators["prs"]["load"]
    assert "retries" not in load
    assert "execution_timeout" not in load
    assert "command" not in load["overrides"]["containerOverrides"][0]
    assert environment(load) == {"B": "pipeline", "C": "task", "D": "task"}
    assert operators["un"]["load"]["execution_timeout"] == timedelta(hours=36)


def test_null_removes_a_task(operators: Any) -> None:
    assert list(operators["gema"]) == ["load"]


def test_providers_without_overrides_share_one_plan(tmp_path: Path) -> None:
    text = (
        PIPELINE[: PIPELINE.index("providers:")]
        + "providers: {un: {}, wcm: {variables: {a: b}}, prs: {schedule: '@daily'}}\n"
    )
    definitions = load(tree(tmp_path, {"cwr/big.yaml": text}), "development").definitions

    assert len({id(definition.plan) for definition in definitions}) == 1


def test_a_provider_overrides_settings_by_key(tmp_path: Path) -> None:
    text = """\
start_date: 2022-01-01
schedule: "@daily"
owner: a
params: {full: {type: boolean, default: false, description: All of it.}, week: {type: string, default: x}}
tasks: {load: {task_definition: loader}}
providers:
  un: {}
  wcm: {schedule: null, owner: b, max_active_runs: 3, params: {full: {default: true}, week: null}}
"""
    un, wcm = load(tree(tmp_path, {"cwr/big.yaml": text}), "staging").definitions

    assert (un.schedule, un.settings.owner) == ("@daily", "a")
    assert (wcm.schedule, wcm.settings.owner, wcm.settings.max_active_runs) == (None, "b", 3)
    assert list(wcm.settings.effective_params) == ["full"]
    param = wcm.settings.effective_params["full"]
    assert (param.default, param.description, param.json_schema) == (True, "All of it.", {"type": "boolean"})


def test_the_key_environments_restricts_a_pipeline_or_provider(tmp_path: Path) -> None:
    text = """\
start_date: 2022-01-01
environments: [staging]
tasks: {load: {task_definition: loader}}
providers: {un: {}, wcm: {environments: [development]}, prs: {environments: null}}
"""
    root = tree(tmp_path, {"cwr/big.yaml": text})

    assert [d.provider for d in load(root, "staging").definitions] == ["un", "prs"]
    assert [d.provider for d in load(root, "development").definitions] == ["wcm", "prs"]


def test_a_mistake_of_merged_layers_is_reported_at_the_layer_that_supplied_it(tmp_path: Path) -> None:
    text = """\
start_date: 2022-01-01
defaults: {cpu: 256, memory: 512}
tasks: {load: {task_definition: loader}}
providers:
  un: {}
  wcm: {defaults: {memory: 4096}}
"""
    (problem,) = load(tree(tmp_path, {"cwr/big.yaml": text}), "development").problems
    assert (problem.location.line, problem.location.column, problem.rule) == (6, 28, "ecs")

    root = tree(
        tmp_path / "environment", {"cwr/big.yaml": text[: text.index("defaults")] + text[text.index("tasks") :]}
    )
    config = root / "configs" / "development.yaml"
    config.write_text(config.read_text() + "\n".join(["  # end", ""]).replace("  # end", "# end"))
    config.write_text(config.read_text().replace("defaults: {retries: 1}", "defaults: {cluster: nowhere}"))
    (problem,) = [p for p in load(root, "development").problems if "cluster" in p.message]
    assert problem.location.path == "dags/etl/configs/development.yaml"
    assert problem.location.source == "defaults: {cluster: nowhere}"
