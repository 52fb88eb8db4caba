"""./etl test [unit|dags|e2e] [pytest arguments]: the tests, which include the static checks."""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from typing import List

from tools.setup.environments import add_airflow
from tools.terminal import help_texts, run_command

SUMMARY = "run all tests and static checks, or a part of them"
EXAMPLES = {
    "./etl test": "everything; e2e runs beside the other parts, and is printed after them",
    "./etl test unit": "one part: unit, dags or e2e",
    './etl test -m "unit or dags"': "two parts",
    "./etl test dags -k cwr --verbose": "the tests of a part whose names contain cwr",
    "./etl test tests/unit/test_check.py": "the tests of one file",
    "./etl test --airflow 3 dags": "a part on a newer Airflow, without what is of 2.2.2 alone",
    "./etl test unit --accept": "write new golden reports, after showing how they differ",
}
NOTES = """\
parts:
  unit  functions and commands, ruff and mypy: ten minutes
  dags  the DAGs, as Airflow loads them: ten minutes
  e2e   ./etl itself, with a real scheduler and the emulated AWS, and a look at Airflow 2.11 and 3: twenty minutes

With --airflow 2.11 or 3: of unit and dags what does not look through the ways of 2.2.2 alone; tests/conftest.py has the
list of what is left out.

All other arguments go to pytest as they are; its own help: .local/airflow/bin/python -m pytest --help
exit status: pytest's, 0 if all tests pass"""
PARTS = ("unit", "dags", "e2e")
PYTEST = [sys.executable, "-m", "pytest"]


def parse(arguments: List[str]) -> argparse.Namespace:
    """Return the generation of Airflow and the arguments for pytest; print the help and exit if it is asked for."""
    if {"-h", "--help"} & set(arguments):
        new_parser().parse_args(["--help"])
    ours = argparse.ArgumentParser(prog="./etl test", add_help=False, allow_abbrev=False)
    add_airflow(ours)
    options, rest = ours.parse_known_args(arguments)
    parts = list(itertools.takewhile(PARTS.__contains__, rest))
    options.pytest = (["-m", " or ".join(parts)] if parts else []) + rest[len(parts) :]
    return options


def new_parser() -> argparse.ArgumentParser:
    """Return a parser that only knows the help: pytest reads the arguments."""
    usage = "./etl test [unit|dags|e2e ...] [-m PARTS] [-k NAMES] [--accept] [--airflow 2.11|3] [PYTEST_ARGUMENT...]"
    description = "Run the tests, which include the static checks, or a part of them."
    parser = argparse.ArgumentParser(prog="./etl test", usage=usage, **help_texts(description, EXAMPLES, NOTES))
    parser.add_argument("part", metavar="unit|dags|e2e", nargs="*", help="only these parts")
    parser.add_argument("-m", metavar="PARTS", help="only these, such as 'unit or dags', or 'not slow'")
    parser.add_argument("-k", metavar="NAMES", help="only tests whose names fit, such as 'cwr and not celery'")
    add_airflow(parser)
    parser.add_argument("--accept", action="store_true", help="write new golden reports, after showing the difference")
    return parser


def main(arguments: List[str]) -> int:
    """Run everything, or become pytest, so that its summary is the last line and its exit status ours."""
    return os.execv(sys.executable, [*PYTEST, *parse(arguments).pytest]) if arguments else run_everything()


def run_everything() -> int:
    """Run the tests of e2e, which often wait for other processes, beside all others; return the exit status.

    In turn, they take half as long again on two cores.
    """
    # Airflow writes its configuration at the first import, and two processes would do so at once.
    subprocess.run([sys.executable, "-W", "ignore", "-c", "import tests.conftest, airflow"], check=True)
    with tempfile.NamedTemporaryFile("w") as output, open(output.name, errors="replace") as written:
        e2e = subprocess.Popen([*PYTEST, "tests/e2e"], stdout=output, stderr=subprocess.STDOUT)
        others = subprocess.Popen([*PYTEST, "tests/dags", "tests/unit"])
        try:
            others.wait()
            print("\nThe tests of e2e, which began at the same time:", flush=True)
            has_ended = False
            while not has_ended:
                has_ended = e2e.poll() is not None
                print(written.read(), end="", flush=True)
                time.sleep(0.2)
        except KeyboardInterrupt:  # which has reached both
            others.wait()
            e2e.wait()
            return 130
    if others.returncode:
        print("\nTests of dags or unit have failed: see above.")
    return others.returncode or e2e.returncode


if __name__ == "__main__":
    run_command(main)
