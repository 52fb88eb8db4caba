"""A credential in a definition is reported and never printed."""

import time
from pathlib import Path
from typing import Any

import pytest
from orchestrator import HIDDEN, load, loading

from tests.trees import tree

SECRETS = {
    "AWS key": "AKIAIOSFODNN7EXAMPLE",
    "token": "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "fine-grained token": f"github_pat_{'11ABCDEFG0' * 4}",
    "basic authorization": "Authorization: Basic ZXRsOmh1bnRlcjI=",
    "bearer": "Authorization: Bearer a1b2c3d4e5.f6",
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


# Places of a credential that no exact pattern knows, each with room for another mistake in the same value and on the
# same line.
WORD = "h8nter2"
WRITTEN = {
    "value": "defaults: {{environment: {{DB_PASSWORD: {w}{inside}{beside}}}}}\n",
    "list": "defaults: {{environment: {{DB_PASSWORD: [a, {w}{inside}]{beside}}}}}\n",
    "block list": "defaults:\n  environment:\n    DB_PASSWORD:\n      - {w}{inside}\n    A: {{B: 1{beside}}}\n",
    "mapping": "defaults: {{environment: {{DB_PASSWORD: {{a: {{b: {w}{inside}}}}}{beside}}}}}\n",
    "tagged": "defaults: {{environment: {{DB_PASSWORD: !!str {w}{inside}{beside}}}}}\n",
    "binary": "defaults: {{environment: {{DB_PASSWORD: !!binary {w}{inside}{beside}}}}}\n",
    "wrong tag": "defaults: {{environment: {{DB_PASSWORD: !!int {w}{inside}{beside}}}}}\n",
    "own tag": "defaults: {{environment: {{DB_PASSWORD: !mine {w}{inside}{beside}}}}}\n",
    "lines": "defaults:\n  environment:\n    DB_PASSWORD: |\n      first\n      {w}{inside}\n    A: {{B: 1{beside}}}\n",
    "folded": "defaults:\n  environment:\n    DB_PASSWORD: two\n      {w}{inside}\n    A: {{B: 1{beside}}}\n",
    "number": "defaults: {{environment: {{DB_PASSWORD: 0x{w}{inside}{beside}}}}}\n",
    "tagged key": "defaults: {{environment: {{!!str DB_PASSWORD: {w}{inside}{beside}}}}}\n",
    "assignment": "defaults: {{command: ['DB_PASSWORD={w}{inside}'], environment: {{A: b{beside}}}}}\n",
    "quoted": "defaults: {{command: ['DB_PASSWORD=\"{w}{inside}\"'], environment: {{A: b{beside}}}}}\n",
    "export": "defaults: {{command: ['export DB_PASSWORD={w}{inside} && run'], environment: {{A: b{beside}}}}}\n",
    "pair": "defaults: {{environment: [{{name: DB_PASSWORD, value: {w}{inside}{beside}}}]}}\n",
    "Pair": "defaults: {{environment: [{{Value: {w}{inside}, Name: DB_PASSWORD{beside}}}]}}\n",
    "key and value": "defaults: {{environment: {{a: {{key: token, value: {w}{inside}{beside}}}}}}}\n",
    "json": 'defaults: {{command: [\'{{"password":"{w}{inside}"}}\'], environment: {{A: b{beside}}}}}\n',
    "json pair": 'defaults: {{command: [\'{{"name": "TOKEN", "value": "{w}{inside}"}}\'], tags: {{A: b{beside}}}}}\n',
    "option": "defaults: {{command: [load, --password, '{w}{inside}'], environment: {{A: b{beside}}}}}\n",
    "option in a shell": "defaults: {{command: ['run --db-password {w}{inside} --all'], tags: {{A: b{beside}}}}}\n",
    "option with equals": "defaults: {{command: ['run --db-password={w}{inside} --all'], tags: {{A: b{beside}}}}}\n",
    "enum": "params: {{api_key: {{type: string, default: null, enum: [null, {w}{inside}]{beside}}}}}\n",
    "default": "params: {{token: {{type: string, default: {w}{inside}{beside}}}}}\n",
    "mistyped key of a param": "params: {{token: {{type: string, defalt: {w}{inside}{beside}}}}}\n",
    "spaces around equals": "defaults: {{environment: {{A: a{inside}{beside}}}}}  # DB_PASSWORD = '{w}'\n",
    "before a sign": "defaults: {{environment: {{A: a{inside}{beside}}}}}  # DB_PASSWORD = {w}[ PASSWORD: {w}`\n",
    "comment": "defaults: {{environment: {{A: a{inside}{beside}}}}}  # password: {w}\n",
    "comment with option": "defaults: {{environment: {{A: a{inside}{beside}}}}}  # --token {w} was it\n",
    "unknown key": "passwords: {w}{inside}\nretrys: {{A: b{beside}}}\n",
    "duplicate key": "defaults: {{environment: {{PASSWORD: {w}{inside}, PASSWORD: {w}{beside}}}}}\n",
    "description": "description: 'the password: {w}{inside}'\nretrys: {{A: b{beside}}}\n",
    "set": "passwords: !!set {{{w}{inside}}}\nretrys: {{A: b{beside}}}\n",
    "escaped key": 'defaults: {{environment: {{"DB_\\u0050ASSWORD": {w}{inside}{beside}}}}}\n',
    "option at the end of an item": "defaults: {{command: [run --password, '{w}{inside}'], tags: {{A: b{beside}}}}}\n",
    "dash": "defaults: {{command: [run, --password, '-{w}{inside}'], tags: {{A: b{beside}}}}}\n",
    "shell default": "defaults: {{command: ['run ${{PASSWORD:-{w}}}{inside}'], tags: {{A: b{beside}}}}}\n",
    "literal in a template": "defaults: {{environment: {{PASSWORD: \"{{{{- ('{w}') }}}}\"{beside}}}}}\n",
    "last literal": "defaults: {{environment: {{PASSWORD: \"{{{{ params.x or '{w}' }}}}\"{beside}}}}}\n",
    "default of a template": "defaults: {{environment: {{PASSWORD: \"{{{{ params.x | d('{w}') }}}}\"{beside}}}}}\n",
    "default of a variable": "defaults: {{environment: {{PASSWORD: \"{{{{ var.json.get('x','{w}') }}}}\"{beside}}}}}\n",
    "joined list": "defaults: {{environment: {{PASSWORD: \"{{{{ ['{w}'] | join }}}}\"{beside}}}}}\n",
    "encryption key": "defaults: {{environment: {{FERNET_KEY: {w}{inside}{beside}}}}}\n",
    "dotted option": "defaults: {{command: [load, --db.password, '{w}{inside}'], environment: {{A: b{beside}}}}}\n",
    "item": "defaults: {{command: ['d[\"password\"] = {w}{inside}'], environment: {{A: b{beside}}}}}\n",
    "secret key": "defaults: {{environment: {{S3_SECRET_KEY: {w}{inside}{beside}}}}}\n",
    "passphrase": "defaults: {{environment: {{PASSPHRASE: {w}{inside}{beside}}}}}\n",
    "short name": "defaults: {{environment: {{SFTP_PASS: {w}{inside}{beside}}}}}\n",
    "numbered": "defaults: {{environment: {{PASSWORD_2: {w}{inside}{beside}}}}}\n",
    "of an environment": "defaults: {{environment: {{DB_PASSWORD_PROD: {w}{inside}{beside}}}}}\n",
    "creds": "defaults: {{command: ['export DB_CREDS_STAGING_2={w}{inside}'], environment: {{A: b{beside}}}}}\n",
    "without a blank": "defaults: {{environment: {{DB_PASSWORD:{w}{inside}, A: {{B: 1{beside}}}}}}}\n",
    "without a blank, as text": "defaults: {{environment: DB_PASSWORD:{w}{inside}, tags: {{A: {{B: 1{beside}}}}}}}\n",
    "without a blank, in a shell": "defaults: {{command: ['PASSWORD:{w}{inside}'], tags: {{A: {{B: 1{beside}}}}}}}\n",
    "header": "defaults: {{command: [\"curl -H 'X-Api-Key: {w}' https://x{inside}\"], tags: {{A: b{beside}}}}}\n",
    "authorization": "defaults: {{command: ['authorization: token {w}00{inside}'], tags: {{A: b{beside}}}}}\n",
    "dots": "defaults: {{command: ['--conf spark.secret.key={w}{inside}'], tags: {{A: b{beside}}}}}\n",
    "without a blank, in small letters": "defaults: {{environment: {{api_key:{w}, A: {{B: 1{beside}}}}}}}\n",
    "said by a shell": "defaults: {{command: ['PASSWORD=\"$(echo {w})\"{inside}'], tags: {{A: {{B: 1{beside}}}}}}}\n",
    "header without a blank": "defaults: {{command: [curl, -H, 'X-Api-Key:{w}{inside}'], tags: {{A: b{beside}}}}}\n",
    "header of a shell": "defaults: {{command: ['curl -sH \"Auth-Token:{w}\" x{inside}'], tags: {{A: b{beside}}}}}\n",
    "one dash": "defaults: {{command: ['load -password {w}{inside} -all'], tags: {{A: b{beside}}}}}\n",
    "value instead of a param": "params: {{db: {{password: {w}{inside}{beside}}}}}\n",
    "list of params": "params: [{{db_password: {w}{inside}{beside}}}]\n",
    "joined to a template": "defaults: {{environment: {{PASSWORD: \"{{{{ ds ~ '{w}' }}}}\"{beside}}}}}\n",
    "of a provider's variables": "variables: {{password: {w}{inside}{beside}}}\n",
}
INSIDE = ["", " {{ nope }}", "\\", "\x07"]
BESIDE = [
    "",
    ", FULL: no",
    ", FULL: [",
    ", {a: b}: 1",
    "\n  - : x",
    ", FULL: !nothing x",
    ", A: &a x, B: *a",
    ", A: \t@",
]


@pytest.mark.parametrize("place", WRITTEN)
def test_no_word_of_a_file_with_a_credential_is_printed(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    root = tree(tmp_path, {"cwr/big.yaml": ""})
    file = root / "pipelines" / "cwr" / "big.yaml"
    for inside in INSIDE:
        for beside in BESIDE:
            file.write_text(WRITTEN[place].format(w=WORD, inside=inside, beside=beside) + PIPELINE)

            result = load(root, "development")

            report = "\n".join(map(str, result.problems)) + repr(result)
            assert WORD not in report, report
            # Of what YAML cannot read, only a name and its value on one line are reported; no line is shown, anyway.
            # One in a comment is no problem of the factory's; if there is another one, it quotes nothing.
            is_comment = "  # " in WRITTEN[place] and (not result.problems or HIDDEN[0] in report)
            assert "[secret]" in report or "not YAML" in report or is_comment, file.read_text()
            assert " | " not in report
    assert WORD not in "".join([*capsys.readouterr(), caplog.text])


@pytest.mark.parametrize(
    "line", ["{{PASSWORD: {}", "[run, --token, {}", "[run --token {}", "[TOKEN={}", "'PASSWORD={}"]
)
def test_a_credential_in_what_is_no_yaml_is_reported(line: str, tmp_path: Path) -> None:
    report = report_of(tmp_path, f"defaults: {line.format(WORD)}\n")

    assert "cwr/big.yaml:1:" in report
    assert "a credential is written down: a literal " in report
    assert "not shown while a credential is written down [schema]" in report
    assert WORD not in report


def test_an_error_of_the_factory_quotes_no_file_with_a_credential(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(document: Any, *_: Any) -> None:
        raise RuntimeError(document.text)

    text = WRITTEN["value"].format(w=WORD, inside="", beside="") + PIPELINE
    root = tree(tmp_path, {"cwr/big.yaml": text})
    monkeypatch.setattr(loading, "read_pipeline", fail)

    (problem,) = load(root, "development").problems

    assert "the factory failed: RuntimeError [internal]" in str(problem)
    assert "read_pipeline" in caplog.text
    assert WORD not in str(problem) + caplog.text


# Lines of a mapping of environment variables.
GIVEN = [
    'DATABASE_URL: "postgresql://{{ env.name }}:h8nter2@db/x"',
    'DATABASE_URL: "postgresql://${USER}:h8nter2@db/x"',
    'DATABASE_URL: "postgresql://etl:h8nter2{{ env.name }}@db/x"',
    "DATABASE_URL: \"postgresql://etl:{{ params.pw or 'h8nter2' }}@db/x\"",
    'DATABASE_URL: "postgresql://etl:${X:-h8nter2}@db/x"',
    'DATABASE_URL: "postgresql://etl:$PASSWORD@db/x postgresql://{{ env.name }}:h8nter2@db/x"',
    "DB_PASSWORD: \"{{ env.name + 'h8nter2' }}\"",
    "DB_PASSWORD: \"{{ params.pw | default(default_value='h8nter2') }}\"",
    "DB_PASSWORD: \"{{ params.pw or '!h8nter2' }}\"",
    "DB_PASSWORD: \"{{ params.pw or 'h8nter2/A' }}/{{ ds }}\"",
    "DB_PASSWORD: \"{{ var.value.get(default_var='h8nter2', item='pw') }}\"",
    "DB_PASSWORD: \"{{ [ds, 'h8nter2'] | last }}\"",
    "DB_PASSWORD: \"{{ params.get('x') or ['h8nter2'] | first }}\"",
    "DB_PASSWORD: \"{{ params.get('x') or['h8nter2'] | first }}\"",
    "DB_PASSWORD: \"{{ [env.name == 'a', 'h8nter2'] | last }}\"",
    "DB_PASSWORD: \"{{ params.x | join('h8nter2') }}\"",
    "DB_PASSWORD: \"{% for x in ['h8nter2'] %}{{ x }}{% endfor %}\"",
    'DB_PASSWORD: "${X/y/h8nter2}"',
    '"DB_PASSWORD_{{ env.name | upper }}": h8nter2',
    '"DB_PASSWORD_${STAGE}": h8nter2',
    "A: 'DB_PASSWORD_{{ env.name }}=h8nter2'",
    'A: \'{"password": {"value": "h8nter2"}}\'',
    'A: \'{"passwords": ["h8nter2"]}\'',
    'A: \'{"passwords": [{"value": "h8nter2"}]}\'',
    'A: "export DB_PASSWORD=$(echo h8nter2)"',
    "A: \"export DB_PASSWORD=$(printf '%s' 'h8nter2')\"",
    'A: "export DB_PASSWORD=`echo -n h8nter2`"',
    "DB_PASSWORD: \"{{ params.pw if ds >= '2022-06-01' else 'h8nter2' }}\"",
    'A: \'TOKEN="${TOKEN:-$(echo h8nter2)}" TOKEN="${TOKEN:-${OTHER}h8nter2}"\'',
    'DB_PASSWORD: "$${USER}h8nter2"',
    'A: "export DB_PASSWORD=${A:-${B:-h8nter2}}; run"',
    "A: 'DB_PASSWORD=\"etl/H8nter2/h8nter2\" load'",
    'DATABASE_URL: "postgresql://etl:p?#h8nter2@db/x"',
    "A: f(password=h8nter2, token=token)",
    "DB_PASSWORD: Company2022.Password",
    "DB_PASSWORD: company.password",
    "DB_PASSWORD: password",
    'DATABASE_URL: "postgresql://etl:Vm2022.Secret@db/x"',
    'A: "export PGPASSWORD=Company2022.Password; psql"',
    'A: "PASSWORD=password psql"',
    'A: "mysql --password=company.password!h8nter2"',
    'A: "user=etl password=winter.secret@h8nter2"',
    "A: 'password: acme.secret:h8nter2'",
    "A: 'PASSWORD=acme.secret$h8nter2'",
    "A: f(token=token, db_password=password)",
    "DB_PASSWORD: 'etl/h8nter2:a:b:c'",
    "DB_PASSWORD: 'xk/h8nter2:a:b:c'",
    "A: \"echo 'password: h8nter2' > /tmp/conf.yaml && load\"",
    "A: 'echo \"password: h8nter2\"|tee /tmp/conf.yaml && load'",
    r"""A: 'sh -c "curl -d ''{\"password\": \"h8nter2\"}'' https://x"'""",
    r"""A: 'sh -c "curl -d ''{\"passwords\": [\"h8nter2\"]}'' https://x"'""",
    r"""A: 'sh -c "curl -d ''{\"password\": {\"value\": \"h8nter2\"}}'' https://x"'""",
]
READ = [
    "DB_PASSWORD: \"{{ var.value.get('db_arn') }}{{ var.value.get(item='db') }}{{ params['pw'] }}\"",
    "DB_PASSWORD: \"{{ var.value.get('db_arn', default_var='') }}{{ dag_run.conf.get('db_' ~ env.name) }}\"",
    "DB_PASSWORD: \"{{ ti.xcom_pull('fetch')['password'] }}{{ ti.xcom_pull(task_ids=['a', 'b'], key='token') }}\"",
    "DB_PASSWORD: \"{{ var.json['db_' ~ env.name]['main'].password }}\"",
    "DB_PASSWORD: \"{{ params.arn | default('') }}{{ params.arn | default('etl/prod/db') }}\"",
    "DB_PASSWORD: \"{{ params.arn or 'arn:aws:secretsmanager:eu-west-1:000000000000:secret:db' }}\"",
    "DB_PASSWORD: \"{{ var.value.a if env.name == 'staging' else var.value.b }}\"",
    "DB_PASSWORD: \"{{ var.value.a if 'staging' != env.name else var.value.b }}\"",
    "DB_PASSWORD: \"{{ var.value.a if env.name not in ('staging', 'test') else var.value.b }}\"",
    "DB_PASSWORD: \"{% if env.name.startswith('prod') %}{{ var.value.a }}{% else %}{{ var.value.b }}{% endif %}\"",
    "DB_PASSWORD: \"{{ var.value.a | replace('x', '') | trim('y') }}{{ var.value.a.split('user:')[1] }}\"",
    "DB_PASSWORD: \"{{ var.value.a ~ ' | ' ~ var.value.b }}{{ params.tokens | join('\\\\n') }}\"",
    "DB_SECRET: \"etl/{{ env.name | replace('development', 'dev') }}/{{ data_interval_start.strftime('v%Y') }}\"",
    "DB_SECRET: \"{{ macros.ds_format(macros.ds_add(ds, 1), '%Y-%m-%d', 'v%Y') }}{{ env.name ~ '/db' }}\"",
    "DB_SECRET: \"{{ data_interval_start.in_timezone('Europe/London').format('YYYY') }}\"",
    "USE_TOKEN: \"{{ 'true' if params.x else 'false' }}\"",
    'A: "https://{{ provider.user }}:{{ provider.word }}@x https://${USER}:${PASSWORD}@x https://{{ env.u }}:$PW@x"',
    "A: \"https://etl:{{ var.value.get('pw') }}@x https://{{ env.host }}:8080/a@b s3://{{ env.bucket }}/{{ ds }}:x@y\"",
    '"DB_PASSWORD_{{ env.name | upper }}": "{{ var.value.x }}"',
    'A: \'{"password": {"type": "integer"}, "token": {"from": "aws"}, "secret": ["$X"]}\'',
    'A: \'{"password": {"value": "{{ var.value.pw }}"}} and {"passwords": [.items[].password]}\'',
    'A: \'export DB_PASSWORD=$(echo "$SECRET" | jq -r .password) TOKEN=$(printf "%s" "$X" | base64 -d)\'',
    'A: "TOKEN=$(echo {{ var.value.x }} | base64 -d) TOKEN=$(cat /run/secrets/x) TOKEN=`cat /run/x`"',
    "A: \"TOKEN='$(echo $SECRET | jq -r .password)' PASSWORD=$(aws secretsmanager get-secret-value --secret-id x)\"",
    'A: "TOKEN=${X//-/_} TOKEN=${X%/*} TOKEN=${X#*:} TOKEN=${X/a/$Y} SECRET=${NAME/test/prod} TOKEN=${X/a/$OTHER}"',
    "DB_PASSWORD: \"{{ var.value.a if '2022-06-01' < ds <= '2022-07-01' else var.value.b if ds > '2022' }}\"",
    'A: \'TOKEN="${TOKEN:-$(cat /run/token)}" TOKEN="${TOKEN:-${OTHER}}"\'',
    'A: "http://api:8080?email=data@acme.com smtp://mail:{{ env.port }}?from=etl@acme.com http://x?a=b:c@d.com"',
    'A: \'export DB_SECRET="etl/prod/db"; load --password "/run/secrets/pw" --secret "etl/x" --token "s3://a/b"\'',
    'A: \'load --config {"secret": "etl/prod/db"} --config "{\\"secret\\": \\"etl/db:password::\\"}"\'',
    "A: sh -c 'load --secret etl/prod/db'",
    'A: "connect(user=user, password=args.password); f(token=token, password=password); s.token=t.db_token"',
    "A: \"jq '{user: .user, password: .password}' x; f(api_token=api_token, password=settings.DB_PASSWORD)\"",
    "A: password=os.environ['PASSWORD'].strip()",
    "A: MERGE INTO w USING s ON (W.TOKEN = S.TOKEN) WHEN MATCHED THEN SET API_KEY = S.API_KEY, token=s.token::text",
    'A: "http://etl:8080?to[]=a@b.c http://$HOST:$PORT?to=a@b.c mongodb://h:27017,h2:27017?x=a@b http://e:80#m=a@b.c"',
    'A: "jdbc:sqlserver://h:1433;user=a@b;password={{ env.x }}"',
    "DB_SECRET: 'prod/db:password:blue:'",
    "DB_SECRET: 'etl/db:db.password::'",
    "A: select a from b where token = %s and password = ? and secret=%(secret)s and api_key = '%s'",
]


@pytest.mark.parametrize("line", GIVEN)
def test_a_text_that_a_template_or_a_shell_gives_is_a_credential(line: str, tmp_path: Path) -> None:
    report = report_of(tmp_path, f"defaults:\n  environment:\n    {line}\n")

    assert "a credential is written down: " in report
    assert WORD not in report


@pytest.mark.parametrize("line", READ)
def test_a_name_a_format_and_what_is_compared_are_no_credentials(line: str, tmp_path: Path) -> None:
    result = load(tree(tmp_path, {"cwr/big.yaml": f"defaults:\n  environment:\n    {line}\n{PIPELINE}"}), "development")

    assert [str(problem) for problem in result.problems if problem.rule == "secret"] == []


HARMLESS = """\
description: A token, and where the password is (see secrets); api_key of none
params:
  token: {type: string, default: null, enum: [null, ""], description: The token of the API., format: date}
tasks:
  refresh-token: {task_definition: "secret"}
  load:
    task_definition: loader
    depends_on: [refresh-token]
    command:
      - load --token "$TOKEN" --password ${DB_PASSWORD} --secret {{ var.value.x }} --token=$(cat x) --no-password y
      - export DB_PASSWORD={{ var.value.db }} PASSWORD= TOKEN_URL=https://example/x?token=$TOKEN
      - postgres://etl:$DB_PASSWORD@db.example/cwr
      - sftp://etl:<password>@sftp.example, with --password <the password>
      - connect(password=os.environ["DB_PASSWORD"], token=read_token(), secret=config.get('x'))
      - export PGPASSWORD="$(aws secretsmanager get-secret-value --secret-id etl/db)"; psql --password "$(cat x)"
      - arn:aws:secretsmanager:eu-west-1:0:secret:un and token:read password:change
      - load --columns "id:bigint,token:string,password:string" --schema "TOKEN:STRING,PASSWORD:STRING"
      - "echo 'password: unchanged' && authorization: bearer authentication"
      - "see 'the token' > x, the token: see > x, and 'password: see below | etl' || echo 'the token: is > x' | load"
      - jq '{"token": .token}' and f(token=token) and PASSWORD=${DB_PASSWORD:-$OTHER} and TOKEN=${X//a/b}
      - --no-password
      - etl
      - load --password "${DB_PASSWORD:?}" --token "${TOKEN:?is missing}" --secret "${SECRET:-}" -token $TOKEN
      - -H
      - "X-Api-Key:$API_KEY"
      - if [ $TOKEN = x ]; then [ ${TOKEN} = y ]; fi
      - load --private-key /run/keys/un.pem --credentials=s3://bucket/un.json
      - --token
      - --password
      - "{{ var.value.x }}"
      - "arn:aws:secretsmanager:eu-west-1:000000000000:secret:etl/cwr-AbCdEf"
    environment:
      DB_PASSWORD_ARN: arn:aws:secretsmanager:eu-west-1:000000000000:secret:db
      DB_PASSWORD: arn:aws:secretsmanager:eu-west-1:000000000000:secret:db
      TOKEN_URL: https://token.example/token
      SECRET_NAME: etl/db
      PASSWORD_FILE: /run/secrets/db
      PRIVATE_KEY: /run/keys/un.pem
      CREDENTIALS: s3://bucket/un/credentials.json
      REFRESH_TOKEN: ssm:/etl/un/token
      token_count: "5"
      TOKENS_PER_MINUTE: "5"
      A_TOKEN: "{{ var.value.a }}:{{ var.value.b }}"
      B_TOKEN: $TOKEN
      C_TOKEN: ${TOKEN}
      D_TOKEN: ""
      F_TOKEN: <token>
      E_TOKEN: "true"
      G_TOKEN: "{{ params.token or '' }}"
      BOARDING_PASS: "5"
      USE_TOKEN: "1"
      ROTATE_PASSWORD: "0"
      PWD: /data
      GOOGLE_APPLICATION_CREDENTIALS: /app/GCP.json
      DB_SECRET: etl/prod/db
      SECRET_TESTED: "5"
providers:
  token: {variables: {kind: "token"}}  # the token: see the wiki; DB_PASSWORD is one of its secrets
"""


def test_what_only_sounds_like_a_credential_is_none(tmp_path: Path) -> None:
    text = HARMLESS.replace("type: string, default: null", "type: ['null', string], default: null")

    result = load(tree(tmp_path, {"cwr/big.yaml": text}), "development")

    assert [problem for problem in result.problems if problem.rule == "secret"] == []


def test_a_credential_in_a_comment_is_placed_where_it_hides_the_rest_and_may_be_allowed(tmp_path: Path) -> None:
    comment = "# the flag --password is set by ECS"
    hidden = "remove the credential first, in line 2"
    for number, (line, expected) in enumerate(
        ((comment, hidden), (f"{comment}  # pragma: allowlist secret", "known: "))
    ):
        root = tree(tmp_path / str(number), {"cwr/big.yaml": f"retrys: 3\n{line}\n{PIPELINE}"})
        (problem,) = load(root, "development").problems
        assert problem.hint.startswith(expected)


def test_a_credential_of_a_provider_disables_only_that_provider(tmp_path: Path) -> None:
    text = PIPELINE.replace("{un: {}}", f"{{un: {{}}, wcm: {{variables: {{password: [{WORD}]}}}}}}")

    result = load(tree(tmp_path, {"cwr/big.yaml": text}), "development")

    assert [definition.provider for definition in result.definitions] == ["un"]


@pytest.mark.parametrize(
    "part",
    [
        "password\n",
        "://a:",
        "-----BEGIN A",
        "eyJaaaaaaaaa-",
        "--token-",
        "token={{ ",
        "token='",
        "--token\n-",
        "#token: x y",
        "://{{ a }}",
        "://${a}:",
        "password_{{ a }}",
        "token=$(echo ",
        "'password': [",
    ],
)
def test_searching_for_credentials_takes_linear_time(part: str, tmp_path: Path) -> None:
    seconds = []
    root = tree(tmp_path, {"cwr/big.yaml": ""})
    for size in (60_000, 480_000):
        text = f"[{part * (size // len(part))}\n{PIPELINE}"
        (root / "pipelines" / "cwr" / "big.yaml").write_text(text)
        start = time.process_time()
        assert load(root, "development").problems
        seconds.append(time.process_time() - start)

    assert seconds[1] < 24 * seconds[0] + 0.1  # 8 times as long; 64 times if a pattern goes back over the file


def test_a_message_says_one_word_however_many_names_stand_beside_a_value(tmp_path: Path) -> None:
    names = "name: encryption_key\n  " * 1000
    text = f"{PIPELINE}params:\n  {names}value: {{{', '.join(f'a{n}: x' for n in range(1000))}}}\n"
    messages = [str(problem) for problem in load(tree(tmp_path, {"cwr/big.yaml": text}), "development").problems]

    assert max(map(len, messages)) < 300


@pytest.mark.parametrize(
    "text",
    [
        r'"postgres:\/\/etl:hunter2@db\/cwr"',
        '"load --api\n    key=hunter2"',
        f'"load --api\n{" " * 200}key=hunter2"',
        r'"load --api\ key=hunter2"',
    ],
    ids=["escaped slashes", "a name on two lines", "far apart", "an escaped space"],
)
def test_how_a_credential_is_written_does_not_hide_it(text: str, tmp_path: Path) -> None:
    report = report_of(tmp_path, f"descripton: x\ndefaults: {{environment: {{X: {text}}}}}\n")

    assert "[secret]" in report
    assert "hunter2" not in report
