"""The files of this checkout that are deployed, what refuses them, and their commit."""

import argparse
import getpass
import os
from pathlib import Path
from typing import Dict, Iterable, Mapping, Optional, Set

from orchestrator import Rejected, read_context

from tools.checkout import RevisionError, definition_files, etl_of_commit, git, real_path
from tools.checks.definitions import UsageError, check_definitions
from tools.deploying.bucket import Files, Folder, Refused
from tools.deploying.cloud import client
from tools.deploying.releases import CODE, DEFINITION, Activation, State, by_sha
from tools.terminal import typed_path
from tools.views.comparison import content
from tools.views.problems import print_report

IGNORE, FACTORY, PROBLEMS, PACKAGES = ".airflowignore", "factory.py", "problems.py", "requirements.txt"
BESIDE = (IGNORE, PROBLEMS, FACTORY)  # the releases
DIRTY = " with uncommitted changes"


def open_folder(etl: Path, options: argparse.Namespace) -> Folder:
    """Return the folder that the options name; raise Refused if the environment's file has problems."""
    try:
        region = str(read_context(etl, options.environment).environment.region)
    except Rejected as rejected:
        raise Refused("\n\n".join(["the environment has problems:", *map(str, rejected.args)])) from None
    return Folder(client("s3", region), options.environment, options.sandbox or "etl")


def sources(etl: Path) -> Dict[str, Path]:
    """Return the files of this checkout that are deployed, by path; raise Refused where one is missing."""
    modules = [file for file in etl.glob("orchestrator/*.py") if file.is_file()]  # an editor's lock is none
    files = {file.relative_to(etl).as_posix(): file for file in [*modules, *definition_files(etl)]}
    found = {path: file for path, file in files.items() if CODE.fullmatch(path) or DEFINITION.fullmatch(path)}
    found.update({path: source(etl, path) for path in (*BESIDE, PACKAGES)})
    for file in found.values():
        if not file.is_file():
            raise Refused(f"there is no {file.name} in this checkout, which MWAA needs; restore it from git's history")
    return found


def read(files: Mapping[str, Path]) -> Files:
    """Return the contents of files by path; raise Refused for one that cannot be read."""
    contents: Files = {}
    for path, file in files.items():
        try:
            contents[path] = file.read_bytes()
        except OSError as error:
            raise Refused(f"{path} cannot be read: {error.strerror}; make it readable") from error
    return contents


def at_hand(etl: Path) -> Dict[str, bytes]:
    """Return the definitions of this checkout by their SHA-256: as far as they can be read, the bucket need not be."""
    return by_sha(content(file) or b"" for file in definition_files(etl) if file.is_file())


def source(etl: Path, path: str) -> Path:
    """Return the file in a checkout that is deployed to a path."""
    return (etl.parent.parent if path in (IGNORE, PACKAGES) else etl) / path


def choose_path(typed: str, etl: Path, folder: Folder, paths: Iterable[str]) -> str:
    """Return the one of these paths whose file a person means; raise UsageError if none may be deployed alone."""
    place = real_path(typed_path(typed))
    for path in paths:
        file = source(etl, path)
        if place in (real_path(file), Path(os.path.realpath(str(file)))):
            if path in BESIDE or CODE.fullmatch(path):
                raise UsageError(f"{typed} is not deployed alone; deploy everything, without --only")
            return path
    raise UsageError(f"{typed} is neither a file that is deployed nor one that is at {folder}")


def refuse_problems(etl: Path, selected: Optional[Set[Path]]) -> None:
    """Raise Refused if ./etl check reports a problem of the selected definitions; None selects all."""
    report = check_definitions(etl, selected)
    if report.problems:
        print_report(report, "text")
        raise Refused("nothing is deployed while there are problems")


def commit_of(etl: Path, folder: Folder, contents: Files, only: str) -> str:
    """Return the commit of what is deployed; raise Refused if the files differ from it.

    This compares the contents instead of asking git's index, which does not report ignored files and those that a
    sparse checkout leaves out.
    """
    root = Path(os.path.realpath(str(etl.parent.parent)))
    try:
        sha = git("rev-parse", "--verify", "HEAD", root=root).decode().strip()
    except RevisionError as error:
        raise Refused(f"a deploy records its commit, and there is none here; deploy from a clone. {error}") from None
    with etl_of_commit(sha, root) as committed:
        theirs = read(sources(committed))
    differing = [path for path in ({only} if only else {*contents, *theirs}) if contents.get(path) != theirs.get(path)]
    changed = sorted(os.path.relpath(os.path.realpath(str(source(etl, path))), str(root)) for path in differing)
    if changed and not folder.is_sandbox:
        listing = "".join(f"\n  {path}" for path in changed)
        raise Refused(
            f"this is not what commit {sha[:12]} has; commit it, or deploy a sandbox with --sandbox:{listing}"
        )
    return sha + DIRTY * bool(changed)


def commits_after(etl: Path, state: State, commit: str, only: str) -> Dict[str, str]:
    """Return the commits of the new release: one for everything, or one more for the path ``only``."""
    if not only:
        return {"": commit}
    commits = {path: sha for path, sha in state.activations[0].commits.items() if path != only}
    if source(etl, only).is_file() and commit != commits.get(""):
        commits[only] = commit
    return commits


def activation(etl: Path, state: State, release: str, commits: Mapping[str, str]) -> Activation:
    """Return an activation by this build, or by the person of this clone, at the time of S3's clock."""
    try:
        email = git("config", "user.email", root=etl.parent.parent).decode().strip()
    except RevisionError:
        email = ""
    by = os.environ.get("CODEBUILD_BUILD_ID") or email or getpass.getuser()
    return Activation(release, commits, by, state.listing.now.strftime("%Y-%m-%dT%H:%M:%SZ"))
