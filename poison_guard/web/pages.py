"""The pages that show: queue, record, campaign, source, item, gate, models, dashboard. A GET never changes anything."""

from __future__ import annotations

import datetime as dt
import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException, Query
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from markupsafe import Markup

from poison_guard.errors import NotFoundError, UsageError
from poison_guard.guard import Home
from poison_guard.text import p_value_text
from poison_guard.web.desk import Routes, Viewer, Visit
from poison_guard.web.payload import copies_of, null_of, payload_of, picture_of, range_plot
from poison_guard.web.people import Role
from poison_guard.web.report.plots import Drawing, linear
from poison_guard.web.views import LISTING, address

if TYPE_CHECKING:
    import pandas as pd

    from poison_guard.guard import Imported

__all__ = ["CHECKS", "is_abusive", "routes", "rows_of", "show_imported", "show_record"]

routes = Routes()
_ABUSE = ("toxic",)
"""Codes of reasons that say that a text looks abusive: it is shown when it is asked for."""
CHECKS = 5
"""Hidden checks that one page of the queue holds at most: second looks, and records whose answer is known."""
_FIRST_GROUP = 200
"""Entries from which on the queue opens grouped by campaign: the few groups that hold most come first."""


@routes.page("/")
def home_page(visit: Viewer) -> HTMLResponse:
    """Show the feeds that the person may see."""
    status = Home.open(visit.desk.home).status()
    may = set(visit.visible_feeds())
    return visit.page("home.html.j2", {"tab": "", "feeds": [f for f in status.feeds if f.feed in may]})


@routes.page("/dag")
def of_dag(visit: Viewer, dag_id: str = Query(max_length=300)) -> Response:
    """Lead from a DAG of Airflow to the queue of its feed, or to its gate from the one that retrains."""
    kind, _, feed = dag_id.partition("_")
    return RedirectResponse(visit.url("feeds", feed, "gate" if kind == "retrain" else "queue") if feed else visit.url())


@routes.page("/feeds/{feed}/queue")
def queue_page(visit: Viewer) -> HTMLResponse:
    """Show what waits, by the filters of the URL."""
    query = dict(visit.request.query_params)
    event, fault = query.pop("event", ""), ""
    asked = {name: value for name, value in query.items() if name not in LISTING}
    try:
        queue = _queue_of(visit, query, asked)
    except (UsageError, ValueError) as error:
        if isinstance(error, NotFoundError):
            raise
        queue, fault = visit.guard.queue(), str(error)
    plain = address({name: value for name, value in query.items() if name != "page"})
    values = {
        "tab": "queue",
        "queue": with_checks(visit, queue, shown_queue(queue)) if not asked else shown_queue(queue),
        "asked": defaultdict(str, asked if fault else queue.filters.params()),
        "fault": fault,
        "query": address(asked),
        "done": queue.decided,
        "chips": [
            (
                name.removesuffix("_id").replace("_", " "),
                value,
                visit.here("queue") + "?" + address(query, **{name: None}),
            )
            for name, value in asked.items()
            if value
        ],
        "views": [(name, address(params)) for name, params in visit.guard.views().views.items()],
        "href": lambda **changes: visit.here("queue") + "?" + address(query, **changes),
        "page_href": lambda page: visit.here("queue") + "?" + address(query, page=page),
        "back": visit.here("queue") + (f"?{plain}" if plain else ""),
        "group_href": lambda group: _group_href(visit, queue.group_by, group, asked),
        "group_query": lambda group: _group_query(queue.group_by, group, asked),
        "queue_records": "records" if queue.group_by else f"{queue.total:,}{'+' if queue.capped else ''}",
        "toast": toast_of(event, visit.here("queue") + (f"?{plain}" if plain else "")),
    }
    return visit.page("queue.html.j2", values, status=400 if fault else 200)


def _queue_of(visit: Visit, query: Mapping[str, str], asked: Mapping[str, str]) -> Any:
    by = query.get("by")
    page = int(query.get("page") or 1)
    size = int(query["size"]) if query.get("size") else None
    how = {"page": page, "size": size, "sort": query.get("sort") or "risk"}
    if by is None and not asked:
        grouped = visit.guard.queue(group_by="campaign", page=page, size=size)
        if grouped.total and grouped.open >= _FIRST_GROUP:
            return grouped
    return visit.guard.queue(visit.filters_of(asked), group_by=None if by in (None, "none", "") else by, **how)


def shown_queue(queue: Any) -> dict[str, Any]:
    """Return a queue with its entries as plain rows, each with whether its text looks abusive."""
    names = ("group_by", "sort", "page", "pages", "total", "capped", "open", "oldest", "expired", "staged", "decided")
    entries = rows_of(queue.entries)
    for row in entries:
        row["abusive"] = is_abusive(row.get("reasons") or ())
        row["preview"] = (row.get("preview") or "").replace("\n", " · ")
    more = ("decided_today", "pace")
    return {name: getattr(queue, name) for name in (*names, *more)} | {"entries": entries}


def with_checks(visit: Visit, queue: Any, shown: dict[str, Any]) -> dict[str, Any]:
    """Put the reviewer's hidden checks among the entries of the first page, each where its id's hash says."""
    if queue.group_by or queue.page > 1 or visit.role < Role.REVIEWER or not shown["entries"]:
        return shown
    entries = list(shown["entries"])
    for record_id in visit.guard.checks(by=visit.person.by, limit=CHECKS).record_ids:
        facts, like = visit.guard.record(record_id), entries[0]
        preview = " · ".join(f"{name}: {text}" for name, text in payload_of(facts.facts.payload).texts)
        names = ("record_id", "source_id", "item_id", "campaign_id", "risk")
        row = {**dict.fromkeys(like), **{name: facts.facts.record[name] for name in names}}
        why = "; ".join(str(e["sentence"]) for e in facts.facts.evidence[:2] if e["code"] != "audit_sample")
        said = {"version": facts.version, "kind": "held", "why": why, "label": facts.facts.record["answer"]}
        row |= {**said, "preview": preview[:500], "abusive": is_abusive(facts.facts.evidence)}
        place = int.from_bytes(hashlib.sha256(record_id.encode()).digest()[:4]) % (len(entries) + 1)
        entries.insert(place, row)
    return {**shown, "entries": entries}


def _group_href(visit: Visit, by: str | None, group: Mapping[str, Any], asked: Mapping[str, str]) -> str:
    if by in ("campaign", "source", "item") and group["value"] is not None:
        return visit.here(by, id=group["value"])
    return f"{visit.here('queue')}?{_group_query(by, group, asked)}&by=none"


def _group_query(by: str | None, group: Mapping[str, Any], asked: Mapping[str, str]) -> str:
    """Return the filter that finds the entries of a group, among those that were asked for."""
    value = group["value"]
    if by == "day":
        return address(asked, since=value, until=value)
    return address(asked, **{f"{by}_id" if by in ("campaign", "source", "item") else str(by): value})


@routes.page("/feeds/{feed}/record")
def record_page(visit: Viewer, id: str = Query(max_length=2000), back: str = "", event: str = "") -> HTMLResponse:
    """Show a record: its payload, why it is held, who is like it, and what each decision would do."""
    return show_record(visit, id, back, event=event)


def show_record(
    visit: Visit, record_id: str, back: str, *, event: str = "", revealed: Mapping[str, Any] | None = None
) -> HTMLResponse:
    """Return the page of a record; `revealed` are private columns that a person asked to see."""
    record, comparison = visit.guard.record(record_id), visit.guard.compare(record_id)
    facts = record.facts
    asked = visit.guard.checks(by=visit.person.by, limit=CHECKS).record_ids if visit.role >= Role.REVIEWER else ()
    items = visit.desk.items(visit.feed, visit.guard)
    item = items.rows.get(str(facts.record["item_id"]), {})
    root = visit.here()
    values = {
        "tab": "queue",
        "record": record,
        "facts": facts,
        "blind": record.record_id in asked,
        "comparison": comparison,
        "payload": payload_of({**facts.payload, **(revealed or {})}, item, pixel_max=items.pixel_max),
        "copies": copies_of(comparison),
        "abusive": is_abusive(facts.evidence),
        "null_of": null_of,
        "range_plot": range_plot,
        "rows_of": rows_of,
        "back": back if back.startswith(root) else visit.here("queue"),
        "toast": toast_of(event, visit.here("record", id=record_id)),
    }
    return visit.page("record.html.j2", values)


@routes.page("/feeds/{feed}/campaign")
def campaign_page(visit: Viewer, id: str = Query(max_length=2000), event: str = "") -> HTMLResponse:
    """Show a campaign: what its members share, when they came, who sent them, and what an innocent cause would be."""
    c = visit.guard.campaign(id)
    members = rows_of(c.members)
    comparison = visit.guard.compare(members[0]["record_id"]) if members else None
    facts = visit.guard.explain(members[0]["record_id"]) if members else None
    waits = ("quarantined", "recalled", "staged")
    values = {
        "tab": "campaigns",
        "c": c,
        "members": members,
        "sources": rows_of(c.sources)[:50],
        "labels": rows_of(c.labels)[:20],
        "waiting": sum(c.places.get(place, 0) for place in waits),
        "time_plot": time_plot(rows_of(c.timeline), "hour"),
        "text": comparison.text if comparison else None,
        "copies": copies_of(comparison) if comparison else (),
        "abusive": bool(facts and is_abusive(facts.evidence)),
        "toast": toast_of(event, visit.here("campaign", id=id)),
    }
    return visit.page("campaign.html.j2", values)


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


@routes.page("/feeds/{feed}/source")
def source_page(visit: Viewer, id: str = Query(max_length=2000), event: str = "") -> HTMLResponse:
    """Show a source: how reliable it is, what it sent, and the rules about it."""
    source = visit.guard.source(id)
    values = {
        "tab": "sources",
        "s": source,
        "records": rows_of(source.records),
        "rules": [r for r in visit.guard.rules().rules if r["source_id"] == source.source_id],
        "would": [_would(visit, id, verb) for verb in ("block", "allow")] if visit.role >= Role.REVIEWER else [],
        "time_plot": time_plot(rows_of(source.timeline), "hour"),
        "toast": toast_of(event, visit.here("source", id=id)),
    }
    return visit.page("source.html.j2", values)


def _would(visit: Visit, source_id: str, verb: str) -> str:
    """Return what a rule would change, or why it cannot be made."""
    try:
        return str(visit.guard.add_rule(source_id, verb, by=visit.person.by, reason="a preview", dry_run=True))
    except UsageError as error:
        return str(error)


@routes.page("/feeds/{feed}/sources")
def sources_page(visit: Viewer, id: str = "", page: int = Query(1, ge=1)) -> HTMLResponse:
    """List the sources, alarming and least reliable first."""
    if id:
        return source_page(visit, id)
    found, size = visit.guard.sources(limit=page * 50), 50
    rows = rows_of(found.sources)[(page - 1) * size :]
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
    pages = max(1, -(-found.total // size))
    how = {"page": page, "pages": pages, "search": "Source"}
    return _list_page(visit, "sources", "Sources", intro, columns, listed, **how)


@routes.page("/feeds/{feed}/item")
def item_page(visit: Viewer, id: str = Query(max_length=2000)) -> HTMLResponse:
    """Show an item: its label or why it is deferred, and the votes about it."""
    item, content = visit.guard.item(id), visit.desk.items(visit.feed, visit.guard)
    row = content.rows.get(item.item_id, {})
    picture = next(filter(None, (picture_of(value, content.pixel_max) for value in row.values())), None)
    texts = [(name, value) for name, value in row.items() if isinstance(value, str) and picture is None]
    values = {"tab": "items", "i": item, "votes": rows_of(item.votes), "records": rows_of(item.records)}
    return visit.page("item.html.j2", {**values, "picture": picture, "texts": texts})


@routes.page("/feeds/{feed}/items")
def items_page(visit: Viewer, id: str = "", page: int = Query(1, ge=1)) -> HTMLResponse:
    """List the items, those that are deferred first."""
    if id:
        return item_page(visit, id)
    size = 50
    found = visit.guard.items(limit=size, offset=(page - 1) * size)
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
    pages = max(1, -(-found.total // size))
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


@routes.page("/feeds/{feed}/gate")
def gate_page(visit: Viewer, id: str | None = None, event: str = "") -> HTMLResponse:
    """Show the last verdict on a snapshot: its checks, approvals and manifest."""
    try:
        g = visit.guard.gate_status(id)
    except NotFoundError as error:
        return visit.page("gate.html.j2", {"tab": "gate", "fault": str(error)}, status=404 if id else 200)
    values = {"tab": "gate", "g": g, "fault": "", "checks": rows_of(g.checks), "manifest": g.manifest}
    return visit.page("gate.html.j2", {**values, "toast": toast_of(event, "")})


@routes.get("/feeds/{feed}/manifest", include_in_schema=False)
def manifest_file(visit: Viewer, id: str) -> Response:
    """Send the manifest of an admitted snapshot."""
    g = visit.guard.gate_status(id)
    if g.manifest is None:
        raise HTTPException(404, f"{g.snapshot_id} is not admitted, so there is no manifest")
    return FileResponse(g.manifest, media_type="application/json", filename=f"{g.snapshot_id}.json")


@routes.page("/feeds/{feed}/models")
def models_page(visit: Viewer, event: str = "") -> HTMLResponse:
    """List the models of the feed, the newest first."""
    found = visit.guard.models()
    figures = {row[0]: row[3:6] for row in found.table()[1]}
    names = ("model_id", "snapshot_id", "status", "made_at", "why", "snapshot_revoked")
    models = [
        {**{name: getattr(m, name) for name in names}, "figures": figures.get(m.model_id, ())} for m in found.models
    ]
    return visit.page("models.html.j2", {"tab": "models", "models": models, "toast": toast_of(event, "")})


@routes.page("/feeds/{feed}/dashboard")
def dashboard_page(visit: Viewer) -> HTMLResponse:
    """Show inflow, age, agreement and held share of the feed."""
    status = Home.open(visit.desk.home).status(visit.feed)
    facts = visit.guard.dashboard()
    agreed = {r["reviewer"]: r for r in visit.guard.agreement().reviewers}
    values = {
        "tab": "dashboard",
        "status": status.feeds[0],
        "runs": status.runs,
        "reasons": rows_of(visit.guard.queue(group_by="reason", size=20).entries),
        "days_plot": time_plot(rows_of(visit.guard.queue(group_by="day", size=60).entries), "value"),
        "reviewers": [{**agreed.get(r["by"], {}), **r} for r in rows_of(facts.reviewers)],
        "groups": rows_of(facts.groups),
        "drift": facts.drift,
    }
    return visit.page("dashboard.html.j2", values)


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


def toast_of(event: str, back: str) -> dict[str, Any] | None:
    """Return what is said of the decision that was just made, by the ``event`` of the URL: its number, or a word."""
    if event.isdecimal() and len(event) < 12:
        return {"text": f"Done, as event {int(event)}.", "event": int(event), "back": back}
    said = _SAID.get(event)
    return {"text": said, "event": None, "back": back} if said else None


_SAID = {
    "approved": "Your approval is stored.",
    "claimed": "They are yours for ten minutes.",
    "none-free": "None of them is free: a colleague has them.",
    "saved": "The view is saved.",
    "kept": "Done.",
    "rule": "The rule holds from now on.",
}


def is_abusive(reasons: Iterable[Mapping[str, Any]]) -> bool:
    """Whether one of the reasons says that a text looks abusive."""
    return any(reason["code"] in _ABUSE for reason in reasons)


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as mappings, with None for what is missing."""
    return [{key: _present(value) for key, value in row.items()} for row in frame.to_dict("records")]


def _present(value: Any) -> Any:
    if type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and math.isnan(value)):
        return None
    return value.to_pydatetime() if hasattr(value, "to_pydatetime") else value


def time_plot(rows: list[dict[str, Any]], name: str) -> Markup:
    """Return bars of ``records`` over the moments in the column `name`: hours, or days."""
    drawing = Drawing(760, 130)
    moments = [(_moment_of(row[name]), int(row["records"])) for row in rows if row[name] is not None]
    if not moments:
        return drawing.markup("In time", "no times are known")
    step = 86_400.0 if name == "value" else 3_600.0
    first, last = min(m for m, _ in moments), max(m for m, _ in moments) + step
    x, peak = linear(first, last, 4, 756), max(n for _, n in moments)
    for moment, n in moments:
        left, right = x.place(moment), x.place(moment + step)
        when = dt.datetime.fromtimestamp(moment, dt.UTC)
        tip = f"{when:%d %b %Y}{'' if name == 'value' else f'{when: %H:%M}'}: {n:,}"
        drawing.rect(
            left, 100 - 92 * n / peak, min(max(right - left - 0.5, 1.5), 60), 92 * n / peak, "fill-quarantine", tip=tip
        )
    drawing.line(4, 100, 756, 100, "base")
    for at, side in ((first, "start"), (last - step, "end")):
        drawing.text(
            4 if side == "start" else 756, 118, f"{dt.datetime.fromtimestamp(at, dt.UTC):%d %b %Y %H:%M}", at=side
        )
    total = sum(n for _, n in moments)
    return drawing.markup(
        "In time", f"{total:,} records, at most {peak:,} in one {'day' if name == 'value' else 'hour'}"
    )


def _moment_of(value: Any) -> float:
    if not isinstance(value, dt.datetime):
        value = dt.datetime.fromisoformat(str(value))
    return (value if value.tzinfo else value.replace(tzinfo=dt.UTC)).timestamp()


chance = p_value_text
