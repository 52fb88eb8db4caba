"""Random definitions: valid ones become the DAGs of a simple model, broken ones do not affect others.

``./etl bench fuzz`` does the same for a given time, and writes each failure to tests/data/fuzz/.
"""

import logging
from pathlib import Path
from typing import Iterator, List

import pytest
from hypothesis import strategies
from orchestrator.definitions import merge

from tests.trees import DATA, python, stem, tree
from tools.fuzzing import trials
from tools.fuzzing.properties import Folder

CASES = sorted((DATA / "fuzz").glob("*.yaml"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    logging.disable(logging.CRITICAL)  # problems are written to the log, too
    yield Folder(tmp_path_factory.mktemp("fuzz"))
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(("kind", "number"), [("valid", 30), ("mutant", 60), ("environment", 40)])
def test_the_properties_hold_for_generated_definitions(folder: Folder, kind: str, number: int) -> None:
    failure = trials.Trial(folder).run(kind, number, start=1)

    assert failure is None, f"{failure.reason}\n{failure.case.decode(errors='replace')}"


@pytest.mark.parametrize("case", CASES, ids=stem)
def test_the_properties_hold_for_earlier_failures(folder: Folder, case: Path) -> None:
    trials.replay(folder, case)


def test_reports_do_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    bad = {f"bad{number}/{case.name}": case for number, case in enumerate((DATA / "bad").glob("*.yaml"))}
    root = tree(tmp_path, {path: case.read_bytes().decode(errors="replace") for path, case in bad.items()})
    code = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); from orchestrator import load\n"
        "result = load(pathlib.Path(sys.argv[1]), 'development')\n"
        "print([d.dag_id for d in result.definitions], *result.problems, sep='\\n')"
    )
    outputs: List[str] = [python(code, str(root), environment={"PYTHONHASHSEED": seed}).stdout for seed in "0123"]

    assert "problem" not in outputs[0][:9]
    assert len(outputs[0]) > 10_000
    assert len(set(outputs)) == 1


def test_a_failure_is_reported_and_its_smallest_example_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(folder: Folder, text: bytes) -> None:
        assert len(text) < 3, "three bytes are too many"

    monkeypatch.setattr(trials, "PROPERTIES", {"mutant": trials.Property(lambda corpus: strategies.binary(), check)})
    monkeypatch.setattr(trials, "CASES", tmp_path / "fuzz")

    status = trials.run(minutes=0.02, start=3)

    logging.disable(logging.NOTSET)
    (case,) = (tmp_path / "fuzz").iterdir()
    assert (status, case.read_bytes()) == (1, b"\0\0\0")
    output = capsys.readouterr().out
    assert "AssertionError: three bytes are too many\nassert 3 < 3\n" in output
    assert f"kept as {case}" in output
    assert "1 failures" in output.splitlines()[-1]
    with pytest.raises(AssertionError, match="three bytes"):
        trials.replay(Folder(tmp_path / "again"), case)


def test_a_bug_in_merging_layers_is_found(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.planning.merge", lambda layers: merge(list(layers)[::-1]))
    example = trials.read_world((DATA / "fuzz" / "valid-layers.yaml").read_bytes())

    with pytest.raises(AssertionError, match=r"\(built, expected\)"):
        trials.PROPERTIES["valid"].check(folder, example)
