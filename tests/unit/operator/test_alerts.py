"""Alerts of failures, timeouts and missed SLAs, and failures to publish them."""

from datetime import timedelta
from functools import partial
from typing import Any, Dict
from unittest.mock import Mock

import pytest
from airflow.exceptions import AirflowException
from botocore.exceptions import ConnectTimeoutError
from orchestrator import Environment
from orchestrator.alerts import Publisher, alert_failure, alert_sla_miss, alert_timeout
from orchestrator.generations import HAS_SLAS

from tests.ecs import client_error


@pytest.fixture
def environment() -> Any:
    alerts = {"sns_topic_arn": "arn:aws:sns:eu-west-1:000000000000:alerts"}
    return Environment(region="eu-west-1", clusters={"default": {"cluster": "etl"}}, alerts=alerts)


@pytest.fixture
def sns(monkeypatch: pytest.MonkeyPatch) -> Any:
    hook = Mock()
    monkeypatch.setattr("orchestrator.alerts.AwsBaseHook", hook)
    return hook.return_value.get_conn.return_value


def failed(reason: str = "no") -> Dict[str, Any]:
    """Return the context of a task whose last try has failed."""
    instance = Mock(dag_id="cwr-big_dag_un_dag_x", task_id="load", prev_attempted_tries=3, try_number=3, max_tries=2)
    instance.log_url = "http://127.0.0.1/log"
    return {"task_instance": instance, "run_id": "manual", "exception": AirflowException(reason)}


def publisher(environment: Any) -> Any:
    """Return the function that the callbacks of a DAG publish with."""
    return partial(Publisher(environment).publish, "un_dag_x")


def test_an_alert_names_the_failure_and_its_log(environment: Any, sns: Any) -> None:
    alert_failure(publisher(environment), failed())

    sns.publish.assert_called_once_with(
        TopicArn="arn:aws:sns:eu-west-1:000000000000:alerts",
        Subject="cwr-big_dag_un_dag_x load failed",
        Message="Provider: un_dag_x\nDAG: cwr-big_dag_un_dag_x\nTask: load\nRun: manual\nTry: 3 of 3\nReason: no\n"
        "Log: http://127.0.0.1/log",
    )


def test_an_alert_fits_into_an_sns_message(environment: Any, sns: Any) -> None:
    context = failed("x" * 300_000)
    context["task_instance"].task_id = "t" * 200

    alert_failure(publisher(environment), context)

    (call,) = sns.publish.call_args_list
    assert len(call[1]["Subject"]) < 100
    assert len(call[1]["Message"]) < 64_000
    assert call[1]["Message"].endswith("Log: http://127.0.0.1/log")


def test_an_alert_without_an_exception_reports_a_killed_process(environment: Any, sns: Any) -> None:
    alert_failure(publisher(environment), {**failed(), "exception": None})

    assert (
        "Reason: none is known: its process was killed, or its worker went away" in sns.publish.call_args[1]["Message"]
    )


def test_a_lost_worker_is_no_failure_before_another_try(environment: Any, sns: Any) -> None:
    context = failed()
    context["task_instance"].max_tries = 3

    alert_failure(publisher(environment), {**context, "exception": None})  # as Airflow 3 does, of its own accord

    assert not sns.publish.called


def test_an_alert_that_cannot_be_published_is_logged_and_raises_nothing(
    environment: Any, sns: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sns.publish.side_effect = client_error("AuthorizationErrorException", "Publish")

    alert_failure(publisher(environment), failed())

    assert "(AuthorizationErrorException)" in caplog.text
    assert "Reason: no" in caplog.text


def test_an_unreachable_topic_is_tried_once_in_a_parse(
    environment: Any, sns: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sns.publish.side_effect = ConnectTimeoutError(endpoint_url="https://sns")
    publish = publisher(environment)

    alert_failure(publish, failed("first"))
    alert_failure(publish, failed("second"))

    assert sns.publish.call_count == 1
    assert "Reason: second" in caplog.text


def test_publishing_ends_before_the_parse_times_out(environment: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = Mock()
    monkeypatch.setattr("orchestrator.alerts.AwsBaseHook", hook)

    alert_failure(publisher(environment), failed())

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


@pytest.mark.skipif(not HAS_SLAS, reason="3 has no SLAs")
def test_an_sla_miss_is_published_unless_the_task_no_longer_exists(environment: Any, sns: Any, dag: Any) -> None:
    slas = [Mock(dag_id="cwr-big_dag_un", task_id=task_id) for task_id in ("load", "gone")]

    alert_sla_miss(publisher(environment), dag, "", "", slas, [])

    (call,) = sns.publish.call_args_list
    assert call[1]["Subject"] == "cwr-big_dag_un load missed its SLA"
