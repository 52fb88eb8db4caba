"""What this checkout has to deploy, and whether it may be."""

import os
import re
from pathlib import Path
from typing import Dict, Iterable, Optional, Set

from orchestrator import Rejected, read_context

from tools.checkout import RevisionError, definition_files, git, real_path
from tools.checks.definitions import check_definitions
from tools.deploying.bucket import DIRTY, IGNORE, OURS, REQUIREMENTS, Target
from tools.deploying.upload_order import Refused, code_files
from tools.terminal import typed_path
from tools.views.problems import print_report


def region(etl: Path, environment: str) -> str:
    """Return the AWS region of an environment; raise Refused where its file is broken."""
    try:
        return str(read_context(etl, environment).environment.region)
    except Rejected as rejected:
        raise Refused("\n\n".join(["the environment is broken:", *map(str, rejected.args)])) from None


def sources(etl: Path, target: Target) -> Dict[str, Path]:
    """Return the files of this checkout that are deployed, by key; raise Refused where one is missing."""
    code = [etl / name for name in code_files(etl)]
    files = {file.relative_to(etl).as_posix(): file for file in code + definition_files(etl)}
    files_by_key = {target.prefix + name: file for name, file in files.items() if OURS.fullmatch(name)}
    if not target.is_sandbox:  # a sandbox leaves what all folders share alone
        files_by_key.update({key: source(etl, target, key) for key in (IGNORE, REQUIREMENTS)})
    for file in files_by_key.values():
        if not file.is_file():
            raise Refused(f"there is no {file.name} in this checkout, which MWAA needs; restore it from git's history")
    return files_by_key


def source(etl: Path, target: Target, key: str) -> Path:
    """Return where a key's file stands in a checkout that has it."""
    shared = {IGNORE: etl.parent / ".airflowignore", REQUIREMENTS: etl.parent.parent / "requirements.txt"}
    return shared.get(key) or etl / key[len(target.prefix) :]


def choose_key(path: str, etl: Path, target: Target, keys: Iterable[str]) -> str:
    """Return the one of these keys whose file a person means; "" if none is."""
    typed = real_path(typed_path(path))
    for key in keys:
        file = source(etl, target, key)
        if typed in (real_path(file), Path(os.path.realpath(str(file)))):
            return key
    return ""


def refuse_problems(etl: Path, selected: Optional[Set[Path]]) -> None:
    """Refuse to deploy problems that ./etl check reports, of all definitions or of those selected."""
    report = check_definitions(etl, selected)
    if report.problems:
        print_report(report, "text")
        raise Refused("nothing is deployed while there are problems")


def refuse_hiding(patterns: str) -> None:
    """Refuse an .airflowignore by which Airflow would not find our DAGs, or none of anybody's."""
    for pattern in filter(None, (re.sub(r"\s*#.*", "", line) for line in patterns.split("\n"))):
        try:
            hides = re.search(pattern, "./etl") or re.search(pattern, "./etl/factory.py")
        except re.error as error:
            text = f".airflowignore: {pattern!r} is no regular expression ({error}), and with it Airflow finds no DAG"
            raise Refused(text) from None
        if hides:
            raise Refused(f".airflowignore: {pattern!r} hides etl/factory.py from Airflow, and with it every DAG")


def commit_of(etl: Path, target: Target, keys: Iterable[str], whole: bool) -> str:
    """Return the commit of what is deployed; raise Refused where that is not what the commit has.

    Compared are contents, and not what git's index remembers of them: ignored files and those that a sparse checkout
    leaves out count too. ``whole``: what the commit has besides must not be missing.
    """
    root = Path(os.path.realpath(str(etl.parent.parent)))
    try:
        sha = git("rev-parse", "--verify", "HEAD", root=root).decode().strip()
    except RevisionError as error:
        raise Refused(f"a deploy records its commit, and there is none here; deploy from a clone. {error}") from None
    listed = git("ls-tree", "-r", "-z", sha, "--", "dags", "configs", ".airflowignore", "requirements.txt", root=root)
    rows = (row.split("\t", 1) for row in os.fsdecode(listed).split("\0") if row)
    committed = {path: row.split()[2] for row, path in rows}
    wanted = {os.path.relpath(os.path.realpath(str(source(etl, target, key))), str(root)) for key in keys}
    if whole:
        wanted |= {path for path in committed if OURS.fullmatch(re.sub("^dags/etl/", "", path))}
    there = sorted(path for path in wanted if (root / path).is_file())
    hashes = git("hash-object", "--", *there, root=root).decode().split() if there else []
    now = dict(zip(there, hashes))
    changed = sorted(path for path in wanted if now.get(path) != committed.get(path))
    if changed and not target.is_sandbox:
        listing = "".join(f"\n  {path}" for path in changed)
        raise Refused(
            f"this is not what commit {sha[:12]} has; commit it, or deploy a sandbox with --sandbox:{listing}"
        )
    return sha + DIRTY * bool(changed)
