"""What this checkout has to deploy, and whether it may be."""

import argparse
import getpass
import os
import re
from pathlib import Path
from typing import Dict, Iterable, Mapping, Optional, Set

from orchestrator import Rejected, read_context

from tools.checkout import RevisionError, definition_files, git, real_path
from tools.checks.definitions import check_definitions
from tools.deploying.bucket import Folder, Refused
from tools.deploying.cloud import client
from tools.deploying.releases import CODE, DEFINITION, Activation, State
from tools.terminal import typed_path
from tools.views.problems import print_report

IGNORE, FACTORY, PACKAGES = ".airflowignore", "factory.py", "requirements.txt"
OF_THE_ROOT = (IGNORE, PACKAGES)  # of the repository; all else is in dags/etl
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
    found = {path: file for path, file in files.items() if is_ours(path)}
    found.update({path: source(etl, path) for path in (IGNORE, FACTORY, PACKAGES)})
    for file in found.values():
        if not file.is_file():
            raise Refused(f"there is no {file.name} in this checkout, which MWAA needs; restore it from git's history")
    return found


def is_ours(path: str) -> bool:
    """Return whether a path below the folder is called like a file that is deployed."""
    return path in (IGNORE, FACTORY, PACKAGES) or bool(CODE.fullmatch(path) or DEFINITION.fullmatch(path))


def source(etl: Path, path: str) -> Path:
    """Return where a path's file stands in a checkout that has it."""
    return (etl.parent.parent if path in OF_THE_ROOT else etl) / path


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


def refuse_hiding(patterns: str) -> None:
    """Refuse an .airflowignore by which Airflow would not find our DAGs, or would look for some in the releases."""
    hidden = set()
    for pattern in filter(None, (re.sub(r"\s*#.*", "", line) for line in patterns.split("\n"))):
        try:
            hides = [name for name in (FACTORY, "orchestrator", "releases") if re.search(pattern, f"./etl/{name}")]
        except re.error as error:
            text = f"{IGNORE}: {pattern!r} is no regular expression ({error}), and with it Airflow finds no DAG"
            raise Refused(text) from None
        if FACTORY in hides:
            raise Refused(f"{IGNORE}: {pattern!r} hides etl/factory.py from Airflow, and with it every DAG")
        hidden.update(hides)
    for name in sorted({"orchestrator", "releases"} - hidden):
        raise Refused(f"{IGNORE} does not hide etl/{name}, in which Airflow would look for DAGs; add: /{name}$")


def commit_of(etl: Path, folder: Folder, paths: Iterable[str], whole: bool) -> str:
    """Return the commit of what is deployed; raise Refused where that is not what the commit has.

    Compared are contents, and not what git's index remembers of them: ignored files and those that a sparse checkout
    leaves out count too. ``whole``: what the commit has besides must not be missing.
    """
    root = Path(os.path.realpath(str(etl.parent.parent)))
    try:
        sha = git("rev-parse", "--verify", "HEAD", root=root).decode().strip()
    except RevisionError as error:
        raise Refused(f"a deploy records its commit, and there is none here; deploy from a clone. {error}") from None
    listed = git("ls-tree", "-r", "-z", sha, "--", "dags", "configs", *OF_THE_ROOT, root=root)
    rows = (row.split("\t", 1) for row in os.fsdecode(listed).split("\0") if row)
    committed = {path: row.split()[2] for row, path in rows}
    wanted = {os.path.relpath(os.path.realpath(str(source(etl, path))), str(root)) for path in paths}
    if whole:
        wanted |= {path for path in committed if is_ours(re.sub("^dags/etl/(?=[^.])", "", path))}
    there = sorted(path for path in wanted if (root / path).is_file())
    hashes = git("hash-object", "--", *there, root=root).decode().split() if there else []
    now = dict(zip(there, hashes))
    changed = sorted(path for path in wanted if now.get(path) != committed.get(path))
    if changed and not folder.is_sandbox:
        listing = "".join(f"\n  {path}" for path in changed)
        raise Refused(
            f"this is not what commit {sha[:12]} has; commit it, or deploy a sandbox with --sandbox:{listing}"
        )
    return sha + DIRTY * bool(changed)


def activation(etl: Path, state: State, release: str, commits: Mapping[str, str]) -> Activation:
    """Return an activation by this build, or by the person of this clone, at the time of S3's clock."""
    try:
        email = git("config", "user.email", root=etl.parent.parent).decode().strip()
    except RevisionError:
        email = ""
    by = os.environ.get("CODEBUILD_BUILD_ID") or email or getpass.getuser()
    return Activation(release, commits, by, state.listing.now.strftime("%Y-%m-%dT%H:%M:%SZ"))
