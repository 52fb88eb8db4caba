"""Alerts of failures, timeouts and missed SLAs, and failures to publish them."""

import time
from datetime import timedelta
from functools import partial
from typing import Any, Dict
from unittest.mock import Mock

import pytest
from airflow.exceptions import AirflowException
from botocore.exceptions import ConnectTimeoutError
from orchestrator import Environment
from orchestrator.alerts import FailureAlert, Publisher, alert_sla_miss, alert_timeout
from orchestrator.generations import HAS_SLAS, IS_2_2, IS_3

from tests.ecs import client_error

TOPIC = "arn:aws:sns:eu-west-1:000000000000:alerts"


@pytest.fixture
def environment() -> Any:
    return Environment(region="eu-west-1", clusters={"default": {"cluster": "etl"}})


@pytest.fixture
def sns(monkeypatch: pytest.MonkeyPatch) -> Any:
    hook = Mock()
    monkeypatch.setattr("orchestrator.alerts.AwsBaseHook", hook)
    return hook.return_value.get_conn.return_value


def failed(reason: str = "no", task_id: str = "load") -> Dict[str, Any]:
    """Return the context of a task whose last try has failed."""
    instance = Mock(dag_id="cwr-big_dag_un_dag_x", task_id=task_id, prev_attempted_tries=3, try_number=3, max_tries=2)
    instance.log_url, instance.run_id = "http://127.0.0.1/log", "manual"
    instance.get_task_states.return_value = {"manual": {task_id: "running"}}
    return {"task_instance": instance, "run_id": "manual", "exception": AirflowException(reason)}


def publisher(environment: Any) -> Any:
    """Return the function that the callbacks of a DAG publish with."""
    return partial(Publisher(environment).publish, TOPIC, "un_dag_x")


@pytest.mark.skipif(not IS_2_2, reason="newer Airflows store only that there is a callback")
def test_airflow_stores_no_source_of_the_callback_and_does_not_look_for_it(environment: Any) -> None:
    from airflow.utils.code_utils import get_python_source

    assert str(get_python_source(FailureAlert(publisher(environment)))).startswith("No source code available")


def test_an_alert_names_the_failure_and_its_log(environment: Any, sns: Any) -> None:
    FailureAlert(publisher(environment))(failed())

    sns.publish.assert_called_once_with(
        TopicArn=TOPIC,
        Subject="cwr-big_dag_un_dag_x load failed",
        Message="Provider: un_dag_x\nDAG: cwr-big_dag_un_dag_x\nTask: load\nRun: manual\nTry: 3 of 3\nReason: no\n"
        "Log: http://127.0.0.1/log",
    )


def test_an_alert_fits_into_an_sns_message(environment: Any, sns: Any) -> None:
    FailureAlert(publisher(environment))(failed("x" * 300_000, "t" * 200))

    (call,) = sns.publish.call_args_list
    assert len(call[1]["Subject"]) < 100
    assert len(call[1]["Message"]) < 64_000
    assert call[1]["Message"].endswith("Log: http://127.0.0.1/log")


def test_an_alert_without_an_exception_reports_a_killed_process(environment: Any, sns: Any) -> None:
    FailureAlert(publisher(environment))({**failed(), "exception": None})

    assert (
        "Reason: none is known: its process was killed, or its worker went away" in sns.publish.call_args[1]["Message"]
    )


def test_a_lost_worker_is_no_failure_before_another_try(environment: Any, sns: Any) -> None:
    context = failed()
    context["task_instance"].max_tries = 3

    FailureAlert(publisher(environment))({**context, "exception": None})  # as Airflow 3 does, of its own accord

    assert not sns.publish.called


@pytest.mark.skipif(not IS_3, reason="before, Airflow does not call a try a failure that it has ended")
@pytest.mark.parametrize("state", ["restarting", "failed", "success", None])
def test_a_try_that_airflow_has_ended_is_no_failure(state: Any, environment: Any, sns: Any) -> None:
    context = failed("Task received SIGTERM signal")
    context["task_instance"].get_task_states.return_value = {"manual": {"load": state}}

    FailureAlert(publisher(environment))(context)

    assert not sns.publish.called


def test_an_alert_is_published_although_airflow_does_not_answer(environment: Any, sns: Any) -> None:
    context = failed("no")
    context["task_instance"].get_task_states.side_effect = RuntimeError

    FailureAlert(publisher(environment))(context)

    assert sns.publish.called


def test_an_alert_that_cannot_be_published_is_logged_and_raises_nothing(
    environment: Any, sns: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sns.publish.side_effect = client_error("AuthorizationErrorException", "Publish")

    FailureAlert(publisher(environment))(failed())

    assert "(AuthorizationErrorException)" in caplog.text
    assert "Reason: no" in caplog.text


def test_an_unreachable_topic_is_tried_once_in_a_parse(
    environment: Any, sns: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sns.publish.side_effect = ConnectTimeoutError(endpoint_url="https://sns")
    publish = publisher(environment)

    FailureAlert(publish)(failed("first"))
    FailureAlert(publish)(failed("second"))

    assert sns.publish.call_count == 1
    assert "Reason: second" in caplog.text


def test_a_slow_topic_takes_only_so_long_in_a_parse(
    environment: Any, sns: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.alerts.PUBLISHING", 0.01)
    sns.publish.side_effect = lambda **_: time.sleep(0.02)
    publish = publisher(environment)

    FailureAlert(publish)(failed("first"))
    FailureAlert(publish)(failed("second"))

    assert sns.publish.call_count == 1
    assert "did not answer in time before" in caplog.text
    assert "Reason: second" in caplog.text


def test_publishing_ends_before_the_parse_times_out(environment: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = Mock()
    monkeypatch.setattr("orchestrator.alerts.AwsBaseHook", hook)

    FailureAlert(publisher(environment))(failed())

    config = hook.call_args[1]["config"]
    assert (1 + config.retries["max_attempts"]) * (config.connect_timeout + config.read_timeout) < 20


def test_a_timeout_is_published_and_a_failed_task_is_not_published_again(environment: Any, sns: Any) -> None:
    # Airflow 3 has nothing else in this context.
    context = {"run_id": "manual", "dag": Mock(dag_id="cwr-big_dag_un", dagrun_timeout=timedelta(hours=1))}

    alert_timeout(publisher(environment), {**context, "reason": "task_failure"})
    assert not sns.publish.called
    alert_timeout(publisher(environment), {**context, "reason": "timed_out"})

    (call,) = sns.publish.call_args_list
    assert call[1]["Subject"] == "cwr-big_dag_un timed out"
    assert "Reason: it took longer than 1:00:00" in call[1]["Message"]


@pytest.mark.skipif(not HAS_SLAS, reason="Airflow 3 has no SLAs")
def test_the_sla_misses_of_a_dag_are_one_alert_without_tasks_that_no_longer_exist(
    environment: Any, sns: Any, dag: Any
) -> None:
    slas = [Mock(task_id=task_id, execution_date=f"day {n}") for n in range(60) for task_id in ("load", "gone")]

    alert_sla_miss(publisher(environment), dag, "", "", slas, [])

    (call,) = sns.publish.call_args_list
    assert call[1]["Subject"] == f"{dag.dag_id} missed its SLA"
    lines = call[1]["Message"].splitlines()
    assert lines[3:5] == [
        f"load of the run of day {n}: {dag.get_task('load').sla} after its planned start" for n in (0, 1)
    ]
    assert lines[-1] == "and 10 more"
    assert "gone" not in call[1]["Message"]
