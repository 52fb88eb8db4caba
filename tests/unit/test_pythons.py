"""Finding a Python: the first of the right version that starts."""

import sys
from pathlib import Path
from typing import Callable

import pytest

from tools.setup import pythons
from tools.setup.environments import SetupError, python37

Fake = Callable[[str, str], Path]
BROKEN = "exit 127"  # like the shim of pyenv for a version that is not selected


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    """Return a function that makes an executable below ``tmp_path`` from a line of shell."""

    def make(path: str, line: str) -> Path:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/sh\n{line}\n")
        file.chmod(0o755)
        return file

    return make


def version_line(version: str) -> str:
    """Return a line of shell that answers the probe like a Python of that version."""
    return f"echo {version.replace('.', ' ')}"


def test_a_python_that_does_not_start_is_skipped(fake: Fake, tmp_path: Path) -> None:
    fake("shims/python3.7", BROKEN)
    working = fake("bin/python3.7", version_line("3.7.9"))
    path = f"{tmp_path}/shims:{tmp_path}/bin"
    python = pythons.find(["3.7"], {"PATH": path, "PYENV_ROOT": str(tmp_path / "none")})
    assert python == pythons.Python(str(working), (3, 7, 9))


def test_a_python_of_another_version_is_skipped(fake: Fake, tmp_path: Path) -> None:
    fake("bin/python3.7", version_line("3.8.1"))
    fake("pyenv/versions/3.7.16/bin/python3.7", version_line("3.7.16"))
    python = pythons.find(["3.7"], {"PATH": f"{tmp_path}/bin", "PYENV_ROOT": f"{tmp_path}/pyenv"})
    assert python
    assert python.version == (3, 7, 16)


def test_pyenv_is_searched_when_the_path_has_none(fake: Fake, tmp_path: Path) -> None:
    fake("pyenv/versions/3.7.2/bin/python3.7", BROKEN)
    working = fake("pyenv/versions/3.7.1/bin/python3.7", version_line("3.7.1"))
    python = pythons.find(["3.7"], {"PATH": "", "PYENV_ROOT": f"{tmp_path}/pyenv"})
    assert python == pythons.Python(str(working), (3, 7, 1))


def test_none_is_found_when_none_starts(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    fake("bin/python3.7", BROKEN)
    assert pythons.find(["3.7"], {"PATH": f"{tmp_path}/bin"}) is None


def test_the_variable_python37_takes_precedence(fake: Fake, tmp_path: Path) -> None:
    fake("bin/python3.7", version_line("3.7.1"))
    named = fake("named", version_line("3.7.9"))
    assert python37({"PATH": f"{tmp_path}/bin", "PYTHON37": str(named)}) == (str(named), (3, 7, 9))


@pytest.mark.parametrize("line", [BROKEN, version_line("3.8.1"), version_line("3.7.9") + "; exit 1", "echo nonsense"])
def test_a_variable_python37_that_names_no_python_is_an_error(fake: Fake, line: str) -> None:
    named = fake("named", line)
    with pytest.raises(SetupError, match=r"PYTHON37 is .*named.*unset PYTHON37"):
        python37({"PYTHON37": str(named)})


def test_this_interpreter_passes_the_probe() -> None:
    python = pythons.probe(sys.executable)
    assert python
    assert python.version == sys.version_info[:3]
