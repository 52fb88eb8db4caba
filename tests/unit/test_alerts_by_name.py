"""Who is told of a DAG's failures: alerts of the environment, by the name that pipeline or provider say."""

from pathlib import Path
from typing import Any, Dict, List
from unittest.mock import Mock

import pytest
from orchestrator import Definition, load
from orchestrator.dags import Builder

from tests.trees import tree
from tools.deploying.named import names_of_definitions
from tools.views.effective import effective, origin

TOPICS = """\
alerts:
  default: {sns_topic_arn: everybody}
  urgent: {sns_topic_arn: on-call}
"""
PIPELINE = """\
start_date: 2022-01-01
dagrun_timeout: 1h
tasks:
  load: {task_definition: loader}
providers:
  un: {}
  wcm: {alerts: urgent}
  sony: {alerts: null}
"""
TOLD = {"un": "everybody", "wcm": "on-call", "sony": None}


def root_with(tmp_path: Path, pipeline: str = PIPELINE, alerts: str = TOPICS) -> Path:
    root = tree(tmp_path, {"cwr/big.yaml": pipeline})
    with (root / "configs" / "development.yaml").open("a") as file:
        file.write(alerts)
    return root


def definitions(root: Path) -> Dict[str, Definition]:
    """Return the definitions by provider."""
    result = load(root, "development")
    assert not result.problems
    return {definition.provider: definition for definition in result.definitions}


def topics(definition: Definition, sns: Any) -> List[str]:
    """Return the topics that get an alert when a task has failed, and when a run takes too long."""
    dag = Builder().build(definition)
    task: Any = dag.get_task("load")
    contexts = (
        {"task_instance": Mock(try_number=1, prev_attempted_tries=1, max_tries=0), "run_id": "manual"},
        {
            "dag": dag,
            "run_id": "manual",
            "reason": "timed_out",
        },
    )
    sns.publish.reset_mock()
    for holder, context in zip((task, dag), contexts):
        callbacks = holder.on_failure_callback or []
        for callback in callbacks if isinstance(callbacks, list) else [callbacks]:
            callback(context)
    return [call[1]["TopicArn"] for call in sns.publish.call_args_list]


@pytest.fixture
def sns(monkeypatch: pytest.MonkeyPatch) -> Any:
    hook = Mock()
    monkeypatch.setattr("orchestrator.alerts.AwsBaseHook", hook)
    return hook.return_value.get_conn.return_value


@pytest.mark.parametrize(
    ("pipeline", "told"),
    [
        ("", {"un": "everybody", "wcm": "on-call", "sony": None}),
        ("alerts: urgent\n", {"un": "on-call", "wcm": "on-call", "sony": None}),
        ("alerts: null\n", {"un": None, "wcm": "on-call", "sony": None}),
    ],
)
def test_provider_pipeline_and_default_say_who_is_told(
    pipeline: str, told: Dict[str, Any], sns: Any, tmp_path: Path
) -> None:
    for provider, definition in definitions(root_with(tmp_path, pipeline + PIPELINE)).items():
        topic = told[provider]
        assert topics(definition, sns) == ([topic] * 2 if topic else [])
        page = str(Builder().build(definition).doc_md)
        assert ("Alerts" in page) == bool(topic)


def test_nobody_is_told_where_no_alerts_are_called_default(sns: Any, tmp_path: Path) -> None:
    of_providers = definitions(root_with(tmp_path, alerts=TOPICS.replace("default", "other")))

    assert [topics(definition, sns) for definition in of_providers.values()] == [[], ["on-call"] * 2, []]


def test_show_and_plan_see_the_topic_and_its_line(tmp_path: Path) -> None:
    of_providers = definitions(root_with(tmp_path))

    assert effective(of_providers["wcm"])["alerts"] == {"urgent": {"sns_topic_arn": "on-call"}}
    place = origin(of_providers["wcm"], ("alerts", "urgent", "sns_topic_arn"))
    assert place == "dags/etl/configs/development.yaml:9"
    assert "alerts" not in effective(of_providers["sony"])


def test_the_preflight_asks_for_each_topic(tmp_path: Path) -> None:
    root = root_with(tmp_path)
    names = {thing.name: str(place.location) for thing, place in names_of_definitions(load(root, "development")[0])}

    file = "dags/etl/configs/development.yaml"
    assert names == {"everybody": f"{file}:8:28", "on-call": f"{file}:9:27"}


def test_an_unknown_name_is_reported_only_where_the_dag_exists(tmp_path: Path) -> None:
    root = root_with(tmp_path, PIPELINE.replace("alerts: urgent", "alerts: urgnt, environments: [development]"))

    (problem,) = load(root, "development").problems
    assert (problem.location.line, problem.location.marked) == (7, "urgnt")
    assert (problem.message, problem.hint) == ("unknown alerts 'urgnt'", "did you mean 'urgent'?")
    assert load(root, "staging").problems == []


@pytest.mark.parametrize(
    ("alerts", "line", "message", "hint"),
    [
        (
            "alerts: {sns_topic_arn: everybody}\n",
            7,
            "alerts have a name",
            "write 'default: {sns_topic_arn: ...}'; other names are for 'alerts' of pipelines and providers",
        ),
        ("alerts: {default: everybody}\n", 7, "expected a mapping, got the text 'everybody'", None),
        ("alerts: {on call: {sns_topic_arn: x}}\n", 7, "'on call' is not a name of alerts: 1 to 100", None),
        ("alerts: {default: {topic: x}}\n", 7, "unknown key 'topic'", "known: sns_topic_arn"),
    ],
)
def test_wrong_alerts_of_an_environment_are_reported(
    alerts: str, line: int, message: str, hint: Any, tmp_path: Path
) -> None:
    problems = load(root_with(tmp_path, alerts=alerts), "development").problems

    first = next(problem for problem in problems if problem.message.startswith(message))
    assert (first.location.path, first.location.line) == ("dags/etl/configs/development.yaml", line)
    assert hint is None or first.hint == hint
