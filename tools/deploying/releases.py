"""Releases: their files, how ``current`` names the one that counts, and which of them a bucket has.

A release never changes: its id is a digest of its files.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Set, Tuple

from orchestrator import PROTOCOL, LoadResult, load

from tools.deploying.bucket import Files, Folder, Listing, Refused
from tools.deploying.cloud import CloudError

CURRENT, MANIFEST = "current", "manifest.json"
USABLE = 3  # of the activations: the one that counts, and those that factory.py falls back to
NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}"
DEFINITION = re.compile(rf"configs/{NAME}\.yaml|pipelines/{NAME}/{NAME}\.yaml")
CODE = re.compile(rf"orchestrator/{NAME}\.py")
STORED = re.compile(r"releases/([0-9a-f]{16})/.*", re.DOTALL)
OLD = re.compile(r"(?:configs|orchestrator|pipelines)/.*|commit\.txt", re.DOTALL)  # of the version without releases
RECENT = timedelta(hours=1)
# What JSON of another shape raises.
MALFORMED = (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError)
COMPILE = ("-m", "compileall", "--invalidation-mode", "unchecked-hash", "-q", "-d", "orchestrator", "orchestrator")

Digest = Tuple[int, str]  # the size of a file, and its SHA-256 in hexadecimal


class Release(NamedTuple):
    """What the manifest of a release says: the digests of its files by path, and the definitions by DAG id."""

    files: Mapping[str, Digest]
    dags: Mapping[str, str]
    protocol: int = PROTOCOL  # how factory.py has to call the package

    @property
    def id(self) -> str:
        """The first 16 digits of the SHA-256 of what sha256sum prints for the files."""
        lines = "".join(f"{self.files[path][1]}  {path}\n" for path in sorted(self.files))
        return sha256(lines.encode()).hexdigest()[:16]

    @property
    def manifest(self) -> bytes:
        """The content of manifest.json, which factory.py reads."""
        return json.dumps(self._asdict(), sort_keys=True).encode() + b"\n"


class Activation(NamedTuple):
    """Who made a release count, and when. Release "" is the folder itself, as the version before filled it."""

    release: str = ""
    commits: Mapping[str, str] = {}  # by path; "" for all that has none of its own
    by: str = ""
    at: str = ""


class State(NamedTuple):
    """What a folder in the bucket has."""

    listing: Listing
    current: bytes
    etag: str  # of current; "" if there is none
    activations: List[Activation]  # the first one counts
    release: Release  # the one that counts; empty where its manifest is not valid
    definitions: Files  # those of that release that the bucket has


def digests(files: Files) -> Dict[str, Digest]:
    """Return the digests of files by path."""
    return {path: (len(content), sha256(content).hexdigest()) for path, content in files.items()}


def by_sha(contents: Iterable[bytes]) -> Dict[str, bytes]:
    """Return contents by their SHA-256."""
    return {sha256(content).hexdigest(): content for content in contents}


def place_of(release: str, path: str) -> str:
    """Return the path in the folder of a file of a release."""
    return f"releases/{release}/{path}" if release else path


# -------------------------------------------------------------------------------------------------- in a bucket


def read_state(folder: Folder, at_hand: Mapping[str, bytes]) -> State:
    """Return what the folder has; contents that are at hand, by SHA-256, are not read again.

    Raises:
        Refused: The folder of a sandbox holds somebody else's files, which a deploy would delete.
    """
    listing = folder.list()
    answer = folder.call("get", CURRENT) if CURRENT in listing.objects else {"Body": b"", "ETag": ""}
    activations = parse_current(answer["Body"])
    is_ours = activations or "commit.txt" in listing.objects or {*stored(listing)} - {""}
    if folder.is_sandbox and listing.objects and not is_ours:
        raise Refused(
            f"{folder} was not written by ./etl deploy; name another --sandbox, or if it is yours, empty it:"
            f"\n  aws s3 rm --recursive {folder}"
        )
    activations = activations or [Activation()]
    name = activations[0].release
    if name:
        release = read_release(folder, listing, name) or Release({}, {})
        definitions = read_definitions(folder, listing, release, at_hand)
    else:
        definitions = folder.read(filter(DEFINITION.fullmatch, listing.objects))
        release = Release(digests(definitions), dags_of(load_staged(folder, definitions)))
    return State(listing, answer["Body"], answer["ETag"], activations, release, definitions)


def parse_current(content: bytes) -> List[Activation]:
    """Return the activations; none if it is malformed. What a newer version says of one beside is left out."""
    try:
        entries = json.loads(content)["activations"]
        found = [Activation(**{name: entry[name] for name in Activation._fields if name in entry}) for entry in entries]
        return [a._replace(commits=dict(a.commits)) for a in found if re.fullmatch("([0-9a-f]{16})?", a.release)]
    except MALFORMED:
        return []


def stored(listing: Listing) -> Dict[str, List[str]]:
    """Return the paths of all objects of each release, whole or not; "" is the folder itself."""
    found: Dict[str, List[str]] = {}
    for path in listing.objects:
        match = STORED.fullmatch(path)
        if match or OLD.fullmatch(path):
            found.setdefault(match.group(1) if match else "", []).append(path)
    return found


def recent(listing: Listing) -> Set[str]:
    """Return the releases that a deploy may still be writing, by S3's clock."""
    times = {name: max(listing.objects[path]["LastModified"] for path in of) for name, of in stored(listing).items()}
    return {name for name in times if listing.now - times[name] <= RECENT}


def read_release(folder: Folder, listing: Listing, name: str) -> Optional[Release]:
    """Return a release of the bucket; None if its manifest is missing or malformed."""
    path = place_of(name, MANIFEST)
    try:
        data = json.loads(folder.read([path])[path] if path in listing.objects else b"")
        files = {path: (int(size), str(sha)) for path, (size, sha) in data["files"].items()}
        found = Release(files, dict(data["dags"]), int(data["protocol"]))
    except MALFORMED:
        return None
    return found if found.id == name else None


def read_definitions(folder: Folder, listing: Listing, release: Release, at_hand: Mapping[str, bytes]) -> Files:
    """Return the contents of a release's definitions; those that are at hand, by SHA-256, are not read again."""
    shas = {path: release.files[path][1] for path in filter(DEFINITION.fullmatch, release.files)}
    places = {place_of(release.id, path): path for path, sha in shas.items() if sha not in at_hand}
    read = {places[place]: content for place, content in folder.read({*places} & {*listing.objects}).items()}
    return {path: read.get(path, at_hand.get(sha, b"")) for path, sha in shas.items() if path in read or sha in at_hand}


def missing(listing: Listing, release: Release) -> List[str]:
    """Return the paths in the folder of a release's files that are missing or have another size."""
    sizes = {place_of(release.id, path): size for path, (size, _) in release.files.items()}
    there = {path: entry["Size"] for path, entry in listing.objects.items()}
    away = [path for path, size in sizes.items() if there.get(path) != size]
    return away + [path for path in [place_of(release.id, MANIFEST)] if path not in there]


def refuse_incomplete(listing: Listing, release: Release) -> None:
    """Raise Refused if a file of a release is missing."""
    for path in missing(listing, release):
        raise Refused(f"release {release.id} is incomplete: {path} was deleted or changed; deploy again")


def activate(folder: Folder, state: State, activation: Activation) -> bytes:
    """Write ``current`` with this activation first, and return it.

    Raises:
        Refused: Somebody else has written it since it was read.
    """
    names, stay = {*stored(state.listing)} - {activation.release}, recent(state.listing)
    listed = [activation, *(other for other in state.activations if other.release in names)]
    activations = listed[:USABLE] + [other for other in listed[USABLE:] if other.release in stay]
    content = json.dumps({"activations": [a._asdict() for a in activations]}, indent=1).encode() + b"\n"
    if folder.replace(CURRENT, content, state.etag):
        return content
    try:
        now = folder.read([CURRENT])[CURRENT]
    except CloudError:  # it was deleted
        now = b""
    if now != content:  # otherwise our own write has arrived, and only its answer was lost
        first = (parse_current(now) or [Activation()])[0]
        who = f"{first.by} has activated release {first.release} at {first.at}" if now else "current was deleted"
        raise Refused(f"{who} meanwhile; the release that counts was not changed; run it again")
    return content


# ----------------------------------------------------------------------------------------------------- on a disk


@contextmanager
def stage(folder: Folder, files: Files) -> Iterator[Path]:
    """Provide a folder with these files; delete it at the end of the context."""
    with tempfile.TemporaryDirectory(prefix="etl-") as above:
        etl = Path(above) / "dags" / folder.name
        for name in ("configs", "pipelines"):
            (etl / name).mkdir(parents=True)
        for path, content in files.items():
            (etl / path).parent.mkdir(exist_ok=True)
            (etl / path).write_bytes(content)
        yield etl


def load_staged(folder: Folder, definitions: Files) -> LoadResult:
    """Read definitions with the package of this checkout."""
    with stage(folder, definitions) as etl:
        return load(etl, folder.environment)


def dags_of(found: LoadResult) -> Dict[str, str]:
    """Return the paths of definitions, below their folder, by DAG id."""
    return {definition.dag_id: definition.path.split("/", 2)[-1] for definition in found.definitions}


def compile_package(folder: Folder, files: Files) -> Files:
    """Return the bytecode of the package by path: the same for the same source, wherever it is compiled."""
    environ = {"PATH": os.defpath, "PYTHONHASHSEED": "0"}  # it decides the order of sets in bytecode
    with stage(folder, {path: content for path, content in files.items() if CODE.fullmatch(path)}) as etl:
        if subprocess.run([sys.executable, *COMPILE], env=environ, cwd=str(etl)).returncode:
            raise Refused("orchestrator/ does not compile")
        return {path.relative_to(etl).as_posix(): path.read_bytes() for path in etl.glob("orchestrator/*/*.pyc")}
