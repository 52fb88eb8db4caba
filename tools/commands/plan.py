"""./etl plan [REV] [--only SELECTION]: what the working tree changes of the DAGs, compared with a commit."""

import argparse
import json
import sys
from pathlib import Path
from typing import List, NoReturn, Optional, Tuple

from tools import ROOT
from tools.terminal import help_texts, print_status, run_command

SUMMARY = "show what the working tree changes of the DAGs, compared with a commit"
EXAMPLES = {
    "./etl plan": "compared with where this branch left main",
    "./etl plan --only cwr/big": "of one pipeline; likewise cwr, cwr-big_dag_un, 'cwr/*' and '*_dag_un'",
    "./etl plan origin/main --format markdown": "compared with another commit, as a comment for a pull request",
}
NOTES = """\
REV is a commit, a tag or a branch; DAGs are only chosen with --only, as ./etl show chooses them: a DAG id, a family,
FAMILY/PIPELINE, or a pattern in quotes.

Compared are the DAGs after all layers, in each environment, both times as today's factory reads them: formatting,
comments and the layer of a value are no change, and neither is a change of the factory. A variable counts where a
template names it.

exit status: 0, or with --exit-code 2 if anything changes; 1 if a definition is broken, and, since 2 would say that
something changes, also for wrong use, an unknown commit and an unknown selection"""
OK, BROKEN, CHANGES = 0, 1, 2


class Parser(argparse.ArgumentParser):
    """A parser that exits with 1 on wrong use."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, and exit."""
        self.print_usage(sys.stderr)
        self.exit(BROKEN, f"{self.prog}: error: {message}\n")


def parse(arguments: List[str]) -> argparse.Namespace:
    """Return the parsed command line; exit with status 1 if it makes no sense."""
    description = "Show what the working tree changes of the DAGs, compared with a commit."
    parser = Parser(prog="./etl plan", **help_texts(description, EXAMPLES, NOTES))
    parser.add_argument(
        "revision", nargs="?", metavar="REV", help="a commit, tag or branch (default: where this branch left main)"
    )
    parser.add_argument("--only", metavar="SELECTION", help="which DAGs; default: all")
    parser.add_argument("--format", choices=("text", "json", "markdown"), default="text")
    parser.add_argument("--exit-code", action="store_true", help="exit with 2 if anything changes")
    return parser.parse_args(arguments)


def main(arguments: List[str], root: Path = ROOT) -> int:
    """Print the plan; return the exit status."""
    options = parse(arguments)
    from tools.checkout import RevisionError, etl_of_commit
    from tools.views.comparison import compare
    from tools.views.plan import as_json, as_markdown, print_text
    from tools.views.selection import Selection, UnknownSelection

    selection = None if options.only is None else Selection(options.only)
    try:
        revision, base = choose_base(options.revision, root)
        with etl_of_commit(revision, root) as before:
            comparison = compare(base, before, root / "dags" / "etl", selection)
    except (RevisionError, UnknownSelection) as error:
        print_status(str(error))
        return BROKEN
    if options.format == "json":
        print(json.dumps(as_json(comparison), indent=2))
    elif options.format == "markdown":
        print(as_markdown(comparison), end="")
    else:
        print_text(comparison)
    if comparison.problems:
        return BROKEN
    return CHANGES if options.exit_code and any(comparison.environments.values()) else OK


def choose_base(revision: Optional[str], root: Path) -> Tuple[str, str]:
    """Return the commit to compare with, and what to call it; raise RevisionError."""
    from tools.checkout import branch_point

    if revision is not None:
        return revision, revision
    point = branch_point(root)
    return point, f"{point[:12]}, the branch point with main"


if __name__ == "__main__":
    run_command(main)
