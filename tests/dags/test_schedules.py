"""A schedule is in the time zone of its pipeline, although pipelines share the schedule."""

from pathlib import Path

import pendulum
import pytest

from tests.trees import dag_bag, tree
from tools.upgrade.probe import as_stored, runs_after

PIPELINE = """\
schedule: "0 3 * * *"
start_date: "{start}"
timezone: {zone}
tasks:
  load: {{task_definition: loader}}
providers:
  un: {{}}
"""


def test_the_same_schedule_from_the_same_moment_in_another_time_zone_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__ETL__ENVIRONMENT", "development")
    starts = {
        "utc": ("2022-01-01T00:00:00Z", "UTC"),
        "east": ("2022-01-01T01:00:00+01:00", "Europe/Berlin"),
        "late": ("2022-03-01", "UTC"),
    }
    files = {f"cwr/{name}.yaml": PIPELINE.format(start=start, zone=zone) for name, (start, zone) in starts.items()}
    root = tree(tmp_path, files)

    bag = dag_bag(root)

    assert not bag.import_errors
    now = pendulum.datetime(2022, 2, 1)
    first = {name: next(runs_after(as_stored(bag.dags[f"cwr-{name}_dag_un"]), now)).run_after for name in starts}
    assert {name: pendulum.instance(moment).in_timezone("UTC").isoformat() for name, moment in first.items()} == {
        "utc": "2022-02-02T03:00:00+00:00",
        "east": "2022-02-02T02:00:00+00:00",
        "late": "2022-03-02T03:00:00+00:00",
    }
