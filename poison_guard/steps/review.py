"""Review: choose records and release, reject or recall them, and undo a decision."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple, Unpack

from poison_guard.canonical_json import utc_or_now
from poison_guard.errors import BusyError, GuardError, NotFoundError, UsageError
from poison_guard.gate.admission import same_person
from poison_guard.records import Place
from poison_guard.results import Result
from poison_guard.review.rules import VERBS, Selection, Selector, Which, allowed_places, check_person, select_rows
from poison_guard.review.sampling import audit_sample
from poison_guard.steps.opening import Feed
from poison_guard.steps.outbox import drain
from poison_guard.steps.payloads import payloads_of, show_in_queue
from poison_guard.steps.recall import Revocation, effects_of_revoking, revoked_by
from poison_guard.store import TrustedSummary, add_trusted
from poison_guard.store.bulk import bounded_key
from poison_guard.store.deciding import ReviewDecision
from poison_guard.store.gate_counts import would_be_held_ids
from poison_guard.store.reading import find_chosen, find_records
from poison_guard.store.reviews import Applied, apply_decision, apply_decisions, find_applied
from poison_guard.store.snapshots import snapshots_holding
from poison_guard.store.standing import count_decided_otherwise
from poison_guard.store.trusted import check_may_be_trusted
from poison_guard.store.undo import Undone, find_undone, preview_undo
from poison_guard.store.undo import undo as store_undo

__all__ = [
    "OneRecord",
    "ReviewResult",
    "decide_each",
    "decide_selection",
    "recall",
    "reject",
    "release",
    "select",
    "trust_released",
    "undo",
]

_PAST = {"release": "released", "reject": "rejected", "recall": "recalled"}
_LISTED = 100
"""Ids that JSON lists of a decision; ``records`` counts all, and ``record_ids`` in Python holds them."""


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
    left: int = 0
    """Records of a group that people had decided otherwise, or meanwhile: they are left as they are."""
    again: bool = False
    """Whether the same decision was made before, and nothing was left to do."""

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        undo = {} if self.undoes is None else {"undoes": self.undoes, "undone_verb": self.undone_verb}
        trusted = {} if self.trusted is None else {"trusted": asdict(self.trusted)}
        return {
            "feed": self.feed,
            "verb": self.verb,
            "dry_run": self.seq is None,
            "event": self.seq,
            **undo,
            "records": len(self.record_ids),
            "sources": self.sources,
            "left": self.left,
            "places": dict(self.places),
            **self.revocation.to_dict(),
            **trusted,
            "record_ids": list(self.record_ids[:_LISTED]),
            "record_ids_left_out": max(0, len(self.record_ids) - _LISTED),
        }

    def __str__(self) -> str:
        """Return the decision in a sentence."""
        n = f"{len(self.record_ids):,} record{'' if len(self.record_ids) == 1 else 's'}"
        if self.undoes is None:
            done = f"{_PAST[self.verb]} {n}"
            left = f"; left {self.left:,} that people decided otherwise or meanwhile" if self.left else ""
            if self.again:
                return f"already {done} under event {self.seq}{left}"
            return f"would have {done}{left}" if self.seq is None else f"{done} (event {self.seq}){left}"
        what = f"decision {self.undoes} ({self.undone_verb})"
        if self.seq is None:
            return f"would undo {what} of {n}" if self.record_ids else f"would undo {what}"
        moved = f": {n} back as before" if self.record_ids else ""
        return f"{'already ' if self.again else ''}undid {what}{moved} (event {self.seq})"


def release(
    feed: Feed,
    *,
    by: str,
    reason: str,
    right: bool = True,
    trust: bool = False,
    token: str | None = None,
    expected: Mapping[str, int] | None = None,
    overrule: bool = False,
    dry_run: bool = False,
    now: dt.datetime | None = None,
    **which: Unpack[Which],
) -> ReviewResult:
    """Accept held records: they were right, and speak for their sources; with `right` false nobody says that of them.

    `which`: see `Selector`. Released as one (a campaign, a source, a run), a source is credited with one right answer
    however many it sent: they were looked at once. By ids also staged, rejected and audited ones; with `trust` those,
    and accepted ones, enter the trusted set. Records held because their payload schema had changed make that schema the
    accepted one. `BusyError` when another reviewer decided or claimed one of them; then nothing changes. `overrule`
    decides over a colleague's opposite decision. The same decision again, after a kill, says what it did.
    """
    selector = Selector.of("release", **which)
    if trust and not selector.ids:
        raise UsageError("`trust` needs record ids: what is trusted was looked at one by one")
    if trust and not right:
        raise UsageError("`trust` says that each record was vetted, unchecked that none was; choose one of them")
    if trust:  # before anything is released
        records = payloads_of(feed, selector.ids)
        check_may_be_trusted(feed.store, feed.contract, records)
    person = {"by": by, "reason": reason, "right": right, "token": token, "expected": expected, "overrule": overrule}
    done = _done_before(feed, "release", selector, **person) if trust and not dry_run else None
    if done is None:
        result = _decide(feed, "release", selector, dry_run=dry_run, now=now, vouches=trust, **person)
    else:
        result = replace(done, revocation=_revocation(feed, done.seq, (), now))
    if dry_run or not trust:
        return result
    return replace(result, trusted=trust_released(feed, result.record_ids, by=by, reason=reason, now=now))


def reject(
    feed: Feed,
    *,
    by: str,
    reason: str,
    token: str | None = None,
    expected: Mapping[str, int] | None = None,
    overrule: bool = False,
    dry_run: bool = False,
    now: dt.datetime | None = None,
    **which: Unpack[Which],
) -> ReviewResult:
    """Reject held records: they were wrong, and speak against their sources. By ids also accepted ones."""
    person = {"by": by, "reason": reason, "token": token, "expected": expected, "overrule": overrule}
    return _decide(feed, "reject", Selector.of("reject", **which), dry_run=dry_run, now=now, **person)


def recall(
    feed: Feed, *, by: str, reason: str, dry_run: bool = False, now: dt.datetime | None = None, **which: Unpack[Which]
) -> ReviewResult:
    """Take accepted records back into the review queue; nothing is said about their sources until they are decided."""
    selector = Selector.of("recall", **which)
    return _decide(feed, "recall", selector, by=by, reason=reason, dry_run=dry_run, now=now)


def _decide(
    feed: Feed, verb: str, selector: Selector, *, dry_run: bool, now: dt.datetime | None, **person: Any
) -> ReviewResult:
    """Choose and decide; where nothing can be decided since the same was decided before, return what that did."""
    try:
        chosen = _by_id(verb, selector) if selector.ids and not dry_run else select(feed, verb, selector)
        result = decide_selection(feed, chosen, dry_run=dry_run, now=now, **person)
    except (BusyError, NotFoundError):
        done = None if dry_run else _done_before(feed, verb, selector, **person)
        if done is None:
            raise
        if verb == "recall":
            show_in_queue(feed)  # a killed one may have left it out
        left = () if done.verb == "release" else done.record_ids
        return replace(done, revocation=_revocation(feed, done.seq, left, now))
    return replace(result, left=result.left + _decided_otherwise(feed, verb, selector))


class OneRecord(NamedTuple):
    """What is decided of one record: ``release`` or ``reject``, why, and the version that was shown (None: any)."""

    verb: str
    record_id: str
    reason: str
    version: int | None = None


def decide_each(
    feed: Feed, asked: Sequence[OneRecord], *, by: str, now: dt.datetime | None = None
) -> list[tuple[int, bool] | GuardError]:
    """Decide records one by one in one transaction, each as an event of its own, as `release` and `reject` do.

    Returns the event of each and whether it was decided so before, which changes nothing; or why it was refused.
    """
    at, made = utc_or_now(now), list[ReviewDecision]()
    for one in asked:
        chosen = _by_id(one.verb, Selector.of(one.verb, record_ids=[one.record_id]))
        expected = None if one.version is None else {one.record_id: one.version}
        made.append(_decision(feed, chosen, *check_person(by, one.reason), right=True, at=at, expected=expected))
    results = list[tuple[int, bool] | GuardError]()
    for decision, done in zip(made, apply_decisions(feed.store, made), strict=True):
        if not isinstance(done, GuardError):
            results.append((done.seq, False))
        else:
            before = find_applied(feed.store, decision) if isinstance(done, BusyError | NotFoundError) else None
            results.append(done if before is None else (before.seq, True))
    drain(feed.store, feed.settings, now)
    return results


def _done_before(
    feed: Feed, verb: str, selector: Selector, *, by: str, reason: str, right: bool = True, **_: Any
) -> ReviewResult | None:
    """Return what the same decision did, where it was made before and holds."""
    chosen = _by_id(verb, selector)
    done = find_applied(
        feed.store, _decision(feed, chosen, *check_person(by, reason), right=right, at=utc_or_now(None))
    )
    return None if done is None else _result(feed, chosen, done, again=True)


def _by_id(verb: str, selector: Selector) -> Selection:
    """Return the records that are named, not looked up yet."""
    return Selection(verb, tuple(sorted({bounded_key(name) for name in selector.ids})), selector.noted(), {}, 0)


def _decided_otherwise(feed: Feed, verb: str, selector: Selector) -> int:
    """Return how many records of a group people decided the opposite of."""
    place = {"release": Place.REJECTED, "reject": Place.ACCEPTED}.get(verb)
    if place is None or selector.ids:
        return 0
    rows = find_chosen(feed.store, feed.contract.name, places=(place,), **selector.filters)
    return count_decided_otherwise(feed.store, feed.contract.name, verb, [row[0] for row in rows])


def select(feed: Feed, verb: str, selector: Selector) -> Selection:
    """Return what a verb would decide, without deciding; `NotFoundError` when nothing fits."""
    name, ids = feed.contract.name, selector.ids
    if selector.key == "observed":
        ids = tuple(would_be_held_ids(feed.store, name).tolist())
        if not ids:
            raise NotFoundError(f"{name} accepted nothing that it would have held")
    if ids:
        rows = find_chosen(feed.store, name, record_ids=ids)
        if missing := {bounded_key(one) for one in ids} - {row[0] for row in rows}:
            raise NotFoundError(f"there is no record {min(missing)!r} in {name}")
    else:
        rows = find_chosen(feed.store, name, places=allowed_places(verb, selector.key), **selector.filters)
        if not rows:
            raise NotFoundError(f"{name} has no records to {verb} for {selector.key} {selector.value!r}")
    return select_rows(verb, rows, selector.noted())


def decide_selection(
    feed: Feed,
    chosen: Selection,
    *,
    by: str,
    reason: str,
    right: bool = True,
    token: str | None = None,
    expected: Mapping[str, int] | None = None,
    overrule: bool = False,
    vouches: bool = False,
    dry_run: bool = False,
    now: dt.datetime | None = None,
) -> ReviewResult:
    """Decide a selection that was shown before: exactly those records, or none and `BusyError`.

    Of a campaign, a source or a run, what was decided meanwhile is left as it is. `right` is for releases: whether they
    are said to be right, or accepted without a word about their content.
    """
    who = check_person(by, reason)
    done = None
    if not dry_run:
        more = {"token": token, "expected": expected, "overrule": overrule, "vouches": vouches}
        done = apply_decision(feed.store, _decision(feed, chosen, *who, right=right, at=utc_or_now(now), **more))
        if chosen.verb == "recall":
            show_in_queue(feed)
    result = _result(feed, chosen, done)
    if done is not None:
        drain(feed.store, feed.settings, now)
        return replace(result, revocation=effects_of_revoking(feed.store, feed.contract.name, done.revoked))
    leave = () if VERBS[chosen.verb].destination is Place.ACCEPTED else result.record_ids
    return replace(result, revocation=_revocation(feed, None, leave, now))


def _decision(
    feed: Feed, chosen: Selection, by: str, reason: str, *, right: bool, at: dt.datetime, **more: Any
) -> ReviewDecision:
    rule, (selector, *_) = VERBS[chosen.verb], chosen.selector
    single = selector == "record_ids" and chosen.verb in ("release", "reject")
    rate = feed.contract.policy.second_review_rate
    return ReviewDecision(
        feed=feed.contract.name,
        namespace=feed.contract.namespace,
        verb=chosen.verb,
        by=by,
        reason=reason,
        at=at,
        record_ids=chosen.record_ids,
        place=rule.destination,
        allowed=allowed_places(chosen.verb, selector),
        verdict=rule.verdict if right or chosen.verb != "release" else None,
        selector=chosen.selector,
        one_credit_per_source=selector != "record_ids",
        same_person=same_person,
        second=audit_sample(chosen.record_ids, feed.store.key, rate) if single and rate else (),
        **more,
    )


def _result(feed: Feed, chosen: Selection, done: Applied | None, *, again: bool = False) -> ReviewResult:
    """Return what a decision did; without one, what it would do."""
    facts = chosen if done is None else done
    return ReviewResult(
        feed.contract.name,
        chosen.verb,
        None if done is None else done.seq,
        facts.record_ids,
        dict(facts.places),
        facts.sources,
        left=0 if done is None else done.left,
        again=again,
    )


def undo(
    feed: Feed, event: int, *, by: str, reason: str, dry_run: bool = False, now: dt.datetime | None = None
) -> ReviewResult:
    """Take back decision `event`; `UsageError` when it was undone already or its records were decided again since.

    Undoing an undo makes the decision again. Snapshots that hold records which a release had accepted are revoked.
    """
    name, why = check_person(by, reason)
    store, contract = feed.store, feed.contract
    done: Undone | None = None if dry_run else find_undone(store, contract.name, event, by=name, reason=why)
    again = done is not None
    if done is None and dry_run:
        done = preview_undo(store, contract.name, event)
    elif done is None:
        done = store_undo(store, contract.name, event, by=name, reason=why, at=utc_or_now(now))
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
        again=again,
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
    records = payloads_of(feed, record_ids)
    return add_trusted(feed.store, feed.contract, records, by=by, reason=reason, from_review=True, now=now)
