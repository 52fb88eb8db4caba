"""Releases: what they hold, how ``current`` names the one that counts, and which of them a bucket has.

A release never changes: its id is a digest of what it holds.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from orchestrator import PROTOCOL, LoadResult, load

from tools.deploying.bucket import Files, Folder, Listing, Refused
from tools.deploying.cloud import CloudError

CURRENT, MANIFEST = "current", "manifest.json"
USABLE = 3  # of the activations: the one that counts, and those that a factory falls back to
NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}"
DEFINITION = re.compile(rf"configs/{NAME}\.yaml|pipelines/{NAME}/{NAME}\.yaml")
CODE = re.compile(rf"orchestrator/{NAME}\.py")
STORED = re.compile(r"releases/([0-9a-f]{16})/.*", re.DOTALL)
OLD = re.compile(r"(?:configs|orchestrator|pipelines)/.*|commit\.txt", re.DOTALL)  # what had no releases
MALFORMED = (ValueError, TypeError, LookupError, AttributeError)  # of JSON that is not what it should be
COMPILE = ("-m", "compileall", "--invalidation-mode", "unchecked-hash", "-q", "-d", "orchestrator", "orchestrator")

Digest = Tuple[int, str]  # the size of a file, and its SHA-256 in hexadecimal


class Release(NamedTuple):
    """What a release holds: the digests of its files by path, and the paths of its DAGs' definitions by DAG id."""

    files: Mapping[str, Digest]
    dags: Mapping[str, str]
    protocol: int  # how factory.py has to call the package

    @property
    def id(self) -> str:
        """The beginning of the SHA-256 of what sha256sum prints of the files."""
        lines = "".join(f"{self.files[path][1]}  {path}\n" for path in sorted(self.files))
        return sha256(lines.encode()).hexdigest()[:16]

    @property
    def manifest(self) -> bytes:
        files, dags = dict(sorted(self.files.items())), dict(sorted(self.dags.items()))
        return json.dumps({"protocol": self.protocol, "files": files, "dags": dags}).encode() + b"\n"

    @property
    def code(self) -> Dict[str, Digest]:
        return {path: digest for path, digest in self.files.items() if CODE.fullmatch(path)}


class Activation(NamedTuple):
    """From when on a release counts. Release "" is the folder itself, as the version before filled it."""

    release: str = ""
    commits: Mapping[str, str] = {}  # by path; "" for all that has none of its own
    by: str = ""
    at: str = ""


class State(NamedTuple):
    """What the bucket has where we deploy to."""

    listing: Listing
    current: bytes
    etag: str  # of current; "" if there is none
    activations: List[Activation]  # the first one counts
    counting: str  # the release that a factory takes; "" for none, or the folder itself
    release: Release  # what that holds


def digests(files: Files) -> Dict[str, Digest]:
    """Return the digests of files by path."""
    return {path: (len(content), sha256(content).hexdigest()) for path, content in files.items()}


def folder_of(release: str) -> str:
    """Return what the paths of a release begin with."""
    return f"releases/{release}/" if release else ""


def commits_after(before: Mapping[str, str], commit: str, path: str, is_there: bool) -> Dict[str, str]:
    """Return the commits of a release of which one path was deployed alone, or all for ""."""
    if not path:
        return {"": commit}
    others = {other: sha for other, sha in before.items() if other != path}
    return {**others, path: commit} if is_there and commit != before.get("") else others


# -------------------------------------------------------------------------------------------------- in a bucket


def read_state(folder: Folder) -> State:
    """Read what counts; raise Refused where a sandbox's folder is somebody else's, who would lose what is there."""
    listing = folder.list()
    if folder.is_sandbox and listing.objects and not {CURRENT, "commit.txt"} & {*listing.objects} | {*stored(listing)}:
        raise Refused(
            f"{folder} was not written by ./etl deploy; name another --sandbox, or if it is yours, empty it:"
            f"\n  aws s3 rm --recursive {folder}"
        )
    current, etag = folder.read(CURRENT) if CURRENT in listing.objects else (b"", "")
    activations = parse_current(current) if etag else [Activation()] * ("" in stored(listing))
    for activation in activations[:USABLE]:
        release = read_release(folder, listing, activation.release)
        if release and not missing(listing, release, activation.release):
            return State(listing, current, etag, activations, activation.release, release)
        print(f"release {activation.release} is not whole in the bucket, and passed over")
    return State(listing, current, etag, activations or [Activation()], "", Release({}, {}, PROTOCOL))


def parse_current(content: bytes) -> List[Activation]:
    """Return the activations; none if it is malformed."""
    try:
        found = [Activation(**entry) for entry in json.loads(content)["activations"]]
        return [a._replace(commits=dict(a.commits)) for a in found if re.fullmatch("([0-9a-f]{16})?", a.release)]
    except MALFORMED:
        return []


def stored(listing: Listing) -> Dict[str, List[str]]:
    """Return the paths of all objects of each release, whole or not."""
    found: Dict[str, List[str]] = {}
    for path in listing.objects:
        match = STORED.fullmatch(path)
        if match or OLD.fullmatch(path):
            found.setdefault(match.group(1) if match else "", []).append(path)
    return found


def read_release(folder: Folder, listing: Listing, name: str) -> Optional[Release]:
    """Return what a release of the bucket holds, None if that is not known; of the folder itself, definitions only."""
    if not name:
        contents = folder.read_all(filter(DEFINITION.fullmatch, listing.objects))
        folder.know(contents.values())
        return Release(digests(contents), dags_of(load_staged(folder, contents)), PROTOCOL)
    path = folder_of(name) + MANIFEST
    try:
        data = json.loads(folder.read(path)[0] if path in listing.objects else b"")
        files = {path: (int(size), str(sha)) for path, (size, sha) in data["files"].items()}
        found = Release(files, dict(data["dags"]), int(data["protocol"]))
    except MALFORMED:
        return None
    return found if found.id == name else None


def missing(listing: Listing, release: Release, name: str) -> List[str]:
    """Return the paths at which the bucket has not what a release has, by the sizes."""
    there = {path: entry["Size"] for path, entry in listing.objects.items()}
    away = [MANIFEST] if name and folder_of(name) + MANIFEST not in there else []
    away += [path for path, (size, _) in release.files.items() if there.get(folder_of(name) + path) != size]
    return [folder_of(name) + path for path in away]


def refuse_incomplete(listing: Listing, release: Release) -> None:
    """Refuse a release of which something is away."""
    for path in missing(listing, release, release.id):
        raise Refused(f"release {release.id} is not whole: {path} was deleted or changed; run it again, or deploy")


def read_definitions(folder: Folder, name: str, release: Release) -> Files:
    """Return the environments and pipelines of a release; those whose content is known are not read."""
    shas = {path: sha for path, (_, sha) in release.files.items() if DEFINITION.fullmatch(path)}
    read = folder.read_all(folder_of(name) + path for path, sha in shas.items() if sha not in folder.known)
    folder.know(read.values())
    return {path: read.get(folder_of(name) + path, folder.known.get(sha, b"")) for path, sha in shas.items()}


def activate(folder: Folder, state: State, activations: List[Activation]) -> bytes:
    """Write ``current``, and return it; raise Refused if somebody else has written it since it was read."""
    content = json.dumps({"activations": [a._asdict() for a in activations]}, indent=1).encode() + b"\n"
    if folder.replace(CURRENT, content, state.etag):
        return content
    try:
        now = folder.read(CURRENT)[0]
    except CloudError:  # it is gone
        now = b""
    if now != content:  # or else it is our own write that has arrived, and only its answer was lost
        first = (parse_current(now) or [Activation()])[0]
        who = f"{first.by} has activated release {first.release} at {first.at}" if now else "current was deleted"
        raise Refused(f"{who} meanwhile; nothing that counts was changed; run it again")
    return content


# ----------------------------------------------------------------------------------------------------- on a disk


@contextmanager
def stage(folder: Folder, files: Files) -> Iterator[Path]:
    """Provide a folder that holds the files for as long as the context lasts."""
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
    environ = {"PATH": os.defpath, "PYTHONHASHSEED": "0"}  # by which sets are ordered
    with stage(folder, {path: content for path, content in files.items() if CODE.fullmatch(path)}) as etl:
        if subprocess.run([sys.executable, *COMPILE], env=environ, cwd=str(etl)).returncode:
            raise Refused("orchestrator/ does not compile")
        return {path.relative_to(etl).as_posix(): path.read_bytes() for path in etl.glob("orchestrator/*/*.pyc")}
