"""Asking AWS, by read-only calls, for what the definitions name."""

import re
from contextlib import suppress
from functools import partial
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from botocore.exceptions import ClientError, ParamValidationError
from orchestrator import did_you_mean

from tools.deploying import cloud
from tools.deploying.named import Thing

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
CALLS_IN_PARALLEL = 4  # calls; ECS takes 20 a second of DescribeTaskDefinition, after the first 100
# Codes of the errors by which the services refuse to look, and by which they say that there is no such thing.
REFUSED = re.compile(r"AccessDenied|UnauthorizedOperation|AuthorizationError|^403$")
NOT_THERE = re.compile(r"NotFound|NoSuch|InvalidParameter|ValidationError|^ClientException$|^404$")


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
    """Return which cluster was meant."""
    return did_you_mean(last(name), map(last, ecs.list_clusters()["clusterArns"]))


def find_task_definition(ecs: Any, names: List[str]) -> Dict[str, Any]:
    """Ask for a task definition by family, family:revision or ARN."""
    return {names[0]: ecs.describe_task_definition(taskDefinition=names[0])["taskDefinition"]}


def nearest_task_definition(ecs: Any, name: str) -> str:
    """Return which revision or family was meant."""
    family, _, revision = last(name).partition(":")
    families = ecs.list_task_definition_families(familyPrefix=family[:3], status="ACTIVE")["families"]
    if revision and family in families:
        latest = ecs.describe_task_definition(taskDefinition=family)["taskDefinition"]["revision"]
        return f"the latest is '{family}:{latest}'"
    return did_you_mean(family, families)


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
    """Return which log group was meant."""
    groups = logs.describe_log_groups(logGroupNamePrefix=name.rpartition("/")[0] or name[:3])["logGroups"]
    return did_you_mean(name, (group["logGroupName"] for group in groups))


def find_topic(sns: Any, names: List[str]) -> Dict[str, Any]:
    """Ask for a topic by its ARN."""
    return {names[0]: sns.get_topic_attributes(TopicArn=names[0])["Attributes"]}


def nearest_topic(sns: Any, name: str) -> str:
    """Return which topic was meant."""
    return did_you_mean(name, (topic["TopicArn"] for topic in sns.list_topics()["Topics"]))


def find_bucket(s3: Any, names: List[str]) -> Dict[str, Any]:
    """Ask for a bucket."""
    return {names[0]: s3.head_bucket(Bucket=names[0])}


def find_role(iam: Any, names: List[str]) -> Dict[str, Any]:
    """Ask for a role by name or ARN; one of that name in another account or path is another one."""
    role = iam.get_role(RoleName=last(names[0]))["Role"]
    return {role[key]: role for key in ("RoleName", "Arn")}


def no_hint(client: Any, name: str) -> str:
    """Return no hint: there is no short list to choose from."""
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
    """Ask AWS for things; return what it says of each, Missing or Denied."""
    names: Dict[Tuple[str, str], List[str]] = {}
    for thing in sorted(things):
        names.setdefault((thing.kind, thing.region), []).append(thing.name)
    calls = []
    for (kind, region), of_kind in names.items():
        client = cloud.client(KINDS[kind].service, region)
        calls += [partial(look, kind, client, chunk) for chunk in chunks(of_kind, KINDS[kind].together)]
    return answers_of(calls)


def look(kind: str, client: Any, names: List[str]) -> Dict[Thing, Any]:
    """Ask one question of AWS; raise CloudError where it has no answer."""
    found: Dict[str, Any] = {}
    denied = None
    with cloud.explain_errors(f"asking for the {kind} {names[0]}"), suppress(ParamValidationError):
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
    """Return what could be meant by a name that is not there; nothing where the credentials may not list what is."""
    with cloud.explain_errors(f"asking for what could be meant by the {kind} {name}"):
        try:
            return KINDS[kind].hint(client, name)
        except ClientError as error:
            if not REFUSED.search(code_of(error)):
                raise
            return ""


def code_of(error: ClientError) -> str:
    """Return the code of an error; that of an answer without a body is its HTTP status."""
    return str(error.response["Error"]["Code"])


def answers_of(calls: Sequence[Callable[[], Dict[Any, Any]]]) -> Dict[Any, Any]:
    """Return what the calls answer, as one."""
    first = [call() for call in calls[:1]]  # alone: where AWS cannot be reached, each call takes half a minute
    rest = cloud.in_parallel(calls[1:], CALLS_IN_PARALLEL, "asking")
    return {asked: answer for answers in [*first, *rest] for asked, answer in answers.items()}


def chunks(items: List[str], size: int) -> List[List[str]]:
    """Divide a list."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def last(arn: str) -> str:
    """Return the name at the end of an ARN, or the name."""
    return arn.rpartition("/")[2]


def usable(answers: Mapping[Thing, Any], thing: Thing) -> Optional[Mapping[str, Any]]:
    """Return what AWS says of a thing that is there and active; None for any other."""
    answer = answers.get(thing)
    return answer if isinstance(answer, dict) and answer.get("status", "ACTIVE") == "ACTIVE" else None
