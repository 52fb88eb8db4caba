"""The newer generations of Airflow, on their own schedulers: problems, runs that something happens to, an upgrade."""

import json
import shutil
from pathlib import Path
from typing import Dict, Iterator, List

import pytest
from orchestrator import load
from playwright.sync_api import Locator, Page, expect

from tests.e2e.alerts import Alerts
from tests.e2e.chromium import SCREENSHOTS, chromium
from tests.e2e.conftest import Etl
from tests.e2e.engine import PARALLEL, TIMEOUT, Engine
from tests.e2e.survival import Case, Story, check, play, survival_tree
from tests.e2e.test_rules import (
    test_a_schedule_goes_by_the_clocks_of_its_zone,
    test_each_item_runs_and_who_depends_on_the_task_waits_for_all,
)
from tests.e2e.test_survival import CASES as SURVIVAL
from tests.e2e.test_survival import (  # the same tests, with the engines of this module
    PACE,
    test_a_configuration_from_the_command_line_is_checked_and_used,
    test_a_delivery_is_found_by_its_wildcards,
    test_a_late_delivery_fails_with_the_awaited_address,
    test_a_run_by_hand_waits_for_the_newest_of_another_dag,
    test_a_scheduled_run_waits_for_the_last_one_of_another_dag_that_ends_by_its_end,
)
from tests.trees import COMPANY, DATA
from tools.checkout import environments
from tools.local.generations import PASSWORD, USER
from tools.setup.environments import GENERATIONS

__all__ = [
    "test_a_configuration_from_the_command_line_is_checked_and_used",
    "test_a_delivery_is_found_by_its_wildcards",
    "test_a_late_delivery_fails_with_the_awaited_address",
    "test_a_run_by_hand_waits_for_the_newest_of_another_dag",
    "test_a_schedule_goes_by_the_clocks_of_its_zone",
    "test_a_scheduled_run_waits_for_the_last_one_of_another_dag_that_ends_by_its_end",
    "test_each_item_runs_and_who_depends_on_the_task_waits_for_all",
]

pytestmark = pytest.mark.slow

NEWER = [name for name in GENERATIONS if name != "2.2.2"]
PIPELINE = """\
start_date: 2022-01-01
schedule: "@daily"
params: {country: {type: string, default: de}}
tasks:
  load: {task_definition: loader, command: [load, "{{ data_interval_start | ds }}", "{{ ds }}", "{{ params.country }}"]}
providers:
  un: {}
  wcm: {retrys: 3}
"""
DAG = "cwr-small_dag_un"
# The stories of 2.2.2 that are about Airflow more than about AWS.
SAME = ("killed_waiting", "cleared", "cleared_after_success", "terminated_waiting", "timeout", "fails_twice")
CASES: Dict[str, Case] = {
    **{name: SURVIVAL[name] for name in SAME},
    "marked_failed": SURVIVAL["marked_failed"]._replace(alert=""),  # a person has seen it
    "mistyped": Case(
        conf={"mod": "full"},
        ends="failed",
        ecs_tasks=[],
        log="unknown key 'mod', did you mean 'mode'?",
        alert="unknown key 'mod', did you mean 'mode'?",
    ),
}


@pytest.fixture(scope="module", params=NEWER)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("newer")
    root = survival_tree(folder, CASES)
    (root / "pipelines" / "cwr").mkdir()
    (root / "pipelines" / "cwr" / "small.yaml").write_text(PIPELINE)
    for name in ("zoned", "items"):
        file = Path("pipelines") / "rules" / f"{name}.yaml"
        (root / file).parent.mkdir(exist_ok=True)
        shutil.copy(str(DATA / "rules" / file), str(root / file))
    with Engine(folder / "home", root.parent, airflow=request.param, ECS_LOCAL_PACE=str(PACE), **PARALLEL) as engine:
        yield engine


@pytest.fixture(scope="module")
def alerts(engine: Engine) -> Alerts:
    return Alerts(engine)


@pytest.fixture(scope="module")
def stories(engine: Engine, alerts: Alerts) -> Dict[str, Story]:
    return play(engine, CASES)


def test_a_problem_is_shown_and_the_others_get_scheduled_runs_meanwhile(engine: Engine) -> None:
    sql = "SELECT stacktrace, filename FROM import_error"
    (error,) = engine.wait_for(lambda: engine.query(sql))
    assert "small.yaml:8:9: unknown key 'retrys'" in error["stacktrace"]

    known = "SELECT data_interval_start FROM dag_run WHERE dag_id = %s AND run_type = 'scheduled' AND state = 'success'"
    (run,) = engine.wait_for(lambda: engine.query(known, DAG))

    (stands,) = engine.query(sql)
    assert stands["filename"] == error["filename"]
    day = str(run["data_interval_start"])[:10]
    assert commands(engine)[0] == ["load", day, day, "de"]


def test_the_page_shows_the_problem_beside_the_runs_of_a_healthy_dag(engine: Engine) -> None:
    known = "SELECT * FROM dag_run WHERE dag_id = %s AND run_type = 'scheduled' AND state = 'success'"
    run = engine.wait_for(lambda: engine.query(known, DAG))[0]
    address = engine.ask("serve")
    with chromium() as browser:
        page = browser.new_page(base_url=address, viewport={"width": 1200, "height": 800})
        page.set_default_timeout(TIMEOUT * 1000)
        shown = open_problem(page, engine)
        expect(shown).to_contain_text("dags/etl/pipelines/cwr/small.yaml:8:9: unknown key 'retrys' [schema]")
        page.screenshot(path=SCREENSHOTS / f"problem-{engine.generation}.png")

        if engine.generation == "3":
            page.goto(f"/dags/{DAG}/runs/{run['run_id']}")
            expect(page.locator("body")).to_contain_text("Success")
        else:  # beside the banner
            row = page.locator("tr", has_text=DAG)
            expect(row).to_contain_text(str(run["execution_date"])[:10])


def open_problem(page: Page, engine: Engine) -> Locator:
    """Open the text of the problem in the web page; return its place."""
    if engine.generation == "3":
        page.goto("/")
        page.locator("button", has_text="Import Error").click()
        page.locator("text=etl/problems.py").click()
        return page.locator("[role=dialog]")
    page.goto("/login/")
    page.fill("#username", USER)
    page.fill("#password", PASSWORD)
    page.click("input[type=submit]")
    page.wait_for_url("**/home")
    error = page.locator(".dag-import-error", has_text="etl/factory.py/definitions")

    def is_there() -> bool:
        page.goto("/home")
        return error.count() > 0

    engine.wait_for(is_there)  # Airflow removes it whenever it lists the files, until the next parse
    page.click("a[href='#errorCollapse']")
    error.click()
    return error


def test_what_is_typed_at_the_trigger_reaches_the_container(engine: Engine) -> None:
    run = engine.trigger(DAG, country="fr")
    assert run.end() == "success"
    assert commands(engine)[-1][-1] == "fr"
    assert "exited with code 0" in run.log()


@pytest.mark.parametrize("name", CASES)
def test_what_must_follow_follows(name: str, stories: Dict[str, Story], alerts: Alerts) -> None:
    check(stories[name], alerts)


def commands(engine: Engine) -> List[List[str]]:
    """Return what the containers of the pipeline's ECS tasks were to run, in the order in which they were started."""
    requests = [request["parameters"] for request in engine.agent.requests("RunTask")]
    overrides = [each["overrides"]["containerOverrides"] for each in requests if each["taskDefinition"] == "loader"]
    return [override["command"] for (override,) in overrides]


@pytest.mark.parametrize("generation", NEWER)
def test_upgrade_test_answers_each_question(generation: str, etls: List[Etl], company: Path) -> None:
    etl = Etl("upgrade-test", generation, "--dags", str(company), "--format", "json")
    etls.append(etl)
    status = etl.wait()

    report = json.loads(etl.output[etl.output.index("{") :])
    findings = {finding["question"]: finding for finding in report["findings"]}
    gone = findings.pop("what do definitions use that is gone")
    assert ["sla" in detail for detail in gone["details"]] == ([True] if generation == "3" else [])
    assert status == (1 if generation == "3" else 0)
    assert {question: finding["details"] for question, finding in findings.items()} == {key: [] for key in findings}
    for environment in environments(COMPANY):
        dags = len(load(company / "etl", environment).definitions)
        assert findings[f"do all DAGs of {environment} load"]["answer"] == f"{dags} of {dags}"
        equal, _, requests = findings[f"are the requests of {environment} byte-identical"]["answer"].split()
        assert int(equal) == int(requests) > dags
    assert findings["are the next ten runs of staging the same"]["answer"][0] != "0"
    assert findings["does a run succeed on its scheduler"]["answer"].startswith("yes")
    assert findings["does a run fail when its task fails"]["answer"].startswith("yes")
    assert etl.processes() == []
