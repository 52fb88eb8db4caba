"""Definitions in which all that Airflow stores is as long, as large or as deep as it may be."""

import json
from pathlib import Path
from typing import Any, Dict, List, Optional

from orchestrator import MAX_CHAIN, MAX_DAG_ID, MAX_DAG_TAGS, MAX_DAG_TASKS
from orchestrator.vocabulary import MAX_PARAM_CHARACTERS

from tests.trees import tree

Data = Dict[str, Any]

ENVIRONMENT = "e" * 100
FAMILY, PROVIDER = "f" * 100, "s" * 100
PIPELINE = "p" * (MAX_DAG_ID - len(f"{FAMILY}-_dag_{PROVIDER}"))
POOL = "P" * 256
LONGEST = 2**31 - 1  # seconds of a duration, tasks at the same time
FIRST = "a" * 250  # a task


def environment() -> Data:
    """Return an environment at its limits."""
    strategy = [{"capacity_provider": f"{number:02}".ljust(255, "c"), "weight": 1000} for number in range(20)]
    strategy[0]["base"] = 100_000
    return {
        "region": "eu-west-1",
        "aws_conn_id": "c" * 250,
        "pools": [POOL],
        "clusters": {
            "default": {
                "cluster": "etl",
                "capacity_provider_strategy": strategy,
                "subnets": [f"subnet-{number}" for number in range(16)],
                "security_groups": [f"sg-{number}" for number in range(5)],
                "logs": {"group": "g" * 512, "prefix": "l" * 200},
            }
        },
    }


def tasks(chain: int = MAX_CHAIN, all_tasks: int = MAX_DAG_TASKS) -> Data:
    """Return tasks of which some wait for one another in a row."""
    ids = [FIRST, *(f"task-{number}" for number in range(1, all_tasks))]
    return {
        task_id: {"task_definition": "d" * 255, **({"depends_on": [ids[number - 1]]} if 0 < number < chain else {})}
        for number, task_id in enumerate(ids)
    }


def pipeline(**changes: Any) -> Data:
    """Return a pipeline at its limits; one of its providers waits for a delivery, which is one task more."""
    odd = {"\t\U0001f600": [[1.7e308, int("9" * 100), None]]}
    room = MAX_PARAM_CHARACTERS - len(json.dumps({"p" * 100: odd, "long": ""}))
    params = {
        "p" * 100: {"type": ["object", "null"], "default": odd},
        "long": {"default": "<" * room, "title": "t" * 8192, "enum": ["<" * room, "e" * 8192]},
    }
    return {
        "description": "\U0001f600" * 8192,
        "owner": "o" * 36,
        "schedule": "@daily",
        "start_date": "2022-01-01",
        "max_active_runs": 100,
        "max_active_tasks": LONGEST,
        "dagrun_timeout": LONGEST,
        "tags": [f"{number:02}".ljust(100, "t") for number in range(MAX_DAG_TAGS)],
        "params": params,
        "defaults": {
            "pool": POOL,
            "priority_weight": 10_000,
            "retries": 100,
            "retry_delay": LONGEST,
            "retry_exponential_backoff": True,
            "execution_timeout": LONGEST,
            "tags": {f"{number:02}".ljust(128, "k"): "v" * 256 for number in range(50)},
        },
        "tasks": tasks(),
        "providers": {
            PROVIDER: {},
            "w": {"wait_for": {"s3": f"s3://bucket/{'k' * 1024}", "timeout": LONGEST, "poke_interval": "2d"}},
        },
        **changes,
    }


def limits_tree(
    folder: Path, definition: Optional[Data] = None, configs: Optional[Data] = None, names: Optional[List[str]] = None
) -> Path:
    """Make a DAGs folder with a pipeline and an environment, by default those at their limits; return it."""
    family, stem, environment_name = names or [FAMILY, PIPELINE, ENVIRONMENT]
    root = tree(folder, {f"{family}/{stem}.yaml": json.dumps(definition or pipeline(), ensure_ascii=False)})
    config = json.dumps(configs or environment(), ensure_ascii=False)
    (root / "configs" / f"{environment_name}.yaml").write_text(config, encoding="utf-8")
    return root
