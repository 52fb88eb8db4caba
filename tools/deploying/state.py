"""What the bucket has where we deploy to: its objects, who activated which release, and the one that counts."""

from typing import Dict, Iterable, List, NamedTuple, Optional

from orchestrator import PROTOCOL

from tools.deploying import releases
from tools.deploying.bucket import Files, Folder, Listing, Refused, Target, display_key
from tools.deploying.cloud import CloudError
from tools.deploying.releases import CURRENT, MANIFEST, Activation, Release, folder_of


class State(NamedTuple):
    """What the bucket has where we deploy to."""

    listing: Listing
    current: bytes
    etag: str  # of current; "" if there is none
    is_old: bool  # as the version before filled it: the folder itself counts
    activations: List[Activation]
    counting: str  # the release that a factory takes; "" for none, or the folder itself
    release: Release  # what that holds

    @property
    def first(self) -> Activation:
        """The activation that counts, or one of nothing."""
        return (self.activations or [Activation()])[0]

    @property
    def time(self) -> str:
        """When it was read, by S3's clock."""
        return self.listing.now.strftime("%Y-%m-%dT%H:%M:%SZ")


def read_state(folder: Folder) -> State:
    """Read what counts; raise Refused where the folder is somebody else's."""
    listing = folder.list()
    for key in listing.odd:
        print(f"left alone, since it is no path: {display_key(key)}")
    refuse_foreign(folder.target, listing)
    current, etag = folder.read(CURRENT) if CURRENT in listing.objects else (b"", "")
    is_old = not etag and bool(old_files(listing))
    activations = [Activation()] if is_old else releases.parse_current(current)
    for activation in activations[: releases.USABLE]:
        release = read_release(folder, listing, activation.release)
        if release and not missing(listing, release, activation.release):
            return State(listing, current, etag, is_old, activations, activation.release, release)
        print(f"release {activation.release} is not whole in the bucket, and passed over")
    return State(listing, current, etag, is_old, activations, "", Release({}, {}, PROTOCOL))


def refuse_foreign(target: Target, listing: Listing) -> None:
    """Refuse a sandbox's folder that somebody else filled: a deploy would delete what is there."""
    is_ours = {CURRENT, "commit.txt"} & set(listing.objects) or stored(listing)
    if target.is_sandbox and (listing.objects or listing.odd) and not is_ours:
        raise Refused(
            f"{target} was not written by ./etl deploy; name another --sandbox, or if it is yours, empty it:"
            f"\n  aws s3 rm --recursive {target}"
        )


def old_files(listing: Listing) -> List[str]:
    """Return the files of the version before, which had no releases."""
    old = ("configs/", "orchestrator/", "pipelines/")
    return sorted(path for path in listing.objects if path.startswith(old) or path == "commit.txt")


def stored(listing: Listing) -> Dict[str, List[str]]:
    """Return the paths of all objects of each release, whole or not; "" is the folder itself."""
    found = {"": old_files(listing)} if old_files(listing) else {}
    for match in filter(None, map(releases.STORED.fullmatch, listing.objects)):
        found.setdefault(match.group(1), []).append(match.group())
    return found


def read_release(folder: Folder, listing: Listing, name: str) -> Optional[Release]:
    """Return what a release of the bucket holds, None if that is not known; of the folder itself, definitions only."""
    if name:
        path = folder_of(name) + MANIFEST
        return releases.parse_manifest(folder.read(path)[0], name) if path in listing.objects else None
    contents = folder.read_all(filter(releases.DEFINITION.fullmatch, listing.objects))
    folder.know(contents.values())
    dags = releases.dags_of(releases.load_staged(folder.target, contents))
    return Release(releases.digests(contents), dags, PROTOCOL) if contents else None


def missing(listing: Listing, release: Release, name: str) -> List[str]:
    """Return the paths of a release, and in it, at which the bucket has nothing of that size."""
    above = folder_of(name)
    sizes = {above + path: digest.size for path, digest in release.files.items()}
    there = {path: entry.size for path, entry in listing.objects.items()}
    away = [above + MANIFEST] if name and above + MANIFEST not in there else []
    return away + [path for path, size in sizes.items() if there.get(path) != size]


def refuse_incomplete(listing: Listing, release: Release) -> None:
    """Refuse a release of which something is away."""
    for path in missing(listing, release, release.id):
        raise Refused(f"release {release.id} is not whole: {path} was deleted or changed; run it again, or deploy")


def read_files(folder: Folder, name: str, release: Release, paths: Iterable[str]) -> Files:
    """Return files of a release; those whose content is known are not read."""
    shas = {folder_of(name) + path: release.files[path].sha256 for path in paths}
    read = folder.read_all(path for path, sha in shas.items() if sha not in folder.known)
    return {path[len(folder_of(name)) :]: read[path] if path in read else folder.known[shas[path]] for path in shas}


def activate(folder: Folder, state: State, activations: List[Activation]) -> bytes:
    """Write ``current``, and return it; raise Refused if somebody else has written it since it was read."""
    content = releases.format_current(activations)
    if folder.replace(CURRENT, content, state.etag):
        return content
    try:
        now = folder.read(CURRENT)[0]
    except CloudError:  # it is gone
        now = b""
    if now != content:  # or else it is our own write that has arrived, and only its answer was lost
        first = (releases.parse_current(now) or [Activation()])[0]
        who = f"{first.by} has activated release {first.release} at {first.at}" if now else "current was deleted"
        raise Refused(f"{who} meanwhile; nothing that counts was changed; run it again")
    return content
