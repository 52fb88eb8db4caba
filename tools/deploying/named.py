"""What the definitions name in AWS, each with the place that names it."""

import json
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Tuple

from orchestrator import Cluster, Definition, KeyPath, Layer, Layers, Location, PlainText, PlannedTask, Problem

from tools.views.rendering import fill_in


class Place(NamedTuple):
    """Where a definition names something."""

    layers: Layers
    path: KeyPath

    @property
    def location(self) -> Location:
        """Where it stands in its file."""
        return self.layers.location(self.path)

    def problem(self, message: str, hint: str = "") -> Problem:
        """Return a problem at this place."""
        return self.layers.problem(self.path, message, hint, "preflight")


class Thing(NamedTuple):
    """What AWS can be asked for: a kind of ``KINDS``, and a name or an ARN."""

    kind: str
    name: str
    region: str


class Use(NamedTuple):
    """What a task of one or more DAGs names, with ``env`` and ``provider`` filled in."""

    planned: PlannedTask
    cluster: Cluster
    settings: Layers  # the cluster's
    names: Mapping[str, Any]  # of the keys of the task and of the cluster


def uses_of(definitions: Iterable[Definition]) -> List[Use]:
    """Return what the tasks name; what providers share is listed once."""
    tasks = [(definition, planned) for definition in definitions for planned in definition.plan.tasks.values()]
    uses: Dict[Tuple[int, str], Use] = {}
    for (definition, planned), names in zip(
        tasks, fill_in([(each, texts_of(each, task), task.item) for each, task in tasks])
    ):
        key = PlainText(planned.task.cluster or "default")
        settings = Layers.of(Layer(definition.context.document, ("clusters", key)))
        cluster = definition.context.environment.clusters[key]
        uses.setdefault((id(planned), json.dumps(names)), Use(planned, cluster, settings, names))
    return list(uses.values())


def texts_of(definition: Definition, planned: PlannedTask) -> Dict[str, Any]:
    """Return the texts by which a task names something."""
    cluster = definition.context.environment.clusters[PlainText(planned.task.cluster or "default")]
    return {
        "cluster": cluster.cluster,
        "subnets": cluster.subnets or [],
        "security_groups": cluster.security_groups or [],
        "task_definition": planned.task.task_definition,
        "container": planned.operator["overrides"]["containerOverrides"][0]["name"],
        "task_role_arn": planned.task.task_role_arn or "",
        "execution_role_arn": planned.task.execution_role_arn or "",
    }


def names_of_uses(uses: Iterable[Use], region: str) -> Iterator[Tuple[Thing, Place]]:
    """Yield what the tasks name, each with its place."""
    for use in uses:
        yield Thing("cluster", use.names["cluster"], region), Place(use.settings, ("cluster",))
        for index, name in enumerate(use.names["subnets"]):
            yield Thing("subnet", name, region), Place(use.settings, ("subnets", index))
        for index, name in enumerate(use.names["security_groups"]):
            yield Thing("security group", name, region), Place(use.settings, ("security_groups", index))
        if use.cluster.logs:
            group = Thing("log group", use.cluster.logs.group, use.cluster.logs.region or region)
            yield group, Place(use.settings, ("logs", "group"))
        definition = Thing("task definition", use.names["task_definition"], region)
        yield definition, Place(use.planned.layers, ("task_definition",))
        for key in ("task_role_arn", "execution_role_arn"):
            yield Thing("role", use.names[key], region), Place(use.planned.layers, (key,))


def names_of_definitions(definitions: Iterable[Definition]) -> Iterator[Tuple[Thing, Place]]:
    """Yield what the DAGs name beside their tasks, each with its place."""
    definitions = list(definitions)
    for definition in definitions:
        environment, alerts = definition.context.environment, definition.settings.alerts
        if alerts:
            topic = Thing("topic", environment.alerts[alerts].sns_topic_arn, environment.region)
            yield topic, Place(Layers.of(Layer(definition.context.document, ("alerts", alerts))), ("sns_topic_arn",))
    for bucket, place, _, _ in deliveries(definitions):
        yield bucket, place


def deliveries(definitions: Iterable[Definition]) -> Iterator[Tuple[Thing, Place, str, str]]:
    """Yield what DAGs wait for: bucket, place, key, and the address with its templates."""
    awaited = [(each, path, wait.s3) for each in definitions for path, wait in each.settings.waits if wait.s3]
    addresses = fill_in([(definition, address, None) for definition, _, address in awaited])
    for (definition, path, address), filled in zip(awaited, addresses):
        bucket, _, key = filled.partition("://")[2].partition("/")
        thing = Thing("bucket", bucket, definition.context.environment.region)
        yield thing, Place(definition.layers, (*path, "s3")), key, address


def by_thing(names: Iterable[Tuple[Thing, Place]]) -> Dict[Thing, List[Place]]:
    """Return the places of each thing that is known before a run."""
    places: Dict[Thing, List[Place]] = {}
    for thing, place in names:
        if thing.name and "{" not in thing.name:
            places.setdefault(thing, []).append(place)
    return places


def place_of(place: Place) -> str:
    """Return path:line of a place, for a hint."""
    return f"{place.location.path}:{place.location.line}"
