"""What Airflow and ECS store has its limits: those of their columns and models. One beyond each is a problem."""

import json
from pathlib import Path
from typing import Any, Dict, List, Type

import botocore.session
import pytest
from airflow import models
from airflow.models.base import Base
from airflow.timetables.interval import CronDataIntervalTimetable
from orchestrator import (
    MAX_CAPACITY_PROVIDERS,
    MAX_CHAIN,
    MAX_DAG_ID,
    MAX_DAG_TAGS,
    MAX_DAG_TASKS,
    MAX_ECS_TAGS,
    ConnectionId,
    Count,
    DagTag,
    EcsTagKey,
    EcsTagValue,
    EnvironmentName,
    FamilyName,
    FolderName,
    Owner,
    PipelineName,
    Pool,
    ProviderBase,
    ProviderName,
    ProviderWeight,
    TaskId,
    Text,
    Weight,
    load,
)
from orchestrator.generations import IS_2_2, IS_3
from orchestrator.values import MAX_CRON
from pendulum.tz.timezone import Timezone

from tests.limits import (
    ENVIRONMENT,
    FAMILY,
    FIRST,
    LONGEST,
    PIPELINE,
    PROVIDER,
    environment,
    limits_tree,
    pipeline,
    tasks,
)
from tests.trees import SMALL, tree

MOST = 1000  # characters that are tried


def longest(kind: Type[Text]) -> int:
    """Return the number of characters that a kind of text may have."""
    return max(length for length in range(MOST) if kind.pattern.fullmatch("a" * length))


TAGS: List[Type[Text]] = [DagTag, EnvironmentName, FamilyName, FolderName, PipelineName, ProviderName]
# The most characters that a definition can bring into a column; of one that every table has, by the column's name.
REACHED = {
    "conn_id": longest(ConnectionId),
    "dag_id": MAX_DAG_ID,
    "dag_tag.name": max(map(longest, TAGS)),
    "owner": longest(Owner),
    "owners": longest(Owner),
    "pool": longest(Pool),
    "task_id": longest(TaskId),
}
# What Airflow writes by itself, or a deploy decides: no definition reaches it.
UNREACHED = set(
    """conn_type connection.host connection.login connection.password connection.schema dag_hash default_view event
    executor_class external_executor_id filename fileloc hashcode hostname job_type key next_method op_classpath
    operator queue root_dag_id run_id run_type state unixname trigger.classpath variable.key
    bundle_name bundle_version callback.fetch_method callback.type callback_request.callback_type content
    custom_operator_name dag_bundle.name dag_bundle.version dag_bundle_name dag_display_name dag_owner_attributes.link
    dag_priority_parsing_request.id deadline_alert.name exception_reason executor jti next_dagrun_partition_key
    owner_display_name partition_key processor_subdir relative_fileloc rendered_map_index reprocess_behavior
    source_code_hash span_status task_display_name team.name team_name timetable_type triggered_by
    triggering_user_name user_id warning_type""".split()  # the last ones from 2.11 or 3 on
)
OF_ASSETS = ("asset", "dataset", "dag_schedule_asset", "partitioned_asset")  # in the names of tables: we have none
if not IS_2_2:
    # The schedule with the most words: Airflow 3 writes the months twice, once for each kind of day.
    months = ",".join(["8-9/1"] * ((MAX_CRON - len("* * 1  1") + 1) // len("8-9/1,")))
    timetable: Any = CronDataIntervalTimetable(f"* * 1 {months} 1", Timezone("UTC"))
    REACHED["timetable_description"] = len(timetable.description)


def test_a_definition_fits_into_every_column_of_airflow() -> None:
    seen = set()
    getattr(models, "import_all_models", dict)()  # 2.2.2 has them all at once
    for table in Base.metadata.tables.values():
        if table.name.startswith(("ab_", "celery_", *OF_ASSETS)):  # users, and what the executor keeps
            continue
        for column in table.columns:
            length = getattr(column.type, "length", None)
            if column.name == "description" or length is None:  # a Text of PostgreSQL has no length
                continue
            full_name = f"{table.name}.{column.name}"
            name = full_name if full_name in REACHED else column.name
            if name not in REACHED:
                assert {full_name, column.name} & UNREACHED, f"who limits {full_name}?"
                continue
            seen.add(name)
            assert REACHED[name] <= length, f"{full_name} has {length} characters"
    assert seen == set(REACHED)


@pytest.mark.skipif(IS_3, reason="there, a DAG has no permission of its own")
def test_the_name_of_a_permission_has_the_id_of_its_dag() -> None:
    from airflow.security.permissions import RESOURCE_DAG_PREFIX

    try:  # whichever Airflow uses: their tables have the same names
        from airflow.providers.fab.auth_manager.models import Resource  # type: ignore[import]
    except ImportError:
        from flask_appbuilder.security.sqla.models import ViewMenu as Resource  # type: ignore[import]

    assert len(RESOURCE_DAG_PREFIX) + MAX_DAG_ID == Resource.name.type.length


@pytest.mark.parametrize("kind", TAGS)
def test_what_becomes_a_tag_has_no_other_limit_than_the_column(kind: Type[Text]) -> None:
    assert longest(kind) == 100


def test_numbers_fit_into_columns_of_32_bits() -> None:
    assert Count.le == 2**31 - 1
    assert (MAX_DAG_TASKS + 1) * Weight.le < 2**31  # Airflow adds up those of all tasks that come after


def test_numbers_are_those_of_ecs() -> None:
    model = botocore.session.get_session().get_service_model("ecs")
    numbers = {
        "CapacityProviderStrategyItemWeight": ProviderWeight.le,
        "CapacityProviderStrategyItemBase": ProviderBase.le,
        "TagKey": longest(EcsTagKey),
        "TagValue": longest(EcsTagValue),
        "Tags": MAX_ECS_TAGS,
    }
    assert {name: model.shape_for(name).metadata["max"] for name in numbers} == numbers


def test_all_limits_at_once_are_no_problem(tmp_path: Path) -> None:
    result = load(limits_tree(tmp_path), ENVIRONMENT)

    assert not result.problems, str(result.problems[0])
    first = result.definitions[0]
    assert len(first.dag_id) == MAX_DAG_ID
    assert len(first.plan.tasks) == MAX_DAG_TASKS


@pytest.mark.parametrize("character", ["\0", "\x1b", "\x7f", "\x9b"])
def test_no_text_has_a_character_that_steers_a_terminal(character: str, tmp_path: Path) -> None:
    text = json.dumps(f"a{character}[2Jb")
    root = tree(tmp_path, {"cwr/big.yaml": SMALL.replace("loader", f"loader, command: [{text}]")})

    (problem,) = load(root, "development").problems

    assert problem.message.endswith("is not text without control characters")


def of_defaults(**values: Any) -> Dict[str, Any]:
    return {"defaults": {**pipeline()["defaults"], **values}}


BEYOND: Dict[str, Any] = {
    "description": ({"description": "d" * 8193}, "a text of 8193 characters; at most 8192"),
    "default": ({"params": {"p": {"default": [{"a": "d" * 8193}]}}}, "a text of 8193 characters; at most 8192"),
    "owner": ({"owner": "o" * 37}, "'ooo"),
    "tag": ({"tags": ["t" * 101]}, "is not a tag of 1 to 100 characters"),
    "pool": (of_defaults(pool="P" * 257), "is not a pool's name: 1 to 256 characters"),
    "retries": (of_defaults(retries=101), "at most 100"),
    "weight": (of_defaults(priority_weight=10_001), "at most 10000"),
    "duration": (of_defaults(sla=LONGEST + 1), "expected a duration"),
    "runs": ({"max_active_runs": 101}, "at most 100"),
    "tags of a DAG": ({"tags": [f"t{number}" for number in range(MAX_DAG_TAGS + 1)]}, "a DAG has at most 50"),
    "provider": ({"providers": {"s" * 101: {}}}, "is not a provider's name: at most 100"),
    "task id": ({"tasks": {f"{FIRST}a": {"task_definition": "x"}}}, "is not a task's name: at most 250"),
    "tags of ECS": (of_defaults(tags={str(number): "" for number in range(51)}), "ECS takes at most 50 tags"),
    "chain": ({"tasks": tasks(MAX_CHAIN + 1)}, "more than 300 tasks in a row wait for one another"),
    "tasks": ({"tasks": tasks(all_tasks=MAX_DAG_TASKS + 1)}, "501 tasks; a DAG has at most 500"),
}


@pytest.mark.parametrize("case", BEYOND)
def test_one_beyond_a_limit_of_a_pipeline_is_a_problem(case: str, tmp_path: Path) -> None:
    changes, message = BEYOND[case]

    result = load(limits_tree(tmp_path, pipeline(**changes)), ENVIRONMENT)

    assert not result.definitions
    assert {message in problem.message for problem in result.problems} == {True}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([f"{FAMILY}f", "p", ENVIRONMENT], "is not a family's name: at most 100"),
        (["f", "p" * 101, ENVIRONMENT], "is not a pipeline's name: at most 100"),
        ([FAMILY, f"{PIPELINE}p", ENVIRONMENT], "the DAG's id is longer than the 246 characters that Airflow takes"),
        (["f", "p", f"{ENVIRONMENT}e"], "is not an environment's name: at most 100"),
    ],
)
def test_one_beyond_a_limit_of_a_name_is_a_problem(names: List[str], message: str, tmp_path: Path) -> None:
    result = load(limits_tree(tmp_path, names=names), names[2])

    assert PROVIDER not in {definition.provider for definition in result.definitions}
    assert [message in problem.message for problem in result.problems] == [True]


def in_cluster(**values: Any) -> Dict[str, Any]:
    return {"clusters": {"default": {**environment()["clusters"]["default"], **values}}}


PART = {"capacity_provider": "c"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aws_conn_id": "c" * 251}, "is not a connection's name: 1 to 250"),
        (in_cluster(logs={"group": "g" * 513, "prefix": "l"}), "is not a log group: 1 to 512"),
        (in_cluster(logs={"group": "g", "prefix": "l" * 201}), "is not the start of log streams: 1 to 200"),
        (in_cluster(capacity_provider_strategy=[PART] * (MAX_CAPACITY_PROVIDERS + 1)), "at most 20 capacity providers"),
        (
            in_cluster(capacity_provider_strategy=[{**PART, "base": 1}] * 2),
            "only one capacity provider",
        ),
        (in_cluster(capacity_provider_strategy=[{**PART, "weight": 1001}]), "at most 1000"),
        (in_cluster(capacity_provider_strategy=[{**PART, "base": 100_001}]), "at most 100000"),
        (in_cluster(capacity_provider_strategy=[{"capacity_provider": "c" * 256}]), "is not a name in AWS: 1 to 255"),
    ],
)
def test_one_beyond_a_limit_of_an_environment_is_a_problem(
    changes: Dict[str, Any], message: str, tmp_path: Path
) -> None:
    result = load(limits_tree(tmp_path, configs={**environment(), **changes}), ENVIRONMENT)

    assert not result.definitions
    assert [message in problem.message for problem in result.problems] == [True]


PLACES = (
    "description: {}",
    "owner: {}",
    "schedule: {}",
    "tags: [{}]",
    "environments: [{}]",
    "params: {{x: {{default: {}}}}}",
    "params: {{x: {{default: {{a: [{{b: {}}}]}}}}}}",
    "params: {{x: {{default: {{a: {{{}: 1}}}}}}}}",
    "params: {{x: {{default: 1, enum: [1, {}]}}}}",
    "params: {{x: {{default: 1, title: {}}}}}",
    "params: {{x: {{default: 1, description: {}}}}}",
    "params: {{{}: {{default: 1}}}}",
    "defaults: {{pool: {}}}",
    "defaults: {{command: [{}]}}",
    "defaults: {{environment: {{{}: x}}}}",
    "defaults: {{environment: {{x: {}}}}}",
    "defaults: {{tags: {{{}: x}}}}",
    "defaults: {{tags: {{x: {}}}}}",
    "defaults: {{cluster: {}}}",
    "defaults: {{container: {}}}",
    "defaults: {{task_definition: {}}}",
    "defaults: {{task_role_arn: {}}}",
    "wait_for: {{s3: {}}}",
    "{}: x",
)
VALID = """\
start_date: 2022-01-01
tasks: {load: {task_definition: loader}}
providers: {un: {}}
"""


@pytest.mark.parametrize("text", [r'"s3://a/\0b"', r'"s3://a/\ud800b"', r'"s3://a/\ud83d\ude00b"'])
@pytest.mark.parametrize("place", PLACES)
def test_what_no_database_stores_is_a_problem(place: str, text: str, tmp_path: Path) -> None:
    root = limits_tree(tmp_path, names=["f", "p", ENVIRONMENT])
    (root / "pipelines" / "f" / "p.yaml").write_text(VALID + place.format(text))

    result = load(root, ENVIRONMENT)

    assert not result.definitions
    assert result.problems
    assert all(line.isprintable() for problem in result.problems for line in str(problem).splitlines())


@pytest.mark.parametrize("number", [".nan", "-.inf", "1.0e+400", "9" * 5000])
@pytest.mark.parametrize(
    "place", ["default: {}", "default: [{{a: {}}}]", "default: 1, enum: [{}]", "default: 1, maximum: {}"]
)
def test_a_number_that_json_does_not_have_is_a_problem(place: str, number: str, tmp_path: Path) -> None:
    root = limits_tree(tmp_path, names=["f", "p", ENVIRONMENT])
    text = f"params: {{x: {{{place.format(number)}}}}}"
    (root / "pipelines" / "f" / "p.yaml").write_text(VALID + text)

    result = load(root, ENVIRONMENT)

    assert not result.definitions
    assert len(result.problems) == 1


def test_doubling_pauses_have_an_end(tmp_path: Path) -> None:
    changes = of_defaults(retry_delay="5m", max_retry_delay=None)
    for definition in load(limits_tree(tmp_path, pipeline(**changes)), ENVIRONMENT).definitions:
        assert definition.plan.tasks[FIRST].operator["max_retry_delay"].days == 1
