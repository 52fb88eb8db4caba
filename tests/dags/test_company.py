"""The DAGs of the realistic definitions of tests/data/company, in each of their environments."""

from pathlib import Path
from typing import Any

import pytest
from orchestrator import Cron, Task, parse_dag_id

from tests.trees import COMPANY, dag_bag, folder_tree

ENVIRONMENTS = ["development", "staging"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_tree(tmp_path_factory.mktemp("company"), COMPANY)


@pytest.fixture(scope="module", params=ENVIRONMENTS)
def bag(root: Path, request: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__ETL__ENVIRONMENT", request.param)
        result = dag_bag(root)
    result.environment = request.param
    return result


def test_every_provider_has_its_dag(bag: Any) -> None:
    expected = {
        "3rd_party-charts_dag_billboard",
        "3rd_party-charts_dag_on",
        "cwr-big_dag_un",
        "cwr-big_dag_wcm",
        "cwr-medium_dag_un",
        "cwr-medium_dag_wcm",
        "ddex-releases_dag_believe",
        "ddex-releases_dag_orchard",
        "testing-smoke_dag_smoke",
        "vi-works_dag_gema",
        "vi-works_dag_prs",
        "vi-works_dag_sacem",
    }
    in_staging_only = {"cwr-medium_dag_un"}
    assert bag.import_errors == {}
    assert set(bag.dags) == expected - (in_staging_only if bag.environment == "development" else set())


def test_the_id_and_tags_of_each_dag_name_its_file(root: Path, bag: Any) -> None:
    for dag_id, dag in bag.dags.items():
        names = parse_dag_id(dag_id)
        assert names is not None
        family, pipeline, provider = names
        assert (root / "pipelines" / family / f"{pipeline}.yaml").is_file()
        assert {family, pipeline, provider, bag.environment} <= set(dag.tags)
        assert len(set(dag.tags)) == len(dag.tags)
        assert f"dags/etl/pipelines/{family}/{pipeline}.yaml" in dag.doc_md.replace("&#95;", "_")


def test_the_docs_of_each_dag_list_its_tasks_and_clusters(bag: Any) -> None:
    from airflow.www import utils

    for dag in bag.dags.values():
        html = str(utils.wrapped_markdown(dag.doc_md))  # type: ignore[no-untyped-call]
        for task in dag.tasks:
            if task.task_id.startswith("wait_for_"):
                assert "It waits for s3://" in html
            else:
                assert f"<td>{task.task_id}</td>" in html
                assert task.cluster in html


def test_an_environment_can_disable_schedules(bag: Any) -> None:
    scheduled = [dag.dag_id for dag in bag.dags.values() if dag.schedule_interval is not None]
    assert (scheduled == []) == (bag.environment == "development")


def test_every_template_can_be_rendered(bag: Any) -> None:
    from types import SimpleNamespace

    import pendulum

    moment = pendulum.datetime(2022, 1, 5)
    for dag in bag.dags.values():
        for task in dag.tasks:
            context = {
                "ds": "2022-01-05",
                "params": {name: param.value for name, param in dict.items(dag.params)},
                "data_interval_start": moment,
                "ti": SimpleNamespace(prev_attempted_tries=1, try_number=1),
            }
            task.render_template_fields(context)
            assert "{{" not in str([getattr(task, field) for field in task.template_fields])


def test_trigger_rules_and_cron_presets_equal_those_of_airflow() -> None:
    from airflow.utils.dates import cron_presets
    from airflow.utils.trigger_rule import TriggerRule

    rules = TriggerRule.all_triggers()  # type: ignore[no-untyped-call]
    deprecated = {"dummy", "none_failed_or_skipped"}
    known = Task.schema()["properties"]["trigger_rule"]["enum"]
    assert set(known) == rules - deprecated
    assert set(Cron.presets) == {*cron_presets, "@once"}
