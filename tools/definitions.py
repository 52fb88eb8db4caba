"""The definitions of this checkout, or of one of its commits, as the factory reads them; without Airflow."""

import os
import subprocess
import sys
import tarfile
import tempfile
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Dict, Iterator, List, Optional

ROOT = Path(__file__).resolve().parent.parent
ETL = ROOT / "dags" / "etl"

if str(ETL) not in sys.path:
    sys.path.insert(0, str(ETL))
import factory  # noqa: E402

MAIN_BRANCHES = ("main", "origin/main", "master", "origin/master")


class RevisionError(Exception):
    """There is no such commit, or no git; the text says so to a person."""


def environments(etl: Path = ETL) -> List[str]:
    """The names of the environments that have a file in ``configs/``."""
    return sorted(file.stem for file in etl.glob("configs/*.yaml"))


def load_all(etl: Path = ETL) -> Dict[str, factory.Found]:
    """What each environment holds: definitions and problems."""
    return {name: factory.load(etl, name) for name in environments(etl)}


def load_dag(etl: Path, environment: str, dag_id: str) -> factory.Found:
    """The one definition of a DAG id, or the problems that keep it out; neither where nothing is meant to give it."""
    names = factory.parse_dag_id(dag_id)
    if names is None or not os.path.lexists(etl / "pipelines" / names[0] / f"{names[1]}.yaml"):
        return factory.Found([], [])
    found = factory.load(etl, environment, dag_id)
    own = [definition for definition in found.definitions if definition.dag_id == dag_id]
    # The factory reads the file's other providers only where this one is not among them.
    is_another = bool(found.definitions) and not own
    return factory.Found(own, [] if is_another else found.problems)


def git(*arguments: str, root: Path = ROOT) -> bytes:
    """What a git command prints; raises RevisionError with git's own words where it fails."""
    try:
        done = subprocess.run(["git", *arguments], cwd=str(root), capture_output=True)
    except FileNotFoundError:
        raise RevisionError("git is not installed; install it, e.g.: apt-get install git") from None
    if done.returncode:
        raise RevisionError(done.stderr.decode(errors="replace").strip())
    return done.stdout


def branch_point(root: Path = ROOT) -> Optional[str]:
    """The commit where this branch left the main one: HEAD on main itself, None where there is no main branch."""
    for branch in MAIN_BRANCHES:
        try:
            return git("merge-base", "HEAD", branch, root=root).decode().strip()
        except RevisionError:
            continue
    return None


@contextmanager
def checkout(revision: str, root: Path = ROOT) -> Iterator[Path]:
    """Give the folder ``dags/etl`` of a commit for as long as the context lasts; raises RevisionError."""
    try:
        name = f"{revision}^{{commit}}"
        commit = git("rev-parse", "--verify", "--quiet", "--end-of-options", name, root=root).decode().split()[-1]
    except RevisionError as error:
        raise RevisionError(str(error) or f"there is no commit '{revision}'") from None
    paths = [path for path in ("configs", "dags") if git("ls-tree", "--name-only", commit, "--", path, root=root)]
    with tempfile.TemporaryDirectory(prefix="etl-") as folder:
        if paths:
            with tarfile.open(fileobj=BytesIO(git("archive", commit, "--", *paths, root=root))) as archive:
                archive.extractall(folder)
        yield Path(folder) / "dags" / "etl"
