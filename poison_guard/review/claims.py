"""Claim queue entries for a while, so that two reviewers do not read the same ones."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from poison_guard.config import Contract
from poison_guard.errors import UsageError
from poison_guard.review.people import check_person
from poison_guard.store import quarantine
from poison_guard.store.clock import moment
from poison_guard.store.engine import Store
from poison_guard.store.names import fit_name

__all__ = ["LEASE_SECONDS", "Claim", "claim", "unclaim"]

LEASE_SECONDS = 600
"""How long a claim holds unless it is renewed; an abandoned one hides nothing for longer."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Entries on lease."""

    token: str
    record_ids: tuple[str, ...]
    until: dt.datetime


def claim(
    store: Store,
    contract: Contract,
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
    at = moment(now)
    until = at + dt.timedelta(seconds=lease_seconds)
    ids = None if record_ids is None else [fit_name(i) for i in record_ids]
    with store.write() as conn:
        token, taken = quarantine.claim(
            conn,
            contract.name,
            by=name,
            until=until,
            at=at,
            since=at - dt.timedelta(days=contract.policy.expire_days),
            limit=limit if ids is None else len(ids),
            record_ids=ids,
        )
    return Claim(token, taken, until)


def unclaim(store: Store, contract: Contract, token: str) -> int:
    """Give the entries of a claim back to the queue; return how many there were."""
    with store.write() as conn:
        return quarantine.unclaim(conn, contract.name, token=token)
