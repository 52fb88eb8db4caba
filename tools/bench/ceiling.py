"""How many providers one DAG file can carry: where its passes reach the limits that MWAA sets."""

import shutil
import sys
from pathlib import Path
from statistics import mean, median
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import psutil

from tools.bench.contenders import PASSES
from tools.bench.databases import Postgres, Sqlite
from tools.bench.race import IMPORT_TIMEOUT, PASS_TIMEOUT, Case, Figures, race
from tools.bench.report import grid, seconds
from tools.local import servers
from tools.local.engine import inherited
from tools.local.processes import Processes
from tools.setup.environments import LOCAL

SIZES = (250, 1000, 2000)
REPEATS = 2
PATIENCE = 600  # seconds of CPU: what exceeds a limit is wanted here
CONTENDER = "factory"
AT = 1000  # providers, where it is looked at closely
PARTS = {
    "import": "the factory: import of the file",
    "serialize": "Airflow: serializes each DAG to compare it",
    "permissions": "Airflow: permissions of each DAG",
    "rows": "Airflow: rows of each DAG and its tags",
}
# What people turn first. It is measured right after a change of every DAG, which is when it can tell.
OPTION = {"AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "3600"}


class Limit(NamedTuple):
    """A time that MWAA allows, for a part of a pass."""

    title: str
    row: str
    part: str
    seconds: int


LIMITS = [
    Limit("import of the file, `core.dagbag_import_timeout`", "steady", "import", IMPORT_TIMEOUT),
    Limit("first pass, `core.dag_file_processor_timeout`", "first", "", PASS_TIMEOUT),
    Limit("every later pass, `core.dag_file_processor_timeout`", "steady", "", PASS_TIMEOUT),
]


def measure(notify: Callable[[str], None], with_postgres: bool) -> Dict[str, Figures]:
    """Return the figures of the passes by database, and those with the option; raise BenchError."""

    def passes(title: str, database: Optional[Postgres], options: Optional[Dict[str, str]] = None) -> Figures:
        sizes = [AT] if options else SIZES
        note = lambda text: notify(f"{title}, {text}")  # noqa: E731
        return race(Path(sys.executable), sizes, [CONTENDER], REPEATS, note, PASSES, database, options, PATIENCE)

    figures = {Sqlite.title: passes(Sqlite.title, None)}
    if with_postgres:
        folder = LOCAL / "bench"
        shutil.rmtree(folder, ignore_errors=True)
        with Processes(folder) as processes:
            server = servers.Postgres(processes, inherited())
            server.create(folder / "postgres")
            process, url = server.start(folder / "postgres")
            database = Postgres(psutil.Process(process.popen.pid), url)
            figures[Postgres.title] = passes(Postgres.title, database)
    figures["option"] = passes("with an option", None, OPTION)
    return figures


def report(figures: Dict[str, Figures]) -> str:
    """Return everything as Markdown."""
    option = figures["option"]
    databases = {title: found for title, found in figures.items() if found is not option}
    return "\n\n".join(
        [
            "### The limits, and where they are reached",
            grid(
                ["", *databases],
                [[limit.title, *(reached(limit, found) for found in databases.values())] for limit in LIMITS],
            ),
            "### The passes",
            passes(databases),
            f"### What a pass of {AT:,} providers does with its time",
            spent(databases),
            "### `core.min_serialized_dag_update_interval`",
            f"A later pass of {AT:,} providers takes {seconds(cost(option, AT, 'steady'))} instead of "
            f"{seconds(cost(figures[Sqlite.title], AT, 'steady'))} on SQLite while the option holds Airflow back from "
            "looking for changes: for that long after a DAG has changed, and no longer.",
        ]
    )


def passes(databases: Dict[str, Figures]) -> str:
    """Return the table of first and later passes."""
    lines = []
    for title, figures in databases.items():
        for row, words in (("first", "first"), ("steady", "later")):
            cells = [seconds(cost(figures, number, row)) for number in SIZES]
            lines.append([f"{title}, {words}", *cells, f"{cost(figures, AT, row, 'queries') / AT:.1f}"])
    return grid(["", *(f"{number:,}" for number in SIZES), "queries a DAG"], lines)


def spent(databases: Dict[str, Figures]) -> str:
    """Return the table of what passes spend their time on."""
    columns = [(title, row) for title in databases for row in ("first", "steady")]
    whole = [cost(databases[title], AT, row) for title, row in columns]
    parts = {part: [cost(databases[title], AT, row, part) for title, row in columns] for part in PARTS}
    rest = [all_of_it - sum(times) for all_of_it, *times in zip(whole, *parts.values())]
    lines = [[PARTS[part], *map(seconds, times)] for part, times in parts.items()]
    lines += [
        ["Airflow: the rest, most of it queries and, where there is one, the database's server", *map(seconds, rest)],
        ["the whole pass", *map(seconds, whole)],
    ]
    return grid(["", *(f"{title}, {'first' if row == 'first' else 'later'}" for title, row in columns)], lines)


def reached(limit: Limit, figures: Figures) -> str:
    """Return at how many providers a limit is reached, by a straight line through what was measured."""
    start, slope = line([(number, cost(figures, number, limit.row, limit.part)) for number in SIZES])
    number = (limit.seconds - start) / slope
    words = "" if number <= SIZES[-1] else f", extrapolated from {SIZES[-1]:,}"
    return f"{limit.seconds} s at some {rounded(number):,} providers{words}"


def line(points: Sequence[Tuple[float, float]]) -> Tuple[float, float]:
    """Return the start and the slope of the straight line that fits best by least squares."""
    x_mean, y_mean = mean(x for x, _ in points), mean(y for _, y in points)
    slope = sum((x - x_mean) * (y - y_mean) for x, y in points) / sum((x - x_mean) ** 2 for x, _ in points)
    return y_mean - slope * x_mean, slope


def rounded(number: float) -> int:
    """Return two digits of it: more would be made up."""
    digits = len(str(int(number))) - 2
    return int(round(number, -max(digits, 0)))


def cost(figures: Figures, number: int, row: str, part: str = "") -> float:
    """Return the median of a pass's seconds of CPU, or of those of a part of it."""
    answers = figures.answers[Case(number, CONTENDER, row)]
    values: List[float] = [answer["parts"].get(part, 0.0) if part else answer["cpu"] for answer in answers]
    return median(values)
