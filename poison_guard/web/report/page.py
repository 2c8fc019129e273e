"""Render the report page: one self-contained HTML document, everything from a feed escaped and made visible."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup, escape

from poison_guard.files import write_text
from poison_guard.text import character_name, p_value_text, visible_pieces
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
    write_text(render_report(report), page)
    return page


def render_report(report: ReportResult) -> str:
    """Return the HTML page of a run; parts of it that are empty are left out.

    The page needs no network and no script; its content security policy allows nothing but its own style sheet, named
    by hash.
    """
    css = _read("report.css")
    page = _environment().get_template("report.html.j2")
    return page.render(**view(report), css=Markup(css), csp=_policy(css), plots=plots)  # noqa: S704  our own file


def shown(text: object, limit: int = 300, *, lines: bool = False) -> Markup:
    """Return hostile text as HTML: escaped, isolated from text around it, hidden characters marked, long text cut."""
    parts = [
        Markup('<span class="hid" title="{}">{}</span>').format(character_name(part), part) if hidden else escape(part)
        for hidden, part in visible_pieces(text, limit=limit, lines=lines)
    ]
    return Markup("<bdi>{}</bdi>").format(Markup("").join(parts))


def _policy(css: str) -> str:
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _moment(value: object) -> str:
    if not value:
        return "–"
    when = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(str(value))
    when = when.replace(tzinfo=dt.UTC) if when.tzinfo is None else when.astimezone(dt.UTC)
    return f"{when:%d %b %Y %H:%M:%S} UTC"


@cache
def _environment() -> Environment:
    loader = DictLoader({name: _read(name) for name in ("report.html.j2", "learned.html.j2")})
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"shown": shown, "chance": p_value_text, "moment": _moment, "n": lambda v: f"{v:,}"}
    return environment


@cache
def _read(name: str) -> str:
    return resources.files("poison_guard.web.report").joinpath("templates", name).read_text(encoding="utf-8")
