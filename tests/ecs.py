"""DAG runs whose tasks are executed try by try, as a worker executes them, against an ECS that is emulated."""

import logging
import os
import signal
import time
from copy import copy
from typing import Any, Callable, Dict, Optional
from unittest.mock import Mock

import pendulum
import pytest
from airflow.exceptions import AirflowFailException
from botocore.exceptions import ClientError

from tests.fake_ecs import FakeEcs
from tools.upgrade.probe import Run, dag_run, task_instance_of

LONG = 60  # seconds that an ECS task runs which a test ends: if it waits in vain, it fails after these
PACE = 0.002  # of the operator's pauses: an hour is 7 s
PIPELINE = """\
start_date: 2022-01-01
owner: data-provisioning
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


def client_error(code: str, operation: str, message: str = "no") -> ClientError:
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return ClientError(answer, operation)


def wait_until(condition: Callable[[], Any], seconds: float = 20) -> None:
    """Wait until a condition holds; fail if it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come to that"
        time.sleep(0.002)


def sent_by(task: Any) -> Dict[str, Any]:
    """Return the RunTask request that an operator sends, which ECS refuses; without the hash in startedBy."""
    task, ti = copy(task), Mock(prev_attempted_tries=1, try_number=0, max_tries=0, test_mode=True)
    task.aws_conn_id = "aws_default"
    ti.xcom_pull.return_value = None  # as a task of Airflow 3 sees it: no later try
    with FakeEcs() as ecs, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_AWS_DEFAULT", ecs.connection)
        ecs.faults.add("RunTask", "AccessDeniedException: no")
        with pytest.raises(AirflowFailException):
            task.execute({"ti": ti, "dag_run": Mock()})
        (request,) = ecs.requests
    parameters = {key: value for key, value in request["parameters"].items() if key != "clientToken"}
    return without_hash(parameters)


def without_hash(request: Dict[str, Any]) -> Dict[str, Any]:
    """Return a RunTask request whose startedBy is only what a person can know: the owner."""
    return {**request, "startedBy": request["startedBy"].rpartition("-")[0]}


class Runs:
    """DAG runs whose task ``load`` can be executed try by try, as a worker does.

    Args:
        dag: The DAG.
        ecs: What its tasks call.
        log: What they write to.
    """

    def __init__(self, dag: Any, ecs: FakeEcs, log: logging.Logger) -> None:
        self.dag, self.ecs, self.log = dag, ecs, log

    def create(self, conf: Any = None, task_id: str = "load", **attributes: Any) -> Any:
        """Return a task instance of a new run, whose task has other attributes than its definition says."""
        from airflow.models import TaskInstance
        from airflow.utils.session import create_session
        from airflow.utils.state import DagRunState
        from airflow.utils.types import DagRunType

        moment = pendulum.now("UTC")
        run = self.dag.create_dagrun(
            run_id=f"manual__{moment.isoformat()}",
            run_type=DagRunType.MANUAL,
            execution_date=moment,
            data_interval=(moment, moment),
            state=DagRunState.RUNNING,
            conf=conf,
        )
        task = copy(self.dag.get_task(task_id))
        vars(task).update({"pace": PACE, "retries": 3, **attributes})
        instance = TaskInstance(task, run_id=run.run_id)
        instance.refresh_from_db()
        instance.max_tries = task.retries
        with create_session() as session:
            session.merge(instance)
        return instance

    def change(self, instance: Any, **attributes: Any) -> None:
        """Give a task instance other attributes, in the database too."""
        from airflow.utils.session import create_session

        instance.refresh_from_db()
        for name, value in attributes.items():
            setattr(instance, name, value)
        with create_session() as session:
            session.merge(instance)

    def begin(self, instance: Any, **attributes: Any) -> "Try":
        """Begin the next try: as a new worker does, with no state but the database."""
        from airflow.models.renderedtifields import RenderedTaskInstanceFields
        from airflow.utils.session import create_session
        from airflow.utils.state import State

        instance.refresh_from_db()
        instance.state = State.RUNNING
        instance._try_number += 1
        with create_session() as session:
            session.merge(instance)
        vars(instance.task).update(attributes)
        context = instance.get_template_context()
        task = instance.task.prepare_for_execution()
        task._log = self.log
        task.render_template_fields(context)
        vars(instance)["task"] = task
        RenderedTaskInstanceFields.write(RenderedTaskInstanceFields(instance, render_templates=False))
        vars(instance)["task"] = context["task"]
        return Try(task, context, self.ecs)

    def seen_by_its_process(self, instance: Any) -> Any:
        """Return a task instance as the process of this try keeps it, whatever later tries do."""
        ti = type(instance)(instance.task, run_id=instance.run_id)
        ti.refresh_from_db()
        return ti

    def attempt(self, instance: Any, **attributes: Any) -> Optional[str]:
        """Execute the next try; return what its XCom would be."""
        return self.begin(instance, **attributes).execute()

    def lose(self, instance: Any, operation: str = "DescribeTasks", count: int = 1, **attributes: Any) -> None:
        """Begin the next try, and kill its process as soon as ECS has had so many requests for an operation."""
        self.begin(instance, **attributes).lose(operation, count)


class TaskRuns(Runs):
    """The same in Airflow 3, whose tasks see no database: a task instance is what Airflow's API tells them."""

    def create(self, conf: Any = None, task_id: str = "load", **attributes: Any) -> Any:
        moment = pendulum.now("UTC")
        task = copy(self.dag.get_task(task_id))
        vars(task).update({"pace": PACE, "retries": 3, **attributes})
        run_id = f"manual__{moment.isoformat()}"
        return Instance(task, dag_run(task, Run(run_id, moment, moment, moment, moment, is_scheduled=False), conf))

    def change(self, instance: Any, **attributes: Any) -> None:
        vars(instance).update(attributes)

    def begin(self, instance: Any, **attributes: Any) -> "Try":
        instance.try_number += 1
        instance.xcoms.clear()
        vars(instance.task).update(attributes)
        task = instance.task.prepare_for_execution()
        task._cached_logger = self.log
        ti = copy(instance)  # which its process has: a later try changes what the API tells, and not this
        context = task_instance_of(task, instance.run).get_template_context()
        context.update(ti=ti, task_instance=ti)
        task.render_template_fields(context)
        return Try(task, context, self.ecs)

    def seen_by_its_process(self, instance: Any) -> Any:
        return copy(instance)


class Instance:
    """A task instance as a task of Airflow 3 sees it."""

    def __init__(self, task: Any, run: Any) -> None:
        self.task, self.run, self.run_id = task, run, run.run_id
        self.dag_id, self.task_id = task.dag_id, task.task_id
        self.try_number, self.max_tries = 0, task.retries
        self.xcoms: Dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def xcom_pull(self, task_ids: str, key: str) -> Any:
        assert task_ids == self.task_id
        return self.xcoms.get(key)


class Try:
    """A try of a task, begun by a worker.

    Args:
        task: The operator, rendered.
        context: Airflow's.
        ecs: What it calls.
    """

    def __init__(self, task: Any, context: Any, ecs: FakeEcs) -> None:
        self.task, self.context, self.ecs = task, context, ecs

    def twin(self, **attributes: Any) -> "Try":
        """Return the same try in another process, with other attributes of its operator."""
        task = copy(self.task)
        vars(task).update(attributes)
        return Try(task, self.context, self.ecs)

    def execute(self) -> Optional[str]:
        """Execute it; return what its XCom would be."""
        result: Optional[str] = self.task.execute(self.context)
        return result

    def lose(self, operation: str = "DescribeTasks", count: int = 1) -> None:
        """Execute it in a process that is killed as soon as ECS has had so many requests for an operation."""
        target = self.ecs.operations().count(operation) + count
        child = os.fork()
        if not child:
            try:
                self.execute()
            finally:
                os._exit(1)
        wait_until(lambda: self.ecs.operations().count(operation) >= target)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
