"""What templates may say: what people write passes, known escapes are refused, each with what to write instead.

tests/dags/test_templates_rendered.py renders with Airflow what passes.
"""

import re
from pathlib import Path
from typing import Dict, List

import pytest
import yaml
from orchestrator import load, read_template
from orchestrator.problems import Problem

from tests.trees import DATA, tree

TEMPLATES = DATA / "templates"
ACCEPTED = [
    line
    for line in (TEMPLATES / "accepted.jinja").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("# ")
]
REFUSED: List[Dict[str, str]] = yaml.safe_load((TEMPLATES / "refused_real.yaml").read_text(encoding="utf-8"))
ESCAPES: Dict[str, List[str]] = yaml.safe_load((TEMPLATES / "escapes.yaml").read_text(encoding="utf-8"))


def quoted(text: str) -> str:
    """Return a text as YAML on one line."""
    return str(yaml.safe_dump(text, default_style='"', allow_unicode=True, width=1_000_000)).strip()


def definition(texts: List[str], as_keys: bool = False) -> str:
    """Return a pipeline with one task for each text, each on a line of its own, and what they name."""
    members = {member for text in texts for member in read_template(text).members}
    numbers = {number for text in texts for number in read_template(text).numbers}
    lines = ["start_date: 2022-01-01", "tasks:"]
    for number, text in enumerate(texts):
        field = f"environment: {{{quoted(text)}: x}}" if as_keys else f"command: [{quoted(text)}]"
        lines.append(f"  t{number}: {{task_definition: loader, {field}}}")
    pulled = sorted({task for text in texts for task in read_template(text).pulled})
    lines += [f"  {quoted(task)}: {{task_definition: loader}}" for task in pulled]
    lines += ["providers:", "  un:", "    variables: {of_provider: x"]
    lines += [f"      , {name}: 3" for root, name in sorted(members) if root == "provider" and name != "name"]
    lines += ["    }", "params: {x: {type: string, default: x}, y: {type: string, default: y}"]
    for root, name in sorted(members):
        if root == "params" and name not in ("x", "y"):
            value = "{type: integer, default: 3}" if (root, name) in numbers else "{default: x}"
            lines.append(f"  , {name}: {value}")
    return "\n".join([*lines, "}"]) + "\n"


def problems_by_text(folder: Path, texts: List[str], as_keys: bool = False) -> Dict[str, List[Problem]]:
    """Load a definition with the texts; return the problems of each."""
    text = definition(texts, as_keys)
    configs = folder / "configs"
    configs.mkdir()
    members = sorted(name for text in texts for root, name in read_template(text).members if root == "env")
    variables = ", ".join(f"{name}: 3" for name in dict.fromkeys(members) if name != "name")
    (configs / "development.yaml").write_text(
        f"region: eu-west-1\nvariables: {{{variables}}}\nclusters: {{default: {{cluster: etl}}}}\n"
    )
    root = tree(folder, {"cwr/big.yaml": text}, configs=configs)
    first = text.splitlines().index("tasks:") + 2
    found: Dict[str, List[Problem]] = {text: [] for text in texts}
    for problem in load(root, "development").problems:
        index = problem.location.line - first
        assert 0 <= index < len(texts), problem
        found[texts[index]].append(problem)
    return found


def test_what_people_write_passes(tmp_path: Path) -> None:
    problems = problems_by_text(tmp_path, ACCEPTED)

    assert len(set(ACCEPTED)) == len(ACCEPTED) > 150
    assert {text: list(map(str, found)) for text, found in problems.items() if found} == {}


def test_what_people_write_and_is_refused_has_another_way(tmp_path: Path) -> None:
    problems = problems_by_text(tmp_path, [case["template"] for case in REFUSED])
    others = [case["instead"] for case in REFUSED if case["instead"]]
    (tmp_path / "instead").mkdir()

    assert [text for text, found in problems.items() if not found] == []
    assert all(case["instead"] or case["because"] for case in REFUSED)
    says_what = re.compile(r"' takes \(|' is (?:a|the|one) ")  # an argument, and what it has to be
    silent = [p for found in problems.values() for p in found if not p.hint and not says_what.search(p.message)]
    assert list(map(str, silent)) == []
    of_others = problems_by_text(tmp_path / "instead", others)
    assert {text: list(map(str, found)) for text, found in of_others.items() if found} == {}


@pytest.mark.parametrize("kind", ESCAPES)
@pytest.mark.parametrize("as_keys", [False, True], ids=["as an argument", "as the name of a variable"])
def test_an_escape_is_refused(kind: str, as_keys: bool, tmp_path: Path) -> None:
    problems = problems_by_text(tmp_path, ESCAPES[kind], as_keys)

    assert [text for text, found in problems.items() if not found] == []
    rules = {problem.rule for found in problems.values() for problem in found}
    assert rules <= {"template", "idempotency"}


def test_there_are_enough_escapes() -> None:
    escapes = [text for texts in ESCAPES.values() for text in texts]

    assert len(set(escapes)) == len(escapes) > 400


@pytest.mark.parametrize(
    "text",
    [
        "{% for c in params.x %}{% endfor %}{{ c }}",
        "{{ c }}{% for c in params.x %}{% endfor %}",
        "{% for c in c %}{{ c }}{% endfor %}",
        "{% for c in params.x %}{% else %}{{ c }}{% endfor %}",
        "{% for c in params.x %}{{ d }}{% endfor %}{% for d in params.x %}{% endfor %}",
        "{% for c in params.x %}{{ c }}{% endfor %}{% if c %}{% endif %}",
    ],
)
def test_the_variable_of_a_loop_is_known_only_in_the_loop(text: str, tmp_path: Path) -> None:
    (found,) = problems_by_text(tmp_path, [text]).values()

    assert [problem.message for problem in found] in (
        ["unknown name 'c' in the template"],
        ["unknown name 'd' in the template"],
    )


def test_a_template_nested_too_deep_is_told_whatever_else_it_holds(tmp_path: Path) -> None:
    deep = "+".join("1" * 1500)
    (found,) = problems_by_text(tmp_path, [f"{{{{ {deep} }}}}{{{{ '\\\\' }}}}"]).values()

    assert [problem.message for problem in found] == ["the template is nested too deep"]


def test_loop_is_known_only_in_a_loop(tmp_path: Path) -> None:
    outside = "{% for c in params.x %}{{ loop.index }}{% endfor %}{{ loop.index }}"
    (found,) = problems_by_text(tmp_path, [outside]).values()

    assert [problem.message for problem in found] == ["'loop' is there only in a loop"]


@pytest.mark.parametrize("number", ["1e100", "1e400", "9" * 5000], ids=["1e100", "1e400", "9..."])
def test_a_constant_number_that_python_or_jinja_cannot_write_is_refused(number: str, tmp_path: Path) -> None:
    problems = problems_by_text(
        tmp_path, [f"{{{{ {number} | string }}}}", "{{ 1e99 | int }}", f"{{{{ {'9' * 100} }}}}"]
    )
    (refused,), *others = problems.values()

    assert (refused.message, refused.rule) == ("a number of more than 100 digits", "template")
    assert others == [[], []]


def test_a_comment_of_jinja_is_refused_and_the_length_of_a_shell_has_another_way(tmp_path: Path) -> None:
    texts = ["N=${#FILES[@]}; load; archive ${NAME%%#}", "N=${#NAME}", "{# {{ ds }} #}"]
    others = ["N=${{ '{' }}#NAME}", "{{ '{#' }}", "{% raw %}N=${#NAME}{% endraw %}"]
    found = problems_by_text(tmp_path, texts + others)
    refused, allowed = ([found[text] for text in each] for each in (texts, others))

    assert [[problem.message for problem in problems] for problems in refused] == [
        ["'{#' begins a comment of Jinja"]
    ] * 3
    assert allowed == [[]] * 3


def test_the_xcoms_of_many_tasks_count_as_often(tmp_path: Path) -> None:
    names = ", ".join(["'load'"] * 1000)
    (found,) = problems_by_text(tmp_path, [f"{{{{ ti.xcom_pull([{names}]) | tojson }}}}"]).values()

    assert found[0].message.startswith("the template could write 8,")


def test_a_long_text_is_no_number(tmp_path: Path) -> None:
    long = f"{{{{ ('{'1' * 300}' | replace('1', params.x) | int) % 7 }}}}"
    (refused,), allowed = problems_by_text(tmp_path, [long, "{{ (params.x | int) % 7 }}"]).values()

    assert refused.message == "int is not for text that became so long"
    assert allowed == []


def test_a_long_number_beside_a_broken_expression_is_no_failure(tmp_path: Path) -> None:
    (found,) = problems_by_text(tmp_path, [f"{{{{ | }}}} {{{{ {'9' * 5000} }}}}"]).values()

    assert [problem.rule for problem in found] == ["template"]


def test_the_xcom_of_a_task_that_only_others_have_is_no_mistake(tmp_path: Path) -> None:
    fetched = "\"{{ ti.xcom_pull('fetch') or 'all' }}\""
    of_item = fetched.replace("fetch", "each-de")
    text = (
        "start_date: 2022-01-01\ndefaults: {task_definition: loader}\n"
        f"tasks: {{fetch: {{}}, each: {{for_each: [de, fr]}}, load: {{command: [{fetched}, {of_item}]}}}}\n"
        "providers: {un: {}, wcm: {tasks: {fetch: null}}, sony: {tasks: {each: {for_each: [fr]}}}}\n"
    )
    configs = tmp_path / "configs"
    configs.mkdir()
    batch = "\"{{ ti.xcom_pull('prepare') or 'none' }}\""
    (configs / "development.yaml").write_text(
        f"region: eu-west-1\ndefaults: {{environment: {{BATCH: {batch}}}}}\nclusters: {{default: {{cluster: etl}}}}\n"
    )

    assert load(tree(tmp_path, {"cwr/big.yaml": text}, configs=configs), "development").problems == []
