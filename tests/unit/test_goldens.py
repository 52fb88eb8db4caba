"""``./etl test --accept``, run on tests in a folder of their own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, Optional, Tuple

import pytest

from tests import goldens
from tests.trees import REPOSITORY

CASES = """
from pathlib import Path
import pytest
from tests import goldens
from tests.goldens import Golden

@pytest.mark.parametrize("case", goldens.cases("cases/*.yaml"))
def test_a_case(case: Path, golden: Golden) -> None:
    golden.check(case.read_text(encoding="utf-8").upper())
"""
SECOND = """
from tests import goldens

@goldens.at("cases/one.txt")
def test_a_second(golden):
    golden.check("ONE\\n")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a checkout with two cases in a folder of tests/data, whose goldens match."""
    (tmp_path / "tests" / "unit").mkdir(parents=True)
    for name in ("__init__.py", "conftest.py", "goldens.py"):
        shutil.copy(str(REPOSITORY / "tests" / name), str(tmp_path / "tests"))
    shutil.copy(str(REPOSITORY / "pyproject.toml"), str(tmp_path))
    (tmp_path / "tests" / "unit" / "test_cases.py").write_text(CASES)
    (tmp_path / "tests" / "unit" / "test_other.py").write_text("def test_nothing_golden():\n    pass\n")
    cases = tmp_path / "tests" / "data" / "cases"
    cases.mkdir(parents=True)
    for name in ("one", "two"):
        (cases / f"{name}.yaml").write_text(f"{name}\n")
        (cases / f"{name}.txt").write_text(f"{name.upper()}\n")
    return tmp_path


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run pytest in the folder as ./etl test does."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    environ = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # loading other plugins takes half a second
    return subprocess.run(command, cwd=str(folder), env=environ, capture_output=True, text=True)


def contents(folder: Path) -> Dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in (folder / "tests" / "data").rglob("*.txt")}


def test_matching_goldens_pass_and_stay(folder: Path) -> None:
    before = contents(folder)
    done = run(folder)
    assert (done.returncode, contents(folder)) == (0, before), done.stdout
    done = run(folder, "--accept")
    assert (done.returncode, contents(folder)) == (0, before), done.stdout
    assert "0 of 2 goldens written" in done.stdout


def test_a_different_text_fails_with_the_diff_and_the_command_to_accept_it(folder: Path) -> None:
    golden = folder / "tests" / "data" / "cases" / "one.txt"
    golden.write_text("NONE\n")

    done = run(folder)

    assert done.returncode == 1
    assert f"+++ tests/data/cases/one.txt\n@@ -1 +1 @@\n-NONE\n+ONE\n{goldens.ACCEPT}" in done.stdout
    assert "1 failed, 2 passed" in done.stdout
    assert golden.read_text() == "NONE\n"


@pytest.mark.parametrize(
    ("other", "selection"),
    [("NONE\n", ()), ("ONE", ("-m", "unit")), ("ONE\r\n", ()), (None, ("tests/unit/test_cases.py",))],
    ids=["differs", "no end of line", "end of line of Windows", "missing"],
)
def test_accept_shows_the_diff_and_writes(folder: Path, other: Optional[str], selection: Tuple[str, ...]) -> None:
    golden, before = folder / "tests" / "data" / "cases" / "one.txt", contents(folder)
    golden.unlink()
    if other is not None:
        golden.write_bytes(other.encode())

    failed, accepted = run(folder, *selection), run(folder, "--accept", *selection)

    assert (failed.returncode, accepted.returncode) == (1, 0), accepted.stdout
    assert goldens.ACCEPT in failed.stdout
    assert "+++ tests/data/cases/one.txt\n" in accepted.stdout
    assert "\n+ONE\n" in accepted.stdout
    assert "1 of 2 goldens written" in accepted.stdout
    assert contents(folder) == before
    assert golden.read_bytes() == b"ONE\n"


def test_a_golden_that_no_test_compares_fails(folder: Path) -> None:
    (folder / "tests" / "data" / "cases" / "two.yaml").unlink()

    for option in (["--accept"], ["-m", "unit"]):
        done = run(folder, *option)
        assert done.returncode != 0
        assert "tests/data/cases/two.txt: no test compares this golden; delete it" in done.stderr
    assert run(folder, "tests/unit/test_cases.py").returncode == 0  # the others are not collected


def test_an_import_error_is_reported_instead_of_unused_goldens(folder: Path) -> None:
    (folder / "tests" / "unit" / "test_cases.py").write_text("import nothing_of_this_name\n")

    done = run(folder)

    assert "No module named 'nothing_of_this_name'" in done.stdout
    assert "no test compares this golden" not in done.stdout + done.stderr


def test_a_golden_that_two_tests_compare_fails(folder: Path) -> None:
    (folder / "tests" / "unit" / "test_second.py").write_text(SECOND)

    done = run(folder)

    assert done.returncode != 0
    names = "tests/unit/test_cases.py::test_a_case[one] and by tests/unit/test_second.py::test_a_second"
    assert f"tests/data/cases/one.txt: compared by {names}; keep one of them" in done.stderr


def test_a_test_that_does_not_compare_its_golden_fails(folder: Path) -> None:
    cases = folder / "tests" / "unit" / "test_cases.py"
    cases.write_text(CASES.replace("golden.check(", "print("))

    done = run(folder, "--accept")

    assert "2 failed" in done.stdout
    assert "its golden was not compared" in done.stdout


def test_the_help_describes_the_option(folder: Path) -> None:
    assert "after showing the diff of each" in " ".join(run(folder, "--help").stdout.split())
