"""Copies of this checkout that a test may change, with ``./etl`` ready to run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Mapping, Optional

from tests.trees import REPOSITORY
from tools.setup.environments import Environment, ensure

LEFT_OUT = {".git", ".local", "tests"}


def checkout(folder: Path, *environments: Environment, add: Optional[Mapping[Path, str]] = None) -> Path:
    """Copy this checkout as the one commit of a new repository; its environments are the original's.

    ``add`` are files that the copy has beside, text by path.
    """
    copy = folder / "checkout"
    copy.mkdir()
    for path in REPOSITORY.iterdir():
        if path.name in LEFT_OUT or path.name.endswith("_cache"):
            continue
        if path.is_dir():
            shutil.copytree(path, copy / path.name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, copy / path.name, follow_symlinks=False)
    for path, text in (add or {}).items():
        (copy / path).write_text(text, encoding="utf-8")
    for environment in environments:
        lend(environment, copy)
    author = ("-c", "user.name=Test", "-c", "user.email=test@example.invalid")
    for arguments in (
        ("init", "--quiet"),
        ("symbolic-ref", "HEAD", "refs/heads/main"),
        ("add", "--all"),
        (*author, "commit", "--quiet", "--message=Copy"),
    ):
        subprocess.run(["git", *arguments], cwd=copy, check=True)
    return copy


def lend(environment: Environment, copy: Path) -> None:
    """Let a copy have an environment without setting it up again: everything but the stamp is a link."""
    ensure(environment)
    borrowed = copy / ".local" / environment.name
    borrowed.mkdir(parents=True)
    for path in environment.folder.iterdir():
        if path != environment.stamp:
            (borrowed / path.name).symlink_to(path)
    name = environment.name.upper()
    code = f"from tools.setup.environments import {name}, fingerprint; {name}.stamp.write_text(fingerprint({name}))"
    subprocess.run([sys.executable, "-c", code], cwd=copy, check=True)


def run(copy: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in a copy; its output is in ``stdout``, errors among it."""
    return subprocess.run(
        command,
        cwd=copy,
        env={**os.environ, "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
