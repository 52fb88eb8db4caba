"""All that differs between versions of Airflow and of the amazon provider, but for the module of the S3 sensor.

That is in sensors.py, which only a DAG that waits imports.
"""

import re
import sys
from typing import Optional

import setproctitle

try:
    from airflow.providers.amazon.aws.operators.ecs import EcsOperator
except ImportError:  # the provider 2.4.0 in MWAA's own image
    from airflow.providers.amazon.aws.operators.ecs import ECSOperator as EcsOperator

__all__ = ["CHANGED_IN_PLACE", "EcsOperator", "looks_for_slas", "running_dag_id"]

# The attributes of an operator that Airflow changes in place. Two operators may share all others; a test compares a
# copy with an operator made in its DAG, attribute by attribute.
CHANGED_IN_PLACE = frozenset(
    "_upstream_task_ids _downstream_task_ids executor_config inlets outlets _inlets _outlets".split()
)


def running_dag_id() -> Optional[str]:
    """Return the id of the DAG whose task this process runs; None in any other process.

    ``airflow tasks run <dag_id> ...`` is the command line of a new interpreter (Sequential and Local executor) and
    stands in the process title of a fork (Celery and Local executor). Airflow has an API for it from 2.5 on.
    """
    if sys.argv[1:3] == ["tasks", "run"] and len(sys.argv) > 3:
        return sys.argv[3]
    match = re.match(r"airflow task supervisor: \['airflow', 'tasks', 'run', '([^']+)'", setproctitle.getproctitle())
    return match.group(1) if match else None


def looks_for_slas() -> bool:
    """Return whether this process is a pass over a DAG file, which looks for missed SLAs."""
    return "DagFileProcessor" in setproctitle.getproctitle()
