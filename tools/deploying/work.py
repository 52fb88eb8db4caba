"""What a deploy writes and deletes, and doing that."""

import time
from datetime import timedelta
from typing import Collection, Dict, List, Mapping, NamedTuple

from tools.deploying import releases
from tools.deploying.bucket import REQUIREMENTS, SHARED_IGNORE, Files, Folder, Listing, Refused, display_key
from tools.deploying.releases import CURRENT, MANIFEST, Activation, Digest, Release, digests, folder_of
from tools.deploying.sources import FACTORY, IGNORE
from tools.deploying.state import State, activate, missing, old_files, refuse_incomplete, stored
from tools.terminal import count

WAIT = 60  # seconds in which MWAA copies a release, before the files of the version before are deleted
RECENT = timedelta(hours=1)  # what was written since may be of another deploy, which goes on


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


def plan_work(
    folder: Folder, state: State, release: Release, activation: Activation, beside: Files, whole: bool
) -> Work:
    """Return what there is to do; raise Refused where a file is nowhere as it was.

    Args:
        folder: Where it goes.
        state: What is there.
        release: What is to count.
        activation: How ``current`` is to name it.
        beside: What is to be beside the releases.
        whole: Whether nothing else is to be there.
    """
    listing, above, is_new = state.listing, folder_of(release.id), state.counting != release.id
    wanted = {above + path: digest for path, digest in release.files.items()}
    differs = differing(folder, wanted, missing(listing, release, release.id))
    same = {above + path for path in release.files if state.release.files.get(path) == release.files[path]}
    copies = {path: folder_of(state.counting) + path[len(above) :] for path in differs if is_new and path in same}
    lost = [path for path in differs if path not in copies and wanted[path].sha256 not in folder.known]
    if lost:
        raise Refused(f"release {release.id} was changed by hand, and {lost[0]} is not as this checkout has it")
    is_touched = is_new or bool(differs) or state.release != release
    there = folder.read_all(path for path in beside if path in listing.objects)
    others = [a for a in state.activations if a.release != release.id and a.release in stored(listing)]
    kept = [release.id, *(other.release for other in others)][: releases.USABLE]
    outdated = [name for name in stored(listing) if name not in ("", *kept) and not is_recent(listing, name)]
    activations = [activation, *(other for other in others if other.release not in outdated)]
    extra = leftovers(folder, listing, release.id, {*wanted, above + MANIFEST}) if whole else []
    return Work(
        contents={path: folder.known[wanted[path].sha256] for path in differs if path not in copies},
        copies=copies,
        manifest={above + MANIFEST: release.manifest} if is_touched else {},
        beside={path: content for path, content in beside.items() if there.get(path) != content},
        activations=activations if activation[:2] != state.first[:2] else [],
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
    return listing.now - max(listing.objects[path].written_at for path in stored(listing)[name]) < RECENT


def leftovers(folder: Folder, listing: Listing, release: str, files: Collection[str]) -> List[str]:
    """Return what is neither of a release nor beside them, nor of the files of the release that is to count."""

    def is_ours(path: str) -> bool:
        match = releases.STORED.fullmatch(path)
        return match.group(1) != release or path in files if match else path in (IGNORE, FACTORY, CURRENT)

    found = [path for path in listing.objects if not path.startswith("/") and not is_ours(path)]
    # The version before said its commit in the metadata of all that it wrote. That one's patterns hide others' folders.
    if SHARED_IGNORE in listing.objects and "commit" in folder.call("head", SHARED_IGNORE)["Metadata"]:
        found.append(SHARED_IGNORE)
    return sorted(found)


def print_work(state: State, release: Release, work: Work) -> None:
    """Print what is written and deleted; of many files of one kind, how many they are."""
    lines = []
    if work.contents or work.copies:
        new = count(len(work.contents), "file")
        lines.append(f"release {release.id}: {new} new, {len(work.copies)} copied inside S3")
    lines += [f"upload  {folder_key}" for folder_key in map(str, work.beside)]
    if work.activations:
        lines.append(f"current: {release.id} instead of {state.first.release or 'none'}")
    if work.waits:
        lines.append(f"wait {WAIT} s for MWAA to copy that")
    old = [path for path in work.leftovers if path in old_files(state.listing)]
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
    last = {FACTORY} & set(work.beside) if state.is_old else set()
    steps = [{path: work.beside[path] for path in work.beside if (path in last) == late} for late in (False, True)]
    versions = write_checked(folder, steps[0], {}, digests(steps[0]))
    if REQUIREMENTS in versions:  # when it is run again, the file is no change any more
        print(requirements_note(versions[REQUIREMENTS]))
    current = activate(folder, state, work.activations) if work.activations else state.current
    write_checked(folder, steps[1], {}, digests(steps[1]))
    return current


def write_checked(folder: Folder, contents: Files, copies: Dict[str, str], wanted: Dict[str, Digest]) -> Dict[str, str]:
    """Write and copy objects, and read them back; return the versions by path."""
    versions = folder.write_all(contents, copies)
    wrong = differing(folder, wanted)
    if wrong and all(wanted[path].sha256 in folder.known for path in wrong):  # copies of what was changed by hand
        folder.write_all({path: folder.known[wanted[path].sha256] for path in wrong}, {})
        wrong = differing(folder, {path: wanted[path] for path in wrong})
    if wrong:
        listed = "".join(f"\n  {folder.name(path)}" for path in wrong)
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
    refuse_incomplete(listing, release)
    if (work.leftovers or work.outdated) and folder.read(CURRENT)[0] != current:
        print("somebody else deploys, too: nothing is deleted; the next deploy does it")
    elif work.leftovers or work.outdated:
        old = [path for name in work.outdated if not is_recent(listing, name) for path in stored(listing)[name]]
        folder.delete(path for path in old if path.endswith(f"/{MANIFEST}"))
        folder.delete(path for path in [*old, *work.leftovers] if path in listing.objects)
