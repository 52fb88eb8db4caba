"""Airflow's cluster policy on this machine: tasks are as defined, but nobody waits for long.

Airflow imports this module by its name wherever it reads DAGs, because the engine puts its
folder on the path.
"""

import os
from datetime import timedelta
from typing import Any


def task_policy(task: Any) -> None:
    """Retry at once, and do in half the time what an ECS task waits for; ``ECS_LOCAL_PACE`` is another part of it."""
    task.retry_delay = timedelta(seconds=1)
    task.retry_exponential_backoff = False
    if hasattr(task, "pace"):
        task.pace = float(os.environ.get("ECS_LOCAL_PACE", "0.5"))
