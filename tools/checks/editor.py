"""Whether the schemas for editors know the clusters and environments that there are."""

import os
import stat
from pathlib import Path
from typing import Iterator

from orchestrator import Location, Problem, Rejected, display_path

from tools.generated import schema


def check_schemas(etl: Path) -> Iterator[Problem]:
    """Yield a problem for each schema in a folder such as ``dags/etl`` that is not what would be generated now."""
    try:
        texts = schema.files(etl)
    except Rejected:  # it is reported as a problem of the environment
        return
    for path, text in texts.items():
        message = difference(etl / path, text)
        if message:
            yield Problem(Location(display_path(etl, etl / path)), message, "write it again: ./etl generate schema")


def difference(file: Path, text: str) -> str:
    """Return what is wrong with a schema that is to hold a text; "" if nothing is, or if there is none."""
    try:
        if not stat.S_ISREG(os.stat(str(file)).st_mode):  # a pipe would be read for ever
            return "is not a regular file; delete it"
        if file.read_text(encoding="utf-8", errors="replace") == text:
            return ""
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"cannot be read: {error.strerror}; delete it"
    return "editors know other keys and names than the models and the files in configs have"
