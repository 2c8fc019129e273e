"""The tables of the queue: what waits for a person, its full-text index, and how many wait of what."""

from __future__ import annotations

import sqlalchemy as sa

from poison_guard.store.columns import (
    counts,
    floats,
    indexes,
    keys,
    numbers,
    numbers_or_none,
    part_index,
    table,
    texts,
    texts_or_none,
    times,
    times_or_none,
)

QUEUE_FACETS = ("campaign_id", "source_id", "item_id", "reason", "label", "day")
"""Columns of the queue that groups are made by."""


def _open_index(name: str) -> sa.Index:
    """Return an index over the entries that wait, in the order in which they are listed, perhaps of one facet."""
    of_facet = name not in ("risk", "created_at")
    waits = f"state = 'open' AND {name} IS NOT NULL" if of_facet else "state = 'open'"
    order = "created_at" if name == "created_at" else sa.text("risk DESC")
    columns = (name, order) if of_facet else (order,)
    days = ("day",) if name == "risk" else ()  # what is filtered by both is counted in the index
    return part_index("feed", *columns, "record_id", *days, where=waits, name=f"ix_queue_open_{name}")


_TEXT_IN = "INSERT INTO queue_text(rowid, preview) VALUES (new.entry_id, new.preview)"
_TEXT_OUT = "INSERT INTO queue_text(queue_text, rowid, preview) VALUES ('delete', old.entry_id, old.preview)"
"""What the full-text index of SQLite is told when the beginning of a payload comes or goes (SQLite, FTS5 4.4.3)."""

queue = table(
    "queue",
    sa.Column("entry_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    texts("feed", "record_id", "kind", "state"),
    floats("risk"),
    times("created_at"),
    numbers("opened_seq"),
    numbers_or_none("decided_seq"),
    texts_or_none("claimed_by", "token"),
    times_or_none("lease_until"),
    numbers("changed_seq"),
    texts_or_none(*QUEUE_FACETS, "author_id", "group", "run_id", "signal", "preview"),
    sa.UniqueConstraint("feed", "record_id"),
    indexes("changed_seq", "decided_seq"),
    part_index("feed", "token", where="token IS NOT NULL"),  # a whole one would be taken to count what expired
    part_index("feed", where="state = 'expired'", name="ix_queue_expired"),
    (_open_index(name) for name in ("risk", "created_at", *QUEUE_FACETS, "author_id")),
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

queue_counts = table(
    "queue_counts", keys("feed", "facet", "value"), counts("n"), times_or_none("since"), indexes(("feed", "facet", "n"))
)
"""How many open entries have each value of a facet (`all`: every one), kept with each change of the queue: a million of
them are too many to count for a page. `since` is when the first of them came."""
