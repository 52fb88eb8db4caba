"""What a DAG waits for: deliveries and other DAGs, and who says what is wrong with it."""

import json
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest
from orchestrator import Definition, load, loading, time_limits
from orchestrator.dags import Builder, dags_of_folder

from tests.trees import tree
from tools.checks.definitions import check_definitions
from tools.commands import show

HEAD = "start_date: 2022-01-01\nschedule: '@daily'\n"
MEDIUM = f"{HEAD}tasks: {{fetch: {{task_definition: a}}, load: {{task_definition: a, for_each: [de, fr]}}}}\n"
MEDIUM += "providers: {un: {}, wcm: {}}\n"
MANUAL = "start_date: 2022-01-01\ntasks: {load: {task_definition: a}}\nproviders: {un: {}}\n"


def waiting(wait_for: str, providers: str = "{un: {}}") -> str:
    return f"{HEAD}wait_for: {wait_for}\ntasks: {{a: {{task_definition: a}}}}\nproviders: {providers}\n"


def with_medium(tmp_path: Path, big: str, **others: str) -> Path:
    files = {f"cwr/{name}.yaml": text for name, text in others.items()}
    return tree(tmp_path, {"cwr/medium.yaml": MEDIUM, "cwr/big.yaml": big, **files})


def definition_of(root: Path, dag_id: str = "cwr-big_dag_un") -> Definition:
    result = load(root, "development")
    assert not result.problems, result.problems
    return {each.dag_id: each for each in result.definitions}[dag_id]


@pytest.mark.parametrize(
    ("wait_for", "sensors"),
    [
        ("{pipeline: cwr/medium}", {"wait_for_cwr-medium": ("cwr-medium_dag_un", True, ("fetch",))}),
        (
            "{pipeline: cwr/medium, provider: wcm}",
            {"wait_for_cwr-medium_dag_wcm": ("cwr-medium_dag_wcm", True, ("fetch",))},
        ),
        (
            "{pipeline: cwr/medium, task: load, timeout: 6h}",
            {"wait_for_cwr-medium-load": ("cwr-medium_dag_un", False, ("load-de", "load-fr"))},
        ),
        (
            "[{pipeline: cwr/medium, task: fetch}, {pipeline: cwr/medium, provider: wcm, task: fetch}]",
            {
                "wait_for_cwr-medium-fetch": ("cwr-medium_dag_un", False, ("fetch",)),
                "wait_for_cwr-medium_dag_wcm-fetch": ("cwr-medium_dag_wcm", False, ("fetch",)),
            },
        ),
    ],
)
def test_it_names_the_dag_and_its_tasks(wait_for: str, sensors: Dict[str, Any], tmp_path: Path) -> None:
    root = with_medium(tmp_path, waiting(wait_for))
    definition = definition_of(root)
    assert {name: (each.dag_id, each.is_whole, each.task_ids) for name, each in definition.awaited.items()} == sensors

    dag: Any = Builder().build(definition)
    for name in sensors:
        assert dag.task_dict[name].downstream_task_ids == {"a"}
        assert dag.task_dict[name].mode == "reschedule"  # no slot is held
        assert f"It waits for {sensors[name][0].replace('_', '&#95;')}" in dag.doc_md
    assert dag.task_dict["a"].upstream_task_ids == set(sensors)


def test_a_list_has_deliveries_and_dags(tmp_path: Path) -> None:
    wait_for = "[{s3: 's3://b/x'}, {pipeline: cwr/medium, timeout: 1h}, {s3: 's3://b/{{ ds }}', poke_interval: 1m}]"
    dag: Any = Builder().build(definition_of(with_medium(tmp_path, waiting(wait_for))))
    assert set(dag.task_dict) == {"wait_for_delivery", "wait_for_delivery-2", "wait_for_cwr-medium", "a"}
    assert dag.task_dict["wait_for_delivery-2"].bucket_key == ["s3://b/{{ ds }}"]
    assert dag.task_dict["wait_for_delivery-2"].poke_interval == 60
    assert dag.task_dict["wait_for_cwr-medium"].timeout == 3600
    assert dag.task_dict["wait_for_delivery"].timeout == 12 * 3600


@pytest.mark.parametrize("mistake", ["owner: 'a b'\n", "a: [\n"], ids=["a wrong value", "no YAML"])
def test_a_worker_reads_a_file_once_however_many_of_its_dags_are_awaited_and_wrong(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for = "[{pipeline: cwr/medium}, {pipeline: cwr/medium, provider: wcm}]"
    root = with_medium(tmp_path, waiting(wait_for))
    with (root / "pipelines" / "cwr" / "medium.yaml").open("a", encoding="utf-8") as file:
        file.write(mistake)
    read: List[str] = []
    real = loading.read_document

    def note(root: Path, file: Path) -> Any:
        read.append(file.stem)
        return real(root, file)

    monkeypatch.setattr(loading, "read_document", note)
    monkeypatch.setattr(loading, "further_problems", None)  # which takes as long as all providers

    (definition,) = load(root, "development", "cwr-big_dag_un").definitions

    assert read.count("medium") == 1
    assert [each.is_known for each in definition.awaited.values()] == [False, False]


def test_a_worker_has_as_much_time_for_awaited_files_as_a_pass_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = with_medium(tmp_path, waiting("{pipeline: cwr/medium}"))
    real = loading.read_document

    def read_slowly(root: Path, file: Path) -> Any:
        end = time.process_time() + 1
        while file.stem == "medium" and time.process_time() < end:
            pass
        return real(root, file)

    monkeypatch.setattr(loading, "read_document", read_slowly)
    monkeypatch.setattr(time_limits, "PASS_SECONDS", 5)

    (definition,) = load(root, "development", "cwr-big_dag_un").definitions

    assert [each.is_known for each in definition.awaited.values()] == [True]


def test_a_provider_changes_a_part_or_all_of_it(tmp_path: Path) -> None:
    providers = "{un: {wait_for: {timeout: 1h}}, wcm: {wait_for: [{s3: 's3://b/x'}]}}"
    root = with_medium(tmp_path, waiting("{pipeline: cwr/medium}", providers))
    un: Any = Builder().build(definition_of(root))
    wcm: Any = Builder().build(definition_of(root, "cwr-big_dag_wcm"))
    assert un.task_dict["wait_for_cwr-medium"].timeout == 3600
    assert set(wcm.task_dict) == {"wait_for_delivery", "a"}


# Each with the line and the beginning of the message that a person gets, and words of the hint.
@pytest.mark.parametrize(
    ("wait_for", "message", "hint"),
    [
        ("cwr/medium", "expected a mapping, or a list of them, got the text 'cwr/medium'", "{pipeline: cwr/medium}"),
        ("cwr-medium_dag_un", "expected a mapping, or a list of them", "{pipeline: cwr/medium, provider: un}"),
        ("[cwr/medium]", "expected a mapping, got the text 'cwr/medium'", "{pipeline: cwr/medium}"),
        ("s3://bucket/key", "expected a mapping, or a list of them", '{s3: "s3://bucket/key"}'),
        ("{pipeline: medium}", "'medium' is not a pipeline's family and name", "{pipeline: family/name}"),
        ("{pipeline: cwr-medium_dag_un}", "'cwr-medium_dag_un' is not", "{pipeline: cwr/medium, provider: un}"),
        ("[{pipeline: 's3://b/k'}]", "'s3://b/k' is not a pipeline's", '{s3: "s3://b/k"}'),
        ("{s3: {bucket: b, key: k}}", "expected text, got a mapping", 'write s3: "s3://b/k"'),
        ("{pipeline: cwr/medum}", "unknown pipeline 'cwr/medum'", "did you mean 'cwr/medium'?"),
        ("{pipeline: cwr/medium, provider: wmc}", "'cwr/medium' has no DAG here for provider 'wmc'", "'wcm'"),
        ("{pipeline: cwr/medium, task: loda}", "'cwr/medium' has no task 'loda'", "did you mean 'load'?"),
        ("{pipeline: cwr/medium, tsk: load}", "unknown key 'tsk'", "did you mean 'task'?"),
        ("{provider: un}", "missing key 's3' or 'pipeline'", "pipeline: family/name"),
        ("{}", "missing key 's3' or 'pipeline'", "s3: s3://bucket/key"),
        ("{pipeline: cwr/medium, s3: 's3://b/k'}", "'s3' and 'pipeline' exclude each other", "list"),
        ("{s3: 's3://b/k', task: load}", "'s3' and 'task' exclude each other", "list"),
        ("{pipeline: cwr/manual}", "'cwr/manual' has no schedule", "give it one"),
        ("{pipeline: cwr/big}", "the DAG waits for itself", "depends_on_past"),
        ("[]", "wait_for has 0 entries", "1 to 10"),
        (f"[{', '.join(['{pipeline: cwr/medium}'] * 2)}]", "the same DAG is awaited twice", "leave one out"),
        ("[{pipeline: cwr/manual-a}, {pipeline: cwr/manual, task: a}]", "two tasks that wait are called", "'provider'"),
        ("{s3: 's3://b/k', poke_interval: 1s, timeout: 81004s}", "it looks 20251 times until its timeout", "shorter"),
        ("[{s3: 's3://b/k'}, {pipeline: cwr/medium, timeout: soon}]", "expected a duration, got the text 'soon'", ""),
        ("{pipeline: [cwr/medium]}", "expected text, got a list", ""),
        ("{s3: \"s3://b/{{ ti.xcom_pull('a') }}\"}", "there is no XCom of 'a' yet", "the run's dates"),
    ],
)
def test_a_mistake_is_told_at_its_line(wait_for: str, message: str, hint: str, tmp_path: Path) -> None:
    root = with_medium(tmp_path, waiting(wait_for), manual=MANUAL)
    (problem,) = load(root, "development").problems
    assert problem.message.startswith(message)
    assert hint in problem.hint
    assert (problem.location.path, problem.location.line) == ("dags/etl/pipelines/cwr/big.yaml", 3)
    assert check_definitions(root).problems[0].location == problem.location


def test_a_dag_that_is_not_there_disables_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else may have taken it out, or written the mistake in its file."""
    monkeypatch.setenv("AIRFLOW__ETL__ENVIRONMENT", "development")
    root = with_medium(tmp_path, waiting("{pipeline: cwr/medium}", "{un: {}, sony: {}}"))
    assert {"cwr-big_dag_un", "cwr-big_dag_sony"} <= set(dags_of_folder(root))
    (problem,) = load(root, "development").problems
    assert problem.message == "'cwr/medium' has no DAG here for provider 'sony'"

    (root / "pipelines" / "cwr" / "medium.yaml").write_text("tasks: [")
    result = load(root, "development")
    assert {problem.location.path for problem in result.problems} == {"dags/etl/pipelines/cwr/medium.yaml"}
    assert {"cwr-big_dag_un", "cwr-big_dag_sony"} <= set(dags_of_folder(root))


def test_a_dag_of_another_environment_is_told_with_the_environment(tmp_path: Path) -> None:
    root = with_medium(tmp_path, waiting("{pipeline: cwr/medium}"))
    config = (root / "configs" / "development.yaml").read_text()
    (root / "configs" / "production.yaml").write_text(config)
    medium = root / "pipelines" / "cwr" / "medium.yaml"
    medium.write_text(MEDIUM + "environments: [production]\n")
    messages = [problem.message for problem in check_definitions(root).problems]
    assert messages == ["'cwr/medium' has no DAG here for provider 'un' (in development, staging)"]


@pytest.mark.parametrize("selected", [False, True])
def test_a_circle_is_told_in_each_of_its_files(selected: bool, tmp_path: Path) -> None:
    providers = "{un: {}, wcm: {}}"
    files = {
        "a/a": waiting("{pipeline: b/b}", providers),
        "b/b": waiting("[{s3: 's3://b/k'}, {pipeline: c/c}]", providers),
        "c/c": waiting("{pipeline: a/a, task: a}", providers),
        "d/d": waiting("{pipeline: a/a}", providers),  # waits for the circle, and is not in it
    }
    root = tree(tmp_path, {f"{name}.yaml": text for name, text in files.items()})
    paths = {root / "pipelines" / "b" / "b.yaml"} if selected else None
    found = {problem.location.path[19:]: problem.message for problem in check_definitions(root, paths).problems}
    circles = {
        "a/a.yaml": "a circle of DAGs: a/a -> b/b -> c/c -> a/a, for providers 'un', 'wcm'",
        "b/b.yaml": "a circle of DAGs: b/b -> c/c -> a/a -> b/b, for providers 'un', 'wcm'",
        "c/c.yaml": "a circle of DAGs: c/c -> a/a -> b/b -> c/c, for providers 'un', 'wcm'",
    }
    assert found == ({"b/b.yaml": circles["b/b.yaml"]} if selected else circles)
    assert len(load(root, "development").definitions) == 8


def test_a_long_circle_takes_linear_time(tmp_path: Path) -> None:
    seconds = []
    for number in (250, 2000):
        wait_for = "wait_for: {{pipeline: a/a, provider: p{}}}"
        providers = "".join(f"  p{i}: {{{wait_for.format((i + 1) % number)}}}\n" for i in range(number))
        text = f"{HEAD}tasks: {{a: {{task_definition: a}}}}\nproviders:\n{providers}"
        root = tree(tmp_path / str(number), {"a/a.yaml": text})

        rounds = []
        for _ in range(3):  # what else the process holds is collected in one of them
            start = time.process_time()
            problems = load(root, "development").problems
            rounds.append(time.process_time() - start)
        seconds.append(min(rounds))

        assert len(problems) == number
        assert problems[-1].message.startswith(f"a circle of DAGs: a-a_dag_p{number - 1} -> a-a_dag_p0 -> a-a_dag_p1")
    assert seconds[1] < 24 * seconds[0] + 0.1  # 8 times as long


def test_ids_of_sensors_are_taken(tmp_path: Path) -> None:
    group = "b: {task_definition: a, group: wait_for_delivery}"
    items = "wait_for: {task_definition: a, for_each: [a, delivery-2]}"
    tasks = f"{{wait_for_cwr-medium: {{task_definition: a}}, {group}, {items}}}"
    wait_for = "[{pipeline: cwr/medium}, {s3: 's3://b/k'}, {s3: 's3://b/l'}]"
    text = f"{HEAD}wait_for: {wait_for}\ntasks: {tasks}\nproviders: {{un: {{}}}}\n"
    messages: List[str] = [problem.message for problem in load(with_medium(tmp_path, text), "development").problems]
    assert messages == [
        "a task cannot be called 'wait_for_cwr-medium' beside wait_for",
        "a group cannot be called 'wait_for_delivery' beside wait_for",
    ]


def test_a_task_reads_the_files_of_the_dags_that_it_waits_for_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = with_medium(tmp_path, waiting("{pipeline: cwr/medium}"), broken="tasks: [")
    monkeypatch.setenv("AIRFLOW__ETL__ENVIRONMENT", "development")
    monkeypatch.setattr("orchestrator.dags.running_task", lambda: ("cwr-big_dag_un", "a"))
    sizes = {file.relative_to(root).as_posix(): file.stat().st_size for file in root.glob("*/**/*.yaml")}
    sizes["pipelines/cwr/broken.yaml"] += 1

    dag: Any
    (dag,) = dags_of_folder(root, sizes=sizes).values()
    assert dag.task_dict["wait_for_cwr-medium"].awaited.schedule == "@daily"

    text = waiting(
        "[{pipeline: cwr/medium}, {pipeline: cwr/medium, provider: wcm}, {pipeline: cwr/big, provider: wcm}]"
    )
    (root / "pipelines" / "cwr" / "big.yaml").write_text(text.replace("{un: {}}", "{un: {}, wcm: {wait_for: null}}"))
    (dag,) = dags_of_folder(root).values()
    sensors = [task for task in dag.tasks if task.task_id != "a"]
    assert [task.awaited.schedule for task in sensors] == ["@daily"] * 3

    sizes["pipelines/cwr/big.yaml"] = (root / "pipelines" / "cwr" / "big.yaml").stat().st_size
    sizes["pipelines/cwr/medium.yaml"] += 1
    with pytest.raises(FileNotFoundError, match=r"medium\.yaml is not whole"):
        dags_of_folder(root, sizes=sizes)


def test_show_names_the_dags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = with_medium(tmp_path, waiting("[{pipeline: cwr/medium, task: load}, {s3: 's3://b/k'}]"))
    arguments = ["cwr-big_dag_un", "--environment", "staging"]
    assert show.main(arguments, root) == 0
    text = capsys.readouterr().out
    assert "\nwaits for cwr-medium_dag_un (task load)\nwaits for s3://b/k\n" in text
    assert "wait_for: [{pipeline: cwr/medium, provider: un, task: load}, {s3: 's3://b/k'}]" in text

    assert show.main([*arguments, "--format", "json"], root) == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert shown["waits_for"] == ["cwr-medium_dag_un (task load)", "s3://b/k"]
