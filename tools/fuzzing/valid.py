"""Hypothesis strategies for valid environments and pipelines."""

import json
import re
from datetime import date
from typing import Any, Dict, List, NamedTuple, Optional

import yaml
from hypothesis import assume
from hypothesis import strategies as st

from tools.fuzzing import model

Data = Dict[str, Any]
ENVIRONMENTS = ("development", "staging")
CLUSTERS = ("default", "big one", "é: [")
# Every kind of character that a text may have; what means something to Jinja, a shell or a URL is put in on purpose.
CHARACTERS = st.characters(blacklist_categories=["Cs"], blacklist_characters="{}`$:", min_codepoint=32).filter(
    lambda character: not "\x7f" <= character <= "\x9f"
)
LINE = st.text(CHARACTERS, max_size=12)
WORD = st.text(CHARACTERS, min_size=1, max_size=12)
TEXT = st.text(CHARACTERS | st.sampled_from("\n\t"), max_size=12) | st.sampled_from(["no", "010", "~", "", " x "])
LOWER = "abcxyz"
FAMILY = st.text(f"{LOWER}019_", min_size=1, max_size=9).filter(lambda name: name[0] != "_" and name != "healthy")
PIPELINE = st.text(f"{LOWER}019_-", min_size=1, max_size=9).filter(lambda name: name[0] not in "_-") | st.sampled_from(
    ["big_dagger", "dag", "dag_x", "a_da_g", "no", "1", "0_-"]
)
PROVIDER = st.text(f"{LOWER}019_", min_size=1, max_size=9).filter(lambda name: name[0] != "_") | st.sampled_from(
    ["no", "on", "null", "0", "010", "1_000", "x_dag_y", "1e3", "true"]
)
TASK_ID = st.text(f"{LOWER}019_-", min_size=1, max_size=9).filter(lambda name: name[0] not in "_-")
VARIABLE = st.from_regex(r"\A[abXY][abXY09_]{0,4}\Z")
SCALAR = TEXT | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
COUNT = st.integers(0, 2**31 - 1)
POSITIVE = st.integers(1, 2**31 - 1)
DURATION = st.integers(1, 10**8) | st.sampled_from(["30m", "6h", "1d12h", "1d2h3m4s", "999d", "90s", "00001m"])
FIRST, LAST = date(1970, 1, 1), date(2100, 12, 31)
START = st.dates(FIRST, date(2049, 12, 31)) | st.sampled_from(["2022-01-01T03:00:00Z", "2022-01-01T03:00:00.500+05:30"])
ZONE = st.sampled_from(sorted(model.HOURS_AHEAD))
END = st.dates(date(2051, 1, 1), LAST)
CRON = st.sampled_from(["@once", "@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly"]) | st.builds(
    "{} {} {} {} {}".format,
    st.sampled_from(["0", "*", "*/5", "1-30/3", "0,59"]),
    st.sampled_from(["0", "*", "23", "1-4", "*/6"]),
    st.sampled_from(["*", "1", "28", "1,15"]),
    st.sampled_from(["*", "1", "JAN", "1-6"]),
    st.sampled_from(["*", "0", "1-5", "MON"]),
)
DEFINITION = st.from_regex(r"\A[A-Za-z0-9_-]{1,12}(:[0-9]{1,3})?\Z") | st.just(
    "arn:aws:ecs:eu-west-1:000000000000:task-definition/loader:3"
)
SIZE = st.sampled_from([(256, 512), (512, 4096), (1024, 2048), (2048, 5120), (4096, 30720), (16384, 122880)])
ARN = st.sampled_from(["arn:aws:iam::000000000000:role/etl", "{{ env.name }}"])
TEMPLATE = st.sampled_from(
    [
        "{{ ds }}",
        "{{ provider.name }}",
        "{{ env['name'] }}",
        "{% if ds %}{{ ts_nodash }}{% endif %}",
        "{% raw %}${#x}{% endraw %}",
    ]
)
TEMPLATED = st.lists(TEXT | TEMPLATE, max_size=3).map("".join)
# No task's name ends like an item, so that no two ids are the same.
ITEMS = st.lists(st.sampled_from(["q-de", "q-fr", "q_", "q-7"]), min_size=1, max_size=4, unique=True)
POOLS = ["narrow", "a wide one"]
ALERTS = ("default", "On-Call_2")
TOPICS: Data = {name: {"sns_topic_arn": f"arn:aws:sns:eu-west-1:000000000000:{name}"} for name in ALERTS}
PARAMS: Data = {
    "full": {"type": "boolean", "default": False},
    "Day": {"type": "string", "default": "x", "maxLength": 12},
    "n1": {"type": ["integer", "null"], "default": 3, "minimum": 0},
    "any_": {"default": {"a": [1, None, {"b": "c"}]}},
    "none": {"type": "null"},
}


def mapping(fields: Dict[str, Any], more: Dict[str, Any]) -> Any:
    """Return a strategy for mappings that have some fields, and may have more."""
    return st.fixed_dictionaries(fields, optional=more)


def optional(fields: Dict[str, Any]) -> Dict[str, Any]:
    """Let every field be null, too: that takes away what a layer below says."""
    return {key: field | st.none() for key, field in fields.items()}


def some(draw: Any, fields: Dict[str, Any]) -> Data:
    """Draw some of the fields, in any order."""
    chosen = draw(st.lists(st.sampled_from(sorted(fields)), unique=True, max_size=6))
    return {key: draw(fields[key]) for key in chosen}


LAYER_FIELDS = optional(
    {
        "cluster": st.sampled_from(CLUSTERS),
        "container": WORD,
        "command": st.lists(TEMPLATED, max_size=3),
        "environment": st.dictionaries(st.sampled_from(["A", "no", "é: "]), TEMPLATED | st.none(), max_size=3),
        "tags": st.dictionaries(st.sampled_from(["a", "b c", "é"]), LINE | TEMPLATE | st.none(), max_size=3),
        "propagate_tags": st.just("TASK_DEFINITION"),
        "enable_execute_command": st.booleans(),
        "group": st.sampled_from(["drawn", "it"]),  # no task is called so
        "for_each": ITEMS,
        "ephemeral_storage": st.integers(21, 200),
        "task_role_arn": ARN,
        "execution_role_arn": ARN,
        "retries": st.integers(0, 100),
        "retry_delay": DURATION,
        "retry_exponential_backoff": st.booleans(),
        "max_retry_delay": DURATION,
        "execution_timeout": DURATION,
        "sla": DURATION,
        "pool": st.sampled_from(["default_pool", *POOLS]),
        "priority_weight": st.integers(1, 10_000),
        "trigger_rule": st.sampled_from(["all_success", "all_failed", "one_success", "none_skipped", "always"]),
        "depends_on_past": st.booleans(),
        "size": SIZE,
    }
)


@st.composite
def layers(draw: Any) -> Data:
    """Draw one layer of a task: no size of Fargate's without the other half of it."""
    layer = some(draw, LAYER_FIELDS)
    if "size" in layer:
        layer["cpu"], layer["memory"] = layer.pop("size") or (None, None)
    return layer


def without_items(layer: Data) -> Data:
    """Return a layer as an environment may have it."""
    return {key: value for key, value in layer.items() if key != "for_each"}


LAYER = layers()
LOGS = mapping(
    {"group": st.text("abXY09_/.#-", min_size=1, max_size=12), "prefix": WORD.filter(lambda text: "*" not in text)},
    more={"region": st.none() | st.just("eu-north-1")},
)
SUBNETS: Dict[str, Any] = {"subnets": st.lists(WORD, min_size=1, max_size=16)}
NETWORK = optional(
    {
        "security_groups": st.lists(WORD, max_size=5),
        "assign_public_ip": st.booleans(),
        "platform_version": st.just("1.4.0"),
        "logs": LOGS,
    }
)
PART = mapping({"capacity_provider": WORD}, more={"weight": st.integers(0, 1000)})
CLUSTER = (
    mapping({"cluster": WORD, "launch_type": st.just("FARGATE"), **SUBNETS}, more=NETWORK)
    | mapping({"cluster": WORD}, more={"logs": LOGS | st.none()})
    | mapping(
        {
            "cluster": TEMPLATED.filter(bool),
            "capacity_provider_strategy": st.lists(PART, min_size=1, max_size=2),
            **SUBNETS,
        },
        more=NETWORK,
    )
)
ENVIRONMENT_FIELDS = {
    "variables": st.dictionaries(VARIABLE, SCALAR, max_size=3),
    "schedules": st.booleans(),
    "aws_conn_id": WORD.filter(str.strip),
    "timezone": ZONE,
    "alerts": mapping({}, more={name: st.just(topic) for name, topic in TOPICS.items()}),
    "defaults": LAYER.map(without_items) | st.none(),
}


@st.composite
def environments(draw: Any) -> Data:
    """Draw ``configs/<environment>.yaml``."""
    clusters = {name: draw(CLUSTER) for name in CLUSTERS}
    return {"region": "eu-west-1", "clusters": clusters, "pools": POOLS, **some(draw, ENVIRONMENT_FIELDS)}


WAIT = st.integers(1, 6_000_000) | st.sampled_from(["90m", "1d12h"])  # seconds: 20,000 looks, one every 5 minutes
AWAITED = mapping(
    {"s3": st.sampled_from(["s3://bucket/in/*", "s3://{{ env.name }}/{{ provider.name }}/{{ ds }}/[x]?"])},
    more=optional({"timeout": WAIT, "poke_interval": st.sampled_from(["5m", "1h", 600])}),  # looks are counted
)
PIPELINE_SETTINGS = optional(
    {
        "alerts": st.sampled_from(ALERTS),
        "owner": st.text("abXY09_-", min_size=1, max_size=36),
        "schedule": CRON,
        "timezone": ZONE,
        "end_date": END,
        "catchup": st.booleans(),
        "max_active_runs": st.integers(1, 12),  # four providers that catch up may have 50
        "max_active_tasks": POSITIVE,
        "dagrun_timeout": st.integers(3600, 10**8) | st.sampled_from(["90m", "1d12h"]),  # runs that end soon are many
        "tags": st.lists(WORD, max_size=3),
        "params": mapping({}, more={name: st.just(param) for name, param in PARAMS.items()}),
        "wait_for": AWAITED,
        "environments": st.lists(st.sampled_from(ENVIRONMENTS), max_size=2),
    }
)
# What a provider may say of a param, and of waiting, that its pipeline has already.
PARTS: Data = {name: {"description": "<b>", **({"default": "y"} if name == "Day" else {})} for name in PARAMS}
TIMEOUT = mapping({}, more=optional({"timeout": WAIT}))


@st.composite
def pipelines(draw: Any) -> Data:
    """Draw a pipeline that is valid in all environments."""
    pipeline: Data = {"start_date": draw(START), **some(draw, PIPELINE_SETTINGS)}
    pipeline.update(some(draw, {"description": TEXT, "defaults": LAYER, "retired_tasks": st.just(["gone"])}))
    ids = draw(st.lists(TASK_ID, min_size=1, max_size=4, unique=True))
    tasks: Data = {}
    for number, task_id in enumerate(ids):
        task = {**draw(LAYER), "task_definition": draw(DEFINITION)}
        if number and draw(st.booleans()):
            task["depends_on"] = draw(st.lists(st.sampled_from(ids[:number]), unique=True))
        tasks[task_id] = task
    pipeline["tasks"] = {task_id: tasks[task_id] for task_id in draw(st.permutations(ids))}
    names = draw(st.lists(PROVIDER, min_size=1, max_size=4, unique=True))
    pipeline["providers"] = {name: provider_of(draw, pipeline, ids) for name in names}
    return {key: pipeline[key] for key in draw(st.permutations(list(pipeline)))}


def provider_of(draw: Any, pipeline: Data, ids: List[str]) -> Optional[Data]:
    """Draw a provider of a pipeline: it may take tasks away, but none that another one waits for."""
    if draw(st.booleans()):
        return None
    provider = some(draw, PIPELINE_SETTINGS)
    if provider.get("params"):
        there = pipeline.get("params") or {}
        provider["params"] = {name: PARTS[name] if name in there else PARAMS[name] for name in provider["params"]}
    if provider.get("wait_for") and pipeline.get("wait_for"):
        provider["wait_for"] = draw(TIMEOUT)
    if draw(st.booleans()):
        provider["start_date"] = draw(START)
    variables = draw(st.dictionaries(VARIABLE, SCALAR, max_size=2))
    provider.update(some(draw, {"defaults": LAYER | st.none(), "variables": st.just(variables)}))
    overrides: Data = {task_id: draw(LAYER) for task_id in draw(st.lists(st.sampled_from(ids), unique=True))}
    for layer in overrides.values():
        if provider.get("variables") and draw(st.booleans()):
            layer["command"] = [f"{{{{ provider.{name} }}}}" for name in variables]
    for task_id in draw(st.lists(st.sampled_from(ids), unique=True, max_size=len(ids) - 1)):
        trial = {**overrides, task_id: None}
        left = model.task_ids(pipeline, {"tasks": trial})
        if not any(task_id in (pipeline["tasks"][other].get("depends_on") or ()) for other in left):
            overrides = trial
    return {**provider, "tasks": overrides} if overrides else provider


class Plain(yaml.CSafeDumper):
    """Writes no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


@st.composite
def texts(draw: Any, data: Any) -> str:
    """Draw one of the many ways to write data as YAML."""
    if draw(st.integers(0, 5)) == 0:
        text = json.dumps(data, indent=draw(st.sampled_from([None, 1])), default=str)
        assume("\x7f" not in text and not re.search(r"\\ud[89ab]", text))  # JSON writes emojis as what is not YAML
    else:
        options = {
            "default_flow_style": draw(st.sampled_from([True, False, None])),
            "allow_unicode": draw(st.booleans()),
            "width": draw(st.sampled_from([20, 120])),
            "indent": draw(st.sampled_from([2, 5])),
        }
        text = yaml.dump(data, Dumper=Plain, sort_keys=False, **options)
    return text


class World(NamedTuple):
    """An environment and a pipeline in it."""

    name: str
    environment: Data
    family: str
    stem: str
    pipeline: Data
    texts: List[str]  # of the environment and the pipeline


@st.composite
def worlds(draw: Any) -> World:
    """Draw an environment with a pipeline, and the texts of both."""
    environment = draw(environments())
    pipeline = draw(pipelines())
    named = [(each or {}).get("alerts") for each in (pipeline, *pipeline["providers"].values())]
    topics = {name: topic for name, topic in TOPICS.items() if name in named}
    if topics:
        environment["alerts"] = {**environment.get("alerts", {}), **topics}
    written = [draw(texts(environment)), draw(texts(pipeline))]
    # Not everything that PyYAML writes does it read again.
    assume([same(text, data) for text, data in zip(written, (environment, pipeline))] == [True, True])
    return World(draw(st.sampled_from(ENVIRONMENTS)), environment, draw(FAMILY), draw(PIPELINE), pipeline, written)


def same(text: str, data: Any) -> bool:
    """Return whether a text says what it was written from."""
    try:
        return bool(json.dumps(yaml.load(text, Loader=yaml.CSafeLoader), default=str) == json.dumps(data, default=str))
    except (yaml.YAMLError, ValueError):
        return False
