"""The DAG factory: one Airflow DAG of ECS tasks for each pipeline, data provider and environment.

The data goes through these modules::

    documents  -> a YAML file: its data, and the place of each value
    reading    -> data becomes a Pipeline or an Environment by the models; what is wrong becomes problems
    planning   -> pipeline x provider x environment, by way of layers and rules, become definitions
    loading    -> a folder of files: its definitions and problems
    dags       -> definitions become DAGs, problems become what the web page shows

Only ``dags`` and what it is made of (``generations``, ``operators``, ``sensors``, ``alerts``) import Airflow: tools
read definitions without the 1.5 s that this takes. ``__all__`` is what tools and tests use of the rest.
"""

from .credentials import hide_credentials
from .definitions import (
    JSON_OPTIONS,
    Context,
    Definition,
    Layer,
    Layers,
    LoadResult,
    ParamValues,
    PlannedTask,
    format_dag_id,
    parse_dag_id,
)
from .documents import MAX_FILE_BYTES, Document, Loader, display_path, read_document
from .loading import PROTOCOL, load, pipeline_files, read_context, read_file
from .models import (
    SETTING_DEFAULTS,
    Alerts,
    CapacityProvider,
    Cluster,
    Environment,
    Logs,
    Model,
    Param,
    Pipeline,
    Provider,
    Settings,
    Task,
    WaitFor,
)
from .planning import AIRFLOW_ARGUMENTS, WAIT_FOR, run_task_request, started_by
from .problems import (
    AmbiguousInteger,
    KeyPath,
    Location,
    Problem,
    Rejected,
    did_you_mean,
    in_order,
    internal_error,
    listed,
)
from .rules import FARGATE_MEMORY
from .templates import MAX_OVERRIDES, read_template
from .values import (
    Count,
    Cron,
    DagTag,
    Duration,
    EcsTagKey,
    EcsTagValue,
    FamilyName,
    Identifier,
    Moment,
    Owner,
    PipelineName,
    PlainText,
    Positive,
    ProviderName,
    S3Address,
    Scalar,
    Shape,
    TaskDefinition,
    TaskId,
    Text,
    VariableName,
    Weight,
)

__all__ = [
    "AIRFLOW_ARGUMENTS",
    "FARGATE_MEMORY",
    "JSON_OPTIONS",
    "MAX_FILE_BYTES",
    "MAX_OVERRIDES",
    "PROTOCOL",
    "SETTING_DEFAULTS",
    "WAIT_FOR",
    "Alerts",
    "AmbiguousInteger",
    "CapacityProvider",
    "Cluster",
    "Context",
    "Count",
    "Cron",
    "DagTag",
    "Definition",
    "Document",
    "Duration",
    "EcsTagKey",
    "EcsTagValue",
    "Environment",
    "FamilyName",
    "Identifier",
    "KeyPath",
    "Layer",
    "Layers",
    "LoadResult",
    "Loader",
    "Location",
    "Logs",
    "Model",
    "Moment",
    "Owner",
    "Param",
    "ParamValues",
    "Pipeline",
    "PipelineName",
    "PlainText",
    "PlannedTask",
    "Positive",
    "Problem",
    "Provider",
    "ProviderName",
    "Rejected",
    "S3Address",
    "Scalar",
    "Settings",
    "Shape",
    "Task",
    "TaskDefinition",
    "TaskId",
    "Text",
    "VariableName",
    "WaitFor",
    "Weight",
    "did_you_mean",
    "display_path",
    "format_dag_id",
    "hide_credentials",
    "in_order",
    "internal_error",
    "listed",
    "load",
    "parse_dag_id",
    "pipeline_files",
    "read_context",
    "read_document",
    "read_file",
    "read_template",
    "run_task_request",
    "started_by",
]
