"""Templates as Airflow 2.2.2 renders them, as far as their values can be known without a run, and without Airflow."""

import re
from copy import deepcopy
from datetime import datetime, timedelta
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Tuple

import dateutil.parser
import dateutil.relativedelta
import jinja2
import jinja2.sandbox
from orchestrator import Definition, read_template, run_task_request

from tools.views.schedules import Run, cron_of


class RenderedRequest(NamedTuple):
    """A RunTask request, and the templates that are left in it, each with the reason."""

    request: Dict[str, Any]
    left: Dict[str, str]


def render_request(definition: Definition, task_id: str, run: Run) -> RenderedRequest:
    """Return the RunTask request that a task makes in a run."""
    names = template_names(definition, task_id, run)
    left: Dict[str, str] = {}

    def rendered(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: rendered(item) for key, item in value.items()}
        if isinstance(value, list):
            return [rendered(item) for item in value]
        if not isinstance(value, str):
            return value
        text, stays = render(re.sub(r"\n\Z", "", value), names)  # Jinja drops one end of line
        left.update(stays)
        return text

    return RenderedRequest(rendered(run_task_request(definition, task_id, run.run_id)), left)


def render(text: str, names: Mapping[str, Any]) -> Tuple[str, Dict[str, str]]:
    """Render a template; unknown parts stay as they are, and are returned with the reason."""
    if "{" not in text:
        return text, {}
    try:
        unknown = sorted(read_template(text).free_names - set(names) - set(jinja().globals))
        if not unknown:
            return template(text).render(names), {}
    except Exception as error:  # a template is code, and can fail in any way
        return text, {text: f"fails: {error}"}
    parts = expressions(text)
    if len(parts) == 1:
        return text, {text: f"{', '.join(unknown)}: only a run knows"}
    rendered = [render(part, names) for part in parts]
    return "".join(part for part, _ in rendered), {key: why for _, left in rendered for key, why in left.items()}


@lru_cache(maxsize=4096)
def template(text: str) -> jinja2.Template:
    """Compile a template; a thousand providers share a few."""
    return jinja().from_string(text)


def expressions(text: str) -> List[str]:
    """Split a template before and after each ``{{ }}``; one with statements is a single part."""
    parts = [""]
    for _, kind, raw in jinja().lex(text):
        if kind in ("block_begin", "raw_begin"):
            return [text]
        if kind == "variable_begin":
            parts.append("")
        parts[-1] += raw
        if kind == "variable_end":
            parts.append("")
    return [part for part in parts if part]


# ---------------------------------------------------------------------------------------------- what Airflow has

FILTERS: Dict[str, Callable[[Any], str]] = {  # airflow/templates.py
    "ds": lambda value: str(value.strftime("%Y-%m-%d")),
    "ds_nodash": lambda value: str(value.strftime("%Y%m%d")),
    "ts": lambda value: str(value.isoformat()),
    "ts_nodash": lambda value: str(value.strftime("%Y%m%dT%H%M%S")),
    "ts_nodash_with_tz": lambda value: re.sub("[-:]", "", value.isoformat()),
}


@lru_cache(maxsize=1)
def jinja() -> jinja2.sandbox.SandboxedEnvironment:
    """Return an environment as that of an Airflow DAG, which keeps the end of a text."""
    environment = jinja2.sandbox.SandboxedEnvironment(
        undefined=jinja2.StrictUndefined, extensions=["jinja2.ext.do"], keep_trailing_newline=True
    )
    environment.filters.update(FILTERS)
    return environment


def ds_add(ds: str, days: int) -> str:
    """Add days to a date written as YYYY-MM-DD."""
    return (datetime.strptime(ds, "%Y-%m-%d") + timedelta(days)).isoformat()[:10]


def ds_format(ds: str, input_format: str, output_format: str) -> str:
    """Write a date in another format."""
    return datetime.strptime(ds, input_format).strftime(output_format)


# airflow/macros/__init__.py but for what is another value every time.
MACROS = SimpleNamespace(
    datetime=datetime, timedelta=timedelta, dateutil=dateutil, ds_add=ds_add, ds_format=ds_format
)  # fmt: skip


def template_names(definition: Definition, task_id: str, run: Run) -> Dict[str, Any]:
    """Return what TaskInstance.get_template_context() holds that does not depend on the database, and our own names."""
    logical_date, cron = run.logical_date, cron_of(definition)
    next_date = previous_date = logical_date  # so it is for a run that a person triggers
    if run.is_scheduled and cron:
        next_date, previous_date = cron.next(logical_date), cron.previous(logical_date)
    dates = {
        "": logical_date,
        "next_": next_date,
        "prev_": previous_date,
        "yesterday_": logical_date - timedelta(days=1),
        "tomorrow_": logical_date + timedelta(days=1),
    }
    names: Dict[str, Any] = {
        f"{when}{name}": FILTERS[name](date) for when, date in dates.items() for name in ("ds", "ds_nodash")
    }
    names.update({name: FILTERS[name](logical_date) for name in ("ts", "ts_nodash", "ts_nodash_with_tz")})
    names.update({f"{when}execution_date": dates[when] for when in ("", "next_", "prev_")})
    params = {name: deepcopy(param.default) for name, param in definition.settings.effective_params.items()}
    return {
        **names,
        **{name: SimpleNamespace(**values) for name, values in definition.variables.items()},
        "params": params,
        "macros": MACROS,
        "logical_date": logical_date,
        "data_interval_start": run.data_interval_start,
        "data_interval_end": run.data_interval_end,
        "run_id": run.run_id,
        "task_instance_key_str": f"{definition.dag_id}__{task_id}__{names['ds_nodash']}",
    }
