"""Which run of another DAG is awaited, for each pair of schedules: the last that Airflow ends by then."""

from bisect import bisect_right
from itertools import islice
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pendulum
import pytest
from airflow.timetables.base import TimeRestriction
from orchestrator import load
from orchestrator.dags import Builder
from orchestrator.definitions import Awaited
from orchestrator.runs import awaited_date

from tests.trees import tree
from tools.upgrade.probe import as_stored

SCHEDULES = {
    "minutes": "*/15 * * * *",
    "hourly": "@hourly",
    "offset": "20 * * * *",
    "office": "0 9-17 * * 1-5",
    "night": "30 1 * * *",  # exists twice, or not at all, when the clocks change
    "daily": "@daily",
    "noon": "0 12 * * *",
    "twice": "0 3,15 * * *",
    "monday": "0 7 * * 1",
    "weekly": "@weekly",
    "monthly": "@monthly",
    "last": "0 0 31 * *",
    "yearly": "@yearly",
    "once": "@once",
}
ZONES = ["UTC", "Europe/London", "America/New_York"]
RUNS = 400  # of each, which takes minutes to the middle of a week, and days over a change of the clocks
CHECKED = 16  # of each pair, evenly

PIPELINE = """\
schedule: "{schedule}"
start_date: {start}
timezone: {zone}
tasks: {{load: {{task_definition: loader}}}}
providers: {{un: {{}}}}
"""
Runs = List[Tuple[Any, Any]]  # logical date and end of the data interval


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Dict[Tuple[str, str], Tuple[Awaited, Runs]]:
    """Return each schedule in each zone, as it is awaited and as Airflow's scheduler would run it."""
    files = {
        f"{name}/p{number}.yaml": PIPELINE.format(schedule=schedule, zone=zone, start="2022-03-24")
        for name, schedule in SCHEDULES.items()
        for number, zone in enumerate(ZONES)
    }
    result = load(tree(tmp_path_factory.mktemp("pairs"), files), "staging")
    assert not result.problems
    known = {}
    for definition in result.definitions:
        start, end = definition.settings.period
        awaited = Awaited(definition.dag_id, schedule=definition.settings.schedule, start=start, end=end)
        known[definition.family, ZONES[int(definition.pipeline[1:])]] = awaited, list(islice(runs_of(definition), RUNS))
    return known


def runs_of(definition: Any) -> Iterator[Tuple[Any, Any]]:
    """Yield the runs that the scheduler makes of a definition that catches up."""
    dag, last = as_stored(Builder().build(definition)), None
    restriction = TimeRestriction(earliest=dag.start_date, latest=dag.end_date, catchup=True)
    while True:
        info = dag.timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
        if info is None:
            return
        last = info.data_interval
        yield info.logical_date, last.end


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("zone", ZONES)
def test_the_last_run_that_ends_by_then_is_awaited(name: str, zone: str, known: Dict[Any, Any]) -> None:
    awaited, others = known[name, zone]
    ends = [end for _, end in others]
    pairs = 0
    for own in SCHEDULES:
        _, runs = known[own, "Europe/London"]
        for _, end in runs[:: max(1, len(runs) // CHECKED)]:
            if (others and end <= ends[-1]) or name == "once":
                index = bisect_right(ends, end)
                expected = others[index - 1][0] if index else None
                assert awaited_date(awaited, pendulum.instance(end)) == expected, (own, end)
                pairs += 1
    assert pairs >= CHECKED


def test_it_does_not_wait_for_what_lies_outside_of_start_and_end(tmp_path: Path) -> None:
    text = PIPELINE.format(schedule="@daily", zone="UTC", start="2022-01-01") + "end_date: 2022-01-05\n"
    (definition,) = load(tree(tmp_path, {"cwr/big.yaml": text}), "staging").definitions
    start, end = definition.settings.period
    awaited = Awaited("cwr-big_dag_un", schedule="@daily", start=start, end=end)
    last = list(runs_of(definition))[-1][0]

    assert awaited_date(awaited, pendulum.datetime(2023, 1, 1)) == last == pendulum.datetime(2022, 1, 5)
    assert awaited_date(awaited, pendulum.datetime(2022, 1, 4, 12)) == pendulum.datetime(2022, 1, 3)
    assert awaited_date(awaited, pendulum.datetime(2022, 1, 2)) == pendulum.datetime(2022, 1, 1)
    assert awaited_date(awaited, pendulum.datetime(2022, 1, 1, 23)) is None
