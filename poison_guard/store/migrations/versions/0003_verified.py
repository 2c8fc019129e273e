"""Verified answers: what controls, reviewers and outcomes showed of each record."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_FROM_REVIEWS = """
INSERT INTO verified (feed, record_id, kind, seq, namespace, source_id, given_at, verdict)
SELECT m.feed, m.record_id, 'review', m.seq,
       COALESCE((SELECT MIN(l.namespace) FROM ledger l WHERE l.feed = m.feed), m.feed),
       r.source_id, CASE WHEN r.observed_at < r.received_at THEN r.observed_at ELSE r.received_at END, m.to_verdict
FROM moves m JOIN records r ON r.feed = m.feed AND r.record_id = m.record_id
WHERE m.to_verdict <> m.from_verdict AND r.source_id IS NOT NULL
"""


def upgrade() -> None:
    """Make the table, and enter what reviewers have decided so far."""
    op.create_table(
        "verified",
        sa.Column("feed", sa.Text(), nullable=False),
        sa.Column("record_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=True),
        sa.Column("given_at", sa.BigInteger(), nullable=False),
        sa.Column("visible_at", sa.BigInteger(), nullable=True),
        sa.Column("verdict", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("feed", "record_id", "kind", "seq", name="pk_verified"),
    )
    op.create_index("ix_verified_namespace_source_id", "verified", ["namespace", "source_id"])
    op.create_index("ix_verified_seq", "verified", ["seq"])
    op.execute(sa.text(_FROM_REVIEWS))


def downgrade() -> None:
    """Drop the table; what it added to the ledger stays there."""
    op.drop_table("verified")
