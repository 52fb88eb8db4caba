"""What a template may say: names, members, methods, filters and tests. Whatever is not here is refused.

docs/definitions.md is generated from here. templates.py checks templates by it.
"""

from typing import Dict, NamedTuple, Optional, Tuple

# Kinds of values.
TEXT = "text"
NUMBER = "number"
BOOLEAN = "boolean"
DATE = "date"  # pendulum's, as Airflow gives them
DATETIME = "datetime"  # Python's, as macros and the database give them
DURATION = "duration"
LIST = "list"
JSON = "JSON"  # what a person gives: text, a number, a boolean, a list or a mapping
ANY = "any"
PRINTABLE = (TEXT, NUMBER, BOOLEAN, DATE, DATETIME, DURATION, ANY)  # a list shows as Python writes it


def a(kind: str) -> str:
    """Return how a message names a kind of value."""
    return {JSON: "a param", ANY: "what may be of several kinds"}.get(kind, f"a {kind}")


# Characters at most. ECS takes 8,192 for all that a task overrides: a longer param could not be passed on.
MAX_PARAM_CHARACTERS = 8192  # of all params of a DAG together, as JSON
MAX_VARIABLE = 1024  # of a variable of env or provider; an S3 key is no longer
SHORT = 256  # of a date, a number or an id
LATE = 2**18  # of an XCom or an Airflow variable: CloudWatch cuts a container's last line there


class Entry(NamedTuple):
    """A name, member, method, filter or test that a template may use.

    Attributes:
        kind: Of its value, or of what a call of it returns.
        example: A template that uses it.
        takes: The arguments of a call, as ``name:kind``, or ``name?:kind`` for one that may be left out; None for what
            is not called. Those after ``*`` are given by name, those before ``/`` are not. The kinds beside those of
            values are the keys of ``ARGUMENTS``.
        size: How many characters the result has at most; None: as many as the value that it is taken of, ``times``,
            those of the arguments, and a few.
        times: See ``size``.
        spreads: The arguments may stand in the result once for each character of the value, as those of ``join``.
        each: Of what makes a list of a value's characters or items (title does, too): how many characters are written
            in the time that one of them takes. A list takes up to 90 bytes for each.
        of: The kinds that a filter or test is for; JSON may be each of them.
        most: How many characters the value of a filter has at most; None: any number.
    """

    kind: str
    example: str
    takes: Optional[str] = None
    size: Optional[int] = None
    times: int = 1
    spreads: bool = False
    each: Optional[int] = None
    of: Tuple[str, ...] = (*PRINTABLE, LIST)
    most: Optional[int] = None


def text(example: str) -> Entry:
    """Return the entry of a short text."""
    return Entry(TEXT, example, size=SHORT)


def number(example: str, takes: Optional[str] = None) -> Entry:
    """Return the entry of a number."""
    return Entry(NUMBER, example, takes, size=SHORT)


def date(example: str, takes: Optional[str] = None) -> Entry:
    """Return the entry of a date."""
    return Entry(DATE, example, takes, size=SHORT)


def moment(example: str) -> Entry:
    """Return the entry of a moment, as the database has it: not pendulum's, which has more members."""
    return Entry(DATETIME, example, size=SHORT)


# Airflow 2.2.2: TaskInstance.get_template_context(). A dotted name is reached from the one before the dot; * stands for
# any. Not here is what leads to credentials, to other runs, or by way of a module to any code at all.
NAMES: Dict[str, Entry] = {
    "env.*": Entry(JSON, "{{ env.name }}", size=MAX_VARIABLE),
    "provider.*": Entry(JSON, "{{ provider.name }}", size=MAX_VARIABLE),
    "params": Entry(JSON, "{{ params | tojson }}", size=MAX_PARAM_CHARACTERS),
    "params.*": Entry(JSON, "{{ params.country }}", size=MAX_PARAM_CHARACTERS),
    "item": text("{{ item }}"),
    "ds": text("{{ ds }}"),
    "ds_nodash": text("{{ ds_nodash }}"),
    "ts": text("{{ ts }}"),
    "ts_nodash": text("{{ ts_nodash }}"),
    "ts_nodash_with_tz": text("{{ ts_nodash_with_tz }}"),
    "data_interval_start": date("{{ data_interval_start | ds }}"),
    "data_interval_end": date("{{ data_interval_end.in_timezone('Europe/London') | ds }}"),
    "logical_date": date("{{ logical_date | ts }}"),
    "prev_data_interval_start_success": date("{{ prev_data_interval_start_success or data_interval_start }}"),
    "prev_data_interval_end_success": date("{{ prev_data_interval_end_success or data_interval_start }}"),
    "prev_start_date_success": date("{{ prev_start_date_success or data_interval_start }}"),
    "execution_date": date("{{ execution_date.strftime('%Y/%m') }}"),
    "prev_execution_date": date("{{ prev_execution_date | ds }}"),
    "prev_execution_date_success": date("{{ prev_execution_date_success or execution_date }}"),
    "next_execution_date": date("{{ next_execution_date | ds }}"),
    "yesterday_ds": text("{{ yesterday_ds }}"),
    "yesterday_ds_nodash": text("{{ yesterday_ds_nodash }}"),
    "tomorrow_ds": text("{{ tomorrow_ds }}"),
    "tomorrow_ds_nodash": text("{{ tomorrow_ds_nodash }}"),
    "prev_ds": text("{{ prev_ds }}"),
    "prev_ds_nodash": text("{{ prev_ds_nodash }}"),
    "next_ds": text("{{ next_ds }}"),
    "next_ds_nodash": text("{{ next_ds_nodash }}"),
    "run_id": text("{{ run_id }}"),
    "task_instance_key_str": text("{{ task_instance_key_str }}"),
    "test_mode": Entry(BOOLEAN, "{{ test_mode }}", size=SHORT),
    "dag.dag_id": text("{{ dag.dag_id }}"),
    "dag.owner": text("{{ dag.owner }}"),
    "task.task_id": text("{{ task.task_id }}"),
    "task.owner": text("{{ task.owner }}"),
    "task.pool": text("{{ task.pool }}"),
    "task.queue": text("{{ task.queue }}"),
    "task.retries": number("{{ task.retries }}"),
    "dag_run.conf": Entry(JSON, "{{ dag_run.conf['country'] }}", size=MAX_PARAM_CHARACTERS),
    "dag_run.dag_id": text("{{ dag_run.dag_id }}"),
    "dag_run.run_id": text("{{ dag_run.run_id }}"),
    "dag_run.run_type": text("{{ dag_run.run_type }}"),
    "dag_run.external_trigger": Entry(BOOLEAN, "{{ 'by hand' if dag_run.external_trigger }}", size=SHORT),
    "dag_run.logical_date": moment("{{ dag_run.logical_date | ds }}"),
    "dag_run.execution_date": moment("{{ dag_run.execution_date | ds }}"),
    "dag_run.data_interval_start": moment("{{ dag_run.data_interval_start | ds }}"),
    "dag_run.data_interval_end": moment("{{ dag_run.data_interval_end | ds }}"),
    "ti.dag_id": text("{{ ti.dag_id }}"),
    "ti.task_id": text("{{ ti.task_id }}"),
    "ti.run_id": text("{{ ti.run_id }}"),
    "ti.try_number": number("{{ ti.try_number }}"),
    "ti.max_tries": number("{{ ti.max_tries }}"),
    "ti.execution_date": moment("{{ ti.execution_date | ds }}"),
    "ti.pool": text("{{ ti.pool }}"),
    "ti.queue": text("{{ ti.queue }}"),
    "ti.xcom_pull": Entry(JSON, "{{ ti.xcom_pull('fetch') }}", "task_ids:names * key?:constant", size=LATE),
    # An administrator put them there for definitions.
    "var.value.*": Entry(JSON, "{{ var.value.bucket }}", size=LATE),
    "var.value.get": Entry(
        JSON, "{{ var.value.get('bucket', 'none') }}", "item:constant default_var?:value", size=LATE
    ),
    "var.json.*": Entry(JSON, "{{ var.json.buckets.raw }}", size=LATE),
    "var.json.get": Entry(JSON, "{{ var.json.get('buckets', 'none') }}", "item:constant default_var?:value", size=LATE),
    "macros.ds_add": Entry(TEXT, "{{ macros.ds_add(ds, -1) }}", "ds:text days:number", size=SHORT),
    "macros.ds_format": Entry(
        TEXT,
        "{{ macros.ds_format(ds, '%Y-%m-%d', '%d.%m.%Y') }}",
        "ds:text input_format:format output_format:format",
        size=SHORT * 10,
    ),
    "macros.timedelta": Entry(
        DURATION,
        "{{ (data_interval_start + macros.timedelta(days=1)).strftime('%Y') }}",
        "days?:number seconds?:number microseconds?:number milliseconds?:number minutes?:number hours?:number"
        " weeks?:number",
        size=SHORT,
    ),
    "macros.datetime.strptime": Entry(
        DATETIME, "{{ macros.datetime.strptime(ds, '%Y-%m-%d').year }}", "date_string:text format:format /", size=SHORT
    ),
    "macros.datetime.fromisoformat": Entry(
        DATETIME, "{{ macros.datetime.fromisoformat(ds).strftime('%j') }}", "date_string:text /", size=SHORT
    ),
    "macros.dateutil.relativedelta.relativedelta": Entry(
        DURATION,
        "{{ (logical_date - macros.dateutil.relativedelta.relativedelta(months=1)) | ds }}",
        "* years?:number months?:number weeks?:number days?:number hours?:number minutes?:number seconds?:number"
        " year?:number month?:number day?:number hour?:number minute?:number second?:number weekday?:number",
    ),  # it keeps numbers of any length
}
NAMES.update({f"task_instance{name[2:]}": entry for name, entry in NAMES.items() if name.startswith("ti.")})
# Inside of {% for %}.
LOOP: Dict[str, Entry] = {
    "loop.index": number("{% for c in params.countries %}{{ loop.index }}{{ c }}{% endfor %}"),
    "loop.index0": number("{% for c in params.countries %}{{ loop.index0 }}{{ c }}{% endfor %}"),
    "loop.length": number("{% for c in params.countries %}{{ c }} of {{ loop.length }};{% endfor %}"),
    "loop.first": Entry(
        BOOLEAN, "{% for c in params.countries %}{{ '' if loop.first else ',' }}{{ c }}{% endfor %}", size=SHORT
    ),
    "loop.last": Entry(
        BOOLEAN, "{% for c in params.countries %}{{ c }}{{ '' if loop.last else ',' }}{% endfor %}", size=SHORT
    ),
}
# What leads to a name or member, and is none itself.
PLACES = {name[:index] for name in (*NAMES, *LOOP) for index, letter in enumerate(name) if letter == "."}

OF_DATETIMES: Dict[str, Entry] = {
    "year": number("{{ data_interval_start.year }}"),
    "month": number("{{ data_interval_start.month }}"),
    "day": number("{{ data_interval_start.day }}"),
    "hour": number("{{ data_interval_start.hour }}"),
    "minute": number("{{ data_interval_start.minute }}"),
    "second": number("{{ data_interval_start.second }}"),
    "weekday": number("{{ data_interval_start.weekday() }}", ""),
    "isoweekday": number("{{ data_interval_start.isoweekday() }}", ""),
    "timestamp": number("{{ data_interval_start.timestamp() | int }}", ""),
    "isoformat": Entry(TEXT, "{{ data_interval_start.isoformat() }}", "", size=SHORT),
    "replace": date(
        "{{ data_interval_start.replace(day=1) | ds }}",
        "* year?:number month?:number day?:number hour?:number minute?:number second?:number microsecond?:number",
    ),
    "strftime": Entry(TEXT, "{{ data_interval_start.strftime('%Y/%m/%d') }}", "format:format /", size=SHORT * 10),
    "date": Entry(DATETIME, "{{ data_interval_start.date() }}", "", size=SHORT),
}
STEPS = "years?:number months?:number weeks?:number days?:number hours?:number minutes?:number seconds?:number"
MEMBERS: Dict[str, Dict[str, Entry]] = {
    TEXT: {
        "upper": Entry(TEXT, "{{ ds.upper() }}", "", times=3),  # of one letter may come three
        "lower": Entry(TEXT, "{{ run_id.lower() }}", "", times=3),
        "title": Entry(TEXT, "{{ provider.name.title() }}", "", times=3),
        "capitalize": Entry(TEXT, "{{ provider.name.capitalize() }}", "", times=3),
        "strip": Entry(TEXT, "{{ params.name.strip() }}", "chars?:sought /"),
        "lstrip": Entry(TEXT, "{{ params.name.lstrip('0') }}", "chars?:sought /"),
        "rstrip": Entry(TEXT, "{{ params.path.rstrip('/') }}", "chars?:sought /"),
        "replace": Entry(
            TEXT, "{{ ds.replace('-', '/') }}", "old:sought new:text count?:small /", times=6, spreads=True
        ),  # tojson's text escapes what is put into it
        "split": Entry(LIST, "{{ ds.split('-')[0] }}", "sep?:sought maxsplit?:small /", each=0),
        "rsplit": Entry(LIST, "{{ params.path.rsplit('/', 1)[0] }}", "sep?:sought maxsplit?:small /", each=0),
        "splitlines": Entry(LIST, "{{ params.lines.splitlines() | join(',') }}", "", each=0),
        "startswith": Entry(BOOLEAN, "{{ run_id.startswith('manual') }}", "prefix:sought /", size=SHORT),
        "endswith": Entry(BOOLEAN, "{{ ds.endswith('-01') }}", "suffix:sought /", size=SHORT),
        "isdigit": Entry(BOOLEAN, "{{ params.name.isdigit() }}", "", size=SHORT),
        "find": number("{{ params.path.find('/') }}", "sub:sought /"),
        "count": number("{{ params.path.count('/') }}", "sub:sought /"),
        "zfill": Entry(TEXT, "{{ (data_interval_start.month | string).zfill(2) }}", "width:small /"),
    },
    NUMBER: {},
    BOOLEAN: {},
    DATETIME: {**OF_DATETIMES, "replace": OF_DATETIMES["replace"]._replace(kind=DATETIME)},
    DATE: {
        **OF_DATETIMES,
        "quarter": number("{{ data_interval_start.quarter }}"),
        "day_of_week": number("{{ data_interval_start.day_of_week }}"),
        "day_of_year": number("{{ data_interval_start.day_of_year }}"),
        "week_of_year": number("{{ data_interval_start.week_of_year }}"),
        "days_in_month": number("{{ data_interval_start.days_in_month }}"),
        "int_timestamp": number("{{ data_interval_start.int_timestamp }}"),
        "add": date("{{ data_interval_start.add(days=1).format('YYYYMM') }}", STEPS),
        "subtract": date("{{ data_interval_start.subtract(months=1) | ds }}", STEPS),
        "start_of": date("{{ data_interval_start.start_of('month') | ds }}", "unit:unit"),
        "end_of": date("{{ data_interval_start.end_of('month') | ds }}", "unit:unit"),
        "in_timezone": date("{{ data_interval_start.in_timezone('Europe/London') | ts }}", "tz:zone"),
        "in_tz": date("{{ data_interval_start.in_tz('Europe/London') | ts }}", "tz:zone"),
        "format": Entry(TEXT, "{{ data_interval_start.format('YYYY/MM/DD') }}", "fmt:pattern", size=SHORT * 10),
        "to_date_string": Entry(TEXT, "{{ data_interval_start.to_date_string() }}", "", size=SHORT),
        "to_datetime_string": Entry(TEXT, "{{ data_interval_start.to_datetime_string() }}", "", size=SHORT),
        "to_iso8601_string": Entry(TEXT, "{{ data_interval_start.to_iso8601_string() }}", "", size=SHORT),
    },
    DURATION: {
        "days": Entry(NUMBER, "{{ (data_interval_end - data_interval_start).days }}"),
        "seconds": number("{{ (data_interval_end - data_interval_start).seconds }}"),
        "total_seconds": number("{{ (data_interval_end - data_interval_start).total_seconds() | int }}", ""),
    },
    LIST: {},
    ANY: {},
}
MEMBERS[JSON] = {  # each other member is that of a mapping: {{ params.x.y }}
    **MEMBERS[TEXT],
    "get": Entry(JSON, "{{ dag_run.conf.get('x', 'y') }}", "key:sought default?:value /"),
    "items": Entry(LIST, "{% for k, v in params.sizes.items() %}{{ k }}={{ v }};{% endfor %}", "", each=0),
    "keys": Entry(LIST, "{{ params.sizes.keys() | sort | join(',') }}", "", each=0),
    "values": Entry(LIST, "{{ params.sizes.values() | join(',') }}", "", each=0),
}

FILTERS: Dict[str, Entry] = {
    "ds": Entry(TEXT, "{{ data_interval_start | ds }}", "", size=SHORT, of=(DATE, DATETIME)),
    "ds_nodash": Entry(TEXT, "{{ data_interval_start | ds_nodash }}", "", size=SHORT, of=(DATE, DATETIME)),
    "ts": Entry(TEXT, "{{ data_interval_start | ts }}", "", size=SHORT, of=(DATE, DATETIME)),
    "ts_nodash": Entry(TEXT, "{{ data_interval_start | ts_nodash }}", "", size=SHORT, of=(DATE, DATETIME)),
    "ts_nodash_with_tz": Entry(
        TEXT, "{{ data_interval_start | ts_nodash_with_tz }}", "", size=SHORT, of=(DATE, DATETIME)
    ),
    "default": Entry(JSON, "{{ dag_run.conf.country | default('all') }}", "default_value?:any boolean?:flag"),
    "upper": Entry(TEXT, "{{ provider.name | upper }}", "", times=3, of=PRINTABLE),
    "lower": Entry(TEXT, "{{ run_id | lower }}", "", times=3, of=PRINTABLE),
    "title": Entry(TEXT, "{{ provider.name | title }}", "", times=3, each=64, of=PRINTABLE),
    "capitalize": Entry(TEXT, "{{ provider.name | capitalize }}", "", times=3, of=PRINTABLE),
    "trim": Entry(TEXT, "{{ params.name | trim }}", "chars?:sought", of=PRINTABLE),
    "replace": Entry(
        TEXT, "{{ ds | replace('-', '/') }}", "old:sought new:text count?:small", spreads=True, of=PRINTABLE
    ),
    "string": Entry(TEXT, "{{ params.shard | string }}", "", of=PRINTABLE),
    "urlencode": Entry(TEXT, "{{ params.name | urlencode }}", "", times=12, of=PRINTABLE),  # %F0%9F%98%80
    "tojson": Entry(TEXT, "{{ params.countries | tojson }}", "", times=16, of=(TEXT, NUMBER, BOOLEAN, LIST)),
    # 1e308 has 309 digits. Python before 3.7.14 takes the square of a text's length.
    "int": Entry(NUMBER, "{{ params.shard | int }}", "default?:small", times=12, of=(TEXT, NUMBER, BOOLEAN), most=LATE),
    "float": Entry(NUMBER, "{{ params.share | float }}", "default?:small", size=SHORT, of=(TEXT, NUMBER, BOOLEAN)),
    "abs": Entry(NUMBER, "{{ params.days | int | abs }}", "", of=(NUMBER,)),
    "round": Entry(NUMBER, "{{ params.share | round(2) }}", "precision?:small", of=(NUMBER,)),
    "length": Entry(NUMBER, "{{ params.countries | length }}", "", size=SHORT, of=(TEXT, LIST)),
    "first": Entry(JSON, "{{ params.countries | first }}", "", of=(TEXT, LIST)),
    "last": Entry(JSON, "{{ params.countries | last }}", "", of=(TEXT, LIST)),
    "min": Entry(JSON, "{{ params.years | min }}", "", each=64, of=(TEXT, LIST)),
    "max": Entry(JSON, "{{ params.years | max }}", "", each=64, of=(TEXT, LIST)),
    "list": Entry(LIST, "{{ params.sizes | list | join(',') }}", "", each=0, of=(TEXT, LIST)),
    "sort": Entry(LIST, "{{ params.countries | sort | join(',') }}", "reverse?:flag", each=64, of=(TEXT, LIST)),
    "reverse": Entry(LIST, "{{ params.countries | reverse | join(',') }}", "", each=0, of=(TEXT, LIST)),
    "unique": Entry(LIST, "{{ params.countries | unique | join(',') }}", "", each=64, of=(TEXT, LIST)),
    "map": Entry(
        LIST, "{{ params.countries | map('upper') | join(',') }}", "filter:plain", times=64, each=64, of=(TEXT, LIST)
    ),
    "join": Entry(TEXT, "{{ params.countries | join(',') }}", "d?:text", spreads=True, each=0, of=(TEXT, LIST)),
}
FILTERS.update(d=FILTERS["default"], count=FILTERS["length"])

TESTS: Dict[str, Entry] = {
    "defined": Entry(BOOLEAN, "{{ dag_run.conf.country if dag_run.conf.country is defined else 'all' }}", ""),
    "undefined": Entry(BOOLEAN, "{{ 'all' if dag_run.conf.country is undefined }}", ""),
    "none": Entry(BOOLEAN, "{{ 'none' if params.country is none else params.country }}", ""),
    "string": Entry(BOOLEAN, "{{ params.country is string }}", ""),
    "number": Entry(BOOLEAN, "{{ params.shard is number }}", ""),
    "integer": Entry(BOOLEAN, "{{ params.shard is integer }}", ""),
    "float": Entry(BOOLEAN, "{{ params.share is float }}", ""),
    "boolean": Entry(BOOLEAN, "{{ params.full is boolean }}", ""),
    "true": Entry(BOOLEAN, "{{ params.full is true }}", ""),
    "false": Entry(BOOLEAN, "{{ params.full is false }}", ""),
    "sequence": Entry(BOOLEAN, "{{ params.countries is sequence }}", ""),
    "iterable": Entry(BOOLEAN, "{{ params.countries is iterable }}", ""),
    "mapping": Entry(BOOLEAN, "{{ params.sizes is mapping }}", ""),
    "lower": Entry(BOOLEAN, "{{ params.name is lower }}", ""),
    "upper": Entry(BOOLEAN, "{{ params.name is upper }}", ""),
    # Of a number alone: each is a %, which formats a text.
    "even": Entry(BOOLEAN, "{{ data_interval_start.day is even }}", "", of=(NUMBER,)),
    "odd": Entry(BOOLEAN, "{{ data_interval_start.day is odd }}", "", of=(NUMBER,)),
    "divisibleby": Entry(BOOLEAN, "{{ data_interval_start.day is divisibleby(7) }}", "num:number", of=(NUMBER,)),
}

# What the sum of two kinds is.
SUMS = {
    (NUMBER, "+", NUMBER): NUMBER,
    (NUMBER, "-", NUMBER): NUMBER,
    (NUMBER, "//", NUMBER): NUMBER,
    (TEXT, "+", TEXT): TEXT,
    (LIST, "+", LIST): LIST,
    (DATE, "+", DURATION): DATE,
    (DATE, "-", DURATION): DATE,
    (DATE, "-", DATE): DURATION,
    (DATETIME, "+", DURATION): DATETIME,
    (DATETIME, "-", DURATION): DATETIME,
    (DATETIME, "-", DATETIME): DURATION,
    (DURATION, "+", DURATION): DURATION,
    (DURATION, "-", DURATION): DURATION,
}
SUM_OF_TEXT = "for another day, write macros.ds_add(ds, 1), or brackets before |: (x - y) | ds; to join texts, ~"

# --------------------------------------------------------------------------------------------- what is not allowed

# Of Jinja's syntax, by its node: how it is written, and what to write instead.
SYNTAX: Dict[str, Tuple[str, str]] = {
    "Mul": ("*", "let the container compute it, or repeat the text"),
    "Pow": ("**", "let the container compute it"),
    "Div": ("/", "write // for whole numbers"),
    "Dict": ("{...}", "write JSON as text, with its values as templates; write dag_run.conf without 'or {}'"),
    "Assign": ("{% set %}", "write the expression where it is needed"),
    "AssignBlock": ("{% set %}", "write the expression where it is needed"),
    "With": ("{% with %}", "write the expression where it is needed"),
    "ExprStmt": ("{% do %}", "a template changes nothing; write {{ expression }}"),
    "Macro": ("{% macro %}", "write it out"),
    "CallBlock": ("{% call %}", "write it out"),
    "FilterBlock": ("{% filter %}", "write {{ value | filter }}"),
    "Block": ("{% block %}", "leave block and endblock out"),
    "Extends": ("{% extends %}", "write it out"),
    "Include": ("{% include %}", "write it out"),
    "Import": ("{% import %}", "write it out"),
    "FromImport": ("{% from %}", "write it out"),
}
# Of Airflow's and Jinja's names.
INSTEAD: Dict[str, str] = {
    "conn": "credentials belong under 'secrets' in the ECS task definition, other values under 'variables'",
    "conf": "credentials belong under 'secrets' in the ECS task definition, other values under 'variables'",
    "range": "write the numbers as a list: [0, 1, 2]",
    "dict": "write JSON as text, with its values as templates",
    "namespace": "write the expression where it is needed",
    "cycler": "write loop.index",
    "joiner": "write {{ list | join(',') }}",
    "lipsum": "write the text",
    "attr": "write the member after a dot",
    "parser": "write macros.datetime.fromisoformat(ds); a date without its day would be today's",
    "random": "a task that is run again has to do the same",
    "format": "write text and values beside one another, or join them with ~; for two digits (x | string).zfill(2)",
    "join": "write {{ list | join(',') }}",
    "zfill": "write (x | string).zfill(2)",
    "fromjson": "leave it out; a variable is read as JSON by var.json.x",
    "indent": "leave it out",
    "pprint": "write | tojson",
    "b64encode": "let the container do it",
    "truncate": "write a slice: ds[:7]",
    "e": "leave it out; tojson writes JSON, urlencode a part of an address",
    "escape": "leave it out; tojson writes JSON, urlencode a part of an address",
    "safe": "leave it out",
}

# ------------------------------------------------------------------------------------------ what a newer Airflow lacks

YESTERDAY, TOMORROW = "write macros.ds_add(ds, -1)", "write macros.ds_add(ds, 1)"
NODASH = " | replace('-', '')"
# What is gone, or something else, in a generation of Airflow and those after it: what to write instead, which is right
# in each. ``./etl check --airflow`` reports it. A name after a dot alone is a member of any date, and one with = an
# argument of a call.
LATER: Dict[str, Dict[str, str]] = {
    "2.11": {
        ".day_of_week": "Monday is 0 there, and Sunday is 0 in 2.2.2; write isoweekday(), with Monday as 1",
    },
    "3": {
        "execution_date": "write logical_date",
        "prev_execution_date": "write logical_date.subtract(days=1), or as often as the DAG runs",
        "prev_execution_date_success": "write prev_data_interval_start_success",
        "next_execution_date": "write data_interval_end",
        "yesterday_ds": YESTERDAY,
        "yesterday_ds_nodash": YESTERDAY + NODASH,
        "tomorrow_ds": TOMORROW,
        "tomorrow_ds_nodash": TOMORROW + NODASH,
        "prev_ds": f"{YESTERDAY}, or as often as the DAG runs",
        "prev_ds_nodash": f"{YESTERDAY}{NODASH}, or as often as the DAG runs",
        "next_ds": "write data_interval_end | ds",
        "next_ds_nodash": "write data_interval_end | ds_nodash",
        "test_mode": "leave it out",
        "dag_run.external_trigger": "write dag_run.run_type == 'manual'",
        "dag_run.execution_date": "write dag_run.logical_date",
        "ti.execution_date": "write logical_date",
        "ti.pool": "write task.pool",
        "ti.queue": "write task.queue",
        "var.value.get(default_var=)": "give the default without its name: var.value.get('bucket', 'none')",
        "var.value.get(item=)": "give the variable without its name: var.value.get('bucket', 'none')",
        "var.json.get(default_var=)": "give the default without its name: var.json.get('buckets', 'none')",
        "var.json.get(item=)": "give the variable without its name: var.json.get('buckets', 'none')",
    },
}
