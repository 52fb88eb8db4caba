"""The report of every mistake in tests/data/bad is exactly the file beside it."""

from pathlib import Path

import pytest
from orchestrator import Location, Problem, load
from orchestrator.generations import IS_2_2

from tests import goldens
from tests.goldens import Golden
from tests.trees import DATA, SMALL, tree

BAD = goldens.cases("bad/*.yaml")
OTHER_LIBRARIES = {
    "cron_29_february": "the croniter of newer versions can compute it",
    "odd_choice": "the pydantic of newer versions takes a list for a choice, and says so in other words",
}


@pytest.mark.parametrize("case", BAD)
def test_the_report_of_a_mistake_equals_its_golden(case: Path, golden: Golden, tmp_path: Path) -> None:
    if not IS_2_2 and case.stem in OTHER_LIBRARIES:
        pytest.skip(OTHER_LIBRARIES[case.stem])
    root = tree(tmp_path, {f"bad/{case.name}": case.read_text(encoding="utf-8")})

    result = load(root, "development")

    golden.check("\n".join(map(str, result.problems)) + "\n")


def test_there_are_at_least_eighty_mistakes() -> None:
    assert len(BAD) >= 80


@pytest.mark.parametrize("name", ["ten_mistakes", "ten_mistakes_of_all_rules"])
def test_ten_mistakes_in_a_file_are_ten_problems(name: str, tmp_path: Path) -> None:
    root = tree(tmp_path, {"bad/many.yaml": (DATA / "bad" / f"{name}.yaml").read_text()})

    problems = load(root, "development").problems

    assert len(problems) == 10
    rules = {"schema", "schedule", "dependencies", "template", "secret", "idempotency", "ecs"}
    assert name == "ten_mistakes" or {problem.rule for problem in problems} == rules


@pytest.mark.parametrize(("unknown", "expected"), [(100, 101), (101, 101)])
def test_further_rules_are_skipped_after_more_than_a_hundred_mistakes(
    unknown: int, expected: int, tmp_path: Path
) -> None:
    keys = "".join(f"k{number}: 1\n" for number in range(unknown))
    root = tree(tmp_path, {"bad/many.yaml": keys + SMALL.replace("loader", "loader, depends_on: [x]")})

    assert len(load(root, "development").problems) == expected


def test_at_most_ten_mistakes_of_a_template_are_reported(tmp_path: Path) -> None:
    names = " ".join(f"{{{{ x{number} }}}}" for number in range(11))
    root = tree(tmp_path, {"bad/many.yaml": SMALL.replace("loader", f"loader, command: ['{names}']")})

    assert len(load(root, "development").problems) == 10


def test_a_problem_of_many_providers_is_reported_once(tmp_path: Path) -> None:
    text = "start_date: 2022-01-01\ntasks:\n  load: {task_definition: loader, cluster: nowhere}\nproviders:\n"
    root = tree(tmp_path, {"bad/many.yaml": text + "".join(f"  p{number}: {{}}\n" for number in range(50))})

    result = load(root, "development")

    assert len(result.problems) == 1
    assert not result.definitions


def test_a_long_line_is_cut_around_the_mistake(tmp_path: Path) -> None:
    text = (
        f"start_date: 2022-01-01\ntasks: {{load: {{task_definition: loader, tags: {{a: {'x' * 5000}}}, retrys: 1}}}}\n"
    )
    (problem,) = load(tree(tmp_path, {"bad/long.yaml": text + "providers: {un: {}}\n"}), "development").problems[1:]

    assert problem.location.column == text.splitlines()[1].index("retrys") + 1
    source, caret = str(problem).splitlines()[1:3]
    assert len(source) < 200
    assert source[caret.index("^") : caret.rindex("^") + 1] == "retrys"


@pytest.mark.parametrize(
    ("source", "column", "width", "expected"),
    [
        ("  load: {retrys: 1}", 10, 6, "  load: {>>retrys<<: 1}"),
        ("retrys: 1", 1, 6, ">>retrys<<: 1"),
        ("  load: [a", 11, 1, "  load: [a>><<"),  # what is missing at the end of a line
        ("a" * 200 + "retrys" + "b" * 200, 201, 6, "a" * 79 + ">>retrys<<" + "b" * 35),
        ("a" * 200 + "b" * 200, 201, 200, "a" * 79 + ">>" + "b" * 41 + "<<"),
    ],
    ids=["inside", "at the start", "at the end", "far inside", "long"],
)
def test_the_web_page_shows_the_mistake_marked_in_its_line_and_one_line_less(
    source: str, column: int, width: int, expected: str
) -> None:
    problem = Problem(Location("big.yaml", 20, column, source, width), "unknown key", "did you mean 'retries'?")

    lines, shown = str(problem).splitlines(), problem.for_web_page.splitlines()

    assert shown[1] == f"     20 | {expected}"
    assert shown[1].replace(">>", "").replace("<<", "") == lines[1]
    assert [lines[0], lines[3]] == [shown[0], shown[2]]
    carets = lines[2]
    assert lines[1][carets.index("^") : carets.rindex("^") + 1] == shown[1].partition(">>")[2].partition("<<")[0]


@pytest.mark.parametrize("end", ["\n", "\r", "\x85", "\u2028"], ids=repr)
def test_many_handles_of_tags_are_reported_before_they_are_read(end: str, tmp_path: Path) -> None:
    handles = f"#{end}" + "".join(f"%TAG !{number}! a{end}" for number in range(25_000)) + "\n"

    (problem,) = load(tree(tmp_path, {"cwr/big.yaml": f"{handles}---\n{SMALL}"}), "development").problems

    assert problem.message == "not YAML: tags (!) are not part of the language"


def test_a_text_may_hold_many_percent_signs_before_tag(tmp_path: Path) -> None:
    text = SMALL.replace("loader}", f"loader, command: [{', '.join(['x:%TAG%'] * 20)}]}}")

    assert load(tree(tmp_path, {"cwr/big.yaml": text}), "development").problems == []


def test_many_numbers_as_keys_are_reported_before_they_are_compared(tmp_path: Path) -> None:
    numbers = "".join(f"{hex(number * (2**61 - 1))}: 1, " for number in range(1, 10_000))  # their hash is 0

    text = f"params: {{x: {{default: {{{numbers}}}}}}}\n{SMALL}"
    (problem,) = load(tree(tmp_path, {"cwr/big.yaml": text}), "development").problems

    assert problem.message == "not YAML: more than 100 keys are numbers"
    assert problem.hint == "quote them, as in '1': {}"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("defaults: {environment: {LOG_LEVEL:debug, A: b}}\n", "1:26: a key without a value"),
        ("defaults: {tags: {team:royalties}}\n", "1:19: a key without a value"),
    ],
)
def test_a_missing_blank_behind_a_colon_is_reported(text: str, place: str, tmp_path: Path) -> None:
    (problem,) = load(tree(tmp_path, {"cwr/big.yaml": text + SMALL}), "development").problems

    assert str(problem).startswith(f"dags/etl/pipelines/cwr/big.yaml:{place} [schema]")
    assert problem.hint == "write a blank behind the colon"


def test_a_key_with_a_colon_can_be_taken_out_by_null(tmp_path: Path) -> None:
    providers = SMALL.replace("un: {}", "un: {defaults: {tags: {team:a: null, 'team:b': }}}")
    assert providers != SMALL
    text = f"defaults: {{tags: {{'team:a': x, 'team:b': y}}}}\n{providers}"

    assert load(tree(tmp_path, {"cwr/big.yaml": text}), "development").problems == []


@pytest.mark.parametrize(
    "mistake",
    [
        "params: {day: {default: '{{ ds }}'}}",
        "params: {days: {type: array, default: ['{% if ds %}a{% endif %}']}}",
        "params: {day: {type: object, default: {'{{ ds }}': 1}}}",
        "variables: {path: 's3://{{ env.bucket }}'}",
    ],
)
def test_a_template_where_none_is_filled_in_is_reported(mistake: str, tmp_path: Path) -> None:
    text = SMALL.replace("un: {}", f"un: {{{mistake}}}").replace("{params:", "{params:")
    (problem,) = load(tree(tmp_path, {"cwr/big.yaml": text}), "development").problems

    assert "(a template does not work here)" in problem.message


@pytest.mark.parametrize(
    "name", ["cwr/sub/big.yaml", "cwr/sub/deep/big.yml", "cwr/big.YAML", "cwr/big.yml", "big.yaml"]
)
def test_a_definition_that_nothing_reads_is_reported(name: str, tmp_path: Path) -> None:
    root = tree(tmp_path, {})
    file = root / "pipelines" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(SMALL)

    (problem,) = load(root, "development").problems

    assert problem.location.path == f"dags/etl/pipelines/{name}"
    assert problem.message == "is not called or placed like a definition"


def test_a_folder_that_stands_too_deep_is_reported_and_not_looked_into(tmp_path: Path) -> None:
    root = tree(tmp_path, {"cwr/big.yaml": SMALL})
    (root / "pipelines" / "/".join("abcdefgh")).mkdir(parents=True)

    result = load(root, "development")

    assert [problem.location.path for problem in result.problems] == ["dags/etl/pipelines/a/b/c/d/e/f"]
    assert len(result.definitions) == 2


@pytest.mark.parametrize("before", ["", "tasks:\n", "owner: x\n"])
def test_the_conflict_of_a_merge_is_told_as_such(before: str, tmp_path: Path) -> None:
    text = f"{before}<<<<<<< HEAD\nowner: a\n=======\nowner: b\n>>>>>>> theirs\n{SMALL}"

    (problem,) = load(tree(tmp_path, {"cwr/big.yaml": text}), "development").problems

    place = f"dags/etl/pipelines/cwr/big.yaml:{before.count(chr(10)) + 1}:1: "
    assert str(problem).startswith(f"{place}not YAML: a conflict of Git's [schema]")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Cwr/big.yaml", "'Cwr' is not a family's name"),
        ("cwr-2/big.yaml", "'cwr-2' is not a family's name"),
        ("cwr/big_dag_x.yaml", "'big_dag_x' is not a pipeline's name"),
        ("cwr/big_dag.yaml", "'big_dag' is not a pipeline's name"),
        ("cwr/big one.yaml", "'big one' is not a pipeline's name"),
        ("cwr/big.yml", "is not called or placed like a definition"),
    ],
)
def test_a_file_with_an_invalid_name_is_reported(name: str, expected: str, tmp_path: Path) -> None:
    result = load(tree(tmp_path, {name: SMALL}), "development")

    assert not result.definitions
    (problem,) = result.problems
    assert problem.message.startswith(expected)
    assert problem.location.path == f"dags/etl/pipelines/{name}"


def test_definitions_outside_a_family_are_reported_and_other_files_ignored(tmp_path: Path) -> None:
    root = tree(tmp_path, {"cwr/README.md": "", "cwr/.big.yaml.swp": "", "cwr/big.yaml.A1b2": "tasks: ["})
    (root / "pipelines" / "stray.yaml").write_text("")

    assert [problem.location.path for problem in load(root, "development").problems] == [
        "dags/etl/pipelines/stray.yaml"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected a mapping, got nothing"),
        ("region: eu-west-1\n", "missing key 'clusters'"),
        ("region: eu-west-1\nclusters: {a: {cluster: x, launch_type: FARGATE}}\n", "Fargate needs subnets"),
        (
            "region: eu-west-1\nclusters:\n  a: {cluster: x, launch_type: EC2, capacity_provider_strategy: []}\n"
            "  b: {cluster: x, launch_type: EC2, capacity_provider_strategy: [{capacity_provider: c}]}\n",
            "launch_type and capacity_provider_strategy exclude each other",
        ),
        (
            f"region: eu-west-1\nclusters: {{a: {{cluster: x, subnets: {['s'] * 17}}}}}\n",
            "ECS takes at most 16 subnets",
        ),
        (
            f"region: eu-west-1\nclusters: {{a: {{cluster: x, security_groups: {['s'] * 6}}}}}\n",
            "ECS takes at most 5 sec",
        ),
        ("region: eu-west-1\nclusters: {a: {cluster: x, launch_type: FARGAT}}\n", "unknown value 'FARGAT'"),
        (
            "region: eu-west-1\nclusters: {a: {cluster: x}}\ndefaults: {for_each: [a, b]}\n",
            "an environment's defaults have no 'for_each'",
        ),
        (
            "region: eu-west-1\nclusters: {a: {cluster: x}}\ndefaults: {depends_on: [load]}\n",
            "an environment's defaults have no 'depends_on'",
        ),
        (
            f"region: eu-west-1\nclusters: {{a: {{cluster: x}}}}\npools: {['p'] * 1001}\n",
            "1001 pools; an environment has",
        ),
        ("region: x y\nclusters: {a: {cluster: x}}\n", "'x y' is not an AWS region"),
        ("region: '3'\nclusters: {a: {cluster: x}}\n", "'3' is not an AWS region"),
        ("region: eu-west-1\naws_conn_id: '  '\nclusters: {a: {cluster: x}}\n", "'  ' is not a connection's name"),
        ("region: eu-west-1\nclusters: {a: {cluster: x, platform_version: ' '}}\n", "' ' is not a version of Fargate"),
        ("region: eu-west-1\nclusters: {a: {cluster: x, logs: {group: g, prefix: p, region: eu}}}\n", "'eu' is not an"),
    ],
)
def test_a_bad_environment_is_reported_and_builds_no_dag(text: str, expected: str, tmp_path: Path) -> None:
    root = tree(tmp_path, {"cwr/big.yaml": SMALL})
    (root / "configs" / "development.yaml").write_text(text)

    result = load(root, "development")

    assert not result.definitions
    assert [problem.location.path for problem in result.problems] == ["dags/etl/configs/development.yaml"]
    assert result.problems[0].message.startswith(expected)


@pytest.mark.parametrize("region", ["eu-west-1", "us-gov-east-1", "us-iso-west-1", "ap-southeast-7", "eusc-de-east-1"])
def test_regions_of_every_partition_are_taken(region: str, tmp_path: Path) -> None:
    root = tree(tmp_path, {"cwr/big.yaml": SMALL})
    file = root / "configs" / "development.yaml"
    file.write_text(file.read_text().replace("eu-west-1", region))

    assert load(root, "development").problems == []


@pytest.mark.parametrize(
    ("name", "expected"), [(None, "no environment is chosen"), ("dev", "unknown environment 'dev'")]
)
def test_a_missing_or_unknown_environment_is_reported(name: str, expected: str, tmp_path: Path) -> None:
    (problem,) = load(tree(tmp_path, {}), name).problems

    assert problem.message == expected
    assert "AIRFLOW__ETL__ENVIRONMENT" in problem.hint
    assert "development, staging" in problem.hint


def test_the_same_mistakes_are_reported_in_the_same_way_again(tmp_path: Path) -> None:
    many = "".join(f"k{number}: 1\n" for number in range(80))  # at most 100 problems of a file have a suggestion
    root = tree(tmp_path, {"cwr/big.yaml": SMALL})
    for file in (root / "configs" / "development.yaml", root / "pipelines" / "cwr" / "big.yaml"):
        file.write_text(many)
        first, again = (list(map(str, load(root, "development").problems)) for _ in range(2))
        (root / "configs" / "development.yaml").write_bytes((DATA / "configs" / "development.yaml").read_bytes())

        assert first == again
        assert sum("known: " in problem for problem in first) == 80


KINDS = "binary bool float int map merge null omap pairs python/name:os.system seq set str timestamp value".split()
PLACES = {
    "at the top": "TAG\n",
    "of a text": SMALL + "description: TAG\n",
    "of a number": SMALL + "max_active_runs: TAG\n",
    "of a list": SMALL + "tags: TAG\n",
    "of a mapping": SMALL + "params: TAG\n",
    "of an item": SMALL + "tags: [TAG ]\n",
    "of a key": SMALL + "? TAG\n: 1\n",
    "of an enum": SMALL + "params: {a: {default: 1, enum: [TAG ]}}\n",
    "of providers": SMALL.partition("providers")[0] + "providers: TAG\n",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_tag_is_reported_wherever_and_whatever_it_is(place: str, tmp_path: Path) -> None:
    root = tree(tmp_path, {"bad/case.yaml": SMALL})
    tags = [f"!!{kind}" for kind in KINDS] + ["!", "!x", "!<tag:yaml.org,2002:int>"]
    for tag in tags:
        for value in ("", "''", "maybe", "'5'", "{a: 1}", "[a]"):
            text = PLACES[place].replace("TAG", f"{tag} {value}")
            (root / "pipelines" / "bad" / "case.yaml").write_text(text)
            (problem,) = load(root, "development").problems
            assert problem.message == "not YAML: tags (!) are not part of the language", text


def test_the_first_of_many_providers_are_named_once_for_each_place(tmp_path: Path) -> None:
    task = "{task_definition: loader, command: ['{{ env.x }}{{ env.x }}', '{{ provider.y }}']}"
    head = f"start_date: 2022-01-01\ntasks:\n  a: {task}\n  b: {task}\nproviders:\n"
    root = tree(tmp_path, {"bad/many.yaml": head + "".join(f"  p{number:02}: {{}}\n" for number in range(40))})

    problems = load(root, "development").problems

    who = "for providers 'p00', 'p01', 'p02' and 37 more"
    expected = [f"unknown name '{name}' in the template, {who}" for name in ("env.x", "provider.y")] * 2
    assert [problem.message for problem in problems] == expected
    assert [problem.location.line for problem in problems] == [3, 3, 4, 4]
