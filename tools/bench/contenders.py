"""The same DAGs, made in several ways: N providers, each with three ECS tasks in a chain.

A contender writes a DAGs folder as its documentation, or a sensible engineer, would have it. What they make is
compared after every parse (``tools.bench.measure.shape``).
"""

import shutil
from pathlib import Path
from typing import Any, Callable, Dict, NamedTuple, Optional, Sequence

from tools import ETL

ENVIRONMENT = "bench"
PARSES = ("parse", "warm", "task")  # what tools.bench.measure does
PASSES = ("first", "steady")
CONFIG = """\
region: eu-west-1
variables: {bucket: data}
clusters:
  default: {cluster: etl, launch_type: FARGATE, subnets: [subnet-1]}
"""
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
# The provider's operator, with the fields templated that the factory's has, as the best practices have it.
SUBCLASS = """
try:
    from airflow.providers.amazon.aws.operators.ecs import EcsOperator
except ImportError:  # newer providers
    from airflow.providers.amazon.aws.operators.ecs import EcsRunTaskOperator as EcsOperator


class Operator(EcsOperator):
    template_fields = EcsOperator.template_fields + ("cluster", "task_definition", "network_configuration", "tags")
"""
OF_THE_FACTORY = """
import sys

sys.path.insert(0, {folder!r})
from orchestrator.operators import EcsTask as Operator
"""
# %(...)s is filled in; the rest is as a person would write it by hand.
LOOP = """
from datetime import timedelta
from importlib.util import find_spec
from types import SimpleNamespace
import pendulum
try:
    from airflow.sdk import DAG
except ImportError:  # before 3
    from airflow import DAG
%(operator)s
schedule = "schedule_interval" if find_spec("airflow.jobs.scheduler_job") else "schedule"  # that of 2.2.2 is the first
env = SimpleNamespace(name="bench", bucket="data")
network = {"awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": [], "assignPublicIp": "DISABLED"}}
for number in range(%(first)d, %(last)d):
    provider = f"p{number:05}"
    pipeline = f"big{number // %(share)d}"
    dag = DAG(
        f"cwr-{pipeline}_dag_{provider}",
        description="x",
        **{schedule: "0 3 * * *"},
        start_date=pendulum.datetime(2022, 1, 1),
        catchup=False,
        max_active_runs=1,
        tags=["bench", pipeline, "cwr", provider],
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
    fetch = Operator(
        task_id="fetch", task_definition="cwr-fetch", overrides=overrides("cwr-fetch", command=command), **common
    )
    parse = Operator(
        task_id="parse",
        task_definition="cwr-parse",
        overrides={**overrides("cwr-parse", environment=variables), "cpu": "2048", "memory": "8192"},
        **common,
    )
    load = Operator(
        task_id="load",
        task_definition="cwr-load",
        overrides=overrides("cwr-load", command=["load", "--upsert"]),
        **common,
    )
    fetch >> parse >> load
    globals()[dag.dag_id] = dag
"""
# What the peers' YAML says of every task. They have no variables of a provider, so its name is in the text.
DEFAULTS: Dict[str, Any] = {
    "owner": "data-provisioning",
    "cluster": "etl",
    "launch_type": "FARGATE",
    "aws_conn_id": "aws_default",
    "region_name": "eu-west-1",
    "network_configuration": {
        "awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": [], "assignPublicIp": "DISABLED"}
    },
    "retries": 2,
}
OPERATOR = "airflow.providers.amazon.aws.operators.ecs.EcsOperator"
DAG_FACTORY = """\
from airflow import DAG  # as its documentation has it: Airflow looks for this word
import dagfactory

dag_factory = dagfactory.DagFactory({path!r})
dag_factory.clean_dags(globals())
dag_factory.generate_dags(globals())
"""
GUSTY = """\
from datetime import timedelta
import airflow
from gusty import create_dags

create_dags(
    {path!r},
    globals(),
    latest_only=False,
    schedule_interval="0 3 * * *",
    catchup=False,
    max_active_runs=1,
    default_args={{
        "start_date": airflow.utils.timezone.datetime(2022, 1, 1),
        "retry_delay": timedelta(minutes=5),
        "execution_timeout": timedelta(hours=6),
        **{defaults!r},
    }},
)
"""


class Layout(NamedTuple):
    """A DAGs folder of N providers.

    ``file`` is what Airflow parses, for ``dags`` DAGs, and ``copies`` is how many such files there are; ``dag_id``
    is that of a DAG amidst them.
    """

    file: Path
    dags: int
    dag_id: str
    copies: int = 1


class Contender(NamedTuple):
    """A way to make the DAGs: what people call it, what writes its folder for N providers, and what is measured."""

    title: str
    write: Callable[[Path, int], Layout]
    rows: Sequence[str] = (*PARSES, *PASSES)
    is_peer: bool = False
    is_one_of_many: bool = False  # what is written is one file of a DAG each


def name(number: int) -> str:
    """Return the provider's name."""
    return f"p{number:05}"


def dag_id(number: int, share: int) -> str:
    """Return the id of a provider's DAG, where a definition holds ``share`` providers."""
    return f"cwr-big{number // share}_dag_{name(number)}"


def amidst(number: int) -> int:
    """Return the provider whose task is started: not the first, not the last."""
    return number * 37 // 100


def share_of(number: int) -> int:
    """Return how many providers a definition holds: 50, or a 20th of them all."""
    return max(50, number // 20)


# ------------------------------------------------------------------------------------------------------ contenders


def write_loop(folder: Path, number: int) -> Layout:
    """Return the floor: a loop over the provider's operator."""
    return write_python(folder, SUBCLASS, 0, number, number)


def write_own_loop(folder: Path, number: int) -> Layout:
    """Return the same loop over the operator that the factory has."""
    own = OF_THE_FACTORY.format(folder=str(ETL))
    return write_python(folder, own, 0, number, number)


def write_files(folder: Path, number: int) -> Layout:
    """Write one generated file a DAG: the loop's, with one round. Only one is written, as all cost the same."""
    provider = amidst(number)
    return write_python(folder, SUBCLASS, provider, provider + 1, number)._replace(copies=number)


def write_python(folder: Path, operator: str, first: int, last: int, number: int) -> Layout:
    """Write a hand-written file that makes the DAGs of the providers from ``first`` to before ``last``."""
    share = share_of(number)
    file = folder / "loop.py"
    file.write_text(LOOP % {"operator": operator, "first": first, "last": last, "share": share})
    return Layout(file, last - first, dag_id(amidst(number), share))


def write_factory(folder: Path, number: int) -> Layout:
    """Write this factory, with definitions of 50 providers, at most 20 of them."""
    return write_definitions(folder, number, share_of(number))


def write_one_file(folder: Path, number: int) -> Layout:
    """Write this factory, with all providers in one definition, or in as few as hold them."""
    from orchestrator.scheduler import MAX_SCHEDULED  # not at the top, as yaml below

    return write_definitions(folder, number, min(number, MAX_SCHEDULED))


def write_definitions(folder: Path, number: int, share: int) -> Layout:
    """Write the factory, an environment, and definitions of ``share`` providers each."""
    root = folder / "etl"
    (root / "configs").mkdir(parents=True)
    (root / "pipelines" / "cwr").mkdir(parents=True)
    shutil.copy(str(ETL / "factory.py"), str(root))
    shutil.copytree(str(ETL / "orchestrator"), str(root / "orchestrator"), ignore=shutil.ignore_patterns("__pycache__"))
    (root / "configs" / f"{ENVIRONMENT}.yaml").write_text(CONFIG)
    for first in range(0, number, share):
        entries = "".join(f"  {name(n)}: {{}}\n" for n in range(first, min(first + share, number)))
        (root / "pipelines" / "cwr" / f"big{first // share}.yaml").write_text(PIPELINE + entries)
    return Layout(root / "factory.py", number, dag_id(amidst(number), share))


def write_dag_factory(folder: Path, number: int) -> Layout:
    """Write for dag-factory: one YAML with a ``default`` block, as its README has it."""
    import yaml  # not at the top: ./etl bench --help names the contenders with the standard library alone

    share = share_of(number)
    default_args = {**DEFAULTS, "start_date": "2022-01-01", "retry_delay_sec": 300}
    default = {
        "default_args": default_args,
        "schedule_interval": "0 3 * * *",
        "catchup": False,
        "max_active_runs": 1,
        "description": "x",
    }
    config: Dict[str, Any] = {"default": default}
    for n in range(number):
        tasks = {
            task_id: {"execution_timeout_secs": 6 * 60 * 60, **task} for task_id, task in peer_tasks(name(n)).items()
        }
        config[dag_id(n, share)] = {**peer_dag(n, share), "tasks": tasks}
    path, file = folder / "dags.yaml", folder / "dag_factory.py"
    path.write_text(yaml.dump(config, Dumper=yaml.CSafeDumper))
    file.write_text(DAG_FACTORY.format(path=str(path)))
    return Layout(file, number, dag_id(amidst(number), share))


def write_gusty(folder: Path, number: int) -> Layout:
    """Write for gusty: a folder a DAG with a file a task, and in Python what all DAGs share."""
    import yaml  # not at the top: ./etl bench --help names the contenders with the standard library alone

    share = share_of(number)
    path, file = folder / "gusty_dags", folder / "gusty_loop.py"
    for n in range(number):
        dag = path / dag_id(n, share)
        dag.mkdir(parents=True)
        (dag / "METADATA.yml").write_text(yaml.dump({"description": "x", **peer_dag(n, share)}))
        for task_id, task in peer_tasks(name(n)).items():
            (dag / f"{task_id}.yml").write_text(yaml.dump(task))
    file.write_text(GUSTY.format(path=str(path), defaults=DEFAULTS))
    return Layout(file, number, dag_id(amidst(number), share))


def peer_dag(number: int, share: int) -> Dict[str, Any]:
    """Return what the peers' YAML says of one DAG."""
    tags = ["bench", f"big{number // share}", "cwr", name(number)]
    return {"tags": tags, "doc_md": f"Provider {name(number)}"}


def peer_tasks(provider: str) -> Dict[str, Dict[str, Any]]:
    """Return what the peers' YAML says of a provider's tasks."""
    fetch = ["fetch", "--provider", provider, "--date", "{{ ds }}"]
    variables = [{"name": "INPUT", "value": f"s3://data/cwr/{provider}/{{{{ ds }}}}/"}]
    size = {"cpu": "2048", "memory": "8192"}
    return {
        "fetch": peer_task("cwr-fetch", command=fetch),
        "parse": peer_task("cwr-parse", size, ["fetch"], environment=variables),
        "load": peer_task("cwr-load", depends_on=["parse"], command=["load", "--upsert"]),
    }


def peer_task(
    container: str, size: Optional[Dict[str, str]] = None, depends_on: Sequence[str] = (), **override: Any
) -> Dict[str, Any]:
    """Return what the peers' YAML says of one task."""
    overrides: Dict[str, Any] = {"containerOverrides": [{"name": container, **override}], **(size or {})}
    task = {"operator": OPERATOR, "task_definition": container, "overrides": overrides}
    return {**task, "dependencies": list(depends_on)} if depends_on else task


CONTENDERS: Dict[str, Contender] = {
    "loop": Contender("hand-written loop (the floor)", write_loop),
    "own-loop": Contender("the same loop, the factory's operator", write_own_loop, PARSES),
    "factory": Contender("this factory, 20 files", write_factory),
    "one-file": Contender("this factory, one file", write_one_file, PARSES),
    "files": Contender(
        # Not with all libraries imported: each file has a process, and each process imports them.
        "one generated file per DAG",
        write_files,
        ("parse", "task", *PASSES),
        is_one_of_many=True,
    ),
    "dag-factory": Contender("dag-factory 0.19.0", write_dag_factory, is_peer=True),
    "gusty": Contender("gusty 0.23.1", write_gusty, is_peer=True),
}
