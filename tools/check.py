"""./etl check [PATH...]: every mistake in the definitions, for every environment, with its place and a hint.

The factory finds most of them, as it does in production. Checked only here is what needs more than one file at one
time: credentials by detect-secrets, requests by botocore's model of RunTask, and tasks that a commit still had.
"""

import argparse
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple, TypeVar

from tools import definitions
from tools.definitions import RevisionError, factory
from tools.removed import check_removed
from tools.requests import check_requests
from tools.secrets import with_secrets

T = TypeVar("T")
Problem = factory.Problem
DESCRIPTION = "Tell every mistake in the definitions, for every environment, with its place and a hint."
EPILOG = "Exit status: 0 nothing is wrong, 1 something is, 2 wrong use. The rules are in docs/rules.md."
FORMATS = ("text", "json", "github")
PATIENCE = 1.0  # seconds until a person is shown a progress bar


class UsageError(Exception):
    """What was typed makes no sense; the text says why."""


class Report(NamedTuple):
    """What was looked at, and what is wrong with it."""

    problems: List[Problem]
    files: int
    dags: int
    environments: int
    revision: Optional[str]  # the commit whose tasks must still be there

    def __str__(self) -> str:
        seen = [count(self.files, "file"), count(self.dags, "DAG"), count(self.environments, "environment")]
        return f"{count(len(self.problems), 'problem') if self.problems else 'no problems'} in {', '.join(seen)}"


def main(arguments: List[str]) -> int:
    """Check and print; gives the exit status."""
    options = parse(arguments)
    etl = definitions.ETL
    try:
        report = check(etl, select(etl, options.paths), options.against)
    except (UsageError, RevisionError) as error:
        print(f"etl check: {error}", file=sys.stderr)
        return 2
    print_report(report, options.format)
    if report.revision is None:  # as in a shallow clone, which a pipeline of CI often is
        print("etl check: found no main branch to look for removed tasks in; name a commit: --against", file=sys.stderr)
    return 1 if report.problems else 0


def parse(arguments: List[str]) -> argparse.Namespace:
    """Give what was typed; exits with status 2 where it makes no sense."""
    parser = argparse.ArgumentParser(prog="./etl check", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("paths", metavar="PATH", nargs="*", help="definition, or folder of some; default: all")
    parser.add_argument("--format", choices=FORMATS, default="text", help="github: annotations of a pull request")
    parser.add_argument(
        "--against",
        metavar="REV",
        help="commit whose tasks must still be there; default: where this branch left the main one",
    )
    return parser.parse_args(arguments)


# ------------------------------------------------------------------------------------------------ what is asked for


def select(etl: Path, paths: Sequence[str]) -> Optional[Set[Path]]:
    """Give the definitions that the paths name or hold; None for all, where there is no path."""
    if not paths:
        return None
    # ./etl changes to the checkout; a path is relative to where it was typed.
    folder = Path(os.environ.get("ETL_FOLDER", os.curdir))
    places = {real_path(file): file for file in definition_files(etl)}
    selected: Set[Path] = set()
    for path in paths:
        typed = real_path(folder / path)
        if not os.path.lexists(str(typed)):
            raise UsageError(f"there is no {path}")
        found = {file for place, file in places.items() if typed == place or typed in place.parents}
        if not found:
            verb = "holds" if typed.is_dir() else "is"
            where = "dags/etl/pipelines/<family>/<name>.yaml or configs/<environment>.yaml"
            raise UsageError(f"{path} {verb} no definition; one is {where}")
        selected |= found
    return selected


def definition_files(etl: Path) -> List[Path]:
    """Give the files of all environments and pipelines."""
    return [*sorted(etl.glob("configs/*.yaml")), *factory.pipeline_files(etl)[0]]


def real_path(path: Path) -> Path:
    """Give the absolute path with the links to folders followed, but not one that stands for a definition."""
    real = Path(os.path.realpath(str(path)))
    return real if real.is_dir() else Path(os.path.realpath(str(path.parent))) / path.name


# --------------------------------------------------------------------------------------------------------- checking


def check(etl: Path, selected: Optional[Set[Path]], against: Optional[str]) -> Report:
    """Check all definitions, or those selected; raises RevisionError."""
    names = definitions.environments(etl)
    configs = [etl / "configs" / f"{name}.yaml" for name in names]
    pipelines, problems = factory.pipeline_files(etl)
    contexts, found = read_contexts(etl, names)
    problems += found
    # An environment that cannot be read is told even if it is not selected: nothing can be checked for it.
    unreadable = set(configs) - {etl / "configs" / f"{context.name}.yaml" for context in contexts}
    wanted = (set(configs + pipelines) if selected is None else selected) | unreadable
    paths = {factory.shown(etl, file) for file in wanted}
    dag_ids: Set[str] = set()
    # What is wrong in an environment's defaults shows only when they are laid under a pipeline's tasks.
    for file in with_progress(pipelines if wanted & set(configs) else [file for file in pipelines if file in wanted]):
        found, ids = check_pipeline(etl, file, contexts)
        problems += [problem for problem in found if file in wanted or problem.path in paths]
        dag_ids |= ids if file in wanted else set()
    for file in sorted(wanted):
        problems = with_secrets(problems, etl, file)
    revision = against or definitions.branch_point(etl.parent.parent)
    if revision:
        problems += check_removed(etl, [file for file in pipelines if file in wanted], revision)
    return Report(sorted(set(problems)), len(wanted), len(dag_ids), len(names), revision)


def read_contexts(etl: Path, names: Iterable[str]) -> Tuple[List[factory.Context], List[Problem]]:
    """Give the environments, and what is wrong with those that cannot be had."""
    contexts: List[factory.Context] = []
    problems: List[Problem] = []
    for name in names:
        try:
            contexts.append(factory.read_context(etl, name))
        except factory.Rejected as rejected:
            problems += rejected.args
    return contexts, problems


def check_pipeline(etl: Path, file: Path, contexts: Sequence[factory.Context]) -> Tuple[List[Problem], Set[str]]:
    """Give what is wrong with a pipeline in all environments, and the ids of its DAGs."""
    found = {context.name: factory.read_file(etl, file, context) for context in contexts}
    problems = {name: [*there.problems, *check_requests(there.definitions)] for name, there in found.items()}
    ids = {definition.dag_id for there in found.values() for definition in there.definitions}
    return merge_environments(problems), ids


def merge_environments(problems: Dict[str, List[Problem]]) -> List[Problem]:
    """Tell a problem once that several environments have, and name them unless all have it."""
    names: Dict[Problem, List[str]] = {}
    hints: Dict[Problem, str] = {}
    for name, found in problems.items():
        for problem in found:
            bare = problem._replace(hint="")  # a hint names what the environment has, such as its clusters
            hints.setdefault(bare, problem.hint)
            if name not in names.setdefault(bare, []):
                names[bare].append(name)
    merged = []
    for bare, where in names.items():
        # The path of a problem in an environment's own file says it.
        says_where = len(where) == len(problems) or "/configs/" in bare.path
        message = bare.message if says_where else f"{bare.message} (in {', '.join(where)})"
        merged.append(bare._replace(message=message, hint=hints[bare]))
    return merged


def with_progress(items: Sequence[T], doing: str = "checking") -> Iterator[T]:
    """Give the items one by one; after a second, show a terminal how far it is."""
    started, progress, bar = time.monotonic(), None, None
    try:
        for number, item in enumerate(items):
            if progress is None and time.monotonic() - started > PATIENCE:
                from rich.console import Console
                from rich.progress import Progress

                console = Console(stderr=True)
                progress = Progress(console=console, transient=True, disable=not console.is_terminal)
                progress.start()
                bar = progress.add_task(doing, total=len(items))
            if progress is not None and bar is not None:
                progress.update(bar, completed=number)
            yield item
    finally:
        if progress is not None:
            progress.stop()


# --------------------------------------------------------------------------------------------------------- printing


def print_report(report: Report, form: str) -> None:
    """Print the problems; the summary goes where it is in nobody's way."""
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
    """Give a problem for other programs."""
    return {key: getattr(problem, key) for key in ("path", "line", "column", "message", "hint", "rule")}


def annotation(problem: Problem) -> str:
    """Give the workflow command that makes GitHub show a problem beside the line of a pull request.

    See https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions.
    """
    # GitHub shows an annotation only at a file of the repository, not at one behind a link to its folder.
    path = re.sub(r"^dags/etl/configs/", "configs/", problem.path)
    places = {"file": path, "line": problem.line, "col": problem.column, "title": problem.rule}
    properties = ",".join(f"{key}={escape(str(value), ':,')}" for key, value in places.items())
    return f"::error {properties}::{escape(problem.message + (problem.hint and chr(10) + problem.hint))}"


def escape(text: str, more: str = "") -> str:
    """Escape text as GitHub's workflow commands have it; a property has more to escape than a message."""
    return "".join(f"%{ord(c):02X}" if c in "%\r\n" + more else c for c in text)


def count(number: int, noun: str) -> str:
    """Give '1 file' or '2 files'."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
