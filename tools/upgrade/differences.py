"""What an upgrade of Airflow changes for people: one table, for ``./etl upgrade-test`` and docs/upgrading.md."""

import json
from datetime import timedelta
from typing import Callable, Iterable, Iterator, List, NamedTuple, Optional

from orchestrator import Definition


class Difference(NamedTuple):
    """What differs between two generations, and why.

    Attributes:
        what: What people see.
        before: In 2.2.2.
        after: In the newer generation.
        why: What Airflow does, and what we make of it.
        since: The first generation that has it.
        concerns: Whether it is about a definition; None if it is about every environment.
    """

    what: str
    before: str
    after: str
    why: str
    since: str = "3"
    concerns: Optional[Callable[[Definition], bool]] = None


def has_sla(definition: Definition) -> bool:
    """Return whether a task has an SLA."""
    return any(planned.task.sla is not None for planned in definition.plan.tasks.values())


def has_params(definition: Definition) -> bool:
    """Return whether a person may type params."""
    return bool(definition.settings.effective_params)


def has_short_poke_interval(definition: Definition) -> bool:
    """Return whether a DAG looks for what it waits for more often than Airflow 3 can."""
    intervals = [wait.poke_interval for _, wait in definition.settings.waits if wait.poke_interval]
    return any(interval < timedelta(seconds=10) for interval in intervals)


def names_run_id(definition: Definition) -> bool:
    """Return whether a task's request has the id of the run."""
    return any("run_id" in json.dumps(planned.operator, default=str) for planned in definition.plan.tasks.values())


def goes_by_a_zone(definition: Definition) -> bool:
    """Return whether a schedule goes by clocks that may change."""
    return definition.schedule is not None and definition.settings.timezone not in (None, "UTC")


DIFFERENCES = [
    Difference(
        "The list and the history of runs",
        "tree view",
        "grid view",
        "Airflow's own pages; a link into one has another address",
        "2.11",
    ),
    Difference(
        "The docs of a DAG",
        "tables of HTML",
        "the same tables, of Markdown",
        "Airflow escapes HTML in docs from 2.11 on",
        "2.11",
    ),
    Difference(
        "A problem in a definition",
        "banner of `etl/factory.py`",
        "2.11: banner of `etl/factory.py/definitions`; 3: of `etl/problems.py`",
        "From 2.3 on, Airflow starts no runs of the DAGs of a file with an import error, so the problems are another's."
        " 2.11 takes the banner away whenever it lists the files (`scheduler.dag_dir_list_interval`), until the next"
        " parse",
        "2.11",
    ),
    Difference(
        "A container whose DAGs folder has no release that works, while files arrive",
        "for 5 minutes nothing changes",
        "2.11: after some 2 minutes all DAGs leave the list, and start no runs; 3: at once, with a banner. All are back"
        " with the next good parse",
        "From 2.11 on, Airflow takes out what was not parsed for `stale_dag_threshold`; 3 also takes the exit of a file"
        " for an import error",
        "2.11",
    ),
    Difference(
        "The day on which clocks change, with `timezone` and a schedule of several times a day",
        "hours are counted from the run before: `0 7,19 * * *` runs at 08:00",
        "by the clocks: at 07:00",
        "Airflow 2.2.2 counts, but for schedules of one time a day",
        "2.11",
        goes_by_a_zone,
    ),
    Difference(
        "Params at the trigger",
        "a field for JSON",
        "a form",
        "Airflow's own page; what is typed reaches the tasks in each",
        "2.11",
        has_params,
    ),
    Difference(
        "Names of a task's logs",
        "`<DAG>/<task>/<date>/<try>.log`",
        "`dag_id=<DAG>/run_id=<run>/task_id=<task>/attempt=<try>.log`",
        "Airflow's own; queries and subscriptions in CloudWatch that have such a name need the new one",
        "2.11",
    ),
    Difference(
        "A task that a person marks failed while it runs",
        "an alert",
        "no alert; its ECS task is stopped, as before",
        "Airflow calls that no failure from 2.11 on",
        "2.11",
    ),
    Difference(
        "`day_of_week` of a date in a template",
        "Sunday is 0",
        "Monday is 0",
        "pendulum 3; `./etl check --airflow 2.11` reports it",
        "2.11",
    ),
    Difference(
        "`next_ds`, `execution_date` and others in a template",
        "a value",
        "gone: the task fails before it starts anything",
        "`./etl check --airflow 3` reports each, with what to write instead",
    ),
    Difference(
        "`sla`",
        "an alert when a task is late",
        "nothing",
        "Airflow 3 has no SLAs; `./etl check --airflow 3` reports each",
        concerns=has_sla,
    ),
    Difference(
        "A `poke_interval` below 10 s",
        "as it says",
        "10 s",
        "Airflow 3 learns late that a look is over, and would count the next one as lost",
        concerns=has_short_poke_interval,
    ),
    Difference(
        "The dates of a run that is triggered",
        "the moment of the trigger",
        "none in Airflow; in templates the moment of the trigger, as before",
        "Airflow 3 gives such a run no logical date, so our tasks fill the names in",
    ),
    Difference(
        "`prev_data_interval_start_success` and `..._end_success` in a run that is triggered",
        "those of the last run that succeeded",
        "none",
        "They come with the logical date in Airflow 3",
    ),
    Difference(
        "`run_id` of a scheduled run",
        "`scheduled__` and the start of its data interval",
        "`scheduled__` and the moment at which it starts",
        "Airflow's own; `{{ run_id }}` is another text, and each run still has its own",
        concerns=names_run_id,
    ),
    Difference(
        "`task_instance_key_str` in a run that is triggered",
        "ends with the date",
        "ends with the id of the run",
        "Airflow's own",
    ),
    Difference(
        "Airflow's REST API",
        "`/api/v1`, `execution_date`",
        "`/api/v2`, `logical_date`",
        "Airflow's own; scripts that call it have to follow",
    ),
    Difference(
        "Airflow's commands",
        "`db init`, `dags backfill`, `tasks run`",
        "`db migrate`, `backfill create`; `tasks run` is gone",
        "Airflow's own; scripts that call them have to follow",
    ),
]


def differences(generation: str, definitions: Optional[Iterable[Definition]] = None) -> Iterator[Difference]:
    """Yield what differs in a generation; of definitions, only what concerns one of them."""
    known: Optional[List[Definition]] = None if definitions is None else list(definitions)
    for difference in DIFFERENCES:
        if generation == "2.11" and difference.since == "3":
            continue
        if known is None or difference.concerns is None or any(map(difference.concerns, known)):
            yield difference
