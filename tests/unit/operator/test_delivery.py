"""The delivery sensor: which keys it accepts, and how it reports a late delivery."""

from typing import Any, List

import pytest
from airflow.exceptions import AirflowSensorTimeout
from orchestrator.sensors import DeliverySensor


def sensor(keys: List[str], bucket_key: str, **more: Any) -> Any:
    """Return a sensor whose bucket has these keys."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    task: Any = DeliverySensor(task_id="wait_for_delivery", bucket_key=bucket_key, **more)
    hook: Any = S3Hook(aws_conn_id=None)
    hook.list_keys = lambda bucket, prefix, delimiter: [key for key in keys if key.startswith(prefix)]
    hook.get_key = lambda key, bucket: (bucket, key)
    task.hook = hook
    return task


@pytest.mark.parametrize(
    ("pattern", "keys", "expected"),
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
    ],
)
def test_wildcards_match_whole_keys(pattern: str, keys: List[str], expected: bool) -> None:
    assert sensor(keys, f"s3://bucket/{pattern}").poke({}) is expected


def test_a_late_delivery_fails_with_the_awaited_address(dag: Any) -> None:
    late = sensor([], "s3://bucket/un/*.xml", timeout=0, poke_interval=1)

    with pytest.raises(AirflowSensorTimeout, match=r"Not delivered within 0:00:00: s3://bucket/un/\*\.xml$"):
        late.execute({})


def test_the_sensor_is_upstream_of_the_roots_and_occupies_no_worker(dag: Any) -> None:
    task = dag.get_task("wait_for_delivery")

    assert task.downstream_task_ids == {"load"}
    assert (task.mode, task.timeout, task.poke_interval) == ("reschedule", 7200, 300)
