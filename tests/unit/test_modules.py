"""The modules: which may import which, and how long one may be."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List, Set

import pytest
import tomli

from tests.trees import ETL, REPOSITORY

PACKAGE = ETL / "orchestrator"
MODULE_LINES = 450
LIMITS = {"factory.py": 150, "generations.py": 200}
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
DEPLOYED = [ETL / "factory.py", ETL / "problems.py", *sorted(PACKAGE.rglob("*.py"))]
MODULES = [*DEPLOYED, *sorted((REPOSITORY / "tools").rglob("*.py"))]


def name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def test_the_package_holds_modules_only() -> None:
    """Nothing else is deployed."""
    others = [path.name for path in PACKAGE.iterdir() if not re.fullmatch(r"[a-z_]+\.py|__pycache__", path.name)]
    assert others == []


def test_imports_go_one_way() -> None:
    """Check the contracts of pyproject.toml, [tool.importlinter]."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ETL, REPOSITORY)))}
    command = [sys.executable, "-c", LINT]
    done = subprocess.run(command, cwd=str(REPOSITORY), env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_order_of_imports_lists_every_module_of_the_package() -> None:
    settings = tomli.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers, airflow = settings["contracts"][:2]
    modules = {f"orchestrator.{path.stem}" for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
    assert set(layers["layers"]) == modules, "pyproject.toml: [tool.importlinter] lists all of them, in order"
    # All modules except the first ones, which build and run DAGs.
    assert airflow["source_modules"] == layers["layers"][layers["layers"].index("orchestrator.loading") :]


def imports(path: Path) -> Iterator[str]:
    """Yield the names of all absolute imports of a module, at any depth."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""


@pytest.mark.parametrize("path", DEPLOYED, ids=name)
def test_deployed_modules_import_neither_tools_nor_tests_nor_the_package_by_name(path: Path) -> None:
    """Check absolute imports: a release is loaded under the name of its folder, and would import another's modules."""
    roots = {imported.split(".")[0] for imported in imports(path)}
    assert not roots & {"tools", "tests", "orchestrator", "factory"}


def lines(path: Path) -> List[str]:
    return path.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_the_length_of_a_module_is_limited(path: Path) -> None:
    limit = LIMITS.get(path.name, MODULE_LINES) if path in DEPLOYED else MODULE_LINES
    assert len(lines(path)) <= limit, f"{name(path)} has more than {limit} lines: a part of it is another subject"


# The modules that may ask which Airflow, provider or pydantic is there.
ASKING = {PACKAGE / "generations.py", PACKAGE / "compat.py"}
QUESTIONS = {"IS_2_2", "IS_3", "ModuleNotFoundError", "__version__", "find_spec", "version", "version_info"}


def questions(path: Path) -> Set[str]:
    """Return the names by which a module asks for versions, among them a handler for imports that fail."""
    found: Set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler) and "ImportError" in ast.dump(node.type or node):
            found.add("except ImportError")
        found |= {getattr(node, "id", ""), getattr(node, "attr", ""), getattr(node, "name", "") or ""} & QUESTIONS
    return found


@pytest.mark.parametrize("path", DEPLOYED, ids=name)
def test_two_modules_ask_for_versions(path: Path) -> None:
    assert (questions(path) != set()) == (path in ASKING)
