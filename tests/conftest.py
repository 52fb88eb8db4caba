"""The environment of every test: an Airflow home of its own, and no setting of the person who runs it."""

import os
import signal
import sys
from pathlib import Path
from typing import List

import pytest

from tests.goldens import DATA, Golden, Goldens

TESTS = Path(__file__).resolve().parent
# What ./etl test --airflow leaves out on a newer Airflow, and why.
ONLY_2_2_2 = [
    # Static checks and tools, which run in the environment of 2.2.2 alone.
    *(f"unit/test_{name}.py" for name in "static modules bench show new goldens engine".split()),
    "unit/test_fields.py",  # reads the models with functions that pydantic 2 has no longer
    "unit/test_operations.py",  # looks up the options and commands of 2.2.2
    "dags/test_company.py",  # looks at DAGs by attributes of 2.2.2; ./etl upgrade-test compares the company's
    "dags/test_definitions.py",  # the same of the shipped ones
    "dags/test_mwaa_image.py",  # installs what is in the image of 2.2.2
    "dags/test_requests_of_generations.py",  # starts all three
    *(f"dags/test_{name}.py" for name in "task_start fuzz".split()),  # by command lines and process titles of 2.2.2
    *(f"dags/test_{name}.py" for name in "races abuse".split()),  # by passes of 2.2.2
    "e2e",  # tests/e2e/test_newer_airflow.py looks at the newer ones from here
]
IS_NEWER = Path(sys.prefix).name.startswith("airflow-")
collect_ignore = [str(TESTS / path) for path in ONLY_2_2_2] if IS_NEWER else []

# Set before anything imports Airflow, which reads these variables and writes to its home on import.
for name in list(os.environ):
    if name.startswith(("AIRFLOW", "AWS_", "ECS_LOCAL_")):
        del os.environ[name]
os.environ["AIRFLOW_HOME"] = str(
    TESTS.parent / ".local" / "home" / f"tests-{Path(sys.prefix).name}"
)  # one for each Airflow
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(TESTS.parent / ".local" / "hypothesis")
# A job in the background of a shell ignores Ctrl-C, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that accepts new golden reports."""
    words = "rewrite the golden reports (tests/data/**.txt) that differ, after showing the diff of each"
    parser.getgroup("etl").addoption("--accept", action="store_true", help=words)


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin that compares the goldens."""
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
