"""./etl generate schema|docs: write the files that are generated from the factory's models."""

import argparse
from typing import List

from tools.terminal import help_texts, print_status, run_command

SUMMARY = "write the files that are generated from the factory's models"
EXAMPLES = {
    "./etl generate schema": "configs/schema/, what editors know of the definitions and of the names in configs/",
    "./etl generate docs": "docs/definitions.md, the reference of the definitions, and docs/differences.md",
    "./etl generate schema docs": "both",
}
NOTES = """\
A test fails while a generated file differs from what this writes.
exit status: 0 written, 1 it cannot be written, 2 wrong use"""


def parse(arguments: List[str]) -> argparse.Namespace:
    """Return the parsed command line; exit with status 2 if it makes no sense."""
    description = "Write the files that are generated from the factory's models."
    parser = argparse.ArgumentParser(prog="./etl generate", **help_texts(description, EXAMPLES, NOTES))
    parser.add_argument("things", metavar="THING", nargs="+", choices=("schema", "docs"), help="schema or docs")
    return parser.parse_args(arguments)


def main(arguments: List[str]) -> int:
    """Write the files and print which; return the exit status."""
    options = parse(arguments)
    from orchestrator import Rejected

    from tools import ROOT
    from tools.generated import differences, reference, schema
    from tools.generated.files import replace

    try:
        for thing in options.things:
            texts = schema.files() if thing == "schema" else {**reference.files(), **differences.files()}
            for path, text in texts.items():
                try:
                    replace(ROOT / path, text.encode("utf-8"))
                except OSError as error:
                    print_status(f"{path} cannot be written: {error.strerror}")
                    return 1
                print(f"wrote {path}")
    except Rejected as rejected:
        print("\n\n".join(map(str, rejected.args)))
        print_status("an environment has problems, and the schema holds its names; fix them first")
        return 1
    return 0


if __name__ == "__main__":
    run_command(main)
