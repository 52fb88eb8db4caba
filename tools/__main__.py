"""The launcher: sets up what a command needs and hands over to ``tools.<command>``.

Runs on any Python from 3.7 with nothing installed; the commands run in an environment of
their own. A new command is a module ``tools/<command>.py`` and a line in ``COMMANDS``.
"""

import difflib
import os
import sys
from typing import Dict, List, NamedTuple, Tuple

from tools.environments import AIRFLOW, AWS, DEFINITIONS, PEERS, Environment, SetupError, ensure


class Command(NamedTuple):
    """A sub-command: what it is for, and the environments it needs; the first one runs it."""

    summary: str
    examples: Tuple[str, ...]
    environments: Tuple[Environment, ...]


COMMANDS: Dict[str, Command] = {
    "check": Command(
        "every mistake in the definitions, with its place and a hint",
        (
            "./etl check",
            "./etl check dags/etl/pipelines/cwr",
            "./etl check --format github --against origin/main",
        ),
        (DEFINITIONS,),
    ),
    "show": Command(
        "what a DAG will do: all DAGs, or one with its layers and requests",
        ("./etl show", "./etl show cwr-big_dag_un --origin", "./etl show cwr-big_dag_un --date 2022-01-05"),
        (DEFINITIONS,),
    ),
    "plan": Command(
        "what the working tree changes, compared with a commit",
        ("./etl plan", "./etl plan origin/main --format markdown"),
        (DEFINITIONS,),
    ),
    "new": Command(
        "a new provider or pipeline, written where it belongs",
        ("./etl new provider cwr/big sony", "./etl new pipeline cwr/small"),
        (DEFINITIONS,),
    ),
    "deploy": Command(
        "definitions and factory to where an environment's MWAA reads them",
        (
            "./etl deploy staging --dry-run",
            "./etl deploy staging",
            "./etl deploy development --folder test_merge",
        ),
        (DEFINITIONS,),
    ),
    "run": Command(
        "a real Airflow on this machine, against an emulated AWS",
        (
            "./etl run",
            "./etl run --port 8081 --environment staging",
            "./etl run --trigger cwr-big_dag_un",
            "./etl run --executor celery",
        ),
        (AIRFLOW, AWS),
    ),
    "test": Command(
        "every test and static check, or a part of them",
        ("./etl test", "./etl test unit", "./etl test dags -k cwr --verbose"),
        (AIRFLOW, AWS),
    ),
    "bench": Command(
        "what the factory costs beside a hand-written loop and its peers",
        ("./etl bench", "./etl bench --quick", "./etl bench ceiling --postgresql", "./etl bench fuzz --minutes 30"),
        (AIRFLOW, PEERS),
    ),
}


def usage() -> str:
    """The text of ``./etl --help``."""
    lines = ["usage: ./etl COMMAND [ARGUMENT...]", ""]
    for name, command in COMMANDS.items():
        lines.append(f"  {name:<6} {command.summary}")
        lines.extend(f"           {example}" for example in command.examples)
    lines += ["", "./etl COMMAND --help tells more about one of them."]
    return "\n".join(lines)


def main(arguments: List[str]) -> int:
    """Run one command; does not return when it is found and set up."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else 2
    name, *rest = arguments
    if name not in COMMANDS:
        nearest = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else "./etl --help lists them"
        print(f"etl: there is no command {name!r}; {hint}", file=sys.stderr)
        return 2
    try:
        pythons = [ensure(environment) for environment in COMMANDS[name].environments]
    except SetupError as error:
        print(f"etl: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("etl: set-up interrupted; the next ./etl takes it up again", file=sys.stderr)
        return 130
    # Become the command, so that signals and the exit status are its own.
    return os.execv(pythons[0], [str(pythons[0]), "-m", f"tools.{name}", *rest])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
