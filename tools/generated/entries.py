"""New entries of definitions: the smallest valid provider or pipeline, written where it belongs."""

import os
import re
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

import yaml
from orchestrator import (
    Loader,
    Problem,
    Rejected,
    did_you_mean,
    find_awaited,
    format_dag_id,
    in_order,
    read_context,
    read_document,
    read_file,
)
from yaml.resolver import Resolver

from tools import ETL, ROOT
from tools.checkout import environments, no_environment
from tools.checks.credentials import with_credentials
from tools.generated.files import replace

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
    """It is not written; the text says why, and what to do."""


class Names(NamedTuple):
    """A pipeline's names, and its file."""

    family: str
    name: str

    @property
    def file(self) -> Path:
        """The file of its definition, whether or not it is there."""
        return ETL / "pipelines" / self.family / f"{self.name}.yaml"

    @property
    def path(self) -> Path:
        """The file's path in the repository."""
        return self.file.relative_to(ROOT)

    def __str__(self) -> str:
        return f"{self.family}/{self.name}"


def add_provider(names: Names, provider: str, variables: Dict[str, str]) -> str:
    """Add a provider to a pipeline's file and return the id of its DAG; raise Refused."""
    if not os.path.lexists(names.file):
        raise Refused(f"there is no pipeline {names}; {did_you_mean(str(names), pipelines())}")
    text = read(names)
    if provider in data_of(text)["providers"]:
        raise Refused(f"{names} has a provider {provider!r} already")
    content = with_provider(text, provider, variables).encode("utf-8")
    problems = problems_of(names, content)
    if problems:
        needs_variable = any(each.rule == "template" and "'provider." in each.message for each in problems)
        hint = "\n\na variable that its templates need is given with --variable NAME=TEXT" if needs_variable else ""
        raise Refused(f"{names} cannot have such a provider:\n\n{as_text(problems)}{hint}")
    write(names, content, text.encode("utf-8"))
    return format_dag_id(names.family, names.name, provider)


def add_pipeline(names: Names) -> None:
    """Write the file of a pipeline; raise Refused."""
    if os.path.lexists(names.file):
        raise Refused(f"there is {names.path} already")
    today = datetime.now(timezone.utc).date()  # static from now on: the file holds it
    content = PIPELINE.format(family=names.family, name=names.name, start_date=today).encode("utf-8")
    problems = problems_of(names, content)
    if problems:
        raise Refused(f"the smallest pipeline has problems here:\n\n{as_text(problems)}")
    write(names, content)


def read(names: Names) -> str:
    """Return the text of a pipeline's file, if the factory has no problem with it; raise Refused."""
    try:
        read_document(ETL, names.file)  # among others, that it is no link: that would be replaced by a file
        content = names.file.read_bytes()
        problems = problems_of(names, content)
    except Rejected as rejected:
        problems = list(rejected.args)
    if problems:
        raise Refused(f"the file has problems already; fix them first:\n\n{as_text(problems)}")
    return content.decode("utf-8")


def write(names: Names, content: bytes, before: Optional[bytes] = None) -> None:
    """Write a pipeline's file; raise Refused where that cannot be, or if the file is no longer what was read."""
    try:
        if before is not None and names.file.read_bytes() != before:
            raise Refused(f"{names.path} has changed meanwhile; run it again")
        replace(names.file, content)
    except OSError as error:
        raise Refused(f"{names.path} cannot be written: {error.strerror}") from error  # as in a read-only checkout


def pipelines() -> List[str]:
    """Return all pipelines, as FAMILY/PIPELINE."""
    return [f"{file.parent.name}/{file.stem}" for file in sorted(ETL.glob("pipelines/*/*.yaml"))]


def problems_of(names: Names, content: bytes) -> List[Problem]:
    """Return the problems that ./etl check would report of a pipeline's file with this content."""
    with tempfile.TemporaryDirectory(prefix="etl-") as folder:
        etl = Path(folder) / "dags" / "etl"
        file = etl / "pipelines" / names.family / f"{names.name}.yaml"
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
        (etl / "configs").symlink_to(ETL / "configs")
        problems = no_environment(etl)
        for name in environments(etl):
            try:
                context = read_context(etl, name)
            except Rejected as rejected:
                problems += rejected.args
                continue
            result = read_file(etl, file, context)
            # What its DAGs wait for is in the checkout, but for those of the file itself.
            known = {names.file: result}
            problems += [*result.problems, *find_awaited(ETL, context, dict(known), known).problems]
        return in_order(with_credentials(problems, etl, [file]))


def as_text(problems: List[Problem]) -> str:
    """Return the problems for a person."""
    return "\n".join(map(str, problems))


def with_provider(text: str, name: str, variables: Mapping[str, str]) -> str:
    """Return a definition's text with one more provider at the end of its providers, all else as it was.

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
    # Without the variables' values: one may be a credential, which the factory has not looked for yet.
    entry = f"{scalar(name)}: {flow_mapping({'variables': dict.fromkeys(variables, '...')} if variables else {})}"
    raise Refused(f"the file is written in a way that only a person can add to; add to its providers: {entry}")


def data_of(text: str) -> Any:
    """Read a definition as the factory does; raise yaml.YAMLError."""
    return Loader(text).get_single_data()


def providers_of(text: str) -> Any:
    """Find the YAML node of the providers in a definition that has them."""
    root: Any = Loader(text).get_single_node()
    return next(value for key, value in root.value if key.value == "providers")


def in_block(text: str, providers: Any, entry: str) -> str:
    """Insert an entry on a line of its own, below the providers and the comments that stand among them."""
    lines = text.splitlines(keepends=True)
    # The block begins at an anchor, which stands further right, or at the '?' of its first key.
    indent = min(providers.start_mark.column, providers.value[0][0].start_mark.column)
    # A block ends where the next thing starts; what is above that and no deeper than its keys is not its own.
    end = providers.end_mark.line + (providers.end_mark.column > 0)
    while not is_inside(lines[end - 1], indent):
        end -= 1
    return insert_line(lines, end, " " * indent + entry)


def is_inside(line: str, indent: int) -> bool:
    """Return whether a line between a block and what comes after it belongs to the block."""
    return bool(line.strip()) and line[:indent].strip() == ""


def in_flow(text: str, providers: Any, entry: str) -> str:
    """Insert an entry behind the last one in braces; empty braces become a line of its own."""
    lines = text.splitlines(keepends=True)
    start, end = providers.start_mark, providers.end_mark
    if providers.value:
        return insert_text(lines, providers.value[-1][1].end_mark, f", {entry}")
    before = lines[start.line][: start.column]
    if before != "providers: " or start.line != end.line:
        return insert_text(lines, end, entry, skip=-1)
    lines[start.line] = before.rstrip() + lines[start.line][end.column :]
    return insert_line(lines, start.line + 1, f"  {entry}")


def insert_line(lines: List[str], number: int, line: str) -> str:
    """Return the lines with one more before the line of this number, counted from 0, ended as the others are."""
    above, below = "".join(lines[:number]), "".join(lines[number:])
    ending = "\r\n" if "\r\n" in above else "\n"
    return above + ("" if above.endswith("\n") else ending) + line + ending + below


def insert_text(lines: List[str], mark: Any, text: str, skip: int = 0) -> str:
    """Return the lines with a text at a mark of the parser, or ``skip`` characters from it."""
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
