"""The JSON Schemas for editors are up to date and find every mistake that JSON Schema can express."""

import json
from datetime import date
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
import yaml
from jsonschema import Draft7Validator
from orchestrator import (
    HIDDEN,
    AmbiguousInteger,
    Cron,
    Environment,
    Loader,
    Problem,
    Rejected,
    environment_names,
    load,
    read_context,
)

from tests.trees import COMPANY, DATA, REPOSITORY, stem, tree
from tools.generated import schema
from tools.generated.names import names_of

BAD = sorted((DATA / "bad").glob("*.yaml"))
PIPELINES = sorted(COMPANY.glob("pipelines/*/*.yaml"))
ENVIRONMENTS = sorted(COMPANY.glob("configs/*.yaml"))

# With the names in tests/data/configs.
PIPELINE = Draft7Validator(schema.pipeline_document(names_of(DATA)))
COMPANY_PIPELINE = Draft7Validator(schema.pipeline_document(names_of(COMPANY)))
ENVIRONMENT = Draft7Validator(schema.document(Environment))

# Rules that no JSON Schema can express.
BEYOND = {
    "dependencies": "a value is compared with keys elsewhere",
    "ecs": "the layers have to be merged first, and the environment is another file",
    "idempotency": "what a text may not hold depends on where it is used",
    "secret": "a name is compared with its value",
    "template": "Jinja has to be parsed",
}
# Cases that a schema does not find, although it finds others of their rule.
UNSEEN = {
    "alerts_unknown": "alerts are in another file",
    "cron_29_february": "the calendar has to be known",
    "cron_before_last_day": "croniter has to be asked",
    "cron_never": "the calendar has to be known",
    "cron_two_days": "each field is right",
    "duplicate_key": "the YAML parser of the editor reports it before the schema",
    "duplicate_provider": "the YAML parser of the editor reports it before the schema",
    "secret_as_duplicate_key": "the YAML parser of the editor reports it before the schema",
    "end_before_start": "two values are compared",
    "end_of_provider_before_start": "two values are compared",
    "every_task_removed": "two mappings are compared",
    "missing_start_date": "each provider may set it instead of the pipeline",
    "missing_task_definition": "any of five layers may set it",
    "param_format": "the default and the format are compared",
    "number_is_octal": "editors read YAML 1.2, where 010 is ten",
    "number_is_time": "editors read YAML 1.2, where 1:30 is text; a schema sees the 90 of YAML 1.1",
    "param_default_is_date": "a date is a text to JSON Schema",
    "param_default_of_other_type": "a value is compared with a schema beside it",
    "param_without_default": "another layer may set it",
    "task_called_like_the_sensor": "the name is reserved only beside wait_for",
    "template_task_definition_without_container": "any of five layers may set the container",
    "text_is_date": "editors read YAML 1.2, where a date is text",
    "too_many_tasks": "tasks times providers are counted",
    "wait_for_without_address": "another layer may set it",
}


def data_of(text: str) -> Any:
    """Return the data that the package reads from a text, as JSON; raises yaml.YAMLError."""
    return as_json(Loader(text).get_single_data())


def as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {as_json(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_json(item) for item in value]
    if isinstance(value, AmbiguousInteger):
        return value.value
    return value.isoformat() if isinstance(value, date) else value


def problems(case: Path, folder: Path) -> List[Problem]:
    """Return the problems of a case."""
    root = tree(folder, {f"bad/{case.name}": case.read_text(encoding="utf-8")})
    return load(root, "development").problems


def is_yaml(case: Path) -> bool:
    try:
        data_of(case.read_text(encoding="utf-8"))
    except yaml.YAMLError:
        return False
    return True


@pytest.mark.parametrize("path", schema.files(), ids=str)
def test_the_schemas_are_up_to_date(path: Path) -> None:
    assert (REPOSITORY / path).read_text(encoding="utf-8") == schema.files()[path], "run ./etl generate schema"


@pytest.mark.parametrize("validator", [PIPELINE, ENVIRONMENT], ids=["pipeline", "environment"])
def test_the_schemas_are_draft_7_and_describe_every_key(validator: Draft7Validator) -> None:
    Draft7Validator.check_schema(validator.schema)
    assert validator.schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    for name, model in {"": validator.schema, **validator.schema["definitions"]}.items():
        assert model["description"], name
        if name == "FargateSize":
            continue  # part of a task's
        assert model["additionalProperties"] is False, name
        for key, value in model["properties"].items():
            assert value["title"], f"{name}.{key}"
            assert value["description"], f"{name}.{key} needs a description in the model"
            assert "$ref" not in value, f"{name}.{key}: draft 7 ignores what stands beside a $ref"


@pytest.mark.parametrize("file", PIPELINES, ids=str)
def test_a_good_pipeline_is_valid(file: Path) -> None:
    assert not list(COMPANY_PIPELINE.iter_errors(data_of(file.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("file", [*ENVIRONMENTS, *(DATA / "configs").glob("*.yaml")], ids=str)
def test_a_good_environment_is_valid(file: Path) -> None:
    assert not list(ENVIRONMENT.iter_errors(data_of(file.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("name", [case.stem for case in BAD if is_yaml(case)])
def test_a_bad_pipeline_is_invalid_where_json_schema_can_express_the_rule(name: str, tmp_path: Path) -> None:
    case = DATA / "bad" / f"{name}.yaml"
    is_good = PIPELINE.is_valid(data_of(case.read_text(encoding="utf-8")))

    if name in UNSEEN:
        assert is_good, f"the schema sees this after all: take {name} from the list"
    elif {problem.rule for problem in problems(case, tmp_path)} - set(BEYOND):
        assert not is_good


@pytest.mark.parametrize("case", [case for case in BAD if not is_yaml(case)], ids=stem)
def test_a_file_that_is_not_yaml_is_reported_as_such(case: Path, tmp_path: Path) -> None:
    expected = HIDDEN[0] if case.stem.startswith("secret_") else "not YAML: "
    assert any(problem.message.startswith(expected) for problem in problems(case, tmp_path))


def test_every_unseen_case_exists() -> None:
    assert set(UNSEEN) <= {case.stem for case in BAD}


def test_the_settings_of_vs_code_have_each_schema_for_the_files_that_it_is_about(tmp_path: Path) -> None:
    settings = json.loads((REPOSITORY / ".vscode" / "settings.json").read_text(encoding="utf-8"))
    root = tree(tmp_path, {"cwr/big.yaml": "", "cwr/README.md": ""})
    (tmp_path / "configs").symlink_to(root / "configs")

    files = {path: sorted(tmp_path.glob(pattern)) for path, pattern in settings["yaml.schemas"].items()}

    assert files == {
        "./configs/schema/pipeline.json": [root / "pipelines" / "cwr" / "big.yaml"],
        "./configs/schema/environment.json": [
            tmp_path / "configs" / f"{name}.yaml" for name in environment_names(root)
        ],
    }
    assert set(map(Path, files)) == set(schema.files())


CLUSTER: Dict[str, Any] = {"cluster": "etl", "subnets": ["subnet-1"]}
BAD_VALUES: List[Tuple[str, Any]] = [
    ("region", None),
    ("regoin", "eu-west-1"),
    ("clusters", {"a": None}),
    ("clusters", {"a": {**CLUSTER, "launch_type": "FARGAT"}}),
    ("clusters", {"a": {**CLUSTER, "subnets": ["subnet-1"] * 17}}),
    ("clusters", {"a": {**CLUSTER, "security_groups": ["sg-1"] * 6}}),
    ("clusters", {"a": {**CLUSTER, "logs": {"group": "/ecs"}}}),
    ("schedules", "yes"),
    ("variables", {"name": "x"}),
    ("variables", {"bucket": ["x"]}),
    ("defaults", {"retrys": 1}),
    ("defaults", {"retry_delay": "five minutes"}),
]


@pytest.mark.parametrize(("key", "value"), BAD_VALUES, ids=[key for key, _ in BAD_VALUES])
def test_a_bad_environment_is_invalid_for_schema_and_package(key: str, value: Any, tmp_path: Path) -> None:
    data = {"region": "eu-west-1", "clusters": {"a": CLUSTER}}
    assert ENVIRONMENT.is_valid(data)

    root, text = tree(tmp_path, {}), yaml.safe_dump({**data, key: value})
    (root / "configs" / "x.yaml").write_text(text)

    with pytest.raises(Rejected):
        read_context(root, "x")
    assert not ENVIRONMENT.is_valid(data_of(text))


@pytest.mark.parametrize(
    "schedule",
    [
        *("@once", "@yearly", "0 3 * * *", " 0  3 * * * ", "*/90 * * * *", "0 0 1,15 * MON-FRI", "59 23 31 12 7"),
        *("007 08 L jan-DEC *", "0 0 * * sat#3", "5-10/2 * * * *", "@dayly", "@daily ", "60 * * * *", "0 24 * * *"),
        *("0 0 32 * *", "0 0 * 13 *", "0 0 * * 8", "* * * *", "* * * * * *", "R * * * *", "* h/2 * * *"),
        *("? * * * *", "", "*;* * * * *"),
    ],
)
def test_schema_and_package_agree_about_a_schedule(schedule: str) -> None:
    document = {"schedule": schedule, "tasks": {"load": {}}, "providers": {}}

    assert PIPELINE.is_valid(document) is (Cron.mistake_in(schedule) is None)


CONFIGS = {
    "development": "region: eu-west-1\nclusters:\n"
    "  f: {cluster: x, launch_type: FARGATE, subnets: [s]}\n  mixed: {cluster: x}\n"
    "defaults: {cluster: f}\n",
    "staging": "region: eu-west-1\nclusters:\n"
    "  f: {cluster: x, capacity_provider_strategy: [{capacity_provider: FARGATE_SPOT}], subnets: [s]}\n"
    "  mixed: {cluster: x, launch_type: FARGATE, subnets: [s]}\n  ec2: {cluster: x, launch_type: EC2}\n"
    "defaults: {cluster: f}\n",
}


def named(folder: Path, configs: Dict[str, str]) -> Draft7Validator:
    """Return the schema of pipelines beside these environments."""
    root = tree(folder, {})
    for file in root.glob("configs/*.yaml"):
        file.unlink()
    for name, text in configs.items():
        (root / "configs" / f"{name}.yaml").write_text(text)
    return Draft7Validator(schema.pipeline_document(names_of(root)))


def place_of(error: Any) -> Tuple[Any, ...]:
    """Return the path that an editor underlines: of something that may also be null, the innermost."""
    places = [tuple(error.absolute_path), *map(place_of, error.context)]
    return max(places, key=len)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("tasks: {a: {cpu: 256, memory: 1024}}", ()),
        ("tasks: {a: {cpu: 256, memory: 1000}}", ("tasks", "a", "memory")),
        ("tasks: {a: {cpu: 255, memory: 1024}}", ("tasks", "a", "cpu")),
        ("tasks: {a: {cpu: 255}}", ("tasks", "a", "cpu")),
        ("tasks: {a: {memory: 1000}}", ()),  # another layer may have the cpu
        ("tasks: {a: {cpu: 256, memory: null}}", ()),
        ("tasks: {a: {cluster: f, cpu: 4096, memory: 31744}}", ("tasks", "a", "memory")),
        ("tasks: {a: {cluster: f, cpu: 4096, memory: 30720}}", ()),
        ("tasks: {a: {cluster: mixed, cpu: 4096, memory: 31744}}", ()),
        ("tasks: {a: {cluster: ec2, cpu: 100, memory: 100}}", ()),
        ("tasks: {a: {cluster: nowhere}}", ("tasks", "a", "cluster")),
        ("tasks: {a: {cluster: null}}", ()),
        ("tasks: {a: {cpu: 100, memory: 100}}\ndefaults: {cluster: ec2}", ()),
        ("tasks: {a: {cpu: 100, memory: 100}}\nproviders: {un: {defaults: {cluster: ec2}}}", ()),
        ("tasks: {a: {cpu: 100, memory: 100}}\nproviders: {un: {tasks: {a: {cluster: ec2}}}}", ()),
        ("tasks: {a: {}}\nproviders: {un: {tasks: {a: {cpu: 100, memory: 100}}}}", ()),
        (
            "tasks: {a: {}}\nproviders: {un: {tasks: {a: {cluster: f, cpu: 256, memory: 100}}}}",
            ("providers", "un", "tasks", "a", "memory"),
        ),
        # Another layer or provider replaces what is wrong here.
        ("tasks: {a: {cluster: f, cpu: 255}}\nproviders: {un: {tasks: {a: {cluster: ec2}}}}", ()),
        ("tasks: {a: {cluster: f, cpu: 255}}\nproviders: {un: {tasks: {a: {cpu: 256}}}}", ()),
        ("tasks: {a: {cpu: 255}}\nproviders: {un: {defaults: {cpu: 256}}, wcm: {tasks: {a: null}}}", ()),
        ("tasks: {a: {cluster: ec2}}\ndefaults: {cluster: f, cpu: 255}", ()),
        ("tasks: {a: {cpu: 256, memory: 512}}\ndefaults: {cluster: f, cpu: 255}", ()),
        ("tasks: {a: {}}\nproviders: {un: {defaults: {cluster: f, cpu: 255}, tasks: {a: {cpu: 256}}}}", ()),
        # Somebody keeps it.
        ("tasks: {a: {cpu: 255}}\nproviders: {un: {tasks: {a: {cpu: 256}}}, wcm: null}", ("tasks", "a", "cpu")),
        ("tasks: {a: {cpu: 255}}\nproviders: {un: {tags: [x]}}\ndefaults: {cluster: f}", ("tasks", "a", "cpu")),
        ("tasks: {a: {}}\nenvironments: [development, staging]", ()),
        ("tasks: {a: {}}\nenvironments: [stagin]", ("environments", 0)),
        ("tasks: {a: {}}\nproviders: {un: {environments: [stagin]}}", ("providers", "un", "environments", 0)),
        ("tasks: {a: {}, b: {depends_on: [a]}}", ()),
        ("tasks: {a: {}, b: {depends_on: [a b]}}", ("tasks", "b", "depends_on", 0)),
    ],
)
def test_editors_know_clusters_environments_and_the_sizes_of_fargate(
    text: str, place: Tuple[Any, ...], tmp_path: Path
) -> None:
    data = {"start_date": "2022-01-01", "providers": {"un": {}}, **yaml.safe_load(text)}

    errors = list(named(tmp_path, CONFIGS).iter_errors(data))

    assert [place_of(error) for error in errors] == ([place] if place else [])


def test_sizes_are_free_where_an_environment_runs_tasks_elsewhere_by_default(tmp_path: Path) -> None:
    configs = {**CONFIGS, "staging": CONFIGS["staging"].replace("defaults: {cluster: f}", "defaults: {cluster: ec2}")}
    data = {"providers": {}, "tasks": {"a": {"cpu": 100, "memory": 100}}}

    assert named(tmp_path, configs).is_valid(data)
