"""Every regular expression that reads a definition, and every rule, takes time that is linear in the text.

A pattern that is not can hold the scheduler for hours: Airflow's alarm is seen only between two bytecodes.
"""

import ast
import gc
import importlib
import inspect
import pkgutil
import re
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Set, Tuple

import orchestrator
import pytest
from orchestrator import load
from orchestrator.credentials import NAMED
from orchestrator.values import Shape

from tests.trees import REPOSITORY, tree

SMALL, LARGE = 64 * 1024, 512 * 1024
LINEAR = 3 * LARGE / SMALL  # times as long: a square would take 64 times
FLOOR = 0.001  # seconds: less cannot be compared
METHODS = {"search", "match", "fullmatch", "findall", "finditer", "sub", "split"}
# Modules outside of the package whose patterns read definitions.
TOOLS = ["tools.checks.credentials", "tools.views.selection"]


class Use:
    """A pattern, and one method by which it is used."""

    def __init__(self, pattern: Any, method: str, where: str) -> None:
        self.pattern, self.method, self.where = pattern, method, where

    def seconds(self, text: str, runs: int = 1) -> float:
        """Return the processor time that the pattern takes for a text."""
        call = getattr(self.pattern, self.method)
        least = float("inf")
        for _ in range(runs):
            start = time.process_time()
            result = call("", text) if self.method == "sub" else call(text)
            for _ in result if self.method == "finditer" else ():
                pass
            least = min(least, time.process_time() - start)
        return least


def modules() -> List[Any]:
    package = [f"orchestrator.{module.name}" for module in pkgutil.iter_modules(orchestrator.__path__)]
    return [importlib.import_module(name) for name in [*package, *TOOLS]]


def uses() -> List[Use]:
    """Return each pattern with each method by which the sources use it."""
    trees = {module: ast.parse(inspect.getsource(module)) for module in modules()}
    calls = [
        (module, node)
        for module, source in trees.items()
        for node in ast.walk(source)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS
    ]
    found: Dict[Tuple[str, int, str], Use] = {}

    def add(pattern: Any, method: str, where: str) -> None:
        found.setdefault((pattern.pattern, pattern.flags, method), Use(pattern, method, where))

    by_name: Dict[str, Set[str]] = {}
    for module, call in calls:
        function: Any = call.func
        holder, where = function.value, f"{module.__name__}:{call.lineno}"
        if isinstance(holder, ast.Name) and holder.id == "re":
            flags = eval_in(module, call.args[-1]) if len(call.args) > 1 + (function.attr == "sub") else 0
            pattern = re.compile(eval_in(module, call.args[0]), flags if isinstance(flags, re.RegexFlag) else 0)
            add(pattern, function.attr, where)
        else:
            name = holder.id if isinstance(holder, ast.Name) else getattr(holder, "attr", "")
            by_name.setdefault(name, set()).add(function.attr)
    for module in trees:
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern):
                for method in by_name.get(name) or ["search"]:
                    add(value, method, f"{module.__name__}.{name}")
            if isinstance(value, type) and issubclass(value, Shape) and hasattr(value, "pattern"):
                add(value.pattern, "fullmatch", f"{module.__name__}.{name}")
    return list(found.values())


def eval_in(module: Any, node: Any) -> Any:
    """Return the value of a constant expression of a module; a local variable that is none is an error."""
    try:
        return eval(compile(ast.Expression(node), module.__name__, "eval"), vars(module))
    except NameError:
        return 0


# What a person found to be hard; it is tried with every pattern.
HARD = [
    *(
        "://",
        "://:",
        "://a:",
        "-eyJ",
        "eyJaaaaaaaa.eyJ",
        "ghp_",
        "xoxb-",
        "AKIA",
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY-----",
    ),
    *(
        "-----BEGIN PRIVATE KEY----- -----END ",
        "password ",
        "password:'",
        'password="',
        "password\n" + " " * 99,
        "--password=",
        "password_${a}",
        "'password': [",
        "password=$(echo a",
        "://${a}",
        "://${a}:${a}",
    ),
    *(".get('", ".get(a'", ".replace(\"a'", "a['a'", "a['a' ", "in ['a', ", "in ['a'" + " " * 99, "'a' not ", "for a "),
    *(
        "arn:",
        ":task-definition/",
        "{",
        "{{",
        "{{ ",
        "{{ a }}",
        "}}",
        "{%",
        "| ",
        "|random",
        "macros.time.",
        "$(date",
        "now(",
    ),
    *("0-", "0,", "0-0,", "_dag", "_dag_", "a-", "a.", ": ", "\r\n", "\u2028", "1d", "1:"),
]
CHARACTERS = "aA0 _-.:/,='\"{}[]()$|\n\té\x00"


def worst(use: Use, size: int = 2048) -> Callable[[int], str]:
    """Return what makes the longest text for a pattern, of repetitions of characters and of its own words."""
    words = [word for word in re.findall(r"[\w@:/{}|$`'\"=. +-]+", use.pattern.pattern) if word][:30]
    units = [*CHARACTERS, *HARD, *words, *(word + end for word in words for end in "a -0:{")]
    heads = ["", *words[:8]]
    tails = ["", "\x00", "!", "\nx"]

    def maker(head: str, unit: str, tail: str) -> Callable[[int], str]:
        return lambda size: (head + unit * (size // len(unit) + 1))[: size - len(tail)] + tail

    makers = [maker(head, unit, tail) for unit in units for head in heads for tail in tails]
    return max(makers, key=lambda make: use.seconds(make(size)))


@pytest.mark.parametrize("use", uses(), ids=lambda use: f"{use.where}.{use.method}")
def test_a_pattern_is_linear(use: Use) -> None:
    make = worst(use)

    # A square would take a second here, and minutes with the larger text.
    assert use.seconds(make(SMALL), 3) < LINEAR * max(use.seconds(make(SMALL // 8), 3), FLOOR), make(60)
    assert use.seconds(make(LARGE), 3) < LINEAR * max(use.seconds(make(SMALL), 3), FLOOR), make(60)


@pytest.mark.parametrize("unit", ["password=", "--password="])
def test_a_value_as_long_as_a_file_is_linear(unit: str) -> None:
    """With 2,048 characters, no other one shows as the worst: only the memory of a long match made it slow."""
    use = Use(NAMED, "finditer", "here")

    assert use.seconds(unit * (LARGE // len(unit)), 3) < LINEAR * max(
        use.seconds(unit * (SMALL // len(unit)), 3), FLOOR
    )


def test_a_pattern_that_is_a_square_is_seen() -> None:
    use = Use(re.compile(r"a+-"), "search", "here")
    make = worst(use)

    assert use.seconds(make(SMALL)) > LINEAR * max(use.seconds(make(SMALL // 8), 3), FLOOR)


HEAD = "start_date: 2022-01-01\n"
LOAD = "tasks: {load: {task_definition: a}}\n"
UN = "providers: {un: {}}\n"


def many(pattern: str, size: int, number: str = "#") -> str:
    """Return a text of about a size that repeats a pattern with the number of the repetition in it."""
    return "".join(pattern.replace(number, str(n)) for n in range(size // (len(pattern) + 4)))


def command(texts: str) -> str:
    return f"{HEAD}tasks: {{load: {{task_definition: a, command: [{texts}]}}}}\n{UN}"


# Files of a size that are aimed at a rule, in many lines or in one.
RULES: Dict[str, List[Callable[[int], str]]] = {
    "schema": [
        lambda size: HEAD + LOAD + "providers:\n" + many("  p#: {retrys: 1}\n", size),
        lambda size: f"{{start_date: 2022-01-01, tasks: {{}}, providers: {{{many('P#: , ', size)}}}}}",
        lambda size: f"{HEAD}{'x' * size}: 1\n{LOAD}{UN}",
        lambda size: f"{HEAD}{LOAD}providers: {{un: {{owner: {'x' * size}}}}}\n",
        lambda size: f"{HEAD}params: {{{many('p#: {default: 1, type: string}, ', size)}}}\n{LOAD}{UN}",
        lambda size: f"{HEAD}params: {{p: {{default: -1, enum: [{many('#, ', size)}]}}}}\n{LOAD}{UN}",
        lambda size: f"{HEAD}{LOAD}providers:\n{chr(10) * (size // 2)}{many('  P#: {}' + chr(10), size // 2)}",
    ],
    "dependencies": [
        lambda size: HEAD + "tasks:\n" + many("  t#: {task_definition: a, depends_on: [x#]}\n", size) + UN,
        lambda size: f"{HEAD}tasks: {{load: {{task_definition: a, depends_on: [{many('x#, ', size)}]}}}}\n{UN}",
        lambda size: f"{HEAD}{LOAD}providers:\n  un:\n    tasks:\n" + many("      x#: {}\n", size),
    ],
    "schedule": [
        lambda size: f"{HEAD}schedule: '{'0,' * (size // 2)}0 * * * *'\n{LOAD}{UN}",
        lambda size: f"{HEAD}schedule: '{'9' * size} * * * *'\n{LOAD}{UN}",
        lambda size: f"start_date: {'1' * size}\n{LOAD}{UN}",
    ],
    "template": [
        lambda size: command(many("'{{ x# }}', ", min(size, LARGE // 8))),  # more are one problem
        lambda size: command(f"'{{{{ {'x' * size} }}}}'"),
        lambda size: command(f"'{'{' * size}'"),
        lambda size: f"{HEAD}tasks: {{load: {{task_definition: '{{{{ ds }}}}{'a' * size}'}}}}\n{UN}",
        lambda size: command(many(f"'{'{{ ds }} ' * 2 + 'a ' * 900}{{{{ env.x# }}}}', ", size)),
    ],
    "idempotency": [
        lambda size: command(many("'$(date)#', ", size)),
        lambda size: command(f"'{many('macros.time.a# ', size)}'"),
        lambda size: (
            f"{HEAD}tasks:\n  load:\n    task_definition: a\n    command:\n      - |\n"
            + many("        macros.time.a#\n", size)
            + UN
        ),
    ],
    "secret": [
        lambda size: f"{HEAD}{LOAD[:-3]}, environment: {{{many('password#: xyz#, ', size)}}}}}}}\n{UN}",
        *(
            lambda size, unit=unit: f"{HEAD}{LOAD}{UN}x: '{unit * (size // len(unit))}'\n"
            for unit in HARD
            if "'" not in unit and "\n" not in unit
        ),
    ],
    "ecs": [
        lambda size: HEAD + "tasks:\n" + many("  t#: {task_definition: a, cpu: 3}\n", size) + UN,
        lambda size: f"{HEAD}{LOAD[:-3]}, tags: {{{many('t#: x, ', size)}}}}}}}\n{UN}",
        lambda size: f"{HEAD}{LOAD[:-3]}, environment: {{{many('t#: x, ', size)}}}}}}}\n{UN}",
    ],
}


def cases() -> Iterator[Tuple[str, int]]:
    for rule, texts in RULES.items():
        for number in range(len(texts)):
            yield rule, number


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "number"), cases())
def test_a_rule_is_linear(rule: str, number: int, tmp_path: Path) -> None:
    root = tree(tmp_path, {})
    (root / "pipelines" / "cwr").mkdir()

    def seconds(size: int) -> float:
        text = RULES[rule][number](size - 300)
        (root / "pipelines" / "cwr" / "big.yaml").write_text(text, encoding="utf-8")
        least = float("inf")
        gc.disable()  # or the objects of all other tests count
        for _ in range(2):
            start = time.process_time()
            load(root, "development")
            least = min(least, time.process_time() - start)
        gc.enable()
        return least

    assert seconds(SMALL) < LINEAR * max(seconds(SMALL // 8), 10 * FLOOR)
    assert seconds(LARGE) < LINEAR * max(seconds(SMALL), 10 * FLOOR)


def test_every_rule_of_a_definition_is_tried() -> None:
    rules = re.findall("(?m)^## (.*)", (REPOSITORY / "docs" / "rules.md").read_text())
    assert set(RULES) == set(rules) - {"removed", "preflight", "upgrade"}  # only tools know these
