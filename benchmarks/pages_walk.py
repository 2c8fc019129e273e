"""Empty the demo's three queues in a browser as a reviewer does, and count decisions and key presses.

``python benchmarks/pages_walk.py HOME URL``: HOME holds the demo after one run a feed, URL is `poison-guard serve`.
Whole campaigns are rejected from the list, two keys each; what is left is decided a reason at a time, the random audits
last. Clicks are counted as one key each, and so is each typed character of a confirmation.
"""

from __future__ import annotations

import shutil
import sys
from typing import Any

from poison_guard.guard import Home

_REASON = "d"
"""The dialogs offer a reason; where one has to be typed, a letter says it."""


def main(home: str, url: str) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = chromium.new_page()
        total = [0, 0]
        for feed in ("captcha", "chat", "telemetry"):
            before = Home.open(home).status(feed).feeds[0].open
            decisions, keys = empty(page, f"{url}/feeds/{feed}/queue")
            after = Home.open(home).status(feed).feeds[0].open
            print(f"| {feed} | {before:,} | {after:,} | {decisions} | {keys} |")
            total = [total[0] + decisions, total[1] + keys]
        print(f"| all |  |  | {total[0]} | {total[1]} |")


def empty(page: Any, queue: str) -> tuple[int, int]:
    decisions = keys = 0
    page.goto(f"{queue}?by=campaign")
    while page.locator("form[action$='/decide'] button[value=reject]").count():
        page.keyboard.press("d")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        decisions, keys = decisions + 1, keys + 2
    page.goto(f"{queue}?by=reason")
    keys += 1
    while page.locator("form[action$='/bulk/preview'] button[data-key=d]").count():
        with page.expect_navigation():
            page.keyboard.press("d")
        decisions, keys = decisions + 1, keys + 1 + as_one(page)
        page.goto(f"{queue}?by=reason")
    page.goto(f"{queue}?by=none")  # what was taken back by hand has no reason
    if page.locator("input[name=pick]").count():
        with page.expect_navigation():
            page.click("text=Decide all")
        decisions, keys = decisions + 1, keys + 2 + as_one(page)
    return decisions, keys


def as_one(page: Any) -> int:
    """Decide what the page of a bulk decision shows, and return the key presses."""
    typed, keys = page.locator("input[name=confirm]"), 2
    page.locator("input[name=reason]:visible").first.fill(_REASON)
    if typed.count():
        number = typed.evaluate("node => node.closest('label').textContent.match(/[0-9]+/)[0]")
        typed.fill(number)
        keys += 1 + len(number)
    honest = "audit" in page.url or page.locator("text=drawn at random").count()
    page.click(f"button[value={'release' if honest else 'reject'}]")
    page.wait_for_url("**/jobs/**")
    page.wait_for_selector("[data-ended=yes]")
    return keys


if __name__ == "__main__":
    main(*sys.argv[1:])
