"""./etl show [SELECTION]: all DAGs, some of them, or what one of them is and does after all layers."""

import argparse
from datetime import date, datetime, timezone
from pathlib import Path
from typing import List, Optional, Union

from tools import ETL
from tools.terminal import help_texts, print_status, run_command

SUMMARY = "show a table of DAGs, or one of them with its layers and requests"
EXAMPLES = {
    "./etl show": "a table of all DAGs",
    "./etl show cwr": "of one family; likewise cwr/big, 'cwr/*' and '*_dag_un'",
    "./etl show cwr-big_dag_un": "one DAG: its values, its tasks and their RunTask requests",
    "./etl show cwr-big_dag_un --origin": "with the file and line of each value",
    "./etl show cwr-big_dag_un --date 2022-01-05": "with the requests of that day's run",
}
NOTES = """\
SELECTION is a DAG id, a family, FAMILY/PIPELINE, or a pattern with * and ? in quotes: with a / it is one of pipelines,
without it one of DAG ids. A DAG id in full shows that DAG, in each environment that has it; all else shows a table with
a row for each DAG in each environment.

The date is the run's logical date. For a day, it is the first run that the schedule has then, or else the run that a
person triggers at midnight UTC; a time such as 2022-01-05T03:00Z is taken as it is. By default it is the DAG's first
run, so that the same definition always shows the same. Only a run knows some names, such as ti, conn and var: what uses
them stays a template, and is listed below the request.

exit status: 0, 1 if problems keep a DAG from being shown, 2 wrong use or an unknown selection"""
OK, PROBLEMS, WRONG_USE = 0, 1, 2


def parse(arguments: List[str]) -> argparse.Namespace:
    """Return the parsed command line; exit with status 2 if it makes no sense."""
    description = "Show all DAGs, some of them, or what one of them is and does after all layers."
    parser = argparse.ArgumentParser(prog="./etl show", **help_texts(description, EXAMPLES, NOTES))
    parser.add_argument("selection", nargs="?", metavar="SELECTION", help="which DAGs; default: all")
    parser.add_argument("--environment", metavar="NAME", help="only this one of configs/")
    parser.add_argument("--origin", action="store_true", help="with each value, the file and line that it comes from")
    parser.add_argument("--date", type=day_or_moment, help="render the requests' templates for it")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    return parser.parse_args(arguments)


def day_or_moment(text: str) -> Union[date, datetime]:
    """Return a date, or a date and time which is in UTC unless it says otherwise; as an argparse type."""
    try:
        is_day = len(text) <= len("2022-01-05")
        moment = date.fromisoformat(text) if is_day else datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date; write one such as 2022-01-05") from None
    if not 1970 <= moment.year <= 2100:  # as in a definition: intervals are added to it, and a date has its end
        raise argparse.ArgumentTypeError("a date lies between 1970 and 2100")
    if isinstance(moment, datetime) and not moment.tzinfo:
        return moment.replace(tzinfo=timezone.utc)
    return moment


def main(arguments: List[str], etl: Path = ETL) -> int:
    """Print a table of DAGs, or one DAG; return the exit status."""
    options = parse(arguments)
    from tools.checkout import no_environment
    from tools.views.dags import show_dag, show_table
    from tools.views.selection import Selection, UnknownSelection

    selection = None if options.selection is None else Selection(options.selection)
    if (options.date or options.origin) and not (selection and selection.is_dag_id):
        print_status("--date and --origin are for one DAG: ./etl show cwr-big_dag_un --origin")
        return WRONG_USE
    missing = no_environment(etl)
    if missing:
        print_status("\n".join(["nothing can be shown:", *map(str, missing)]))
        return PROBLEMS
    try:
        names = choose_environments(etl, options.environment)
        if selection and selection.is_dag_id:
            problems = show_dag(etl, names, selection.text, options)
        else:
            problems = show_table(etl, names, selection, options.format)
    except UnknownSelection as error:
        print_status(str(error))
        return WRONG_USE
    return PROBLEMS if problems else OK


def choose_environments(etl: Path, name: Optional[str]) -> List[str]:
    """Return the names of all environments, or the one of this name; raise UnknownSelection."""
    from orchestrator import did_you_mean

    from tools.checkout import environments
    from tools.views.selection import UnknownSelection

    known = environments(etl)
    if name is None:
        return known
    if name not in known:
        raise UnknownSelection(f"there is no environment '{name}'; {did_you_mean(name, known)}")
    return [name]


if __name__ == "__main__":
    run_command(main)
