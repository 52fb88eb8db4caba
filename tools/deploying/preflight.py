"""./etl deploy ENVIRONMENT --preflight: whether the account has what the definitions name, by read-only calls.

A definition can be valid and name a task definition that nobody has registered: ECS reports that at 3 at night. Here
AWS is asked before anything is deployed, once for each thing that the DAGs of an environment name, and what is missing
or does not fit is a problem at the line that names it. What only a run knows, such as ``{{ ds }}``, is not asked for.
"""

import json
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Set, Tuple

from orchestrator import Location, Problem, did_you_mean, in_order, load

from tools.deploying.lookup import Denied, Missing, ask, usable
from tools.deploying.named import (
    Place,
    Thing,
    Use,
    by_thing,
    names_of_definitions,
    names_of_uses,
    place_of,
    uses_of,
)
from tools.deploying.permissions import (
    TASKS,
    check_permissions,
    needs_of_definitions,
    needs_of_uses,
    roles_of_task_definitions,
)
from tools.deploying.pools import check_pools
from tools.terminal import print_status

MAX_NAMES = 5  # names that a template stands for


def preflight(etl: Path, environment: str, role: Optional[str] = None, mwaa: Optional[str] = None) -> List[Problem]:
    """Return what the account lacks, or does not have as the definitions of an environment need it.

    Args:
        etl: The folder ``dags/etl``.
        environment: The name of an environment.
        role: ARN of MWAA's execution role; without it, nobody's permissions are looked at.
        mwaa: Name of the MWAA environment; without it, Airflow is not asked for its pools.

    Raises:
        CloudError: AWS cannot be asked.
    """
    found = load(etl, environment)
    if not found.definitions:
        return found.problems
    region = found.definitions[0].context.environment.region
    uses = uses_of(found.definitions)
    names = [*names_of_uses(uses, region), *names_of_definitions(found.definitions)]
    answers = ask(by_thing(names))
    names += roles_of_task_definitions(uses, region, answers)
    named = by_thing(names)
    answers.update(ask(set(named) - set(answers)))
    made = log_groups_made_by_ecs(uses, region, answers)
    problems = list(missing({thing: places for thing, places in named.items() if thing not in made}, answers))
    for use in uses:
        problems += check_cluster(use, region, answers)
        problems += check_task_definition(use, region, answers)
        problems += check_shell(use, region, answers)
    if role:
        needs = [*needs_of_uses(uses, region, answers), *needs_of_definitions(found.definitions, answers, role)]
        problems += check_permissions(found.definitions[0].context, role, needs)
    else:
        hint = "name MWAA's execution role: --role arn:aws:iam::<account>:role/<name>"
        print_status(f"what Airflow may do was not checked; {hint}")
    if mwaa:
        problems += check_pools(uses, region, mwaa)
    elif any(use.planned.task.pool for use in uses):
        print_status("whether Airflow has the pools was not checked; name the MWAA environment: --mwaa <name>")
    return in_order([*found.problems, *problems])


def log_groups_made_by_ecs(uses: Iterable[Use], region: str, answers: Mapping[Thing, Any]) -> Set[Thing]:
    """Return the log groups that are made with the first task, as task definitions of the console have it."""
    definitions = (usable(answers, Thing("task definition", use.names["task_definition"], region)) for use in uses)
    containers = (item for definition in definitions if definition for item in definition["containerDefinitions"])
    options = (item.get("logConfiguration", {}).get("options", {}) for item in containers)
    return {
        Thing("log group", option["awslogs-group"], option.get("awslogs-region", region))
        for option in options
        if option.get("awslogs-create-group") == "true" and "awslogs-group" in option
    }


def missing(named: Mapping[Thing, List[Place]], answers: Mapping[Thing, Any]) -> Iterator[Problem]:
    """Report what is not there, or not usable; what may not be looked at is reported once for each kind."""
    refused: Dict[Tuple[str, Denied], Problem] = {}
    # The names that a template stands for, by what they share: kind, region, hint and place.
    absent: Dict[Tuple[str, str, str, Location], Tuple[Place, List[str]]] = {}
    for thing, places in named.items():
        (kind, name, region), answer = thing, answers[thing]
        if isinstance(answer, Denied):
            message = f"the {kind} '{name}' cannot be looked at: these credentials need {answer.permission}"
            hint = "403 is also what S3 answers for a bucket of somebody else" if kind == "bucket" else ""
            refused.setdefault((kind, answer), places[0].problem(message, hint))
        elif isinstance(answer, Missing):
            where = "" if kind in ("bucket", "role") else f" in {region}"
            for location, place in {place.location: place for place in places}.items():
                key = kind, where, answer.hint, location
                absent.setdefault(key, (place, []))[1].append(f"'{name}'")
        elif not usable(answers, thing):  # as deleted clusters and deregistered revisions are
            hint = "ECS runs tasks only with what is ACTIVE"
            yield from (place.problem(f"the {kind} '{name}' is {answer['status']}", hint) for place in places)
        elif kind == "role" and TASKS not in json.dumps(answer["AssumeRolePolicyDocument"]):
            hint = f"its trust policy has to name {TASKS}"
            yield from (place.problem(f"ECS cannot take the role '{name}'", hint) for place in places)
    yield from refused.values()
    for (kind, where, hint, _), (place, names) in absent.items():
        more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
        yield place.problem(f"there is no {kind} {', '.join(sorted(names)[:MAX_NAMES])}{more}{where}", hint)


def check_cluster(use: Use, region: str, answers: Mapping[Thing, Any]) -> Iterator[Problem]:
    """Check that a cluster has its capacity providers, and that its network is one."""
    cluster = usable(answers, Thing("cluster", use.names["cluster"], region))
    if cluster:
        providers = cluster.get("capacityProviders") or []
        for index, item in enumerate(use.cluster.capacity_provider_strategy or ()):
            if item.capacity_provider not in providers:
                message = f"the cluster '{use.names['cluster']}' has no capacity provider '{item.capacity_provider}'"
                hint = did_you_mean(item.capacity_provider, providers) or "associate it with the cluster"
                place = Place(use.settings, ("capacity_provider_strategy", index, "capacity_provider"))
                yield place.problem(message, hint)
    first = None
    for kind, key in (("subnet", "subnets"), ("security group", "security_groups")):
        for index, name in enumerate(use.names[key]):
            answer = usable(answers, Thing(kind, name, region))
            if answer:
                first = first or (name, answer["VpcId"])
                if answer["VpcId"] != first[1]:
                    message = f"the {kind} '{name}' is in {answer['VpcId']}, and the subnet '{first[0]}' in {first[1]}"
                    yield Place(use.settings, (key, index)).problem(message, "a task's network is of one VPC")


def check_task_definition(use: Use, region: str, answers: Mapping[Thing, Any]) -> Iterator[Problem]:
    """Check that a task definition fits the cluster, and has the container with the log that Airflow will look for."""
    name, container = use.names["task_definition"], use.names["container"]
    definition = usable(answers, Thing("task definition", name, region))
    if not definition:
        return
    place = Place(use.planned.layers, ("task_definition",))
    cluster = place_of(Place(use.settings, ()))
    launch_type = "FARGATE" if use.cluster.is_fargate else use.cluster.launch_type
    compatible = definition.get("compatibilities") or []
    mode = definition.get("networkMode") or "bridge"
    if launch_type and launch_type not in compatible:
        message = f"the task definition '{name}' cannot run on {launch_type}, but on {' and '.join(compatible)}"
        yield place.problem(message, f"the cluster's settings are in {cluster}")
    elif (mode == "awsvpc") != bool(use.cluster.subnets):
        given = "gives it subnets" if use.cluster.subnets else "gives it no subnets"
        message = f"the task definition '{name}' has the network mode {mode}, and its cluster {given}"
        hint = f"subnets go with awsvpc, and only with it; the cluster's settings are in {cluster}"
        yield place.problem(message, hint)
    containers = {item["name"]: item for item in definition["containerDefinitions"]}
    if container in containers:
        yield from check_log(use, region, containers[container])
    elif "{" not in container:
        is_named = use.planned.task.container is not None
        hint = did_you_mean(container, containers)
        hint = hint if is_named else f"name it, as in 'container: {next(iter(containers))}'; {hint}"
        message = f"the task definition '{name}' has no container '{container}'"
        yield (Place(use.planned.layers, ("container",)) if is_named else place).problem(message, hint)


def check_shell(use: Use, region: str, answers: Mapping[Thing, Any]) -> Iterator[Problem]:
    """Check that a task in which people may open a shell has a role: ECS refuses to start it otherwise."""
    definition = usable(answers, Thing("task definition", use.names["task_definition"], region))
    has_role = use.names["task_role_arn"] or (definition or {}).get("taskRoleArn")
    if definition and use.planned.task.enable_execute_command and not has_role:
        message = f"the task definition '{use.names['task_definition']}' has no task role, which a shell needs"
        hint = "name one that may do what docs/operations.md says of a shell: taskRoleArn, or task_role_arn here"
        yield Place(use.planned.layers, ("enable_execute_command",)).problem(message, hint)


def check_log(use: Use, region: str, container: Mapping[str, Any]) -> Iterator[Problem]:
    """Check that a container writes its log where the cluster's settings say: that of Airflow stays empty otherwise."""
    logs = use.cluster.logs
    if logs is None:
        return
    configuration = container.get("logConfiguration") or {}
    options = {"awslogs-region": region, **configuration.get("options", {})}
    wanted = {
        "awslogs-group": logs.group,
        "awslogs-stream-prefix": logs.prefix,
        "awslogs-region": logs.region or region,
    }
    differences = [
        f"its {key} is {options.get(key) or 'not set'}, not {value}"
        for key, value in wanted.items()
        if options.get(key) != value
    ]
    if configuration.get("logDriver") != "awslogs":
        driver = configuration.get("logDriver")
        differences = [f"its log driver is {driver}, not awslogs" if driver else "it has no logConfiguration"]
    if differences:
        which = f"the container '{container['name']}' of '{use.names['task_definition']}'"
        hint = f"where Airflow looks is said in {place_of(Place(use.settings, ('logs',)))}"
        message = f"Airflow will not find the log of {which}: {', '.join(differences)}"
        yield Place(use.planned.layers, ("task_definition",)).problem(message, hint)
