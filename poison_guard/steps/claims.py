"""Claims: entries of the review queue that one reviewer holds for a while."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from poison_guard.canonical_json import utc_or_now
from poison_guard.errors import UsageError
from poison_guard.results import Result
from poison_guard.review.filters import QueueFilter
from poison_guard.review.rules import check_person
from poison_guard.steps.opening import Feed
from poison_guard.steps.queue import expiry, filtered
from poison_guard.store import quarantine, waiting
from poison_guard.store.bulk import bounded_key

__all__ = ["LEASE_SECONDS", "Claim", "Unclaimed", "claim", "unclaim"]

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
    filters: QueueFilter | None = None,
    lease_seconds: float = LEASE_SECONDS,
    now: dt.datetime | None = None,
) -> Claim:
    """Lease the riskiest free entries (that `filters` find), or those of `record_ids` that are free, to `by`.

    Empty when none is.

    Claiming one's own entries again, by id, renews the lease under a new token.
    """
    name, _ = check_person(by, "claim")
    if limit < 1 or lease_seconds <= 0:
        raise UsageError(f"limit and lease_seconds must be above 0, got {limit} and {lease_seconds}")
    at = utc_or_now(now)
    until = at + dt.timedelta(seconds=lease_seconds)
    named = [record_ids] if isinstance(record_ids, str) else record_ids
    ids = None if named is None else [bounded_key(one) for one in named]
    since = expiry(feed, at)
    with feed.store.write() as conn:
        among = waiting.conditions(conn, feed.contract.name, filtered(filters), at=at, since=since) if filters else ()
        token, taken = quarantine.claim(
            conn,
            feed.contract.name,
            by=name,
            until=until,
            at=at,
            since=since,
            limit=limit if ids is None else len(ids),
            record_ids=ids,
            among=among,
        )
    return Claim(token, taken, until)


@dataclass(frozen=True, slots=True)
class Unclaimed(Result):
    """A claim that was given back."""

    feed: str
    records: int
    """How many entries of the queue it held."""


def unclaim(feed: Feed, token: str) -> Unclaimed:
    """Give the entries of a claim back to the queue."""
    with feed.store.write() as conn:
        return Unclaimed(feed.contract.name, quarantine.unclaim(conn, feed.contract.name, token=token))
