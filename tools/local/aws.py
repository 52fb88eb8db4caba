"""The emulated AWS: moto's server on 127.0.0.1, before it an ECS of our own for tasks (see ``tools.local.ecs``).

Runs in ``.local/aws``. It prints its address, then reads inventories (see ``seed``) from
standard input, one a line as JSON, and answers each with ``seeded`` when everything in it
exists. It ends with its standard input, so that it cannot outlive the one who started it.

``ECS_LOCAL_FAIL=<task definition>[:exit code],...`` makes the tasks of these families fail,
with exit code 1 unless told; ``ECS_LOCAL_SECONDS`` is how long a task runs, by default 1.
``tools.local.faults`` tells what else can be done to it while it runs.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import sys
import threading
import time
from typing import Any, Iterable, Iterator, Mapping

import boto3
from botocore.config import Config
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ecs.exceptions import TaskDefinitionNotFoundException
from moto.ecs.models import ecs_backends
from moto.iam.responses import IamResponse
from moto.logs.models import logs_backends
from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.sns.models import sns_backends
from werkzeug.serving import make_server

from tools.local import permissions
from tools.local.ecs import Ecs
from tools.local.faults import BEHIND, Faults
from tools.local.tasks import Container, Definition, Tasks

TICK = 0.1  # seconds between the looks at the tasks


class SettingError(ValueError):
    """A setting of the environment cannot be understood; the text says which and why."""


def main() -> int:
    """Serve until standard input ends."""
    try:
        failures = parse_failures(os.environ.get("ECS_LOCAL_FAIL", ""))
        seconds = parse_seconds(os.environ.get("ECS_LOCAL_SECONDS", "1"))
    except SettingError as error:
        print(error, file=sys.stderr)
        return 1
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # not a line for every request
    permissions.add_to(IamResponse)
    cloud = Cloud()
    tasks = Tasks(cloud.find_cluster, cloud.find_definition, cloud.write_log)
    tasks.set(ends=failures, seconds={"*": seconds})
    faults = Faults(DomainDispatcherApplication(create_backend_app), Ecs(tasks))
    server = make_server("127.0.0.1", 0, faults, threaded=True, request_handler=MotoRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    cloud.address = "http://{}:{}".format(*server.server_address)
    print(cloud.address, flush=True)

    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=read_lines, args=(lines,), daemon=True).start()
    while True:
        tasks.look()  # or their logs would lag behind
        try:
            line = lines.get(timeout=TICK)
        except queue.Empty:
            continue
        if not line:
            return 0
        cloud.seed(json.loads(line))
        print("seeded", flush=True)


def read_lines(lines: queue.Queue[str]) -> None:
    """Pass on the lines of standard input, and an empty one at its end."""
    for line in sys.stdin:
        lines.put(line)
    lines.put("")


def parse_failures(text: str) -> dict[str, int]:
    """Return exit codes by the family of the task definition, from ``family[:exit code],...``.

    Raises:
        SettingError: An exit code is not a number from 1 to 255, or there is no family.
    """
    failures = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        family, colon, code = item.partition(":")
        if not family or (colon and not (code.isdecimal() and 1 <= int(code) <= 255)):
            raise SettingError(
                f"ECS_LOCAL_FAIL: {item!r} is not <task definition>[:exit code], with an exit code from 1 to 255"
            )
        failures[family] = int(code) if colon else 1
    return failures


def parse_seconds(text: str) -> float:
    """Return how long a task runs.

    Raises:
        SettingError: It is not a number of seconds.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise SettingError(f"ECS_LOCAL_SECONDS: {text!r} is not a number of seconds")
    return seconds


class Cloud:
    """The emulated AWS, and what was put there."""

    def __init__(self) -> None:
        self.address = ""  # until it serves
        self.region = "us-east-1"  # until the first inventory
        self._existing: dict[str, Any] = {}

    @property
    def ecs(self) -> Any:
        """The ECS backend of moto, for what no AWS call can do."""
        return ecs_backends[DEFAULT_ACCOUNT_ID][self.region]

    def find_cluster(self, name: str) -> str:
        """Return the ARN of a cluster; "" if there is none."""
        cluster = self.ecs.clusters.get(name)
        return str(cluster.arn) if cluster and cluster.status == "ACTIVE" else ""

    def find_definition(self, name: str) -> Definition | None:
        """Return a task definition by family, family:revision or ARN."""
        try:
            found = self.ecs.describe_task_definition(name)
        except TaskDefinitionNotFoundException:
            return None
        containers = []
        for container in found.container_definitions:
            options = container.get("logConfiguration", {}).get("options", {})
            log = options.get("awslogs-group", ""), options.get("awslogs-stream-prefix", "")
            containers.append(Container(container["name"], *log))
        return Definition(found.arn, tuple(containers), found.status == "ACTIVE")

    def write_log(self, group: str, stream: str, lines: list[str]) -> None:
        """Write to a log stream, as ECS's awslogs driver would."""
        logs = logs_backends[DEFAULT_ACCOUNT_ID][self.region]
        logs.ensure_log_stream(group, stream)
        timestamp = int(time.time() * 1000)
        logs.put_log_events(group, stream, [{"timestamp": timestamp, "message": line} for line in lines])

    def client(self, service: str) -> Any:
        """Return a boto3 client for this cloud; the keys are no secrets, moto takes any."""
        return boto3.client(
            service,
            region_name=self.region,
            endpoint_url=self.address,
            aws_access_key_id="emulated",
            aws_secret_access_key="emulated",
            config=Config(retries={"max_attempts": 0}, user_agent_extra=BEHIND),
        )

    def seed(self, inventory: Mapping[str, Any]) -> None:
        """Make what the inventory names and what is not there yet; nothing is removed.

        An inventory has ``region``; ``clusters``, ``log_groups``, ``buckets`` and
        ``topics``, lists of names or ARNs; and ``task_definitions``, by family,
        family:revision or ARN a mapping with ``containers``, a list of names, and
        ``log_group`` and ``log_prefix``, both or none.
        """
        self.region = inventory["region"]
        for cluster in self._new("cluster", inventory.get("clusters", [])):
            self.client("ecs").create_cluster(clusterName=cluster.split("/")[-1])
        for group in self._new("log group", inventory.get("log_groups", [])):
            self.client("logs").create_log_group(logGroupName=group)
        for bucket in self._new("bucket", inventory.get("buckets", [])):
            self._create_bucket(bucket)
        for topic in self._new("topic", inventory.get("topics", [])):
            self._create_topic(topic)
        for name, details in inventory.get("task_definitions", {}).items():
            if self._existing.get(f"task definition {name}") != details:
                self._register_task_definition(name, details)
                self._existing[f"task definition {name}"] = details

    def _new(self, kind: str, names: Iterable[str]) -> Iterator[str]:
        for name in names:
            if f"{kind} {name}" not in self._existing:
                yield name
                self._existing[f"{kind} {name}"] = name

    def _create_bucket(self, bucket: str) -> None:
        if self.region == "us-east-1":  # S3 refuses to be told its default region
            self.client("s3").create_bucket(Bucket=bucket)
        else:
            location = {"LocationConstraint": self.region}
            self.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration=location)

    def _create_topic(self, topic: str) -> None:
        # An ARN names its account, and a client would make the topic in moto's own.
        account = topic.split(":")[4] if topic.startswith("arn:") else DEFAULT_ACCOUNT_ID
        sns_backends[account][self.region].create_topic(topic.split(":")[-1])

    def _register_task_definition(self, name: str, details: Mapping[str, Any]) -> None:
        family, _, revision = name.split("/")[-1].partition(":")
        containers: list[dict[str, Any]] = [
            {"name": container, "image": f"emulated/{container}", "memory": 512} for container in details["containers"]
        ]
        if details.get("log_group"):
            options = {
                "awslogs-group": details["log_group"],
                "awslogs-stream-prefix": details["log_prefix"],
                "awslogs-region": self.region,
            }
            for container in containers:
                container["logConfiguration"] = {"logDriver": "awslogs", "options": options}
        # Revisions are numbered from 1: one that a definition names is reached by counting.
        registered = 0
        while registered < int(revision or 1):
            response = self.client("ecs").register_task_definition(family=family, containerDefinitions=containers)
            registered = response["taskDefinition"]["revision"]


if __name__ == "__main__":
    sys.exit(main())
