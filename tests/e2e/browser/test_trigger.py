"""The configuration of a run works the same from the web page, the REST API and the command line."""

import json
from typing import Any, Dict, Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.e2e.browser.conftest import TYPED_DAG, Site, fill_in, open_docs, screenshot

DOORS = ("page", "rest", "cli")
GOOD = {"greeting": "good morning"}
BAD = {"greetin": "good morning", "times": "three"}
REFUSAL = (
    "The run's configuration is not what this DAG takes: "
    "unknown key 'greetin', did you mean 'greeting'?; 'times': 'three' is not of type 'integer'"
)
LAUNCH = "The ECS task in the console"


def trigger_in_page(page: Page, day: str, conf: Dict[str, Any]) -> str:
    """Trigger with a configuration and a logical date, which names the run; return the id of the run."""
    page.goto(f"/trigger?dag_id={TYPED_DAG}")
    page.fill("#execution_date", f"{day} 00:00:00+00:00")
    fill_in(page, json.dumps(conf))
    page.click("button:text-is('Trigger')")
    page.wait_for_url("**/home")
    return f"manual__{day}T00:00:00+00:00"


def trigger_by_rest(site: Site, run_id: str, conf: Dict[str, Any]) -> str:
    """Trigger with a configuration; return the id of the run."""
    site.request("POST", f"/dags/{TYPED_DAG}/dagRuns", {"dag_run_id": run_id, "conf": conf})
    return run_id


def trigger_by_cli(site: Site, run_id: str, conf: Dict[str, Any]) -> str:
    """Trigger with a configuration; return the id of the run."""
    site.airflow("dags", "trigger", TYPED_DAG, "--run-id", run_id, "--conf", json.dumps(conf))
    return run_id


class Runs:
    """Runs that were triggered in every way and run at the same time: ids by door."""

    def __init__(self, site: Site, page: Page) -> None:
        site.unpause(TYPED_DAG)
        self.good = {
            "page": trigger_in_page(page, "2022-01-01", GOOD),
            "rest": trigger_by_rest(site, "rest-good", GOOD),
            "cli": trigger_by_cli(site, "cli-good", GOOD),
        }
        self.bad = {
            "page": trigger_in_page(page, "2022-01-02", BAD),
            "rest": trigger_by_rest(site, "rest-bad", BAD),
            "cli": trigger_by_cli(site, "cli-bad", BAD),
        }


@pytest.fixture(scope="module")
def runs(site: Site, signed_in: BrowserContext) -> Iterator[Runs]:
    page = signed_in.new_page()
    yield Runs(site, page)
    page.close()


def test_the_trigger_page_documents_the_params(page: Page) -> None:
    page.goto(f"/trigger?dag_id={TYPED_DAG}")
    assert json.loads(page.locator("#json").input_value()) == {"greeting": "hello", "times": 1}
    docs = open_docs(page)
    assert [row.locator("td").all_inner_texts() for row in docs.locator("table").last.locator("tr").all()][1:] == [
        ["greeting", "string", '"hello"', "What is said."],
        ["times", "integer", "1", "How many times it is said."],
    ]
    expect(page.locator("p", has_text="dag_run_conf")).to_contain_text("will override task params")


@pytest.mark.parametrize("door", DOORS)
def test_the_task_receives_the_configuration_of_the_run_over_the_defaults(site: Site, runs: Runs, door: str) -> None:
    run_id = runs.good[door]
    assert site.wait_for_run(TYPED_DAG, run_id, "success", "failed")["state"] == "success"
    log = site.log(TYPED_DAG, run_id, "greet")
    assert "would run 'good morning' 1" in log
    assert LAUNCH in log


@pytest.mark.parametrize("door", DOORS)
def test_an_invalid_configuration_fails_at_once_and_starts_no_ecs_task(site: Site, runs: Runs, door: str) -> None:
    run_id = runs.bad[door]
    assert site.wait_for_run(TYPED_DAG, run_id, "success", "failed")["state"] == "failed"
    task = site.get(f"/dags/{TYPED_DAG}/dagRuns/{run_id}/taskInstances/greet")
    assert (task["state"], task["try_number"], task["max_tries"]) == ("failed", 1, 3)
    log = site.log(TYPED_DAG, run_id, "greet")
    assert REFUSAL in log
    assert LAUNCH not in log


def test_the_log_page_shows_the_reason(site: Site, runs: Runs, page: Page) -> None:
    run = site.wait_for_run(TYPED_DAG, runs.bad["page"], "failed")
    page.goto(f"/log?dag_id={TYPED_DAG}&task_id=greet&execution_date={quote(run['execution_date'])}")
    expect(page.locator("pre")).to_contain_text(REFUSAL)
    page.click("text=Toggle Wrap")
    page.locator("footer").scroll_into_view_if_needed()
    screenshot(page, "refused")
