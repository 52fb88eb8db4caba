"""What lies at the counted limits costs little more than 10,000 plain providers, measured in the same run."""

import gc
import time
from pathlib import Path
from typing import Dict, Tuple

import pytest
from orchestrator import load
from orchestrator.dags import build

from tests.trees import late_alarm, tree

MOST = 2.5  # times as long; measured: 1.7 at most
MOST_CHARACTERS = 2**28  # of the pages of all DAGs, which Airflow stores

HEAD = "start_date: 2022-01-01\n"
LOAD = "tasks: {load: {task_definition: a}}\n"
ENVIRONMENT = "region: eu-west-1\nclusters: {default: {cluster: etl}}\n"


def lines(pattern: str, number: int) -> str:
    return "".join(pattern.replace("#", str(n)) for n in range(number))


def providers(number: int, override: str = "{}") -> str:
    return "providers:\n" + lines(f"  p#: {override}\n", number)


def tasks(number: int, task: str = "{}") -> str:
    return "tasks:\n" + lines(f"  t#: {task}\n", number)


def variables(number: int) -> str:
    return f"{ENVIRONMENT}variables: {{{lines('a#: 1, ', number)}}}\n"


PLAIN = (
    f"{HEAD}tasks: {{a: {{task_definition: a}}, b: {{task_definition: a, depends_on: [a]}},"
    f" c: {{task_definition: a, depends_on: [b]}}}}\n{providers(10_000)}"
)
NAMES = lines("{{env.a#}}", 500)
NAMES_OF_A_KEY = lines("{{env.a#}}", 100)
BRACKETS = "(" * 7600  # each is escaped in a page
DEFAULTS = f"{HEAD}defaults: {{task_definition: a, command: "

# A pipeline, and the environment that it is laid over; what lies at one limit, or at several, or just beyond one.
FILES: Dict[str, Tuple[str, str]] = {
    "long commands of all tasks": (f"{DEFAULTS}['{BRACKETS}']}}\n{tasks(500)}{providers(16)}", ENVIRONMENT),
    "more of them": (f"{DEFAULTS}['{BRACKETS}']}}\n{tasks(500)}{providers(60)}", ENVIRONMENT),
    "a long command of the environment": (
        f"{HEAD}{LOAD}{providers(4000, '{tasks: {}}')}",
        f"{ENVIRONMENT}defaults: {{command: ['{BRACKETS}']}}\n",
    ),
    "tasks that differ": (f"{DEFAULTS}['{BRACKETS}']}}\n{tasks(500)}{providers(8, '{tasks: {}}')}", ENVIRONMENT),
    "names of the environment": (
        f"{HEAD}tasks: {{t: {{task_definition: a, command: ['{NAMES}']}}}}\n{providers(2000)}",
        variables(500),
    ),
    "names of the environment, inherited": (f"{DEFAULTS}['{NAMES}']}}\n{tasks(500)}{providers(20)}", variables(500)),
    "names of a delivery": (
        f"{HEAD}wait_for: {{s3: 's3://a/{NAMES_OF_A_KEY}'}}\n{LOAD}{providers(7000, '{owner: o#}')}",
        variables(500),
    ),
    "templates, in plans of their own": (
        f"{HEAD}tasks:\n"
        + "".join(
            "  t{}: {{task_definition: a, command: [{}]}}\n".format(n, lines(f"'{{{{ds}}}}{n}-#', ", 11))
            for n in range(480)
        )
        + providers(8, "{tasks: {}}"),
        ENVIRONMENT,
    ),
    "params with a schema each": (
        f"{HEAD}params: {{a: {{default: 100000000}}}}\n{LOAD}{providers(3600, '{params: {a: {minimum: #}}}')}",
        ENVIRONMENT,
    ),
    "a long enum of each": (
        f"{HEAD}params: {{a: {{default: 1, enum: [{'1, ' * 2000}]}}}}\n"
        f"{LOAD}{providers(2000, '{params: {a: {title: b}}}')}",
        ENVIRONMENT,
    ),
    "a long description": (f"{HEAD}description: '{'(' * 1500}'\n{LOAD}{providers(10_000)}", ENVIRONMENT),
    "tags": (f"{HEAD}tags: [{lines('t#, ', 50)}]\n{LOAD}{providers(10_000)}", ENVIRONMENT),
    "dependencies": (
        f"{HEAD}tasks:\n  r: {{task_definition: a}}\n"
        + lines("  a#: {task_definition: a, depends_on: [r]}" + chr(10), 158)
        + lines(f"  b#: {{task_definition: a, depends_on: [{', '.join(f'a{n}' for n in range(158))}]}}\n", 157)
        + providers(8),
        ENVIRONMENT,
    ),
    "schedules": (
        f"{HEAD}{LOAD}providers:\n" + "".join(f"  p{n}: {{schedule: {n % 60} {n // 60} * * *}}\n" for n in range(1000)),
        ENVIRONMENT,
    ),
    "mistakes that tasks inherit": (
        f"{DEFAULTS}[{lines(chr(39) + '{{x#}}' + chr(39) + ', ', 190)}]}}\n{tasks(500)}{providers(1)}",
        ENVIRONMENT,
    ),
    "dependencies that are not there": (
        f"{HEAD}defaults: {{task_definition: a, depends_on: [{'nope, ' * 190}]}}\n{tasks(500)}{providers(1)}",
        ENVIRONMENT,
    ),
    "deliveries": (
        f"{HEAD}wait_for: [{lines('{s3: s3://a/b#}, ', 10)}]\n{LOAD}{providers(2700)}",
        ENVIRONMENT,
    ),
    "awaited DAGs that are not there": (
        f"{HEAD}wait_for: [{lines('{pipeline: a/b#}, ', 10)}]\n{LOAD}{providers(2700)}",
        ENVIRONMENT,
    ),
    "pools of the environment": (
        f"{HEAD}{LOAD}{providers(4000, '{tasks: {}}')}",
        f"{ENVIRONMENT}defaults: {{pool: p999}}\npools: [{lines('p#, ', 1000)}]\n",
    ),
    "mistakes of providers": (f"{HEAD}{LOAD}{providers(7000, '{retrys: 1}')}", ENVIRONMENT),
}


def cost(folder: Path, pipeline: str, environment: str, runs: int = 1) -> Tuple[float, int]:
    """Return the processor time, in seconds, that a file takes at least, and the characters of the DAGs' pages."""
    root = tree(folder, {"cwr/big.yaml": pipeline})
    (root / "configs" / "development.yaml").write_text(environment)
    least = float("inf")
    for _ in range(runs):
        gc.collect()
        start = time.process_time()
        with late_alarm():
            dags, problems = build(load(root, "development"))
        least = min(least, time.process_time() - start)
        assert [problem for problem in problems if problem.rule == "internal"] == []
    return least, sum(len(dag.doc_md or "") for dag in dags.values())


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> float:
    """Return the processor time, in seconds, that 10,000 plain providers of 3 tasks take."""
    return cost(tmp_path_factory.mktemp("plain"), PLAIN, ENVIRONMENT, 2)[0]


@pytest.mark.parametrize("name", FILES)
def test_what_lies_at_a_limit_costs_little_more_than_many_providers(name: str, plain: float, tmp_path: Path) -> None:
    seconds, characters = cost(tmp_path / "once", *FILES[name])
    if seconds > MOST * plain:  # something else may have had the processor's cache
        seconds, characters = cost(tmp_path / "again", *FILES[name], runs=2)

    assert seconds < MOST * plain
    assert characters < MOST_CHARACTERS
