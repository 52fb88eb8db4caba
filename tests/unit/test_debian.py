"""Programs of Debian packages: used if installed, else installed, else reported with the command to run."""

import os
import shutil
from pathlib import Path
from typing import List, Optional

import pytest

from tools.setup import debian
from tools.setup.environments import SetupError


class Machine:
    """A machine without the program ``sample``, until its package is installed."""

    def __init__(self) -> None:
        self.programs = {"apt-get"}
        self.installs = True
        self.commands: List[str] = []
        self.policy: Optional[str] = None  # while a package is being installed

    def which(self, program: str) -> Optional[str]:
        return f"/usr/bin/{program}" if program in self.programs else None

    def run(self, *command: str) -> bool:
        self.commands.append(" ".join(command))
        self.policy = debian.SERVICE_POLICY.read_text()
        if self.installs and "install" in command:
            self.programs.add("sample")
        return self.installs


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(debian, "LOCAL", tmp_path)
    monkeypatch.setattr(debian, "SERVICE_POLICY", tmp_path / "policy-rc.d")
    monkeypatch.setattr(debian, "run", machine.run)
    monkeypatch.setattr(shutil, "which", machine.which)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return machine


def test_an_installed_program_is_used(machine: Machine) -> None:
    machine.programs.add("sample")
    assert debian.ensure_program("sample", "samples") == "/usr/bin/sample"
    assert machine.commands == []


def test_a_missing_program_is_installed(machine: Machine) -> None:
    assert debian.ensure_program("sample", "samples") == "/usr/bin/sample"
    update, install = machine.commands
    assert update.endswith(" update")
    assert install.endswith("install --yes --no-install-recommends samples")


def test_a_failed_installation_is_reported_with_the_command_to_run(machine: Machine) -> None:
    machine.installs = False
    with pytest.raises(SetupError, match=r"sample is not installed; .*: sudo apt-get install samples"):
        debian.ensure_program("sample", "samples")


def test_only_root_installs(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SetupError, match="sudo apt-get install samples"):
        debian.ensure_program("sample", "samples")
    assert machine.commands == []


def test_no_service_is_started(machine: Machine) -> None:
    debian.ensure_program("sample", "samples")
    assert machine.policy == "#!/bin/sh\nexit 101\n"
    assert not debian.SERVICE_POLICY.exists()


def test_an_existing_policy_for_services_is_kept(machine: Machine) -> None:
    debian.SERVICE_POLICY.write_text("own")
    debian.ensure_program("sample", "samples")
    assert machine.policy == "own"
    assert debian.SERVICE_POLICY.read_text() == "own"


def test_the_highest_version_outside_the_path_is_used(machine: Machine, tmp_path: Path) -> None:
    for version in ("9.6", "15", "14"):
        (tmp_path / version / "bin").mkdir(parents=True)
        (tmp_path / version / "bin" / "sample").touch()
    path = debian.ensure_program("sample", "samples", folder=f"{tmp_path}/*/bin")
    assert path == f"{tmp_path}/15/bin/sample"
    assert machine.commands == []
