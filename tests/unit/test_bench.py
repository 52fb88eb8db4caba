"""``./etl bench``: the table it prints and writes."""

import re
import subprocess
import sys
from pathlib import Path
from typing import List

import pytest

from tests.trees import REPOSITORY
from tools.bench.contenders import CONTENDERS


def bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run ``./etl bench`` as ./etl does."""
    command = [sys.executable, "-m", "tools.commands.bench", *arguments]
    return subprocess.run(command, cwd=str(REPOSITORY), capture_output=True, text=True)


def rows(text: str, heading: str) -> List[List[str]]:
    """Return the cells of the table below a heading."""
    table = text.partition(f"### {heading}")[2].partition("###")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]


def test_every_contender_has_its_costs_in_the_document(tmp_path: Path) -> None:
    ours = [name for name, contender in CONTENDERS.items() if not contender.is_peer]
    document = tmp_path / "performance.md"
    document.write_text(
        "Before.\n\n<!-- begin of ./etl bench peers -->\nold\n<!-- end of ./etl bench peers -->\n\nAfter.\n"
    )

    done = bench("peers", "--sizes", "2", "--repeats", "1", "--contenders", ",".join(ours), "--output", str(document))

    assert done.returncode == 0, done.stderr
    text = document.read_text()
    assert re.fullmatch(r"Before\.\n\n<!--.*-->\n\nAfter\.\n", text, re.DOTALL)
    assert "old" not in text
    header, _, floor, *others = rows(text, "Parse, in a fresh process")
    assert header == ["providers", "2"]
    assert re.fullmatch(r"[\d.]+ m?s", floor[1])
    assert [row[0] for row in others] == [CONTENDERS[name].title for name in ours[1:]]
    assert all(re.fullmatch(r"[\d.]+ m?s \([\d.]+ x\)", cell) for row in others for cell in row[1:])
    assert len(rows(text, "A DagFileProcessor's pass with its database: every later one")) == 5
    assert (tmp_path / "images" / "performance.svg").read_text().count('<circle r="4"') == 3


@pytest.mark.slow
def test_the_time_and_memory_of_check_are_measured_and_its_memory_is_bounded() -> None:
    done = bench("check", "--repeats", "1")

    assert done.returncode == 0, done.stderr
    header, _, check, alone, ratio, memory = rows(done.stdout, "`./etl check` of 1,000 DAGs")
    assert header == ["", "measured", "wanted"]
    assert re.fullmatch(r"[\d.]+ m?s [\d.]+ m?s [\d.]+ x", " ".join((check[1], alone[1], ratio[1])))
    assert ratio[2].startswith("at most 2 x: ")  # whether it is met depends on the machine
    assert memory[2] == "at most 300 MiB: met"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--contenders lop", "there is no lop; known: loop, own-loop"),
        ("--repeats 0", "there is at least one round"),
        ("fuzz --minutes 0", "it takes some time"),
        ("fuzz --minutes nan", "it takes some time"),
        ("fuzz --minutes inf", "it takes some time"),
    ],
)
def test_invalid_arguments_are_reported(arguments: str, message: str) -> None:
    done = bench(*arguments.split())

    assert done.returncode == 2
    assert message in done.stderr
