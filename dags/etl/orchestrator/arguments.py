"""The arguments of what a template calls: what ``Entry.takes`` in vocabulary.py says, and which values are allowed."""

import re
from functools import lru_cache
from typing import Any, Callable, Dict, NamedTuple, Tuple

from jinja2 import nodes

from .compat import is_time_zone
from .vocabulary import BOOLEAN, FILTERS, JSON, LIST, NUMBER, TEXT, Entry

PLAIN = (TEXT, NUMBER, BOOLEAN, JSON)


class Kind(NamedTuple):
    """A kind of argument, in words; the kinds of values that it may be; or, of a constant, which it may be."""

    words: str
    values: Tuple[str, ...] = ()
    is_allowed: Callable[[Any], bool] = lambda value: False


LETTERS = "aAbBcdfGHIjmMpSuUVwWxXyYzZ"  # of strptime, too


def is_format(value: Any) -> bool:
    """Return whether a text is a format of strftime without widths: %1000000000Y would fill the memory."""
    return isinstance(value, str) and bool(re.fullmatch(rf"(?:[^%]|%-?[{LETTERS}%]){{0,100}}", value))


def is_plain_filter(value: Any) -> bool:
    """Return whether a filter can be called by its name alone and gives no list."""
    entry = FILTERS.get(value) if isinstance(value, str) else None
    return entry is not None and entry.kind != LIST and not signature_of(entry).required


UNITS = ("minute", "hour", "day", "week", "month", "year")  # of pendulum's start_of()
KINDS: Dict[str, Kind] = {
    "any": Kind("any value"),
    "text": Kind("a text", (TEXT, JSON)),
    "sought": Kind("a text", (TEXT, JSON)),  # of which nothing stands in the result
    "number": Kind("a number", (NUMBER, BOOLEAN)),  # dateutil multiplies whatever it gets, also a text
    "value": Kind("text, a number, true or false, or a param", PLAIN),
    "constant": Kind("a constant text", (), lambda value: isinstance(value, str)),
    "names": Kind("a constant text, or a list of them", (), lambda value: isinstance(value, str)),
    "flag": Kind("true or false", (), lambda value: isinstance(value, bool)),
    "small": Kind("a constant whole number from 0 to 100", (), lambda value: type(value) is int and 0 <= value <= 100),
    "format": Kind(f"a constant format such as '%Y-%m-%d', with one of {LETTERS} after each %", (), is_format),
    "pattern": Kind(
        "a constant format such as 'YYYY-MM-DD'", (), lambda value: isinstance(value, str) and len(value) <= 100
    ),
    "unit": Kind(f"one of {', '.join(UNITS)}", (), lambda value: value in UNITS),
    # Another name would be that of a file.
    "zone": Kind("a constant time zone such as 'Europe/London'", (), is_time_zone),
    "plain": Kind("the name of a filter without arguments, such as 'upper'", (), is_plain_filter),
}


class Signature(NamedTuple):
    """The arguments of a call.

    Attributes:
        kinds: A key of ``KINDS`` for each argument, in their order.
        required: The arguments that cannot be left out.
        named: Those that can be given by name.
        places: How many can be given by place.
    """

    kinds: Dict[str, str]
    required: Tuple[str, ...]
    named: Tuple[str, ...]
    places: int

    def __str__(self) -> str:
        arguments = [name if name in self.required else f"{name}?" for name in self.kinds]
        return f"({', '.join(arguments)})"


@lru_cache(maxsize=None)
def signature_of(entry: Entry) -> Signature:
    """Return what ``Entry.takes`` says."""
    words = (entry.takes or "").split()
    pairs = [word.partition(":")[::2] for word in words if word not in "*/"]
    kinds = {name.rstrip("?"): kind for name, kind in pairs}
    required = tuple(name for name, _ in pairs if not name.endswith("?"))
    named = () if "/" in words else tuple(kinds)
    return Signature(kinds, required, named, words.index("*") if "*" in words else len(kinds))


# Jinja compiles 1e400 to the name inf, which nothing has; Python 3.7.14 neither reads nor writes 4,301 digits.
MAX_CONSTANT = 10**100
LONG_NUMBER = "a number of more than 100 digits", "write it as text, in quotes"  # message and hint


def constant_of(node: Any) -> Any:
    """Return the value of a constant, also of a negative number; None of anything else."""
    if isinstance(node, nodes.Neg) and isinstance(node.node, nodes.Const) and type(node.node.value) is int:
        return -node.node.value
    return node.value if isinstance(node, nodes.Const) else None
