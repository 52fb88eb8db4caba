"""The ECS tasks of the emulated AWS: what they are, and what they go through.

There is neither a thread nor a container: whoever looks at the tasks moves them on as far as their time has come.

``Tasks.set`` decides what becomes of the tasks. Each setting has its values by the family of the task definition; the
value for ``*`` counts for families that have none:

``seconds``
    How long tasks run, those that run now included. 0 ends them.
``ends``
    How tasks end: an exit code of all containers; a mapping of exit codes by container, or of ``[exit code, reason]``
    such as ``[137, "OutOfMemoryError: Container killed due to memory usage"]``, where a container that is not named
    exits with 0; or a text, the reason why ECS fails to start the task, such as ``CannotPullContainerError: no such
    image``. A list has the ends of the next tasks, in turn; afterwards all is as before.
``log_lines``
    What the first container writes when it ends, a list, instead of its exit code.
``log_lag``
    Seconds after which CloudWatch has what a container has written.
``starting``, ``ending``
    Seconds until a task runs, and from the end of its containers until it is STOPPED.
``stop_seconds``, ``stop_exit_codes``
    Seconds from StopTask until the containers end, and their exit code.
``lag``, ``describe_lag``
    Seconds after which ListTasks shows that a task was started or was stopped, and for which DescribeTasks says MISSING
    of a new one.
``forget``
    A list of families, without values: ECS no longer knows the tasks of these that there are.
``crowd``
    ``[cluster, number]``: so many stopped tasks of the family are there at once.
"""

from __future__ import annotations

import shlex
import threading
import time
import uuid
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Mapping, Union

KILLED = 137  # 128 + SIGKILL, which follows the SIGTERM of StopTask
DEFAULTS: dict[str, Any] = {
    "seconds": 1.0,
    "ends": 0,
    "log_lines": None,
    "log_lag": 0.0,
    "starting": 0.3,
    "ending": 0.1,
    "stop_seconds": 0.0,
    "stop_exit_codes": KILLED,
    "lag": 0.0,
    "describe_lag": 0.0,
}
NUMBERS = {name for name, value in DEFAULTS.items() if isinstance(value, float)}

End = Union[int, str, Mapping[str, Any]]


@dataclass(frozen=True)
class Container:
    """What a task definition says of a container."""

    name: str
    log_group: str = ""  # none: its lines are lost
    log_prefix: str = ""


@dataclass(frozen=True)
class Definition:
    """A task definition."""

    arn: str
    containers: tuple[Container, ...]
    active: bool = True


class Task:
    """An ECS task.

    Args:
        definition: Its task definition.
        members: What DescribeTasks gives; tells all that has become of it.
        end: How it is to end; None if the settings say so when it does.
    """

    def __init__(self, definition: Definition, members: dict[str, Any], end: End | None) -> None:
        self.definition, self.members, self.end = definition, members, end
        self.family = family_of(definition.arn)
        self.token = ""
        self.finish = False  # as soon as it runs
        self.forgotten = False  # by ECS

    @property
    def arn(self) -> str:
        """The task's ARN."""
        return str(self.members["taskArn"])

    @property
    def status(self) -> str:
        """The task's lastStatus."""
        return str(self.members["lastStatus"])


class Tasks:
    """All ECS tasks of an account.

    Args:
        clusters: Returns the ARN of a cluster by its name; "" if there is none.
        definitions: Returns a task definition by family, family:revision or ARN; None if there is none.
        write: Writes lines to a log stream, by its group and name.
    """

    def __init__(
        self,
        clusters: Callable[[str], str],
        definitions: Callable[[str], Definition | None],
        write: Callable[[str, str, list[str]], None],
    ) -> None:
        self.cluster_arn, self.definition, self.write = clusters, definitions, write
        self.lock = threading.RLock()
        self.by_arn: dict[str, Task] = {}  # forgotten ones too
        self._moving: dict[str, Task] = {}  # those that have not stopped
        self._unwritten: list[tuple[float, str, str, list[str]]] = []  # the time, and arguments of write
        self._next_ends: dict[str, list[End]] = {}
        self._settings = {name: {"*": value} for name, value in DEFAULTS.items()}

    def set(self, **settings: Any) -> None:
        """Change settings; see above.

        Raises:
            ValueError: There is no such setting, or a value makes no sense.
        """
        unknown = set(settings) - set(DEFAULTS) - {"forget", "crowd"}
        if unknown:
            raise ValueError(f"unknown keys: {', '.join(sorted(unknown))}")
        with self.lock:
            self.look()  # by what was set before
            families = settings.pop("forget", ())
            for task in self.by_arn.values():
                task.forgotten = task.forgotten or task.family in families
            for family, (cluster, number) in settings.pop("crowd", {}).items():
                self._crowd(family, cluster, number)
            for name, values in settings.items():
                for family, value in values.items():
                    if name == "ends" and isinstance(value, list):
                        self._next_ends[family] = list(value)
                    else:
                        self._settings[name][family] = float(value) if name in NUMBERS else value

    def finish(self, arn: str, end: End = 0) -> None:
        """End a task now, or as soon as it runs."""
        with self.lock:
            self.by_arn[arn].end, self.by_arn[arn].finish = end, True
            self.look()

    def listing(self) -> list[dict[str, Any]]:
        """Return all tasks that were ever started, in the order of their start."""
        with self.lock:
            self.look()
            return [
                {
                    "arn": task.arn,
                    "family": task.family,
                    "status": task.status,
                    "stop_code": task.members.get("stopCode"),
                    "reason": task.members.get("stoppedReason"),
                    "startedBy": task.members.get("startedBy", ""),
                    "clientToken": task.token,
                }
                for task in self.by_arn.values()
            ]

    def add(self, cluster: str, definition: Definition, parameters: Mapping[str, Any]) -> Task:
        """Start a task by the parameters of RunTask."""
        arn = f"{cluster.replace(':cluster/', ':task/')}/{uuid.uuid4().hex}"
        containers = [
            {
                "containerArn": f"{arn.replace(':task/', ':container/')}/{container.name}",
                "taskArn": arn,
                "name": container.name,
                "lastStatus": "PENDING",
                "networkInterfaces": [],
            }
            for container in definition.containers
        ]
        members = {
            "taskArn": arn,
            "clusterArn": cluster,
            "taskDefinitionArn": definition.arn,
            "containers": containers,
            "createdAt": time.time(),
            "desiredStatus": "RUNNING",
            "lastStatus": "PROVISIONING",
            "group": f"family:{family_of(definition.arn)}",
            "overrides": {"containerOverrides": []},
            "attachments": [],
            "version": 1,
        }
        for key in ("group", "launchType", "overrides", "platformVersion", "startedBy", "tags"):
            if key in parameters:
                members[key] = parameters[key]
        if parameters.get("capacityProviderStrategy"):
            members["capacityProviderName"] = parameters["capacityProviderStrategy"][0]["capacityProvider"]
        ends = self._next_ends.get(family_of(definition.arn))
        task = Task(definition, members, ends.pop(0) if ends else None)
        task.token = parameters.get("clientToken", "")
        self.by_arn[arn] = self._moving[arn] = task
        return task

    def look(self) -> None:
        """Move every task on as far as its time has come."""
        with self.lock:
            for task in list(self._moving.values()):
                self._move(task, time.time())
            now, unwritten = time.time(), self._unwritten
            self._unwritten = [late for late in unwritten if late[0] > now]
            for _, group, stream, lines in (late for late in unwritten if late[0] <= now):
                self.write(group, stream, lines)

    def setting(self, name: str, family: str) -> Any:
        """Return the value of a setting for a family."""
        values = self._settings[name]
        return values.get(family, values["*"])

    def _move(self, task: Task, now: float) -> None:
        members, family = task.members, task.family
        end: End = self.setting("ends", family) if task.end is None else task.end
        if task.status == "PROVISIONING":
            if members["desiredStatus"] == "STOPPED":  # before it ran
                self._end_containers(task, now, {})
            elif now < members["createdAt"] + self.setting("starting", family):
                return
            elif isinstance(end, str):
                self.want_stopped(task, "TaskFailedToStart", end)
                self._end_containers(task, now, {}, end if end.startswith("Cannot") else "")
            else:
                self._start(task, now)
        if task.status == "RUNNING":
            if task.finish or (
                members["desiredStatus"] == "RUNNING" and now >= members["startedAt"] + self.setting("seconds", family)
            ):
                self.want_stopped(task, "EssentialContainerExited", "Essential container in task exited")
                self._end_containers(task, now, end)
            elif now >= members.get("stoppingAt", now + 1) + self.setting("stop_seconds", family):
                self._end_containers(task, now, int(self.setting("stop_exit_codes", family)))
        if task.status == "DEPROVISIONING" and now >= members["executionStoppedAt"] + self.setting("ending", family):
            members.update(lastStatus="STOPPED", stoppedAt=now)
            del self._moving[task.arn]

    def _start(self, task: Task, now: float) -> None:
        task.members.update(lastStatus="RUNNING", startedAt=now)
        for container in task.members["containers"]:
            container["lastStatus"] = "RUNNING"
            self.log(task, container["name"], describe(container["name"], task.members["overrides"]))

    def want_stopped(self, task: Task, code: str, reason: str) -> None:
        """Note that a task is to stop, unless that is noted."""
        if task.members["desiredStatus"] != "STOPPED":
            task.members.update(desiredStatus="STOPPED", stopCode=code, stoppedReason=reason, stoppingAt=time.time())

    def _end_containers(self, task: Task, now: float, end: End, reason: str = "") -> None:
        lines = self.setting("log_lines", task.family)
        for number, container in enumerate(task.members["containers"]):
            code, why = outcome(end, container["name"])
            if container["lastStatus"] == "RUNNING":
                container["exitCode"] = code
                said = f"emulated: exited with code {code}: {task.members['stoppedReason']}"
                self.log(task, container["name"], [said] if lines is None or number else lines)
            container["lastStatus"] = "STOPPED"
            if why or reason:
                container["reason"] = why or reason
        task.members.update(lastStatus="DEPROVISIONING", executionStoppedAt=now)

    def log(self, task: Task, container: str, lines: Iterable[str]) -> None:
        """Write to a container's log stream, as ECS's log driver does."""
        (definition,) = (found for found in task.definition.containers if found.name == container)
        if definition.log_group:
            stream = f"{definition.log_prefix}/{container}/{task.arn.split('/')[-1]}"
            due = time.time() + self.setting("log_lag", task.family)
            self._unwritten.append((due, definition.log_group, stream, list(lines)))

    def _crowd(self, family: str, cluster: str, number: int) -> None:
        definition, cluster_arn = self.definition(family), self.cluster_arn(cluster)
        if not definition or not cluster_arn:
            raise ValueError(f"there is no cluster {cluster!r}, or no task definition {family!r}")
        now = time.time()
        silent = Definition(definition.arn, tuple(Container(container.name) for container in definition.containers))
        for _ in range(number):
            task = self.add(cluster_arn, silent, {"startedBy": "crowd"})
            del self._moving[task.arn]
            task.members["startedAt"] = now
            self.want_stopped(task, "EssentialContainerExited", "Essential container in task exited")
            task.members.update(lastStatus="STOPPED", stoppedAt=now)
            for container in task.members["containers"]:
                container.update(lastStatus="STOPPED", exitCode=0)


def family_of(task_definition: str) -> str:
    """Return the family that family, family:revision or ARN names."""
    return task_definition.split("/")[-1].split(":")[0]


def outcome(end: End, container: str) -> tuple[Any, str]:
    """Return the exit code of a container and its reason."""
    if not isinstance(end, Mapping):
        return end, ""
    value = end.get(container, 0)
    return (value[0], value[1]) if isinstance(value, (list, tuple)) else (value, "")


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
