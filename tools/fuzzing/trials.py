"""Random definitions, against what has to hold of every definition."""

import hashlib
import logging
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set

import psutil
import yaml
from hypothesis import HealthCheck, Verbosity, given, seed, settings

from tools import ROOT
from tools.fuzzing import mutations, properties, rendered, valid
from tools.fuzzing.properties import Folder
from tools.fuzzing.rendered import Example
from tools.fuzzing.valid import World

CASES = ROOT / "tests" / "data" / "fuzz"
ROUND = 100  # examples of a property before the next one has its turn
MAX_GROWTH = 300 * 2**20  # bytes that the process may grow by after its first round


class Property(NamedTuple):
    """What is tried, and what has to hold of it."""

    examples: Callable[[List[bytes]], Any]
    check: Callable[[Folder, Any], Any]
    write: Callable[[Any], bytes] = bytes
    read: Callable[[bytes], Any] = bytes


def write_world(world: World) -> bytes:
    """Return the text that a world is kept as."""
    texts = {"environment": world.texts[0], "pipeline": world.texts[1]}
    return yaml.safe_dump({"name": world.name, "family": world.family, "stem": world.stem, **texts}).encode()


def write_example(example: Example) -> bytes:
    """Return the text that a template is kept as."""
    return yaml.safe_dump(dict(example._asdict())).encode()


def read_world(text: bytes) -> World:
    """Return the world of a text."""
    kept = yaml.safe_load(text)
    texts = [kept["environment"], kept["pipeline"]]
    environment, pipeline = map(yaml.safe_load, texts)
    return World(kept["name"], environment, kept["family"], kept["stem"], pipeline, texts)


PROPERTIES: Dict[str, Property] = {
    "valid": Property(lambda _: valid.worlds(), properties.check_valid, write_world, read_world),
    "mutant": Property(mutations.mutants, properties.check_mutant),
    "environment": Property(
        lambda corpus: mutations.broken(valid.environments(), corpus), properties.check_environment
    ),
    "template": Property(
        lambda _: rendered.EXAMPLES,
        lambda folder, example: folder.renderer.check(example),
        write_example,
        lambda text: Example(**yaml.safe_load(text)),
    ),
}


def corpus() -> List[bytes]:
    """Return the texts that accidents happen to: realistic definitions, and every known mistake."""
    data = ROOT / "tests" / "data"
    files = {*data.glob("company/pipelines/*/*.yaml"), *data.glob("*/*.yaml")} - {*data.glob("templates/*")}
    return [file.read_bytes() for file in sorted(files)]


class Failure(NamedTuple):
    """What did not hold, and the smallest example of it."""

    reason: str
    kind: str
    case: bytes

    @property
    def file(self) -> Path:
        """Where it is kept, to be tried by every ``./etl test``."""
        return CASES / f"{self.kind}-{hashlib.sha1(self.case).hexdigest()[:10]}.yaml"


class Trial:
    """Tries properties on examples, and counts them."""

    def __init__(self, folder: Folder) -> None:
        self.folder, self.corpus = folder, corpus()
        self.examples = dict.fromkeys(PROPERTIES, 0)

    def run(self, kind: str, number: int, start: int) -> Optional[Failure]:
        """Try a property on a number of examples, the same for the same ``start``; return what did not hold, if any."""
        tried = PROPERTIES[kind]
        last: List[Any] = []

        @seed(start)
        @settings(
            max_examples=number,
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            verbosity=Verbosity.quiet,
        )
        @given(tried.examples(self.corpus))
        def holds(example: Any) -> None:
            self.examples[kind] += 1
            last[:] = [example]
            tried.check(self.folder, example)

        try:
            holds()
        except Exception as error:  # Hypothesis has tried its smallest example last
            return Failure(f"{type(error).__name__}: {error}", kind, tried.write(last[0]))
        return None


def replay(folder: Folder, case: Path) -> None:
    """Try a kept case again."""
    tried = PROPERTIES[case.name.partition("-")[0]]
    tried.check(folder, tried.read(case.read_bytes()))


def run(minutes: float, start: int) -> int:
    """Try until the time is over; return 1 if anything failed.

    Args:
        minutes: How long.
        start: The seed of the random definitions.
    """
    logging.disable(logging.CRITICAL)  # problems are logged, too
    process = psutil.Process()
    failures: Set[Path] = set()
    print(f"seed {start}, {minutes:g} minutes", flush=True)
    with tempfile.TemporaryDirectory(prefix="etl-") as home:
        trial, number, first, memory = Trial(Folder(Path(home))), 0, 0, 0
        end = time.monotonic() + 60 * minutes  # Airflow, which may take seconds to come, is there by now
        while time.monotonic() < end:
            kind = list(PROPERTIES)[number % len(PROPERTIES)]
            failure = trial.run(kind, ROUND, start * 1_000_000 + number)
            if failure and failure.file not in failures:
                failures.add(failure.file)
                failure.file.parent.mkdir(parents=True, exist_ok=True)
                failure.file.write_bytes(failure.case)
                print(f"\n{failure.reason}\n\nkept as {failure.file}\n", flush=True)
            number += 1
            memory = process.memory_info().rss
            first = first or memory
            if number % len(PROPERTIES) == 0:
                print(progress(trial, end, memory, len(failures)), flush=True)
    grown = memory - first > MAX_GROWTH
    if grown:
        print(f"the process has grown from {first >> 20} MiB to {memory >> 20} MiB: something keeps what it has read")
    print(f"{progress(trial, end, memory, len(failures))}; seed {start}")
    return 1 if failures or grown else 0


def progress(trial: Trial, end: float, memory: int, failures: int) -> str:
    """Return how far the trial is."""
    left, counts = max(0, end - time.monotonic()), ", ".join(f"{n} {kind}" for kind, n in trial.examples.items())
    total = sum(trial.examples.values())
    return f"{total} examples ({counts}), {failures} failures, {memory >> 20} MiB, {left / 60:.1f} minutes to go"
