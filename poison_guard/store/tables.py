"""The tables of the store, in SQLAlchemy Core, and the kinds of columns they are made of.

Times are microseconds since 1970 UTC, JSON is text.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa

__all__ = [
    "METADATA",
    "UtcTime",
    "campaigns",
    "chain",
    "count_column",
    "events",
    "evidence",
    "feeds",
    "items",
    "key_column",
    "ledger",
    "manifests",
    "moves",
    "objects",
    "partial_index",
    "policies",
    "queue",
    "records",
    "reviews",
    "runs",
    "schemas",
    "seq_column",
    "text_column",
    "time_column",
    "trusted",
    "verified",
]


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


class UtcTime(sa.types.TypeDecorator[dt.datetime]):
    """An aware UTC time kept as whole microseconds since 1970: the same on every database, and exact."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: sa.Dialect) -> int | None:
        """Return the microseconds of an aware time."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> dt.datetime | None:
        """Return the aware UTC time of stored microseconds."""
        return None if value is None else _EPOCH + value * _MICROSECOND


METADATA = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def key_column(name: str, kind: type[sa.types.TypeEngine[Any]] = sa.Text) -> sa.Column[Any]:
    """Return a column of the primary key."""
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


def text_column(name: str, *, null: bool = True) -> sa.Column[Any]:
    """Return a column of text."""
    return sa.Column(name, sa.Text, nullable=null)


def count_column(name: str) -> sa.Column[Any]:
    """Return a column of whole numbers, 0 by default."""
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


def seq_column(name: str = "seq", *, null: bool = False) -> sa.Column[Any]:
    """Return a column of sequence numbers of events."""
    return sa.Column(name, sa.BigInteger, nullable=null)


def time_column(name: str, *, null: bool = True) -> sa.Column[Any]:
    """Return a column of times (`UtcTime`)."""
    return sa.Column(name, UtcTime, nullable=null)


def partial_index(name: str, table: str, column: str) -> sa.Index:
    """Return an index over the rows that have `column`; most records are in no campaign."""
    present = sa.text(f"{column} IS NOT NULL")
    return sa.Index(f"ix_{table}_feed_{column}", "feed", name, sqlite_where=present, postgresql_where=present)


feeds = sa.Table(
    "feeds",
    METADATA,
    key_column("name"),
    count_column("last_seq"),
    time_column("created_at", null=False),
)
"""`last_seq` is the sequence number of the feed's last committed run: what a commit compares its pin with."""

schemas = sa.Table(
    "schemas",
    METADATA,
    key_column("feed"),
    key_column("seq", sa.BigInteger),
    text_column("run_id"),
    text_column("body", null=False),
)
"""Payload schemas a feed was accepted with, append-only."""

policies = sa.Table(
    "policies", METADATA, key_column("hash"), text_column("body", null=False), time_column("at", null=False)
)

runs = sa.Table(
    "runs",
    METADATA,
    key_column("run_id"),
    text_column("feed", null=False),
    text_column("batch_id", null=False),
    text_column("status", null=False),
    seq_column("state_version"),
    seq_column("commit_seq", null=True),
    time_column("received_at", null=False),
    time_column("started_at", null=False),
    time_column("finished_at"),
    text_column("policy_hash", null=False),
    *(text_column(name, null=False) for name in ("schema", "objects", "counts", "cost", "measurements", "notes")),
    text_column("error"),
    sa.UniqueConstraint("feed", "batch_id"),
    sa.Index("ix_runs_feed_started_at", "feed", "started_at"),
)

objects = sa.Table(
    "objects",
    METADATA,
    key_column("feed"),
    key_column("digest"),
    text_column("uri", null=False),
    count_column("size"),
    count_column("rows"),
    text_column("watermark"),
    text_column("run_id", null=False),
    seq_column(),
)

manifests = sa.Table(
    "manifests",
    METADATA,
    key_column("file_id", sa.BigInteger),
    text_column("feed", null=False),
    text_column("run_id"),
    text_column("lane", null=False),
    sa.Column("path", sa.Text, nullable=False, unique=True),
    count_column("rows"),
    count_column("size"),
    text_column("sha256", null=False),
    seq_column(),
    sa.Index("ix_manifests_feed_lane", "feed", "lane"),
)
"""Lake files that count: a file without a row here is not there."""

records = sa.Table(
    "records",
    METADATA,
    key_column("feed"),
    key_column("record_id"),
    text_column("run_id", null=False),
    seq_column(),
    text_column("content_hash", null=False),
    text_column("place", null=False),
    text_column("action", null=False),
    sa.Column("risk", sa.Float, nullable=False),
    *(text_column(name) for name in ("source_id", "author_id", "item_id", "answer", "group", "campaign_id")),
    time_column("observed_at"),
    time_column("source_since"),
    time_column("received_at", null=False),
    sa.Column("file_id", sa.BigInteger, nullable=False),
    sa.Column("readable", sa.Boolean, nullable=False),
    sa.Column("verdict", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Index("ix_records_feed_place", "feed", "place"),
    sa.Index("ix_records_feed_content_hash", "feed", "content_hash"),
    sa.Index("ix_records_run_id", "run_id"),
    sa.Index("ix_records_feed_seq", "feed", "seq"),
    partial_index("source_id", "records", "source_id"),
    partial_index("item_id", "records", "item_id"),
    partial_index("campaign_id", "records", "campaign_id"),
)
"""One row a record, in its one place. `seq` is when it was first stored, `file_id` where its payload lies; `verdict` is
what a reviewer said of it: 1 right, -1 wrong, 0 nothing."""

moves = sa.Table(
    "moves",
    METADATA,
    key_column("feed"),
    key_column("record_id"),
    key_column("seq", sa.BigInteger),
    text_column("from_place", null=False),
    text_column("to_place", null=False),
    text_column("from_hash", null=False),
    sa.Column("from_file", sa.BigInteger, nullable=False),
    sa.Column("from_verdict", sa.SmallInteger, nullable=False),
    sa.Column("to_verdict", sa.SmallInteger, nullable=False),
    sa.Index("ix_moves_seq", "seq"),
)
"""Every change of place after the first, append-only: what undo and "as of" read."""

evidence = sa.Table(
    "evidence",
    METADATA,
    text_column("feed", null=False),
    text_column("record_id", null=False),
    text_column("run_id", null=False),
    text_column("signal", null=False),
    text_column("level", null=False),
    sa.Column("p", sa.Float, nullable=False),
    text_column("code", null=False),
    text_column("args", null=False),
    sa.Index("ix_evidence_feed_record_id", "feed", "record_id"),
    sa.Index("ix_evidence_run_id", "run_id"),
)

campaigns = sa.Table(
    "campaigns",
    METADATA,
    key_column("feed"),
    key_column("campaign_id"),
    text_column("run_id", null=False),
    seq_column(),
    text_column("kind", null=False),
    sa.Column("p", sa.Float, nullable=False),
    sa.Column("strength", sa.Float, nullable=False),
    count_column("n_records"),
    count_column("n_sources"),
    time_column("first_at"),
    time_column("last_at"),
    text_column("code", null=False),
    text_column("args", null=False),
)
"""Members are the records that carry the `campaign_id`."""

items = sa.Table(
    "items",
    METADATA,
    key_column("feed"),
    key_column("item_id"),
    key_column("seq", sa.BigInteger),
    text_column("label"),
    sa.Column("probability", sa.Float, nullable=False),
    sa.Column("adopted", sa.Boolean, nullable=False),
    text_column("why", null=False),
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
    key_column("namespace"),
    key_column("source_id"),
    key_column("seq", sa.BigInteger),
    text_column("feed", null=False),
    time_column("first_seen", null=False),
    *(sa.Column(name, sa.Float, nullable=False, server_default="0") for name in LEDGER_COUNTS),
    sa.Index("ix_ledger_seq", "seq"),
)
"""What each source did, as append-only deltas; the state as of a version is their sum up to it."""

verified = sa.Table(
    "verified",
    METADATA,
    key_column("feed"),
    key_column("record_id"),
    key_column("kind"),
    key_column("seq", sa.BigInteger),
    text_column("namespace", null=False),
    text_column("source_id"),
    time_column("given_at", null=False),
    time_column("visible_at"),
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
    key_column("feed"),
    key_column("record_id"),
    text_column("content_hash", null=False),
    text_column("split", null=False),
    sa.Column("file_id", sa.BigInteger, nullable=False),
    sa.Column("reviewed", sa.Boolean, nullable=False),
    seq_column(),
    sa.Index("ix_trusted_feed_content_hash", "feed", "content_hash"),
)

queue = sa.Table(
    "queue",
    METADATA,
    key_column("feed"),
    key_column("record_id"),
    text_column("kind", null=False),
    text_column("state", null=False),
    sa.Column("risk", sa.Float, nullable=False),
    time_column("created_at", null=False),
    seq_column("opened_seq"),
    seq_column("decided_seq", null=True),
    text_column("claimed_by"),
    text_column("token"),
    time_column("lease_until"),
    sa.Index("ix_queue_feed_state_risk", "feed", "state", "risk"),
)
"""What waits for a person: `kind` is held, audit or recalled, `state` open or done."""

reviews = sa.Table(
    "reviews",
    METADATA,
    key_column("seq", sa.BigInteger),
    text_column("feed", null=False),
    text_column("verb", null=False),
    text_column("actor", null=False),
    text_column("reason", null=False),
    time_column("at", null=False),
    count_column("n"),
    text_column("selector", null=False),
    seq_column("undoes", null=True),
    seq_column("undone_by", null=True),
)
"""What people decided, by whom and why; the audit chain holds a keyed hash of the reason."""

events = sa.Table(
    "events",
    METADATA,
    key_column("seq", sa.BigInteger),
    time_column("at", null=False),
    text_column("kind", null=False),
    text_column("feed"),
    text_column("run_id"),
    text_column("actor"),
    text_column("body", null=False),
    text_column("prev", null=False),
    text_column("hash", null=False),
)
"""The audit chain; `seq` is the sequence number of the whole store, that is, the state version."""

chain = sa.Table(
    "chain",
    METADATA,
    key_column("id", sa.BigInteger),
    seq_column(),
    text_column("hash", null=False),
    text_column("mac", null=False),
)
"""One row: the head of the audit chain, and the lock that every writer takes."""
