"""Missed SLAs: which ones Airflow is told of, and what it takes of a pass to look for them."""

import logging
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Iterable, List

import pendulum
import pytest
from airflow.timetables.base import DataInterval
from orchestrator.generations import HAS_SLAS, IS_2_2
from orchestrator.slas import Budget
from sqlalchemy import create_engine, event
from sqlalchemy.orm import Session

from tests.trees import SMALL, dag_bag, tree

pytestmark = pytest.mark.skipif(not HAS_SLAS, reason="3 has deadlines instead")


@pytest.fixture(autouse=True)
def in_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ETL__ENVIRONMENT", "development")
    monkeypatch.setattr("setproctitle.getproctitle", lambda: "airflow scheduler - DagFileProcessor factory.py")


def looks(dag: Any, last: DataInterval, task_ids: Iterable[str] = ()) -> List[Any]:
    """Return the logical dates of which Airflow tells that tasks were late for them; all tasks by default.

    Args:
        dag: One of a pass.
        last: The interval in which each task has succeeded last.
        task_ids: The tasks.
    """
    dates = []
    for task_id in task_ids or list(dag.task_dict):
        if not dag.get_task(task_id).sla:
            continue
        info = dag.next_dagrun_info(last, restricted=False)  # of this one, Airflow does not tell
        while info is not None:
            info = dag.next_dagrun_info(info.data_interval, restricted=False)
            dates += [info.logical_date] if info else []
    return dates


def test_the_slas_of_a_dag_that_is_far_behind_take_no_time(tmp_path: Path) -> None:
    text = SMALL.replace("loader}", "loader, sla: 1h}").replace("2022-01-01", "1970-01-01")
    crons = {"minutes": "* * * * *", "days": "@daily", "mondays": "* * * * 1", "years": "@yearly"}
    files = {f"cwr/{name}.yaml": f"schedule: '{cron}'\ncatchup: true\n{text}" for name, cron in crons.items()}
    dags = dag_bag(tree(tmp_path, files)).dags

    for name in crons:
        dag = dags[f"cwr-{name}_dag_un"]
        steps, now = 0, pendulum.now("UTC")
        info = dag.next_dagrun_info(None)  # and then as Airflow's DagFileProcessor.manage_slas asks for them
        dag.get_task("load")
        while info is not None and info.logical_date < now and steps < 1000:
            steps, info = steps + 1, dag.next_dagrun_info(info.data_interval, restricted=False)
        assert 0 < steps < 110, (name, steps)


def test_each_task_has_its_latest_missed_slas_found_however_many_others_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = "start_date: 2022-01-01\nschedule: '@hourly'\ncatchup: true\ndefaults: {task_definition: x}\n"
    many = "".join(f"  t{number}: {{sla: {number + 1}m}}\n" for number in range(400))
    big = f"{head}tasks:\n{many}  last: {{sla: 9h}}\nproviders:\n" + "".join(f"  p{n}: {{}}\n" for n in range(20))
    small = f"{head}tasks:\n  first: {{sla: 5m}}\n  last: {{sla: 3d}}\nproviders: {{un: {{}}}}\n"
    dags = dag_bag(tree(tmp_path, {"cwr/big.yaml": big, "cwr/small.yaml": small})).dags
    monkeypatch.setattr(type(dags["cwr-small_dag_un"]), "looking", Budget(10**6))  # seconds, also on a busy machine
    computed: List[Any] = []
    timetable = type(dags["cwr-small_dag_un"].timetable)
    real = timetable.next_dagrun_info

    def note(*arguments: Any, **more: Any) -> Any:
        computed.append(arguments)
        return real(*arguments, **more)

    monkeypatch.setattr(timetable, "next_dagrun_info", note)
    last = DataInterval(pendulum.datetime(2022, 1, 1), pendulum.datetime(2022, 1, 1, 1))

    def late(dag: Any, task_id: str) -> List[Any]:
        """Return the intervals that a task is late for, of which the last one is among them."""
        found = looks(dag, last, [task_id])
        newest = found[-1] + dag.task_dict[task_id].sla
        assert newest < dag.now <= newest + timedelta(hours=1)
        return found

    of_big = [late(dag, task.task_id) for dag_id, dag in dags.items() if "big" in dag_id for task in dag.tasks]
    of_small = [late(dags["cwr-small_dag_un"], task_id) for task_id in ("first", "last")]

    assert {len(each) for each in of_big} <= {1, 2, 3}
    assert len(computed) < 1000  # not once for each of 8,022 tasks and of its intervals
    assert {len(each) for each in of_small} <= {24, 25, 26}


# What 2.2.2 finds without our limit, from a run that succeeded: two of each day, also where one is a minute long; and
# across a clock change, where Airflow goes back on another way, some. A number of them is expected, or any.
@pytest.mark.parametrize(
    ("schedule", "zone", "sla", "now", "number"),
    [
        ("0,1 0 * * *", "UTC", "2h", "2026-11-24T12:30:00", 2),
        ("0 6,7 * * 1-5", "UTC", "2h", "2026-11-24T12:30:00", 2),
        ("0 1,2 4 10 *", "Australia/Sydney", "1h", "2026-11-28T08:30:00", 0),
        ("0 1,13 * * *", "Europe/Berlin", "6h", "2026-10-26T15:00:01", 0),
        ("*/5 0 * 3,10 0", "Antarctica/Troll", "1h", "2026-11-28T08:30:00", 0),
        ("0 2 * * *", "Europe/Berlin", "2h", "2026-03-28T06:07:00", 2),  # the next run is in an hour that is left out
        ("0 2 * * *", "Europe/Berlin", "2h", "2026-03-30T00:07:00", 2),
        ("0 2 * * *", "Europe/Berlin", "2h", "2026-03-30T06:07:00", 2),
        ("30 1 * * *", "Europe/London", "2h", "2026-03-29T06:07:00", 2),
    ],
)
def test_looks_for_missed_slas_go_on_and_end(
    schedule: str, zone: str, sla: str, now: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = f"start_date: 2025-06-01\nschedule: '{schedule}'\ntimezone: {zone}\ncatchup: true\n"
    text = f"{head}tasks: {{load: {{task_definition: x, sla: {sla}}}}}\nproviders: {{un: {{}}}}\n"
    dag = dag_bag(tree(tmp_path, {"cwr/big.yaml": text})).dags["cwr-big_dag_un"]
    dag.now = pendulum.parse(now)
    monkeypatch.setattr(type(dag), "looking", Budget(10**6))  # seconds, as every run is asked for
    runs = [dag.next_dagrun_info(None)]
    while runs[-1].data_interval.end < dag.now:
        runs.append(dag.next_dagrun_info(runs[-1].data_interval, restricted=False))

    task = dag.get_task("load")

    for run in runs[:-1]:
        steps: List[Any] = []
        last = run.data_interval
        while len(steps) < 100:
            info = dag.next_dagrun_info(last, restricted=False)
            if info is None:
                break
            assert info.data_interval.start >= last.end
            steps, last = [*steps, info.logical_date], info.data_interval
        assert len(steps) < 100
        missed = [
            each for each in (known.logical_date for known in runs) if run.logical_date < each < dag.now - task.sla
        ]
        if number and len(missed) > number:
            assert steps[-number:] == missed[-number:], run


def test_looks_for_missed_slas_end_when_a_dag_has_used_up_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slas = "".join(f"  t{n}: {{task_definition: x, sla: {n + 60}m}}\n" for n in range(50))
    text = f"schedule: '@hourly'\nstart_date: 2022-01-01\ntasks:\n{slas}providers: {{un: {{}}}}\n"
    dag = dag_bag(tree(tmp_path, {"cwr/big.yaml": text})).dags["cwr-big_dag_un"]
    last = dag.timetable.infer_manual_data_interval(run_after=pendulum.now("UTC") - timedelta(days=9))

    number = len(looks(dag, last))
    assert number >= 50
    dag.share = dag.spent * 1.01
    for cached in (dag.after, dag.latest_before, dag.start_of_looks):
        cached.cache_clear()
    assert len(looks(dag, last)) < number / 2


def test_few_dates_of_a_large_dag_are_late_and_dags_without_looks_take_nothing_from_it(tmp_path: Path) -> None:
    slas = "".join(f"  t{n}: {{task_definition: x, sla: {n + 1}m}}\n" for n in range(300))
    big = f"schedule: '* * * * *'\nstart_date: 2022-01-01\ntasks:\n{slas}providers: {{un: {{}}}}\n"
    others = "".join(f"  p{n}: {{}}\n" for n in range(500))
    without = (
        f"schedule: null\nstart_date: 2022-01-01\ntasks: {{a: {{task_definition: x, sla: 1h}}}}\nproviders:\n{others}"
    )
    dag = dag_bag(tree(tmp_path, {"cwr/big.yaml": big, "cwr/none.yaml": without})).dags["cwr-big_dag_un"]
    last = dag.timetable.infer_manual_data_interval(run_after=pendulum.now("UTC") - timedelta(days=1))

    assert len({*looks(dag, last)}) == 100  # of some 320


@pytest.mark.parametrize(
    ("number", "others", "left", "most"),
    [(60, 1000, 0, 4), (2, 5000, 0, 2), (60, 1000, 1, 25), (2, 5000, 1, 25)],
    ids=["many tasks", "many DAGs", "many tasks, others on time", "many DAGs, others on time"],
)
def test_the_last_dates_that_are_late_are_told_however_much_others_take(
    number: int, others: int, left: int, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = "".join(f"  t{n}: {{task_definition: x}}\n" for n in range(number))
    head = f"schedule: '@hourly'\nstart_date: 2022-01-01\ntasks:\n  a: {{task_definition: x, sla: 1h}}\n{tasks}"
    text = f"{head}providers: {{un: {{}}}}\n"
    dag = dag_bag(tree(tmp_path, {"cwr/big.yaml": text})).dags["cwr-big_dag_un"]
    monkeypatch.setattr(type(dag), "dags", {dag.dag_id, *map(str, range(others))})
    monkeypatch.setattr(type(dag), "looking", Budget(10**6))  # seconds, also on a busy machine
    dag.late.left *= left
    dag.read.left *= left
    last = dag.timetable.infer_manual_data_interval(run_after=dag.now - timedelta(days=9))

    dates = looks(dag, last)

    assert most - 1 <= len(dates) <= most
    assert dates[-1] + timedelta(hours=2) >= dag.now


@pytest.mark.parametrize(("others", "slas", "more"), [(0, 10, 0), (600, 10, 0), (2500, 10, 0), (60, 4, 300)])
def test_each_of_several_slas_has_its_last_date_told_beside_many_dags_that_are_on_time(
    others: int, slas: int, more: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = "".join(f"  t{n}: {{task_definition: x, sla: {30 + 25 * n}m}}\n" for n in range(slas))
    tasks += "".join(f"  u{n}: {{task_definition: x}}\n" for n in range(more))
    text = f"schedule: '@hourly'\nstart_date: 2022-01-01\ntasks:\n{tasks}providers: {{un: {{}}}}\n"
    dag = dag_bag(tree(tmp_path, {"cwr/big.yaml": text})).dags["cwr-big_dag_un"]
    monkeypatch.setattr(type(dag), "dags", {dag.dag_id, *map(str, range(others))})
    last = dag.timetable.infer_manual_data_interval(run_after=dag.now - timedelta(hours=40))

    for task in dag.tasks[:slas]:
        newest = looks(dag, last, [task.task_id])[-1]
        assert newest + task.sla < dag.now <= newest + task.sla + timedelta(hours=1)


@pytest.mark.skipif(not IS_2_2, reason="2.2.2 looks for SLAs this way")
def test_airflow_reads_the_history_of_a_dag_with_slas_once_in_a_pass(tmp_path: Path) -> None:
    from airflow.dag_processing.processor import DagFileProcessor
    from airflow.models import DagRun, SlaMiss, TaskInstance
    from airflow.models.base import Base

    text = "schedule: '@hourly'\n" + SMALL.replace("loader}", "loader, sla: 1h}\n  other: {task_definition: x}")
    dag = dag_bag(tree(tmp_path, {"cwr/big.yaml": text})).dags["cwr-big_dag_un"]
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    session = Session(engine)
    due = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - timedelta(hours=6)
    interval = due, due + timedelta(hours=1)
    session.add(DagRun(dag.dag_id, "run", execution_date=due, run_type="scheduled", data_interval=interval))
    session.add_all(TaskInstance(task, run_id="run", state="success") for task in dag.tasks)
    session.commit()
    histories: List[str] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *others: Any) -> None:
        if "max(dag_run.execution_date)" in statement:
            histories.append(str(parameters))

    event.listen(engine, "before_cursor_execute", note)
    for _ in range(3):  # times that the scheduler has looked at a run since the pass before
        DagFileProcessor(dag_ids=None, log=logging.getLogger()).manage_slas(dag, session=session)
        assert session.query(SlaMiss).count() == 4
    assert ["load" in each for each in histories] == [True, False, False]
    assert "other" not in str(histories)  # which has no SLA
    assert "other" in dag.task_ids  # or Airflow would delete its instances as those of a task that is gone


@pytest.mark.skipif(not IS_2_2, reason="2.2.2 has SLAs")
@pytest.mark.parametrize("alerts", ["", "alerts: null\n"])
def test_missed_slas_are_told_to_nobody_rather_than_kept(alerts: str, tmp_path: Path) -> None:
    """Without a callback, Airflow never marks them as told, and reads all there have ever been at each look."""
    text = alerts + SMALL.replace("loader}", "loader, sla: 1h}")
    dag = dag_bag(tree(tmp_path, {"cwr/big.yaml": text})).dags["cwr-big_dag_un"]

    assert dag.sla_miss_callback(dag, "", "", [], []) is None


@pytest.mark.skipif(not IS_2_2, reason="a template of 2.2.2 asks this way")
@pytest.mark.parametrize("sla", ["", ", sla: 1h"])
def test_an_old_run_of_a_task_finds_the_next_one_after_it(
    sla: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("setproctitle.getproctitle", lambda: "airflow task supervisor")
    text = SMALL.replace("loader}", f"loader{sla}}}")
    dag = dag_bag(tree(tmp_path, {"cwr/big.yaml": f"schedule: '@daily'\n{text}"})).dags["cwr-big_dag_un"]
    dag.get_task("load")

    assert dag.following_schedule(pendulum.datetime(2022, 3, 1)) == pendulum.datetime(2022, 3, 2)
