"""What the web page shows: the docs page of a DAG, and the report of all problems."""

import json
import re
from itertools import groupby
from typing import Iterable, Iterator, List

from .definitions import Definition, Plan, awaited_names
from .generations import SHOWS_HTML
from .models import Param
from .problems import Problem, listed

# -------------------------------------------------------------------------------------------------- docs pages


def doc_md(definition: Definition, line: int, description: str, table: str, params: List[str], commit: str) -> str:
    """Return the page of a DAG: where it comes from and what its tasks run.

    Args:
        definition: The DAG's.
        line: Where its provider stands.
        description: Its description, escaped.
        table: What :func:`task_table` returns for its plan.
        params: The cells of its params.
        commit: What is deployed, not shortened; "" where that is not known.
    """
    schedule = definition.schedule or "only when triggered"
    if definition.schedule and definition.settings.timezone:
        schedule += f" in {definition.settings.timezone}"
    if definition.settings.schedule and not definition.schedule:
        schedule = f"only when triggered ({definition.settings.schedule} is off here)"
    alerts = definition.settings.alerts
    topic = alerts and definition.context.environment.alerts[alerts].sns_topic_arn[:MAX_CELL]
    shortened = f"{commit[:12]}{commit[40:]}"
    paragraphs = [
        description,
        f"Provider **{definition.provider}** of {source(definition, line, commit)}"
        f" in environment **{definition.context.name}**. Schedule: {markdown(schedule)}."
        + (f" Alerts: **{markdown(alerts)}** ({markdown(topic)})." if alerts and topic else "")
        + (f" Commit **{markdown(shortened)}**." if commit else ""),
        *(markdown(f"It waits for {name}.") for name in awaited_names(definition)),
        table,
        # The trigger page says otherwise where core.dag_run_conf_overrides_params is False, MWAA's default.
        *(["What is typed at the trigger reaches the tasks:", param_table(params)] if params else []),
    ]
    return "\n\n".join(paragraphs)


def source(definition: Definition, line: int, commit: str) -> str:
    """Return where the DAG's provider stands: a link if the environment has one and the commit has that very file."""
    place = markdown(f"{definition.path}:{line}")
    url = definition.context.environment.source_url
    if url is None or not re.fullmatch("[0-9a-f]{40,64}", commit):  # a sandbox's files may be nobody's commit
        return place
    path = "dags/etl/" + definition.path.split("/", 2)[-1]  # a sandbox is a copy of that folder
    return f"[{place}]({url.format(commit=commit, path=path, line=line)})"


def task_table(plan: Plan) -> str:
    """Return a table of what the tasks run."""
    rows = []
    for name, planned in {planned.name: planned for planned in plan.tasks.values()}.items():  # all items are alike
        task = planned.task
        task_id = name if task.for_each is None else f"{name} (for each of {listed(task.for_each, 10)})"
        size = f"{task.cpu or '-'} / {task.memory or '-'}"
        after, command = ", ".join(task.depends_on or ()), " ".join(task.command or ())
        cells = task_id, after, task.task_definition or "", planned.operator["cluster"], size, command
        rows.append(cells_of(cells))
    heads = cells_of(("Task", "After", "Task definition", "Cluster", "CPU / MiB", "Command"), "th")
    return table_of(heads, rows)


def param_table(rows: List[str]) -> str:
    """Return a table of what a person may type."""
    return table_of(cells_of(("Param", "Type", "Default", "Description"), "th"), rows)


def param_cells(param: Param) -> str:
    """Return the cells that say what a person may type for a param: to escape them takes long."""
    kind = " or ".join(param.type) if isinstance(param.type, list) else param.type or "any"
    return cells_of((kind, json.dumps(param.default), param.description or param.title or ""))


# Characters of a cell, and of what they are when they are escaped. Each DAG has a page of its own, which Airflow
# stores: 10,000 providers with a command of 8,000 brackets had pages of 1.2 GB. A pass that stored 1,000 pages, each of
# 29 tasks with 256 brackets in two cells, took 1 GB.
MAX_CELL, MAX_ESCAPED = 256, 512


def cells_of(texts: Iterable[str], tag: str = "td") -> str:
    """Return cells of a table, of long texts the beginning."""
    return "".join(f"<{tag}>{cell}</{tag}>" if SHOWS_HTML else f"| {cell} " for cell in map(beginning, texts))


def beginning(text: str) -> str:
    """Return what a cell has of a text, escaped."""
    escaped = markdown(text[:MAX_CELL])
    if len(text) <= MAX_CELL and len(escaped) <= MAX_ESCAPED:
        return escaped
    return re.sub("&[^;]*$", "", escaped[:MAX_ESCAPED]) + "..."


def table_of(heads: str, rows: Iterable[str]) -> str:
    """Return a table: one of Markdown in 2.2.2 has no space between its columns, and later versions escape HTML."""
    if SHOWS_HTML:
        lines = (f"<tr>{cells}</tr>" for cells in (heads, *rows))
        return "\n".join(['<table class="table table-condensed">', *lines, "</table>"])
    return "\n".join([heads, re.sub("[^|]+", " --- ", heads), *rows])


def markdown(text: str) -> str:
    """Escape text for Markdown and HTML: the web page shows a DAG's docs as they come."""
    return re.sub(r"[^A-Za-z0-9 ,.:/=-]", lambda match: f"&#{ord(match.group())};", text)


# ---------------------------------------------------------------------------------------------------- problems

MAX_SHOWN = 100  # problems of a file in the banner, and of all files ten times as many, or one of each


def report(problems: List[Problem]) -> str:
    """Return the text of all problems."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return "\n\n".join([f"{count} in the definitions:", *excerpt(problems)])


def excerpt(problems: Iterable[Problem]) -> Iterator[str]:
    """Yield the texts of problems, of each file only the first ones: nobody reads a banner of megabytes."""
    by_file = [list(group) for _, group in groupby(problems, key=lambda problem: problem.location.path)]
    number = max(1, MAX_SHOWN * 10 // max(10, len(by_file)))
    for of_file in by_file:
        yield from (problem.for_web_page for problem in of_file[:number])
        if len(of_file) > number:
            yield f"{of_file[0].location.path}: {len(of_file) - number} more; ./etl check lists all"
