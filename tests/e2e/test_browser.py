"""The Airflow UI in a real browser: sign in, fill in the form of the DAG, watch the run to its end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ctypes.util import find_library
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fixtures.stack import RUN_SECONDS, Stack, until
from tradu.cli.watch import DAG

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCREENSHOT = Path(__file__).parents[2] / "docs" / "images" / "trigger-form.png"
PATIENCE_MS = 60_000
pytestmark = [
    pytest.mark.stack,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no browser: apt-get install chromium"),
    pytest.mark.skipif(not find_library("atomic"), reason="Playwright lacks a library: apt-get install libatomic1"),
]


@pytest.fixture
def page(stack: Stack) -> Iterator[Page]:
    """A page of a browser that is signed in as people sign in."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1200, "height": 1800}, color_scheme="light", locale="en-GB")
        page.set_default_timeout(PATIENCE_MS)
        page.goto(stack.settings.api_url)
        page.locator("input[name=username]").fill("admin")
        page.locator("input[name=password]").fill(stack.password)
        page.get_by_role("button", name="Sign in").click()
        yield page
        browser.close()


def test_the_form_starts_a_run(stack: Stack, page: Page) -> None:
    from playwright.sync_api import expect

    folder = stack.put({"form/note.txt": "The museum shows paintings of the last century.\n"}, "documents") / "form"
    params = stack.api.call("GET", f"/dags/{DAG}/details")["params"]
    before = set(stack.runs())

    page.goto(f"{stack.settings.api_url}/dags/{DAG}")
    page.get_by_role("button", name="Trigger").click()
    form = page.get_by_role("dialog").filter(has_text="Run Parameters")
    for param in params.values():
        expect(form.get_by_text(param["schema"]["title"], exact=False).first).to_be_visible()
        expect(form.get_by_text(param["description"])).to_be_visible()
    documents = form.locator("[name=element_documents]")
    _take_picture(form, documents)

    documents.fill(f"{folder.as_uri()}/note.txt")
    form.locator("[name=element_source]").fill("English!")
    submit = form.get_by_role("button", name="Trigger")
    submit.click()
    expect(form.get_by_text("Invalid input for param source")).to_be_visible()
    assert set(stack.runs()) == before

    form.locator("[name=element_source]").fill("en")
    submit.click()
    (run_id,) = until("the run", lambda: set(stack.runs()) - before)
    run_url = stack.api.run_url(DAG, run_id)
    page.goto(run_url)
    everyone_but_ask_and_the_run = len(stack.api.task_order(DAG))
    expect(page.get_by_text("Success", exact=True)).to_have_count(
        everyone_but_ask_and_the_run, timeout=RUN_SECONDS * 1_000
    )
    assert stack.ended(run_id) == "success"
    job = stack.job(run_id)
    assert job.state == "COMPLETED"
    assert "museu" in stack.line.output(str(job.job_id), "note.txt").decode().lower()

    page.goto(f"{run_url}/tasks/gate_translations/details")
    page.get_by_role("link", name="Data Docs").click()
    page.wait_for_url(f"**/gates/{job.job_id}/translations/index.html")
    expect(page.get_by_text("passed").first).to_be_visible()


def _take_picture(form: Locator, documents: Locator) -> None:
    """The picture in the docs, on demand: it shows a path as people have it, not one of this test."""
    if os.environ.get("TRADU_UPDATE_SCREENSHOTS") == "1":
        documents.fill("file:///srv/documents/handbook")
        documents.blur()
        SCREENSHOT.parent.mkdir(exist_ok=True)
        form.screenshot(path=SCREENSHOT, animations="disabled")
