"""The tables of the store, in SQLAlchemy Core; times are microseconds since 1970 UTC, JSON is text."""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa

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

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICRO = dt.timedelta(microseconds=1)


class Moment(sa.types.TypeDecorator[dt.datetime]):
    """An aware UTC time kept as whole microseconds since 1970: the same on every database, and exact."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: sa.Dialect) -> int | None:
        """Return the microseconds of an aware time."""
        return None if value is None else (value - _EPOCH) // _MICRO

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> dt.datetime | None:
        """Return the aware UTC time of stored microseconds."""
        return None if value is None else _EPOCH + value * _MICRO


METADATA = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _key(name: str, kind: type[sa.types.TypeEngine[Any]] = sa.Text) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


def _text(name: str, *, null: bool = True) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=null)


def _whole(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


def _seq(name: str = "seq", *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, nullable=null)


def _moment(name: str, *, null: bool = True) -> sa.Column[Any]:
    return sa.Column(name, Moment, nullable=null)


def _some(name: str, table: str, column: str) -> sa.Index:
    """Return an index over the rows that have `column`; most records are in no campaign."""
    present = sa.text(f"{column} IS NOT NULL")
    return sa.Index(f"ix_{table}_feed_{column}", "feed", name, sqlite_where=present, postgresql_where=present)


feeds = sa.Table(
    "feeds",
    METADATA,
    _key("name"),
    _whole("last_seq"),
    _moment("created_at", null=False),
)
"""`last_seq` is the sequence number of the feed's last committed run: what a commit compares its pin with."""

schemas = sa.Table(
    "schemas", METADATA, _key("feed"), _key("seq", sa.BigInteger), _text("run_id"), _text("body", null=False)
)
"""Payload schemas a feed was accepted with, append-only."""

policies = sa.Table("policies", METADATA, _key("hash"), _text("body", null=False), _moment("at", null=False))

runs = sa.Table(
    "runs",
    METADATA,
    _key("run_id"),
    _text("feed", null=False),
    _text("batch_id", null=False),
    _text("status", null=False),
    _seq("state_version"),
    _seq("commit_seq", null=True),
    _moment("received_at", null=False),
    _moment("started_at", null=False),
    _moment("finished_at"),
    _text("policy_hash", null=False),
    *(_text(name, null=False) for name in ("schema", "objects", "counts", "cost", "measurements", "notes")),
    _text("error"),
    sa.UniqueConstraint("feed", "batch_id"),
    sa.Index("ix_runs_feed_started_at", "feed", "started_at"),
)

objects = sa.Table(
    "objects",
    METADATA,
    _key("feed"),
    _key("digest"),
    _text("uri", null=False),
    _whole("size"),
    _whole("rows"),
    _text("watermark"),
    _text("run_id", null=False),
    _seq(),
)

manifests = sa.Table(
    "manifests",
    METADATA,
    _key("file_id", sa.BigInteger),
    _text("feed", null=False),
    _text("run_id"),
    _text("lane", null=False),
    sa.Column("path", sa.Text, nullable=False, unique=True),
    _whole("rows"),
    _whole("size"),
    _text("sha256", null=False),
    _seq(),
    sa.Index("ix_manifests_feed_lane", "feed", "lane"),
)
"""Lake files that count: a file without a row here is not there."""

records = sa.Table(
    "records",
    METADATA,
    _key("feed"),
    _key("record_id"),
    _text("run_id", null=False),
    _seq(),
    _text("content_hash", null=False),
    _text("place", null=False),
    _text("action", null=False),
    sa.Column("risk", sa.Float, nullable=False),
    *(_text(name) for name in ("source_id", "author_id", "item_id", "answer", "group", "campaign_id")),
    _moment("observed_at"),
    _moment("received_at", null=False),
    sa.Column("file_id", sa.BigInteger, nullable=False),
    sa.Column("readable", sa.Boolean, nullable=False),
    sa.Column("verdict", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Index("ix_records_feed_place", "feed", "place"),
    sa.Index("ix_records_feed_content_hash", "feed", "content_hash"),
    sa.Index("ix_records_run_id", "run_id"),
    sa.Index("ix_records_feed_seq", "feed", "seq"),
    _some("source_id", "records", "source_id"),
    _some("item_id", "records", "item_id"),
    _some("campaign_id", "records", "campaign_id"),
)
"""One row a record, in its one place. `seq` is when it was first stored, `file_id` where its payload lies; `verdict` is
what a reviewer said of it: 1 right, -1 wrong, 0 nothing."""

moves = sa.Table(
    "moves",
    METADATA,
    _key("feed"),
    _key("record_id"),
    _key("seq", sa.BigInteger),
    _text("from_place", null=False),
    _text("to_place", null=False),
    _text("from_hash", null=False),
    sa.Column("from_file", sa.BigInteger, nullable=False),
    sa.Column("from_verdict", sa.SmallInteger, nullable=False),
    sa.Column("to_verdict", sa.SmallInteger, nullable=False),
    sa.Index("ix_moves_seq", "seq"),
)
"""Every change of place after the first, append-only: what undo and "as of" read."""

evidence = sa.Table(
    "evidence",
    METADATA,
    _text("feed", null=False),
    _text("record_id", null=False),
    _text("run_id", null=False),
    _text("signal", null=False),
    _text("level", null=False),
    sa.Column("p", sa.Float, nullable=False),
    _text("code", null=False),
    _text("args", null=False),
    sa.Index("ix_evidence_feed_record_id", "feed", "record_id"),
    sa.Index("ix_evidence_run_id", "run_id"),
)

campaigns = sa.Table(
    "campaigns",
    METADATA,
    _key("feed"),
    _key("campaign_id"),
    _text("run_id", null=False),
    _seq(),
    _text("kind", null=False),
    sa.Column("p", sa.Float, nullable=False),
    sa.Column("strength", sa.Float, nullable=False),
    _whole("n_records"),
    _whole("n_sources"),
    _moment("first_at"),
    _moment("last_at"),
    _text("code", null=False),
    _text("args", null=False),
)
"""Members are the records that carry the `campaign_id`."""

items = sa.Table(
    "items",
    METADATA,
    _key("feed"),
    _key("item_id"),
    _key("seq", sa.BigInteger),
    _text("label"),
    sa.Column("probability", sa.Float, nullable=False),
    sa.Column("adopted", sa.Boolean, nullable=False),
    _text("why", null=False),
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
    _key("namespace"),
    _key("source_id"),
    _key("seq", sa.BigInteger),
    _text("feed", null=False),
    _moment("first_seen", null=False),
    *(sa.Column(name, sa.Float, nullable=False, server_default="0") for name in LEDGER_COUNTS),
    sa.Index("ix_ledger_seq", "seq"),
)
"""What each source did, as append-only deltas; the state as of a version is their sum up to it."""

verified = sa.Table(
    "verified",
    METADATA,
    _key("feed"),
    _key("record_id"),
    _key("kind"),
    _key("seq", sa.BigInteger),
    _text("namespace", null=False),
    _text("source_id"),
    _moment("given_at", null=False),
    _moment("visible_at"),
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
    _key("feed"),
    _key("record_id"),
    _text("content_hash", null=False),
    _text("split", null=False),
    sa.Column("file_id", sa.BigInteger, nullable=False),
    sa.Column("reviewed", sa.Boolean, nullable=False),
    _seq(),
    sa.Index("ix_trusted_feed_content_hash", "feed", "content_hash"),
)

queue = sa.Table(
    "queue",
    METADATA,
    _key("feed"),
    _key("record_id"),
    _text("kind", null=False),
    _text("state", null=False),
    sa.Column("risk", sa.Float, nullable=False),
    _moment("created_at", null=False),
    _seq("opened_seq"),
    _seq("decided_seq", null=True),
    _text("claimed_by"),
    _text("token"),
    _moment("lease_until"),
    sa.Index("ix_queue_feed_state_risk", "feed", "state", "risk"),
)
"""What waits for a person: `kind` is held, audit or recalled, `state` open or done."""

reviews = sa.Table(
    "reviews",
    METADATA,
    _key("seq", sa.BigInteger),
    _text("feed", null=False),
    _text("verb", null=False),
    _text("actor", null=False),
    _text("reason", null=False),
    _moment("at", null=False),
    _whole("n"),
    _text("selector", null=False),
    _seq("undoes", null=True),
    _seq("undone_by", null=True),
)
"""What people decided, by whom and why; the audit chain holds a keyed hash of the reason."""

events = sa.Table(
    "events",
    METADATA,
    _key("seq", sa.BigInteger),
    _moment("at", null=False),
    _text("kind", null=False),
    _text("feed"),
    _text("run_id"),
    _text("actor"),
    _text("body", null=False),
    _text("prev", null=False),
    _text("hash", null=False),
)
"""The audit chain; `seq` is the sequence number of the whole store, that is, the state version."""

chain = sa.Table(
    "chain", METADATA, _key("id", sa.BigInteger), _seq(), _text("hash", null=False), _text("mac", null=False)
)
"""One row: the head of the audit chain, and the lock that every writer takes."""
