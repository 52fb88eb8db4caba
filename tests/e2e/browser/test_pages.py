"""The DAGs in the web page."""

import json
import re
from typing import Dict, List, Set

from playwright.sync_api import Page, expect

from tests.e2e.browser.conftest import PATIENCE, Site, fill_in, open_docs, rows_of, screenshot, until
from tests.releases import NEW, OLD, current, files_below, put, with_manifest, write

DAG = "cwr-big_dag_un"


def test_the_list_has_every_dag_with_its_tags(site: Site, page: Page) -> None:
    page.goto("/home")
    expected: Dict[str, List[str]] = {}
    for dag_id, definition in site.definitions().items():
        own = {definition.family, definition.pipeline, definition.provider, definition.context.name}
        expected[dag_id] = sorted(own | set(definition.settings.tags or ()))
    assert rows_of(page) == expected
    screenshot(page, "list")


def test_the_graph_has_the_tasks_in_their_order(page: Page) -> None:
    page.goto(f"/graph?dag_id={DAG}")
    expect(page.locator("g.node")).to_have_count(3)
    assert left_edge(page, "fetch") < left_edge(page, "parse") < left_edge(page, "load")
    expect(page.locator("g.edgePath")).to_have_count(2)
    screenshot(page, "graph")


def left_edge(page: Page, task: str) -> float:
    box = page.locator(f"g.node#{task}").bounding_box()
    assert box is not None
    return box["x"]


def test_the_docs_list_the_tasks_and_the_params(page: Page) -> None:
    page.goto(f"/graph?dag_id={DAG}")
    docs = open_docs(page)
    expect(docs).to_contain_text("Registers a publisher's full CWR catalogue.")
    expect(docs).to_contain_text(re.compile(r"dags/etl/pipelines/cwr/big\.yaml:\d+ in environment development"))
    tasks, params = (
        [row.locator("th, td").all_inner_texts() for row in table.locator("tr").all()]
        for table in docs.locator("table").all()
    )
    assert params[1:] == [["full_reload", "boolean", "false", "Ignore what was loaded before."]]
    assert [row[:3] for row in tasks] == [
        ["Task", "After", "Task definition"],
        ["fetch", "", "cwr-fetch"],
        ["parse", "fetch", "cwr-parse"],
        ["load", "parse", "cwr-load"],
    ]
    screenshot(page, "docs")


def test_a_run_that_is_triggered_in_the_page_succeeds(site: Site, page: Page) -> None:
    page.goto(f"/trigger?dag_id={DAG}")
    assert json.loads(page.locator("#json").input_value()) == {"full_reload": False}
    expect(page.locator(".CodeMirror-code")).to_contain_text('"full_reload": false')
    screenshot(page, "trigger")
    fill_in(page, '{"full_reload": true}')
    page.click("button:text-is('Trigger')")
    expect(page.locator(".alert-message, .alert-info")).to_contain_text(f"Triggered {DAG}")
    (run,) = site.runs(DAG)
    site.wait_for_run(DAG, run["dag_run_id"], "running", "success")

    page.goto(f"/graph?dag_id={DAG}")  # which refreshes itself while the run lasts
    expect(page.locator("g.node.success")).to_have_count(3, timeout=PATIENCE * 1000)
    site.wait_for_run(DAG, run["dag_run_id"], "success")
    page.reload()
    open_docs(page)
    expect(page.locator("g.node.success")).to_have_count(3)
    screenshot(page, "green")
    assert "would run load --full" in site.log(DAG, run["dag_run_id"], "load")


def test_a_broken_definition_is_a_banner_beside_the_healthy_dags(site: Site, page: Page) -> None:
    definition = site.pipelines / "cwr" / "big.yaml"
    sound = definition.read_text()
    healthy = set(site.definitions())
    broken = sound.replace('schedule: "0 6 * * 1"', 'shedule: "0 6 * * 1"')
    line = broken.partition("shedule")[0].count("\n") + 1
    definition.write_text(broken)

    error = page.locator(".dag-import-error", has_text="shedule")

    def shows(errors: int, dags: Set[str]) -> bool:
        page.goto("/home")  # whose DAGs and errors may be of two parses
        return error.count() == errors and set(rows_of(page)) == dags

    until(lambda: shows(1, healthy - {"cwr-big_dag_wcm"}), "the banner, beside all other DAGs")
    page.click("#alerts-accordion-toggle")
    expect(error).to_be_visible()
    error.click()  # shows all of it
    assert f"dags/etl/pipelines/cwr/big.yaml:{line}:5: unknown key 'shedule' [schema]" in error.inner_text()
    assert "did you mean 'schedule'?" in error.inner_text()
    screenshot(page, "banner")

    definition.write_text(sound)
    until(lambda: shows(0, healthy), "the banner's end")


def test_a_release_that_does_not_work_is_a_banner_while_the_one_before_runs(site: Site, page: Page) -> None:
    home = site.dags / "etl"
    healthy = set(site.definitions())
    files = files_below(home)
    put(home, OLD, with_manifest(files))
    put(home, NEW, with_manifest({**files, "orchestrator/rules.py": b"import not_installed"}))
    error = page.locator(".dag-import-error", has_text="not_installed")

    def shows(errors: int) -> bool:
        page.goto("/home")
        return error.count() == errors and set(rows_of(page)) == healthy

    write(home / "current", current(NEW, OLD))
    try:
        until(lambda: shows(1), "the banner, beside all DAGs")
        page.click("#alerts-accordion-toggle")
        error.click()
        reason = f"dags/etl/current:1:1: release {NEW}: ModuleNotFoundError: No module named 'not_installed'"
        assert reason in error.inner_text()
        assert f"release {OLD} runs instead" in error.inner_text()

        write(home / "current", current("2" * 16, OLD))  # as the next deploy does
        put(home, "2" * 16, with_manifest(files))

        until(lambda: shows(0), "the banner's end")
    finally:
        (home / "current").unlink()
