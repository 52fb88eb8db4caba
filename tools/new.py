"""./etl new: a new provider or pipeline, written where it belongs; and what is generated from the models."""

import argparse
import os
import re
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Tuple, Type

import yaml
from yaml.resolver import Resolver

from tools import plan, reference, schema
from tools.definitions import ETL, ROOT, environments, factory

# The schema is reached through dags/etl/configs, so that it is found in a sandbox's copy of the folder too.
PIPELINE = """\
# yaml-language-server: $schema=../../configs/schema/pipeline.json
description: What it does, in one sentence.
start_date: {start_date}

tasks:
  load:
    task_definition: {family}-{name}

providers: {{}}
"""

# What no version of YAML reads as anything but text: 1.2 knows the numbers 1e3 and 0o17, 1.1 the booleans y and n.
PLAIN = re.compile(r"(?![0-9][0-9a-fox_]*$|[yYnN]$)[A-Za-z0-9_/][A-Za-z0-9_./-]*")


class Refused(Exception):
    """It cannot be written; the text says why, and what to do."""


class Names(NamedTuple):
    """A pipeline's names, and its file."""

    family: str
    name: str

    @property
    def file(self) -> Path:
        """Where its definition is, or would be."""
        return ETL / "pipelines" / self.family / f"{self.name}.yaml"

    def __str__(self) -> str:
        return f"{self.family}/{self.name}"


def main(arguments: List[str]) -> int:
    """Write what is asked for. Exit status: 0 written, 1 refused, 2 wrong use."""
    options = parser().parse_args(arguments)
    write: Callable[[argparse.Namespace], None] = options.write
    try:
        write(options)
    except Refused as refused:
        print(f"etl: {refused}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    whole = argparse.ArgumentParser(prog="./etl new", description=__doc__)
    things = whole.add_subparsers(metavar="THING", required=True)

    provider = things.add_parser("provider", help="a data provider of a pipeline: a DAG of its own")
    provider.add_argument("pipeline", metavar="FAMILY/PIPELINE", type=pipeline_names)
    provider.add_argument("name", metavar="NAME", type=name_of(factory.ProviderName))
    provider.add_argument(
        "--variable",
        metavar="NAME=TEXT",
        type=variable,
        action="append",
        default=[],
        help="a variable of the provider, {{ provider.NAME }} in templates; may be repeated",
    )
    provider.set_defaults(write=new_provider)

    pipeline = things.add_parser("pipeline", help="a pipeline of one task and no providers yet")
    pipeline.add_argument("pipeline", metavar="FAMILY/NAME", type=pipeline_names)
    pipeline.set_defaults(write=new_pipeline)

    schemas = things.add_parser("schema", help="configs/schema/, what editors know of the definitions")
    schemas.set_defaults(write=lambda _: write_generated(schema.files()))
    docs = things.add_parser("docs", help="docs/definitions.md, the reference of the definitions")
    docs.set_defaults(write=lambda _: write_generated(reference.files()))
    return whole


def name_of(kind: Type[factory.Text]) -> Callable[[str], str]:
    """Check a name of this kind by the factory's own words; as an argparse type."""

    def check(text: str) -> str:
        if not kind.pattern.fullmatch(text):
            raise argparse.ArgumentTypeError(f"{text!r} is not {kind.what()}")
        return text

    return check


def pipeline_names(text: str) -> Names:
    """Check FAMILY/PIPELINE; as an argparse type."""
    family, slash, name = text.partition("/")
    if not slash:
        raise argparse.ArgumentTypeError(f"{text!r} is not FAMILY/PIPELINE, such as cwr/big")
    return Names(name_of(factory.FamilyName)(family), name_of(factory.PipelineName)(name))


def variable(text: str) -> Tuple[str, str]:
    """Check NAME=TEXT; as an argparse type."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=TEXT, such as host=sftp.example")
    return name_of(factory.VariableName)(name), name_of(factory.Text)(value)


def new_provider(options: argparse.Namespace) -> None:
    """Add a provider to a pipeline's file; raises Refused."""
    names, provider = options.pipeline, options.name
    if not names.file.exists():
        raise Refused(f"there is no pipeline {names}; {factory.nearest(str(names), pipelines())}")
    text = read(names)
    if provider in data_of(text)["providers"]:
        raise Refused(f"{names} has a provider {provider!r} already")
    added = with_provider(text, provider, dict(options.variable)).encode("utf-8")
    found = problems(names, added)
    if found:
        hint = "what its templates want of a provider is given as --variable NAME=TEXT"
        raise Refused(f"{names} cannot have such a provider:\n\n{told(found)}\n\n{hint}")
    replace(names.file, added)
    dag_id = factory.format_dag_id(names.family, names.name, provider)
    print(f"added {provider} to {names.file.relative_to(ROOT)}: DAG {dag_id}\n", flush=True)
    plan.main([])


def new_pipeline(options: argparse.Namespace) -> None:
    """Write the file of a pipeline; raises Refused."""
    names = options.pipeline
    path = names.file.relative_to(ROOT)
    if os.path.lexists(names.file):
        raise Refused(f"there is {path} already")
    today = datetime.now(timezone.utc).date()  # static from now on: the file says it
    content = PIPELINE.format(family=names.family, name=names.name, start_date=today).encode("utf-8")
    found = problems(names, content)
    if found:
        raise Refused(f"the smallest pipeline is none here:\n\n{told(found)}")
    names.file.parent.mkdir(parents=True, exist_ok=True)
    replace(names.file, content)
    print(f"wrote {path}; it has a DAG when it has a provider: ./etl new provider {names} NAME\n", flush=True)
    plan.main([])


def read(names: Names) -> str:
    """Give the text of a pipeline's file, if the factory finds nothing wrong with it; raises Refused."""
    try:
        factory.read_document(ETL, names.file)  # among others, that it is no link: that would be replaced by a file
        content = names.file.read_bytes()
        found = problems(names, content)
    except factory.Rejected as rejected:
        found = list(rejected.args)
    if found:
        raise Refused(f"the file has problems already; mend them first:\n\n{told(found)}")
    return content.decode("utf-8")


def pipelines() -> List[str]:
    """All pipelines, as FAMILY/PIPELINE."""
    return [f"{file.parent.name}/{file.stem}" for file in sorted(ETL.glob("pipelines/*/*.yaml"))]


def problems(names: Names, content: bytes) -> List[factory.Problem]:
    """Read the pipeline's file as if it held this, in every environment, and give what is wrong with it."""
    with tempfile.TemporaryDirectory(prefix="etl-") as folder:
        etl = Path(folder) / "dags" / "etl"
        file = etl / "pipelines" / names.family / f"{names.name}.yaml"
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
        (etl / "configs").symlink_to(ETL / "configs")
        return sorted({problem for name in environments(etl) for problem in factory.load(etl, name).problems})


def told(found: List[factory.Problem]) -> str:
    """The problems for a person."""
    return "\n".join(map(str, found))


def with_provider(text: str, name: str, variables: Mapping[str, str]) -> str:
    """Give a definition's text with one more provider at the end of its providers, all else as it was.

    Nothing is read and written again, since every writer of YAML loses something: ruamel.yaml, which keeps
    comments, drops ``null``, and makes all indentation alike. The place is where the factory's own parser
    saw the providers end.

    Raises:
        Refused: The file is written in a way that has no such place.
    """
    providers = providers_of(text)
    entry = f"{scalar(name)}: {flow_mapping({'variables': variables} if variables else {})}"
    added = in_flow(text, providers, entry) if providers.flow_style else in_block(text, providers, entry)
    expected = data_of(text)
    expected["providers"][name] = {"variables": variables} if variables else {}
    try:
        if data_of(added) == expected:
            return added
    except yaml.YAMLError:
        pass
    raise Refused(f"the file is written in a way that only a person can add to; add to its providers: {entry}")


def data_of(text: str) -> Any:
    """Read a definition as the factory does; raises yaml.YAMLError."""
    return factory.Loader(text).get_single_data()


def providers_of(text: str) -> Any:
    """Find the YAML node of the providers in a definition that has them."""
    root: Any = factory.Loader(text).get_single_node()
    return next(value for key, value in root.value if key.value == "providers")


def in_block(text: str, providers: Any, entry: str) -> str:
    """Put an entry on a line of its own, below the providers and the comments that stand among them."""
    lines = text.splitlines(keepends=True)
    indent = providers.start_mark.column
    # A block ends where the next thing starts; what is above that and no deeper than its keys is not its own.
    end = providers.end_mark.line + (providers.end_mark.column > 0)
    while not is_inside(lines[end - 1], indent):
        end -= 1
    return insert_line(lines, end, " " * indent + entry)


def is_inside(line: str, indent: int) -> bool:
    """Whether a line between a block and what comes after it belongs to the block."""
    return bool(line.strip()) and line[:indent].strip() == ""


def in_flow(text: str, providers: Any, entry: str) -> str:
    """Put an entry behind the last one in braces; the braces of none give way to a line of their own."""
    lines = text.splitlines(keepends=True)
    start, end = providers.start_mark, providers.end_mark
    if providers.value:
        return insert_text(lines, providers.value[-1][1].end_mark, f", {entry}")
    before = lines[start.line][: start.column]
    if before != "providers: " or start.line != end.line:
        return insert_text(lines, start, entry, skip=1)
    lines[start.line] = before.rstrip() + lines[start.line][end.column :]
    return insert_line(lines, start.line + 1, f"  {entry}")


def insert_line(lines: List[str], number: int, line: str) -> str:
    """Give the lines with one more before the line of this number, counted from 0, ended as the others are."""
    above, below = "".join(lines[:number]), "".join(lines[number:])
    ending = "\r\n" if "\r\n" in above else "\n"
    return above + ("" if above.endswith("\n") else ending) + line + ending + below


def insert_text(lines: List[str], mark: Any, text: str, skip: int = 0) -> str:
    """Give the lines with a text at a mark of the parser, or ``skip`` characters behind it."""
    line, column = lines[mark.line], mark.column + skip
    return "".join([*lines[: mark.line], line[:column], text, line[column:], *lines[mark.line + 1 :]])


def flow_mapping(mapping: Mapping[str, Any]) -> str:
    """Write a mapping of texts and mappings in braces."""
    values = {key: scalar(value) if isinstance(value, str) else flow_mapping(value) for key, value in mapping.items()}
    return "{" + ", ".join(f"{scalar(key)}: {value}" for key, value in values.items()) + "}"


def scalar(text: str) -> str:
    """Write a text so that YAML reads it as text, be it 1.1 or 1.2: ``no`` and ``2022`` in quotes."""
    resolved = Resolver().resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    if PLAIN.fullmatch(text) and resolved == "tag:yaml.org,2002:str":
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def write_generated(files: Dict[Path, str]) -> None:
    """Write files that are generated, and say which."""
    for path, text in files.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        replace(ROOT / path, text.encode("utf-8"))
        print(f"wrote {path}")


def replace(file: Path, content: bytes) -> None:
    """Write a file whole or not at all; its mode stays as it was.

    Hidden until it is whole: the factory leaves hidden files alone, and an Airflow may be reading this folder.
    """
    mode = file.stat().st_mode & 0o777 if file.exists() else 0o644
    descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=str(file.parent))
    try:
        with open(descriptor, "wb") as stream:
            stream.write(content)
            os.fchmod(stream.fileno(), mode)
        os.replace(temporary, str(file))
    except BaseException:
        os.unlink(temporary)
        raise


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
