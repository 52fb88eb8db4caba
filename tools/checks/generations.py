"""What definitions say that a newer Airflow no longer has: names in templates, and keys."""

from functools import lru_cache
from typing import Dict, Iterable, Iterator, List, Set, Tuple

import jinja2
from jinja2 import nodes
from orchestrator import Context, Definition, Problem
from orchestrator.rules import templated_texts, templated_texts_of_cluster
from orchestrator.templates import jinja_environment
from orchestrator.vocabulary import LATER

RULE = "upgrade"
GIVEN = ("env", "provider", "params", "dag_run.conf", "var")  # whose members are named by people
ALIASES = {"task_instance": "ti"}


def check_contexts(contexts: Iterable[Context], generation: str) -> Iterator[Problem]:
    """Yield the problems that the clusters of environments would have in a generation of Airflow."""
    for context in contexts:
        for name, cluster in context.environment.clusters.items():
            for path, text in templated_texts_of_cluster(cluster):
                for found, message, hint in mistakes(text, generation):
                    yield context.document.problem(("clusters", name, *path), message, hint, RULE, within=found)


def check_definitions_for(definitions: Iterable[Definition], generation: str) -> Iterator[Problem]:
    """Yield the problems that definitions would have in a generation of Airflow; what providers share is asked once."""
    asked: Set[int] = set()
    for definition in definitions:
        for place, wait in definition.settings.waits:
            for found, message, hint in mistakes(wait.s3 or "", generation):
                yield definition.layers.problem((*place, "s3"), message, hint, RULE, found)
        for planned in definition.plan.tasks.values():
            if id(planned) in asked:
                continue
            asked.add(id(planned))
            for path, text, at_key in templated_texts(planned.task):
                for found, message, hint in mistakes(text, generation):
                    yield planned.layers.problem(path, message, hint, RULE, found, at_key=at_key)
            if planned.task.sla is not None and generation == "3":
                message = "Airflow 3 has no SLAs: 'sla' does nothing there"
                hint = "take it out; execution_timeout and dagrun_timeout end what takes too long, and that is alerted"
                yield planned.layers.problem(("sla",), message, hint, RULE, at_key=True)


def later(generation: str) -> Dict[str, str]:
    """Return what a generation no longer has, with what to write instead."""
    known = list(LATER)
    return {name: hint for each in known[: known.index(generation) + 1] for name, hint in LATER[each].items()}


@lru_cache(maxsize=4096)  # a thousand providers share a few
def mistakes(text: str, generation: str) -> List[Tuple[str, str, str]]:
    """Return what of a template a generation no longer has: the part of the text, the message and the hint."""
    if "{" not in text:
        return []
    try:
        names = names_of(jinja_environment().parse(text))
    except (jinja2.TemplateSyntaxError, RecursionError):
        return []  # which is reported without this check
    gone = later(generation)
    return [
        (part, f"'{part}' is {'another value' if name[0] == '.' else 'not'} in Airflow {generation}", gone[name])
        for name, part in sorted(names.items())
        if name in gone
    ]


def names_of(tree: nodes.Template) -> Dict[str, str]:
    """Return the names that a template uses, as LATER has them, each with the part of the text that is it."""
    names: Dict[str, str] = {}
    for node in tree.find_all((nodes.Name, nodes.Getattr, nodes.Getitem)):
        names.setdefault(dotted(node), last_part(node))
        if isinstance(node, (nodes.Getattr, nodes.Getitem)) and not dotted(node.node).startswith(GIVEN):
            names.setdefault(f".{last_part(node)}", last_part(node))
    for call in tree.find_all(nodes.Call):
        for argument in call.kwargs:
            names.setdefault(f"{dotted(call.node)}({argument.key}=)", argument.key)
    return names


def dotted(node: nodes.Node) -> str:
    """Return an expression as a dotted name; one that is none begins with a question mark."""
    if isinstance(node, nodes.Name):
        return ALIASES.get(node.name, node.name)
    if isinstance(node, (nodes.Getattr, nodes.Getitem)):
        return f"{dotted(node.node)}.{last_part(node)}"
    return "?"


def last_part(node: nodes.Node) -> str:
    """Return the last part of a dotted name."""
    if isinstance(node, nodes.Name):
        return str(node.name)
    if isinstance(node, nodes.Getattr):
        return str(node.attr)
    return str(node.arg.value) if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) else "?"
