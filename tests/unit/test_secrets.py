"""A credential in a definition is reported and never printed."""

from pathlib import Path

import pytest
from orchestrator import load

from tests.trees import tree

SECRETS = {
    "AWS key": "AKIAIOSFODNN7EXAMPLE",
    "token": "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "web token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlCg",
    "URL": "postgres://etl:hunter2@db.example/cwr",
    "private key": "-----BEGIN PRIVATE KEY-----MIIEowIBAAKCAQEA-----END PRIVATE KEY-----",
}
PLACES = {
    "description": "description: {}\n",
    "tag": "tags: [{}]\n",
    "default": "defaults: {{environment: {{X: {}}}}}\n",
    "key": "defaults: {{environment: {{{}: x}}}}\n",
    "wrong type": "catchup: {}\n",
    "unknown key": "descripton: {}\n",
    "number": "max_active_runs: {}\n",
    "schedule": "schedule: {}\n",
    "start date": "end_date: {}\n",
    "param": "params: {{x: {{type: string, default: {}}}}}\n",
    "template": "defaults: {{environment: {{X: '{{{{ nope }}}} {}'}}}}\n",
    "broken file": "description: {}\nowner: [\n",
}
PIPELINE = "start_date: 2022-01-01\ntasks: {load: {task_definition: loader}}\nproviders: {un: {}}\n"


def report_of(tmp_path: Path, text: str) -> str:
    result = load(tree(tmp_path, {"cwr/big.yaml": text + PIPELINE}), "development")
    assert not result.definitions
    return "\n".join(map(str, result.problems)) + repr(result.problems)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("secret", SECRETS)
def test_a_credential_is_reported_and_never_printed(secret: str, place: str, tmp_path: Path) -> None:
    value = SECRETS[secret] if place == "template" else f'"{SECRETS[secret]}"'

    report = report_of(tmp_path, PLACES[place].format(value))

    for part in (SECRETS[secret], SECRETS[secret][5:25], "hunter2", "MIIEow"):
        assert part not in report
    assert "[secret]" in report
    assert "AWS Secrets Manager" in report


@pytest.mark.parametrize(
    "name", ["DB_PASSWORD", "password", "apiKey", "API_KEY", "AWS_SECRET_ACCESS_KEY", "sftp-token"]
)
def test_a_literal_value_with_the_name_of_a_credential_is_reported(name: str, tmp_path: Path) -> None:
    for number, line in enumerate(
        (
            f"defaults: {{environment: {{{name}: hunter2}}}}\n",
            f"defaults:\n  environment:\n    {name}:\n      hunter2\n",
            f"defaults:\n  environment:\n    {name}: |\n      first\n      hunter2\n",
            f"defaults: {{command: [load, --{name}, hunter2]}}\n",
            f"defaults:\n  command:\n    - --{name}\n    - hunter2\n",
            f"defaults: {{command: [load, --{name}=hunter2]}}\n",
            f"defaults: {{environment: {{{name}: hunter2, A: no}}, retrys: 3}}\n",
        )
    ):
        report = report_of(tmp_path / str(number), line)
        assert "[secret]" in report
        assert "hunter2" not in report


@pytest.mark.parametrize(
    "value",
    ["'{{ var.value.db_password }}'", "'arn:aws:secretsmanager:eu-west-1:000000000000:secret:db'", "'true'", "''"],
)
def test_a_reference_is_no_credential(value: str, tmp_path: Path) -> None:
    text = f"defaults: {{environment: {{DB_PASSWORD: {value}, TOKENS_PER_MINUTE: '5'}}}}\n" + PIPELINE

    result = load(tree(tmp_path, {"cwr/big.yaml": text}), "development")

    assert not result.problems


def test_a_credential_in_an_environment_is_reported(tmp_path: Path) -> None:
    root = tree(tmp_path, {"cwr/big.yaml": PIPELINE})
    config = root / "configs" / "development.yaml"
    config.write_text(config.read_text().replace("shards: 4", "db_password: hunter2"))

    (problem,) = load(root, "development").problems

    assert (problem.location.path, problem.rule) == ("dags/etl/configs/development.yaml", "secret")
    assert "hunter2" not in str(problem)
