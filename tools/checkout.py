"""The definitions of this checkout, or of one of its commits, as the factory reads them; without Airflow."""

import os
import subprocess
import tarfile
import tempfile
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Dict, Iterator, List

from orchestrator import LoadResult, Problem, environment_names, is_yaml, load, parse_dag_id, pipeline_files

from tools import ETL, ROOT

# Git sets them for hooks of a worktree; then it takes the folder that it runs in for the top of the repository.
OF_HOOKS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR")
MAIN_BRANCHES = ("main", "origin/main", "master", "origin/master")


class RevisionError(Exception):
    """There is no such commit, or no git; the text is for a person."""


def environments(etl: Path = ETL) -> List[str]:
    """Return the names of the environments that have a file in ``configs/``."""
    return environment_names(etl)


def no_environment(etl: Path = ETL) -> List[Problem]:
    """Return the problem of a folder that has no environment, so that nothing in it is read; none if it has one.

    Where Git writes no links, as on Windows, ``configs`` is a file with the path of the folder.
    """
    return [] if environments(etl) else load(etl, None).problems


def unread_files(etl: Path) -> List[Path]:
    """Return the YAML files that nothing reads: beside ``pipelines/``, or not like an environment in ``configs/``."""
    found: List[Path] = []
    for base in (etl, etl / "configs"):
        for top, folders, names in os.walk(str(base)):
            folders[:] = [name for name in folders if not name.startswith(".") and Path(top, name) != etl / "pipelines"]
            found += [Path(top, name) for name in names if is_yaml(name) and not name.startswith(".")]
    return sorted(set(found) - {etl / "configs" / f"{name}.yaml" for name in environment_names(etl)})


def definition_files(etl: Path) -> List[Path]:
    """Return the files of all environments and pipelines."""
    return [*(etl / "configs" / f"{name}.yaml" for name in environment_names(etl)), *pipeline_files(etl)[0]]


def real_path(path: Path) -> Path:
    """Return the absolute path with the links to folders followed, but not one that stands for a definition."""
    real = Path(os.path.realpath(str(path)))
    return real if os.path.isdir(str(real)) else Path(os.path.realpath(str(path.parent))) / path.name


def load_all(etl: Path = ETL) -> Dict[str, LoadResult]:
    """Return the definitions and problems of each environment."""
    return {name: load(etl, name) for name in environments(etl)}


def load_dag(etl: Path, environment: str, dag_id: str) -> LoadResult:
    """Return the definition of a DAG id, or the problems that keep it out; neither if no file is meant to hold it."""
    names = parse_dag_id(dag_id)
    if names is None or not os.path.lexists(etl / "pipelines" / names[0] / f"{names[1]}.yaml"):
        return LoadResult([], [])
    found = load(etl, environment, dag_id)
    own = [definition for definition in found.definitions if definition.dag_id == dag_id]
    # The factory reads the file's other providers only where this one is not among them.
    is_another = bool(found.definitions) and not own
    return LoadResult(own, [] if is_another else found.problems)


def git(*arguments: str, root: Path = ROOT) -> bytes:
    """Return what a git command prints; raise RevisionError with git's own words if it fails."""
    environ = {name: value for name, value in os.environ.items() if name not in OF_HOOKS}
    try:
        done = subprocess.run(["git", *arguments], cwd=str(root), env=environ, capture_output=True)
    except FileNotFoundError:
        raise RevisionError("git is not installed; install it, e.g.: apt-get install git") from None
    except OSError as error:
        raise RevisionError(f"git cannot be started: {error.strerror}") from error
    if done.returncode:
        raise RevisionError(done.stderr.decode(errors="replace").strip())
    return done.stdout


def branch_point(root: Path = ROOT) -> str:
    """Return the commit where this branch left the main one: HEAD on main itself.

    Raises:
        RevisionError: There is no main branch with which this one has a commit in common, as in a shallow clone, or git
            cannot read the repository.
    """
    git("log", "-1", root=root)  # says what is wrong with the repository
    for branch in MAIN_BRANCHES:
        try:
            return git("merge-base", "HEAD", branch, root=root).decode().strip()
        except RevisionError:
            continue
    hint = "name a commit, such as HEAD, or fetch all of main: git fetch --unshallow"
    raise RevisionError(f"there is no main branch here that this one comes from; {hint}")


@contextmanager
def etl_of_commit(revision: str, root: Path = ROOT) -> Iterator[Path]:
    """Provide the folder ``dags/etl`` of a commit for as long as the context lasts.

    Raises:
        RevisionError: There is no such commit, or no room for a copy of it.
    """
    try:
        name = f"{revision}^{{commit}}"
        commit = git("rev-parse", "--verify", "--quiet", "--end-of-options", name, root=root).decode().split()[-1]
    except RevisionError as error:
        raise RevisionError(str(error) or f"there is no commit '{revision}'") from None
    names = ("configs", "dags", ".airflowignore", "requirements.txt")
    paths = [path for path in names if git("ls-tree", "--name-only", commit, "--", path, root=root)]
    archived = git("archive", commit, "--", *paths, root=root) if paths else b""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="etl-"))
            if archived:
                stack.enter_context(tarfile.open(fileobj=BytesIO(archived))).extractall(folder)
        except OSError as error:
            raise RevisionError(f"a commit cannot be unpacked into a temporary folder: {error.strerror}") from error
        yield Path(folder) / "dags" / "etl"
