"""``./etl check --airflow``: what a newer Airflow no longer has."""

from pathlib import Path
from typing import List

import pytest
from orchestrator import read_template
from orchestrator.vocabulary import LATER, MEMBERS, NAMES

from tests.trees import tree
from tools.checks.definitions import check_definitions
from tools.checks.generations import mistakes

PIPELINE = """\
start_date: 2022-01-01
tasks:
  load:
    task_definition: loader
    command: ["{{ prev_ds }}"]
    environment: {WEEKDAY: "{{ logical_date.add(days=1)['day_of_week'] }}"}
    sla: 1h
  next: {task_definition: loader, command: ["{{ ti.pool }}"]}
wait_for: {s3: "s3://bucket/{{ yesterday_ds }}/*"}
providers:
  un: {}
  wcm:
    tasks:
      load: {command: ["{{ tomorrow_ds }}"]}
"""


def reports(folder: Path, airflow: str) -> List[str]:
    """Return place and message of what is reported of the pipeline."""
    report = check_definitions(tree(folder, {"cwr/small.yaml": PIPELINE}), airflow=airflow)
    assert {problem.rule for problem in report.problems} == {"upgrade"}
    return [f"{problem.location.line}: {problem.message}" for problem in report.problems]


def test_all_that_is_gone_is_reported_where_it_stands(tmp_path: Path) -> None:
    assert reports(tmp_path, "3") == [
        "5: 'prev_ds' is not in Airflow 3",
        "6: 'day_of_week' is another value in Airflow 3",
        "7: Airflow 3 has no SLAs: 'sla' does nothing there",
        "8: 'pool' is not in Airflow 3",
        "9: 'yesterday_ds' is not in Airflow 3",
        "14: 'tomorrow_ds' is not in Airflow 3",
    ]


def test_an_earlier_generation_lacks_less(tmp_path: Path) -> None:
    assert reports(tmp_path, "2.11") == ["6: 'day_of_week' is another value in Airflow 2.11"]


def test_a_template_of_an_environment_is_checked(tmp_path: Path) -> None:
    root = tree(tmp_path, {"cwr/small.yaml": PIPELINE})
    config = root / "configs" / "development.yaml"
    config.write_text(config.read_text().replace("cluster: etl,", "cluster: 'etl-{{ next_ds }}',", 1))

    problems = check_definitions(root, {config}, airflow="3").problems

    assert [(problem.location.path, problem.message) for problem in problems] == [
        ("dags/etl/configs/development.yaml", "'next_ds' is not in Airflow 3")
    ]


@pytest.mark.parametrize(
    "text",
    ["{{ params.day_of_week }}", "{{ env['next_ds'] }}", "{{ dag_run.conf.test_mode }}", "{{ var.value.prev_ds }}"],
)
def test_what_people_named_so_is_not_reported(text: str) -> None:
    assert read_template(text).faults == []
    assert mistakes(text, "3") == []


@pytest.mark.parametrize("name", [name for names in LATER.values() for name in names])
def test_what_is_gone_is_in_the_vocabulary(name: str) -> None:
    """An entry that no template may use would never be reported."""
    called, _, argument = name.rstrip("=)").partition("(")
    entry = NAMES.get(called) or MEMBERS["date"][called[1:]]
    assert not argument or argument in str(entry.takes)
