"""Write the report of a stored run to a file, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from poison_guard.config import load_contract, open_settings
from poison_guard.errors import NotFoundError, StoreError
from poison_guard.store import list_runs, open_store
from poison_guard.web.report.gather import gather
from poison_guard.web.report.page import render_report

__all__ = ["write_newest_report", "write_report"]

_RECENT = 50
"""Runs looked through for one that was committed."""


def write_report(home: str | Path, run_id: str, out_path: str | Path | None = None) -> Path:
    """Write the page of a run and return its path; ``reports/RUN.html`` in the home unless `out_path` says otherwise.

    `NotFoundError` for a run that is not in the store, `StoreError` where the page cannot be written.
    """
    settings = open_settings(home)
    with open_store(settings) as store:
        facts = gather(store, run_id)
    page = Path(out_path) if out_path is not None else settings.home / "reports" / f"{run_id}.html"
    text = render_report(facts)
    temporary = page.with_name(f".{page.name}.{os.getpid()}")
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        temporary.replace(page)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"{page} cannot be written: {error.strerror or error}") from None
    return page


def write_newest_report(home: str | Path, contract_path: str | Path) -> Path:
    """Write the page of the newest run that a feed has committed; `NotFoundError` before the first one."""
    feed = load_contract(contract_path).name
    with open_store(open_settings(home)) as store:
        done = next((run for run in list_runs(store, feed, limit=_RECENT) if run.status == "committed"), None)
    if done is None:
        raise NotFoundError(f"{feed} has no run to report yet; `poison-guard run` makes one")
    return write_report(home, done.run_id)
