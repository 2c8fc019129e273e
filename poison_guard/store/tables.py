"""The tables of the store, in SQLAlchemy Core, and the kinds of columns they are made of.

Times are microseconds since 1970 UTC, JSON is text. Whoever changes a table before the first release raises
`STORE_FORMAT`; after it, a migration takes stored data along.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa

__all__ = [
    "LEDGER_COUNTS",
    "METADATA",
    "QUEUE_FACETS",
    "STORE_FORMAT",
    "UtcTime",
    "admissions",
    "approvals",
    "campaigns",
    "chain",
    "checks",
    "events",
    "evidence",
    "feeds",
    "items",
    "jobs",
    "ledger",
    "manifests",
    "models",
    "moves",
    "nonces",
    "objects",
    "outbox",
    "policies",
    "queue",
    "queue_counts",
    "records",
    "reviews",
    "runs",
    "schemas",
    "seals",
    "sessions",
    "sign_ins",
    "snapshot_parts",
    "snapshots",
    "source_rules",
    "store_format",
    "trusted",
    "users",
    "verdicts",
    "verified",
    "views",
]

STORE_FORMAT = 7
"""Number of the tables and of what their cells mean; a store of another number is not opened."""


EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MICROSECOND = dt.timedelta(microseconds=1)


class UtcTime(sa.types.TypeDecorator[dt.datetime]):
    """An aware UTC time kept as whole microseconds since 1970: the same on every database, and exact."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: sa.Dialect) -> int | None:
        """Return the microseconds of an aware time."""
        return None if value is None else (value - EPOCH) // MICROSECOND

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> dt.datetime | None:
        """Return the aware UTC time of stored microseconds."""
        return None if value is None else EPOCH + value * MICROSECOND


METADATA = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _key_column(name: str, kind: type[sa.types.TypeEngine[Any]] = sa.Text) -> sa.Column[Any]:
    """Return a column of the primary key."""
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


def _text_column(name: str, *, null: bool = True) -> sa.Column[Any]:
    """Return a column of text."""
    return sa.Column(name, sa.Text, nullable=null)


def _count_column(name: str) -> sa.Column[Any]:
    """Return a column of whole numbers, 0 by default."""
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


def _seq_column(name: str = "seq", *, null: bool = False) -> sa.Column[Any]:
    """Return a column of sequence numbers of events."""
    return sa.Column(name, sa.BigInteger, nullable=null)


def _time_column(name: str, *, null: bool = True) -> sa.Column[Any]:
    """Return a column of times (`UtcTime`)."""
    return sa.Column(name, UtcTime, nullable=null)


def _via_column() -> sa.Column[Any]:
    """Return the column that says how a person's name was verified."""
    return sa.Column("via", sa.Text, nullable=False, server_default="unverified")


def _partial_index(name: str, table: str, column: str) -> sa.Index:
    """Return an index over the rows that have `column`; most records are in no campaign."""
    present = sa.text(f"{column} IS NOT NULL")
    return sa.Index(f"ix_{table}_feed_{column}", "feed", name, sqlite_where=present, postgresql_where=present)


QUEUE_FACETS = ("campaign_id", "source_id", "item_id", "reason", "label", "day")
"""Columns of the queue that groups are made by."""


_EXPIRED = sa.text("state = 'expired'")


def _open_index(name: str) -> sa.Index:
    """Return an index over the entries that wait, in the order in which they are listed, perhaps of one facet."""
    of_facet = name not in ("risk", "created_at")
    waits = sa.text(f"state = 'open' AND {name} IS NOT NULL" if of_facet else "state = 'open'")
    order = ("created_at",) if name == "created_at" else (sa.text("risk DESC"),)
    columns = ("feed", *((name,) if of_facet else ()), *order, "record_id")
    return sa.Index(f"ix_queue_open_{name}", *columns, sqlite_where=waits, postgresql_where=waits)


_TEXT_IN = "INSERT INTO queue_text(rowid, preview) VALUES (new.entry_id, new.preview)"
_TEXT_OUT = "INSERT INTO queue_text(queue_text, rowid, preview) VALUES ('delete', old.entry_id, old.preview)"
"""What the full-text index of SQLite is told when the beginning of a payload comes or goes (SQLite, FTS5 4.4.3)."""

store_format = sa.Table("store", METADATA, _key_column("format", sa.BigInteger), _text_column("id", null=False))
"""One row: the `STORE_FORMAT` that the store was made with, and the id by which its lake knows it."""

feeds = sa.Table(
    "feeds",
    METADATA,
    _key_column("name"),
    _count_column("last_seq"),
    _time_column("created_at", null=False),
)
"""`last_seq` is the sequence number of the feed's last committed run: what a commit compares its pin with."""

schemas = sa.Table(
    "schemas",
    METADATA,
    _key_column("feed"),
    _key_column("seq", sa.BigInteger),
    _text_column("run_id"),
    _text_column("body", null=False),
)
"""Payload schemas a feed was accepted with, append-only."""

policies = sa.Table(
    "policies", METADATA, _key_column("hash"), _text_column("body", null=False), _time_column("at", null=False)
)

runs = sa.Table(
    "runs",
    METADATA,
    _key_column("run_id"),
    _text_column("feed", null=False),
    _text_column("batch_id", null=False),
    _text_column("status", null=False),
    _seq_column("state_version"),
    _seq_column("commit_seq", null=True),
    _time_column("received_at", null=False),
    _time_column("started_at", null=False),
    _time_column("finished_at"),
    _text_column("policy_hash", null=False),
    *(_text_column(name, null=False) for name in ("schema", "objects", "counts", "cost", "measurements", "notes")),
    sa.UniqueConstraint("feed", "batch_id"),
    sa.Index("ix_runs_feed_started_at", "feed", "started_at"),
    sa.Index("ix_runs_commit_seq", "commit_seq"),
)

objects = sa.Table(
    "objects",
    METADATA,
    _key_column("feed"),
    _key_column("digest"),
    _text_column("uri", null=False),
    _count_column("size"),
    _count_column("rows"),
    _text_column("watermark"),
    _text_column("trail"),
    _text_column("run_id", null=False),
    _seq_column(),
    sa.Index("ix_objects_seq", "seq"),
)
"""What a feed took in. `trail` is what is kept of an object's rows without ids (`ingest.continuation`)."""

manifests = sa.Table(
    "manifests",
    METADATA,
    _key_column("file_id", sa.BigInteger),
    _text_column("feed", null=False),
    _text_column("run_id"),
    _text_column("lane", null=False),
    sa.Column("path", sa.Text, nullable=False, unique=True),
    _count_column("rows"),
    _count_column("size"),
    _text_column("sha256", null=False),
    _seq_column(),
    sa.Index("ix_manifests_feed_lane", "feed", "lane"),
    sa.Index("ix_manifests_seq", "seq"),
)
"""Lake files that count: a file without a row here is not there."""

records = sa.Table(
    "records",
    METADATA,
    _key_column("feed"),
    _key_column("record_id"),
    _text_column("run_id", null=False),
    _seq_column(),
    _text_column("content_hash", null=False),
    _text_column("place", null=False),
    _text_column("action", null=False),
    sa.Column("risk", sa.Float, nullable=False),
    _text_column("reasons"),
    *(_text_column(name) for name in ("source_id", "author_id", "item_id", "answer", "group", "campaign_id")),
    _time_column("observed_at"),
    _time_column("source_since"),
    _time_column("received_at", null=False),
    sa.Column("file_id", sa.BigInteger, nullable=False),
    sa.Column("readable", sa.Boolean, nullable=False),
    sa.Column("verdict", sa.SmallInteger, nullable=False, server_default="0"),
    _seq_column("changed_seq"),
    sa.Index("ix_records_feed_place", "feed", "place"),
    sa.Index("ix_records_feed_content_hash", "feed", "content_hash"),
    sa.Index("ix_records_run_id", "run_id"),
    sa.Index("ix_records_feed_seq", "feed", "seq"),
    sa.Index("ix_records_changed_seq", "changed_seq"),
    _partial_index("source_id", "records", "source_id"),
    _partial_index("item_id", "records", "item_id"),
    _partial_index("campaign_id", "records", "campaign_id"),
)
"""One row per record, in its one place. `seq` is when it was first stored, `changed_seq` the last event that wrote the
row (`seals` go by it), `file_id` where its payload lies. `action,
risk, reasons` (a JSON list of codes; none: no reason) and `campaign_id` are the decision; `verdict` is a reviewer's: 1
right, -1 wrong, 0 none."""

moves = sa.Table(
    "moves",
    METADATA,
    _key_column("feed"),
    _key_column("record_id"),
    _key_column("seq", sa.BigInteger),
    _text_column("from_place", null=False),
    _text_column("to_place", null=False),
    _text_column("from_hash", null=False),
    sa.Column("from_file", sa.BigInteger, nullable=False),
    sa.Column("from_verdict", sa.SmallInteger, nullable=False),
    sa.Column("to_verdict", sa.SmallInteger, nullable=False),
    sa.Index("ix_moves_seq", "seq"),
)
"""Every change of place after the first, append-only: what undo and "as of" read."""

evidence = sa.Table(
    "evidence",
    METADATA,
    _text_column("feed", null=False),
    _text_column("record_id", null=False),
    _text_column("run_id", null=False),
    _text_column("signal", null=False),
    _text_column("level", null=False),
    sa.Column("p", sa.Float, nullable=False),
    _text_column("code", null=False),
    _text_column("args", null=False),
    _seq_column(),
    sa.Index("ix_evidence_feed_record_id", "feed", "record_id"),
    sa.Index("ix_evidence_seq", "seq"),
    sa.Index("ix_evidence_run_id", "run_id"),
)

campaigns = sa.Table(
    "campaigns",
    METADATA,
    _key_column("feed"),
    _key_column("campaign_id"),
    _text_column("run_id", null=False),
    _seq_column(),
    _text_column("kind", null=False),
    sa.Column("p", sa.Float, nullable=False),
    sa.Column("strength", sa.Float, nullable=False),
    _count_column("n_records"),
    _count_column("n_sources"),
    _time_column("first_at"),
    _time_column("last_at"),
    _text_column("code", null=False),
    _text_column("args", null=False),
    sa.Index("ix_campaigns_seq", "seq"),
)
"""Members are the records that carry the `campaign_id`."""

items = sa.Table(
    "items",
    METADATA,
    _key_column("feed"),
    _key_column("item_id"),
    _key_column("seq", sa.BigInteger),
    _text_column("label"),
    sa.Column("probability", sa.Float, nullable=False),
    sa.Column("adopted", sa.Boolean, nullable=False),
    _text_column("why", null=False),
    sa.Index("ix_items_feed_seq", "feed", "seq"),
    sa.Index("ix_items_seq", "seq"),
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
    _key_column("namespace"),
    _key_column("source_id"),
    _key_column("seq", sa.BigInteger),
    _text_column("feed", null=False),
    _time_column("first_seen", null=False),
    *(sa.Column(name, sa.Float, nullable=False, server_default="0") for name in LEDGER_COUNTS),
    sa.Index("ix_ledger_seq", "seq"),
)
"""What each source did, as append-only deltas; the state as of a version is their sum up to it."""

nonces = sa.Table(
    "nonces",
    METADATA,
    _key_column("feed"),
    _key_column("nonce"),
    _text_column("record_id", null=False),
    _time_column("sent_at"),
    _seq_column(),
    sa.Index("ix_nonces_feed_sent_at", "feed", "sent_at"),
)
"""The nonces of signed records, and the record that each came with first; both as hashes."""


verified = sa.Table(
    "verified",
    METADATA,
    _key_column("feed"),
    _key_column("record_id"),
    _key_column("kind"),
    _key_column("seq", sa.BigInteger),
    _text_column("namespace", null=False),
    _text_column("source_id"),
    _time_column("given_at", null=False),
    _time_column("visible_at"),
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
    _key_column("feed"),
    _key_column("record_id"),
    _text_column("content_hash", null=False),
    _text_column("split", null=False),
    sa.Column("file_id", sa.BigInteger, nullable=False),
    sa.Column("reviewed", sa.Boolean, nullable=False),
    _seq_column(),
    sa.Index("ix_trusted_feed_content_hash", "feed", "content_hash"),
    sa.Index("ix_trusted_seq", "seq"),
)

queue = sa.Table(
    "queue",
    METADATA,
    sa.Column("entry_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    _text_column("feed", null=False),
    _text_column("record_id", null=False),
    _text_column("kind", null=False),
    _text_column("state", null=False),
    sa.Column("risk", sa.Float, nullable=False),
    _time_column("created_at", null=False),
    _seq_column("opened_seq"),
    _seq_column("decided_seq", null=True),
    _text_column("claimed_by"),
    _text_column("token"),
    _time_column("lease_until"),
    _seq_column("changed_seq"),
    *(_text_column(name) for name in QUEUE_FACETS),
    *(_text_column(name) for name in ("author_id", "group", "run_id", "signal", "preview")),
    sa.UniqueConstraint("feed", "record_id"),
    sa.Index("ix_queue_changed_seq", "changed_seq"),
    sa.Index("ix_queue_decided_seq", "decided_seq"),
    sa.Index("ix_queue_feed_token", "feed", "token"),
    sa.Index("ix_queue_expired", "feed", sqlite_where=_EXPIRED, postgresql_where=_EXPIRED),
    *(_open_index(name) for name in ("risk", "created_at", *QUEUE_FACETS, "author_id")),
)
"""What waits for a person, one wide row a record: `kind` is held, audit, recalled or item, `state` open, done or
expired; `changed_seq` is the last event that wrote the row (a claim is none). What a queue is filtered and grouped by,
and the beginning of the payload as it may be shown, are copied from the record, so that a page of it needs no other
table. `reason` is the code that weighs most, `signal` who gave it, `day` when the record came, `label` its answer."""

for _when, _backend, _statement in (
    (
        "after_create",
        "sqlite",
        "CREATE VIRTUAL TABLE queue_text USING fts5(preview, content='queue', content_rowid='entry_id')",
    ),
    *(
        ("after_create", "sqlite", f"CREATE TRIGGER queue_text_{name} AFTER {when} WHEN {some} BEGIN {what}; END")
        for name, when, some, what in (
            ("new", "INSERT ON queue", "new.preview IS NOT NULL", _TEXT_IN),
            ("old", "DELETE ON queue", "old.preview IS NOT NULL", _TEXT_OUT),
            ("out", "UPDATE OF preview ON queue", "old.preview IS NOT NULL", _TEXT_OUT),
            ("put", "UPDATE OF preview ON queue", "new.preview IS NOT NULL", _TEXT_IN),
        )
    ),
    ("before_drop", "sqlite", "DROP TABLE queue_text"),
    (
        "after_create",
        "postgresql",
        "CREATE INDEX ix_queue_text ON queue USING gin (to_tsvector('simple', preview))",
    ),
):
    sa.event.listen(queue, _when, sa.DDL(_statement).execute_if(dialect=_backend))

queue_counts = sa.Table(
    "queue_counts",
    METADATA,
    _key_column("feed"),
    _key_column("facet"),
    _key_column("value"),
    _count_column("n"),
    _time_column("since"),
    sa.Index("ix_queue_counts_feed_facet_n", "feed", "facet", "n"),
)
"""How many open entries have each value of a facet (`all`: every one), kept with each change of the queue: a million of
them are too many to count for a page. `since` is when the first of them came."""

jobs = sa.Table(
    "jobs",
    METADATA,
    _key_column("job_id"),
    _text_column("feed", null=False),
    _text_column("state", null=False),
    _text_column("verb"),
    _text_column("actor"),
    _text_column("via"),
    _text_column("reason"),
    _text_column("filters", null=False),
    sa.Column("ids", sa.LargeBinary),
    _text_column("digest", null=False),
    _seq_column("version"),
    *(_count_column(name) for name in ("total", "done", "decided", "left")),
    _seq_column("event", null=True),
    _time_column("at", null=False),
    _text_column("fault"),
    sa.Index("ix_jobs_feed_at", "feed", "at"),
)
"""Decisions about a frozen set of records (`ids`, compressed; `digest` of them), as of `version`: `state` is frozen,
running, done, cancelled or undone. `done` of `total` were gone through; `event` is what `undo` takes."""

users = sa.Table(
    "users",
    METADATA,
    _key_column("name"),
    _text_column("password", null=False),
    _text_column("roles", null=False),
    sa.Column("disabled", sa.Boolean, nullable=False, server_default=sa.false()),
    _time_column("made_at", null=False),
    _text_column("made_by", null=False),
)
"""People who sign in: `password` is a salted argon2id hash, `roles` JSON of feed (``*``: all) to role."""

sessions = sa.Table(
    "sessions",
    METADATA,
    _key_column("session_id"),
    _text_column("name", null=False),
    _text_column("via", null=False),
    _time_column("at", null=False),
    _time_column("expires", null=False),
    sa.Index("ix_sessions_name", "name"),
)
"""Sign-ins that hold; the id is a hash of the secret in the signed token, and a row that goes revokes it."""

sign_ins = sa.Table(
    "sign_ins",
    METADATA,
    _key_column("seq", sa.BigInteger),
    _text_column("name", null=False),
    _time_column("at", null=False),
    sa.Index("ix_sign_ins_name_at", "name", "at"),
)
"""Sign-ins that failed lately, to throttle by."""

source_rules = sa.Table(
    "source_rules",
    METADATA,
    _key_column("seq", sa.BigInteger),
    _text_column("feed", null=False),
    _text_column("source_id", null=False),
    _text_column("verb", null=False),
    _time_column("expires"),
    sa.Index("ix_source_rules_feed_source_id", "feed", "source_id"),
)
"""Rules about a source that lapse: `verb` is block or allow, `seq` the event that made it; a decision ``end_rule`` ends
it."""

views = sa.Table(
    "views",
    METADATA,
    _key_column("feed"),
    _key_column("name"),
    _text_column("params", null=False),
    _text_column("made_by", null=False),
    _time_column("at", null=False),
)
"""Filters of the queue that people saved under a name."""

checks = sa.Table(
    "checks",
    METADATA,
    _key_column("feed"),
    _key_column("record_id"),
    _key_column("kind"),
    _key_column("reviewer"),
    _text_column("expected"),
    _text_column("first_by"),
    _text_column("answer"),
    _time_column("at"),
    _seq_column(null=True),
    sa.Index("ix_checks_feed_reviewer", "feed", "reviewer"),
)
"""Records that a reviewer is asked about to measure agreement: `kind` is ``second`` (a colleague decided it, and the
reviewer is not told) or ``known`` (the answer is known). `reviewer` is empty while anybody but `first_by` may take it.
The answer moves no record."""

reviews = sa.Table(
    "reviews",
    METADATA,
    _key_column("seq", sa.BigInteger),
    _text_column("feed", null=False),
    _text_column("verb", null=False),
    _text_column("actor", null=False),
    _text_column("reason", null=False),
    _time_column("at", null=False),
    _count_column("n"),
    _text_column("selector", null=False),
    _seq_column("undoes", null=True),
    _seq_column("undone_by", null=True),
    _via_column(),
    _text_column("job"),
    sa.Index("ix_reviews_feed_at", "feed", "at"),
    sa.Index("ix_reviews_job", "job"),
)
"""What people decided, by whom and why; the audit chain holds a keyed hash of the reason. `via` says how the name was
verified (session, token, airflow, proxy or unverified); `job` is the bulk decision that it is a part of."""

events = sa.Table(
    "events",
    METADATA,
    _key_column("seq", sa.BigInteger),
    _time_column("at", null=False),
    _text_column("kind", null=False),
    _text_column("feed"),
    _text_column("run_id"),
    _text_column("actor"),
    _text_column("body", null=False),
    _text_column("prev", null=False),
    _text_column("hash", null=False),
)
"""The audit chain; `seq` is the sequence number of the whole store, that is, the state version."""

chain = sa.Table(
    "chain",
    METADATA,
    _key_column("id", sa.BigInteger),
    _seq_column(),
    _text_column("hash", null=False),
    _text_column("mac", null=False),
    _text_column("secret", null=False),
)
"""One row: the head of the audit chain, and the lock that every writer takes. `secret` makes the salts of `seals`;
erasing replaces it."""

seals = sa.Table(
    "seals",
    METADATA,
    _key_column("seq", sa.BigInteger),
    _key_column("tbl"),
    _key_column("grp", sa.BigInteger),
    _count_column("n"),
    _text_column("total", null=False),
    _text_column("salt"),
    sa.Column("tags", sa.LargeBinary),
    sa.Index("ix_seals_tbl_grp_seq", "tbl", "grp", "seq"),
)
"""What the audit compares rows with: as of event `seq`, table `tbl` has `n` rows last written by event `grp`, and their
keyed hashes add up to `total`. `salt` goes into each hash, until an erasure destroys it; `tags` are the beginnings of
the hashes, to name the row that differs. The event holds one keyed hash over its seals."""

snapshots = sa.Table(
    "snapshots",
    METADATA,
    _key_column("snapshot_id"),
    _text_column("feed", null=False),
    _seq_column(),
    _seq_column("sealed_seq"),
    _time_column("sealed_at", null=False),
    _text_column("hash", null=False),
    _text_column("counts", null=False),
    _text_column("previous"),
    _seq_column("revoked_seq", null=True),
    _text_column("revoked_why"),
    sa.Index("ix_snapshots_feed_sealed_seq", "feed", "sealed_seq"),
)
"""`seq` is the state that was sealed, `sealed_seq` the event that sealed it, `revoked_seq` the one that revoked it."""

snapshot_parts = sa.Table(
    "snapshot_parts",
    METADATA,
    _key_column("feed"),
    _key_column("bucket", sa.BigInteger),
    _key_column("seq", sa.BigInteger),
    _text_column("path", null=False),
    _text_column("sha256", null=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    _text_column("members", null=False),
    sa.Index("ix_snapshot_parts_seq", "seq"),
)
"""What sealing changed, append-only. A snapshot has the last row of each bucket up to its `sealed_seq`; an empty `path`
means that the bucket has no part. Only changes are written: a year of hourly seals costs one row per change."""

verdicts = sa.Table(
    "verdicts",
    METADATA,
    _key_column("seq", sa.BigInteger),
    _text_column("feed", null=False),
    _text_column("snapshot_id", null=False),
    _time_column("at", null=False),
    _text_column("outcome", null=False),
    _text_column("verdict", null=False),
    _text_column("policy_hash", null=False),
    _text_column("candidate"),
    sa.Index("ix_verdicts_snapshot_id", "snapshot_id"),
)

approvals = sa.Table(
    "approvals",
    METADATA,
    _key_column("seq", sa.BigInteger),
    _text_column("feed", null=False),
    _text_column("snapshot_id", null=False),
    _seq_column("verdict_seq"),
    _text_column("actor", null=False),
    _via_column(),
    _text_column("reason", null=False),
    _time_column("at", null=False),
    _time_column("expires"),
    sa.Index("ix_approvals_verdict_seq", "verdict_seq"),
)

admissions = sa.Table(
    "admissions",
    METADATA,
    _key_column("seq", sa.BigInteger),
    _text_column("feed", null=False),
    _text_column("snapshot_id", null=False),
    _seq_column("verdict_seq"),
    _text_column("envelope", null=False),
    _text_column("digest", null=False),
    _time_column("issued", null=False),
    _time_column("expires", null=False),
    sa.Index("ix_admissions_feed_seq", "feed", "seq"),
    sa.Index("ix_admissions_snapshot_id", "snapshot_id"),
)
"""Signed permissions to train; one is revoked when its snapshot is."""

_IS_CHAMPION = sa.text("status = 'champion'")

models = sa.Table(
    "models",
    METADATA,
    _key_column("model_id"),
    _text_column("feed", null=False),
    _text_column("snapshot_id", null=False),
    _seq_column("admission_seq", null=True),
    _text_column("status", null=False),
    _text_column("path", null=False),
    _text_column("sha256", null=False),
    _text_column("config", null=False),
    _text_column("metrics", null=False),
    _text_column("why"),
    _time_column("made_at", null=False),
    _seq_column(),
    _seq_column("promoted_seq", null=True),
    sa.Index("ix_models_feed_seq", "feed", "seq"),
    sa.Index("ix_models_snapshot_id", "snapshot_id"),
    sa.Index("uq_models_champion", "feed", unique=True, sqlite_where=_IS_CHAMPION, postgresql_where=_IS_CHAMPION),
)
"""`seq` is the event that entered the model, `promoted_seq` the last that made it champion; a feed has one champion."""

outbox = sa.Table(
    "outbox",
    METADATA,
    _key_column("seq", sa.BigInteger),
    _text_column("kind", null=False),
    _text_column("payload", null=False),
    _time_column("due", null=False),
    _count_column("tries"),
    sa.Column("done", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index("ix_outbox_done_due", "done", "due"),
)
"""What has to happen outside the store after a transaction, written in it (`outbox.drain` does it)."""
