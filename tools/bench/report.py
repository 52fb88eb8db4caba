"""What was measured, as tables for people."""

import os
import platform
import re
import time
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence

import importlib_metadata
import psutil

from tools.bench.contenders import CONTENDERS
from tools.bench.race import Case, Figures

FLOOR = "loop"
TABLES = {
    "parse": "Parse, in a fresh process",
    "warm": "Parse, with every library imported before",
    "task": "Start of a task, in a fresh process",
    "first": "A DagFileProcessor's pass with its database: the first",
    "steady": "A DagFileProcessor's pass with its database: every later one",
}
PACKAGES = "apache-airflow apache-airflow-providers-amazon pydantic PyYAML".split()
MIB = 1024 * 1024


class Target(NamedTuple):
    """A ratio that is wanted: the cost of one case to that of another."""

    title: str
    case: Case
    other: Case
    limit: float
    key: str = "cpu"
    is_least: bool = False

    def measured(self, figures: Figures) -> Optional[float]:
        """Return the ratio, or None if one of the two was not measured."""
        cost, other = figures.median(self.case, self.key), figures.median(self.other, self.key)
        return cost / other if cost and other else None

    def verdict(self, figures: Figures) -> str:
        """Return whether it is met."""
        ratio = self.measured(figures)
        if ratio is None:
            return "not measured"
        return "met" if (ratio >= self.limit if self.is_least else ratio <= self.limit) else "**not met**"


FACTORY, LOOP = Case(1000, "factory", "parse"), Case(1000, FLOOR, "parse")
TASK = Case(1, "factory", "task")
TARGETS = [
    Target("parse of 1,000 providers, to the floor", FACTORY, LOOP, 1.10),
    Target("the same, to the loop with the factory's operator", FACTORY, LOOP._replace(contender="own-loop"), 1.10),
    Target("start of a task among 1,000 providers in 20 files, to one among 1", TASK._replace(number=1000), TASK, 1.10),
    Target(
        "start of a task among 1,000 providers in one file, to one among 1", Case(1000, "one-file", "task"), TASK, 1.5
    ),
    Target("memory at 1,000 providers, to the floor: the whole process", FACTORY, LOOP, 1.10, "peak"),
    Target("memory at 1,000 providers, to the floor: above an Airflow without DAGs", FACTORY, LOOP, 1.10, "memory"),
    Target("parse of 10,000 providers, to that of 1,000", FACTORY._replace(number=10_000), FACTORY, 10.5),
    *(
        Target(f"parse of 100 providers by {peer}, to this factory{words}", *cases, 15, is_least=True)
        for row, words in (("parse", ""), ("warm", ", with every library imported before"))
        for peer in ("dag-factory", "gusty")
        for cases in [(Case(100, peer, row), Case(100, "factory", row))]
    ),
]


def report(figures: Figures, sizes: Sequence[int], contenders: Sequence[str]) -> str:
    """Return everything as Markdown."""
    measured = {case.row for case in figures.answers}
    tables = {row: title for row, title in TABLES.items() if row in measured}
    parts = [
        circumstances(),
        "### Targets",
        targets(figures),
        *(part for row, title in tables.items() for part in (f"### {title}", table(figures, row, sizes, contenders))),
        "### Memory of a parse, above an Airflow without DAGs",
        table(figures, "parse", sizes, contenders, "memory"),
    ]
    return "\n\n".join(parts)


def circumstances() -> str:
    """Return when, on what and with which versions was measured."""
    version = importlib_metadata.version
    versions = [f"{package} {version(package)}" for package in PACKAGES]  # type: ignore[no-untyped-call]
    memory = psutil.virtual_memory().total / MIB / 1024
    machine = f"{processor()}, {os.cpu_count()} cores, {memory:.0f} GiB"
    return f"{time.strftime('%Y-%m-%d')}, {machine}, Python {platform.python_version()}, {', '.join(versions)}."


def processor() -> str:
    """Return the processor's name, as Linux has it."""
    try:
        names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        names = []
    return str(names[0]) if names else platform.processor() or platform.machine()


def targets(figures: Figures) -> str:
    """Return the table of targets."""
    lines = []
    for target in TARGETS:
        ratio = target.measured(figures)
        wanted = f"{'at least' if target.is_least else 'at most'} {target.limit:.2f} x"
        lines.append([target.title, wanted, "" if ratio is None else f"{ratio:.2f} x", target.verdict(figures)])
    return grid(["", "wanted", "measured", ""], lines)


def table(figures: Figures, row: str, sizes: Sequence[int], contenders: Sequence[str], key: str = "cpu") -> str:
    """Return one row of all contenders against the number of providers, with the ratio to the floor."""
    lines = [
        [CONTENDERS[contender].title, *(cell(figures, Case(number, contender, row), key) for number in sizes)]
        for contender in contenders
        if row in CONTENDERS[contender].rows
    ]
    return grid(["providers", *(f"{number:,}" for number in sizes)], lines)


def cell(figures: Figures, case: Case, key: str) -> str:
    """Return a cost with its ratio to the floor, or why there is none."""
    cost, floor = figures.median(case, key), figures.median(case._replace(contender=FLOOR), key)
    if cost is None:
        return figures.left_out.get(case, "")
    amount = f"{cost / MIB:.1f} MiB" if key == "memory" else seconds(cost)
    return f"{amount} ({cost / floor:.2f} x)" if floor and case.contender != FLOOR else amount


def grid(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown, with all but its first column to the right."""
    rule = ["---", *("---:" for _ in header[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *lines))


def seconds(amount: float) -> str:
    """Return a length of time in three digits or so."""
    return f"{amount * 1000:.0f} ms" if amount < 1 else f"{amount:.2f} s" if amount < 10 else f"{amount:,.0f} s"


def put(file: Path, part: str, text: str) -> None:
    """Write a generated part of a document: what stands between its two markers."""
    begin, end = markers(part)
    document = file.read_text(encoding="utf-8") if file.exists() else ""
    before, _, rest = document.partition(begin)
    _, _, after = rest.partition(end)
    file.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def markers(part: str) -> List[str]:
    """Return what stands before and after a generated part."""
    return [f"<!-- {word} of ./etl bench {part} -->" for word in ("begin", "end")]
