"""Problems for a person, for other programs, and for GitHub."""

import json
import re
import sys
from typing import Any, Dict

from orchestrator import Problem

from tools.checks.definitions import Report
from tools.terminal import printable


def print_report(report: Report, form: str) -> None:
    """Print the problems as text, json or github; only with text is the summary part of the answer."""
    if form == "json":
        print(json.dumps([as_json(problem) for problem in report.problems], indent=2))
    elif form == "github":
        for problem in report.problems:
            print(annotation(problem))
    else:
        for problem in report.problems:
            print(f"{problem}\n")
    print(report, file=sys.stdout if form == "text" else sys.stderr)


def as_json(problem: Problem) -> Dict[str, Any]:
    """Return a problem as plain data."""
    path, line, column, _, _ = problem.location
    texts = {"message": problem.message, "hint": problem.hint, "rule": problem.rule}
    return {"path": path, "line": line, "column": column, **texts}


def annotation(problem: Problem) -> str:
    """Return the workflow command that makes GitHub show a problem beside the line of a pull request.

    See https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions.
    """
    # GitHub shows an annotation only at a file of the repository, not at one behind a link to its folder.
    path = re.sub(r"^dags/etl/configs/", "configs/", problem.location.path)
    places = {"file": path, "line": problem.location.line, "col": problem.location.column, "title": problem.rule}
    properties = ",".join(f"{key}={escape(str(value), ':,')}" for key, value in places.items())
    return f"::error {properties}::{escape(problem.message + (problem.hint and chr(10) + problem.hint))}"


def escape(text: str, more: str = "") -> str:
    """Escape text as GitHub's workflow commands have it; a property has more to escape than a message."""
    return "".join(f"%{ord(c):02X}" if c in "%\r\n" + more else c for c in printable(text, keep="\r\n"))
