"""The tables of the store, in SQLAlchemy Core.

Times are microseconds since 1970 UTC, JSON is text. Whoever changes a table before the first release raises
`STORE_FORMAT`; after it, a migration takes stored data along.
"""

from __future__ import annotations

import sqlalchemy as sa

from poison_guard.store.columns import (
    METADATA,  # noqa: F401  that of all tables, once they are here
    counts,
    flags,
    flags_off,
    floats,
    indexes,
    keys,
    number_keys,
    numbers,
    numbers_or_none,
    part_index,
    signs,
    table,
    texts,
    texts_or_none,
    times,
    times_or_none,
)
from poison_guard.store.queue_tables import QUEUE_FACETS, queue, queue_counts  # noqa: F401  tables as the others

STORE_FORMAT = 7
"""Number of the tables and of what their cells mean; a store of another number is not opened."""


store_format = table("store", number_keys("format"), texts("id"))
"""One row: the `STORE_FORMAT` that the store was made with, and the id by which its lake knows it."""

feeds = table("feeds", keys("name"), counts("last_seq"), times("created_at"))
"""`last_seq` is the sequence number of the feed's last committed run: what a commit compares its pin with."""

schemas = table("schemas", keys("feed"), number_keys("seq"), texts_or_none("run_id"), texts("body"))
"""Payload schemas a feed was accepted with, append-only."""

policies = table("policies", keys("hash"), texts("body"), times("at"))

runs = table(
    "runs",
    keys("run_id"),
    texts("feed", "batch_id", "status"),
    numbers("state_version"),
    numbers_or_none("commit_seq"),
    times("received_at", "started_at"),
    times_or_none("finished_at"),
    texts("policy_hash", "schema", "objects", "counts", "cost", "measurements", "notes"),
    sa.UniqueConstraint("feed", "batch_id"),
    indexes(("feed", "started_at"), "commit_seq"),
)

objects = table(
    "objects",
    keys("feed", "digest"),
    texts("uri"),
    counts("size", "rows"),
    texts_or_none("watermark", "trail"),
    texts("run_id"),
    numbers("seq"),
    indexes("seq"),
)
"""What a feed took in. `trail` is what is kept of an object's rows without ids (`ingest.continuation`)."""

manifests = table(
    "manifests",
    number_keys("file_id"),
    texts("feed"),
    texts_or_none("run_id"),
    texts("lane"),
    sa.Column("path", sa.Text, nullable=False, unique=True),
    counts("rows", "size"),
    texts("sha256"),
    numbers("seq"),
    indexes(("feed", "lane"), "seq"),
)
"""Lake files that count: a file without a row here is not there."""

records = table(
    "records",
    keys("feed", "record_id"),
    texts("run_id"),
    numbers("seq"),
    texts("content_hash", "place", "action"),
    floats("risk"),
    texts_or_none("reasons", "source_id", "author_id", "item_id", "answer", "group", "campaign_id"),
    times_or_none("observed_at", "source_since"),
    times("received_at"),
    numbers("file_id"),
    flags("readable"),
    signs("verdict", default="0"),
    numbers("changed_seq"),
    indexes(("feed", "place"), ("feed", "content_hash"), "run_id", ("feed", "seq"), "changed_seq"),
    part_index("feed", "item_id", where="item_id IS NOT NULL"),
    (part_index("feed", name, "seq", "record_id", where=f"{name} IS NOT NULL") for name in ("source_id", "author_id")),
    part_index(
        *("feed", "campaign_id", sa.text("risk DESC"), "record_id"),
        where="campaign_id IS NOT NULL",
        name="ix_records_riskiest_of_campaign",
    ),
)
"""One row per record, in its one place. `seq` is when it was first stored, `changed_seq` the last event that wrote the
row (`seals` go by it), `file_id` where its payload lies. `action, risk, reasons` (a JSON list
of codes; none: no reason) and `campaign_id` are the decision; `verdict` is a reviewer's: 1 right, -1 wrong, 0 none."""

moves = table(
    "moves",
    keys("feed", "record_id"),
    number_keys("seq"),
    texts("from_place", "to_place", "from_hash"),
    numbers("from_file"),
    signs("from_verdict", "to_verdict"),
    indexes("seq"),
)
"""Every change of place after the first, append-only: what undo and "as of" read."""

evidence = table(
    "evidence",
    texts("feed", "record_id", "run_id", "signal", "level"),
    floats("p"),
    texts("code", "args"),
    numbers("seq"),
    indexes(("feed", "record_id"), "seq", "run_id"),
)

campaigns = table(
    "campaigns",
    keys("feed", "campaign_id"),
    texts("run_id"),
    numbers("seq"),
    texts("kind"),
    floats("p", "strength"),
    counts("n_records", "n_sources"),
    times_or_none("first_at", "last_at"),
    texts("code", "args"),
    indexes("seq"),
)
"""Members are the records that carry the `campaign_id`."""

items = table(
    "items",
    keys("feed", "item_id"),
    number_keys("seq"),
    texts_or_none("label"),
    floats("probability"),
    flags("adopted"),
    texts("why"),
    indexes(("feed", "seq"), "seq"),
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

ledger = table(
    "ledger",
    keys("namespace", "source_id"),
    number_keys("seq"),
    texts("feed"),
    times("first_seen"),
    floats(*LEDGER_COUNTS, default="0"),
    indexes("seq"),
)
"""What each source did, as append-only deltas; the state as of a version is their sum up to it."""

nonces = table(
    "nonces",
    keys("feed", "nonce"),
    texts("record_id"),
    times_or_none("sent_at"),
    numbers("seq"),
    indexes(("feed", "sent_at")),
)
"""The nonces of signed records, and the record that each came with first; both as hashes."""


verified = table(
    "verified",
    keys("feed", "record_id", "kind"),
    number_keys("seq"),
    texts("namespace"),
    texts_or_none("source_id"),
    times("given_at"),
    times_or_none("visible_at"),
    signs("verdict"),
    indexes(("namespace", "source_id"), "seq"),
)
"""What showed a record to be right (1) or wrong (-1), append-only; of each record and `kind` (``control``, ``review``,
``outcome``) the row with the highest `seq` holds, and 0 takes back what was said or gives no credit. `given_at` orders
a source's answers; an outcome is known to all from `visible_at`, and may name a record that never came."""

trusted = table(
    "trusted",
    keys("feed", "record_id"),
    texts("content_hash", "split"),
    numbers("file_id"),
    flags("reviewed"),
    numbers("seq"),
    indexes(("feed", "content_hash"), "seq"),
)

jobs = table(
    "jobs",
    keys("job_id"),
    texts("feed", "state"),
    texts_or_none("verb", "actor", "via", "reason"),
    texts("filters"),
    sa.Column("ids", sa.LargeBinary),
    texts("digest"),
    numbers("version"),
    counts("total", "done", "decided", "left"),
    numbers_or_none("event"),
    times("at"),
    texts_or_none("fault"),
    indexes(("feed", "at")),
)
"""Decisions about a frozen set of records (`ids`, compressed; `digest` of them), as of `version`: `state` is frozen,
running, done, cancelled or undone. `done` of `total` were gone through; `event` is what `undo` takes."""

users = table(
    "users", keys("name"), texts("password", "roles"), flags_off("disabled"), times("made_at"), texts("made_by")
)
"""People who sign in: `password` is a salted argon2id hash, `roles` JSON of feed (``*``: all) to role."""

sessions = table("sessions", keys("session_id"), texts("name", "via"), times("at", "expires"), indexes("name"))
"""Sign-ins that hold; the id is a hash of the secret in the signed token, and a row that goes revokes it."""

sign_ins = table("sign_ins", number_keys("seq"), texts("name"), times("at"), indexes(("name", "at")))
"""Sign-ins that failed lately, to throttle by."""

source_rules = table(
    "source_rules",
    number_keys("seq"),
    texts("feed", "source_id", "verb"),
    times_or_none("expires"),
    indexes(("feed", "source_id")),
)
"""Rules about a source that lapse: `verb` is block or allow, `seq` the event that made it; a decision ``end_rule`` ends
it."""

views = table("views", keys("feed", "name"), texts("params", "made_by"), times("at"))
"""Filters of the queue that people saved under a name."""

checks = table(
    "checks",
    keys("feed", "record_id", "kind", "reviewer"),
    texts_or_none("expected", "first_by", "answer"),
    times_or_none("at"),
    numbers_or_none("seq"),
    indexes(("feed", "reviewer")),
)
"""Records that a reviewer is asked about to measure agreement: `kind` is ``second`` (a colleague decided it, and the
reviewer is not told) or ``known`` (the answer is known). `reviewer` is empty while anybody but `first_by` may take it.
The answer moves no record."""

reviews = table(
    "reviews",
    number_keys("seq"),
    texts("feed", "verb", "actor", "reason"),
    times("at"),
    counts("n"),
    texts("selector"),
    numbers_or_none("undoes", "undone_by"),
    texts("via", default="unverified"),
    texts_or_none("job"),
    indexes(("feed", "at"), "job"),
)
"""What people decided, by whom and why; the audit chain holds a keyed hash of the reason. `via` says how the name was
verified (session, token, airflow, proxy or unverified); `job` is the bulk decision that it is a part of."""

events = table(
    "events",
    number_keys("seq"),
    times("at"),
    texts("kind"),
    texts_or_none("feed", "run_id", "actor"),
    texts("body", "prev", "hash"),
)
"""The audit chain; `seq` is the sequence number of the whole store, that is, the state version."""

chain = table("chain", number_keys("id"), numbers("seq"), texts("hash", "mac", "secret"))
"""One row: the head of the audit chain, and the lock that every writer takes. `secret` makes the salts of `seals`;
erasing replaces it."""

seals = table(
    "seals",
    number_keys("seq"),
    keys("tbl"),
    number_keys("grp"),
    counts("n"),
    texts("total"),
    texts_or_none("salt"),
    sa.Column("tags", sa.LargeBinary),
    indexes(("tbl", "grp", "seq")),
)
"""What the audit compares rows with: as of event `seq`, table `tbl` has `n` rows last written by event `grp`, and their
keyed hashes add up to `total`. `salt` goes into each hash, until an erasure destroys it; `tags` are the beginnings of
the hashes, to name the row that differs. The event holds one keyed hash over its seals."""

snapshots = table(
    "snapshots",
    keys("snapshot_id"),
    texts("feed"),
    numbers("seq", "sealed_seq"),
    times("sealed_at"),
    texts("hash", "counts"),
    texts_or_none("previous"),
    numbers_or_none("revoked_seq"),
    texts_or_none("revoked_why"),
    indexes(("feed", "sealed_seq")),
)
"""`seq` is the state that was sealed, `sealed_seq` the event that sealed it, `revoked_seq` the one that revoked it."""

snapshot_parts = table(
    "snapshot_parts",
    keys("feed"),
    number_keys("bucket", "seq"),
    texts("path", "sha256"),
    numbers("size", "rows"),
    texts("members"),
    indexes("seq"),
)
"""What sealing changed, append-only. A snapshot has the last row of each bucket up to its `sealed_seq`; an empty `path`
means that the bucket has no part. Only changes are written: a year of hourly seals costs one row per change."""

verdicts = table(
    "verdicts",
    number_keys("seq"),
    texts("feed", "snapshot_id"),
    times("at"),
    texts("outcome", "verdict", "policy_hash"),
    texts_or_none("candidate"),
    indexes("snapshot_id"),
)

approvals = table(
    "approvals",
    number_keys("seq"),
    texts("feed", "snapshot_id"),
    numbers("verdict_seq"),
    texts("actor"),
    texts("via", default="unverified"),
    texts("reason"),
    times("at"),
    times_or_none("expires"),
    indexes("verdict_seq"),
)

admissions = table(
    "admissions",
    number_keys("seq"),
    texts("feed", "snapshot_id"),
    numbers("verdict_seq"),
    texts("envelope", "digest"),
    times("issued", "expires"),
    indexes(("feed", "seq"), "snapshot_id"),
)
"""Signed permissions to train; one is revoked when its snapshot is."""

models = table(
    "models",
    keys("model_id"),
    texts("feed", "snapshot_id"),
    numbers_or_none("admission_seq"),
    texts("status", "path", "sha256", "config", "metrics"),
    texts_or_none("why"),
    times("made_at"),
    numbers("seq"),
    numbers_or_none("promoted_seq"),
    indexes(("feed", "seq"), "snapshot_id"),
    part_index("feed", where="status = 'champion'", name="uq_models_champion", unique=True),
)
"""`seq` is the event that entered the model, `promoted_seq` the last that made it champion; a feed has one champion."""

outbox = table(
    "outbox",
    number_keys("seq"),
    texts("kind", "payload"),
    times("due"),
    counts("tries"),
    flags_off("done"),
    indexes(("done", "due")),
)
"""What has to happen outside the store after a transaction, written in it (`outbox.drain` does it)."""
