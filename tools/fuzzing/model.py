"""What the DAGs of a definition should be, worked out anew: plain dicts, and nothing of the factory's.

It knows valid definitions only. It is short because it need not be fast, tell mistakes or find places.
"""

import re
from datetime import date, datetime, timedelta, timezone
from typing import Any, Dict, List, Mapping, Optional

Data = Dict[str, Any]
SETTINGS = (
    "owner schedule start_date end_date catchup max_active_runs max_active_tasks dagrun_timeout tags params wait_for"
    " environments timezone alerts"
).split()
HOURS_AHEAD = {"UTC": 0, "Asia/Tokyo": 9, "Asia/Kolkata": 5.5}  # of UTC, all the year
DURATIONS = ("retry_delay", "max_retry_delay", "execution_timeout", "sla", "dagrun_timeout", "timeout", "poke_interval")
# What Airflow 2.2.2 does where a task says nothing.
AIRFLOW = {
    "retries": 0,
    "retry_delay": timedelta(minutes=5),
    "retry_exponential_backoff": False,
    "max_retry_delay": None,
    "execution_timeout": None,
    "sla": None,
    "pool": "default_pool",
    "priority_weight": 1,
    "trigger_rule": "all_success",
    "depends_on_past": False,
}


def lay(*layers: Optional[Mapping[str, Any]]) -> Data:
    """Lay mappings over one another, as docs/definitions.md has it under Layers."""
    result: Data = {}
    for layer in layers:
        for key, value in (layer or {}).items():
            if value is None:
                result.pop(key, None)
            elif isinstance(value, dict):
                result[key] = lay(result.get(key), value)
            else:
                result[key] = value
    return result


def seconds(duration: Any) -> timedelta:
    """Read a duration: 1d12h, or seconds."""
    if isinstance(duration, int):
        return timedelta(seconds=duration)
    units = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
    return timedelta(**{units[unit]: int(number) for number, unit in re.findall(r"(\d+)([dhms])", duration)})


def moment(value: Any, zone: str = "UTC") -> datetime:
    """Read a date, which is midnight in a zone, or a date with its time and offset."""
    if isinstance(value, datetime):  # PyYAML 5.4 leaves the zone of UTC out of some, and takes others to UTC
        return value if value.tzinfo else value.replace(tzinfo=timezone.utc)
    if isinstance(value, date):
        midnight = datetime(value.year, value.month, value.day, tzinfo=timezone.utc)
        return midnight - timedelta(hours=HOURS_AHEAD[zone])
    if len(value) == len("2022-01-01"):
        return moment(date.fromisoformat(value), zone)
    return datetime.fromisoformat(value.replace("Z", "+00:00"))


def task_layers(environment: Data, pipeline: Data, provider: Data, task_id: str) -> Data:
    """Return what a task says after its five layers."""
    overrides = provider.get("tasks") or {}
    layers = [environment.get("defaults"), pipeline.get("defaults"), pipeline["tasks"][task_id]]
    return lay(*layers, provider.get("defaults"), overrides.get(task_id))


def task_ids(pipeline: Data, provider: Data) -> List[str]:
    """Return the tasks that a provider has."""
    overrides = provider.get("tasks") or {}
    return [task_id for task_id in pipeline["tasks"] if overrides.get(task_id, {}) is not None]


def ids(task_id: str, task: Data) -> List[str]:
    """Return the ids that a task has in Airflow: one for each item."""
    return [f"{task_id}-{item}" for item in task["for_each"]] if "for_each" in task else [task_id]


def longest(tasks: Data) -> int:
    """Return how many tasks of the longest row wait for one another."""

    def length(task_id: str) -> int:
        waits = tasks[task_id].get("trigger_rule", "all_success") not in ("one_success", "one_failed", "always")
        return 1 + max(map(length, tasks[task_id].get("depends_on", ()) if waits else ()), default=0)

    return max(map(length, tasks))


def operator(environment: Data, task: Data) -> Data:
    """Return the attributes that the ECS operator of a task should have."""
    cluster = environment["clusters"][task.get("cluster", "default")]
    container = task.get("container") or task["task_definition"].split("/")[-1].split(":")[0]
    override: Data = {"name": container}
    if "command" in task:
        override["command"] = task["command"]
    if "environment" in task:
        override["environment"] = [{"name": name, "value": value} for name, value in task["environment"].items()]
    overrides: Data = {"containerOverrides": [override]}
    for key in ("cpu", "memory"):
        if key in task:
            overrides[key] = str(task[key])
    if "ephemeral_storage" in task:
        overrides["ephemeralStorage"] = {"sizeInGiB": task["ephemeral_storage"]}
    for key, name in (("task_role_arn", "taskRoleArn"), ("execution_role_arn", "executionRoleArn")):
        if key in task:
            overrides[name] = task[key]
    network = None
    if cluster.get("subnets"):
        network = {
            "awsvpcConfiguration": {
                "subnets": cluster["subnets"],
                "securityGroups": cluster.get("security_groups") or [],
                "assignPublicIp": "ENABLED" if cluster.get("assign_public_ip") else "DISABLED",
            }
        }
    logs = cluster.get("logs") or {}
    strategy = [
        {"capacityProvider" if key == "capacity_provider" else key: value for key, value in part.items()}
        for part in cluster.get("capacity_provider_strategy") or ()
    ]
    result: Data = {
        "task_definition": task["task_definition"],
        "cluster": cluster["cluster"],
        "overrides": overrides,
        "aws_conn_id": environment.get("aws_conn_id", "aws_default"),
        "region_name": environment["region"],
        "launch_type": cluster.get("launch_type"),
        "platform_version": cluster.get("platform_version"),
        "capacity_provider_strategy": strategy or None,
        "network_configuration": network,
        "tags": task.get("tags"),
        "propagate_tags": task.get("propagate_tags"),
        "enable_execute_command": task.get("enable_execute_command"),
        "awslogs_group": logs.get("group"),
        "awslogs_stream_prefix": f"{logs['prefix']}/{container}" if logs else None,
        "awslogs_region": logs.get("region") or environment["region"],
    }
    for key, default in AIRFLOW.items():
        result[key] = task.get(key, default)
        if key in DURATIONS and key in task:
            result[key] = seconds(task[key])
    if task.get("retry_exponential_backoff") and "max_retry_delay" not in task:
        result["max_retry_delay"] = max(seconds(task.get("retry_delay", 0)), timedelta(days=1))
    return result


def dags(name: str, environment: Data, family: str, stem: str, pipeline: Data) -> Dict[str, Data]:
    """Return what the DAGs of a pipeline should be in an environment, by their ids, in order."""
    result: Dict[str, Data] = {}
    for provider_name, provider in pipeline["providers"].items():
        provider = provider or {}
        topics = environment.get("alerts") or {}
        told = "default" if "default" in topics else None
        of_environment = {"timezone": environment.get("timezone", "UTC"), "alerts": told}
        layers = ({key: layer[key] for key in SETTINGS if key in layer} for layer in (pipeline, provider))
        settings = lay(of_environment, *layers)
        if name not in settings.get("environments", [name]):
            continue
        waiting, zone = settings.get("wait_for"), settings.get("timezone", "UTC")
        tasks = {
            task_id: task_layers(environment, pipeline, provider, task_id) for task_id in task_ids(pipeline, provider)
        }
        upstream: Dict[str, List[str]] = {}
        operators, groups, items = {}, {}, {}
        for name_of_task, task in tasks.items():
            before = [each for other in task.get("depends_on", ()) for each in ids(other, tasks[other])]
            drawn = [task["group"]] if "group" in task else []
            for index, task_id in enumerate(ids(name_of_task, task)):
                upstream[task_id], operators[task_id] = sorted(before), operator(environment, task)
                groups[task_id] = [*drawn, name_of_task] if "for_each" in task else drawn
                items[task_id] = task["for_each"][index] if "for_each" in task else None
        ready = len(operators) - longest(tasks) + 1 + bool(waiting)
        at_once = settings.get("max_active_runs", 1) * ready
        for each in operators.values():
            if at_once > settings.get("max_active_tasks", 16):
                each["priority_weight"] = -10_001
            elif each["pool"] != "default_pool":
                each["priority_weight"] -= 10_002
        if waiting:
            upstream = {task_id: before or ["wait_for_delivery"] for task_id, before in upstream.items()}
            upstream["wait_for_delivery"] = []
        result[f"{family}-{stem}_dag_{provider_name}"] = {
            "description": pipeline.get("description") or "",
            "schedule_interval": settings.get("schedule") if environment.get("schedules", True) else None,
            "timezone": zone,
            "start_date": moment(settings["start_date"], zone),
            "end_date": moment(settings["end_date"], zone) if "end_date" in settings else None,
            "catchup": settings.get("catchup", False),
            "max_active_runs": settings.get("max_active_runs", 1),
            "max_active_tasks": settings.get("max_active_tasks", 16),
            "dagrun_timeout": seconds(settings["dagrun_timeout"]) if "dagrun_timeout" in settings else None,
            "owner": settings.get("owner", "airflow"),
            "tags": sorted({family, stem, provider_name, name, *settings.get("tags", ())}),
            "params": {key: param.get("default") for key, param in settings.get("params", {}).items()},
            "variables": {
                "env": {**(environment.get("variables") or {}), "name": name},
                "provider": {**(provider.get("variables") or {}), "name": provider_name},
            },
            "upstream": upstream,
            "tasks": operators,
            "groups": groups,
            "items": items,
            "topic": topics[settings["alerts"]]["sns_topic_arn"] if "alerts" in settings else None,
            "sensor": waiting
            and {
                "bucket_key": [waiting["s3"]],
                "timeout": seconds(waiting.get("timeout", "12h")).total_seconds(),
                "poke_interval": seconds(waiting.get("poke_interval", "5m")).total_seconds(),
            },
        }
    return result
