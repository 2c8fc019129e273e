"""The pages that show: queue, record, campaign, source, item, gate, models, dashboard. A GET never changes anything."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import HTTPException, Query
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from poison_guard.errors import NotFoundError, UsageError
from poison_guard.guard import Home
from poison_guard.web.desk import Routes, Viewer, Visit
from poison_guard.web.payload import copies_of, null_of, payload_of, picture_of, range_plot
from poison_guard.web.people import Role
from poison_guard.web.time_plot import time_plot
from poison_guard.web.views import LISTING, address, rows_of, toast_of, with_preview

__all__ = ["CHECKS", "is_abusive", "item_page", "routes", "show_record", "source_page"]

routes = Routes()
_ABUSE = ("toxic",)
"""Codes of reasons that say that a text looks abusive: it is shown when it is asked for."""
CHECKS = 5
"""Hidden checks that one page of the queue holds at most: second looks, and records whose answer is known."""
_WAITING = ("quarantined", "recalled", "staged")
_SHOWN_DAYS = 30
"""For which the effect of allowing a source is shown: such a rule must end."""
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
        "loose": 0 if asked else _in_no_campaign(queue),
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


def _in_no_campaign(queue: Any) -> int:
    """Return how many open entries the list of all campaigns leaves out; 0 where it does not tell."""
    if queue.group_by != "campaign" or queue.pages > 1:
        return 0
    return int(queue.open - queue.entries["records"].sum())


def shown_queue(queue: Any) -> dict[str, Any]:
    """Return a queue with its entries as plain rows, each with whether its text looks abusive."""
    names = ("group_by", "sort", "page", "pages", "total", "capped", "open", "oldest", "expired", "staged", "decided")
    entries = with_preview(queue.entries)
    for row in entries:
        row["abusive"] = is_abusive(row.get("reasons") or ())
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
    members = with_preview(c.members)
    comparison = visit.guard.compare(members[0]["record_id"]) if members else None
    facts = visit.guard.explain(members[0]["record_id"]) if members else None
    values = {
        "tab": "campaigns",
        "c": c,
        "members": members,
        "sources": rows_of(c.sources)[:50],
        "labels": rows_of(c.labels)[:20],
        "waiting": sum(c.places.get(place, 0) for place in _WAITING),
        "time_plot": time_plot(rows_of(c.timeline), "hour"),
        "text": comparison.text if comparison else None,
        "copies": copies_of(comparison) if comparison else (),
        "abusive": bool(facts and is_abusive(facts.evidence)),
        "toast": toast_of(event, visit.here("campaign", id=id)),
    }
    return visit.page("campaign.html.j2", values)


@routes.page("/feeds/{feed}/source")
def source_page(visit: Viewer, id: str = Query(max_length=2000), event: str = "") -> HTMLResponse:
    """Show a source: how reliable it is, what it sent, and the rules about it."""
    source = visit.guard.source(id)
    values = {
        "tab": "sources",
        "s": source,
        "records": with_preview(source.records),
        "rules": [r for r in visit.guard.rules().rules if r["source_id"] == source.source_id],
        "would": [_would(visit, id, verb) for verb in ("block", "allow")] if visit.role >= Role.REVIEWER else [],
        "waiting": sum(source.places.get(place, 0) for place in _WAITING),
        "time_plot": time_plot(rows_of(source.timeline), "hour"),
        "toast": toast_of(event, visit.here("source", id=id)),
    }
    return visit.page("source.html.j2", values)


def _would(visit: Visit, source_id: str, verb: str) -> str:
    """Return what a rule would change, or why it cannot be made."""
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(days=_SHOWN_DAYS) if verb == "allow" else None
    person = {"by": visit.person.by, "reason": "a preview"}
    try:
        return str(visit.guard.add_rule(source_id, verb, expires=expires, dry_run=True, **person))
    except UsageError as error:
        return str(error)


@routes.page("/feeds/{feed}/item")
def item_page(visit: Viewer, id: str = Query(max_length=2000)) -> HTMLResponse:
    """Show an item: its label or why it is deferred, and the votes about it."""
    item, content = visit.guard.item(id), visit.desk.items(visit.feed, visit.guard)
    row = content.rows.get(item.item_id, {})
    picture = next(filter(None, (picture_of(value, content.pixel_max) for value in row.values())), None)
    texts = [(name, value) for name, value in row.items() if isinstance(value, str) and picture is None]
    values = {"tab": "items", "i": item, "votes": rows_of(item.votes), "records": rows_of(item.records)}
    return visit.page("item.html.j2", {**values, "picture": picture, "texts": texts})


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


def is_abusive(reasons: Iterable[Mapping[str, Any]]) -> bool:
    """Whether one of the reasons says that a text looks abusive."""
    return any(reason["code"] in _ABUSE for reason in reasons)
