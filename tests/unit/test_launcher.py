"""./etl before anything is set up."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Dict, List

import pytest

ROOT = Path(__file__).resolve().parents[2]


def etl(*arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    environment: Dict[str, str] = {**os.environ, **environ}
    return subprocess.run([str(ROOT / "etl"), *arguments], env=environment, cwd="/", capture_output=True, text=True)


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"]])
def test_help_lists_the_commands(arguments: List[str]) -> None:
    result = etl(*arguments)
    assert result.returncode == 0
    assert "./etl run --trigger" in result.stdout
    assert "./etl test" in result.stdout


def test_an_unknown_command_is_told_the_nearest() -> None:
    result = etl("rnu")
    assert result.returncode == 2
    assert result.stderr == "etl: there is no command 'rnu'; did you mean run?\n"


def test_a_machine_without_python_is_told_what_to_install(tmp_path: Path) -> None:
    for name in ("dirname", "readlink"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    (tmp_path / "python3").write_text("#!/bin/sh\nexit 127\n")
    (tmp_path / "python3").chmod(0o755)
    result = etl("--help", PATH=str(tmp_path))
    assert result.returncode == 1
    assert "apt-get install python3" in result.stderr
