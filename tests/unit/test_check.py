"""``./etl check``: which problems it reports, in which format, and its exit status."""

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple

import pytest
from orchestrator import Location, Problem, load

from tests.checkouts import checkout as checkout_copy
from tests.trees import COMPANY, DATA, REPOSITORY, SMALL, folder_tree, python, tree
from tools import checkout, terminal
from tools.checks import credentials, definitions, run_task
from tools.checks.definitions import select_files
from tools.commands import check
from tools.views import problems as views

BAD = SMALL.replace("task_definition: loader", "task_definition: loader, retrys: 1")


class Answer(NamedTuple):
    """The exit status and output of a check."""

    status: int
    out: str
    err: str


Checker = Callable[..., Answer]


@pytest.fixture
def run_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Checker:
    """Return a function that checks a tree of some pipelines with some arguments."""

    def run(pipelines: Dict[str, str], *arguments: str) -> Answer:
        root = tmp_path / "dags" / "etl"
        if not root.exists():
            tree(tmp_path, pipelines)
        monkeypatch.setattr(checkout, "ETL", root)
        monkeypatch.setenv("ETL_FOLDER", str(tmp_path))
        try:
            status = check.main(list(arguments))
        except SystemExit as error:
            status = int(error.code or 0)
        return Answer(status, *capsys.readouterr())

    return run


def problems(answer: Answer) -> List[Dict[str, object]]:
    result: List[Dict[str, object]] = json.loads(answer.out)
    return result


def test_valid_definitions_are_counted_without_importing_airflow(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from tools import checkout; from tools.commands import check;"
        "checkout.ETL = pathlib.Path(sys.argv[1]); status = check.main([]); print('airflow' in sys.modules, status)"
    )
    result = python(code, str(folder_tree(tmp_path, COMPANY)), environment={"PYTHONPATH": str(REPOSITORY)})

    summary, imported = result.stdout.splitlines()
    assert summary.startswith("no problems in 8 files, 12 DAGs, 2 environments"), result.stdout + result.stderr
    assert imported == "False 0"


def test_check_runs_from_any_folder(tmp_path: Path) -> None:
    copy = checkout_copy(tmp_path)
    result = subprocess.run(
        [sys.executable, "-m", "tools.commands.check", "cwr/big.yaml"],
        cwd=copy,
        env={**os.environ, "ETL_FOLDER": str(copy / "dags" / "etl" / "pipelines")},
        capture_output=True,
        text=True,
    )

    assert (result.returncode, result.stdout) == (0, "no problems in 1 file, 2 DAGs, 2 environments\n"), result.stderr


def test_a_problem_is_printed_as_the_package_reports_it_and_counted(run_check: Checker) -> None:
    status, out, _ = run_check({"cwr/bad.yaml": BAD, "cwr/good.yaml": SMALL})

    (problem,) = load(checkout.ETL, "development").problems
    assert status == 1
    assert out == f"{problem}\n\n1 problem in 4 files, 2 DAGs, 2 environments\n"


def test_every_problem_that_the_package_reports_is_reported_by_check(run_check: Checker) -> None:
    bad = {f"bad/{case.name}": case.read_text(encoding="utf-8") for case in (DATA / "bad").glob("*.yaml")}
    answer = run_check(bad, "--format", "json")

    reports = {(problem["path"], problem["line"], problem["column"], problem["rule"]) for problem in problems(answer)}
    expected = [problem for result in checkout.load_all(checkout.ETL).values() for problem in result.problems]
    assert expected
    assert {
        (problem.location.path, problem.location.line, problem.location.column, problem.rule) for problem in expected
    } <= reports


def test_json_is_a_list_of_objects(run_check: Checker) -> None:
    status, out, err = run_check({"cwr/bad.yaml": BAD}, "--format", "json")

    assert status == 1
    assert json.loads(out) == [
        {
            "path": "dags/etl/pipelines/cwr/bad.yaml",
            "line": 3,
            "column": 35,
            "message": "unknown key 'retrys'",
            "hint": "did you mean 'retries'?",
            "rule": "schema",
        }
    ]
    assert "1 problem in" in err


def test_json_without_problems_is_an_empty_list(run_check: Checker) -> None:
    assert json.loads(run_check({"cwr/good.yaml": SMALL}, "--format", "json").out) == []


def test_github_gets_annotations(run_check: Checker) -> None:
    status, out, _ = run_check({"cwr/bad.yaml": BAD}, "--format", "github")

    assert status == 1
    assert out == (
        "::error file=dags/etl/pipelines/cwr/bad.yaml,line=3,col=35,title=schema"
        "::unknown key 'retrys'%0Adid you mean 'retries'?\n"
    )


def test_an_annotation_is_escaped_and_names_the_file_that_git_has() -> None:
    problem = Problem(Location("dags/etl/configs/a,b:c.yaml", 1, 2), "100%\r\nsure, it is: so")

    assert views.annotation(problem) == (
        "::error file=configs/a%2Cb%3Ac.yaml,line=1,col=2,title=schema::100%25%0D%0Asure, it is: so"
    )


def test_an_annotation_has_no_control_characters_of_a_name(run_check: Checker) -> None:
    key = SMALL + r'"re\x1btrys\u202e": 1'
    status, out, _ = run_check({"cwr/\x1b[31m\u202e.yaml": SMALL, "cwr/key.yaml": key}, "--format", "github")

    assert status == 1
    assert set(out) - {"\n"} == {c for c in out if c.isprintable()}
    assert r"file=dags/etl/pipelines/cwr/\u001b[31m\u202e.yaml," in out
    assert r"unknown key 're\u001btrys\u202e'" in out


def test_a_problem_of_one_environment_names_it(run_check: Checker, tmp_path: Path) -> None:
    staging = (DATA / "configs" / "staging.yaml").read_text()
    root = tree(tmp_path, {"cwr/big.yaml": SMALL.replace("loader}", "loader, cluster: only}")})
    (root / "configs" / "staging.yaml").write_text(staging.replace("clusters:", "clusters:\n  only: {cluster: x}"))

    (problem,) = problems(run_check({}, "--format", "json"))

    assert problem["message"] == "unknown cluster 'only' (in development)"


def test_a_problem_of_all_environments_is_reported_once(run_check: Checker) -> None:
    text = SMALL.replace("loader}", 'loader, cluster: nowhere, command: ["{{ env.nothing }}"]}')

    reports = problems(run_check({"cwr/big.yaml": text}, "--format", "json"))

    assert sorted(str(problem["message"]) for problem in reports) == [
        "unknown cluster 'nowhere'",
        "unknown name 'env.nothing' in the template, for providers 'un', 'wcm'",
    ]


def test_a_pool_that_all_environments_lack_is_to_be_added_to_each(run_check: Checker) -> None:
    text = SMALL.replace("loader}", "loader, pool: db_pool}")

    (problem,) = problems(run_check({"cwr/big.yaml": text}, "--format", "json"))

    assert problem["message"] == "unknown pool 'db_pool'"
    assert "add it to 'pools' of each environment in configs/" in str(problem["hint"])


def test_only_problems_of_the_named_paths_are_reported(run_check: Checker) -> None:
    pipelines = {"cwr/bad.yaml": BAD, "vi/bad.yaml": BAD, "vi/good.yaml": SMALL}

    for path, files in [
        ("dags/etl/pipelines/cwr", ["cwr/bad"]),
        ("dags/etl/pipelines/vi/bad.yaml", ["vi/bad"]),
        ("dags/etl/pipelines/vi/good.yaml", []),
        ("dags", ["cwr/bad", "vi/bad"]),
        ("dags/..", ["cwr/bad", "vi/bad"]),
    ]:
        reports = problems(run_check(pipelines, path, "--format", "json"))
        assert [str(problem["path"])[len("dags/etl/pipelines/") : -len(".yaml")] for problem in reports] == files


def test_a_request_that_botocore_refuses_is_reported(run_check: Checker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        run_task, "run_task_request", lambda definition, task_id: {"taskDefinition": "loader", "cpu": 1}
    )

    (problem,) = problems(run_check({"cwr/big.yaml": SMALL}, "--format", "json"))

    assert (problem["line"], problem["rule"]) == (3, "ecs")
    assert str(problem["message"]).startswith('not a RunTask request: Unknown parameter in input: "cpu"')


@pytest.mark.parametrize("path", ["configs", "dags/etl/configs", "dags/etl/configs/../configs/staging.yaml"])
def test_environments_can_be_named_by_their_link(path: str, tmp_path: Path) -> None:
    copy = checkout_copy(tmp_path)
    selected = select_files(copy / "dags" / "etl", [str(copy / path)])

    assert selected is not None
    assert {file.parent for file in selected} == {copy / "dags" / "etl" / "configs"}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("dags/etl/pipelines/cwr/nothing.yaml", "there is no dags/etl/pipelines/cwr/nothing.yaml"),
        ("x" * 5000, "there is no xxx"),  # longer than a path can be
        ("dags/etl/factory.py", "dags/etl/factory.py is no definition; one is "),
        ("empty", "empty holds no definition; one is "),
    ],
)
def test_a_path_without_definitions_is_a_usage_error(
    path: str, message: str, run_check: Checker, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()

    status, out, err = run_check({"cwr/big.yaml": SMALL}, path)

    assert (status, out) == (2, "")
    assert err.startswith(f"etl check: {message}")


def test_an_unknown_format_is_a_usage_error(run_check: Checker) -> None:
    assert run_check({}, "--format", "xml").status == 2


def test_a_problem_in_the_defaults_of_an_environment_is_reported_in_its_file(
    run_check: Checker, tmp_path: Path
) -> None:
    root = tree(tmp_path, {"cwr/big.yaml": SMALL, "cwr/bad.yaml": BAD})
    file = root / "configs" / "staging.yaml"
    file.write_text(file.read_text() + "defaults:\n  cpu: 300\n")

    (problem,) = problems(run_check({}, "dags/etl/configs/staging.yaml", "--format", "json"))

    assert (problem["path"], problem["rule"]) == ("dags/etl/configs/staging.yaml", "ecs")
    assert problem["message"] == "Fargate has no 300 CPU"


def test_a_broken_environment_is_reported_for_every_path(run_check: Checker, tmp_path: Path) -> None:
    root = tree(tmp_path, {"cwr/big.yaml": SMALL})
    (root / "configs" / "staging.yaml").write_text("")

    (problem,) = problems(run_check({}, "dags/etl/pipelines/cwr", "--format", "json"))

    assert (problem["path"], problem["message"]) == (
        "dags/etl/configs/staging.yaml",
        "expected a mapping, got nothing",
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "is not a regular file; delete it"),
        (os.mkdir, "is not a regular file; delete it"),
        (lambda path: os.symlink(path, path), "cannot be read: Too many levels of symbolic links; delete it"),
    ],
    ids=["pipe", "folder", "circle"],
)
def test_a_schema_for_editors_that_is_no_file_is_reported(
    make: Callable[[str], None], message: str, tmp_path: Path
) -> None:
    root = tree(tmp_path, {"cwr/big.yaml": SMALL})
    (root / "configs" / "schema").mkdir(exist_ok=True)
    make(str(root / "configs" / "schema" / "pipeline.json"))
    code = "import pathlib, sys; from tools import checkout; from tools.commands import check;"
    code += "checkout.ETL = pathlib.Path(sys.argv[1]); sys.exit(check.main([]))"
    command = [sys.executable, "-c", code, str(root)]
    done = subprocess.run(command, cwd=str(REPOSITORY), capture_output=True, text=True, timeout=60)

    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith(f"dags/etl/configs/schema/pipeline.json:1:1: {message} [schema]")


@pytest.mark.parametrize("path", ["", "dags/etl/configs/prod.yml", "dags/etl/pipelines"])
def test_an_environment_with_another_suffix_is_reported(path: str, run_check: Checker, tmp_path: Path) -> None:
    root = tree(tmp_path, {"cwr/big.yaml": SMALL})
    for name in ("prod.yml", ".hidden.yml"):
        (root / "configs" / name).write_text("region: eu-west-1\n")

    found = problems(run_check({}, *filter(None, [path]), "--format", "json"))

    if path.endswith("pipelines"):
        assert found == []
        return
    (problem,) = found
    assert (problem["path"], problem["rule"]) == ("dags/etl/configs/prod.yml", "schema")
    assert problem["message"] == "is not called like an environment, and nothing reads it"
    assert problem["hint"] == "rename it: configs/prod.yaml"


@pytest.mark.parametrize("file", ["cwr/works.yaml", "works.yml", "configs/old/works.yaml"])
@pytest.mark.parametrize("is_named", [False, True])
def test_a_definition_where_nothing_reads_it_is_reported(
    file: str, is_named: bool, run_check: Checker, tmp_path: Path
) -> None:
    root = tree(tmp_path, {"cwr/big.yaml": SMALL})
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(SMALL)

    (problem,) = problems(run_check({}, *[f"dags/etl/{file}"] * is_named, "--format", "json"))

    assert (problem["path"], problem["rule"]) == (f"dags/etl/{file}", "schema")
    assert problem["message"] == "is not called or placed like a definition, and nothing reads it"
    assert problem["hint"] == "one is pipelines/<family>/<name>.yaml"


@pytest.mark.parametrize("arguments", [[], ["dags/etl/pipelines/cwr"], ["--airflow", "3"]], ids=" ".join)
def test_a_checkout_without_an_environment_is_a_problem(
    arguments: List[str], run_check: Checker, tmp_path: Path
) -> None:
    shutil.rmtree(tree(tmp_path, {"cwr/big.yaml": SMALL}) / "configs")
    (tmp_path / "dags" / "etl" / "configs").write_text("../../configs")  # as Git writes a link with core.symlinks=false

    answer = run_check({}, *arguments)

    assert answer.status == 1
    assert answer.out.startswith("dags/etl/configs:1:1: there is no environment [schema]\n        = one is configs/")


def test_a_progress_bar_is_printed_on_a_slow_terminal(run_check: Checker, monkeypatch: pytest.MonkeyPatch) -> None:
    pipelines = {f"cwr/p{number}.yaml": SMALL for number in range(5)}
    quiet = run_check(pipelines).err
    assert "checking" not in quiet
    monkeypatch.setattr(terminal, "PATIENCE", 0)
    assert run_check(pipelines).err == quiet  # into a file

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    answer = run_check(pipelines)
    assert "checking" in answer.err
    assert answer.out == "no problems in 7 files, 10 DAGs, 2 environments\n"


def test_an_error_of_its_own_is_a_problem_of_the_file_beside_the_report_of_all_others(
    run_check: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "hunter2"  # the log has the lines of the code, not their values

    def fail_for(function: Callable[..., object], name: str) -> Callable[..., object]:
        def replacement(*arguments: object) -> object:
            if name in str(arguments):
                raise LookupError(secret)
            return function(*arguments)

        return replacement

    # Not its log, which has lines of this file; it goes to standard output if another test has imported Airflow.
    monkeypatch.setattr(logging.getLogger("orchestrator.problems"), "disabled", True)
    pipelines = {"cwr/bad.yaml": BAD, "cwr/good.yaml": SMALL, "cwr/odd.yaml": SMALL}
    failure = {"line": 1, "column": 1, "message": "the factory failed: LookupError", "rule": "internal"}
    for module, name, argument in [
        (run_task, "request_errors", "cwr-odd"),
        (definitions, "read_context", "staging"),
        (credentials, "read_text", "odd.yaml"),
        (credentials, "read_text", "staging.yaml"),
    ]:
        file = "configs/staging.yaml" if "staging" in argument else "pipelines/cwr/odd.yaml"
        with monkeypatch.context() as patch:
            patch.setattr(module, name, fail_for(getattr(module, name), argument))
            if name == "request_errors":
                patch.setattr(run_task, "run_task_request", lambda definition, task_id: {"dag": definition.dag_id})
            status, out, err = run_check(pipelines, "--format", "json")

        found = {str(problem["path"])[len("dags/etl/") :]: problem for problem in json.loads(out)}
        assert status == 1
        assert found[file].items() >= failure.items(), (name, argument)
        assert "pipelines/cwr/bad.yaml" in found
        assert secret not in out + err


def test_an_interruption_is_no_problem(run_check: Checker, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(definitions, "check_requests", interrupt)

    with pytest.raises(KeyboardInterrupt):
        run_check({"cwr/big.yaml": SMALL})


def test_a_pipeline_without_a_dag_in_any_environment_is_reported(run_check: Checker) -> None:
    head, _, _ = SMALL.partition("providers:")
    nowhere = "environments: []"
    answer = run_check(
        {
            "cwr/all.yaml": SMALL + nowhere,
            "cwr/each.yaml": SMALL.replace("{}", f"{{{nowhere}}}"),
            "cwr/none.yaml": head + "providers: {}\n",
            "cwr/one.yaml": SMALL.replace("un: {}", f"un: {{{nowhere}}}"),
            "cwr/staging.yaml": SMALL + "environments: [staging]",
        },
        "--format",
        "json",
    )

    assert answer.status == 1
    found = [(str(problem["path"])[len("dags/etl/pipelines/cwr/") :], problem["line"]) for problem in problems(answer)]
    assert found == [("all.yaml", 7), ("each.yaml", 1), ("none.yaml", 4)]
    assert {problem["message"] for problem in problems(answer)} == {"the pipeline has no DAG in any environment"}
    assert problems(answer)[2]["hint"] == "add a provider: ./etl new provider cwr/none NAME"


def test_files_that_an_editor_keeps_beside_definitions_are_none(run_check: Checker, tmp_path: Path) -> None:
    root = tree(tmp_path, {"cwr/big.yaml": SMALL})
    for file in (root / "configs" / "development.yaml", root / "pipelines" / "cwr" / "big.yaml"):
        (file.parent / f".#{file.name}").symlink_to("person@machine.1234:1700000000")
        (file.parent / f"#{file.name}#").write_text("a: [")
        (file.parent / f"{file.name}~").write_text("a: [")
        (file.parent / f".{file.name}.swp").write_bytes(b"\xff")

    assert run_check({}).out == "no problems in 3 files, 2 DAGs, 2 environments\n"
    assert len(load(root, "development").definitions) == 2


@pytest.mark.parametrize("command", [["check"], ["show"], ["show", "cwr-big_dag_un", "--origin"], ["plan"]])
def test_every_output_can_take_any_text(command: List[str], tmp_path: Path) -> None:
    copy = checkout_copy(tmp_path)
    big = copy / "dags" / "etl" / "pipelines" / "cwr" / "big.yaml"
    big.write_text(big.read_text(encoding="utf-8").replace("description: ", "description: ☃ "), encoding="utf-8")
    (big.parent / "bad.yaml").write_text(SMALL + "☃: 1\n", encoding="utf-8")
    name, *arguments = command
    line = [sys.executable, "-m", f"tools.commands.{name}", *arguments]

    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(line, cwd=copy, env=ascii_only, capture_output=True, text=True)
    closed = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *line], cwd=copy, capture_output=True, text=True)

    assert ("\\u2603" in done.stdout) == (command != ["show"])
    assert "Traceback" not in done.stderr + closed.stderr
    assert done.returncode == closed.returncode == (0 if command[0] == "show" and command[1:] else 1)
