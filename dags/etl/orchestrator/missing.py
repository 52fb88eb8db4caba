"""What stands for a DAG that is not there. A module of its own: only the task of such a DAG imports it."""

from typing import Any, Sequence

import pendulum

from .generations import DAG, BaseOperator, dag_arguments, exceptions
from .problems import Problem

MAX_REASONS = 3  # problems that the log of a task names


class MissingTask(BaseOperator):
    """Stands for a task of a DAG that is not there, and fails."""

    reason = ""

    def execute(self, context: Any, **_: Any) -> None:
        """Fail, and say why."""
        raise exceptions.AirflowException(self.reason)


class MissingDag(DAG):
    """Stands for a DAG that is not there."""

    def get_is_paused(self, *_: Any, **__: Any) -> Any:
        """Return False: of a paused DAG, LocalTaskJob takes those tasks of the run for removed that the DAG lacks."""
        return False


def missing_dag(dag_id: str, task_id: str, problems: Sequence[Problem]) -> DAG:
    """Return a DAG with one task, which fails and says why it, or its DAG, is not there.

    Without that, the process of a task ends before the task has another state. If it has alerts, 2.2.2 asks the parse
    to set one, which finds no DAG either: the task keeps its slot of the pool until the scheduler is started again. 128
    such tasks of a file that was deleted let no other task start.

    Args:
        dag_id: The DAG's.
        task_id: The task's.
        problems: Those of its definition and environment.
    """
    dag = MissingDag(dag_id, **dag_arguments(None, None, None))
    # What is deployed may not have arrived here yet: the task is tried again, as often as the database says.
    task = MissingTask(task_id=task_id, start_date=pendulum.datetime(1970, 1, 1), retries=1, dag=dag)
    why = "it was deleted or renamed, its definition has a mistake, or the deploy has not reached this worker"
    reasons = map(str, problems[:MAX_REASONS])
    task.reason = "\n".join([f"task {task_id} of DAG {dag_id} is not there: {why}", *reasons])
    return dag
