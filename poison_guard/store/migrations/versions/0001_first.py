"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables and their indexes."""
    _make_audit()
    _make_records()
    _make_findings()
    _make_runs()
    _make_inputs()
    _make_people()


def downgrade() -> None:
    """Drop them; the records in the lake stay."""
    for name in (
        "reviews",
        "queue",
        "trusted",
        "manifests",
        "policies",
        "schemas",
        "objects",
        "runs",
        "feeds",
        "ledger",
        "items",
        "campaigns",
        "evidence",
        "moves",
        "records",
        "chain",
        "events",
    ):
        op.drop_table(name)


def _make_audit() -> None:
    """Make the audit chain and its one row, the head."""
    op.create_table(
        "events",
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("feed", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("prev", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_events"),
    )
    op.create_table(
        "chain",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("mac", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_chain"),
    )
    op.execute(sa.text("INSERT INTO chain (id, seq, hash, mac) VALUES (1, 0, :start, '')").bindparams(start="0" * 64))


def _make_records() -> None:
    """Make what records are kept in."""
    op.create_table(
        "records",
        sa.Column("feed", sa.Text(), nullable=False),
        sa.Column("record_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("risk", sa.Float(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=True),
        sa.Column("author_id", sa.Text(), nullable=True),
        sa.Column("item_id", sa.Text(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("group", sa.Text(), nullable=True),
        sa.Column("campaign_id", sa.Text(), nullable=True),
        sa.Column("observed_at", sa.BigInteger(), nullable=True),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("file_id", sa.BigInteger(), nullable=False),
        sa.Column("readable", sa.Boolean(), nullable=False),
        sa.Column("verdict", sa.SmallInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("feed", "record_id", name="pk_records"),
    )
    op.create_index(
        "ix_records_feed_campaign_id",
        "records",
        ["feed", "campaign_id"],
        sqlite_where=sa.text("campaign_id IS NOT NULL"),
        postgresql_where=sa.text("campaign_id IS NOT NULL"),
    )
    op.create_index("ix_records_feed_content_hash", "records", ["feed", "content_hash"])
    op.create_index(
        "ix_records_feed_item_id",
        "records",
        ["feed", "item_id"],
        sqlite_where=sa.text("item_id IS NOT NULL"),
        postgresql_where=sa.text("item_id IS NOT NULL"),
    )
    op.create_index("ix_records_feed_place", "records", ["feed", "place"])
    op.create_index(
        "ix_records_feed_source_id",
        "records",
        ["feed", "source_id"],
        sqlite_where=sa.text("source_id IS NOT NULL"),
        postgresql_where=sa.text("source_id IS NOT NULL"),
    )
    op.create_index("ix_records_run_id", "records", ["run_id"])
    op.create_table(
        "moves",
        sa.Column("feed", sa.Text(), nullable=False),
        sa.Column("record_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("from_place", sa.Text(), nullable=False),
        sa.Column("to_place", sa.Text(), nullable=False),
        sa.Column("from_hash", sa.Text(), nullable=False),
        sa.Column("from_file", sa.BigInteger(), nullable=False),
        sa.Column("from_verdict", sa.SmallInteger(), nullable=False),
        sa.Column("to_verdict", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("feed", "record_id", "seq", name="pk_moves"),
    )
    op.create_index("ix_moves_seq", "moves", ["seq"])


def _make_findings() -> None:
    """Make what signals found."""
    op.create_table(
        "evidence",
        sa.Column("feed", sa.Text(), nullable=False),
        sa.Column("record_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("signal", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("p", sa.Float(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("args", sa.Text(), nullable=False),
    )
    op.create_index("ix_evidence_feed_record_id", "evidence", ["feed", "record_id"])
    op.create_index("ix_evidence_run_id", "evidence", ["run_id"])
    op.create_table(
        "campaigns",
        sa.Column("feed", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("p", sa.Float(), nullable=False),
        sa.Column("strength", sa.Float(), nullable=False),
        sa.Column("n_records", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("n_sources", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=True),
        sa.Column("last_at", sa.BigInteger(), nullable=True),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("args", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("feed", "campaign_id", name="pk_campaigns"),
    )
    op.create_table(
        "items",
        sa.Column("feed", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("probability", sa.Float(), nullable=False),
        sa.Column("adopted", sa.Boolean(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("feed", "item_id", "seq", name="pk_items"),
    )
    op.create_table(
        "ledger",
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("feed", sa.Text(), nullable=False),
        sa.Column("first_seen", sa.BigInteger(), nullable=False),
        sa.Column("n", sa.Float(), server_default="0", nullable=False),
        sa.Column("controls_right", sa.Float(), server_default="0", nullable=False),
        sa.Column("controls_wrong", sa.Float(), server_default="0", nullable=False),
        sa.Column("agreed", sa.Float(), server_default="0", nullable=False),
        sa.Column("disagreed", sa.Float(), server_default="0", nullable=False),
        sa.Column("outcomes_right", sa.Float(), server_default="0", nullable=False),
        sa.Column("outcomes_wrong", sa.Float(), server_default="0", nullable=False),
        sa.Column("blocked", sa.Float(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("namespace", "source_id", "seq", name="pk_ledger"),
    )
    op.create_index("ix_ledger_seq", "ledger", ["seq"])


def _make_runs() -> None:
    """Make feeds, their runs and what runs took in."""
    op.create_table(
        "feeds",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_feeds"),
    )
    op.create_table(
        "runs",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("feed", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("state_version", sa.BigInteger(), nullable=False),
        sa.Column("commit_seq", sa.BigInteger(), nullable=True),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("policy_hash", sa.Text(), nullable=False),
        sa.Column("schema", sa.Text(), nullable=False),
        sa.Column("objects", sa.Text(), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("cost", sa.Text(), nullable=False),
        sa.Column("measurements", sa.Text(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", name="pk_runs"),
        sa.UniqueConstraint("feed", "batch_id", name=("uq_runs_feed_batch_id")),
    )
    op.create_index("ix_runs_feed_started_at", "runs", ["feed", "started_at"])


def _make_inputs() -> None:
    """Make what runs read and write."""
    op.create_table(
        "objects",
        sa.Column("feed", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("rows", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("watermark", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("feed", "digest", name="pk_objects"),
    )
    op.create_table(
        "schemas",
        sa.Column("feed", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("feed", "seq", name="pk_schemas"),
    )
    op.create_table(
        "policies",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_policies"),
    )
    op.create_table(
        "manifests",
        sa.Column("file_id", sa.BigInteger(), nullable=False),
        sa.Column("feed", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("size", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("file_id", name="pk_manifests"),
        sa.UniqueConstraint("path", name=("uq_manifests_path")),
    )
    op.create_index("ix_manifests_feed_lane", "manifests", ["feed", "lane"])


def _make_people() -> None:
    """Make what people entered and decided."""
    op.create_table(
        "trusted",
        sa.Column("feed", sa.Text(), nullable=False),
        sa.Column("record_id", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("file_id", sa.BigInteger(), nullable=False),
        sa.Column("reviewed", sa.Boolean(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("feed", "record_id", name="pk_trusted"),
    )
    op.create_index("ix_trusted_feed_content_hash", "trusted", ["feed", "content_hash"])
    op.create_table(
        "queue",
        sa.Column("feed", sa.Text(), nullable=False),
        sa.Column("record_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("risk", sa.Float(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("opened_seq", sa.BigInteger(), nullable=False),
        sa.Column("decided_seq", sa.BigInteger(), nullable=True),
        sa.Column("claimed_by", sa.Text(), nullable=True),
        sa.Column("token", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("feed", "record_id", name="pk_queue"),
    )
    op.create_index("ix_queue_feed_state_risk", "queue", ["feed", "state", "risk"])
    op.create_table(
        "reviews",
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("feed", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("n", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("selector", sa.Text(), nullable=False),
        sa.Column("undoes", sa.BigInteger(), nullable=True),
        sa.Column("undone_by", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name="pk_reviews"),
    )
