"""What the DAGs of a pipeline take of the scheduler: tests/unit/test_work_limits.py has the limits of their runs."""

from pathlib import Path
from typing import Any, Dict

import pytest
from orchestrator import load
from orchestrator.dags import build
from orchestrator.generations import IS_2_2

from tests.trees import tree

pytestmark = pytest.mark.skipif(not IS_2_2, reason="newer schedulers look at further tasks")

HEAD = "start_date: 2022-01-01\n"
UN = "providers: {un: {}}\n"
ITEMS = ", ".join(map(str, range(17)))  # Airflow's default of max_active_tasks is 16


def weights(folder: Path, text: str) -> Dict[str, int]:
    """Return the priority of each task of the only DAG, as its scheduler sorts by it."""
    result = load(tree(folder, {"cwr/big.yaml": text + UN}), "development")
    assert not result.problems
    (dag,) = build(result)[0].values()
    tasks: Any = dag.tasks
    return {task.task_id: task.priority_weight_total for task in tasks}


@pytest.mark.parametrize(
    "text",
    [
        f"tasks: {{a: {{task_definition: a, for_each: [{ITEMS}]}}}}\n",
        f"tasks: {{a: {{task_definition: a, for_each: [{ITEMS}], priority_weight: 10000}}}}\n",
        f"wait_for: {{s3: s3://a/b}}\ntasks: {{a: {{task_definition: a, for_each: [{ITEMS}]}}}}\n",
        "max_active_tasks: 1\ntasks: {a: {task_definition: a}, b: {task_definition: a}}\n",
        "max_active_runs: 17\ntasks: {a: {task_definition: a}, b: {task_definition: a, depends_on: [a]}}\n",
        "max_active_tasks: 1\ndefaults: {task_definition: a}\n"
        "tasks: {a: {}, b: {depends_on: [a], trigger_rule: always}}\n",
        "max_active_tasks: 1\nwait_for: [{s3: s3://a/b}, {s3: s3://a/c}]\ntasks: {a: {task_definition: a}}\n",
    ],
    ids=["many items", "of high priority", "with a sensor", "few at once", "many runs", "in no row", "sensors"],
)
def test_tasks_that_their_dag_may_hold_back_come_after_those_of_all_other_dags(text: str, tmp_path: Path) -> None:
    (weight,) = set(weights(tmp_path, HEAD + text).values())  # the same, so that none of these is before others
    assert weight < 1


@pytest.mark.parametrize(
    "text",
    [
        f"max_active_tasks: 17\ntasks: {{a: {{task_definition: a, for_each: [{ITEMS}]}}}}\n",
        "max_active_tasks: 1\ntasks: {a: {task_definition: a}, b: {task_definition: a, depends_on: [a]}}\n",
        "max_active_runs: 16\ntasks: {a: {task_definition: a}, b: {task_definition: a, depends_on: [a]}}\n",
    ],
    ids=["as many as there are items", "in a row", "as many runs as tasks"],
)
def test_tasks_that_can_all_run_when_they_are_ready_keep_their_priority(text: str, tmp_path: Path) -> None:
    assert min(weights(tmp_path, HEAD + text).values()) >= 1


def test_tasks_of_a_pool_come_after_all_others_in_the_order_of_their_own_priorities(tmp_path: Path) -> None:
    """Airflow looks at those that come first, and only then whether their pool has a slot for them."""
    tasks = "a: {pool: small, priority_weight: 10000}, b: {pool: small, depends_on: [a]}, c: {pool: default_pool}"
    root = tree(tmp_path, {"cwr/big.yaml": f"{HEAD}defaults: {{task_definition: a}}\ntasks: {{{tasks}}}\n{UN}"})
    with (root / "configs" / "development.yaml").open("a", encoding="utf-8") as file:
        file.write("pools: [small]\n")

    (dag,) = build(load(root, "development"))[0].values()
    weight = {task.task_id: task.priority_weight_total for task in dag.tasks}

    assert weight["b"] < weight["a"] < 1 <= weight["c"]
