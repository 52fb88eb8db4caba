"""The definitions that this repository ships: what must hold of any, in every environment.

It names and counts no definition, so that an ordinary change passes.
"""

import html
from pathlib import Path
from typing import Any

import pytest
from orchestrator import load

from tests.trees import REPOSITORY
from tools import ETL
from tools.checkout import environments
from tools.checks.run_task import check_requests
from tools.views.rendering import render, render_request, template_names
from tools.views.schedules import run_at


@pytest.fixture(scope="module", params=environments())
def bag(request: Any) -> Any:
    from airflow.models.dagbag import DagBag

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__ETL__ENVIRONMENT", request.param)
        result: Any = DagBag(str(REPOSITORY / "dags"), include_examples=False)
    result.environment = request.param
    return result


def test_every_environment_has_its_dags_and_no_problem(bag: Any) -> None:
    result = load(ETL, bag.environment)

    assert result.problems == []
    assert bag.import_errors == {}
    assert set(bag.dags) == {definition.dag_id for definition in result.definitions}


def test_botocore_accepts_every_request(bag: Any) -> None:
    assert list(check_requests(load(ETL, bag.environment).definitions)) == []


def test_every_task_is_one_of_ecs_or_waits_for_s3(bag: Any) -> None:
    from airflow.providers.amazon.aws.operators.ecs import EcsOperator

    for dag in bag.dags.values():
        for task in dag.tasks:
            assert isinstance(task, EcsOperator) or task.task_id.startswith("wait_for_"), f"{dag.dag_id} {task.task_id}"


def test_airflow_can_store_and_show_each_dag(bag: Any) -> None:
    from airflow.serialization.serialized_objects import SerializedDAG
    from airflow.www import utils

    for dag in bag.dags.values():
        stored = SerializedDAG.to_dict(dag)
        SerializedDAG.validate_schema(stored)
        assert SerializedDAG.from_dict(stored).task_ids == dag.task_ids
        page = html.unescape(str(utils.wrapped_markdown(dag.doc_md)))  # type: ignore[no-untyped-call]
        for task in dag.tasks:
            assert task.task_id.startswith("wait_for_") or f"<td>{task.task_id}</td>" in page


def test_airflow_renders_every_template_that_needs_no_run(bag: Any) -> None:
    """Leave out templates that only a run can render, such as those with the result of an earlier task."""
    for definition in load(ETL, bag.environment).definitions:
        run = run_at(definition, None)
        for task in bag.dags[definition.dag_id].tasks:
            names = template_names(definition, task.task_id, run)
            if task.task_id in definition.plan.tasks:
                left = render_request(definition, task.task_id, run).left
            else:
                left = render(task.bucket_key[0], names)[1]
            assert [reason for reason in left.values() if reason.startswith("fails")] == []
            if not left:
                task.render_template_fields({name: names[name] for name in names if name not in ("env", "provider")})


def test_the_links_in_the_dags_folder_lead_to_the_files_of_the_repository() -> None:
    assert (ETL / "configs").resolve() == REPOSITORY / "configs"
    assert (ETL / ".airflowignore").resolve() == REPOSITORY / ".airflowignore"


def test_the_scheduler_parses_only_the_factory() -> None:
    from airflow.utils.file import list_py_file_paths

    files = list_py_file_paths(str(REPOSITORY / "dags"), safe_mode=True, include_examples=False)
    assert [str(Path(file).relative_to(REPOSITORY)) for file in files] == ["dags/etl/factory.py"]
