"""The report page in a real browser: it loads nothing, runs nothing, breaks no rule of its own policy, fits a phone."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest

from poison_guard.steps.report import ReportResult
from poison_guard.web.report import render_report
from tests.unit.web.facts_of_a_run import make_facts

_CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_LUMINANCE = """
() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = rgb(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
  };
  const bad = [];
  for (const node of document.querySelectorAll("body *")) {
    if (node.closest("svg") || ![...node.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(rgb(getComputedStyle(node).color)), light(ground(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push([node.tagName, node.className, ratio.toFixed(2)]);
  }
  return bad;
}
"""


@pytest.fixture(scope="module")
def browser():
    if _CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=_CHROMIUM, args=_FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> str:
    page = Path(tmp_path_factory.mktemp("report")) / "report.html"
    page.write_text(render_report(ReportResult(**make_facts())), encoding="utf-8")
    return page.as_uri()


@pytest.fixture(params=["light", "dark"])
def page(request, browser, url):
    context = browser.new_context(color_scheme=request.param, viewport={"width": 1200, "height": 900})
    opened = context.new_page()
    opened.asked, opened.said = [], []
    opened.on("request", lambda request: opened.asked.append(request.url))
    opened.on("console", lambda message: opened.said.append(message.text))
    opened.on("dialog", lambda dialog: (opened.said.append("dialog"), dialog.dismiss()))
    opened.goto(url)
    yield opened
    context.close()


def test_the_page_loads_nothing_and_its_policy_is_broken_by_nothing(page, url):
    assert page.asked == [url]
    assert page.said == []
    assert page.evaluate("document.scripts.length") == 0


def test_the_style_is_applied_and_every_chart_is_drawn(page):
    assert page.evaluate("getComputedStyle(document.querySelector('section')).borderRadius") == "12px"
    boxes = page.evaluate("[...document.querySelectorAll('svg.chart')].map(s => s.getBoundingClientRect().height)")
    assert len(boxes) >= 8
    assert all(height > 4 for height in boxes)


def test_every_text_can_be_read_on_its_ground(page):
    assert page.evaluate(_LUMINANCE) == []


def test_the_anchors_lead_somewhere_and_headings_come_in_order(page):
    missing = "[...document.querySelectorAll('a')].filter(a => !document.querySelector(a.getAttribute('href')))"
    assert page.evaluate(f"{missing}.length") == 0
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_details_open_by_keyboard(page):
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelector('details').open")


def test_the_page_fits_a_phone_without_scrolling_sideways(browser, url):
    context = browser.new_context(viewport={"width": 380, "height": 800})
    opened = context.new_page()
    opened.goto(url)
    assert opened.evaluate("document.documentElement.scrollWidth") <= 380
    context.close()
