"""Prints what an upgrade changes: as text, JSON or Markdown."""

import json
from typing import Iterable, Iterator, Sequence

from tools.terminal import console, printable
from tools.upgrade.compare import MAX_SHOWN, Report
from tools.upgrade.differences import Difference

HEADS = ("what", "2.2.2", "then", "why")


def print_report(report: Report, kind: str) -> None:
    """Print the report as text, json or markdown."""
    if kind == "json":
        findings = [finding._asdict() for finding in report.findings]
        changes = [dict(zip(HEADS, row(difference))) for difference in report.changes]
        answer = {"generation": report.generation, "is_equal": report.is_equal, "findings": findings}
        console().print(json.dumps({**answer, "changes": changes}, indent=2), soft_wrap=True)
        return
    lines = markdown(report) if kind == "markdown" else text(report)
    console().print(printable("\n".join(lines)), soft_wrap=True)


def text(report: Report) -> Iterator[str]:
    """Yield the lines of a report for a terminal."""
    width = max(len(finding.question) for finding in report.findings)
    for finding in report.findings:
        yield f"{'!' if finding.details else ' '} {finding.question:<{width}}  {finding.answer}"
        for detail in shown(finding.details):
            yield from (f"      {line}" for line in detail.splitlines())
    yield f"\nwhat changes for people in Airflow {report.generation}:"
    for change in report.changes:
        yield f"  {change.what}: {change.before} -> {change.after}\n      {change.why}"
    yield f"\n{verdict(report)}"


def markdown(report: Report) -> Iterator[str]:
    """Yield the lines of a report for a ticket."""
    yield f"# Upgrade to Airflow {report.generation}\n\n{verdict(report)}\n"
    yield from table(("question", "answer"), ((finding.question, finding.answer) for finding in report.findings))
    for finding in report.findings:
        if finding.details:
            yield f"\n## {finding.question}\n"
            yield from ("```text", *shown(finding.details), "```")
    yield "\n## What changes for people\n"
    yield from table(HEADS, map(row, report.changes))


def shown(details: Sequence[str]) -> Iterator[str]:
    """Yield the first details."""
    yield from details[:MAX_SHOWN]
    if len(details) > MAX_SHOWN:
        yield f"{len(details) - MAX_SHOWN} more; --format json has all"


def row(difference: Difference) -> Sequence[str]:
    """Return the cells of a difference, in the order of HEADS."""
    return difference.what, difference.before, difference.after, difference.why


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    yield f"| {' | '.join(heads)} |"
    yield f"| {' | '.join('---' for _ in heads)} |"
    for cells in rows:
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def verdict(report: Report) -> str:
    """Return the answer in one line."""
    if report.is_equal:
        return f"Nothing has to change before an upgrade to Airflow {report.generation}."
    wrong = sum(bool(finding.details) for finding in report.findings)
    return f"Before an upgrade to Airflow {report.generation}, look at {wrong} of {len(report.findings)} answers."
