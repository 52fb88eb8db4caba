"""What Airflow has to be allowed, and whether IAM allows it to a role."""

import re
from functools import partial
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Tuple

from botocore.exceptions import ClientError
from orchestrator import Context, Definition, Location, Problem

from tools.deploying import cloud
from tools.deploying.lookup import PERMISSIONS, REFUSED, Denied, Missing, answers_of, chunks, code_of, last, usable
from tools.deploying.named import Place, Thing, Use, deliveries, names_of_definitions, names_of_uses

# What MWAA's execution role has to be allowed for the operator, the sensor and the alerts; docs/operations.md has the
# policy. IAM is asked for it with what the definitions name: see needs_of_uses and needs_of_definitions.
ROLE_PERMISSIONS = {
    "ecs:DescribeTasks",
    "ecs:ListTasks",
    "ecs:RunTask",
    "ecs:StopTask",
    "ecs:TagResource",
    "iam:PassRole",
    "logs:GetLogEvents",
    "s3:ListBucket",
    "sns:Publish",
}
MAX_RESOURCES = 50  # resources in one question to IAM
TASKS = "ecs-tasks.amazonaws.com"  # what a role of a task has to trust
SOME_ID = "0" * 32  # of an ECS task


def roles_of_task_definitions(
    uses: Iterable[Use], region: str, answers: Mapping[Thing, Any]
) -> Iterator[Tuple[Thing, Place]]:
    """Yield the roles that the task definitions themselves name, unless a task overrides them."""
    for use in uses:
        definition = usable(answers, Thing("task definition", use.names["task_definition"], region))
        for key, arn in (("task_role_arn", "taskRoleArn"), ("execution_role_arn", "executionRoleArn")):
            if definition and not use.names[key]:
                place = Place(use.planned.layers, ("task_definition",))
                yield Thing("role", definition.get(arn) or "", region), place


class Need(NamedTuple):
    """What Airflow has to be allowed: an action of IAM on a resource, and what the request says beside."""

    action: str
    resource: str
    context: Tuple[Tuple[str, str], ...] = ()


def needs_of_uses(uses: Iterable[Use], region: str, answers: Mapping[Thing, Any]) -> Iterator[Tuple[Need, Place]]:
    """Yield what the operator does for a task: see EcsTask and LogTail in orchestrator/operators.py."""
    for use in uses:
        cluster = usable(answers, Thing("cluster", use.names["cluster"], region))
        definition = usable(answers, Thing("task definition", use.names["task_definition"], region))
        if cluster:
            arn, place = cluster["clusterArn"], Place(use.settings, ("cluster",))
            there, task = (("ecs:cluster", arn),), f"{arn.replace(':cluster/', ':task/')}/{SOME_ID}"
            yield Need("ecs:DescribeTasks", task, there), place
            yield Need("ecs:StopTask", task, there), place
            yield Need("ecs:ListTasks", "*", there), place  # it knows no other resource
            tagging = [key for key in ("tags", "propagate_tags") if use.planned.operator[key]]
            if tagging:
                create = (("ecs:CreateAction", "RunTask"),)
                yield Need("ecs:TagResource", task, create), Place(use.planned.layers, (tagging[0],))
            if definition:
                place = Place(use.planned.layers, ("task_definition",))
                yield Need("ecs:RunTask", definition["taskDefinitionArn"], there), place
        roles = [*names_of_uses([use], region), *roles_of_task_definitions([use], region, answers)]
        for thing, place in roles:
            answer = usable(answers, thing)
            if answer and thing.kind == "role":
                yield Need("iam:PassRole", answer["Arn"], (("iam:PassedToService", TASKS),)), place
            elif answer and thing.kind == "log group":
                stream = f"{use.planned.operator['awslogs_stream_prefix']}/{SOME_ID}"
                resource = f"{re.sub(r':[*]$', '', answer['arn'])}:log-stream:{stream}"
                yield Need("logs:GetLogEvents", resource), place


def needs_of_definitions(
    definitions: Iterable[Definition], answers: Mapping[Thing, Any], role: str
) -> Iterator[Tuple[Need, Place]]:
    """Yield what the delivery sensor and the alerts do; of the providers that wait alike, one is asked for."""
    arn = f"{role.partition(':iam:')[0]}:s3:::"
    definitions = list(definitions)
    for thing, place in names_of_definitions(definitions):
        if thing.kind == "topic" and usable(answers, thing):
            yield Need("sns:Publish", thing.name), place
    addresses = set()
    for thing, place, key, address in deliveries(definitions):
        if usable(answers, thing) and (thing.name, address) not in addresses:
            addresses.add((thing.name, address))
            key = re.sub(r"\{\{.*?\}\}|\{%.*?%\}|\s", "x", key)
            prefix = (("s3:prefix", re.split(r"[*?]", key)[0]),)
            yield Need("s3:ListBucket", f"{arn}{thing.name}", prefix), place


def check_permissions(context: Context, role: str, needs: Iterable[Tuple[Need, Place]]) -> List[Problem]:
    """Ask IAM whether a role may do what Airflow will do; report each action at a place once."""
    places: Dict[Need, Place] = {}
    for need, place in needs:
        places.setdefault(need, place)
    groups: Dict[Tuple[str, Tuple[Tuple[str, str], ...]], List[str]] = {}
    for need in places:
        groups.setdefault((need.action, need.context), []).append(need.resource)
    iam = cloud.client("iam", context.environment.region)
    calls = [
        partial(simulate, iam, role, action, chunk, entries)
        for (action, entries), resources in groups.items()
        for chunk in chunks(resources, MAX_RESOURCES)
    ]
    decisions = answers_of(calls)
    if Denied(PERMISSIONS["SimulatePrincipalPolicy"]) in decisions.values():
        message = f"what the role '{last(role)}' may do cannot be looked at"
        hint = f"these credentials need {PERMISSIONS['SimulatePrincipalPolicy']}"
        return [context.document.problem((), message, hint, "preflight")]
    if Missing("") in decisions.values():
        message = f"there is no role '{role}', so that what Airflow may do was not looked at"
        hint = "which one it is: aws mwaa get-environment --query Environment.ExecutionRoleArn --name <environment>"
        return [context.document.problem((), message, hint, "preflight")]
    problems: Dict[Tuple[str, Location], Problem] = {}
    for need, decision in decisions.items():
        if decision != "allowed":
            more = "add it to its policy; docs/operations.md has one, under Execution role of MWAA"
            why = "a statement of its policies denies it" if decision == "explicitDeny" else more
            problem = places[need].problem(f"the role '{last(role)}' may not {need.action} on {need.resource}", why)
            problems.setdefault((need.action, problem.location), problem)
    return list(problems.values())


def simulate(
    iam: Any, role: str, action: str, resources: List[str], context: Iterable[Tuple[str, str]]
) -> Dict[Need, Any]:
    """Ask IAM whether a role may do something with resources; return its decision for each, Denied or Missing."""
    entries = [
        {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"} for key, value in context
    ]
    decisions: Dict[str, Any] = {}
    decision: Any = None
    with cloud.explain_errors(f"asking what {role} may do"):
        try:
            for page in iam.get_paginator("simulate_principal_policy").paginate(
                PolicySourceArn=role, ActionNames=[action], ResourceArns=resources, ContextEntries=entries
            ):
                for result in page["EvaluationResults"]:
                    decision = result["EvalDecision"]  # on all of them
                    for specific in result.get("ResourceSpecificResults", ()):
                        decisions[specific["EvalResourceName"]] = specific["EvalResourceDecision"]
        except ClientError as error:
            if code_of(error) == "NoSuchEntity":
                decision = Missing("")
            elif REFUSED.search(code_of(error)):
                decision = Denied(PERMISSIONS[error.operation_name])
            else:
                raise
    return {Need(action, resource, tuple(context)): decisions.get(resource, decision) for resource in resources}
