"""Events of sealing, gate and retraining: each holds keyed hashes of the rows it wrote, to check them by."""

from __future__ import annotations

import datetime as dt
import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from poison_guard.errors import TamperError
from poison_guard.store import chain, tables, tables_gate

__all__ = ["check_untouched", "first_fault", "item_digest", "note", "part_digest"]

_TABLES: Mapping[str, tuple[sa.Table, sa.Column[Any]]] = {
    table.name: (table, next(iter(table.primary_key.columns)))
    for table in (
        tables_gate.snapshots,
        tables_gate.verdicts,
        tables_gate.approvals,
        tables_gate.admissions,
        tables_gate.models,
    )
}
_SEALED = "snapshot.sealed"


def note(
    conn: sa.Connection,
    key: bytes,
    *,
    kind: str,
    at: dt.datetime,
    feed: str,
    table: sa.Table,
    ids: Sequence[str | int],
    body: Mapping[str, Any] | None = None,
    actor: str | None = None,
) -> int:
    """Append the event of rows that this transaction wrote, with their hashes as they are now; return its number."""
    name = _TABLES[table.name][1]
    rows = {str(row[name.name]): _row_hash(key, table.name, row) for row in _rows(conn, table, ids)}
    whole = {**(body or {}), "rows": {table.name: rows}}
    return chain.append(conn, key, kind=kind, at=at, body=whole, feed=feed, actor=actor)


def check_untouched(conn: sa.Connection, key: bytes, *, feed: str, table: sa.Table, ids: Sequence[str | int]) -> None:
    """Raise `TamperError` when a row is not as the last event that wrote it left it.

    Asked before a row is built upon, so that no later event can seal what somebody wrote past the guard.
    """
    wanted = {str(row[_TABLES[table.name][1].name]): row for row in _rows(conn, table, ids)}
    e = tables.events.c
    pattern = f'%"{table.name}":{{%'
    query = sa.select(e.body).where(e.feed == feed, e.body.like(pattern)).order_by(e.seq.desc())
    for (body,) in conn.execute(query):
        if not wanted:
            return
        told = json.loads(body).get("rows", {}).get(table.name, {})
        for row_id in [name for name in wanted if name in told]:
            if told[row_id] != _row_hash(key, table.name, wanted.pop(row_id)):
                raise TamperError(
                    f"{row_id} in the table {table.name} was changed past the guard; run `poison-guard audit verify`"
                )
    if wanted:
        raise TamperError(f"no event speaks of {min(wanted)} in the table {table.name}; it was written past the guard")


def first_fault(conn: sa.Connection, key: bytes, events: Sequence[Mapping[str, Any]]) -> tuple[int, str] | None:
    """Return the first event whose rows are not as it left them, with one sentence; None when all are.

    `events` are all rows of the events table by number; their own chain is `audit.verify`'s to check.
    """
    faults = [*_changed(conn, key, events), *_changed_seals(conn, key, events)]
    return min(faults, default=None)


def part_digest(key: bytes, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return one hash over rows of `snapshot_parts`, whatever their order."""
    names = ("home", "path", "sha256", "size", "rows", "members")
    return chain.digest(key, (tuple(str(row[name]) for name in names) for row in rows))


def item_digest(conn: sa.Connection, key: bytes, feed: str, seq: int) -> str:
    """Return one hash over the label rows that event `seq` wrote."""
    c = tables.items.c
    query = sa.select(c.item_id, c.label, c.probability, c.adopted, c.why).where(c.feed == feed, c.seq == seq)
    rows = ((name, json.dumps([label, f"{p:.9g}", bool(yes), why])) for name, label, p, yes, why in conn.execute(query))
    return chain.digest(key, rows)


def _rows(conn: sa.Connection, table: sa.Table, ids: Sequence[str | int]) -> Iterator[dict[str, Any]]:
    column = _TABLES[table.name][1]
    for start in range(0, len(ids), 500):
        for row in conn.execute(sa.select(table).where(column.in_(list(ids[start : start + 500])))):
            yield row._asdict()


def _row_hash(key: bytes, table: str, row: Mapping[str, Any]) -> str:
    plain = {name: value.isoformat() if isinstance(value, dt.datetime) else value for name, value in row.items()}
    text = json.dumps([table, plain], sort_keys=True, separators=(",", ":"))
    return hmac.digest(key, b"row\0" + text.encode("utf-8", "surrogatepass"), "sha256").hex()[:32]


def _changed(conn: sa.Connection, key: bytes, events: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, str]]:
    told: dict[tuple[str, str], tuple[int, str]] = {}
    for event in events:
        for table, rows in json.loads(event["body"]).get("rows", {}).items():
            told |= {(table, row_id): (event["seq"], digest) for row_id, digest in rows.items()}
    for name, (table, column) in _TABLES.items():
        for row in conn.execute(sa.select(table)):
            values = row._asdict()
            row_id = str(values[column.name])
            seq, digest = told.pop((name, row_id), (len(events) + 1, ""))
            if digest != _row_hash(key, name, values):
                yield seq, f"the row {row_id} of {name} is not as event {seq} left it"
    yield from (
        (seq, f"the row {row_id} of {name} that event {seq} wrote is gone") for (name, row_id), (seq, _) in told.items()
    )


def _changed_seals(conn: sa.Connection, key: bytes, events: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, str]]:
    sealed = {event["seq"]: event for event in events if event["kind"] == _SEALED}
    c = tables_gate.snapshot_parts.c
    rows = (row._asdict() for row in conn.execute(sa.select(tables_gate.snapshot_parts).order_by(c.seq)))
    parts = {seq: part_digest(key, list(group)) for seq, group in groupby(rows, key=lambda row: row["seq"])}
    none = part_digest(key, [])
    for seq in sorted({*sealed, *parts}):
        event = sealed.get(seq)
        if event is None:
            yield seq, f"event {seq} sealed nothing, but there are parts of a snapshot under its number"
            continue
        body = json.loads(event["body"])
        if body["parts"] != parts.get(seq, none):
            yield seq, f"the parts that event {seq} sealed were changed afterwards"
        if body["items"] != item_digest(conn, key, event["feed"], seq):
            yield seq, f"the labels that event {seq} settled were changed afterwards"
