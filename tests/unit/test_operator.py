"""The ECS tasks and the delivery sensor: what the provider's operators promise, and what ours add."""

import logging
import re
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional
from unittest.mock import Mock

import factory
import pendulum
import pytest
from airflow.exceptions import AirflowException, AirflowFailException, AirflowSensorTimeout, AirflowTaskTimeout
from airflow.providers.amazon.aws.exceptions import EcsOperatorError, EcsTaskFailToStart
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ReadTimeoutError,
    WaiterError,
)

from tests.trees import tree

ARN = "arn:aws:ecs:eu-west-1:000000000000:task/etl/d8c67b3cac87"
OTHER_ARN = "arn:aws:ecs:eu-west-1:000000000000:task/etl/0123456789ab"
WELL = [{"name": "loader", "lastStatus": "STOPPED", "exitCode": 0}]
BADLY = [{"name": "loader", "lastStatus": "STOPPED", "exitCode": 1}]
LOGS: Dict[str, Any] = {
    "awslogs_group": "/ecs/etl",
    "awslogs_region": "eu-west-1",
    "awslogs_stream_prefix": "etl/loader",
}


def started(arn: str = ARN) -> Dict[str, Any]:
    return {"tasks": [{"taskArn": arn}], "failures": []}


def refused(reason: str) -> Dict[str, Any]:
    return {"tasks": [], "failures": [{"arn": "container-instance", "reason": reason}]}


def described(containers: Optional[List[Dict[str, Any]]] = None, **task: Any) -> Dict[str, Any]:
    """An answer of DescribeTasks: a task that has stopped, unless told."""
    stopped = {"lastStatus": "STOPPED", "desiredStatus": "STOPPED", "stopCode": "EssentialContainerExited"}
    return {"tasks": [{**stopped, "containers": WELL if containers is None else containers, **task}], "failures": []}


def client_error(code: str, operation: str = "RunTask", message: str = "no", status: int = 400) -> ClientError:
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, operation)


@pytest.fixture
def client() -> Any:
    """An ECS that takes every task, which then ends well."""
    client = Mock(name="ECS")
    client.meta.region_name = "eu-west-1"
    client.run_task.return_value = started()
    client.describe_tasks.return_value = described()
    return client


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> logging.Logger:
    """A logger that pytest sees; Airflow's own do not propagate."""
    caplog.set_level(logging.INFO)
    return logging.getLogger("tests.operator")


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> List[float]:
    """The pauses between attempts, which take no time."""
    pauses: List[float] = []
    monkeypatch.setattr("tenacity.nap.time", Mock(sleep=pauses.append))
    return pauses


Operator = Callable[..., Any]


@pytest.fixture
def operator(client: Any, log: logging.Logger) -> Operator:
    """Make an operator of ours that talks to ``client``."""

    def make(**arguments: Any) -> Any:
        ecs_task = factory.ecs_operator()
        given = {"cluster": "etl", "overrides": {}, **arguments}
        made = ecs_task(task_id="load", task_definition="loader", owner="data-provisioning", **given)
        made.hook, made._log = Mock(), log
        made.hook.get_conn.return_value = client
        made.places = {"cluster": "etl/big.yaml:5:7", "task_definition": "etl/big.yaml:4:7"}
        return made

    return make


# --------------------------------------------------------------------------------------- what the provider promises


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, {"launchType": "EC2"}),
        ({"launch_type": "EXTERNAL"}, {"launchType": "EXTERNAL"}),
        ({"launch_type": "FARGATE"}, {"launchType": "FARGATE"}),
        ({"launch_type": None}, {}),
        ({"platform_version": "1.4.0"}, {"launchType": "EC2", "platformVersion": "1.4.0"}),
        ({"tags": {"team": "etl"}}, {"launchType": "EC2", "tags": [{"key": "team", "value": "etl"}]}),
        ({"tags": {}}, {"launchType": "EC2", "tags": []}),
        ({"group": "nightly"}, {"launchType": "EC2", "group": "nightly"}),
        ({"propagate_tags": "TASK_DEFINITION"}, {"launchType": "EC2", "propagateTags": "TASK_DEFINITION"}),
        (
            {"placement_constraints": [{"type": "distinctInstance"}], "placement_strategy": [{"type": "random"}]},
            {
                "launchType": "EC2",
                "placementConstraints": [{"type": "distinctInstance"}],
                "placementStrategy": [{"type": "random"}],
            },
        ),
        (
            {"launch_type": "FARGATE", "capacity_provider_strategy": [{"capacityProvider": "FARGATE_SPOT"}]},
            {"capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT"}]},
        ),
        (
            {"network_configuration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}},
            {"launchType": "EC2", "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}},
        ),
    ],
)
def test_run_task_is_called_with_what_was_asked_for(
    arguments: Dict[str, Any], expected: Dict[str, Any], client: Any, operator: Operator
) -> None:
    overrides = {"containerOverrides": [{"name": "loader", "command": ["load"]}]}

    operator(overrides=overrides, **arguments).execute({})

    client.run_task.assert_called_once_with(
        cluster="etl", taskDefinition="loader", overrides=overrides, startedBy="data-provisioning", **expected
    )


def test_it_waits_without_a_limit_of_its_own(client: Any, operator: Operator) -> None:
    operator().execute({})

    client.get_waiter.assert_called_once_with("tasks_stopped")
    waiter = client.get_waiter.return_value
    assert waiter.config.max_attempts > 10**9
    waiter.wait.assert_called_once_with(cluster="etl", tasks=[ARN])


def test_a_failure_of_run_task_fails(client: Any, operator: Operator) -> None:
    client.run_task.return_value = refused("ATTRIBUTE")

    with pytest.raises(EcsOperatorError):
        operator().execute({})
    client.get_waiter.assert_not_called()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"failures": [{"reason": "MISSING"}], "tasks": []}, "MISSING"),
        (described(BADLY), "not in success state"),
        (described([*WELL, *BADLY]), "not in success state"),
        (described([{"lastStatus": "STOPPED"}]), "not in success state"),
        (described([{"lastStatus": "PENDING"}]), "still pending"),
        (described([{"reason": "CannotPullContainerError: no image"}]), "during launching: cannotpull"),
        (described(stoppedReason="Host EC2 (instance i-0123456789abcdef) terminated."), "host instance terminated"),
        (described(stoppedReason="Host EC2 (instance i-0123456789abcdef) stopped."), "host instance terminated"),
    ],
)
def test_a_task_that_has_not_ended_well_fails(
    answer: Dict[str, Any], message: str, client: Any, operator: Operator
) -> None:
    client.describe_tasks.return_value = answer

    with pytest.raises(AirflowException, match=message):
        operator().execute({})


def test_a_task_without_containers_that_failed_succeeds(client: Any, operator: Operator) -> None:
    client.describe_tasks.return_value = {"tasks": [{"containers": [{"name": "sidecar", "lastStatus": "RUNNING"}]}]}

    assert operator().execute({}) is None


def test_on_kill_stops_the_task(client: Any, operator: Operator) -> None:
    task = operator()
    task.execute({})
    client.stop_task.assert_not_called()

    task.on_kill()

    client.stop_task.assert_called_once_with(cluster="etl", task=ARN, reason="Task killed by the user")


def test_on_kill_before_there_is_a_task_is_nothing_to_stop(client: Any, operator: Operator) -> None:
    operator().on_kill()

    client.stop_task.assert_not_called()


class Tail:
    """A log that has been read already."""

    def __init__(self, *messages: str) -> None:
        self.messages = list(messages)
        self.start = self.stop = self.join = Mock()

    def get_last_log_message(self) -> Optional[str]:
        return self.messages[-1] if self.messages else None

    def get_last_log_messages(self, number: int) -> List[str]:
        return self.messages[-number:]


@pytest.mark.parametrize(
    ("arguments", "messages", "expected"),
    [
        (LOGS, ("first", "last"), "last"),
        (LOGS, (), None),
        (dict(LOGS, do_xcom_push=False), ("first", "last"), None),
        ({}, ("first", "last"), None),
    ],
)
def test_the_last_line_of_the_log_is_the_xcom(
    arguments: Dict[str, Any], messages: Any, expected: Optional[str], operator: Operator
) -> None:
    task = operator(**arguments)
    task._get_task_log_fetcher = lambda: Tail(*messages)

    assert task.execute({}) == expected


def test_the_last_lines_stand_in_the_failure(client: Any, operator: Operator) -> None:
    client.describe_tasks.return_value = described(BADLY)
    task = operator(**LOGS, number_logs_exception=2)
    task._get_task_log_fetcher = lambda: Tail("first", "second", "third")

    with pytest.raises(AirflowException, match=r"last 2 logs from Cloudwatch:\nsecond\nthird$"):
        task.execute({})


def test_the_log_is_no_longer_read_when_waiting_fails(client: Any, operator: Operator) -> None:
    client.get_waiter.return_value.wait.side_effect = ValueError
    task, tail = operator(**LOGS), Tail()
    task._get_task_log_fetcher = lambda: tail

    with pytest.raises(ValueError):  # noqa: PT011 (any)
        task.execute({})
    assert tail.stop.called


# ------------------------------------------------------------------------------------------------------- ECS trouble


@pytest.mark.parametrize(
    "trouble",
    [
        refused("RESOURCE:MEMORY"),
        refused("RESOURCE:CPU"),
        refused("AGENT"),
        refused("Capacity is unavailable at this time. Please try again later"),
        client_error("ThrottlingException"),
        client_error("ServerException"),
        client_error("ClientException", message="You've reached the limit on the number of vCPUs you can run"),
        client_error("InvalidParameterException", message="No Container Instances were found in your cluster."),
        EndpointConnectionError(endpoint_url="https://ecs"),
        ConnectTimeoutError(endpoint_url="https://ecs"),
    ],
)
def test_what_may_pass_is_tried_again_and_told(
    trouble: Any, client: Any, operator: Operator, pauses: List[float], caplog: pytest.LogCaptureFixture
) -> None:
    client.run_task.side_effect = [trouble, trouble, started()]

    operator().execute({})

    assert client.run_task.call_count == 3
    assert pauses == [2, 4]
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [message.rpartition("Attempt ")[2] for message in told] == ["2 of 8 in 2 s", "3 of 8 in 4 s"]
    reason = trouble["failures"][0]["reason"] if isinstance(trouble, dict) else str(trouble)
    assert all(reason in message for message in told)


def test_the_attempts_end(client: Any, operator: Operator, pauses: List[float]) -> None:
    client.run_task.return_value = refused("RESOURCE:MEMORY")

    with pytest.raises(EcsOperatorError):
        operator().execute({})
    assert client.run_task.call_count == factory.ATTEMPTS
    assert pauses == [2, 4, 8, 16, 32, 60, 60]


def test_a_task_that_fails_to_start_is_started_anew(
    client: Any, operator: Operator, pauses: List[float], caplog: pytest.LogCaptureFixture
) -> None:
    failed = described([], stopCode="TaskFailedToStart", stoppedReason="ResourceInitializationError: no network")
    client.run_task.side_effect = [started(OTHER_ARN), started()]
    client.describe_tasks.side_effect = [failed, described(), described()]

    task = operator()
    task.execute({})

    assert task.arn == ARN
    assert "ResourceInitializationError: no network. Attempt 2 of 8 in 2 s" in caplog.text


def test_a_task_that_never_starts_fails(client: Any, operator: Operator, pauses: List[float]) -> None:
    client.describe_tasks.return_value = described([], stopCode="TaskFailedToStart", stoppedReason="no image")

    with pytest.raises(EcsTaskFailToStart, match="no image"):
        operator().execute({})
    assert client.run_task.call_count == factory.ATTEMPTS


def test_waiting_looking_and_stopping_outlast_trouble(client: Any, operator: Operator, pauses: List[float]) -> None:
    throttled = client_error("ThrottlingException", "DescribeTasks")
    client.get_waiter.return_value.wait.side_effect = [WaiterError("TasksStopped", str(throttled), {}), None]
    client.describe_tasks.side_effect = [throttled, described(), throttled, described()]
    client.stop_task.side_effect = [throttled, {}]
    task = operator()

    task.execute({})
    task.on_kill()

    assert client.run_task.call_count == 1
    assert client.stop_task.call_count == 2
    assert len(pauses) == 4


@pytest.mark.parametrize("code", ["UserInitiated", "SpotInterruption", "TerminationNotice"])
def test_a_task_that_was_stopped_has_failed_however_well_its_container_took_it(
    code: str, client: Any, operator: Operator
) -> None:
    client.describe_tasks.return_value = described(WELL, stopCode=code, stoppedReason="enough")

    with pytest.raises(AirflowException, match=f"was stopped: {code}: enough"):
        operator().execute({})


@pytest.mark.parametrize(
    ("error", "place"),
    [
        (client_error("ClientException", message="Unable to describe task definition."), "etl/big.yaml:4:7"),
        (client_error("ClusterNotFoundException", message="Cluster not found."), "etl/big.yaml:5:7"),
        (client_error("AccessDeniedException", message="not authorized: ecs:RunTask"), "etl/big.yaml:4:7"),
        (
            client_error("InvalidParameterException", message="Override for container named x is not a container"),
            "etl/big.yaml:4:7",
        ),
    ],
)
def test_a_mistake_fails_at_once_and_names_the_line(
    error: Exception, place: str, client: Any, operator: Operator, pauses: List[float]
) -> None:
    client.run_task.side_effect = error

    with pytest.raises(AirflowFailException) as caught:
        operator().execute({})
    assert str(error) in str(caught.value)
    assert str(caught.value).endswith(f"Look at {place}")
    assert client.run_task.call_count == 1


def test_who_may_not_look_at_the_task_fails_at_once(client: Any, operator: Operator) -> None:
    denied = client_error("AccessDeniedException", "DescribeTasks", "not authorized: ecs:DescribeTasks")
    client.get_waiter.return_value.wait.side_effect = WaiterError("TasksStopped", str(denied), {})

    with pytest.raises(AirflowFailException, match="ecs:DescribeTasks"):
        operator().execute({})


def test_another_error_is_airflows_to_try_again(client: Any, operator: Operator) -> None:
    client.run_task.side_effect = client_error("SomethingNew")

    with pytest.raises(ClientError):
        operator().execute({})


def test_the_log_names_the_tasks_page_in_the_console(operator: Operator, caplog: pytest.LogCaptureFixture) -> None:
    operator(cluster="arn:aws:ecs:eu-west-1:000000000000:cluster/etl").execute({})

    console = "https://eu-west-1.console.aws.amazon.com/ecs/v2/clusters/etl/tasks/d8c67b3cac87?region=eu-west-1"
    assert console in caplog.text


# ---------------------------------------------------------------------------------------------------------- reattach

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


@pytest.fixture(scope="module")
def dag(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A DAG of the factory, in a database of its own."""
    (definition,) = factory.load(tree(tmp_path_factory.mktemp("dag"), {"cwr/big.yaml": PIPELINE}), "development")[0]
    return factory.build_dag(definition)


def test_an_operator_that_providers_share_is_in_each_dag_as_if_made_there(tmp_path: Path) -> None:
    from airflow.models.dag import DAG

    found = factory.load(tree(tmp_path, {"cwr/big.yaml": PIPELINE + "  wcm: {}\n"}), "development")
    un, wcm = factory.build(found)[0].values()
    given = found.definitions[0].plan.tasks["load"].operator
    other = DAG(un.dag_id, start_date=un.start_date, params=un.params)
    made_there = factory.ecs_operator()(task_id="load", owner=un.owner, reattach=True, dag=other, **given)
    task, twin = un.get_task("load"), wcm.get_task("load")

    ours = {"places", "typed_params", "on_failure_callback"}
    assert vars(task).keys() | ours == vars(made_there).keys() | ours
    for name in vars(made_there).keys() - ours - {"_dag", "_upstream_task_ids", "params"}:
        assert getattr(task, name) == getattr(made_there, name), name
    assert (task.dag, task.upstream_task_ids) == (un, {factory.WAIT_FOR})
    assert task.params.dump() == made_there.params.dump() == {"full": False, "day": "2022-01-01"}
    same = {name for name, value in vars(task).items() if value is vars(twin)[name]}
    assert {name for name in same - ours if isinstance(vars(task)[name], (dict, list, set))} <= set(given)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Airflow's tables in SQLite, without the migrations that take 10 s to get there."""
    from airflow import settings
    from airflow.models.base import Base
    from sqlalchemy import create_engine
    from sqlalchemy.orm import scoped_session, sessionmaker

    engine = create_engine(f"sqlite:///{tmp_path_factory.mktemp('database')}/airflow.db")
    Base.metadata.create_all(engine)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "engine", engine)
        session = scoped_session(sessionmaker(autocommit=False, autoflush=False, bind=engine, expire_on_commit=False))
        patch.setattr(settings, "Session", session)
        yield
        session.remove()


class Runs:
    """DAG runs whose task ``load`` can be executed as by a worker, try by try."""

    def __init__(self, dag: Any, client: Any, log: logging.Logger) -> None:
        self.dag, self.client, self.log = dag, client, log
        self.created = 0

    def create(self, conf: Any = None, task_id: str = "load", start_date: Any = None) -> Any:
        """Give a task instance of a new run."""
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
        """Execute the task as a new worker does: nothing but the database remembers."""
        context = instance.get_template_context()
        task = instance.task.prepare_for_execution()
        task.awslogs_group, task._log, task.hook = None, self.log, Mock()
        task.hook.get_conn.return_value = self.client
        task.render_template_fields(context)
        task.execute(context)
        return task


@pytest.fixture
def runs(dag: Any, database: None, client: Any, log: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.setenv("AIRFLOW__CORE__DAG_RUN_CONF_OVERRIDES_PARAMS", "False")  # as on MWAA
    return Runs(dag, client, log)


class Killed(BaseException):
    """The worker's end."""


def kill_while_waiting(runs: Runs, instance: Any) -> None:
    """Start the ECS task, and lose the worker."""
    waiter = runs.client.get_waiter.return_value
    waiter.wait.side_effect = Killed
    with pytest.raises(Killed):
        runs.attempt(instance)
    waiter.wait.side_effect = None


@pytest.mark.parametrize("status", ["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING"])
def test_a_task_that_runs_is_taken_up(status: str, runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    instance = runs.create()
    kill_while_waiting(runs, instance)
    runs.client.describe_tasks.side_effect = [
        described([], lastStatus=status, desiredStatus="RUNNING", stopCode=None),
        described(),
        described(),
    ]

    task = runs.attempt(instance)

    assert runs.client.run_task.call_count == 1
    runs.client.get_waiter.return_value.wait.assert_called_with(cluster="etl", tasks=[ARN])
    assert (task.arn, task.ecs_task_id) == (ARN, ARN.split("/")[-1])
    assert f"Taking up {ARN}" in caplog.text
    assert caplog.text.count("The ECS task in the console") == 2  # in the log of each try


def kill_while_asking(runs: Runs, instance: Any) -> str:
    """Lose the worker before it has noted what ECS answers; give the name that the ECS task has as startedBy."""
    runs.client.run_task.side_effect = Killed
    with pytest.raises(Killed):
        runs.attempt(instance)
    runs.client.run_task.side_effect = None
    return str(runs.client.run_task.call_args[1]["startedBy"])


@pytest.mark.parametrize("listed", [{"RUNNING": [ARN]}, {"RUNNING": [], "STOPPED": [ARN]}], ids=["runs", "has stopped"])
def test_a_task_that_was_started_but_not_noted_is_found(listed: Dict[str, List[str]], runs: Runs) -> None:
    instance = runs.create()
    name = kill_while_asking(runs, instance)
    runs.client.list_tasks.side_effect = lambda **asked: {"taskArns": listed[asked["desiredStatus"]]}

    task = runs.attempt(instance)

    assert runs.client.run_task.call_count == 1
    assert task.arn == ARN
    assert {call[1]["startedBy"] for call in runs.client.list_tasks.call_args_list} == {name}


def test_a_task_that_was_never_started_is_started(runs: Runs) -> None:
    instance = runs.create()
    kill_while_asking(runs, instance)
    runs.client.list_tasks.return_value = {"taskArns": []}

    runs.attempt(instance)

    assert runs.client.run_task.call_count == 2


@pytest.mark.parametrize(
    "lost",
    [
        ReadTimeoutError(endpoint_url="https://ecs"),
        ConnectionClosedError(endpoint_url="https://ecs"),
        client_error("ServerException", status=500),
    ],
)
def test_a_task_that_was_started_without_an_answer_is_taken_up(lost: Any, runs: Runs, pauses: List[float]) -> None:
    runs.client.run_task.side_effect = lost
    runs.client.list_tasks.return_value = {"taskArns": [ARN]}
    instance = runs.create()

    task = runs.attempt(instance)

    assert (task.arn, task.ecs_task_id) == (ARN, ARN.split("/")[-1])
    asked = runs.client.run_task.call_args[1]
    runs.client.list_tasks.assert_called_once_with(cluster="etl", startedBy=asked["startedBy"], desiredStatus="RUNNING")
    assert runs.client.run_task.call_count == 1
    assert pauses == [2]


def test_a_task_that_was_not_started_when_no_answer_came_is_started(runs: Runs, pauses: List[float]) -> None:
    runs.client.run_task.side_effect = [
        ReadTimeoutError(endpoint_url="https://ecs"),
        refused("RESOURCE:CPU"),
        started(),
    ]
    runs.client.list_tasks.return_value = {"taskArns": []}

    runs.attempt(runs.create())

    assert runs.client.run_task.call_count == 3
    assert runs.client.list_tasks.call_count == 2  # once for each status; not again after an answer came
    assert pauses == [2, 4]


def asking(operator: Operator) -> Any:
    """An operator that is about to ask ECS for a task that it may take up later."""
    task = operator(reattach=True)
    task._try_reattach_task = task.note = Mock()
    return task


FIRST_TRY = {"run_id": "manual", "ti": Mock(try_number=1)}


def test_a_task_is_stopped_that_ecs_has_started_but_not_told_of_yet(client: Any, operator: Operator) -> None:
    task = asking(operator)
    client.run_task.side_effect = AirflowTaskTimeout
    client.list_tasks.return_value = {"taskArns": [ARN]}
    with pytest.raises(AirflowTaskTimeout):
        task.execute(FIRST_TRY)

    task.on_kill()  # as Airflow does then

    client.stop_task.assert_called_once_with(cluster="etl", task=ARN, reason="Task killed by the user")
    asked = client.run_task.call_args[1]
    client.list_tasks.assert_called_once_with(cluster="etl", startedBy=asked["startedBy"], desiredStatus="RUNNING")


@pytest.mark.parametrize(
    "refusal", [client_error("AccessDeniedException"), EndpointConnectionError(endpoint_url="https://ecs")]
)
def test_what_ecs_has_not_started_is_not_looked_for(
    refusal: Any, client: Any, operator: Operator, pauses: List[float]
) -> None:
    task = asking(operator)
    client.run_task.side_effect = refusal
    with pytest.raises((AirflowFailException, EndpointConnectionError)):
        task.execute(FIRST_TRY)

    task.on_kill()

    client.list_tasks.assert_not_called()
    client.stop_task.assert_not_called()


def test_a_task_that_is_killed_while_its_client_is_made_asks_for_nothing(client: Any, operator: Operator) -> None:
    task = operator()

    def get_conn() -> Any:
        task.on_kill()  # after which the provider swallows what Airflow raises
        return client

    task.hook.get_conn = get_conn

    with pytest.raises(AirflowException, match="before ECS was asked"):
        task.execute({})
    client.run_task.assert_not_called()


@pytest.mark.parametrize("raised", [AirflowTaskTimeout("too long"), AirflowException("Task received SIGTERM signal")])
def test_what_airflow_raises_amidst_a_request_is_no_trouble_with_ecs(
    raised: Exception, client: Any, operator: Operator, pauses: List[float]
) -> None:
    waiter = client.get_waiter.return_value
    waiter.wait.side_effect = HTTPClientError(error=raised)  # as botocore has it

    with pytest.raises(type(raised), match=str(raised)):
        operator().execute({})

    assert (waiter.wait.call_count, pauses) == (1, [])


def test_a_task_that_was_ended_says_so_although_the_signal_was_swallowed(client: Any, operator: Operator) -> None:
    task = operator()
    client.get_waiter.return_value.wait.side_effect = lambda **_: task.on_kill()

    with pytest.raises(AirflowException, match="by SIGTERM"):
        task.execute({})


def test_the_client_leaves_trying_again_to_the_operator(operator: Operator) -> None:
    task = operator()
    task.hook = None

    assert task.get_hook().config.retries == {"max_attempts": 0}


def test_what_was_noted_of_an_earlier_attempt_is_not_mistaken_for_the_last(runs: Runs) -> None:
    instance = runs.create()
    kill_while_waiting(runs, instance)
    runs.client.describe_tasks.return_value = described([{"exitCode": 1, "lastStatus": "STOPPED"}])
    name = kill_while_asking(runs, instance)
    runs.client.list_tasks.return_value = {"taskArns": [OTHER_ARN]}
    runs.client.describe_tasks.return_value = described()

    task = runs.attempt(instance)

    assert task.arn == OTHER_ARN
    assert runs.client.list_tasks.call_args[1]["startedBy"] == name


def test_startedby_is_what_ecs_takes_and_no_other_attempt_has() -> None:
    attempts = [
        tuple(attempt.split())
        for attempt in ("a b c 1.1", "a b c 1.2", "a b c 2.1", "a b d 1.1", "a e c 1.1", "f b c 1.1")
    ]
    for owner in ("etl", "x" * 36):
        names = {factory.started_by(owner, *attempt) for attempt in attempts}
        assert len(names) == len(attempts)
        assert all(re.fullmatch("[A-Za-z0-9_-]{1,36}", name) and name.startswith(owner[:25]) for name in names)


def test_a_task_that_has_done_its_work_is_not_run_again(runs: Runs) -> None:
    instance = runs.create()
    kill_while_waiting(runs, instance)

    runs.attempt(instance)

    assert runs.client.run_task.call_count == 1


def test_a_task_that_is_about_to_have_done_its_work_is_not_run_again(runs: Runs) -> None:
    instance = runs.create()
    kill_while_waiting(runs, instance)
    going = described([{"name": "loader", "lastStatus": "RUNNING"}], lastStatus="DEPROVISIONING")
    runs.client.describe_tasks.side_effect = [going, described(), described(), described()]

    runs.attempt(instance)

    assert runs.client.run_task.call_count == 1


@pytest.mark.parametrize(
    "answers",
    [
        [described(BADLY), described(BADLY)],
        [described([], stopCode="TaskFailedToStart"), described([], stopCode="TaskFailedToStart")],
        [described(WELL, stopCode="UserInitiated"), described(WELL, stopCode="UserInitiated")],
        [described([], lastStatus="STOPPING", stopCode="UserInitiated"), described([], stopCode="UserInitiated")],
        [{"tasks": [], "failures": [{"reason": "MISSING"}]}],
    ],
    ids=["failed", "not started", "stopped", "being stopped", "unknown"],
)
def test_any_other_task_is_started_anew(answers: List[Any], runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    instance = runs.create()
    kill_while_waiting(runs, instance)
    runs.client.run_task.return_value = started(OTHER_ARN)
    runs.client.describe_tasks.side_effect = [*answers, described(), described()]

    task = runs.attempt(instance)

    assert task.arn == OTHER_ARN
    assert "Starting anew" in caplog.text


def test_a_task_in_a_cluster_that_the_definition_no_longer_names_is_started_anew(runs: Runs) -> None:
    instance = runs.create()
    runs.client.run_task.return_value = started(ARN.replace("/etl/", "/before/"))
    kill_while_waiting(runs, instance)
    runs.client.run_task.return_value = started()

    assert runs.attempt(instance).arn == ARN
    assert all(call[1]["tasks"] == [ARN] for call in runs.client.describe_tasks.call_args_list)


def test_neither_listing_tasks_nor_describing_definitions_is_needed(runs: Runs) -> None:
    instance = runs.create()
    kill_while_waiting(runs, instance)

    runs.attempt(instance)

    runs.client.list_tasks.assert_not_called()
    runs.client.describe_task_definition.assert_not_called()


def test_a_run_remembers_its_own_task_only(runs: Runs) -> None:
    first, second = runs.create(), runs.create()
    kill_while_waiting(runs, first)
    runs.client.run_task.return_value = started(OTHER_ARN)
    assert runs.attempt(second).arn == OTHER_ARN

    task = runs.attempt(first)

    assert task.arn == ARN
    assert runs.client.run_task.call_count == 2


@pytest.mark.parametrize(("hours", "arn"), [(-1, OTHER_ARN), (1, ARN)], ids=["before", "after"])
def test_what_a_dead_worker_has_done_counts_until_the_run_is_cleared(hours: int, arn: str, runs: Runs) -> None:
    cleared = pendulum.now("UTC")
    instance = runs.create(start_date=cleared)
    kill_while_waiting(runs, instance)
    runs.client.run_task.return_value = started(OTHER_ARN)
    runs.client.describe_tasks.return_value = described(startedAt=cleared.add(hours=hours))

    assert runs.attempt(instance).arn == arn


def test_a_task_that_runs_is_taken_up_when_cleared(runs: Runs) -> None:
    cleared = pendulum.now("UTC")
    instance = runs.create(start_date=cleared)
    kill_while_waiting(runs, instance)
    running = described([], lastStatus="RUNNING", desiredStatus="RUNNING", startedAt=cleared.add(hours=-1))
    runs.client.describe_tasks.side_effect = [running, described(), described()]

    assert runs.attempt(instance).arn == ARN
    assert runs.client.run_task.call_count == 1


def test_a_task_that_succeeded_is_run_again_when_cleared(runs: Runs) -> None:
    instance = runs.create()
    runs.attempt(instance)
    runs.client.run_task.return_value = started(OTHER_ARN)

    assert runs.attempt(instance).arn == OTHER_ARN


# ------------------------------------------------------------------------------------------------------ typed params


def command(task: Any) -> List[str]:
    (override,) = task.overrides["containerOverrides"]
    return list(override["command"])


def test_what_was_typed_reaches_the_templates_as_the_rest_keeps_its_default(runs: Runs) -> None:
    task = runs.attempt(runs.create(conf={"full": True}))

    assert command(task) == ["load", "True", "2022-01-01"]


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"ful": True}, "unknown key 'ful', did you mean 'full'?"),
        ({"full": "yes"}, "'full': 'yes' is not of type 'boolean'"),
        ({"day": "yesterday"}, "'day': 'yesterday' is not a 'date'"),
    ],
)
def test_what_was_typed_wrongly_fails_before_anything_starts(conf: Any, message: str, runs: Runs) -> None:
    with pytest.raises(AirflowFailException) as caught:
        runs.attempt(runs.create(conf=conf))

    assert message in str(caught.value)
    runs.client.run_task.assert_not_called()


def test_what_was_typed_wrongly_is_not_told_only_after_the_delivery(runs: Runs) -> None:
    instance = runs.create({"ful": True}, factory.WAIT_FOR)

    with pytest.raises(AirflowFailException, match="unknown key 'ful'"):
        instance.render_templates()


def test_all_that_was_typed_wrongly_is_told_at_once() -> None:
    with pytest.raises(AirflowFailException, match="unknown key 'a', this DAG takes none; unknown key 'b'"):
        factory.check_typed({}, {"a": 1, "b": 2})


# -------------------------------------------------------------------------------------------------------------- logs


class CloudWatch:
    """A log stream that grows."""

    def __init__(self) -> None:
        self.messages: List[str] = []
        self.requests: List[Dict[str, Any]] = []

    def get_log_events(self, **request: Any) -> Dict[str, Any]:
        self.requests.append(request)
        begin = 0 if request["startFromHead"] else len(self.messages)
        first = int(request.get("nextToken", f"f/{begin}").split("/")[1])
        page = self.messages[first : first + 2]
        events = [{"timestamp": 1_640_995_200_000, "message": message} for message in page]
        return {"events": events, "nextForwardToken": f"f/{first + len(page)}"}


def log_tail(client: Any, log: logging.Logger, keep: int = 10) -> Any:
    return factory.LogTail(client, "/ecs/etl", "etl/loader/1", timedelta(seconds=30), log, keep)


def test_every_line_is_read_once(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    client = CloudWatch()
    tail = log_tail(client, log)
    client.messages += ["one", "two", "three"]
    tail.read()
    client.messages += ["four"]
    tail.read()

    written = [record.getMessage() for record in caplog.records]
    assert written == [f"[2022-01-01 00:00:00.000] {text}" for text in ("one", "two", "three", "four")]
    tokens = [request.get("nextToken") for request in client.requests]
    assert tokens == [None, "f/2", "f/3", "f/3", "f/4"]
    assert tail.get_last_log_message() == "four"
    assert tail.get_last_log_messages(2) == ["three", "four"]


def test_it_ends_within_two_seconds_and_reads_what_came_last(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, pauses = CloudWatch(), []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        client.messages.append("last")  # CloudWatch has it only now

    monkeypatch.setattr(factory, "time", Mock(sleep=sleep))
    tail = log_tail(client, log)
    tail.start()
    tail.stop()
    tail.join()

    assert sum(pauses) < 2
    assert tail.get_last_log_message() == "last"


def test_a_stream_that_is_not_there_yet_is_nothing_to_tell(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    missing = client_error("ResourceNotFoundException", "GetLogEvents", "The specified log stream does not exist.")
    tail = log_tail(Mock(get_log_events=Mock(side_effect=missing)), log)
    tail.read()

    assert not caplog.records
    assert tail.get_last_log_message() is None
    assert tail.get_last_log_messages(3) == []


@pytest.mark.parametrize(
    "error",
    [
        client_error("ResourceNotFoundException", "GetLogEvents", "The specified log group does not exist."),
        client_error("AccessDeniedException", "GetLogEvents"),
        EndpointConnectionError(endpoint_url="https://logs"),
    ],
)
def test_a_log_that_cannot_be_read_is_one_warning(
    error: Exception, log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    tail = log_tail(Mock(get_log_events=Mock(side_effect=error)), log)
    tail.read()
    tail.read()

    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert str(error) in record.getMessage()


def test_the_operator_reads_its_own_stream_without_retries(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = Mock()
    monkeypatch.setattr("airflow.providers.amazon.aws.hooks.logs.AwsLogsHook", hook)
    task = operator(**LOGS, awslogs_fetch_interval=timedelta(seconds=5), aws_conn_id="aws_etl")
    task.ecs_task_id = "d8c67b3cac87"

    tail = task._get_task_log_fetcher()

    assert tail.request["logGroupName"] == "/ecs/etl"
    assert tail.request["logStreamName"] == "etl/loader/d8c67b3cac87"
    assert tail.interval == 5
    assert isinstance(tail, threading.Thread)
    (call,) = hook.call_args_list
    assert call[1]["aws_conn_id"] == "aws_etl"
    assert call[1]["config"].retries == {"max_attempts": 0}


def test_what_a_person_may_write_as_a_template_is_rendered(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "cwr/big.yaml": "start_date: 2022-01-01\n"
            "tasks: {load: {task_definition: 'load-{{ env.x }}', container: main, tags: {of: '{{ provider.name }}'}}}\n"
            "providers: {un: {}}\n"
        },
    )
    (root / "configs" / "development.yaml").write_text(
        "region: eu-west-1\nvariables: {x: a}\nclusters:\n"
        "  default: {cluster: 'etl-{{ env.x }}', subnets: ['subnet-{{ env.x }}'],"
        " security_groups: ['sg-{{ env.x }}']}\n"
    )
    (definition,) = factory.load(root, "development").definitions
    task = factory.build_dag(definition).get_task("load")

    task.render_template_fields({"params": {}})

    network = {"subnets": ["subnet-a"], "securityGroups": ["sg-a"], "assignPublicIp": "DISABLED"}
    assert (task.cluster, task.task_definition, task.tags) == ("etl-a", "load-a", {"of": "un"})
    assert task.network_configuration == {"awsvpcConfiguration": network}


# ---------------------------------------------------------------------------------------------------------- delivery


def sensor(keys: List[str], bucket_key: str, **more: Any) -> Any:
    """Give a sensor whose bucket has these keys."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    delivery_sensor = factory.delivery_sensor()
    made = delivery_sensor(task_id="wait_for_delivery", bucket_key=bucket_key, **more)
    hook: Any = S3Hook(aws_conn_id=None)
    hook.list_keys = lambda bucket, prefix, delimiter: [key for key in keys if key.startswith(prefix)]
    hook.get_key = lambda key, bucket: (bucket, key)
    made.hook = hook
    return made


@pytest.mark.parametrize(
    ("pattern", "keys", "expected"),
    [
        ("un/catalogue.xml", ["un/catalogue.xml"], True),
        ("un/catalogue.xml", ["un/catalogue.xml.part"], False),
        ("un/*.xml", ["un/catalogue.xml"], True),
        ("un/*.xml", ["un/catalogue.xml.part"], False),  # which the provider's sensor takes
        ("un/*.xml", ["wcm/catalogue.xml"], False),
        ("un/part-?.xml", ["un/part-1.xml"], True),
        ("un/part-?.xml", ["un/part-10.xml"], False),
        ("un/[1].xml", ["un/[1].xml"], True),
        ("un/[1]*.xml", ["un/1.xml"], False),
        ("un/*.xml", [], False),
    ],
)
def test_wildcards_stand_for_what_they_say(pattern: str, keys: List[str], expected: bool) -> None:
    assert sensor(keys, f"s3://bucket/{pattern}").poke({}) is expected


def test_a_late_delivery_says_what_was_awaited(dag: Any) -> None:
    late = sensor([], "s3://bucket/un/*.xml", timeout=0, poke_interval=1)

    with pytest.raises(AirflowSensorTimeout, match=r"Not delivered within 0:00:00: s3://bucket/un/\*\.xml$"):
        late.execute({})


def test_the_delivery_is_awaited_before_the_roots_without_taking_a_worker(dag: Any) -> None:
    awaited = dag.get_task("wait_for_delivery")

    assert awaited.downstream_task_ids == {"load"}
    assert (awaited.mode, awaited.timeout, awaited.poke_interval) == ("reschedule", 7200, 300)


# ------------------------------------------------------------------------------------------------------------ alerts


@pytest.fixture
def environment() -> Any:
    alerts = {"sns_topic_arn": "arn:aws:sns:eu-west-1:000000000000:alerts"}
    return factory.Environment(region="eu-west-1", clusters={"default": {"cluster": "etl"}}, alerts=alerts)


@pytest.fixture
def sns(monkeypatch: pytest.MonkeyPatch) -> Any:
    hook = Mock()
    monkeypatch.setattr("airflow.providers.amazon.aws.hooks.base_aws.AwsBaseHook", hook)
    return hook.return_value.get_conn.return_value


def failed(reason: str = "no") -> Dict[str, Any]:
    """The context of a task that has failed for good."""
    instance = Mock(dag_id="cwr-big_dag_un_dag_x", task_id="load", prev_attempted_tries=3, max_tries=2)
    instance.log_url = "http://127.0.0.1/log"
    return {"task_instance": instance, "run_id": "manual", "exception": AirflowException(reason)}


def teller(environment: Any) -> Any:
    return factory.partial(factory.publish, environment, "un_dag_x")


def test_an_alert_says_what_failed_and_where_to_look(environment: Any, sns: Any) -> None:
    factory.alert_failure(teller(environment), failed())

    sns.publish.assert_called_once_with(
        TopicArn="arn:aws:sns:eu-west-1:000000000000:alerts",
        Subject="cwr-big_dag_un_dag_x load failed",
        Message="Provider: un_dag_x\nDAG: cwr-big_dag_un_dag_x\nTask: load\nRun: manual\nTry: 3 of 3\nReason: no\n"
        "Log: http://127.0.0.1/log",
    )


def test_an_alert_fits_into_a_message(environment: Any, sns: Any) -> None:
    context = failed("x" * 300_000)
    context["task_instance"].task_id = "t" * 200

    factory.alert_failure(teller(environment), context)

    (call,) = sns.publish.call_args_list
    assert len(call[1]["Subject"]) < 100
    assert len(call[1]["Message"]) < 64_000
    assert call[1]["Message"].endswith("Log: http://127.0.0.1/log")


def test_an_alert_says_so_when_a_task_left_no_reason(environment: Any, sns: Any) -> None:
    factory.alert_failure(teller(environment), {**failed(), "exception": None})

    assert "Reason: its process was killed on the worker" in sns.publish.call_args[1]["Message"]


def test_an_alert_that_cannot_be_published_is_logged_and_changes_nothing(
    environment: Any, sns: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sns.publish.side_effect = client_error("AuthorizationErrorException", "Publish")

    factory.alert_failure(teller(environment), failed())

    assert "(AuthorizationErrorException)" in caplog.text
    assert "Reason: no" in caplog.text


def test_a_topic_out_of_reach_is_tried_once_in_a_parse(
    environment: Any, sns: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(factory, "UNREACHABLE", set())
    sns.publish.side_effect = ConnectTimeoutError(endpoint_url="https://sns")

    factory.alert_failure(teller(environment), failed("first"))
    factory.alert_failure(teller(environment), failed("second"))

    assert sns.publish.call_count == 1
    assert "Reason: second" in caplog.text


def test_publishing_takes_less_than_airflow_gives_a_parse(environment: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = Mock()
    monkeypatch.setattr("airflow.providers.amazon.aws.hooks.base_aws.AwsBaseHook", hook)

    factory.alert_failure(teller(environment), failed())

    config = hook.call_args[1]["config"]
    assert (1 + config.retries["max_attempts"]) * (config.connect_timeout + config.read_timeout) < 20


def test_a_run_that_timed_out_is_told_and_one_whose_task_failed_is_not_told_again(environment: Any, sns: Any) -> None:
    run = Mock(dag_id="cwr-big_dag_un", run_id="manual")
    context = {"dag_run": run, "dag": Mock(dagrun_timeout=timedelta(hours=1))}

    factory.alert_timeout(teller(environment), {**context, "reason": "task_failure"})
    assert not sns.publish.called
    factory.alert_timeout(teller(environment), {**context, "reason": "timed_out"})

    (call,) = sns.publish.call_args_list
    assert call[1]["Subject"] == "cwr-big_dag_un timed out"
    assert "Reason: it took longer than 1:00:00" in call[1]["Message"]


def test_an_sla_miss_is_told_unless_the_task_is_gone(environment: Any, sns: Any, dag: Any) -> None:
    slas = [Mock(dag_id="cwr-big_dag_un", task_id=task_id) for task_id in ("load", "gone")]

    factory.alert_sla_miss(teller(environment), dag, "", "", slas, [])

    (call,) = sns.publish.call_args_list
    assert call[1]["Subject"] == "cwr-big_dag_un load missed its SLA"
