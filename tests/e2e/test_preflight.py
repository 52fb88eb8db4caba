"""The preflight reports what the account lacks, before a deploy; its definitions are in tests/data/preflight."""

import json
import re
import shutil
import subprocess
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from orchestrator import load

from tests import goldens
from tests.documents import blocks
from tests.e2e.agent import Agent
from tests.e2e.emulated import REGION, Emulated
from tests.goldens import Golden
from tests.trees import DATA, folder_tree, tree
from tools import ROOT
from tools.deploying import cloud, lookup, permissions, preflight
from tools.setup.environments import DEFINITIONS

SOURCE = DATA / "preflight"
ROLE = "arn:aws:iam::123456789012:role/{}"
AIRFLOW = ROLE.format("airflow")
# The policy of Airflow, as narrow as a person would write it; each action is removed once.
TASKS = f"arn:aws:ecs:{REGION}:123456789012:task/etl/*"
HERE = {"StringEquals": {"ecs:cluster": f"arn:aws:ecs:{REGION}:123456789012:cluster/etl"}}
POLICY: Dict[str, Dict[str, Any]] = {
    "ecs:RunTask": {"Resource": f"arn:aws:ecs:{REGION}:123456789012:task-definition/*:*", "Condition": HERE},
    "ecs:DescribeTasks": {"Resource": TASKS},
    "ecs:StopTask": {"Resource": TASKS, "Condition": HERE},
    "ecs:ListTasks": {"Resource": "*", "Condition": HERE},
    "ecs:TagResource": {"Resource": TASKS, "Condition": {"StringEquals": {"ecs:CreateAction": "RunTask"}}},
    "iam:PassRole": {
        "Resource": [ROLE.format("task"), ROLE.format("execution")],
        "Condition": {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
    },
    "logs:GetLogEvents": {"Resource": f"arn:aws:logs:{REGION}:123456789012:log-group:/ecs/etl:log-stream:etl/*"},
    "sns:Publish": {"Resource": f"arn:aws:sns:{REGION}:123456789012:alerts"},
    "s3:ListBucket": {"Resource": "arn:aws:s3:::deliveries", "Condition": {"StringEquals": {"s3:prefix": "un/x/"}}},
}
# The error code with which each service refuses an operation.
REFUSALS = {
    "DescribeClusters": "AccessDeniedException",
    "DescribeLogGroups": "AccessDeniedException",
    "DescribeSecurityGroups": "UnauthorizedOperation",
    "DescribeSubnets": "UnauthorizedOperation",
    "DescribeTaskDefinition": "AccessDeniedException",
    "GetRole": "AccessDenied",
    "GetTopicAttributes": "AuthorizationError",
    "HeadBucket": "AccessDenied",
}
LISTS = {
    "ListClusters": "AccessDeniedException",
    "ListTaskDefinitionFamilies": "AccessDeniedException",
    "ListTopics": "AuthorizationError",
}
# The problems of a role that lacks one of the actions: place and resource.
CONFIG, PIPELINE = "configs/right.yaml", "pipelines/cwr/right.yaml"
SOME_TASK = f"arn:aws:ecs:{REGION}:123456789012:task/etl/{'0' * 32}"
TASK_DEFINITION = f"arn:aws:ecs:{REGION}:123456789012:task-definition/"
STREAM = f"arn:aws:logs:{REGION}:123456789012:log-group:/ecs/etl:log-stream:etl/fetch/{'0' * 32}"
LACKING = {
    "ecs:RunTask": [
        (f"{PIPELINE}:5:28", f"{TASK_DEFINITION}fetch:2"),
        (f"{PIPELINE}:6:28", f"{TASK_DEFINITION}fetch:1"),
        (f"{PIPELINE}:8:31", f"{TASK_DEFINITION}bridged:1"),
        (f"{PIPELINE}:15:26", f"{TASK_DEFINITION}maker:1"),
    ],
    "ecs:DescribeTasks": [(f"{CONFIG}:6:14", SOME_TASK)],
    "ecs:StopTask": [(f"{CONFIG}:6:14", SOME_TASK)],
    "ecs:ListTasks": [(f"{CONFIG}:6:14", "*")],
    "ecs:TagResource": [(f"{CONFIG}:27:3", SOME_TASK)],
    "iam:PassRole": [(f"{PIPELINE}:5:28", ROLE.format("execution")), (f"{PIPELINE}:12:20", ROLE.format("task"))],
    "logs:GetLogEvents": [(f"{CONFIG}:10:19", STREAM)],
    "sns:Publish": [(f"{CONFIG}:25:28", f"arn:aws:sns:{REGION}:123456789012:alerts")],
    "s3:ListBucket": [(f"{PIPELINE}:3:16", "arn:aws:s3:::deliveries")],
}
# Runs in a process of its own, like ./etl deploy; prints the problems for each role and every call that was made.
CODE = """
import json, sys
from pathlib import Path
import boto3
from tools.deploying import cloud, preflight
calls = []
boto3.setup_default_session()
boto3.DEFAULT_SESSION.events.register("before-call", lambda model, **_: calls.append(model.name))
etl, environment, *roles = sys.argv[1:]
try:
    reports = [preflight.preflight(Path(etl), environment, role) for role in roles or [None]]
except cloud.CloudError as error:
    print(json.dumps([[], calls]))
    sys.exit(f"etl deploy: {error}")
print(json.dumps([["\\n\\n".join(map(str, report)) for report in reports], calls]))
"""


class Answer(NamedTuple):
    """The result of a preflight."""

    reports: List[str]
    calls: List[str]
    errors: str


class Account:
    """The emulated account, and the definitions that name its resources."""

    def __init__(self, aws: Emulated, folder: Path) -> None:
        self.aws, self.agent = aws, Agent(aws.address)
        self.ids = fill(aws)
        self.etl = folder_tree(folder, SOURCE)
        for file in self.etl.glob("configs/*.yaml"):
            text = file.read_text()
            for id_of_ours, made in self.ids.items():
                text = text.replace(id_of_ours, made)
            file.write_text(text)
        self.environ = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": aws.address,
        }

    def ask(self, environment: str, *roles: str, etl: Optional[Path] = None, **environ: str) -> Answer:
        """Run the preflight of an environment, once for each role."""
        command = [str(DEFINITIONS.python), "-c", CODE, str(etl or self.etl), environment, *roles]
        done = subprocess.run(
            command, cwd=ROOT, env={**self.environ, **environ}, capture_output=True, text=True, check=False
        )
        reports, calls = json.loads(self.with_our_ids(done.stdout))
        return Answer(reports, calls, done.stderr)

    def with_our_ids(self, text: str) -> str:
        """Replace the ids that AWS has made with those of tests/data/preflight, which are as long."""
        for id_of_ours, made in self.ids.items():
            text = text.replace(made, id_of_ours)
        return text

    def deploy(self, folder: Path, environment: str, *options: str) -> "subprocess.CompletedProcess[str]":
        """Run ``./etl deploy --preflight`` in a checkout that has these definitions."""
        shutil.copytree(str(ROOT / "tools"), str(folder / "tools"), ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(str(self.etl), str(folder / "dags" / "etl"))
        command = [str(DEFINITIONS.python), "-m", "tools.commands.deploy", environment, "--preflight", *options]
        return subprocess.run(command, cwd=folder, env=self.environ, capture_output=True, text=True, check=False)

    @contextmanager
    def refusing(self, refusals: Dict[str, str]) -> Iterator[None]:
        """Make the services refuse some operations."""
        for operation, code in refusals.items():
            self.agent.add_fault(operation, code)
        try:
            yield
        finally:
            self.agent.clear_faults()


def fill(aws: Emulated) -> Dict[str, str]:
    """Create the resources that the definitions name; return the ids that AWS makes."""
    ecs, iam, logs = aws.client("ecs"), aws.client("iam"), aws.client("logs")
    for cluster in ("etl", "bare", "closed"):
        ecs.create_cluster(clusterName=cluster)
    providers = ["etl-big", "FARGATE_SPOT"]
    ecs.put_cluster_capacity_providers(cluster="etl", capacityProviders=providers, defaultCapacityProviderStrategy=[])
    ecs.delete_cluster(cluster="closed")
    for task_definition in task_definitions():
        ecs.register_task_definition(**task_definition)
    ecs.deregister_task_definition(taskDefinition="old:1")
    for group in ("/ecs/etl", "/ecs/etl-more"):
        logs.create_log_group(logGroupName=group)
    location = {"LocationConstraint": REGION}
    aws.client("s3").create_bucket(Bucket="deliveries", CreateBucketConfiguration=location)
    aws.client("sns").create_topic(Name="alerts")
    for role, service in (("task", "ecs-tasks"), ("execution", "ecs-tasks"), ("distrustful", "ec2")):
        make_role(iam, role, service)
    deny = {"Effect": "Deny", "Action": "sns:*", "Resource": "*"}
    make_role(iam, "airflow", "airflow", *statements())
    make_role(iam, "denied", "airflow", *statements(), deny)
    of_fetch = {"Action": "ecs:RunTask", "Resource": f"{TASK_DEFINITION}fetch:*"}
    make_role(iam, "narrow", "airflow", *statements("ecs:RunTask"), {"Effect": "Allow", **of_fetch})
    make_role(iam, "elsewhere", "airflow", *(under_other_conditions(statement) for statement in statements()))
    for action in POLICY:
        make_role(iam, f"without-{action.replace(':', '-')}", "airflow", *statements(action))
    return make_networks(aws.client("ec2"))


def task_definitions() -> Iterator[Dict[str, Any]]:
    """Yield the task definitions: valid ones, and ones with one mistake each."""
    options = {"awslogs-group": "/ecs/etl", "awslogs-stream-prefix": "etl", "awslogs-region": REGION}
    fargate = {"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc"}

    def container(name: str, driver: str = "awslogs", **more: str) -> Dict[str, Any]:
        log = {"logDriver": driver, "options": {**options, **{f"awslogs-{key}": more[key] for key in more}}}
        return {"name": name, "image": name, "memory": 512, "logConfiguration": log}

    execution = {"executionRoleArn": ROLE.format("execution")}
    fetch = {"family": "fetch", "containerDefinitions": [container("side"), container("fetch")], **fargate, **execution}
    yield from (fetch, fetch)
    yield {"family": "bridged", "containerDefinitions": [container("main")]}
    yield {"family": "old", "containerDefinitions": [container("fetch")], **fargate}
    yield {"family": "pair", "containerDefinitions": [container("main"), container("side")], **fargate}
    yield {"family": "heavy", "containerDefinitions": [container("heavy")], "networkMode": "awsvpc"}
    yield {
        "family": "silent",
        "containerDefinitions": [{"name": "silent", "image": "silent", "memory": 512}],
        **fargate,
    }
    elsewhere = {"group": "/ecs/other", "stream-prefix": "logs", "region": "us-east-1"}
    yield {"family": "elsewhere", "containerDefinitions": [container("elsewhere", **elsewhere)], **fargate}
    yield {"family": "splunk", "containerDefinitions": [container("splunk", "splunk")], **fargate}
    yield {"family": "astray", "containerDefinitions": [container("astray", group="/ecs/et")], **fargate}
    yield {"family": "abroad", "containerDefinitions": [container("abroad", region="us-east-1")], **fargate}
    made = container("maker", group="/ecs/made", **{"create-group": "true"})
    del made["logConfiguration"]["options"]["awslogs-region"]  # it defaults to the region of the task
    yield {"family": "maker", "containerDefinitions": [made], **fargate}
    orphan = {"family": "orphan", "containerDefinitions": [container("orphan")], "taskRoleArn": ROLE.format("gone")}
    yield {**orphan, **fargate, **execution}


def statements(without: str = "") -> List[Dict[str, Any]]:
    """Return the policy of MWAA's role, without one action if it is given."""
    return [{"Effect": "Allow", "Action": action, **rest} for action, rest in POLICY.items() if action != without]


def under_other_conditions(statement: Dict[str, Any]) -> Dict[str, Any]:
    """Return a statement that allows the same under conditions that are not met."""
    conditions = statement.get("Condition", {})
    return {**statement, "Condition": {how: dict.fromkeys(keys, "other") for how, keys in conditions.items()}}


def make_role(iam: Any, name: str, service: str, *policy: Dict[str, Any]) -> None:
    """Create a role that a service may assume, with statements."""
    principal = {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [principal]})
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
    if policy:
        document = json.dumps({"Version": "2012-10-17", "Statement": policy})
        iam.put_role_policy(RoleName=name, PolicyName="what-it-may", PolicyDocument=document)


def make_networks(ec2: Any) -> Dict[str, str]:
    """Create two VPCs; return the ids of their resources by the ids that the definitions use."""
    here, elsewhere = (ec2.create_vpc(CidrBlock=f"10.{number}.0.0/16")["Vpc"]["VpcId"] for number in (0, 1))
    ids = {"vpc-00000000000000001": here, "vpc-0000000000000000e": elsewhere}
    for number, vpc, block in (("1", here, "10.0.0"), ("2", here, "10.0.1"), ("e", elsewhere, "10.1.0")):
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=f"{block}.0/24")["Subnet"]["SubnetId"]
        group = ec2.create_security_group(GroupName=number, Description=number, VpcId=vpc)["GroupId"]
        ids.update({f"subnet-0000000000000000{number}": subnet, f"sg-0000000000000000{number}": group})
    return ids


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    aws = Emulated()
    yield Account(aws, tmp_path_factory.mktemp("preflight"))
    aws.end()


@pytest.fixture(scope="module")
def right(account: Account) -> Answer:
    return account.ask("right", AIRFLOW)


@pytest.fixture(scope="module")
def wrong(account: Account) -> Answer:
    return account.ask("wrong")


@pytest.fixture(scope="module")
def lacking(account: Account) -> Dict[str, str]:
    """Return the report for each role that lacks one action, by that action, and for three other roles."""
    roles = [*(f"without-{action.replace(':', '-')}" for action in POLICY), "denied", "narrow", "elsewhere"]
    return dict(zip([*POLICY, "denied", "narrow", "elsewhere"], account.ask("right", *map(ROLE.format, roles)).reports))


def heads(report: str) -> List[str]:
    """Return the first line of each problem."""
    return [line for line in report.splitlines() if line.endswith("[preflight]")]


def test_the_policy_equals_the_permissions_of_the_role() -> None:
    assert set(POLICY) == permissions.ROLE_PERMISSIONS  # the tests below find no action superfluous or missing


def test_a_complete_account_has_no_problem(right: Answer) -> None:
    assert right.reports == [""]
    assert right.errors == ""


@goldens.at("preflight/wrong.txt")
def test_missing_or_unsuitable_resources_are_reported_once_where_they_are_named(wrong: Answer, golden: Golden) -> None:
    (report,) = wrong.reports
    golden.check(f"{report}\n")


def test_deploy_prints_the_report(account: Account, wrong: Answer, tmp_path: Path) -> None:
    done = account.deploy(tmp_path / "right", "right", "--role", AIRFLOW)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("no problems in ")

    done = account.deploy(tmp_path / "wrong", "wrong")
    report, _, summary = account.with_our_ids(done.stdout).rpartition("\n\n")
    assert done.returncode == 1
    assert [report] == wrong.reports
    assert summary.startswith(f"{len(heads(report))} problems in ")


def test_without_a_role_a_note_says_that_permissions_are_not_checked(wrong: Answer) -> None:
    assert "SimulatePrincipalPolicy" not in wrong.calls
    assert re.fullmatch(r"etl: what Airflow may do was not checked; .*: --role arn:.*\n", wrong.errors)


@pytest.mark.parametrize("action", list(POLICY))
def test_a_missing_permission_of_the_role_is_reported_where_the_resource_is_named(
    lacking: Dict[str, str], action: str
) -> None:
    role = f"without-{action.replace(':', '-')}"
    assert heads(lacking[action]) == [
        f"dags/etl/{place}: the role '{role}' may not {action} on {resource} [preflight]"
        for place, resource in LACKING[action]
    ]


def test_permissions_are_checked_for_each_resource(lacking: Dict[str, str]) -> None:
    of_others = [head for head in heads(lacking["ecs:RunTask"]) if "/fetch:" not in head]
    assert heads(lacking["narrow"]) == [head.replace("without-ecs-RunTask", "narrow") for head in of_others]


def test_conditions_of_a_policy_are_respected(lacking: Dict[str, str]) -> None:
    actions = {match.group(1) for match in re.finditer(r"may not (\S+) on", lacking["elsewhere"])}
    assert actions == {action for action, statement in POLICY.items() if "Condition" in statement}


def test_an_explicit_deny_is_reported_as_such(lacking: Dict[str, str]) -> None:
    (head,) = heads(lacking["sns:Publish"])
    assert heads(lacking["denied"]) == [head.replace("without-sns-Publish", "denied")]
    assert lacking["denied"].endswith("= a statement of its policies denies it")


@goldens.at("preflight/refused.txt")
def test_missing_permissions_of_the_credentials_are_reported_once(account: Account, golden: Golden) -> None:
    with account.refusing(REFUSALS):
        (refused,) = account.ask("right", AIRFLOW).reports
    golden.check(f"{refused}\n")
    with account.refusing({"GetRole": "AccessDenied"}):
        (report,) = account.ask("right", AIRFLOW).reports
    assert heads(report) == heads(refused)[-1:]


def test_without_one_permission_the_other_resources_are_checked(account: Account, wrong: Answer) -> None:
    with account.refusing({"DescribeClusters": "AccessDeniedException"}):
        (report,) = account.ask("wrong").reports
    before, after = heads(wrong.reports[0]), heads(report)
    assert [head for head in after if head not in before] == [
        "dags/etl/configs/wrong.yaml:5:22: the cluster 'etl' cannot be looked at: these credentials need"
        " ecs:DescribeClusters [preflight]"
    ]
    assert [head for head in before if head not in after] == [head for head in before if " cluster '" in head]


def test_without_permission_to_simulate_the_resources_are_checked(account: Account, wrong: Answer) -> None:
    with account.refusing({"SimulatePrincipalPolicy": "AccessDenied"}):
        (report,) = account.ask("wrong", AIRFLOW).reports
    message = "dags/etl/configs/wrong.yaml:2:1: what the role 'airflow' may do cannot be looked at [preflight]"
    assert heads(report) == [message, *heads(wrong.reports[0])]


def test_without_permission_to_list_only_the_hints_are_missing(account: Account, wrong: Answer) -> None:
    with account.refusing(LISTS):
        (report,) = account.ask("wrong").reports
    assert heads(report) == heads(wrong.reports[0])
    assert set(wrong.reports[0].splitlines()) - set(report.splitlines()) == {
        "        = did you mean 'arn:aws:sns:eu-west-1:123456789012:alerts'?",
        "        = did you mean 'etl'?",
        "        = did you mean 'fetch'?",
        "        = the latest is 'fetch:2'",
    }


def test_only_reading_operations_with_a_known_permission_are_called(right: Answer, wrong: Answer) -> None:
    assert {*right.calls, *wrong.calls} == set(lookup.PERMISSIONS)
    assert [name for name in lookup.PERMISSIONS if not re.match("Describe|Get|Head|List|Simulate", name)] == []


def test_each_resource_is_looked_up_once(right: Answer) -> None:
    assert Counter(right.calls) == {
        **dict.fromkeys(REFUSALS, 1),
        "DescribeTaskDefinition": 5,  # one call for each
        "DescribeLogGroups": 3,  # one group does not exist yet, and similar names are looked up
        "GetRole": 2,
        "SimulatePrincipalPolicy": len(POLICY),
    }


def test_a_thousand_dags_need_as_many_calls_as_one(account: Account, right: Answer, tmp_path: Path) -> None:
    text = (account.etl / "pipelines" / "cwr" / "right.yaml").read_text()
    many = "".join(f"  p{number}: {{variables: {{program: fetch}}}}\n" for number in range(1000))
    etl = tree(tmp_path, {"cwr/right.yaml": text + many}, configs=account.etl / "configs")
    answer = account.ask("right", AIRFLOW, etl=etl)
    assert answer.reports == [""]
    assert Counter(answer.calls) == Counter(right.calls)


def test_a_missing_role_is_reported_beside_the_rest(account: Account, wrong: Answer) -> None:
    nobody = ROLE.format("nobody")
    (report,) = account.ask("wrong", nobody).reports
    text = "there is no role '{}', so that what Airflow may do was not looked at"
    message = f"dags/etl/configs/wrong.yaml:2:1: {text.format(nobody)} [preflight]"
    assert heads(report) == [message, *heads(wrong.reports[0])]


def test_missing_credentials_end_the_preflight(account: Account) -> None:
    answer = account.ask("right", AWS_ACCESS_KEY_ID="")
    assert answer.errors == "etl deploy: asking for the bucket deliveries: Unable to locate credentials\n"
    assert answer.calls == ["HeadBucket"]  # the other calls would fail, too


def test_an_unreachable_aws_ends_the_preflight(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**account.environ, "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cloud, "RETRIES", Config(retries={"total_max_attempts": 1}))
    with pytest.raises(cloud.CloudError, match="asking for the bucket deliveries: Could not connect"):
        preflight.preflight(account.etl, "right")


class Ecs:
    """An ECS that refuses a call with a name that has a space, with an error of a code."""

    meta = SimpleNamespace(region_name=REGION)

    def __init__(self, code: str) -> None:
        self.code = code

    def describe_clusters(self, clusters: List[str]) -> Any:
        if any(" " in name for name in clusters):
            raise ClientError({"Error": {"Code": self.code, "Message": "injected"}}, "DescribeClusters")
        return {"clusters": [{"clusterName": name, "clusterArn": f"arn:{name}"} for name in clusters]}

    def list_clusters(self) -> Any:
        return {"clusterArns": ["arn/etl"]}


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("InvalidParameterException", lookup.Missing("known: etl")),
        ("ValidationError", lookup.Missing("known: etl")),
        ("AccessDenied", lookup.Denied("ecs:DescribeClusters")),
        ("ExpiredTokenException", None),
        ("UnrecognizedClientException", None),
    ],
)
def test_an_invalid_name_does_not_affect_the_answer_for_another(code: str, answer: Any) -> None:
    if answer is None:
        with pytest.raises(cloud.CloudError, match=f"asking for the cluster etl: .*{code}"):
            lookup.look("cluster", Ecs(code), ["etl", "b d"])
        return
    answers = lookup.look("cluster", Ecs(code), ["etl", "b d"])
    assert answers[lookup.Thing("cluster", "b d", REGION)] == answer
    assert answers[lookup.Thing("cluster", "etl", REGION)]["clusterName"] == "etl"


def test_problems_of_the_definitions_are_reported_without_a_call(account: Account, tmp_path: Path) -> None:
    etl = tree(tmp_path, {"cwr/broken.yaml": "tasks: 3"}, configs=account.etl / "configs")
    assert preflight.preflight(etl, "right") == load(etl, "right").problems != []


def test_the_example_in_the_documentation_is_part_of_the_report(wrong: Answer) -> None:
    (example,) = (block.text for block in blocks("rules.md", "text") if block.heading == "preflight")
    assert example in wrong.reports[0] + "\n"
