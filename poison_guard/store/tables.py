"""The tables of the store, in SQLAlchemy Core; times are microseconds since 1970 UTC, JSON is text."""

from __future__ import annotations

import sqlalchemy as sa

from poison_guard.store.columns import METADATA, Moment, instant, key, number, present, text, whole

__all__ = [
    "METADATA",
    "Moment",
    "campaigns",
    "chain",
    "events",
    "evidence",
    "feeds",
    "items",
    "ledger",
    "manifests",
    "moves",
    "objects",
    "policies",
    "queue",
    "records",
    "reviews",
    "runs",
    "schemas",
    "trusted",
    "verified",
]

feeds = sa.Table(
    "feeds",
    METADATA,
    key("name"),
    whole("last_seq"),
    instant("created_at", null=False),
)
"""`last_seq` is the sequence number of the feed's last committed run: what a commit compares its pin with."""

schemas = sa.Table(
    "schemas", METADATA, key("feed"), key("seq", sa.BigInteger), text("run_id"), text("body", null=False)
)
"""Payload schemas a feed was accepted with, append-only."""

policies = sa.Table("policies", METADATA, key("hash"), text("body", null=False), instant("at", null=False))

runs = sa.Table(
    "runs",
    METADATA,
    key("run_id"),
    text("feed", null=False),
    text("batch_id", null=False),
    text("status", null=False),
    number("state_version"),
    number("commit_seq", null=True),
    instant("received_at", null=False),
    instant("started_at", null=False),
    instant("finished_at"),
    text("policy_hash", null=False),
    *(text(name, null=False) for name in ("schema", "objects", "counts", "cost", "measurements", "notes")),
    text("error"),
    sa.UniqueConstraint("feed", "batch_id"),
    sa.Index("ix_runs_feed_started_at", "feed", "started_at"),
)

objects = sa.Table(
    "objects",
    METADATA,
    key("feed"),
    key("digest"),
    text("uri", null=False),
    whole("size"),
    whole("rows"),
    text("watermark"),
    text("run_id", null=False),
    number(),
)

manifests = sa.Table(
    "manifests",
    METADATA,
    key("file_id", sa.BigInteger),
    text("feed", null=False),
    text("run_id"),
    text("lane", null=False),
    sa.Column("path", sa.Text, nullable=False, unique=True),
    whole("rows"),
    whole("size"),
    text("sha256", null=False),
    number(),
    sa.Index("ix_manifests_feed_lane", "feed", "lane"),
)
"""Lake files that count: a file without a row here is not there."""

records = sa.Table(
    "records",
    METADATA,
    key("feed"),
    key("record_id"),
    text("run_id", null=False),
    number(),
    text("content_hash", null=False),
    text("place", null=False),
    text("action", null=False),
    sa.Column("risk", sa.Float, nullable=False),
    *(text(name) for name in ("source_id", "author_id", "item_id", "answer", "group", "campaign_id")),
    instant("observed_at"),
    instant("source_since"),
    instant("received_at", null=False),
    sa.Column("file_id", sa.BigInteger, nullable=False),
    sa.Column("readable", sa.Boolean, nullable=False),
    sa.Column("verdict", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Index("ix_records_feed_place", "feed", "place"),
    sa.Index("ix_records_feed_content_hash", "feed", "content_hash"),
    sa.Index("ix_records_run_id", "run_id"),
    sa.Index("ix_records_feed_seq", "feed", "seq"),
    present("source_id", "records", "source_id"),
    present("item_id", "records", "item_id"),
    present("campaign_id", "records", "campaign_id"),
)
"""One row a record, in its one place. `seq` is when it was first stored, `file_id` where its payload lies; `verdict` is
what a reviewer said of it: 1 right, -1 wrong, 0 nothing."""

moves = sa.Table(
    "moves",
    METADATA,
    key("feed"),
    key("record_id"),
    key("seq", sa.BigInteger),
    text("from_place", null=False),
    text("to_place", null=False),
    text("from_hash", null=False),
    sa.Column("from_file", sa.BigInteger, nullable=False),
    sa.Column("from_verdict", sa.SmallInteger, nullable=False),
    sa.Column("to_verdict", sa.SmallInteger, nullable=False),
    sa.Index("ix_moves_seq", "seq"),
)
"""Every change of place after the first, append-only: what undo and "as of" read."""

evidence = sa.Table(
    "evidence",
    METADATA,
    text("feed", null=False),
    text("record_id", null=False),
    text("run_id", null=False),
    text("signal", null=False),
    text("level", null=False),
    sa.Column("p", sa.Float, nullable=False),
    text("code", null=False),
    text("args", null=False),
    sa.Index("ix_evidence_feed_record_id", "feed", "record_id"),
    sa.Index("ix_evidence_run_id", "run_id"),
)

campaigns = sa.Table(
    "campaigns",
    METADATA,
    key("feed"),
    key("campaign_id"),
    text("run_id", null=False),
    number(),
    text("kind", null=False),
    sa.Column("p", sa.Float, nullable=False),
    sa.Column("strength", sa.Float, nullable=False),
    whole("n_records"),
    whole("n_sources"),
    instant("first_at"),
    instant("last_at"),
    text("code", null=False),
    text("args", null=False),
)
"""Members are the records that carry the `campaign_id`."""

items = sa.Table(
    "items",
    METADATA,
    key("feed"),
    key("item_id"),
    key("seq", sa.BigInteger),
    text("label"),
    sa.Column("probability", sa.Float, nullable=False),
    sa.Column("adopted", sa.Boolean, nullable=False),
    text("why", null=False),
    sa.Index("ix_items_feed_seq", "feed", "seq"),
)
"""Labels of items, append-only; the row with the highest `seq` holds."""

LEDGER_COUNTS = (
    "n",
    "controls_right",
    "controls_wrong",
    "agreed",
    "disagreed",
    "outcomes_right",
    "outcomes_wrong",
    "blocked",
)
"""What the ledger adds up for each source; `blocked` is +1 for a block and -1 for its undoing."""

ledger = sa.Table(
    "ledger",
    METADATA,
    key("namespace"),
    key("source_id"),
    key("seq", sa.BigInteger),
    text("feed", null=False),
    instant("first_seen", null=False),
    *(sa.Column(name, sa.Float, nullable=False, server_default="0") for name in LEDGER_COUNTS),
    sa.Index("ix_ledger_seq", "seq"),
)
"""What each source did, as append-only deltas; the state as of a version is their sum up to it."""

verified = sa.Table(
    "verified",
    METADATA,
    key("feed"),
    key("record_id"),
    key("kind"),
    key("seq", sa.BigInteger),
    text("namespace", null=False),
    text("source_id"),
    instant("given_at", null=False),
    instant("visible_at"),
    sa.Column("verdict", sa.SmallInteger, nullable=False),
    sa.Index("ix_verified_namespace_source_id", "namespace", "source_id"),
    sa.Index("ix_verified_seq", "seq"),
)
"""What showed a record to be right (1) or wrong (-1), append-only; of each record and `kind` (``control``, ``review``,
``outcome``) the row with the highest `seq` holds, and 0 takes back what was said or gives no credit. `given_at` orders
a source's answers; an outcome is known to all from `visible_at`, and may name a record that never came."""

trusted = sa.Table(
    "trusted",
    METADATA,
    key("feed"),
    key("record_id"),
    text("content_hash", null=False),
    text("split", null=False),
    sa.Column("file_id", sa.BigInteger, nullable=False),
    sa.Column("reviewed", sa.Boolean, nullable=False),
    number(),
    sa.Index("ix_trusted_feed_content_hash", "feed", "content_hash"),
)

queue = sa.Table(
    "queue",
    METADATA,
    key("feed"),
    key("record_id"),
    text("kind", null=False),
    text("state", null=False),
    sa.Column("risk", sa.Float, nullable=False),
    instant("created_at", null=False),
    number("opened_seq"),
    number("decided_seq", null=True),
    text("claimed_by"),
    text("token"),
    instant("lease_until"),
    sa.Index("ix_queue_feed_state_risk", "feed", "state", "risk"),
)
"""What waits for a person: `kind` is held, audit or recalled, `state` open or done."""

reviews = sa.Table(
    "reviews",
    METADATA,
    key("seq", sa.BigInteger),
    text("feed", null=False),
    text("verb", null=False),
    text("actor", null=False),
    text("reason", null=False),
    instant("at", null=False),
    whole("n"),
    text("selector", null=False),
    number("undoes", null=True),
    number("undone_by", null=True),
)
"""What people decided, by whom and why; the audit chain holds a keyed hash of the reason."""

events = sa.Table(
    "events",
    METADATA,
    key("seq", sa.BigInteger),
    instant("at", null=False),
    text("kind", null=False),
    text("feed"),
    text("run_id"),
    text("actor"),
    text("body", null=False),
    text("prev", null=False),
    text("hash", null=False),
)
"""The audit chain; `seq` is the sequence number of the whole store, that is, the state version."""

chain = sa.Table(
    "chain", METADATA, key("id", sa.BigInteger), number(), text("hash", null=False), text("mac", null=False)
)
"""One row: the head of the audit chain, and the lock that every writer takes."""
