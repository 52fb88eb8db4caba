"""./etl new provider|pipeline: write a new provider or pipeline where it belongs."""

import argparse
from typing import List, Tuple, Type

from tools.terminal import help_texts, print_status, run_command

SUMMARY = "write a new provider or pipeline where it belongs"
EXAMPLES = {
    "./etl new provider cwr/big sony": "a data provider of a pipeline: one DAG more",
    "./etl new provider ddex/releases sony --variable host=sftp.example": "with a variable that its templates need",
    "./etl new pipeline cwr/small": "a pipeline of one task, which has no provider yet",
}
NOTES = """\
./etl new THING --help shows the options of one of them.
exit status: 0 written, 1 refused, 2 wrong use"""


def parse(arguments: List[str]) -> argparse.Namespace:
    """Return the parsed command line; exit with status 2 if it makes no sense."""
    description = "Write a new provider or pipeline where it belongs, and show what that changes of the DAGs."
    parser = argparse.ArgumentParser(prog="./etl new", **help_texts(description, EXAMPLES, NOTES))
    things = parser.add_subparsers(metavar="THING", dest="thing", required=True)
    of_provider = {example: purpose for example, purpose in EXAMPLES.items() if " provider " in example}
    of_pipeline = {example: purpose for example, purpose in EXAMPLES.items() if " pipeline " in example}

    summary = "a data provider of a pipeline: a DAG of its own"
    provider = things.add_parser("provider", help=summary, **help_texts(f"Write {summary}.", of_provider))
    provider.add_argument("pipeline", metavar="FAMILY/PIPELINE", type=pipeline_names)
    provider.add_argument("name", metavar="NAME")
    provider.add_argument(
        "--variable",
        metavar="NAME=TEXT",
        type=variable,
        action="append",
        default=[],
        help="a variable of the provider, {{ provider.NAME }} in templates; may be repeated",
    )
    provider.set_defaults(parser=provider)

    summary = "a pipeline of one task and no providers yet"
    pipeline = things.add_parser("pipeline", help=summary, **help_texts(f"Write {summary}.", of_pipeline))
    pipeline.add_argument("pipeline", metavar="FAMILY/NAME", type=pipeline_names)
    pipeline.set_defaults(parser=pipeline)
    return parser.parse_args(arguments)


def pipeline_names(text: str) -> Tuple[str, str]:
    """Return family and pipeline of FAMILY/PIPELINE; as an argparse type."""
    family, slash, name = text.partition("/")
    if not slash:
        raise argparse.ArgumentTypeError(f"{text!r} is not FAMILY/PIPELINE, such as cwr/big")
    return family, name


def variable(text: str) -> Tuple[str, str]:
    """Return name and value of NAME=TEXT, which may be a credential and is not quoted; as an argparse type."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError("it is not NAME=TEXT, such as host=sftp.example")
    if text.encode(errors="replace").decode() != text:  # a byte that is none became half a surrogate pair
        raise argparse.ArgumentTypeError(f"the text of {name!r} is not UTF-8")
    return name, value


def check_names(options: argparse.Namespace) -> None:
    """Check the names with the factory's own patterns and words; exit with status 2 if one is not valid."""
    from orchestrator import FamilyName, PipelineName, ProviderName, Text, VariableName

    family, pipeline = options.pipeline
    argument = "FAMILY/PIPELINE" if options.thing == "provider" else "FAMILY/NAME"
    names: List[Tuple[str, str, Type[Text]]] = [
        (argument, family, FamilyName),
        (argument, pipeline, PipelineName),
    ]
    if options.thing == "provider":
        names.append(("NAME", options.name, ProviderName))
        for name, value in options.variable:
            names.append(("--variable", name, VariableName))
            if sum(name == other for other, _ in options.variable) > 1:
                options.parser.error(f"argument --variable: {name!r} is given more than once")
            if not Text.pattern.fullmatch(value):  # not quoted, since it may be a credential
                options.parser.error(f"argument --variable: the text of '{name}' is not {Text.what()}")
    for argument, text, kind in names:
        if not kind.pattern.fullmatch(text):
            options.parser.error(f"argument {argument}: {text!r} is not {kind.what()}")


def main(arguments: List[str]) -> int:
    """Write the entry and print its plan; return the exit status."""
    options = parse(arguments)
    check_names(options)
    from tools.commands import plan
    from tools.generated.entries import Names, Refused, add_pipeline, add_provider
    from tools.setup.environments import LOCAL, SetupError, lock

    names = Names(*options.pipeline)
    try:
        with lock(LOCAL / "new.lock"):  # of two at once, one adds to what the other has written
            if options.thing == "provider":
                dag_id = add_provider(names, options.name, dict(options.variable))
                done = f"added {options.name} to {names.path}: DAG {dag_id}"
            else:
                add_pipeline(names)
                done = f"wrote {names.path}; it has a DAG when it has a provider: ./etl new provider {names} NAME"
    except (Refused, SetupError) as error:
        print_status(str(error))
        return 1
    print(f"{done}\n", flush=True)
    plan.main([])
    return 0


if __name__ == "__main__":
    run_command(main)
