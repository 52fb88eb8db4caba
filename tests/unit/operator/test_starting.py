"""Starting an ECS task: the request to RunTask, and what becomes of it when AWS is busy, away or refuses it."""

import json
import re
from threading import Timer
from typing import Any, Dict, List

import pytest
from airflow.exceptions import AirflowException, AirflowFailException
from orchestrator.ecs import ATTEMPTS
from orchestrator.generations import IS_3

from tests.ecs import LONG, Runs
from tests.fake_ecs import FakeEcs

OVERRIDES = {"containerOverrides": [{"name": "loader", "command": ["load", "False", "2022-01-01"]}]}


def sent(ecs: FakeEcs) -> List[Dict[str, Any]]:
    """Return the parameters of the RunTask requests."""
    return [request["parameters"] for request in ecs.requests if request["operation"] == "RunTask"]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, {}),
        ({"launch_type": "EXTERNAL"}, {"launchType": "EXTERNAL"}),
        ({"launch_type": "FARGATE"}, {"launchType": "FARGATE"}),
        ({"platform_version": "1.4.0"}, {"platformVersion": "1.4.0"}),
        ({"tags": {"team": "etl"}}, {"tags": [{"key": "team", "value": "etl"}]}),
        ({"tags": {}}, {"tags": []}),
        (
            {"launch_type": "FARGATE", "capacity_provider_strategy": [{"capacityProvider": "FARGATE_SPOT"}]},
            {"capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT"}]},
        ),
        (
            {"network_configuration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}},
            {"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}},
        ),
    ],
)
def test_the_request_has_the_arguments_of_the_operator(
    attributes: Dict[str, Any], expected: Dict[str, Any], runs: Runs, ecs: FakeEcs
) -> None:
    runs.attempt(runs.create(**attributes))

    (request,) = sent(ecs)
    names = {key: request.pop(key) for key in ("startedBy", "clientToken")}
    assert request == {"cluster": "etl", "taskDefinition": "loader", "overrides": OVERRIDES, **expected}
    assert names["clientToken"] == f"{names['startedBy']}-1"


@pytest.mark.parametrize("owner", ["e", "etl", "data-provisioning", "x" * 36])
def test_started_by_names_the_owner_within_the_limits_of_ecs(owner: str, runs: Runs, ecs: FakeEcs) -> None:
    runs.attempt(runs.create(owner=owner))

    (task,) = ecs.tasks()
    assert re.fullmatch(f"{owner[:15]}-[0-9a-f]{{20}}", task["startedBy"])
    assert len(task["startedBy"]) <= 36  # the image's botocore allows no more
    assert len(task["clientToken"]) <= 64


def test_a_task_id_of_250_characters_is_no_matter(runs: Runs, ecs: FakeEcs) -> None:
    instance = runs.create()
    instance.task_id = instance.task.task_id = "t" * 250

    runs.lose(instance)
    runs.attempt(instance)

    assert len(ecs.tasks()) == 1


def another_environment(runs: Runs, monkeypatch: pytest.MonkeyPatch, **_: Any) -> Any:
    monkeypatch.setenv("AIRFLOW__WEBSERVER__BASE_URL", "https://other.example.com")


def another_identity(runs: Runs, monkeypatch: pytest.MonkeyPatch, **_: Any) -> Any:
    monkeypatch.setenv("AIRFLOW__ETL__IDENTITY", "other")


def another_dag(instance: Any, **_: Any) -> Any:
    instance.dag_id = "other"


def another_task(instance: Any, **_: Any) -> Any:
    instance.task_id = "other"


def another_run(context: Any, **_: Any) -> Any:
    context["dag_run"].run_id += "x"


def another_creation(context: Any, **_: Any) -> Any:
    run = context["dag_run"]
    if IS_3:
        run.start_date = run.start_date.add(seconds=1)
    else:
        run.id += 1


def another_try(runs: Runs, instance: Any, **_: Any) -> Any:
    if IS_3:
        instance.try_number += 1
    else:
        runs.change(instance, _try_number=instance._try_number + 1)


@pytest.mark.parametrize(
    "change",
    [another_environment, another_identity, another_dag, another_task, another_run, another_creation, another_try],
)
def test_the_hash_differs_by_all_that_tells_a_try_from_others(
    change: Any, runs: Runs, ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = runs.begin(runs.create())
    again, changed = begun.twin(), begun.twin()
    begun.execute()
    again.execute()
    change(runs=runs, monkeypatch=monkeypatch, instance=begun.context["ti"], context=begun.context)
    ecs.set(forget=["loader"])
    changed.execute()

    names = [request["startedBy"] for request in sent(ecs)]
    tokens = [request["clientToken"] for request in sent(ecs)]
    assert names[0] == names[1] != names[2]
    assert tokens[0] == tokens[1] != tokens[2]


@pytest.mark.parametrize(
    "kind",
    [500, 503, "drop", "lost", "ServerException: Service Unavailable", f"InternalFailure: {'x' * 100_000}"],
    ids=lambda kind: str(kind)[:20],
)
def test_what_got_no_answer_is_repeated_byte_for_byte_and_starts_one_ecs_task(
    kind: Any, runs: Runs, ecs: FakeEcs
) -> None:
    ecs.faults.add("RunTask", kind, times=3)

    runs.attempt(runs.create())

    requests = [json.dumps(request) for request in sent(ecs)]
    assert len(requests) == 4
    assert len(set(requests)) == 1
    assert len(ecs.tasks()) == 1


@pytest.mark.parametrize("kind", ["ThrottlingException: Rate exceeded", 503])
def test_an_error_after_a_lost_answer_does_not_say_that_nothing_was_started(
    kind: Any, runs: Runs, ecs: FakeEcs
) -> None:
    ecs.faults.add("RunTask", "lost", times=1)
    ecs.faults.add("RunTask", kind, times=1)

    runs.attempt(runs.create())

    assert len({request["clientToken"] for request in sent(ecs)}) == 1
    assert len(ecs.tasks()) == 1


CAPACITY = "Capacity is unavailable at this time. Please try again later or in a different availability zone"


@pytest.mark.parametrize(
    "kind",
    [
        "failure: RESOURCE:MEMORY",
        "failure: RESOURCE:CPU",
        "failure: AGENT",
        f"failure: {CAPACITY}",
        "ThrottlingException: Rate exceeded",
        "ClientException: You've reached the limit on the number of vCPUs you can run concurrently",
        "InvalidParameterException: No Container Instances were found in your cluster.",
    ],
)
def test_an_answer_that_may_change_is_asked_for_again_with_another_token(
    kind: str, runs: Runs, ecs: FakeEcs, caplog: pytest.LogCaptureFixture
) -> None:
    ecs.faults.add("RunTask", kind, times=2)

    runs.attempt(runs.create())

    assert [request["clientToken"].split("-")[-1] for request in sent(ecs)] == ["1", "2", "3"]
    assert len(ecs.tasks()) == 1
    warnings = [
        record.getMessage()
        for record in caplog.records
        if record.levelname == "WARNING" and "Attempt" in record.getMessage()
    ]
    assert [message.rpartition("Attempt ")[2][:1] for message in warnings] == ["2", "3"]
    assert all(kind.partition(": ")[2] in message for message in warnings)


@pytest.mark.parametrize("kind", [503, "drop", "ThrottlingException: Rate exceeded", "failure: RESOURCE:MEMORY"])
def test_the_number_of_attempts_is_limited_and_the_next_try_goes_on(kind: Any, runs: Runs, ecs: FakeEcs) -> None:
    ecs.faults.add("RunTask", kind)

    with pytest.raises(AirflowException) as caught:
        runs.attempt(runs.create())

    requests = sent(ecs)
    assert len(requests) == ATTEMPTS or (len(requests) > ATTEMPTS and kind in (503, "drop"))  # to stop what may run
    assert len({request["clientToken"] for request in requests}) == (1 if kind in (503, "drop") else ATTEMPTS)
    assert not isinstance(caught.value, AirflowFailException)


def test_a_failure_that_no_waiting_changes_fails_the_try(runs: Runs, ecs: FakeEcs) -> None:
    ecs.faults.add("RunTask", "failure: ATTRIBUTE")

    with pytest.raises(AirflowException, match=r"ECS.*ATTRIBUTE"):
        runs.attempt(runs.create())

    assert len(sent(ecs)) == 1


def test_an_ecs_task_without_capacity_is_started_again(runs: Runs, ecs: FakeEcs) -> None:
    ecs.set(ends={"loader": [CAPACITY, CAPACITY, 0]})

    runs.attempt(runs.create())

    assert [task["stop_code"] for task in ecs.tasks()] == ["TaskFailedToStart"] * 2 + ["EssentialContainerExited"]
    assert len({task["clientToken"] for task in ecs.tasks()}) == 3


@pytest.mark.parametrize(
    "reason",
    ["CannotPullContainerError: no such image", "ResourceInitializationError: unable to pull secrets"],
)
def test_an_ecs_task_that_cannot_start_fails_at_once_in_the_words_of_ecs(reason: str, runs: Runs, ecs: FakeEcs) -> None:
    ecs.set(ends={"loader": reason})

    with pytest.raises(AirflowException, match=f"container 'loader' did not run.*TaskFailedToStart: {reason}"):
        runs.attempt(runs.create())

    assert len(ecs.tasks()) == 1


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("ClientException: Unable to describe task definition.", "etl/big.yaml:4:7"),
        ("ClusterNotFoundException: Cluster not found.", "etl/big.yaml:5:7"),
        ("AccessDeniedException: not authorized to perform: ecs:RunTask", "etl/big.yaml:4:7"),
        ("InvalidParameterException: Override for container named x is not a container", "etl/big.yaml:4:7"),
        ("SomethingNew: of which nobody knows", "etl/big.yaml:4:7"),
    ],
)
def test_a_mistake_fails_at_once_without_retry_and_names_its_line(
    kind: str, place: str, runs: Runs, ecs: FakeEcs
) -> None:
    ecs.faults.add("RunTask", kind)
    places = {"cluster": "etl/big.yaml:5:7", "task_definition": "etl/big.yaml:4:7"}

    with pytest.raises(AirflowFailException) as caught:
        runs.attempt(runs.create(places=places))

    assert kind.partition(": ")[2] in str(caught.value)
    assert str(caught.value).endswith(f"Look at {place}")
    assert len(sent(ecs)) == 1


@pytest.mark.parametrize(("attribute", "value"), [("cluster", "none"), ("task_definition", "none")])
def test_what_does_not_exist_is_a_mistake_at_its_line(attribute: str, value: str, runs: Runs) -> None:
    places = {"cluster": "the cluster's line", "task_definition": "the task definition's line"}

    with pytest.raises(AirflowFailException, match=f"Look at {places[attribute]}"):
        runs.attempt(runs.create(places=places, **{attribute: value}))


def test_a_request_that_botocore_refuses_is_no_fault_of_aws(runs: Runs, ecs: FakeEcs) -> None:
    with pytest.raises(AirflowException, match="Invalid type for parameter launchType"):
        runs.attempt(runs.create(launch_type=["EC2"]))

    assert ecs.operations() == []


@pytest.mark.parametrize("seconds", [0, LONG], ids=["has ended well", "runs"])
def test_an_ecs_task_that_this_try_has_started_by_another_request_is_taken_up(
    seconds: float, runs: Runs, ecs: FakeEcs
) -> None:
    ecs.set(seconds={"*": seconds})
    begun = runs.begin(runs.create(), tags={"version": "before"})
    again = begun.twin(tags={"version": "after"})
    begun.lose()
    Timer(0.3, ecs.set, kwargs={"seconds": {"*": 0}}).start()

    again.execute()

    assert [request["tags"][0]["value"] for request in sent(ecs)] == ["before", "after"]
    assert len(ecs.tasks()) == 1


def test_the_log_links_to_the_task_in_the_console(runs: Runs, ecs: FakeEcs, caplog: pytest.LogCaptureFixture) -> None:
    runs.attempt(runs.create(cluster="arn:aws:ecs:eu-west-1:000000000000:cluster/etl"))

    task_id = ecs.tasks()[0]["arn"].split("/")[-1]
    console = f"https://eu-west-1.console.aws.amazon.com/ecs/v2/clusters/etl/tasks/{task_id}?region=eu-west-1"
    assert console in caplog.text


@pytest.mark.parametrize("run", [{"id": None, "run_id": None}, {}], ids=["tasks test", "dags test"])
def test_a_task_can_be_tried_by_hand(run: Dict[str, Any], runs: Runs, ecs: FakeEcs) -> None:
    begun = runs.begin(runs.create())
    again = begun.twin()
    ti = begun.context["ti"]
    if IS_3:
        ti.try_number = 0
    else:
        for name, value in run.items():
            setattr(begun.context["dag_run"], name, value)
        ti.test_mode = not run

    begun.execute()
    again.execute()

    assert len({task["startedBy"] for task in ecs.tasks()}) == 2  # each has its own
