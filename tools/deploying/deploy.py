"""Deploying from this checkout, going back to a release that the bucket has, and removing a sandbox.

A deploy goes: what this checkout has -> what counts in the bucket -> what changes -> the release is written and read
back -> ``current`` names it, on condition that it is still what was read. Until then nothing that counts has changed,
and running it again is always right: it writes what is missing, and nothing else.
"""

import argparse
from pathlib import Path
from typing import Dict, Optional

from orchestrator import PROTOCOL

from tools.checkout import definition_files
from tools.checks.definitions import UsageError
from tools.deploying.bucket import REQUIREMENTS, Folder, Refused
from tools.deploying.plan import changed_release, plan, print_dags, whole_release
from tools.deploying.releases import CODE, CURRENT, Activation, Release, commits_after, digest
from tools.deploying.sources import (
    FACTORY,
    IGNORE,
    PACKAGES,
    choose_path,
    commit_of,
    person,
    refuse_hiding,
    refuse_problems,
    sources,
)
from tools.deploying.state import State, activate, read_files, read_release, read_state, refuse_incomplete, stored
from tools.deploying.work import plan_work, print_work, tidy, write
from tools.terminal import confirm, count


def deploy(folder: Folder, etl: Path, options: argparse.Namespace) -> int:
    """Make what this checkout holds count; return the exit status."""
    target = folder.target
    alone, files = options.only is not None, sources(etl)
    contents = {path: file.read_bytes() for path, file in files.items()}
    only = choose_path(options.only, etl, files) if alone else ""
    if only in (FACTORY, IGNORE) or CODE.fullmatch(only):
        raise UsageError(f"{options.only} goes with all the rest; deploy without --only")
    # A definition that goes alone answers for itself; so does the deletion of one.
    selected = {files[only]} if only else set()
    refuse_problems(etl, selected if alone and selected <= set(definition_files(etl)) else None)
    folder.know(contents.values())
    state = read_state(folder)
    if alone and not only:
        only = choose_path(options.only, etl, state.release.definitions)
        if not only:
            raise UsageError(f"{options.only} is neither a file that is deployed nor one that is at {target}")
    refuse_hiding(contents[IGNORE].decode(errors="replace"))
    commit = commit_of(etl, target, [only] if only else contents, whole=not only)
    before = state.release, read_files(folder, state.counting, state.release, state.release.definitions)
    after = changed_release(folder, state, contents, only) if only else whole_release(folder, contents)
    release = plan(target, before, after, only)
    commits = commits_after(state.first.commits, commit, only, only in contents)
    activation = Activation(release.id, commits, person(etl), state.time)
    beside = {} if only else {path: contents[path] for path in (IGNORE, FACTORY)}
    if only in ("", PACKAGES) and not target.is_sandbox:  # it leaves what all folders share alone
        beside[REQUIREMENTS] = contents[PACKAGES]
    work = plan_work(folder, state, release, activation, beside, whole=not only)
    if not any(work):
        print(f"\nnothing to deploy: {target} is as commit {commit} has it")
        return 0
    print_work(state, release, work)
    status = ask(f"Deploy commit {commit[:12]}{commit[40:]} to {target}?", options)
    if status is not None:
        return status
    tidy(folder, release, work, write(folder, state, release, work))
    is_at = "is gone, as in" if only and only not in contents else "is at"
    print(f"\nrelease {release.id} is as it was meant, and counts.\n{options.only or 'It'} {is_at} commit {commit}.")
    print("MWAA copies it within about 30 s; do not trigger a DAG for a minute.")
    return 0


def ask(question: str, options: argparse.Namespace) -> Optional[int]:
    """Ask before something is written; return the exit status if nothing is."""
    if options.dry_run:
        print("\nnothing was written: this is a dry run")
        return 0
    if not (options.yes or confirm(f"\n{question}")):
        print("nothing was written")
        return 1
    return None


# ------------------------------------------------------------------------------------------------ rolling back


def roll_back(folder: Folder, etl: Path, options: argparse.Namespace) -> int:
    """Make a release count that the bucket has; return the exit status."""
    target = folder.target
    folder.know(file.read_bytes() for file in definition_files(etl))
    state = read_state(folder)
    name = choose_release(state, options.to)
    if name == state.first.release:
        print(f"release {name} counts already")
        return 0
    release = read_release(folder, state.listing, name)
    if release is None or release.protocol > PROTOCOL:
        why = "has no manifest of its own" if release is None else "needs a newer factory.py"
        raise Refused(f"release {name} {why}; ./etl releases {target.environment} lists the others")
    refuse_incomplete(state.listing, release)
    own = [activation for activation in state.activations if activation.release == name]
    print_rollback(folder, state, release)
    if not target.is_sandbox:
        warn_of_requirements(folder, state, release)
    status = ask(f"Make release {name} count at {target}?", options)
    if status is not None:
        return status
    commits: Dict[str, str] = dict(own[0].commits) if own else {}
    others = [activation for activation in state.activations if activation.release != name]
    activate(folder, state, [Activation(name, commits, person(etl), state.time), *others])
    refuse_incomplete(folder.list(), release)
    print(f"\nrelease {name} counts. MWAA copies that within about 30 s; do not trigger a DAG for a minute.")
    return 0


def choose_release(state: State, beginning: Optional[str]) -> str:
    """Return the release to go back to: the one before, or the one whose id begins so."""
    if beginning is None:
        before = [activation.release for activation in state.activations[1:2]]
        if not any(before):
            raise Refused(
                "there is no release to go back to; deploy the commit that you want:"
                "\n  git switch --detach <commit>\n  ./etl deploy <environment>"
            )
        return before[0]
    names = [name for name in sorted(stored(state.listing)) if name.startswith(beginning)]
    if len(names) != 1:
        raise Refused(
            f"there {'is no release' if not names else 'are several releases'} {beginning!r}: ./etl releases lists them"
        )
    return names[0]


def print_rollback(folder: Folder, state: State, release: Release) -> None:
    """Print what changes of the DAGs; only what differs between the two releases is read."""
    old = state.release
    same = {path for path in old.definitions if old.files[path] == release.files.get(path)}
    configs = [{path for path in of.definitions if path.startswith("configs/")} for of in (old, release)]
    skipped = same if all(of <= same for of in configs) else set()  # an environment changes all pipelines
    skipped -= configs[0]
    before, after = (
        (of, read_files(folder, name, of, [path for path in of.definitions if path not in skipped]))
        for name, of in ((state.counting, old), (release.id, release))
    )
    problems = print_dags(folder.target, before, after)
    if problems:
        print("\nToday's package has problems with it, which its own may not have:\n")
        print("\n\n".join(map(str, problems)))


def warn_of_requirements(folder: Folder, state: State, release: Release) -> None:
    """Warn where MWAA was told to install other packages than a release was made for."""
    there = folder.read_all(path for path in [REQUIREMENTS] if path in state.listing.objects)
    if release.files.get(PACKAGES) != digest(there.get(REQUIREMENTS, b"")):
        source, goal = folder.name(f"releases/{release.id}/{PACKAGES}"), folder.name(REQUIREMENTS)
        print(
            f"\nIts requirements.txt is another one than MWAA has. If its package needs that, first:"
            f"\n  aws s3 cp {source} {goal}\nand update the environment with its version, see docs/operations.md"
        )


# ---------------------------------------------------------------------------------------------------- sandboxes


def remove(folder: Folder, options: argparse.Namespace) -> int:
    """Remove a sandbox; return the exit status."""
    target = folder.target
    state = read_state(folder)
    paths = list(state.listing.objects)
    if not paths:
        print(f"there is nothing at {target}")
        return 0
    dags = sorted(state.release.dags)
    print("\n".join([f"{target}: {count(len(paths), 'object')}, {count(len(dags), 'DAG')}", *dags]))
    status = ask("Remove it all?", options)
    if status is not None:
        return status
    # Without factory.py nothing is parsed; as long as one of the last is there, the folder is known to be ours.
    last = [path for path in paths if path in (CURRENT, "commit.txt")]
    for step in ([path for path in paths if path == FACTORY], [p for p in paths if p not in (FACTORY, *last)], last):
        folder.delete(step)
    if folder.list().objects:
        raise Refused(f"somebody else has written to {target} meanwhile; run it again")
    print(f"\nremoved {count(len(paths), 'object')}. Airflow lists its DAGs as inactive; delete them there.")
    return 0
