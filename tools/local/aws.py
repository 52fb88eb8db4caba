"""The emulated AWS: moto's server on 127.0.0.1, and an agent that runs its ECS tasks.

Runs in ``.local/aws``. It prints its address, then reads inventories (see ``seed``) from
standard input, one a line as JSON, and answers each with ``seeded`` when everything in it
exists. It ends with its standard input, so that it cannot outlive the one who started it.

``ECS_LOCAL_FAIL=<task definition>[:exit code],...`` makes the tasks of these families fail,
with exit code 1 unless told; ``ECS_LOCAL_SECONDS`` is how long a task runs, by default 1.
``tools.local.faults`` tells what else can be done to it while it runs.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import queue
import shlex
import sys
import threading
import time
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, Iterable, Iterator, Mapping

import boto3
from botocore.config import Config
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ecs.exceptions import InvalidParameterException
from moto.ecs.models import EC2ContainerServiceBackend, ecs_backends
from moto.iam.responses import IamResponse
from moto.moto_api import state_manager
from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.sns.models import sns_backends
from werkzeug.serving import make_server

from tools.local import permissions
from tools.local.faults import BEHIND, FAILED_TO_START, Faults, family_of

TICK = 0.1  # seconds between the agent's looks at the tasks
STARTING = 0.3  # seconds until a task runs
KILLED = 137  # a container's exit code after StopTask: 128 + SIGKILL
PLENTY = 10**9  # CPU units and MiB of a container instance, so that it never fills up


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
    # moto itself would move a task on at every DescribeTasks.
    state_manager.set_transition("ecs::task", {"progression": "manual", "times": sys.maxsize})
    EC2ContainerServiceBackend.stop_task = ask_to_stop
    permissions.add_to(IamResponse)
    cloud = Cloud()
    faults = Faults(DomainDispatcherApplication(create_backend_app), cloud.list_tasks)
    server = make_server("127.0.0.1", 0, faults, threaded=True, request_handler=MotoRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    cloud.address = "http://{}:{}".format(*server.server_address)
    print(cloud.address, flush=True)

    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=read_lines, args=(lines,), daemon=True).start()
    agent = Agent(cloud, faults, failures, seconds)
    while True:
        agent.look()
        try:
            line = lines.get(timeout=TICK)
        except queue.Empty:
            continue
        if not line:
            return 0
        cloud.seed(json.loads(line))
        print("seeded", flush=True)


def ask_to_stop(ecs: EC2ContainerServiceBackend, cluster: str, task: str, reason: str) -> Any:
    """Stop a task as ECS does: it is to stop, and does so when the agent comes to it.

    moto's own says STOPPED at once, when nobody has yet noted a stop code and exit codes.
    """
    found = ecs.describe_tasks(cluster, [task])
    if not found:
        raise InvalidParameterException("The referenced task was not found.")
    if found[0].last_status != "STOPPED":
        found[0].stopped_reason = reason
        found[0].desired_status = "STOPPED"  # last: the agent reads the reason when it sees this
    return found[0]


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

    def list_tasks(self) -> list[dict[str, Any]]:
        """Return the ECS tasks that were ever started."""
        tasks = [task for tasks in list(self.ecs.tasks.values()) for task in list(tasks.values())]
        return [
            {
                "arn": task.task_arn,
                "family": family_of(task.task_definition_arn),
                "status": task.last_status,
                "stop_code": getattr(task, "stop_code", None),
            }
            for task in tasks
        ]

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
            self._create_cluster(cluster)
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

    def _create_cluster(self, cluster: str) -> None:
        name = cluster.split("/")[-1]
        self.client("ecs").create_cluster(clusterName=name)
        # Where moto places the tasks of a capacity provider or of the launch type EC2.
        launched = self.client("ec2").run_instances(ImageId="ami-emulated", MinCount=1, MaxCount=1)
        instance_id = launched["Instances"][0]["InstanceId"]
        instance = self.ecs.register_container_instance(name, instance_id)
        for resource in instance.remaining_resources:
            if resource["name"] in ("CPU", "MEMORY"):
                resource["integerValue"] = PLENTY

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


class Agent:
    """A runner of ECS tasks: from PROVISIONING to RUNNING to STOPPED, with an exit code.

    Args:
        cloud: Where they are.
        faults: What is to become of some of them.
        failures: Exit codes by the family of the task definition; the others exit with 0.
        seconds: How long a task runs.
    """

    def __init__(self, cloud: Cloud, faults: Faults, failures: Mapping[str, int], seconds: float) -> None:
        self.cloud = cloud
        self.faults = faults
        self.failures = failures
        self.seconds = seconds
        self._first_seen: dict[str, float] = {}  # by task ARN, on the monotonic clock
        self._stopped: set[str] = set()

    def look(self) -> None:
        """Move every task on as far as its time has come."""
        for tasks in list(self.cloud.ecs.tasks.values()):
            for arn, task in list(tasks.items()):
                if arn not in self._stopped:
                    self._move(arn, task)

    def _move(self, arn: str, task: Any) -> None:
        now = time.monotonic()
        age = now - self._first_seen.setdefault(arn, now)
        family, revision = task.task_definition_arn.split("/")[-1].split(":")
        definition = self.cloud.ecs.task_definitions[family][int(revision)]
        if task.desired_status == "STOPPED":  # StopTask, which leaves the containers alone
            self._stop(task, definition, KILLED, "UserInitiated", task.stopped_reason)
            self._stopped.add(arn)
        elif age < STARTING:
            task.last_status = "PROVISIONING"
        elif self.faults.fates.get(arn) == FAILED_TO_START:
            self._stop(task, definition, None, FAILED_TO_START, "ResourceInitializationError: a fault was injected")
            self._stopped.add(arn)
        elif task.last_status == "PROVISIONING":
            self._start(task, definition)
        elif age >= STARTING + self.faults.seconds.get(family, self.seconds):
            reason = "Essential container in task exited"
            exit_code = int(self.faults.fates.get(arn, self.failures.get(family, 0)))
            self._stop(task, definition, exit_code, "EssentialContainerExited", reason)
            self._stopped.add(arn)

    def _start(self, task: Any, definition: Any) -> None:
        # moto gives a task the first of its containers only.
        first = task.containers[0]
        task.containers = [copy.copy(first) for _ in definition.container_definitions]
        for container, described in zip(task.containers, definition.container_definitions):
            container.name = described["name"]
            container.last_status = "RUNNING"
            self._log(task, described, describe(container.name, task.overrides))
        task.started_at = datetime.now(timezone.utc)
        task.last_status = "RUNNING"

    def _stop(self, task: Any, definition: Any, exit_code: int | None, code: str, reason: str) -> None:
        for container, described in zip(task.containers, definition.container_definitions):
            if exit_code is not None:  # it has run
                self._log(task, described, [f"emulated: exited with code {exit_code}: {reason}"])
            container.exitCode = exit_code
            container.last_status = "STOPPED"
        task.stop_code = code
        task.stopped_reason = reason
        task.stopped_at = datetime.now(timezone.utc)
        task.desired_status = "STOPPED"
        task.last_status = "STOPPED"  # last: whoever waits for it reads the others then

    def _log(self, task: Any, container: Mapping[str, Any], lines: Iterable[str]) -> None:
        """Write to the container's log stream, as ECS's awslogs driver would."""
        options = container.get("logConfiguration", {}).get("options")
        if not options:
            return
        group = options["awslogs-group"]
        stream = f"{options['awslogs-stream-prefix']}/{container['name']}/{task.id}"
        logs = self.cloud.client("logs")
        with suppress(logs.exceptions.ResourceAlreadyExistsException):  # at the task's end
            logs.create_log_stream(logGroupName=group, logStreamName=stream)
        timestamp = int(time.time() * 1000)
        events = [{"timestamp": timestamp, "message": line} for line in lines]
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


def describe(container: str, overrides: Mapping[str, Any]) -> list[str]:
    """Return what the container would have run, a line for the command and for each variable."""
    given = {
        key: value
        for override in overrides.get("containerOverrides", [])
        if override.get("name") == container
        for key, value in override.items()
    }
    command = given.get("command")
    shown = " ".join(map(shlex.quote, command)) if command else "its own command"
    lines = [f"emulated: {container} would run {shown}"]
    lines += [f"emulated: with {x['name']}={x['value']}" for x in given.get("environment", [])]
    lines += [f"emulated: with {key} {given[key]}" for key in ("cpu", "memory") if key in given]
    return lines


if __name__ == "__main__":
    sys.exit(main())
