"""What the models cannot say alone: how values of one definition, and of its layers, go together.

Each rule yields problems; docs/rules.md has an example of each.
"""

import json
import re
from datetime import datetime
from functools import lru_cache
from typing import Any, Collection, Dict, Iterable, Iterator, List, Mapping, Optional, Set, Tuple

from jsonschema import Draft7Validator, FormatChecker  # what Airflow's Param validates with
from jsonschema.exceptions import SchemaError, ValidationError

from .definitions import MAX_DAG_ID, Context, Definition, Layer, Layers, PlannedTask, References, json_length
from .documents import Document
from .graphs import find_cycles, sort_tasks
from .models import Cluster, Param, Settings, Task
from .problems import KeyPath, Problem, describe
from .scheduler import check_size
from .templates import MAX_FAULTS, MAX_OVERRIDES, MAX_WORK, read_template, repeated_work
from .values import TaskId, Text
from .vocabulary import MAX_PARAM_CHARACTERS

# ------------------------------------------------------------------------------------------------------- texts


def text_problems(
    text: str, layers: Layers, path: KeyPath, at_key: bool = False, has_item: bool = False
) -> Iterator[Problem]:
    """Yield the mistakes in a templated text at a path of merged layers, or in the key there."""
    if not has_item and "item" in read_template(text).free_names:
        message, hint = "'item' is there only in a task with for_each", "add 'for_each: [one, two]' to the task"
        yield layers.problem(path, message, hint, "template", "item", ("item", "for_each"), at_key)
    repeated = repeated_work(text)
    for fault in read_template(text).faults:
        if not any(fault.within in part for part in repeated):
            hint = fault.hint or layers.did_you_mean(fault.within, fault.known)
            yield layers.problem(path, fault.message, hint, "template", fault.within, at_key=at_key)
    for part in repeated[:MAX_FAULTS]:
        message = f"'{part}' gives something else when the task runs again"
        hint = "take the run's own date: {{ ds }}, {{ ts }} or {{ data_interval_start }}; {{ run_id }} as a name"
        yield layers.problem(path, message, hint, "idempotency", part, at_key=at_key)


def templated_texts(task: Task) -> Iterator[Tuple[KeyPath, str, bool]]:
    """Yield the templated texts of a task, each with its path in the task, and whether it is the key there.

    ECS has variables as pairs of name and value, and Airflow renders both.
    """
    for key in ("task_definition", "container", "task_role_arn", "execution_role_arn"):
        yield (key,), getattr(task, key) or "", False
    for index, text in enumerate(task.command or ()):
        yield ("command", index), text, False
    for key in ("environment", "tags"):
        for name, text in (getattr(task, key) or {}).items():
            yield (key, name), text, False
    for name in task.environment or ():
        yield ("environment", name), name, True


def templated_texts_of_cluster(cluster: Cluster) -> Iterator[Tuple[KeyPath, str]]:
    """Yield the templated texts of a cluster, each with its path in the cluster."""
    yield ("cluster",), cluster.cluster
    for key in MAX_ADDRESSES:
        for index, text in enumerate(getattr(cluster, key) or ()):
            yield (key, index), text


def check_pulled(tasks: Iterable[PlannedTask], ids: Collection[str]) -> Iterator[Problem]:
    """Check that the templates of tasks take XComs of tasks that there are: of another one, Airflow gives None.

    Those of the environment are for all pipelines, which may have such a task or not.
    """
    for planned in tasks:
        for path, text, at_key in templated_texts(planned.task):
            pulled = read_template(text).pulled
            unknown = pulled.difference(ids) if pulled else None  # few have any
            origin = planned.layers.origin(path) if unknown else None
            if not unknown or origin is None or origin.document is not planned.layers.home.document:
                continue
            for other in sorted(unknown)[:MAX_FAULTS]:
                message = f"a template takes the XCom of an unknown task '{other[:60]}'"
                hint = planned.layers.did_you_mean(other, ids)
                yield planned.layers.problem(path, message, hint, "template", other, (other,), at_key)


def add_references(references: References, text: str, layers: Layers, path: KeyPath) -> None:
    """Add what a text at a path of merged layers names of env, provider and params."""
    template = read_template(text)
    for root, member in template.members:
        places = references.setdefault((root, member, (root, member) in template.numbers), [])
        places.append((layers, path))


def check_references(definition: Definition, references: References) -> Iterator[Problem]:
    """Check that env, provider and params have what the templates of a DAG name of them."""
    known: Dict[str, Mapping[str, Any]] = {**definition.variables, "params": definition.settings.effective_params}
    reported: Dict[Tuple[int, KeyPath], int] = {}  # by the text
    for (root, member, is_number), places in references.items():
        is_unknown = member not in known[root]
        if not is_unknown and not (is_number and not is_always_number(known[root][member])):
            continue
        name, names = f"{root}.{member}", (member, definition.provider)
        for layers, path in places:
            text = id(layers), path
            reported[text] = reported.get(text, 0) + 1
            if reported[text] > MAX_FAULTS:
                continue
            if is_unknown:
                message = f"unknown name '{name}' in the template"
                hint = layers.did_you_mean(member, known[root]) or f"add it under '{root}:'"  # params, if there is none
            else:
                message, hint = f"'{name}' has to be a number", f"give the param 'type: integer', or write {name} | int"
            problem = layers.problem(path, message, hint, "template", name, names)
            yield problem._replace(provider=definition.provider)


def is_always_number(value: Any) -> bool:
    """Return whether a variable is a number, or a param whatever a person types."""
    if isinstance(value, Param):
        types = value.type if isinstance(value.type, list) else [value.type or "string"]
        return set(types) <= {"integer", "number", "boolean"}
    return isinstance(value, (int, float))


# --------------------------------------------------------------------------------------------------------- ECS

# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
MAX_ECS_TAGS = 50
MAX_ADDRESSES = {"subnets": 16, "security_groups": 5}
MAX_CAPACITY_PROVIDERS = 20
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html: CPU units -> MiB
FARGATE_MEMORY: Dict[int, Tuple[int, ...]] = {
    256: (512, 1024, 2048),
    512: tuple(range(1024, 4096 + 1, 1024)),
    1024: tuple(range(2048, 8192 + 1, 1024)),
    2048: tuple(range(4096, 16384 + 1, 1024)),
    4096: tuple(range(8192, 30720 + 1, 1024)),
    8192: tuple(range(16384, 61440 + 1, 4096)),
    16384: tuple(range(32768, 122880 + 1, 8192)),
}
FARGATE_STORAGE = (21, 200)  # GiB


def check_cluster(document: Document, path: KeyPath, cluster: Cluster) -> Iterator[Problem]:
    """Check what RunTask says of launch type and network."""

    def problem(key: str, message: str, hint: str = "") -> Problem:
        return document.problem((*path, key), message, hint, "ecs", at_key=True)

    if cluster.launch_type and cluster.capacity_provider_strategy:
        yield problem("launch_type", "launch_type and capacity_provider_strategy exclude each other", "keep one")
    strategy = cluster.capacity_provider_strategy or []
    if len(strategy) > MAX_CAPACITY_PROVIDERS:
        yield problem("capacity_provider_strategy", f"ECS takes at most {MAX_CAPACITY_PROVIDERS} capacity providers")
    if sum(1 for item in strategy if item.base) > 1:
        yield problem("capacity_provider_strategy", "only one capacity provider can have a base", "keep one 'base:'")
    if cluster.is_fargate and not cluster.subnets:
        yield problem("subnets", "Fargate needs subnets", "add 'subnets: [subnet-...]'")
    for key, limit in MAX_ADDRESSES.items():
        if len(getattr(cluster, key) or ()) > limit:
            yield problem(key, f"ECS takes at most {limit} {key}")
    layers = Layers.of(Layer(document, path))
    for place, text in templated_texts_of_cluster(cluster):
        yield from text_problems(text, layers, place)


def check_fargate(task: Task, layers: Layers) -> Iterator[Problem]:
    """Check that Fargate has the size of a task: CPU units, MiB and GiB."""
    cpus = ", ".join(map(str, FARGATE_MEMORY))
    if task.cpu is not None and task.cpu not in FARGATE_MEMORY:
        yield layers.problem(("cpu",), f"Fargate has no {task.cpu} CPU", f"it has {cpus}", "ecs")
    elif task.cpu is None and task.memory is not None:
        message, hint = "on Fargate, memory goes with cpu", f"add 'cpu:', one of {cpus}"
        yield layers.problem(("memory",), message, hint, "ecs", names=("memory", "cpu"))
    elif task.cpu is not None and task.memory not in FARGATE_MEMORY[task.cpu]:
        sizes = FARGATE_MEMORY[task.cpu]
        choice = f"{sizes[0]} to {sizes[-1]} MiB in steps of {sizes[-1] - sizes[-2]}"
        if len(sizes) == 3:
            choice = "512, 1024 or 2048 MiB"
        hint = f"Fargate's {task.cpu} CPU takes {choice}"
        if task.memory:
            yield layers.problem(("memory",), f"Fargate has no {task.memory} MiB", hint, "ecs")
        else:
            message, names = "on Fargate, cpu goes with memory", ("memory", "cpu")
            yield layers.problem(("cpu",), message, hint, "ecs", names=names)
    smallest, largest = FARGATE_STORAGE
    if task.ephemeral_storage is not None and not smallest <= task.ephemeral_storage <= largest:
        message = f"Fargate has no ephemeral storage of {task.ephemeral_storage} GiB"
        yield layers.problem(("ephemeral_storage",), message, f"it takes {smallest} to {largest}", "ecs")


def check_overrides(task: Task, layers: Layers, overrides: Mapping[str, Any]) -> Iterator[Problem]:
    """Check the limits of RunTask on tags and overrides, and what the templates of a task could write together."""
    if len(task.tags or ()) > MAX_ECS_TAGS:
        yield layers.problem(("tags",), f"ECS takes at most {MAX_ECS_TAGS} tags", "", "ecs", names=("tags",))
    length = overrides_length(overrides)
    if length > MAX_OVERRIDES:
        message = f"command, environment and sizes are {length} characters of JSON; ECS takes at most {MAX_OVERRIDES}"
        path = ("environment",) if task.environment else ("command",)
        yield layers.problem(path, message, "put the data on S3", "ecs", names=("command", "environment"))
    for name in task.environment or ():
        if not name or ("=" in name and "{" not in name):
            hint = "it has a letter at least, and no '='"
            yield layers.problem(("environment", name), f"{name!r} is no name of a variable", hint, "ecs", at_key=True)
    work = sum(read_template(text).work for _, text, _ in templated_texts(task))
    if work > MAX_WORK:
        message = f"the templates of the task could write {work:,} characters; at most {MAX_WORK:,} are allowed"
        yield layers.problem((), message, "let the container do it", "template", names=("command", "environment"))


def overrides_length(overrides: Mapping[str, Any]) -> int:
    """Return the length of overrides as RunTask counts it, in characters of JSON without blanks (its API reference)."""
    return len(json.dumps(overrides, ensure_ascii=False, separators=(",", ":")))


# -------------------------------------------------------------------------------------------- one task, many items

MAX_FOR_EACH = 100  # items of a task


def check_items(name: str, task: Task, layers: Layers) -> Iterator[Problem]:
    """Check the items of a task: each ends the id of one."""
    items = task.for_each
    if items is None:
        return
    if not 1 <= len(items) <= MAX_FOR_EACH:
        message, hint = f"for_each has {len(items)} items", f"it has 1 to {MAX_FOR_EACH}; null: one task without items"
        yield layers.problem(("for_each",), message, hint, "dependencies")
    seen: Set[str] = set()
    for index, item in enumerate(items[:MAX_FOR_EACH]):
        if item in seen:
            message, place = f"item '{item}' is there twice", ("for_each", index)
            yield layers.problem(place, message, "leave one out", "dependencies", names=(item,))
        elif not TaskId.pattern.fullmatch(f"{name}-{item}"):
            message = f"'{name}-{item}' is not {TaskId.what()}"
            yield layers.problem(("for_each", index), message, "shorten one of both", "dependencies", names=(item,))
        seen.add(item)


def check_ids(tasks: Mapping[str, PlannedTask], ids: Mapping[str, Iterable[str]]) -> Iterator[Problem]:
    """Check that no two tasks or groups of a DAG have the same id in Airflow.

    Args:
        tasks: Those of a DAG, by their names.
        ids: The ids of each: those with for_each have one for each item, and are a group.
    """
    taken: Set[str] = set()
    for name, planned in tasks.items():
        for task_id in ids[name]:
            if task_id in taken:
                message = f"two tasks are called '{task_id}'"
                yield planned.layers.problem(("for_each",), message, "rename one", "dependencies", names=(name,))
            taken.add(task_id)
    lists = {name for name, planned in tasks.items() if planned.task.for_each is not None}
    for name in lists & taken:
        message, hint = f"the items of '{name}' are drawn as a group, and a task has that id", "rename one"
        yield tasks[name].layers.problem(("for_each",), message, hint, "dependencies", names=(name,))
    for planned in tasks.values():
        group = planned.task.group
        if group is not None and group in taken | lists:
            message, hint = f"a group cannot be called '{group}', as a task is", "call the group otherwise"
            yield planned.layers.problem(("group",), message, hint, "dependencies", names=(group,))


# ------------------------------------------------------------------------------------------------ dependencies


def check_dependencies(tasks: Mapping[str, PlannedTask], left_out: Collection[str], provider: str) -> Iterator[Problem]:
    """Check that the tasks that others wait for are there, not left out by a provider, and do not wait in a circle."""
    before: Dict[str, List[str]] = {task_id: [] for task_id in tasks}
    for task_id, planned in tasks.items():
        names: Set[str] = set()
        for index, other in enumerate(planned.task.depends_on or ()):
            if other in tasks and other != task_id and other not in names:
                names.add(other)
                before[task_id].append(other)
                continue
            if other in names:  # Airflow writes a line to the log for each, at every parse
                message, hint = f"task '{task_id}' depends on '{other}' twice", "leave it out"
            elif other == task_id:
                message, hint = f"task '{task_id}' depends on itself", "leave it out"
            elif other in left_out:
                message = f"task '{task_id}' depends on '{other}', which is left out"
                hint = f"provider '{provider}' has no '{other}': give its '{task_id}' a depends_on without it"
            else:
                message = f"unknown task '{other}'"
                hint = planned.layers.did_you_mean(other, (name for name in tasks if name != task_id))
            problem = planned.layers.problem(("depends_on", index), message, hint, "dependencies", names=(other,))
            yield problem._replace(provider=provider if other in left_out else "")
    order, waiting = sort_tasks(before)
    if waiting:
        cycle = find_cycles(before, waiting)[0]
        cycle = [*cycle, cycle[0]]
        first = tasks[cycle[0]]
        excerpt = cycle if len(cycle) < 20 else [*cycle[:9], "...", *cycle[-9:]]
        path = ("depends_on", list(first.task.depends_on or ()).index(Text(cycle[1])))
        message, hint = f"a cycle: {' -> '.join(excerpt)}", "each task waits for the one after its arrow"
        yield first.layers.problem(path, message, hint, "dependencies")
    yield from check_size(tasks, order, before)


# ---------------------------------------------------------------------------------------------------- settings

MAX_DAG_TAGS = 50  # Airflow keeps a row for each, and writes those of all DAGs of a file in one go


def check_settings(
    settings: Settings, layers: Layers, context: Context, checked: Dict[int, List[Problem]]
) -> Iterator[Problem]:
    """Check what a pipeline and a provider say of their DAG together.

    Args:
        settings: What they say.
        layers: Where they say it.
        context: What the pipeline is laid over.
        checked: The problems of params, by their id: providers share those that they do not change.
    """
    start, end = settings.period
    if start is None:
        hint = "add a static date such as 'start_date: 2022-01-01'"
        yield layers.problem((), "missing key 'start_date'", hint, names=("start_date",))
    elif end is not None and end < start:
        names = ("end_date", "start_date")
        yield layers.problem(("end_date",), "end_date is before start_date", "", "schedule", names=names)
    for index, name in enumerate(settings.environments or ()):
        if name not in context.environments:
            hint = layers.did_you_mean(name, context.environments)
            yield layers.problem(("environments", index), f"unknown environment '{name}'", hint, names=(name,))
    known, is_here = context.environment.alerts, settings.environments is None or context.name in settings.environments
    if settings.alerts is not None and settings.alerts not in known and is_here:
        message, hint = f"unknown alerts '{settings.alerts}'", layers.did_you_mean(settings.alerts, known)
        hint = hint or "the environment has no 'alerts'"
        yield layers.problem(("alerts",), message, hint, names=(settings.alerts, "alerts"))
    if len(set(settings.tags or ())) > MAX_DAG_TAGS:
        message = f"{len(set(settings.tags or ()))} tags; a DAG has at most {MAX_DAG_TAGS}"
        yield layers.problem(("tags",), message, "keep those by which people look for the DAG")
    length = json_length({name: param.default for name, param in settings.effective_params.items()})
    if length > MAX_PARAM_CHARACTERS:
        message = f"the defaults are {length} characters of JSON; params together have at most {MAX_PARAM_CHARACTERS}"
        yield layers.problem(("params",), message, "put the data on S3, and its address in a param")
    for param_name, param in settings.effective_params.items():
        if id(param) not in checked:
            checked[id(param)] = list(check_param(param, layers, ("params", param_name)))
        yield from checked[id(param)]


def check_dag_id(definition: Definition) -> Iterator[Problem]:
    """Check that Airflow's database can store the DAG's id."""
    if len(definition.dag_id) > MAX_DAG_ID:
        document = definition.layers.home.document
        message = f"the DAG's id is longer than the {MAX_DAG_ID} characters that Airflow takes"
        problem = document.problem(("providers", definition.provider), message, "shorten the names", at_key=True)
        yield problem._replace(provider=definition.provider)


def check_param(param: Param, layers: Layers, path: KeyPath) -> Iterator[Problem]:
    """Check that a param has a default that fits."""
    whole = layers.origin(path)
    if param.default is not None or "null" in (param.type or ()):
        mistakes = param_mistakes(param)
    elif layers.origin((*path, "default")):
        types = param.type if isinstance(param.type, list) else [param.type or "string"]
        hint = f"for a param that may be empty, write 'type: [\"null\", {', '.join(types)}]'"
        mistakes = [("default", "the default is null: a scheduled run has nobody to type a value", hint)]
    else:
        mistakes = [("", "a param needs a 'default': a scheduled run has nobody to type a value", "")]
    for key, message, hint in mistakes:
        origin = layers.origin((*path, key))
        is_own = origin is not None and whole is not None and origin.path == (*whole.path, key)
        # If another layer than the default's has the type, the param there is what is wrong.
        place, hint = ((*path, key), hint) if is_own else (path, "")
        yield layers.problem(place, message, hint, names=() if param.default is not None else ("default", "type"))


def param_mistakes(param: Param) -> List[Tuple[str, str, str]]:
    """Return what is wrong with a param's schema or its default: a key, message and hint each."""
    schema = param.json_schema
    # Thousands of params may differ only in numbers, any of which will do.
    shape = {key: 0 if type(value) in (int, float) else value for key, value in schema.items() if key != "enum"}
    mistake = mistake_in_schema(json.dumps(shape, sort_keys=True))
    if mistake:
        return [mistake]
    errors = misfits(param.default, schema)
    of_type = [error for error in errors if error.validator == "type"]  # of another type, nothing else fits either
    of_default = [
        ("default", f"the default does not fit: {text}", hint) for text, hint in map(misfit, of_type or errors)
    ]
    return of_default if len(errors) == 1 else [(*each[:2], "") for each in of_default]  # a hint is for one mistake


@lru_cache(maxsize=256)  # to check one takes 0.4 ms
def mistake_in_schema(schema: str) -> Optional[Tuple[str, str, str]]:
    """Return key, message and hint for why a text is no JSON Schema; None if it is one."""
    try:
        Draft7Validator.check_schema(json.loads(schema))
    except SchemaError as error:
        message, hint = misfit(error)
        return str(next(iter(error.path), "")), f"not a JSON Schema: {message}", hint
    return None


# By their names in JSON Schema.
TYPES = {
    **{"string": "text", "number": "a number", "integer": "a whole number", "boolean": "true or false"},
    **{"array": "a list", "object": "a mapping", "null": "null"},
}


def misfit(error: ValidationError) -> Tuple[str, str]:
    """Return message and hint for an error of JSON Schema, in YAML's words where jsonschema uses Python's."""
    value, expected = error.instance, error.validator_value
    if error.validator == "type":
        types = expected if isinstance(expected, list) else [expected]
        hint = ""
        if isinstance(value, str):
            is_number = {"integer", "number"} & set(types) and re.fullmatch("-?[0-9]+", value)
            if is_number or ("boolean" in types and value in ("true", "false")):
                hint = f"leave out the quotes: {value}"
        elif isinstance(value, (bool, int, float)) and "string" in types:
            hint = "quote it: '{source}'"
        return f"expected {' or '.join(TYPES.get(each, each) for each in types)}, got {describe(value)}", hint
    if error.validator == "enum":
        hint = ""
        if isinstance(value, str) and any(isinstance(each, bool) for each in expected):
            hint = "YAML reads yes, no, on and off as true and false: quote them in 'enum', too"
        elif isinstance(value, str) and value in [str(each) for each in expected]:
            hint = f"leave out the quotes: {value}"
        elif str(value) in expected or (isinstance(value, bool) and any(isinstance(each, str) for each in expected)):
            hint = "quote it: '{source}'"
        text, choice = (json.dumps(part, ensure_ascii=False)[:200] for part in (value, expected))
        return f"{text} is not one of {choice}", hint
    return error.message[:200], ""


FORMATS = FormatChecker()
DATE_TIME = re.compile(r"([0-9-]{10}T[0-9:]{8})(\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])")


@FORMATS.checks("date-time", raises=ValueError)  # type: ignore[misc]
def is_date_time(value: Any) -> bool:
    """Return whether a text is a moment of RFC 3339, for which jsonschema needs a package that MWAA does not have."""
    match = DATE_TIME.fullmatch(value) if isinstance(value, str) else None
    return bool(match and datetime.strptime(match[1], "%Y-%m-%dT%H:%M:%S")) or not isinstance(value, str)


def misfits(value: Any, schema: Mapping[str, Any]) -> List[ValidationError]:
    """Return in what a value is not what a JSON Schema asks for."""
    return list(Draft7Validator(schema, format_checker=FORMATS).iter_errors(value))
