"""The report of one run: a self-contained page that opens anywhere, offline and without script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from poison_guard.web.report.page import render_report

if TYPE_CHECKING:
    from poison_guard.web.report.write import write_newest_report, write_report

__all__ = ["render_report", "write_newest_report", "write_report"]


def __getattr__(name: str) -> Any:
    """Import what writes when it is first used: rendering needs no store."""
    if name not in ("write_newest_report", "write_report"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from poison_guard.web.report import write

    return getattr(write, name)
