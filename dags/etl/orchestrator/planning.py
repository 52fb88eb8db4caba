"""Layers -> tasks -> definitions; what a task asks of ECS."""

import hashlib
import json
import re
from copy import copy, deepcopy
from datetime import timedelta
from itertools import chain, islice
from pathlib import Path
from typing import Any, Collection, Dict, List, Mapping, Optional, Tuple

from .compat import ValidationError
from .definitions import (
    Context,
    Definition,
    Layer,
    Layers,
    LoadResult,
    Plan,
    PlannedTask,
    References,
    format_dag_id,
    json_length,
    merge,
)
from .documents import Document, has_value, value_at
from .models import SETTING_DEFAULTS, Cluster, Environment, Model, Pipeline, Provider, Settings, Task
from .problems import MAX_PROBLEMS, KeyPath, Problem, Rejected, name_providers
from .rules import (
    add_references,
    check_dag_id,
    check_dependencies,
    check_fargate,
    check_ids,
    check_items,
    check_overrides,
    check_pulled,
    check_references,
    check_settings,
    templated_texts,
    templated_texts_of_cluster,
    text_problems,
)
from .scheduler import MAX_DAG_TASKS, check_runs, ready_at_once
from .values import PlainText, ProviderName
from .waiting import check_sensors, check_waits

# ---------------------------------------------------------------------------------------------- what ECS is asked

DEFAULT_POOL = "default_pool"  # Airflow's own, which every Airflow has
AIRFLOW_ARGUMENTS = (
    "retries retry_delay retry_exponential_backoff max_retry_delay execution_timeout sla pool priority_weight"
    " trigger_rule depends_on_past"
).split()


def operator_arguments(task: Task, container: str, cluster: Cluster, environment: Environment) -> Dict[str, Any]:
    """Return the ECS operator's arguments for a task, but for owner and DAG; ``EcsTask`` knows all of them.

    A size is the ECS task's, not the container's: on Fargate that is what is paid for, and what a container
    without limits of its own gets.
    """
    override: Dict[str, Any] = {"name": container}
    if task.command is not None:
        override["command"] = task.command
    if task.environment is not None:
        override["environment"] = [{"name": name, "value": value} for name, value in task.environment.items()]
    overrides = {
        "containerOverrides": [override],
        "cpu": task.cpu and str(task.cpu),
        "memory": task.memory and str(task.memory),
        "ephemeralStorage": task.ephemeral_storage and {"sizeInGiB": task.ephemeral_storage},
        "taskRoleArn": task.task_role_arn,
        "executionRoleArn": task.execution_role_arn,
    }
    arguments: Dict[str, Any] = {
        "task_definition": task.task_definition,
        "cluster": cluster.cluster,
        "overrides": {key: value for key, value in overrides.items() if value is not None},
        "aws_conn_id": environment.aws_conn_id,
        "region_name": environment.region,
        "launch_type": cluster.launch_type,  # None: the cluster's own strategy; the operator's default is EC2
        "platform_version": cluster.platform_version,
        "tags": task.tags,
        "propagate_tags": task.propagate_tags,
        "enable_execute_command": task.enable_execute_command,
    }
    if cluster.capacity_provider_strategy:
        arguments["capacity_provider_strategy"] = [
            {"capacityProvider" if key == "capacity_provider" else key: value for key, value in item.explicit().items()}
            for item in cluster.capacity_provider_strategy
        ]
    if cluster.subnets:
        public = "ENABLED" if cluster.assign_public_ip else "DISABLED"
        network = {
            "subnets": cluster.subnets,
            "securityGroups": cluster.security_groups or [],
            "assignPublicIp": public,
        }
        arguments["network_configuration"] = {"awsvpcConfiguration": network}
    if cluster.logs:
        arguments["awslogs_group"] = cluster.logs.group
        arguments["awslogs_region"] = cluster.logs.region
        arguments["awslogs_stream_prefix"] = f"{cluster.logs.prefix}/{container}"  # the operator adds the task's id
    arguments.update({key: getattr(task, key) for key in AIRFLOW_ARGUMENTS if getattr(task, key) is not None})
    if task.retry_exponential_backoff:
        # Airflow has no bound of its own: after some 30 tries, clearing counts, the next one lies beyond the year 9999,
        # and the OverflowError ends the scheduler for all DAGs.
        arguments.setdefault("max_retry_delay", max(task.retry_delay or timedelta(0), timedelta(days=1)))
    return arguments


def run_task_parameters(arguments: Mapping[str, Any], started_by: str) -> Dict[str, Any]:
    """Return the parameters of ``ecs.run_task`` for the ECS operator's arguments, or for its attributes."""
    request = {
        "cluster": arguments["cluster"],
        "taskDefinition": arguments["task_definition"],
        "overrides": arguments["overrides"],
        "startedBy": started_by,
        "capacityProviderStrategy": arguments.get("capacity_provider_strategy"),
        "launchType": None if arguments.get("capacity_provider_strategy") else arguments.get("launch_type"),
        "platformVersion": arguments.get("platform_version"),
        "networkConfiguration": arguments.get("network_configuration"),
        "propagateTags": arguments.get("propagate_tags"),
        "enableExecuteCommand": arguments.get("enable_execute_command"),
    }
    if arguments.get("tags") is not None:
        request["tags"] = [{"key": key, "value": value} for key, value in arguments["tags"].items()]
    return {key: value for key, value in request.items() if value is not None}


def run_task_request(definition: Definition, task_id: str, run_id: str = "") -> Dict[str, Any]:
    """Return the parameters of ``ecs.run_task`` for a task, with its templates as they are written.

    What ``startedBy`` ends with differs on Airflow: only there is known which environment, run and try it is.
    """
    name = started_by(definition.settings.owner or SETTING_DEFAULTS["owner"], definition.dag_id, task_id, run_id)
    return run_task_parameters(definition.plan.tasks[task_id].operator, name)


def started_by(owner: str, *what: Any) -> str:
    """Return what ECS shows as startedBy: the owner, and a hash of what tells one try of a task from all others.

    At most 36 characters of ``[A-Za-z0-9_-]``, as the image's botocore has it. 80 bits of hash: two tries with the
    same would take up each other's ECS tasks.
    """
    digest = hashlib.sha256(json.dumps(what).encode()).hexdigest()
    return f"{owner[:15]}-{digest[:20]}"


# ------------------------------------------------------------------------------------------------------- tasks


def plan_tasks(document: Document, pipeline: Pipeline, provider: Optional[str], context: Context) -> Plan:
    """Lay environment, pipeline and, if one is named, provider over one another for every task."""
    override = (provider and pipeline.providers[ProviderName(provider)]) or Provider()
    above: KeyPath = ("providers", provider)
    problems = []
    for name in (name for name in override.tasks if name not in pipeline.tasks):
        path, hint = (*above, "tasks", name), document.did_you_mean(name, pipeline.tasks)
        message = f"unknown task '{name}'"
        problem = document.problem(path, message, hint, "dependencies", at_key=True, names=(name,))
        problems.append(problem._replace(provider=str(provider)))
    tasks: Dict[str, PlannedTask] = {}
    for task_id, task in pipeline.tasks.items():
        own = override.tasks.get(task_id)
        if own is None and task_id in override.tasks:
            continue
        home = Layer(document, ("tasks", task_id))
        stack = (
            Layer(context.document, ("defaults",)),
            Layer(document, ("defaults",)),
            home,
            Layer(document, (*above, "defaults")),
            Layer(document, (*above, "tasks", task_id)),
        )
        models = [context.environment.defaults, pipeline.defaults, task, override.defaults, own]
        merged = Task.parse_obj(merge(model.explicit() for model in models if model is not None))
        tasks[task_id], task_problems = plan_task(task_id, merged, Layers(home, stack), context)
        problems += task_problems
        if len(problems) > MAX_PROBLEMS:  # tasks inherit the same mistakes from defaults
            return Plan({}, problems, {}, 0, 0)
    if not tasks:
        path = (*above, "tasks") if provider else ("tasks",)
        problems.append(document.problem(path, "there is no task", "a DAG has at least one", at_key=True))
    problems += islice(check_dependencies(tasks, pipeline.tasks.keys() - tasks, provider or ""), MAX_PROBLEMS + 1)
    references: References = {}
    for planned in tasks.values():
        for path, text, _ in templated_texts(planned.task):
            add_references(references, text, planned.layers, path)
    for cluster_name in {planned.task.cluster or "default": None for planned in tasks.values()}:
        cluster = context.environment.clusters.get(PlainText(cluster_name))
        of_cluster = Layers.of(Layer(context.document, ("clusters", cluster_name)))
        for path, text in templated_texts_of_cluster(cluster) if cluster else ():
            add_references(references, text, of_cluster, path)
    by_id, id_problems = one_for_each(tasks)
    problems += id_problems
    if len(by_id) > MAX_DAG_TASKS:  # which is a problem
        return Plan({}, problems, {}, 0, 0)
    # A provider may have left some out, and its template an 'or'.
    known = dict.fromkeys(chain(by_id, *(ids_of(name, task) for name, task in pipeline.tasks.items())))
    problems += islice(check_pulled(tasks.values(), known), MAX_PROBLEMS + 1)
    length = sum(json_length(each.operator) * max(1, len(each.task.for_each or "")) for each in tasks.values())
    return Plan(by_id, problems, references, length, ready_at_once(tasks))


def one_for_each(tasks: Mapping[str, PlannedTask]) -> Tuple[Dict[str, PlannedTask], List[Problem]]:
    """Return the tasks by their ids in Airflow, one for each item, and the problems of these ids."""
    ids = {name: ids_of(name, planned.task) for name, planned in tasks.items()}
    by_id: Dict[str, PlannedTask] = {}
    for name, planned in tasks.items():
        before = tuple(task_id for other in planned.task.depends_on or () for task_id in ids.get(other, ()))
        for task_id, item in ids[name].items():
            by_id[task_id] = planned._replace(before=before, item=item)
    return by_id, list(check_ids(tasks, ids))


def ids_of(name: str, task: Task) -> Dict[str, Optional[str]]:
    """Return the ids that a task has in Airflow, each with its item; without for_each, that is its name."""
    return {name: None} if task.for_each is None else {f"{name}-{item}": item for item in task.for_each}


def plan_task(task_id: str, task: Task, layers: Layers, context: Context) -> Tuple[PlannedTask, List[Problem]]:
    """Check a merged task and turn it into the operator's arguments."""
    problems: List[Problem] = []
    for path, text, at_key in templated_texts(task):
        problems += text_problems(text, layers, path, at_key, task.for_each is not None)
    family = (task.task_definition or "").rpartition("task-definition/")[2]
    container = task.container or re.sub(":[0-9]+$", "", family)
    if task.task_definition is None:
        message, hint = f"task '{task_id}' has no task_definition", "add 'task_definition: <family>'"
        problems.append(layers.problem((), message, hint, names=(task_id, "task_definition")))
    elif task.container is None and "{" in container:
        message, hint = "a templated task definition needs a container", "add 'container: <name>'"
        problems.append(layers.problem(("task_definition",), message, hint, names=("container",)))
    environment = context.environment
    cluster = environment.clusters.get(PlainText(task.cluster or "default"))
    if cluster is None:
        message = f"unknown cluster '{task.cluster}'" if task.cluster else f"task '{task_id}' has no cluster"
        hint = layers.did_you_mean(task.cluster, environment.clusters)
        problems.append(layers.problem(("cluster",), message, hint, names=(task.cluster or task_id, "cluster")))
    elif cluster.is_fargate:
        problems += check_fargate(task, layers)
    if task.pool is not None and task.pool != DEFAULT_POOL and task.pool not in environment.pools:
        # In 2.2.2, tasks that wait for a pool that is not there keep those of all other DAGs from being looked at.
        known = layers.did_you_mean(task.pool, [DEFAULT_POOL, *environment.pools])
        hint = "if Airflow has it, add it to 'pools' of each environment in configs/" + (known and f"; {known}")
        message = f"unknown pool '{task.pool[:60]}'"
        problems.append(layers.problem(("pool",), message, hint, names=(task.pool, "pool", "pools")))
    operator = operator_arguments(task, container, cluster, environment) if cluster else {"overrides": {}}
    problems += check_overrides(task, layers, operator["overrides"])
    problems += check_items(task_id, task, layers)
    places = {key: str(layers.location((key,))) for key in ("cluster", "task_definition")}
    return PlannedTask(task, layers, operator, places, task_id), problems


# ------------------------------------------------------------------------------------------------- definitions


MAX_PLANNED = 1000  # tasks of a pipeline, of which providers may leave some out: one takes 0.2 ms
MAX_ITEMS = 100_000  # in lists and mappings of tasks, after all layers: one takes 4 us
MAX_REFERENCES = 1_000_000  # names of env, provider and params in the texts of plans, 1.2 us each, and of each DAG, 0.2
# Characters of all operators, which Airflow stores for each DAG: 30,000 tasks of 1,300. A pass took 1.1 GB for 2,200.
MAX_STORED = 40_000_000


def define(document: Document, pipeline: Pipeline, context: Context) -> LoadResult:
    """Return the definitions of a pipeline in an environment, and the problems of its providers.

    What a provider does not override is merged and checked once for all such providers.
    """
    definitions: List[Definition] = []
    problems: List[Problem] = []
    check_merging(document, pipeline, context)
    family, name = document.path.split("/")[-2], Path(document.path).stem
    env = with_name(context.environment.variables, context.name)
    settings_of: Dict[Optional[str], Tuple[Settings, List[Problem]]] = {}
    alerts = "default" if "default" in context.environment.alerts else None
    of_environment = {"alerts": alerts, "timezone": context.environment.timezone}
    of_pipeline = pipeline.dict(include=set(Settings.__fields__), exclude_unset=True)
    shared = Settings.parse_obj(merge([of_environment, of_pipeline]))
    checked: Dict[int, List[Problem]] = {}
    awaited: Dict[int, References] = {}  # by the id of wait_for, which providers share
    asked = stored = 0
    plans: Dict[Optional[str], Plan] = {}
    for provider, override in pipeline.providers.items():
        override = override or Provider()
        own = override.__fields_set__ & set(Settings.__fields__)
        who = provider if own else None
        layers = Layers.of(Layer(document, ()), Layer(document, ("providers", who)))
        if who not in settings_of:
            settings = overlay(shared, override, own)
            of_settings = chain(check_settings(settings, layers, context, checked), check_waits(settings, layers))
            settings_of[who] = settings, list(of_settings)
        settings, settings_problems = settings_of[who]
        if not settings_problems and settings.environments is not None and context.name not in settings.environments:
            continue
        who = provider if override.__fields_set__ & {"defaults", "tasks"} else None
        if who not in plans:
            plans[who] = plan_tasks(document, pipeline, who, context)
            asked += sum(map(len, plans[who].references.values()))
        plan = plans[who]
        references = awaited.setdefault(id(settings.wait_for), {})
        for path, wait in settings.waits if settings.wait_for is not None and not references else ():
            add_references(references, wait.s3 or "", layers, (*path, "s3"))
        asked, stored = asked + len(plan.references) + len(references), stored + plan.length
        check_total(document, asked, MAX_REFERENCES, "names of env, provider and params in the templates of all DAGs")
        check_total(document, stored, MAX_STORED, "characters of the tasks of all DAGs")
        definition = Definition(
            dag_id=format_dag_id(family, name, provider, context.folder),
            path=document.path,
            family=family,
            pipeline=name,
            provider=provider,
            context=context,
            description=pipeline.description or "",
            schedule=settings.schedule if context.environment.schedules and context.folder == "etl" else None,
            settings=settings,
            layers=layers,
            variables={"env": env, "provider": with_name(override.variables, provider)},
            plan=plan,
        )
        unknown = chain.from_iterable(
            check_references(definition, each) for each in (plan.references, references) if each
        )
        own_problems = [*settings_problems, *plan.problems, *islice(unknown, MAX_PROBLEMS + 1)]
        if settings.wait_for is not None:
            own_problems += check_sensors(definition)
        own_problems += check_dag_id(definition)
        problems += own_problems
        if not own_problems:
            definitions.append(definition)
        if len(problems) > MAX_PROBLEMS:
            message, hint = f"more than {MAX_PROBLEMS} problems: the providers after this one are left out", "fix these"
            problems.append(document.problem(("providers", provider), message, hint, at_key=True))
            break
    check_runs(document, definitions)
    return LoadResult(definitions, list(name_providers(problems)))


def check_total(document: Document, total: int, most: int, things: str) -> None:
    """Check that what is counted from provider to provider is not too much.

    Raises:
        Rejected: It is.
    """
    if total > most:
        message, hint = f"more than {most} {things}", "split it into several pipelines, or shorten what tasks share"
        raise Rejected(document.problem(("providers",), message, hint, at_key=True))


def with_name(variables: Mapping[Any, Any], name: str) -> Dict[str, Any]:
    """Return what templates find in ``env`` or ``provider``."""
    return {**variables, "name": name}


def check_merging(document: Document, pipeline: Pipeline, context: Context) -> None:
    """Check that the layers of all tasks can be merged in time: tasks inherit what the defaults say.

    Raises:
        Rejected: They cannot.
    """
    if len(pipeline.tasks) > MAX_PLANNED:
        message = f"{len(pipeline.tasks)} tasks; a file has at most {MAX_PLANNED}, and a DAG {MAX_DAG_TASKS}"
        raise Rejected(document.problem(("tasks",), message, "split it into several pipelines", at_key=True))
    own = [each for each in pipeline.providers.values() if each and each.__fields_set__ & {"defaults", "tasks"}]
    inherited = items_of(context.environment.defaults) + items_of(pipeline.defaults)
    items = (1 + len(own)) * (len(pipeline.tasks) * inherited + sum(map(items_of, pipeline.tasks.values())))
    items += len(pipeline.tasks) * sum(items_of(each.defaults) for each in own)
    if items > MAX_ITEMS:
        message = f"{items} arguments, variables, tags and dependencies of all tasks; a file has at most {MAX_ITEMS}"
        raise Rejected(document.problem(("tasks",), message, "shorten the defaults", at_key=True))


def items_of(task: Optional[Task]) -> int:
    """Return how many items the lists and mappings of a task have; long texts and keys count by their length, too."""
    values = list(vars(task).values()) if task else []
    lists = [each.values() if isinstance(each, dict) else each for each in values if isinstance(each, (dict, list))]
    held = list(chain.from_iterable(lists))
    keys = chain.from_iterable(each for each in values if isinstance(each, dict))
    texts = [text for text in [*held, *values, *keys] if isinstance(text, str)]
    return len(held) + sum(len(text) // (16 if "{" in text else 512) for text in texts)


def overlay(shared: Settings, override: Provider, own: Collection[str]) -> Settings:
    """Return the settings of a provider that has some of its own.

    It shares all other values, and params, with the pipeline: to check them again takes the longest.
    """
    if not own:
        return shared
    values = {key: getattr(shared, key) for key in shared.__fields_set__}
    values.update((key, laid_over(values.get(key), getattr(override, key))) for key in own)
    return Settings.construct(**{key: value for key, value in values.items() if value is not None})


def laid_over(below: Any, value: Any) -> Any:
    """Lay a value that has been checked over another, as :func:`merge` does."""
    if isinstance(value, Model):
        layers = [each for each in (below, value) if isinstance(each, Model)]
        fields = merge({key: getattr(each, key) for key in each.__fields_set__} for each in layers)
        return type(value).construct(**fields)
    if isinstance(value, dict):
        items = {**(below or {}), **{key: laid_over((below or {}).get(key), item) for key, item in value.items()}}
        return {key: item for key, item in items.items() if item is not None}
    return value


# --------------------------------------------------------------------- problems beside those that pydantic reports

# Without one of these, what else a pipeline says cannot be judged.
DECISIVE = {"cluster", "defaults", "environments", "params", "providers", "tasks", "variables"}
MAX_WRONG = 100  # values; a file with more has mistakes enough to report
PLACEHOLDER = "left-out"  # stands in a list for a value that is wrong


def further_problems(document: Document, problems: Mapping[KeyPath, Problem], context: Context) -> List[Problem]:
    """Return the problems that a pipeline has without the values that are wrong by themselves.

    Left out are possible consequences of such a value: problems about its key, or about the key that was meant.

    Args:
        document: The pipeline's file.
        problems: Those of its values, by path.
        context: What it is laid over.
    """
    if len(problems) > MAX_WRONG:
        return []
    rest = copy(document)
    rest.data = deepcopy(document.data)
    names = {PLACEHOLDER, *(take_out(rest.data, path) for path in problems)}
    names.update(name for problem in problems.values() for name in problem.names)
    if names & DECISIVE or not rest.data.get("tasks"):
        return []
    try:
        pipeline = Pipeline.parse_obj(rest.data)
    except ValidationError:  # as where a key is missing
        return []
    return [problem for problem in define(rest, pipeline, context).problems if not names & set(problem.names)]


def take_out(data: Any, path: KeyPath) -> str:
    """Take a value out of plain data, if it is there, and return its key; in a list, a placeholder takes its place."""
    above = value_at(data, path[:-1]) if has_value(data, path) else None
    if isinstance(above, list):
        above[path[-1]] = PLACEHOLDER
        return str(path[-2])
    if isinstance(above, dict):
        del above[path[-1]]
    return str(path[-1])
