"""The deployed commit in the docs of a DAG: ``./etl deploy`` writes it to a file beside the factory."""

import os
from pathlib import Path
from typing import Callable, Dict

import pytest

from tests.trees import SMALL, dag_bag, tree

ONE, OTHER = "0123456789ab" + "c" * 28, "ba9876543210" + "d" * 28


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRFLOW__ETL__ENVIRONMENT", "development")
    return tree(tmp_path, {"cwr/big.yaml": SMALL, "cwr/small.yaml": SMALL})


def docs(root: Path) -> Dict[str, str]:
    """Return the docs of one DAG of each file."""
    bag = dag_bag(root)
    assert not bag.import_errors
    return {name: bag.dags[f"cwr-{name}_dag_un"].doc_md for name in ("big", "small")}


def test_the_commit_is_abbreviated(root: Path) -> None:
    (root / "commit.txt").write_text(f"{ONE}\n")

    texts = docs(root)

    assert "Commit **0123456789ab**." in texts["big"]
    assert "Commit **0123456789ab**." in texts["small"]


def test_a_file_that_was_deployed_alone_has_its_own_commit(root: Path) -> None:
    (root / "commit.txt").write_text(f"{ONE} with uncommitted changes\n{OTHER} pipelines/cwr/big.yaml\n")

    texts = docs(root)

    assert "Commit **ba9876543210**." in texts["big"]
    assert "Commit **0123456789ab with uncommitted changes**." in texts["small"]


NOTHING: Dict[str, Callable[[Path], object]] = {
    "missing": lambda file: None,
    "empty": lambda file: file.write_text(""),
    "no commit": lambda file: file.write_text("<script>alert(1)</script>\n"),
    "too long": lambda file: file.write_text(ONE + "0\n"),
    "followed by HTML": lambda file: file.write_text(ONE + " <b>\n"),
    "not UTF-8": lambda file: file.write_bytes(b"\xff\xfe\x00" * 100),
    "huge": lambda file: file.write_text("x" * 1024 * 1024 + f"\n{ONE}\n"),
    "a folder": lambda file: file.mkdir(),
    "a dangling link": lambda file: file.symlink_to("nowhere"),
    "a pipe": lambda file: os.mkfifo(str(file)),
}


@pytest.mark.parametrize("make", list(NOTHING.values()), ids=list(NOTHING))
def test_without_a_valid_commit_the_docs_name_none(make: Callable[[Path], object], root: Path) -> None:
    make(root / "commit.txt")

    assert not [text for text in docs(root).values() if "Commit" in text or "script" in text]
