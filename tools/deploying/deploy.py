"""Deploying from this checkout.

A deploy goes: what this checkout has -> what counts in the bucket -> what changes -> the release is written and read
back -> ``current`` names it, on condition that it is still what was read. Until then nothing that counts has changed,
and running it again is always right: it writes what is missing, and nothing else.
"""

import argparse
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Collection, Dict, List, Mapping, NamedTuple, Optional, Tuple

from orchestrator import PROTOCOL, Problem

from tools.checkout import definition_files
from tools.checks.definitions import UsageError
from tools.deploying import releases, sources
from tools.deploying.bucket import REQUIREMENTS, SHARED_IGNORE, Files, Folder, Listing, Refused, display_key
from tools.deploying.releases import CODE, CURRENT, MANIFEST, Activation, Digest, Release, State, digests, folder_of
from tools.deploying.sources import FACTORY, IGNORE, PACKAGES
from tools.terminal import confirm, count
from tools.views.comparison import DagChange, compare
from tools.views.plan import print_text

WAIT = 60  # seconds in which MWAA copies a release, before the files of the version before are deleted
RECENT = timedelta(hours=1)  # what was written since may be of another deploy, which goes on
Side = Tuple[Release, Files]  # a release, and its definitions


class Work(NamedTuple):
    """What a deploy writes and deletes, in this order; there is nothing to do if all are empty."""

    contents: Files  # of the release, by path in the bucket
    copies: Dict[str, str]  # of it, what the release that counts has: its path by path
    manifest: Files
    beside: Files
    activations: List[Activation]  # if current is another one then
    waits: bool  # because a container may still need some of the leftovers
    leftovers: List[str]  # what is neither of a release nor beside them
    outdated: List[str]  # releases


def deploy(folder: Folder, etl: Path, options: argparse.Namespace) -> int:
    """Make what this checkout holds count; return the exit status."""
    alone, files = options.only is not None, sources.sources(etl)
    contents = {path: file.read_bytes() for path, file in files.items()}
    only = sources.choose_path(options.only, etl, files) if alone else ""
    if only in (FACTORY, IGNORE) or CODE.fullmatch(only):
        raise UsageError(f"{options.only} goes with all the rest; deploy without --only")
    # A definition that goes alone answers for itself; so does the deletion of one.
    selected = {files[only]} if only else set()
    sources.refuse_problems(etl, selected if alone and selected <= set(definition_files(etl)) else None)
    folder.know(contents.values())
    state = releases.read_state(folder)
    if alone and not only:
        only = sources.choose_path(options.only, etl, filter(releases.DEFINITION.fullmatch, state.release.files))
        if not only:
            raise UsageError(f"{options.only} is neither a file that is deployed nor one that is at {folder}")
    sources.refuse_hiding(contents[IGNORE].decode(errors="replace"))
    commit = sources.commit_of(etl, folder, [only] if only else contents, whole=not only)
    release = changed_release(state, contents, only) if only else whole_release(folder, contents)
    release = plan(folder, state, release, only)
    commits = releases.commits_after(state.activations[0].commits, commit, only, only in contents)
    beside = {} if only else {path: contents[path] for path in (IGNORE, FACTORY)}
    if only in ("", PACKAGES) and not folder.is_sandbox:
        beside[REQUIREMENTS] = contents[PACKAGES]
    work = plan_work(folder, state, release, sources.activation(etl, state, release.id, commits), beside, not only)
    if not any(work):
        print(f"\nnothing to deploy: {folder} is as commit {commit} has it")
        return 0
    print_work(state, release, work)
    status = ask(f"Deploy commit {commit[:12]}{commit[40:]} to {folder}?", options)
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
    elif not (options.yes or confirm(f"\n{question}")):
        print("nothing was written")
    else:
        return None
    return 0 if options.dry_run else 1


# ------------------------------------------------------------------------------------------- what is to count


def whole_release(folder: Folder, contents: Files) -> Release:
    """Return the release of a checkout, without DAGs; its files are known then."""
    files = {path: content for path, content in contents.items() if path not in (FACTORY, IGNORE)}
    files.update(releases.compile_package(folder, files))
    folder.know(files.values())
    return Release(digests(files), {}, PROTOCOL)


def changed_release(state: State, contents: Files, only: str) -> Release:
    """Return the release that counts but for one file; raise Refused where the rest would read that in another way."""
    mine, counting = Release(digests(contents), {}, PROTOCOL), state.release
    if not state.counting:
        raise Refused("there is no release yet of which one file could change; deploy everything, without --only")
    if only != PACKAGES and mine.code != counting.code:
        raise Refused(
            f"the release that counts has another orchestrator/ than this checkout, and may read {only} in another way;"
            f"\nstart from its commit, {state.activations[0].commits.get('')}, or deploy everything, without --only"
        )
    files = {path: digest for path, digest in counting.files.items() if path != only}
    return counting._replace(files={**files, only: mine.files[only]} if only in contents else files)


def plan(folder: Folder, state: State, release: Release, only: str) -> Release:
    """Print what changes of the DAGs, and return the release with its own; ``only`` is the path that goes alone.

    Raises:
        Refused: There would be problems, or DAGs go that nobody has removed.
    """
    old, before = state.release, releases.read_definitions(folder, state.counting, state.release)
    after = releases.read_definitions(folder, state.counting, release)
    if any(map(is_pipeline, before)) and not any(map(is_pipeline, after)):
        raise Refused("there is no definition in dags/etl/pipelines, and all that are deployed would go")
    found = releases.load_staged(folder, after)
    had = {problem.location.path for problem in releases.load_staged(folder, before).problems} if only else set()
    texts = [str(problem) for problem in found.problems if problem.location.path not in had]
    if texts:
        raise Refused("\n\n".join([f"{folder} would have problems:", *texts]))
    if only != PACKAGES:  # with which the package stays that has made them
        release = release._replace(dags=releases.dags_of(found))
    print_dags(folder, (old, before), (release, after))
    same = {path for path, digest in old.files.items() if release.files.get(path) == digest}
    kept = sorted(dag_id for dag_id, path in old.dags.items() if path in same and dag_id not in release.dags)
    if kept:
        raise Refused(f"the new package would no longer give {', '.join(kept)}, though the definition stays as it is")
    return release


def is_pipeline(path: str) -> bool:
    """Return whether a path is a pipeline's."""
    return path.startswith("pipelines/")


def print_dags(folder: Folder, before: Side, after: Side) -> List[Problem]:
    """Print what happens to the DAGs of the environment, as ./etl plan does; return the problems after.

    Both sides are read with today's package. What only the package of one side reads comes or goes, too.
    """
    with releases.stage(folder, before[1]) as old, releases.stage(folder, after[1]) as new:
        comparison = compare(str(folder), old, new)
    dags = comparison.environments.get(folder.environment, [])
    for kind, one, other in (("removed", before[0], after[0]), ("added", after[0], before[0])):
        for dag_id in sorted({*one.dags} - {*other.dags} - {dag.dag_id for dag in dags}):
            dags.append(DagChange(dag_id, f"dags/{folder.name}/{one.dags[dag_id]}", kind, [], [], []))
    print_text(comparison._replace(environments={folder.environment: dags}, problems=[]))
    return comparison.problems


# ------------------------------------------------------------------------------------ what is written and deleted


def plan_work(
    folder: Folder, state: State, release: Release, activation: Activation, beside: Files, whole: bool
) -> Work:
    """Return what there is to do; raise Refused where a file is nowhere as it was.

    ``beside`` is to be beside the releases, and if this is the ``whole``, nothing else.
    """
    listing, above, is_new = state.listing, folder_of(release.id), state.counting != release.id
    wanted = {above + path: digest for path, digest in release.files.items()}
    differs = differing(folder, wanted, releases.missing(listing, release, release.id))
    same = {above + path for path in release.files if state.release.files.get(path) == release.files[path]}
    copies = {path: folder_of(state.counting) + path[len(above) :] for path in differs if is_new and path in same}
    lost = [path for path in differs if path not in copies and wanted[path][1] not in folder.known]
    if lost:
        raise Refused(f"release {release.id} was changed by hand, and {lost[0]} is not as this checkout has it")
    is_touched = is_new or bool(differs) or state.release != release
    there = folder.read_all(path for path in beside if path in listing.objects)
    others = [a for a in state.activations if a.release != release.id and a.release in releases.stored(listing)]
    kept = [release.id, *(other.release for other in others)][: releases.USABLE]
    outdated = [name for name in releases.stored(listing) if name not in ("", *kept) and not is_recent(listing, name)]
    activations = [activation, *(other for other in others if other.release not in outdated)]
    extra = leftovers(folder, listing, release.id, {*wanted, above + MANIFEST}) if whole else []
    return Work(
        contents={path: folder.known[wanted[path][1]] for path in differs if path not in copies},
        copies=copies,
        manifest={above + MANIFEST: release.manifest} if is_touched else {},
        beside={path: content for path, content in beside.items() if there.get(path) != content},
        activations=activations if activation[:2] != state.activations[0][:2] else [],
        waits=bool(extra) and "" in kept,
        leftovers=extra,
        outdated=outdated,
    )


def differing(folder: Folder, wanted: Mapping[str, Digest], absent: Collection[str] = ()) -> List[str]:
    """Return the paths at which the bucket has not what it should; those known to be absent are not read."""
    there = digests(folder.read_all({*wanted} - {*absent}))
    return [path for path in wanted if there.get(path) != wanted[path]]


def is_recent(listing: Listing, name: str) -> bool:
    """Return whether anything of a release was written within the hour, by S3's clock."""
    times: List[datetime] = [listing.objects[path]["LastModified"] for path in releases.stored(listing)[name]]
    return listing.now - max(times) < RECENT


def leftovers(folder: Folder, listing: Listing, release: str, files: Collection[str]) -> List[str]:
    """Return what is neither of a release nor beside them, nor of the files of the release that is to count."""
    others = {path for name, paths in releases.stored(listing).items() if name not in ("", release) for path in paths}
    ours = {IGNORE, FACTORY, CURRENT, *files, *others}
    found = [path for path in listing.objects if not path.startswith("/") and path not in ours]
    # The version before said its commit in the metadata of all that it wrote. That one's patterns hide others' folders.
    if SHARED_IGNORE in listing.objects and "commit" in folder.call("head", SHARED_IGNORE)["Metadata"]:
        found.append(SHARED_IGNORE)
    return sorted(found)


def print_work(state: State, release: Release, work: Work) -> None:
    """Print what is written and deleted; of many files of one kind, how many they are."""
    old = releases.stored(state.listing).get("", []) if work.leftovers else []
    new = f"{count(len(work.contents), 'file')} new, {len(work.copies)} copied inside S3"
    lines = [f"release {release.id}: {new}"] if work.contents or work.copies else []
    lines += [f"upload  {path}" for path in work.beside]
    if work.activations:
        lines.append(f"current: {release.id} instead of {state.activations[0].release or 'none'}")
    lines += [f"wait {WAIT} s for MWAA to copy that"] if work.waits else []
    lines += [f"delete  {count(len(old), 'file')} of the version before"] if old else []
    lines += [f"delete  {display_key(path)}" for path in work.leftovers if path not in old]
    lines += [f"delete  release {name}" for name in work.outdated]
    print("\n  " + "\n  ".join(lines))


def write(folder: Folder, state: State, release: Release, work: Work) -> bytes:
    """Write the release, read it back and make it count; return what ``current`` is then."""
    wanted = {folder_of(release.id) + path: digest for path, digest in release.files.items()}
    write_checked(folder, work.contents, work.copies, {path: wanted[path] for path in [*work.contents, *work.copies]})
    write_checked(folder, work.manifest, {}, digests(work.manifest))
    # The factory of the version before takes the folder as it is, until the new one has a release.
    late = {FACTORY} if not state.etag and "" in releases.stored(state.listing) else set()
    steps = [{path: work.beside[path] for path in work.beside if (path in late) == then} for then in (False, True)]
    versions = write_checked(folder, steps[0], {}, digests(steps[0]))
    if REQUIREMENTS in versions:  # when it is run again, the file is no change any more
        print(requirements_note(versions[REQUIREMENTS]))
    current = releases.activate(folder, state, work.activations) if work.activations else state.current
    write_checked(folder, steps[1], {}, digests(steps[1]))
    return current


def write_checked(folder: Folder, contents: Files, copies: Dict[str, str], wanted: Dict[str, Digest]) -> Dict[str, str]:
    """Write and copy objects, and read them back; return the versions by path."""
    versions = folder.write_all(contents, copies)
    wrong = differing(folder, wanted)
    if wrong and all(wanted[path][1] in folder.known for path in wrong):  # copies of what was changed by hand
        folder.write_all({path: folder.known[wanted[path][1]] for path in wrong}, {})
        wrong = differing(folder, {path: wanted[path] for path in wrong})
    if wrong:
        listed = "".join(f"\n  {folder.address(path)}" for path in wrong)
        raise Refused(f"somebody else has written there; find out who, then run it again. Different:{listed}")
    return versions


def requirements_note(version: str) -> str:
    """Return how MWAA comes to use the requirements.txt that was uploaded."""
    if version in ("", "null"):  # of a bucket whose versioning is off or suspended
        return (
            "\nrequirements.txt changed, but the bucket is not versioned, which MWAA requires:"
            "\n  aws s3api put-bucket-versioning --versioning-configuration Status=Enabled --bucket <bucket>"
        )
    return (
        "\nrequirements.txt changed. MWAA installs it, and restarts for some 20 minutes, when it is asked to:"
        "\n  aws mwaa update-environment --name <your MWAA environment>"
        f" --requirements-s3-path {REQUIREMENTS[1:]} --requirements-s3-object-version {version}"
    )


def tidy(folder: Folder, release: Release, work: Work, current: bytes) -> None:
    """Delete what is not needed any more; raise Refused if the release was deleted meanwhile."""
    if work.waits:
        print(f"waiting {WAIT} s for MWAA to copy what is there", flush=True)
        time.sleep(WAIT)
    listing = folder.list()
    releases.refuse_incomplete(listing, release)
    if (work.leftovers or work.outdated) and folder.read(CURRENT)[0] != current:
        print("somebody else deploys, too: nothing is deleted; the next deploy does it")
    elif work.leftovers or work.outdated:
        there = releases.stored(listing)
        old = [path for name in work.outdated if name in there and not is_recent(listing, name) for path in there[name]]
        folder.delete(path for path in old if path.endswith(f"/{MANIFEST}"))
        folder.delete(path for path in [*old, *work.leftovers] if path in listing.objects)
