"""./etl deploy ENVIRONMENT --preflight: whether the account has what the definitions name, by read-only calls.

A definition can be right and name a task definition that nobody has registered: ECS tells so at 3 at night. Here AWS
is asked before anything is deployed, once for each thing that the DAGs of an environment name, and what is missing or
does not fit is a problem at the line that names it. What only a run knows, such as ``{{ ds }}``, is not asked for.
"""

import json
import re
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from botocore.exceptions import ClientError, ParamValidationError

from tools import cloud
from tools.definitions import factory
from tools.rendering import render

Problem = factory.Problem
# Every operation that is called, none of which changes anything, and what IAM calls the permission for it.
PERMISSIONS = {
    "DescribeClusters": "ecs:DescribeClusters",
    "DescribeLogGroups": "logs:DescribeLogGroups",
    "DescribeSecurityGroups": "ec2:DescribeSecurityGroups",
    "DescribeSubnets": "ec2:DescribeSubnets",
    "DescribeTaskDefinition": "ecs:DescribeTaskDefinition",
    "GetRole": "iam:GetRole",
    "GetTopicAttributes": "sns:GetTopicAttributes",
    "HeadBucket": "s3:ListBucket",
    "ListClusters": "ecs:ListClusters",
    "ListTaskDefinitionFamilies": "ecs:ListTaskDefinitionFamilies",
    "ListTopics": "sns:ListTopics",
    "SimulatePrincipalPolicy": "iam:SimulatePrincipalPolicy",
}
# What MWAA's execution role has to be allowed for the factory's operator, sensor and alerts; the policy for it is in
# docs/operations.md. With what the definitions name is asked of IAM: see needs_of_uses and needs_of_definitions.
ROLE_PERMISSIONS = {
    "ecs:DescribeTasks",
    "ecs:ListTasks",
    "ecs:RunTask",
    "ecs:StopTask",
    "ecs:TagResource",
    "iam:PassRole",
    "logs:GetLogEvents",
    "s3:GetObject",
    "s3:ListBucket",
    "sns:Publish",
}
AT_ONCE = 4  # calls; ECS takes 20 a second of DescribeTaskDefinition, after the first 100
SHOWN = 5  # names that a template stands for
TOGETHER = 50  # resources in one question to IAM
TASKS = "ecs-tasks.amazonaws.com"  # what a role of a task has to trust
SOME_ID = "0" * 32  # of an ECS task
# Codes of the errors by which the services refuse to look, and by which they say that there is no such thing.
REFUSED = re.compile(r"AccessDenied|UnauthorizedOperation|AuthorizationError|^403$")
NOT_THERE = re.compile(r"NotFound|NoSuch|InvalidParameter|ValidationError|^ClientException$|^404$")


def preflight(etl: Path, environment: str, role: Optional[str] = None) -> List[Problem]:
    """Give what the account has not, or not as the definitions of an environment need it.

    Args:
        etl: The folder ``dags/etl``.
        environment: The name of an environment.
        role: ARN of MWAA's execution role; without it, nobody's permissions are looked at.

    Raises:
        CloudError: AWS cannot be asked.
    """
    found = factory.load(etl, environment)
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
    if role:
        needs = [*needs_of_uses(uses, region, answers), *needs_of_definitions(found.definitions, answers, role)]
        problems += check_permissions(found.definitions[0].context, role, needs)
    else:
        hint = "name MWAA's execution role: --role arn:aws:iam::<account>:role/<name>"
        print(f"etl: what Airflow may do was not looked at; {hint}", file=sys.stderr)
    return sorted({*found.problems, *problems})


# ------------------------------------------------------------------------------------------------- what is named


class Place(NamedTuple):
    """Where a definition names something."""

    layers: List[factory.Layer]
    path: factory.KeyPath

    def problem(self, message: str, hint: str = "") -> Problem:
        """Make a problem of it."""
        return factory.problem_in(self.layers, self.path, message, hint, "preflight")


class Thing(NamedTuple):
    """What AWS can be asked for: a kind of ``KINDS``, and a name or an ARN."""

    kind: str
    name: str
    region: str


class Use(NamedTuple):
    """What a task of one or more DAGs names, with ``env`` and ``provider`` filled in."""

    planned: factory.PlannedTask
    cluster: factory.Cluster
    settings: List[factory.Layer]  # the cluster's
    names: Mapping[str, Any]  # of the keys of the task and of the cluster


def uses_of(definitions: Iterable[factory.Definition]) -> List[Use]:
    """Give what the tasks name; what providers share is there once."""
    uses: Dict[Tuple[int, str], Use] = {}
    for definition in definitions:
        context = definition.context
        for planned in definition.plan.tasks.values():
            key = factory.PlainText(planned.task.cluster or "default")
            cluster = context.environment.clusters[key]
            overrides = planned.operator["overrides"]
            names = {
                "cluster": cluster.cluster,
                "subnets": cluster.subnets or [],
                "security_groups": cluster.security_groups or [],
                "task_definition": planned.task.task_definition,
                "container": overrides["containerOverrides"][0]["name"],
                "task_role_arn": planned.task.task_role_arn or "",
                "execution_role_arn": planned.task.execution_role_arn or "",
            }
            names = {name: fill(value, definition) for name, value in names.items()}
            settings = [factory.Layer(context.document, ("clusters", key))]
            uses.setdefault((id(planned), json.dumps(names)), Use(planned, cluster, settings, names))
    return list(uses.values())


def fill(value: Any, definition: factory.Definition) -> Any:
    """Fill in what the environment and the provider say; what only a run knows stays a template."""
    if isinstance(value, list):
        return [fill(item, definition) for item in value]
    if "{" not in value:
        return value
    return render(value, {name: SimpleNamespace(**values) for name, values in definition.variables.items()})[0]


def names_of_uses(uses: Iterable[Use], region: str) -> Iterator[Tuple[Thing, Place]]:
    """Give what the tasks name, each with its place."""
    for use in uses:
        yield Thing("cluster", use.names["cluster"], region), Place(use.settings, ("cluster",))
        for index, name in enumerate(use.names["subnets"]):
            yield Thing("subnet", name, region), Place(use.settings, ("subnets", index))
        for index, name in enumerate(use.names["security_groups"]):
            yield Thing("security group", name, region), Place(use.settings, ("security_groups", index))
        if use.cluster.logs:
            group = Thing("log group", use.cluster.logs.group, use.cluster.logs.region or region)
            yield group, Place(use.settings, ("logs", "group"))
        definition = Thing("task definition", use.names["task_definition"], region)
        yield definition, Place(use.planned.layers, ("task_definition",))
        for key in ("task_role_arn", "execution_role_arn"):
            yield Thing("role", use.names[key], region), Place(use.planned.layers, (key,))


def names_of_definitions(definitions: Iterable[factory.Definition]) -> Iterator[Tuple[Thing, Place]]:
    """Give what the DAGs name beside their tasks, each with its place."""
    for definition in definitions:
        environment = definition.context.environment
        if environment.alerts:
            topic = Thing("topic", environment.alerts.sns_topic_arn, environment.region)
            yield topic, Place([factory.Layer(definition.context.document, ())], ("alerts", "sns_topic_arn"))
        if definition.settings.wait_for:
            bucket, _ = delivery(definition)
            yield Thing("bucket", bucket, environment.region), Place(definition.layers, ("wait_for", "s3"))


def delivery(definition: factory.Definition) -> Tuple[str, str]:
    """Give bucket and key of the delivery that a DAG waits for."""
    address = (definition.settings.wait_for and definition.settings.wait_for.s3) or ""
    bucket, _, key = fill(address, definition).partition("://")[2].partition("/")
    return bucket, key


def roles_of_task_definitions(
    uses: Iterable[Use], region: str, answers: Mapping[Thing, Any]
) -> Iterator[Tuple[Thing, Place]]:
    """Give the roles that the task definitions themselves name, unless a task overrides them."""
    for use in uses:
        definition = usable(answers, Thing("task definition", use.names["task_definition"], region))
        for key, arn in (("task_role_arn", "taskRoleArn"), ("execution_role_arn", "executionRoleArn")):
            if definition and not use.names[key]:
                place = Place(use.planned.layers, ("task_definition",))
                yield Thing("role", definition.get(arn) or "", region), place


def log_groups_made_by_ecs(uses: Iterable[Use], region: str, answers: Mapping[Thing, Any]) -> Set[Thing]:
    """Give the log groups that are made with the first task, as task definitions of the console have it."""
    definitions = (usable(answers, Thing("task definition", use.names["task_definition"], region)) for use in uses)
    containers = (item for definition in definitions if definition for item in definition["containerDefinitions"])
    options = (item.get("logConfiguration", {}).get("options", {}) for item in containers)
    return {
        Thing("log group", option["awslogs-group"], option.get("awslogs-region", region))
        for option in options
        if option.get("awslogs-create-group") == "true" and "awslogs-group" in option
    }


def by_thing(names: Iterable[Tuple[Thing, Place]]) -> Dict[Thing, List[Place]]:
    """Give the places of each thing that is known before a run."""
    places: Dict[Thing, List[Place]] = {}
    for thing, place in names:
        if thing.name and "{" not in thing.name:
            places.setdefault(thing, []).append(place)
    return places


# -------------------------------------------------------------------------------------------------------- asking


class Missing(NamedTuple):
    """There is no such thing; the hint says which one could be meant."""

    hint: str


class Denied(NamedTuple):
    """The credentials may not look."""

    permission: str


class Kind(NamedTuple):
    """A kind of things: the service that has them, how many one call takes, the call, and what to say of no such one.

    The call gives what it finds by name; it raises ClientError, or leaves out what is not there.
    """

    service: str
    together: int
    find: Callable[[Any, List[str]], Dict[str, Any]]
    hint: Callable[[Any, str], str]


def find_clusters(ecs: Any, names: List[str]) -> Dict[str, Any]:
    """Ask for clusters by name or ARN."""
    clusters = ecs.describe_clusters(clusters=names)["clusters"]
    return {cluster[key]: cluster for cluster in clusters for key in ("clusterName", "clusterArn")}


def nearest_cluster(ecs: Any, name: str) -> str:
    """Say which cluster was meant."""
    return factory.nearest(last(name), map(last, ecs.list_clusters()["clusterArns"]))


def find_task_definition(ecs: Any, names: List[str]) -> Dict[str, Any]:
    """Ask for a task definition by family, family:revision or ARN."""
    return {names[0]: ecs.describe_task_definition(taskDefinition=names[0])["taskDefinition"]}


def nearest_task_definition(ecs: Any, name: str) -> str:
    """Say which revision or family was meant."""
    family, _, revision = last(name).partition(":")
    families = ecs.list_task_definition_families(familyPrefix=family[:3], status="ACTIVE")["families"]
    if revision and family in families:
        latest = ecs.describe_task_definition(taskDefinition=family)["taskDefinition"]["revision"]
        return f"the latest is '{family}:{latest}'"
    return factory.nearest(family, families)


def find_subnets(ec2: Any, names: List[str]) -> Dict[str, Any]:
    """Ask for subnets; by a filter, since ``SubnetIds`` fails for all where one is not there."""
    pages = ec2.get_paginator("describe_subnets").paginate(Filters=[{"Name": "subnet-id", "Values": names}])
    return {subnet["SubnetId"]: subnet for page in pages for subnet in page["Subnets"]}


def find_security_groups(ec2: Any, names: List[str]) -> Dict[str, Any]:
    """Ask for security groups."""
    pages = ec2.get_paginator("describe_security_groups").paginate(Filters=[{"Name": "group-id", "Values": names}])
    return {group["GroupId"]: group for page in pages for group in page["SecurityGroups"]}


def find_log_group(logs: Any, names: List[str]) -> Dict[str, Any]:
    """Ask for a log group: the first of those that begin with its name."""
    groups = logs.describe_log_groups(logGroupNamePrefix=names[0], limit=1)["logGroups"]
    return {group["logGroupName"]: group for group in groups}


def nearest_log_group(logs: Any, name: str) -> str:
    """Say which log group was meant."""
    groups = logs.describe_log_groups(logGroupNamePrefix=name.rpartition("/")[0] or name[:3])["logGroups"]
    return factory.nearest(name, (group["logGroupName"] for group in groups))


def find_topic(sns: Any, names: List[str]) -> Dict[str, Any]:
    """Ask for a topic by its ARN."""
    return {names[0]: sns.get_topic_attributes(TopicArn=names[0])["Attributes"]}


def nearest_topic(sns: Any, name: str) -> str:
    """Say which topic was meant."""
    return factory.nearest(name, (topic["TopicArn"] for topic in sns.list_topics()["Topics"]))


def find_bucket(s3: Any, names: List[str]) -> Dict[str, Any]:
    """Ask for a bucket."""
    return {names[0]: s3.head_bucket(Bucket=names[0])}


def find_role(iam: Any, names: List[str]) -> Dict[str, Any]:
    """Ask for a role by name or ARN; one of that name in another account or path is another one."""
    role = iam.get_role(RoleName=last(names[0]))["Role"]
    return {role[key]: role for key in ("RoleName", "Arn")}


def no_hint(client: Any, name: str) -> str:
    """Say nothing: there is no short list to choose from."""
    return ""


KINDS = {
    "cluster": Kind("ecs", 100, find_clusters, nearest_cluster),
    "task definition": Kind("ecs", 1, find_task_definition, nearest_task_definition),
    "subnet": Kind("ec2", 200, find_subnets, no_hint),
    "security group": Kind("ec2", 200, find_security_groups, no_hint),
    "log group": Kind("logs", 1, find_log_group, nearest_log_group),
    "topic": Kind("sns", 1, find_topic, nearest_topic),
    "bucket": Kind("s3", 1, find_bucket, no_hint),
    "role": Kind("iam", 1, find_role, no_hint),
}


def ask(things: Iterable[Thing]) -> Dict[Thing, Any]:
    """Ask AWS for things; gives what it says of each, Missing or Denied."""
    names: Dict[Tuple[str, str], List[str]] = {}
    for thing in sorted(things):
        names.setdefault((thing.kind, thing.region), []).append(thing.name)
    calls = []
    for (kind, region), of_kind in names.items():
        client = cloud.client(KINDS[kind].service, region)
        calls += [partial(look, kind, client, chunk) for chunk in chunks(of_kind, KINDS[kind].together)]
    return answers_of(calls)


def look(kind: str, client: Any, names: List[str]) -> Dict[Thing, Any]:
    """Ask one question of AWS; raises CloudError where it has no answer."""
    found: Dict[str, Any] = {}
    denied = None
    with cloud.explained(f"asking for the {kind} {names[0]}"), suppress(ParamValidationError):
        try:
            found = KINDS[kind].find(client, names)
        except ClientError as error:
            refused = REFUSED.search(code_of(error))
            if not refused and not NOT_THERE.search(code_of(error)):
                raise
            if len(names) > 1:  # only AWS knows which of them it is about
                return {thing: answer for name in names for thing, answer in look(kind, client, [name]).items()}
            denied = Denied(PERMISSIONS[error.operation_name]) if refused else None
    region = client.meta.region_name
    return {
        Thing(kind, name, region): denied or found.get(name) or Missing(hint_for(kind, client, name)) for name in names
    }


def hint_for(kind: str, client: Any, name: str) -> str:
    """Say what could be meant by a name that is not there; nothing where the credentials may not list what is."""
    with cloud.explained(f"asking for what could be meant by the {kind} {name}"):
        try:
            return KINDS[kind].hint(client, name)
        except ClientError as error:
            if not REFUSED.search(code_of(error)):
                raise
            return ""


def code_of(error: ClientError) -> str:
    """Give the code of an error; that of an answer without a body is its HTTP status."""
    return str(error.response["Error"]["Code"])


def answers_of(calls: Sequence[Callable[[], Dict[Any, Any]]]) -> Dict[Any, Any]:
    """Give what the calls answer, as one."""
    first = [call() for call in calls[:1]]  # alone: where AWS cannot be reached, each call takes half a minute
    rest = cloud.at_once(calls[1:], AT_ONCE, "asking")
    return {asked: answer for answers in [*first, *rest] for asked, answer in answers.items()}


def chunks(items: List[str], size: int) -> List[List[str]]:
    """Divide a list."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def last(arn: str) -> str:
    """Give the name at the end of an ARN, or the name."""
    return arn.rpartition("/")[2]


# ---------------------------------------------------------------------------------------------- what is not right


def missing(named: Mapping[Thing, List[Place]], answers: Mapping[Thing, Any]) -> Iterator[Problem]:
    """Tell what is not there, or not usable; what may not be looked at is told once for each kind."""
    refused: Dict[Tuple[str, Denied], Problem] = {}
    absent: Dict[Tuple[str, str, Problem], List[str]] = {}  # the names that a template stands for, by its place
    for thing, places in named.items():
        (kind, name, region), answer = thing, answers[thing]
        if isinstance(answer, Denied):
            message = f"the {kind} '{name}' cannot be looked at: these credentials need {answer.permission}"
            hint = "403 is also what S3 answers for a bucket of somebody else" if kind == "bucket" else ""
            refused.setdefault((kind, answer), places[0].problem(message, hint))
        elif isinstance(answer, Missing):
            for problem in {place.problem("", answer.hint) for place in places}:
                where = "" if kind in ("bucket", "role") else f" in {region}"
                absent.setdefault((kind, where, problem), []).append(f"'{name}'")
        elif not usable(answers, thing):  # as deleted clusters and deregistered revisions are
            hint = "ECS runs tasks only with what is ACTIVE"
            yield from (place.problem(f"the {kind} '{name}' is {answer['status']}", hint) for place in places)
        elif kind == "role" and TASKS not in json.dumps(answer["AssumeRolePolicyDocument"]):
            hint = f"its trust policy has to name {TASKS}"
            yield from (place.problem(f"ECS cannot take the role '{name}'", hint) for place in places)
    yield from refused.values()
    for (kind, where, problem), names in absent.items():
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        yield problem._replace(message=f"there is no {kind} {', '.join(sorted(names)[:SHOWN])}{more}{where}")


def usable(answers: Mapping[Thing, Any], thing: Thing) -> Optional[Mapping[str, Any]]:
    """Give what AWS says of a thing that is there and active; None for any other."""
    answer = answers.get(thing)
    return answer if isinstance(answer, dict) and answer.get("status", "ACTIVE") == "ACTIVE" else None


def check_cluster(use: Use, region: str, answers: Mapping[Thing, Any]) -> Iterator[Problem]:
    """Check that a cluster has its capacity providers, and that its network is one."""
    cluster = usable(answers, Thing("cluster", use.names["cluster"], region))
    if cluster:
        providers = cluster.get("capacityProviders") or []
        for index, item in enumerate(use.cluster.capacity_provider_strategy or ()):
            if item.capacity_provider not in providers:
                message = f"the cluster '{use.names['cluster']}' has no capacity provider '{item.capacity_provider}'"
                hint = factory.nearest(item.capacity_provider, providers) or "associate it with the cluster"
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
        hint = factory.nearest(container, containers)
        hint = hint if is_named else f"name it, as in 'container: {next(iter(containers))}'; {hint}"
        message = f"the task definition '{name}' has no container '{container}'"
        yield (Place(use.planned.layers, ("container",)) if is_named else place).problem(message, hint)


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
    wrong = [
        f"its {key} is {options.get(key) or 'not set'}, not {value}"
        for key, value in wanted.items()
        if options.get(key) != value
    ]
    if configuration.get("logDriver") != "awslogs":
        driver = configuration.get("logDriver")
        wrong = [f"its log driver is {driver}, not awslogs" if driver else "it has no logConfiguration"]
    if wrong:
        which = f"the container '{container['name']}' of '{use.names['task_definition']}'"
        hint = f"where Airflow looks is said in {place_of(Place(use.settings, ('logs',)))}"
        message = f"Airflow will not find the log of {which}: {', '.join(wrong)}"
        yield Place(use.planned.layers, ("task_definition",)).problem(message, hint)


def place_of(place: Place) -> str:
    """Give path:line of a place, for a hint."""
    problem = place.problem("")
    return f"{problem.path}:{problem.line}"


# --------------------------------------------------------------------------------------------- what Airflow may do


class Need(NamedTuple):
    """What Airflow has to be allowed: an action of IAM on a resource, and what the request says beside."""

    action: str
    resource: str
    context: Tuple[Tuple[str, str], ...] = ()


def needs_of_uses(uses: Iterable[Use], region: str, answers: Mapping[Thing, Any]) -> Iterator[Tuple[Need, Place]]:
    """Give what the factory's operator does for a task: see EcsTask and LogTail in dags/etl/factory.py."""
    for use in uses:
        cluster = usable(answers, Thing("cluster", use.names["cluster"], region))
        definition = usable(answers, Thing("task definition", use.names["task_definition"], region))
        if cluster:
            arn, place = cluster["clusterArn"], Place(use.settings, ("cluster",))
            there, task = (("ecs:cluster", arn),), f"{arn.replace(':cluster/', ':task/')}/{SOME_ID}"
            yield Need("ecs:DescribeTasks", task, there), place
            yield Need("ecs:StopTask", task, there), place
            yield Need("ecs:ListTasks", "*", there), place  # it knows no other resource
            if use.planned.operator["tags"]:
                create = (("ecs:CreateAction", "RunTask"),)
                yield Need("ecs:TagResource", task, create), Place(use.planned.layers, ("tags",))
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
    definitions: Iterable[factory.Definition], answers: Mapping[Thing, Any], role: str
) -> Iterator[Tuple[Need, Place]]:
    """Give what the delivery sensor and the alerts do; of the providers that wait alike, one is asked for."""
    arn = f"{role.partition(':iam:')[0]}:s3:::"
    addresses = set()
    for definition in definitions:
        for thing, place in names_of_definitions([definition]):
            if not usable(answers, thing):
                continue
            if thing.kind == "topic":
                yield Need("sns:Publish", thing.name), place
            elif definition.settings.wait_for and (thing.name, definition.settings.wait_for.s3) not in addresses:
                addresses.add((thing.name, definition.settings.wait_for.s3))
                key = re.sub(r"\{\{.*?\}\}|\{%.*?%\}|\s", "x", delivery(definition)[1])
                prefix = (("s3:prefix", re.split(r"[*?]", key)[0]),)
                yield Need("s3:ListBucket", f"{arn}{thing.name}", prefix), place
                yield Need("s3:GetObject", f"{arn}{thing.name}/{re.sub('[*?]', 'x', key)}"), place


def check_permissions(context: factory.Context, role: str, needs: Iterable[Tuple[Need, Place]]) -> List[Problem]:
    """Ask IAM whether a role may do what Airflow will do; what it may not is told once for an action and a place."""
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
        for chunk in chunks(resources, TOGETHER)
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
    problems: Dict[Tuple[str, str, int, int], Problem] = {}
    for need, decision in decisions.items():
        if decision != "allowed":
            more = "add it to its policy; docs/operations.md has one, under Execution role of MWAA"
            why = "a statement of its policies denies it" if decision == "explicitDeny" else more
            problem = places[need].problem(f"the role '{last(role)}' may not {need.action} on {need.resource}", why)
            problems.setdefault((need.action, problem.path, problem.line, problem.column), problem)
    return list(problems.values())


def simulate(
    iam: Any, role: str, action: str, resources: List[str], context: Iterable[Tuple[str, str]]
) -> Dict[Need, Any]:
    """Ask IAM whether a role may do something with resources; gives its decision for each, Denied or Missing."""
    entries = [
        {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"} for key, value in context
    ]
    decisions: Dict[str, Any] = {}
    decision: Any = None
    with cloud.explained(f"asking what {role} may do"):
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
