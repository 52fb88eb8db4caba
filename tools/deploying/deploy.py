"""Deploying from this checkout, going back to an earlier release, and removing a sandbox.

A deploy reads this checkout and the bucket, prints what changes, writes the release, reads it back, and then writes
``current``, on condition that it is still what was read. The release that counts is the first one in ``current``: until
that is written, nothing changes for Airflow. Running a deploy again writes only what is missing.
"""

import argparse
import time
from hashlib import sha256
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from orchestrator import PROTOCOL, Problem

from tools.deploying import releases, sources
from tools.deploying.bucket import REQUIREMENTS, SHARED_IGNORE, Files, Folder, Listing, Refused
from tools.deploying.releases import CODE, CURRENT, DEFINITION, MANIFEST, Release, State, digests, place_of, stored
from tools.deploying.sources import BESIDE, FACTORY, PACKAGES
from tools.terminal import confirm, count, printable
from tools.views.comparison import DagChange, compare
from tools.views.plan import print_text

WAIT = 60  # seconds in which MWAA copies a release, before the files of the version before are deleted


def deploy(folder: Folder, etl: Path, options: argparse.Namespace) -> int:
    """Write a release of this checkout and make it the one that counts; return the exit status."""
    files = sources.sources(etl)
    contents = sources.read(files)
    state = releases.read_state(folder, releases.by_sha(contents.values()))
    only = "" if options.only is None else sources.choose_path(options.only, etl, folder, [*files, *state.definitions])
    # Of a definition that goes alone, only its own problems count; of one that is deleted, there are none.
    alone = {file for path, file in files.items() if path == only}
    sources.refuse_problems(etl, alone if DEFINITION.fullmatch(only) else None)
    commit = sources.commit_of(etl, folder, contents, only)
    contents.update({} if only else releases.compile_package(folder, contents))
    release = plan(folder, state, contents, only)
    commits = sources.commits_after(etl, state, commit, only)
    differing = differences(folder, state, release, contents, only)
    extra = [] if only else leftovers(folder, state.listing, release)
    is_active = (release, commits) == (state.release, state.activations[0].commits)
    if is_active and not (differing or extra):
        if not options.dry_run:
            tidy(folder, release, state.current, extra)
        print(f"\nnothing to deploy: {folder} is as commit {commit} has it")
        return 0
    # As long as current lists the folder itself, a container may use the files of the version before.
    waits = any(map(releases.OLD.fullmatch, extra)) and "" in {listed.release for listed in state.activations}
    print_work(state, release, differing, extra, waits)
    status = ask(f"Deploy commit {commit[:12]}{commit[40:]} to {folder}?", options)
    if status is not None:
        return status
    at_hand = releases.by_sha([*contents.values(), release.manifest])
    write_release(folder, state, release, at_hand, differing)
    current = releases.activate(folder, state, sources.activation(etl, state, release.id, commits))
    # The factory.py of the version before reads its own files until current is there.
    folder.store({path: sha for path, sha in differing.items() if path == FACTORY}, at_hand, {})
    if waits:
        print(f"waiting {WAIT} s for MWAA to copy what is there", flush=True)
        time.sleep(WAIT)
    tidy(folder, release, current, extra)
    is_at = "is gone, as in" if only and only not in contents else "is at"
    print(f"\nrelease {release.id} is complete, and counts.\n{options.only or 'It'} {is_at} commit {commit}.")
    print("MWAA copies it within about 30 s; do not trigger a DAG for a minute.")
    return 0


# ----------------------------------------------------------------------------------------------- what is to count


def plan(folder: Folder, state: State, contents: Files, only: str) -> Release:
    """Print how the DAGs change, and return the new release.

    Args:
        folder: Where it is deployed to.
        state: What the bucket has.
        contents: What this checkout has.
        only: The path that is deployed alone; "" for everything.

    Raises:
        Refused: The definitions would have problems, or a DAG would go whose definition stays.
    """
    before = state.definitions
    if only:
        new, held = changed_release(state, contents, only), {**before, only: contents.get(only, b"")}
    else:
        new = Release(digests({path: contents[path] for path in contents if path not in BESIDE}), {})
        held = contents
    after = {path: held[path] for path in filter(DEFINITION.fullmatch, new.files) if path in held}
    if any(map(is_pipeline, before)) and not any(map(is_pipeline, after)):
        raise Refused("there is no definition in dags/etl/pipelines, and all that are deployed would go")
    found = releases.load_staged(folder, after)
    had = {problem.location.path for problem in releases.load_staged(folder, before).problems} if only else set()
    texts = [str(problem) for problem in found.problems if problem.location.path not in had]
    if texts:
        raise Refused("\n\n".join([f"{folder} would have problems:", *texts]))
    if only != PACKAGES:  # a new requirements.txt leaves the package as it is, and so the DAGs
        new = new._replace(dags=releases.dags_of(found))
    print_dags(folder, (state.release, before), (new, after))
    same = {path for path in before if before[path] == after.get(path)}
    kept = sorted(dag_id for dag_id, path in state.release.dags.items() if path in same and dag_id not in new.dags)
    if kept:
        raise Refused(f"the new package would no longer build {', '.join(kept)}, though the definition has not changed")
    return new


def changed_release(state: State, contents: Files, only: str) -> Release:
    """Return the release that counts with one file changed; raise Refused if its package is not this checkout's."""
    mine, theirs = digests(contents), state.release.files
    if not theirs or not state.activations[0].release:
        raise Refused("there is no release yet in which one file could change; deploy everything, without --only")
    differing = [path for path, _ in mine.items() ^ theirs.items() if CODE.fullmatch(path)]
    if differing and only != PACKAGES:
        raise Refused(
            f"the release that counts has another orchestrator/ than this checkout, which checked {only};"
            f"\nstart from its commit, {state.activations[0].commits.get('')}, or deploy everything, without --only"
        )
    files = {path: digest for path, digest in theirs.items() if path != only}
    return state.release._replace(files={**files, only: mine[only]} if only in mine else files)


def is_pipeline(path: str) -> bool:
    """Return whether a path is that of a pipeline."""
    return path.startswith("pipelines/")


def print_dags(folder: Folder, before: Tuple[Release, Files], after: Tuple[Release, Files]) -> List[Problem]:
    """Print how the DAGs of the environment change, as ./etl plan does; return the problems of the definitions after.

    Each side is a release and its definitions. The package of this checkout reads both. A DAG that only one manifest
    lists is added or removed, too: the packages of the two releases may differ.
    """
    configs = [{path: files[path] for path in files if not is_pipeline(path)} for _, files in (before, after)]
    same = before[1].items() & after[1].items() if configs[0] == configs[1] else set()  # which need no reading
    sides = [{**of, **dict(files.items() - same)} for of, (_, files) in zip(configs, (before, after))]
    with releases.stage(folder, sides[0]) as old, releases.stage(folder, sides[1]) as new:
        comparison = compare(str(folder), old, new)
    dags = comparison.environments.get(folder.environment, [])
    for kind, one, other in (("removed", before[0], after[0]), ("added", after[0], before[0])):
        for dag_id in sorted({*one.dags} - {*other.dags} - {dag.dag_id for dag in dags}):
            dags.append(DagChange(dag_id, f"dags/{folder.name}/{one.dags[dag_id]}", kind, [], [], []))
    print_text(comparison._replace(environments={folder.environment: dags}, problems=[]))
    return comparison.problems


# -------------------------------------------------------------------------------------- what is written and deleted


def differences(folder: Folder, state: State, release: Release, contents: Files, only: str) -> Dict[str, str]:
    """Return the SHA-256, by path, of what the bucket lacks or has otherwise: in the release, and beside it."""
    wanted = {place_of(release.id, path): digest for path, digest in release.files.items()}
    beside = {} if only else {path: contents[path] for path in BESIDE}
    if only in ("", PACKAGES) and not folder.is_sandbox:
        beside[REQUIREMENTS] = contents[PACKAGES]
    wanted.update(digests(beside))
    there = digests(folder.read({*wanted} & {*state.listing.objects}))
    return {path: digest[1] for path, digest in wanted.items() if there.get(path) != digest}


def leftovers(folder: Folder, listing: Listing, release: Release) -> List[str]:
    """Return the objects to delete: those that no release and no file beside the releases accounts for."""
    own = {place_of(release.id, path) for path in [*release.files, MANIFEST]}
    others = {path for name, paths in stored(listing).items() if name not in ("", release.id) for path in paths}
    ours = {*BESIDE, CURRENT, REQUIREMENTS, *own, *others}
    # Delete that of the version before, which hides other teams' folders: its metadata have a commit.
    if SHARED_IGNORE in listing.objects and "commit" not in folder.call("head", SHARED_IGNORE)["Metadata"]:
        ours.add(SHARED_IGNORE)
    return sorted({*listing.objects} - ours)


def print_work(state: State, release: Release, differing: Dict[str, str], extra: List[str], waits: bool) -> None:
    """Print what is written and deleted; for the files of the release, print only their number."""
    shas = [sha for path, sha in differing.items() if path.startswith("releases/")]
    copied = sum(sha in copies_of(state, differing) for sha in shas)
    lines = [f"release {release.id}: {count(len(shas) - copied, 'file')} new, {copied} copied inside S3"]
    lines += [f"upload  {path}" for path in differing if not path.startswith("releases/")]
    lines += [f"current: {release.id} instead of {state.activations[0].release or 'none'}"]
    if waits:
        lines.append(f"wait {WAIT} s for MWAA to copy it, delete {count(len(extra), 'file')} of the version before")
    else:
        lines += [f"delete  {printable(path, keep='')}" for path in extra]
    print("\n  " + "\n  ".join(lines))


def copies_of(state: State, differing: Dict[str, str]) -> Dict[str, str]:
    """Return the paths of the release that counts by SHA-256, without those that have to be written again."""
    places = {place_of(state.activations[0].release, path): sha for path, (_, sha) in state.release.files.items()}
    return {sha: path for path, sha in places.items() if path in state.listing.objects and path not in differing}


def write_release(folder: Folder, state: State, release: Release, at_hand: Files, differing: Dict[str, str]) -> None:
    """Write the release and the files beside it, except factory.py, and read them back."""
    first = {path: sha for path, sha in differing.items() if path != FACTORY}
    folder.store(first, at_hand, copies_of(state, differing))
    # Always write the manifest: the release is then a recent one, which no other deploy deletes.
    folder.store({place_of(release.id, MANIFEST): sha256(release.manifest).hexdigest()}, at_hand, {})
    if REQUIREMENTS in differing:  # print it now: after an interruption, the next deploy finds no difference
        answer = folder.call("head", REQUIREMENTS)
        version = answer.get("VersionId", "null").replace("null", "<none: turn on the bucket's versioning>")
        words = f"--requirements-s3-path {REQUIREMENTS[1:]} --requirements-s3-object-version {version}"
        print("\nrequirements.txt changed. This command makes MWAA install it, and restart for some 20 minutes:")
        print(f"  aws mwaa update-environment --name <your MWAA environment> {words}")


def tidy(folder: Folder, release: Release, current: bytes, extra: List[str]) -> None:
    """Delete what is no longer needed: the extra paths and old releases.

    Raises:
        Refused: Somebody has deleted or changed the release that counts.
    """
    listing = folder.list()
    releases.refuse_incomplete(listing, release)
    if folder.read([CURRENT])[CURRENT] != current:
        print("somebody else is deploying, too: nothing is deleted; the next deploy deletes it")
        return
    kept = {"", *(activation.release for activation in releases.parse_current(current)), *releases.recent(listing)}
    old = [path for name, paths in stored(listing).items() if name not in kept for path in paths]
    # Delete the manifests first: without one, a release that is deleted in part does not look complete.
    manifests = {path for path in old if path.endswith(f"/{MANIFEST}")}
    for step in (manifests, {*old, *extra} & {*listing.objects} - manifests):
        folder.delete(step)


# ----------------------------------------------------------------------------- going back, and removing a sandbox


def roll_back(folder: Folder, etl: Path, options: argparse.Namespace) -> int:
    """Make an earlier release the one that counts; return the exit status."""
    at_hand = sources.at_hand(etl)
    state = releases.read_state(folder, at_hand)
    name = choose_release(state, options.to)
    if name == state.activations[0].release:
        print(f"release {name} counts already")
        return 0
    release = releases.read_release(folder, state.listing, name)
    if release is None or release.protocol > PROTOCOL:
        why = "has no valid manifest.json" if release is None else "needs a newer factory.py"
        raise Refused(f"release {name} {why}; ./etl releases {folder.environment} lists the others")
    releases.refuse_incomplete(state.listing, release)
    at_hand.update(releases.by_sha(state.definitions.values()))
    definitions = releases.read_definitions(folder, state.listing, release, at_hand)
    problems = print_dags(folder, (state.release, state.definitions), (release, definitions))
    if problems:
        note = "\nThe package of this checkout finds problems in it (its own package may not):"
        print("\n\n".join([note, *map(str, problems)]))
    there = digests(folder.read({REQUIREMENTS} & {*state.listing.objects}))
    if not folder.is_sandbox and there.get(REQUIREMENTS) != release.files.get(PACKAGES):
        print("\nIts requirements.txt is not the one that MWAA has. If its package needs that, first:")
        print(f"  aws s3 cp {folder.address(place_of(name, PACKAGES))} {folder.address(REQUIREMENTS)}")
        print("and update the environment with its new version, see docs/operations.md")
    status = ask(f"Make release {name} count at {folder}?", options)
    if status is not None:
        return status
    commits = {activation.release: activation.commits for activation in state.activations}
    releases.activate(folder, state, sources.activation(etl, state, name, commits.get(name, {})))
    releases.refuse_incomplete(folder.list(), release)
    print(f"\nrelease {name} counts. MWAA copies that within about 30 s; do not trigger a DAG for a minute.")
    return 0


def choose_release(state: State, beginning: Optional[str]) -> str:
    """Return the release to go back to: the previous one, or the one whose id begins with the given text."""
    if beginning is not None:
        names = [name for name in stored(state.listing) if name and name.startswith(beginning)]
        if len(names) != 1:
            raise Refused(f"{len(names)} releases begin with {beginning!r}; ./etl releases lists them all")
        return names[0]
    if len(state.activations) < 2 or not state.activations[1].release:
        raise Refused(
            "there is no release to go back to; deploy the commit that you want instead:"
            "\n  git switch --detach <commit>\n  ./etl deploy <environment>"
        )
    return state.activations[1].release


def remove(folder: Folder, _: Path, options: argparse.Namespace) -> int:
    """Remove a sandbox; return the exit status."""
    state = releases.read_state(folder, {})
    paths, dags = {*state.listing.objects}, sorted(state.release.dags)
    print(printable("\n".join([f"{folder}: {count(len(paths), 'object')}, {count(len(dags), 'DAG')}", *dags])))
    status = ask("Remove it all?", options) if paths else 0
    if status is not None:
        return status
    # Delete factory.py first: without it, nothing is parsed. The last ones show that the folder is ours.
    first, last = paths & {FACTORY}, paths & {CURRENT, "commit.txt"}
    for step in (first, paths - first - last, last):
        folder.delete(step)
    if folder.list().objects:
        raise Refused(f"somebody else has written to {folder} meanwhile; run it again")
    print(f"\nremoved {count(len(paths), 'object')}. Airflow lists its DAGs as inactive; delete them there.")
    return 0


def ask(question: str, options: argparse.Namespace) -> Optional[int]:
    """Ask whether to go on; return the exit status if not, None if so."""
    if options.dry_run:
        print("\nnothing was written: this is a dry run")
        return 0
    if options.yes or confirm(f"\n{question}"):
        return None
    print("nothing was written")
    return 1
