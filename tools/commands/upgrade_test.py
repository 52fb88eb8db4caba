"""./etl upgrade-test [2.11|3]: what an upgrade of Airflow changes for these definitions, seen by running both."""

import argparse
from pathlib import Path
from typing import List

from tools import ROOT
from tools.commands.run import dags_folder
from tools.terminal import help_texts, run_command

SUMMARY = "say what a newer Airflow changes for these definitions"
EXAMPLES = {
    "./etl upgrade-test": "Airflow 3, the newest one here",
    "./etl upgrade-test 2.11": "the step before it, by which an upgrade has to go",
    "./etl upgrade-test 3 --format markdown > upgrade.md": "a report for a ticket",
    "./etl upgrade-test 3 --no-runs": "without the two runs on its scheduler",
}
NOTES = """\
It sets that Airflow up beside 2.2.2, builds the DAGs of every environment in both, and compares: all DAGs load, each
RunTask request of two runs of each DAG is the same, byte for byte, and so are the next ten runs of each schedule.
Then a run that succeeds and one that fails go through its real scheduler, against the emulated AWS. All of it takes a
minute or two.
exit status: 0 nothing differs, 1 something does or cannot be told, 2 wrong use"""


def parse(arguments: List[str]) -> argparse.Namespace:
    """Return the parsed command line; exit with status 2 if it makes no sense."""
    description = "Say what a newer generation of Airflow changes for these definitions."
    parser = argparse.ArgumentParser(prog="./etl upgrade-test", **help_texts(description, EXAMPLES, NOTES))
    parser.add_argument("generation", nargs="?", choices=("2.11", "3"), default="3", help="default: 3")
    parser.add_argument("--format", choices=("text", "json", "markdown"), default="text", help="of the report")
    parser.add_argument("--no-runs", action="store_true", help="leave the two runs on its scheduler out")
    parser.add_argument(
        "--dags",
        metavar="FOLDER",
        type=dags_folder,
        default=ROOT / "dags",
        help="the DAGs folder (default: this checkout's)",
    )
    return parser.parse_args(arguments)


def main(arguments: List[str]) -> int:
    """Compare, and print the report; return the exit status."""
    options = parse(arguments)
    from tools.setup.environments import GENERATIONS, SetupError, ensure
    from tools.terminal import print_status
    from tools.upgrade.compare import examine
    from tools.upgrade.report import print_report

    try:
        ensure(GENERATIONS[options.generation])
    except SetupError as error:
        print_status(str(error))
        return 1
    report = examine(Path(options.dags), options.generation, with_runs=not options.no_runs)
    print_report(report, options.format)
    return 0 if report.is_equal else 1


if __name__ == "__main__":
    run_command(main)
