"""The reference of the definitions, ``docs/definitions.md``, generated from the factory's models."""

from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Tuple, Type

from orchestrator import (
    MAX_FILE_BYTES,
    MAX_TEXT,
    ActiveRuns,
    Alerts,
    AlertsName,
    CapacityProvider,
    Cluster,
    ConnectionId,
    Count,
    Cron,
    DagTag,
    Duration,
    EcsName,
    EcsTagKey,
    EcsTagValue,
    Environment,
    ExitCode,
    FamilyName,
    Identifier,
    Item,
    LogGroup,
    LogPrefix,
    Logs,
    Moment,
    Owner,
    Param,
    Pipeline,
    PipelineAddress,
    PipelineName,
    PlainText,
    PlatformVersion,
    Pool,
    Positive,
    Provider,
    ProviderBase,
    ProviderName,
    ProviderWeight,
    Region,
    Retries,
    S3Address,
    Scalar,
    Settings,
    Shape,
    SourceUrl,
    Task,
    TaskDefinition,
    TaskId,
    Text,
    TimeZone,
    VariableName,
    WaitFor,
    Weight,
)
from orchestrator.arguments import signature_of
from orchestrator.compat import SHAPE_DICT, SHAPE_LIST, BaseModel, ModelField, StrictBool
from orchestrator.vocabulary import (
    DATE,
    DATETIME,
    DURATION,
    FILTERS,
    JSON,
    LOOP,
    MAX_PARAM_CHARACTERS,
    MAX_VARIABLE,
    MEMBERS,
    NAMES,
    TESTS,
    TEXT,
    Entry,
)
from typing_extensions import Literal

from tools.generated.schema import description_of, first_line

FILE = Path("docs") / "definitions.md"

Rows = Iterable[Tuple[str, ...]]

# The models in the order in which a person meets them, by the heading of each.
MODELS: Dict[str, Type[BaseModel]] = {
    "Pipeline": Pipeline,
    "Settings": Settings,
    "Provider": Provider,
    "Task": Task,
    "Param": Param,
    "Wait for": WaitFor,
    "Environment": Environment,
    "Cluster": Cluster,
    "Capacity provider": CapacityProvider,
    "Logs": Logs,
    "Alerts": Alerts,
}
HEADINGS = {model: heading for heading, model in MODELS.items()}

# What the shape of a value is called; those with a rule of their own are in the section on shapes.
SHAPES: Dict[Any, str] = {
    Any: "anything",
    StrictBool: "true or false",
    Text: "text",
    PlainText: "plain text",
    Scalar: "text, number or boolean",
    Count: "whole number from 0",
    Positive: "whole number from 1",
    Weight: "whole number from 1 to 10000",
    ActiveRuns: "whole number from 1 to 100",
    Retries: "whole number from 0 to 100",
    ExitCode: "whole number from 1 to 255",
    ProviderWeight: "whole number from 0 to 1000",
    ProviderBase: "whole number from 0 to 100000",
    Duration: "duration",
    Moment: "date",
    Cron: "schedule",
    TimeZone: "time zone",
    TaskDefinition: "task definition",
    Owner: "owner's name",
    Pool: "pool's name",
    ConnectionId: "connection's name",
    EcsName: "name in AWS",
    LogGroup: "log group",
    LogPrefix: "start of log streams",
    DagTag: "tag",
    AlertsName: "name of alerts",
    Region: "AWS region",
    PlatformVersion: "platform version",
    SourceUrl: "source address",
    S3Address: "S3 address",
    PipelineAddress: "pipeline's address",
    EcsTagKey: "ECS tag's key",
    EcsTagValue: "ECS tag's value",
    TaskId: "task's name",
    ProviderName: "provider's name",
    VariableName: "variable's name",
    Identifier: "param's name",
    Item: "item",
}

INTRODUCTION = """\
# The definitions

<!-- Generated from the models in dags/etl/orchestrator/models.py: ./etl generate docs -->

| file | holds |
| --- | --- |
| `dags/etl/pipelines/<family>/<name>.yaml` | a [pipeline](#pipeline): its tasks and its data providers |
| `configs/<environment>.yaml` | an [environment](#environment): where the tasks run |

The DAG of a provider is called `<family>-<name>_dag_<provider>`. An unknown key is an error, and so is a duplicate key.
The other rules of a definition are in [rules.md](rules.md).

The smallest pipeline:

```yaml
start_date: 2022-01-01
tasks:
  load:
    task_definition: loader
providers:
  un: {}
```

## Layers

A task is merged from five layers. A later layer overrides an earlier one:

1. `defaults` of the environment
2. `defaults` of the pipeline
3. the task itself, under `tasks` of the pipeline
4. `defaults` of the provider
5. the task under `tasks` of the provider

The settings of a DAG have two layers: the pipeline, then the provider.

- Mappings (`environment`, `tags`, `params`) are merged key by key.
- Everything else is replaced, including lists.
- `null` removes the value of the layers before. `schedule: null` under a provider: its DAG runs only when triggered.
- `null` for a task under a provider: the provider's DAG does not have this task.
"""

WAITING = """\
## Waiting

A DAG can wait for a delivery on S3, for another DAG, or for several of both, before its first tasks run:

```yaml
wait_for:
  - {s3: "s3://{{ env.bucket }}/incoming/{{ provider.name }}/{{ ds }}/*"}
  - {pipeline: cwr/medium, task: load, timeout: 6h}   # the DAG of the same provider
```

- A scheduled run waits for the other DAG's last scheduled run whose data interval ends no later than its own: a daily
  run for the last hourly run of its day, a weekly one for the daily run of its last day. The whole run has to succeed,
  or all items of the task; a task that was skipped is done, too.
- It goes on waiting for a run that fails, or is cleared, until `timeout`. A run that never was, since the other DAG was
  switched off, is waited for in vain; the log of the task names it. If the other DAG's first run is later, the task
  fails at once.
- A run that a person triggers, as all are where the environment has `schedules: false`, waits for the other DAG's
  newest run, whoever started it: trigger that one first. In Airflow 3, a run whose id somebody wrote is not found.
- It is a task of its own, called `wait_for_delivery` or `wait_for_<family>-<name>`, and takes a worker's slot only for
  the moment of a look.
- A provider that waits for something else says it all, as a list; with a mapping, it changes keys of the pipeline's.
"""

TIME_ZONES = """\
## Time zones

`schedule` goes by the clocks of `timezone`, summer time included, and a date is midnight there. An offset in a date,
`2022-01-01T00:00:00+01:00`, says which moment is meant, and moves no schedule. `./etl show` has the next runs on both
clocks, and the first one after the clocks change. Airflow's page shows UTC, unless a person chooses otherwise there.

- Dates in templates are UTC. Daily at 00:30 in London, `{{ ds }}` is the day before in summer; London's day is
  `{{ data_interval_start.in_timezone('Europe/London') | ds }}`.
- Hours that the clocks skip or show twice: daily at 01:30 in London runs at 02:30 on the day without a 01:30, and once
  on the day with two, at the second. A schedule of every hour runs once in each hour that passes.
- Several times a day, Airflow 2.2.2 counts the hours from the run before: `0 7,19 * * *` runs at 08:00 in spring, and
  at 06:00 and 07:00 in autumn, each on one day. Newer versions go by the clocks.
- The zones are those of the Python packages beside Airflow. Those of 2.2.2 are of 2020: where the rules have changed
  since then, as in Mexico, its clocks are wrong.
"""

TEMPLATES = """\
## Templates

A text may contain Jinja templates if the tables above call it templated; the keys of `environment` are, too.
Airflow renders them when the task runs. Quote a template: `"{{{{ ds }}}}"`.

A template may say what is listed here, and nothing else:

- constants, lists of them, and the names below
- `==`, `<` and the like, `in`, `and`, `or`, `not`, `x if y else z`; `a ~ b` joins texts
- `+`, `-` and `//`; `%` between numbers (a param needs `type: integer`, or write `params.x | int`)
- items and parts by constants: `params.x['y']`, `ds[:4]`
- `{{% if %}}`, and `{{% for %}}` over a param or a list, not within another one
- `{{% raw %}}` for what is not to be filled in: `{{% raw %}}${{#FILES[@]}}{{% endraw %}}` of a shell

Values have limits, so that no template can grow without bound: a variable has at most {variable} characters, all params
of a DAG together {params} as JSON. `./etl check` reports whatever is not allowed, and what to write instead.

JSON is what a person gives: a text, with the members of one, a number, a boolean, a list, or a mapping, whose items are
members.

{names}
{members}
{filters}
{tests}
"""

YAML = """\
## YAML

- A definition is a file of UTF-8, at most {size} KiB, with one document, no aliases (`*x`), no tags (`!x`) and no
  merging (`<<`). A text has at most {text} characters.
- Airflow reads YAML 1.1 and editors read YAML 1.2. If text is expected, a word that YAML 1.1 reads as something else is
  an error. Quote it: `"no"`, `"on"`, `"010"`, `"1:30"`, `"2022-01-01"`.

## Editors

The first line of a definition tells an editor with the YAML language server (VS Code's YAML extension,
Neovim's yamlls) where its schema is:

```yaml
# yaml-language-server: $schema=../../configs/schema/pipeline.json
```

VS Code offers its YAML extension when it opens this repository; its settings in `.vscode/` name the schemas, too, and
have it read YAML 1.1, so that it underlines `no` where text is expected. The editor then completes keys and the names
of clusters and environments, shows descriptions and underlines mistakes, such as a size that Fargate does not have.
It does not find mistakes in a template, or those for which layers are merged; `./etl check` does. After a change of
the names in `configs/`, `./etl check` asks for `./etl generate schema`.
"""


def files() -> Dict[Path, str]:
    """Return the reference's text by its path in the repository."""
    parts = [
        INTRODUCTION,
        TIME_ZONES,
        WAITING,
        *map(model_section, MODELS),
        shapes_section(),
        templates_section(),
        yaml_section(),
    ]
    return {FILE: "\n".join(parts)}


def model_section(heading: str) -> str:
    """Return the section of a model: what it is, and a table of its keys."""
    model = MODELS[heading]
    own = fields_of(model)
    lines = [f"## {heading}", "", first_line(model), ""]
    if len(own) < len(model.__fields__):
        lines += ["Beside these, it takes all [settings](#settings).", ""]
    lines += table(("key", "shape", "what it is"), map(field_row, own))
    return "\n".join(lines) + "\n"


def fields_of(model: Type[BaseModel]) -> List[ModelField]:
    """Return the fields of a model, without those that it has in common with the settings."""
    takes_settings = issubclass(model, Settings) and model is not Settings
    settings = Settings.__fields__ if takes_settings else {}
    return [field for name, field in model.__fields__.items() if name not in settings]


def field_row(field: ModelField) -> Tuple[str, ...]:
    """Return a field's row: key, shape and description."""
    shape = shape_of(field) + (", required" if field.required else "")
    default = field.default if isinstance(field.default, (str, bool, int)) else None
    tail = "" if default is None else f" Default: `{str(default).lower()}`."
    return f"`{field.name}`", shape, description_of(field) + tail


def shape_of(field: ModelField) -> str:
    """Return what a field's value looks like."""
    inner = field.sub_fields or []
    if field.shape == SHAPE_LIST:
        return f"list of {shape_of(inner[0])}"
    if field.shape == SHAPE_DICT and field.key_field:
        return f"mapping of {shape_name(field.key_field.type_)} to {shape_of(inner[0])}"
    if inner:
        return " or ".join(map(shape_of, inner))
    return shape_name(field.type_)


def shape_name(type_: Any) -> str:
    """Name a type; raise KeyError for one that has no name here."""
    if getattr(type_, "__origin__", None) is Literal:
        return "one of " + ", ".join(f"`{value}`" for value in type_.__args__)
    if type_ in HEADINGS:
        heading = HEADINGS[type_].lower()
        return f"[{heading}](#{heading.replace(' ', '-')})"
    return SHAPES[type_] if type_ in (Any, StrictBool) or not has_rule(type_) else f"[{SHAPES[type_]}](#shapes)"


def has_rule(type_: Any) -> bool:
    """Return whether a shape says more than its name does."""
    return issubclass(type_, Shape) and type_ not in (Text, Scalar)


def shapes_section() -> str:
    """Return the section of the shapes that have a rule."""
    kinds = [kind for kind in SHAPES if kind not in (Any, StrictBool) and has_rule(kind)]
    rows = [(SHAPES[kind], shape_rule(kind)) for kind in kinds]
    files = [("family's folder", shape_rule(FamilyName)), ("pipeline's file", shape_rule(PipelineName))]
    return "\n".join(["## Shapes", "", *table(("shape", "rule"), rows + files)]) + "\n"


def shape_rule(kind: Any) -> str:
    """Return the rule of a shape: the first line of its docstring, with single backquotes as Markdown has them."""
    return first_line(kind).replace("``", "`")


def templates_section() -> str:
    """Return the section on templates, from the vocabulary."""
    names = {name.replace(".*", ".x"): entry for name, entry in {**NAMES, **LOOP}.items()}
    names = {name: entry for name, entry in names.items() if not name.startswith("task_instance.")}
    kinds = {kind: MEMBERS[kind] for kind in (TEXT, DATETIME, DATE, DURATION, JSON)}
    members = {
        f"{kind}: {name}": entry
        for kind, entries in kinds.items()
        for name, entry in entries.items()
        if not (kind == JSON and name in MEMBERS[TEXT]) and not (kind == DATE and name in MEMBERS[DATETIME])
    }
    return TEMPLATES.format(
        variable=MAX_VARIABLE,
        params=MAX_PARAM_CHARACTERS,
        names=vocabulary("name", names),
        members=vocabulary("member of", members),
        filters=vocabulary("filter", FILTERS),
        tests=vocabulary("test", TESTS),
    )


def vocabulary(head: str, entries: Mapping[str, Entry]) -> str:
    """Return a table of what a template may say."""
    rows = []
    for name, entry in entries.items():
        call = "" if entry.takes is None else str(signature_of(entry))
        rows.append(
            (f"`{name}{call if call != '()' or head == 'member of' else ''}`", entry.kind, f"`{entry.example}`")
        )
    return "\n".join(table((head, "gives", "for example"), rows)) + "\n"


def yaml_section() -> str:
    """Return the sections on YAML and editors."""
    return YAML.format(size=MAX_FILE_BYTES // 1024, text=MAX_TEXT)


def table(header: Tuple[str, ...], rows: Rows) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    for row in (header, ("---",) * len(header), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
