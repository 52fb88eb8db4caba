"""Every field of the language has an effect: it changes something that users observe of a definition.

The fields, and values for them, come from the models: a new field is tested without a change here, a new type of value
needs an example in ``values``. A field is tested in each place where its model is used, so that every layer has an
effect too.
"""

import json
import re
from copy import deepcopy
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple
from unittest.mock import Mock

import pytest
import yaml
from airflow.exceptions import AirflowFailException
from airflow.serialization.serialized_objects import SerializedDAG
from orchestrator import (
    Alerts,
    CapacityProvider,
    Cluster,
    Definition,
    Document,
    Environment,
    Logs,
    Model,
    Param,
    Pipeline,
    Provider,
    Task,
    WaitFor,
    load,
    run_task_request,
)
from orchestrator.alerts import Publisher
from orchestrator.compat import SHAPE_DICT, SHAPE_LIST, SHAPE_SINGLETON, ModelField
from orchestrator.dags import Builder
from orchestrator.operators import params_of_run
from orchestrator.planning import define, operator_arguments
from orchestrator.rules import templated_texts
from pydantic.typing import all_literal_values, is_literal_type

from tests.ecs import sent_by, without_hash
from tests.trees import tree
from tools.checks.removed import removed_tasks

KeyPath = Tuple[Any, ...]

# The definition around the field under test. A cluster, a task, a param and an environment are called 'other', and
# 'gone' is a task that the pipeline had before.
BASE: Dict[str, Any] = {
    "environment": {
        "region": "eu-west-1",
        "clusters": {"default": {"cluster": "etl", "subnets": ["subnet-1"]}, "other": {"cluster": "etl-other"}},
        "defaults": {"task_definition": "loader"},
        "alerts": {"default": {"sns_topic_arn": "alerts"}, "other": {"sns_topic_arn": "others"}},
        "pools": ["used"],
    },
    "pipeline": {
        "start_date": date(2022, 1, 1),
        "schedule": "@daily",
        "params": {"other": {"default": "2022-01-01"}},
        "wait_for": {"s3": "s3://bucket/key"},
        "tasks": {"load": {}, "other": {"pool": "used"}},
        "providers": {"un": {}},
    },
}
TEXTS = ["other", "https://example.com/{commit}/{path}", "Europe/London", "gone", "17 4 * * *", "s3://other/key", "7"]
TEXTS += ["eu-north-1", "1.4.0"]
NUMBERS = [7, 1]
ANY: List[Any] = ["2022-01-01", 7, -7]
TYPED = ["", "word", "a longer text", 0, 100, True, None, [], {}, "2022-01-01"]  # for a param, at the trigger
# The functions that use the fields of a model, for the message of a failure.
WIRING: Dict[Any, List[Any]] = {
    Task: [operator_arguments],
    Cluster: [operator_arguments],
    CapacityProvider: [operator_arguments],
    Logs: [operator_arguments],
    Param: [params_of_run, Builder],
    WaitFor: [Builder],
    Provider: [define, Builder],
    Pipeline: [define, Builder],
    Environment: [operator_arguments, Builder, Publisher],
    Alerts: [Publisher],
}


class Place(NamedTuple):
    """A field in one place of its model, with the path of its holder from "environment" or "pipeline" on."""

    model: Any
    field: ModelField
    above: KeyPath

    def __str__(self) -> str:
        return ".".join(map(str, (*self.above, self.field.name)))


def single(field: ModelField) -> ModelField:
    """Return the field of the values in a list or mapping, or else the field itself."""
    return field.sub_fields[0] if field.shape != SHAPE_SINGLETON and field.sub_fields else field


def model_of(field: ModelField) -> Optional[Any]:
    """Return the model that a field holds, alone, in a list or by names; None if it holds none."""
    kind = single(field).type_
    return kind if isinstance(kind, type) and issubclass(kind, Model) else None


def places(model: Any, above: KeyPath) -> Iterator[Place]:
    """Yield every field below a model."""
    for field in model.__fields__.values():
        yield Place(model, field, above)
        if model_of(field):
            yield from places(model_of(field), (*above, field.name, *step(field, value_at(BASE, (*above, field.name)))))


def step(field: ModelField, value: Any) -> KeyPath:
    """Return the path from a field to the first of the models that it holds."""
    if field.shape == SHAPE_LIST:
        return (0,)
    return (next(iter(value or examples(field)[0])),) if field.shape == SHAPE_DICT else ()


def value_at(data: Any, path: KeyPath) -> Any:
    """Return the value at a path, None if there is none."""
    for part in path:
        try:
            data = data[part]
        except (LookupError, TypeError):
            return None
    return data


def examples(field: ModelField) -> List[Any]:
    """Return values that a field accepts, by its type."""
    candidates = values(single(field))
    if field.shape == SHAPE_LIST:
        candidates = [[value] for value in candidates]
    elif field.shape == SHAPE_DICT and field.key_field:
        names = [name for name in TEXTS if fits(field.key_field, name)]
        candidates = [{name: value} for name in names for value in candidates]
    return [value for value in candidates if fits(field, value)]


def fits(field: ModelField, value: Any) -> bool:
    return not field.validate(value, {}, loc="value")[1]


def values(field: ModelField) -> List[Any]:
    """Return values for a field that is neither a list nor a mapping."""
    kind = field.type_
    if model_of(field):
        required = {item.name: examples(item)[0] for item in kind.__fields__.values() if item.required}
        others = [item for item in kind.__fields__.values() if not item.required]
        return [required, *({**required, item.name: value} for item in others for value in examples(item)[:1])]
    if field.sub_fields:  # one of several types
        return [value for part in field.sub_fields for value in examples(part)]
    if kind is Any:
        return ANY
    if is_literal_type(kind):
        return list(all_literal_values(kind))
    if issubclass(kind, timedelta):
        return ["7m"]
    if issubclass(kind, date):
        return [date(2030, 1, 1)]
    # Any other type accepts some of the texts, numbers and booleans.
    return [value for value in (*TEXTS, *NUMBERS, True, False) if fits(field, value)]


def holding(place: Place, data: Dict[str, Any]) -> Any:
    """Return the mapping that holds the field, and create it if the definitions have none."""
    model: Any = {"environment": Environment, "pipeline": Pipeline}[place.above[0]]
    at, below = data[place.above[0]], list(place.above[1:])
    while below:
        field = model.__fields__[below.pop(0)]
        if at.get(field.name) is None:
            at[field.name] = examples(field)[0]
        at, model = at[field.name], model_of(field)
        if field.shape != SHAPE_SINGLETON:
            key = below.pop(0)
            if field.shape == SHAPE_DICT and at.get(key) is None:
                at[key] = values(single(field))[0]
            at = at[key]
    return at


class Observer:
    """Observes all that users see of definitions: DAGs, requests, alerts and problems."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = tree(folder, {"cwr/big.yaml": ""})
        (self.root / "configs" / "other.yaml").write_text("")
        self.observed: Dict[str, Tuple[List[str], str]] = {}
        self.hook = Mock()
        monkeypatch.setattr("orchestrator.alerts.AwsBaseHook", self.hook)

    def observe(self, data: Dict[str, Any]) -> Tuple[List[str], str]:
        """Return the problems and everything else as text; compute it once for the same definitions."""
        return self.observed.get(repr(data)) or self.observed.setdefault(repr(data), self.look(data))

    def look(self, data: Dict[str, Any]) -> Tuple[List[str], str]:
        """Return the problems and everything else as text."""
        text = yaml.safe_dump(data["pipeline"], sort_keys=False)
        (self.root / "configs" / "development.yaml").write_text(yaml.safe_dump(data["environment"], sort_keys=False))
        (self.root / "pipelines" / "cwr" / "big.yaml").write_text(text)
        definitions, problems = load(self.root, "development")
        seen: List[Any] = [self.effects(definition) for definition in definitions]
        if not problems:
            before = deepcopy(data["pipeline"])
            before["tasks"]["gone"] = {}
            removed = removed_tasks(before, Document("dags/etl/pipelines/cwr/big.yaml", text))
            seen.append([problem.message for problem in removed])
        return [problem.message for problem in problems], json.dumps(seen, default=repr, sort_keys=True)

    def effects(self, definition: Definition) -> List[Any]:
        """Return all that users see of a DAG."""
        dag = Builder({"": "c" * 40}).build(definition)
        dag.doc_md = re.sub(r"(\.yaml[:#])\d+", r"\1", str(dag.doc_md))  # as places: a further line moves what is below
        serialized: Dict[str, Any] = SerializedDAG.to_dict(dag)
        seen = [attributes(task) for task in dag.tasks]
        for task_id in definition.plan.tasks:
            request, sent = run_task_request(definition, task_id), sent_by(dag.get_task(task_id))
            assert without_hash(request) == sent, (
                "the operator sends something else: hand it on in planning.run_task_request"
            )
        return [
            serialized,
            {name: vars(names) for name, names in (dag.user_defined_macros or {}).items()},
            [run_task_request(definition, task_id) for task_id in definition.plan.tasks],
            seen,
            [self.typed(task, value) for task in dag.roots for value in TYPED],
            [self.alerts(task) for task in dag.tasks],
        ]

    def typed(self, task: Any, value: Any) -> str:
        """Return the answer of a task to a value in the configuration of the run."""
        try:
            task.render_template_fields({"dag_run": Mock(conf={"other": value})})
        except AirflowFailException as error:
            return str(error)
        return "taken"

    def alerts(self, task: Any) -> List[Any]:
        """Return the alerts that are published when a task fails."""
        self.hook.reset_mock()
        if task.on_failure_callback:
            instance = Mock(
                dag_id=task.dag_id, task_id=task.task_id, prev_attempted_tries=1, try_number=1, max_tries=0, log_url=""
            )
            task.on_failure_callback({"task_instance": instance, "run_id": "manual", "exception": "no"})
        published = self.hook.return_value.get_conn.return_value.publish.call_args_list
        return [repr(call[1]) for call in published] + [call[1]["region_name"] for call in self.hook.call_args_list]


def attributes(task: Any) -> Dict[str, Any]:
    """Return the values of an operator that are plain data: passing on a whole model proves no use of its fields.

    ``places`` is left out, as a further line in a file moves those below it.
    """
    return {name: value for name, value in vars(task).items() if name != "places" and is_plain(value)}


def is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(is_plain, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    return value is None or isinstance(value, (str, int, float, date, timedelta))


def death(place: Place) -> str:
    """Return the message for a field without an effect."""
    where = " or ".join(f"{function.__module__}.{function.__name__}" for function in WIRING.get(place.model, []))
    return (
        f"{place.model.__name__}.{place.field.name} is dead: as {place} it changes neither the RunTask request nor the"
        " operator, the sensor, the DAG, its page, its alerts or any problem. Hand it on in"
        f" {where or 'the function that has its model'}, or take it out of the model"
    )


@pytest.fixture(scope="module")
def observer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observer]:
    with pytest.MonkeyPatch.context() as patch:
        yield Observer(tmp_path_factory.mktemp("fields"), patch)


PLACES = [*places(Environment, ("environment",)), *places(Pipeline, ("pipeline",))]


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_a_field_has_an_effect(place: Place, observer: Observer) -> None:
    candidates = examples(place.field)
    assert candidates, f"no value is known that {place} takes: add one of its type to values()"
    data = deepcopy(BASE)
    holder = holding(place, data)
    before = observer.observe(data)
    assert before[0] == []

    rejected = []
    for value in candidates:
        holder[place.field.name] = value
        after = observer.observe(data)
        if after != before and not after[0]:
            return
        rejected += after[0]
    # If each value is a mistake beside the others, reporting it is the effect.
    assert len(rejected) >= len(candidates), death(place)


def test_the_fields_that_are_called_templated_are() -> None:
    task = Task(
        **{"task_definition": "x", "container": "x", "task_role_arn": "x", "execution_role_arn": "x"},
        **{"command": ["x"], "environment": {"X": "x"}, "tags": {"x": "x"}},
    )
    described = {name for name, field in Task.__fields__.items() if "Templated" in field.field_info.description}

    assert {path[0] for path, _, _ in templated_texts(task)} == described
