"""All checks of the definitions, for every environment.

The factory finds most problems, as it does in production. Checked only here is what needs more than one file at a
time: credentials by detect-secrets, requests by botocore's model of RunTask, and tasks that a commit still had.
"""

import os
from pathlib import Path, PurePosixPath
from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from orchestrator import (
    Context,
    Document,
    LoadResult,
    Location,
    Problem,
    Rejected,
    display_path,
    find_awaited,
    in_order,
    internal_error,
    pipeline_files,
    read_context,
    read_document,
    read_file,
)

from tools import checkout
from tools.checkout import definition_files, real_path, unread_files
from tools.checks.credentials import with_credentials, without_values
from tools.checks.generations import check_contexts, check_definitions_for
from tools.checks.removed import check_removed
from tools.checks.run_task import check_requests
from tools.terminal import count, typed_path, with_progress


class UsageError(Exception):
    """The command line makes no sense; the text says why."""


class Report(NamedTuple):
    """What was checked, and its problems."""

    problems: List[Problem]
    files: int
    dags: int
    environments: int
    uncompared: str  # why no removed tasks were looked for; "" if they were

    def __str__(self) -> str:
        checked = [count(self.files, "file"), count(self.dags, "DAG"), count(self.environments, "environment")]
        return f"{count(len(self.problems), 'problem') if self.problems else 'no problems'} in {', '.join(checked)}"


def select_files(etl: Path, paths: Sequence[str]) -> Optional[Set[Path]]:
    """Return the definitions that the paths name or hold; None, for all of them, without a path."""
    if not paths:
        return None
    places = {real_path(file): file for file in [*definition_files(etl), *unread_files(etl)]}
    selected: Set[Path] = set()
    for path in paths:
        typed = real_path(typed_path(path))
        if not os.path.lexists(str(typed)):
            raise UsageError(f"there is no {path}")
        files = {file for place, file in places.items() if typed == place or typed in place.parents}
        if not files:
            verb = "holds" if typed.is_dir() else "is"
            where = "dags/etl/pipelines/<family>/<name>.yaml or configs/<environment>.yaml"
            raise UsageError(f"{path} {verb} no definition; one is {where}")
        selected |= files
    return selected


def check_definitions(
    etl: Path, selected: Optional[Set[Path]] = None, against: Optional[str] = None, airflow: Optional[str] = None
) -> Report:
    """Check all definitions, or those selected.

    Args:
        etl: The folder ``dags/etl``.
        selected: The files to check; None for all.
        against: The commit whose tasks must still be there; None for where this branch left the main one.
        airflow: A newer generation of Airflow, of which to report what it no longer has.

    Raises:
        RevisionError: There is no such commit.
    """
    names = checkout.environments(etl)
    configs = [etl / "configs" / f"{name}.yaml" for name in names]
    pipelines, problems = pipeline_files(etl)
    contexts, unreadable_problems = read_contexts(etl, names)
    problems += unreadable_problems
    # An environment that cannot be read is reported even if it is not selected: nothing can be checked for it.
    unreadable = set(configs) - {etl / "configs" / f"{context.name}.yaml" for context in contexts}
    unread = unread_files(etl)
    files = (set(configs + unread + pipelines) if selected is None else selected) | unreadable
    paths = {display_path(etl, file) for file in files}
    problems += [unread_problem(etl, file) for file in unread if file in files]
    dag_ids: Set[str] = set()
    # A problem in an environment's defaults shows only when they are laid under a pipeline's tasks.
    related = pipelines if files & set(configs) else [file for file in pipelines if file in files]
    read: Dict[str, Dict[Path, LoadResult]] = {context.name: {} for context in contexts}
    for file in with_progress(related, "checking"):
        try:
            file_problems, file_ids = check_pipeline(etl, file, contexts, read, airflow)
            if contexts and not unreadable and not file_problems and not file_ids:
                file_problems = [no_dag(read_document(etl, file))]
        except Exception as error:
            file_problems, file_ids = [internal_error(display_path(etl, file), error, is_quoted=False)], set()
        problems += [problem for problem in file_problems if file in files or problem.location.path in paths]
        dag_ids |= file_ids if file in files else set()
    if airflow:
        for problem in check_contexts(contexts, airflow):
            problems += [problem] if problem.location.path in paths else []
    uncompared = ""
    try:
        revision = checkout.branch_point(etl.parent.parent) if against is None else against
    except checkout.RevisionError as error:
        uncompared = str(error)
    else:
        problems += check_removed(etl, [file for file in pipelines if file in files], revision)
    problems = hide_credentials(problems, etl, sorted({*files, *configs}))
    return Report(in_order(problems), len(files), len(dag_ids), len(names), uncompared)


def read_contexts(etl: Path, names: Iterable[str]) -> Tuple[List[Context], List[Problem]]:
    """Return the environments, and the problems of those that cannot be read."""
    contexts: List[Context] = []
    problems = checkout.no_environment(etl)
    for name in names:
        try:
            contexts.append(read_context(etl, name))
        except Rejected as rejected:
            problems += rejected.args
        except Exception as error:
            problems.append(internal_error(display_path(etl, etl / "configs" / f"{name}.yaml"), error, is_quoted=False))
    return contexts, problems


def unread_problem(etl: Path, file: Path) -> Problem:
    """Return the problem of a file that nothing reads."""
    is_config = file.parent == etl / "configs"
    hint = f"rename it: configs/{file.stem}.yaml" if is_config else "one is pipelines/<family>/<name>.yaml"
    what = "called like an environment" if is_config else "called or placed like a definition"
    return Problem(Location(display_path(etl, file)), f"is not {what}, and nothing reads it", hint)


def check_pipeline(
    etl: Path,
    file: Path,
    contexts: Sequence[Context],
    read: Mapping[str, Dict[Path, LoadResult]],
    airflow: Optional[str] = None,
) -> Tuple[List[Problem], Set[str]]:
    """Return a pipeline's problems in all environments, and the ids of its DAGs.

    Args:
        etl: The folder ``dags/etl``.
        file: The pipeline's.
        contexts: The environments.
        read: What files have been read before, by environment; what this one waits for is added.
        airflow: A newer generation of Airflow.
    """
    loaded: Dict[str, LoadResult] = {}
    for context in contexts:
        known = read[context.name]
        result = known[file] = known.get(file) or read_file(etl, file, context)
        definitions, of_waiting = find_awaited(etl, context, {file: result}, known)
        loaded[context.name] = LoadResult(definitions, result.problems + of_waiting)
    problems = {name: [*found.problems, *check_requests(found.definitions)] for name, found in loaded.items()}
    if airflow:
        for name, found in loaded.items():
            problems[name] += check_definitions_for(found.definitions, airflow)
    ids = {definition.dag_id for found in loaded.values() for definition in found.definitions}
    return merge_environments(problems), ids


def no_dag(document: Document) -> Problem:
    """Return the problem of a pipeline that has no DAG in any environment."""
    if not document.data["providers"]:
        family, pipeline = PurePosixPath(document.path).with_suffix("").parts[-2:]
        key, hint = "providers", f"add a provider: ./etl new provider {family}/{pipeline} NAME"
    else:
        key, hint = "environments", "name an environment in it, or delete the file"
    return document.problem((key,), "the pipeline has no DAG in any environment", hint, at_key=True)


def hide_credentials(problems: List[Problem], etl: Path, files: Sequence[Path]) -> List[Problem]:
    """Add the credentials in files, and quote none; of a file where looking for them fails, quote nothing at all."""
    try:
        return with_credentials(problems, etl, files)
    except Exception:
        failures: Dict[str, Problem] = {}
        for file in files:
            try:
                with_credentials([], etl, [file])
            except Exception as error:
                path = display_path(etl, file)
                failures[path] = internal_error(path, error, is_quoted=False)
        if not failures:
            raise
        searched = [file for file in files if display_path(etl, file) not in failures]
        # A problem at a value of the environment may quote a pipeline's, and the other way round.
        is_any = any("/configs/" in path for path in failures)
        shown = [
            without_values(problem) if is_any or path in failures or "/configs/" in path else problem
            for problem, path in ((problem, problem.location.path) for problem in problems)
        ]
        return [*with_credentials(shown, etl, searched), *failures.values()]


def merge_environments(problems: Dict[str, List[Problem]]) -> List[Problem]:
    """Merge the problem that several environments have into one that names them, unless all have it."""
    names: Dict[Problem, List[str]] = {}
    hints: Dict[Problem, str] = {}
    for name, of_environment in problems.items():
        for problem in of_environment:
            bare = problem._replace(hint="")  # a hint names what the environment has, such as its clusters
            hints.setdefault(bare, problem.hint)
            if name not in names.setdefault(bare, []):
                names[bare].append(name)
    merged = []
    for bare, where in names.items():
        # The path of a problem in an environment's own file names the environment.
        is_named = len(where) == len(problems) or "/configs/" in bare.location.path
        message = bare.message if is_named else f"{bare.message} (in {', '.join(where)})"
        merged.append(bare._replace(message=message, hint=hints[bare]))
    return merged
