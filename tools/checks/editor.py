"""Whether the schemas for editors know the clusters and environments that there are."""

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
        file = etl / path
        if file.exists() and file.read_text(encoding="utf-8", errors="replace") != text:
            location = Location(display_path(etl, file))
            message = "editors know other keys and names than the models and the files in configs have"
            yield Problem(location, message, "write it again: ./etl generate schema", "schema")
