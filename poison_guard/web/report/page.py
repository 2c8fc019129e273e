"""Render the report page: one self-contained HTML document, everything from a feed escaped and made visible."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import DictLoader, Environment
from markupsafe import Markup

from poison_guard.config import open_settings
from poison_guard.files import write_text
from poison_guard.web.escaping import environment_of
from poison_guard.web.report import plots
from poison_guard.web.report.view import view

if TYPE_CHECKING:
    from poison_guard.guard import ReportResult

__all__ = ["render_report", "write_report"]


def write_report(report: ReportResult, *, home: Path, path: Path | None = None) -> Path:
    """Write the page of a run and return its path: ``reports/RUN.html`` in the home, unless `path` says otherwise.

    `StoreError` where it cannot be written.
    """
    page = path or home / "reports" / f"{report.run_id}.html"
    settings, feed = open_settings(home), str(report.run.get("feed"))
    write_text(render_report(report, lambda part, name: settings.page(feed, part, id=name)), page)
    return page


def render_report(report: ReportResult, page_of: Callable[[str, str], str | None] = lambda _part, _name: None) -> str:
    """Return the HTML page of a run; parts of it that are empty are left out.

    `page_of`: address of the page of a ``record``, ``source`` or ``campaign``, where its name leads.

    The page needs no network and no script; its content security policy allows nothing but its own style sheet, named
    by hash.
    """
    css = resources.files("poison_guard.web").joinpath("static", "base.css").read_text(encoding="utf-8")
    page = _environment().get_template("report.html.j2")
    style = Markup(css)  # noqa: S704  our own file
    return page.render(**view(report), css=style, csp=_policy(css), plots=plots, page_of=page_of)


def _policy(css: str) -> str:
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@cache
def _environment() -> Environment:
    return environment_of(DictLoader({name: _read(name) for name in ("report.html.j2", "learned.html.j2")}))


@cache
def _read(name: str) -> str:
    return resources.files("poison_guard.web.report").joinpath("templates", name).read_text(encoding="utf-8")
