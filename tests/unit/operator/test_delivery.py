"""The delivery sensor: which keys it accepts, and how it reports a late delivery."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Iterator, List

import pytest
from airflow.exceptions import AirflowFailException, AirflowSensorTimeout
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from orchestrator import load
from orchestrator.dags import Builder
from orchestrator.generations import IS_3
from orchestrator.sensors import DeliverySensor

from tests.ecs import PIPELINE
from tests.trees import tree


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> List[str]:
    """Return the keys of every bucket, for the test to add to."""
    keys: List[str] = []

    def paginate(Bucket: str, Prefix: str) -> Iterator[Any]:  # noqa: N803 (botocore's names)
        for key in keys:
            yield {"Contents": [{"Key": key}]} if key.startswith(Prefix) else {}

    client = SimpleNamespace(get_paginator=lambda _: SimpleNamespace(paginate=paginate))
    monkeypatch.setattr(S3Hook, "get_conn", lambda _: client)
    return keys


def sensor(bucket_key: str, **more: Any) -> Any:
    """Return a sensor as Airflow renders it."""
    return DeliverySensor(task_id="wait_for_delivery", bucket_key=[bucket_key], **more)


@pytest.mark.parametrize(
    ("pattern", "arrived", "expected"),
    [
        ("un/catalogue.xml", ["un/catalogue.xml"], True),
        ("un/catalogue.xml", ["un/catalogue.xml.part"], False),
        ("un/*.xml", ["un/catalogue.xml"], True),
        ("un/*.xml", ["un/catalogue.xml.part"], False),  # which the sensor of the amazon provider accepts
        ("un/*.xml", ["wcm/catalogue.xml"], False),
        ("un/part-?.xml", ["un/part-1.xml"], True),
        ("un/part-?.xml", ["un/part-10.xml"], False),
        ("un/[1].xml", ["un/[1].xml"], True),
        ("un/[1]*.xml", ["un/1.xml"], False),
        ("un/*.xml", [], False),
        ("un/*-*-?.xml", ["un/a-b-c.xml"], True),
        ("un/*-*-?.xml", ["un/a-b-cd.xml"], False),
        ("un/a*a.xml", ["un/a.xml"], False),
        ("un/*", ["un/line\nend"], True),
        ("un/.*", ["un/x"], False),
    ],
)
def test_wildcards_match_whole_keys(pattern: str, arrived: List[str], expected: bool, keys: List[str]) -> None:
    keys += arrived

    assert sensor(f"s3://bucket/{pattern}").poke({}) is expected


@pytest.mark.parametrize(
    "pattern", ["un/" + "*" * 900 + ".done", "un/" + "*?" * 400 + ".done", "un/" + "*a" * 400 + "b"]
)
def test_many_wildcards_take_no_longer_than_few(pattern: str, keys: List[str]) -> None:
    keys += [f"un/{'a' * 900}{index}" for index in range(20)]
    started = time.process_time()

    assert not sensor(f"s3://bucket/{pattern}").poke({})
    assert time.process_time() - started < 5  # fnmatch of Python 3.7 would go on for ever


def test_a_look_ends_with_the_page_that_has_the_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    """All keys of a bucket would take all memory of a worker."""
    read: List[int] = []

    def paginate(**_: str) -> Iterator[Any]:
        for number in range(3):
            read.append(number)
            yield {"Contents": [{"Key": f"un/{number}.xml"}]}

    client = SimpleNamespace(get_paginator=lambda _: SimpleNamespace(paginate=paginate))
    monkeypatch.setattr(S3Hook, "get_conn", lambda _: client)

    assert sensor("s3://bucket/un/1.*").poke({})
    assert read == [0, 1]


def test_a_key_that_cannot_exist_is_not_looked_for(keys: List[str]) -> None:
    with pytest.raises(AirflowFailException, match="at most 1024 bytes, not 1025"):
        sensor(f"s3://bucket/{'k' * 1025}").poke({})


def test_a_late_delivery_fails_with_the_awaited_address(keys: List[str]) -> None:
    late = sensor("s3://bucket/un/*.xml", timeout=0, poke_interval=1)

    with pytest.raises(AirflowSensorTimeout, match=r"^s3://bucket/un/\*\.xml was not delivered within 0:00:00$"):
        late.execute({})


def test_the_sensor_is_upstream_of_the_roots_and_occupies_no_worker(dag: Any) -> None:
    task = dag.get_task("wait_for_delivery")

    assert task.downstream_task_ids == {"load"}
    assert (task.mode, task.timeout, task.poke_interval) == ("reschedule", 7200, 300)


@pytest.mark.parametrize(("pause", "seconds"), [("1s", 10 if IS_3 else 1), ("15s", 15)])
def test_looks_are_as_far_apart_as_airflow_can_tell_them_apart(pause: str, seconds: int, tmp_path: Path) -> None:
    root = tree(tmp_path, {"cwr/big.yaml": PIPELINE.replace("timeout: 2h", f"poke_interval: {pause}")})
    (definition,) = load(root, "development").definitions
    task: Any = Builder().build(definition).get_task("wait_for_delivery")

    assert task.poke_interval == seconds
