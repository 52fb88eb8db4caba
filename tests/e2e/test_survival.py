"""Runs whose worker dies, whose ECS task is refused, whose definition is wrong or whose delivery is late."""

import json
import subprocess
from typing import Any, Dict, Iterator, List

import pytest

from tests.e2e.alerts import Alerts
from tests.e2e.engine import PARALLEL, Engine, Run
from tests.e2e.survival import (
    DONE,
    KILLED,
    MAX_STARTING,
    NOT_STARTED,
    Case,
    Story,
    agent,
    both,
    check,
    clear,
    ecs_task,
    failed,
    fault,
    forget,
    is_lost,
    kill,
    logged,
    mark,
    now,
    play,
    succeeded,
    survival_tree,
    terminate,
)

PACE = 0.2  # of what the operator waits for
TWO_MINUTES, HOUR = 120 * PACE, 3600
LOGS = {
    "logConfiguration": {
        "logDriver": "awslogs",
        "options": {"awslogs-group": "/ecs/etl", "awslogs-stream-prefix": "etl", "awslogs-region": "eu-west-1"},
    }
}
WAITING = logged("emulated: app would run")  # its first look at the log is over

# Where a try may be when its worker is lost: what brings it there, and how a story sees that it is there.
POINTS: Dict[str, Any] = {
    "before_run_task": ({"faults": [("RunTask", 503, {"times": 4})]}, logged("Attempt 4 in")),
    "in_flight": (
        {"faults": [("RunTask", "slow: 6", {"times": 1})], "agent": {"seconds": HOUR}},
        lambda story: bool(story.ecs_tasks),
    ),
    "after_run_task": (
        {"faults": [("DescribeTasks", "slow: 6", {"times": 1})], "agent": {"seconds": HOUR}},
        logged("The ECS task in the console"),
    ),
    "waiting": ({"agent": {"seconds": HOUR}}, WAITING),
    "container_ended": ({"agent": {"ending": HOUR}}, ecs_task("DEPROVISIONING")),
    "reading_the_log": (
        {"faults": [("GetLogEvents", 503, {"seconds": 15})], "agent": {"seconds": 2}},
        logged("Attempt 3 in"),
    ),
}
RETRIES = "retries: 3"  # one would do, but see check()
TAKEN_UP, ENDS = logged("Taking up", 2), agent(seconds=0, ending=0)
AT_POINTS = {}
for point, (start, is_there) in POINTS.items():
    started = point != "before_run_task"
    still_runs = start.get("agent", {}).get("seconds") == HOUR
    AT_POINTS[f"killed_{point}"] = Case(
        **start,
        defaults=RETRIES,
        steps=[(is_there, kill), (TAKEN_UP, ENDS)] if still_runs else [(is_there, kill), (now, agent(ending=0))],
        tries=2,
        log="which an earlier try started" if started else "emulated: exited with code 0",
    )
    AT_POINTS[f"terminated_{point}"] = Case(
        **start,
        steps=[(is_there, both(terminate, agent(ending=0)))],
        ends="failed",
        ecs_tasks=[DONE if started and not still_runs else KILLED],
        alert="SIGTERM",
    )

AWAY = {
    f"{operation.lower()}_away_{words}": Case(faults=[(operation, 503, {"seconds": seconds})], log="exited with code 0")
    for operation in ("RunTask", "DescribeTasks", "GetLogEvents")
    for words, seconds in (("shortly", 2), ("for_long", TWO_MINUTES))
}

# The container is refused to stop for longer than Airflow waits. A retry is left, which takes the ECS task up.
NOT_STOPPED = {
    f"stop_{words}": Case(
        faults=[("StopTask", kind, {})],
        agent={"seconds": HOUR},
        defaults="execution_timeout: 20s, retries: 1",
        steps=[(TAKEN_UP, ENDS)],
        tries=2,
    )
    for words, kind in (
        ("denied", "AccessDeniedException: not authorized to perform: ecs:StopTask"),
        ("throttled", "ThrottlingException: Rate exceeded"),
    )
}
# ECS has stopped it, and does not say so in time.
NOT_STOPPED["stop_without_answer"] = NOT_STOPPED["stop_denied"]._replace(
    faults=[("StopTask", "slow: 30", {})],
    steps=[(logged("An earlier try started", 2), ENDS)],
    ecs_tasks=[KILLED, DONE],
)

REFUSED = {
    "denied": ("AccessDeniedException: not authorized to perform: ecs:RunTask", "task_definition:"),
    "unknown": ("ClientException: Unable to describe task definition.", "task_definition:"),
    "no_cluster": ("ClusterNotFoundException: Cluster not found.", "no_cluster:"),
}


def redeploy(story: Story) -> None:
    """Deploy a definition in which the provider's ECS task is another one."""
    file = story.engine.dags / "etl" / "pipelines" / "ecs" / "trouble.yaml"
    before = f"{story.name}: {{"
    changed = "tasks: {load: {task_definition: another, tags: {deployed: again}}}, "
    part = file.with_suffix(".part")
    part.write_text(file.read_text().replace(before, before + changed))
    part.rename(file)


CASES: Dict[str, Case] = {
    **AT_POINTS,
    **AWAY,
    **NOT_STOPPED,
    "listtasks_away": Case(
        faults=[("ListTasks", 503, {"seconds": TWO_MINUTES})],
        agent={"seconds": HOUR},
        defaults=RETRIES,
        steps=[(WAITING, kill), (TAKEN_UP, ENDS)],
        tries=2,
    ),
    "stoptask_away": Case(
        faults=[("StopTask", 503, {"seconds": 2})],
        agent={"seconds": HOUR},
        steps=[(WAITING, terminate)],
        ends="failed",
        ecs_tasks=[KILLED],
        alert="SIGTERM",
    ),
    "describe_denied": Case(
        agent={"seconds": HOUR},
        steps=[(WAITING, both(fault("DescribeTasks", "AccessDeniedException: no", seconds=5), ENDS))],
    ),
    "all_away": Case(faults=[("*", "drop", {"seconds": TWO_MINUTES / 2})], log="exited with code 0"),
    "all_away_meanwhile": Case(
        agent={"seconds": HOUR}, steps=[(WAITING, both(fault("*", "drop", seconds=TWO_MINUTES / 2), ENDS))]
    ),
    "answer_lost": Case(faults=[("RunTask", "lost", {"times": 1})]),
    "throttled": Case(faults=[("RunTask", "ThrottlingException", {"times": 2})], log="ThrottlingException"),
    "no_capacity": Case(faults=[("RunTask", "failure: RESOURCE:MEMORY", {"times": 2})], log="RESOURCE:MEMORY"),
    "no_capacity_later": Case(agent={"ends": ["Capacity is unavailable at this time."]}, ecs_tasks=[NOT_STARTED, DONE]),
    "no_image": Case(
        agent={"ends": ["CannotPullContainerError: no such image"]},
        ends="failed",
        ecs_tasks=[NOT_STARTED],
        alert="CannotPullContainerError: no such image",
    ),
    **{
        name: Case(
            faults=[("RunTask", error, {"times": 1})],
            defaults=f"retries: 3{', cluster: gone' if name == 'no_cluster' else ''}",
            ends="failed",
            ecs_tasks=[],
            alert=f"when calling the RunTask operation: {error.partition(': ')[2]}. Look at dags/etl/pipelines/ecs/",
        )
        for name, (error, _) in REFUSED.items()
    },
    # ----------------------------------------------------------------------------------- how an ECS task ends
    "sidecar_stopped": Case(agent={"ends": {"app": 0, "sidecar": 143}}, log="container 'sidecar' exited with code 143"),
    "sidecar_well": Case(
        agent={"ends": {"app": 1, "sidecar": 0}}, ends="failed", alert="container 'app' exited with code 1"
    ),
    "forgotten": Case(
        agent={"seconds": HOUR}, steps=[(WAITING, forget)], ends="failed", alert="ECS no longer knows the task"
    ),
    "skipped": Case(agent={"ends": [99]}, defaults="skip_exit_codes: [99]", ends="skipped", log="exited with code 99"),
    "fails_once": Case(agent={"ends": [1]}, defaults="retries: 1", tries=2, ecs_tasks=[DONE, DONE]),
    "fails_twice": Case(
        agent={"ends": [3, 3], "log_lines": ["one", "two"]},
        defaults="retries: 1",
        ends="failed",
        tries=2,
        ecs_tasks=[DONE, DONE],
        alert="exited with code 3",
    ),
    # ------------------------------------------------------------------------------------ what Airflow or a person does
    "timeout": Case(
        agent={"seconds": HOUR},
        defaults="execution_timeout: 15s",
        ends="failed",
        ecs_tasks=[KILLED],
        log="AirflowTaskTimeout",
        alert="Reason: Timeout",
    ),
    "marked_failed": Case(
        agent={"seconds": HOUR},
        steps=[(WAITING, mark("failed"))],
        ends="failed",
        ecs_tasks=[KILLED],
        alert="task marked as failed externally",
    ),
    "marked_success": Case(agent={"seconds": HOUR}, steps=[(WAITING, mark("success"))], ecs_tasks=[KILLED]),
    "cleared": Case(
        agent={"seconds": HOUR},
        steps=[(WAITING, clear), (ecs_task("STOPPED", "RUNNING"), ENDS)],
        tries=2,
        ecs_tasks=[KILLED, DONE],
    ),
    # Clearing a task means that it should run again.
    "cleared_after_success": Case(steps=[(succeeded, clear)], tries=2, ecs_tasks=[DONE, DONE]),
    "cleared_after_loss": Case(
        agent={"seconds": HOUR},
        steps=[(WAITING, kill), (failed, ENDS), (ecs_task("STOPPED"), clear)],
        tries=2,
        ecs_tasks=[DONE, DONE],
        alert="as zombie",  # a parse reports it, as its worker no longer can
    ),
    "redeployed": Case(
        agent={"seconds": HOUR},
        defaults=RETRIES,
        steps=[(WAITING, kill), (now, redeploy), (TAKEN_UP, ENDS)],
        tries=2,
    ),
    "redeployed_after_end": Case(
        agent={"seconds": HOUR},
        defaults=RETRIES,
        steps=[(WAITING, kill), (now, redeploy), (now, ENDS)],
        tries=2,
        log="which an earlier try started: STOPPED",
    ),
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("survival")
    dags = survival_tree(folder, CASES).parent
    with Engine(folder / "home", dags, ECS_LOCAL_PACE=str(PACE), **PARALLEL) as engine:
        yield engine


@pytest.fixture(scope="module")
def alerts(engine: Engine) -> Alerts:
    return Alerts(engine)


@pytest.fixture(scope="module")
def stories(engine: Engine, alerts: Alerts) -> Dict[str, Story]:
    containers = [{"name": name, "image": name, "memory": 512, **LOGS} for name in ("app", "sidecar")]
    for family in ("sidecar_stopped", "sidecar_well"):
        engine.client("ecs").register_task_definition(family=family, containerDefinitions=containers)
    # Those whose worker is lost first, and alone: a scheduler that is busy finds a lost task again before it has taken
    # note of the first time, and sets it back once more (Airflow 2.2.2: DagFileProcessorManager._find_zombies).
    lost = {name: case for name, case in CASES.items() if is_lost(case)}
    others = {name: case for name, case in CASES.items() if name not in lost}
    return {**play(engine, lost), **play(engine, others)}


@pytest.mark.parametrize("name", CASES)
def test_what_must_follow_follows(name: str, stories: Dict[str, Story], alerts: Alerts) -> None:
    check(stories[name], alerts)


@pytest.mark.parametrize("name", NOT_STOPPED)
def test_a_refused_stop_changes_neither_why_a_try_failed_nor_when(
    name: str, stories: Dict[str, Story], engine: Engine
) -> None:
    log = stories[name].run.log(attempt=1)
    assert "AirflowTaskTimeout" in log
    assert "Marking task as UP_FOR_RETRY" in log
    assert "could not be stopped" in log
    sql = "SELECT duration FROM task_fail WHERE dag_id = %s"
    (failure,) = engine.query(sql, stories[name].run.dag_id)
    assert failure["duration"] < 60


@pytest.mark.parametrize("name", REFUSED)
def test_a_mistake_in_the_definition_fails_at_once_and_names_its_line(
    name: str, stories: Dict[str, Story], alerts: Alerts, engine: Engine
) -> None:
    error, line = REFUSED[name]
    definition = (engine.dags / "etl" / "pipelines" / "ecs" / "trouble.yaml").read_text().splitlines()
    number = next(number for number, text in enumerate(definition, 1) if text.strip().startswith(line))
    (alert,) = alerts.of(Run=stories[name].run.run_id, DAG=stories[name].run.dag_id)
    assert alert["Try"] == "1 of 4"
    assert f"({error.partition(': ')[0]})" in alert["Reason"]
    assert f"Look at dags/etl/pipelines/ecs/trouble.yaml:{number}:" in alert["Reason"]


def test_an_alert_is_complete(stories: Dict[str, Story], alerts: Alerts) -> None:
    run = stories["fails_twice"].run
    (alert,) = alerts.of(Run=run.run_id, DAG=run.dag_id)
    assert alert["Subject"] == f"{run.dag_id} load failed"
    assert (alert["DAG"], alert["Provider"], alert["Task"]) == (run.dag_id, "fails_twice", "load")
    assert alert["Try"] == "2 of 2"
    assert alert["Reason"].startswith("The ECS task has failed: container 'app' exited with code 3")
    assert "The last lines of its log:\n" in alert["Message"]
    assert "\none\ntwo\n" in alert["Message"]
    assert alert["Log"].startswith("http://localhost:8080/log?execution_date=")


# ------------------------------------------------------------------------------------------------------ many at once


def test_fifty_runs_whose_worker_is_killed_have_one_ecs_task_each(stories: Dict[str, Story], engine: Engine) -> None:
    dag_id, number = "ecs-crowd_dag_crowd", 50
    engine.agent.set(seconds={"crowd": HOUR}, crowd={"crowd": ["etl", 300]})
    runs: List[Run] = []

    def running() -> bool:
        done = sum(task["status"] == "RUNNING" for task in engine.agent.tasks("crowd"))
        for _ in range(min(number - len(runs), MAX_STARTING - len(runs) + done)):
            runs.append(engine.trigger(dag_id))
        return bool(done == number)

    try:
        engine.wait_for(running)
        engine.kill(runs[: number // 2])
    finally:  # the tests after this one need the slots
        engine.agent.set(seconds={"crowd": 0})

    assert [run.end() for run in runs] == ["success"] * number
    tasks = [task for task in engine.agent.tasks("crowd") if task["startedBy"] != "crowd"]
    assert [task["stop_code"] for task in tasks] == [DONE] * number
    assert sum(run.task()["try_number"] > 1 for run in runs) >= number // 2


# --------------------------------------------------------------------------------------------------- words and hands


def test_a_container_hands_its_last_line_on_or_skips_what_comes_after(engine: Engine) -> None:
    engine.agent.set(log_lines={"message": ["reading", "s3://bucket/part-7"]}, ends={"message": [0, 99]})
    handed, skipped = (engine.trigger("ecs-message_dag_message") for _ in range(2))

    assert (handed.end(), skipped.end()) == ("success", "success")
    states = {(run.task("fetch")["state"], run.task("load")["state"]) for run in (handed, skipped)}
    assert states == {("success", "success"), ("skipped", "skipped")}
    log = "".join(run.log() for run in (handed, skipped))
    assert "emulated: app would run load s3://bucket/part-7" in log


def test_a_person_tries_a_task_by_hand_and_each_time_an_ecs_task_is_started(engine: Engine) -> None:
    dag_id = "ecs-trouble_dag_by_hand"
    engine.wait_for_dag(dag_id)
    for number, words in enumerate((f"tasks test {dag_id} load 2022-03-01", f"dags test {dag_id} 2022-03-01") * 2, 1):
        done = subprocess.run(engine.airflow(*words.split()), env=engine.environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "emulated: app would run load upsert" in done.stdout or words.startswith("dags")  # which logs to a file
        assert [task["status"] for task in engine.agent.tasks("by_hand")] == ["STOPPED"] * number


# ---------------------------------------------------------------------------------------------------------- deliveries


def test_a_late_delivery_fails_with_the_awaited_address(engine: Engine, alerts: Alerts) -> None:
    run = engine.trigger("s3-deliveries_dag_late")

    assert run.end() == "failed"
    awaited = "s3://deliveries/late/part-?_*.xml was not delivered within 0:00:01"
    assert awaited in run.log("wait_for_delivery")
    assert run.task()["state"] == "upstream_failed"
    received = engine.wait_for(lambda: alerts.of(Run=run.run_id))
    assert len(received) == 1, received
    alert = received[0]
    assert alert["Reason"] == awaited


def test_a_delivery_is_found_by_its_wildcards(engine: Engine) -> None:
    s3 = engine.client("s3")
    s3.put_object(Bucket="deliveries", Key="wildcard/part-1_2022.xml.part", Body=b"not yet")
    run = engine.trigger("s3-deliveries_dag_wildcard")
    run.wait_for_task("wait_for_delivery", "up_for_reschedule")

    s3.put_object(Bucket="deliveries", Key="wildcard/part-1_2022.xml", Body=b"<catalogue/>")

    assert run.end() == "success"
    assert run.task("wait_for_delivery")["try_number"] == 1


# -------------------------------------------------------------------------------------------------------- typed params


@pytest.mark.parametrize(
    ("conf", "state", "message"),
    [
        ({"mode": "full"}, "success", "emulated: app would run load full"),
        ({"mod": "full"}, "failed", "unknown key 'mod', did you mean 'mode'?"),
        ({"mode": 1}, "failed", "'mode': 1 is not of type 'string'"),
    ],
)
def test_a_configuration_from_the_command_line_is_checked_and_used(
    conf: Dict[str, Any], state: str, message: str, engine: Engine
) -> None:
    engine.wait_for_dag("ecs-trouble_dag_typed")
    before = len(engine.agent.tasks("typed"))
    run_id = f"typed-{state}-{len(message)}"  # newer versions take no other characters
    command = engine.airflow("dags", "trigger", "ecs-trouble_dag_typed", "--run-id", run_id, "--conf", json.dumps(conf))
    subprocess.run(command, env=engine.environ, check=True, capture_output=True)
    run = Run(engine, "ecs-trouble_dag_typed", run_id)

    assert run.end() == state
    assert message in run.log()
    assert len(engine.agent.tasks("typed")) - before == (state == "success")


# -------------------------------------------------------------------------------------------------------- other DAGs


def test_a_scheduled_run_waits_for_the_last_one_of_another_dag_that_ends_by_its_end(engine: Engine) -> None:
    sql = "SELECT run_id, state FROM dag_run WHERE dag_id = 'waits-daily_dag_un' ORDER BY data_interval_start"
    done = engine.wait_for(lambda: [run for run in engine.query(sql) if run["state"] == "success"][1:])
    assert len(done) == 1
    run = Run(engine, "waits-daily_dag_un", done[0]["run_id"])
    # Airflow 2.2.2 may fail a try that asks again before the scheduler has seen the end of its last process.
    log = run.log("wait_for_waits-thrice", run.task("wait_for_waits-thrice")["try_number"])
    asked = "SELECT run_id FROM dag_run WHERE dag_id = 'waits-thrice_dag_un' AND data_interval_end = '2022-01-03'"
    assert f"run {engine.query(asked)[0]['run_id']}: it is success" in log


def test_a_run_by_hand_waits_for_the_newest_of_another_dag(engine: Engine) -> None:
    engine.client("s3").put_object(Bucket="deliveries", Key="second", Body=b"<catalogue/>")
    run = engine.trigger("waits-second_dag_un")
    run.wait_for_task("wait_for_waits-first-load", "up_for_reschedule")

    first = engine.trigger("waits-first_dag_un")

    assert run.end() == "success"
    assert f"run {first.run_id}: load is success" in run.log("wait_for_waits-first-load")
    assert first.end() == "success"
