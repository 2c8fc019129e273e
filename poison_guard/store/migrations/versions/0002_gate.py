"""Snapshots, verdicts, approvals, admissions and models; indexes that tell what a snapshot is made of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of the gate, and the indexes by sequence number."""
    op.create_index("ix_records_feed_seq", "records", ["feed", "seq"])
    op.create_index("ix_items_feed_seq", "items", ["feed", "seq"])
    _make_snapshots()
    _make_verdicts()
    _make_models()


def downgrade() -> None:
    """Drop them; the parts in the lake stay."""
    for name in ("models", "admissions", "approvals", "verdicts", "snapshot_parts", "snapshots"):
        op.drop_table(name)
    op.drop_index("ix_items_feed_seq", "items")
    op.drop_index("ix_records_feed_seq", "records")


def _make_snapshots() -> None:
    """Make what was sealed."""
    op.create_table(
        "snapshots",
        sa.Column("snapshot_id", sa.Text(), nullable=False),
        sa.Column("feed", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("sealed_seq", sa.BigInteger(), nullable=False),
        sa.Column("sealed_at", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("previous", sa.Text(), nullable=True),
        sa.Column("revoked_seq", sa.BigInteger(), nullable=True),
        sa.Column("revoked_why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("snapshot_id", name="pk_snapshots"),
    )
    op.create_index("ix_snapshots_feed_sealed_seq", "snapshots", ["feed", "sealed_seq"])
    op.create_table(
        "snapshot_parts",
        sa.Column("feed", sa.Text(), nullable=False),
        sa.Column("home", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("members", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("feed", "home", "seq", name="pk_snapshot_parts"),
    )


def _make_verdicts() -> None:
    """Make what the gate said, and what people and the signing key made of it."""
    op.create_table(
        "verdicts",
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("feed", sa.Text(), nullable=False),
        sa.Column("snapshot_id", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("policy_hash", sa.Text(), nullable=False),
        sa.Column("candidate", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name="pk_verdicts"),
    )
    op.create_index("ix_verdicts_snapshot_id", "verdicts", ["snapshot_id"])
    op.create_table(
        "approvals",
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("feed", sa.Text(), nullable=False),
        sa.Column("snapshot_id", sa.Text(), nullable=False),
        sa.Column("verdict_seq", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name="pk_approvals"),
    )
    op.create_index("ix_approvals_verdict_seq", "approvals", ["verdict_seq"])
    op.create_table(
        "admissions",
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("feed", sa.Text(), nullable=False),
        sa.Column("snapshot_id", sa.Text(), nullable=False),
        sa.Column("verdict_seq", sa.BigInteger(), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("issued", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_admissions"),
    )
    op.create_index("ix_admissions_feed_seq", "admissions", ["feed", "seq"])
    op.create_index("ix_admissions_snapshot_id", "admissions", ["snapshot_id"])


def _make_models() -> None:
    """Make what was trained; at most one champion a feed."""
    op.create_table(
        "models",
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("feed", sa.Text(), nullable=False),
        sa.Column("snapshot_id", sa.Text(), nullable=False),
        sa.Column("admission_seq", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("promoted_seq", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("model_id", name="pk_models"),
    )
    op.create_index("ix_models_feed_seq", "models", ["feed", "seq"])
    op.create_index("ix_models_snapshot_id", "models", ["snapshot_id"])
    op.create_index(
        "uq_models_champion",
        "models",
        ["feed"],
        unique=True,
        sqlite_where=sa.text("status = 'champion'"),
        postgresql_where=sa.text("status = 'champion'"),
    )
