"""Releases: what they hold, how ``current`` names the one that counts, and making one of files.

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
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional

from orchestrator import LoadResult, load

from tools.deploying.bucket import Files, Refused, Target

CURRENT, MANIFEST = "current", "manifest.json"
USABLE = 3  # of the activations: the one that counts, and those that a factory falls back to
NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}"
ID = r"[0-9a-f]{16}"
DEFINITION = re.compile(rf"configs/{NAME}\.yaml|pipelines/{NAME}/{NAME}\.yaml")
CODE = re.compile(rf"orchestrator/{NAME}\.py")
STORED = re.compile(rf"releases/({ID})/.*", re.DOTALL)
MALFORMED = (ValueError, TypeError, LookupError, AttributeError)  # of JSON that is not what it should be


class Digest(NamedTuple):
    """The size of a file in bytes, and the SHA-256 of its content in hexadecimal."""

    size: int
    sha256: str


class Release(NamedTuple):
    """What a release holds: the digests of its files by path, and the paths of its DAGs' definitions by DAG id."""

    files: Mapping[str, Digest]
    dags: Mapping[str, str]
    protocol: int  # how factory.py has to call the package

    @property
    def id(self) -> str:
        """The beginning of the SHA-256 of what sha256sum prints of the files."""
        lines = "".join(f"{self.files[path].sha256}  {path}\n" for path in sorted(self.files))
        return sha256(lines.encode()).hexdigest()[:16]

    @property
    def manifest(self) -> bytes:
        """The content of its manifest.json."""
        files, dags = dict(sorted(self.files.items())), dict(sorted(self.dags.items()))
        return json.dumps({"protocol": self.protocol, "files": files, "dags": dags}).encode() + b"\n"

    @property
    def definitions(self) -> List[str]:
        """The paths of its environments and pipelines."""
        return sorted(filter(DEFINITION.fullmatch, self.files))


class Activation(NamedTuple):
    """From when on a release counts. Release "" is the folder itself, as the version before filled it."""

    release: str = ""
    commits: Mapping[str, str] = {}  # by path; "" for all that has none of its own
    by: str = ""
    at: str = ""


def digest(content: bytes) -> Digest:
    """Return the digest of a content."""
    return Digest(len(content), sha256(content).hexdigest())


def digests(files: Files) -> Dict[str, Digest]:
    """Return the digests of files by path."""
    return {path: digest(content) for path, content in files.items()}


def folder_of(release: str) -> str:
    """Return what the paths of a release begin with."""
    return f"releases/{release}/" if release else ""


def parse_manifest(content: bytes, release: str) -> Optional[Release]:
    """Return what a manifest says; None if that is not this release."""
    try:
        data = json.loads(content)
        files = {path: Digest(int(size), str(sha)) for path, (size, sha) in data["files"].items()}
        found = Release(files, dict(data["dags"]), int(data["protocol"]))
    except MALFORMED:
        return None
    return found if found.id == release else None


def parse_current(content: bytes) -> List[Activation]:
    """Return the activations, the one that counts first; none if it is malformed."""
    try:
        found = [Activation(**entry) for entry in json.loads(content)["activations"]]
        return [a._replace(commits=dict(a.commits)) for a in found if re.fullmatch(f"({ID})?", a.release)]
    except MALFORMED:
        return []


def format_current(activations: List[Activation]) -> bytes:
    """Return the content of ``current``."""
    return json.dumps({"activations": [a._asdict() for a in activations]}, indent=1).encode() + b"\n"


def commits_after(before: Mapping[str, str], commit: str, path: str, is_there: bool) -> Dict[str, str]:
    """Return the commits of a release of which one path was deployed alone, or all for ""."""
    if not path:
        return {"": commit}
    others = {other: sha for other, sha in before.items() if other != path}
    return {**others, path: commit} if is_there and commit != before.get("") else others


@contextmanager
def stage(target: Target, files: Files) -> Iterator[Path]:
    """Provide a folder that holds the files for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="etl-") as above:
        etl = Path(above) / "dags" / target.folder
        for name in ("configs", "pipelines"):
            (etl / name).mkdir(parents=True)
        for path, content in files.items():
            (etl / path).parent.mkdir(exist_ok=True)
            (etl / path).write_bytes(content)
        yield etl


def load_staged(target: Target, definitions: Files) -> LoadResult:
    """Read definitions with the package of this checkout."""
    with stage(target, definitions) as etl:
        return load(etl, target.environment)


def dags_of(found: LoadResult) -> Dict[str, str]:
    """Return the paths of definitions, below their folder, by DAG id."""
    return {definition.dag_id: definition.path.split("/", 2)[-1] for definition in found.definitions}


def compile_package(target: Target, files: Files) -> Files:
    """Return the bytecode of the package by path: the same for the same source, wherever it is compiled."""
    command = [sys.executable, "-m", "compileall", "--invalidation-mode", "unchecked-hash", "-q", "-d", "orchestrator"]
    environ = {"PATH": os.defpath, "PYTHONHASHSEED": "0"}  # by which sets are ordered
    with stage(target, {path: content for path, content in files.items() if CODE.fullmatch(path)}) as etl:
        if subprocess.run([*command, "orchestrator"], env=environ, cwd=str(etl)).returncode:
            raise Refused("orchestrator/ does not compile")
        return {path.relative_to(etl).as_posix(): path.read_bytes() for path in etl.glob("orchestrator/*/*.pyc")}
