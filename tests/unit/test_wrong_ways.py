"""Wrong ways to say a time zone, items, a group and alerts, and habits of other tools: each is reported in its file.

A file of tests/data/ways holds a pipeline for each way; its report holds what is reported of each.
"""

from pathlib import Path
from typing import Dict, List

import pytest
import yaml
from orchestrator import Problem, load

from tests import goldens
from tests.goldens import Golden
from tests.trees import stem, tree

CASES = goldens.cases("ways/*.yaml")
FILES = sorted((goldens.DATA / "ways").glob("*.yaml"))
ALERTS = "alerts:\n  default: {sns_topic_arn: everybody}\n  urgent: {sns_topic_arn: on-call}\n"


def ways_of(case: Path) -> Dict[str, str]:
    """Return the pipelines of a file by their names."""
    ways: Dict[str, str] = yaml.safe_load(case.read_text(encoding="utf-8"))
    return ways


def problems_of(ways: Dict[str, str], folder: Path) -> Dict[str, List[Problem]]:
    """Return the problems of each way."""
    root = tree(folder, {f"cwr/{name}.yaml": text for name, text in ways.items()})
    with (root / "configs" / "development.yaml").open("a") as file:
        file.write(ALERTS)
    found: Dict[str, List[Problem]] = {name: [] for name in ways}
    for problem in load(root, "development").problems:
        found[Path(problem.location.path).stem].append(problem)
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_reports_of_wrong_ways_equal_their_golden(case: Path, golden: Golden, tmp_path: Path) -> None:
    problems = problems_of(ways_of(case), tmp_path)

    golden.check("\n\n".join("\n".join(map(str, each)) for each in problems.values()) + "\n")


@pytest.mark.parametrize("case", FILES, ids=stem)
def test_at_least_ten_ways_are_each_reported_at_the_text_that_is_wrong(case: Path, tmp_path: Path) -> None:
    ways = ways_of(case)
    problems = problems_of(ways, tmp_path)

    assert len(ways) >= 10
    for name, text in ways.items():
        (problem,) = problems[name]
        line = text.splitlines()[problem.location.line - 1]
        assert problem.location.marked in line, name
        assert problem.location.marked.strip("'\""), name
