"""Programs from Debian's packages: there, installed, or told how to install."""

import os
import shutil
from pathlib import Path
from typing import List, Optional

import pytest

from tools import debian
from tools.environments import SetupError


class Machine:
    """A machine without the program ``sample``, until its package is installed."""

    def __init__(self) -> None:
        self.programs = {"apt-get"}
        self.installs = True
        self.commands: List[str] = []

    def which(self, program: str) -> Optional[str]:
        return f"/usr/bin/{program}" if program in self.programs else None

    def run(self, *command: str) -> bool:
        self.commands.append(" ".join(command))
        if self.installs and "install" in command:
            self.programs.add("sample")
        return self.installs


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(debian, "LOCAL", tmp_path)
    monkeypatch.setattr(debian, "run", machine.run)
    monkeypatch.setattr(shutil, "which", machine.which)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return machine


def test_a_program_that_is_there_is_taken(machine: Machine) -> None:
    machine.programs.add("sample")
    assert debian.ensure_program("sample", "samples") == "/usr/bin/sample"
    assert machine.commands == []


def test_a_missing_program_is_installed(machine: Machine) -> None:
    assert debian.ensure_program("sample", "samples") == "/usr/bin/sample"
    update, install = machine.commands
    assert update.endswith("apt-get --quiet update")
    assert install.endswith("install --yes --no-install-recommends samples")


def test_it_is_told_how_to_install_what_could_not_be(machine: Machine) -> None:
    machine.installs = False
    with pytest.raises(SetupError, match=r"sample is not installed; .*: sudo apt-get install samples"):
        debian.ensure_program("sample", "samples")


def test_only_root_installs(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SetupError, match="sudo apt-get install samples"):
        debian.ensure_program("sample", "samples")
    assert machine.commands == []
