"""The API of the emulated ECS for tasks: RunTask, DescribeTasks, ListTasks and StopTask by the real one's rules."""

from __future__ import annotations

import functools
import json
import re
import time
from typing import Any, Mapping

from tools.local.tasks import Task, Tasks, family_of

PAGE = 100  # tasks that one ListTasks or DescribeTasks takes or gives
MAX_COUNT = 10  # tasks that one RunTask starts
MAX_OVERRIDES = 8192  # characters


class Refusal(Exception):
    """An error that ECS answers with."""

    def __init__(self, code: str, message: str, **members: Any) -> None:
        super().__init__(f"{code}: {message}")
        self.answer = {"__type": code, "message": message, **members}


def invalid(message: str) -> Refusal:
    """Return ECS's most frequent error."""
    return Refusal("InvalidParameterException", message)


class Ecs:
    """The operations.

    Args:
        tasks: What they act on.
    """

    def __init__(self, tasks: Tasks) -> None:
        self.tasks = tasks
        self._tokens: dict[tuple[str, str], tuple[dict[str, Any], list[Task]]] = {}  # by cluster and clientToken
        self._operations = {
            "RunTask": self._run_task,
            "DescribeTasks": self._describe_tasks,
            "ListTasks": self._list_tasks,
            "StopTask": self._stop_task,
        }

    def has(self, operation: str) -> bool:
        """Return whether an operation is one of these."""
        return operation in self._operations

    def call(self, operation: str, parameters: Mapping[str, Any]) -> bytes:
        """Return the answer to a request, as JSON.

        Raises:
            Refusal: ECS refuses it.
        """
        with self.tasks.lock:
            self.tasks.look()
            check_shape(operation, {key: value for key, value in parameters.items() if key != "clientToken"})
            name = str(parameters.get("cluster", "default")).split("/")[-1]
            cluster = self.tasks.cluster_arn(name)
            if not cluster:
                raise Refusal("ClusterNotFoundException", "Cluster not found.")
            # As text: the tasks go on while it is sent.
            return json.dumps(self._operations[operation](cluster, parameters)).encode()

    def _run_task(self, cluster: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        check_run_task(parameters)
        token = parameters.get("clientToken", "")
        others = {key: value for key, value in parameters.items() if key != "clientToken"}
        if (cluster, token) in self._tokens:
            before, tasks = self._tokens[cluster, token]
            if before != others:
                message = "The clientToken was used before, with other parameters."
                raise Refusal("ConflictException", message, resourceIds=[task.arn for task in tasks])
            return {"tasks": [task.members for task in tasks], "failures": []}
        definition = self.tasks.definition(parameters["taskDefinition"])
        if not definition:
            raise Refusal("ClientException", "Unable to describe task definition.")
        if not definition.active:
            raise Refusal("ClientException", "TaskDefinition is inactive")
        names = {container.name for container in definition.containers}
        for override in parameters.get("overrides", {}).get("containerOverrides", ()):
            if override.get("name") not in names:
                raise invalid(
                    f"Override for container named {override.get('name')} is not a container in the TaskDefinition."
                )
        tasks = [self.tasks.add(cluster, definition, parameters) for _ in range(parameters.get("count", 1))]
        if token:
            self._tokens[cluster, token] = (others, tasks)
        return {"tasks": [task.members for task in tasks], "failures": []}

    def _describe_tasks(self, cluster: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        identifiers = parameters["tasks"]
        if not identifiers:
            raise invalid("Tasks cannot be empty.")
        if len(identifiers) > PAGE:
            raise invalid(f"Tasks cannot have more than {PAGE} elements.")
        tasks, failures = [], []
        for identifier in identifiers:
            arn = self._arn(cluster, identifier)
            task = self.tasks.by_arn.get(arn)
            if task and self._is_described(task):
                tasks.append(dict(task.members))
            else:
                failures.append({"arn": arn, "reason": "MISSING"})
        if "TAGS" not in parameters.get("include", ()):
            for members in tasks:
                members["tags"] = []
        return {"tasks": tasks, "failures": failures}

    def _is_described(self, task: Task) -> bool:
        lag = self.tasks.setting("describe_lag", task.family)
        return not task.forgotten and bool(task.members["createdAt"] <= time.time() - lag)

    def _list_tasks(self, cluster: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        filters = {"family", "desiredStatus", "containerInstance", "serviceName", "launchType", "daemonName"}
        others = sorted(filters & set(parameters))
        if "startedBy" in parameters and others:
            raise invalid(f"startedBy must be the only filter, and not be with {', '.join(others)}.")
        if "serviceName" in parameters:
            raise Refusal("ServiceNotFoundException", "Service not found.")
        limit = parameters.get("maxResults", PAGE)
        if not 1 <= limit <= PAGE:
            raise invalid(f"maxResults must be from 1 to {PAGE}.")
        token = parameters.get("nextToken", "0")
        if not token.isdecimal():
            raise invalid("Invalid token.")
        # By their ids, which are random: ECS, too, has no order that anybody could rely on.
        arns = sorted(arn for arn, task in self.tasks.by_arn.items() if self._is_listed(task, cluster, parameters))
        after = int(token) + limit
        page: dict[str, Any] = {"taskArns": arns[int(token) : after]}
        if after < len(arns):
            page["nextToken"] = str(after)
        return page

    def _is_listed(self, task: Task, cluster: str, parameters: Mapping[str, Any]) -> bool:
        members, before = task.members, time.time() - self.tasks.setting("lag", task.family)
        status = "STOPPED" if members.get("stoppingAt", before + 1) <= before else "RUNNING"
        return (
            members["clusterArn"] == cluster
            and not task.forgotten
            and members["createdAt"] <= before
            and status == parameters.get("desiredStatus", "RUNNING")
            and parameters.get("family", task.family) == task.family
            and all(
                parameters.get(key, members.get(key)) == members.get(key)
                for key in ("startedBy", "launchType", "containerInstance", "daemonName")
            )
        )

    def _stop_task(self, cluster: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        task = self.tasks.by_arn.get(self._arn(cluster, parameters["task"]))
        if not task or task.forgotten:
            raise invalid("The referenced task was not found.")
        self.tasks.want_stopped(task, "UserInitiated", parameters.get("reason") or "Task stopped by user")
        return {"task": task.members}

    def _arn(self, cluster: str, identifier: str) -> str:
        """Return the ARN of a task by its ARN or id."""
        own = cluster.split("/")[-1]
        *path, task_id = identifier.split("/")
        if path[1:] and path[-1] != own:
            raise invalid(f"Invalid identifier: Identifier is for cluster {path[-1]}. Your cluster is {own}")
        return f"{cluster.replace(':cluster/', ':task/')}/{task_id}"

    def families(self, parameters: Mapping[str, Any]) -> set[str]:
        """Return the families that a request is about, also one that reads the log stream of a task."""
        named = {family_of(str(parameters[key])) for key in ("taskDefinition", "family") if parameters.get(key)}
        arns = [parameters.get("task"), parameters.get("logStreamName"), *(parameters.get("tasks") or ())]
        ids = {str(arn).split("/")[-1] for arn in arns if arn}
        started_by = parameters.get("startedBy")
        if not ids and not started_by:
            return named
        with self.tasks.lock:
            return named.union(
                task.family
                for arn, task in self.tasks.by_arn.items()
                if arn.split("/")[-1] in ids or (started_by and task.members.get("startedBy") == started_by)
            )


@functools.lru_cache(maxsize=None)
def input_shape(operation: str) -> Any:
    """Return botocore's model of the parameters of an operation."""
    import botocore.session

    return botocore.session.get_session().get_service_model("ecs").operation_model(operation).input_shape


def check_shape(operation: str, parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that are missing, unknown or of a wrong type."""
    from botocore.validate import ParamValidator

    report = ParamValidator().validate(parameters, input_shape(operation))
    if report.has_errors():
        raise invalid(report.generate_report())


def check_run_task(parameters: Mapping[str, Any]) -> None:
    """Refuse what the model of the API allows and ECS does not."""
    if not 1 <= parameters.get("count", 1) <= MAX_COUNT:
        raise invalid(f"Count must be from 1 to {MAX_COUNT}.")
    if not re.fullmatch(r"[A-Za-z0-9/_-]{0,128}", parameters.get("startedBy", "")):
        raise invalid("startedBy may have 128 letters, numbers, hyphens, slashes and underscores.")
    if not re.fullmatch(r"[!-~]{1,64}", parameters.get("clientToken", "none")):
        raise invalid("clientToken must have 1 to 64 characters from ! to ~.")
    if "launchType" in parameters and parameters.get("capacityProviderStrategy"):
        raise invalid("Specifying both a launch type and capacity provider strategy is not supported.")
    if len(json.dumps(parameters.get("overrides", {}), ensure_ascii=False, separators=(",", ":"))) > MAX_OVERRIDES:
        raise invalid(f"Container Overrides length must be at most {MAX_OVERRIDES}")
