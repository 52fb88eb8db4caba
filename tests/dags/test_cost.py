"""What the factory costs beside a hand-written loop: ratios of CPU time, measured as ./etl bench does."""

import sys
from pathlib import Path
from statistics import median

import pytest

from tools.bench.race import Case, Figures, race


@pytest.fixture(scope="module")
def figures() -> Figures:
    """Medians, which the luck of the garbage collector and of a busy machine is not in."""
    return race(
        Path(sys.executable), [1, 1000], ["loop", "factory"], repeats=5, notify=lambda _: None, rows=["parse", "task"]
    )


def cost(figures: Figures, number: int, contender: str, row: str) -> float:
    return float(median(answer["cpu"] for answer in figures.answers[Case(number, contender, row)]))


@pytest.mark.slow
def test_parsing_a_thousand_providers_costs_less_than_a_loop(figures: Figures) -> None:
    assert cost(figures, 1000, "factory", "parse") <= 0.85 * cost(figures, 1000, "loop", "parse")  # 0.57 when idle


@pytest.mark.slow
def test_a_task_starts_among_a_thousand_providers_as_beside_none(figures: Figures) -> None:
    assert cost(figures, 1000, "factory", "task") <= 1.25 * cost(figures, 1, "factory", "task")
