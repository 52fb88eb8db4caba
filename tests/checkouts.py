"""Copies of this checkout that a test may change, with ``./etl`` ready to run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Mapping, Optional

from tests.trees import COMPANY, REPOSITORY
from tools.generated import schema
from tools.setup.environments import Environment, ensure

LEFT_OUT = {".git", ".local"}
# Git neither reads the settings of the person who runs the tests nor commits as that person.
IDENTITY = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    **{f"GIT_{who}_NAME": "Test" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "test@example.invalid" for who in ("AUTHOR", "COMMITTER")},
}


def checkout(folder: Path, *environments: Environment, add: Optional[Mapping[Path, str]] = None) -> Path:
    """Copy this checkout as the one commit of a new repository; its environments are the original's.

    The copy has the definitions of ``tests/data/company`` in the place of those that are shipped, and no tests.
    ``add`` holds further files of the copy, text by path.
    """
    copy = files_of_the_checkout(folder, "tests")
    define(copy, COMPANY)
    for path, text in (add or {}).items():
        (copy / path).write_text(text, encoding="utf-8")
    begin(copy, *environments)
    return copy


def shipped_checkout(folder: Path, *environments: Environment) -> Path:
    """Copy this checkout as ``checkout`` does, but with its tests and the shipped definitions."""
    copy = files_of_the_checkout(folder)
    begin(copy, *environments)
    return copy


def files_of_the_checkout(folder: Path, *left_out: str) -> Path:
    """Copy the files to ``folder/checkout``, without what git or a tool keeps there."""
    copy = folder / "checkout"
    copy.mkdir()
    for path in REPOSITORY.iterdir():
        if path.name in {*LEFT_OUT, *left_out} or path.name.endswith("_cache"):
            continue
        if path.is_dir():
            shutil.copytree(path, copy / path.name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, copy / path.name, follow_symlinks=False)
    return copy


def define(copy: Path, source: Path) -> None:
    """Replace the definitions of a copy with the configs and pipelines of ``source``, whose names editors then know."""
    for file in (copy / "configs").glob("*.yaml"):
        file.unlink()
    for file in (source / "configs").glob("*.yaml"):
        shutil.copy(file, copy / "configs")
    shutil.rmtree(copy / "dags" / "etl" / "pipelines")
    shutil.copytree(source / "pipelines", copy / "dags" / "etl" / "pipelines")
    for path, text in schema.files(source).items():
        (copy / path).write_text(text, encoding="utf-8")


def begin(copy: Path, *environments: Environment) -> None:
    """Commit the files of a copy as the first commit of a repository, with environments ready."""
    for environment in environments:
        lend(environment, copy)
    begin_history(copy)


def commit(copy: Path) -> None:
    """Commit the working tree of a repository."""
    git(copy, "add", "--all")
    git(copy, "commit", "--quiet", "--message=Commit")


def begin_history(folder: Path) -> None:
    """Make a folder a repository, and commit its files to the branch main."""
    git(folder, "init", "--quiet")
    git(folder, "symbolic-ref", "HEAD", "refs/heads/main")
    commit(folder)


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder; return its output."""
    command, environ = ["git", *arguments], {**os.environ, **IDENTITY}
    return subprocess.run(command, cwd=folder, env=environ, stdout=subprocess.PIPE, text=True, check=True).stdout


def lend(environment: Environment, copy: Path) -> None:
    """Link an environment into a copy, which does not set it up again; only the stamp is a file of the copy."""
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
    """Run a command in a copy; ``stdout`` of the result includes its error output."""
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
