"""Begin and commit the run of a batch, the same for one process and for scheduled steps."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from poison_guard.records import Batch, Decided
from poison_guard.steps.collect import readable_objects
from poison_guard.steps.opening import Feed, load_controls
from poison_guard.store import Run, begin_run, commit_run

__all__ = ["begin", "commit"]


def begin(feed: Feed, batch: Batch) -> Run:
    """Return the run of a batch, pinned to the state of now where it is new."""
    return begin_run(
        feed.store,
        feed.contract,
        batch_id=batch.batch_id,
        objects=batch.objects,
        received_at=batch.received_at,
        schema=batch.schema,
    )


def commit(feed: Feed, run: Run, batch: Batch, decided: Decided, cost: Mapping[str, float]) -> dict[str, int]:
    """Store a decided batch and return its counts; `StaleStateError` where another run came first.

    Where it takes accepted records back, the home's list of revoked snapshots is written anew.
    """
    counts = commit_run(
        feed.store,
        run,
        feed.contract,
        records=batch.records,
        unreadable=batch.unreadable,
        decided=decided,
        objects=readable_objects(batch),
        repeats=batch.duplicates,
        controls=load_controls(feed.contract, feed.settings),
        cost=cost,
    )
    if counts.get("recalled"):
        from poison_guard.steps.gate import renew_revocations

        renew_revocations(feed, dt.datetime.now(dt.UTC))
    return dict(counts)
