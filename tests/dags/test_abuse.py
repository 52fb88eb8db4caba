"""The cost of a malicious file: at most twice the time of 10,000 valid providers, and 100 MiB.

tests/dags/test_isolation.py tests the effect of a bad file on the others.
"""

import json
import os
import unicodedata
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest
from orchestrator import load

from tests.trees import SMALL, python, tree

TIMES, MEBIBYTES = 2, 100
HEALTHY = ["vi-works_dag_un", "vi-works_dag_wcm"]
MANY = ["start_date: [", "\x00"]
HEAD = "start_date: 2022-01-01\n"
LOAD = "tasks: {load: {task_definition: loader}}\n"
UN = "providers: {un: {}}\n"
# A process for each case: it parses the tree, then the tree with the case.
PARSE = """
import json, os, resource, sys, time
from airflow.jobs import scheduler_job
from airflow.models.dagbag import DagBag
file, cases = sys.argv[1], json.loads(sys.argv[2])

def cost():
    start = time.process_time()
    bag = DagBag(file, include_examples=False)
    took = time.process_time() - start
    return took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, bag

for trial, place in cases:
    sys.stdout.flush()
    if not os.fork():
        seconds, memory, _ = cost()
        os.rename(trial, place)
        after, high, bag = cost()
        os.rename(place, trial)
        print(json.dumps({
            "seconds": after - seconds, "memory": high - memory, "dags": sorted(bag.dags),
            "error": "".join(bag.import_errors.values()),
        }))
        sys.stdout.flush()
        os._exit(0)
    os.wait()
"""


def lines(pattern: str, number: int) -> str:
    return "".join(pattern.format(n, n + 1) for n in range(number))


# The file to compare with has 10,000 valid providers. It is measured in the same run, as a busy machine slows down all.
VALID = HEAD + "tasks: {load: {task_definition: loader}}\nproviders:\n" + lines("  p{}: {{}}\n", 10_000)
TEMPLATES = lines("'{{{{ ds }}}}{}', ", 5000)
# Each is at most 512 KiB, as larger files are not read.
TEXTS: Dict[str, Callable[[], str]] = {
    "100,000 keys": lambda: lines("{:x}:\n", 80_000) + UN,
    "14,000 unknown keys": lambda: SMALL + lines("k{}: 1\n", 14_000),
    "7,000 wrong providers": lambda: SMALL + lines("  p{}: {{retrys: 1}}\n", 7000),
    "10,000 wrong names": lambda: SMALL + lines("  P{}: {{}}\n", 10_000),
    "3,000 unknown tasks": lambda: (
        HEAD + "tasks:\n" + lines("  t{}: {{task_definition: a, depends_on: [x{}]}}\n", 3000) + UN
    ),
    "a cycle of 3,000 tasks": lambda: (
        f"{HEAD}tasks:\n"
        + lines("  t{}: {{task_definition: a, depends_on: [t{}]}}\n", 3000).replace("t3000", "t0")
        + UN
    ),
    "3,000 unknown overrides": lambda: (
        HEAD + LOAD + "providers:\n  un:\n    tasks:\n" + lines("      x{}: {{}}\n", 3000)
    ),
    "a million tasks": lambda: (
        HEAD + "tasks:\n" + lines("  t{}: {{task_definition: a}}\n", 1000) + "providers:\n" + lines("  p{}:\n", 1000)
    ),
    "much for many": lambda: f"{HEAD}description: {'x' * 100_000}\n{LOAD}providers:\n" + lines("  p{}:\n", 10_000),
    "5,000 bad templates": lambda: (
        f"{HEAD}tasks: {{load: {{task_definition: a, command: [" + lines("'{{{{ x{} }}}}', ", 5000) + f"]}}}}\n{UN}"
    ),
    "1 MB scalar": lambda: f"{HEAD}x: {'x' * 500_000}\n{LOAD}{UN}",
    "a number of 170,000 parts": lambda: f"{HEAD}x: {'1:' * 170_000}1\n",
    "a number of 500,000 digits": lambda: f"{HEAD}x: {'9' * 500_000}\n",
    "nested 10,000 deep": lambda: f"{HEAD}x: {'[' * 10_000}{']' * 10_000}\n",
    "an alias bomb": lambda: "a0: &a0 [x, x]\n" + lines("a{1}: &a{1} [*a{0}, *a{0}, *a{0}]\n", 9),
    "29,000 environments": lambda: f"{HEAD}environments: [{lines('e{}, ', 29_000)}]\n{LOAD}{UN}",
    "1,000 params": lambda: f"{HEAD}params: {{{lines('p{}: {{default: 1, type: string}}, ', 1000)}}}\n{LOAD}{UN}",
    "14,000 duplicates": lambda: HEAD + LOAD + "providers:\n" + "  un: {}\n" * 14_000,
    "control characters": lambda: "".join(map(chr, range(32))) * 10_000,
    "NUL": lambda: "\0" * 500_000,
    "a schedule of 500,000 digits": lambda: f"{HEAD}schedule: '{'9' * 500_000} * * * *'\n{LOAD}{UN}",
    "a schedule of 100,000 ranges": lambda: f"{HEAD}schedule: '{'0-59,' * 100_000}0 * * * *'\n{LOAD}{UN}",
    "ranges for 10,000": lambda: (
        f"{HEAD}schedule: '{'0-59,' * 10}0 * * * *'\n{LOAD}providers:\n" + lines("  p{}:\n", 10_000)
    ),
    "7,000 schedules": lambda: (
        f"{HEAD}{LOAD}providers:\n"
        + "".join(f"  p{n}: {{schedule: '{n % 60} {n // 60 % 24} {n // 1440 + 1} * *'}}\n" for n in range(7000))
    ),
    "100 names that are like 2,500": lambda: (
        f"{HEAD}tasks:\n"
        + lines("  " + "ab" * 60 + "{}: {{task_definition: a}}\n", 2500)
        + f"  l: {{task_definition: a, depends_on: [{lines('ba' * 60 + '{}, ', 100)}]}}\n{UN}"
    ),
    "60 params for 10,000": lambda: (
        f"{HEAD}params: {{{lines('p{}: {{default: 1}}, ', 60)}}}\n{LOAD}providers:\n" + lines("  p{}:\n", 10_000)
    ),
    "1,300 arguments for 14,000 tasks": lambda: (
        f"{HEAD}defaults: {{task_definition: a, command: [{lines('t{}, ', 1300)}]}}\ntasks:\n"
        + lines("  t{}: {{}}\n", 14_000)
        + UN
    ),
    "3,000 dependencies for 3,000 tasks": lambda: (
        f"{HEAD}defaults: {{task_definition: a, depends_on: [{lines('t{}, ', 3000)}]}}\ntasks:\n"
        + lines("  t{}: {{depends_on: []}}\n", 3000)
        + lines("  u{}: {{}}\n", 3000)
        + UN
    ),
    "5,000 templates for 10,000 tasks": lambda: (
        f"{HEAD}defaults: {{task_definition: a, command: [{TEMPLATES}]}}\n"
        f"tasks:\n{lines('  t{}: {{}}' + chr(10), 10_000)}{UN}"
    ),
    "70 unknown names for 10,000": lambda: (
        f"{HEAD}tasks: {{load: {{task_definition: a, command: ["
        + "".join(f"'{{{{ provider.x{n} }}}}', " for n in range(70))
        + "]}}\nproviders:\n"
        + lines("  p{}:\n", 10_000)
    ),
    "18,000 faults in a text": lambda: (
        f"{HEAD}tasks:\n  load:\n    task_definition: a\n    command:\n      - |\n"
        + lines("        macros.time.a{}\n", 18_000)
        + UN
    ),
    "10,000 problems after 250,000 lines": lambda: SMALL + "\n" * 250_000 + lines("  P{}: {{}}\n", 10_000),
    "passwords": lambda: f"{HEAD}{LOAD[:-3]}, environment: {{{lines('password{}: xyz{}, ', 14_000)}}}}}}}\n{UN}",
}


Costs = Dict[str, Dict[str, Any]]


def measure(root: Path, cases: Dict[str, Tuple[Path, Path]]) -> Costs:
    """Return the additional cost of the parse, and its result, when a path of a case is renamed to the other."""
    pairs = json.dumps([[str(trial), str(place)] for trial, place in cases.values()])
    done = python(PARSE, str(root / "factory.py"), pairs, environment={"AIRFLOW__ETL__ENVIRONMENT": "development"})
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(results) == len(cases), done.stderr
    return dict(zip(cases, results))


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> Costs:
    """Measure all cases."""
    folder = tmp_path_factory.mktemp("abuse")
    root = tree(folder, {"vi/works.yaml": SMALL})
    (root / "pipelines" / "cwr").mkdir()
    cases: Dict[str, Tuple[Path, Path]] = {}
    for number, name in enumerate(["valid", *TEXTS, *PATHS]):
        trial = folder / f"trial{number}"
        if name not in PATHS:
            trial.write_text(VALID if name == "valid" else TEXTS[name](), encoding="utf-8")
            assert trial.stat().st_size <= 512 * 1024, name
        else:
            PATHS[name](trial)
        cases[name] = trial, root / "pipelines" / "cwr" / "case.yaml"
    for text in MANY:
        trial = folder / f"many{len(cases)}"
        trial.mkdir()
        for number in range(5000):
            (trial / f"p{number}.yaml").write_text(text)
        cases[text] = trial, root / "pipelines" / "many"
    return measure(root, cases)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tree(tmp_path, {"vi/works.yaml": SMALL})
    (root / "pipelines" / "cwr").mkdir()
    return root


def check_bounds(costs: Costs, name: str) -> None:
    cost = costs[name]
    assert set(cost["dags"]) >= set(HEALTHY)
    assert "the factory failed" not in cost["error"]
    assert cost["seconds"] < TIMES * costs["valid"]["seconds"], (cost, costs["valid"]["seconds"])
    assert cost["memory"] < MEBIBYTES, cost


@pytest.mark.parametrize("name", TEXTS)
def test_the_cost_of_a_file_is_bounded(name: str, costs: Costs) -> None:
    check_bounds(costs, name)
    assert "dags/etl/pipelines/cwr/case.yaml:" in costs[name]["error"]
    assert len(costs[name]["error"]) < 200_000


def big(path: Path) -> None:
    with open(str(path), "wb") as stream:
        stream.truncate(100 * 2**20)


def device(path: Path) -> None:
    try:
        os.mknod(str(path), 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        path.symlink_to("/dev/zero")


PATHS: Dict[str, Callable[[Path], Any]] = {
    "100 MB": big,
    "pipe": lambda path: os.mkfifo(str(path)),
    "device": device,
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "link to what has no end": lambda path: path.symlink_to("/proc/kmsg"),
    "link to a folder": lambda path: path.symlink_to("/"),
}


@pytest.mark.parametrize("name", PATHS)
def test_the_cost_of_a_special_file_is_bounded(name: str, costs: Costs) -> None:
    check_bounds(costs, name)
    assert costs[name]["error"].startswith("1 problem in the definitions:\n\ndags/etl/pipelines/cwr/case.yaml:1:1: is ")


@pytest.mark.parametrize("text", MANY)
def test_the_cost_of_5000_broken_files_is_bounded(text: str, costs: Costs) -> None:
    check_bounds(costs, text)
    assert costs[text]["error"].startswith("5000 problems in the definitions:")


def kinds_of_characters() -> List[str]:
    """Return one character of each class of Unicode that a file name can have."""
    by_category = {unicodedata.category(chr(code)): chr(code) for code in range(1, 0x20000) if chr(code) != "/"}
    del by_category["Cs"]  # UTF-8 cannot encode it
    return [by_category[kind] for kind in sorted(by_category)]


def test_file_names_of_all_kinds_of_characters_are_reported(root: Path) -> None:
    names = [*kinds_of_characters(), "a\nb", "\x1b[31m", "..", "%s", "{0}", "-rf", "$(id)", "a" * 200]
    for name in names:
        (root / "pipelines" / "cwr" / f"X{name}.yaml").write_text(SMALL)
        (root / "pipelines" / f"X{name}").mkdir()
        (root / "pipelines" / f"X{name}" / "case.yaml").write_text(SMALL)

    result = load(root, "development")

    assert [definition.dag_id for definition in result.definitions] == HEALTHY
    assert len(result.problems) == 2 * len(names)
    for problem in result.problems:
        assert problem.rule == "schema", problem
        assert all(character.isprintable() or character == "\n" for character in str(problem))


def test_a_file_that_changes_while_it_is_read_is_reported(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, real = root / "pipelines" / "cwr" / "case.yaml", os.open

    def become_folder() -> None:
        file.unlink()
        file.mkdir()

    changes: Dict[str, Callable[[], Any]] = {
        "cannot be read: No such file or directory": file.unlink,
        "is larger than 512 KiB": lambda: file.write_bytes(b"x" * 2**21),
        "cannot be read: Is a directory": become_folder,
    }
    for expected, change in changes.items():
        file.write_text(SMALL)

        def open_file(path: str, *more: Any, change: Any = change) -> int:
            if path == str(file):
                change()
            return real(path, *more)

        monkeypatch.setattr(os, "open", open_file)
        result = load(root, "development")
        monkeypatch.setattr(os, "open", real)

        assert [definition.dag_id for definition in result.definitions] == HEALTHY
        assert [problem.message for problem in result.problems] == [expected]
