"""The same as JSON: every page and every act of the pages for programs, described by an OpenAPI document."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from fastapi import APIRouter, BackgroundTasks, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from poison_guard.guard import Home
from poison_guard.results import Result
from poison_guard.text import to_jsonable
from poison_guard.web.acts import run_job
from poison_guard.web.desk import Admin, Reviewer, Viewer
from poison_guard.web.views import LISTING

__all__ = ["routes"]

routes = APIRouter(prefix="/api", default_response_class=JSONResponse)
_V1 = "/v1/feeds/{feed}"
_Id = Annotated[str, Query(max_length=2000, description="Its id.")]
_Limit = Annotated[int, Query(ge=1, le=2000)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", str_max_length=20_000)


class Reason(_Body):
    """An act of a person: who acts is whoever the request is from."""

    reason: str = Field(max_length=500, description="Why; kept with the decision.")


class Decision(Reason):
    """What to release or reject: records by id and version, or all that waits of a campaign, a source or a run."""

    verb: Literal["release", "reject"]
    expected: dict[str, int] | None = Field(
        None, description="Record to the version that was shown.", max_length=10_000
    )
    campaign_id: str | None = None
    source_id: str | None = None
    run_id: str | None = None
    dry_run: bool = False


class Made(_Body):
    """A decision that was made elsewhere; with `version` it is left where the record changed since."""

    record_id: str
    decision: Literal["release", "reject", ""]
    version: int | None = Field(None, ge=0, le=2**62)
    note: str = Field("", max_length=500)


class Decisions(Reason):
    """Decisions that were made elsewhere, as an exported view has them; the same again changes nothing."""

    decisions: list[Made] = Field(max_length=10_000)


class Undo(Reason):
    """A decision to take back."""

    event: int = Field(ge=1, le=2**62)
    dry_run: bool = False


class Claim(_Body):
    """What to hold for ten minutes."""

    record_ids: list[str] | None = Field(None, max_length=2000)
    limit: int = Field(10, ge=1, le=2000)


class Unclaim(_Body):
    """A claim to give back."""

    token: str


class BulkFilter(_Body):
    """What to freeze, as the queue's filters."""

    filters: dict[str, str] = Field(max_length=30)


class Bulk(Reason):
    """How to decide a frozen set; over 100 records `confirm` is their number."""

    job_id: str
    verb: Literal["release", "reject"]
    confirm: str = ""


class Rule(Reason):
    """A rule about a source; a dry run says what it would change."""

    verb: Literal["block", "allow"]
    source_id: str
    expires: dt.datetime | None = None
    dry_run: bool = False


class RuleEnd(Reason):
    """A rule to end."""

    event: int = Field(ge=1, le=2**62)


class Answer(_Body):
    """What a reviewer says of a record that they were asked about blind."""

    record_id: str
    verb: Literal["release", "reject"]


class Approval(Reason):
    """An approval of a snapshot that did not pass."""

    snapshot_id: str
    expires: dt.datetime | None = None


class Rollback(Reason):
    """An earlier champion to make the champion again."""

    model_id: str
    dry_run: bool = False


class Reveal(Reason):
    """A record whose private columns are to be shown."""

    record_id: str


def _json(result: Result) -> JSONResponse:
    return JSONResponse(to_jsonable(result.to_dict()))


@routes.get("/openapi.json", include_in_schema=False)
def openapi(visit: Viewer) -> JSONResponse:
    """Return the document that describes this API."""
    return JSONResponse(visit.request.app.openapi())


@routes.get("/v1/feeds")
def feeds(visit: Viewer) -> JSONResponse:
    """Return the feeds that the person may see, and where each stands."""
    may = set(visit.visible_feeds())
    document = Home.open(visit.desk.home).status().to_dict()
    return JSONResponse(to_jsonable({"feeds": [f for f in document["feeds"] if f["feed"] in may]}))


@routes.get(f"{_V1}/queue")
def queue(
    visit: Viewer,
    page: Annotated[int, Query(ge=1, le=10**9)] = 1,
    size: Annotated[int | None, Query(ge=1, le=2000)] = None,
    sort: str = "risk",
    by: Annotated[str | None, Query(description="Group by this.")] = None,
) -> JSONResponse:
    """Return a page of what waits; any other query parameter is a filter of the queue."""
    asked = {name: value for name, value in visit.request.query_params.items() if name not in LISTING}
    found = visit.guard.queue(visit.filters_of(asked), page=page, size=size, sort=sort, group_by=by)
    return _json(found)


@routes.get(f"{_V1}/decided")
def decided(visit: Viewer, limit: _Limit = 50) -> JSONResponse:
    """Return what people decided, the last first."""
    return _json(visit.guard.decided(limit=limit))


@routes.get(f"{_V1}/would-hold")
def would_hold(visit: Viewer, limit: _Limit = 50) -> JSONResponse:
    """Return what an observing feed accepted though it would have held it."""
    return _json(visit.guard.would_hold(limit=limit))


@routes.get(f"{_V1}/record")
def record(visit: Viewer, id: _Id) -> JSONResponse:
    """Return a record with its version, its evidence and who is like it."""
    return _json(visit.guard.record(id))


@routes.get(f"{_V1}/record/compared")
def compared(visit: Viewer, id: _Id) -> JSONResponse:
    """Return a record beside the trusted ones and its copies."""
    return _json(visit.guard.compare(id))


@routes.get(f"{_V1}/campaigns")
def campaigns(visit: Viewer, limit: _Limit = 200) -> JSONResponse:
    """Return the campaigns, the largest first."""
    return _json(visit.guard.campaigns(limit=limit))


@routes.get(f"{_V1}/campaign")
def campaign(visit: Viewer, id: _Id) -> JSONResponse:
    """Return a campaign."""
    return _json(visit.guard.campaign(id))


@routes.get(f"{_V1}/sources")
def sources(visit: Viewer, limit: _Limit = 200, blocked: bool = False, changed: bool = False) -> JSONResponse:
    """Return the sources, alarming and least reliable first."""
    return _json(visit.guard.sources(limit=limit, blocked=blocked, changed=changed))


@routes.get(f"{_V1}/source")
def source(visit: Viewer, id: _Id) -> JSONResponse:
    """Return a source."""
    return _json(visit.guard.source(id))


@routes.get(f"{_V1}/items")
def items(visit: Viewer, limit: _Limit = 200, offset: Annotated[int, Query(ge=0, le=2**62)] = 0) -> JSONResponse:
    """Return the items, those that are deferred first."""
    return _json(visit.guard.items(limit=limit, offset=offset))


@routes.get(f"{_V1}/item")
def item(visit: Viewer, id: _Id) -> JSONResponse:
    """Return an item."""
    return _json(visit.guard.item(id))


@routes.get(f"{_V1}/gate")
def gate(visit: Viewer, snapshot_id: str | None = None) -> JSONResponse:
    """Return the last verdict on a snapshot, its approvals and its admission."""
    return _json(visit.guard.gate_status(snapshot_id))


@routes.get(f"{_V1}/models")
def models(visit: Viewer) -> JSONResponse:
    """Return the models of the feed, the newest first."""
    return _json(visit.guard.models())


@routes.get(f"{_V1}/dashboard")
def dashboard(visit: Viewer) -> JSONResponse:
    """Return the agreement of reviewers and the held share of each group."""
    return _json(visit.guard.dashboard())


@routes.get(f"{_V1}/jobs")
def jobs(visit: Viewer, limit: _Limit = 50) -> JSONResponse:
    """Return the bulk decisions, the newest first."""
    return _json(visit.guard.jobs(limit=limit))


@routes.get(f"{_V1}/jobs/{{job_id}}")
def job(visit: Viewer, job_id: str) -> JSONResponse:
    """Return how far a bulk decision is."""
    found = visit.guard.job(job_id)
    return JSONResponse(to_jsonable({**found.to_dict(), "ended": found.is_over}))


@routes.post(f"{_V1}/decide")
def decide(visit: Reviewer, body: Decision) -> JSONResponse:
    """Release or reject records, a campaign, a source or a run."""
    which: dict[str, Any] = {"campaign_id": body.campaign_id, "source_id": body.source_id, "run_id": body.run_id}
    if body.expected is not None:
        which |= {"record_ids": list(body.expected), "expected": body.expected}
    act = getattr(visit.guard, body.verb)
    return _json(act(by=visit.person.by, reason=body.reason, dry_run=body.dry_run, **which))


@routes.post(f"{_V1}/import")
def import_decisions(visit: Reviewer, body: Decisions) -> JSONResponse:
    """Make decisions that were made elsewhere; what was decided meanwhile is left, and said."""
    rows = [one.model_dump() for one in body.decisions]
    return _json(visit.guard.import_decisions(rows, by=visit.person.by, reason=body.reason))


@routes.post(f"{_V1}/undo")
def undo(visit: Reviewer, body: Undo) -> JSONResponse:
    """Take a decision back."""
    return _json(visit.guard.undo(body.event, by=visit.person.by, reason=body.reason, dry_run=body.dry_run))


@routes.post(f"{_V1}/claim")
def claim(visit: Reviewer, body: Claim) -> JSONResponse:
    """Hold entries of the queue for ten minutes."""
    return _json(visit.guard.claim(by=visit.person.by, record_ids=body.record_ids, limit=body.limit))


@routes.post(f"{_V1}/unclaim")
def unclaim(visit: Reviewer, body: Unclaim) -> JSONResponse:
    """Give a claim back."""
    return _json(visit.guard.unclaim(body.token))


@routes.post(f"{_V1}/bulk/preview")
def bulk_preview(visit: Reviewer, body: BulkFilter) -> JSONResponse:
    """Freeze what a filter finds."""
    return _json(visit.guard.bulk_preview(visit.filters_of(body.filters)))


@routes.post(f"{_V1}/bulk")
def bulk(visit: Reviewer, body: Bulk, tasks: BackgroundTasks) -> JSONResponse:
    """Begin to decide a frozen set; its job says how far it is."""
    begun = visit.guard.bulk(body.job_id, body.verb, by=visit.person.by, reason=body.reason, confirm=body.confirm)
    tasks.add_task(run_job, visit.guard, begun.job_id)
    return JSONResponse(to_jsonable(begun.to_dict()), background=tasks)


@routes.post(f"{_V1}/jobs/{{job_id}}/cancel")
def cancel(visit: Reviewer, job_id: str) -> JSONResponse:
    """Stop a bulk decision after the part it is at."""
    return _json(visit.guard.cancel(job_id, by=visit.person.by))


@routes.post(f"{_V1}/jobs/{{job_id}}/undo")
def undo_job(visit: Reviewer, job_id: str, body: Reason) -> JSONResponse:
    """Take a bulk decision back as one."""
    return _json(visit.guard.undo_job(job_id, by=visit.person.by, reason=body.reason))


@routes.get(f"{_V1}/rules")
def rules(visit: Viewer) -> JSONResponse:
    """Return the rules about sources that hold."""
    return _json(visit.guard.rules())


@routes.post(f"{_V1}/rule")
def rule(visit: Reviewer, body: Rule) -> JSONResponse:
    """Block or allow a source."""
    who = {"by": visit.person.by, "reason": body.reason}
    return _json(visit.guard.add_rule(body.source_id, body.verb, expires=body.expires, dry_run=body.dry_run, **who))


@routes.post(f"{_V1}/rule/end")
def end_rule(visit: Reviewer, body: RuleEnd) -> JSONResponse:
    """End a rule."""
    return _json(visit.guard.end_rule(body.event, by=visit.person.by, reason=body.reason))


@routes.get(f"{_V1}/agreement")
def agreement(visit: Viewer) -> JSONResponse:
    """Return how well each reviewer agrees with colleagues and with what is known."""
    return _json(visit.guard.agreement())


@routes.get(f"{_V1}/checks")
def checks(visit: Reviewer, limit: _Limit = 5) -> JSONResponse:
    """Return the records that this reviewer is asked about blind."""
    return _json(visit.guard.checks(by=visit.person.by, limit=limit))


@routes.post(f"{_V1}/check")
def check(visit: Reviewer, body: Answer) -> JSONResponse:
    """Keep an answer to a check; it moves no record."""
    return _json(visit.guard.check(body.record_id, body.verb, by=visit.person.by))


@routes.get(f"{_V1}/views")
def views(visit: Viewer) -> JSONResponse:
    """Return the saved views of the queue."""
    return _json(visit.guard.views())


@routes.post(f"{_V1}/approve")
def approve(visit: Reviewer, body: Approval) -> JSONResponse:
    """Approve a snapshot that did not pass."""
    how = {"expires": body.expires, "snapshot_id": body.snapshot_id}
    return _json(visit.guard.approve(by=visit.person.by, reason=body.reason, **how))


@routes.post(f"{_V1}/rollback")
def rollback(visit: Admin, body: Rollback) -> JSONResponse:
    """Make an earlier champion the champion again."""
    who = {"by": visit.person.by, "reason": body.reason}
    return _json(visit.guard.rollback(to=body.model_id, dry_run=body.dry_run, **who))


@routes.post(f"{_V1}/reveal")
def reveal(visit: Reviewer, body: Reveal) -> JSONResponse:
    """Return the private columns of a record, which the audit chain notes."""
    return _json(visit.guard.reveal(body.record_id, by=visit.person.by, reason=body.reason))
