"""One task for many items, and tasks that are drawn together."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List

import pytest
import yaml
from orchestrator import Definition, Document, load, run_task_request
from orchestrator.dags import Builder

from tests.trees import tree
from tools.checks.removed import removed_tasks
from tools.commands import show
from tools.deploying.named import uses_of
from tools.local.inventory import inventory
from tools.upgrade.probe import as_stored
from tools.views import comparison

PIPELINE = """\
start_date: 2022-01-01
schedule: "@daily"
tasks:
  fetch: {task_definition: fetcher, group: ingest}
  load:
    task_definition: "loader-{{ item }}"
    container: app
    command: [load, "{{ item | upper }}", "{{ provider.name }}"]
    for_each: [de, fr, 1]
    group: ingest
    depends_on: [fetch]
  report: {task_definition: reporter, depends_on: [load]}
providers:
  un: {}
  wcm: {tasks: {load: {for_each: [us]}}}
  sony: {tasks: {load: {for_each: null, task_definition: loader, command: null}}}
"""
HEAD = "start_date: 2022-01-01\n"


def definitions(root: Path) -> Dict[str, Definition]:
    """Return the definitions by provider."""
    result = load(root, "development")
    assert not result.problems
    return {definition.provider: definition for definition in result.definitions}


def dag_of(root: Path, provider: str) -> Any:
    return Builder().build(definitions(root)[provider])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path, {"cwr/big.yaml": PIPELINE})


@pytest.mark.parametrize(
    ("provider", "loads"),
    [("un", ["load-de", "load-fr", "load-1"]), ("wcm", ["load-us"]), ("sony", ["load"])],
)
def test_each_item_has_a_task_and_who_depends_on_the_task_waits_for_all(
    provider: str, loads: List[str], root: Path
) -> None:
    dag = as_stored(dag_of(root, provider))

    assert list(dag.task_dict) == ["fetch", *loads, "report"]
    assert all(dag.task_dict[load].upstream_task_ids == {"fetch"} for load in loads)
    assert dag.task_dict["report"].upstream_task_ids == set(loads)


def test_items_and_groups_are_drawn_together(root: Path) -> None:
    def children(group: Any) -> Dict[str, Any]:
        return {name: children(child) if hasattr(child, "children") else None for name, child in group.children.items()}

    loads = {"load-de": None, "load-fr": None, "load-1": None}
    for dag in (dag_of(root, "un"), as_stored(dag_of(root, "un"))):
        assert children(dag.task_group) == {"ingest": {"fetch": None, "load": loads}, "report": None}
    assert children(dag_of(root, "sony").task_group) == {"ingest": {"fetch": None, "load": None}, "report": None}


def test_templates_see_the_item(root: Path) -> None:
    dag = dag_of(root, "un")
    for item in ("de", "fr", "1"):
        task = dag.task_dict[f"load-{item}"]
        # Airflow adds these names for a run; prepare_for_execution copies the operator as a run has it.
        task = task.prepare_for_execution()
        task.render_template_fields({"dag": dag, "provider": SimpleNamespace(name="un")})
        (override,) = task.overrides["containerOverrides"]
        assert (task.task_definition, override["command"]) == (f"loader-{item}", ["load", item.upper(), "un"])


def test_show_renders_each_item(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["cwr-big_dag_un", "--environment", "development", "--format", "json", "--origin"]

    assert show.main(arguments, root) == 0
    (dag,) = json.loads(capsys.readouterr().out)
    assert dag["tasks"] == ["fetch", "load-de", "load-fr", "load-1", "report"]
    (override,) = dag["requests"]["load-fr"]["overrides"]["containerOverrides"]
    assert (dag["requests"]["load-fr"]["taskDefinition"], override["command"]) == ("loader-fr", ["load", "FR", "un"])
    task = dag["definition"]["tasks"]["load-fr"]
    assert (task["item"], task["depends_on"], "for_each" in task) == ("fr", ["fetch"], False)
    assert dag["definition"]["tasks"]["report"]["depends_on"] == ["load-1", "load-de", "load-fr"]
    assert dag["origins"]["tasks.load-fr.item"] == "dags/etl/pipelines/cwr/big.yaml:9"


def test_the_preflight_and_the_emulated_aws_see_each_item(root: Path) -> None:
    names = {use.names["task_definition"] for use in uses_of(load(root, "development").definitions)}

    assert names == {"fetcher", "reporter", "loader", *(f"loader-{item}" for item in ("de", "fr", "1", "us"))}
    assert set(inventory("development", root)["task_definitions"]) == names


def test_requests_are_as_written(root: Path) -> None:
    request = run_task_request(definitions(root)["un"], "load-de")

    assert request["taskDefinition"] == "loader-{{ item }}"


def test_the_page_has_a_row_for_all_items(root: Path) -> None:
    page = dag_of(root, "un").doc_md

    assert "load &#40;for each of de, fr, 1&#41;" in page
    assert "load-fr" not in page


def test_plan_shows_the_items_that_come_and_go(root: Path, tmp_path: Path) -> None:
    after = tree(tmp_path / "after", {"cwr/big.yaml": PIPELINE.replace("[de, fr, 1]", "[it, de, 1]")})

    changes = comparison.compare("a", root, after).environments["development"]
    assert [change.dag_id for change in changes] == ["cwr-big_dag_un"]
    assert {task.task_id: task.kind for task in changes[0].tasks} == {
        "load-it": "added",
        "load-fr": "removed",
        "report": "changed",
    }


@pytest.mark.parametrize(
    ("old", "new", "gone"),
    [
        ("[de, fr, 1]", "[it, de, fr, 1]", []),
        ("[de, fr, 1]", "[de, 1]", ["load-fr"]),
        ("for_each: [us]", "for_each: [fr]", ["load-us"]),
        ("    for_each: [de, fr, 1]\n", "", ["load-de", "load-fr", "load-1"]),
        ("providers:", "retired_tasks: [load-fr]\nproviders:", []),
    ],
)
def test_an_item_that_is_taken_away_is_a_removed_task(old: str, new: str, gone: List[str]) -> None:
    after = PIPELINE.replace(old, new)
    if "retired" in new:
        after = after.replace("[de, fr, 1]", "[de, 1]")
    problems = removed_tasks(yaml.safe_load(PIPELINE), Document("dags/etl/pipelines/cwr/big.yaml", after))

    assert sorted(problem.message.split("'")[1] for problem in problems) == sorted(gone)


@pytest.mark.parametrize(
    ("tasks", "messages"),
    [
        ("a: {task_definition: a, for_each: []}", ["for_each has 0 items"]),
        (f"a: {{task_definition: a, for_each: {list(range(101))}}}", ["for_each has 101 items"]),
        ("a: {task_definition: a, for_each: [1, '1']}", ["item '1' is there twice"]),
        ("a: {task_definition: a, for_each: [DE]}", ["'DE' has capitals"]),
        ("a: {task_definition: a, for_each: [no]}", ["expected text, got the boolean false"]),
        ("a: {task_definition: a, for_each: de}", ["expected a list, got the text 'de'"]),
        (f"{'a' * 200}: {{task_definition: a, for_each: [{'b' * 60}]}}", [f"'{'a' * 200}-{'b' * 60}' is not a task's"]),
        (
            "a: {task_definition: a, for_each: [b]}\n  a-b: {task_definition: a}",
            ["two tasks are called 'a-b'"],
        ),
        (
            "a: {task_definition: a, for_each: [b]}\n  a-b: {task_definition: a, for_each: [c]}",
            ["the items of 'a-b' are drawn as a group"],
        ),
        ("a: {task_definition: a, group: a}", ["a group cannot be called 'a'"]),
        (
            "a: {task_definition: a, group: b, for_each: [1]}\n  b: {task_definition: a}",
            ["a group cannot be called 'b'"],
        ),
        ("a: {task_definition: a, group: a, for_each: [1]}", ["a group cannot be called 'a'"]),
        ("a: {task_definition: a, command: ['{{ item }}']}", ["'item' is there only in a task with for_each"]),
        (
            "a: {task_definition: a, for_each: [1]}\n  b: {task_definition: a, depends_on: [a-1]}",
            ["unknown task 'a-1'"],
        ),
    ],
)
def test_wrong_lists_are_reported(tasks: str, messages: List[str], tmp_path: Path) -> None:
    root = tree(tmp_path, {"cwr/big.yaml": f"{HEAD}tasks:\n  {tasks}\nproviders: {{un: {{}}}}\n"})
    problems = load(root, "development").problems

    assert len(problems) == len(messages)
    assert all(problem.message.startswith(message) for problem, message in zip(problems, messages)), problems


@pytest.mark.parametrize(("items", "problems"), [(50, 0), (56, 1)])
def test_items_that_wait_for_all_items_are_bounded(items: int, problems: int, tmp_path: Path) -> None:
    names = "abcdef"
    tasks = "".join(
        f"  {name}: {{task_definition: a, for_each: {list(range(items))}, depends_on: [{', '.join(names[:number])}]}}\n"
        for number, name in enumerate(names[:5])
    )
    root = tree(tmp_path, {"cwr/big.yaml": f"{HEAD}tasks:\n{tasks}providers: {{un: {{}}}}\n"})
    result = load(root, "development")
    assert len(result.problems) == problems
    for problem in result.problems:
        assert problem.message.startswith("31360 dependencies")


def test_a_loop_may_call_its_item_so(tmp_path: Path) -> None:
    command = "{% for item in params.x %}{{ item }},{% endfor %}"
    params = "params: {x: {type: array, default: []}}"
    text = f"{HEAD}{params}\ntasks: {{a: {{task_definition: a, command: ['{command}']}}}}\n"
    assert load(tree(tmp_path, {"cwr/big.yaml": text + "providers: {un: {}}\n"}), "development").problems == []


def test_no_cluster_and_no_delivery_sees_an_item(tmp_path: Path) -> None:
    root = tree(
        tmp_path, {"cwr/big.yaml": PIPELINE.replace("tasks:", "wait_for: {s3: 's3://a/{{ item }}'}\ntasks:", 1)}
    )
    (problem,) = load(root, "development").problems
    assert problem.location.line == 3

    config = root / "configs" / "development.yaml"
    config.write_text(config.read_text().replace("cluster: etl,", "cluster: 'etl-{{ item }}',", 1))
    (problem,) = load(root, "development").problems
    assert problem.location.path == "dags/etl/configs/development.yaml"
