"""What templates may say gives the same in each generation of Airflow, or is reported."""

import re
from pathlib import Path
from typing import Any, Dict, Set

import pytest
import yaml
from orchestrator.vocabulary import FILTERS, LOOP, MEMBERS, NAMES, TESTS

from tests.trees import tree
from tools.checks.generations import mistakes
from tools.setup.environments import GENERATIONS, ensure
from tools.upgrade.compare import probe

pytestmark = pytest.mark.slow

NEWER = [name for name in GENERATIONS if name != "2.2.2"]
NOW = "2026-01-05T10:20:30+00:00"
EXAMPLES = sorted(
    {entry.example for table in (NAMES, LOOP, FILTERS, TESTS, *MEMBERS.values()) for entry in table.values()}
)
PARAMS = {
    **{"country": "de", "countries": ["b", "a"], "name": "Name0", "path": "a/b/", "lines": "x\ny", "shard": 3},
    **{"share": 1.5, "days": -2, "years": [2020, 2021], "sizes": {"a": 1, "b": 2}, "full": True},
}
# Of a run that is triggered, Airflow 3 knows less: docs/differences.md.
LESS = {
    "3": {
        "{{ prev_data_interval_start_success or data_interval_start }}",
        "{{ prev_data_interval_end_success or data_interval_start }}",
        "{{ task_instance_key_str }}",
    }
}

FAILS: Dict[str, Set[str]] = {
    "scheduled": {"{{ dag_run.conf['country'] }}"},
    "triggered": set(),
}  # nobody has typed a country


@pytest.fixture(scope="module", autouse=True)
def _all_set_up() -> None:
    for environment in GENERATIONS.values():
        ensure(environment)


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a tree with a task for each example of the vocabulary."""
    tasks: Dict[str, Any] = {"fetch": {"task_definition": "loader"}}  # whose XCom one of the others takes
    for number, example in enumerate(EXAMPLES):
        items = {"for_each": ["de"]} if re.search(r"\bitem\b", example) else {}
        tasks[f"t{number}"] = {"task_definition": "loader", "command": [example], **items}
    pipeline = {
        "start_date": "2022-01-01",
        "schedule": "0 3 * * *",
        "params": {name: {"default": value} for name, value in PARAMS.items()},
        "tasks": tasks,
        "providers": {"un": {}},
    }
    return tree(tmp_path_factory.mktemp("vocabulary"), {"cwr/all.yaml": yaml.safe_dump(pipeline, sort_keys=False)})


@pytest.fixture(scope="module")
def here(vocabulary: Path) -> Dict[str, Any]:
    return probe("2.2.2", vocabulary, "development", NOW)


@pytest.mark.parametrize("generation", NEWER)
def test_each_name_of_the_vocabulary_is_the_same_or_reported(
    generation: str, vocabulary: Path, here: Dict[str, Any]
) -> None:
    """What gives another text there is what ``./etl check --airflow`` reports, and nothing else."""
    there = probe(generation, vocabulary, "development", NOW)
    assert here["problems"] == there["problems"] == []
    different = {name: differing(here, there, name) for name in ("scheduled", "triggered")}
    reported = {example for example in EXAMPLES if mistakes(example, generation)}
    # What is gone in 3 alone is among what differs; what would differ in another run may be equal in this one.
    assert different["scheduled"] == reported
    assert different["triggered"] == reported | LESS.get(generation, set())


def differing(here: Dict[str, Any], there: Dict[str, Any], run: str) -> Set[str]:
    """Return the examples that give another request in a run."""
    before, after = (each["dags"]["cwr-all_dag_un"]["requests"][run] for each in (here, there))
    works = {task_id for task_id, request in before.items() if not isinstance(request, str)}
    assert set(map(example_of, set(before) - works)) == FAILS[run]
    return {example_of(task_id) for task_id in works if before[task_id] != after[task_id]}


def example_of(task_id: str) -> str:
    """Return the example that a task has, perhaps for an item."""
    return EXAMPLES[int(task_id[1:].partition("-")[0])]
