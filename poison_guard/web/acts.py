"""The forms that change something: decide, undo, claim, bulk, rules, approvals, rollback; each ends in a GET."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from fastapi import BackgroundTasks, Form, HTTPException, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from poison_guard.errors import DataError, UsageError
from poison_guard.guard import Guard
from poison_guard.web.desk import Admin, Reviewer, Routes, Viewer, Visit
from poison_guard.web.lists import show_imported
from poison_guard.web.pages import CHECKS, is_abusive, show_record
from poison_guard.web.payload import PRIVATE
from poison_guard.web.views import filters_in, with_preview

__all__ = ["picked", "routes"]

routes = Routes()
_KINDS = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
_Text = Annotated[str, Form(max_length=2000)]
_Reason = Annotated[str, Form(max_length=500)]


def picked(picks: Sequence[str]) -> dict[str, int]:
    """Return record to version from what the boxes of a page say: ``VERSION:RECORD``."""
    expected = {}
    for one in picks:
        version, mark, record_id = one.partition(":")
        if not mark or not version.isdecimal() or len(version) > 18:
            raise UsageError(f"a record is chosen as VERSION:RECORD, got {one!r}")
        expected[record_id] = int(version)
    return expected


@routes.act("/feeds/{feed}/decide")
def decide(
    visit: Reviewer,
    verb: _Text,
    reason: _Reason = "",
    pick: Annotated[list[str] | None, Form(max_length=2000)] = None,
    campaign_id: _Text = "",
    source_id: _Text = "",
    back: _Text = "",
) -> RedirectResponse:
    """Release or reject the chosen records as they were shown, or all that waits of a campaign or a source."""
    if verb not in ("release", "reject"):
        raise UsageError(f"a decision is release or reject, got {verb!r}")
    which: dict[str, Any] = {"campaign_id": campaign_id or None, "source_id": source_id or None}
    if pick:
        expected = without_checks(visit, verb, picked(pick))
        if not expected:
            return visit.back(_with_event(back, "kept"))
        which |= {"record_ids": list(expected), "expected": expected}
    done = getattr(visit.guard, verb)(by=visit.person.by, reason=reason, **which)
    return visit.back(_with_event(back, done.seq))


def without_checks(visit: Visit, verb: str, expected: dict[str, int]) -> dict[str, int]:
    """Keep the answers to hidden checks, which move nothing, and return the other records."""
    asked = set(visit.guard.checks(by=visit.person.by, limit=CHECKS).record_ids) & set(expected)
    for record_id in asked:
        visit.guard.check(record_id, verb, by=visit.person.by)
    return {name: version for name, version in expected.items() if name not in asked}


@routes.act("/feeds/{feed}/undo")
def undo(visit: Reviewer, event: Annotated[int, Form(ge=1)], reason: _Reason, back: _Text = "") -> RedirectResponse:
    """Take a decision back."""
    done = visit.guard.undo(event, by=visit.person.by, reason=reason)
    return visit.back(_with_event(back, done.seq))


@routes.act("/feeds/{feed}/claim")
def claim(
    visit: Reviewer, pick: Annotated[list[str] | None, Form(max_length=2000)] = None, back: _Text = ""
) -> RedirectResponse:
    """Hold the chosen records for this person, or the riskiest ten that are free."""
    ids = list(picked(pick)) if pick else None
    held = visit.guard.claim(by=visit.person.by, record_ids=ids, limit=10)
    return visit.back(_with_event(back, "claimed" if held.record_ids else "none-free"))


@routes.act("/feeds/{feed}/views")
def save_view(visit: Reviewer, name: _Text, query: _Text = "") -> RedirectResponse:
    """Save the filters of a view under a name, for everybody who reviews the feed."""
    visit.guard.save_view(name, visit.filters_of(filters_in(query)), by=visit.person.by)
    return RedirectResponse(visit.here("queue", by="none", event="saved") + (f"&{query}" if query else ""), 303)


@routes.act("/feeds/{feed}/reveal")
def reveal(visit: Reviewer, id: _Text, reason: _Reason) -> HTMLResponse:
    """Show the private columns of one record, which the audit chain notes."""
    shown = visit.guard.reveal(id, by=visit.person.by, reason=reason)
    return show_record(visit, id, visit.here("queue"), revealed={k: v for k, v in shown.values.items() if v != PRIVATE})


@routes.act("/feeds/{feed}/rule")
def rule(
    visit: Reviewer, verb: _Text, source_id: _Text = "", number: _Text = "", reason: _Reason = "", days: _Text = ""
) -> RedirectResponse:
    """Block or allow a source from now on, or end a rule."""
    if verb == "end" and number.isdecimal():
        visit.guard.end_rule(int(number[:18]), by=visit.person.by, reason=reason)
    else:
        visit.guard.add_rule(source_id, verb, expires=end_of(days), by=visit.person.by, reason=reason)
    return RedirectResponse(visit.here("source", id=source_id, event="rule"), 303)


def end_of(days: str) -> dt.datetime | None:
    """Return the moment so many days from now; None for an empty text: never."""
    if not days:
        return None
    if not (days.isdecimal() and 1 <= int(days[:6]) <= 3660):
        raise UsageError(f"a rule ends after 1 to 3660 days, or never; got {days!r}")
    return dt.datetime.now(dt.UTC) + dt.timedelta(days=int(days))


@routes.act("/feeds/{feed}/bulk/preview")
def bulk_preview(visit: Reviewer, query: _Text = "") -> HTMLResponse:
    """Freeze what the filter finds, and show its number and a sample."""
    frozen = visit.guard.bulk_preview(visit.filters_of(filters_in(query)))
    sample = [{**row, "abusive": is_abusive(row["reasons"])} for row in with_preview(frozen.sample)]
    back = visit.here("queue") + (f"?{query}" if query else "")
    return visit.page("bulk.html.j2", {"tab": "queue", "b": frozen, "sample": sample, "back": back})


@routes.act("/feeds/{feed}/bulk")
def bulk(
    visit: Reviewer, tasks: BackgroundTasks, job_id: _Text, verb: _Text, reason: _Reason, confirm: _Text = ""
) -> RedirectResponse:
    """Begin to decide a frozen set; its page shows how far it is."""
    job = visit.guard.bulk(job_id, verb, by=visit.person.by, reason=reason, confirm=confirm)
    tasks.add_task(run_job, visit.guard, job.job_id)
    return RedirectResponse(visit.here("jobs", job.job_id), 303, background=tasks)


def run_job(guard: Guard, job_id: str) -> None:
    """Go through a job after the answer was sent; what a stopped server left, "Go on with it" ends."""
    guard.run_job(job_id)


@routes.page("/feeds/{feed}/jobs/{job_id}")
def job_page(visit: Viewer, job_id: str) -> HTMLResponse:
    """Show how far a job is."""
    job = visit.guard.job(job_id)
    return visit.page("job.html.j2", {"tab": "queue", "j": job, "ended": job.is_over})


@routes.act("/feeds/{feed}/jobs/{job_id}/{act}")
def change_job(
    visit: Reviewer, tasks: BackgroundTasks, job_id: str, act: str, reason: _Reason = ""
) -> RedirectResponse:
    """Cancel a job, go on with it, or undo it."""
    match act:
        case "cancel":
            visit.guard.cancel(job_id, by=visit.person.by)
        case "run":
            tasks.add_task(run_job, visit.guard, job_id)
        case "undo":
            visit.guard.undo_job(job_id, by=visit.person.by, reason=reason)
        case _:
            raise HTTPException(404, "a job can be cancelled, run or undone")
    return RedirectResponse(visit.here("jobs", job_id), 303, background=tasks)


@routes.act("/feeds/{feed}/approve")
def approve(
    visit: Reviewer, snapshot_id: _Text, reason: _Reason, until: Annotated[str, Form(max_length=10)] = ""
) -> RedirectResponse:
    """Approve a snapshot in this person's name."""
    try:
        expires = dt.datetime.combine(dt.date.fromisoformat(until), dt.time(23, 59), dt.UTC) if until else None
    except ValueError:
        raise UsageError(f"an approval ends on a day such as 2026-03-31, got {until!r}") from None
    visit.guard.approve(by=visit.person.by, reason=reason, expires=expires, snapshot_id=snapshot_id)
    return RedirectResponse(visit.here("gate", id=snapshot_id, event="approved"), 303)


@routes.act("/feeds/{feed}/rollback")
def rollback(visit: Admin, model_id: _Text, reason: _Reason) -> RedirectResponse:
    """Make an earlier champion the champion again."""
    visit.guard.rollback(to=model_id, by=visit.person.by, reason=reason)
    return RedirectResponse(visit.here("models"), 303)


@routes.get("/feeds/{feed}/export.{kind}", include_in_schema=False)
def export(visit: Viewer, kind: str) -> Response:
    """Send the entries of a view as CSV (safe to open in a spreadsheet), JSON Lines or Parquet."""
    if kind not in _KINDS:
        raise HTTPException(404, f"a view is sent as {', '.join(_KINDS)}")
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"view.{kind}"
        visit.guard.export_queue(file, visit.filters_of(filters_in(visit.request.url.query)))
        body = file.read_bytes()
    headers = {"content-disposition": f'attachment; filename="{visit.feed}-queue.{kind}"'}
    return Response(body, media_type=_KINDS[kind], headers=headers)


@routes.act("/feeds/{feed}/import")
async def import_file(visit: Reviewer, file: UploadFile, reason: _Reason) -> HTMLResponse:
    """Make the decisions of a file that was exported here and filled in; what was decided meanwhile is left."""
    kind = Path(file.filename or "").suffix.lower().removeprefix(".")
    if kind not in _KINDS:
        raise UsageError(f"a file of decisions ends in .{', .'.join(_KINDS)}, as an exported view does")
    body = await file.read()
    with TemporaryDirectory() as folder:
        given = Path(folder) / f"decisions.{kind}"
        given.write_bytes(body)
        who = {"by": visit.person.by, "reason": reason}
        try:
            done = await run_in_threadpool(visit.guard.import_decisions, given, **who)
        except DataError as error:
            raise UsageError(str(error).replace(str(given), "the file")) from None
    return show_imported(visit, done)


def _with_event(back: str, event: object) -> str:
    mark = "&" if "?" in back else "?"
    return f"{back}{mark}event={event}" if back and event is not None else back
