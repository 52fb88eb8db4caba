"""Past days run again, in the ways that docs/operations.md shows: in the page, and with ``tasks clear``."""

import re
import shlex
from typing import Iterator, List

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser.conftest import Site, screenshot
from tests.trees import REPOSITORY

DAGS = ("testing-past_dag_un", "testing-past_dag_wcm")
DAYS = ("2022-03-01", "2022-03-02", "2022-03-03")
PAST = """\
start_date: 2022-01-01
tasks:
  load: {task_definition: smoke}
providers:
  un: {}
  wcm: {}
"""


@pytest.fixture(scope="module")
def past(site: Site) -> Iterator[Site]:
    """Run two DAGs for three days."""
    file = site.pipelines / "testing" / "past.yaml"
    file.write_text(PAST)
    site.wait_for_dags()
    for dag in DAGS:
        site.unpause(dag)
        for day in DAYS:
            site.request("POST", f"/dags/{dag}/dagRuns", {"dag_run_id": day, "execution_date": f"{day}T00:00:00Z"})
    for dag in DAGS:
        for day in DAYS:
            site.wait_for_run(dag, day, "success")
    yield site
    file.unlink()
    site.wait_for_dags()


def tries(site: Site) -> List[List[int]]:
    """Return how often the task of each DAG has run on each day."""
    for dag in DAGS:
        for day in DAYS:
            site.wait_for_run(dag, day, "success")
    path = "/dags/{}/dagRuns/{}/taskInstances/load"
    return [[site.get(path.format(dag, day))["try_number"] for day in DAYS] for dag in DAGS]


def test_the_runs_of_several_dags_are_cleared_in_the_page(past: Site, page: Page) -> None:
    before = tries(past)
    filters = {
        "0_dag_id": "testing-past_",
        "1_execution_date": "2022-02-28 23:59",
        "2_execution_date": "2022-03-03 00:00",
    }
    page.goto("/dagrun/list/?" + "&".join(f"_flt_{name}={value}" for name, value in filters.items()))
    page.click("text=Search >> nth=0")
    expect(page.locator(".select2-chosen", has_text="Smaller than")).to_be_visible()
    page.locator("th input[type=checkbox]").check()
    page.click("text=Actions")
    screenshot(page, "past-runs")
    page.click("text=Clear the state")
    page.click(".modal.in >> text=OK")
    expect(page.locator(".alert", has_text="cleared")).to_contain_text("4 dag runs and 4 task instances were cleared")

    assert tries(past) == [[first + 1, second + 1, third] for first, second, third in before]


def test_the_runs_of_several_dags_are_cleared_by_the_command_of_the_documentation(past: Site) -> None:
    before = tries(past)
    text = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    (command,) = re.findall('^mwaa "(tasks clear .*--dag-regex .*)"$', text, re.MULTILINE)

    past.airflow(*shlex.split(command.replace("'^cwr-'", "^testing-past_")))

    assert tries(past) == [[first + 1, second + 1, third] for first, second, third in before]
