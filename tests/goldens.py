"""Golden reports: files whose text a test compares exactly, and which ``./etl test --accept`` writes.

A golden is a ``.txt`` below tests/data. Exactly one test compares it, which is marked with its path::

    @pytest.mark.parametrize("case", goldens.cases("bad/*.yaml"))
    def test_a_report_equals_its_golden(case: Path, golden: Golden) -> None:
        golden.check(report_of(case))

Other tests compare results with one another, not with the file.
"""

import difflib
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional

import pytest

DATA = Path(__file__).resolve().parent / "data"
ACCEPT = "./etl test unit --accept writes it, and shows how it differs"


class Golden:
    """The golden report that a test is marked with.

    Args:
        file: The path of the file.
        is_accepting: Whether a different text is written instead of failing the test.
    """

    def __init__(self, file: Path, is_accepting: bool) -> None:
        self.file = file
        self.is_accepting = is_accepting
        self.text: Optional[str] = None  # the text of the test

    def check(self, text: str) -> None:
        """Compare a text with the golden; fail with the difference, unless the run accepts it at its end."""
        self.text = text
        if not self.is_accepting and self.difference():
            pytest.fail(f"{self.difference()}\n{ACCEPT}", pytrace=False)

    def difference(self) -> str:
        """Return a unified diff from the file to the text of the test, "" if they are equal."""
        before = self.file.read_bytes().decode("utf-8") if self.file.exists() else None
        if before == self.text or self.text is None:
            return ""
        name = self.file.relative_to(DATA.parent.parent).as_posix() if DATA in self.file.parents else str(self.file)
        old = "/dev/null" if before is None else name
        lines = difflib.unified_diff(lines_of(before or ""), lines_of(self.text), old, name, lineterm="")
        return "\n".join(lines) or f"--- {old}\n+++ {name}"

    def write(self) -> None:
        """Write the text of the test to the file."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_bytes((self.text or "").encode("utf-8"))


def lines_of(text: str) -> List[str]:
    """Return the lines of a text; a last line without a newline is marked as in a diff of git."""
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else [*lines[:-1], f"{lines[-1]}\n\\ No newline at end of file"]


def at(path: str) -> pytest.MarkDecorator:
    """Mark a test with the golden that it compares: a path in tests/data."""
    return pytest.mark.golden(path)


def cases(pattern: str) -> List[Any]:
    """Return the parameters of a test that compares each case, a file in tests/data, with the ``.txt`` beside it."""
    return [
        pytest.param(case, id=case.stem, marks=at(case.with_suffix(".txt").relative_to(DATA).as_posix()))
        for case in sorted(DATA.glob(pattern))
    ]


def path_of(item: pytest.Item) -> Optional[str]:
    """Return the path that a test is marked with."""
    mark = item.get_closest_marker("golden")
    return str(mark.args[0]) if mark else None


class Goldens:
    """The goldens of a run, as a plugin of pytest."""

    def __init__(self, data: Path, is_accepting: bool) -> None:
        self.data = data
        self.is_accepting = is_accepting
        self.used: Dict[str, Golden] = {}

    def of(self, item: pytest.Item) -> Golden:
        """Return the golden of a test."""
        path = path_of(item)
        if path is None:
            raise pytest.UsageError(
                f"{item.nodeid}: the fixture 'golden' needs a mark: @goldens.at(<path in tests/data>)"
            )
        return self.used.setdefault(path, Golden(self.data / path, self.is_accepting))

    @pytest.hookimpl(tryfirst=True)  # type: ignore[misc]
    def pytest_collection_modifyitems(self, items: List[pytest.Item]) -> None:
        """Refuse a golden that two tests compare or, if all test modules are collected, that no test compares."""
        modules = set(self.data.parent.rglob("test_*.py"))  # one that cannot be imported is not among the items
        problems = problems_of(items, self.data, modules <= {item.path for item in items})
        if problems:
            raise pytest.UsageError("\n".join(problems))

    @pytest.hookimpl(hookwrapper=True)  # type: ignore[misc]
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Any:
        """Fail a test that passes without comparing its golden."""
        outcome = yield
        if path_of(pyfuncitem) and not outcome.excinfo and self.of(pyfuncitem).text is None:
            outcome.force_exception(
                pytest.fail.Exception("its golden was not compared: golden.check(...)", pytrace=False)
            )

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the differences that are accepted, and write the goldens."""
        if self.is_accepting:
            accepted = [golden for golden in self.used.values() if golden.difference()]
            terminalreporter.section("accepted golden reports")
            for golden in accepted:
                terminalreporter.write_line(golden.difference())
                golden.write()
            terminalreporter.write_line(f"{len(accepted)} of {len(self.used)} goldens written; git status lists them")


def problems_of(items: Iterable[pytest.Item], data: Path, are_all: bool) -> List[str]:
    """Return a message for each golden that is not compared exactly once."""
    tests: Dict[str, List[str]] = {}
    for item in items:
        path = path_of(item)
        if path:
            tests.setdefault(path, []).append(item.nodeid)
    problems = [
        f"{data / path}: compared by {' and by '.join(names)}; keep one of them"
        for path, names in tests.items()
        if len(names) > 1
    ]
    if are_all:
        files = (file.relative_to(data).as_posix() for file in sorted(data.rglob("*.txt")))
        problems += [f"{data / path}: no test compares this golden; delete it" for path in files if path not in tests]
    return problems
