"""Time zones of schedules and dates: the environment's, the pipeline's or the provider's."""

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, List

import pendulum
import pytest
from orchestrator import Definition, load
from orchestrator.dags import Builder
from orchestrator.generations import IS_2_2

from tests.trees import tree
from tools.commands import show
from tools.upgrade.probe import as_stored, runs_after
from tools.views import comparison, schedules

WEEKLY = """\
start_date: 2022-01-01
schedule: "0 7 * * 1"
timezone: Europe/London
tasks:
  load: {task_definition: loader}
providers:
  un: {}
"""


def root_with(tmp_path: Path, pipeline: str, of_environment: str = "") -> Path:
    root = tree(tmp_path, {"cwr/big.yaml": pipeline})
    with (root / "configs" / "development.yaml").open("a") as file:
        file.write(of_environment)
    return root


def definitions(root: Path) -> Dict[str, Definition]:
    """Return the definitions by provider."""
    result = load(root, "development")
    assert not result.problems
    return {definition.provider: definition for definition in result.definitions}


def dag_of(root: Path, provider: str = "un") -> Any:
    return Builder().build(definitions(root)[provider])


def runs(dag: Any, now: str) -> List[str]:
    """Return when the scheduler starts the next runs of a DAG, as it has it from its database, in UTC."""
    return [run.run_after.isoformat()[:16] for run in runs_after(as_stored(dag), pendulum.parse(now))]


def test_a_cron_goes_by_the_clocks_of_its_zone(tmp_path: Path) -> None:
    dag = dag_of(root_with(tmp_path, WEEKLY))

    assert runs(dag, "2026-03-16")[:3] == ["2026-03-23T07:00", "2026-03-30T06:00", "2026-04-06T06:00"]
    assert runs(dag, "2026-10-13")[:3] == ["2026-10-26T07:00", "2026-11-02T07:00", "2026-11-09T07:00"]


def test_hours_that_the_clocks_skip_or_show_twice_are_as_the_reference_says(tmp_path: Path) -> None:
    dag = dag_of(root_with(tmp_path / "daily", WEEKLY.replace("0 7 * * 1", "30 1 * * *")))
    assert runs(dag, "2026-03-27T12:00")[:2] == ["2026-03-29T01:30", "2026-03-30T00:30"]
    assert runs(dag, "2026-10-23T12:00")[:2] == ["2026-10-25T01:30", "2026-10-26T01:30"]

    dag = dag_of(root_with(tmp_path / "hourly", WEEKLY.replace("0 7 * * 1", "0 * * * *")))
    assert runs(dag, "2026-03-28T22:00")[:4] == [f"2026-03-{at}:00" for at in ("28T23", "29T00", "29T01", "29T02")]
    assert runs(dag, "2026-10-24T23:00")[:3] == [f"2026-10-25T0{hour}:00" for hour in range(3)]

    dag = dag_of(root_with(tmp_path / "twice", WEEKLY.replace("0 7 * * 1", "0 7,19 * * *")))
    spring, autumn = runs(dag, "2026-03-28T07:00")[1:3], runs(dag, "2026-10-24T06:00")[1:4]
    if IS_2_2:
        assert spring == ["2026-03-29T07:00", "2026-03-29T18:00"]
        assert autumn == ["2026-10-25T06:00", "2026-10-25T07:00", "2026-10-25T19:00"]
    else:
        assert spring == ["2026-03-29T06:00", "2026-03-29T18:00"]
        assert autumn == ["2026-10-25T07:00", "2026-10-25T19:00", "2026-10-26T07:00"]


@pytest.mark.parametrize(
    ("of_environment", "pipeline", "provider", "zone"),
    [
        ("", "", "", "UTC"),
        ("timezone: Asia/Tokyo\n", "", "", "Asia/Tokyo"),
        ("timezone: Asia/Tokyo\n", "timezone: America/New_York\n", "", "America/New_York"),
        ("timezone: Asia/Tokyo\n", "timezone: America/New_York\n", "timezone: Europe/London", "Europe/London"),
        ("timezone: Asia/Tokyo\n", "timezone: null\n", "", "UTC"),
        ("", "timezone: America/New_York\n", "timezone: null", "UTC"),
    ],
)
def test_a_date_is_midnight_in_the_zone_of_the_highest_layer(
    of_environment: str, pipeline: str, provider: str, zone: str, tmp_path: Path
) -> None:
    text = WEEKLY.replace("timezone: Europe/London\n", f"end_date: 2022-07-01\n{pipeline}")
    root = root_with(tmp_path, text.replace("un: {}", f"un: {{{provider}}}"), of_environment)
    dag = dag_of(root)

    assert dag.timezone.name == zone
    assert dag.start_date == pendulum.datetime(2022, 1, 1, tz=zone)
    assert dag.end_date == pendulum.datetime(2022, 7, 1, tz=zone)
    assert ("in Asia&#47;Tokyo" in dag.doc_md or "in Asia/Tokyo" in dag.doc_md) == (zone == "Asia/Tokyo")


@pytest.mark.parametrize("zone", ["", "timezone: Europe/London\n"])
def test_an_offset_in_a_date_is_a_moment_and_moves_no_schedule(zone: str, tmp_path: Path) -> None:
    text = WEEKLY.replace("timezone: Europe/London\n", zone).replace("2022-01-01", "2022-01-01T00:30:00+05:00")
    dag = dag_of(root_with(tmp_path, text))

    assert dag.start_date == pendulum.datetime(2021, 12, 31, 19, 30)
    assert runs(dag, "2026-06-29")[0] == ("2026-07-06T06:00" if zone else "2026-07-06T07:00")


def test_an_end_before_the_start_is_found_in_the_zone(tmp_path: Path) -> None:
    zoned = WEEKLY.replace("Europe/London", "Asia/Tokyo")
    text = zoned.replace("start_date:", "end_date: 2021-12-31T15:00:00Z\nstart_date:")  # midnight in Tokyo
    assert load(root_with(tmp_path / "at", text), "development").problems == []

    text = zoned.replace("start_date:", "end_date: 2021-12-31T14:59:59Z\nstart_date:")
    (problem,) = load(root_with(tmp_path / "before", text), "development").problems
    assert problem.message == "end_date is before start_date"


def test_show_has_the_next_runs_on_both_clocks_across_their_change(tmp_path: Path) -> None:
    definition = definitions(root_with(tmp_path, WEEKLY))["un"]

    def next_runs(now: datetime) -> List[str]:
        return [run.isoformat() for run in schedules.next_runs(definition, now)]

    assert next_runs(datetime(2026, 3, 24, 12, tzinfo=timezone.utc)) == ["2026-03-30T07:00:00+01:00"]
    now = datetime(2026, 6, 1, tzinfo=timezone.utc)
    assert next_runs(now) == ["2026-06-01T07:00:00+01:00", "2026-10-26T07:00:00+00:00"]


@pytest.mark.parametrize(("schedule", "after"), [("0 7 * * *", "07:00:00+00:00"), ("0 * * * *", "01:00:00+00:00")])
def test_the_run_after_the_change_is_the_first_one(schedule: str, after: str, tmp_path: Path) -> None:
    definition = definitions(root_with(tmp_path, WEEKLY.replace("0 7 * * 1", schedule)))["un"]

    _, later = schedules.next_runs(definition, datetime(2026, 6, 1, tzinfo=timezone.utc))
    assert later.isoformat() == f"2026-10-25T{after}"


def test_show_prints_both_clocks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = WEEKLY.replace("0 7 * * 1", "30 0 * * *").replace("London", "Minsk")  # three hours ahead all the year
    root = root_with(tmp_path, text)

    assert show.main(["--environment", "development"], root) == 0
    (row,) = capsys.readouterr().out.splitlines()[1:]
    assert "At 00:30, Europe/Minsk" in row
    assert " 21:30 UTC (20" in row
    assert " 00:30 there)" in row
    assert show.main(["cwr-big_dag_un", "--environment", "development", "--origin"], root) == 0
    page = capsys.readouterr().out
    assert "after the clocks change" not in page
    (line,) = (line for line in page.splitlines() if line.startswith("timezone: "))
    assert line.split() == ["timezone:", "Europe/Minsk", "#", "dags/etl/pipelines/cwr/big.yaml:3"]

    root = root_with(tmp_path / "london", WEEKLY)
    assert show.main(["cwr-big_dag_un", "--environment", "development"], root) == 0
    assert "; after the clocks change 20" in capsys.readouterr().out


def test_show_takes_a_day_for_one_of_the_zone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = root_with(tmp_path, WEEKLY.replace("0 7 * * 1", "30 0 * * *"))
    arguments = ["cwr-big_dag_un", "--environment", "development", "--format", "json", "--date", "2026-06-02"]

    assert show.main(arguments, root) == 0
    (dag,) = json.loads(capsys.readouterr().out)
    assert dag["run"]["run_id"] == "scheduled__2026-06-01T23:30:00+00:00"


def test_show_takes_a_start_on_the_day_that_samoa_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = WEEKLY.replace("Europe/London", "Pacific/Apia").replace("start_date: ", "start_date: 2011-12-30 #")
    root = root_with(tmp_path, text)

    assert show.main(["cwr-big_dag_un", "--environment", "development"], root) == 0
    assert "Pacific/Apia; next run" in capsys.readouterr().out


def test_plan_shows_another_zone(tmp_path: Path) -> None:
    before, after = root_with(tmp_path / "a", WEEKLY), root_with(tmp_path / "b", WEEKLY.replace("London", "Paris"))

    (change,) = comparison.compare("a", before, after).environments["development"]
    assert [tuple(field) for field in change.fields] == [("timezone", "Europe/London", "Europe/Paris")]


@pytest.mark.parametrize(
    ("zone", "message", "hint"),
    [
        ("Europe/Londn", "expected a time zone, got the text 'Europe/Londn'", "did you mean 'Europe/London'?"),
        (
            "america/new_york",
            "expected a time zone, got the text 'america/new_york'",
            "did you mean 'America/New_York'?",
        ),
        ("America/Argentina", "expected a time zone, got the text 'America/Argentina'", "did you mean 'America/"),
        ("CET", "expected a time zone, got the text 'CET'", "write UTC, or a region and city such as Europe/London"),
        (
            "+01:00",
            "expected a time zone, got the text '+01:00'",
            "write UTC, or a region and city such as Europe/London",
        ),
        (
            "../etc/passwd",
            "expected a time zone, got the text '../etc/passwd'",
            "write UTC, or a region and city such as Europe/London",
        ),
    ],
)
def test_an_unknown_zone_is_reported_where_it_stands(zone: str, message: str, hint: str, tmp_path: Path) -> None:
    text = WEEKLY.replace("Europe/London", f'"{zone}"').replace("un: {}", f'un: {{timezone: "{zone}"}}')
    problems = load(root_with(tmp_path / "a", text), "development").problems
    problems += load(root_with(tmp_path / "b", WEEKLY, f'timezone: "{zone}"\n'), "development").problems

    assert [problem.message for problem in problems] == [message] * 3
    assert [problem.location.line for problem in problems] == [3, 7, 7]
    assert all(problem.hint.startswith(hint) and bool(problem.hint) == bool(hint) for problem in problems)
