"""./etl check [PATH...]: report every problem of the definitions, with its place and a hint."""

import argparse
from typing import List

from tools.terminal import help_texts, print_status, run_command

SUMMARY = "report every problem of the definitions, with its place and a hint"
EXAMPLES = {
    "./etl check": "all definitions, for every environment",
    "./etl check dags/etl/pipelines/cwr": "the definitions of one family",
    "./etl check --airflow 3": "also what a newer Airflow no longer has",
    "./etl check --format github --against origin/main": "annotations of a pull request",
}
NOTES = "exit status: 0 without a problem, 1 with one, 2 wrong use. The rules are in docs/rules.md."
FORMATS = ("text", "json", "github")


def parse(arguments: List[str]) -> argparse.Namespace:
    """Return the parsed command line; exit with status 2 if it makes no sense."""
    description = "Report every problem of the definitions, for every environment, with its place and a hint."
    parser = argparse.ArgumentParser(prog="./etl check", **help_texts(description, EXAMPLES, NOTES))
    parser.add_argument("paths", metavar="PATH", nargs="*", help="definition, or folder of some; default: all")
    parser.add_argument("--format", choices=FORMATS, default="text", help="github: annotations of a pull request")
    parser.add_argument(
        "--against",
        metavar="REV",
        help="commit whose tasks must still be there; default: where this branch left the main one",
    )
    parser.add_argument("--airflow", choices=("2.11", "3"), help="also report what that generation no longer has")
    return parser.parse_args(arguments)


def main(arguments: List[str]) -> int:
    """Check the definitions and print the report; return the exit status."""
    options = parse(arguments)
    from orchestrator import in_order

    from tools import checkout
    from tools.checks.definitions import UsageError, check_definitions, select_files
    from tools.checks.editor import check_schemas
    from tools.views.problems import print_report

    etl = checkout.ETL
    try:
        selected = select_files(etl, options.paths)
        report = check_definitions(etl, selected, options.against, options.airflow)
        if selected is None or any(file.parent == etl / "configs" for file in selected):
            report = report._replace(problems=in_order([*report.problems, *check_schemas(etl)]))
    except (UsageError, checkout.RevisionError) as error:
        print_status(str(error), "etl check")
        return 2
    print_report(report, options.format)
    if report.uncompared:
        print_status(f"no removed tasks are looked for without --against: {report.uncompared}", "etl check")
    return 1 if report.problems else 0


if __name__ == "__main__":
    run_command(main)
