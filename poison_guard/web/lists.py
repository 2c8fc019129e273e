"""The pages that list: campaigns, sources, items, and what people decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi import Query
from fastapi.responses import HTMLResponse

from poison_guard.web.desk import Routes, Viewer, Visit
from poison_guard.web.pages import item_page, source_page
from poison_guard.web.people import Role
from poison_guard.web.views import rows_of, toast_of

if TYPE_CHECKING:
    from poison_guard.guard import Imported

__all__ = ["routes", "show_imported"]

routes = Routes()
_SIZE = 50
"""Rows of a page."""


@routes.page("/feeds/{feed}/campaigns")
def campaigns_page(visit: Viewer) -> HTMLResponse:
    """List the campaigns, the largest first."""
    rows = rows_of(visit.guard.campaigns(limit=200).campaigns)
    listed = [
        [
            _cell(r["campaign_id"], visit.here("campaign", id=r["campaign_id"])),
            _cell(r["kind"].replace("_", " ")),
            *(_cell(r[name]) for name in ("n_records", "n_sources", "held", "accepted", "rejected")),
            _cell(r["why"]),
        ]
        for r in rows
    ]
    columns = ("Campaign", "Kind", ">Records", ">Sources", ">Held", ">Accepted", ">Rejected", "Why")
    intro = "Records and sources that act together, the largest first. Each is decided as one, or a part of it."
    return _list_page(visit, "campaigns", "Campaigns", intro, columns, listed, empty="No campaign was found.")


@routes.page("/feeds/{feed}/sources")
def sources_page(visit: Viewer, id: str = "", page: int = Query(1, ge=1)) -> HTMLResponse:
    """List the sources, alarming and least reliable first."""
    if id:
        return source_page(visit, id)
    found = visit.guard.sources(limit=page * _SIZE)
    rows = rows_of(found.sources)[(page - 1) * _SIZE :]
    listed = [
        [
            _cell(r["source_id"], visit.here("source", id=r["source_id"])),
            _cell(f"{r['reliability']:.2f}"),
            _cell(f"{r['lower_bound']:.2f}"),
            _cell(int(r["n"])),
            _cell(_share(r, "controls_right", "controls_wrong")),
            _cell(_share(r, "agreed", "disagreed")),
            _cell("blocked" if r["blocked"] else "has changed" if r.get("changed") else ""),
        ]
        for r in rows
    ]
    columns = ("Source", ">Reliability", ">At least", ">Records", ">Controls", ">Settled items", "State")
    intro = f"{found.total:,} sources; those that changed or are least reliable come first."
    pages = max(1, -(-found.total // _SIZE))
    how = {"page": page, "pages": pages, "search": "Source"}
    return _list_page(visit, "sources", "Sources", intro, columns, listed, **how)


@routes.page("/feeds/{feed}/items")
def items_page(visit: Viewer, id: str = "", page: int = Query(1, ge=1)) -> HTMLResponse:
    """List the items, those that are deferred first."""
    if id:
        return item_page(visit, id)
    found = visit.guard.items(limit=_SIZE, offset=(page - 1) * _SIZE)
    listed = [
        [
            _cell(r["item_id"], visit.here("item", id=r["item_id"])),
            _cell(r["label"]),
            _cell(None if r["probability"] is None else f"{r['probability']:.3f}"),
            _cell("adopted" if r["adopted"] else "deferred"),
            _cell("" if r["adopted"] else (r["why"] or "").replace("_", " ")),
        ]
        for r in rows_of(found.items)
    ]
    pages = max(1, -(-found.total // _SIZE))
    columns = ("Item", "Label", ">Probability", "State", "Why not yet")
    intro = f"{found.total:,} items; {found.deferred:,} are deferred and come first."
    how = {"page": page, "pages": pages, "search": "Item", "empty": "This feed has no items with labels."}
    return _list_page(visit, "items", "Items", intro, columns, listed, **how)


@routes.page("/feeds/{feed}/decided")
def decided_page(visit: Viewer) -> HTMLResponse:
    """List what people decided, the last first; each can be taken back."""
    rows = rows_of(visit.guard.decided(limit=100).entries)
    may = visit.role >= Role.REVIEWER
    listed: list[list[dict[str, Any]]] = []
    last = True
    for r in rows:
        standing = r["undone_by"] is None and r["verb"] not in ("undo", "reveal")
        undo = {"text": "", "href": None, "undo": int(r["seq"]), "last": last} if standing and may else _cell("")
        note = f" (undone by {int(r['undone_by'])})" if r["undone_by"] is not None else ""
        listed.append(
            [
                _cell(int(r["seq"])),
                _cell(f"{r['verb']}{note}"),
                _cell(r["actor"]),
                _cell(r.get("via")),
                _cell(f"{r['at']:%Y-%m-%d %H:%M}"),
                _cell(int(r["n"])),
                _cell(r["reason"]),
                undo,
            ]
        )
        last = last and not standing
    columns = (">Event", "What", "By", "Via", "At", ">Records", "Why", "Undo")
    intro = "What people decided, the last first. An undo puts every record back to where it was."
    return _list_page(visit, "decided", "Decisions", intro, columns, listed, empty="Nobody has decided anything yet.")


def show_imported(visit: Visit, done: Imported) -> HTMLResponse:
    """Show what a file of decisions did, and what was left."""
    listed = [[_cell(r["record_id"], visit.here("record", id=r["record_id"])), _cell(r["why"])] for r in done.refused]
    return _list_page(
        visit, "decided", "Decisions of a file", str(done), ("Left", "Why"), listed, empty="None was left."
    )


def _list_page(
    visit: Visit,
    tab: str,
    heading: str,
    intro: str,
    columns: tuple[str, ...],
    listed: list[list[dict[str, Any]]],
    *,
    empty: str = "Nothing to list.",
    page: int = 1,
    pages: int = 1,
    search: str = "",
) -> HTMLResponse:
    values = {"tab": tab, "heading": heading, "intro": intro, "columns": columns, "listed": listed, "empty": empty}
    more = {"page": page, "pages": pages, "search": search, "page_href": lambda n: visit.here(tab, page=n)}
    event = visit.request.query_params.get("event", "")
    return visit.page("list.html.j2", {**values, **more, "toast": toast_of(event, visit.here(tab))})


def _cell(value: Any, href: str | None = None) -> dict[str, Any]:
    text = "–" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
    return {"text": text, "href": href, "undo": None}


def _share(row: Mapping[str, Any], right: str, wrong: str) -> str:
    n = row[right] + row[wrong]
    return f"{row[right]:,.0f} of {n:,.0f}" if n else "–"
