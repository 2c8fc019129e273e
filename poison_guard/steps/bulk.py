"""Bulk: decide all that a filter finds as one: freeze it, show a sample, confirm, go through it, undo it at once."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from poison_guard.canonical_json import utc_or_now
from poison_guard.errors import BusyError, UsageError
from poison_guard.gate.admission import same_person
from poison_guard.records import Person, Place, via_of
from poison_guard.results import Result, TableResult
from poison_guard.review.filters import QueueFilter, check_choice
from poison_guard.review.rules import VERBS, check_person
from poison_guard.review.sampling import audit_sample
from poison_guard.steps.opening import Feed
from poison_guard.steps.outbox import drain
from poison_guard.steps.queue import expiry, filtered, with_reasons
from poison_guard.store import chain, jobs, waiting
from poison_guard.store.deciding import JobPart, ReviewDecision
from poison_guard.store.reading import find_records
from poison_guard.store.reviews import append_review, apply_decision
from poison_guard.store.standing import job_events
from poison_guard.store.undo import end_undo
from poison_guard.store.undo import undo_job as store_undo

__all__ = ["FrozenSet", "Job", "Jobs", "bulk", "bulk_preview", "cancel", "job", "jobs_of", "run_job", "undo_job"]

MOST = 200_000
"""Records of one bulk decision."""
CONFIRMED = 100
"""Records from which on a bulk decision has to be confirmed by typing their number."""
_SAMPLE = 20
_PART = 2_000
"""Records of one transaction: other reviewers wait no longer than it takes."""

Report = Callable[["Job"], object]
"""Is told of a job after each part."""


@dataclass(frozen=True, slots=True)
class FrozenSet(Result):
    """What a bulk decision would be about: exactly these records, as they are now."""

    job_id: str
    feed: str
    filters: QueueFilter
    total: int
    sample: pd.DataFrame
    """A random sample of them: ``record_id, source_id, campaign_id, place, risk, reasons, why, preview``."""
    sources: int
    """How many sources are in the sample."""
    confirm: str
    """What has to be typed to decide them; empty where nothing has."""

    def __str__(self) -> str:
        """Return what was frozen in a sentence."""
        typed = f", confirm with {self.confirm}" if self.confirm else ""
        return f"{self.total:,} records of {self.feed} are frozen as {self.job_id}{typed}"


@dataclass(frozen=True, slots=True)
class Job(Result):
    """A bulk decision and how far it is."""

    job_id: str
    feed: str
    state: str
    """``frozen``, ``running``, ``done``, ``cancelled`` or ``undone``."""
    verb: str | None
    by: str | None
    via: str | None
    reason: str | None
    filters: Mapping[str, Any]
    total: int
    done: int
    """Records that were gone through."""
    decided: int
    left: int
    """Records left as they are: decided, claimed or moved after the set was frozen, or unreadable."""
    event: int | None
    """`undo` takes it, and takes the whole job back."""
    at: dt.datetime
    fault: str | None
    """Why it stopped, where it did."""

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return self.state in ("done", "cancelled", "undone")

    def __str__(self) -> str:
        """Return how far it is in a sentence."""
        left = f", {self.left:,} left as they are" if self.left else ""
        return f"{self.job_id}: {self.verb} {self.state}, {self.decided:,} of {self.total:,} decided{left}"


@dataclass(frozen=True, slots=True)
class Jobs(TableResult):
    """The bulk decisions of a feed, the newest first."""

    feed: str
    jobs: tuple[Job, ...]

    def table(self) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Return a line a job."""
        rows: list[tuple[object, ...]] = [
            (j.job_id, j.verb, j.state, j.by, j.at, j.total, j.decided, j.left, j.event) for j in self.jobs
        ]
        return ("job", "what", "state", "by", "at", ">records", ">decided", ">left", ">event"), rows


def bulk_preview(feed: Feed, filters: QueueFilter, *, now: dt.datetime | None = None) -> FrozenSet:
    """Freeze what a filter finds, and return its number and a random sample; `UsageError` for none or too many."""
    at, name = utc_or_now(now), feed.contract.name
    with feed.store.write() as conn:
        which: dict[str, Any] = {"at": at, "since": expiry(feed, at), "limit": MOST + 1}
        ids = waiting.ids_of(conn, name, filtered(filters), **which)
        if not ids:
            raise UsageError(f"no entry of the queue of {name} meets the filter; nothing was frozen")
        if len(ids) > MOST:
            raise UsageError(f"more than {MOST:,} entries meet the filter; narrow it, a day or a reason at a time")
        job_id = jobs.freeze(conn, name, ids, filters=filters.params(), at=at)
    drawn = audit_sample(ids, job_id.encode(), min(1.0, _SAMPLE / len(ids) * 1.5))[:_SAMPLE] or ids[:_SAMPLE]
    rows = find_records(feed.store, name, record_ids=drawn)
    shown = rows[["record_id", "source_id", "item_id", "answer", "campaign_id", "place", "risk"]]
    confirm = str(len(ids)) if len(ids) > CONFIRMED else ""
    begin = waiting.previews_of(feed.store, name, drawn)
    sample = with_reasons(feed, shown).assign(preview=[begin.get(one) for one in shown["record_id"]])
    return FrozenSet(job_id, name, filters, len(ids), sample, int(shown["source_id"].nunique()), confirm)


def bulk(
    feed: Feed,
    job_id: str,
    verb: str,
    *,
    by: str,
    reason: str,
    confirm: str = "",
    now: dt.datetime | None = None,
) -> Job:
    """Begin to decide a frozen set: ``release`` or ``reject``; `run_job` goes through it. The same again begins once.

    `UsageError` where the set has over 100 records and `confirm` is not their number.
    """
    check_choice("the verb of a bulk decision", verb, ("release", "reject"))
    name, why = check_person(by, reason)
    job, at = jobs.load_job(feed.store, feed.contract.name, job_id), utc_or_now(now)
    total = job["total"]
    if job["state"] == "frozen" and total > CONFIRMED and confirm.strip().replace(",", "") != str(total):
        raise UsageError(f"{total:,} records would be decided: confirm with the number {total}, got {confirm!r}")
    with feed.store.write() as conn:
        event = chain.next_seq(conn)
        values = {"verb": verb, "actor": str(name), "via": via_of(name), "reason": why, "at": at}
        if jobs.start(conn, job_id, event=event, **values):
            selector = {"job": job_id, "verb": verb, "digest": job["digest"], "filters": job["filters"]}
            more: dict[str, Any] = {"n": total, "selector": selector, "job": job_id}
            append_review(conn, feed.store.key, feed.contract.name, "bulk", name, why, at, **more)
    begun = _job(feed, job_id)
    if (begun.verb, begun.by) != (verb, name):
        raise BusyError(f"{begun.by} decided {job_id} already: {begun.verb}; nothing was changed")
    return begun


def run_job(feed: Feed, job_id: str, *, report: Report | None = None, now: dt.datetime | None = None) -> Job:
    """Go through a job until it is done or cancelled; killed and called again, it goes on where it was."""
    store = feed.store
    begun = _job(feed, job_id)
    ids: list[str] = [] if begun.is_over else jobs.job_ids(store, job_id)
    version = jobs.load_job(store, feed.contract.name, job_id)["version"]
    done, last_source = begun.done, None
    while not begun.is_over and begun.state == "running" and done < begun.total:
        some = ids[done : done + _PART]
        last_source = last_source or _source_before(feed, ids, done)
        part = JobPart(job_id, done, done + len(some), version, last_source)
        try:
            apply_decision(store, _part_decision(feed, begun, tuple(some), part, utc_or_now(now)))
        except jobs.JobStoppedError:
            begun = _job(feed, job_id)
            done = begun.done
            if begun.state == "running" and done < begun.total:
                continue
            break
        last_source, done = None, part.last
        if report is not None:
            report(_job(feed, job_id))
    if begun.state == "running":
        with store.write() as conn:
            jobs.change_state(conn, job_id, old=["running"], new="done")
    drain(store, feed.settings, now)
    return _job(feed, job_id)


def _source_before(feed: Feed, ids: list[str], at: int) -> str | None:
    """Return the source that the part before spoke of last: its credit was given there."""
    if at == 0:
        return None
    source = find_records(feed.store, feed.contract.name, record_ids=[ids[at - 1]])["source_id"]
    return source.iloc[0] if len(source) and isinstance(source.iloc[0], str) else None


def _part_decision(feed: Feed, job: Job, ids: tuple[str, ...], part: JobPart, at: dt.datetime) -> ReviewDecision:
    rule = VERBS[str(job.verb)]
    return ReviewDecision(
        feed=feed.contract.name,
        namespace=feed.contract.namespace,
        verb=str(job.verb),
        by=Person(str(job.by), str(job.via)),
        reason=str(job.reason),
        at=at,
        record_ids=ids,
        place=rule.destination,
        allowed=(*rule.places, Place.ACCEPTED),
        verdict=rule.verdict,
        selector={"job": job.job_id},
        one_credit_per_source=True,
        same_person=same_person,
        part=part,
    )


def cancel(feed: Feed, job_id: str, *, by: str) -> Job:
    """Stop a job after the part it is at; what was decided stays, and its event can be undone."""
    name, _ = check_person(by, "cancel")
    with feed.store.write() as conn:
        jobs.change_state(conn, job_id, old=["running", "frozen"], new="cancelled", fault=f"cancelled by {name}")
    return _job(feed, job_id)


def job(feed: Feed, job_id: str) -> Job:
    """Return a job; `NotFoundError` when the feed has none of that id."""
    return _job(feed, job_id)


def jobs_of(feed: Feed, *, limit: int = 50) -> Jobs:
    """Return the bulk decisions of a feed, the newest first."""
    return Jobs(feed.contract.name, tuple(map(_as_job, jobs.list_jobs(feed.store, feed.contract.name, limit=limit))))


def undo_job(
    feed: Feed,
    job_id: str,
    *,
    by: str,
    reason: str,
    report: Callable[[int, int], object] | None = None,
    now: dt.datetime | None = None,
) -> Job:
    """Take a whole bulk decision back, part by part; records that were decided again since are left as they are.

    Killed and called again, it goes on. `report` is told how many parts are undone, of how many.
    """
    name, why = check_person(by, reason)
    before = cancel(feed, job_id, by=name) if _job(feed, job_id).state == "running" else _job(feed, job_id)
    if before.event is None:
        raise UsageError(f"{job_id} was not decided, so there is nothing to undo")
    parts = job_events(feed.store, job_id)
    for k, event in enumerate(reversed(parts)):
        person = {"by": name, "reason": why, "at": utc_or_now(now)}
        with contextlib.suppress(BusyError):
            store_undo(feed.store, feed.contract.name, event, job_id=job_id, **person)
        if report is not None:
            report(k + 1, len(parts))
    person = {"by": name, "reason": why, "at": utc_or_now(now)}
    end_undo(feed.store, feed.contract.name, before.event, job_id=job_id, **person)
    drain(feed.store, feed.settings, now)
    return _job(feed, job_id)


def _job(feed: Feed, job_id: str) -> Job:
    return _as_job(jobs.load_job(feed.store, feed.contract.name, job_id))


def _as_job(row: Mapping[str, Any]) -> Job:
    names = ("job_id", "feed", "state", "verb", "via", "reason", "filters", "total", "done", "decided", "left")
    return Job(
        **{name: row[name] for name in names}, by=row["actor"], event=row["event"], at=row["at"], fault=row["fault"]
    )
