"""Airflow's cluster policy on this machine: tasks are as defined, but nobody waits for long.

Airflow imports this module by its name wherever it reads DAGs, because the engine puts its
folder on the path.
"""

from datetime import timedelta

from airflow.models.baseoperator import BaseOperator

SOON = timedelta(seconds=1)


def task_policy(task: BaseOperator) -> None:
    """Retry at once, also what ECS refuses, and look for the container's log every second."""
    task.retry_delay = SOON
    task.retry_exponential_backoff = False
    if hasattr(task, "awslogs_fetch_interval"):
        task.awslogs_fetch_interval = SOON
    if hasattr(task, "first_pause"):
        task.first_pause = 0.5
