"""What a definition comes to after all layers, as plain data in the definition language's own words."""

from datetime import date, timedelta
from typing import Any, Dict, Iterator, Mapping, Tuple

import yaml
from orchestrator import (
    SETTING_DEFAULTS,
    Definition,
    Environment,
    KeyPath,
    Layer,
    Layers,
    PlannedTask,
    Settings,
    Task,
    WaitFor,
)

# Of an environment, these reach a DAG otherwise: merged into its tasks, as its schedule, or only if it names them.
MERGED = {"alerts", "defaults", "schedules", "timezone", "variables", "clusters"}


def effective(definition: Definition) -> Dict[str, Any]:
    """Return everything that makes the DAG what it is, as text, numbers, booleans, None, lists and mappings.

    The keys are a pipeline's, then an environment's, with the defaults written out that the factory has for them;
    ``variables`` holds ``env`` and ``provider``, and ``alerts`` and ``clusters`` the ones that this DAG names. Two
    definitions that give the same here give the same DAG: the order of tags, for one, is lost.
    """
    settings = definition.settings.dict(
        exclude_none=True, exclude={"environments"}
    )  # that the DAG exists is its effect
    settings = {**SETTING_DEFAULTS, **settings, "schedule": definition.schedule}
    tasks = {task_id: task_fields(planned) for task_id, planned in definition.plan.tasks.items()}
    environment = definition.context.environment
    waits = [waiting_fields(definition, wait) for _, wait in definition.settings.waits]
    if waits:
        settings["wait_for"] = waits if isinstance(definition.settings.wait_for, list) else waits[0]
    if "alerts" in settings:
        settings["alerts"] = {settings["alerts"]: environment.alerts[settings["alerts"]].dict()}
    clusters = {task["cluster"]: environment.clusters[task["cluster"]] for task in tasks.values()}
    result = {
        "description": definition.description,
        **{key: settings[key] for key in Settings.__fields__ if key in settings},
        "variables": definition.variables,
        "tasks": tasks,
        **environment.dict(exclude_none=True, exclude=MERGED),
        "clusters": {name: cluster.dict(exclude_none=True) for name, cluster in clusters.items()},
    }
    return {key: plain(value) for key, value in without_order(result).items()}


def waiting_fields(definition: Definition, wait: WaitFor) -> Dict[str, Any]:
    """Return what is awaited, with the provider whose DAG it is."""
    given = wait.dict(exclude_none=True)
    given.setdefault("provider", definition.provider)
    return {key: given[key] for key in WaitFor.__fields__ if key in given and (wait.pipeline or key != "provider")}


def task_fields(planned: PlannedTask) -> Dict[str, Any]:
    """Return the fields of a task after all layers."""
    (override,) = planned.operator["overrides"]["containerOverrides"]
    given = {"container": override["name"], "cluster": "default", **planned.task.dict(exclude_none=True)}
    given.update({"for_each": None, "depends_on": list(planned.before)})
    fields = {key: given[key] for key in Task.__fields__ if given.get(key) is not None}
    return without_order({**fields, **({"item": planned.item} if planned.item is not None else {})})


def without_order(fields: Dict[str, Any]) -> Dict[str, Any]:
    """Sort the lists that are sets in truth, and leave out those that are empty."""
    sets = {key: sorted(set(fields[key])) for key in ("tags", "depends_on") if isinstance(fields.get(key), list)}
    return {key: sets.get(key, value) for key, value in fields.items() if sets.get(key, value) != []}


def plain(value: Any) -> Any:
    """Return a value as a definition writes it, in the plain types that YAML and JSON share."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, timedelta):
        return duration(value)
    return value.isoformat() if isinstance(value, date) else str(value)


def duration(length: timedelta) -> str:
    """Write a length of time as the language does, such as 1d12h."""
    minutes, seconds = divmod(length.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((length.days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number)


# ------------------------------------------------------------------------------------------------------ origin


def origin(definition: Definition, path: KeyPath) -> str:
    """Return ``file:line`` of the last layer that holds a value of :func:`effective`, or "default" if none does."""
    environment = Layers.of(Layer(definition.context.document, ()))
    layers = definition.layers
    head, *rest = path
    if head == "tasks":
        layers, path = definition.plan.tasks[rest[0]].layers, tuple(rest[1:])
        path = ("for_each",) if path == ("item",) else path
    elif head == "variables":
        # The settings have no layer of a provider that overrides none of them.
        document = definition.layers.home.document
        provider = Layers.of(Layer(document, ("providers", definition.provider)))
        layers, path = environment if rest[0] == "env" else provider, (head, *rest[1:])
    elif head == "schedule" and definition.schedule != definition.settings.schedule:
        layers, path = environment, ("schedules",)
    elif head in Environment.__fields__ and layers.origin(path) is None:
        layers = environment
    if layers.origin(path) is None:
        return "default"
    location = layers.location(path)
    return f"{location.path}:{location.line}"


# -------------------------------------------------------------------------------------------------------- text


class OneLine(yaml.SafeDumper):
    """Writes every text on one line."""

    def represent_text(self, text: str) -> yaml.Node:
        """Write a text of several lines with escapes."""
        return self.represent_scalar("tag:yaml.org,2002:str", text, style='"' if "\n" in text else None)


OneLine.add_representer(str, OneLine.represent_text)


def flow(value: Any) -> str:
    """Write plain data as YAML on one line."""
    text = yaml.dump(value, Dumper=OneLine, default_flow_style=True, width=2**31, allow_unicode=True, sort_keys=False)
    return text.replace("\n...\n", "").rstrip("\n")


def lines(data: Mapping[str, Any], path: KeyPath = ()) -> Iterator[Tuple[str, KeyPath]]:
    """Write a mapping as YAML, a line a value, and return each line's path; a mapping's own line has the path ()."""
    for key, value in data.items():
        start = f"{'  ' * len(path)}{flow(key)}:"
        if isinstance(value, dict) and value:
            yield start, ()
            yield from lines(value, (*path, key))
        else:
            yield f"{start} {flow(value)}", (*path, key)
