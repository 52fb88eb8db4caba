"""factory.py loads the package beside it, as it is at the time of the parse."""

import importlib
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any, Iterator, Set

import pytest

from tests.releases import pass_time
from tests.trees import ETL, SMALL, dag_bag, import_error, tree

# A package as factory.py expects it: its module dags returns the DAGs of a folder.
DAGS = """\
try:
    from airflow.sdk import DAG
except ImportError:  # before 3
    from airflow.models.dag import DAG
from .names import {names}

class Failed(Exception):
    pass

def dags_of_folder(root):
    return {{name: DAG(name) for name in NAMES}}
"""


def folder(above: Path, name: str, *dag_ids: str, names: str = "NAMES") -> Path:
    """Make a folder with factory.py and a package of the test that returns these DAGs; return the folder."""
    root = above / "dags" / name
    (root / "orchestrator").mkdir(parents=True, exist_ok=True)
    shutil.copy(str(ETL / "factory.py"), str(root))
    (root / "orchestrator" / "__init__.py").write_text("")
    (root / "orchestrator" / "names.py").write_text(f"NAMES = {list(dag_ids)}\n")
    (root / "orchestrator" / "dags.py").write_text(DAGS.format(names=names))
    return root


def loaded() -> Set[str]:
    return {name for name in sys.modules if name.startswith("orchestrator_")}


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = dict(sys.modules)
    yield
    for name in loaded() - set(before):
        del sys.modules[name]


def test_two_folders_in_one_process_run_their_own_code(tmp_path: Path) -> None:
    etl, sandbox = folder(tmp_path, "etl", "real"), folder(tmp_path, "test_merge", "tried")

    for _ in range(2):
        assert set(dag_bag(etl).dags) == {"real"}
        assert set(dag_bag(sandbox).dags) == {"tried"}


def test_two_folders_of_the_same_name_run_their_own_code(tmp_path: Path) -> None:
    one, other = folder(tmp_path / "one", "etl", "first"), folder(tmp_path / "other", "etl", "second")

    for _ in range(2):
        assert set(dag_bag(one).dags) == {"first"}
        assert set(dag_bag(other).dags) == {"second"}


def test_a_copy_that_keeps_the_times_runs_its_own_code(tmp_path: Path) -> None:
    one = folder(tmp_path / "one", "etl", "same")
    shutil.copytree(str(one.parent), str(tmp_path / "other" / "dags"))  # with the times of its files
    dag_bag(one)
    shutil.rmtree(str(one))

    assert set(dag_bag(tmp_path / "other" / "dags" / "etl").dags) == {"same"}
    assert str(tmp_path / "other") in str(sys.modules["orchestrator_etl"].__file__)


def test_a_folder_with_a_dot_is_no_part_of_another_one(tmp_path: Path) -> None:
    etl, dotted = folder(tmp_path, "etl", "real"), folder(tmp_path, "etl.dags", "dotted")

    for _ in range(2):
        assert set(dag_bag(etl).dags) == {"real"}
        assert set(dag_bag(dotted).dags) == {"dotted"}


def test_a_second_parse_runs_the_changed_code(tmp_path: Path) -> None:
    root = folder(tmp_path, "etl", "before")
    assert set(dag_bag(root).dags) == {"before"}

    folder(tmp_path, "etl", "after", "another")

    assert set(dag_bag(root).dags) == {"after", "another"}


def test_unchanged_code_keeps_its_classes(tmp_path: Path) -> None:
    root = folder(tmp_path, "etl", "one")
    dag_bag(root)
    failed = importlib.import_module("orchestrator_etl.dags").Failed("of the first parse")

    dag_bag(root)

    again = pickle.loads(pickle.dumps(failed))
    assert (type(again), str(again)) == (type(failed), "of the first parse")


def test_a_lock_of_an_editor_is_no_module(tmp_path: Path) -> None:
    root = folder(tmp_path, "etl", "one")
    (root / "orchestrator" / ".#dags.py").symlink_to("me@host.1")  # Emacs, while a buffer is not saved

    assert set(dag_bag(root).dags) == {"one"}


def test_a_folder_without_its_package_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path, "etl", "one")
    pass_time(monkeypatch, 3600)
    shutil.rmtree(str(root / "orchestrator"))

    error = import_error(dag_bag(root))

    assert "there is no release that works; deploy one with ./etl deploy" in error
    assert f"No such file or directory: '{root}/orchestrator/__init__.py'" in error


def test_a_module_that_is_replaced_while_it_is_loaded_is_loaded_again(tmp_path: Path) -> None:
    root = folder(tmp_path, "etl", "one")
    names = root / "orchestrator" / "names.py"
    names.write_text(f"NAMES = ['one']\nopen({str(names)!r}, 'w').write('NAMES = [\"another\"]')\n")

    assert set(dag_bag(root).dags) == {"one"}
    assert set(dag_bag(root).dags) == {"another"}


def test_a_failed_import_leaves_no_module_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path, "etl", "one", names="MISSING")
    pass_time(monkeypatch, 3600)

    bag = dag_bag(root)

    assert bag.dags == {}
    assert "cannot import name 'MISSING'" in import_error(bag)
    assert not {name for name in loaded() if name.startswith("orchestrator_etl")}
    folder(tmp_path, "etl", "one")
    assert set(dag_bag(root).dags) == {"one"}


def test_the_file_of_each_dag_is_factory_py(tmp_path: Path) -> None:
    root = tree(tmp_path, {"cwr/big.yaml": SMALL})

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__ETL__ENVIRONMENT", "development")
        bag: Any = dag_bag(root)

    assert {dag.fileloc for dag in bag.dags.values()} == {str(root / "factory.py")}
    assert {type(task).__module__ for dag in bag.dags.values() for task in dag.tasks} == {"orchestrator_etl.operators"}
