"""Writing files whole, or not at all."""

import os
import tempfile
from pathlib import Path
from typing import Dict

from tools import ROOT


def write_generated(files: Dict[Path, str]) -> None:
    """Write files of the repository, text by path, and print which."""
    for path, text in files.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        replace(ROOT / path, text.encode("utf-8"))
        print(f"wrote {path}")


def replace(file: Path, content: bytes) -> None:
    """Write a file whole or not at all; its mode stays as it was.

    Hidden until it is whole: the factory leaves hidden files alone, and an Airflow may be reading this folder.
    """
    mode = file.stat().st_mode & 0o777 if file.exists() else 0o644
    descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=str(file.parent))
    try:
        with open(descriptor, "wb") as stream:
            stream.write(content)
            os.fchmod(stream.fileno(), mode)
        os.replace(temporary, str(file))
    except BaseException:
        os.unlink(temporary)
        raise
