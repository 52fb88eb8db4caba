"""Hypothesis strategies for definitions with mistakes: at the level of text, and of data."""

import copy
from datetime import date, datetime
from typing import Any, Callable, Dict, List, Tuple

import yaml
from hypothesis import strategies as st

from tools.fuzzing import valid
from tools.fuzzing.valid import Plain

# What has hurt a reader of YAML, Jinja, dates or numbers before.
SNIPPETS: List[bytes] = [
    *(bytes([code]) for code in (0, 1, 7, 8, 9, 10, 11, 12, 13, 0x1B, 0x7F, 0x80, 0xC0, 0xFF)),
    *"\u0085 \u2028 \u2029 \ufeff \ufffe \U0001f600 \u0130 \u202e é".encode().split(b" "),
    b"\xed\xa0\x80",  # half of a surrogate pair
    b"\r\n",
    *rb"""\x00 \0 \N \u0000 \ud800 \U00110000 \e""".split(),
    *b"- ? : , [ ] { } # & * ! | > ' \" % @ ` --- ... << = ~ ?: -- |2- >+ %YAML %TAG".split(),
    *b"&a *a <<:*a &a[*a] !!python/object/apply:os.system[id] !!python/name:os.system !!binary|A= !!set{a}".split(),
    *b"!!float'x' !!int'x' !!timestamp'x' !!bool'x' !!null'x' !!str{} !!map[] !!seq{} !x !<tag:x> !!merge'<<'".split(),
    *b"!!omap[a:1] !!pairs[a:1] 2022-13-45 2022-01-01T99:00:00Z 0001-01-01 9999-12-31".split(),
    *b"0x 0b1 1:30 190:20:30 010 0o7 1_000 1e999 -0 .inf -.inf .nan".split(),
    b"9" * 5000,
    b"1:" * 2000 + b"1",
    b"[" * 60,
    b"{a: " * 60,
    b"- " * 60,
    *b"{{ {{x}} {{''.__class__}} {%include'/etc/passwd'%} {{9**9**9}} {#  {{'%c'%9}} {%raw%} {{((((}} $(date)".split(),
    b"{{" + b"(" * 300 + b"1" + b")" * 300 + b"}}",
    b"{{" + b"-" * 3000 + b"1}}",
    b"password: x",
    b"-----BEGIN PRIVATE KEY-----",
    b"AKIAIOSFODNN7EXAMPLE",
    b"https://a:b@c",
    b"providers: {un: {}}\n",
    b"  un: {tasks: {load: {retrys: 1}}}\n",
    b"no: ",
    b"null: ",
    b"depends_on: [load]",
    b"x" * 3000,
]
SNIPPET = st.sampled_from(SNIPPETS) | st.binary(min_size=1, max_size=6)
# Around what columns, ECS and the scheduler take.
LENGTHS = [limit + step for limit in (36, 100, 128, 200, 246, 250, 255, 256, 512) for step in (0, 1)]
NUMBERS = [limit + step for limit in (100, 1000, 10_000, 100_000, 2**31 - 1) for step in (0, 1)]
ODD_VALUES: List[Any] = [
    *("a" * length for length in LENGTHS),
    *NUMBERS,
    *(
        {
            f"t{number}": {"task_definition": "x", "depends_on": [f"t{number - 1}"] * (number > 0)}
            for number in range(size)
        }
        for size in (300, 301, 501)
    ),
    *(None, True, False, 0, -1, 2**31, 2**63, 2**200, 1.5, float("inf"), float("-inf"), float("nan"), b"\xff\x00"),
    *("", " ", "no", "~", "{{ x }}", "{{", "{% if %}", "{{ provider }}", "{{ env.x.y }}", "{{ ti.task }}", "$(date)"),
    *("x" * 9000, "é" * 300, "a\nb", "\x85", "\u2028", "\0", "\x1b", "\ud7ff", "\U0010ffff", "__class__", "aws:x"),
    *("* * * * *", "0 0 31 2 *", "0 0 * * 7", "@never", "99d", "0s", "-5m", "24:00", "2022-01-01", "9999-12-31"),
    *("../../etc/passwd", "localtime", "posixrules", "Factory", "Europe/London\0", "Etc/GMT+14", "America/Nuuk"),
    *("load-un", "TASK_DEFINITION", "SERVICE", [f"i{number}" for number in range(101)], ["a", "a"], ["a" * 100] * 2),
    *("load", "default", "wait_for_delivery", date(1, 1, 1), date(9999, 12, 31), datetime(2022, 1, 1, 3)),
    *([], {}, [[]], [None], {"": None}, {1: 1}, {None: 1}, {True: 1}, {1.5: 1}, {date(2022, 1, 1): 1}, {"load": {}}),
    *(["load", "load"], [["a", 1]], ["x"] * 70, {f"k{number}": str(number) for number in range(70)}),
]
ODD = st.sampled_from(ODD_VALUES) | st.text(max_size=5) | st.integers() | st.floats()
KEY_VALUES: List[Any] = [
    *"description schedule start_date tasks providers params wait_for defaults tags load retries cpu clusters".split(),
    *"timezone for_each group propagate_tags enable_execute_command alerts".split(),
    *("name", "cpu ", "", "no", "a.b", "é", "\n", "x" * 300, "__key__", "__root__", "{{ x }}", "password", "<<", "="),
    *(1, None, True, 1.5, date(2022, 1, 1)),
    *("a" * length for length in LENGTHS),
]
KEYS = st.sampled_from(KEY_VALUES)


@st.composite
def damaged(draw: Any, text: bytes, others: List[bytes]) -> bytes:
    """Draw a text that had 1 to 4 accidents."""
    for _ in range(draw(st.integers(1, 4))):
        text = draw(st.sampled_from(ACCIDENTS))(draw, text, others)
    return text[: 1 << 16]


def place(draw: Any, text: bytes) -> int:
    """Draw a place in a text."""
    return int(draw(st.integers(0, len(text))))


def span(draw: Any, text: bytes) -> Tuple[int, int]:
    """Draw a piece of a text."""
    start = place(draw, text)
    return start, min(len(text), start + draw(st.integers(1, 40)))


def line_of(draw: Any, text: bytes) -> Tuple[List[bytes], int]:
    """Draw a line; return all lines, and its number."""
    lines = text.split(b"\n")
    return lines, int(draw(st.integers(0, len(lines) - 1)))


def insert(draw: Any, text: bytes, others: List[bytes]) -> bytes:
    """Insert something."""
    at = place(draw, text)
    return b"".join([text[:at], draw(SNIPPET), text[at:]])


def delete(draw: Any, text: bytes, others: List[bytes]) -> bytes:
    """Take a piece out."""
    start, end = span(draw, text)
    return text[:start] + text[end:]


def replace(draw: Any, text: bytes, others: List[bytes]) -> bytes:
    """Replace a piece by something."""
    start, end = span(draw, text)
    return b"".join([text[:start], draw(SNIPPET), text[end:]])


def cut_off(draw: Any, text: bytes, others: List[bytes]) -> bytes:
    """End the text early."""
    return text[: place(draw, text)]


def repeat(draw: Any, text: bytes, others: List[bytes]) -> bytes:
    """Repeat a piece."""
    start, end = span(draw, text)
    times: int = draw(st.sampled_from([1, 2, 60, 500, 20_000]))
    return text[:end] + text[start:end] * times + text[end:]


def splice(draw: Any, text: bytes, others: List[bytes]) -> bytes:
    """Go on with another text."""
    other: bytes = draw(st.sampled_from(others))
    return text[: place(draw, text)] + other[place(draw, other) :]


def double_line(draw: Any, text: bytes, others: List[bytes]) -> bytes:
    """Have a line twice."""
    lines, at = line_of(draw, text)
    return b"\n".join([*lines[: at + 1], *lines[at:]])


def drop_line(draw: Any, text: bytes, others: List[bytes]) -> bytes:
    """Lose a line."""
    lines, at = line_of(draw, text)
    return b"\n".join(lines[:at] + lines[at + 1 :])


def move_line(draw: Any, text: bytes, others: List[bytes]) -> bytes:
    """Move a line elsewhere."""
    lines, at = line_of(draw, text)
    line = lines.pop(at)
    lines.insert(draw(st.integers(0, len(lines))), line)
    return b"\n".join(lines)


def indent(draw: Any, text: bytes, others: List[bytes]) -> bytes:
    """Indent a line otherwise."""
    lines, at = line_of(draw, text)
    lines[at] = draw(st.sampled_from([b" ", b"  ", b"\t", b"        ", b""])) + lines[at].lstrip(b" ")
    return b"\n".join(lines)


def encode(draw: Any, text: bytes, others: List[bytes]) -> bytes:
    """Write it in another encoding."""
    encoding: str = draw(st.sampled_from(["utf-16", "utf-8-sig", "utf-32", "latin-1"]))
    return text.decode(errors="replace").encode(encoding, errors="replace")


def line_ends(draw: Any, text: bytes, others: List[bytes]) -> bytes:
    """End all lines otherwise."""
    ends = [b"\r\n", b"\r", b"\xc2\x85", b"\xe2\x80\xa8", b"\n\n", b" #\n", b" "]
    return text.replace(b"\n", draw(st.sampled_from(ends)))


ACCIDENTS: List[Callable[[Any, bytes, List[bytes]], bytes]] = [
    *(insert, delete, replace, cut_off, repeat, splice, double_line, drop_line, move_line, indent, encode, line_ends),
    *(insert, replace, delete),
]


@st.composite
def twisted(draw: Any, data: Dict[str, Any]) -> str:
    """Draw a text of data that had 1 to 4 accidents."""
    data = copy.deepcopy(data)
    for _ in range(draw(st.integers(1, 4))):
        twist(draw, data)
    return str(yaml.dump(data, Dumper=Plain, sort_keys=False, allow_unicode=draw(st.booleans())))


def twist(draw: Any, data: Dict[str, Any]) -> None:
    """Change one place of a tree."""
    holders = [data, *inner(data)]
    holder = draw(among(holders))
    keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    change = draw(st.sampled_from(["replace", "replace", "delete", "add", "rename", "wrap", "graft"]))
    if change == "add" or not keys:
        if isinstance(holder, dict):
            holder[draw(KEYS)] = draw(ODD)
        else:
            holder.append(draw(ODD))
        return
    key = draw(st.sampled_from(keys))
    if change == "replace":
        holder[key] = draw(ODD)
    elif change == "delete":
        del holder[key]
    elif change == "graft":
        holder[key] = copy.deepcopy(draw(among(holders)))
    elif change == "rename" and isinstance(holder, dict):
        holder[draw(KEYS)] = holder.pop(key)
    else:
        wrap = draw(st.sampled_from([lambda value: [value], lambda value: {"a": value}]))
        for _ in range(draw(st.sampled_from([1, 2, 45, 60]))):
            holder[key] = wrap(holder[key])


def among(values: List[Any]) -> Any:
    """Return a strategy for one of some values; they are too many, and change too often, to be shown."""
    return st.integers(0, len(values) - 1).map(values.__getitem__)


def inner(value: Any) -> List[Any]:
    """Return the mappings and lists inside a value."""
    children = list(value.values() if isinstance(value, dict) else value)
    holders = [child for child in children if isinstance(child, (dict, list))]
    return holders + [found for child in holders for found in inner(child)]


def mutants(corpus: List[bytes]) -> Any:
    """Return a strategy for definitions of a pipeline that had an accident."""
    return st.sampled_from(corpus).flatmap(lambda text: damaged(text, corpus)) | broken(valid.pipelines(), corpus)


def broken(sound: Any, corpus: List[bytes]) -> Any:
    """Return a strategy for what data becomes by an accident, before it is written or after."""
    written = sound.flatmap(valid.texts).map(lambda text: text.encode(errors="replace"))
    twisted_first = sound.flatmap(twisted).map(lambda text: text.encode(errors="replace"))
    return written.flatmap(lambda text: damaged(text, corpus)) | twisted_first
