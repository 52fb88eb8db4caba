"""What a Jinja text may say: which names it may use, and what these lead to."""

import re
from functools import lru_cache
from typing import Any, FrozenSet, Iterable, Iterator, List, NamedTuple, Tuple

import jinja2
import jinja2.ext
import jinja2.nodes

# What Airflow 2.2.2 gives a template: TaskInstance.get_template_context(), Jinja's own functions, and ours.
TEMPLATE_NAMES = frozenset(
    "dag dag_run data_interval_end data_interval_start ds ds_nodash execution_date inlets logical_date macros"
    " next_ds next_ds_nodash next_execution_date outlets params prev_data_interval_end_success"
    " prev_data_interval_start_success prev_ds prev_ds_nodash prev_execution_date prev_execution_date_success"
    " prev_start_date_success run_id task task_instance task_instance_key_str test_mode ti tomorrow_ds"
    " tomorrow_ds_nodash ts ts_nodash ts_nodash_with_tz var yesterday_ds yesterday_ds_nodash"
    " cycler dict joiner loop namespace range env provider".split()
)
# Airflow's own filters: airflow/templates.py
FILTERS = ("ds", "ds_nodash", "ts", "ts_nodash", "ts_nodash_with_tz")

# What leads from a template to credentials, to other runs, or by way of a module to any code at all (Airflow's sandbox
# lets macros.dateutil.tz.tz.os.system pass). Of these objects there is only what belongs to the run, and may be shown:
# a password of conn would stand in ECS's and Airflow's pages. var is not among them: an administrator put its values
# there for definitions.
CLOSED = {
    "conf": "",
    "conn": "",
    "dag": "catchup dag_id description end_date max_active_runs owner schedule_interval start_date tags",
    "dag_run": "conf dag_id data_interval_end data_interval_start end_date execution_date external_trigger logical_date"
    " queued_at run_id run_type start_date state",
    "macros": "dateutil.parser.parse dateutil.relativedelta.relativedelta datetime datetime_diff_for_humans ds_add"
    " ds_format timedelta",
    "task": "owner pool queue retries task_id",
    "ti": "dag_id execution_date hostname job_id log_url max_tries pool queue run_id start_date task_id try_number"
    " xcom_pull",
}
CLOSED["task_instance"] = CLOSED["ti"]
OPEN_MEMBERS = {f"{root}.{member}" for root, members in CLOSED.items() for member in members.split()}
VARIABLE_ROOTS = ("env", "provider", "params")  # whose members the definitions say

# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
MAX_OVERRIDES = 8192  # characters of JSON, for command, environment and sizes of a task
MAX_FAULTS = 10  # of a text that are reported

# What is another value when a task is run again: Python's and Airflow's ways by Jinja, and the shell's.
NOT_IDEMPOTENT = re.compile(
    r"\b(?:now|today)\(|\butcnow\b|\bmacros\.(?:time|uuid|random)\b[\w.]*|\bdatetime\.(?:now|today)\b|\|\s*random\b"
    r"|\$\(date\b|`date\b|\buuidgen\b|\buuid[14]\(|\$\{?RANDOM\b"
)


class Fault(NamedTuple):
    """A mistake in a templated text."""

    message: str
    hint: str
    within: str  # the part of the text that is wrong
    known: Iterable[str] = ()  # what could have been meant by it, if there is no hint


class Template(NamedTuple):
    """What is wrong with a templated text, and what it names."""

    faults: List[Fault]
    members: List[Tuple[str, str]]  # (env | provider | params, member)
    roots: List[str]  # env | provider | params that is named as a whole
    free_names: FrozenSet[str]  # names that it takes from outside


NOTHING = Template([], [], [], frozenset())


@lru_cache(maxsize=1)
def jinja_environment() -> jinja2.Environment:
    """Return what parses templates. Airflow renders them, in its own sandbox, when the task runs."""
    environment = jinja2.Environment(extensions=["jinja2.ext.do"])
    environment.filters.update(dict.fromkeys(FILTERS, str))
    return environment


@lru_cache(maxsize=4096)  # a thousand providers share a few
def read_template(text: str) -> Template:
    """Parse a template and look at its names.

    Not with ``jinja2.meta``: that compiles the template, and the compiler computes constants such as ``9**9**9``.
    """
    if "{" not in text:  # most are not
        return NOTHING
    if len(text) > MAX_OVERRIDES:
        message = f"a text of {len(text)} characters; ECS takes {MAX_OVERRIDES} for all of a task"
        return NOTHING._replace(faults=[Fault(message, "", "")])
    try:
        return analyse(jinja_environment().parse(text))
    except jinja2.TemplateSyntaxError as error:
        hint = "a template is {{ name }}, or {% if ... %} with its {% endif %}"
        return NOTHING._replace(faults=[Fault(f"not a Jinja template: {error.message}", hint, broken_expression(text))])
    except RecursionError:
        return NOTHING._replace(faults=[Fault("not a Jinja template: nested too deep", "write it in parts", "")])


def analyse(tree: Any) -> Template:
    """Look at the names of a parsed template."""
    environment, nodes = jinja_environment(), jinja2.nodes
    faults = []
    if next(tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)), None):
        faults.append(Fault("a template cannot take in another one", "write it out", "{%"))
    reached = next(closed_names(tree), None)
    if reached:
        root, _, of_root = reached.partition(".")
        hint = "a template takes values: names, their members and items"
        if root in CLOSED:
            there = ", ".join(CLOSED[root].split())
            other = "credentials belong under 'secrets' in the ECS task definition, other values under 'variables'"
            hint = f"of '{root}' there are: {there}" if there else other
        faults.append(Fault(f"a template cannot reach '{reached}'", hint, of_root or root))
    names = list(tree.find_all(nodes.Name))
    own = {name.name for name in names if name.ctx != "load"}
    known = own | TEMPLATE_NAMES
    used = [("name", name.name, known) for name in names if name.name not in CLOSED]
    used += [("filter", node.name, environment.filters) for node in tree.find_all(nodes.Filter)]
    used += [("test", node.name, environment.tests) for node in tree.find_all(nodes.Test)]
    faults += [
        Fault(f"unknown {kind} '{name}' in the template", "", name, existing)
        for kind, name, existing in used
        if name not in existing
    ]
    roots = {id(name): name.name for name in names if name.name in VARIABLE_ROOTS}
    members = set()
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        member = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None)
        if id(node.node) in roots and isinstance(member, str):
            members.add((roots.pop(id(node.node)), member))
    once = {fault.message: fault for fault in faults}
    free_names = frozenset(name.name for name in names) - own
    return Template(list(once.values())[:MAX_FAULTS], sorted(members), sorted(set(roots.values())), free_names)


def closed_names(node: Any) -> Iterator[str]:
    """Yield what a template names and must not reach: a closed object or member, or a private attribute."""
    path: List[str] = []
    below = node
    while isinstance(below, (jinja2.nodes.Getattr, jinja2.nodes.Getitem)):
        key = below.attr if isinstance(below, jinja2.nodes.Getattr) else getattr(below.arg, "value", None)
        path.insert(0, key if isinstance(key, str) else "")
        if isinstance(key, str) and key.startswith("_" if isinstance(below, jinja2.nodes.Getattr) else "__"):
            yield key
        if isinstance(below, jinja2.nodes.Getitem):
            yield from closed_names(below.arg)
        below = below.node
    if isinstance(below, jinja2.nodes.Name):
        path.insert(0, below.name)
        if path[0] in CLOSED and not any(".".join(path[:end]) in OPEN_MEMBERS for end in range(2, len(path) + 1)):
            yield ".".join(path)
        return
    if isinstance(below, jinja2.nodes.Filter) and below.name == "attr":
        yield "|attr"
    for child in below.iter_child_nodes():
        yield from closed_names(child)


def broken_expression(text: str) -> str:
    """Return the first line of the first expression that Jinja cannot parse alone, or of the whole text."""
    for expression in re.findall(r"\{\{.*?(?:\}\}|$)", text, re.DOTALL):
        try:
            jinja_environment().parse(expression)
        except (jinja2.TemplateSyntaxError, RecursionError):
            return str(expression).splitlines()[0]
    return text.splitlines()[0]


def repeated_work(text: str) -> List[str]:
    """Return the parts of a text that give something else when the task runs again."""
    return sorted({match.group() for match in NOT_IDEMPOTENT.finditer(text)})
