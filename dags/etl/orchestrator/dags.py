"""Definitions -> DAGs; what factory.py calls."""

import os
import sys
from copy import copy
from functools import partial
from io import TextIOWrapper
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Type

import pendulum
from airflow.configuration import conf

from .alerts import FailureAlert, Publisher, alert_sla_miss, alert_timeout, tell_nobody
from .definitions import Definition, LoadResult, Plan, PlannedTask, parse_dag_id, sensor_ids
from .documents import Document, display_path, home_of
from .generations import (
    DAG,
    HAS_SLAS,
    KEEPS_SLOTS,
    LOOKS_AT_FEW_TASKS,
    MIN_POKE_INTERVAL,
    BaseOperator,
    ParamsDict,
    TaskGroup,
    as_callback,
    dag_arguments,
    operator_arguments,
    running_task,
    show_problems,
)
from .generations import Param as AirflowParam
from .loading import load
from .models import SETTING_DEFAULTS, Environment, Param, Settings
from .operators import EcsTask
from .pages import cells_of, doc_md, markdown, param_cells, report, task_table
from .planning import DEFAULT_POOL
from .problems import Location, Problem, internal_error, takes_too_long
from .scheduler import LAST, active_runs
from .slas import SlaDag, is_pass
from .time_limits import in_time

# ------------------------------------------------------------------------------------------ what factory.py calls


# What ``current`` says of a release: {"release": id, "commits": {path of a file, or "" for all others: commit}, ...}
Activation = Mapping[str, Any]


def dags_of_folder(
    root: Path,
    activation: Optional[Activation] = None,
    sizes: Optional[Mapping[str, int]] = None,
    reports: Sequence[str] = (),
) -> Dict[str, DAG]:
    """Return the DAGs that a folder has in this Airflow's environment, by the names that they are registered under.

    In a process that runs a task, only the DAG of that task is read and built; if it is not there, one that fails.
    Problems are one entry more.

    Args:
        root: The folder, or the release of it.
        activation: Of a release: who it is.
        sizes: Of a release: all its files, by path, in bytes.
        reports: Why releases that come before it are not used.

    Raises:
        FileNotFoundError: A file of the release that is needed here is not there, or not all of it.
    """
    environment = conf.get("etl", "environment", fallback=None)
    dag_id, task_id = running_task()
    commits = {str(path): str(commit) for path, commit in dict((activation or {}).get("commits", {})).items()}
    sizes = sizes or {}
    dags: Dict[str, DAG] = {}
    if dag_id:
        check_files(root, sizes, [dag_id])
        result = load(root, environment, dag_id)
        check_files(root, sizes, [each.dag_id for found in result.definitions for each in found.awaited.values()])
        dags, problems = build(result, commits)
        is_missing = task_id and not (dag_id in dags and dags[dag_id].has_task(task_id))
        if is_missing and KEEPS_SLOTS and parse_dag_id(dag_id, home_of(root).name):
            from .missing import missing_dag

            return {dag_id: missing_dag(dag_id, task_id, problems)}
    if not dag_id or list(dags) != [dag_id]:  # or else it can be had alone
        check_files(root, sizes)
        dags, problems = build(load(root, environment), commits)
    problems = [*problems_of_releases(root, activation or {}, reports, environment), *problems]
    return {**dags, **show_problems(report(problems))} if problems and list(dags) != [dag_id] else dags


def check_files(root: Path, sizes: Mapping[str, int], dag_ids: Optional[Iterable[str]] = None) -> None:
    """Raise FileNotFoundError unless the files of a release that a process needs are there with their sizes (bytes).

    Args:
        root: The folder of the release.
        sizes: All its files.
        dag_ids: Whose definitions are needed, with the environments; None for all files.
    """
    needed = set(sizes)
    if dag_ids is not None:
        names = filter(None, (parse_dag_id(dag_id, home_of(root).name) for dag_id in dag_ids))
        own = {f"pipelines/{family}/{pipeline}.yaml" for family, pipeline, _ in names}
        needed = {path for path in sizes if path in own or path.startswith("configs/")}
    for path in needed:
        if os.path.getsize(f"{root}/{path}") != sizes[path]:  # pathlib takes four times as long
            raise FileNotFoundError(f"{path} is not whole: it has to have {sizes[path]} bytes")


def problems_of_releases(
    root: Path, activation: Activation, reports: Sequence[str], environment: Optional[str]
) -> Iterator[Problem]:
    """Yield why releases are not used that come before this one, and what beside the releases is not read."""
    home, release = home_of(root), activation.get("release")
    current = Location(display_path(home, home / "current"))
    for reason in reports:
        hint = f"release {release} runs instead; deploy again, or go back: ./etl deploy {environment} --rollback"
        yield Problem(current, reason, hint, "release")
    beside = [name for name in ("configs", "orchestrator", "pipelines") if home != root and has_sources(home / name)]
    if beside:
        message = f"release {release} is read, and not the folders beside it: {', '.join(beside)}"
        hint = "./etl deploy makes a release, and deletes them; to run the folders, delete current"
        yield Problem(current, message, hint, "release")


def has_sources(folder: Path) -> bool:
    """Return whether a folder holds modules or definitions: a copy that deletes leaves empty folders behind."""
    names = (name for _, _, files in os.walk(str(folder)) for name in files)  # pathlib raises where one has just gone
    return any(name.endswith((".py", ".yaml")) for name in names)


def main(root: Path, arguments: List[str]) -> int:
    """Print what Airflow would get from a folder; return the exit status: 1 if there are problems, 2 for wrong use."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python dags/etl/factory.py ENVIRONMENT\ne.g.:  python dags/etl/factory.py development")
        return 2
    if isinstance(sys.stdout, TextIOWrapper):  # of ASCII, perhaps
        sys.stdout.reconfigure(errors="backslashreplace")
    (environment,) = arguments
    result = load(root, environment)
    dags, problems = build(result)
    lines = [f"environment {environment}", ""]
    providers: Dict[str, List[str]] = {}
    for definition in result.definitions:
        providers.setdefault(f"{definition.family}-{definition.pipeline}", []).append(definition.provider)
    lines += [f"{pipeline}: {', '.join(names)}" for pipeline, names in providers.items()]
    lines.append("")
    lines += [f"{each.dag_id}  {each.path}" for each in result.definitions if each.dag_id in dags]
    lines += [f"\n{problem}" for problem in problems]
    try:
        print("\n".join(lines), flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python tries once more at its end
        if not isinstance(error, BrokenPipeError):  # `| head` is no error
            print(f"the output cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    return 1 if problems else 0


def build(result: LoadResult, commits: Optional[Mapping[str, str]] = None) -> Tuple[Dict[str, DAG], List[Problem]]:
    """Build the DAGs of definitions, by their ids, and return all problems; ``commits`` as in an activation."""
    dags, problems = {}, list(result.problems)
    if any(definition.settings.wait_for for definition in result.definitions):
        from . import sensors  # noqa: F401 (a package that cannot be imported is no mistake of a definition)
    builder = Builder(commits)
    files = [list(group) for _, group in groupby(result.definitions, key=lambda definition: definition.path)]
    for definitions, built in zip(files, in_time(files, builder.build_all, BUILDING)):
        if built is None:
            problems.append(takes_too_long(definitions[0].path))
        else:
            dags.update(built[0])
            problems += built[1]
    return dags, problems


# ---------------------------------------------------------------------------------------------------- the DAGs

BUILDING = 0.8  # of the time until Airflow's alarm: Airflow bags the DAGs after it


class Builder:
    """Builds the DAGs of one parse, of one environment.

    What providers share is made once: operators and a table of the tasks for each plan, params, names for templates.
    These are known by their id, and so have to live as long as this.
    """

    def __init__(self, commits: Optional[Mapping[str, str]] = None) -> None:
        self._commits = commits or {}
        self._made: Dict[Tuple[Callable[[Any], Any], int], Any] = {}
        self._class: Type[DAG] = SlaDag if HAS_SLAS and is_pass() else DAG

    def build_all(self, definitions: Iterable[Definition]) -> Tuple[Dict[str, DAG], List[Problem]]:
        """Build the DAGs of definitions, by their ids, and return those that failed as problems."""
        dags: Dict[str, DAG] = {}
        problems: List[Problem] = []
        for definition in definitions:
            try:
                dags[definition.dag_id] = self.build(definition)
            except Exception as error:
                problems.append(internal_error(definition.path, error))
        return dags, problems

    def build(self, definition: Definition) -> DAG:
        """Return the Airflow DAG of a definition."""
        settings, environment = definition.settings, definition.context.environment
        start, end = self._once(period, settings)
        params = settings.effective_params
        optional: Dict[str, Any] = {}
        if settings.max_active_tasks:
            optional["max_active_tasks"] = settings.max_active_tasks
        publish = self._publish(definition)
        sla_miss: Callable[..., Any] = tell_nobody
        if publish:
            optional["on_failure_callback"] = partial(alert_timeout, publish)
            sla_miss = partial(alert_sla_miss, publish)
        dag = self._class(
            definition.dag_id,
            description=definition.description,
            **dag_arguments(definition.schedule, start, sla_miss),
            start_date=start,
            end_date=end,
            catchup=settings.catchup or SETTING_DEFAULTS["catchup"],
            max_active_runs=active_runs(settings),
            dagrun_timeout=settings.dagrun_timeout,
            tags=tags_of(definition),
            # Without their schema: Airflow would refuse a wrong type at the trigger and take an unknown key.
            params={name: copy(self._once(airflow_param, param)) for name, param in params.items()},
            user_defined_macros={name: self._once(names, values) for name, values in definition.variables.items()},
            doc_md=doc_md(
                definition,
                self._once(Document.provider_lines, definition.layers.home.document)[definition.provider],
                self._once(markdown, definition.description),
                self._once(task_table, definition.plan),
                [cells_of([name]) + self._once(param_cells, param) for name, param in params.items()],
                self._commit(definition),
            ),
            **optional,
        )
        owner = settings.owner or SETTING_DEFAULTS["owner"]
        groups: Dict[str, TaskGroup] = {}
        tasks: Dict[str, Any] = {
            task_id: join(dag, operator, owner, group_of(dag, definition.plan.tasks[task_id], groups))
            for task_id, operator in self._once(operators, definition.plan).items()
        }
        for task_id, planned in definition.plan.tasks.items():
            if planned.before:
                tasks[task_id].set_upstream([tasks[other] for other in planned.before])
        ready = definition.plan.ready
        if settings.wait_for is not None:
            ready += len(settings.waits)
            roots = [task for task in tasks.values() if not task.upstream_task_ids]
            for task_id, (_, wait) in zip(sensor_ids(settings), settings.waits):
                made = self._once(delivery_sensor if wait.pipeline is None else run_sensor, environment)
                own = tasks[task_id] = join(dag, made, owner, dag.task_group, task_id)
                if wait.pipeline is None:
                    own.bucket_key = [str(wait.s3)]
                else:
                    own.awaited = definition.awaited[task_id]
                    own.external_dag_id = own.awaited.dag_id
                own.poke_interval = max(wait.pause.total_seconds(), MIN_POKE_INTERVAL)
                own.timeout = wait.longest.total_seconds()
                own.set_downstream(roots)
        on_failure = as_callback(FailureAlert(publish)) if publish else None
        is_last = LOOKS_AT_FEW_TASKS and ready * dag.max_active_runs > dag.max_active_tasks
        for task in tasks.values():
            if is_last or (LOOKS_AT_FEW_TASKS and task.pool != DEFAULT_POOL):
                task.priority_weight, task.weight_rule = LAST + (0 if is_last else task.priority_weight - 1), "absolute"
            if params:
                task.typed_params = params
            if on_failure:
                task.on_failure_callback = on_failure
        if isinstance(dag, SlaDag):
            dag.prepare_looks()
        return dag

    def _publish(self, definition: Definition) -> Optional[Callable[[str, Mapping[str, Any]], None]]:
        """Return what publishes an alert of a definition's provider; None where nobody wants to know."""
        environment, name = definition.context.environment, definition.settings.alerts
        if name is None:
            return None
        topic = environment.alerts[name].sns_topic_arn
        return partial(self._once(Publisher, environment).publish, topic, definition.provider)

    def _once(self, make: Callable[[Any], Any], value: Any) -> Any:
        """Return what a function makes of a value."""
        key = make, id(value)
        if key not in self._made:
            self._made[key] = make(value)
        return self._made[key]

    def _commit(self, definition: Definition) -> str:
        """Return the commit of a definition; "" where none is known."""
        return self._commits.get(definition.path.split("/", 2)[-1], self._commits.get("", ""))


def operators(plan: Plan) -> Dict[str, EcsTask]:
    """Return the operators of a plan, by their task ids; they belong to no DAG and no owner."""
    made = {name: EcsTask(task_id=name, **operator_arguments(each.operator)) for name, each in plan.tasks.items()}
    for operator, planned in zip(made.values(), plan.tasks.values()):
        operator.places = planned.places
        own = {name: getattr(planned.task, name) for name in ("skip_exit_codes", "enable_execute_command")}
        for name, value in {**own, "item": planned.item}.items():
            if value is not None:  # to copy an attribute for each DAG takes time
                setattr(operator, name, value)
    return made


def period(settings: Settings) -> Tuple[Optional[pendulum.DateTime], Optional[pendulum.DateTime]]:
    """Return when a DAG's runs are scheduled: to load a time zone takes 3 ms, and to make a moment of it 20 us."""
    return settings.period


# Of sensors, which are made for copies: making one takes as long as a whole DAG. A worker's slot is taken only for the
# moment of a look. A look that failed is tried again; what is too late is not.
WAITING: Dict[str, Any] = {"task_id": "wait", "mode": "reschedule", "retries": 3}


def delivery_sensor(environment: Environment) -> BaseOperator:
    """Return the sensor of a delivery."""
    from .sensors import DeliverySensor  # here, since it takes a tenth of a small parse

    return DeliverySensor(bucket_key=[], aws_conn_id=environment.aws_conn_id, **WAITING)


def run_sensor(environment: Environment) -> BaseOperator:
    """Return the sensor of another DAG."""
    from .sensors import RunSensor

    return RunSensor(**WAITING)


def airflow_param(param: Param) -> AirflowParam:
    """Return Airflow's record of a param, for copies: it checks each with jsonschema, which takes 70 us."""
    return AirflowParam(param.default, param.description or "")


def names(values: Dict[str, Any]) -> SimpleNamespace:
    """Return what a template finds in ``env`` or ``provider``; all DAGs of a file have the same ``env``."""
    return SimpleNamespace(**values)


def tags_of(definition: Definition) -> List[str]:
    """Return the tags of a DAG."""
    names = definition.family, definition.pipeline, definition.provider, definition.context.name
    sandbox = {definition.context.folder} - {"etl"}
    return sorted({*names, *sandbox, *(definition.settings.tags or ())})


def group_of(dag: Any, planned: PlannedTask, groups: Dict[str, TaskGroup]) -> Any:
    """Return the group that a task is drawn in: the items of one are a group of its name, which may be in another."""
    group = dag.task_group
    for name in (planned.task.group, planned.name if planned.item is not None else None):
        if name is not None and name not in groups:
            groups[name] = TaskGroup(name, prefix_group_id=False, parent_group=group, dag=dag)
        group = groups.get(name or "", group)
    return group


# The sets, lists and mappings of an operator that Airflow changes in place. Two operators may share all other
# attributes; a test compares a copy with an operator made in its DAG, one by one.
CHANGED_IN_PLACE = frozenset(
    "_upstream_task_ids _downstream_task_ids upstream_task_ids downstream_task_ids executor_config inlets outlets"
    " _inlets _outlets".split()
)


def join(dag: Any, operator: BaseOperator, owner: str, group: Any, task_id: Optional[str] = None) -> Any:
    """Put a copy of an operator into a DAG: making one takes 0.2 ms, five times as long.

    It has no params: Airflow lays a task's over the DAG's, and these would be the same.
    """
    own: Any = object.__new__(type(operator))
    for name, value in vars(operator).items():  # one by one: instances then share their keys, which saves 4 KB each
        object.__setattr__(own, name, value.copy() if name in CHANGED_IN_PLACE else value)
    object.__setattr__(own, "owner", owner)
    object.__setattr__(own, "params", ParamsDict())
    if task_id is not None:
        object.__setattr__(own, "task_id", task_id)
    group.add(own)
    dag.add_task(own)
    return own
