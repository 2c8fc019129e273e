"""Block a source, so that nothing it sends is accepted without review; or let it speak again."""

from __future__ import annotations

import datetime as dt

from poison_guard.config import Contract
from poison_guard.review.people import check_person
from poison_guard.store import decisions
from poison_guard.store.clock import moment
from poison_guard.store.engine import Store

__all__ = ["block_source", "unblock_source"]


def block_source(
    store: Store, contract: Contract, source_id: str, *, by: str, reason: str, now: dt.datetime | None = None
) -> int:
    """Block a source in the feed's namespace and return the event's number; what it sent before stays where it is."""
    return _set(store, contract, source_id, by, reason, now, blocked=True)


def unblock_source(
    store: Store, contract: Contract, source_id: str, *, by: str, reason: str, now: dt.datetime | None = None
) -> int:
    """Take a block back and return the event's number; `UsageError` when the source is not blocked."""
    return _set(store, contract, source_id, by, reason, now, blocked=False)


def _set(
    store: Store,
    contract: Contract,
    source_id: str,
    by: str,
    reason: str,
    now: dt.datetime | None,
    *,
    blocked: bool,
) -> int:
    name, why = check_person(by, reason)
    return decisions.block(
        store,
        feed=contract.name,
        namespace=contract.namespace,
        source_id=source_id,
        by=name,
        reason=why,
        at=moment(now),
        blocked=blocked,
    )
