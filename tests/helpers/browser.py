"""A browser for tests: Chromium as Playwright drives it, if both are installed, and axe's judgement of a page."""

import shutil
from contextlib import closing, contextmanager

import pytest


@contextmanager
def chromium():
    """Yield a started Chromium; the test is skipped where it, Playwright or axe is not installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not program:
        pytest.skip("Chromium is not installed")
    # root has no sandbox, and an image has as little shared memory as 64 MB
    options = {"executable_path": program, "args": ["--no-sandbox", "--disable-dev-shm-usage"]}
    with playwright.sync_playwright() as started, closing(started.chromium.launch(**options)) as browser:
        yield browser


def violations(page):
    """Return what axe finds serious or critical on a page: its rule, and the first element's HTML."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")]
