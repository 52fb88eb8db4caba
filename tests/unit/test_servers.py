"""Redis and PostgreSQL are found, or installed without their services, or it is told how."""

import os
import pwd
import shutil
from pathlib import Path
from typing import List, Optional

import pytest

from tools.environments import SetupError
from tools.local import servers


class Machine:
    """A Debian without our servers, on which root installs what apt-get is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.programs = {"apt-get"}
        self.ran: List[str] = []
        self.policy_during_install: Optional[str] = None
        self.succeeds = True
        monkeypatch.setattr(servers, "LOCAL", tmp_path)
        monkeypatch.setattr(servers, "SERVICE_POLICY", tmp_path / "policy-rc.d")
        monkeypatch.setattr(servers, "find", lambda name: Path(name) if name in self.programs else None)
        monkeypatch.setattr(shutil, "which", lambda name: name if name in self.programs else None)
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(servers, "run", self.run)

    def run(self, *command: str) -> bool:
        self.ran.append(" ".join(command))
        if "install" in command:
            self.policy_during_install = servers.SERVICE_POLICY.read_text()
            self.programs.update(name for name, package in servers.PACKAGES.items() if package in command)
        return self.succeeds


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(monkeypatch, tmp_path)


def test_what_is_there_is_not_installed(machine: Machine) -> None:
    machine.programs.update(servers.PACKAGES)
    servers.ensure()
    assert machine.ran == []


def test_what_is_missing_is_installed(machine: Machine) -> None:
    machine.programs.add("postgres")
    servers.ensure()
    assert len(machine.ran) == 2
    assert machine.ran[1].endswith("install -y --no-install-recommends redis-server")
    assert servers.missing() == []


def test_packages_start_no_service(machine: Machine) -> None:
    servers.ensure()
    assert machine.policy_during_install == "#!/bin/sh\nexit 101\n"
    assert not servers.SERVICE_POLICY.exists()


def test_the_machines_own_policy_stays(machine: Machine) -> None:
    servers.SERVICE_POLICY.write_text("own")
    servers.ensure()
    assert machine.policy_during_install == "own"
    assert servers.SERVICE_POLICY.read_text() == "own"


def test_a_failed_installation_is_told_and_leaves_no_policy(machine: Machine) -> None:
    machine.succeeds = False
    with pytest.raises(SetupError, match="apt-get install --no-install-recommends redis-server postgresql"):
        servers.ensure()
    assert not servers.SERVICE_POLICY.exists()


def test_who_is_not_root_is_told_the_command(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SetupError, match="sudo apt-get install --no-install-recommends redis-server postgresql"):
        servers.ensure()
    assert machine.ran == []


def test_without_apt_get_it_is_told_what_to_install(machine: Machine) -> None:
    machine.programs.clear()
    with pytest.raises(SetupError, match="needs redis-server and postgresql"):
        servers.ensure()


def test_a_folder_that_its_user_cannot_pass_is_told(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "data").mkdir(parents=True)
    closed.chmod(0o700)
    other = pwd.getpwnam("nobody")
    with pytest.raises(SetupError, match=f"nobody, who cannot pass {closed}; let it: chmod o\\+x {closed}"):
        servers.check_reach(other, closed / "data")
