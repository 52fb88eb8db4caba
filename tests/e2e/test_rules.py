"""Fields of a definition that Airflow applies, tested in runs of a real scheduler."""

import re
from typing import Any, Iterator, List

import pytest

from tests.e2e.alerts import Alerts
from tests.e2e.engine import Engine
from tests.trees import DATA, folder_tree


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("rules")
    with Engine(folder / "home", folder_tree(folder, DATA / "rules").parent) as engine:
        engine.ask("add_pool", "narrow", 1)
        yield engine


@pytest.fixture(scope="module", autouse=True)
def alerts(engine: Engine) -> Alerts:
    """Subscribe from the beginning, as scheduled runs do not wait for a test."""
    return Alerts(engine)


def test_tasks_wait_for_a_slot_of_their_pool_and_the_highest_priority_goes_first(engine: Engine) -> None:
    run = engine.trigger("rules-pool_dag_un")
    assert run.end() == "success"

    low, high = run.task("low"), run.task("high")
    assert low["queued_dttm"] > high["end_date"]
    one, other = run.task("one"), run.task("other")
    assert max(one["queued_dttm"], other["queued_dttm"]) < min(one["end_date"], other["end_date"])


def test_a_trigger_rule_decides_what_comes_after_a_failure(engine: Engine) -> None:
    engine.agent.set(ends={"fails": [1]})
    run = engine.trigger("rules-trigger_dag_un")
    run.end()

    states = {name: run.task(name)["state"] for name in ("bad", "usual", "anyway", "only_then")}
    assert states == {"bad": "failed", "usual": "upstream_failed", "anyway": "success", "only_then": "success"}


def test_depends_on_past_waits_for_success_in_the_run_before(engine: Engine) -> None:
    engine.agent.set(ends={"fails_once": [1]})
    first, second = engine.trigger("rules-past_dag_un"), engine.trigger("rules-past_dag_un")
    assert first.end() == "failed"
    second.wait_for_task("other", "success")
    assert second.task("load")["state"] is None
    assert second.row()["start_date"] < first.row()["end_date"]  # max_active_runs is 2

    engine.ask("mark", first.dag_id, first.run_id, "load", "success")

    assert second.end() == "success"


def test_a_run_waits_for_the_end_of_the_run_before(engine: Engine) -> None:
    first, second = engine.trigger("rules-single_dag_un"), engine.trigger("rules-single_dag_un")

    assert (first.end(), second.end()) == ("success", "success")
    assert second.row()["start_date"] >= first.row()["end_date"]


def test_a_run_that_takes_too_long_fails_and_sends_an_alert(engine: Engine, alerts: Alerts) -> None:
    engine.agent.set(seconds={"slow": 3})
    run = engine.trigger("rules-slow_dag_un")

    assert run.end() == "failed"
    assert run.task("second")["state"] == "skipped"
    (alert,) = engine.wait_for(lambda: alerts.of(Run=run.run_id))
    assert alert["Subject"] == "rules-slow_dag_un timed out"
    assert alert["Reason"] == "it took longer than 0:00:02"


def test_the_alert_for_one_team_reaches_its_topic_and_no_other(engine: Engine, alerts: Alerts) -> None:
    urgent = Alerts(engine, "arn:aws:sns:eu-west-1:123456789012:urgent")
    engine.agent.set(ends={"urgent": 1})
    run = engine.trigger("rules-urgent_dag_un")

    assert run.end() == "failed"
    (alert,) = engine.wait_for(lambda: urgent.of(Run=run.run_id))
    assert alert["DAG"] == "rules-urgent_dag_un"
    assert alerts.of(Run=run.run_id) == []


def test_a_missed_sla_sends_one_alert(engine: Engine, alerts: Alerts) -> None:
    def published() -> List[str]:
        messages = [alert["Message"] for alert in alerts.of(DAG="rules-sla_dag_un")]
        return sorted(year for message in messages for year in re.findall(r"\nfirst of the run of (\d{4})", message))

    def recorded() -> List[str]:
        """Return the misses that Airflow will not publish again; it records them after all are published."""
        misses = engine.query("SELECT execution_date FROM sla_miss WHERE notification_sent ORDER BY execution_date")
        return [miss["execution_date"][:4] for miss in misses]

    engine.wait_for(lambda: recorded() and recorded() == published())
    assert {(alert["Subject"], alert["Provider"]) for alert in alerts.of(DAG="rules-sla_dag_un")} == {
        ("rules-sla_dag_un missed its SLA", "un")
    }


def test_missed_runs_are_caught_up_in_order(engine: Engine) -> None:
    def years() -> List[Any]:
        sql = "SELECT * FROM dag_run WHERE dag_id = %s AND state = 'success' ORDER BY execution_date"
        runs = engine.query(sql, "rules-sla_dag_un")
        return runs if len(runs) == 2 else []

    runs = engine.wait_for(years)
    assert [run["execution_date"][:4] for run in runs] == ["2021", "2022"]
    assert runs[1]["start_date"] >= runs[0]["end_date"]


def test_a_schedule_goes_by_the_clocks_of_its_zone(engine: Engine) -> None:
    def two_runs() -> List[Any]:
        sql = "SELECT * FROM dag_run WHERE dag_id = %s AND state = 'success' ORDER BY data_interval_end"
        runs = engine.query(sql, "rules-zoned_dag_un")
        return runs if len(runs) == 2 else []

    ends = [str(run["data_interval_end"])[:16] for run in engine.wait_for(two_runs)]
    assert ends == ["2022-03-21 07:00", "2022-03-28 06:00"]


def test_each_item_runs_and_who_depends_on_the_task_waits_for_all(engine: Engine) -> None:
    engine.agent.set(ends={"bad": 1})
    run = engine.trigger("rules-items_dag_un")

    assert run.end() == "success"
    states = {name: run.task(name)["state"] for name in ("each-works", "each-bad", "after")}
    assert states == {"each-works": "success", "each-bad": "failed", "after": "success"}
    assert run.task("after")["start_date"] >= max(run.task(f"each-{item}")["end_date"] for item in ("works", "bad"))
