"""``./etl new`` writes the smallest valid entry and changes nothing else."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest
from orchestrator import load

from tests.checkouts import checkout, run
from tests.trees import COMPANY
from tools.commands import generate, new
from tools.generated import entries, files
from tools.setup.environments import DEFINITIONS

DEFINED = sorted(COMPANY.glob("pipelines/*/*.yaml"))
MINIMAL = "start_date: 2022-01-01\ntasks: {load: {task_definition: loader}}\n"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkout(tmp_path_factory.mktemp("new"), DEFINITIONS)


@pytest.fixture
def copy(shared: Path) -> Iterator[Path]:
    """Return a checkout that a test may change; it is restored for the next one."""
    yield shared
    run(shared, "git", "checkout", "--quiet", ".")
    run(shared, "git", "clean", "--quiet", "-d", "--force", "dags")


def etl(copy: Path, *arguments: str) -> Tuple[int, str]:
    done = run(copy, "./etl", *arguments)
    return done.returncode, done.stdout


def diff(copy: Path) -> List[str]:
    """Return the lines that differ from the commit, without the headers."""
    lines = run(copy, "git", "diff", "--unified=0").stdout.splitlines()
    return [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]


def test_a_new_provider_is_one_line_and_its_dag_is_in_the_plan(copy: Path) -> None:
    status, output = etl(copy, "new", "provider", "cwr/big", "sony")

    assert status == 0, output
    assert diff(copy) == ["+  sony: {}"]
    assert "added sony to dags/etl/pipelines/cwr/big.yaml: DAG cwr-big_dag_sony" in output
    assert "cwr-big_dag_sony" in output.split("\n\n", 1)[1]  # the plan
    assert run(copy, "git", "status", "--short").stdout.split() == ["M", "dags/etl/pipelines/cwr/big.yaml"]


def test_a_new_pipeline_is_valid_and_accepts_providers(copy: Path) -> None:
    status, output = etl(copy, "new", "pipeline", "radio/plays")
    assert status == 0, output
    assert "./etl new provider radio/plays NAME" in output
    file = copy / "dags" / "etl" / "pipelines" / "radio" / "plays.yaml"
    modeline = file.read_text().splitlines()[0]
    assert (file.parent / modeline.split("$schema=")[1]).samefile(copy / "configs" / "schema" / "pipeline.json")

    status, output = etl(copy, "new", "provider", "radio/plays", "no")

    assert status == 0, output
    assert file.read_text().endswith('\nproviders:\n  "no": {}\n')
    for environment in ("development", "staging"):
        result = load(copy / "dags" / "etl", environment)
        assert not result.problems
        assert "radio-plays_dag_no" in [definition.dag_id for definition in result.definitions]


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (["provider", "cwr/big", "un"], 1, "cwr/big has a provider 'un' already"),
        (["provider", "cwr/bgi", "sony"], 1, "there is no pipeline cwr/bgi; did you mean 'cwr/big'?"),
        (["provider", "cwr/big", "Sony"], 2, "'Sony' is not a provider's name: at most 100 lower-case"),
        (["provider", "cwr/big", "sony-music"], 2, "'sony-music' is not a provider's name"),
        (["provider", "cwr", "sony"], 2, "'cwr' is not FAMILY/PIPELINE, such as cwr/big"),
        (["provider", "../cwr/big", "sony"], 2, "'..' is not a family's name"),
        (["provider", "cwr/big"], 2, "the following arguments are required: NAME"),
        (["provider", "cwr/big", "s" * 101], 2, "is not a provider's name: at most 100"),
        (["provider", "ddex/releases", "sony"], 1, "is given with --variable NAME=TEXT"),
        (["provider", "cwr/big", "sony", "--variable", "h8nter2"], 2, "argument --variable: it is not NAME=TEXT"),
        (["provider", "cwr/big", "sony", "--variable", "host=h8nter2\udcff"], 2, "the text of 'host' is not UTF-8"),
        (["provider", "cwr/big", "sony", "--variable", "a=1", "--variable", "a=2"], 2, "'a' is given more than once"),
        (["provider", "cwr/big", "sony", "--variable", "name=x"], 2, "'name' is not a variable's name"),
        (["provider", "cwr/big", "sony", "--variable", "api_key=x"], 1, "a credential is written down"),
        (["pipeline", "cwr/big"], 1, "there is dags/etl/pipelines/cwr/big.yaml already"),
        (["pipeline", "cwr/big_dag_un"], 2, "'big_dag_un' is not a pipeline's name"),
        (["pipeline", "CWR/big"], 2, "'CWR' is not a family's name"),
        ([], 2, "THING"),
        (["dag"], 2, "invalid choice: 'dag'"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_an_invalid_entry_is_refused_and_changes_nothing(
    arguments: List[str],
    status: int,
    expected: str,
    copy: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(entries, "ROOT", copy)
    monkeypatch.setattr(entries, "ETL", copy / "dags" / "etl")

    try:
        returned = new.main(arguments)
    except SystemExit as error:  # argparse reports a usage error this way
        returned = int(error.code or 0)

    message = capsys.readouterr().err
    assert expected in message
    assert "h8nter2" not in message
    assert returned == status
    assert run(copy, "git", "status", "--short", "dags").stdout == ""


@pytest.mark.parametrize(
    ("thing", "paths"),
    [
        ("schema", ["configs/schema/pipeline.json", "configs/schema/environment.json"]),
        ("docs", ["docs/definitions.md", "docs/differences.md"]),
    ],
)
def test_generate_restores_the_generated_files(thing: str, paths: List[str], copy: Path) -> None:
    for path in paths:
        (copy / path).write_text("old")

    status, output = etl(copy, "generate", thing)

    assert (status, output) == (0, "".join(f"wrote {path}\n" for path in paths))
    assert diff(copy) == []


def test_a_new_cluster_is_reported_until_editors_know_it(copy: Path) -> None:
    file = copy / "configs" / "staging.yaml"
    file.write_text(file.read_text().replace("clusters:\n", "clusters:\n  huge: {cluster: etl-huge}\n"))

    status, output = etl(copy, "check")
    assert (status, output.splitlines()[0].partition(" [")[0]) == (
        1,
        "dags/etl/configs/schema/pipeline.json:1:1: "
        "editors know other keys and names than the models and the files in configs have",
    )
    assert "./etl generate schema" in output
    assert etl(copy, "check", "dags/etl/pipelines")[0] == 0

    assert etl(copy, "generate", "schema")[0] == 0
    assert etl(copy, "check")[0] == 0
    assert '+            "huge",' in diff(copy)


def test_the_schema_is_not_written_while_an_environment_has_problems(copy: Path) -> None:
    (copy / "configs" / "staging.yaml").write_text("region: eu-west-1\n")

    status, output = etl(copy, "generate", "schema")

    assert status == 1
    assert "dags/etl/configs/staging.yaml:1:1: missing key 'clusters' [schema]" in output
    assert run(copy, "git", "status", "--short", "configs/schema").stdout == ""


def test_existing_problems_of_the_file_are_reported_first(copy: Path) -> None:
    file = copy / "dags" / "etl" / "pipelines" / "vi" / "works.yaml"
    broken = file.read_text().replace("cpu: 1024", "cpuu: 1024")
    file.write_text(broken)

    status, output = etl(copy, "new", "provider", "vi/works", "sony")

    assert status == 1
    assert "the file has problems already; fix them first" in output
    assert "vi/works.yaml:10:5: unknown key 'cpuu' [schema]" in output
    assert file.read_text() == broken


@pytest.mark.parametrize("command", ["new provider cwr/big sony", "new pipeline cwr/small", "generate schema"])
def test_nothing_is_written_without_an_environment_to_check_it_for(command: str, copy: Path) -> None:
    link = copy / "dags" / "etl" / "configs"
    link.unlink()
    link.write_text("../../configs")  # as Git writes it with core.symlinks=false

    status, output = etl(copy, *command.split())

    assert status == 1
    assert "dags/etl/configs:1:1: there is no environment" in output
    assert run(copy, "git", "status", "--short").stdout.split() == ["T", "dags/etl/configs"]


def test_several_new_providers_at_once_are_all_added(copy: Path) -> None:
    names = [f"at_once_{number}" for number in range(6)]
    commands = [[sys.executable, "-m", "tools.commands.new", "provider", "cwr/big", name] for name in names]
    quiet: Dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen(command, cwd=copy, **quiet) for command in commands]

    assert [process.wait() for process in processes] == [0] * len(names)
    assert sorted(diff(copy)) == [f"+  {name}: {{}}" for name in names]


def test_what_an_editor_saves_meanwhile_is_not_replaced(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = copy / "dags" / "etl" / "pipelines" / "cwr" / "big.yaml"
    with_provider = entries.with_provider

    def save(text: str, *arguments: Any) -> str:
        file.write_text(f"{text}# saved\n")
        return with_provider(text, *arguments)

    monkeypatch.setattr(entries, "ROOT", copy)
    monkeypatch.setattr(entries, "ETL", copy / "dags" / "etl")
    monkeypatch.setattr(entries, "with_provider", save)

    assert new.main(["provider", "cwr/big", "sony"]) == 1
    assert capsys.readouterr().err == "etl: dags/etl/pipelines/cwr/big.yaml has changed meanwhile; run it again\n"
    assert diff(copy) == ["+# saved"]


def test_a_provider_may_wait_for_another_file_and_for_another_provider_of_its_own(copy: Path) -> None:
    file = copy / "dags" / "etl" / "pipelines" / "cwr" / "after.yaml"
    waits = "wait_for: [{pipeline: cwr/big}, {pipeline: cwr/after, provider: un}]"
    file.write_text(f"{MINIMAL}{waits}\nproviders:\n  un: {{wait_for: null}}\n")

    status, output = etl(copy, "new", "provider", "cwr/after", "wcm")
    assert status == 0, output

    status, output = etl(copy, "new", "provider", "cwr/after", "nobody")
    assert status == 1
    assert "'cwr/big' has no DAG here for provider 'nobody'" in output


def test_a_link_is_not_replaced_by_a_file(copy: Path) -> None:
    target = copy / "dags" / "etl" / "pipelines" / "testing" / "smoke.yaml"
    link = target.with_name("link.yaml")
    link.symlink_to(target)

    status, output = etl(copy, "new", "provider", "testing/link", "sony")

    assert status == 1
    assert "is a link" in output
    assert link.is_symlink()


def test_variables_are_written_with_the_provider(copy: Path) -> None:
    status, output = etl(copy, "new", "provider", "ddex/releases", "sony", "--variable", "host=sftp.sony.example")

    assert status == 0, output
    assert diff(copy) == ["+  sony: {variables: {host: sftp.sony.example}}"]


@pytest.mark.parametrize(
    ("command", "changed"),
    [
        ("new provider cwr/big sony", "dags/etl/pipelines/cwr/big.yaml"),
        ("new pipeline radio/plays", "dags/etl/pipelines/radio/"),
        ("generate schema", ""),
    ],
)
def test_an_output_that_cannot_be_written_is_not_taken_for_the_file(command: str, changed: str, copy: Path) -> None:
    arguments = [str(copy / "etl"), *command.split()]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, text=True)

    assert (done.returncode, done.stderr) == (1, "etl: the output cannot be written: No space left on device\n")
    assert run(copy, "git", "status", "--short").stdout.split()[1:] == [changed][: len(changed)]


@pytest.mark.parametrize(
    ("command", "blocked"),
    [
        ("new provider cwr/big sony", "dags/etl/pipelines/cwr/big.yaml"),
        ("new pipeline radio/plays", "dags/etl/pipelines/radio/plays.yaml"),
        ("generate schema", "configs/schema/pipeline.json"),
    ],
)
def test_a_file_that_cannot_be_written_is_named(
    command: str, blocked: str, copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # which names no file

    monkeypatch.setattr(entries, "ROOT", copy)
    monkeypatch.setattr(entries, "ETL", copy / "dags" / "etl")
    monkeypatch.setattr(os, "fchmod", full)
    name, *arguments = command.split()

    assert {"new": new, "generate": generate}[name].main(arguments) == 1
    assert capsys.readouterr().err == f"etl: {blocked} cannot be written: No space left on device\n"


def test_replacing_a_file_keeps_its_mode_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    file = tmp_path / "big.yaml"
    file.write_text("old")
    file.chmod(0o640)

    files.replace(file, b"new")

    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new", 0o640)
    assert os.listdir(tmp_path) == ["big.yaml"]


def test_a_failed_write_leaves_the_file_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "big.yaml"
    file.write_text("old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))

    with pytest.raises(OSError, match="disk full"):
        files.replace(file, b"new")

    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["big.yaml"]


@pytest.mark.parametrize("file", DEFINED, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_a_new_provider_changes_no_other_byte(file: Path) -> None:
    before = file.read_bytes().decode()

    after = entries.with_provider(before, "sony", {})

    assert after.replace("  sony: {}\n", "", 1) == before
    assert list(entries.data_of(after)["providers"])[-1] == "sony"


@pytest.mark.parametrize(
    ("providers", "expected"),
    [
        ("providers:\n  un: {}\n", "providers:\n  un: {}\n  sony: {}\n"),
        ("providers:\n  un: {}", "providers:\n  un: {}\n  sony: {}\n"),
        ("providers:\n    un:\n", "providers:\n    un:\n    sony: {}\n"),
        ("providers:\n  un: {}  # first\n  # more\n", "providers:\n  un: {}  # first\n  # more\n  sony: {}\n"),
        ("providers:\n  un: {}\n\n# a\nowner: a\n", "providers:\n  un: {}\n  sony: {}\n\n# a\nowner: a\n"),
        ("providers:\n  un: {}\n\n  # wcm\n\n\n", "providers:\n  un: {}\n\n  # wcm\n  sony: {}\n\n\n"),
        (
            "providers:\n  un:\n    variables:\n      a: |\n        b\n\n        c\nowner: a\n",
            "providers:\n  un:\n    variables:\n      a: |\n        b\n\n        c\n  sony: {}\nowner: a\n",
        ),
        ("providers:\n  un:\n    tags:\n    - a\n", "providers:\n  un:\n    tags:\n    - a\n  sony: {}\n"),
        ("providers: {un: {}, wcm: {}}  # two\n", "providers: {un: {}, wcm: {}, sony: {}}  # two\n"),
        ("providers: {un, wcm}\n", "providers: {un, wcm, sony: {}}\n"),
        ("providers: {\n  un: {},  # one\n}\n", "providers: {\n  un: {}, sony: {},  # one\n}\n"),
        ("providers: {}  # none yet\n", "providers:  # none yet\n  sony: {}\n"),
        ("providers:   {}\n", "providers:   {sony: {}}\n"),
        ("providers: {}", "providers:\n  sony: {}\n"),
        ("providers:\r\n  un: {}\r\nowner: a\r\n", "providers:\r\n  un: {}\r\n  sony: {}\r\nowner: a\r\n"),
        ("providers:\n  un: {}\n...\n", "providers:\n  un: {}\n  sony: {}\n...\n"),
        ("providers: &p\n  un: {}\n", "providers: &p\n  un: {}\n  sony: {}\n"),
        ("providers: &p\n  {}\n", "providers: &p\n  {sony: {}}\n"),
        ("providers:\n  ? un\n", "providers:\n  ? un\n  sony: {}\n"),
        ("providers:\n  ünique: {}  # ☃\n", "providers:\n  ünique: {}  # ☃\n  sony: {}\n"),
    ],
)
@pytest.mark.parametrize("above", ["", "\ufeff", "---\n", "# ☃ above\n"], ids=["", "mark", "dashes", "comment"])
def test_a_new_provider_is_written_after_the_last(providers: str, expected: str, above: str) -> None:
    head = above + (MINIMAL.replace("\n", "\r\n") if "\r" in providers else MINIMAL)

    assert entries.with_provider(head + providers, "sony", {}) == head + expected


def test_a_file_that_cannot_be_extended_safely_is_refused() -> None:
    with pytest.raises(entries.Refused, match=r"add to its providers: sony: \{\}"):
        entries.with_provider(MINIMAL + "providers:\n  un:\n    variables:\n      a: |+\n        b\n\n\n", "sony", {})


@pytest.mark.parametrize(
    "text",
    [
        *(
            "no",
            "on",
            "y",
            "N",
            "null",
            "~",
            "2022",
            "010",
            "1_000",
            "1e3",
            "0x1f",
            "0o17",
            "1.5",
            "2022-01-01",
            "1:30",
        ),
        *("", " a ", "a: b", "a #b", "[a", "{{ ds }}", '"', "\\", "a\nb", "\t", "é", "@daily", "-", "- a", "*a", "!a"),
    ],
)
def test_a_text_that_yaml_reads_as_something_else_is_quoted(text: str) -> None:
    written = entries.scalar(text)

    assert written.startswith('"')
    assert entries.data_of(f"{{a: {written}}}") == {"a": text}


@pytest.mark.parametrize("text", ["un", "3rd_party", "sftp.example", "/incoming", "a-b", "_x"])
def test_a_plain_text_needs_no_quotes(text: str) -> None:
    assert entries.scalar(text) == text
    assert entries.data_of(f"{{a: {text}}}") == {"a": text}


@pytest.mark.parametrize(
    "credential", ["PASSWORD: [h8nter2, no]", "A: no, B: ' {secret}'", "PASSWORD: h8nter2, A: [no"]
)
def test_no_command_prints_a_line_of_a_file_with_a_credential(copy: Path, credential: str) -> None:
    random = "kX9vQ2mZ7" + "pL4wR8tB1nC6yH3" + "sD5fG0jK8uE2aV7q"  # only detect-secrets knows it
    file = copy / "dags" / "etl" / "pipelines" / "cwr" / "big.yaml"
    place = f"environment: {{{credential.format(secret=random)}}}\n"
    file.write_text(file.read_text().replace("task_definition: cwr-load\n", f"task_definition: cwr-load\n    {place}"))
    commands = [
        *(["check", "--format", form] for form in ("text", "json", "github")),
        *(["plan", "--format", form] for form in ("text", "json", "markdown")),
        ["show"],
        ["show", "cwr-big_dag_un"],
        ["new", "provider", "cwr/big", "sony"],
        ["deploy", "staging"],
    ]
    if "h8nter2" not in credential:
        commands = [command for command in commands if command[0] in ("check", "deploy")]
    for command in commands:
        done = run(copy, "./etl", *command)
        assert done.returncode, command
        assert "h8nter2" not in done.stdout, command
        assert random[:8] not in done.stdout, command
        assert "environment:" not in done.stdout, command


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("key=sk_live_" + "0a1b2c3d4e5f6g7h8i9j0k1l", "this looks like a credential"),
        ("api_key=h8nter2", "a credential is written down"),
        ("host=" + "x" * 1025, "at most 1024 characters"),
    ],
    ids=["shape", "name", "long"],
)
def test_what_check_would_refuse_is_not_written(variable: str, message: str, copy: Path) -> None:
    status, output = etl(copy, "new", "provider", "cwr/big", "sony", "--variable", variable)

    assert status == 1
    assert message in output
    assert variable.partition("=")[2] not in output
    assert "--variable" not in output  # which would be of no help
    assert diff(copy) == []


def test_the_text_of_a_variable_is_not_quoted(copy: Path) -> None:
    file = copy / "dags" / "etl" / "pipelines" / "cwr" / "big.yaml"
    file.write_text(file.read_text() + "...\n")  # the end of the document, after which nothing can be added
    for text in ("h8nter2", "h8nter2\x07"):
        done = run(copy, "./etl", "new", "provider", "cwr/big", "sony", "--variable", f"api_key={text}")
        assert done.returncode
        assert "h8nter2" not in done.stdout
