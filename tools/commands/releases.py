"""./etl releases ENV: list the releases in an environment's bucket, and which of them counts."""

import argparse
from pathlib import Path
from typing import List

from tools.commands.deploy import new_parser, run
from tools.terminal import console, printable, run_command

SUMMARY = "list the releases in an environment's bucket, and which of them counts"
EXAMPLES = {
    "./etl releases staging": "when each was activated, by whom and with which commit",
    "./etl releases development --sandbox test_merge": "those of a sandbox",
}
NOTES = "./etl deploy ENV --to RELEASE activates another one."


def parse(arguments: List[str]) -> argparse.Namespace:
    """Return the parsed command line; exit with status 2 if it makes no sense."""
    return new_parser("releases", "List the releases that a bucket has.", EXAMPLES, NOTES).parse_args(arguments)


def main(arguments: List[str]) -> int:
    """List the releases; return the exit status."""
    return run("releases", show, parse(arguments))


def show(etl: Path, options: argparse.Namespace) -> int:
    """Print the table; return the exit status."""
    from rich.table import Table

    from tools.deploying.releases import USABLE, Activation, missing, read_release, read_state, stored
    from tools.deploying.sources import at_hand, open_folder

    folder = open_folder(etl, options)
    state = read_state(folder, at_hand(etl))
    names = {*stored(state.listing)} - {""}
    rows = [activation for activation in state.activations if activation.release in names]
    marks = dict(zip([row.release for row in rows], ["counts"] + ["fallback"] * (USABLE - 1)))
    rows += [Activation(name) for name in sorted(names - {row.release for row in rows})]
    table = Table("RELEASE", "ACTIVATED", "BY", "COMMIT", "DAGS", "", box=None, pad_edge=False, header_style="bold")
    for row in rows:
        release = read_release(folder, state.listing, row.release)
        mark = "incomplete" if release is None or missing(state.listing, release) else marks.get(row.release, "")
        # Whoever may write to the bucket has written these.
        at, by = (printable(str(text), keep="") for text in (row.at, row.by))
        commits = "\n".join(printable(f"{commit} {path}".strip(), keep="") for path, commit in row.commits.items())
        table.add_row(row.release, at, by, commits, str(len(release.dags)) if release else "", mark)
    console().print(table)
    return 0


if __name__ == "__main__":
    run_command(main)
