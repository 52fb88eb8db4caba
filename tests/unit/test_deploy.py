"""``./etl deploy`` without AWS: the command line, the order of writing and the output."""

import threading
import time
from functools import partial
from pathlib import Path
from typing import Any, Dict, Iterator, List

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.trees import REPOSITORY
from tools.commands import deploy
from tools.deploying import bucket, changes, cloud, sources, upload_order

ONE, OTHER = "1" * 40, "2" * 40
STAGING = bucket.Target("staging", "etl", "eu-west-1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: ENV"),
        (["stagin"], "there is no configs/stagin.yaml; did you mean 'staging'?"),
        (["staging", "--sandbox", ""], "is no name for a sandbox"),
        (["staging", "--sandbox", ".."], "is no name for a sandbox"),
        (["staging", "--sandbox", ".hidden"], "is no name for a sandbox"),
        (["staging", "--sandbox", "a/b"], "is no name for a sandbox"),
        (["staging", "--sandbox", "etl\n"], "is no name for a sandbox"),
        (["staging", "--sandbox", "configs"], "is no name for a sandbox"),
        (["staging", "--sandbox", "etl"], "is no name for a sandbox"),
        (["staging", "--only", ""], "--only '' names no file"),
        (["staging", "--pause", "-1"], "--pause takes no negative number"),
        (["staging", "--remove"], "--remove takes a whole sandbox"),
        (["staging", "--sandbox", "x", "--remove", "--only", "x"], "--remove takes a whole sandbox"),
        (["staging", "--preflight", "--dry-run"], "--preflight only asks"),
        (["staging", "--role", "arn"], "--role goes with --preflight"),
        (["staging", "--preflight", "--role", "mwaa"], "--role 'mwaa' is no ARN of a role"),
        (["staging", "--preflight", "--role", ""], "--role '' is no ARN of a role"),
    ],
)
def test_usage_errors_are_reported(arguments: List[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        deploy.main(arguments)

    assert error.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["staging"], ["staging", "--preflight"]], ids=" ".join)
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("AWS_PROFILE", "nobody", "The config profile (nobody) could not be found"),
        ("AWS_ENDPOINT_URL", "elsewhere", "Invalid endpoint: elsewhere"),
    ],
)
def test_invalid_settings_of_aws_are_reported_in_one_line(
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
def test_the_commit_of_the_release_and_of_each_file_deployed_alone(
    before: str, commit: str, path: str, is_there: bool, after: str
) -> None:
    assert changes.commit_text(before, commit, path, is_there) == after


@pytest.mark.parametrize("pattern", ["configs$|fact.ry", "/etl$", "*.yml", "x\n.*  # all"])
def test_a_pattern_that_hides_every_dag_is_refused(pattern: str) -> None:
    with pytest.raises(upload_order.Refused, match=r"\.airflowignore: "):
        sources.refuse_hiding(pattern)


def test_this_repositorys_airflowignore_hides_no_dag() -> None:
    sources.refuse_hiding((REPOSITORY / ".airflowignore").read_text())


def test_control_characters_of_a_key_are_escaped() -> None:
    assert bucket.display_key("airflow/dags/etl/a\nb\x1b[31m\u2028é") == r"airflow/dags/etl/a\x0ab\x1b[31m\x2028é"


def test_a_folder_outside_git_is_refused(tmp_path: Path) -> None:
    target = bucket.Target("staging", "test_merge", "eu-west-1")
    with pytest.raises(upload_order.Refused, match=r"deploy from a clone\. fatal: not a git repository"):
        sources.commit_of(tmp_path / "dags" / "etl", target, [], whole=True)


class Bucket:
    """A bucket that records when each write begins and ends; two writes of a step must overlap."""

    def __init__(self, refused: str = "") -> None:
        self.refused, self.events, self.barrier = refused, [], threading.Barrier(2)  # type: str, List[str], Any

    def put_object(self, **request: Any) -> Dict[str, str]:
        key = request["Key"]
        self.events.append(f"{key} begins")
        self.barrier.wait(10)
        time.sleep(0.05)  # a next step that did not wait would begin now
        self.events.append(f"{key} ends")
        if key == self.refused:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "injected"}}, "PutObject")
        return {"VersionId": f"version of {key}"}

    def delete_object(self, **request: Any) -> None:
        self.events.append(f"{request['Key']} is deleted")


CHANGE = bucket.Change([{"a": b"", "b": b""}, {"c": b"", bucket.REQUIREMENTS: b""}, {"d": None}], {})


def test_the_objects_of_a_step_are_written_concurrently_and_the_steps_in_order() -> None:
    s3 = Bucket()

    assert bucket.write(s3, STAGING, CHANGE, ONE) == f"version of {bucket.REQUIREMENTS}"

    first, second, third = s3.events[:4], s3.events[4:8], s3.events[8:]
    assert sorted(first) == ["a begins", "a ends", "b begins", "b ends"]
    assert sorted(second)[2:] == ["c begins", "c ends"]
    assert third == ["d is deleted"]


def test_a_failed_write_stops_the_following_steps() -> None:
    s3 = Bucket(refused="b")

    with pytest.raises(cloud.CloudError) as raised:
        bucket.write(s3, STAGING, CHANGE, ONE)

    what = "s3://vm-data-provisioning-staging/b cannot be written; once that is fixed, run it again"
    assert str(raised.value).startswith(f"{what}: An error occurred (AccessDenied)")
    assert {event[0] for event in s3.events} == {"a", "b"}


def test_a_failed_call_ends_the_progress_and_cancels_the_remaining_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, ended = [], []

    def call(number: int) -> None:
        calls.append(number)
        time.sleep(0.02)
        if number == 0:
            raise ValueError("injected")

    def with_progress(items: List[Any], doing: str) -> Iterator[Any]:
        try:
            yield from items
        finally:
            ended.append(doing)

    monkeypatch.setattr(cloud, "with_progress", with_progress)

    with pytest.raises(ValueError, match="injected") as raised:
        cloud.in_parallel([partial(call, number) for number in range(200)], 2, "asking")

    assert raised.tb  # the traceback of the error keeps its frames
    assert ended == ["asking"]
    assert len(calls) < 200
