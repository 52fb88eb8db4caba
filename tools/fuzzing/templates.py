"""Hypothesis strategies for templates: what vocabulary.py allows, nested at random, and a little more."""

from typing import Any, Callable, Dict, List

from hypothesis import strategies as st
from orchestrator.arguments import UNITS
from orchestrator.vocabulary import (
    ANY,
    BOOLEAN,
    DATE,
    DATETIME,
    DURATION,
    FILTERS,
    JSON,
    LIST,
    LOOP,
    MEMBERS,
    NAMES,
    NUMBER,
    TESTS,
    TEXT,
    Entry,
)

KINDS = (TEXT, NUMBER, BOOLEAN, DATE, DATETIME, DURATION, LIST, JSON)
TEXTS = ("x", " ", "--day=", "{% raw %}{{{% endraw %}", "{% raw %}${#x}{% endraw %}", "s3://b/*")
PARAMS = ("text", "number", "list", "mapping", "flag", "items")
CONSTANTS: Dict[str, List[str]] = {
    TEXT: ["''", "'a'", "'-'", "'%'", "'<&>'", "'\\u0390'", "'\\U0001f600'", "'2022-01-05'", "'{0}'", "'__class__'"],
    NUMBER: ["0", "1", "-1", "2", "100", "1.5", "10000000", "9223372036854775808", "1e99"],
    BOOLEAN: ["true", "false", "none"],
    LIST: ["[]", "['a', 'b']", "[1, 2]", "(1, 'b')"],
}
# What is allowed nowhere.
ILLEGAL = [
    *("self", "lipsum", "range(9)", "dict(a=1)", "cycler('a')", "namespace()", "conn", "conf", "caller", "inlets", "x"),
    *("ds.__class__", "ds['__class__']", "params._x", "dag.task_dict", "ti.task", "task.dag", "macros", "var.value"),
    *("'a' * 9", "2 ** 9", "1 / 2", "'%9d' % 1", "'{}'.format(ds)", "ds|attr('upper')", "ds|center(9)", "{'a': 1}"),
    *("params[ds]", "ds[params.number:]", "ti.xcom_push('a', 1)", "dag_run.conf.update", "ds.upper", "loop"),
]
ARGUMENTS: Dict[str, List[str]] = {
    "constant": ["'a'", "'x'", "'__class__'"],
    "names": ["'a'", "['a', 'b']"],
    "flag": ["true", "false"],
    "small": ["0", "1", "2", "99", "100", "101", "-1"],
    "format": ["'%Y-%m-%d'", "'%Y%m%dT%H%M%S'", "'%-d'", "'%%'", "'%B %c'", f"'{'%c' * 100}'", "'%9Y'", "'%'"],
    "pattern": ["'YYYY-MM-DD'", "'dddd'", "'[x]'", "'LLLL Z ZZ z'", f"'{'LLLL' * 25}'", "'\\\\'"],
    "unit": [f"'{unit}'" for unit in (*UNITS, "decade", "x")],
    "zone": ["'Europe/London'", "'Asia/Kathmandu'", "'../../etc/passwd'", "'x'"],
    "plain": [f"'{name}'" for name in (*FILTERS, "attr", "format")],
}
ARITHMETIC = {
    NUMBER: [("+", NUMBER, NUMBER), ("-", NUMBER, NUMBER), ("//", NUMBER, NUMBER), ("%", NUMBER, NUMBER)],
    TEXT: [("+", TEXT, TEXT), ("~", TEXT, TEXT), ("~", DATE, NUMBER), ("~", JSON, JSON)],
    LIST: [("+", LIST, LIST)],
    JSON: [("+", JSON, JSON), ("-", JSON, NUMBER), ("//", JSON, JSON)],
    DATE: [("+", DATE, DURATION), ("-", DATE, DURATION)],
    DATETIME: [("+", DATETIME, DURATION), ("-", DATETIME, DURATION)],
    DURATION: [("-", DATE, DATE), ("+", DURATION, DURATION), ("-", DATETIME, DATETIME)],
    BOOLEAN: [
        (sign, kind, kind)
        for sign in ("==", "!=", "<", ">=", "in", "not in", "and", "or")
        for kind in (TEXT, NUMBER, LIST, JSON, DATE)
    ],
}


@st.composite
def templates(draw: Any) -> str:
    """Draw a template of a few statements."""
    return "".join(statement(draw) for _ in range(draw(st.integers(1, 3))))


def statement(draw: Any, variable: str = "") -> str:
    """Draw an output or a statement; ``variable`` is that of the loop around it."""
    form = draw(st.sampled_from(["text", "output", "output", "output", "if", "for"]))
    if form == "text":
        return str(draw(st.sampled_from(TEXTS)))
    if form == "output":
        return f"{{{{ {expression(draw, draw(st.sampled_from(KINDS)), variable=variable)} }}}}"
    if form == "if":
        test, body, other = expression(draw, BOOLEAN, 2, variable), statement(draw, variable), statement(draw, variable)
        return f"{{% if {test} %}}{body}{{% else %}}{other}{{% endif %}}"
    names = draw(st.sampled_from(["c", "c", "k, v"]))
    items = expression(draw, draw(st.sampled_from([LIST, JSON])), 2)
    test = f" if {expression(draw, BOOLEAN, 1, names[0])}" if draw(st.integers(0, 3)) == 0 else ""
    return f"{{% for {names} in {items}{test} %}}{statement(draw, names[0])}{{% endfor %}}"


def expression(draw: Any, kind: str, depth: int = 3, variable: str = "") -> str:
    """Draw an expression that should be of a kind; seldom it is of another, or nothing that is allowed."""
    oddity = draw(st.integers(0, 99))
    if oddity == 57:  # Hypothesis likes the ends
        return str(draw(st.sampled_from(ILLEGAL)))
    kind = draw(st.sampled_from(KINDS)) if oddity == 43 else kind
    forms = FORMS[:1] if depth == 0 else FORMS
    found = draw(st.sampled_from(forms))(draw, kind, depth - 1, variable)
    return found or leaf(draw, kind, depth, variable)


def leaf(draw: Any, kind: str, depth: int, variable: str) -> str:
    """Draw a name or constant."""
    of_kind = [name for name, entry in NAMES.items() if entry.kind == kind and entry.takes is None]
    choices = [*of_kind, *CONSTANTS.get(kind, ()), "params.*", "params.*", "dag_run.conf.*", "provider.*"]
    if variable:
        choices += [variable, *LOOP]
    chosen = draw(st.sampled_from(choices))
    return str(chosen).replace("*", draw(st.sampled_from(PARAMS)))


def called(draw: Any, entry: Entry, depth: int, variable: str) -> str:
    """Draw the arguments of a call."""
    words = (entry.takes or "").split()
    by_name, arguments = False, []
    for word in words:
        name, _, kind = word.partition(":")
        if word in "*/":
            by_name |= word == "*"
        elif not name.endswith("?") or draw(st.booleans()):
            value = argument(draw, kind, depth, variable)
            by_name |= name.endswith("?") and "/" not in words
            arguments.append(f"{name.rstrip('?')}={value}" if by_name else value)
    return f"({', '.join(arguments)})"


def argument(draw: Any, kind: str, depth: int, variable: str) -> str:
    """Draw an argument."""
    if kind in ARGUMENTS:
        return str(draw(st.sampled_from(ARGUMENTS[kind])))
    kinds = {"number": (NUMBER, NUMBER, JSON), "any": KINDS}.get(kind, (TEXT, JSON))
    return expression(draw, draw(st.sampled_from(kinds)), max(depth, 0), variable)


def function(draw: Any, kind: str, depth: int, variable: str) -> str:
    """Draw a call of a name."""
    functions = [name for name, entry in NAMES.items() if entry.kind == kind and entry.takes is not None]
    if not functions:
        return ""
    name = draw(st.sampled_from(functions))
    return f"{name}{called(draw, NAMES[name], depth, variable)}"


def member(draw: Any, kind: str, depth: int, variable: str) -> str:
    """Draw a member of a value."""
    members = [(of, name) for of, entries in MEMBERS.items() for name, entry in entries.items() if entry.kind == kind]
    if not members:
        return ""
    of, name = draw(st.sampled_from(members))
    entry = MEMBERS[of][name]
    arguments = "" if entry.takes is None else called(draw, entry, depth, variable)
    return f"({expression(draw, of if of != ANY else JSON, depth, variable)}).{name}{arguments}"


def filtered(draw: Any, kind: str, depth: int, variable: str) -> str:
    """Draw a value and a filter."""
    filters = [name for name, entry in FILTERS.items() if entry.kind in (kind, JSON)]
    name = draw(st.sampled_from(filters))
    of = draw(st.sampled_from([kind for kind in FILTERS[name].of if kind != ANY] + [JSON]))
    value = expression(draw, of, depth, variable)
    return f"({value}) | {name}{called(draw, FILTERS[name], depth, variable)}"


def tested(draw: Any, kind: str, depth: int, variable: str) -> str:
    """Draw a test of a value."""
    if kind != BOOLEAN:
        return ""
    name = draw(st.sampled_from(sorted(TESTS)))
    of = draw(st.sampled_from([kind for kind in TESTS[name].of if kind != ANY]))
    arguments = called(draw, TESTS[name], depth, variable) if TESTS[name].takes else ""
    return f"({expression(draw, of, depth, variable)}) is {name}{arguments}"


def computed(draw: Any, kind: str, depth: int, variable: str) -> str:
    """Draw what an operator gives."""
    sign, left, right = draw(st.sampled_from(ARITHMETIC[kind]))
    return f"({expression(draw, left, depth, variable)}) {sign} ({expression(draw, right, depth, variable)})"


def item(draw: Any, kind: str, depth: int, variable: str) -> str:
    """Draw an item or a slice."""
    if kind not in (TEXT, LIST, JSON):
        return ""
    key = draw(st.sampled_from(["[:4]", "[5:]", "[::-1]", "[-3:]", "[0]", "[-1]", "['a']", ".a", "['items']"]))
    return f"({expression(draw, kind, depth, variable)}){key}"


def chosen(draw: Any, kind: str, depth: int, variable: str) -> str:
    """Draw one of two values."""
    left, right = expression(draw, kind, depth, variable), expression(draw, kind, depth, variable)
    if draw(st.booleans()):
        return f"(({left}) or ({right}))"
    return f"({left} if {expression(draw, BOOLEAN, depth, variable)} else {right})"


FORMS: List[Callable[[Any, str, int, str], str]] = [leaf, function, member, filtered, tested, computed, item, chosen]
