"""A definition cannot run code, read another file or read the memory of the process.

tests/data/bad/template_reaches_out.yaml tests the names in templates, tests/e2e/browser/test_markup.py tests markup.
"""

from pathlib import Path

import pytest
from jinja2 import TemplateAssertionError
from orchestrator import load
from orchestrator.generations import IS_3

from tests.trees import SMALL, dag_bag, import_error, tree


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ETL__ENVIRONMENT", "development")


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch {0}']",
        "!!python/object/new:os.system ['touch {0}']",
        "!!python/object/apply:subprocess.check_call [[touch, '{0}']]",
        "!!python/name:os.system",
        "!!python/module:os",
        "!include {0}",
        "!ENV ${{HOME}}",
    ],
)
def test_a_yaml_tag_runs_no_code(tag: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    root = tree(tmp_path, {"cwr/big.yaml": SMALL, "cwr/case.yaml": f"description: {tag.format(trace)}\n{SMALL}"})

    bag = dag_bag(root)

    assert not trace.exists()
    assert set(bag.dags) == {"cwr-big_dag_un", "cwr-big_dag_wcm"}
    assert "case.yaml:1:14: not YAML: tags (!) are not part of the language" in import_error(bag)


def test_the_name_of_a_file_in_a_command_stays_text(tmp_path: Path) -> None:
    names = [
        "/etc/passwd",
        "load.sh",
        "load.sql",
        "load.json",
        "../../configs/development.yaml",
        "${HOME}",
        "~",
        "file:x",
    ]
    secret = tmp_path / "dags" / "etl" / "load.sh"
    root = tree(tmp_path, {"cwr/big.yaml": SMALL.replace("loader}", f"loader, command: {names}}}")})
    secret.write_text("secret")

    bag = dag_bag(root)

    assert not bag.import_errors
    for dag in bag.dags.values():
        for task in dag.tasks:
            task.resolve_template_files()
            task.render_template_fields({"params": {}})
            assert task.overrides["containerOverrides"][0]["command"] == names


def test_no_link_or_name_leads_out_of_the_tree(tmp_path: Path) -> None:

    root = tree(tmp_path, {"cwr/big.yaml": SMALL})
    outside = tmp_path / "outside.yaml"
    outside.write_text(SMALL)
    (root / "pipelines" / "cwr" / "link.yaml").symlink_to(outside)
    (root / "pipelines" / "linked").symlink_to(tmp_path)
    for dag_id in ("linked-outside_dag_un", "cwr-link_dag_un"):  # as a worker loads one
        assert load(root, "development", dag_id).definitions == []

    result = load(root, "development")

    assert {definition.pipeline for definition in result.definitions} == {"big"}
    for environment in ("../../outside", str(outside.with_suffix("")), "development/../development"):
        assert not load(root, environment).definitions


@pytest.mark.skipif(IS_3, reason="its web server fills in nothing")
def test_the_web_server_fills_in_no_template(tmp_path: Path) -> None:
    """It would do so for a task that has not run yet, without the bounds that a task has for what people type."""
    from airflow.serialization.serialized_objects import SerializedDAG

    template = "{{ params.x }}{{ ds | replace('-', params.x) }}"
    text = SMALL.replace("loader}", f'loader, command: ["{template}"]}}')
    root = tree(
        tmp_path, {"cwr/big.yaml": f"params: {{x: {{default: a}}}}\nwait_for: {{s3: 's3://b/{{{{ ds }}}}'}}\n{text}"}
    )
    dag = dag_bag(root).dags["cwr-big_dag_un"]
    shown = SerializedDAG.from_dict(SerializedDAG.to_dict(dag))

    for task_id, attribute in (("load", "overrides"), ("wait_for_delivery", "bucket_key")):
        task = shown.get_task(task_id)
        as_written = str(getattr(task, attribute))
        with pytest.raises(TemplateAssertionError, match="in_task"):  # for which Airflow's page has an explanation
            task.render_template_fields({"params": {"x": "a"}, "ds": "2022-01-01"})
        assert "{{ " in as_written
        assert str(getattr(task, attribute)) == as_written
