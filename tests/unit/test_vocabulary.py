"""Every entry of the vocabulary has an example that is allowed, and uses it."""

from typing import Dict, Iterator, Tuple

import pytest
from orchestrator import read_template
from orchestrator.arguments import KINDS, signature_of
from orchestrator.vocabulary import FILTERS, LOOP, MEMBERS, NAMES, TESTS, Entry


def entries() -> Iterator[Tuple[str, Entry]]:
    for table in (NAMES, LOOP, FILTERS, TESTS, *MEMBERS.values()):
        yield from table.items()


EXAMPLES: Dict[str, Tuple[str, Entry]] = {f"{name}: {entry.example}": (name, entry) for name, entry in entries()}


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_allowed_and_uses_its_name(example: str) -> None:
    name, entry = EXAMPLES[example]
    assert read_template(entry.example).faults == []
    aliases = {"d": "default", "count": "length", "task_instance": "ti"}
    root, *rest = name.rstrip(".*").split(".")
    assert ".".join([aliases.get(root, root), *rest]) in entry.example or f".{name}(" in entry.example


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_arguments_have_kinds(example: str) -> None:
    signature = signature_of(EXAMPLES[example][1])
    assert set(signature.kinds.values()) <= set(KINDS)
    assert signature.places <= len(signature.kinds)
