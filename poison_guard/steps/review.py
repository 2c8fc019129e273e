"""Review: choose records and release, reject or recall them, undo a decision, and claim entries of the queue."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from poison_guard.errors import NotFoundError, UsageError
from poison_guard.records import Place
from poison_guard.results import Result
from poison_guard.review.rules import VERBS, Selection, allowed_places, check_person, one_selector, select_rows
from poison_guard.steps.opening import Feed
from poison_guard.steps.outbox import drain
from poison_guard.steps.recall import Revocation, effects_of_revoking, revoked_by
from poison_guard.store import TrustedSummary, add_trusted, quarantine, reviews
from poison_guard.store.bulk import bounded_key
from poison_guard.store.engine import utc_or_now
from poison_guard.store.gate_counts import would_be_held_ids
from poison_guard.store.reading import find_records, load_payloads
from poison_guard.store.reviews import ReviewDecision, Undone, apply_decision
from poison_guard.store.snapshots import snapshots_holding

__all__ = [
    "LEASE_SECONDS",
    "Claim",
    "ReviewResult",
    "claim",
    "decide_selection",
    "recall",
    "reject",
    "release",
    "select",
    "trust_released",
    "unclaim",
    "undo",
]

_PAST = {"release": "released", "reject": "rejected", "recall": "recalled"}


@dataclass(frozen=True, slots=True)
class ReviewResult(Result):
    """What a decision did, or would do."""

    feed: str
    verb: str
    seq: int | None
    """Number of its event; `undo` takes it. None: a dry run, nothing was changed."""
    record_ids: tuple[str, ...]
    places: dict[str, int]
    """How many of the records came from where."""
    sources: int
    """How many sources sent them."""
    revocation: Revocation = field(default_factory=Revocation)
    """The snapshots that held one of them, and what was trained on these."""
    trusted: TrustedSummary | None = None
    """What the trusted set holds, where a release entered the records into it."""
    undoes: int | None = None
    """Of an undo: the event that was undone."""
    undone_verb: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        undo = {} if self.undoes is None else {"undoes": self.undoes, "undone_verb": self.undone_verb}
        return {
            "feed": self.feed,
            "verb": self.verb,
            "dry_run": self.seq is None,
            "event": self.seq,
            **undo,
            "records": len(self.record_ids),
            "sources": self.sources,
            "places": dict(self.places),
            **self.revocation.to_dict(),
            "record_ids": list(self.record_ids),
        }

    def __str__(self) -> str:
        """Return the decision in a sentence."""
        n = f"{len(self.record_ids):,} record{'' if len(self.record_ids) == 1 else 's'}"
        if self.undoes is None:
            past = _PAST[self.verb]
            return f"would have {past} {n}" if self.seq is None else f"{past} {n} (event {self.seq})"
        what = f"decision {self.undoes} ({self.undone_verb})"
        if self.seq is None:
            return f"would undo {what} of {n}" if self.record_ids else f"would undo {what}"
        moved = f": {n} back as before" if self.record_ids else ""
        return f"undid {what}{moved} (event {self.seq})"


def release(
    feed: Feed,
    *,
    by: str,
    reason: str,
    right: bool = True,
    trust: bool = False,
    token: str | None = None,
    dry_run: bool = False,
    now: dt.datetime | None = None,
    **selectors: Any,
) -> ReviewResult:
    """Accept held records: they were right, and speak for their sources; with `right` false nobody says that of them.

    `selectors`: see `select`. Released as one (a campaign, a source, a run), a source is credited with one right answer
    however many it sent: they were looked at once. By ids also staged, rejected and audited ones; with `trust` those
    enter the trusted set. Records held because their payload schema had changed make that schema the accepted one.
    `BusyError` when another reviewer decided or claimed one of them; then nothing changes.
    """
    if trust and selectors.get("record_ids") is None:
        raise UsageError("`trust` needs record ids: what is trusted was looked at one by one")
    if trust and not right:
        raise UsageError("`trust` says that each record was vetted, unchecked that none was; choose one of them")
    chosen = select(feed, "release", **selectors)
    result = decide_selection(feed, chosen, by=by, reason=reason, right=right, token=token, dry_run=dry_run, now=now)
    if dry_run or not trust:
        return result
    return replace(result, trusted=trust_released(feed, chosen.record_ids, by=by, reason=reason, now=now))


def reject(
    feed: Feed,
    *,
    by: str,
    reason: str,
    token: str | None = None,
    dry_run: bool = False,
    now: dt.datetime | None = None,
    **selectors: Any,
) -> ReviewResult:
    """Reject held records: they were wrong, and speak against their sources. By ids also accepted ones."""
    chosen = select(feed, "reject", **selectors)
    return decide_selection(feed, chosen, by=by, reason=reason, token=token, dry_run=dry_run, now=now)


def recall(
    feed: Feed, *, by: str, reason: str, dry_run: bool = False, now: dt.datetime | None = None, **selectors: Any
) -> ReviewResult:
    """Take accepted records back into the review queue; nothing is said about their sources until they are decided."""
    return decide_selection(feed, select(feed, "recall", **selectors), by=by, reason=reason, dry_run=dry_run, now=now)


def select(feed: Feed, verb: str, **selectors: Any) -> Selection:
    """Return what a verb would decide, without deciding; `NotFoundError` when nothing fits.

    Exactly one of `record_ids`, `campaign_id`, `source_id` and `run_id` chooses. A source's records are those it sent
    or wrote; a run's are those it decided. For a recall `observed` chooses what the feed accepted in observe mode.
    """
    key, value = one_selector(verb, selectors)
    name = feed.contract.name
    if key == "observed":
        ids = would_be_held_ids(feed.store, name).tolist()
        if not ids:
            raise NotFoundError(f"{name} accepted nothing that it would have held")
        return select_rows(verb, find_records(feed.store, name, record_ids=ids), {"observed": True})
    if key == "record_ids":
        return _select_ids(feed, verb, [value] if isinstance(value, str) else list(value))
    rows = find_records(feed.store, name, places=allowed_places(verb, key), **{key: value})
    if rows.empty:
        raise NotFoundError(f"{name} has no records to {verb} for {key} {value!r}")
    return select_rows(verb, rows, {key: value})


def _select_ids(feed: Feed, verb: str, record_ids: list[str]) -> Selection:
    rows = find_records(feed.store, feed.contract.name, record_ids=record_ids)
    missing = {bounded_key(name) for name in record_ids} - set(rows["record_id"])
    if missing or not record_ids:
        raise NotFoundError(f"there is no record {min(missing, default='')!r} in {feed.contract.name}")
    return select_rows(verb, rows, {"record_ids": len(set(record_ids))})


def decide_selection(
    feed: Feed,
    chosen: Selection,
    *,
    by: str,
    reason: str,
    right: bool = True,
    token: str | None = None,
    dry_run: bool = False,
    now: dt.datetime | None = None,
) -> ReviewResult:
    """Decide a selection that was shown before: exactly those records, or none and `BusyError`.

    `right` is for releases: whether they are said to be right, or accepted without a word about their content.
    """
    name, why = check_person(by, reason)
    rule, (selector, *_) = VERBS[chosen.verb], chosen.selector
    seq = None
    if not dry_run:
        decision = ReviewDecision(
            feed=feed.contract.name,
            namespace=feed.contract.namespace,
            verb=chosen.verb,
            by=name,
            reason=why,
            at=utc_or_now(now),
            record_ids=chosen.record_ids,
            place=rule.destination,
            allowed=allowed_places(chosen.verb, selector),
            verdict=rule.verdict if right or chosen.verb != "release" else None,
            selector=chosen.selector,
            token=token,
            one_credit_per_source=selector != "record_ids",
        )
        seq = apply_decision(feed.store, decision)
    leave = () if rule.destination is Place.ACCEPTED else chosen.record_ids
    revocation = _revocation(feed, seq, leave, now)
    places = dict(chosen.places)
    return ReviewResult(feed.contract.name, chosen.verb, seq, chosen.record_ids, places, chosen.sources, revocation)


def undo(
    feed: Feed, event: int, *, by: str, reason: str, dry_run: bool = False, now: dt.datetime | None = None
) -> ReviewResult:
    """Take back decision `event`; `UsageError` when it was undone already or its records were decided again since.

    Undoing an undo makes the decision again. Snapshots that hold records which a release had accepted are revoked.
    """
    name, why = check_person(by, reason)
    done: Undone
    if dry_run:
        done = reviews.preview_undo(feed.store, feed.contract.name, event)
    else:
        done = reviews.undo(feed.store, feed.contract.name, event, by=name, reason=why, at=utc_or_now(now))
    return ReviewResult(
        feed=feed.contract.name,
        verb="undo",
        seq=done.seq,
        record_ids=done.record_ids,
        places=dict(done.places),
        sources=done.sources,
        revocation=_revocation(feed, done.seq, done.no_longer_accepted, now),
        undoes=event,
        undone_verb=done.verb,
    )


def _revocation(feed: Feed, seq: int | None, leave: Sequence[str], now: dt.datetime | None) -> Revocation:
    """Return what event `seq` revoked, after the outbox is drained; without one, what losing `leave` revokes."""
    if seq is None:
        return effects_of_revoking(feed.store, feed.contract.name, _holding(feed, leave))
    drain(feed.store, feed.settings, now)
    return revoked_by(feed.store, feed.contract.name, seq)


def _holding(feed: Feed, record_ids: Sequence[str]) -> list[str]:
    return snapshots_holding(feed.store, feed.contract.name, record_ids) if record_ids else []


def trust_released(
    feed: Feed, record_ids: Sequence[str], *, by: str, reason: str, now: dt.datetime | None = None
) -> TrustedSummary:
    """Enter records that a person released into the trusted set, as that person's act (law 6).

    `UsageError` where one of them is not accepted: only what was vetted and released can be trusted.
    """
    rows = find_records(feed.store, feed.contract.name, record_ids=record_ids)
    other = rows[rows["place"] != Place.ACCEPTED.value]
    if len(other):
        first = other.iloc[0]
        raise UsageError(f"record {first['record_id']!r} is {first['place']}; release it before trusting it")
    records = load_payloads(feed.store, feed.contract.name, record_ids)
    return add_trusted(feed.store, feed.contract, records, by=by, reason=reason, from_review=True, now=now)


LEASE_SECONDS = 600
"""How long a claim holds unless it is renewed; an abandoned one hides nothing for longer."""


@dataclass(frozen=True, slots=True)
class Claim(Result):
    """Entries of the queue that one reviewer holds for a while."""

    token: str
    """`release` and `reject` take it: what is claimed in one window is not decided in another."""
    record_ids: tuple[str, ...]
    until: dt.datetime


def claim(
    feed: Feed,
    *,
    by: str,
    limit: int = 1,
    record_ids: Sequence[str] | None = None,
    lease_seconds: float = LEASE_SECONDS,
    now: dt.datetime | None = None,
) -> Claim:
    """Lease the riskiest free entries, or those of `record_ids` that are free, to `by`; empty when none is.

    Claiming one's own entries again, by id, renews the lease under a new token.
    """
    name, _ = check_person(by, "claim")
    if limit < 1 or lease_seconds <= 0:
        raise UsageError(f"limit and lease_seconds must be above 0, got {limit} and {lease_seconds}")
    at = utc_or_now(now)
    until = at + dt.timedelta(seconds=lease_seconds)
    named = [record_ids] if isinstance(record_ids, str) else record_ids
    ids = None if named is None else [bounded_key(one) for one in named]
    with feed.store.write() as conn:
        token, taken = quarantine.claim(
            conn,
            feed.contract.name,
            by=name,
            until=until,
            at=at,
            since=at - dt.timedelta(days=feed.contract.policy.expire_days),
            limit=limit if ids is None else len(ids),
            record_ids=ids,
        )
    return Claim(token, taken, until)


def unclaim(feed: Feed, token: str) -> int:
    """Give the entries of a claim back to the queue; return how many there were."""
    with feed.store.write() as conn:
        return quarantine.unclaim(conn, feed.contract.name, token=token)
