"""Programs from Debian's packages, installed when they are missing."""

import os
import shutil
from typing import Optional

from tools.environments import LOCAL, SetupError, lock, run, say


def ensure_program(program: str, package: str) -> str:
    """Install the package unless the program is there; gives the program's path.

    Raises:
        SetupError: It is not there, and only a person can install it.
    """
    LOCAL.mkdir(exist_ok=True)
    with lock(LOCAL / "debian.lock"):
        path = shutil.which(program) or install(program, package)
    if path is None:
        raise SetupError(f"{program} is not installed; install it, e.g.: sudo apt-get install {package}")
    return path


def install(program: str, package: str) -> Optional[str]:
    """Install the package if this is root on a Debian; gives the program's path, None if it is not there then."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        say(f"installing Debian's package {package}")
        apt_get = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet")
        run(*apt_get, "update")
        run(*apt_get, "install", "--yes", "--no-install-recommends", package)
    return shutil.which(program)
