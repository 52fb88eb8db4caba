"""The emulated ECS, through boto3 over HTTP: the rules of the real API, and what a test may do to it."""

import json
import threading
import time
from contextlib import suppress
from typing import Any, Callable, Dict, Iterator, List, Optional, Union

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from tests.fake_ecs import ACCOUNT, FakeEcs

FOREVER = {"seconds": {"*": 3600}}
FARGATE = {"cluster": "etl", "launchType": "FARGATE"}


@pytest.fixture
def ecs() -> Iterator[FakeEcs]:
    definitions = {"loader": ("main", "side"), "cleaner": ("cleaner",)}
    with FakeEcs(("etl", "other"), definitions, **FOREVER) as ecs:
        yield ecs


@pytest.fixture
def client(ecs: FakeEcs) -> Any:
    return ecs.client("ecs")


def run(client: Any, family: str = "loader", token: str = "", **more: Any) -> str:
    """Start a task; the image's botocore does not know the clientToken."""

    def add_token(params: Dict[str, Any], **_: Any) -> None:
        params["body"] = json.dumps({**json.loads(params["body"]), "clientToken": token}).encode()

    if token:
        client.meta.events.register_first("before-call.ecs.RunTask", add_token, "token")
    try:
        response = client.run_task(**{**FARGATE, "taskDefinition": family, **more})
    finally:
        client.meta.events.unregister("before-call.ecs.RunTask", unique_id="token")
    (task,) = response["tasks"]
    return str(task["taskArn"])


def describe(client: Any, arn: str) -> Any:
    (task,) = client.describe_tasks(cluster="etl", tasks=[arn])["tasks"]
    return task


def listed(client: Any, **filters: Any) -> List[str]:
    arns: List[str] = client.list_tasks(cluster="etl", **filters)["taskArns"]
    return arns


def refusal(call: Callable[..., Any], *arguments: Any, **parameters: Any) -> Dict[str, Any]:
    """Return the error that answers a call, as botocore has read it."""
    with pytest.raises(ClientError) as refused:
        call(*arguments, **parameters)
    response: Dict[str, Any] = refused.value.response
    return {"status": response["ResponseMetadata"]["HTTPStatusCode"], **response["Error"]}


# ------------------------------------------------------------------------------------------------------------- RunTask


@pytest.mark.parametrize(
    ("parameters", "code", "message"),
    [
        ({"cluster": "nowhere"}, "ClusterNotFoundException", "Cluster not found."),
        ({"taskDefinition": "nothing"}, "ClientException", "Unable to describe task definition."),
        ({"taskDefinition": "loader:2"}, "ClientException", "Unable to describe task definition."),
        ({"startedBy": "a" * 129}, "InvalidParameterException", "128"),
        ({"startedBy": "a.b"}, "InvalidParameterException", "hyphens"),
        ({"count": 11}, "InvalidParameterException", "Count"),
        ({"capacityProviderStrategy": [{"capacityProvider": "big"}]}, "InvalidParameterException", "both"),
        ({"overrides": {"containerOverrides": [{"name": "x"}]}}, "InvalidParameterException", "container named x"),
        ({"overrides": {"taskRoleArn": "a" * 8193}}, "InvalidParameterException", "8192"),
        ({"token": "a" * 65}, "InvalidParameterException", "clientToken"),
    ],
)
def test_run_task_refuses_what_ecs_refuses(client: Any, parameters: Dict[str, Any], code: str, message: str) -> None:
    call = {"family": parameters.pop("taskDefinition", "loader"), **parameters}
    error = refusal(run, client, **call)
    assert (error["status"], error["Code"]) == (400, code)
    assert message in error["Message"]


def test_parameters_are_checked_against_the_model_of_the_api(ecs: FakeEcs, client: Any) -> None:
    def spoil(params: Dict[str, Any], **_: Any) -> None:
        params["body"] = b'{"taskDefinition": 3, "clustre": "etl"}'

    client.meta.events.register("before-call.ecs.RunTask", spoil)
    message = refusal(run, client)["Message"]
    assert "clustre" in message
    assert "taskDefinition, value: 3" in message


def test_a_client_token_starts_one_task(ecs: FakeEcs, client: Any) -> None:
    first = run(client, token="once")
    assert run(client, token="once") == first
    assert run(client, token="twice") != first
    assert run(client, token="once", cluster="other") != first
    assert [task["clientToken"] for task in ecs.tasks()] == ["once", "twice", "once"]


def test_a_client_token_with_other_parameters_is_a_conflict_that_names_the_task(ecs: FakeEcs, client: Any) -> None:
    bodies: List[Any] = []
    client.meta.events.register(
        "response-received.ecs.RunTask", lambda response_dict, **_: bodies.append(response_dict)
    )
    arn = run(client, token="once")
    error = refusal(run, client, token="once", startedBy="somebody")
    assert (error["status"], error["Code"]) == (400, "ConflictException")
    assert json.loads(bodies[-1]["body"])["resourceIds"] == [arn]
    assert len(ecs.tasks()) == 1


# ------------------------------------------------------------------------------------------------------- DescribeTasks


def test_unknown_tasks_are_missing(client: Any) -> None:
    arn, unknown = run(client), f"{ACCOUNT}:task/etl/0123"
    answer = client.describe_tasks(cluster="etl", tasks=[arn, unknown])
    assert [task["taskArn"] for task in answer["tasks"]] == [arn]
    assert answer["failures"] == [{"arn": unknown, "reason": "MISSING"}]


def test_describe_tasks_has_limits(client: Any) -> None:
    arn = run(client, cluster="other")
    for tasks, message in (([], "empty"), (["0"] * 101, "100"), ([arn], "for cluster other. Your cluster is etl")):
        error = refusal(client.describe_tasks, cluster="etl", tasks=tasks)
        assert error["Code"] == "InvalidParameterException"
        assert message in error["Message"]


def test_tags_are_given_on_request(client: Any) -> None:
    tags = [{"key": "team", "value": "data"}]
    arn = run(client, tags=tags)
    assert describe(client, arn)["tags"] == []
    assert client.describe_tasks(cluster="etl", tasks=[arn], include=["TAGS"])["tasks"][0]["tags"] == tags


# ----------------------------------------------------------------------------------------------------------- ListTasks


@pytest.mark.parametrize(
    "filters", [{"desiredStatus": "STOPPED"}, {"desiredStatus": "RUNNING"}, {"family": "loader"}, {"launchType": "EC2"}]
)
def test_started_by_is_the_only_filter(client: Any, filters: Dict[str, str]) -> None:
    error = refusal(client.list_tasks, cluster="etl", startedBy="me", **filters)
    assert error["Code"] == "InvalidParameterException"
    assert next(iter(filters)) in error["Message"]


def test_tasks_are_listed_by_what_was_asked_for(ecs: FakeEcs, client: Any) -> None:
    running, stopped, other = run(client, startedBy="me"), run(client, startedBy="me"), run(client, "cleaner")
    run(client, cluster="other", startedBy="me")
    ecs.finish(stopped)

    assert listed(client, startedBy="me") == [running]
    assert set(listed(client)) == {running, other}
    assert listed(client, family="loader") == [running]
    assert listed(client, family="loader", desiredStatus="STOPPED") == [stopped]


def test_a_crowd_is_listed_in_pages(ecs: FakeEcs, client: Any) -> None:
    ecs.set(crowd={"loader": ["etl", 250]})
    filters = {"cluster": "etl", "family": "loader", "desiredStatus": "STOPPED"}
    pages = [page["taskArns"] for page in client.get_paginator("list_tasks").paginate(**filters)]
    assert [len(page) for page in pages] == [100, 100, 50]
    assert len({arn for page in pages for arn in page}) == 250
    assert len(listed(client, family="loader", desiredStatus="STOPPED", maxResults=7)) == 7
    assert describe(client, pages[0][0])["containers"][0]["exitCode"] == 0


def test_a_list_can_lag_and_so_can_a_description(ecs: FakeEcs, client: Any) -> None:
    ecs.set(lag={"*": 3600}, describe_lag={"*": 3600})
    arn = run(client)
    assert listed(client) == []
    assert client.describe_tasks(cluster="etl", tasks=[arn])["failures"][0]["reason"] == "MISSING"

    ecs.set(lag={"*": 0}, describe_lag={"*": 0})
    assert listed(client) == [arn]
    time.sleep(1.01)
    ecs.set(lag={"*": 1})  # a busy machine may take long from here to the last line
    ecs.finish(arn)
    assert listed(client) == [arn]  # it was stopped a moment ago


# ------------------------------------------------------------------------------------------------------------ StopTask


def test_a_task_stops_a_while_after_it_was_asked_to(ecs: FakeEcs, client: Any) -> None:
    ecs.set(stop_seconds={"*": 3600}, stop_exit_codes={"loader": 143})
    arn = run(client)
    describe(client, arn)
    answer = client.stop_task(cluster="etl", task=arn, reason="enough")["task"]
    assert (answer["desiredStatus"], answer["lastStatus"]) == ("STOPPED", "RUNNING")
    client.stop_task(cluster="etl", task=arn, reason="once more")
    assert listed(client, desiredStatus="STOPPED") == [arn]
    assert describe(client, arn)["lastStatus"] == "RUNNING"

    ecs.set(stop_seconds={"*": 0})

    task = describe(client, arn)
    assert (task["lastStatus"], task["stopCode"], task["stoppedReason"]) == ("STOPPED", "UserInitiated", "enough")
    assert [container["exitCode"] for container in task["containers"]] == [143, 143]


def test_an_unknown_task_cannot_be_stopped(client: Any) -> None:
    error = refusal(client.stop_task, cluster="etl", task="0123")
    assert (error["Code"], error["Message"]) == ("InvalidParameterException", "The referenced task was not found.")


# --------------------------------------------------------------------------------------------------------- their lives


def test_a_task_goes_through_its_states(ecs: FakeEcs, client: Any) -> None:
    ecs.set(starting={"*": 3600}, ending={"*": 3600})
    arn = run(client)
    task = describe(client, arn)
    assert (task["lastStatus"], task["containers"][0]["lastStatus"]) == ("PROVISIONING", "PENDING")

    ecs.set(starting={"*": 0})
    assert describe(client, arn)["lastStatus"] == "RUNNING"

    ecs.finish(arn)
    task = describe(client, arn)
    assert (task["lastStatus"], task["containers"][0]["exitCode"]) == ("DEPROVISIONING", 0)

    ecs.set(ending={"*": 0})
    task = describe(client, arn)
    assert (task["lastStatus"], task["stopCode"]) == ("STOPPED", "EssentialContainerExited")
    assert task["createdAt"] <= task["startedAt"] <= task["stoppingAt"] <= task["stoppedAt"]


def test_each_container_has_an_exit_code_and_a_reason(ecs: FakeEcs, client: Any) -> None:
    memory = "OutOfMemoryError: Container killed due to memory usage"
    ecs.set(ends={"loader": [{"main": [137, memory], "side": 143}, 3]}, seconds={"loader": 0})
    ends = [[(c["exitCode"], c.get("reason")) for c in describe(client, run(client))["containers"]] for _ in range(3)]
    assert ends == [[(137, memory), (143, None)], [(3, None), (3, None)], [(0, None), (0, None)]]


@pytest.mark.parametrize(
    ("reason", "container"),
    [
        ("CannotPullContainerError: no such image", "CannotPullContainerError: no such image"),
        ("Capacity is unavailable at this time", None),
    ],
)
def test_a_task_may_fail_to_start(ecs: FakeEcs, client: Any, reason: str, container: Optional[str]) -> None:
    ecs.set(ends={"loader": reason})
    task = describe(client, run(client))
    assert (task["lastStatus"], task["stopCode"], task["stoppedReason"]) == ("STOPPED", "TaskFailedToStart", reason)
    assert "startedAt" not in task
    assert [(c.get("exitCode"), c.get("reason")) for c in task["containers"]] == [(None, container)] * 2


def test_ecs_forgets_the_tasks_of_a_family(ecs: FakeEcs, client: Any) -> None:
    arn, other = run(client, token="once"), run(client, "cleaner")
    ecs.set(forget=["loader"])
    assert client.describe_tasks(cluster="etl", tasks=[arn])["failures"][0]["reason"] == "MISSING"
    assert listed(client) == [other]
    assert refusal(client.stop_task, cluster="etl", task=arn)["Message"] == "The referenced task was not found."
    assert [task["arn"] for task in ecs.tasks()] == [arn, other]


# -------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("kind", "status", "code", "message"),
    [
        (503, 503, "503", "Service Unavailable"),
        (500, 500, "500", "Internal Server Error"),
        ("ThrottlingException: Rate exceeded", 400, "ThrottlingException", "Rate exceeded"),
        ("ServerException: Service Unavailable. Please try again later.", 500, "ServerException", "Please try again"),
    ],
)
def test_a_request_is_answered_with_an_error(
    ecs: FakeEcs, client: Any, kind: Union[int, str], status: int, code: str, message: str
) -> None:
    ecs.faults.add("RunTask", kind, times=1)
    error = refusal(run, client)
    assert (error["status"], error["Code"]) == (status, code)
    assert message in error["Message"]
    assert ecs.tasks() == []
    run(client)


@pytest.mark.parametrize(("kind", "tasks"), [("drop", 0), ("lost", 1)])
def test_a_connection_ends_before_or_after_its_request_is_handled(
    ecs: FakeEcs, client: Any, kind: str, tasks: int
) -> None:
    ecs.faults.add("*", kind, times=1)
    with pytest.raises(ConnectionClosedError):
        run(client)
    assert len(ecs.tasks()) == tasks


def test_run_task_reports_a_failure(ecs: FakeEcs, client: Any) -> None:
    ecs.faults.add("RunTask", "failure: RESOURCE:MEMORY")
    answer = client.run_task(taskDefinition="loader", **FARGATE)
    assert (answer["tasks"], answer["failures"][0]["reason"]) == ([], "RESOURCE:MEMORY")


@pytest.mark.parametrize(("kind", "tasks"), [("slow: 0.5", 1), ("held: 0.5", 0)])
def test_an_answer_is_late_or_the_request_is(ecs: FakeEcs, client: Any, kind: str, tasks: int) -> None:
    ecs.faults.add("RunTask", kind)
    thread = threading.Thread(target=run, args=(client,))
    thread.start()
    while not ecs.requests:
        time.sleep(0.01)
    time.sleep(0.1)
    assert (len(ecs.tasks()), thread.is_alive()) == (tasks, True)
    thread.join()
    assert len(ecs.tasks()) == 1


def test_faults_are_met_in_turn_after_some_requests_and_for_some_time(ecs: FakeEcs, client: Any) -> None:
    ecs.faults.add("ListTasks", "failing", after=1, times=1)
    ecs.faults.add("ListTasks", "lasting", after=1, seconds=0.2)
    listed(client)
    assert refusal(listed, client)["Code"] == "failing"
    time.sleep(0.2)  # the time of a fault begins with the first request that meets it
    assert refusal(listed, client)["Code"] == "lasting"
    while ecs.requests[-1]["fault"]:
        assert ecs.operations().count("ListTasks") < 1000
        with suppress(ClientError):
            listed(client)
    assert [request["fault"] for request in ecs.requests][:3] == [None, "failing", "lasting"]
    assert ecs.requests[-1]["time"] - ecs.requests[2]["time"] >= 0.2


def test_a_fault_is_for_the_tasks_of_a_family(ecs: FakeEcs, client: Any) -> None:
    loader, cleaner = run(client, startedBy="loading"), run(client, "cleaner")
    ecs.faults.add("*", "failing", family="loader")
    calls = [
        lambda: run(client),
        lambda: describe(client, loader),
        lambda: client.stop_task(cluster="etl", task=loader),
        lambda: listed(client, family="loader"),
        lambda: listed(client, startedBy="loading"),
        lambda: events(ecs, loader),
    ]
    assert [refusal(call)["Code"] for call in calls] == ["failing"] * len(calls)
    describe(client, cleaner)
    assert events(ecs, cleaner, "cleaner")


def test_faults_can_be_removed(ecs: FakeEcs, client: Any) -> None:
    ecs.faults.add("*", "failing")
    ecs.faults.clear()
    run(client)


@pytest.mark.parametrize("fault", [("ListTasks", "failure: AGENT"), ("RunTask", 200000), ("RunTask", "slow: long")])
def test_a_fault_that_makes_no_sense_is_refused(ecs: FakeEcs, fault: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        ecs.faults.add(*fault)


# ----------------------------------------------------------------------------------------------------------------- log


def events(ecs: FakeEcs, arn: str, container: str = "main", **more: Any) -> List[str]:
    stream = f"etl/{container}/{arn.split('/')[-1]}"
    options = {"logGroupName": "/ecs/etl", "logStreamName": stream, "startFromHead": True, **more}
    return [event["message"] for event in ecs.client("logs").get_log_events(**options)["events"]]


def test_the_log_is_read_from_token_to_token(ecs: FakeEcs, client: Any) -> None:
    ecs.logs.limit = 2
    logs, arn = ecs.client("logs"), run(client)
    describe(client, arn)  # it runs, and has written its command
    ecs.log(arn, "second", "third")
    stream = {"logGroupName": "/ecs/etl", "logStreamName": f"etl/main/{arn.split('/')[-1]}"}

    first = logs.get_log_events(**stream, startFromHead=True)
    second = logs.get_log_events(**stream, nextToken=first["nextForwardToken"])
    end = logs.get_log_events(**stream, nextToken=second["nextForwardToken"])
    assert [event["message"] for event in first["events"]] == ["emulated: main would run its own command", "second"]
    assert [event["message"] for event in second["events"]] == ["third"]
    assert (end["events"], end["nextForwardToken"]) == ([], second["nextForwardToken"])
    ecs.log(arn, "fourth")
    more = logs.get_log_events(**stream, nextToken=end["nextForwardToken"])
    assert [event["message"] for event in more["events"]] == ["fourth"]
    last = logs.get_log_events(**stream)
    assert [event["message"] for event in last["events"]] == ["third", "fourth"]
    before = logs.get_log_events(**stream, nextToken=last["nextBackwardToken"])
    assert [event["message"] for event in before["events"]][-1] == "second"


def test_a_stream_exists_as_soon_as_the_container_has_written(ecs: FakeEcs, client: Any) -> None:
    ecs.set(starting={"*": 3600})
    error = refusal(events, ecs, run(client))
    assert error["Code"] == "ResourceNotFoundException"
    assert error["Message"] == "The specified log stream does not exist."


def test_the_lines_of_a_family_end_its_log(ecs: FakeEcs, client: Any) -> None:
    lines = ["x" * 300_000, "a \0 and half a \ud83d", "3 loaded"]
    ecs.set(log_lines={"loader": lines}, seconds={"*": 0})
    arn = run(client)
    assert events(ecs, arn)[1:] == lines
    assert events(ecs, arn, "side")[-1].startswith("emulated: exited with code 0")


def test_cloudwatch_has_the_last_lines_a_while_after_the_container_has_ended(ecs: FakeEcs, client: Any) -> None:
    arn = run(client)
    assert len(events(ecs, arn)) == 1
    ecs.set(log_lag={"*": 0.2})
    ecs.finish(arn)
    assert describe(client, arn)["lastStatus"] == "STOPPED"
    assert len(events(ecs, arn)) == 1
    time.sleep(0.2)
    assert len(events(ecs, arn)) == 2


def test_an_answer_has_a_mebibyte_of_lines_at_most(ecs: FakeEcs, client: Any) -> None:
    arn = run(client)
    describe(client, arn)
    ecs.log(arn, *["x" * 300_000] * 5)
    assert len(events(ecs, arn)) == 4


def test_requests_are_noted(ecs: FakeEcs, client: Any) -> None:
    arn = run(client, token="once")
    describe(client, arn)
    assert ecs.operations() == ["RunTask", "DescribeTasks"]
    assert ecs.requests[0]["parameters"]["clientToken"] == "once"
    assert ecs.requests[1]["parameters"]["tasks"] == [arn]
