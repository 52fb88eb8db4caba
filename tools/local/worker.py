"""A Celery worker of Airflow's whose tasks end with it: ``python -m tools.local.worker ARGUMENT...``.

On MWAA a worker is a container: when it is gone, so are its tasks. Here each task has
processes of its own, which would go on without it. The arguments are those of ``airflow
celery worker``.
"""

import os
import runpy
import signal
import sys
from functools import partial

from tools.local.processes import die_with_parent

NAME = "ETL_WORKER"


def hostname() -> str:
    """Return what Airflow calls the host of a task: the worker's name. It is its option core.hostname_callable."""
    return os.environ[NAME]


if __name__ == "__main__":
    # Celery forks a pool of processes, one of these forks what supervises a task, and that the task.
    os.register_at_fork(after_in_child=partial(die_with_parent, signal.SIGKILL))
    sys.argv = ["airflow", "celery", "worker", *sys.argv[1:]]
    runpy.run_module("airflow", run_name="__main__")
