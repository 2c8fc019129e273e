"""The pages in a real browser: keys and dialogs decide, nothing hostile runs, nothing is loaded from elsewhere."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from pathlib import Path

import pytest

from benchmarks.pages_walk import empty
from poison_guard import Guard
from poison_guard.guard import Home
from tests.e2e.test_report_in_browser import browser  # noqa: F401  the fixture

pytest.importorskip("fastapi", reason="the extra [web] is not installed")
pytest.importorskip("argon2", reason="the extra [web] is not installed")
from tests.integration.web.conftest import notes, password_of  # noqa: F401  the feed of hostile notes

_PAGES = (
    "queue", "queue?by=none", "queue?by=source", "record?id=r1", "source?id=u1", "item?id=i1", "decided", "campaigns",
    "sources", "items", "gate", "models", "dashboard",
)  # fmt: skip


@pytest.fixture(scope="module")
def site(notes, tmp_path_factory):  # noqa: F811
    """Serve a copy of the hostile home; yields its address and the home."""
    import uvicorn

    from poison_guard.web.app import create_app
    from poison_guard.web.people import SignedIn

    home = Path(shutil.copytree(notes / "home", tmp_path_factory.mktemp("site") / "home"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = uvicorn.Config(create_app(home, SignedIn(home)), port=port, log_level="critical", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}", home
    server.should_exit = True
    thread.join(10)


def open_page(browser, site, **how):  # noqa: F811
    """Return a page that rob is signed in to, and that notes what it asks for and says."""
    url, home = site
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **how})
    token = Home.open(home).sign_in("rob", password_of("rob")).token
    context.add_cookies([{"name": "pg_session", "value": token, "url": url}])
    page = context.new_page()
    page.asked, page.said = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("dialog", lambda dialog: (page.said.append("dialog"), dialog.dismiss()))
    return page


def test_no_page_runs_or_loads_what_a_feed_holds_and_every_page_fits_a_phone_and_is_accessible(browser, site):  # noqa: F811
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed")
    url, _ = site
    for width, scheme in ((1280, "light"), (390, "dark")):
        page = open_page(browser, site, viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True)
        for name in _PAGES[:: 1 if width == 390 else 5]:
            page.goto(f"{url}/feeds/notes/{name}")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
            found = axe.Axe().run(page).response["violations"]
            assert [(name, v["id"]) for v in found if v["impact"] in ("serious", "critical")] == []
        page.context.close()
    page = open_page(browser, site)  # with the policy, which the checker had to pass by
    for name in _PAGES[1:8]:
        page.goto(f"{url}/feeds/notes/{name}")
    assert {asked.split("/")[2] for asked in page.asked if not asked.startswith("data:")} == {url.split("/")[2]}
    assert page.said == []
    page.context.close()


def test_keys_choose_reject_and_undo(browser, site):  # noqa: F811
    url, home = site
    page = open_page(browser, site)
    page.goto(f"{url}/feeds/notes/queue?by=none&source_id=u1")
    for key in ("j", "x", "j", "j", "k", "x"):
        page.keyboard.press(key)
    assert page.text_content("[data-chosen]") == "2 selected"
    page.keyboard.press("d")
    assert page.text_content("#ask [data-title]") == "Reject 2 records"
    page.keyboard.type("copies of one text")
    page.keyboard.press("Enter")
    page.wait_for_selector(".toast")
    last = Guard.open("notes", home=home).decided(limit=1).entries.iloc[0]
    assert (last["verb"], last["n"], last["reason"]) == ("reject", 2, "copies of one text")
    assert (last["actor"], last["via"]) == ("rob", "session")
    with page.expect_navigation():
        page.keyboard.press("u")
    assert Guard.open("notes", home=home).decided(limit=1).entries["verb"].tolist() == ["undo"]
    page.keyboard.press("?")
    assert page.is_visible("#keys")
    page.context.close()


def test_a_double_click_makes_one_decision_and_the_back_button_shows_what_is_true(browser, site):  # noqa: F811
    url, home = site
    page = open_page(browser, site)
    page.goto(f"{url}/feeds/notes/record?id=r3")
    page.click("button[data-key=r]")
    page.fill("#ask input", "seen twice")
    page.dblclick("#ask [data-sure]")
    page.wait_for_selector(".toast")
    assert (Guard.open("notes", home=home).decided(limit=9).entries["reason"] == "seen twice").sum() == 1
    page.go_back()
    page.wait_for_load_state()
    assert "accepted" in page.text_content("h1")
    page.context.close()


def test_everything_works_without_script(browser, site):  # noqa: F811
    url, home = site
    page = open_page(browser, site, java_script_enabled=False)
    page.goto(f"{url}/feeds/notes/queue?by=none&source_id=u2")
    page.check("input[name=pick] >> nth=0")
    page.fill(".bar-below input[name=reason]", "no script here")
    page.click(".bar-below button[value=release]")
    assert page.is_visible(".toast")
    assert Guard.open("notes", home=home).decided(limit=1).entries["reason"].tolist() == ["no script here"]
    page.click("text=Decide all")
    page.fill("input[name=reason] >> nth=0", "all of a source")
    page.click("button[value=reject]")
    assert "of" in page.text_content("[data-done]")
    page.context.close()


def test_a_reviewer_empties_the_queue_with_few_decisions_and_keys(browser, site):  # noqa: F811
    """The walk that is measured on the demo's three queues, on a small one; it leaves nothing, so it comes last."""
    url, home = site
    page = open_page(browser, site)
    waited = Home.open(home).status("notes").feeds[0].open
    decisions, keys = empty(page, f"{url}/feeds/notes/queue")
    assert waited > 100
    assert Home.open(home).status("notes").feeds[0].open == 0
    assert (decisions <= _DECISIONS, keys <= _KEYS) == (True, True), (decisions, keys)
    page.context.close()


_DECISIONS, _KEYS = 13, 50
"""A third of what the three queues of the demo may take together: 40 decisions, 150 key presses."""
