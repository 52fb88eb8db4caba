"""The documentation is correct: it is generated, or its examples are run."""

import re
from pathlib import Path
from typing import List

import pytest
import yaml
from orchestrator import Problem, load

from tests.checkouts import checkout, run
from tests.documents import DOCS, Block, blocks
from tests.trees import COMPANY, DATA, REPOSITORY, tree
from tools import ETL
from tools.checkout import environments
from tools.generated import differences, reference
from tools.setup.environments import DEFINITIONS

RULES = {"schema", "dependencies", "schedule", "template", "secret", "idempotency", "ecs", "removed", "upgrade"}
APART = {"removed", "upgrade"}  # rules that ./etl check alone looks at, with something to compare with
EXAMPLES = blocks("rules.md", "yaml")
DOCUMENTS = [*DOCS.glob("*.md"), *REPOSITORY.glob("*.md")]
EXAMPLE = Path("dags") / "etl" / "pipelines" / "cwr" / "example.yaml"


def problems(folder: Path, text: str) -> List[Problem]:
    """Return the problems of a definition in the environments that the documentation describes."""
    root = tree(folder, {"cwr/example.yaml": text}, configs=COMPANY / "configs")
    return sorted({problem for name in environments(root) for problem in load(root, name).problems})


def report_of(example: Block) -> str:
    """Return the report that follows a bad example."""
    everything = blocks("rules.md")
    report = everything[everything.index(example) + 1]
    assert report.language == "text"
    return report.text


def test_the_reference_is_up_to_date() -> None:
    for path, text in {**reference.files(), **differences.files()}.items():
        assert (REPOSITORY / path).read_text(encoding="utf-8") == text, "run ./etl generate docs"


def test_the_reference_describes_every_key() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", reference.files()[reference.FILE], re.MULTILINE)
    assert len(rows) > 50
    assert [key for key, _, description in rows if not description] == []


def test_the_smallest_pipeline_is_valid(tmp_path: Path) -> None:
    assert problems(tmp_path, blocks("definitions.md", "yaml")[0].text) == []


def test_every_rule_is_documented_with_a_bad_and_a_good_example(tmp_path: Path) -> None:
    labels = {(block.heading, block.word) for block in EXAMPLES}
    assert labels == {(rule, word) for rule in RULES for word in ("Bad", "Good")} | {("removed", "Before")}
    bad = {f"bad/{case.name}": case.read_text(encoding="utf-8") for case in (DATA / "bad").glob("*.yaml")}
    rules = {problem.rule for problem in load(tree(tmp_path, bad), "development").problems}
    assert rules == RULES - APART, "each rule has a section in docs/rules.md, and its name here"


@pytest.mark.parametrize(
    "block", [block for block in EXAMPLES if block.heading not in APART], ids=lambda block: "-".join(block[:2])
)
def test_an_example_is_as_good_or_bad_as_labelled(block: Block, tmp_path: Path) -> None:
    reported = problems(tmp_path, block.text)

    if block.word == "Good":
        assert reported == []
        return
    assert {problem.rule for problem in reported} == {block.heading}
    # A problem that names an environment is reported once for each; the page shows the first.
    expected = [problem for problem in map(str, reported) if " in staging" not in problem]
    assert report_of(block) == "\n".join(expected) + "\n"


def test_the_examples_of_removed_are_as_good_or_bad_as_labelled(tmp_path: Path) -> None:
    before, bad, good = (block for block in EXAMPLES if block.heading == "removed")
    copy = checkout(tmp_path, DEFINITIONS, add={EXAMPLE: before.text})

    (copy / EXAMPLE).write_text(bad.text)
    done = run(copy, "./etl", "check", "--against", "HEAD")
    assert done.returncode == 1
    assert done.stdout.startswith(report_of(bad))

    (copy / EXAMPLE).write_text(good.text)
    done = run(copy, "./etl", "check", "--against", "HEAD")
    assert done.returncode == 0, done.stdout


def test_the_examples_of_upgrade_are_as_good_or_bad_as_labelled(tmp_path: Path) -> None:
    bad, good = (block for block in EXAMPLES if block.heading == "upgrade")
    copy = checkout(tmp_path, DEFINITIONS, add={EXAMPLE: bad.text})

    done = run(copy, "./etl", "check", "--airflow", "3", str(EXAMPLE))
    assert done.returncode == 1
    assert done.stdout.startswith(report_of(bad))
    assert run(copy, "./etl", "check", str(EXAMPLE)).returncode == 0

    (copy / EXAMPLE).write_text(good.text)
    done = run(copy, "./etl", "check", "--airflow", "3", str(EXAMPLE))
    assert done.returncode == 0, done.stdout


def test_the_commands_of_adding_a_provider_work(tmp_path: Path) -> None:
    copy = checkout(tmp_path, DEFINITIONS)
    for block in blocks("adding-a-provider.md", "sh"):
        done = run(copy, "sh", "-eu", "-c", block.text)
        assert done.returncode == 0, f"{block.text}\n{done.stdout}"

    dag_ids = [definition.dag_id for definition in load(copy / "dags" / "etl", "development").definitions]
    assert {"cwr-big_dag_sony", "ddex-releases_dag_sony", "radio-plays_dag_sony"} <= set(dag_ids)


def test_every_block_of_the_guide_is_run_here_or_marked_for_e2e() -> None:
    languages = {block.language for block in blocks("adding-a-provider.md")}
    assert languages == {"sh", "sh e2e", "yaml", "yaml message"}  # tests/e2e runs those marked e2e


def test_the_example_of_a_message_is_the_pipeline_that_a_scheduler_runs(tmp_path: Path) -> None:
    (example,) = blocks("adding-a-provider.md", "yaml message")
    tried = DATA / "survival" / "pipelines" / "ecs" / "message.yaml"  # by tests/e2e/test_survival.py

    tasks = [yaml.safe_load(text)["tasks"] for text in (example.text, tried.read_text(encoding="utf-8"))]

    assert problems(tmp_path, example.text) == []
    for task in (task for each in tasks for task in each.values()):  # these are the emulated AWS's own
        task.update(task_definition="", container="")
    assert tasks[0] == tasks[1]


def test_the_example_of_the_readme_builds_the_dags_that_it_names(tmp_path: Path) -> None:
    (example,) = blocks("../README.md", "yaml")
    root = tree(tmp_path, {"cwr/big.yaml": example.text})
    for name in ("development", "staging"):
        definitions, problems = load(root, name)
        assert problems == []
        assert [definition.dag_id for definition in definitions] == re.findall("# DAG (.*)", example.text)


def test_the_readme_shows_the_exact_report_of_its_mistake(tmp_path: Path) -> None:
    (example,), (report,) = blocks("../README.md", "yaml"), blocks("../README.md", "text")
    task = "    task_definition: cwr-load\n"
    root = tree(tmp_path, {"cwr/big.yaml": example.text.replace(task, f"{task}    retrys: 3\n")})
    (problem,) = load(root, "staging").problems
    assert report.text == f"{problem}\n"


def test_contributing_lists_every_module_and_its_names() -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    package = ETL / "orchestrator"
    rows = dict(re.findall(r"^\| .* \| `(\w+\.py)` \|(.*)\|$", text, re.MULTILINE))
    assert set(rows) == {path.name for path in package.glob("*.py")} - {"__init__.py"}
    for module, names in rows.items():
        source = (package / module).read_text(encoding="utf-8")
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"^(?:class |def )?{name}\b", source, re.MULTILINE), f"{module} has no {name}"

    folders = "".join(re.findall(r"^\| (.*/`) \|", text.split("folder of `tools/`")[1], re.MULTILINE))
    tools = {path.name for path in (REPOSITORY / "tools").iterdir() if (path / "__init__.py").exists()}
    assert tools == set(re.findall(r"`(\w+)/`", folders))


@pytest.mark.parametrize("name", sorted(str(path.relative_to(REPOSITORY)) for path in DOCUMENTS))
def test_links_lead_to_existing_files_and_headings(name: str) -> None:
    document = REPOSITORY / name
    text = document.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        file = document.parent / target if target else document
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [heading.lower().replace(" ", "-") for heading in headings]
