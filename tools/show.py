"""./etl show [DAG_ID]: all DAGs, or what one of them is and does after all layers."""

import argparse
import difflib
import json
import signal
import sys
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Union

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tools import effective, schedules
from tools.definitions import ETL, environments, factory, load_dag
from tools.rendering import Rendered, render_request

Definition = factory.Definition

OK, PROBLEMS, WRONG_USE = 0, 1, 2
FORK, LAST = ("├── ", "│   "), ("└── ", "    ")  # before a task, and before those below it
ORIGIN_COLUMN = 64  # where the origins begin, unless a value is longer

EPILOG = """\
Without a DAG id, the table has a row for each DAG in each environment. With one, each environment that has the DAG
is shown in turn.

The date is the run's logical date: on a day, the first run that the schedule has then, or else what triggering by
hand at midnight UTC gives; a time such as 2022-01-05T03:00Z is taken as it is. By default it is the DAG's first run,
so that the same definition always shows the same. Only a run knows some names, such as ti, conn and var: what uses
them stays a template, and is listed below the request.

exit status: 0 shown, 1 problems keep a DAG from being shown, 2 wrong use or an unknown id"""


class Unknown(Exception):
    """There is no such DAG or environment; the text says so to a person."""


def main(arguments: List[str], etl: Path = ETL) -> int:
    """Print a table of all DAGs, or one DAG; give the exit status."""
    options = parse(arguments)
    try:
        names = chosen_environments(etl, options.environment)
        problems = show_one(etl, names, options) if options.dag_id else show_all(etl, names, options.format)
    except Unknown as error:
        tell(str(error))
        return WRONG_USE
    return PROBLEMS if problems else OK


def parse(arguments: List[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="./etl show",
        description="All DAGs, or what one of them is and does after all layers.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dag_id", nargs="?", metavar="DAG_ID", help="such as cwr-big_dag_un")
    parser.add_argument("--environment", metavar="NAME", help="only this one of configs/")
    parser.add_argument("--origin", action="store_true", help="with each value, the file and line that it comes from")
    parser.add_argument("--date", type=day_or_moment, help="render the requests' templates for it")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    return parser.parse_args(arguments)


def day_or_moment(text: str) -> Union[date, datetime]:
    """Read a date, or a date and time which is in UTC unless it says otherwise; as an argparse type."""
    try:
        if len(text) <= len("2022-01-05"):
            return date.fromisoformat(text)
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date; write one such as 2022-01-05") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def chosen_environments(etl: Path, wanted: Optional[str]) -> List[str]:
    """Give the names of all environments, or the one that was asked for; raises Unknown."""
    known = environments(etl)
    if wanted is None:
        return known
    if wanted not in known:
        raise Unknown(f"there is no environment '{wanted}'; {factory.nearest(wanted, known)}")
    return [wanted]


def unknown_dag(etl: Path, dag_id: str, looked_in: List[str]) -> str:
    """Say where a DAG is that was not found, or which is called nearly so."""
    loaded = {name: factory.load(etl, name).definitions for name in environments(etl)}
    ids = {name: [definition.dag_id for definition in definitions] for name, definitions in loaded.items()}
    elsewhere = [name for name, here in ids.items() if dag_id in here]
    if elsewhere:
        return f"'{dag_id}' is not in {', '.join(looked_in)}; it is in {', '.join(elsewhere)}"
    close = difflib.get_close_matches(dag_id, {known for name in looked_in for known in ids[name]}, n=1)
    hint = f"did you mean '{close[0]}'?" if close else "./etl show lists them"
    return f"there is no DAG '{dag_id}'; {hint}"


def tell(text: str) -> None:
    """Print what is not part of the answer."""
    print(f"etl: {text}", file=sys.stderr)


def console() -> Console:
    """Give the standard output: in colours and no wider than a terminal; in a file or pipe lines are not folded."""
    plain = Console(highlight=False, markup=False, emoji=False)
    return plain if plain.is_terminal else Console(highlight=False, markup=False, emoji=False, width=10_000)


# ---------------------------------------------------------------------------------------------------- all DAGs


def show_all(etl: Path, names: List[str], form: str) -> List[factory.Problem]:
    """Print a row for each DAG in each environment; give the problems that keep others out."""
    now, found = datetime.now(timezone.utc), [factory.load(etl, name) for name in names]
    definitions = [definition for here in found for definition in here.definitions]
    rows = [summary(item, now) for item in sorted(definitions, key=lambda item: (item.dag_id, item.context.name))]
    if form == "json":
        print(json.dumps(rows, indent=2))
    else:
        console().print(as_table(rows))
    problems = sorted({problem for here in found for problem in here.problems})
    if problems:
        tell(f"problems keep DAGs out of this table ({len(problems)}); ./etl check tells them")
    return problems


def as_table(rows: List[Dict[str, Any]]) -> Table:
    """Lay out what identifies each DAG, and when it runs."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("DAG", "ENVIRONMENT", "SCHEDULE", "IN WORDS", "NEXT RUN", "TASKS", "FILE"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "TASKS" else "left")
    for row in rows:
        cells = [row["dag_id"], row["environment"], row["schedule"] or "", row["in_words"], utc(row["next_run"])]
        table.add_row(*map(Text, [*cells, str(len(row["tasks"])), row["path"]]))
    return table


def summary(definition: Definition, now: datetime) -> Dict[str, Any]:
    """Give what identifies a DAG, and when it runs."""
    next_run = schedules.next_run(definition, now)
    return {
        "dag_id": definition.dag_id,
        "environment": definition.context.name,
        "path": definition.path,
        "schedule": definition.schedule,
        "in_words": schedules.in_words(definition),
        "next_run": next_run and next_run.isoformat(),
        "tasks": list(definition.plan.tasks),
    }


def utc(moment: Optional[str]) -> str:
    """Shorten a moment for a person."""
    return f"{moment[:16].replace('T', ' ')} UTC" if moment else ""


# ----------------------------------------------------------------------------------------------------- one DAG


class View(NamedTuple):
    """All there is to show of a DAG."""

    summary: Dict[str, Any]
    definition: Dict[str, Any]
    origins: Dict[str, str]  # by the path of a value, with dots
    run: schedules.Run
    requests: Dict[str, Rendered]


def show_one(etl: Path, names: List[str], options: argparse.Namespace) -> List[factory.Problem]:
    """Print what a DAG is in each environment, and give the problems that keep it out; raises Unknown."""
    now, found = datetime.now(timezone.utc), [load_dag(etl, name, options.dag_id) for name in names]
    definitions = [definition for here in found for definition in here.definitions]
    problems = sorted({problem for here in found for problem in here.problems})
    if not definitions and not problems:
        raise Unknown(unknown_dag(etl, options.dag_id, names))
    views = [view(definition, options, now) for definition in definitions]
    if options.format == "json":
        print(json.dumps([as_json(shown) for shown in views], indent=2))
    else:
        out = console()
        for shown in views:
            show_text(out, shown)
    for problem in problems:
        print(f"{problem}\n", file=sys.stderr)
    return problems


def view(definition: Definition, options: argparse.Namespace, now: datetime) -> View:
    """Work out what a DAG is and does on a date."""
    data, run = effective.effective(definition), schedules.run_at(definition, options.date)
    paths = [path for _, path in effective.lines(data) if path] if options.origin else []
    return View(
        summary=summary(definition, now),
        definition=data,
        origins={".".join(path): effective.origin(definition, path) for path in paths},
        run=run,
        requests={task_id: render_request(definition, task_id, run) for task_id in definition.plan.tasks},
    )


def as_json(shown: View) -> Dict[str, Any]:
    """Give a view as plain data."""
    left = {task_id: rendered.left for task_id, rendered in shown.requests.items() if rendered.left}
    return {
        **shown.summary,
        "definition": shown.definition,
        **({"origins": shown.origins} if shown.origins else {}),
        "run": {
            key: value.isoformat() if isinstance(value, date) else value for key, value in shown.run._asdict().items()
        },
        "requests": {task_id: rendered.request for task_id, rendered in shown.requests.items()},
        "not_rendered": left,
    }


def show_text(out: Console, shown: View) -> None:
    """Print a view for a person."""
    about = shown.summary
    next_run = f"; next run {utc(about['next_run'])}" if about["next_run"] else ""
    heading(out, f"{about['dag_id']} in {about['environment']}")
    out.print(f"{about['path']}\n{about['in_words']}{next_run}\n", soft_wrap=True)
    heading(out, "Definition after all layers")
    for line, path in effective.lines(shown.definition):
        text = Text(line)
        if path and shown.origins:
            text.append(f"  {' ' * (ORIGIN_COLUMN - len(line))}# {shown.origins['.'.join(path)]}", style="dim")
        out.print(text, soft_wrap=True)
    out.print()
    heading(out, "Tasks")
    for line in task_tree({task_id: task.get("depends_on", []) for task_id, task in shown.definition["tasks"].items()}):
        out.print(line, soft_wrap=True)
    out.print()
    heading(out, f"RunTask requests in the run {shown.run.run_id}")
    for task_id, rendered in shown.requests.items():
        out.print(Text(f"{task_id}:", style="bold"), soft_wrap=True)
        out.print(json.dumps(rendered.request, indent=2, ensure_ascii=False), soft_wrap=True)
        for template, why in rendered.left.items():
            out.print(Text(f"not rendered: {effective.flow(template)} ({why})", style="yellow"), soft_wrap=True)
    out.print()


def heading(out: Console, text: str) -> None:
    """Print a heading."""
    out.print(Text(text, style="bold underline" if out.is_terminal else ""), soft_wrap=True)


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


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` is no error
    sys.exit(main(sys.argv[1:]))
