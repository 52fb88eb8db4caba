"""Releases on the disk of a container, in the layout that ``./etl deploy`` writes."""

import hashlib
import json
import time
from pathlib import Path
from typing import Dict, Mapping, Optional

import pytest

from tests.trees import ETL, tree

OLD, NEW = "0" * 16, "1" * 16  # ids of releases
WHOLE, HALF, ABSENT = "whole", "half", "absent"  # states of a file


def with_manifest(files: Mapping[str, bytes], protocol: int = 1) -> Dict[str, bytes]:
    """Return the objects of a release with these files."""
    listed = {path: [len(content), hashlib.sha256(content).hexdigest()] for path, content in files.items()}
    manifest = {"protocol": protocol, "files": listed, "dags": {}}
    return {**files, "manifest.json": json.dumps(manifest).encode()}


def real_files(folder: Path, pipelines: Dict[str, str]) -> Dict[str, bytes]:
    """Return the files of a release of this checkout's package, with these definitions (text by "family/name.yaml")."""
    return files_below(tree(folder, pipelines))


def files_below(root: Path) -> Dict[str, bytes]:
    """Return what a release of a folder's package, configs and definitions holds, by path."""
    files = [path for pattern in ("orchestrator/*.py", "configs/*", "pipelines/*/*") for path in root.glob(pattern)]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def current(*releases: str) -> bytes:
    """Return what a deploy writes when it activates the first of these releases."""
    return json.dumps(
        {"activations": [{"release": release, "commits": {"": "c" * 40}} for release in releases]}
    ).encode()


def put(home: Path, release: str, objects: Mapping[str, bytes]) -> None:
    """Write the objects of a release."""
    for path, content in objects.items():
        write(home / "releases" / release / path, content)


def put_two(home: Path, old: Mapping[str, bytes], new: Mapping[str, bytes]) -> None:
    """Write the objects of two releases, of which the new one counts."""
    put(home, OLD, old)
    put(home, NEW, new)
    write(home / "current", current(NEW, OLD))


def write(path: Path, content: Optional[bytes], state: str = WHOLE) -> None:
    """Give a file a state."""
    if state == ABSENT or content is None:
        if path.exists():
            path.unlink()
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if state == WHOLE else content[: len(content) // 2])


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float = 301) -> None:
    """Make everything that has been copied that much older; by default, no copy goes on any more."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + seconds)


def empty_home(folder: Path) -> Path:
    """Make ``folder/dags/etl`` with nothing in it but factory.py and problems.py; return it."""
    home = folder / "dags" / "etl"
    home.mkdir(parents=True)
    for name in ("factory.py", "problems.py"):
        write(home / name, (ETL / name).read_bytes())
    return home
