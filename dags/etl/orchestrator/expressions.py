"""Checks the expressions of a template against vocabulary.py, and bounds what they can write."""

from typing import Any, Callable, Dict, Iterable, NamedTuple, Optional, Set, Tuple, Type, Union

from jinja2 import nodes
from markupsafe import Markup  # type: ignore[import]

from .arguments import KINDS, LONG_NUMBER, MAX_CONSTANT, PLAIN, constant_of, signature_of
from .vocabulary import (
    ANY,
    BOOLEAN,
    DURATION,
    FILTERS,
    INSTEAD,
    JSON,
    LATE,
    LIST,
    LOOP,
    MEMBERS,
    NAMES,
    NUMBER,
    PLACES,
    SHORT,
    SUM_OF_TEXT,
    SUMS,
    SYNTAX,
    TESTS,
    TEXT,
    Entry,
    a,
)

# The parser takes some 12 of Python's 1,000 frames for a level, and a worker is called from deeper than a scheduler.
MAX_NESTED = 30
# Characters that are written in the time that an expression takes by itself, and a call; and comparisons in the time of
# writing one: Python 3.7 may compare each character of a text with each of the one that it looks for.
STEP, CALL, SEARCH = 16, 1024, 16
ESCAPED = 16  # characters for one, where Python or JSON writes a list: '\U000e0001',


class Fault(NamedTuple):
    """A mistake in a templated text."""

    message: str
    hint: str
    within: str  # the part of the text that is wrong
    known: Iterable[str] = ()  # what could have been meant by it, if there is no hint


class Value(NamedTuple):
    """What an expression gives: its kind, and how many characters it has at most."""

    kind: str
    size: int = SHORT
    given: Tuple[str, ...] = ()  # (env | provider | params, member), if it is that value itself


class Place(NamedTuple):
    """An object of which only members are values, such as ``macros``; its dotted name."""

    path: str


class Function(NamedTuple):
    """What can only be called; ``size`` is that of the value which it is taken of."""

    name: str
    entry: Entry
    size: int = 0


UNKNOWN = "unknown"  # kind of what is refused, with which nothing else is wrong
GIVEN = ("env", "provider", "params")  # whose members the definitions say
# A mapping's own methods come before its items in {{ params.x.items }}; tojson gives a Markup.
METHODS = {name for kind in (dict, list, Markup, int, float) for name in dir(kind)}


def merge(*values: Value) -> Value:
    """Return what one of several values is."""
    kinds = {value.kind for value in values}
    size = sum(value.size for value in values)
    for kind in (UNKNOWN, LIST):  # the text of what may be a list nobody takes
        if kind in kinds:
            return Value(kind, size)
    return Value(kinds.pop() if len(kinds) == 1 else JSON if kinds <= set(PLAIN) else ANY, size)


class Expressions:
    """Checks the expressions of one template, and computes the characters that its steps make."""

    def __init__(self) -> None:
        self.faults: Dict[str, Fault] = {}  # by message
        self.members: Set[Tuple[str, str]] = set()
        self.numbers: Set[Tuple[str, str]] = set()
        self.free_names: Set[str] = set()
        self.pulled: Set[str] = set()
        self.work = 0
        self.listed = 0  # characters that may become items of lists
        self.scope: Optional[Dict[str, Union[Value, Place]]] = None  # of a loop
        self.depth = 0

    def fault(self, message: str, hint: str = "", within: str = "", known: Iterable[str] = ()) -> Value:
        """Note a mistake."""
        self.faults.setdefault(message, Fault(message, hint, within or "{", known))
        return Value(UNKNOWN)

    def value(self, node: nodes.Node) -> Value:
        """Check an expression; return what it gives."""
        found = self.resolve(node)
        if isinstance(found, Function):
            item = f", or .get('{found.name}') for an item" if found.name in MEMBERS[JSON] else ""
            hint = f"write {found.name}{signature_of(found.entry)}{item}"
            return self.fault(f"'{found.name}' has to be called", hint, found.name)
        if isinstance(found, Place):
            return self.unreachable(found.path)
        self.work += found.size
        return found

    def printable(self, node: nodes.Node) -> Value:
        """Check an expression whose text is taken."""
        value = self.value(node)
        if value.kind == LIST:
            return self.fault("a list has no text of its own", "write | join(','), or | list | tojson")
        return value

    def resolve(self, node: nodes.Node) -> "Union[Value, Place, Function]":
        """Return the Value, Place or Function that an expression is."""
        visit = VISITS.get(type(node))
        self.depth += 1
        self.work += STEP
        try:
            if self.depth > MAX_NESTED:
                return self.fault("the template is nested too deep", "write it in parts")
            found: Union[Value, Place, Function] = visit(self, node) if visit else self.refused(node)
            return found
        finally:
            self.depth -= 1

    def refused(self, node: nodes.Node) -> Value:
        kind = type(node).__name__
        name, hint = SYNTAX.get(kind, (kind.lower(), "write names, their members and filters"))
        return self.fault(f"a template cannot have {name}", hint, name.replace(" %}", "").partition("...")[0])

    def constant(self, node: nodes.Const) -> Value:
        if node.value is None or isinstance(node.value, bool):
            return Value(BOOLEAN)
        if not isinstance(node.value, str) and node.value >= MAX_CONSTANT:
            return self.fault(*LONG_NUMBER)
        return Value(TEXT if isinstance(node.value, str) else NUMBER, len(str(node.value)))

    def list(self, node: Any) -> Value:
        values = [self.value(item) for item in node.items]
        lists = {id(item) for item in node.items if isinstance(item, (nodes.List, nodes.Tuple))}
        # A list that is computed may be a generator, whose members lead to Python's frames.
        if any(v.kind not in (*PLAIN, UNKNOWN) for item, v in zip(node.items, values) if id(item) not in lists):
            hint = "write it as text: {{ data_interval_start | ds }}, {{ params.x | join(',') }}"
            self.fault("a list holds text, numbers, params and lists of these", hint, "[")
        return Value(LIST, sum(value.size * (ESCAPED if value.kind == LIST else 1) + 1 for value in values))

    def name(self, node: nodes.Name) -> Any:
        name = node.name
        if self.scope is not None and name in self.scope:
            return self.scope[name]
        if name == "loop":
            return self.fault("'loop' is there only in a loop", "{% for c in params.countries %}", name)
        self.free_names.add(name)
        if name in NAMES:
            return Value(NAMES[name].kind, NAMES[name].size or 0, ("params",) if name == "params" else ())
        if name in PLACES:
            return Place(name)
        if name in INSTEAD:
            return self.fault(f"a template cannot reach '{name}'", INSTEAD[name], name)
        known = {*PLACES, *NAMES, *(self.scope or ())} - {"loop"}
        return self.fault(f"unknown name '{name}' in the template", "", name, [n for n in known if "." not in n])

    def member(self, node: Any) -> Any:
        """Check ``a.b`` or ``a['b']``."""
        if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
            return self.slice(node)
        is_item = isinstance(node, nodes.Getitem)
        key = constant_of(node.arg) if is_item else node.attr
        above = self.resolve(node.node)
        if isinstance(above, Function):
            return self.value(node.node)
        if not isinstance(key, (str, int)) or isinstance(key, bool):
            if isinstance(above, Value):
                self.value(node.arg)
            return self.fault("a template cannot compute the name of a member", "write a constant: ['x'], [0]", "[")
        if isinstance(above, Place) or above.given == ("params",):
            return self.member_of_place(above.path if isinstance(above, Place) else "params", str(key))
        self.work += above.size
        if str(key).startswith("_"):
            return self.fault(f"a template cannot reach '{key}'", "names that begin with _ are Python's own", str(key))
        if is_item and (type(key) is int or above.kind in (JSON, UNKNOWN)):
            return self.item(above, f"[{key}")
        return self.attribute(above, str(key))

    def item(self, above: Value, within: str) -> Value:
        """Return what ``above[...]`` is."""
        if above.kind not in (TEXT, LIST, JSON, UNKNOWN):
            hint = "write it as text: {{ data_interval_start | ds }}"
            return self.fault(f"{a(above.kind)} has no items", hint, within)
        return Value(JSON if above.kind == LIST else above.kind, above.size)

    def attribute(self, above: Value, key: str) -> Any:
        """Return what ``above.key`` is."""
        entry = MEMBERS.get(above.kind, {}).get(key)
        if entry is None and (above.kind == UNKNOWN or (above.kind == JSON and key not in METHODS)):
            return Value(above.kind, above.size)
        if entry is None:
            known = ", ".join(sorted(MEMBERS[above.kind]))
            hint = f"{a(above.kind)} has: {known}" if known else f"{a(above.kind)} has no members"
            hint = f"write .get('{key}') for an item" if above.kind == JSON and hasattr(dict, key) else hint
            return self.fault(f"a template cannot reach '{key}'", INSTEAD.get(key, hint), key)
        if entry.takes is not None:
            return Function(key, entry, above.size)
        return Value(entry.kind, above.size if entry.size is None else entry.size)

    def member_of_place(self, place: str, key: str) -> Any:
        """Return what ``place.key`` is."""
        path, root = f"{place}.{key}", place.split(".")[0]
        names = LOOP if root == "loop" else NAMES
        entry = names.get(path)
        if entry is None and not key.startswith("_"):
            entry = names.get(f"{place}.*")
            if entry and place in GIVEN:
                self.members.add((place, key))
                return Value(entry.kind, entry.size or 0, (place, key))
        if entry is None:
            return Place(path) if path in PLACES else self.unreachable(path)
        if entry.size == LATE and self.scope is not None:
            hint = "each item would ask the database again" if self.scope else "it may be long: write | join(' ')"
            return self.fault(f"'{path}' is not for a loop", hint, key)
        if entry.takes is not None:
            return Function(path, entry)
        return Value(entry.kind, entry.size or 0)

    def unreachable(self, path: str) -> Value:
        place, _, key = path.rpartition(".")
        while place and place not in PLACES:
            place, _, key = place.rpartition(".")
        place = place or path
        there = sorted(name[len(place) + 1 :] for name in (*NAMES, *LOOP) if name.startswith(f"{place}."))
        is_any = "*" in there
        hint = f"name one of its members: {place}.x" if is_any else f"of '{place}' there are: {', '.join(there)}"
        return self.fault(f"a template cannot reach '{path}'", INSTEAD.get(key, hint), key or path)

    def slice(self, node: Any) -> Value:
        above = self.value(node.node)
        bounds = [bound for bound in (node.arg.start, node.arg.stop, node.arg.step) if bound is not None]
        if any(type(constant_of(bound)) is not int for bound in bounds):
            self.fault("a slice has constant numbers", "such as [:4]", "[")
        return self.item(above, "[")._replace(kind=above.kind)

    def call(self, node: nodes.Call) -> Value:
        found = self.resolve(node.node)
        if isinstance(found, Function):
            return self.result(found.name, found.entry, node, Value(ANY, found.size))
        self.arguments(node)
        if isinstance(found, Place):
            return self.unreachable(found.path)
        if found.kind == UNKNOWN:
            return found
        return self.fault("a template cannot call that", "write the name alone, such as params.country", "(")

    def filter(self, node: nodes.Filter) -> Value:
        if node.node is None:  # in {% filter %}
            return self.refused(nodes.FilterBlock())
        value = self.value(node.node)
        entry = FILTERS.get(node.name)
        if entry is None:
            return self.unknown("filter", node.name, FILTERS)
        self.check_kind(f"the filter {node.name}", value, entry, node.name)
        if value.size > (entry.most or value.size):
            self.fault(f"{node.name} is not for text that became so long", "let the container do it", node.name)
        return self.result(node.name, entry, node, value)

    def test(self, node: nodes.Test) -> Value:
        entry = TESTS.get(node.name)
        if entry is None:
            self.value(node.node)
            return self.unknown("test", node.name, TESTS)
        value = self.number(node.node, node.name) if entry.of == (NUMBER,) else self.value(node.node)
        self.check_kind(f"the test {node.name}", value, entry, node.name)
        return self.result(node.name, entry, node, value)

    def unknown(self, what: str, name: str, known: Iterable[str]) -> Value:
        return self.fault(f"unknown {what} '{name}' in the template", INSTEAD.get(name, ""), name, known)

    def check_kind(self, what: str, value: Value, entry: Entry, within: str) -> None:
        """Check that a filter or test is for a value."""
        may_be = (TEXT, NUMBER, BOOLEAN, LIST) if value.kind == JSON else (value.kind,)
        if value.kind != UNKNOWN and not set(may_be) & set(entry.of):
            self.fault(f"{what} is not for {a(value.kind)}", f"it is for: {', '.join(entry.of)}", within)

    def result(self, name: str, entry: Entry, node: Any, above: Value) -> Value:
        """Check the arguments of a call, filter or test of ``above``; return its value."""
        takes = signature_of(entry)
        named = {keyword.key: keyword.value for keyword in node.kwargs}
        given: Dict[str, nodes.Node] = {**dict(zip(takes.kinds, node.args)), **named}
        is_wrong = len(node.args) > takes.places or len(given) < len(node.args) + len(node.kwargs)
        is_wrong |= not set(named) <= set(takes.named) or not set(takes.required) <= set(given)
        if is_wrong or node.dyn_args or node.dyn_kwargs:
            self.arguments(node)
            return self.fault(f"'{name}' takes {takes}", "", name)
        values = {
            argument: self.argument(name, argument, kind, given[argument], above.size)
            for argument, kind in takes.kinds.items()
            if argument in given
        }
        added = sum(value.size for value in values.values())
        size = above.size * entry.times + added + SHORT if entry.size is None else entry.size
        if isinstance(given.get("task_ids"), nodes.List):
            size *= len(given["task_ids"].items)  # an XCom of each
        if entry.spreads:
            size = (above.size + 1) * entry.times * (1 + added)
        self.work += CALL + size
        if entry.each is not None:
            self.work += entry.each * above.size
            self.listed += 0 if above.kind == LIST else above.size
        one_of = above, values.get("default_value", Value(TEXT))
        return Value(merge(*one_of).kind if entry is FILTERS["default"] else entry.kind, size)

    def argument(self, name: str, argument: str, kind: str, node: nodes.Node, size: int) -> Value:
        """Check an argument of a call of a value of ``size``; return it, with how many characters it may add."""
        if kind == "names":
            names = map(constant_of, node.items if isinstance(node, nodes.List) else [node])
            self.pulled.update(name for name in names if isinstance(name, str))
        if kind == "names" and isinstance(node, nodes.List):
            items = [self.argument(name, argument, "constant", item, size) for item in node.items]
            return Value(LIST, sum(value.size for value in items))
        words, values, is_allowed = KINDS[kind]
        value, constant = self.value(node), constant_of(node)
        if kind == "number":
            value = self.as_number(value)
        if kind == "sought":
            self.work += size * value.size // SEARCH
            value = value._replace(size=0)
        if kind == ANY or value.kind in (*values, UNKNOWN):
            return value
        if is_allowed(constant):
            return value._replace(size=int(constant)) if kind == "small" else value
        hints = {("value", LIST): "write 'or [...]' behind the call", ("number", JSON): "write | int behind the value"}
        return self.fault(f"'{argument}' of '{name}' is {words}", hints.get((kind, value.kind), ""), name)

    def arguments(self, node: Any) -> None:
        """Check the arguments of what is refused anyway."""
        for argument in (*node.args, *(keyword.value for keyword in node.kwargs)):
            self.value(argument)

    def number(self, node: nodes.Node, within: str) -> Value:
        """Check an expression that has to be a number: % formats a text, as wide as it says."""
        value = self.as_number(self.value(node))
        if value.kind not in (NUMBER, BOOLEAN, UNKNOWN):
            hint = "write (x | string).zfill(2) for two digits, and | int behind a number that is text"
            return self.fault(f"{within} is for numbers", hint, within)
        return value

    def as_number(self, value: Value) -> Value:
        """Return a value that has to be a number; whether one that people give is one, only a definition knows."""
        if len(value.given) != 2:
            return value
        self.numbers.add((value.given[0], value.given[1]))
        return value._replace(kind=NUMBER)

    def remainder(self, node: nodes.Mod) -> Value:
        values = self.number(node.left, "%"), self.number(node.right, "%")
        return Value(NUMBER, sum(value.size for value in values))

    def sum(self, node: Any) -> Value:
        """Check ``+``, ``-`` or ``//``."""
        left, right = self.value(node.left), self.value(node.right)
        sign, kinds = SIGNS[type(node)], {left.kind, right.kind}
        result = UNKNOWN if UNKNOWN in kinds else SUMS.get((left.kind, sign, right.kind))
        if result is None and JSON in kinds and kinds <= set(PLAIN):
            result = JSON if sign == "+" else NUMBER
        if sign == "+" and kinds == {JSON, LIST}:
            result = LIST
        if result is None:
            hint = SUM_OF_TEXT if TEXT in kinds else "add numbers, or dates and lengths of time"
            return self.fault(f"{a(left.kind)} {sign} {a(right.kind)} is nothing", hint, sign)
        size = 6 * (left.size + right.size)  # the text of tojson escapes what is put to it
        self.work += size
        return Value(result, size)

    def concatenation(self, node: nodes.Concat) -> Value:
        size = sum(self.printable(part).size for part in node.nodes)
        self.work += size
        return Value(TEXT, size)

    def signed(self, node: Any) -> Value:
        value = self.value(node.node)
        if value.kind not in (NUMBER, BOOLEAN, DURATION, JSON, UNKNOWN):
            return self.fault(f"{a(value.kind)} has no sign", "leave it out", "-")
        return Value(NUMBER if value.kind in (BOOLEAN, JSON) else value.kind, value.size + 1)

    def comparison(self, node: nodes.Compare) -> Value:
        left = self.value(node.expr)
        for operand in node.ops:
            right = self.value(operand.expr)
            if operand.op in ("in", "notin"):
                self.work += left.size * right.size // SEARCH
            left = right
        return Value(BOOLEAN)

    def truth(self, node: nodes.Node) -> Value:
        """Check an expression that is asked whether it is true; so may be whether there is a run: ``if dag_run``."""
        if isinstance(node, nodes.Name) and isinstance(self.name(node), Place):
            return Value(BOOLEAN)
        return self.value(node)

    def negation(self, node: nodes.Not) -> Value:
        self.truth(node.node)
        return Value(BOOLEAN)

    def either(self, node: Any) -> Value:
        """Check ``a and b`` or ``a or b``."""
        left = self.truth(node.left) if isinstance(node, nodes.And) else self.value(node.left)
        return merge(left, self.value(node.right))

    def choice(self, node: nodes.CondExpr) -> Value:
        """Check ``a if b else c``."""
        self.truth(node.test)
        return merge(*(self.value(part) for part in (node.expr1, node.expr2) if part is not None))


VISITS: Dict[Type[nodes.Node], Callable[[Expressions, Any], Any]] = {
    nodes.Const: Expressions.constant,
    nodes.List: Expressions.list,
    nodes.Tuple: Expressions.list,
    nodes.Name: Expressions.name,
    nodes.Getattr: Expressions.member,
    nodes.Getitem: Expressions.member,
    nodes.Call: Expressions.call,
    nodes.Filter: Expressions.filter,
    nodes.Test: Expressions.test,
    nodes.Add: Expressions.sum,
    nodes.Sub: Expressions.sum,
    nodes.FloorDiv: Expressions.sum,
    nodes.Mod: Expressions.remainder,
    nodes.Concat: Expressions.concatenation,
    nodes.Neg: Expressions.signed,
    nodes.Pos: Expressions.signed,
    nodes.Compare: Expressions.comparison,
    nodes.Not: Expressions.negation,
    nodes.And: Expressions.either,
    nodes.Or: Expressions.either,
    nodes.CondExpr: Expressions.choice,
}
SIGNS: Dict[Type[nodes.Node], str] = {nodes.Add: "+", nodes.Sub: "-", nodes.FloorDiv: "//"}
