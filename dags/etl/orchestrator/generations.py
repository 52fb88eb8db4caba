"""All that differs between the generations of Airflow and of the amazon provider: 2.2.2, 2.11 and 3.

It asks what is there, not which version it is. docs/upgrading.md says what differs for people.
"""

import re
import sys
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

import setproctitle
from airflow.configuration import conf
from pendulum.tz.timezone import Timezone

IS_3 = find_spec("airflow.sdk") is not None
IS_2_2 = not IS_3 and find_spec("airflow.utils.dag_parsing_context") is None
if not IS_3:
    from airflow import exceptions
    from airflow.models.baseoperator import BaseOperator
    from airflow.models.dag import DAG
    from airflow.models.param import Param, ParamsDict
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.sensors.base import BaseSensorOperator
    from airflow.utils.task_group import TaskGroup
else:
    from airflow.sdk import (  # type: ignore[no-redef]
        DAG,
        BaseOperator,
        BaseSensorOperator,
        CronDataIntervalTimetable,
        Param,
        ParamsDict,
        TaskGroup,
        exceptions,
        get_parsing_context,
    )
if not IS_3 and not IS_2_2:
    from airflow.timetables.interval import CronDataIntervalTimetable
    from airflow.utils.dag_parsing_context import get_parsing_context
try:
    from airflow.providers.amazon.aws.operators.ecs import EcsOperator
except ImportError:
    try:
        from airflow.providers.amazon.aws.operators.ecs import EcsRunTaskOperator as EcsOperator  # type: ignore
    except ImportError:  # the provider 2.4.0 in MWAA's own image
        from airflow.providers.amazon.aws.operators.ecs import ECSOperator as EcsOperator

# Handed on:
__all__ = ["DAG", "BaseOperator", "BaseSensorOperator", "EcsOperator", "Param", "ParamsDict", "TaskGroup", "exceptions"]

HAS_SLAS = not IS_3  # 3 has deadlines instead
HAS_DATES = not IS_3  # a run that is triggered does; in 3, it has only run_after
HAS_DATABASE = not IS_3  # a task may ask it
SHOWS_HTML = IS_2_2  # a DAG's docs do; later versions escape it
KEEPS_SLOTS = IS_2_2  # a task that does not find its DAG does, of its pool; 3 tries again for a while
LOOKS_AT_FEW_TASKS = IS_2_2  # the scheduler: those that must wait for others of their DAG can keep it from the rest
REPEATS_SLA_LOOKS = IS_2_2  # a pass over the DAG file does, once for each look that the scheduler had at a run
MIN_POKE_INTERVAL = 10 if IS_3 else 0  # seconds; 3 takes a look for lost that is over when the next one begins

# ------------------------------------------------------------------------------------------------------ a parse


def running_task() -> Tuple[str, str]:
    """Return the ids of the DAG and the task that this process runs; "" for what it does not run, or does not know.

    In 2.2.2, ``airflow tasks run <dag_id> <task_id>`` is the command line of a new interpreter (Sequential and Local
    executor) and stands in the process title of a fork (Celery and Local executor).
    """
    if not IS_2_2:
        context = get_parsing_context()
        return context.dag_id or "", context.task_id or ""
    title = re.match(r"airflow task supervisor: \['airflow', (.*)", setproctitle.getproctitle())
    words = re.findall("'([^']+)'", title[1]) if title else sys.argv[1:]
    dag_id, task_id = [*words[2:4], "", ""][:2] if words[:2] == ["tasks", "run"] else ("", "")
    return dag_id, task_id


def dag_arguments(schedule: Optional[str], start: Any, sla_miss: Optional[Callable[..., Any]]) -> Dict[str, Any]:
    """Return the arguments of a DAG that say when it runs.

    In 3, the run of a cron expression would have no data interval, and so the date of the next one. In 2.11, it would
    for an option; and a timetable takes longer to make than all else of a DAG, so that DAGs share them.
    """
    when: Dict[str, Any] = {"schedule_interval" if IS_2_2 else "schedule": schedule}
    if not IS_2_2 and schedule not in (None, "@once"):
        when["schedule"] = timetable(schedule, start.timezone_name)
    return {**when, "sla_miss_callback": sla_miss} if sla_miss and HAS_SLAS else when


@lru_cache(maxsize=1024)  # as many as a file may have
def timetable(schedule: str, zone: str) -> Any:
    """Return the timetable of a cron expression in a time zone, by its name: a zone itself can be no key."""
    return CronDataIntervalTimetable(schedule, timezone=Timezone(zone))


# What no provider's operator takes: EcsTask has attributes for it.
NOT_TAKEN = {"enable_execute_command"} if HAS_SLAS else {"enable_execute_command", "sla"}


def operator_arguments(arguments: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the arguments of an operator: in 3, backoff is the factor between two pauses."""
    own = {name: value for name, value in arguments.items() if name not in NOT_TAKEN}
    if IS_3 and own.get("retry_exponential_backoff"):
        own["retry_exponential_backoff"] = 2.0
    return own


def as_callback(callback: Callable[..., Any]) -> Any:
    """Return a callback as an operator keeps it."""
    return callback if IS_2_2 else [callback]


class DefinitionProblems(Exception):
    """Is what the web page shows, with the name of the class."""


def show_problems(text: str) -> Dict[str, Any]:
    """Return what factory.py has to register for the web page to show a text, while the other DAGs go on.

    Airflow reports a DAG that it cannot bag. 2.11 disables all DAGs with its ``fileloc``, and forgets at the next good
    parse what begins with the path of the file. 3 disables all DAGs of the file: there, it is for problems.py alone.
    """

    class ProblemDag(DAG):
        def resolve_template_files(self) -> None:
            raise exceptions.AirflowClusterPolicyViolation(text) if IS_2_2 else DefinitionProblems(text)

        def __setattr__(self, name: str, value: Any) -> None:
            elsewhere = name == "fileloc" and not IS_2_2
            super().__setattr__(name, f"{value}/definitions" if elsewhere else value)

    problem_dag = ProblemDag("etl_problems", **dag_arguments(None, None, None))
    return {"etl_problems": (problem_dag,) if IS_3 else problem_dag}


# -------------------------------------------------------------------------------------------------- a running task

MARK = "etl_try"  # the key of an XCom


def base_url() -> str:
    """Return the address of the web page, by which an Airflow differs from all others."""
    return str(conf.get("api" if IS_3 else "webserver", "base_url", fallback=""))


def number_of_try(ti: Any) -> int:
    """Return the number of the try that runs, or has run last; 0 for none."""
    return int(ti.prev_attempted_tries if IS_2_2 else ti.try_number or 0)


def is_test(context: Any) -> bool:
    """Return whether a person runs this, by ``airflow tasks test`` or ``airflow dags test``: no try is counted."""
    ti = context["ti"]
    return not number_of_try(ti) or (not IS_3 and (ti.test_mode or not context["dag_run"].id))


def origin_of_run(run: Any) -> Any:
    """Return what tells a run from one of the same name, of a DAG that was deleted; the same when it is cleared.

    A task of 3 does not see the id of the run's row; a run that has finished and is cleared begins anew there.
    """
    return str(run.start_date or run.run_after) if IS_3 else run.id


def fields_of_try_before(ti: Any) -> Mapping[str, Any]:
    """Return the rendered fields of the try before, which Airflow is about to replace; a task of 3 has no such way."""
    if IS_3 or number_of_try(ti) < 2:
        return {}
    return RenderedTaskInstanceFields.get_templated_fields(ti) or {}


def mark_try(ti: Any) -> None:
    """Leave the number of this try for :func:`is_latest_try`: a task of 3 sees no other sign of a later one."""
    if IS_3:
        ti.xcom_push(MARK, number_of_try(ti))


def is_over(ti: Any, log: Any) -> bool:
    """Return whether Airflow no longer has this try as running: a person has cleared or marked it, or it was lost.

    A task of 3 is told to end then, and reports that as its own failure; earlier ones do not.
    """
    try:
        states = ti.get_task_states(ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id]) if IS_3 else {}
    except Exception:  # whatever the way to Airflow's API raises
        log.exception("Airflow does not tell whether this try still counts")
        return False
    return IS_3 and states.get(ti.run_id, {}).get(ti.task_id) != "running"


def is_latest_try(ti: Any, number: int, log: Any) -> bool:
    """Return whether no later try has begun, as far as Airflow tells."""
    try:
        if IS_3:
            return (ti.xcom_pull(task_ids=ti.task_id, key=MARK) or number) == number
        ti.refresh_from_db()
    except Exception:  # whatever the way to Airflow's API or database raises
        log.exception("Airflow does not tell whether this try still counts")
    return IS_3 or number_of_try(ti) == number
