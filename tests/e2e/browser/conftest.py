"""A running Airflow whose definitions a test may change, and a Chromium that opens its pages.

The screenshots are in ``.local/screenshots/``. Some of them are in ``docs/images/``, made smaller:

    pngquant --output docs/images/graph.png .local/screenshots/green.png
    pngquant --output docs/images/banner.png .local/screenshots/banner.png

Those of past days are parts of pages of 2.2.2, cut out by hand: past-runs.png, and the dialog of a task in Tree.
"""

import base64
import json
import signal
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, TypeVar

import pytest
from orchestrator import Definition, load
from playwright.sync_api import Browser, BrowserContext, Page

from tests.e2e.chromium import SCREENSHOTS, chromium
from tests.e2e.conftest import Etl
from tests.trees import COMPANY, folder_tree
from tools.local import engine
from tools.local.generations import PASSWORD, USER
from tools.local.servers import free_port

ENVIRONMENT = "development"
PATIENCE = 180  # seconds for one condition: a parse comes every 5 s, a task takes 4 s on an idle core
# A DAG of one quick task, to be triggered in every way.
TYPED_DAG = "testing-typed_dag_smoke"
TYPED = """\
description: Greets somebody a few times.
start_date: 2022-01-01
max_active_runs: 9
params:
  greeting: {type: string, default: hello, description: What is said.}
  times: {type: integer, default: 1, maximum: 9, description: How many times it is said.}
tasks:
  greet:
    task_definition: smoke
    retries: 3
    command: ["{{ params.greeting }}", "{{ params.times }}"]
providers:
  smoke: {}
"""

T = TypeVar("T")


def until(look: Callable[[], Optional[T]], awaited: str) -> T:
    """Call a function until it returns something true; return that."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        seen = look()
        if seen:
            return seen
        time.sleep(0.2)
    raise AssertionError(f"not within {PATIENCE} s: {awaited}")


class Site:
    """An ``./etl run``: its pages, its REST API, its command line, and its definitions."""

    def __init__(self, etl: Etl, dags: Path) -> None:
        self.address = etl.read_until("http://127.0.0.1").split()[0]
        self.home = Path(etl.output.partition("logs are in ")[2].splitlines()[0])
        self.dags = dags
        self.pipelines = dags / "etl" / "pipelines"

    def definitions(self) -> Dict[str, Definition]:
        """Return the definitions by DAG id."""
        result = load(self.dags / "etl", ENVIRONMENT)
        return {definition.dag_id: definition for definition in result.definitions}

    def request(self, method: str, path: str, body: Optional[Dict[str, Any]] = None) -> str:
        """Call the REST API as an admin; return the text of the answer."""
        credentials = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json", "Accept": "*/*"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}/api/v1{path}", data, headers, method=method)
        with urllib.request.urlopen(request) as response:
            text: str = response.read().decode()
        return text

    def get(self, path: str) -> Dict[str, Any]:
        """Return the JSON that the REST API has at a path."""
        answer: Dict[str, Any] = json.loads(self.request("GET", path))
        return answer

    def airflow(self, *arguments: str) -> str:
        """Run an Airflow command on the same database; return its output."""
        environ = {**engine.base_environ(self.home, self.dags), "AIRFLOW__ETL__ENVIRONMENT": ENVIRONMENT}
        done = subprocess.run(engine.airflow(*arguments), env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def active_dags(self) -> List[str]:
        """Return the ids of the DAGs that Airflow has, in order."""
        return [dag["dag_id"] for dag in self.get("/dags?limit=100&order_by=dag_id")["dags"]]

    def wait_for_dags(self) -> None:
        """Wait until Airflow has exactly the DAGs of the present definitions."""
        expected = sorted(self.definitions())
        until(lambda: self.active_dags() == expected, f"the DAGs {expected}")

    def unpause(self, dag_id: str) -> None:
        """Unpause a DAG, so that the scheduler starts its runs."""
        self.request("PATCH", f"/dags/{dag_id}", {"is_paused": False})

    def runs(self, dag_id: str) -> List[Dict[str, Any]]:
        """Return the runs of a DAG, the latest first."""
        runs: List[Dict[str, Any]] = self.get(f"/dags/{dag_id}/dagRuns?order_by=-start_date")["dag_runs"]
        return runs

    def wait_for_run(self, dag_id: str, run_id: str, *states: str) -> Dict[str, Any]:
        """Wait until a run has one of the states; return the run."""

        def look() -> Optional[Dict[str, Any]]:
            run = self.get(f"/dags/{dag_id}/dagRuns/{run_id}")
            return run if run["state"] in states else None

        return until(look, f"{dag_id} {run_id} {' or '.join(states)}")

    def log(self, dag_id: str, run_id: str, task_id: str) -> str:
        """Return the log of the first try of a task."""
        return self.request("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/1?full_content=true")


@pytest.fixture(scope="package")
def site() -> Iterator[Site]:
    """Run Airflow with realistic definitions and a pipeline that is triggered in every way."""
    with tempfile.TemporaryDirectory(prefix="etl-") as folder:
        dags = folder_tree(Path(folder), COMPANY).parent
        (dags / "etl" / "pipelines" / "testing" / "typed.yaml").write_text(TYPED)
        arguments = ["--dags", str(dags), "--environment", ENVIRONMENT, "--port", str(free_port())]
        etl = Etl("run", *arguments, ECS_LOCAL_SECONDS="0.1")
        try:
            site = Site(etl, dags)
            site.wait_for_dags()
            yield site
            etl.popen.send_signal(signal.SIGINT)
            assert etl.wait() == 0, etl.output
        finally:
            etl.kill()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def signed_in(browser: Browser, site: Site) -> BrowserContext:
    """Sign in; return the browser context with the cookies."""
    context = browser.new_context(base_url=site.address, viewport={"width": 1000, "height": 1010})
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    page.goto("/login/")
    page.fill("#username", USER)
    page.fill("#password", PASSWORD)
    page.click("input[type=submit]")
    page.wait_for_url("**/home")
    page.close()
    return context


@pytest.fixture
def dialogs() -> List[str]:
    """Collect the texts of the dialogs of a test; pages of Airflow have none."""
    return []


@pytest.fixture
def page(signed_in: BrowserContext, dialogs: List[str]) -> Iterator[Page]:
    """Open a page of the site; fail if it opens a dialog."""
    page = signed_in.new_page()

    def note(dialog: Any) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", note)
    yield page
    page.close()
    assert dialogs == []


def screenshot(page: Page, name: str) -> None:
    """Save a picture of the page, for a person to look at."""
    page.evaluate("document.activeElement.blur()")  # no frame around the element that was clicked last
    # The warnings of Airflow about SQLite and SequentialExecutor would take a third of the picture.
    page.locator(".alert", has_text="in production").evaluate_all("notes => notes.forEach(note => note.remove())")
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def rows_of(page: Page) -> Dict[str, List[str]]:
    """Return the tags of each DAG in the list, by its id."""
    rows = page.locator(".dags-table-body tbody tr").all()
    tags = {row.locator("strong").inner_text(): row.locator("a.label-info").all_inner_texts() for row in rows}
    return {dag_id: [tag.strip() for tag in names] for dag_id, names in tags.items()}


def open_docs(page: Page) -> Any:
    """Unfold the docs of a DAG, on its own page or the trigger page; return their locator."""
    page.click("text=DAG Docs")
    docs = page.locator("#collapseOne.in")
    docs.wait_for()
    return docs


def fill_in(page: Page, conf: str) -> None:
    """Replace the configuration of the run in the form."""
    page.click(".CodeMirror")
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(conf)
