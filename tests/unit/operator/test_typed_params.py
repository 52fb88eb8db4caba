"""The configuration of a triggered run: it is checked before anything starts, and templates see it."""

import json
from pathlib import Path
from typing import Any, List
from unittest.mock import Mock

import pytest
from airflow.exceptions import AirflowFailException
from orchestrator import Param, load
from orchestrator.dags import Builder
from orchestrator.generations import IS_3
from orchestrator.operators import params_of_run
from orchestrator.vocabulary import MAX_PARAM_CHARACTERS

from tests.ecs import Runs
from tests.trees import tree


def command(task: Any) -> List[str]:
    (override,) = task.overrides["containerOverrides"]
    return list(override["command"])


@pytest.mark.parametrize("is_overriding", ["True", "False"])  # MWAA's default is False
def test_templates_see_the_configuration_of_the_run_over_the_defaults(
    is_overriding: str, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DAG_RUN_CONF_OVERRIDES_PARAMS", is_overriding)
    task = runs.begin(runs.create(conf={"full": True})).task

    assert command(task) == ["load", "True", "2022-01-01"]


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"ful": True}, "unknown key 'ful', did you mean 'full'?"),
        ({"full": "yes"}, "'full': 'yes' is not of type 'boolean'"),
        ({"day": "yesterday"}, "'day': 'yesterday' is not a 'date'"),
        ({"a\0\ud800": 1}, r"unknown key 'a\x00\ud800', known: day, full"),  # no log and no alert takes these
    ],
)
def test_an_invalid_configuration_fails_before_an_ecs_task_starts(conf: Any, message: str, runs: Runs) -> None:
    with pytest.raises(AirflowFailException) as caught:
        runs.attempt(runs.create(conf=conf))

    assert message in str(caught.value)
    assert runs.ecs.operations() == []


@pytest.mark.skipif(IS_3, reason="Airflow 3 has none of these names")
def test_templates_see_what_airflow_computes_late_as_the_values_themselves(runs: Runs) -> None:
    texts = ["{{ macros.ds_add(yesterday_ds, 1) }}", "{{ [tomorrow_ds] | join }}", "{{ yesterday_ds | tojson }}"]
    texts += ["{{ 'first' if prev_data_interval_start_success is none else 'later' }}"]
    begun = runs.begin(runs.create(overrides={"containerOverrides": [{"name": "loader", "command": texts}]}))
    day = begun.context["logical_date"]

    assert command(begun.task) == [
        day.to_date_string(),
        day.add(days=1).to_date_string(),
        f'"{day.subtract(days=1).to_date_string()}"',
        "first",
    ]


def test_more_than_ecs_takes_fails_before_airflow_stores_it(runs: Runs) -> None:
    room = 8192 - len('{"containerOverrides":[{"name":"loader","command":[""]}]}')

    def begin(length: int) -> Any:
        overrides = {"containerOverrides": [{"name": "loader", "command": ["{{ 'é' * " + str(length) + " }}"]}]}
        return runs.begin(runs.create(overrides=overrides)).task

    assert command(begin(room)) == ["é" * room]
    with pytest.raises(AirflowFailException, match="are 8193 characters of JSON; ECS takes at most 8192"):
        begin(room + 1)


@pytest.mark.parametrize("field", ["task_definition", "cluster", "tags", "network_configuration"])
def test_a_field_that_its_templates_make_long_fails_before_airflow_stores_it(field: str, runs: Runs) -> None:
    with pytest.raises(AirflowFailException, match=r"is 2\d{5} characters of JSON; its templates may add 32768"):
        runs.begin(runs.create(), **{field: {"a": "{{ 'é' * 40000 }}"}})


def test_an_address_that_its_templates_make_long_fails_before_airflow_stores_it(runs: Runs) -> None:
    with pytest.raises(AirflowFailException, match="its templates may add 32768"):
        runs.begin(runs.create(None, "wait_for_delivery", bucket_key=["s3://a/{{ 'b' * 40000 }}"]))


def test_an_invalid_configuration_fails_the_delivery_sensor_too(runs: Runs) -> None:
    instance = runs.create({"ful": True}, "wait_for_delivery")

    with pytest.raises(AirflowFailException, match="unknown key 'ful'"):
        runs.begin(instance)


def test_all_mistakes_of_a_configuration_are_reported_together() -> None:
    with pytest.raises(AirflowFailException, match="unknown key 'a', this DAG takes none; unknown key 'b'"):
        params_of_run({}, {"dag_run": Mock(conf={"a": 1, "b": 2})})


def test_of_many_or_long_unknown_keys_the_message_has_the_beginning() -> None:
    typed = {f"{number:03}{'k' * 1_000_000}": 1 for number in range(12)}
    with pytest.raises(AirflowFailException, match=r"unknown key '000k+', .*; 2 more unknown keys$") as caught:
        params_of_run({}, {"dag_run": Mock(conf=typed)})

    assert len(str(caught.value)) < 2000


def test_params_that_are_too_long_for_any_request_fail_before_a_template_is_rendered() -> None:
    params = {"text": Param(type="string", default="x")}
    longest = MAX_PARAM_CHARACTERS - len('{"text": ""}')

    assert params_of_run(params, {"dag_run": Mock(conf={"text": "y" * longest})})
    with pytest.raises(AirflowFailException, match="are 8193 characters of JSON, and may be 8192"):
        params_of_run(params, {"dag_run": Mock(conf={"text": "y" * (longest + 1)})})


def test_a_param_called_as_a_method_of_a_dict_is_the_param(tmp_path: Path) -> None:
    params = {name: {"type": "string", "default": f"x{name}"} for name in ("items", "keys", "get", "values", "copy")}
    texts = ["{{ params.items }} {{ params.keys }} {{ params.get }} {{ params.values }} {{ params.copy }}"]
    texts += ["{{ params['items'] }}", "{{ params | tojson }}", "{{ [params] | tojson }}", "{{ params | length }}"]
    pipeline = f"""\
start_date: 2022-01-01
params: {json.dumps(params)}
tasks: {{load: {{task_definition: loader, command: {json.dumps(texts)}}}}}
wait_for: {{s3: "s3://bucket/{{{{ params.items }}}}"}}
providers: {{un: {{}}}}
"""
    (definition,), problems = load(tree(tmp_path, {"cwr/big.yaml": pipeline}), "development")
    dag: Any = Builder().build(definition)
    for task in dag.tasks:
        task.render_template_fields({})
    by_name, item, whole, within, length = command(dag.get_task("load"))

    assert problems == []
    assert dag.get_task("wait_for_delivery").bucket_key == ["s3://bucket/xitems"]
    assert (by_name, item, length) == ("xitems xkeys xget xvalues xcopy", "xitems", "5")
    assert json.loads(whole) == json.loads(within)[0] == {name: f"x{name}" for name in params}
