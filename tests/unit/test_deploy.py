"""``./etl deploy`` before it speaks to AWS: the command line, and what it writes and prints."""

from pathlib import Path
from typing import List

import boto3
import pytest

from tests.trees import REPOSITORY
from tools import deploy

ONE, OTHER = "1" * 40, "2" * 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: ENV"),
        (["stagin"], "there is no configs/stagin.yaml; did you mean 'staging'?"),
        (["staging", "--folder", ""], "is no name for a sandbox"),
        (["staging", "--folder", ".."], "is no name for a sandbox"),
        (["staging", "--folder", ".hidden"], "is no name for a sandbox"),
        (["staging", "--folder", "a/b"], "is no name for a sandbox"),
        (["staging", "--folder", "etl\n"], "is no name for a sandbox"),
        (["staging", "--folder", "configs"], "is no name for a sandbox"),
        (["staging", "--only", ""], "--only '' names no file"),
        (["staging", "--pause", "-1"], "--pause takes no negative number"),
        (["staging", "--remove"], "--remove takes a whole sandbox away"),
        (["staging", "--folder", "x", "--remove", "--only", "x"], "--remove takes a whole sandbox away"),
        (["staging", "--preflight", "--dry-run"], "--preflight only asks"),
        (["staging", "--role", "arn"], "--role goes with --preflight"),
        (["staging", "--preflight", "--role", "mwaa"], "--role 'mwaa' is no ARN of a role"),
        (["staging", "--preflight", "--role", ""], "--role '' is no ARN of a role"),
    ],
)
def test_wrong_use_is_told(arguments: List[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        deploy.main(arguments)

    assert left.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["staging"], ["staging", "--preflight"]], ids=" ".join)
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("AWS_PROFILE", "nobody", "The config profile (nobody) could not be found"),
        ("AWS_ENDPOINT_URL", "elsewhere", "Invalid endpoint: elsewhere"),
    ],
)
def test_settings_that_lead_to_no_aws_are_told_in_one_line(
    name: str,
    value: str,
    message: str,
    arguments: List[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setenv(name, value)

    assert deploy.main(arguments) == 1
    assert capsys.readouterr().err == f"etl deploy: there is no way to AWS: {message}\n"


@pytest.mark.parametrize(
    ("before", "commit", "path", "is_there", "after"),
    [
        ("", ONE, "", False, f"{ONE}\n"),
        (f"{ONE}\n{ONE} a\n", OTHER, "", False, f"{OTHER}\n"),
        (f"{ONE}\n", OTHER, "b", True, f"{ONE}\n{OTHER} b\n"),
        (f"{ONE}\n{OTHER} b\n", OTHER, "a", True, f"{ONE}\n{OTHER} a\n{OTHER} b\n"),
        (f"{ONE}\n{'3' * 40} a\n{'3' * 40} aa\n", OTHER, "a", True, f"{ONE}\n{OTHER} a\n{'3' * 40} aa\n"),
        (f"{ONE}\n{OTHER} a\n", ONE, "a", True, f"{ONE}\n"),
        (f"{ONE}\n{OTHER} a\n", OTHER, "a", False, f"{ONE}\n"),
        ("", ONE, "a", True, f"\n{ONE} a\n"),
    ],
)
def test_the_commit_of_all_and_of_each_file_alone(
    before: str, commit: str, path: str, is_there: bool, after: str
) -> None:
    assert deploy.commit_text(before, commit, path, is_there) == after


@pytest.mark.parametrize("pattern", ["configs$|fact.ry", "/etl$", "*.yml", "x\n.*  # all"])
def test_what_hides_every_dag_is_refused(pattern: str) -> None:
    with pytest.raises(deploy.Refused, match=r"\.airflowignore: "):
        deploy.refuse_hiding(pattern)


def test_this_repositorys_airflowignore_hides_no_dag() -> None:
    deploy.refuse_hiding((REPOSITORY / ".airflowignore").read_text())


def test_a_key_that_anybody_may_have_made_up_is_one_line() -> None:
    assert deploy.shown("airflow/dags/etl/a\nb\x1b[31m\u2028é") == r"airflow/dags/etl/a\x0ab\x1b[31m\x2028é"


def test_without_a_commit_there_is_nothing_to_deploy(tmp_path: Path) -> None:
    target = deploy.Target("staging", "test_merge", "eu-west-1")
    with pytest.raises(deploy.Refused, match=r"deploy from a clone\. fatal: not a git repository"):
        deploy.commit_of(tmp_path / "dags" / "etl", target, [], whole=True)
