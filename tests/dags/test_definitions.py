"""The definitions of this repository, as Airflow gets them in each environment."""

from pathlib import Path
from typing import Any

import factory
import pytest

from tests.trees import REPOSITORY

ROOT = REPOSITORY / "dags" / "etl"
ENVIRONMENTS = sorted(file.stem for file in (REPOSITORY / "configs").glob("*.yaml"))


@pytest.fixture(scope="module", params=ENVIRONMENTS)
def bag(request: Any) -> Any:
    from airflow.models.dagbag import DagBag

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__ETL__ENVIRONMENT", request.param)
        found: Any = DagBag(str(REPOSITORY / "dags"), include_examples=False)
    found.environment = request.param
    return found


def test_nothing_is_wrong(bag: Any) -> None:
    assert bag.import_errors == {}
    assert len(bag.dags) >= 10


def test_the_first_providers_are_there(bag: Any) -> None:
    assert {"cwr-big_dag_un", "cwr-big_dag_wcm", "testing-smoke_dag_smoke"} <= set(bag.dags)


def test_each_dag_is_that_of_its_path(bag: Any) -> None:
    for dag_id, dag in bag.dags.items():
        names = factory.parse_dag_id(dag_id)
        assert names is not None
        family, pipeline, provider = names
        assert (ROOT / "pipelines" / family / f"{pipeline}.yaml").is_file()
        assert {family, pipeline, provider, bag.environment} <= set(dag.tags)
        assert len(set(dag.tags)) == len(dag.tags)
        assert f"dags/etl/pipelines/{family}/{pipeline}.yaml" in dag.doc_md.replace("&#95;", "_")


def test_airflow_can_store_and_show_each_dag(bag: Any) -> None:
    from airflow.serialization.serialized_objects import SerializedDAG
    from airflow.www import utils

    for dag in bag.dags.values():
        stored = SerializedDAG.to_dict(dag)
        SerializedDAG.validate_schema(stored)
        assert SerializedDAG.from_dict(stored).task_ids == dag.task_ids
        html = str(utils.wrapped_markdown(dag.doc_md))  # type: ignore[no-untyped-call]
        for task in dag.tasks:
            if task.task_id == factory.WAIT_FOR:
                assert "It waits for s3://" in html
            else:
                assert f"<td>{task.task_id}</td>" in html
                assert task.cluster in html


def test_templates_have_all_they_name(bag: Any) -> None:
    from types import SimpleNamespace

    import pendulum

    moment = pendulum.datetime(2022, 1, 5)
    for dag in bag.dags.values():
        for task in dag.tasks:
            context = {
                "ds": "2022-01-05",
                "params": {name: param.value for name, param in dict.items(dag.params)},
                "data_interval_start": moment,
                "ti": SimpleNamespace(),
            }
            task.render_template_fields(context)
            assert "{{" not in str([getattr(task, field) for field in task.template_fields])


def test_schedules_are_off_where_the_environment_says_so(bag: Any) -> None:
    scheduled = [dag.dag_id for dag in bag.dags.values() if dag.schedule_interval is not None]
    assert (scheduled == []) == (bag.environment == "development")


def test_what_is_deployed_is_what_is_tested() -> None:
    assert (ROOT / "configs").resolve() == REPOSITORY / "configs"
    ignored = REPOSITORY / "dags" / ".airflowignore"
    assert ignored.resolve() == REPOSITORY / ".airflowignore"


def test_the_scheduler_looks_at_the_factory_only() -> None:
    from airflow.utils.file import list_py_file_paths

    files = list_py_file_paths(str(REPOSITORY / "dags"), safe_mode=True, include_examples=False)
    assert [str(Path(file).relative_to(REPOSITORY)) for file in files] == ["dags/etl/factory.py"]


def test_the_factory_knows_the_names_that_airflow_has(bag: Any) -> None:
    from airflow.utils.dates import cron_presets
    from airflow.utils.trigger_rule import TriggerRule

    rules = TriggerRule.all_triggers()  # type: ignore[no-untyped-call]
    deprecated = {"dummy", "none_failed_or_skipped"}
    known = factory.Task.schema()["properties"]["trigger_rule"]["enum"]
    assert set(known) == rules - deprecated
    assert set(factory.Cron.presets) == {*cron_presets, "@once"}
