"""Deploying from this checkout, and removing a sandbox.

A deploy goes: what this checkout has -> what the bucket has -> what changes -> writing in a harmless order -> reading
back. Running it again is always right: it writes what differs, and nothing else.
"""

import argparse
from pathlib import Path
from typing import Any

from tools.checkout import definition_files
from tools.checks.definitions import UsageError
from tools.deploying.bucket import (
    COMMIT,
    IGNORE,
    REQUIREMENTS,
    Change,
    Deployed,
    Target,
    display_key,
    read,
    refuse_foreign,
    stage,
    tree,
    verify,
    write,
)
from tools.deploying.changes import after_deploy, changes, print_change
from tools.deploying.sources import choose_key, commit_of, refuse_hiding, refuse_problems, sources
from tools.deploying.upload_order import Place, Refused, parse_tree
from tools.terminal import confirm, count


def deploy(s3: Any, target: Target, etl: Path, options: argparse.Namespace) -> int:
    """Make the bucket hold what this checkout holds; return the exit status."""
    files = sources(etl, target)
    only = "" if options.only is None else choose_key(options.only, etl, target, files)
    # A definition that goes alone answers for itself; so does the deletion of one.
    alone = {files[only]} if only else set()
    refuse_problems(etl, alone if options.only is not None and alone <= set(definition_files(etl)) else None)
    deployed = read(s3, target)
    refuse_foreign(s3, target, deployed)
    if options.only is not None and not only:
        below = [target.prefix + path for path in tree(target, deployed.files)]
        only = choose_key(options.only, etl, target, below)
        if not only:
            raise UsageError(f"{options.only} is neither a file that is deployed nor one that is at {target}")
    new = {key: file.read_bytes() for key, file in files.items() if key == (only or key)}
    refuse_hiding(new.get(IGNORE, b"").decode(errors="replace"))
    commit = commit_of(etl, target, [only] if only else new, whole=not only)
    after = after_deploy(target, deployed, new, only, commit)
    change = changes(target, deployed, after, only, options.pause)
    for key in deployed.odd:
        print(f"left alone, since it is no path: {display_key(key)}")
    if not change.writes:
        print(f"\nnothing to deploy: {target} is as commit {commit} has it")
        return 0
    print_change(change)
    warn_of_requirements(deployed, change)
    if options.dry_run:
        print("\nnothing was written: this is a dry run")
        return 0
    if not (options.yes or confirm(f"\nDeploy commit {commit[:12]}{commit[40:]} to {target}?")):
        print("nothing was written")
        return 1
    version = write(s3, target, change, commit)
    try:
        verify(s3, target, after, whole=not only)
        deleted = list(change.writes.values()).count(None)
        print(f"\nuploaded {len(change.writes) - deleted}, deleted {deleted}; read back, {target} is what was meant.")
        is_at = "is gone, as in" if only and only not in after else "is at"
        print(f"{options.only or 'It'} {is_at} commit {commit}.")
        print("MWAA copies it within about 30 s; do not trigger a DAG for a minute.")
    finally:  # when it is run again, the file is no change any more
        if REQUIREMENTS in change.writes:
            print(requirements_note(version))
    return 0


def warn_of_requirements(deployed: Deployed, change: Change) -> None:
    """Warn of a factory that comes before the packages that it may need."""
    together = [key for key in change.writes if key == REQUIREMENTS or key.endswith("/factory.py")]
    if REQUIREMENTS in together and len(together) == 2 and all(key in deployed.files for key in together):
        print(
            "\nIf factory.py needs what requirements.txt brings: deploy --only requirements.txt, let MWAA install it,"
        )
        print("and deploy the rest then. A factory that cannot import disables every DAG.")


def requirements_note(version: str) -> str:
    """Return how MWAA comes to use the requirements.txt that was uploaded."""
    if not version:
        return (
            "\nrequirements.txt changed, but the bucket is not versioned, which MWAA requires:"
            "\n  aws s3api put-bucket-versioning --versioning-configuration Status=Enabled --bucket <bucket>"
        )
    return (
        "\nrequirements.txt changed. MWAA installs it, and restarts for some 20 minutes, when it is asked to:"
        "\n  aws mwaa update-environment --name <your MWAA environment>"
        f" --requirements-s3-path {REQUIREMENTS} --requirements-s3-object-version {version}"
    )


def remove(s3: Any, target: Target, options: argparse.Namespace) -> int:
    """Remove a sandbox; return the exit status."""
    deployed = read(s3, target)
    refuse_foreign(s3, target, deployed)
    for key in deployed.odd:
        print(f"left alone, since it is no path: {display_key(key)}")
    keys = [*deployed.files, *deployed.others]
    if not keys:
        print(f"there is nothing at {target}")
        return 0
    before = tree(target, deployed.files)
    dags = list(parse_tree(before, Place(target.folder, target.environment)).dags)
    print("\n".join([f"{target}: {count(len(keys), 'object')}, {count(len(dags), 'DAG')}", *dags]))
    if options.dry_run:
        print("\nnothing was removed: this is a dry run")
        return 0
    if not (options.yes or confirm("\nRemove it all?")):
        print("nothing was removed")
        return 1
    # Without its environment, a factory reports a problem: it goes before that.
    stages = ("pipelines", "factory.py", "orchestrator", "configs", COMMIT)
    ours = [[key for key in deployed.files if stage(target, key) == name] for name in stages]
    write(s3, target, Change([dict.fromkeys(step) for step in [deployed.others, *ours]], {}), "")
    left = read(s3, target)
    if left.files or left.others:
        raise Refused(f"somebody else has written to {target} meanwhile; run it again")
    print(f"\nremoved {count(len(keys), 'object')}. Airflow lists its DAGs as inactive; delete them there.")
    return 0
