"""A headless Chromium, which opens pages on this machine only."""

import asyncio
from contextlib import contextmanager
from typing import Iterator

from playwright.sync_api import Browser, sync_playwright

from tools.setup.debian import ensure_program
from tools.setup.environments import LOCAL

# On Python 3.7, importing Playwright installs a watcher of child processes with a pipe that nobody reads, and the
# processes of all other tests would fill it. Playwright sets a watcher of its own while it runs.
asyncio.get_child_watcher().close()

SCREENSHOTS = LOCAL / "screenshots"
FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # whatever a page asks for
]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser, without its sandbox, which root cannot use; leaving the context ends it."""
    path = ensure_program("chromium", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()
