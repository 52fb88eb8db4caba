"""./etl releases ENV: the releases that a bucket has, and which of them counts."""

import argparse
import sys
from pathlib import Path
from typing import List

from tools.commands.deploy import check_sandbox, run
from tools.terminal import console, help_texts

SUMMARY = "list the releases in an environment's bucket, and which of them counts"
EXAMPLES = {
    "./etl releases staging": "when each was activated, by whom and with which commit",
    "./etl releases development --sandbox test_merge": "those of a sandbox",
}
NOTES = "./etl deploy ENV --to RELEASE makes another one count."


def new_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    description = "List the releases that the bucket of an environment has."
    parser = argparse.ArgumentParser(prog="./etl releases", **help_texts(description, EXAMPLES, NOTES))
    parser.add_argument("environment", metavar="ENV", help="one that has a file in configs/")
    parser.add_argument("--sandbox", metavar="NAME", help="those of this folder, not of the real one")
    return parser


def parse(arguments: List[str]) -> argparse.Namespace:
    """Return the parsed command line; exit with status 2 if it makes no sense."""
    parser = new_parser()
    options = parser.parse_args(arguments)
    check_sandbox(parser, options.sandbox)
    return options


def main(arguments: List[str]) -> int:
    """List the releases; return the exit status."""
    return run(parse(arguments), new_parser(), show)


def show(etl: Path, options: argparse.Namespace) -> int:
    """Print the table; return the exit status."""
    from rich.table import Table

    from tools.deploying.releases import USABLE, Activation, missing, read_release, read_state, stored
    from tools.deploying.sources import open_folder

    folder = open_folder(etl, options)
    state = read_state(folder)
    names = [name for name in stored(state.listing) if name]
    rows = [activation for activation in state.activations if activation.release in names]
    marks = dict(zip([row.release for row in rows], ["counts"] + ["fallback"] * (USABLE - 1)))
    table = Table("RELEASE", "ACTIVATED", "BY", "COMMIT", "DAGS", "", box=None, pad_edge=False, header_style="bold")
    for row in [*rows, *(Activation(name) for name in sorted({*names} - {*marks, *(row.release for row in rows)}))]:
        release = read_release(folder, state.listing, row.release)
        mark = "incomplete" if release is None or missing(state.listing, release) else marks.get(row.release, "")
        commits = "\n".join(f"{commit} {path}".strip() for path, commit in row.commits.items())
        table.add_row(row.release, row.at, row.by, commits, str(len(release.dags)) if release else "", mark)
    console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
