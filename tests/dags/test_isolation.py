"""Whatever a file holds, the DAGs of the other files are built and the problem is reported."""

import os
import shutil
import signal
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator

import pytest
from orchestrator import load
from orchestrator.generations import IS_2_2

from tests.releases import pass_time
from tests.trees import DATA, SMALL, dag_bag, import_error, python, stem, tree

HEALTHY = {"cwr-big_dag_un", "cwr-big_dag_wcm", "vi-works_dag_un", "vi-works_dag_wcm"}
BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))


def write(content: bytes) -> Callable[[Path], Any]:
    return lambda file: file.write_bytes(content)


FILES: Dict[str, Callable[[Path], Any]] = {
    "empty": write(b""),
    "list": write(b"- un\n- wcm\n"),
    "truncated": write(SMALL.encode()[:60]),
    "tabs": write(SMALL.replace("  ", "\t").encode()),
    "not UTF-8": write(b"description: \xff\xfe\n"),
    "UTF-16": write(SMALL.encode("utf-16")),
    "duplicate keys": write(SMALL.encode() + b"  un: {}\n"),
    "alias bomb": write(BOMB.encode()),
    "100 MB": write(b"a: " + b"x" * 100_000_000),
    "folder": lambda file: file.mkdir(),
    "dangling link": lambda file: file.symlink_to("nowhere.yaml"),
    "circular link": lambda file: file.symlink_to(file.name),
    "link out of the tree": lambda file: file.symlink_to("/etc/passwd"),
    "pipe": lambda file: os.mkfifo(str(file)),
    "200,000 brackets": write(b"[" * 200_000),
    "200,000 dashes": write(b"- " * 200_000 + b"a"),
    "NUL": write(b"description: \x00\n"),
    "noise": write(bytes(range(256)) * 10),
    "Python object": write(b"description: !!python/object/apply:os.system [id]\n"),
    "a number of 400,000 digits": write(b"a: " + b"9" * 400_000),
    "not a date": write(SMALL.replace("2022-01-01", "2022-13-45").encode()),
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ETL__ENVIRONMENT", "development")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path, {"cwr/big.yaml": SMALL, "vi/works.yaml": SMALL})


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_disables_only_that_file(name: str, root: Path) -> None:
    FILES[name](root / "pipelines" / "cwr" / "case.yaml")

    bag = dag_bag(root)

    assert set(bag.dags) == HEALTHY
    error = import_error(bag)
    assert error.startswith("1 problem in the definitions:\n\ndags/etl/pipelines/cwr/case.yaml:")
    assert "the factory failed" not in error


def test_a_folder_or_pipe_leaves_no_descriptor_open(root: Path) -> None:
    (root / "pipelines" / "cwr" / "folder.yaml").mkdir()
    os.mkfifo(str(root / "pipelines" / "cwr" / "pipe.yaml"))
    before = os.listdir("/proc/self/fd")

    result = load(root, "development")

    assert len(result.problems) == 2
    assert os.listdir("/proc/self/fd") == before


@contextmanager
def unprivileged() -> Iterator[None]:
    """Drop the privileges of root, who can read everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_an_unreadable_file_disables_only_that_file() -> None:
    with tempfile.TemporaryDirectory(prefix="etl-") as folder:  # which other users may enter, unlike pytest's folders
        os.chmod(folder, 0o755)
        root = tree(Path(folder), {"cwr/big.yaml": SMALL, "cwr/case.yaml": SMALL, "vi/works.yaml": SMALL})
        (root / "pipelines" / "vi" / "README.md").write_text("")
        assert not load(root, "development").problems  # imports modules that the other user cannot read
        os.chmod(str(root / "pipelines" / "cwr" / "case.yaml"), 0)
        os.chmod(str(root / "pipelines" / "vi"), 0o644)  # its file names may be read, but not the files
        with unprivileged():
            result = load(root, "development")
        os.chmod(str(root / "pipelines" / "vi"), 0o755)

    assert {definition.pipeline for definition in result.definitions} == {"big"}
    assert [f"{problem.location!s}: {problem.message}" for problem in result.problems] == [
        "dags/etl/pipelines/cwr/case.yaml:1:1: cannot be read: Permission denied",
        "dags/etl/pipelines/vi/works.yaml:1:1: cannot be read: Permission denied",
    ]


@pytest.mark.parametrize("case", sorted((DATA / "bad").glob("*.yaml")), ids=stem)
def test_a_mistake_disables_at_most_its_file(case: Path, root: Path) -> None:
    if not IS_2_2 and case.stem == "cron_29_february":
        pytest.skip("the croniter of newer versions can compute it")
    (root / "pipelines" / "bad").mkdir()
    (root / "pipelines" / "bad" / case.name).write_text(case.read_text())

    bag = dag_bag(root)

    assert set(bag.dags) >= HEALTHY
    _, *problems = import_error(bag).split("\n\n")
    assert problems == [problem.for_web_page for problem in load(root, "development").problems] != []


def test_a_bad_provider_disables_only_that_provider(root: Path) -> None:
    (root / "pipelines" / "cwr" / "case.yaml").write_text(
        SMALL + "  bad: {schedule: '61 * * * *'}\n  no: {}\n  worse: {tasks: {load: {cluster: nowhere}}}\n  prs: {}\n"
    )

    bag = dag_bag(root)

    assert set(bag.dags) == HEALTHY | {"cwr-case_dag_un", "cwr-case_dag_wcm", "cwr-case_dag_prs"}
    assert import_error(bag).startswith("3 problems in the definitions:")


def raise_bug() -> None:
    raise RuntimeError("a bug")


@contextmanager
def before_opening(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], Any]) -> Iterator[None]:
    """Call ``act`` during the parse, whenever it opens the file of that name."""
    real, acts = os.open, []

    def open_file(path: Any, *more: Any, **named: Any) -> int:
        if os.path.basename(str(path)) == name:
            acts.append(path)
            act()
        return real(path, *more, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", open_file)
        yield
    assert acts


def test_a_bug_in_the_package_disables_only_that_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "pipelines" / "cwr" / "case.yaml").write_text(SMALL)

    with before_opening(monkeypatch, "case.yaml", raise_bug):
        bag = dag_bag(root)

    assert set(bag.dags) == HEALTHY
    assert "case.yaml:1:1: the factory failed: RuntimeError [internal]" in import_error(bag)


def test_the_import_timeout_is_reported_by_airflow(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def take_long() -> None:
        # Let Airflow's alarm ring at a fixed point, and not in a library that swallows every exception.
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        time.sleep(5)

    with before_opening(monkeypatch, "works.yaml", take_long):
        bag = dag_bag(root)

    assert not bag.dags
    assert "DagBag import timeout" in import_error(bag)
    assert "the factory failed" not in import_error(bag)


def test_a_corrected_file_has_no_problem(root: Path) -> None:
    case = root / "pipelines" / "cwr" / "case.yaml"
    case.write_text("tasks: [")
    assert import_error(dag_bag(root))
    case.write_text(SMALL)

    bag = dag_bag(root)

    assert not bag.import_errors
    assert len(bag.dags) == len(HEALTHY) + 2


@pytest.mark.parametrize("chosen", [None, "production"])
def test_without_an_environment_there_is_one_clear_error(
    chosen: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW__ETL__ENVIRONMENT")
    if chosen:
        monkeypatch.setenv("AIRFLOW__ETL__ENVIRONMENT", chosen)

    bag = dag_bag(root)

    assert not bag.dags
    error = import_error(bag)
    assert "[etl] environment" in error
    assert "development, staging" in error


def test_a_sandbox_and_its_neighbour_build_separate_dags(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ETL__ENVIRONMENT", "staging")
    scheduled = SMALL + "schedule: '@daily'\n"
    (root / "pipelines" / "cwr" / "big.yaml").write_text(scheduled)
    tree(root.parent.parent, {"cwr/big.yaml": scheduled}, name="test_merge")

    from airflow.models.dagbag import DagBag

    bag = DagBag(str(root.parent), include_examples=False)

    assert not bag.import_errors
    assert set(bag.dags) == HEALTHY | {"test_merge.cwr-big_dag_un", "test_merge.cwr-big_dag_wcm"}
    assert type(bag.dags["cwr-big_dag_un"].timetable).__name__ == "CronDataIntervalTimetable"
    sandboxed = bag.dags["test_merge.cwr-big_dag_un"]
    assert type(sandboxed.timetable).__name__ == "NullTimetable"
    assert "test_merge" in (sandboxed.tags or [])


@pytest.mark.parametrize("name", ["test merge", "x" * 101])
def test_an_invalid_name_of_a_sandbox_is_reported(name: str, tmp_path: Path) -> None:
    bag = dag_bag(tree(tmp_path, {"cwr/big.yaml": SMALL}, name=name))

    assert not bag.dags
    assert f"dags/{name}:1:1: {name!r} is not a name for a sandbox: at most 100 letters" in import_error(bag)


def test_a_file_name_that_is_not_utf_8_disables_only_that_file(root: Path) -> None:
    Path(os.fsdecode(os.fsencode(str(root / "pipelines" / "cwr")) + b"/caf\xe9.yaml")).write_text(SMALL)

    bag = dag_bag(root)

    assert set(bag.dags) == HEALTHY
    import_error(bag).encode()  # a text that the database could not store would disable every DAG


def test_a_family_that_is_a_link_disables_only_that_family(root: Path, tmp_path: Path) -> None:
    (root / "pipelines" / "loop").symlink_to(root / "pipelines")

    bag = dag_bag(root)

    assert set(bag.dags) == HEALTHY
    assert "dags/etl/pipelines/loop:1:1: is not called or placed like a definition" in import_error(bag)


def test_missing_definitions_are_one_clear_error(tmp_path: Path) -> None:
    root = tree(tmp_path, {})
    (root / "pipelines").rmdir()

    bag = dag_bag(root)

    assert not bag.dags
    assert "dags/etl/pipelines:1:1: cannot be read: No such file or directory" in import_error(bag)


def test_missing_environments_are_one_clear_error(root: Path) -> None:
    shutil.rmtree(str(root / "configs"))

    bag = dag_bag(root)

    assert not bag.dags
    assert "dags/etl/configs:1:1: there is no environment" in import_error(bag)


@pytest.mark.skipif(not IS_2_2, reason="the bug is in what only 2.2.2 asks")
def test_a_bug_outside_of_any_file_changes_nothing_and_is_reported_later(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("setproctitle.getproctitle", lambda: 1 / 0)

    with pytest.raises(SystemExit, match="ZeroDivisionError: division by zero"):
        dag_bag(root)
    pass_time(monkeypatch)

    assert "release beside factory.py: ZeroDivisionError: division by zero" in import_error(dag_bag(root))


@pytest.mark.parametrize("mistake", ["", ", B: no", ", B: ["])
def test_the_banner_shows_no_line_of_a_file_with_a_credential(
    root: Path, mistake: str, caplog: pytest.LogCaptureFixture
) -> None:
    text = SMALL.replace(
        "task_definition: loader", f"task_definition: loader, environment: {{PASSWORD: h8nter2{mistake}}}"
    )
    (root / "pipelines" / "cwr" / "case.yaml").write_text(text)

    bag = dag_bag(root)
    run = "import runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
    printed = python(run, str(root / "factory.py"), "staging")

    assert set(bag.dags) == HEALTHY
    assert "a credential is written down: a literal password [secret]" in import_error(bag)
    assert "a credential is written down: a literal password [secret]" in printed.stdout
    assert "h8nter2" not in import_error(bag) + caplog.text + printed.stdout + printed.stderr


def test_the_banner_has_the_first_problems_of_each_of_many_files(tmp_path: Path) -> None:
    wrong = SMALL + "".join(f"wrong{number}: x\n" for number in range(60))
    bag = dag_bag(tree(tmp_path, {f"cwr/bad{number}.yaml": wrong for number in range(20)}))

    error = import_error(bag)
    for number in range(20):
        assert error.count(f"cwr/bad{number}.yaml:") == 51
        assert f"cwr/bad{number}.yaml: 10 more; ./etl check lists all" in error
