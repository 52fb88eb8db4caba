"""Definitions that change while they are read, as a sync from S3 changes them: other DAGs are not affected."""

import logging
import multiprocessing
import os
import random
import signal
from pathlib import Path
from typing import Iterator, List

import pytest

from tests.trees import SMALL
from tools.fuzzing.properties import Folder, stored
from tools.local.processes import die_with_parent

PARSES = 300
TEXTS: List[bytes] = [
    SMALL.encode(),
    SMALL.encode()[:70],
    b"",
    b"start_date: [",
    b"\xff\xfe\x00",
    SMALL.replace("un: {}", "un: {retrys: 1}").encode(),
    SMALL.encode() + b"".join(b"  p%d: {schedule: '@daily'}\n" % number for number in range(50)),
]


def disturb(root: Path, seed: int) -> None:
    """Write, replace, truncate and delete definitions until the tests end."""
    die_with_parent(signal.SIGKILL)
    chance = random.Random(seed)
    names = ["a/one.yaml", "a/two.yaml", "b/three.yaml", "b/four.yaml", "stray.yaml"]
    config = (root / "configs" / "staging.yaml").read_bytes()
    while True:
        file = root / "pipelines" / chance.choice(names)
        text = chance.choice(TEXTS)
        change = chance.randrange(8)
        try:
            if change < 3:  # as aws s3 sync does: write another file, then rename it
                file.parent.mkdir(exist_ok=True)
                beside = file.with_name(f"{file.name}.{chance.randrange(16**8):08x}")
                beside.write_bytes(text)
                os.replace(str(beside), str(file))
            elif change < 5:  # as an editor may do: in place, a piece at a time
                with open(str(file), "wb", buffering=0) as stream:
                    for start in range(0, len(text), 100):
                        stream.write(text[start : start + 100])
            elif change == 5:
                file.unlink()
            elif change == 6:
                for other in file.parent.glob("*.yaml"):
                    other.unlink()
                file.parent.rmdir()
            else:  # a config that is complete at every moment
                beside = root / "configs" / f".staging.yaml.{os.getpid()}"
                beside.write_bytes(config + b"# %d\n" % chance.randrange(9))
                os.replace(str(beside), str(root / "configs" / "staging.yaml"))
        except OSError:  # the file is missing, or the folder is not empty
            continue


@pytest.fixture
def silence() -> Iterator[None]:
    """Disable the log, which has every problem."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def disturbed(tmp_path: Path) -> Iterator[Folder]:
    """Make a folder whose pipelines a, b and stray change all the time, and whose pipeline healthy does not."""
    folder = Folder(tmp_path)
    processes = [multiprocessing.Process(target=disturb, args=(folder.root, seed), daemon=True) for seed in (1, 2)]
    for process in processes:
        process.start()
    yield folder
    for process in processes:
        assert process.is_alive()
        process.kill()
        process.join()


@pytest.mark.slow
def test_an_untouched_dag_is_present_after_every_parse(disturbed: Folder, silence: None) -> None:
    seen = set()
    for _ in range(PARSES):
        bag, _ = disturbed.bag("staging")
        dags = stored(bag)
        report = "".join(bag.import_errors.values())
        assert {dag_id: dag for dag_id, dag in dags.items() if dag_id in disturbed.healthy} == disturbed.healthy, report
        assert "the factory failed" not in report
        assert "healthy" not in report
        seen.add((len(dags), report))

    assert len(seen) > PARSES / 10, "hardly anything has changed meanwhile"
