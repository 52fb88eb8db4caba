"""./etl run: a real Airflow on this machine, against an emulated AWS."""

import argparse
import json
import os
from pathlib import Path
from typing import List

from tools import ROOT
from tools.setup.environments import add_airflow
from tools.terminal import help_texts, run_command, typed_path

SUMMARY = "run a real Airflow on this machine, against an emulated AWS"
EXAMPLES = {
    "./etl run": "Airflow on http://127.0.0.1:8080; Ctrl-C stops it",
    "./etl run --port 8081 --environment staging": "with the configuration of another environment",
    "./etl run --trigger cwr-big_dag_un": "one run of one DAG, without a web page",
    "./etl run --executor celery": "as on MWAA: two workers, with Redis and PostgreSQL",
    "./etl run --airflow 3": "on a newer Airflow that MWAA can be upgraded to",
    "ECS_LOCAL_FAIL=cwr-parse ./etl run --trigger cwr-big_dag_un": "with a task that fails",
}
NOTES = """\
ECS_LOCAL_FAIL=<task definition>[:exit code] makes its tasks fail; ECS_LOCAL_SECONDS is how long each task runs.
exit status: 0 after Ctrl-C, or when the run of --trigger succeeds; 1 if it fails or cannot start; 2 wrong use"""


def parse(arguments: List[str]) -> argparse.Namespace:
    """Return the parsed command line; exit with status 2 if it makes no sense."""
    description = "Run a real Airflow on this machine, against an emulated AWS."
    parser = argparse.ArgumentParser(prog="./etl run", **help_texts(description, EXAMPLES, NOTES))
    parser.add_argument("--port", type=port, default=8080, help="of the web page (default: 8080)")
    parser.add_argument("--environment", default="development", help="a name in configs/ (default: development)")
    parser.add_argument(
        "--dags",
        metavar="FOLDER",
        type=dags_folder,
        default=ROOT / "dags",
        help="the DAGs folder (default: this checkout's)",
    )
    parser.add_argument(
        "--executor",
        choices=["sequential", "celery"],
        default="sequential",
        help="how tasks run: one at a time with SQLite (default), or by two workers with Redis and PostgreSQL",
    )
    add_airflow(parser)
    parser.add_argument(
        "--trigger", metavar="DAG_ID", type=dag_id, help="run this DAG once, without a web page, and report"
    )
    parser.add_argument("--conf", metavar="JSON", type=json_object, help="the run's configuration, with --trigger")
    options = parser.parse_args(arguments)
    if options.conf and not options.trigger:
        parser.error("--conf is of the run that --trigger starts; add --trigger DAG_ID")
    return options


def dag_id(text: str) -> str:
    """Check that there is one: a variable of the shell may be empty; as an argparse type."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty; name a DAG, such as cwr-big_dag_un")
    return text


def port(text: str) -> int:
    """Check a port; as an argparse type."""
    if not (text.isdecimal() and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: a number from 1 to 65535")
    return int(text)


def json_object(text: str) -> str:
    """Check a run's configuration; as an argparse type."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is not a JSON object")
    return text


def dags_folder(text: str) -> Path:
    """Check a DAGs folder; as an argparse type."""
    folder = typed_path(text).resolve()
    if not os.path.isfile(folder / "etl" / "factory.py"):  # pathlib's raises for a name that is too long
        raise argparse.ArgumentTypeError(f"{text!r} is not a DAGs folder: it has no etl/factory.py")
    return folder


def main(arguments: List[str]) -> int:
    """Run until Ctrl-C, or with --trigger until the DAG run has ended; return the exit status."""
    options = parse(arguments)
    from tools.local.session import run

    return run(options)


if __name__ == "__main__":
    run_command(main)
