"""Write the report of a stored run to a file, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from poison_guard.config import open_settings
from poison_guard.errors import StoreError
from poison_guard.store import open_store
from poison_guard.web.report.gather import gather
from poison_guard.web.report.page import render_report

__all__ = ["write_report"]


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
