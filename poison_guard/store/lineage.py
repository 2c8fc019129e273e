"""What models learned from through other models: a warm start carries on what an earlier snapshot taught."""

from __future__ import annotations

import json
from collections.abc import Iterable

import sqlalchemy as sa

from poison_guard.store import tables_gate as t
from poison_guard.store.engine import Store

__all__ = ["descendants", "lineage", "revoked_root", "root_of"]


def lineage(conn: sa.Connection, model_id: str) -> list[tuple[str, str]]:
    """Return ``(model, snapshot)`` of a model and of those it started from, itself first."""
    found: dict[str, str] = {}
    c, name = t.models.c, model_id
    while name and name not in found:
        row = conn.execute(sa.select(c.snapshot_id, c.config).where(c.model_id == name)).first()
        if row is None:
            break
        found[name] = str(row.snapshot_id)
        name = str(json.loads(row.config).get("warm") or "")
    return list(found.items())


def descendants(conn: sa.Connection, feeds: Iterable[str], model_ids: Iterable[str]) -> set[str]:
    """Return the models of some feeds that started from one of `model_ids`, or from one that did; without these."""
    c = t.models.c
    rows = conn.execute(sa.select(c.model_id, c.config).where(c.feed.in_(sorted(set(feeds)))).order_by(c.seq))
    roots = set(model_ids)
    reached = set(roots)
    for name, config in rows:  # a model is entered after the one it started from
        if json.loads(config).get("warm") in reached:
            reached.add(str(name))
    return reached - roots


def root_of(store: Store, model_id: str) -> tuple[str, str, str] | None:
    """Return `revoked_root` of a model, read by itself."""
    with store.read() as conn:
        return revoked_root(conn, model_id)


def revoked_root(conn: sa.Connection, model_id: str) -> tuple[str, str, str] | None:
    """Return ``(model, snapshot, why)``: the nearest in a model's lineage whose snapshot was revoked; None if all hold.

    The model itself comes first, so that what it was trained on is told before what it started from.
    """
    c = t.snapshots.c
    for name, snapshot_id in lineage(conn, model_id):
        row = conn.execute(sa.select(c.revoked_seq, c.revoked_why).where(c.snapshot_id == snapshot_id)).first()
        if row is not None and row.revoked_seq is not None:
            return name, snapshot_id, str(row.revoked_why)
    return None
