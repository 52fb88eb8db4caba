"""``./etl`` before anything is set up."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, List

import pytest

from tests.checkouts import checkout
from tests.trees import REPOSITORY
from tools.__main__ import COMMANDS, module_of
from tools.setup.environments import DEFINITIONS


def etl(*arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    environment: Dict[str, str] = {**os.environ, **environ}
    return subprocess.run(
        [str(REPOSITORY / "etl"), *arguments], env=environment, cwd="/", capture_output=True, text=True
    )


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"]])
def test_help_lists_the_commands(arguments: List[str]) -> None:
    result = etl(*arguments)
    assert result.returncode == 0
    assert "./etl run --trigger" in result.stdout
    assert "./etl test" in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_runs_as_a_module(name: str) -> None:
    command = [sys.executable, "-m", module_of(name), "--help"]
    done = subprocess.run(command, cwd=str(REPOSITORY), capture_output=True, text=True)

    assert done.stdout.startswith(f"usage: ./etl {name}"), "its module ends without: run_command(main)"


@pytest.mark.parametrize("arguments", ["--help", "check", "show", "plan HEAD --format json"])
def test_a_full_disk_is_reported_and_a_closed_pipe_is_silent(arguments: str) -> None:
    command = [str(REPOSITORY / "etl"), *arguments.split()]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    reader, writer = os.pipe()
    os.close(reader)
    closed = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)

    assert done.returncode == closed.returncode == 1
    assert done.stderr.splitlines()[-1] == "etl: the output cannot be written: No space left on device"
    assert "Traceback" not in done.stderr + closed.stderr
    assert "cannot be written" not in closed.stderr


@pytest.mark.parametrize("arguments", ["check", "plan", "new provider cwr/big sony"])
def test_ctrl_c_is_one_sentence(arguments: str, tmp_path: Path) -> None:
    copy = checkout(tmp_path, DEFINITIONS)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "git").write_text("#!/bin/sh\nkill -INT $PPID\nexec sleep 10\n")  # which each of them asks
    (programs / "git").chmod(0o755)
    environ = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    command = [str(copy / "etl"), *arguments.split()]
    done = subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    assert (done.returncode, done.stderr) == (130, "etl: interrupted\n")


@pytest.mark.parametrize("program", ["tools/__main__.py", "tools/commands/check.py"])
def test_ctrl_c_while_a_program_is_imported_is_one_sentence(program: str, tmp_path: Path) -> None:
    copy = checkout(tmp_path, DEFINITIONS)
    with (copy / "tools" / "terminal.py").open("a") as file:
        file.write(f"if sys.argv[0].endswith({program!r}): os.kill(os.getpid(), signal.SIGINT)\n")
    done = subprocess.run([str(copy / "etl"), "check"], capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (130, "etl: interrupted\n")


def test_check_needs_docstrings_which_a_variable_of_the_shell_takes_away() -> None:
    result = etl("check", PYTHONOPTIMIZE="2")
    assert " files, " in result.stdout.splitlines()[-1], result.stderr


def test_an_unknown_command_suggests_the_nearest() -> None:
    result = etl("rnu")
    assert result.returncode == 2
    assert result.stderr == "etl: there is no command 'rnu'; did you mean run?\n"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a new clone, on a machine whose Python has no packages and that can install none."""
    folder = tmp_path_factory.mktemp("fresh")
    programs = folder / "bin"
    programs.mkdir()
    for name in ("dirname", "readlink"):
        (programs / name).symlink_to(str(shutil.which(name)))
    # -S leaves out the site-packages, so that importing anything but the standard library fails.
    (programs / "python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    (programs / "python3").chmod(0o755)
    return checkout(folder)


def etl_in(copy: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environ = {"PATH": str(copy.parent / "bin"), "HOME": str(copy.parent), "COLUMNS": "100"}
    return subprocess.run([str(copy / "etl"), *arguments], env=environ, cwd="/", capture_output=True, text=True)


HELPS = [[name] for name in COMMANDS] + [["new", "provider"], ["new", "pipeline"], ["bench", "fuzz"]]


@pytest.mark.parametrize("command", HELPS, ids=" ".join)
def test_help_has_examples_and_needs_no_set_up(command: List[str], fresh: Path) -> None:
    result = etl_in(fresh, *command, "--help")

    assert (result.returncode, result.stderr) == (0, "")
    examples = result.stdout.partition("\nexamples:\n")[2].partition("\n\n")[0]
    assert f"./etl {' '.join(command)}" in examples
    assert not (fresh / ".local").exists()


def test_a_checkout_that_cannot_be_written_is_reported(fresh: Path) -> None:
    (fresh / ".local").touch()  # to root, no checkout is read-only
    result = etl_in(fresh, "check")
    (fresh / ".local").unlink()

    assert result.returncode == 1
    assert result.stderr.startswith(f"etl: {fresh}/.local/setup.lock cannot be written: ")
    assert len(result.stderr.splitlines()) == 1


def test_all_commands_are_listed_without_set_up(fresh: Path) -> None:
    result = etl_in(fresh, "--help")

    assert (result.returncode, result.stderr) == (0, "")
    assert all(f"\n  {name} " in result.stdout and f" ./etl {name}" in result.stdout for name in COMMANDS)
    assert not (fresh / ".local").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ("check --fromat json", 2, "unrecognized arguments: --fromat"),
        ("plan --format html", 1, "invalid choice: 'html'"),
        ("new provider cwr sony", 2, "'cwr' is not FAMILY/PIPELINE"),
        ("deploy staging --remove", 2, "--remove takes a whole sandbox"),
        ("run --port 0", 2, "'0' is not a port"),
        ("bench --contenders lop", 2, "there is no lop"),
    ],
)
def test_usage_errors_are_reported_before_anything_is_set_up(
    arguments: str, status: int, message: str, fresh: Path
) -> None:
    result = etl_in(fresh, *arguments.split())

    assert result.returncode == status
    assert message in result.stderr
    assert not (fresh / ".local").exists()


def test_the_help_of_the_tests_explains_their_parts_and_options(fresh: Path) -> None:
    text = etl_in(fresh, "test", "--help").stdout

    assert all(word in text for word in ("unit", "dags", "e2e", "-m ", "-k ", "--accept", "pytest"))


def test_a_missing_python_is_reported_with_the_package_to_install(tmp_path: Path) -> None:
    for name in ("dirname", "readlink"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    (tmp_path / "python3").write_text("#!/bin/sh\nexit 127\n")
    (tmp_path / "python3").chmod(0o755)
    result = etl("--help", PATH=str(tmp_path))
    assert result.returncode == 1
    assert "apt-get install python3" in result.stderr
