"""A Celery worker of Airflow's whose tasks end with it: ``python -m tools.local.worker ARGUMENT...``.

On MWAA a worker is a container, and what becomes of it becomes of its tasks. Here they are
processes of their own, which would go on if only the worker were killed. The arguments are
those of ``airflow celery worker``.
"""

import os
import signal
import sys
from functools import partial

from tools.local.processes import die_with_parent

NAME = "ETL_WORKER"


def hostname() -> str:
    """What Airflow calls the host of a task: the worker's name. It is its option core.hostname_callable."""
    return os.environ[NAME]


if __name__ == "__main__":
    from airflow.__main__ import main

    # Celery forks a pool of processes, each of these one for a task, and that the task itself.
    os.register_at_fork(after_in_child=partial(die_with_parent, signal.SIGKILL))
    sys.argv = ["airflow", "celery", "worker", *sys.argv[1:]]
    sys.exit(main())
