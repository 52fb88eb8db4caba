"""What DAGs are and do: a table of several, or one with its values, tasks and RunTask requests."""

import argparse
import difflib
import json
import sys
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from orchestrator import Definition, Problem, awaited_names, load
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tools.checkout import environments, load_dag
from tools.terminal import console, print_status, printable
from tools.views import effective, schedules
from tools.views.rendering import RenderedRequest, render_requests
from tools.views.selection import Selection, UnknownSelection

FORK, LAST = ("├── ", "│   "), ("└── ", "    ")  # before a task, and before those below it
ORIGIN_COLUMN = 64  # where the origins begin, unless a value is longer


# ---------------------------------------------------------------------------------------------------- all DAGs


def show_table(etl: Path, names: List[str], selection: Optional[Selection], form: str) -> List[Problem]:
    """Print a row for each DAG in each environment; return the problems that keep others out.

    Raises:
        UnknownSelection: It selects nothing in any environment.
    """
    now, loaded = datetime.now(timezone.utc), {name: load(etl, name) for name in names}
    definitions = [definition for found in loaded.values() for definition in found.definitions]
    problems = sorted({problem for found in loaded.values() for problem in found.problems})
    if selection:
        definitions = [item for item in definitions if selection.includes(item.dag_id, item.path)]
        problems = [problem for problem in problems if selection.concerns(problem.location.path)]
        if not definitions and not problems:
            report_empty(etl, selection, names)
    rows = [summary(item, now) for item in sorted(definitions, key=lambda item: (item.dag_id, item.context.name))]
    if form == "json":
        print(json.dumps(rows, indent=2))
    else:
        console().print(as_table(rows))
    if problems:
        print_status(f"problems keep DAGs out of this table ({len(problems)}); ./etl check reports them")
    return problems


def report_empty(etl: Path, selection: Selection, names: List[str]) -> None:
    """Report where the DAGs of a selection are that is empty here; raise UnknownSelection if they are nowhere."""
    others = {name: load(etl, name).definitions for name in environments(etl) if name not in names}
    ids = {
        name: [item.dag_id for item in others[name] if selection.includes(item.dag_id, item.path)] for name in others
    }
    elsewhere = [name for name, dag_ids in ids.items() if dag_ids]
    if elsewhere:
        raise UnknownSelection(f"'{selection.text}' is not in {', '.join(names)}; it is in {', '.join(elsewhere)}")
    selection.check_known(etl)
    print_status(f"'{selection.text}' has no DAG here")


def as_table(rows: List[Dict[str, Any]]) -> Table:
    """Lay out what identifies each DAG, and when it runs."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("DAG", "ENVIRONMENT", "SCHEDULE", "IN WORDS", "NEXT RUN", "TASKS", "FILE"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "TASKS" else "left")
    for row in rows:
        cells = [row["dag_id"], row["environment"], row["schedule"] or "", row["in_words"], "".join(moments(row)[:1])]
        table.add_row(*map(Text, map(printable, [*cells, str(len(row["tasks"])), row["path"]])))
    return table


def summary(definition: Definition, now: datetime) -> Dict[str, Any]:
    """Return what identifies a DAG, and when it runs."""
    runs = schedules.next_runs(definition, now)
    return {
        "dag_id": definition.dag_id,
        "environment": definition.context.name,
        "path": definition.path,
        "schedule": definition.schedule,
        "timezone": schedules.zone_of(definition),
        "in_words": schedules.in_words(definition),
        "next_run": runs[0].in_timezone("UTC").isoformat() if runs else None,
        # That one, and the first after the clocks have changed, as the clocks of its time zone show them.
        "next_runs": [run.isoformat() for run in runs],
        "waits_for": awaited_names(definition),
        "tasks": list(definition.plan.tasks),
    }


def moments(row: Mapping[str, Any]) -> List[str]:
    """Return the next runs of a row for a person: in UTC, and on the clocks of the DAG's time zone, if it has one."""
    texts = []
    for run in map(datetime.fromisoformat, row["next_runs"]):
        at = run.astimezone(timezone.utc)
        here = f"{run:%H:%M}" if run.date() == at.date() else f"{run:%Y-%m-%d %H:%M}"
        texts.append(f"{at:%Y-%m-%d %H:%M} UTC" + (f" ({here} there)" if row["timezone"] != "UTC" else ""))
    return texts


# ----------------------------------------------------------------------------------------------------- one DAG


class Details(NamedTuple):
    """All there is to show of a DAG."""

    summary: Dict[str, Any]
    definition: Dict[str, Any]
    origins: Dict[str, str]  # by the path of a value, with dots
    run: schedules.Run
    requests: Dict[str, RenderedRequest]


def show_dag(etl: Path, names: List[str], dag_id: str, options: argparse.Namespace) -> List[Problem]:
    """Print what a DAG is in each environment, and return the problems that keep it out.

    Raises:
        UnknownSelection: There is no such DAG.
    """
    now, loaded = datetime.now(timezone.utc), [load_dag(etl, name, dag_id) for name in names]
    definitions = [definition for found in loaded for definition in found.definitions]
    problems = sorted({problem for found in loaded for problem in found.problems})
    if not definitions and not problems:
        raise UnknownSelection(where_else(etl, dag_id, names))
    runs = [schedules.run_at(definition, options.date) for definition in definitions]
    requests = render_requests(list(zip(definitions, runs)))
    details = [details_of(*item, options, now) for item in zip(definitions, runs, requests)]
    if options.format == "json":
        print(json.dumps([as_json(item) for item in details], indent=2))
    else:
        out = console()
        for item in details:
            print_details(out, item)
    for problem in problems:
        print(f"{problem}\n", file=sys.stderr)
    return problems


def where_else(etl: Path, dag_id: str, names: List[str]) -> str:
    """Return a message with the environments of a DAG that is not in the chosen ones, or with a similar DAG id."""
    loaded = {name: load(etl, name).definitions for name in environments(etl)}
    ids = {name: [definition.dag_id for definition in definitions] for name, definitions in loaded.items()}
    elsewhere = [name for name, dag_ids in ids.items() if dag_id in dag_ids]
    if elsewhere:
        return f"'{dag_id}' is not in {', '.join(names)}; it is in {', '.join(elsewhere)}"
    close = difflib.get_close_matches(dag_id, {known for name in names for known in ids[name]}, n=1)
    hint = f"did you mean '{close[0]}'?" if close else "./etl show lists them"
    return f"there is no DAG '{dag_id}'; {hint}"


def details_of(
    definition: Definition,
    run: schedules.Run,
    requests: Dict[str, RenderedRequest],
    options: argparse.Namespace,
    now: datetime,
) -> Details:
    """Return what a DAG is, and what it does in a run."""
    data = effective.effective(definition)
    paths = [path for _, path in effective.lines(data) if path] if options.origin else []
    return Details(
        summary=summary(definition, now),
        definition=data,
        origins={".".join(path): effective.origin(definition, path) for path in paths},
        run=run,
        requests=requests,
    )


def as_json(details: Details) -> Dict[str, Any]:
    """Return the details as plain data."""
    templates = {task_id: rendered.left for task_id, rendered in details.requests.items() if rendered.left}
    return {
        **details.summary,
        "definition": details.definition,
        **({"origins": details.origins} if details.origins else {}),
        "run": {
            key: value.isoformat() if isinstance(value, date) else value for key, value in details.run._asdict().items()
        },
        "requests": {task_id: rendered.request for task_id, rendered in details.requests.items()},
        "not_rendered": templates,
    }


def print_details(out: Console, details: Details) -> None:
    """Print the details for a person."""
    about = details.summary
    next_run = "".join(map("; {} {}".format, ("next run", "after the clocks change"), moments(about)))
    print_heading(out, f"{about['dag_id']} in {about['environment']}")
    waits = "".join(f"\nwaits for {name}" for name in about["waits_for"])
    print_line(out, f"{about['path']}\n{about['in_words']}{next_run}{waits}\n")
    print_heading(out, "Definition after all layers")
    for line, path in effective.lines(details.definition):
        text = Text(printable(line))
        if path and details.origins:
            origin = printable(details.origins[".".join(path)])
            text.append(f"  {' ' * (ORIGIN_COLUMN - len(text))}# {origin}", style="dim")
        out.print(text, soft_wrap=True)
    out.print()
    print_heading(out, "Tasks")
    for line in task_tree(
        {task_id: task.get("depends_on", []) for task_id, task in details.definition["tasks"].items()}
    ):
        print_line(out, line)
    out.print()
    print_heading(out, f"RunTask requests in the run {details.run.run_id}")
    for task_id, rendered in details.requests.items():
        print_line(out, f"{task_id}:", "bold")
        print_line(out, json.dumps(rendered.request, indent=2, ensure_ascii=False))
        for template, why in rendered.left.items():
            print_line(out, f"not rendered: {effective.flow(template)} ({why})", "yellow")
    out.print()


def print_heading(out: Console, text: str) -> None:
    """Print a heading."""
    print_line(out, text, "bold underline" if out.is_terminal else "")


def print_line(out: Console, text: str, style: str = "") -> None:
    """Print a text, of which a terminal folds what is longer than a line."""
    out.print(Text(printable(text), style=style), soft_wrap=True)


def task_tree(depends_on: Mapping[str, List[str]]) -> List[str]:
    """Draw the tasks below those they wait for; one with several of these is drawn below each, and followed once."""
    after = {task_id: [other for other, before in depends_on.items() if task_id in before] for task_id in depends_on}
    lines, followed = [], set()
    waiting = [("", "", "", task_id) for task_id, before in reversed(list(depends_on.items())) if not before]
    while waiting:
        indent, fork, rail, task_id = waiting.pop()
        again = task_id in followed and after[task_id]
        lines.append(f"{indent}{fork}{task_id}{' (see above)' if again else ''}")
        if again:
            continue
        followed.add(task_id)
        for number, other in enumerate(reversed(after[task_id])):
            waiting.append((indent + rail, *(LAST if number == 0 else FORK), other))
    return lines
