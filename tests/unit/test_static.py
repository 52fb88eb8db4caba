"""The static checks, so that their results are in the summary of the tests."""

import subprocess
import sys

import pytest

from tests.trees import REPOSITORY


@pytest.mark.parametrize("check", ["ruff check", "ruff format --check", "mypy"])
def test_the_code_passes(check: str) -> None:
    result = subprocess.run([sys.executable, "-m", *check.split()], cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
