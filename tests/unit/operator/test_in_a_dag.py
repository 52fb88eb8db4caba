"""The operators of a DAG: shared between providers and rendered by Airflow."""

from pathlib import Path
from typing import Any

from orchestrator import load
from orchestrator.dags import Builder, build
from orchestrator.generations import DAG, ParamsDict, operator_arguments
from orchestrator.operators import EcsTask

from tests.ecs import PIPELINE
from tests.trees import tree


def test_a_shared_operator_equals_one_made_for_its_dag(tmp_path: Path) -> None:
    result = load(tree(tmp_path, {"cwr/big.yaml": PIPELINE + "  wcm: {}\n"}), "development")
    un, wcm = build(result)[0].values()
    arguments = operator_arguments(result.definitions[0].plan.tasks["load"].operator)
    other = DAG(un.dag_id, start_date=un.start_date, params=un.params)
    expected = EcsTask(task_id="load", owner=un.owner, dag=other, **arguments)
    task, twin = un.get_task("load"), wcm.get_task("load")

    ours = {"enable_execute_command", "item", "skip_exit_codes", "places", "typed_params", "on_failure_callback"}
    assert vars(task).keys() | ours == vars(expected).keys() | ours
    of_its_dag = set("_dag task_group _upstream_task_ids upstream_task_ids params _BaseOperator__init_kwargs".split())
    for name in vars(expected).keys() - ours - of_its_dag:
        assert getattr(task, name) == getattr(expected, name), name
    assert (task.dag, task.upstream_task_ids) == (un, {"wait_for_delivery"})
    of_a_run: Any = ParamsDict()  # as TaskInstance.get_template_context makes them
    of_a_run.update(un.params)
    of_a_run.update(task.params)
    assert of_a_run.dump() == expected.params.dump() == {"full": False, "day": "2022-01-01"}
    same = {name for name, value in vars(task).items() if value is vars(twin)[name]}
    # Newer versions have lists of callbacks, and note what a constructor got: they replace these, or only read them.
    same -= {name for name in same if name.endswith("_callback")} | {"_BaseOperator__init_kwargs", "skip_on_exit_code"}
    assert {name for name in same - ours if isinstance(vars(task)[name], (dict, list, set))} <= set(arguments)


def test_templates_of_task_definition_cluster_network_and_tags_are_rendered(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "cwr/big.yaml": "start_date: 2022-01-01\n"
            "tasks: {load: {task_definition: 'load-{{ env.x }}', container: main, tags: {of: '{{ provider.name }}'}}}\n"
            "providers: {un: {}}\n"
        },
    )
    (root / "configs" / "development.yaml").write_text(
        "region: eu-west-1\nvariables: {x: a}\nclusters:\n"
        "  default: {cluster: 'etl-{{ env.x }}', subnets: ['subnet-{{ env.x }}'],"
        " security_groups: ['sg-{{ env.x }}']}\n"
    )
    (definition,) = load(root, "development").definitions
    task: Any = Builder().build(definition).get_task("load")

    task.render_template_fields({"params": {}})

    network = {"subnets": ["subnet-a"], "securityGroups": ["sg-a"], "assignPublicIp": "DISABLED"}
    assert (task.cluster, task.task_definition, task.tags) == ("etl-a", "load-a", {"of": "un"})
    assert task.network_configuration == {"awsvpcConfiguration": network}
