"""Credentials that only ``./etl check`` finds: they are reported at their place and never printed."""

import json
import random
import string
from pathlib import Path
from typing import List

import pytest
from orchestrator import load

from tests.trees import COMPANY, DATA, tree
from tools import checkout
from tools.checks.credentials import find_credentials, pieces
from tools.commands import check

BASE64 = string.ascii_letters + string.digits + "+/"
CHANCE = random.Random(20220101)
TEXT = """\
start_date: 2022-01-01
tasks:
  load:
    task_definition: loader
    command: [load, {}]
providers: {{un: {{}}}}
"""


def chars(alphabet: str, number: int) -> str:
    return "".join(CHANCE.choice(alphabet) for _ in range(number))


# Assembled at run time, so that no scanner reports this file as a leak.
SECRETS = {
    "Azure Storage Account access key": "AccountKey=" + chars(BASE64, 86) + "==",
    "GitLab Token": "glpat" + "-" + chars(string.ascii_letters, 20),
    "Mailchimp Access Key": chars(string.hexdigits[:16], 32) + "-us12",
    "OpenAI Token": "sk-" + chars(string.ascii_letters, 20) + "T3Blbk" + "FJ" + chars(string.ascii_letters, 20),
    "SendGrid API Key": "SG." + chars(string.ascii_letters, 22) + "." + chars(string.ascii_letters, 43),
    "Slack Token": "https://hooks.slack.com/services/" + "T0AAAAAAA/B0AAAAAAA/" + chars(string.ascii_letters, 24),
    "Stripe Access Key": "sk_" + "live_" + chars(string.ascii_letters, 24),
    "Telegram Bot Token": "12345678" + ":" + chars(string.ascii_letters, 35),
    "Twilio API Key": "SK" + chars("0123456789abcdef", 32),
    "Random Text": chars(BASE64, 40),
}
ORDINARY = [
    "arn:aws:secretsmanager:eu-west-1:000000000000:secret:etl/cwr-AbCdEf",
    "arn:aws:kms:eu-west-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "arn:aws:ecs:eu-west-1:000000000000:task-definition/ddex-validate:3",
    "s3://{{ env.bucket }}/Incoming/CWR/UnitedNations2022/FullRegistration_v21/part-00000-of-00128",
    "com.company.etl.jobs.CwrRegistrationLoaderV2Factory",
    "DataProvisioning2022CwrBigUnitedNationsFullCatalogueReload",
    "subnet-0a1b2c3d4e5f60718",
    "loader@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
    "{{ data_interval_start.strftime('%Y%m%dT%H%M%SZ') }}",
    "https://{{ provider.user }}:{{ provider.word }}@sftp.example",
    "https://user:etl-{{provider.word}}@sftp.example",
    "sftp://<user>:<password>@sftp.example",
    "10.0.0.1",
    "93.184.216.34",
]


@pytest.fixture(autouse=True)
def _tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkout, "ETL", tree(tmp_path, {}))


def write(text: str) -> None:
    folder = checkout.ETL / "pipelines" / "cwr"
    folder.mkdir()
    (folder / "big.yaml").write_text(text)


def parts(secret: str) -> List[str]:
    return [secret[start : start + 10] for start in range(len(secret) - 9)]


@pytest.mark.parametrize("kind", SECRETS)
def test_a_credential_is_found_and_not_printed(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    secret = SECRETS[kind]
    write(TEXT.format(f'"{secret}"'))

    printed = ""
    for form in check.FORMATS:
        assert check.main(["--format", form]) == 1
        out, err = capsys.readouterr()
        printed += out + err
        if form == "json":
            (problem,) = json.loads(out)
            assert (problem["line"], problem["column"], problem["rule"]) == (5, 22, "secret")
            assert problem["message"] == f"this looks like a credential: {kind}"
            assert "AWS Secrets Manager" in problem["hint"]
    assert "command:" not in printed  # no line of such a file
    assert not [part for part in parts(secret) if part in printed]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_no_credential(text: str) -> None:
    assert find_credentials(f"command: [load, '{text}']") == []
    assert find_credentials(f"      INPUT: {text}  # as it was") == []


def test_realistic_definitions_have_no_credential() -> None:
    files = [*COMPANY.glob("pipelines/*/*.yaml"), *COMPANY.glob("configs/*.yaml")]
    examples = [file for file in DATA.glob("bad/*.yaml") if not file.stem.startswith("secret")]

    assert len(files) >= 8
    assert {
        file.name: credential for file in files + examples for credential in find_credentials(file.read_text())
    } == {}


def test_random_text_is_found() -> None:
    words = [chars(BASE64, 40) for _ in range(100)] + [chars("0123456789abcdef", 32) for _ in range(100)]

    assert sum(bool(find_credentials(f"a: {word}")) for word in words) >= 190


def test_a_credential_in_a_comment_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    write(TEXT.format("un") + f"# it was {SECRETS['GitLab Token']} before\n")

    assert check.main([]) == 1
    assert "big.yaml:7:10: this looks like a credential: GitLab Token [secret]" in capsys.readouterr().out


def test_a_comment_that_names_a_credential_is_reported_here_alone(capsys: pytest.CaptureFixture[str]) -> None:
    write(TEXT.format("un") + "# token: refresh\n# password: x  # pragma: allowlist secret\n")

    result = load(checkout.ETL, "development")
    assert check.main([]) == 1

    assert result.definitions
    assert result.problems == []
    out = capsys.readouterr().out
    assert "big.yaml:7:3: this looks like a credential: a literal token [secret]" in out
    assert "refresh" not in out
    assert "1 problem" in out


def test_a_credential_in_an_environment_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    file = checkout.ETL / "configs" / "staging.yaml"
    file.write_text(file.read_text() + f"# {SECRETS['Stripe Access Key']}\n")

    assert check.main([]) == 1
    assert "configs/staging.yaml:5:3: this looks like" in capsys.readouterr().out


@pytest.mark.parametrize(
    "mistake",
    [
        "{}: 1",  # an unknown key
        "retries: {}",  # of another type, and quoted in the message
        "trigger_rule: '{}'",
        "command: {}",
        "cluster: {}",
        "environment: {{A: 1}}  # {}",
        "command: [a\n    # {}",  # not YAML
    ],
)
def test_no_other_problem_prints_the_credential(mistake: str, capsys: pytest.CaptureFixture[str]) -> None:
    secret = SECRETS["Random Text"]
    write(TEXT.format("x").replace("command: [load, x]", mistake.format(secret)))

    for form in check.FORMATS:
        assert check.main(["--format", form]) == 1
        out, err = capsys.readouterr()
        assert "this looks like a credential: Random Text" in out
        assert not [part for part in parts(secret) if part in out + err]


def test_a_broken_environment_does_not_print_the_credential(capsys: pytest.CaptureFixture[str]) -> None:
    secret = SECRETS["Random Text"]
    write(TEXT.format("x"))
    (checkout.ETL / "configs" / "staging.yaml").write_text(f"region: [{secret}]\n")

    check.main([str(checkout.ETL / "pipelines")])

    out = capsys.readouterr().out
    assert "configs/staging.yaml:1:" in out
    assert not [part for part in parts(secret) if part in out]


def test_all_credentials_of_a_line_are_reported_and_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    write(TEXT.format(", ".join(SECRETS.values())))

    check.main([])

    out = capsys.readouterr().out
    assert out.count("looks like a credential") == len(SECRETS)
    assert not [part for secret in SECRETS.values() for part in parts(secret) if part in out]


def test_a_comment_marks_a_false_positive() -> None:
    line = f"    command: [load, '{SECRETS['Random Text']}']"

    assert find_credentials(line)
    assert not find_credentials(f"{line}  # pragma: allowlist secret")


def test_a_credential_that_the_package_reports_is_not_reported_again(capsys: pytest.CaptureFixture[str]) -> None:
    cases = sorted(DATA.glob("bad/secret_*.yaml"))
    assert len(cases) >= 8
    for case in cases:
        folder = checkout.ETL / "pipelines" / "bad"
        folder.mkdir(exist_ok=True)
        (folder / case.name).write_text(case.read_text())

    check.main(["--format", "json"])

    problems = [problem for problem in json.loads(capsys.readouterr().out) if problem["rule"] == "secret"]
    assert problems
    assert [problem["message"] for problem in problems if "looks like" in problem["message"]] == []


def test_a_long_line_is_searched_in_pieces() -> None:
    secret = SECRETS["Stripe Access Key"]
    (credential,) = find_credentials(f"a: {'sk-//' * 20_000} {secret} {'sk-//' * 20_000}")

    assert (credential.line, credential.kind) == (1, "Stripe Access Key")
    assert credential.column == 3 + 20_000 * 5 + 1 + 1
    for length in (0, 1, 1999, 2000, 2001, 3499, 3500, 3501):
        line = chars(BASE64, length)
        seen = {start + offset for start, piece in pieces(line) for offset in range(len(piece))}
        assert seen == set(range(length))
        assert all(line[start:].startswith(piece) for start, piece in pieces(line))
