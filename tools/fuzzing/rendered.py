"""Renders, with the real Airflow, the templates that are allowed; nothing outside of their values may be reached."""

import builtins
import json
import os
import re
import socket
import subprocess
import sys
import time
from copy import deepcopy
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple
from unittest.mock import patch

import dateutil.relativedelta
import pendulum
import yaml
from airflow import macros
from airflow.exceptions import AirflowException
from hypothesis import strategies as st
from jinja2.exceptions import FilterArgumentError, UndefinedError
from lazy_object_proxy import Proxy  # type: ignore[import]
from orchestrator import load, read_template
from orchestrator.dags import Builder
from orchestrator.generations import IS_3
from orchestrator.templates import MAX_WORK
from orchestrator.vocabulary import MAX_PARAM_CHARACTERS, MAX_VARIABLE, NAMES

from tools.fuzzing.templates import PARAMS, templates
from tools.views.confinement import confined

# What values can be wrong for. Anything else is a fault of the checker, such as SecurityError of Jinja's sandbox.
ERRORS = (
    *(UndefinedError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, AirflowException),
    FilterArgumentError,
    NameError,  # Jinja computes constants, and writes the number of '1e400' | float as the name inf
    re.error,  # of strptime, for a format that has a part twice
)
LATE_NAMES = re.compile("execution_date|(next|prev|tomorrow|yesterday)_")  # which Airflow 2.2.2 gives as proxies
ZONES = ("zoneinfo", "tzdata")  # in the path of a file that a time zone is read from


class Reached(BaseException):
    """A template has reached what it must not; no `except Exception` hides it."""


class Fence:
    """Stands for an object of Airflow's; lets only the members through that the vocabulary names."""

    def __init__(self, name: str, members: Dict[str, Any]) -> None:
        vars(self).update(_name=name, **members)

    def __getattribute__(self, name: str) -> Any:
        members = object.__getattribute__(self, "__dict__")
        if name.startswith("__") or (name in members and name != "_name"):
            return object.__getattribute__(self, name)  # Python asks for __class__; for templates Jinja's sandbox does
        raise Reached(f"{members['_name']}.{name}")

    def __getitem__(self, name: Any) -> Any:
        raise Reached(f"{vars(self)['_name']}[{name!r}]")

    def __str__(self) -> str:
        raise Reached(f"the text of {vars(self)['_name']}")


class Run(SimpleNamespace):
    """Stands for a run of Airflow 3: dates.py makes a copy of it, with its dates, and that is what templates get."""

    def model_copy(self, update: Dict[str, Any]) -> Fence:
        return Fence("dag_run", {**vars(self), **update})


class Variables:
    """What Airflow gives as var.value and var.json, over values instead of the database."""

    def __init__(self, values: Dict[str, Any]) -> None:
        self._values = values

    def __getattribute__(self, name: str) -> Any:
        if name == "get" or name.startswith("__"):
            return object.__getattribute__(self, name)
        values = object.__getattribute__(self, "_values")
        if name.startswith("_"):
            raise Reached(f"var.value.{name}")
        if name not in values:
            raise KeyError(f"Variable {name} does not exist")
        return values[name]

    def get(self, item: str, default_var: Any = None) -> Any:
        return object.__getattribute__(self, "_values").get(item, default_var)


def grown(unit: str, rest: Any) -> str:
    """Repeat a text until the params are as large as they may be."""
    room = MAX_PARAM_CHARACTERS - len(json.dumps(rest)) - 100
    return unit * (room // len(json.dumps(unit)[1:-1]))


ORDINARY: Dict[str, Any] = {
    **{"text": "2022-01-05", "number": 3, "list": ["b", "a"], "mapping": {"a": 1, "items": "x", "b": {"a": ["c"]}}},
    **{"flag": True, "items": "i"},
}
FULL: List[Dict[str, Any]] = [  # params that take all the room there is, each in another way
    *({**ORDINARY, "text": grown(unit, ORDINARY)} for unit in ("a", "%s{0}", "<", "\u0390", "\U0001f600", "a-")),
    {**ORDINARY, "list": ["a"] * 1600},
    {**ORDINARY, "list": [["<"]] * 1100},
    {**ORDINARY, "mapping": {str(number): "\u0390" for number in range(450)}},
    {**ORDINARY, "number": int("9" * 4000)},
    {**ORDINARY, "text": None, "number": 1e308, "list": [], "mapping": {}, "flag": False},
]
VALUES: List[Dict[str, Any]] = [ORDINARY, *FULL]
VARIABLES = {name: "v" * MAX_VARIABLE if name == "text" else 7 for name in PARAMS}
PIPELINE: Dict[str, Any] = {
    "start_date": "2022-01-01",
    "params": {name: {"type": ["null", "string", "number", "boolean", "array", "object"]} for name in PARAMS},
    "tasks": {"load": {"task_definition": "loader"}},
    "providers": {"un": {"variables": VARIABLES}},
}
ENVIRONMENT = {"region": "eu-west-1", "variables": VARIABLES, "clusters": {"default": {"cluster": "etl"}}}


class Example(NamedTuple):
    """A template, and which of VALUES it meets."""

    text: str
    values: int = 0


EXAMPLES = st.builds(Example, templates(), st.integers(0, len(VALUES) - 1))


class Outcome(NamedTuple):
    """What a template gave, or its error, and what is wrong with that, if anything."""

    text: Optional[str]
    error: str
    fault: str


class Renderer:
    """Renders templates as our operator does in a DAG."""

    def __init__(self, root: Path) -> None:
        for path, data in (("configs/development.yaml", ENVIRONMENT), ("pipelines/trial/rendered.yaml", PIPELINE)):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(yaml.safe_dump(data))
        (definition,) = load(root, "development").definitions
        self.task: Any = Builder().build(definition).get_task("load")

    def check(self, example: Example) -> Optional[Outcome]:
        """Render a template if it is allowed; raise AssertionError if it should not be."""
        if read_template(example.text).faults:
            return None
        ((outcome, why),) = confined([partial(self.render, example)])
        assert outcome is not None, f"{why}: {example}"
        assert not outcome.fault, f"{outcome.fault}: {example}"
        return outcome

    def render(self, example: Example) -> Outcome:
        """Render a template, in a process of its own."""
        values = VALUES[example.values]
        context = context_of(deepcopy(values))
        self.task.typed_params = {}
        self.task.overrides = {"containerOverrides": [{"command": [example.text]}]}
        try:
            typed = patch("orchestrator.operators.params_of_run", lambda *_: context["typed"])
            with fenced(), typed, patch("orchestrator.operators.MAX_OVERRIDES", sys.maxsize):  # what it gives, counts
                self.task.render_template_fields(context)
        except Reached as reached:
            return Outcome(None, "", f"it reaches {reached}")
        except ERRORS as error:
            return Outcome(None, f"{type(error).__name__}: {str(error)[:200]}", "")
        except Exception as error:
            return Outcome(None, "", f"it fails with {type(error).__name__}: {str(error)[:200]}")
        text = self.task.overrides["containerOverrides"][0]["command"][0]
        changed = context["typed"] != values or context["dag_run"].conf != values
        fault = f"it gives {len(text)} characters" if len(text) > MAX_WORK else "it changes a value" if changed else ""
        return Outcome(text[:1000], "", fault)


def context_of(values: Dict[str, Any]) -> Dict[str, Any]:
    """Return what the vocabulary names of what Airflow gives a template, and fences around the rest."""
    date = pendulum.datetime(2022, 1, 5, 3, tz="UTC")
    of_kind = {
        "text": "2022-01-05",
        "number": 2,
        "boolean": True,
        "date": date,
        "datetime": datetime(2022, 1, 5, 3, tzinfo=timezone.utc),
    }
    members: Dict[str, Dict[str, Any]] = {root: {} for root in ("dag", "task", "dag_run", "ti", "task_instance")}
    names: Dict[str, Any] = {}
    for name, entry in NAMES.items():
        root, _, member = name.partition(".")
        if not member and entry.takes is None and root != "params":
            value = of_kind[entry.kind]
            names[root] = Proxy(lambda value=value: value) if LATE_NAMES.match(root) else value
        elif root in members and entry.kind in of_kind:
            members[root][member] = of_kind[entry.kind]
    pulled = {"a": values["text"], "b": values["mapping"], "x": values["list"]}

    def xcom_pull(task_ids: Any = None, key: str = "return_value") -> Any:
        return [pulled.get(each) for each in task_ids] if isinstance(task_ids, list) else pulled.get(task_ids)

    members["ti"]["xcom_pull"] = members["task_instance"]["xcom_pull"] = xcom_pull
    members["dag_run"]["conf"] = deepcopy(values)
    members["ti"].update(prev_attempted_tries=1, try_number=1)  # the operator itself asks for it: the try is the first
    typed = deepcopy(values)
    closed = {name: Fence(name, {}) for name in ("conn", "conf", "inlets", "outlets")}
    moments = Fence("macros.datetime", {"strptime": datetime.strptime, "fromisoformat": datetime.fromisoformat})
    relative = Fence("relativedelta", {"relativedelta": dateutil.relativedelta.relativedelta})
    allowed: Dict[str, Any] = {"ds_add": macros.ds_add, "ds_format": macros.ds_format, "timedelta": timedelta}
    variables = deepcopy(values)
    return {
        **names,
        **closed,
        **{root: Fence(root, found) for root, found in members.items()},
        **({"dag_run": Run(**members["dag_run"])} if IS_3 else {}),
        "macros": Fence(
            "macros", {**allowed, "datetime": moments, "dateutil": Fence("dateutil", {"relativedelta": relative})}
        ),
        "var": Fence("var", {"value": Variables(variables), "json": Variables(variables)}),
        "prev_data_interval_start_success": Proxy(lambda: None),
        "typed": typed,
    }


def fenced() -> Any:
    """Return a context in which nothing can be opened, run or connected to."""
    date: Any = pendulum.datetime(2022, 1, 5)
    date.in_timezone("Europe/London").format("dddd LLLL")  # what pendulum and datetime import when they are first used
    datetime.strptime("2022", "%Y")
    real_open = builtins.open

    def closed(name: str) -> Callable[..., Any]:
        def reached(*arguments: Any, **more: Any) -> Any:
            raise Reached(f"{name}{arguments[:1]}")

        return reached

    def open_zone(path: Any, *arguments: Any, **more: Any) -> Any:
        if ".." in str(path) or not any(part in str(path) for part in ZONES):
            raise Reached(f"open({path!r})")
        return real_open(path, *arguments, **more)

    patches: List[Tuple[Any, str, Any]] = [
        (builtins, "open", open_zone),
        *((builtins, name, closed(name)) for name in ("eval", "input")),
        *(
            (os, name, closed(f"os.{name}"))
            for name in ("system", "popen", "fork", "open", "listdir", "getenv", "kill")
        ),
        (subprocess, "Popen", closed("subprocess.Popen")),
        (socket, "socket", closed("socket.socket")),
        (time, "sleep", closed("time.sleep")),
    ]
    return Patches(patches)


class Patches:
    """Replaces functions for a while."""

    def __init__(self, patches: List[Tuple[Any, str, Any]]) -> None:
        self.patches = [patch.object(where, name, function) for where, name, function in patches]

    def __enter__(self) -> None:
        for replaced in self.patches:
            replaced.start()

    def __exit__(self, *_: Any) -> None:
        for replaced in reversed(self.patches):
            replaced.stop()
