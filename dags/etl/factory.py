"""Registers the DAGs of this folder with Airflow: picks a release, and has its package build them.

The scheduler runs this file every 30 seconds, a worker at the start of every task. MWAA copies S3 object by object, so
the reader decides what is whole: ``current`` lists releases, and the first one that is complete and whose package works
is used. Without ``current``, this folder is the release: a checkout, or a copy by hand. See docs/operations.md.
"""

import importlib
import importlib.util
import json
import logging
import os
import re
import signal
import sys
import threading
import time
import traceback
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

FOLDER = Path(os.path.abspath(__file__)).parent
# Each folder of the DAGs folder has a package of its own, so that a sandbox runs its own code. A dot in the name would
# make it a module of another one.
NAME = f"orchestrator_{FOLDER.name.replace('.', ':')}"
# Ways to call the package of a release: 1 is dags_of_folder(root, activation, sizes, reports). Those of releases to go
# back to stay.
PROTOCOLS = (1,)
TRIED = 3  # releases at most
COPY_SECONDS = 300  # after which nothing more is expected to arrive: MWAA copies every 30 s


def use_release(use: Callable[..., Any]) -> Any:
    """Return what ``use`` returns for the first release that works: its package, folder, and what PROTOCOLS says.

    If none works, the parse exits while a copy may go on: before Airflow 3, SystemExit by itself changes nothing in the
    database. Later it raises ImportError, which the web page shows, and which deactivates all DAGs until one works.
    """
    reasons: List[str] = []
    reports: List[str] = []
    is_timed = signal.getitimer(signal.ITIMER_REAL)[0] > 0  # by Airflow, whose alarm rings only once
    try:
        listed = json.loads((FOLDER / "current").read_bytes())["activations"][:TRIED]
        releases = {each["release"]: each for each in listed if re.fullmatch("([0-9a-f]{16})?", each["release"])}
    except FileNotFoundError:
        releases = {"": {}}
    except Exception as error:
        releases, reasons = {}, [f"current: {type(error).__name__}: {error}"]
    for name, activation in releases.items():
        root = FOLDER / "releases" / name if name else FOLDER
        try:
            known = [activation, sizes_of(root), reports] if name else []
            return use(load_package(root), root, *known)
        except BaseException as error:
            # Airflow's handler of SIGTERM exits with 0; a package may do so with a reason.
            is_stopped = isinstance(error, KeyboardInterrupt) or (isinstance(error, SystemExit) and not error.code)
            if is_stopped or (is_timed and not signal.getitimer(signal.ITIMER_REAL)[0]):
                raise
            text = "".join(traceback.format_exception_only(type(error), error))  # whatever its own __str__ does
            reasons.append(f"release {name or 'beside factory.py'}: {text.strip():.1000}")
            logging.getLogger(__name__).warning("passed over: %s", reasons[-1])
            if not (isinstance(error, FileNotFoundError) and is_copied(root, FOLDER / "current")):
                reports.append(reasons[-1])
    text = "\n".join(["there is no release that works; deploy one with ./etl deploy", *reasons])
    logging.getLogger(__name__).error(text)
    raise (SystemExit if is_copied(FOLDER) else ImportError)(text)


def is_copied(folder: Path, *files: Path) -> bool:
    """Return whether a file has arrived within five minutes, by its status: a copy may keep the time of the content."""
    below = (os.path.join(top, name) for top, _, names in os.walk(str(folder)) for name in names if name[-4:] != ".pyc")
    try:  # the distance, since a clock may have been set back
        return any(abs(time.time() - os.lstat(path).st_ctime) < COPY_SECONDS for path in chain(files, map(Path, below)))
    except FileNotFoundError:  # it was deleted this moment
        return True


def sizes_of(root: Path) -> Dict[str, int]:
    """Return the sizes of the files of a release by path; raise FileNotFoundError if its package is not all there."""
    try:
        manifest = json.loads((root / "manifest.json").read_bytes())
    except ValueError as error:
        raise FileNotFoundError(f"manifest.json is not whole: {error}") from None
    if manifest["protocol"] not in PROTOCOLS:
        raise ValueError(f"this factory.py does not know its protocol, {manifest['protocol']}")
    sizes = {path: size for path, (size, _) in manifest["files"].items()}
    for path in (path for path in sizes if path.startswith("orchestrator/")):
        if os.path.getsize(f"{root}/{path}") != sizes[path]:
            raise FileNotFoundError(f"{path} is not whole: it has to have {sizes[path]} bytes")
    return sizes


def load_package(root: Path) -> Any:
    """Import ``orchestrator/`` of a release under NAME, and return its module ``dags``; a failed import leaves nothing.

    A process that parses again keeps the modules of files that stay the same, since what a task raises is pickled.
    """
    package = root / "orchestrator"
    # No link of an editor's that leads nowhere. The time of the status, since a copy may keep that of the content.
    state = [(str(path), path.stat().st_ctime_ns) for path in sorted(package.glob("*.py")) if path.is_file()]
    if getattr(sys.modules.get(NAME), "state_when_loaded", None) != state:
        purge()
        importlib.invalidate_caches()
        file = str(package / "__init__.py")
        spec: Any = importlib.util.spec_from_file_location(NAME, file, submodule_search_locations=[str(package)])
        sys.modules[NAME] = module = importlib.util.module_from_spec(spec)
        try:
            with time_limit():
                spec.loader.exec_module(module)
                importlib.import_module(f"{NAME}.dags")
        except BaseException:
            purge()
            raise
        vars(module).update(state_when_loaded=state)
    return sys.modules[f"{NAME}.dags"]


def purge() -> None:
    """Forget the package and its modules."""
    for module in [module for module in sys.modules if module == NAME or module.startswith(f"{NAME}.")]:
        del sys.modules[module]


@contextmanager
def time_limit() -> Iterator[None]:
    """Exit in the main thread after half of the time that Airflow's alarm leaves; many tasks may start at once."""
    left = signal.getitimer(signal.ITIMER_REAL)[0]
    seconds = (left or 30) / 2  # MWAA's core.dagbag_import_timeout
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: Any) -> None:
        sys.exit(f"the import takes more than {seconds:.0f} s")  # no Exception, which a module on the way may handle

    started, before = time.monotonic(), signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)  # and each second after, if a module handles it
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before or signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, left and max(left + started - time.monotonic(), 0.001))


if __name__ == "__main__":
    sys.exit(use_release(lambda package, root, *_: package.main(root, sys.argv[1:])))
globals().update(use_release(lambda package, *known: package.dags_of_folder(*known)))
