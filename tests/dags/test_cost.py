"""What the factory costs beside a hand-written loop: ratios of CPU time, medians of fresh processes."""

import statistics
from pathlib import Path
from typing import Dict, List, Tuple

import pytest

from tests.trees import python, tree

PIPELINE = """\
description: x
owner: data-provisioning
schedule: "0 3 * * *"
start_date: 2022-01-01
defaults: {retries: 2, retry_delay: 5m, execution_timeout: 6h}
tasks:
  fetch:
    task_definition: cwr-fetch
    command: [fetch, --provider, "{{ provider.name }}", --date, "{{ ds }}"]
  parse:
    depends_on: [fetch]
    task_definition: cwr-parse
    cpu: 2048
    memory: 8192
    environment: {INPUT: "s3://{{ env.bucket }}/cwr/{{ provider.name }}/{{ ds }}/"}
  load:
    depends_on: [parse]
    task_definition: cwr-load
    command: [load, --upsert]
providers:
"""
# The same DAGs as a person would write them by hand, with the operator as the best practices have it.
LOOP = """
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from airflow import DAG
from airflow.providers.amazon.aws.operators.ecs import EcsOperator


class TemplatedEcsOperator(EcsOperator):
    template_fields = EcsOperator.template_fields + ("cluster", "task_definition", "network_configuration", "tags")


env = SimpleNamespace(name="development", bucket="data-development")
network = {"awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": [], "assignPublicIp": "DISABLED"}}
for number in range(1000):
    provider = f"p{number:04}"
    dag = DAG(
        f"cwr-big{number // 50}_dag_{provider}",
        description="x",
        schedule_interval="0 3 * * *",
        start_date=datetime(2022, 1, 1, tzinfo=timezone.utc),
        catchup=False,
        max_active_runs=1,
        tags=["cwr", f"big{number // 50}", provider, "staging"],
        user_defined_macros={"env": env, "provider": SimpleNamespace(name=provider)},
        doc_md=f"Provider {provider}",
    )
    common = dict(
        dag=dag,
        owner="data-provisioning",
        cluster="etl",
        launch_type="FARGATE",
        aws_conn_id="aws_default",
        region_name="eu-west-1",
        network_configuration=network,
        retries=2,
        retry_delay=timedelta(minutes=5),
        execution_timeout=timedelta(hours=6),
    )

    def overrides(name, **more):
        return {"containerOverrides": [{"name": name, **more}]}

    command = ["fetch", "--provider", "{{ provider.name }}", "--date", "{{ ds }}"]
    variables = [{"name": "INPUT", "value": "s3://{{ env.bucket }}/cwr/{{ provider.name }}/{{ ds }}/"}]
    fetch = TemplatedEcsOperator(
        task_id="fetch", task_definition="cwr-fetch", overrides=overrides("cwr-fetch", command=command), **common
    )
    parse = TemplatedEcsOperator(
        task_id="parse",
        task_definition="cwr-parse",
        overrides={**overrides("cwr-parse", environment=variables), "cpu": "2048", "memory": "8192"},
        **common,
    )
    load = TemplatedEcsOperator(
        task_id="load",
        task_definition="cwr-load",
        overrides=overrides("cwr-load", command=["load", "--upsert"]),
        **common,
    )
    fetch >> parse >> load
    globals()[dag.dag_id] = dag
"""
PARSE = """
import gc, sys, time
from airflow.jobs import local_task_job, scheduler_job  # what a scheduler or worker has imported long before
from airflow.models.dagbag import DagBag
file, dags, *dag_id = sys.argv[1:]
sys.argv = ["airflow", "tasks", "run", *dag_id] if dag_id else ["airflow", "scheduler"]
gc.collect()
gc.freeze()  # or whether 60 ms go into looking through all of Airflow hangs on a single object more
start = time.process_time()
bag = DagBag(file, include_examples=False)
print(time.process_time() - start)
assert not bag.import_errors and len(bag.dags) == int(dags), (bag.import_errors, len(bag.dags))
"""


def providers(folder: Path, number: int, files: int) -> str:
    """Spread providers over files and give the factory's path."""
    share = number // files
    pipelines = {
        f"cwr/big{file}.yaml": PIPELINE + "".join(f"  p{n:04}: {{}}\n" for n in range(file * share, (file + 1) * share))
        for file in range(files)
    }
    return str(tree(folder, pipelines) / "factory.py")


def medians(cases: Dict[str, Tuple[str, ...]], rounds: int = 5) -> Dict[str, float]:
    """Time the cases in turn, so that noise meets all of them; seconds of CPU."""
    times: Dict[str, List[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, arguments in cases.items():
            done = python(PARSE, *arguments, environment={"AIRFLOW__ETL__ENVIRONMENT": "staging"})
            assert done.returncode == 0, done.stderr
            times[name].append(float(done.stdout.splitlines()[-1]))
    return {name: statistics.median(values) for name, values in times.items()}


@pytest.mark.slow
def test_parsing_a_thousand_providers_costs_less_than_a_loop(tmp_path: Path) -> None:
    loop = tmp_path / "loop.py"
    loop.write_text(LOOP)
    cost = medians({"loop": (str(loop), "1000"), "factory": (providers(tmp_path / "many", 1000, 20), "1000")})

    assert cost["factory"] <= 0.85 * cost["loop"]  # 0.57 on an idle machine


@pytest.mark.slow
def test_a_task_starts_among_a_thousand_providers_as_beside_none(tmp_path: Path) -> None:
    cost = medians(
        {
            "one": (providers(tmp_path / "one", 1, 1), "1", "cwr-big0_dag_p0000"),
            "many": (providers(tmp_path / "many", 1000, 20), "1", "cwr-big7_dag_p0370"),
        }
    )

    assert cost["many"] <= 1.25 * cost["one"]
