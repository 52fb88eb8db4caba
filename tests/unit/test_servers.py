"""Obstacles to starting Redis and PostgreSQL are reported."""

import pwd
from pathlib import Path

import pytest

from tools.local import servers
from tools.setup.environments import SetupError


def test_a_folder_that_its_user_cannot_enter_is_reported(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "data").mkdir(parents=True)
    closed.chmod(0o700)
    other = pwd.getpwnam("nobody")
    with pytest.raises(SetupError, match=f"nobody, who cannot pass {closed}; let it: chmod o\\+x {closed}"):
        servers.check_reach(other, closed / "data")


def test_root_needs_a_user_for_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "POSTGRES_ACCOUNT", "nosuchuser")
    with pytest.raises(SetupError, match="no user nosuchuser; make one: useradd --system nosuchuser"):
        servers.postgres_account()
