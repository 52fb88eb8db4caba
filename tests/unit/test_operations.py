"""docs/operations.md: its policies, options and commands exist, and are those that we need."""

import base64
import json
import os
import re
import shlex
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List, Set

import botocore.session
import pytest
from orchestrator import load, read_context
from orchestrator.operators import params_of_run

from tests.checkouts import checkout
from tests.documents import DOCS, blocks
from tests.trees import COMPANY
from tools.checkout import environments
from tools.commands import deploy
from tools.deploying import bucket, lookup, permissions, pools, sources

# Actions of IAM that are not operations of an API.
PERMISSIONS = {
    "airflow:CreateCliToken",
    "codebuild:BatchPutTestCases",
    "codebuild:CreateReport",
    "codebuild:UpdateReport",
    "iam:PassRole",
    "s3:ListBucket",
}
MWAA, CODEBUILD, PREFLIGHT = "Execution role of MWAA", "CodeBuild that deploys", "Preflight"
BUCKET = "arn:aws:s3:::vm-data-provisioning-staging"


@pytest.fixture(scope="module")
def etl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a checkout with the definitions that the page describes."""
    return checkout(tmp_path_factory.mktemp("company")) / "dags" / "etl"


def statements(heading: str) -> List[Dict[str, Any]]:
    (block,) = (block for block in blocks("operations.md", "json") if block.heading == heading)
    policy = json.loads(block.text)
    assert policy["Version"] == "2012-10-17"
    return list(policy["Statement"])


def as_list(value: Any) -> List[str]:
    return [value] if isinstance(value, str) else list(value)


def actions(heading: str) -> Set[str]:
    return {action for statement in statements(heading) for action in as_list(statement["Action"])}


def is_allowed(heading: str, action: str, resource: str) -> bool:
    """Return whether a policy allows an action on a resource; conditions are ignored."""
    return any(
        action in as_list(statement["Action"])
        and any(fnmatchcase(resource, pattern) for pattern in as_list(statement["Resource"]))
        for statement in statements(heading)
    )


@pytest.mark.parametrize("heading", [MWAA, CODEBUILD, PREFLIGHT])
def test_a_policy_names_existing_actions(heading: str) -> None:
    session = botocore.session.get_session()
    for action in actions(heading) - PERMISSIONS:
        service, operation = action.split(":")
        assert operation in session.get_service_model(service).operation_names, action
    for statement in statements(heading):
        assert set(statement) <= {"Sid", "Effect", "Action", "Resource", "Condition"}
        assert statement["Effect"] == "Allow"


def test_the_policy_of_mwaa_allows_what_the_operator_does() -> None:
    """Compare with the permissions that the preflight asks IAM for."""
    assert actions(MWAA) == permissions.ROLE_PERMISSIONS


def test_the_policy_of_mwaa_covers_every_resource_of_staging(etl: Path) -> None:
    environment: Any = read_context(etl, "staging").environment
    region, account = environment.region, environment.variables["account"]
    ecs = f"arn:aws:ecs:{region}:{account}"
    conditions = [
        statement["Condition"] for statement in statements(MWAA) if "ArnEquals" in statement.get("Condition", "")
    ]
    assert len(conditions) == 2
    for cluster in environment.clusters.values():
        assert conditions == [{"ArnEquals": {"ecs:cluster": f"{ecs}:cluster/{cluster.cluster}"}}] * 2
        assert is_allowed(MWAA, "ecs:StopTask", f"{ecs}:task/{cluster.cluster}/1")
        stream = f"log-group:{cluster.logs.group}:log-stream:{cluster.logs.prefix}/fetch/1"
        assert is_allowed(MWAA, "logs:GetLogEvents", f"arn:aws:logs:{region}:{account}:{stream}")
    assert is_allowed(MWAA, "ecs:RunTask", f"{ecs}:task-definition/cwr-fetch:1")
    assert is_allowed(MWAA, "sns:Publish", environment.alerts["default"].sns_topic_arn)
    for definition in load(etl, "staging").definitions:
        if definition.settings.wait_for:
            assert is_allowed(MWAA, "s3:ListBucket", BUCKET)


def test_the_policy_of_codebuild_allows_what_a_deploy_does_and_no_more(etl: Path) -> None:
    folder = bucket.Folder(None, "staging", "etl")
    conditions = [s["Condition"]["StringEquals"] for s in statements(CODEBUILD) if s["Action"] == "s3:ListBucket"]
    assert conditions == [{"s3:prefix": [folder.prefix, *map(folder.key, (bucket.SHARED_IGNORE, bucket.REQUIREMENTS))]}]
    assert is_allowed(CODEBUILD, "s3:ListBucket", BUCKET)
    release = [f"releases/0123456789abcdef/{path}" for path in [*sources.sources(etl), "manifest.json"]]
    beside = [*sources.BESIDE, "current"]
    written = {*release, *beside, bucket.REQUIREMENTS}  # copied, too: which is reading and writing
    deleted = {*release, "commit.txt", "pipelines/cwr/big.yaml", bucket.SHARED_IGNORE}
    for action, paths in (
        ("s3:GetObject", written | {bucket.SHARED_IGNORE}),  # whose metadata say whether we wrote it
        ("s3:PutObject", written),
        ("s3:DeleteObject", deleted),
    ):
        for path in paths:
            assert is_allowed(CODEBUILD, action, f"{BUCKET}/{folder.key(path)}"), (action, path)
        for key in ("dags/other_team/x.py", "dags/etl_2/x", "dags/.airflowignore.bak", "plugins/plugins.zip"):
            assert not is_allowed(CODEBUILD, action, f"{BUCKET}/airflow/{key}"), (action, key)
    assert not is_allowed(CODEBUILD, "s3:DeleteObject", f"{BUCKET}/airflow/requirements.txt")
    assert not is_allowed(CODEBUILD, "s3:PutObject", f"{BUCKET}/airflow/dags/.airflowignore")
    assert not [action for action in actions(CODEBUILD) if "Tagging" in action]


def test_the_policy_of_the_preflight_equals_its_permissions() -> None:
    assert actions(PREFLIGHT) == {*lookup.PERMISSIONS.values(), pools.PERMISSION}


def test_the_options_exist_in_airflow() -> None:
    from airflow.configuration import default_config_yaml

    known = {
        f"{section['name']}.{option['name']}" for section in default_config_yaml() for option in section["options"]
    }
    text = (DOCS / "operations.md").read_text(encoding="utf-8").split("## Options of MWAA")[1].split("\n## ")[0]
    named = re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|", text, re.MULTILINE)
    assert len(named) > 5
    assert set(named) - known == {"etl.environment", "etl.identity"}


def test_the_deploy_commands_are_valid() -> None:
    lines = [line.strip() for block in blocks("operations.md", "sh") for line in block.text.splitlines()]
    lines = [line.replace("<ARN of MWAA's execution role>", "arn:aws:iam::000000000000:role/mwaa") for line in lines]
    commands = [shlex.split(re.sub(r"<.*?>", "x", line), comments=True) for line in lines if "./etl deploy" in line]
    assert len(commands) > 5
    for command in commands:
        assert deploy.parse(command[2:]).environment in environments(COMPANY)


def test_the_commands_for_mwaa_exist_in_airflow() -> None:
    from airflow.cli.cli_parser import get_parser

    lines = [line for block in blocks("operations.md", "sh") for line in block.text.splitlines()]
    commands = [shlex.split(line, comments=True)[1:] for line in lines if re.match("mwaa [^(]", line)]
    assert len(commands) >= 3
    for command in commands:
        get_parser().parse_args(shlex.split(" ".join(command)))  # which exits for a command that does not exist


def test_the_trigger_command_sends_a_configuration_that_the_dag_accepts(etl: Path, tmp_path: Path) -> None:
    answer = {key: base64.b64encode(text.encode()).decode() for key, text in (("stderr", ""), ("stdout", "Created"))}
    programs = {
        "aws": "printf 'host\\ttoken\\n'",
        "curl": f"""printf '%s\\n' "$@" >request; echo '{json.dumps(answer)}'""",
    }
    for name, code in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{code}\n")
        (tmp_path / name).chmod(0o755)
    (shell,) = (block.text for block in blocks("operations.md", "sh") if block.heading == "Triggering from outside")
    function, command, _ = re.sub("<.*?>", "x", shell).split("\nmwaa ")
    environ = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}

    done = subprocess.run(
        ["sh", "-euc", f"{function}\nmwaa {command}"], cwd=str(tmp_path), env=environ, stdout=subprocess.PIPE, text=True
    )

    assert (done.returncode, done.stdout.strip()) == (0, "Created")
    request = (tmp_path / "request").read_text().splitlines()
    assert {"https://host/aws_mwaa/cli", "Authorization: Bearer token"} <= set(request)
    words = shlex.split(request[request.index("--data-raw") + 1])
    conf = json.loads(words[words.index("--conf") + 1])
    (example,) = (block.text for block in blocks("operations.md", "json") if block.heading == "Triggering from outside")
    assert conf == json.loads(example)
    definitions = {definition.dag_id: definition for definition in load(etl, "staging").definitions}
    run = SimpleNamespace(conf=conf)
    assert params_of_run(definitions[words[2]].settings.effective_params, {"dag_run": run}) == conf
