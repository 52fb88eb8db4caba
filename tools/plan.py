"""./etl plan [REV]: what the working tree does to the DAGs, compared with a commit."""

import argparse
import json
import re
import signal
import sys
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any, Dict, FrozenSet, Iterator, List, Mapping, NamedTuple, NoReturn, Optional, Set, Tuple

from jinja2 import TemplateSyntaxError, nodes
from rich.console import Console
from rich.text import Text

from tools.definitions import ROOT, RevisionError, branch_point, checkout, factory, git, load_all, load_dag
from tools.effective import effective, flow

OK, BROKEN, CHANGES = 0, 1, 2
MAX_MARKDOWN = 65_536  # characters that GitHub takes in a comment

EPILOG = """\
Compared is what the definitions come to after all layers, in each environment, both times as today's factory reads
them: formatting, comments and the layer that a value stands in are no change, and neither is a change of the factory.
A variable counts where a template names it.

exit status: 0, or with --exit-code 2 if anything changes; 1 if a definition is broken, and, since 2 would say that
something changes, also for wrong use and an unknown commit"""


# -------------------------------------------------------------------------------------------------- differences


class FieldChange(NamedTuple):
    """A value that is another one; None where there is none."""

    field: str  # its path, with dots
    old: Any
    new: Any


class TaskChange(NamedTuple):
    """A task of a DAG that stays, which is added, removed or changed."""

    task_id: str
    kind: str
    fields: List[FieldChange]


class DagChange(NamedTuple):
    """A DAG that is added, removed, changed, broken, or repaired (it was broken before)."""

    dag_id: str
    path: str
    kind: str
    tasks_after: List[str]
    fields: List[FieldChange]
    tasks: List[TaskChange]


KINDS = {"added": "+", "removed": "-", "changed": "~", "repaired": "+", "broken": "!"}


class Comparison(NamedTuple):
    """What happens to the DAGs of each environment, and what is wrong with the definitions."""

    base: str
    environments: Dict[str, List[DagChange]]
    problems: List[factory.Problem]


def compare(base: str, before: Path, after: Path) -> Comparison:
    """Compare two ``dags/etl`` folders; ``base`` names the first one for a person, which is thinned out."""
    same_files = thin_out(before, after)
    old, new = load_all(before), load_all(after)
    problems = sorted({problem for found in new.values() for problem in found.problems})
    for name, found in new.items():
        others = [definition for definition in found.definitions if definition.path not in same_files]
        new[name] = found._replace(definitions=others)
    nothing = factory.Found([], [])
    environments = {
        name: list(dag_changes(name, (before, old.get(name, nothing)), (after, new.get(name, nothing))))
        for name in sorted({*old, *new})
    }
    return Comparison(base, environments, problems)


def thin_out(before: Path, after: Path) -> Set[str]:
    """Delete the definitions that are byte for byte the same, and give their paths; none if an environment changed.

    Reading takes most of the time, 1.2 ms a DAG, and of a large repository a branch changes little.
    """
    if contents(before, "configs/*.yaml") != contents(after, "configs/*.yaml"):
        return set()
    now = contents(after, "pipelines/*/*.yaml")
    same = {name for name, text in contents(before, "pipelines/*/*.yaml").items() if now.get(name) == text}
    for name in same:
        (before / name).unlink()
    return {factory.shown(after, after / name) for name in same}


def contents(etl: Path, pattern: str) -> Dict[str, Optional[bytes]]:
    """Give the content of the regular files that a pattern finds, by path; None of one that cannot be read."""
    files = [file for file in etl.glob(pattern) if file.is_file() and not file.is_symlink()]
    return {file.relative_to(etl).as_posix(): content(file) for file in files}


def content(file: Path) -> Optional[bytes]:
    """Read a file; None if it cannot be read, which is for the factory to tell."""
    try:
        return file.read_bytes()
    except OSError:
        return None


def dag_changes(
    environment: str, before: Tuple[Path, factory.Found], after: Tuple[Path, factory.Found]
) -> Iterator[DagChange]:
    """Give the DAGs of an environment that are not what they were, by their ids."""
    old = {definition.dag_id: definition for definition in before[1].definitions}
    new = {definition.dag_id: definition for definition in after[1].definitions}
    for dag_id in sorted({*old, *new}):
        if dag_id not in new:
            kind = "broken" if is_broken(after, environment, dag_id) else "removed"
            yield DagChange(dag_id, old[dag_id].path, kind, [], [], [])
        elif dag_id not in old:
            kind = "repaired" if is_broken(before, environment, dag_id) else "added"
            yield DagChange(dag_id, new[dag_id].path, kind, list(new[dag_id].plan.tasks), [], [])
        else:
            fields, tasks = difference(comparable(old[dag_id]), comparable(new[dag_id]))
            if fields or tasks:
                yield DagChange(dag_id, new[dag_id].path, "changed", list(new[dag_id].plan.tasks), fields, tasks)


def is_broken(side: Tuple[Path, factory.Found], environment: str, dag_id: str) -> bool:
    """Whether a DAG that is not there is only kept out by problems."""
    etl, found = side
    return bool(found.problems and load_dag(etl, environment, dag_id).problems)


def difference(old: Dict[str, Any], new: Dict[str, Any]) -> Tuple[List[FieldChange], List[TaskChange]]:
    """Give the settings and the tasks that differ between two DAGs."""
    if same(old, new):
        return [], []
    old_tasks, new_tasks = old.pop("tasks"), new.pop("tasks")
    tasks = []
    for task_id in [*new_tasks, *(task_id for task_id in old_tasks if task_id not in new_tasks)]:
        kind = "added" if task_id not in old_tasks else "removed" if task_id not in new_tasks else "changed"
        fields = list(field_changes(old_tasks.get(task_id, {}), new_tasks.get(task_id, {})))
        if fields:
            tasks.append(TaskChange(task_id, kind, [] if kind == "removed" else fields))
    return list(field_changes(old, new)), tasks


def field_changes(old: Mapping[str, Any], new: Mapping[str, Any], above: str = "") -> Iterator[FieldChange]:
    """Give the values that differ between two mappings; lists are values, as the layers replace them whole."""
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) or isinstance(after, dict):
            below = [value if isinstance(value, dict) else {} for value in (before, after)]
            others = [None if isinstance(value, dict) else value for value in (before, after)]
            if others[0] != others[1]:  # one of them is no mapping
                yield FieldChange(above + key, *others)
            yield from field_changes(below[0], below[1], f"{above}{key}.")
        elif not same(before, after):
            yield FieldChange(above + key, before, after)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of one type: to Python, 1 is True."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def comparable(definition: factory.Definition) -> Dict[str, Any]:
    """Give what makes the DAG what it is, without the variables that no template of it names."""
    data = effective(definition)
    templated = [data[key] for key in ("tasks", "clusters", "wait_for") if key in data]
    named = frozenset().union(*map(variables_in, texts(templated)))
    data["variables"] = {
        root: {name: value for name, value in values.items() if {(root, name), (root, "")} & named}
        for root, values in data["variables"].items()
    }
    return data


def texts(value: Any) -> Iterator[str]:
    """Give the templates in plain data."""
    if isinstance(value, str) and "{" in value:
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts(item)


@lru_cache(maxsize=None)
def variables_in(template: str) -> FrozenSet[Tuple[str, str]]:
    """Give the (env or provider, member) pairs that a template names; the member "" stands for all of them."""
    try:
        tree = factory.jinja_environment().parse(template)
    except TemplateSyntaxError:  # an opening brace in a text that is no template
        return frozenset()
    members: Dict[int, str] = {}
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        member = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None)
        if isinstance(member, str):
            members[id(node.node)] = member
    return frozenset(
        (node.name, members.get(id(node), "")) for node in tree.find_all(nodes.Name) if node.name in ("env", "provider")
    )


# --------------------------------------------------------------------------------------------------------- text


def totals(changes: List[DagChange]) -> str:
    """Count the changes of an environment by their kind."""
    numbers = {kind: sum(change.kind == kind for change in changes) for kind in KINDS}
    return ", ".join(f"{number} {kind}" for kind, number in numbers.items() if number) or "no changes"


def grouped(changes: List[DagChange]) -> List[List[DagChange]]:
    """Put DAGs together that change in the same way: a line of an environment can change all of them."""
    groups: Dict[str, List[DagChange]] = {}
    for change in sorted(changes, key=lambda change: list(KINDS).index(change.kind)):
        alike = [change.kind, change.fields, change.tasks] if change.kind == "changed" else [change.dag_id]
        groups.setdefault(json.dumps(alike), []).append(change)
    return list(groups.values())


def arrow(change: FieldChange) -> str:
    """Write a change as ``field: old -> new``, in YAML."""
    old, new = ("(none)" if value is None else flow(value) for value in (change.old, change.new))
    return f"{change.field}: {old} -> {new}"


def as_text(comparison: Comparison) -> Iterator[Tuple[str, str]]:
    """Write a comparison for a person: lines, each with its style."""
    styles = {"+": "green", "-": "red", "~": "yellow", "!": "bold red"}
    yield f"compared with {comparison.base}", ""
    for environment, changes in comparison.environments.items():
        yield "", ""
        yield f"{environment}: {totals(changes)}", "bold"
        for group in grouped(changes):
            sign = KINDS[group[0].kind]
            for change in group:
                note = "" if change.kind in ("added", "removed", "changed") else f" is {change.kind}"
                yield f"  {sign} {change.dag_id}{note}  ({change.path})", styles[sign]
            for field in group[0].fields:
                yield f"      {arrow(field)}", ""
            for task in group[0].tasks:
                yield f"      {KINDS[task.kind]} task {task.task_id}", styles[KINDS[task.kind]]
                yield from ((f"          {arrow(field)}", "") for field in task.fields)
    for problem in comparison.problems:
        yield f"\n{problem}", ""


def print_text(comparison: Comparison) -> None:
    """Print a comparison for a person; colours only on a terminal."""
    out = Console(highlight=False, markup=False, emoji=False)
    for line, style in as_text(comparison):
        out.print(Text(line, style=style), soft_wrap=True)


# --------------------------------------------------------------------------------------------------------- JSON


def as_json(comparison: Comparison) -> Dict[str, Any]:
    """Give a comparison as plain data."""
    return {
        "base": comparison.base,
        "environments": {
            name: [dag_as_json(change) for change in changes] for name, changes in comparison.environments.items()
        },
        "problems": [problem_as_json(problem) for problem in comparison.problems],
    }


def dag_as_json(change: DagChange) -> Dict[str, Any]:
    """Give what happens to a DAG as plain data."""
    return {
        **change._asdict(),
        "fields": [field._asdict() for field in change.fields],
        "tasks": [{**task._asdict(), "fields": [field._asdict() for field in task.fields]} for task in change.tasks],
    }


def problem_as_json(problem: factory.Problem) -> Dict[str, Any]:
    """Give a problem as ``./etl check --format json`` does."""
    return {key: value for key, value in problem._asdict().items() if key not in ("source", "width")}


# ----------------------------------------------------------------------------------------------------- Markdown


def code(text: str) -> str:
    """Write text as HTML's code, in which neither Markdown nor a table's cell finds anything to read."""
    escaped = re.sub(r"[^A-Za-z0-9 ,.:/=_-]|\b_|_\b", lambda match: f"&#{ord(match.group())};", text)
    return f"<code>{escaped}</code>"


def as_markdown(comparison: Comparison) -> str:
    """Write a comparison as a pull request shows it."""
    headings = {name: f"### {code(name)}: {totals(changes)}" for name, changes in comparison.environments.items()}
    sections = [
        [headings[name], *map(group_markdown, grouped(changes))] for name, changes in comparison.environments.items()
    ]
    problems = [f"<pre>{escape(str(problem))}</pre>" for problem in comparison.problems]
    if problems:
        problems.insert(0, f"### {len(problems)} problem{'s' if len(problems) > 1 else ''}")
    first = f"DAGs compared with {code(comparison.base)}"
    whole = "\n\n".join([first, *(part for section in sections for part in section), *problems]) + "\n"
    if len(whole) <= MAX_MARKDOWN:
        return whole
    return "\n\n".join([first, *headings.values(), "This is too long for a comment: `./etl plan` tells it all."]) + "\n"


def group_markdown(group: List[DagChange]) -> str:
    """Write DAGs that change in the same way as a title to open, and a table below it."""
    first, others = group[0], group[1:]
    title = f"{first.kind}: {code(first.dag_id)}"
    if others:
        title += f" and {len(others)} more"
    body = [" ".join(code(change.dag_id) for change in group)] if others else []
    rows = [("", field) for field in first.fields]
    for task in first.tasks:
        fields = task.fields or [FieldChange("", None, None)]
        rows += [(f"{task.kind}: {code(task.task_id)}", field) for field in fields]
    if rows:
        body.append(
            "\n".join(["| Task | Field | Before | After |", "| --- | --- | --- | --- |", *map(row_markdown, rows)])
        )
    else:
        body.append(
            f"{code(first.path)}" + (f", tasks {' '.join(map(code, first.tasks_after))}" if first.tasks_after else "")
        )
    return "\n\n".join([f"<details><summary>{title}</summary>", *body, "</details>"])


def row_markdown(row: Tuple[str, FieldChange]) -> str:
    """Write a table's row."""
    task, field = row
    values = [code(flow(value)) if value is not None else "" for value in (field.old, field.new)]
    return f"| {' | '.join([task, code(field.field) if field.field else '', *values])} |"


# ------------------------------------------------------------------------------------------------- command line


class Parser(argparse.ArgumentParser):
    """Leaves with 1 on wrong use."""

    def error(self, message: str) -> NoReturn:
        """Tell and leave."""
        self.print_usage(sys.stderr)
        self.exit(BROKEN, f"{self.prog}: error: {message}\n")


def parse(arguments: List[str]) -> argparse.Namespace:
    """The command line."""
    parser = Parser(
        prog="./etl plan",
        description="What the working tree does to the DAGs, compared with a commit.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "revision", nargs="?", metavar="REV", help="a commit, tag or branch (default: where this branch left main)"
    )
    parser.add_argument("--format", choices=("text", "json", "markdown"), default="text")
    parser.add_argument("--exit-code", action="store_true", help="leave with 2 if anything changes")
    return parser.parse_args(arguments)


def main(arguments: List[str], root: Path = ROOT) -> int:
    """Print the plan; give the exit status."""
    options = parse(arguments)
    try:
        revision, base = chosen_base(options.revision, root)
        with checkout(revision, root) as before:
            comparison = compare(base, before, root / "dags" / "etl")
    except RevisionError as error:
        print(f"etl: {error}", file=sys.stderr)
        return BROKEN
    if options.format == "json":
        print(json.dumps(as_json(comparison), indent=2))
    elif options.format == "markdown":
        print(as_markdown(comparison), end="")
    else:
        print_text(comparison)
    if comparison.problems:
        return BROKEN
    return CHANGES if options.exit_code and any(comparison.environments.values()) else OK


def chosen_base(revision: Optional[str], root: Path) -> Tuple[str, str]:
    """Give the commit to compare with, and what to call it; raises RevisionError."""
    git("rev-parse", "--git-dir", root=root)
    if revision is not None:
        return revision, revision
    point = branch_point(root)
    if point is None:
        raise RevisionError("there is no main branch to compare with here; name a commit, such as: ./etl plan HEAD")
    return point, f"{point[:12]}, the branch point with main"


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` is no error
    sys.exit(main(sys.argv[1:]))
