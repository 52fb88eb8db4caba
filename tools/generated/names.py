"""What editors know of this repository: the names in ``configs/`` as choices, and the sizes that Fargate has."""

from pathlib import Path
from typing import Any, Dict, List, NamedTuple

from orchestrator import DEFAULT_POOL, FARGATE_MEMORY, Rejected, environment_names, read_context

from tools.checkout import no_environment

Schema = Dict[str, Any]


class Names(NamedTuple):
    """What a pipeline may name.

    Attributes:
        environments: All.
        clusters: Those of any environment.
        pools: Those of any environment.
        fargate: The clusters that are Fargate's wherever there is one of the name.
        is_fargate_by_default: Whether every environment runs on Fargate what names no cluster.
    """

    environments: List[str]
    clusters: List[str]
    pools: List[str]
    fargate: List[str]
    is_fargate_by_default: bool


def names_of(etl: Path) -> Names:
    """Return the names in ``configs/`` of a folder such as ``dags/etl``; raise Rejected if one has problems."""
    problems = no_environment(etl)
    if problems:
        raise Rejected(*problems)
    contexts = [read_context(etl, name) for name in environment_names(etl)]
    environments = [context.environment for context in contexts]
    clusters = sorted({str(name) for environment in environments for name in environment.clusters})
    others = {name for each in environments for name, cluster in each.clusters.items() if not cluster.is_fargate}
    fargate = [name for name in clusters if name not in others]
    defaults = [str((each.defaults and each.defaults.cluster) or "default") for each in environments]
    is_fargate = all(name in fargate and name in each.clusters for name, each in zip(defaults, environments))
    pools = sorted({DEFAULT_POOL, *(str(name) for environment in environments for name in environment.pools)})
    return Names([context.name for context in contexts], clusters, pools, fargate, is_fargate and bool(defaults))


NO_CLUSTER: Schema = {"not": {"type": "object", "required": ["cluster"]}}
FARGATE_SIZE = {"$ref": "#/definitions/FargateSize"}
# Some provider has the pipeline's tasks as they are written: what no provider keeps may be wrong there.
OVERRIDES = {"type": "object", "anyOf": [{"required": ["defaults"]}, {"required": ["tasks"]}]}
SOME_UNCHANGED = {"type": "object", "not": {"additionalProperties": OVERRIDES}}


def add_names(pipeline: Schema, names: Names) -> None:
    """Add to the schema of pipelines what only this repository's ``configs/`` say."""
    task, provider = pipeline["definitions"]["Task"], pipeline["definitions"]["Provider"]
    task["properties"]["cluster"]["enum"] = [*names.clusters, None]
    task["properties"]["pool"]["enum"] = [*names.pools, None]
    for settings in (pipeline, provider):
        settings["properties"]["environments"]["items"]["enum"] = names.environments
    pipeline["definitions"]["FargateSize"] = fargate_size()
    # Sizes are looked at only in the highest layer. What another one says may be replaced, and a false alarm teaches
    # people to overlook the true ones.
    named = {"type": "object", "required": ["cluster"], "properties": {"cluster": {"enum": names.fargate}}}
    own = tasks_with(named)
    provider["allOf"] = [own]
    unchanged: Schema = {"required": ["providers"], "properties": {"providers": SOME_UNCHANGED}}
    defaults = {"anyOf": [named, NO_CLUSTER]} if names.is_fargate_by_default else named
    required = unchanged["required"] + ([] if names.is_fargate_by_default else ["defaults"])
    of_defaults: Schema = {"required": required, "properties": {**unchanged["properties"], "defaults": defaults}}
    pipeline["allOf"] = [{"if": unchanged, "then": own}, {"if": of_defaults, "then": tasks_with(NO_CLUSTER)}]


def tasks_with(condition: Schema) -> Schema:
    """Return the schema of what has tasks: those that meet a condition have a size of Fargate's."""
    return {"properties": {"tasks": {"additionalProperties": {"if": condition, "then": FARGATE_SIZE}}}}


def fargate_size() -> Schema:
    """Return the schema of a task on Fargate; of cpu and memory, another layer may say one."""
    pairs = [
        {
            "if": {"required": ["cpu"], "properties": {"cpu": {"const": cpu}}},
            "then": {"properties": {"memory": {"enum": [*sizes, None]}}},
        }
        for cpu, sizes in FARGATE_MEMORY.items()
    ]
    return {
        "description": "CPU units and MiB of a task on Fargate.",
        "properties": {"cpu": {"enum": [*FARGATE_MEMORY, None]}},
        "allOf": pairs,
    }
