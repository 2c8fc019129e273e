"""The report of one run: a self-contained page that opens anywhere, offline and without script."""

from poison_guard.web.report.page import render_report, write_report

__all__ = ["render_report", "write_report"]
