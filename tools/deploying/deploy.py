"""Deploying from this checkout, and removing a sandbox.

A deploy goes: what this checkout has -> what counts in the bucket -> what changes -> the release is written and read
back -> ``current`` names it, on condition that it is still what was read. Until then nothing that counts has changed,
and running it again is always right: it writes what is missing, and nothing else.
"""

import argparse
import time
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from orchestrator import Problem

from tools.checkout import definition_files
from tools.checks.definitions import UsageError
from tools.deploying import releases, sources
from tools.deploying.bucket import REQUIREMENTS, SHARED_IGNORE, Files, Folder, Listing, Refused, display_key
from tools.deploying.releases import (
    CODE,
    CURRENT,
    DEFINITION,
    MANIFEST,
    OLD,
    Activation,
    Release,
    State,
    digests,
    place_of,
    stored,
)
from tools.deploying.sources import FACTORY, IGNORE, PACKAGES
from tools.terminal import confirm, count
from tools.views.comparison import DagChange, compare
from tools.views.plan import print_text

WAIT = 60  # seconds in which MWAA copies a release, before the files of the version before are deleted
RECENT = timedelta(hours=1)
Shas = Dict[str, str]  # SHA-256 by path


def deploy(folder: Folder, etl: Path, options: argparse.Namespace) -> int:
    """Make what this checkout holds count; return the exit status."""
    files = sources.sources(etl)
    contents = {path: file.read_bytes() for path, file in files.items()}
    only = "" if options.only is None else sources.choose_path(options.only, etl, files)
    if only in (FACTORY, IGNORE) or CODE.fullmatch(only):
        raise UsageError(f"{options.only} goes with all the rest; deploy without --only")
    # A definition that goes alone answers for itself; so does the deletion of one.
    alone = {files[only]} if only else set()
    sources.refuse_problems(etl, None if options.only is None or alone - {*definition_files(etl)} else alone)
    state = releases.read_state(folder, releases.by_sha(contents.values()))
    if options.only is not None and not only:
        only = sources.choose_path(options.only, etl, state.definitions)
        if not only:
            raise UsageError(f"{options.only} is neither a file that is deployed nor one that is at {folder}")
    commit = sources.commit_of(etl, folder, contents, only)
    contents.update({} if only else releases.compile_package(folder, contents))
    release = plan(folder, state, contents, only)
    activation = sources.activation(etl, state, release.id, commit, only)
    differing = differences(folder, state, release, contents, only)
    extra = [] if only else leftovers(folder, state.listing, release)
    is_new = activation[:2] != state.activations[0][:2] or any(path.startswith("releases/") for path in differing)
    if not (is_new or differing or extra):
        if not options.dry_run:
            tidy(folder, release, state.current, extra)
        print(f"\nnothing to deploy: {folder} is as commit {commit} has it")
        return 0
    # As long as current lists the folder itself, a container may use the files of the version before.
    waits = any(map(OLD.fullmatch, extra)) and "" in {listed.release for listed in state.activations}
    print_work(state, release, differing, extra, waits)
    status = ask(f"Deploy commit {commit[:12]}{commit[40:]} to {folder}?", options)
    if status is not None:
        return status
    others = [a for a in state.activations if a.release != release.id and a.release in stored(state.listing)]
    current = write(folder, state, release, contents, differing, [activation, *others] * is_new)
    if waits:
        print(f"waiting {WAIT} s for MWAA to copy what is there", flush=True)
        time.sleep(WAIT)
    tidy(folder, release, current, extra)
    is_at = "is gone, as in" if only and only not in contents else "is at"
    print(f"\nrelease {release.id} is as it was meant, and counts.\n{options.only or 'It'} {is_at} commit {commit}.")
    print("MWAA copies it within about 30 s; do not trigger a DAG for a minute.")
    return 0


def ask(question: str, options: argparse.Namespace) -> Optional[int]:
    """Ask before something is written; return the exit status if nothing is."""
    if options.dry_run:
        print("\nnothing was written: this is a dry run")
        return 0
    if options.yes or confirm(f"\n{question}"):
        return None
    print("nothing was written")
    return 1


# ----------------------------------------------------------------------------------------------- what is to count


def plan(folder: Folder, state: State, contents: Files, only: str) -> Release:
    """Print what changes of the DAGs, and return the release to be; ``only`` is the path that goes alone.

    Raises:
        Refused: There would be problems, or DAGs go that nobody has removed.
    """
    before = state.definitions
    if only:
        new, after = changed_release(state, contents, only), {path: before[path] for path in before if path != only}
        after.update({only: contents[only]} if only in contents and DEFINITION.fullmatch(only) else {})
    else:
        new = Release(digests({path: contents[path] for path in contents if path not in (FACTORY, IGNORE)}), {})
        after = {path: contents[path] for path in filter(DEFINITION.fullmatch, contents)}
    if any(map(is_pipeline, before)) and not any(map(is_pipeline, after)):
        raise Refused("there is no definition in dags/etl/pipelines, and all that are deployed would go")
    found = releases.load_staged(folder, after)
    had = {problem.location.path for problem in releases.load_staged(folder, before).problems} if only else set()
    texts = [str(problem) for problem in found.problems if problem.location.path not in had]
    if texts:
        raise Refused("\n\n".join([f"{folder} would have problems:", *texts]))
    if only != PACKAGES:  # with which the package stays that has made them
        new = new._replace(dags=releases.dags_of(found))
    print_dags(folder, (state.release, before), (new, after))
    same = {path for path in before if before[path] == after.get(path)}
    kept = sorted(dag_id for dag_id, path in state.release.dags.items() if path in same and dag_id not in new.dags)
    if kept:
        raise Refused(f"the new package would no longer give {', '.join(kept)}, though the definition stays as it is")
    return new


def changed_release(state: State, contents: Files, only: str) -> Release:
    """Return the release that counts but for one file; raise Refused where the rest would read that in another way."""
    mine, theirs = digests(contents), state.release.files
    if not state.activations[0].release or not theirs:
        raise Refused("there is no release yet of which one file could change; deploy everything, without --only")
    if only != PACKAGES and any(
        mine.get(path) != theirs.get(path) for path in {*mine, *theirs} if CODE.fullmatch(path)
    ):
        raise Refused(
            f"the release that counts has another orchestrator/ than this checkout, and may read {only} in another way;"
            f"\nstart from its commit, {state.activations[0].commits.get('')}, or deploy everything, without --only"
        )
    files = {path: digest for path, digest in theirs.items() if path != only}
    return state.release._replace(files={**files, only: mine[only]} if only in mine else files)


def is_pipeline(path: str) -> bool:
    """Return whether a path is a pipeline's."""
    return path.startswith("pipelines/")


def print_dags(folder: Folder, before: Tuple[Release, Files], after: Tuple[Release, Files]) -> List[Problem]:
    """Print what happens to the DAGs of the environment, as ./etl plan does; return the problems after.

    A side is a release with its definitions. Both are read with today's package; what only the package of one side
    reads comes or goes, too.
    """
    configs = [{path: files[path] for path in files if not is_pipeline(path)} for _, files in (before, after)]
    same = {*before[1].items()} & {*after[1].items()} if configs[0] == configs[1] else set()  # which need no reading
    sides = [{**of, **dict({*files.items()} - same)} for of, (_, files) in zip(configs, (before, after))]
    with releases.stage(folder, sides[0]) as old, releases.stage(folder, sides[1]) as new:
        comparison = compare(str(folder), old, new)
    dags = comparison.environments.get(folder.environment, [])
    for kind, one, other in (("removed", before[0], after[0]), ("added", after[0], before[0])):
        for dag_id in sorted({*one.dags} - {*other.dags} - {dag.dag_id for dag in dags}):
            dags.append(DagChange(dag_id, f"dags/{folder.name}/{one.dags[dag_id]}", kind, [], [], []))
    print_text(comparison._replace(environments={folder.environment: dags}, problems=[]))
    return comparison.problems


# -------------------------------------------------------------------------------------- what is written and deleted


def differences(folder: Folder, state: State, release: Release, contents: Files, only: str) -> Shas:
    """Return what the bucket does not have as it should be: of the release, and beside it."""
    wanted = {place_of(release.id, path): digest for path, digest in release.files.items()}
    beside = {} if only else {path: contents[path] for path in (IGNORE, FACTORY)}
    if only in ("", PACKAGES) and not folder.is_sandbox:
        beside[REQUIREMENTS] = contents[PACKAGES]
    wanted.update(digests(beside))
    away = releases.missing(state.listing, release)
    there = digests(folder.read({*wanted} & {*state.listing.objects} - {*away}))
    return {path: digest[1] for path, digest in wanted.items() if there.get(path) != digest}


def leftovers(folder: Folder, listing: Listing, release: Release) -> List[str]:
    """Return what is neither beside the releases nor of one; of the release that is to count, only its files stay."""
    own = {place_of(release.id, path) for path in [*release.files, MANIFEST]}
    others = {path for name, paths in stored(listing).items() if name not in ("", release.id) for path in paths}
    ours = {IGNORE, FACTORY, CURRENT, REQUIREMENTS, *own, *others}
    # The version before said its commit in the metadata of all that it wrote. Its patterns hide others' folders.
    if SHARED_IGNORE in listing.objects and "commit" not in folder.call("head", SHARED_IGNORE)["Metadata"]:
        ours.add(SHARED_IGNORE)
    return sorted({*listing.objects} - ours)


def print_work(state: State, release: Release, differing: Shas, extra: List[str], waits: bool) -> None:
    """Print what is written and deleted; of many files of a kind, how many they are."""
    shas = [sha for path, sha in differing.items() if path.startswith("releases/")]
    copied = sum(sha in copies_of(state, differing) for sha in shas)
    lines = [f"release {release.id}: {count(len(shas) - copied, 'file')} new, {copied} copied inside S3"]
    lines += [f"upload  {path}" for path in differing if not path.startswith("releases/")]
    lines += [f"current: {release.id} instead of {state.activations[0].release or 'none'}"]
    lines += [
        f"wait {WAIT} s for MWAA to copy that, and delete {count(len(extra), 'file')} of the version before"
    ] * waits
    lines += [f"delete  {display_key(path)}" for path in extra if not waits]
    print("\n  " + "\n  ".join(lines))


def copies_of(state: State, differing: Shas) -> Dict[str, str]:
    """Return where the bucket has contents of the release that counts, by SHA-256."""
    places = {place_of(state.activations[0].release, path): sha for path, (_, sha) in state.release.files.items()}
    return {sha: path for path, sha in places.items() if path in state.listing.objects and path not in differing}


def write(
    folder: Folder, state: State, release: Release, contents: Files, differing: Shas, activations: List[Activation]
) -> bytes:
    """Write the release, read it back and make it count; return what ``current`` is then."""
    at_hand = releases.by_sha([*contents.values(), release.manifest])
    first = {path: sha for path, sha in differing.items() if path != FACTORY}
    versions = folder.store(first, at_hand, copies_of(state, differing))
    # Always, so that the release was touched, and no other deploy takes it for an old one.
    folder.store({place_of(release.id, MANIFEST): sha256(release.manifest).hexdigest()}, at_hand, {})
    if REQUIREMENTS in versions:  # when it is run again, the file is no change any more
        version = versions[REQUIREMENTS].replace("null", "") or "<none: turn on the bucket's versioning>"
        words = f"--requirements-s3-path {REQUIREMENTS[1:]} --requirements-s3-object-version {version}"
        print("\nrequirements.txt changed. MWAA installs it, and restarts for some 20 minutes, when it is asked to:")
        print(f"  aws mwaa update-environment --name <your MWAA environment> {words}")
    current = releases.activate(folder, state, activations) if activations else state.current
    # That of the version before has its own files until then.
    folder.store({path: sha for path, sha in differing.items() if path == FACTORY}, at_hand, {})
    return current


def tidy(folder: Folder, release: Release, current: bytes, extra: List[str]) -> None:
    """Delete what is not needed any more: the extra paths, and releases that are old.

    Raises:
        Refused: The release that counts was deleted meanwhile.
    """
    listing = folder.list()
    releases.refuse_incomplete(listing, release)
    if folder.read([CURRENT])[CURRENT] != current:
        print("somebody else deploys, too: nothing is deleted; the next deploy does it")
        return
    kept = {"", *(activation.release for activation in releases.parse_current(current)[: releases.USABLE])}
    # What was written within the hour, by S3's clock, may be of another deploy, which goes on.
    touched = {name: max(listing.objects[path]["LastModified"] for path in of) for name, of in stored(listing).items()}
    names = [name for name in touched if name not in kept and listing.now - touched[name] > RECENT]
    old = [path for name in names for path in stored(listing)[name]]
    manifests = {path for path in old if path.endswith(f"/{MANIFEST}")}  # first, so that none is whole by halves
    for step in (manifests, {*old, *extra} & {*listing.objects} - manifests):
        folder.delete(step)


def remove(folder: Folder, _: Path, options: argparse.Namespace) -> int:
    """Remove a sandbox; return the exit status."""
    state = releases.read_state(folder, {})
    paths, dags = {*state.listing.objects}, sorted(state.release.dags)
    print("\n".join([f"{folder}: {count(len(paths), 'object')}, {count(len(dags), 'DAG')}", *dags]))
    status = ask("Remove it all?", options) if paths else 0
    if status is not None:
        return status
    # Without factory.py nothing is parsed; as long as one of the last is there, the folder is known to be ours.
    first, last = paths & {FACTORY}, paths & {CURRENT, "commit.txt"}
    for step in (first, paths - first - last, last):
        folder.delete(step)
    if folder.list().objects:
        raise Refused(f"somebody else has written to {folder} meanwhile; run it again")
    print(f"\nremoved {count(len(paths), 'object')}. Airflow lists its DAGs as inactive; delete them there.")
    return 0
