"""The tables of sealing, gate and retraining: snapshots and their parts, verdicts, approvals, admissions and models."""

from __future__ import annotations

import sqlalchemy as sa

from poison_guard.store.tables import METADATA, UtcTime

__all__ = ["admissions", "approvals", "models", "snapshot_parts", "snapshots", "verdicts"]


snapshots = sa.Table(
    "snapshots",
    METADATA,
    sa.Column("snapshot_id", sa.Text, primary_key=True),
    sa.Column("feed", sa.Text, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("sealed_seq", sa.BigInteger, nullable=False),
    sa.Column("sealed_at", UtcTime, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("counts", sa.Text, nullable=False),
    sa.Column("previous", sa.Text),
    sa.Column("revoked_seq", sa.BigInteger),
    sa.Column("revoked_why", sa.Text),
    sa.Index("ix_snapshots_feed_sealed_seq", "feed", "sealed_seq"),
)
"""`seq` is the state that was sealed, `sealed_seq` the event that did it, `revoked_seq` the one that took it back."""

snapshot_parts = sa.Table(
    "snapshot_parts",
    METADATA,
    sa.Column("feed", sa.Text, primary_key=True),
    sa.Column("home", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("members", sa.Text, nullable=False),
)
"""What sealing changed, append-only: a snapshot has the last row of each home up to its `sealed_seq`; no `path`: none.

Only changes are written, so that a year of hourly seals costs a row a change and not a row a part and seal.
"""

verdicts = sa.Table(
    "verdicts",
    METADATA,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("feed", sa.Text, nullable=False),
    sa.Column("snapshot_id", sa.Text, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("policy_hash", sa.Text, nullable=False),
    sa.Column("candidate", sa.Text),
    sa.Index("ix_verdicts_snapshot_id", "snapshot_id"),
)

approvals = sa.Table(
    "approvals",
    METADATA,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("feed", sa.Text, nullable=False),
    sa.Column("snapshot_id", sa.Text, nullable=False),
    sa.Column("verdict_seq", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("expires", UtcTime),
    sa.Index("ix_approvals_verdict_seq", "verdict_seq"),
)

admissions = sa.Table(
    "admissions",
    METADATA,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("feed", sa.Text, nullable=False),
    sa.Column("snapshot_id", sa.Text, nullable=False),
    sa.Column("verdict_seq", sa.BigInteger, nullable=False),
    sa.Column("envelope", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("issued", UtcTime, nullable=False),
    sa.Column("expires", UtcTime, nullable=False),
    sa.Index("ix_admissions_feed_seq", "feed", "seq"),
    sa.Index("ix_admissions_snapshot_id", "snapshot_id"),
)
"""Signed permissions to train; one is revoked when its snapshot is."""

_IS_CHAMPION = sa.text("status = 'champion'")

models = sa.Table(
    "models",
    METADATA,
    sa.Column("model_id", sa.Text, primary_key=True),
    sa.Column("feed", sa.Text, nullable=False),
    sa.Column("snapshot_id", sa.Text, nullable=False),
    sa.Column("admission_seq", sa.BigInteger),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("config", sa.Text, nullable=False),
    sa.Column("metrics", sa.Text, nullable=False),
    sa.Column("why", sa.Text),
    sa.Column("made_at", UtcTime, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("promoted_seq", sa.BigInteger),
    sa.Index("ix_models_feed_seq", "feed", "seq"),
    sa.Index("ix_models_snapshot_id", "snapshot_id"),
    sa.Index("uq_models_champion", "feed", unique=True, sqlite_where=_IS_CHAMPION, postgresql_where=_IS_CHAMPION),
)
"""`seq` is the event that entered the model, `promoted_seq` the last one that made it champion; one champion a feed."""
