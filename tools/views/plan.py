"""What changes of the DAGs, as text, JSON or Markdown."""

import json
import re
from html import escape
from typing import Any, Dict, Iterator, List, Tuple

from rich.text import Text

from tools.terminal import console, printable
from tools.views.comparison import KINDS, Comparison, DagChange, FieldChange
from tools.views.effective import flow
from tools.views.problems import as_json as problem_as_json

MAX_MARKDOWN = 65_536  # characters that GitHub takes in a comment


def totals(changes: List[DagChange]) -> str:
    """Count the changes of an environment by their kind."""
    numbers = {kind: sum(change.kind == kind for change in changes) for kind in KINDS}
    return ", ".join(f"{number} {kind}" for kind, number in numbers.items() if number) or "no changes"


def grouped(changes: List[DagChange]) -> List[List[DagChange]]:
    """Group DAGs that change in the same way: a line of an environment can change all of them."""
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
    out = console()
    for line, style in as_text(comparison):
        out.print(Text(printable(line), style=style), soft_wrap=True)


# --------------------------------------------------------------------------------------------------------- JSON


def as_json(comparison: Comparison) -> Dict[str, Any]:
    """Return a comparison as plain data."""
    return {
        "base": comparison.base,
        "environments": {
            name: [dag_as_json(change) for change in changes] for name, changes in comparison.environments.items()
        },
        "problems": [problem_as_json(problem) for problem in comparison.problems],
    }


def dag_as_json(change: DagChange) -> Dict[str, Any]:
    """Return what happens to a DAG as plain data."""
    return {
        **change._asdict(),
        "fields": [field._asdict() for field in change.fields],
        "tasks": [{**task._asdict(), "fields": [field._asdict() for field in task.fields]} for task in change.tasks],
    }


# ----------------------------------------------------------------------------------------------------- Markdown


def code(text: str) -> str:
    """Write text as HTML's code, in which neither Markdown nor a table's cell finds anything to read."""
    escaped = re.sub(r"[^A-Za-z0-9 ,.:/=_-]|\b_|_\b", lambda match: f"&#{ord(match.group())};", printable(text))
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
    return "\n\n".join([first, *headings.values(), "This is too long for a comment: `./etl plan` shows it all."]) + "\n"


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
