"""What the store names of files, so that what commands left that were killed can be told from the rest."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa

from poison_guard.store import tables
from poison_guard.store.engine import Store

__all__ = ["Named", "named_files", "unnamed_in_lake"]


@dataclass(frozen=True, slots=True)
class Named:
    """Files and folders that rows of the store name."""

    lake: frozenset[str]
    """Paths of the manifests."""
    models: frozenset[str]
    """Files of models, by their path in the home."""
    snapshots: frozenset[str]
    """Those that are not revoked."""
    open_runs: frozenset[str]


def named_files(store: Store) -> Named:
    """Return what the store names now."""
    runs, snapshots = tables.runs.c, tables.snapshots.c
    queries = (
        sa.select(tables.manifests.c.path),
        sa.select(tables.models.c.path),
        sa.select(snapshots.snapshot_id).where(snapshots.revoked_seq.is_(None)),
        sa.select(runs.run_id).where(runs.status != "committed"),
    )
    with store.read() as conn:
        return Named(*(frozenset(conn.execute(query).scalars()) for query in queries))


def unnamed_in_lake(store: Store, named: Named, before: dt.datetime) -> list[tuple[str, int]]:
    """Return path and bytes of lake files that no manifest and no open run names, last written before a time."""
    staged = tuple(f"staging/{run_id}/" for run_id in named.open_runs)
    return [(path, size) for path, size in store.lake.unlisted(named.lake, before) if not path.startswith(staged)]
