"""Markup in a definition is text in the web page: none of it runs, in any place."""

import json
from typing import Iterator, List
from urllib.parse import quote, urlencode

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser.conftest import Site, fill_in, open_docs, rows_of, screenshot, until

SCRIPT = "<script>alert('stolen')</script>"
LINK = "[x](javascript:alert('stolen'))"
IMAGE = "<img src=x onerror=alert('stolen')>"
MARKUP = f"{SCRIPT} {LINK} {IMAGE}"
# The elements that they would be in the page if they were more than text. Airflow's own scripts are longer.
INJECTED = """() => [...document.querySelectorAll("script, a, img")].filter((element) =>
    element.matches("[onerror], a[href^='javascript:alert']") || element.textContent === "alert('stolen')"
).map((element) => element.outerHTML)"""

DAG = "testing-markup_dag_page"
DEFINITION = {
    "description": MARKUP,
    "start_date": "2022-01-01",
    "tags": [SCRIPT, LINK, IMAGE],
    "params": {"text": {"type": "string", "default": MARKUP, "title": MARKUP, "description": MARKUP}},
    "defaults": {"tags": {"markup": MARKUP}, "pool": "default_pool"},
    "tasks": {
        "show": {
            "task_definition": "smoke",
            "command": [MARKUP, "{{ params.text }}", "{{ provider.text }}"],
            "environment": {"TEXT": MARKUP},
        }
    },
    "providers": {"page": {"variables": {"text": MARKUP}}},
}
BROKEN = {SCRIPT: 1, LINK: 2, IMAGE: 3, "start_date": MARKUP, "tasks": {"a": {"pool": MARKUP}}, "providers": {"a": {}}}


def write(site: Site, name: str, definition: object) -> None:
    """Write a definition; JSON is YAML."""
    (site.pipelines / "testing" / name).write_text(json.dumps(definition, indent=1))


@pytest.fixture(scope="module")
def dag(site: Site) -> Iterator[str]:
    """Write a definition with markup wherever it accepts text; return the id of its DAG."""
    write(site, "markup.yaml", DEFINITION)
    site.wait_for_dags()
    yield DAG
    (site.pipelines / "testing" / "markup.yaml").unlink()
    site.wait_for_dags()


def test_markup_that_runs_is_detected(page: Page, dialogs: List[str]) -> None:
    page.set_content(f"{SCRIPT} {IMAGE} <a href=\"javascript:alert('stolen')\">x</a>")
    until(lambda: len(page.evaluate(INJECTED)) == 3 and len(dialogs) == 2, "two dialogs")
    assert dialogs == ["stolen", "stolen"]
    dialogs.clear()


def test_the_list_shows_markup_as_text(page: Page, dag: str) -> None:
    page.goto("/home")
    assert sorted(rows_of(page)[dag]) == sorted(["testing", "markup", "page", "development", SCRIPT, LINK, IMAGE])
    page.hover(f"strong:text-is('{dag}')")
    expect(page.locator(".tooltip").first).to_contain_text(SCRIPT)
    assert page.evaluate(INJECTED) == []


@pytest.mark.parametrize("path", ["/graph", "/trigger"])
def test_the_docs_show_markup_as_text(page: Page, dag: str, path: str) -> None:
    page.goto(f"{path}?dag_id={dag}")
    docs = open_docs(page)
    expect(docs.locator("p").first).to_have_text(MARKUP)
    command, default, description = (docs.locator("td").nth(index) for index in (5, 8, 9))
    expect(command).to_have_text(f"{MARKUP} {{{{ params.text }}}} {{{{ provider.text }}}}")
    expect(default).to_have_text(json.dumps(MARKUP))
    expect(description).to_have_text(MARKUP)
    assert page.evaluate(INJECTED) == []
    screenshot(page, f"markup{path.replace('/', '-')}")


def test_a_run_shows_markup_as_text(site: Site, page: Page, dag: str) -> None:
    page.goto(f"/trigger?dag_id={dag}")
    assert page.evaluate(INJECTED) == []
    fill_in(page, json.dumps({"text": IMAGE}))
    page.click("button:text-is('Trigger')")
    page.wait_for_url("**/home")
    (run,) = site.runs(dag)
    site.wait_for_run(dag, run["dag_run_id"], "success")

    of_task = urlencode({"dag_id": dag, "task_id": "show", "execution_date": run["execution_date"]}, quote_via=quote)
    page.goto(f"/log?{of_task}")
    expect(page.locator("pre")).to_contain_text(f"emulated: with TEXT={MARKUP}")
    assert page.evaluate(INJECTED) == []
    for path in (f"/task?{of_task}", f"/rendered-templates?{of_task}", f"/dagrun/list/?_flt_3_dag_id={dag}"):
        page.goto(path)
        expect(page.locator("body")).to_contain_text(IMAGE)
        assert page.evaluate(INJECTED) == [], path
    for path in (f"/tree?dag_id={dag}", f"/dag_details?dag_id={dag}", f"/gantt?dag_id={dag}"):
        page.goto(path, wait_until="networkidle")
        assert page.evaluate(INJECTED) == [], path
    page.goto(f"/graph?dag_id={dag}")
    page.hover("g.node#show")
    expect(page.locator(".tooltip").first).to_be_visible()
    assert page.evaluate(INJECTED) == []


def test_the_banner_shows_markup_as_text(site: Site, page: Page) -> None:
    names = ["broken.yaml", f"{IMAGE}.yaml"]
    try:
        for name in names:
            write(site, name, BROKEN)

        def has_banner() -> bool:
            page.goto("/home")
            return page.locator(".dag-import-error", has_text=names[-1]).count() == 1

        until(has_banner, "the banner")
        page.click("#alerts-accordion-toggle")
        error = page.locator(".dag-import-error")
        error.click()
        for text in (SCRIPT, LINK, IMAGE):
            expect(error).to_contain_text(f'"{text}"')
        assert page.evaluate(INJECTED) == []
        screenshot(page, "markup-banner")
    finally:
        for name in names:
            (site.pipelines / "testing" / name).unlink()
