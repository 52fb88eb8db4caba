"""The language: what a pipeline, a provider, a task and an environment may say.

docs/definitions.md and configs/schema/ are generated from here. A new field needs its room in planning.py (the
operator's arguments, the RunTask request) or in dags.py (the DAG); CONTRIBUTING.md leads the way.
"""

import re
from datetime import date, datetime, timedelta
from functools import lru_cache
from math import isfinite
from typing import Any, Dict, List, Optional, Tuple, Union

import pendulum
from typing_extensions import Literal

from .compat import SHAPE_DICT, BaseModel, DictError, Field, ModelField, StrictBool, validator
from .problems import describe, non_text_key
from .values import (
    NOT_FINITE,
    ActiveRuns,
    AlertsName,
    ConnectionId,
    Constant,
    Count,
    Cron,
    DagTag,
    Duration,
    EcsName,
    EcsTagKey,
    EcsTagValue,
    ExitCode,
    Identifier,
    InvalidValue,
    Item,
    LogGroup,
    LogPrefix,
    Moment,
    Owner,
    PipelineAddress,
    PlainText,
    Pool,
    Positive,
    ProviderBase,
    ProviderName,
    ProviderWeight,
    Retries,
    S3Address,
    Scalar,
    TaskDefinition,
    TaskId,
    Text,
    TimeZone,
    VariableName,
    Weight,
)


class Model(BaseModel):
    """A mapping with known keys."""

    class Config:
        extra = "forbid"
        allow_mutation = False

    def explicit(self) -> Dict[str, Any]:
        """Return what the definition says, without defaults."""
        return self.dict(exclude_unset=True)

    @classmethod
    def validate(cls, value: Any) -> Any:
        if not isinstance(value, (dict, cls)):  # pydantic would make a mapping of a list of pairs
            raise DictError()
        for key in value if isinstance(value, dict) else ():
            if not isinstance(key, str):
                raise InvalidValue(*non_text_key(key), key=key, within=True)
        return super().validate(value)

    @validator("*", pre=True, allow_reuse=True)
    def mapping_is_mapping(cls, value: Any, field: ModelField) -> Any:
        if field.shape == SHAPE_DICT and not isinstance(value, dict) and not (value is None and field.allow_none):
            raise DictError()
        return value


TriggerRule = Literal[
    "all_success",
    "all_failed",
    "all_done",
    "one_success",
    "one_failed",
    "none_failed",
    "none_failed_min_one_success",
    "none_skipped",
    "always",
]


class Task(Model):
    """A task of a pipeline, or one layer of it: nothing is required until the layers are merged."""

    task_definition: Optional[TaskDefinition] = Field(
        None, description="ECS task definition: family, family:revision or ARN. Templated."
    )
    container: Optional[Text] = Field(
        None, description="Container to override; default: the task definition's family. Templated."
    )
    cluster: Optional[Text] = Field(None, description="A name under `clusters` of the environment; default: `default`.")
    command: Optional[List[Text]] = Field(None, description="The container's command, one text an argument. Templated.")
    environment: Optional[Dict[Text, Optional[Text]]] = Field(
        None, description="The container's environment variables. Templated. Secrets belong in the task definition."
    )
    cpu: Optional[Positive] = Field(None, description="CPU units of the ECS task; 1024 are one vCPU.")
    memory: Optional[Positive] = Field(None, description="Memory of the ECS task in MiB.")
    ephemeral_storage: Optional[Positive] = Field(None, description="Fargate's ephemeral storage in GiB, 21 to 200.")
    task_role_arn: Optional[Text] = Field(None, description="IAM role of the containers. Templated.")
    execution_role_arn: Optional[Text] = Field(None, description="IAM role that ECS starts the task with. Templated.")
    tags: Optional[Dict[EcsTagKey, Optional[EcsTagValue]]] = Field(None, description="Tags of the ECS task. Templated.")
    propagate_tags: Optional[Literal["TASK_DEFINITION"]] = Field(  # ECS refuses SERVICE: no service starts the task
        None, description="Give the ECS task the tags of its task definition, too; those of `tags` win."
    )
    enable_execute_command: Optional[StrictBool] = Field(
        None, description="Let people open a shell in its containers (ECS Exec); its task role needs ssmmessages."
    )
    depends_on: Optional[List[Text]] = Field(None, description="Tasks of this pipeline that come before.")
    for_each: Optional[List[Item]] = Field(
        None,
        description="One ECS task for each item, at most 100, called `<task>-<item>`; `{{ item }}` in its templates.",
        minItems=1,
        maxItems=100,
    )
    group: Optional[TaskId] = Field(None, description="Airflow's page draws the tasks of a group together.")
    retries: Optional[Retries] = Field(None, description="How often a failed task is tried again.")
    retry_delay: Optional[Duration] = Field(None, description="Pause before the next try.")
    retry_exponential_backoff: Optional[StrictBool] = Field(None, description="Double the pause with every try.")
    max_retry_delay: Optional[Duration] = Field(
        None, description="The longest pause between tries; default: a day, if it doubles."
    )
    skip_exit_codes: Optional[List[ExitCode]] = Field(
        None, description="Exit codes of the container, 1 to 255, with which the task is skipped, not failed."
    )
    execution_timeout: Optional[Duration] = Field(
        None, description="A try that takes longer is stopped and has failed."
    )
    sla: Optional[Duration] = Field(
        None,
        description="When the task should have succeeded, from the run's planned start.",
    )
    pool: Optional[Pool] = Field(
        None, description="Airflow pool that the task takes a slot of; tasks without one come first."
    )
    priority_weight: Optional[Weight] = Field(None, description="Higher goes first when slots are scarce.")
    trigger_rule: Optional[TriggerRule] = Field(
        None, description="When the task runs, by the states of those before it."
    )
    depends_on_past: Optional[StrictBool] = Field(
        None, description="Wait for this task's success in the run before; for at most 50 tasks of a DAG."
    )


JsonType = Literal["string", "number", "integer", "boolean", "array", "object", "null"]


def check_json(value: Any) -> Any:
    """Return a value if it is JSON that PostgreSQL stores: it takes no NUL, and no number that is not finite."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidValue(*non_text_key(key))
            Constant.validate(key)
            check_json(item)
    elif isinstance(value, list):
        for item in value:
            check_json(item)
    elif isinstance(value, str):
        Constant.validate(value)
    elif isinstance(value, float) and not isfinite(value):
        raise InvalidValue(f"not JSON: {describe(value)}", NOT_FINITE)
    elif not (value is None or isinstance(value, (bool, int, float))):
        raise InvalidValue(f"not JSON: {describe(value)}", "quote it")
    return value


class Param(Model):
    """What a person may set when triggering by hand, as JSON Schema."""

    # No pattern, items or $ref: a parse would wait for a regular expression for ever, or reach the network by a $ref.

    type: Union[JsonType, List[JsonType], None] = Field(None, description="JSON Schema type, or a list of them.")
    default: Any = Field(None, description="The value unless a person types another. Required, but for type null.")
    description: Optional[Text] = Field(None, description="What it is for; the DAG's page shows it.")
    title: Optional[Text] = Field(None, description="A short name for people.")
    enum: Optional[List[Any]] = Field(None, description="The values allowed.")
    minimum: Any = Field(None, description="The smallest number allowed.")
    maximum: Any = Field(None, description="The largest number allowed.")
    minLength: Optional[Count] = Field(None, description="The fewest characters.")  # noqa: N815 (JSON Schema's name)
    maxLength: Optional[Count] = Field(None, description="The most characters.")  # noqa: N815
    format: Optional[Literal["date", "date-time", "time", "email", "ipv4", "ipv6"]] = Field(
        None, description="What the text has to be: `time` is 03:00:00, `date-time` 2022-01-05T03:00:00Z (or +01:00)."
    )

    @validator("default", "enum", "minimum", "maximum", pre=True, allow_reuse=True)
    def is_json(cls, value: Any) -> Any:
        return check_json(value)

    @property
    def json_schema(self) -> Dict[str, Any]:
        """What a value must be, as JSON Schema."""
        return {key: getattr(self, key) for key in self.__fields_set__ - {"default", "description", "title"}}


class WaitFor(Model):
    """What is awaited before anything runs: a delivery, or another DAG. One, or a list of several."""

    s3: Optional[S3Address] = Field(None, description="s3://bucket/key, with * and ? as wildcards. Templated.")
    pipeline: Optional[PipelineAddress] = Field(
        None, description="Another DAG, as `<family>/<name>`: its last run that ends no later than this one succeeds."
    )
    provider: Optional[ProviderName] = Field(None, description="That DAG's provider; default: the same.")
    task: Optional[TaskId] = Field(None, description="Only this task of that DAG; default: the whole run.")
    timeout: Optional[Duration] = Field(None, description="How long to wait; default: 12h; at most 20,000 looks.")
    poke_interval: Optional[Duration] = Field(None, description="Pause between looks; default: 5m.")

    @property
    def longest(self) -> timedelta:
        """Return how long to wait."""
        return self.timeout or timedelta(hours=12)

    @property
    def pause(self) -> timedelta:
        """Return the time between two looks."""
        return self.poke_interval or timedelta(minutes=5)


@lru_cache(maxsize=1024)  # a thousand providers share a few dates
def moment_in(when: date, zone: str) -> pendulum.DateTime:
    """Return a date as midnight of a time zone, or a moment as what the clocks there show.

    Airflow takes the time zone of a DAG's schedule from its start date, and insists on one of pendulum.
    """
    if isinstance(when, datetime):
        return pendulum.instance(when).in_timezone(zone)
    return pendulum.datetime(when.year, when.month, when.day, tz=zone)


# What holds where no layer says anything else.
SETTING_DEFAULTS: Dict[str, Any] = {"owner": "airflow", "catchup": False, "max_active_runs": 1, "timezone": "UTC"}


class Settings(Model):
    """What a pipeline says of its DAGs and a provider may override."""

    owner: Optional[Owner] = Field(None, description="Owner of the DAG; startedBy of its ECS tasks begins with it.")
    schedule: Optional[Cron] = Field(
        None, description="Cron expression, preset such as @daily, or null: only triggered."
    )
    timezone: Optional[TimeZone] = Field(
        None,
        description="Whose clocks `schedule`, `start_date` and `end_date` go by; default: the environment's, or UTC.",
    )
    start_date: Optional[Moment] = Field(None, description="First day.")
    end_date: Optional[Moment] = Field(None, description="No runs are scheduled after it.")
    catchup: Optional[StrictBool] = Field(
        None, description="Run the intervals missed since start_date; default: false."
    )
    max_active_runs: Optional[ActiveRuns] = Field(None, description="Runs at the same time; default: 1.")
    max_active_tasks: Optional[Positive] = Field(
        None, description="Tasks at once in all runs; if more could be ready, other DAGs' come first."
    )
    dagrun_timeout: Optional[Duration] = Field(None, description="A scheduled run that takes longer has failed.")
    tags: Optional[List[DagTag]] = Field(
        None, description="At most 50 tags, beside family, pipeline, provider, environment."
    )
    params: Optional[Dict[Identifier, Optional[Param]]] = Field(
        None, description="What a person may set when triggering."
    )
    wait_for: Union[List[WaitFor], WaitFor, None] = Field(
        None, description="What is awaited before anything runs: a delivery, another DAG, or a list of them."
    )
    alerts: Optional[AlertsName] = Field(
        None, description="Who is told of failures: a name under `alerts` of the environment; default: `default`."
    )
    environments: Optional[List[Text]] = Field(None, description="Where it exists; default: everywhere.")

    @property
    def period(self) -> Tuple[Optional[pendulum.DateTime], Optional[pendulum.DateTime]]:
        """The moments from and until which runs are scheduled, in the DAG's time zone."""
        zone = self.timezone or SETTING_DEFAULTS["timezone"]
        start, end = (None if when is None else moment_in(when, zone) for when in (self.start_date, self.end_date))
        return start, end

    @property
    def waits(self) -> List[Tuple[Tuple[Any, ...], WaitFor]]:
        """All that ``wait_for`` says, each with its path."""
        if isinstance(self.wait_for, list):
            return [(("wait_for", index), wait) for index, wait in enumerate(self.wait_for)]
        return [(("wait_for",), self.wait_for)] if self.wait_for is not None else []

    @property
    def effective_params(self) -> Dict[str, Param]:
        """The params that no layer takes away."""
        return {name: param for name, param in (self.params or {}).items() if param is not None}


class Provider(Settings):
    """A data provider: what differs from the pipeline for it."""

    variables: Dict[VariableName, Scalar] = Field({}, description="`{{ provider.x }}` in templates.")
    defaults: Optional[Task] = Field(None, description="Every task of this provider starts from these.")
    tasks: Dict[TaskId, Optional[Task]] = Field(
        {}, description="What differs for a task; null: this provider has none."
    )


class Pipeline(Settings):
    """The definition of a pipeline: its tasks, and the data providers that each get a DAG of them."""

    description: Optional[Text] = Field(None, description="What the DAGs are for; the web page shows it.")
    defaults: Optional[Task] = Field(None, description="Every task starts from these.")
    tasks: Dict[TaskId, Task] = Field(..., description="The tasks by their name.", minProperties=1)
    providers: Dict[ProviderName, Optional[Provider]] = Field(..., description="The data providers by their name.")
    retired_tasks: List[TaskId] = Field([], description="Removed tasks whose history may be hidden.")


class CapacityProvider(Model):
    """One part of a capacity provider strategy, as ECS has it."""

    capacity_provider: EcsName = Field(..., description="Its name, or FARGATE or FARGATE_SPOT.")
    weight: Optional[ProviderWeight] = Field(None, description="Its share of the tasks beyond every base.")
    base: Optional[ProviderBase] = Field(None, description="How many tasks it takes before weights count.")


class Region(Text):
    """An AWS region, such as eu-west-1."""

    pattern = re.compile(r"[a-z]{2,}(-[a-z]+)+-[0-9]{1,2}")  # us-gov-east-1 and us-iso-west-1, too


class PlatformVersion(Text):
    """A version of Fargate's platform: LATEST, or digits such as 1.4.0."""

    pattern = re.compile(r"LATEST|[0-9]+\.[0-9]+\.[0-9]+")


class Logs(Model):
    """Where the containers' awslogs driver writes: streams are called prefix/container/task id."""

    group: LogGroup = Field(..., description="CloudWatch log group: awslogs-group of the task definition.")
    prefix: LogPrefix = Field(..., description="Start of the streams: awslogs-stream-prefix of the task definition.")
    region: Optional[Region] = Field(None, description="Default: the environment's.")


class Cluster(Model):
    """Where and how an ECS task runs."""

    cluster: Text = Field(..., description="Name or ARN of the ECS cluster. Templated.")
    launch_type: Optional[Literal["FARGATE", "EC2", "EXTERNAL"]] = Field(
        None, description="What the tasks run on; default: the cluster's own capacity provider strategy."
    )
    capacity_provider_strategy: Optional[List[CapacityProvider]] = Field(
        None, description="Instead of launch_type; at most 20.", maxItems=20
    )
    platform_version: Optional[PlatformVersion] = Field(
        None, description="Fargate's, such as 1.4.0; default: the latest."
    )
    subnets: Optional[List[Text]] = Field(
        None, description="1 to 16 subnets of the awsvpc network. Templated.", maxItems=16
    )
    security_groups: Optional[List[Text]] = Field(
        None, description="At most 5 security groups of the awsvpc network. Templated.", maxItems=5
    )
    assign_public_ip: Optional[StrictBool] = Field(None, description="Give the tasks a public address; default: false.")
    logs: Optional[Logs] = None

    @property
    def is_fargate(self) -> bool:
        """Whether its tasks run on Fargate, whose sizes are fixed."""
        strategy = self.capacity_provider_strategy or []
        return self.launch_type == "FARGATE" or any(s.capacity_provider.startswith("FARGATE") for s in strategy)


class Alerts(Model):
    """Where failed runs are reported, for the DAGs whose `alerts` has this name."""

    sns_topic_arn: PlainText = Field(..., description="SNS topic that gets the alerts.")


class SourceUrl(Text):
    """The address of a file in the repository's web pages: https, with {commit} and {path}, and {line} if wanted."""

    # Nothing that ends a link of Markdown or an attribute of HTML, and no password before the host.
    pattern = re.compile(
        r"(?=.{1,500}$)(?=.*\{commit\})(?=.*\{path\})"
        r"https://[A-Za-z0-9.-]+(?::[0-9]+)?/(?:[A-Za-z0-9._~:/?#@!$&*+,;=%-]|\{(?:commit|path|line)\})*"
    )


MAX_POOLS = 1000  # 28,000 took 0.3 ms of each task


class Environment(Model):
    """One environment of the company: where its tasks run."""

    region: Region = Field(..., description="AWS region of the clusters, such as eu-west-1.")
    aws_conn_id: ConnectionId = Field("aws_default", description="Airflow connection for AWS.")
    variables: Dict[VariableName, Scalar] = Field({}, description="`{{ env.x }}` in templates.")
    timezone: Optional[TimeZone] = Field(
        None, description="Whose clocks schedules go by, where pipeline and provider say no other; default: UTC."
    )
    source_url: Optional[SourceUrl] = Field(
        None, description="Where people read a DAG's YAML as it is deployed; the DAG's docs in the web page link there."
    )
    schedules: StrictBool = Field(True, description="False: it runs only what a person triggers.")
    clusters: Dict[PlainText, Cluster] = Field(..., description="Clusters by the name that a task's `cluster` uses.")
    pools: List[Pool] = Field([], description="Airflow's pools that a task's `pool` may name, beside `default_pool`.")
    alerts: Dict[AlertsName, Alerts] = Field({}, description="Who is told of failures, by the name that DAGs use.")
    defaults: Optional[Task] = Field(
        None, description="Every task of every pipeline starts from these; without `depends_on` and `for_each`."
    )

    @validator("pools", allow_reuse=True)
    def are_searched_by_each_task(cls, value: List[Pool]) -> List[Pool]:
        """Refuse more than each task can search."""
        if len(value) > MAX_POOLS:
            raise InvalidValue(f"{len(value)} pools; an environment has at most {MAX_POOLS}", "leave some out")
        return value

    @validator("defaults", allow_reuse=True)
    def multiplies_no_task(cls, value: Optional[Task]) -> Optional[Task]:
        """Refuse what only a pipeline can know: tasks are counted where the pipeline is read."""
        for key in ("depends_on", "for_each"):
            if value and getattr(value, key) is not None:
                raise InvalidValue(f"an environment's defaults have no '{key}'", "write it in a pipeline")
        return value
