"""Writing files whole, or not at all."""

import os
import tempfile
from pathlib import Path


def replace(file: Path, content: bytes) -> None:
    """Write a file whole or not at all, in a folder that is made if need be; its mode stays as it was.

    Hidden until it is whole: the factory leaves hidden files alone, and an Airflow may be reading this folder.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
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
