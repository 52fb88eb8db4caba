"""Templates as Airflow 2.2.2 renders them, as far as their values can be known without a run, and without Airflow."""

import re
from copy import deepcopy
from datetime import datetime, timedelta
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import dateutil.relativedelta
import jinja2
import jinja2.sandbox
from orchestrator import (
    JSON_OPTIONS,
    MAX_OVERRIDES,
    Definition,
    ParamValues,
    items_alone,
    read_template,
    run_task_request,
)

from tools.views.confinement import confined
from tools.views.schedules import Run, cron_of


class RenderedRequest(NamedTuple):
    """A RunTask request, and the templates that are left in it, each with the reason."""

    request: Dict[str, Any]
    left: Dict[str, str]


def render_requests(runs: Sequence[Tuple[Definition, Run]]) -> List[Dict[str, RenderedRequest]]:
    """Return the RunTask requests that the tasks of DAGs make in a run, by task, for each DAG."""
    of_tasks = [(definition, task_id, run) for definition, run in runs for task_id in definition.plan.tasks]
    rendered = confined([partial(render_request, *of_task) for of_task in of_tasks])
    requests = [found or unrendered_request(*of_task, why) for of_task, (found, why) in zip(of_tasks, rendered)]
    following = iter(requests)
    return [{task_id: next(following) for task_id in definition.plan.tasks} for definition, _ in runs]


def unrendered_request(definition: Definition, task_id: str, run: Run, why: str) -> RenderedRequest:
    """Return the RunTask request of a task with all its templates, which cannot be rendered."""
    return RenderedRequest(run_task_request(definition, task_id, run.run_id), {task_id: f"fails: {why}"})


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


def fill_in(values: Sequence[Tuple[Definition, Any, Optional[str]]]) -> List[Any]:
    """Fill in what environment and provider of a DAG, and the item of a task, say in a text or all texts of a value.

    What only a run knows stays a template, and so does what cannot be rendered within limits.
    """
    filled = confined([partial(fill, *each) for each in values])
    return [value if why else found for (_, value, _), (found, why) in zip(values, filled)]


def fill(definition: Definition, value: Any, item: Optional[str]) -> Any:
    """Do so for one value."""
    if isinstance(value, dict):
        return {key: fill(definition, each, item) for key, each in value.items()}
    if isinstance(value, list):
        return [fill(definition, each, item) for each in value]
    names: Dict[str, Any] = {name: SimpleNamespace(**values) for name, values in definition.variables.items()}
    return render(value, names if item is None else {**names, "item": item})[0]


def render(text: str, names: Mapping[str, Any]) -> Tuple[str, Dict[str, str]]:
    """Render a template; unknown parts stay as they are, and are returned with the reason."""
    if "{" not in text:
        return text, {}
    try:
        unknown = sorted(read_template(text).free_names - set(names))
        if not unknown:
            rendered = template(text).render(names)
            if len(rendered) > MAX_OVERRIDES:
                return text, {text: f"fails: it gives {len(rendered)} characters; ECS takes {MAX_OVERRIDES} of a task"}
            return rendered, {}
    except Exception as error:  # a template is code, and can fail in any way
        return text, {text: f"fails: {str(error) or type(error).__name__}"}
    parts = expressions(text)
    if len(parts) == 1:
        return text, {text: f"{', '.join(unknown)}: only a run knows"}
    rendered_parts = [render(part, names) for part in parts]
    return "".join(part for part, _ in rendered_parts), {
        key: why for _, left in rendered_parts for key, why in left.items()
    }


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
def jinja() -> jinja2.sandbox.ImmutableSandboxedEnvironment:
    """Return an environment as that of an Airflow DAG, which keeps the end of a text, and changes no value."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    environment.filters.update(FILTERS)
    environment.policies["json.dumps_kwargs"] = JSON_OPTIONS
    vars(environment)["getitem"] = items_alone(environment)
    environment.globals.clear()  # templates may name none of Jinja's functions
    return environment


def ds_add(ds: str, days: int) -> str:
    """Add days to a date written as YYYY-MM-DD."""
    return (datetime.strptime(ds, "%Y-%m-%d") + timedelta(days)).isoformat()[:10]


def ds_format(ds: str, input_format: str, output_format: str) -> str:
    """Write a date in another format."""
    return datetime.strptime(ds, input_format).strftime(output_format)


# What templates may name of airflow/macros/__init__.py, and nothing that leads to a module.
MACROS = SimpleNamespace(
    datetime=SimpleNamespace(strptime=datetime.strptime, fromisoformat=datetime.fromisoformat),
    timedelta=timedelta,
    dateutil=SimpleNamespace(
        relativedelta=SimpleNamespace(relativedelta=dateutil.relativedelta.relativedelta),
    ),
    ds_add=ds_add,
    ds_format=ds_format,
)


def template_names(definition: Definition, task_id: str, run: Run) -> Dict[str, Any]:
    """Return what TaskInstance.get_template_context() holds that does not depend on the database, and our own names."""
    logical_date, cron = run.logical_date, cron_of(definition)
    next_date: Optional[datetime] = logical_date  # so it is for a run that a person triggers
    previous_date: Optional[datetime] = logical_date
    if run.is_scheduled:  # that of @once is the only one
        next_date = cron.next(logical_date) if cron else None
        previous_date = cron.previous(logical_date) if cron else None
    dates = {
        "": logical_date,
        "next_": next_date,
        "prev_": previous_date,
        "yesterday_": logical_date - timedelta(days=1),
        "tomorrow_": logical_date + timedelta(days=1),
    }
    names: Dict[str, Any] = {
        f"{when}{name}": FILTERS[name](date) if date else None
        for when, date in dates.items()
        for name in ("ds", "ds_nodash")
    }
    names.update({name: FILTERS[name](logical_date) for name in ("ts", "ts_nodash", "ts_nodash_with_tz")})
    names.update({f"{when}execution_date": dates[when] for when in ("", "next_", "prev_")})
    params = {name: deepcopy(param.default) for name, param in definition.settings.effective_params.items()}
    item = definition.plan.tasks[task_id].item if task_id in definition.plan.tasks else None
    return {
        **names,
        **{name: SimpleNamespace(**values) for name, values in definition.variables.items()},
        **({} if item is None else {"item": item}),
        "params": ParamValues(params),
        "macros": MACROS,
        "logical_date": logical_date,
        "data_interval_start": run.data_interval_start,
        "data_interval_end": run.data_interval_end,
        "run_id": run.run_id,
        "task_instance_key_str": f"{definition.dag_id}__{task_id}__{names['ds_nodash']}",
    }
