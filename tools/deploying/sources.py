"""What this checkout has to deploy, and whether it may be."""

import argparse
import getpass
import os
from pathlib import Path
from typing import Dict, Iterable, Optional, Set

from orchestrator import Rejected, read_context

from tools.checkout import RevisionError, definition_files, etl_of_commit, git, real_path
from tools.checks.definitions import check_definitions
from tools.deploying.bucket import Files, Folder, Refused
from tools.deploying.cloud import client
from tools.deploying.releases import CODE, DEFINITION, Activation, State
from tools.terminal import typed_path
from tools.views.problems import print_report

IGNORE, FACTORY, PACKAGES = ".airflowignore", "factory.py", "requirements.txt"
DIRTY = " with uncommitted changes"


def open_folder(etl: Path, options: argparse.Namespace) -> Folder:
    """Return where a command's options lead; raise Refused where the environment's file is broken."""
    try:
        region = str(read_context(etl, options.environment).environment.region)
    except Rejected as rejected:
        raise Refused("\n\n".join(["the environment is broken:", *map(str, rejected.args)])) from None
    return Folder(client("s3", region), options.environment, options.sandbox or "etl")


def sources(etl: Path) -> Dict[str, Path]:
    """Return the files of this checkout that are deployed, by path; raise Refused where one is missing."""
    modules = [file for file in etl.glob("orchestrator/*.py") if file.is_file()]  # no lock of an editor
    files = {file.relative_to(etl).as_posix(): file for file in [*modules, *definition_files(etl)]}
    found = {path: file for path, file in files.items() if CODE.fullmatch(path) or DEFINITION.fullmatch(path)}
    found.update({path: source(etl, path) for path in (IGNORE, FACTORY, PACKAGES)})
    for file in found.values():
        if not file.is_file():
            raise Refused(f"there is no {file.name} in this checkout, which MWAA needs; restore it from git's history")
    return found


def source(etl: Path, path: str) -> Path:
    """Return where a path's file stands in a checkout that has it."""
    return (etl.parent.parent if path in (IGNORE, PACKAGES) else etl) / path


def choose_path(typed: str, etl: Path, paths: Iterable[str]) -> str:
    """Return the one of these paths whose file a person means; "" if none is."""
    place = real_path(typed_path(typed))
    for path in paths:
        file = source(etl, path)
        if place in (real_path(file), Path(os.path.realpath(str(file)))):
            return path
    return ""


def refuse_problems(etl: Path, selected: Optional[Set[Path]]) -> None:
    """Refuse to deploy problems that ./etl check reports, of all definitions or of those selected."""
    report = check_definitions(etl, selected)
    if report.problems:
        print_report(report, "text")
        raise Refused("nothing is deployed while there are problems")


def commit_of(etl: Path, folder: Folder, contents: Files, only: str) -> str:
    """Return the commit of what is deployed; raise Refused where that is not what the commit has.

    Compared are contents, and not what git's index remembers of them: ignored files and those that a sparse checkout
    leaves out count too.
    """
    root = Path(os.path.realpath(str(etl.parent.parent)))
    try:
        sha = git("rev-parse", "--verify", "HEAD", root=root).decode().strip()
    except RevisionError as error:
        raise Refused(f"a deploy records its commit, and there is none here; deploy from a clone. {error}") from None
    with etl_of_commit(sha, root) as committed:
        theirs = {path: file.read_bytes() for path, file in sources(committed).items()}
    differing = [path for path in ({only} if only else {*contents, *theirs}) if contents.get(path) != theirs.get(path)]
    changed = sorted(os.path.relpath(os.path.realpath(str(source(etl, path))), str(root)) for path in differing)
    if changed and not folder.is_sandbox:
        listing = "".join(f"\n  {path}" for path in changed)
        raise Refused(
            f"this is not what commit {sha[:12]} has; commit it, or deploy a sandbox with --sandbox:{listing}"
        )
    return sha + DIRTY * bool(changed)


def activation(etl: Path, state: State, release: str, commit: str, only: str) -> Activation:
    """Return an activation by this build, or by the person of this clone, at the time of S3's clock.

    The commit is that of all of the release, or that of the one path ``only``; of one that is gone there is none.
    """
    commits = {path: sha for path, sha in state.activations[0].commits.items() if only and path != only}
    if not only or (source(etl, only).is_file() and commit != commits.get("")):
        commits[only] = commit
    try:
        email = git("config", "user.email", root=etl.parent.parent).decode().strip()
    except RevisionError:
        email = ""
    by = os.environ.get("CODEBUILD_BUILD_ID") or email or getpass.getuser()
    return Activation(release, commits, by, state.listing.now.strftime("%Y-%m-%dT%H:%M:%SZ"))
