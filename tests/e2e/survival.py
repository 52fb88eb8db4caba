"""Stories of runs that something happens to: what a table of them consists of, and what plays all of them at once."""

import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Sequence, Tuple

from tests.e2e.alerts import Alerts
from tests.e2e.engine import POLL, TIMEOUT, Engine
from tests.trees import DATA, folder_tree

DONE, KILLED, NOT_STARTED = "EssentialContainerExited", "UserInitiated", "TaskFailedToStart"  # ECS's stop codes

MAX_STARTING = 6  # tasks whose processes start at the same time: an import may take 8 s


class Case(NamedTuple):
    """A run of one ECS task, what happens to it, and what must follow.

    Args:
        faults: What requests meet from the start: operation, kind, and more; see ``tools.local.faults``.
        agent: What becomes of the ECS tasks from the start; see ``tools.local.tasks``.
        steps: What is waited for, and what is done then.
        defaults: What the provider says of its task, as YAML.
        conf: What a person types at the trigger.
        ends: How Airflow's task ends.
        tries: How many it takes.
        ecs_tasks: The stop codes of all ECS tasks that were started.
        log: What stands in the log of the last try of these.
        alert: What stands in the one alert; empty if there must be none.
    """

    faults: Sequence[Tuple[str, Any, Mapping[str, Any]]] = ()
    agent: Mapping[str, Any] = {}
    steps: Sequence[Tuple["Condition", "Action"]] = ()
    defaults: str = ""
    conf: Mapping[str, Any] = {}
    ends: str = "success"
    tries: int = 1
    ecs_tasks: Sequence[str] = (DONE,)
    log: str = ""
    alert: str = ""


class Story:
    """A case that is played. Its name is that of a provider, and of the family of its ECS tasks."""

    def __init__(self, engine: Engine, name: str, case: Case) -> None:
        self.engine, self.name, self.case = engine, name, case
        self.steps = list(case.steps)
        self.ecs_tasks: List[Dict[str, Any]] = []
        for operation, kind, more in case.faults:
            engine.agent.add_fault(operation, kind, family=name, **more)
        for setting, value in case.agent.items():
            engine.agent.set(**{setting: {name: value}})
        self.run = engine.trigger(f"ecs-trouble_dag_{name}", **case.conf)

    def play(self, ecs_tasks: Iterable[Dict[str, Any]]) -> bool:
        """Take the next step if its time has come; return whether the story is at its end."""
        self.ecs_tasks = [task for task in ecs_tasks if task["family"] == self.name]
        while self.steps and self.steps[0][0](self):
            self.steps.pop(0)[1](self)
        return not self.steps and self.is_over()

    def is_over(self) -> bool:
        """Return whether the run has ended and no process and no ECS task of it is left."""
        return (
            str(self.run.row()["state"]) in ("success", "failed")
            and all(task["status"] == "STOPPED" for task in self.ecs_tasks)
            and not self.run.processes()
        )


Condition = Callable[[Story], bool]
Action = Callable[[Story], Any]


def survival_tree(folder: Path, cases: Mapping[str, Case]) -> Path:
    """Make ``folder/dags/etl`` with a provider for each case; return it."""
    root = folder_tree(folder, DATA / "survival")
    with open(str(root / "pipelines" / "ecs" / "trouble.yaml"), "a") as file:
        for name, case in cases.items():
            print(f"  {name}: {{defaults: {{{case.defaults}}}}}", file=file)
    return root


def play(engine: Engine, cases: Mapping[str, Case]) -> Dict[str, Story]:
    """Play all cases, as many at once as the machine can start, to the end of the last one."""
    waiting, stories, deadline = list(cases), {}, time.monotonic() + TIMEOUT
    open_ones: List[Story] = []
    while (waiting or open_ones) and time.monotonic() < deadline:
        ecs_tasks = engine.agent.all_tasks()
        open_ones = [story for story in open_ones if not story.play(ecs_tasks)]
        starting = sum(not story.run.log() for story in open_ones)
        for name in waiting[: MAX_STARTING - starting]:
            waiting.remove(name)
            stories[name] = Story(engine, name, cases[name])
            open_ones.append(stories[name])
        time.sleep(POLL)
    assert not waiting, f"{waiting} were not played"
    return stories


def check(story: Story, alerts: Alerts) -> None:
    """Assert that what had to follow has followed."""
    case, run = story.case, story.run
    assert not story.steps, f"{len(story.steps)} of {len(case.steps)} steps were not reached"
    task = run.task()
    tries = task["try_number"]
    log = "".join(run.log(attempt=attempt) for attempt in range(case.tries, tries + 1))
    assert task["state"] == case.ends, log
    # A busy scheduler finds a lost task again before it has taken note of the first time, and tries it once more.
    assert tries == case.tries or (is_lost(case) and tries > case.tries), log
    assert [each["stop_code"] for each in story.ecs_tasks] == list(case.ecs_tasks), log
    assert case.log in log
    received = [alert["Message"] for alert in alerts.of(Run=run.run_id, DAG=run.dag_id)]
    assert len(received) == bool(case.alert), received
    assert case.alert in "".join(received)
    assert "Failed to load task run error" not in log


def is_lost(case: Case) -> bool:
    """Return whether the worker is killed."""
    return any(action is kill for _, action in case.steps)


# ---------------------------------------------------------------------------------------------- what is waited for


def logged(text: str, attempt: int = 1) -> Condition:
    """Wait until the log of a try has a text."""
    return lambda story: text in story.run.log(attempt=attempt)


def ecs_task(*statuses: str) -> Condition:
    """Wait until there are as many ECS tasks, with these statuses."""
    return lambda story: [task["status"] for task in story.ecs_tasks] == list(statuses)


def now(_: Story) -> bool:
    """Wait for nothing."""
    return True


def succeeded(story: Story) -> bool:
    """Wait until the run has succeeded."""
    return str(story.run.row()["state"]) == "success"


def failed(story: Story) -> bool:
    """Wait until the run has failed."""
    return str(story.run.row()["state"]) == "failed"


# -------------------------------------------------------------------------------------------------- what is done


def kill(story: Story) -> None:
    """Kill the worker and all processes below it, as if its machine had failed."""
    story.engine.kill([story.run])


def terminate(story: Story) -> None:
    """Ask the task's process to end.

    Not its supervisor: where that is asking the database, its own handler fails (Airflow 2.2.2), and nobody is told.
    """
    story.run.processes()[-1].terminate()


def mark(state: str) -> Action:
    """Set the task's state, as a person does."""
    return lambda story: story.engine.ask("mark", story.run.dag_id, story.run.run_id, "load", state)


def clear(story: Story) -> None:
    """Clear the task, as a person does."""
    story.engine.ask("clear", story.run.dag_id, story.run.run_id, "load")


def agent(**settings: Any) -> Action:
    """Change what becomes of the ECS tasks."""
    return lambda story: story.engine.agent.set(**{name: {story.name: value} for name, value in settings.items()})


def forget(story: Story) -> None:
    """Have ECS forget the ECS task."""
    story.engine.agent.set(forget=[story.name], seconds={story.name: 0})


def fault(operation: str, kind: Any, **more: Any) -> Action:
    """Add a fault."""
    return lambda story: story.engine.agent.add_fault(operation, kind, family=story.name, **more)


def both(*actions: Action) -> Action:
    """Do several things."""
    return lambda story: [action(story) for action in actions]
