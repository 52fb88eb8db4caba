"""What every test has: an Airflow home of its own, and nothing of the person's set-up."""

import os
import signal
from pathlib import Path
from typing import List

import pytest

from tests.goldens import DATA, Golden, Goldens

TESTS = Path(__file__).resolve().parent

# Before anything imports Airflow, which reads these and writes to its home then.
for name in list(os.environ):
    if name.startswith(("AIRFLOW", "AWS_", "ECS_LOCAL_")):
        del os.environ[name]
os.environ["AIRFLOW_HOME"] = str(TESTS.parent / ".local" / "home" / "tests")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(TESTS.parent / ".local" / "hypothesis")
# What runs in a shell's background ignores Ctrl-C, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that accepts new golden reports."""
    words = "write the golden reports (tests/data/**.txt) anew that differ, after showing the diff of each"
    parser.getgroup("etl").addoption("--accept", action="store_true", help=words)


def pytest_configure(config: pytest.Config) -> None:
    """Keep the goldens of the run."""
    config.pluginmanager.register(Goldens(DATA, config.getoption("--accept")), "goldens")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Return the golden report that the test is marked with."""
    goldens: Goldens = request.config.pluginmanager.get_plugin("goldens")
    return goldens.of(request.node)


def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    """Mark each test with the name of its folder: unit, dags or e2e."""
    for item in items:
        item.add_marker(item.path.relative_to(TESTS).parts[0])
