"""The id of a DAG is made of the path of its file, and can be parsed into it."""

import itertools
from pathlib import Path
from typing import Dict, Tuple, Type

import pytest
from orchestrator import FamilyName, PipelineName, ProviderName, Text, format_dag_id, load, parse_dag_id

from tests.trees import SMALL, tree

WORDS = ["a", "dag", "a_dag", "dag_a", "_dag", "a_dag_b", "a-b", "a-dag", "3rd_party", "a__dag", "dag_", "a_"]


def test_parsing_an_id_returns_the_names_that_it_was_made_of() -> None:
    seen: Dict[str, Tuple[str, str, str]] = {}
    for family, pipeline, provider in itertools.product(WORDS, repeat=3):
        kinds: Tuple[Type[Text], ...] = (FamilyName, PipelineName, ProviderName)
        names = (family, pipeline, provider)
        if all(kind.pattern.fullmatch(name) for kind, name in zip(kinds, names)):
            dag_id = format_dag_id(*names)
            assert parse_dag_id(dag_id) == names
            assert seen.setdefault(dag_id, names) == names
    assert len(seen) > 300


def test_the_id_of_a_sandbox_begins_with_its_folder() -> None:
    assert format_dag_id("cwr", "big", "un", "test_merge") == "test_merge.cwr-big_dag_un"
    assert parse_dag_id("test_merge.cwr-big_dag_un", "test_merge") == ("cwr", "big", "un")


@pytest.mark.parametrize(
    "dag_id", ["", "cwr", "cwr-big", "cwr-big_dag_", "other.cwr-big_dag_un", "-big_dag_un", "cwr_dag_un"]
)
def test_a_foreign_id_is_parsed_to_none(dag_id: str) -> None:
    assert parse_dag_id(dag_id) is None


def test_ids_are_made_of_the_paths(tmp_path: Path) -> None:
    root = tree(tmp_path, {"cwr/big.yaml": SMALL, "3rd_party/top-100.yaml": SMALL}, name="test_merge")

    definitions = load(root, "staging").definitions

    assert [definition.dag_id for definition in definitions] == [
        "test_merge.3rd_party-top-100_dag_un",
        "test_merge.3rd_party-top-100_dag_wcm",
        "test_merge.cwr-big_dag_un",
        "test_merge.cwr-big_dag_wcm",
    ]
