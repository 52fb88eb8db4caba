"""What a Jinja text may say: what vocabulary.py lists, and what its values cannot grow beyond."""

import re
from functools import lru_cache
from typing import FrozenSet, Iterable, List, NamedTuple, Sequence, Tuple

import jinja2
import jinja2.ext
from jinja2 import nodes

from .arguments import LONG_NUMBER
from .expressions import MAX_NESTED, UNKNOWN, Expressions, Fault, Place, Value
from .vocabulary import JSON, LIST, NAMES, PLACES

# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
MAX_OVERRIDES = 8192  # characters of JSON, for command, environment and sizes of a task
MAX_FAULTS = 10  # of a text that are reported
# Characters that all steps of a task's templates may write together, as far as can be known before. At twice as many,
# with values at their limits, the most calls took 1.3 s, and results of 4 bytes a character 1.6 GB and 3.8 s. With an
# eighth, | map('upper') | join(',') of an Airflow variable would be refused.
MAX_WORK = 2**27
# Characters that lists of an expression are made of, each of which may be an item of 90 bytes: to sort them took 1.3 s
# and 300 MB.
MAX_LISTED = 2**20

# What is another value when a task is run again, in the shell's ways; of Jinja's there are none in the vocabulary.
NOT_IDEMPOTENT = re.compile(
    r"\b(?:now|today)\(|\butcnow\b|\bmacros\.(?:time|uuid|random)\b[\w.]*|\bdatetime\.(?:now|today)\b|\|\s*random\b"
    r"|\$\(date\b|`date\b|\buuidgen\b|\buuid[14]\(|\$\{?RANDOM\b"
)


class Template(NamedTuple):
    """What is wrong with a templated text, and what it names."""

    faults: List[Fault]
    members: List[Tuple[str, str]]  # (env | provider | params, member)
    numbers: FrozenSet[Tuple[str, str]]  # those of them that have to be numbers
    free_names: FrozenSet[str]  # names that it takes from outside
    pulled: FrozenSet[str]  # ids of tasks whose XComs it takes
    work: int  # characters that it could write


NOTHING = Template([], [], frozenset(), frozenset(), frozenset(), 0)
STORABLE = re.compile(r"[^\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]*")  # PostgreSQL takes no NUL, and no half a surrogate


@lru_cache(maxsize=1)
def jinja_environment() -> jinja2.Environment:
    """Return what parses templates. Airflow renders them, in its own sandbox, when the task runs."""
    return jinja2.Environment(extensions=["jinja2.ext.do"])


def read_template(text: str) -> Template:
    """Parse a template and check it against the vocabulary.

    It is neither rendered nor compiled: the compiler computes constants such as ``9**9**9``.
    """
    return parse_template(text) if "{" in text else NOTHING  # most are not


# Providers share them, and so do tasks that inherit from defaults: all of a file (MAX_TEMPLATES) and its environment.
@lru_cache(maxsize=2**16)
def parse_template(text: str) -> Template:
    """Do what :func:`read_template` does, for a text with a brace."""
    if len(text) > MAX_OVERRIDES:
        message = f"a text of {len(text)} characters; ECS takes {MAX_OVERRIDES} for all of a task"
        return NOTHING._replace(faults=[Fault(message, "", "")])
    if "{#" in text and has_comment(text):
        hint = "for ${#x} of a shell, write {% raw %}${#x}{% endraw %}; a comment stands behind a # of YAML"
        return NOTHING._replace(faults=[Fault("'{#' begins a comment of Jinja", hint, "{#")])
    try:
        if not is_flat(text):
            raise RecursionError
        tree = jinja_environment().parse(text)
    except jinja2.TemplateSyntaxError as error:
        hint = "a template is {{ name }}, or {% if ... %} with its {% endif %}"
        return NOTHING._replace(faults=[Fault(f"not a Jinja template: {error.message}", hint, broken_expression(text))])
    except RecursionError:
        return NOTHING._replace(faults=[Fault("not a Jinja template: nested too deep", "write it in parts", "")])
    except ValueError:  # of int()
        return NOTHING._replace(faults=[Fault(*LONG_NUMBER, "")])
    checker = Checker()
    work = checker.body(tree.body)
    is_escaped = "\\" in text and not checker.faults  # Jinja's search has no limit of depth, as the checker has
    texts = [node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)] if is_escaped else []
    if not all(map(STORABLE.fullmatch, texts)):  # by an escape such as \\x00: the text itself has none
        checker.fault("the template has a text that no database stores", "leave out control characters", "\\")
    if work > MAX_WORK and not checker.faults:
        message = f"the template could write {work:,} characters; at most {MAX_WORK:,} are allowed"
        hint = "let the container do it: join, replace and for repeat one text for each item of another"
        checker.faults["work"] = Fault(message, hint, "{")
    if checker.listed > MAX_LISTED and not checker.faults:
        message = f"the lists of the template could have {checker.listed:,} items; at most {MAX_LISTED:,} are allowed"
        checker.faults["listed"] = Fault(message, "let the container split and sort long texts", "{")
    return Template(
        list(checker.faults.values())[:MAX_FAULTS],
        sorted(checker.members),
        frozenset(checker.numbers),
        frozenset(checker.free_names),
        frozenset(checker.pulled),
        work if not checker.faults else 0,
    )


def has_comment(text: str) -> bool:
    """Return whether Jinja would leave out a part of a text: one behind ${#name} of a shell, without a word."""
    try:
        return any(kind == "comment_begin" for _, kind, _ in jinja_environment().lex(text))
    except jinja2.TemplateSyntaxError as error:
        return "comment" in str(error.message)


def is_flat(text: str) -> bool:
    """Return whether brackets stand at most ``MAX_NESTED`` deep in one another."""
    depth = 0
    for bracket in re.findall(r"[(\[{]|[)\]}]", text):
        depth = depth + 1 if bracket in "([{" else max(0, depth - 1)
        if depth > MAX_NESTED:
            return False
    return True


def broken_expression(text: str) -> str:
    """Return the first line of the first expression that Jinja cannot parse alone, or of the whole text."""
    for expression in re.findall(r"\{\{.*?(?:\}\}|$)", text, re.DOTALL):
        try:
            jinja_environment().parse(expression)
        except (jinja2.TemplateSyntaxError, RecursionError, ValueError):
            return str(expression).splitlines()[0]
    return text.splitlines()[0]


@lru_cache(maxsize=2**16)  # to search 8,000 characters takes 1 ms
def repeated_work(text: str) -> Sequence[str]:
    """Return the parts of a text that give something else when the task runs again."""
    return sorted({match.group() for match in NOT_IDEMPOTENT.finditer(text)})


class Checker(Expressions):
    """Checks the statements of one template."""

    def body(self, statements: Iterable[nodes.Node]) -> int:
        """Check statements; return the characters that they make."""
        before, self.work = self.work, 0
        self.depth += 1
        if self.depth > MAX_NESTED:
            self.fault("the template is nested too deep", "write it in parts")
            statements = ()
        for statement in statements:
            if isinstance(statement, nodes.Output):
                for node in statement.nodes:
                    if isinstance(node, nodes.TemplateData):
                        self.work += len(node.data)
                    else:
                        # The lists of different expressions are not there at once.
                        longest, self.listed = self.listed, 0
                        self.printable(node)
                        self.listed = max(longest, self.listed)
            elif isinstance(statement, nodes.If):
                self.condition(statement)
            elif isinstance(statement, nodes.For):
                self.loop(statement)
            else:
                self.refused(statement)
        self.depth -= 1
        made, self.work = self.work, before
        return made

    def condition(self, statement: nodes.If) -> None:
        for branch in (statement, *statement.elif_):
            self.truth(branch.test)
            self.work += self.body(branch.body)
        self.work += self.body(statement.else_)

    def loop(self, statement: nodes.For) -> None:
        """Check a loop, and compute what it makes.

        All items together have no more characters than what they are items of. So what depends on an item is counted
        once, as if the item were all of that; what does not is counted for every item.
        """
        if self.scope is not None or statement.recursive:
            self.fault("a loop in a loop", "one {% for %} is enough for a list; let the container do more", "{% for")
            return
        self.scope = {}  # what is asked for late is not for the list either
        items = self.value(statement.iter)
        self.scope = None
        if items.kind not in (LIST, JSON, UNKNOWN):
            hint = "a loop goes over a param, or a list of constants: {% for c in params.countries %}"
            self.fault("a template cannot loop over that", hint, "{% for")
        targets = statement.target.items if isinstance(statement.target, nodes.Tuple) else [statement.target]
        if not all(isinstance(target, nodes.Name) for target in targets):
            self.fault("an item has one name, or one for each of its parts", "such as {% for key, value in", "{% for")
            return
        names = [target.name for target in targets]
        for name in names:
            if name in PLACES or (name in NAMES and name != "item"):
                self.fault(f"'{name}' is a name of its own", "call the loop's item otherwise", name)
        makes = []
        for size in (0, items.size):
            self.scope = {name: Value(JSON, size) for name in names}
            made = self.body([nodes.If(statement.test, [], [], [])] if statement.test else [])
            self.scope["loop"] = Place("loop")
            makes.append(made + self.body(statement.body))
        self.scope = None
        without, within = makes
        self.work += (items.size + 1) * without + (within - without)
        self.work += self.body(statement.else_)
