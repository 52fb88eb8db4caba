"""The emulated AWS, through the client that Airflow uses."""

import time
import urllib.request
from typing import Any, Dict, Iterator

import pytest
from botocore.exceptions import ConnectionClosedError

from tests.e2e.agent import DIRECT, Agent, AgentRefuses
from tests.e2e.emulated import REGION, Emulated

INVENTORY = {
    "region": REGION,
    "clusters": ["etl"],
    "log_groups": ["/ecs/etl"],
    "task_definitions": {
        "fetch": {"containers": ["fetch"], "log_group": "/ecs/etl", "log_prefix": "logs"},
        "load:3": {"containers": ["main", "side"], "log_group": "/ecs/etl", "log_prefix": "logs"},
        "silent": {"containers": ["silent"]},
    },
    "buckets": ["deliveries"],
    "topics": ["arn:aws:sns:eu-west-1:000000000000:alerts"],
}
FARGATE = {"launchType": "FARGATE"}


@pytest.fixture(scope="module")
def emulated() -> Iterator[Emulated]:
    emulated = Emulated(ECS_LOCAL_FAIL=" load:3 , other", ECS_LOCAL_SECONDS="0.2")
    emulated.seed(INVENTORY)
    yield emulated
    emulated.end()


@pytest.fixture
def ecs(emulated: Emulated) -> Any:
    return emulated.client("ecs")


def run(ecs: Any, task_definition: str, **options: Any) -> str:
    response = ecs.run_task(cluster="etl", taskDefinition=task_definition, **{**FARGATE, **options})
    arn: str = response["tasks"][0]["taskArn"]
    return arn


def describe(ecs: Any, arn: str) -> Dict[str, Any]:
    task: Dict[str, Any] = ecs.describe_tasks(cluster="etl", tasks=[arn])["tasks"][0]
    return task


def wait(ecs: Any, arn: str, status: str) -> Dict[str, Any]:
    """Describe the task until it has the status; return it."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        task = describe(ecs, arn)
        if task["lastStatus"] == status:
            return task
        time.sleep(0.02)
    raise AssertionError(f"still {task['lastStatus']}, not {status}")


def log(emulated: Emulated, container: str, arn: str) -> str:
    stream = f"logs/{container}/{arn.split('/')[-1]}"
    events = emulated.client("logs").get_log_events(logGroupName="/ecs/etl", logStreamName=stream)["events"]
    return "\n".join(event["message"] for event in events)


def test_a_task_runs_and_stops_with_exit_code_0(ecs: Any) -> None:
    arn = run(ecs, "fetch")
    assert wait(ecs, arn, "PROVISIONING")["containers"][0]["lastStatus"] == "PENDING"
    assert wait(ecs, arn, "RUNNING")["containers"][0]["lastStatus"] == "RUNNING"
    stopped = wait(ecs, arn, "STOPPED")
    assert stopped["stopCode"] == "EssentialContainerExited"
    assert [(c["lastStatus"], c["exitCode"]) for c in stopped["containers"]] == [("STOPPED", 0)]


def test_the_log_shows_the_command_and_its_overrides(emulated: Emulated, ecs: Any) -> None:
    override = {"name": "fetch", "command": ["get", "two words"], "environment": [{"name": "DAY", "value": "1"}]}
    arn = run(ecs, "fetch", overrides={"containerOverrides": [{**override, "cpu": 256}]})
    wait(ecs, arn, "STOPPED")
    assert log(emulated, "fetch", arn) == (
        "emulated: fetch would run get 'two words'\n"
        "emulated: with DAY=1\n"
        "emulated: with cpu 256\n"
        "emulated: exited with code 0: Essential container in task exited"
    )


def test_ecs_local_fail_makes_a_family_fail(emulated: Emulated, ecs: Any) -> None:
    arn = run(ecs, "load:3")
    assert [c["exitCode"] for c in wait(ecs, arn, "STOPPED")["containers"]] == [3, 3]
    assert "exited with code 3" in log(emulated, "side", arn)


def test_a_task_of_a_capacity_provider_runs(ecs: Any) -> None:
    strategy = [{"capacityProvider": "big", "weight": 1}]
    response = ecs.run_task(cluster="etl", taskDefinition="silent", capacityProviderStrategy=strategy)
    wait(ecs, response["tasks"][0]["taskArn"], "STOPPED")


def test_a_stopped_task_stays_stopped() -> None:
    emulated = Emulated(ECS_LOCAL_SECONDS="600")
    emulated.seed(INVENTORY)
    ecs = emulated.client("ecs")
    arn = run(ecs, "fetch")
    wait(ecs, arn, "RUNNING")
    answer = ecs.stop_task(cluster="etl", task=arn, reason="enough")["task"]
    assert (answer["lastStatus"], answer["desiredStatus"]) == ("RUNNING", "STOPPED")
    wait(ecs, arn, "STOPPED")
    ecs.stop_task(cluster="etl", task=arn, reason="once more")
    time.sleep(0.5)
    task = describe(ecs, arn)
    assert (task["lastStatus"], task["stopCode"], task["stoppedReason"]) == ("STOPPED", "UserInitiated", "enough")
    assert [(c["lastStatus"], c["exitCode"]) for c in task["containers"]] == [("STOPPED", 137)]
    assert emulated.end() == 0


def test_an_unknown_cluster_fails_as_in_aws(ecs: Any) -> None:
    with pytest.raises(ecs.exceptions.ClusterNotFoundException):
        ecs.run_task(cluster="other", taskDefinition="fetch", **FARGATE)


@pytest.mark.parametrize("task_definition", ["other", "fetch:2"])
def test_an_unknown_task_definition_fails_as_in_aws(ecs: Any, task_definition: str) -> None:
    with pytest.raises(ecs.exceptions.ClientException, match="task definition"):
        run(ecs, task_definition)


def test_resources_can_be_added_later(emulated: Emulated, ecs: Any) -> None:
    added = {"late": {"containers": ["late"]}, "fetch": INVENTORY["task_definitions"]["fetch"]}  # type: ignore[index]
    emulated.seed({**INVENTORY, "clusters": ["etl", "second"], "task_definitions": added})
    wait(ecs, run(ecs, "late"), "STOPPED")
    assert ecs.describe_clusters(clusters=["second"])["clusters"][0]["status"] == "ACTIVE"
    assert ecs.describe_task_definition(taskDefinition="fetch")["taskDefinition"]["revision"] == 1


def test_buckets_and_topics_exist(emulated: Emulated) -> None:
    emulated.client("s3").head_bucket(Bucket="deliveries")
    emulated.client("sns").publish(TopicArn=INVENTORY["topics"][0], Message="text")  # type: ignore[index]


def test_a_file_can_be_delivered_by_an_http_put(emulated: Emulated) -> None:
    address = f"{emulated.address}/deliveries/un/catalogue.xml"
    DIRECT.open(urllib.request.Request(address, b"<catalogue/>", method="PUT")).close()  # as `curl -T` does

    objects = emulated.client("s3").list_objects_v2(Bucket="deliveries")["Contents"]
    assert [item["Key"] for item in objects] == ["un/catalogue.xml"]


def test_the_ends_of_the_next_tasks_of_a_family_can_be_set(emulated: Emulated, ecs: Any) -> None:
    agent = Agent(emulated.address)
    agent.set(ends={"fetch": ["ResourceInitializationError: no address", 7]})

    not_started = wait(ecs, run(ecs, "fetch"), "STOPPED")
    assert not_started["stopCode"] == "TaskFailedToStart"
    assert "exitCode" not in not_started["containers"][0]
    assert wait(ecs, run(ecs, "fetch"), "STOPPED")["containers"][0]["exitCode"] == 7
    assert wait(ecs, run(ecs, "fetch"), "STOPPED")["containers"][0]["exitCode"] == 0


def test_a_container_may_write_what_is_hard_to_read(emulated: Emulated, ecs: Any) -> None:
    lines = ["x" * 300_000, "a \0 and half a \ud83d", "3 loaded"]
    Agent(emulated.address).set(log_lines={"late": lines})
    fetch = INVENTORY["task_definitions"]["fetch"]  # type: ignore[index]
    emulated.seed({**INVENTORY, "task_definitions": {"late": fetch}})
    arn = run(ecs, "late")
    wait(ecs, arn, "STOPPED")
    assert log(emulated, "fetch", arn).split("\n")[1:] == lines


def test_the_duration_of_running_tasks_can_be_set(emulated: Emulated, ecs: Any) -> None:
    agent = Agent(emulated.address)
    agent.set(seconds={"silent": 600})
    arn = run(ecs, "silent")
    wait(ecs, arn, "RUNNING")
    time.sleep(0.5)
    assert describe(ecs, arn)["lastStatus"] == "RUNNING"

    agent.set(seconds={"silent": 0})

    wait(ecs, arn, "STOPPED")
    (task,) = (task for task in agent.tasks("silent") if task["arn"] == arn)
    assert (task["status"], task["stop_code"]) == ("STOPPED", "EssentialContainerExited")


def test_the_requests_and_the_faults_that_they_met_are_noted(emulated: Emulated, ecs: Any) -> None:
    agent = Agent(emulated.address)
    agent.add_fault("RunTask", 503, family="fetch", times=1)
    with pytest.raises(ecs.exceptions.ClientError, match="503"):
        run(ecs, "fetch")
    arn = run(ecs, "fetch", startedBy="me")

    failed, passed = agent.requests("RunTask")[-2:]
    assert (failed["fault"], passed["fault"], passed["parameters"]["startedBy"]) == (503, None, "me")
    (task,) = (task for task in agent.tasks("fetch") if task["arn"] == arn)
    assert (task["startedBy"], task["clientToken"]) == ("me", "")


def test_all_of_aws_can_be_made_unavailable(emulated: Emulated, ecs: Any) -> None:
    agent = Agent(emulated.address)
    agent.add_fault("*", "drop")
    with pytest.raises(ConnectionClosedError):
        ecs.list_clusters()

    agent.clear_faults()

    assert ecs.list_clusters()["clusterArns"]


@pytest.mark.parametrize("settings", [{"second": {}}, {"seconds": {"fetch": "long"}}, {"ends": 3}])
def test_an_invalid_setting_is_refused(emulated: Emulated, settings: Dict[str, Any]) -> None:
    with pytest.raises(AgentRefuses):
        Agent(emulated.address).set(**settings)
