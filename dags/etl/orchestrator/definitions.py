"""Definitions: one record for each DAG to be, the layers that it comes from, and its id."""

import json
from typing import Any, Callable, Collection, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Tuple, Type

from pendulum import DateTime

from .documents import Document, has_value
from .models import Environment, Settings, Task, WaitFor
from .problems import KeyPath, Location, Problem
from .values import FamilyName, PipelineName, ProviderName, Text

# ------------------------------------------------------------------------------------------------------ layers


class Layer(NamedTuple):
    """A mapping of a document that one layer of settings is."""

    document: Document
    path: KeyPath


class Layers(NamedTuple):
    """Layers that are merged into one value, which remembers where each part of it comes from."""

    home: Layer  # where a problem is reported whose value no layer holds
    stack: Tuple[Layer, ...]  # from the lowest to the highest

    @classmethod
    def of(cls, *stack: Layer) -> "Layers":
        """Return layers whose lowest one is also their home."""
        return cls(stack[0], stack)

    def origin(self, path: KeyPath) -> Optional[Layer]:
        """Return where the value at a path of the merged value comes from: the highest layer that holds it."""
        for document, above in reversed(self.stack):
            if has_value(document.data, above + path):
                return Layer(document, above + path)
        return None

    def location(self, path: KeyPath) -> Location:
        """Return the place of a merged value, or of the nearest one above it that a layer holds."""
        (document, place), at_key = self._nearest(path)
        return document.location(place, at_key)

    def problem(
        self,
        path: KeyPath,
        message: str,
        hint: str = "",
        rule: str = "schema",
        within: str = "",
        names: Iterable[str] = (),
        at_key: bool = False,
    ) -> Problem:
        """Return the problem of a merged value, at the line that supplied it; see :meth:`Document.problem`."""
        (document, place), is_missing = self._nearest(path)
        return document.problem(place, message, hint, rule, at_key or is_missing, within, names)

    def did_you_mean(self, name: Any, known: Iterable[str]) -> str:
        """Return the hint for an unknown name; see :meth:`Document.did_you_mean`."""
        return self.home.document.did_you_mean(name, known)

    def _nearest(self, path: KeyPath) -> Tuple[Layer, bool]:
        for length in range(len(path), 0, -1):
            layer = self.origin(path[:length])
            if layer:
                return layer, False
        return self.home, True


def merge(layers: Iterable[Mapping[str, Any]]) -> Dict[str, Any]:
    """Merge mappings, the lowest first: mappings merge by key, all else is replaced, None takes a value away."""
    merged: Dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            if value is None:
                merged.pop(key, None)
            elif isinstance(value, dict):
                below = merged.get(key)
                merged[key] = merge([below, value] if isinstance(below, dict) else [value])
            else:
                merged[key] = value
    return merged


# ----------------------------------------------------------------------------------------------------- records


class Context(NamedTuple):
    """What every pipeline of a folder is laid over."""

    name: str  # of the environment
    environment: Environment
    document: Document  # the environment's
    environments: List[str]  # the names of all
    folder: str  # "etl", or the sandbox's


# A member of ``env``, ``provider`` or ``params`` that templates name, and whether it has to be a number; the texts that
# name it, by the path in merged layers.
Reference = Tuple[str, str, bool]
References = Dict[Reference, List[Tuple[Layers, KeyPath]]]


class PlannedTask(NamedTuple):
    """A task after all layers."""

    task: Task
    layers: Layers
    operator: Dict[str, Any]  # arguments of the ECS operator, but for owner and DAG
    places: Dict[str, str]  # path:line:column of its cluster and task definition, for who reads the task's log
    name: str  # in the definition, for all of its items
    item: Optional[str] = None  # of its for_each
    before: Tuple[str, ...] = ()  # the ids of all tasks that it waits for


class Awaited(NamedTuple):
    """The DAG that a DAG waits for."""

    dag_id: str
    is_whole: bool = True  # the whole run has to succeed
    task_ids: Tuple[str, ...] = ()  # that have to succeed; of a whole run, one that it has
    schedule: Optional[str] = None  # of its definition, also where the environment schedules nothing
    start: Optional[DateTime] = None  # in its time zone
    end: Optional[DateTime] = None
    mistake: str = ""  # why it cannot be awaited
    is_known: bool = True  # False while its own definition has problems


class Plan(NamedTuple):
    """The tasks of a pipeline, shared by all providers that do not override them."""

    tasks: Dict[str, PlannedTask]
    problems: List[Problem]
    references: References
    length: int  # characters of the operators' arguments
    ready: int  # tasks of a run that are ready at once, at most


class Definition(NamedTuple):
    """One DAG to be: a pipeline for a data provider in an environment, after all layers."""

    dag_id: str
    path: str  # of the pipeline's file
    family: str
    pipeline: str
    provider: str
    context: Context
    description: str
    schedule: Optional[str]  # None where nothing is scheduled
    settings: Settings
    layers: Layers  # of the settings
    variables: Dict[str, Dict[str, Any]]  # what templates find in env and provider
    plan: Plan
    awaited: Mapping[str, Awaited] = {}  # by the task id of its sensor; laid open by waiting.py


class LoadResult(NamedTuple):
    """What files hold, for one environment."""

    definitions: List[Definition]
    problems: List[Problem]


class ParamValues(Mapping[str, Any]):
    """The values of params, for templates: ``{{ params.items }}`` is the param ``items``.

    A dict would answer with its method, as Jinja asks for an attribute first.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        vars(self).update(values)

    def __getitem__(self, name: str) -> Any:
        return vars(self)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(vars(self))

    def __len__(self) -> int:
        return len(vars(self))

    def __repr__(self) -> str:
        return repr(vars(self))


def as_json(value: Any) -> Any:
    """Return ParamValues as what the json module can write."""
    if isinstance(value, ParamValues):
        return vars(value)
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")


def json_length(value: Any) -> int:
    """Return how many characters of JSON a value is, in ASCII, as Airflow stores it: an emoji is 12."""
    return len(json.dumps(value, default=str, skipkeys=True))


# Of Jinja's policy json.dumps_kwargs, for {{ params | tojson }}. To sort is its default.
JSON_OPTIONS: Dict[str, Any] = {"sort_keys": True, "default": as_json}


def items_alone(environment: Any) -> Callable[[Any, Any], Any]:
    """Return how a Jinja environment looks up ``a['b']``, without methods: ``dag_run.conf['update']`` is no function.

    Jinja asks for an attribute where a mapping has no such item; here, this is undefined.
    """
    lookup = environment.getitem

    def getitem(value: Any, key: Any) -> Any:
        if not isinstance(key, str) or not isinstance(value, (Collection, int, float)):
            return lookup(value, key)
        if isinstance(value, Mapping) and key in value:
            return value[key]
        return environment.undefined(obj=value, name=key)

    return getitem


# --------------------------------------------------------------------------------------------------------- ids

# Columns called dag_id have 250 characters (airflow/models/base.py, ID_LEN), and so has that of the DAG's permission,
# "DAG:<id>" (flask_appbuilder's ab_view_menu.name). Without it, Airflow silently does not store the DAG.
MAX_DAG_ID = 250 - len("DAG:")


def format_dag_id(family: str, pipeline: str, provider: str, folder: str = "etl") -> str:
    """Return the id of a DAG; a sandbox's begins with its folder."""
    return ("" if folder == "etl" else f"{folder}.") + f"{family}-{pipeline}_dag_{provider}"


def sensor_ids(settings: Settings) -> List[str]:
    """Return the task id of each sensor that ``wait_for`` asks for, in its order; a mistake may give two the same."""
    ids, deliveries = [], 0
    for _, wait in settings.waits:
        if wait.pipeline is None:
            deliveries += 1
            ids.append("wait_for_delivery" + (f"-{deliveries}" if deliveries > 1 else ""))
        else:
            ids.append(awaited_id(wait))
    return ids


def awaited_names(definition: "Definition") -> List[str]:
    """Return what a DAG waits for, for people: addresses on S3, and ids of DAGs."""
    if definition.settings.wait_for is None:  # as most: a parse asks for thousands
        return []
    waits = zip(definition.settings.waits, sensor_ids(definition.settings))
    return [
        str(wait.s3)
        if wait.pipeline is None
        else definition.awaited[sensor_id].dag_id + (f" (task {wait.task})" if wait.task else "")
        for (_, wait), sensor_id in waits
    ]


def awaited_id(wait: WaitFor) -> str:
    """Return the task id of the sensor for another DAG."""
    provider, task = f"_dag_{wait.provider}" if wait.provider else "", f"-{wait.task}" if wait.task else ""
    return f"wait_for_{str(wait.pipeline).replace('/', '-')}{provider}{task}"


def parse_dag_id(dag_id: str, folder: str = "etl") -> Optional[Tuple[str, str, str]]:
    """Return (family, pipeline, provider) of a DAG id, or None if it is none of this folder's."""
    family, _, names = dag_id[len("" if folder == "etl" else f"{folder}.") :].partition("-")
    pipeline, _, provider = names.partition("_dag_")  # no pipeline has it in its name
    kinds: List[Tuple[str, Type[Text]]] = [(family, FamilyName), (pipeline, PipelineName), (provider, ProviderName)]
    is_ours = format_dag_id(family, pipeline, provider, folder) == dag_id
    return (
        (family, pipeline, provider) if is_ours and all(kind.pattern.fullmatch(name) for name, kind in kinds) else None
    )
