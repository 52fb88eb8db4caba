"""An environment is set up whenever it is missing, unfinished, stale or broken."""

import sys
import threading
import time
from pathlib import Path
from typing import List

import pytest

from tools.setup import environments
from tools.setup.environments import Environment, SetupError
from tools.setup.pythons import Python


class Uv:
    """A replacement of uv that makes an environment with an interpreter, and counts the environments."""

    def __init__(self) -> None:
        self.created = 0
        self.can_install = True

    def __call__(self, program: str, *arguments: str, quiet: bool = False) -> bool:
        if arguments[0] == "venv":
            self.created += 1
            folder = Path(arguments[-1])
            (folder / "bin").mkdir(parents=True)
            (folder / "bin" / "python").touch()
            return True
        return self.can_install


@pytest.fixture
def uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Uv:
    """Make a checkout in ``tmp_path``, and replace uv."""
    (tmp_path / "requirements.txt").write_text("a==1\n")
    uv = Uv()
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    monkeypatch.setattr(environments, "LOCAL", tmp_path / ".local")
    monkeypatch.setattr(environments, "find_uv", lambda: "uv")
    monkeypatch.setattr(environments, "own_uv", lambda: "own uv")
    monkeypatch.setattr(environments, "run", uv)
    return uv


ENVIRONMENT = Environment(
    "sample", ("requirements.txt",), (), lambda environ: Python("/usr/bin/python3.7", (3, 7, 9)), "3.7"
)


def test_a_current_environment_is_kept(uv: Uv) -> None:
    environments.ensure(ENVIRONMENT)
    environments.ensure(ENVIRONMENT)
    assert uv.created == 1


def test_changed_requirements_recreate_the_environment(uv: Uv, tmp_path: Path) -> None:
    environments.ensure(ENVIRONMENT)
    (tmp_path / "requirements.txt").write_text("a==2\n")
    environments.ensure(ENVIRONMENT)
    assert uv.created == 2


def test_an_interrupted_set_up_is_repeated(uv: Uv) -> None:
    uv.can_install = False
    with pytest.raises(SetupError, match=r"try again: \./etl"):
        environments.ensure(ENVIRONMENT)
    uv.can_install = True
    environments.ensure(ENVIRONMENT)
    assert uv.created == 2


def test_a_missing_interpreter_recreates_the_environment(uv: Uv) -> None:
    environments.ensure(ENVIRONMENT)
    ENVIRONMENT.python.unlink()
    ENVIRONMENT.python.symlink_to("/uninstalled/python3.7")
    environments.ensure(ENVIRONMENT)
    assert uv.created == 2


def test_a_copied_checkout_creates_its_own_environment(uv: Uv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environments.ensure(ENVIRONMENT)
    (tmp_path / ".local").rename(tmp_path / "copied")
    monkeypatch.setattr(environments, "LOCAL", tmp_path / "copied")
    environments.ensure(ENVIRONMENT)
    assert uv.created == 2


def test_concurrent_set_ups_create_the_environment_once(uv: Uv, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow_create(environment: Environment) -> None:
        time.sleep(0.2)
        create(environment)

    create = environments.create
    monkeypatch.setattr(environments, "create", slow_create)
    threads = [threading.Thread(target=environments.ensure, args=(ENVIRONMENT,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert uv.created == 1


def test_an_environment_that_is_a_link_is_named_with_the_reason(uv: Uv, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "sample").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(SetupError, match=r"/\.local/sample cannot be written: Cannot call rmtree"):
        environments.ensure(ENVIRONMENT)


@pytest.mark.parametrize("path", [".local", ".local/setup.lock", ".local/sample"])
def test_what_cannot_be_written_is_named(path: str, uv: Uv, tmp_path: Path) -> None:
    # To root, no folder is read-only: another kind of file is in the place.
    blocked = tmp_path / path
    blocked.parent.mkdir(exist_ok=True)
    if blocked.name == "setup.lock":
        blocked.mkdir()
    else:
        blocked.touch()

    named = path if path.endswith("sample") else ".local/setup.lock"
    with pytest.raises(SetupError, match=rf"/{named} cannot be written: .*; \./etl keeps there what it needs"):
        environments.ensure(ENVIRONMENT)


def test_without_a_python_uv_is_asked_to_install_one(uv: Uv, monkeypatch: pytest.MonkeyPatch) -> None:
    command: List[str] = []

    def offline(program: str, *arguments: str, quiet: bool = False) -> bool:
        command.extend([program, *arguments])
        return False

    monkeypatch.setattr(environments, "run", offline)
    environment = ENVIRONMENT._replace(find_python=lambda environ: None)
    with pytest.raises(SetupError, match=r"no working Python 3\.7 here.*pyenv install 3\.7"):
        environments.ensure(environment)
    assert command[0] == "own uv"  # the one on the PATH may be too new to install it
    assert command[command.index("--python") + 1] == "3.7"


def test_a_checkout_may_have_a_space_in_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uv, root = environments.find_uv(), tmp_path / "a folder"
    root.mkdir()
    for name in ("requirements.txt", "constraints.txt"):
        (root / name).touch()
    monkeypatch.setattr(environments, "ROOT", root)
    monkeypatch.setattr(environments, "LOCAL", root / ".local")
    monkeypatch.setattr(environments, "find_uv", lambda: uv)
    here = Python(sys.executable, sys.version_info[:3])

    environments.ensure(ENVIRONMENT._replace(constraints=("constraints.txt",), find_python=lambda environ: here))

    assert (root / ".local" / "sample" / "bin" / "python").exists()
