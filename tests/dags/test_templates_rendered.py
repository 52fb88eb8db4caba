"""What the checker of templates lets through renders with the real Airflow, and reaches nothing but its values.

tests/unit/test_templates.py tests what it lets through; ``./etl bench fuzz`` tries more templates at random.
"""

import json
from typing import Any, List, Optional

import pytest
from orchestrator.templates import NOTHING
from orchestrator.vocabulary import FILTERS, LOOP, MAX_PARAM_CHARACTERS, MEMBERS, NAMES, TESTS

from tests.unit.test_templates import ACCEPTED
from tools.fuzzing import rendered, trials
from tools.fuzzing.rendered import VALUES, Example, Outcome, Renderer
from tools.views import confinement

EXAMPLES = sorted(
    {entry.example for table in (NAMES, LOOP, FILTERS, TESTS, *MEMBERS.values()) for entry in table.values()}
)


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    return Renderer(tmp_path_factory.mktemp("renderer"))


class Watched:
    """A folder whose renderer keeps what became of each template."""

    def __init__(self, renderer: Renderer) -> None:
        self.own, self.renderer = renderer, self
        self.outcomes: List[Optional[Outcome]] = []

    def check(self, example: Example) -> None:
        self.outcomes.append(self.own.check(example))


def test_generated_templates_that_are_allowed_reach_nothing_and_end(renderer: Renderer) -> None:
    watched: Any = Watched(renderer)
    failure = trials.Trial(watched).run("template", 200, start=1)

    assert failure is None, f"{failure.reason}\n{failure.case.decode()}"
    refused = sum(outcome is None for outcome in watched.outcomes)
    rendered = sum(outcome is not None and not outcome.error for outcome in watched.outcomes)
    assert min(refused, rendered) > 30


@pytest.mark.parametrize("values", [0, 5, 8, len(VALUES) - 1])
def test_what_people_write_reaches_nothing_whatever_its_values(values: int, renderer: Renderer) -> None:
    outcomes = {text: renderer.render(Example(text, values)) for text in (*ACCEPTED, *EXAMPLES)}

    assert {text: outcome.fault for text, outcome in outcomes.items() if outcome.fault} == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{{ conn.aws_default }}", "it reaches conn.aws_default"),
        ("{{ dag.task_dict }}", "it reaches dag.task_dict"),
        ("{{ ti['task'] }}", "it reaches ti"),
        ("{{ macros.dateutil.tz }}", "it reaches dateutil.tz"),
        ("{{ params.text.__class__ }}", "SecurityError"),
        ("{{ params.list.append(1) }}", "it changes a value"),
        ("{{ 'a' * 100000000000 }}", "MemoryError"),
        ("{{ 9 ** (9 ** 9) }}", "it takes more than"),
        ("{% for x in range(99999) %}{% for y in range(99999) %}{% endfor %}{% endfor %}", "it takes more than"),
        ("{{ '%2000000d' % 1 }}", "it gives 2000000 characters"),
    ],
)
def test_what_should_not_have_been_allowed_is_seen(
    text: str, reason: str, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendered, "read_template", lambda text: NOTHING)
    monkeypatch.setattr(confinement, "SECONDS", 1)
    monkeypatch.setattr(rendered, "MAX_WORK", 10**6)

    with pytest.raises(AssertionError, match=reason):
        renderer.check(Example(text))


def test_the_params_that_templates_meet_are_as_large_as_allowed() -> None:
    sizes = [len(json.dumps(values)) for values in VALUES]

    assert max(sizes) <= MAX_PARAM_CHARACTERS
    assert sum(size > MAX_PARAM_CHARACTERS * 0.9 for size in sizes) >= 6
