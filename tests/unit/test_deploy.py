"""``./etl deploy`` without AWS: the command line, the checkout, and the output."""

import errno
import os
import re
import shutil
import time
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, Iterator, List

import boto3
import pytest
from botocore.config import Config

from tests.trees import SMALL, tree
from tools import checkout
from tools.commands import deploy, releases
from tools.deploying import bucket, cloud, sources
from tools.deploying.releases import Activation, Release, State

SANDBOX = bucket.Folder(None, "staging", "test_merge")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: ENV"),
        *(
            (["staging", "--sandbox", name], "is no name for a sandbox")
            for name in ("", "..", ".hidden", "a/b", "etl\n", "configs", "releases", "etl")
        ),
        (["staging", "--only", ""], "argument --only: '' is no file"),
        (["staging", "--to", ""], "argument --to: '' is no release"),
        (["staging", "--rollback", "--only", "x"], "--rollback and --to take a whole release"),
        (["staging", "--remove"], "--remove takes a whole sandbox"),
        (["staging", "--sandbox", "x", "--remove", "--only", "x"], "--remove takes a whole sandbox"),
        (["staging", "--preflight", "--dry-run"], "--preflight only asks"),
        (["staging", "--role", "arn:aws:iam::000000000000:role/x"], "--role goes with --preflight"),
        (["staging", "--preflight", "--role", "mwaa"], "argument --role: 'mwaa' is no ARN of a role"),
    ],
)
def test_usage_errors_are_reported(arguments: List[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        deploy.main(arguments)

    assert error.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", [deploy, releases])
def test_an_unknown_environment_is_reported(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["stagin"]) == 2
    assert "there is no configs/stagin.yaml; did you mean 'staging'?" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["staging"], ["staging", "--preflight"]], ids=" ".join)
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("AWS_PROFILE", "nobody", "The config profile (nobody) could not be found"),
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


@pytest.mark.parametrize("command", [deploy, releases])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS_PROXY", "http://etl:h8nter2@127.0.0.1:9"),
        ("HTTPS_PROXY", "etl:h8nter2@127.0.0.1:9"),
        ("HTTPS_PROXY", "http://etl:@h8nter2@127.0.0.1:9"),
        ("AWS_ENDPOINT_URL", "http://etl:h8nter2@127.0.0.1:9"),
        ("AWS_ENDPOINT_URL", "http://etl:h8nter2@no address"),
        ("AWS_ENDPOINT_URL", "http://etl:h8nter2/h8nter2@127.0.0.1:9"),
        ("AWS_ENDPOINT_URL", "http://etl:h8nter2 h8nter2@127.0.0.1:9"),
        ("AWS_ENDPOINT_URL", "u:h8nter2@127.0.0.1:9"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9/?token=h8nter2"),
    ],
)
def test_the_password_of_a_proxy_or_an_address_is_not_printed(
    name: str, value: str, command: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setattr(cloud, "RETRIES", Config(retries={"mode": "standard", "max_attempts": 1}))
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "none")
    monkeypatch.setenv(name, value)

    assert command.main(["staging"]) == 1

    error = capsys.readouterr().err
    assert ("is no address" if re.search("[ /:]h8nter2[/ ]|^u:|no address|[?]", value) else "://***@") in error
    assert "h8nter2" not in error


@pytest.fixture
def etl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a checkout from which no AWS can be reached."""
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "none")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(cloud, "RETRIES", Config(retries={"mode": "standard", "max_attempts": 1}))
    root = tree(tmp_path, {"cwr/big.yaml": SMALL})
    (tmp_path / "requirements.txt").touch()
    shutil.copy(str(root / ".airflowignore"), str(tmp_path))
    monkeypatch.setattr(checkout, "ETL", root)
    return root


@pytest.mark.parametrize("command", [deploy, releases])
def test_a_checkout_without_an_environment_is_refused(
    command: Any, etl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(str(etl / "configs"))

    assert command.main(["staging"]) == 1
    assert "dags/etl/configs:1:1: there is no environment" in capsys.readouterr().err


def test_a_definition_that_cannot_be_read_is_refused(
    etl: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read_bytes = Path.read_bytes

    def read(file: Path) -> bytes:
        if file.name == "big.yaml":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
        return read_bytes(file)

    monkeypatch.setattr(Path, "read_bytes", read)  # to root, every file can be read

    assert deploy.main(["staging", "--dry-run"]) == 1
    error = "etl deploy: pipelines/cwr/big.yaml cannot be read: Permission denied; make it readable\n"
    assert capsys.readouterr().err == error


@pytest.mark.parametrize("command", [(releases, ["staging"]), (deploy, ["staging", "--rollback"])])
def test_going_back_needs_no_definition_of_this_checkout(
    command: Any, etl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (etl / "pipelines" / "cwr" / "link.yaml").symlink_to("nowhere")
    os.mkfifo(str(etl / "pipelines" / "cwr" / "pipe.yaml"))

    module, arguments = command
    assert module.main(arguments) == 1
    assert "cannot be read: Could not connect" in capsys.readouterr().err


def test_control_characters_of_a_key_are_escaped() -> None:
    address = r"s3://vm-data-provisioning-staging/airflow/dags/test_merge/a\u000ab\u001b[31m\u2028é"
    assert SANDBOX.address("a\nb\x1b[31m\u2028é") == address


def test_what_the_bucket_says_of_a_release_is_escaped(
    etl: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = Activation("1" * 16, {"": "c\x1b[31mmit"}, "\u202eby\x9b\n", "2022")
    listing = bucket.Listing({f"releases/{row.release}/manifest.json": {}}, datetime.now(timezone.utc))
    state = State(listing, b"", "", [row], Release({}, {}), {})
    monkeypatch.setattr("tools.deploying.releases.read_state", lambda *_: state)
    monkeypatch.setattr("tools.deploying.releases.read_release", lambda *_: None)

    assert releases.main(["staging"]) == 0
    assert r" 2022       \u202eby\u009b\u000a  c\u001b[31mmit " in capsys.readouterr().out


def test_a_folder_outside_git_is_refused(tmp_path: Path) -> None:
    with pytest.raises(bucket.Refused, match=r"deploy from a clone\. fatal: not a git repository"):
        sources.commit_of(tmp_path / "dags" / "etl", SANDBOX, {}, "")


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
