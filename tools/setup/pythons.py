"""Finding a Python that really starts."""

import os
import subprocess
from pathlib import Path
from typing import Iterable, Iterator, Mapping, NamedTuple, Optional, Tuple

# Modules of the standard library that a Python built without their C libraries lacks, and
# without which Airflow fails late and obscurely.
PROBE = "import ctypes, sqlite3, ssl, sys; print(*sys.version_info[:3])"


class Python(NamedTuple):
    """An interpreter that was seen starting."""

    path: str
    version: Tuple[int, int, int]

    def __str__(self) -> str:
        return "Python {}.{}.{} ({})".format(*self.version, self.path)


def probe(path: str) -> Optional[Python]:
    """Start the interpreter at ``path``; None unless it starts and is complete.

    A pyenv shim exists for every version that pyenv has, and fails for those not selected.
    """
    try:
        result = subprocess.run(
            [path, "-c", PROBE],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    numbers = result.stdout.split()
    if result.returncode != 0 or len(numbers) != 3:
        return None
    major, minor, micro = map(int, numbers)
    return Python(path, (major, minor, micro))


def places(minor: str, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield where a Python of the version ``minor`` ("3.7") may be: the whole PATH, then pyenv."""
    name = f"python{minor}"
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(folder, name)
        if folder and os.access(path, os.X_OK):
            yield path
    for root in (environ.get("PYENV_ROOT"), os.path.expanduser("~/.pyenv")):
        if root:
            versions = sorted(Path(root, "versions").glob(f"{minor}*"), reverse=True)
            yield from (str(version / "bin" / name) for version in versions)


def find(minors: Iterable[str], environ: Mapping[str, str]) -> Optional[Python]:
    """Return the first Python of one of the versions ``minors`` ("3.7") that really starts."""
    for minor in minors:
        for path in places(minor, environ):
            python = probe(path)
            if python and "{}.{}".format(*python.version) == minor:
                return python
    return None
