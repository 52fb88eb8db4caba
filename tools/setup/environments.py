"""The Python environments under ``.local/``: the definitions', each Airflow's, the emulated AWS's, and the peers'.

Each is made by uv from files that pin everything, and carries a stamp that is written
last: an interrupted set-up is made again, a finished one costs nothing.
"""

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from tools import ROOT
from tools.setup import pythons
from tools.setup.pythons import Python
from tools.terminal import print_status

LOCAL = ROOT / ".local"
UV = "uv==0.6.17"  # newer ones no longer offer a Python 3.7 for download
MODERN = ("3.13", "3.12", "3.11", "3.10", "3.9", "3.14")  # what moto 5 runs on


class SetupError(Exception):
    """Something is missing; the text says what, and names the command that fixes it."""


def python37(environ: Mapping[str, str]) -> Optional[Python]:
    """Return the Python of MWAA 2.2.2: ``$PYTHON37``, else one of the PATH or of pyenv.

    Raises:
        SetupError: ``$PYTHON37`` is set to something else than a working Python 3.7.
    """
    path = environ.get("PYTHON37")
    if not path:
        return pythons.find(["3.7"], environ)
    python = pythons.probe(path)
    if python is None or python.version[:2] != (3, 7):
        raise SetupError(
            f"$PYTHON37 is {path}, which does not start as a Python 3.7; set it to one, or try without: unset PYTHON37"
        )
    return python


def modern_python(environ: Mapping[str, str]) -> Optional[Python]:
    """Return a Python for moto: the one that runs this, if it is new enough, else another."""
    if sys.version_info >= (3, 9):
        return pythons.probe(sys.executable)
    return pythons.find(MODERN, environ)


def python312(environ: Mapping[str, str]) -> Optional[Python]:
    """Return the Python of MWAA's images of Airflow 2.11 and 3."""
    return pythons.find(["3.12"], environ)


class Environment(NamedTuple):
    """A virtual environment of a checkout; paths are relative to its root."""

    name: str
    requirements: Tuple[str, ...]
    constraints: Tuple[str, ...]
    find_python: Callable[[Mapping[str, str]], Optional[Python]]
    version: str  # what uv is asked to download when this machine has none

    @property
    def folder(self) -> Path:
        """Where it stands."""
        return LOCAL / self.name

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def stamp(self) -> Path:
        """The file that says the set-up was finished, and from what."""
        return self.folder / "etl-stamp"


# Airflow is 100 packages and 15 s to set up; a first answer about a definition needs 30 of them and 3 s.
DEFINITIONS = Environment(
    name="definitions",
    requirements=("requirements-definitions.txt",),
    constraints=("constraints.txt",),
    find_python=python37,
    version="3.7",
)
AIRFLOW = Environment(
    name="airflow",
    requirements=("requirements.txt", "requirements-definitions.txt", "requirements-dev.txt"),
    constraints=("constraints.txt",),
    find_python=python37,
    version="3.7",
)
# The generations of Airflow that MWAA can upgrade to: the nearest to its images that PyPI has.
AIRFLOW_2_11 = Environment(
    name="airflow-2.11",
    requirements=("requirements-2.11.txt", "requirements-definitions.txt", "requirements-dev.txt"),
    constraints=("constraints-2.11.txt",),
    find_python=python312,
    version="3.12",
)
AIRFLOW_3 = Environment(
    name="airflow-3",
    requirements=("requirements-3.txt", "requirements-definitions.txt", "requirements-dev.txt"),
    constraints=("constraints-3.txt",),
    find_python=python312,
    version="3.12",
)
GENERATIONS = {"2.2.2": AIRFLOW, "2.11": AIRFLOW_2_11, "3": AIRFLOW_3}  # as --airflow names them


def add_airflow(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--airflow`` to a command; the launcher reads it."""
    words = "the generation of Airflow: 2.2.2 (default), or one that MWAA can be upgraded to"
    parser.add_argument("--airflow", choices=list(GENERATIONS), default="2.2.2", help=words)


AWS = Environment(
    name="aws",
    requirements=("tools/local/requirements-aws.txt",),
    constraints=(),
    find_python=modern_python,
    version=">=3.9",
)

# What the factory is compared with, beside the same Airflow: all contenders run in one environment.
PEERS = Environment(
    name="peers",
    requirements=("requirements.txt", "tools/bench/requirements-peers.txt"),
    constraints=("constraints.txt",),
    find_python=python37,
    version="3.7",
)


def ensure(environment: Environment) -> Path:
    """Set the environment up unless it is current; return its interpreter.

    Raises:
        SetupError: It cannot be set up.
    """
    if is_current(environment):
        return environment.python
    with lock(LOCAL / "setup.lock"):
        if not is_current(environment):  # another ./etl may have made it meanwhile
            try:
                create(environment)
            except OSError as error:
                raise unwritable(environment.folder, error) from error
    return environment.python


def is_current(environment: Environment) -> bool:
    """Return whether the set-up was finished, from the files as they are now, and still starts."""
    try:
        stamped = environment.stamp.read_text()
    except OSError:
        return False
    # exists() follows the link to the interpreter, which may have been uninstalled.
    return stamped == fingerprint(environment) and environment.python.exists()


def fingerprint(environment: Environment) -> str:
    """Return what the environment depends on, as a hexadecimal digest.

    The folder counts because a virtual environment's scripts hold its absolute path, so
    that one in a copied checkout still runs the original.
    """
    digest = hashlib.sha256(f"{environment.folder} {environment.version}".encode())
    for name in environment.requirements + environment.constraints:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def create(environment: Environment) -> None:
    """Make the environment from scratch."""
    started = time.monotonic()
    python = environment.find_python(os.environ)
    uv = find_uv() if python else own_uv()
    print_status(f"setting up .local/{environment.name} with {python or 'a Python that uv downloads'}")
    # Progress bars are for a person who watches; in a log they end as a list of packages.
    verbosity = [] if sys.stderr.isatty() else ["--quiet"]
    if environment.folder.exists():
        shutil.rmtree(environment.folder)
    request = python.path if python else environment.version
    if not run(uv, "venv", *verbosity, "--python", request, str(environment.folder)):
        if python:
            raise SetupError(f"uv cannot make {environment.folder} with {python}; see above")
        raise SetupError(
            f"there is no working Python {environment.version} here, and uv cannot download "
            f"one; install it, e.g.: pyenv install {environment.version.strip('>=')}"
            + (", or set PYTHON37 to its path" if environment.find_python is python37 else "")
        )
    install = ["pip", "install", *verbosity, "--python", str(environment.python)]
    for name in environment.requirements:
        install += ["--requirement", name]
    for name in environment.constraints:
        install += ["--constraint", name]  # of which uv takes a space for the end: no path of ours is before it
    if not run(uv, *install):
        raise SetupError("the packages could not be installed (see above); try again: ./etl")
    environment.stamp.write_text(fingerprint(environment))
    print_status(f"set up .local/{environment.name} in {time.monotonic() - started:.0f} s")


def find_uv() -> str:
    """Return the path of a uv that starts: the PATH's, else our own."""
    path = shutil.which("uv")
    return path if path and starts(path) else own_uv()


def own_uv() -> str:
    """Return the path of our own uv, which can download a Python 3.7; installed from PyPI if missing."""
    own = str(LOCAL / "uv" / "bin" / "uv")
    if starts(own):
        return own
    print_status(f"installing {UV} into .local/uv")
    python = modern_python(os.environ)
    if python is None:
        raise SetupError(
            "uv needs a Python 3.9 or newer; install one, e.g.: apt-get install python3, "
            "or uv itself: https://docs.astral.sh/uv/"
        )
    install_uv(python.path)
    if not starts(own):
        raise SetupError(
            "uv could not be installed from PyPI (see above); install it, e.g.: pip install uv, "
            "or what makes it possible: apt-get install python3-venv python3-pip"
        )
    return own


def install_uv(python: str) -> None:
    """Install uv from PyPI into ``.local/uv``.

    Debian's python3 has no ensurepip without python3-venv, but may have pip.
    """
    folder = str(LOCAL / "uv")
    with_venv = run(python, "-m", "venv", "--clear", folder, quiet=True) and run(
        f"{folder}/bin/python", "-m", "pip", "install", "--quiet", UV
    )
    if not with_venv:
        run(python, "-m", "pip", "install", "--quiet", "--upgrade", "--target", folder, UV)


def starts(program: str) -> bool:
    """Return whether the program is there and answers."""
    return run(program, "--version", quiet=True)


def run(program: str, *arguments: str, quiet: bool = False) -> bool:
    """Run a set-up step and return whether it succeeded; its output is shown unless ``quiet``."""
    command: List[str] = [program, *arguments]
    environ = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    output = subprocess.DEVNULL if quiet else sys.stderr.fileno()
    try:
        status = subprocess.run(command, cwd=ROOT, env=environ, stdout=output, stderr=output).returncode
    except OSError as error:
        status = error.errno or 1
    if status and not quiet:
        print_status(f"{program} {arguments[0]}: exit status {status}")  # it may have been killed without a word
    return status == 0


def unwritable(path: Path, error: OSError) -> SetupError:
    """Return the error of a path that cannot be written, as in a read-only checkout or in that of another person."""
    reason = f"{path} cannot be written: {error.strerror or error}"
    return SetupError(f"{reason}; ./etl keeps there what it needs: make it writable, or use a clone of your own")


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the file's lock, so that two commands take turns; the system frees it at exit.

    Raises:
        SetupError: The file cannot be written.
    """
    try:
        path.parent.mkdir(exist_ok=True)
        file = open(path, "w")  # noqa: SIM115 (it is closed below)
    except OSError as error:
        raise unwritable(path, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print_status("waiting for another ./etl that does the same")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
