"""``./etl deploy`` without AWS: the command line, the commits of a release, its bytecode, and the output."""

import time
from functools import partial
from pathlib import Path
from typing import Any, Iterator, List

import boto3
import pytest

from tests.trees import ETL
from tools.commands import deploy, releases
from tools.deploying import bucket, cloud, sources
from tools.deploying.releases import compile_package, parse_current

SANDBOX = bucket.Folder(None, "staging", "test_merge")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: ENV"),
        (["stagin"], "there is no configs/stagin.yaml; did you mean 'staging'?"),
        *(
            (["staging", "--sandbox", name], "is no name for a sandbox")
            for name in ("", "..", ".hidden", "a/b", "etl\n", "configs", "releases", "etl")
        ),
        (["staging", "--only", ""], "--only '' names nothing"),
        (["staging", "--to", ""], "--to '' names nothing"),
        (["staging", "--rollback", "--only", "x"], "--rollback and --to take a whole release"),
        (["staging", "--sandbox", "x", "--to", "1", "--remove"], "--rollback and --to take a whole release"),
        (["staging", "--remove"], "--remove takes a whole sandbox"),
        (["staging", "--sandbox", "x", "--remove", "--only", "x"], "--remove takes a whole sandbox"),
        (["staging", "--preflight", "--dry-run"], "--preflight only asks"),
        (["staging", "--preflight", "--rollback"], "--preflight only asks"),
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


@pytest.mark.parametrize("arguments", [["stagin"], ["staging", "--sandbox", ".."]], ids=" ".join)
def test_usage_errors_of_releases_are_reported(arguments: List[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        releases.main(arguments)

    assert capsys.readouterr().err.startswith("usage: ./etl releases")


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


@pytest.mark.parametrize("content", ["", "{", "[]", '{"activations": [1]}', '{"activations": [{"release": "../x"}]}'])
def test_a_malformed_current_names_no_release(content: str) -> None:
    assert parse_current(content.encode()) == []


def test_the_same_source_has_the_same_bytecode_wherever_it_is_compiled() -> None:
    files = {path.relative_to(ETL).as_posix(): path.read_bytes() for path in ETL.glob("orchestrator/*.py")}

    compiled = compile_package(SANDBOX, files)

    assert compiled == compile_package(SANDBOX, files)
    assert len(compiled) == len(files)
    for content in compiled.values():
        assert content[4:8] == b"\x01\0\0\0"  # by hash, which nobody checks (PEP 552)
        assert b"etl-" not in content


def test_control_characters_of_a_key_are_escaped() -> None:
    assert bucket.display_key("airflow/dags/etl/a\nb\x1b[31m\u2028é") == r"airflow/dags/etl/a\x0ab\x1b[31m\x2028é"


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
