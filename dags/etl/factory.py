"""Registers the DAGs of this folder with Airflow: one for each pipeline, data provider and environment.

Airflow runs this file in the scheduler every 30 seconds and once at the start of every task. Beside it are
``orchestrator/``, which reads definitions and builds DAGs, ``configs/<environment>.yaml`` and
``pipelines/<family>/<name>.yaml``. What is wrong in a definition is reported in the web page and disables only what it
is about.
"""

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import List, Tuple

FOLDER = Path(os.path.abspath(__file__)).parent
# Each folder of the DAGs folder has a package of its own, so that a sandbox runs its own code. A dot in the name would
# make it a module of another one.
NAME = f"orchestrator_{FOLDER.name.replace('.', ':')}"


def load_package(folder: Path, name: str) -> ModuleType:
    """Import ``orchestrator/`` of a folder under a name of its own, and return its module ``dags``.

    A process that parses again keeps the modules as long as the files stay the same, since what a task raises must stay
    picklable; it takes the new ones when a file has changed. A failed import leaves nothing behind.
    """
    package = folder / "orchestrator"
    state = state_of(package)
    loaded = sys.modules.get(name)
    if getattr(loaded, "state_when_loaded", None) != state:
        purge(name)
        importlib.invalidate_caches()
        spec = importlib.util.spec_from_file_location(
            name, str(package / "__init__.py"), submodule_search_locations=[str(package)]
        )
        if spec is None or spec.loader is None or not (package / "__init__.py").is_file():
            raise ImportError(f"{package} is missing or not complete; copy it beside factory.py, whole")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
            importlib.import_module(f"{name}.dags")
        except BaseException:
            purge(name)
            raise
        if state_of(package) == state:  # or else a module was replaced meanwhile, and the next parse loads all again
            module.state_when_loaded = state  # type: ignore[attr-defined]
    return sys.modules[f"{name}.dags"]


def state_of(package: Path) -> List[Tuple[str, int, int, int]]:
    """Return paths, sizes and times (ns) of a package's modules, but for what cannot be read as one.

    That is a file that is gone already, or a link of an editor's that leads nowhere. The time of the change of a file's
    status counts too: a copy may keep the time of its content.
    """
    state = []
    for path in sorted(package.glob("*.py")):
        try:
            stat = path.stat()
        except OSError:
            continue
        state.append((str(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    return state


def purge(name: str) -> None:
    """Forget a package and its modules."""
    for module in [module for module in sys.modules if module == name or module.startswith(f"{name}.")]:
        del sys.modules[module]


def main(arguments: List[str]) -> int:
    """Print what Airflow would get from this folder; return the exit status."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python dags/etl/factory.py ENVIRONMENT\ne.g.:  python dags/etl/factory.py development")
        return 2
    status: int = load_package(FOLDER, NAME).print_dags(FOLDER, arguments[0])
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
else:
    globals().update(load_package(FOLDER, NAME).dags_of_folder(FOLDER))
