"""Document -> Pipeline or Environment; what pydantic finds wrong, in words and places."""

import re
from datetime import date
from typing import Any, Dict, Iterable, Mapping, Optional, Tuple, Type

from .compat import SHAPE_SINGLETON, BaseModel, ValidationError
from .credentials import NAMED_IN_ECS
from .definitions import json_length, parse_dag_id
from .documents import Document, has_value, value_at
from .models import Cluster, Environment, Pipeline, Settings, Task
from .problems import LIKENESS, MAX_PROBLEMS, AmbiguousInteger, KeyPath, Problem, Rejected, closest, describe
from .values import PipelineAddress

# What bounds the work that a file can ask for. 10,000 providers of 3 tasks take 3.5 s; what only just fits into one of
# these takes at most twice as long.
MAX_PROVIDERS = 10_000  # DAGs: each takes Airflow 3 ms of every pass, and 6 ms after a deploy, whatever it has
MAX_TASKS = 30_000  # of all DAGs, with the sensors of wait_for
MAX_OWN_TASKS = 4000  # of providers with tasks or defaults of their own: planning and making one takes 0.45 ms
# Values of all DAGs, and lists and mappings within them. Copying one takes 5 us, and storing it as much again; of a
# mapping, 2.2.2 makes two, and 1,900 DAGs with one param of 2,000 empty ones took 2.2 GB in a pass.
MAX_PARAMS = 50_000
MAX_TAGS = 20_000  # of all DAGs, beside the four that each has: Airflow stores all in one go, 0.25 ms each
MAX_EDGES = 200_000  # of all DAGs: Airflow takes 10 us to draw one
MAX_SCHEDULES = 1000  # different ones: croniter takes 1 to 3 ms to check one
MAX_ZONES = 50  # different time zones: to load one takes 3 ms, and to find what was meant by one 6 ms
MAX_CHARACTERS = 16 * 2**20  # of what providers share, times providers


def read_environment(document: Document) -> Environment:
    """Return the environment of a document.

    Raises:
        Rejected: Its keys or values are not what the models take.
    """
    try:
        return Environment.parse_obj(document.data)
    except ValidationError as error:
        problems = {**schema_problems(document, Environment, error), **document.credentials}
        raise Rejected(*document.problems, *problems.values()) from None  # it quotes values


def read_pipeline(
    document: Document, provider: Optional[str] = None
) -> Tuple[Optional[Pipeline], Dict[KeyPath, Problem]]:
    """Return the pipeline of a document without the providers that are wrong, and the problems by path.

    Args:
        document: The pipeline's file.
        provider: The only one to read; None for all.

    Returns:
        None for a pipeline in which more is wrong than providers.

    Raises:
        Rejected: It asks for too much work.
    """
    data = document.data
    if isinstance(data.get("providers"), dict):
        check_extent(document, data["providers"])
    if isinstance(data.get("providers"), dict) and provider in data["providers"]:
        data = {**data, "providers": {provider: data["providers"][provider]}}
    problems: Dict[KeyPath, Problem] = {}
    pipeline = None
    try:
        pipeline = Pipeline.parse_obj(data)
    except ValidationError as error:
        problems = schema_problems(document, Pipeline, error)
    problems.update(
        (path, problem)
        for path, problem in document.credentials.items()
        if path[0] != "providers" or path[1:2] == (provider,) or provider is None
    )
    if document.problems or any(path[:1] != ("providers",) or len(path) < 2 for path in problems):
        return None, problems
    if problems:
        bad = {path[1] for path in problems}
        good = {name: value for name, value in data["providers"].items() if name not in bad}
        pipeline = Pipeline.parse_obj({**data, "providers": good})
    return pipeline, problems


def check_extent(document: Document, providers: Mapping[Any, Any]) -> None:
    """Check that what all providers of a file hold together can be built in time.

    Raises:
        Rejected: It cannot.
    """
    shared = {key: value for key, value in document.data.items() if key != "providers"}
    length, number = json_length(shared), len(providers)

    def limit(extent: int, most: int, things: str) -> None:
        if extent > most:
            message = f"{extent} {things}; a file has at most {most}"
            raise Rejected(document.problem(("providers",), message, "split it into several pipelines", at_key=True))

    limit(length * number, MAX_CHARACTERS, f"characters ({number} providers of {length})")  # before each is looked at
    overrides = [override for override in providers.values() if isinstance(override, dict)]
    tasks, edges = extent_of(shared, {})
    lists = [override for override in overrides if override and names_items(override)]
    if size_of(shared.get("tasks")) * len(lists) > MAX_OWN_TASKS:
        lists = []  # the tasks that differ are too many anyway
    own = [extent_of(shared, override) for override in lists]
    own_tasks, own_edges = (sum(extent) for extent in zip(*own)) if own else (0, 0)
    changes = sum("tasks" in override or "defaults" in override for override in overrides)
    params = values_of_params(shared) * number + sum(map(values_of_params, overrides))
    own_tags = [size_of(override["tags"]) for override in overrides if "tags" in override]
    tags = sum(own_tags) + (number - len(own_tags)) * size_of(shared.get("tags"))
    schedules, zones = (
        {text for text in (each.get(key) for each in overrides) if isinstance(text, str)}
        for key in ("schedule", "timezone")
    )
    own_sensors = [sensors_of(override) for override in overrides if "wait_for" in override]
    sensors = sum(own_sensors) + (number - len(own_sensors)) * sensors_of(shared)
    edges_of_sensors = sensors * tasks  # at most: all tasks are first ones
    each = f"{tasks} and wait_for" if sensors else str(tasks)
    for extent, most, things in (
        (tasks * (number - len(own)) + own_tasks + sensors, MAX_TASKS, f"tasks ({number} providers of {each})"),
        (
            tasks * (changes - len(own)) + own_tasks,
            MAX_OWN_TASKS,
            f"tasks that differ ({changes} providers that change some of {tasks})",
        ),
        (params, MAX_PARAMS, f"values of params of {number} providers"),
        (tags, MAX_TAGS, f"tags of {number} providers"),
        (
            edges * (number - len(own)) + own_edges + edges_of_sensors,
            MAX_EDGES,
            f"dependencies ({number} providers of {edges}{' and wait_for' * bool(sensors)})",
        ),
        (len(schedules), MAX_SCHEDULES, "different schedules"),
        (len(zones), MAX_ZONES, "different time zones"),
        (number, MAX_PROVIDERS, "providers"),
    ):
        limit(extent, most, things)


def size_of(value: Any) -> int:
    """Return the number of items of a mapping or list; 0 of anything else."""
    return len(value) if isinstance(value, (dict, list)) else 0


def values_of_params(layer: Mapping[Any, Any]) -> int:
    """Return how many values the defaults of a layer's params have."""
    params = mapping_in(layer, "params").values()
    return sum(values_in(param.get("default")) if isinstance(param, dict) else 1 for param in params)


def values_in(value: Any) -> int:
    """Return how many values there are, those of a list or mapping counted only if they are some themselves."""
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(values_in(each) for each in below if isinstance(each, (dict, list)))


def mapping_in(layer: Mapping[Any, Any], key: str) -> Mapping[Any, Any]:
    """Return the mapping at a key; an empty one where something else is."""
    value = layer.get(key)
    return value if isinstance(value, dict) else {}


def sensors_of(layer: Mapping[Any, Any]) -> int:
    """Return how many things a layer waits for."""
    value = layer.get("wait_for")
    return len(value) if isinstance(value, list) else int(value is not None)


def names_items(override: Mapping[Any, Any]) -> bool:
    """Return whether a provider says for_each."""
    layers = [override.get("defaults"), *mapping_in(override, "tasks").values()]
    return any(isinstance(layer, dict) and "for_each" in layer for layer in layers)


def extent_of(shared: Mapping[Any, Any], override: Mapping[Any, Any]) -> Tuple[int, int]:
    """Return how many tasks and dependencies a DAG has, whatever else they are: each item of for_each is a task."""
    tasks, own = mapping_in(shared, "tasks"), mapping_in(override, "tasks")
    sizes: Dict[Any, int] = {}
    before: Dict[Any, Any] = {}
    for name, task in tasks.items():
        layers = [shared.get("defaults"), task, override.get("defaults"), own.get(name)]
        of_each = [layer for layer in layers if isinstance(layer, dict)]
        sizes[name] = size_of(next((each["for_each"] for each in of_each[::-1] if "for_each" in each), None)) or 1
        before[name] = next((each["depends_on"] for each in of_each[::-1] if "depends_on" in each), None)
    lists = {id(others): others for others in before.values() if isinstance(others, list)}  # tasks inherit one of them
    lengths = {
        key: sum(sizes.get(other, 1) if isinstance(other, str) else 1 for other in others)
        for key, others in lists.items()
    }
    return sum(sizes.values()), sum(sizes[name] * lengths.get(id(others), 0) for name, others in before.items())


# By pydantic's name of the error, with the key where a key has words of its own.
EXPECTED = {
    "type_error": ("text", ""),  # a list or mapping where a choice is; pydantic says: unhashable type
    "type_error.dict": ("a mapping", "write it as lines of 'key: value', with a blank behind each colon"),
    "type_error.list": ("a list", "write it as [one, two], or as lines of '- one'"),
    "type_error.list.command": ("a list", 'write each argument as an item: [fetch, --date, "{{ ds }}"]'),
    "type_error.list.for_each": (
        "a list",
        "write the items here, as [de, fr]: a DAG's tasks are known before its runs",
    ),
    "type_error.list.wait_for": ("a mapping, or a list of them", ""),
    "type_error.integer": ("a whole number", ""),
    "type_error.integer.cpu": ("a whole number of CPU units", "1024 are one vCPU"),
    "type_error.integer.memory": ("a whole number of MiB", "4 GB are 4096"),
    "type_error.integer.retries": ("a whole number", "write how many, 0 for none"),
    "type_error.none.not_allowed": ("a value", ""),
    "value_error.strictbool": ("true or false", ""),
}
# What is right without its quotes, by pydantic's name of the error: in quotes it is another kind of value.
UNQUOTED = {"type_error.integer": re.compile("[0-9]+"), "value_error.strictbool": re.compile("true|false")}


def schema_problems(document: Document, model: Type[BaseModel], error: ValidationError) -> Dict[KeyPath, Problem]:
    """Return pydantic's errors in words and places, by the path of the value that is wrong."""
    problems: Dict[KeyPath, Problem] = {}
    entries = error.errors()
    if len(entries) > MAX_PROBLEMS:
        message = f"{len(entries)} problems, of which these are the first {MAX_PROBLEMS}"
        problems[()] = document.problem((), message, "fix these")
        entries = entries[:MAX_PROBLEMS]
    above = {tuple(entry["loc"][:length]) for entry in entries for length in range(len(entry["loc"]))}
    for entry in entries:
        path: KeyPath = tuple(entry["loc"])
        if path in above and entry["type"] in ("type_error.dict", "type_error.list"):
            continue  # of a mapping or a list, the one that it is has errors inside
        kind, message, context = entry["type"], entry["msg"], entry.get("ctx", {})
        hint, rule, at_key = context.get("hint", ""), context.get("rule", "schema"), False
        names: Tuple[str, ...] = ()
        if path[-1] == "__key__" and not has_value(document.data, path):  # or else a person's key is called so
            path, at_key = (*path[:-1], context.get("key")), True
            if kind == "type_error.none.not_allowed":
                message = f"expected text, got {describe(None)}"
        elif context.get("within"):
            path, at_key = (*path, context["key"]), True
        elif kind == "value_error.extra":
            message, hint, names = unknown_key(document, model, path)
            at_key = True
        elif kind == "value_error.missing":
            message = f"missing key '{path[-1]}'"
        elif kind == "value_error.const":
            given = context["given"]
            message = f"unknown value {repr(given[:60]) if isinstance(given, str) else describe(given)}"
            hint, _ = hint_for_name(document, given, context["permitted"], LIKENESS)
        elif kind.startswith("value_error.number"):
            bound = "at most" if kind.endswith("le") else "at least"
            message = f"expected a whole number, {bound} {context['limit_value']}"
        elif kind in EXPECTED:
            expected, hint = EXPECTED.get(f"{kind}.{path[-1]}", EXPECTED[kind])
            value = value_at(document.data, path)
            message = f"expected {expected}, got {describe(value)}"
            if "a mapping" in expected:
                hint = mapping_hint(path, value) or hint
            if isinstance(value, AmbiguousInteger) and kind == "type_error.integer":
                hint = f"write {value.value}"
            elif kind in UNQUOTED and isinstance(value, str) and UNQUOTED[kind].fullmatch(value):
                hint = f"leave out the quotes: {value}"
        elif kind == "value_error.invalid" and has_value(document.data, path):
            hint = text_hint(path, value_at(document.data, path)) or hint
        if "{source}" in hint and not at_key and isinstance(value_at(document.data, path), (dict, list)):
            hint = hint.partition(":")[0]  # it is about something inside
        problems.setdefault(path, document.problem(path, message, hint, rule, at_key, names=names))
    return problems


def mapping_hint(path: KeyPath, value: Any) -> str:
    """Return what to write instead of a value that is no mapping; "" if the mistake is none that people often make."""
    first = value[0] if isinstance(value, list) and value else None
    if isinstance(first, dict):
        return "leave out the dashes: write it as lines of 'key: value'"
    if path == ("providers",) and isinstance(first, str):
        return f"write each as a line of its own, such as '{first[:60]}: {{}}'"
    if path[-2:-1] == ("params",) and len(path) in (2, 4):  # of the pipeline, or of a provider
        if isinstance(value, date):
            return f"write '{str(path[-1])[:60]}: {{default: \"{value}\"}}', in quotes"
        return f"write '{str(path[-1])[:60]}: {{default: ...}}'"
    if "wait_for" in path[-2:]:
        return waiting_hint(str(value))
    return ""


def text_hint(path: KeyPath, value: Any) -> str:
    """Return what to write instead of a value that is not the text it should be; "" as in :func:`mapping_hint`."""
    key, parent, is_many = path[-1], path[-2:-1], isinstance(value, (dict, list))
    if parent == ("environment",) and is_many:
        return "quote it, as JSON: '{\"a\": 1}'"
    if parent == ("variables",) and is_many:
        return "a variable is one text, number or boolean: write each part as a variable of its own"
    if parent == ("for_each",) and is_many:
        return "an item is one word, which templates have as {{ item }}"
    if parent == ("for_each",) and isinstance(value, str) and "{" in value:
        return EXPECTED["type_error.list.for_each"][1]
    if "wait_for" in path and key == "pipeline" and isinstance(value, str):
        return waiting_hint(value)
    if "wait_for" in path and key == "s3" and isinstance(value, dict):
        bucket, name = (str(value.get(part, part))[:200] for part in ("bucket", "key"))
        return f'write s3: "s3://{bucket}/{name}"'
    return ""


def waiting_hint(text: str) -> str:
    """Return what to write for what somebody wanted to wait for by its name alone."""
    names = parse_dag_id(text)
    if names:
        return f"write {{pipeline: {names[0]}/{names[1]}, provider: {names[2]}}} for that DAG"
    if text.startswith("s3://"):
        return f'write {{s3: "{text[:200]}"}} for a delivery'
    example = text if PipelineAddress.pattern.fullmatch(text) else "family/name"
    return f'write {{pipeline: {example}}} for another DAG, or {{s3: "s3://bucket/key"}} for a delivery'


# What a key or a choice is called in Airflow, in other factories and in other tools, by its name here.
OTHER_NAMES = {
    "alerts": ("email", "emails", "notify", "on_failure", "on_failure_callback"),
    "array": ("list",),
    "cluster": ("queue",),
    "command": ("args", "arguments", "cmd"),
    "dagrun_timeout": ("time_limit", "timeout"),
    "depends_on": ("after", "dependencies", "needs", "requires", "upstream"),
    "end_date": ("end",),
    "enum": ("choices", "options"),
    "environment": ("env", "env_vars"),
    "ephemeral_storage": ("disk", "storage"),
    "execution_timeout": ("time_limit", "timeout"),
    "for_each": ("expand", "items", "loop", "matrix", "parallel", "shards", "with_items"),
    "group": ("task_group",),
    "logs": ("awslogs_group", "log_group"),
    "memory": ("mem",),
    "none_failed_min_one_success": ("none_failed_or_skipped",),
    "number": ("float",),
    "object": ("dict",),
    "pipeline": ("dag", "dag_id", "external_dag_id"),
    "retries": ("retry",),
    "schedule": ("cron", "every", "schedule_interval"),
    "start_date": ("start",),
    "string": ("date", "datetime", "text", "time"),
    "tasks": ("jobs", "stages", "steps"),
    "timezone": ("tz", "zone"),
    # Trigger rules of newer Airflows, of which none here is one, however alike they look.
    "": ("all_done_min_one_success", "all_done_setup_success", "all_skipped", "one_done"),
}
LIKENESS_OF_KEYS = 0.7  # with less, "waiter_delay" would be "retry_delay" and "deadline" be "pipeline"


def unknown_key(document: Document, model: Type[BaseModel], path: KeyPath) -> Tuple[str, str, Tuple[str, ...]]:
    """Return message, hint and names for a key that the language does not have at ``path``."""
    key, known = path[-1], keys_at(model, path[:-1])
    message = f"unknown key '{key}'"
    if key in Task.__fields__ and model is Pipeline:
        return message, "it is a task's: put it under the task or, for all of them, under 'defaults:'", (key,)
    if key in Settings.__fields__ and known is Task.__fields__:
        return message, "it is the DAG's: put it at the top of a pipeline's file, or under a provider", (key,)
    if key in Cluster.__fields__ and known is Task.__fields__:
        return message, "it is a cluster's: the task names one of the environment with 'cluster:'", (key,)
    if key == "variables":
        return message, "it is a provider's, under its name, or the environment's in configs/", (key,)
    if key == "secrets":
        return message, NAMED_IN_ECS, (key,)
    hint, meant = hint_for_name(document, key, known, LIKENESS_OF_KEYS)
    return message, hint, (key, meant) if meant else (key,)


def hint_for_name(document: Document, name: Any, known: Iterable[str], likeness: float) -> Tuple[str, Optional[str]]:
    """Return the hint for an unknown key or choice, and the name that was probably meant, or None.

    What others call something is never taken for a name that only looks like it.
    """
    meanings = [ours for ours, others in OTHER_NAMES.items() if name in others]
    meant = next((ours for ours in meanings if ours in known), None)
    hint = "" if meant else document.did_you_mean("", known)  # all names, but for the first problems of a file only
    if hint and not meanings:
        meant = closest(name, known, likeness)
    return f"did you mean '{meant}'?" if meant else hint, meant


def keys_at(model: Type[BaseModel], path: KeyPath) -> Iterable[str]:
    """Return the keys that the language has at ``path``."""
    in_container = False
    for part in path:
        if in_container or part not in model.__fields__:
            in_container = False
            continue
        field = model.__fields__[part]
        in_container = field.shape != SHAPE_SINGLETON
        model = field.sub_fields[0].type_ if field.sub_fields else field.type_
    return model.__fields__
