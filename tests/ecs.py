"""Answers of ECS, and DAG runs whose tasks are executed as a worker executes them."""

import logging
from typing import Any, Callable, Dict, List, Optional
from unittest.mock import Mock

import pendulum
import pytest
from botocore.exceptions import ClientError

ARN = "arn:aws:ecs:eu-west-1:000000000000:task/etl/d8c67b3cac87"
OTHER_ARN = "arn:aws:ecs:eu-west-1:000000000000:task/etl/0123456789ab"
WELL = [{"name": "loader", "lastStatus": "STOPPED", "exitCode": 0}]
BADLY = [{"name": "loader", "lastStatus": "STOPPED", "exitCode": 1}]


def started(arn: str = ARN) -> Dict[str, Any]:
    return {"tasks": [{"taskArn": arn}], "failures": []}


def refused(reason: str) -> Dict[str, Any]:
    return {"tasks": [], "failures": [{"arn": "container-instance", "reason": reason}]}


def described(containers: Optional[List[Dict[str, Any]]] = None, **task: Any) -> Dict[str, Any]:
    """Return an answer of DescribeTasks: a stopped task, with the fields of ``task`` over its own."""
    stopped = {"lastStatus": "STOPPED", "desiredStatus": "STOPPED", "stopCode": "EssentialContainerExited"}
    return {"tasks": [{**stopped, "containers": WELL if containers is None else containers, **task}], "failures": []}


def client_error(code: str, operation: str = "RunTask", message: str = "no", status: int = 400) -> ClientError:
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, operation)


def sent_by(task: Any) -> Dict[str, Any]:
    """Return the RunTask request that an operator sends at the first try of a run without an id."""
    requests: List[Dict[str, Any]] = []
    task._xcom_set = Mock()
    task.client = Mock(run_task=lambda **request: requests.append(request))
    with pytest.raises(TypeError):  # the mock returns no answer
        task._start_task({"run_id": "", "ti": Mock(try_number=1)})
    (request,) = requests
    return request


Operator = Callable[..., Any]


PIPELINE = """\
start_date: 2022-01-01
params:
  full: {type: boolean, default: false}
  day: {type: string, format: date, default: "2022-01-01"}
tasks:
  load:
    task_definition: loader
    command: [load, "{{ params.full }}", "{{ params.day }}"]
    cluster: default
wait_for: {s3: "s3://bucket/{{ provider.name }}/*.xml", timeout: 2h}
providers:
  un: {}
"""


class Runs:
    """DAG runs whose task ``load`` can be executed try by try, as a worker does."""

    def __init__(self, dag: Any, client: Any, log: logging.Logger) -> None:
        self.dag, self.client, self.log = dag, client, log
        self.created = 0

    def create(self, conf: Any = None, task_id: str = "load", start_date: Any = None) -> Any:
        """Return a task instance of a new run."""
        from airflow.models import TaskInstance
        from airflow.utils.state import DagRunState
        from airflow.utils.types import DagRunType

        self.created += 1
        moment = pendulum.now("UTC")
        run = self.dag.create_dagrun(
            run_id=f"manual__{moment.isoformat()}",
            run_type=DagRunType.MANUAL,
            execution_date=moment,
            data_interval=(moment, moment),
            state=DagRunState.RUNNING,
            conf=conf,
            start_date=start_date,
        )
        return TaskInstance(self.dag.get_task(task_id), run_id=run.run_id)

    def attempt(self, instance: Any) -> Any:
        """Execute the task as a new worker does, with no state but the database; return the operator."""
        context = instance.get_template_context()
        task = instance.task.prepare_for_execution()
        task.awslogs_group, task._log, task.hook = None, self.log, Mock()
        task.hook.get_conn.return_value = self.client
        task.render_template_fields(context)
        task.execute(context)
        return task
