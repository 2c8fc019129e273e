"""What a person decides of records, and whether it may be done: as shown, over nobody, under nobody else's claim."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from poison_guard.errors import BusyError, NotFoundError, StaleDecisionError, UsageError
from poison_guard.records import Place
from poison_guard.store.bulk import bounded_key
from poison_guard.store.columns import EPOCH, MICROSECOND
from poison_guard.store.standing import OPPOSITE, PAST, WAITING, Found, standing_decisions

__all__ = ["JobPart", "ReviewDecision", "decidable"]


@dataclass(frozen=True, slots=True)
class JobPart:
    """A part of a bulk decision: what cannot be decided as it was frozen is left, and the job moves on with it."""

    job_id: str
    first: int
    last: int
    """Positions in the frozen set, `last` not included."""
    version: int
    """State version at which the set was frozen: a record that was written since is left."""
    credited: str | None = None
    """Source that an earlier part credited already."""


@dataclass(frozen=True, slots=True)
class ReviewDecision:
    """What one person decides about a frozen set of records."""

    feed: str
    namespace: str
    verb: str
    by: str
    reason: str
    at: dt.datetime
    record_ids: tuple[str, ...]
    place: Place
    """Where they go."""
    allowed: tuple[Place, ...]
    """Where they may come from."""
    verdict: int | None
    """1: was right, -1: was wrong, None: says nothing about their sources."""
    selector: Mapping[str, Any]
    """How the set was chosen, as it was asked for."""
    token: str | None = None
    """Lease under which it was decided; None: the name alone counts."""
    one_credit_per_source: bool = False
    """Whether they were reviewed as a group: then a source earns one right answer at most, however many it sent, and
    what was decided meanwhile is left as it is."""
    vouches: bool = False
    """Whether accepted records may be named too: the person says that they are right."""
    overrule: bool = False
    """Whether a colleague's opposite decision about one of the records is overruled, in place of refused."""
    same_person: Callable[[str, str], bool] = str.__eq__
    """Whether two names are of one person."""
    expected: Mapping[str, int] | None = None
    """Version of each record that was shown: one that has another now was decided meanwhile, and is refused."""
    part: JobPart | None = None
    """Of which bulk decision this is a part."""
    second: Collection[str] = ()
    """Those of the records that a colleague decides too, blind."""


def decidable(conn: sa.Connection, d: ReviewDecision, rows: Sequence[Found]) -> tuple[list[Found], int]:
    """Return those of a decision's records (`rows`: as they are now) that it decides, and how many it leaves.

    Compare-and-set: `BusyError` when any of the records moved, was decided otherwise by a colleague, or is on lease to
    somebody else, and `StaleDecisionError` when one is not as it was shown. Of a group, what was decided meanwhile is
    left out; of a part of a job all that is not as it was frozen, even if nothing remains.
    """
    _check_as_shown(conn, d, rows)
    fits = (lambda row: not _stuck(row, d)) if d.part is None else functools.partial(_is_as_frozen, d, d.part)
    movable = [row for row in rows if fits(row)]
    left = len(rows) - len(movable) if d.one_credit_per_source and (movable or d.part) else 0
    chosen = movable if left else [*rows]
    if d.part is None:
        _check_movable(chosen, d, n=len(set(d.record_ids)) - left)
        _check_colleagues(conn, d, chosen)
        _check_leases(d, chosen)
    return chosen, left


def _check_as_shown(conn: sa.Connection, d: ReviewDecision, rows: Sequence[Found]) -> None:
    """Refuse to decide a record that is not as it was shown, and say who decided it meanwhile."""
    if d.expected is None:
        return
    shown = {bounded_key(name): version for name, version in d.expected.items()}
    stale = [row.record_id for row in rows if shown.get(row.record_id, row.changed_seq) != row.changed_seq]
    if stale:
        first, told = stale[0], standing_decisions(conn, d.feed, stale)
        by = "it was moved"
        if len(told):
            last = told.iloc[-1]
            first = last["record_id"]
            when = f"{last['at']:%Y-%m-%d %H:%M} UTC"
            by = f"{last['actor']} {PAST.get(last['verb'], last['verb'])} it on {when} (event {last['seq']})"
        raise StaleDecisionError(
            f"{len(stale)} of {len(rows)} records changed after they were shown to you: {first!r}, {by}; nothing was "
            "changed, look again"
        )


def _is_as_frozen(d: ReviewDecision, part: JobPart, row: Found) -> bool:
    """Return whether a record of a part is as it was frozen, free and ready for the verb."""
    good = row.waits and row.changed_seq <= part.version and not _stuck(row, d)
    return good and (row.readable or d.place is not Place.ACCEPTED) and not (_leased(d, row) and row.claimed_by != d.by)


def _leased(d: ReviewDecision, row: Found) -> bool:
    at = (d.at - EPOCH) // MICROSECOND
    return row.state == "open" and row.lease_until is not None and row.lease_until >= at


def _check_colleagues(conn: sa.Connection, d: ReviewDecision, rows: Sequence[Found]) -> None:
    """Refuse to turn round what a colleague decided, unless it is overruled or the queue asks again."""
    settled = [row.record_id for row in rows if row.place not in WAITING and not row.waits]
    if d.overrule or d.verb not in OPPOSITE or not settled:
        return
    standing = standing_decisions(conn, d.feed, settled)
    standing = standing[standing["verb"] == OPPOSITE[d.verb]]
    clash = standing[[not d.same_person(str(name), d.by) for name in standing["actor"]]]
    if len(clash):
        last = clash.iloc[-1]
        raise BusyError(
            f"{last['actor']} {PAST[last['verb']]} {len(clash)} of {len(rows)} records on {last['at']:%Y-%m-%d %H:%M} "
            f"UTC (event {last['seq']}), {last['record_id']!r} among them; `poison-guard review undo {last['last']}` "
            "takes that back, and --overrule decides over it"
        )


def _stuck(row: Found, d: ReviewDecision) -> bool:
    """Return whether a record is settled or elsewhere; one may stay where it is only while the queue asks."""
    settled = row.place == d.place.value and not row.waits and not d.vouches
    return settled or row.place not in d.allowed


def _check_movable(rows: Sequence[Found], d: ReviewDecision, *, n: int) -> None:
    """Refuse what is unknown (of `n` records), unreadable or settled."""
    if len(rows) < n:
        missing = sorted(set(d.record_ids) - {row.record_id for row in rows})
        raise NotFoundError(f"there is no record {missing[0]!r} in {d.feed}")
    if stuck := [row for row in rows if _stuck(row, d)]:
        first = stuck[0]
        raise BusyError(
            f"{len(stuck)} of {len(rows)} records cannot be moved by {d.verb}: {first.record_id!r} is already "
            f"{first.place}; list them again"
        )
    unreadable = [row.record_id for row in rows if not row.readable]
    if d.place is Place.ACCEPTED and unreadable:
        raise UsageError(
            f"{unreadable[0]!r} is a row that could not be read, so there is nothing to release; reject it instead"
        )


def _check_leases(d: ReviewDecision, rows: Sequence[Found]) -> None:
    held = [r.claimed_by for r in rows if _leased(d, r) and (r.claimed_by != d.by or d.token not in (None, r.token))]
    if held:
        raise BusyError(f"{len(held)} of {len(rows)} records are being reviewed by {held[0]}; wait or leave them out")
