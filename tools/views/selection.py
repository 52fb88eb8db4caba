"""DAGs chosen on the command line: one DAG id, a family, a pipeline, or a pattern."""

import difflib
import re
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Tuple

from orchestrator import display_path, load, parse_dag_id, pipeline_files

from tools.checkout import environments


class UnknownSelection(Exception):
    """There is nothing of this name; the text says what could be meant."""


class Selection(NamedTuple):
    """A DAG id, a family, ``family/pipeline``, or a pattern: with a / it is one of pipelines, else one of DAG ids."""

    text: str

    @property
    def is_dag_id(self) -> bool:
        """Whether the text is a whole DAG id, whether or not there is such a DAG."""
        return parse_dag_id(self.text) is not None

    def includes(self, dag_id: str, path: str) -> bool:
        """Return whether a DAG is selected; ``path`` is that of its definition."""
        return self.includes_pipeline(path) or fnmatchcase(dag_id, self.text)

    def includes_pipeline(self, path: str) -> bool:
        """Return whether all DAGs of a definition are selected, by their family or as a pipeline."""
        family, pipeline = names_of(path)
        return self.text == family or ("/" in self.text and fnmatchcase(f"{family}/{pipeline}", self.text))

    def concerns(self, path: str) -> bool:
        """Return whether a problem in this file may keep a selected DAG out."""
        if "/pipelines/" not in path or self.includes_pipeline(path):  # an environment's file concerns every DAG
            return True
        start = "-".join(names_of(path)) + "_dag_"  # of the ids of this file's DAGs
        literal = re.split(r"[*?[]", self.text)[0]
        if literal == self.text:
            return literal.startswith(start)
        return "/" not in self.text and (literal.startswith(start) or start.startswith(literal))

    def check_known(self, etl: Path) -> None:
        """Raise UnknownSelection unless a DAG, a pipeline or a family of this folder is selected."""
        paths = [display_path(etl, file) for file in pipeline_files(etl)[0]]
        loaded = [load(etl, name).definitions for name in environments(etl)]
        dags = {(definition.dag_id, definition.path) for definitions in loaded for definition in definitions}
        if any(map(self.includes_pipeline, paths)) or any(self.includes(*dag) for dag in dags):
            return
        names = [names_of(path) for path in paths]
        known = {*(dag_id for dag_id, _ in dags), *(family for family, _ in names), *map("/".join, names)}
        close = difflib.get_close_matches(self.text, sorted(known), n=1)
        hint = f"did you mean '{close[0]}'?" if close else "./etl show lists all DAGs"
        raise UnknownSelection(f"there is no DAG, family or pipeline '{self.text}'; {hint}")


def names_of(path: str) -> Tuple[str, str]:
    """Return family and pipeline of a definition's path."""
    file = PurePosixPath(path)
    return file.parent.name, file.stem
