"""Programs from Debian's packages, installed when they are missing."""

import glob
import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List, Optional

from tools.setup.environments import LOCAL, SetupError, lock, run
from tools.terminal import print_status

SERVICE_POLICY = Path("/usr/sbin/policy-rc.d")  # what packages ask before they start a service


def ensure_program(program: str, package: str, folder: str = "") -> str:
    """Install the package unless the program is there; return the program's path.

    Args:
        program: Its name.
        package: Debian's package that has it.
        folder: Where the package keeps it, if not on the PATH: a pattern as glob's.

    Raises:
        SetupError: It is not there, and only a person can install it.
    """
    with lock(LOCAL / "debian.lock"):
        path = find(program, folder)
        if path is None:
            install(package)
            path = find(program, folder)
    if path is None:
        raise SetupError(f"{program} is not installed; install it, e.g.: sudo apt-get install {package}")
    return path


def find(program: str, folder: str = "") -> Optional[str]:
    """Return where a program is; that of the highest version, if the folder's pattern fits several."""
    matches = sorted(glob.glob(f"{folder}/{program}"), key=numbers) if folder else []
    return shutil.which(program) or (matches[-1] if matches else None)


def numbers(text: str) -> List[int]:
    """Return the numbers in a text, by which its versions are ordered."""
    return [int(digits) for digits in re.findall(r"\d+", text)]


def install(package: str) -> None:
    """Install the package, without starting its service, if this is root on a Debian."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    print_status(f"installing Debian's package {package}")
    apt_get = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "--option", "DPkg::Lock::Timeout=120")
    with services_kept_off():
        run(*apt_get, "update")
        run(*apt_get, "install", "--yes", "--no-install-recommends", package)


@contextmanager
def services_kept_off() -> Iterator[None]:
    """Keep packages from starting services, unless the machine has a policy of its own for that."""
    if SERVICE_POLICY.exists():
        yield
        return
    SERVICE_POLICY.write_text("#!/bin/sh\nexit 101\n")  # "action forbidden by policy"
    SERVICE_POLICY.chmod(0o755)
    try:
        yield
    finally:
        SERVICE_POLICY.unlink()
