"""Recompute what training rests on, and name the first thing that is not as the guard left it.

The chain of events first, then every sealed row, the rows that events name one by one, and the bytes of every lake file
that counts. Rows are read as the driver gives them and in chunks: whatever stands in a cell is a finding, never an
error, and a store of any size is read in little memory.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import sqlalchemy as sa

from poison_guard.results import Result
from poison_guard.store import chain, seals, tables
from poison_guard.store.chain import head
from poison_guard.store.columns import EPOCH, MICROSECOND
from poison_guard.store.engine import Store
from poison_guard.store.mark import mark_fault
from poison_guard.store.raw_cells import decoded_rows, each_row, key_of, sealed_rows, shown
from poison_guard.store.seals import SEALED, SealedTable, raw_rows
from poison_guard.store.writing import Sum

__all__ = ["Anchor", "AuditResult", "Fault", "head", "verify"]

_GENESIS_HASH = "0" * 64
_LOOKED_AT = 8  # groups of a table that differ, to find a row to name
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class AuditResult(Result):
    """What `verify` found; its JSON has these keys."""

    ok: bool
    events: int
    """How many events were read."""
    first_bad: int | None
    """Sequence number of the event that the first bad thing belongs to; None when all is as it was left."""
    why: str
    """One sentence; empty when all is as it was left."""
    table: str = ""
    """Table of the first bad row, ``lake`` for a file, ``manifest``, ``anchor`` or ``mark`` for an anchor."""
    key: str = ""
    """What names the row, file or anchor in it."""
    rows: int = 0
    """How many rows were recomputed."""
    files: int = 0
    """How many lake files were read."""
    note: str = ""
    """What could not be looked at; empty where all was."""

    def __str__(self) -> str:
        if self.ok:
            read = f"{self.events:,} events, {self.rows:,} rows and {self.files:,} lake files are as they were left"
            return f"the audit chain is whole: {read}{self.note and f'; {self.note}'}"
        return f"the audit chain is broken: {self.why}"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is not as the guard left it."""

    event: int
    why: str
    table: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A head of the chain that was kept elsewhere."""

    seq: int
    hash: str
    mac: str
    """Keyed hash over both; empty where the holder did not keep it."""
    where: str
    """What holds it, for the sentence."""
    kind: str = "anchor"


@dataclass(slots=True)
class _Reading:
    """What was read so far."""

    key: bytes
    events: int = 0
    top: str = _GENESIS_HASH
    sealed: dict[int, str] = field(default_factory=dict)
    """Event to the hash over its seals."""
    named: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    """Table and row to the last event that names it, and its hash there."""
    commits: dict[str, int] = field(default_factory=dict)
    """Feed to its last run's event."""
    since: int = 0
    """Event from which on rows and files are recomputed."""
    rows: int = 0
    files: int = 0


def verify(store: Store, *, last_runs: int | None = None, anchors: Sequence[Anchor] = ()) -> AuditResult:
    """Return whether everything that training rests on is as the events left it.

    `last_runs`: recompute only the rows and files written since that many runs ago; the chain is read whole.
    """
    reading = _Reading(store.key)
    with store.read() as conn:
        if conn.dialect.name == "postgresql":
            conn = conn.execution_options(isolation_level="REPEATABLE READ")  # noqa: PLW2901
        with conn.begin():  # one state of the store, whatever is written meanwhile
            fault = _first_fault(store, conn, reading, last_runs, anchors)
    counts = {"events": reading.events, "rows": reading.rows, "files": reading.files}
    if fault is None:
        unmarked = reading.events and store.mark is not None and not store.mark.exists()
        note = f"{store.mark} is missing, so an older copy of the store shows only by a head kept elsewhere"
        return AuditResult(ok=True, first_bad=None, why="", note=note if unmarked else "", **counts)
    return AuditResult(ok=False, first_bad=fault.event, why=fault.why, table=fault.table, key=fault.key, **counts)


def _first_fault(
    store: Store, conn: sa.Connection, reading: _Reading, last_runs: int | None, anchors: Sequence[Anchor]
) -> Fault | None:
    hashes = {anchor.seq: "" for anchor in anchors}
    fault = _chain_fault(conn, reading, hashes, last_runs) or _anchor_fault(conn, store, reading, hashes, anchors)
    if fault is not None:
        return fault
    expected, fault = _read_seals(conn, reading)
    if fault is not None:
        return fault
    for faults in (
        (f for sealed in SEALED.values() for f in _changed_rows(conn, reading, sealed, expected)),
        _changed_named_rows(conn, reading),
        _changed_links(conn, reading),
    ):
        first = min(faults, key=lambda fault: fault.event, default=None)
        if first is not None:
            return first
    return next(_changed_files(store, conn, reading), None)


def _chain_fault(
    conn: sa.Connection, reading: _Reading, anchored: dict[int, str], last_runs: int | None
) -> Fault | None:
    """Return the first event that does not follow the one before it; note what later checks need of the others."""
    commits: list[int] = []
    for event in each_row(conn, tables.events, order="seq"):
        number = reading.events + 1
        why = _event_fault(reading.key, event, reading.top, number)
        if why:
            return Fault(number, why, "events", str(number))
        reading.events, reading.top = number, event["hash"]
        _note_event(reading, event)
        if number in anchored:
            anchored[number] = event["hash"]
        if event["kind"] == "run.committed":
            commits.append(number)
    if last_runs is not None:
        reading.since = commits[-last_runs] if 0 < last_runs <= len(commits) else 0 if last_runs else reading.events + 1
    if not _head_fits(conn, reading):
        why = f"the chain ends after event {reading.events}, but its head says otherwise"
        return Fault(reading.events + 1, why, "chain", "1")
    return None


def _note_event(reading: _Reading, event: Mapping[str, Any]) -> None:
    body, seq = json.loads(event["body"]), event["seq"]
    if "seals" in body:
        reading.sealed[seq] = body["seals"]
    for table, rows in body.get("rows", {}).items():
        reading.named |= {(table, row_id): (seq, digest) for row_id, digest in rows.items()}
    if event["kind"] == "run.committed":
        reading.commits[event["feed"]] = seq


def _event_fault(key: bytes, event: dict[str, Any], prev: str, number: int) -> str:
    if event["seq"] != number:
        return f"event {number} is missing"
    if event["prev"] != prev:
        return f"event {number} does not follow the one before it"
    changed = f"event {number} was changed after it was written, or the key is another one"
    if not isinstance(event["at"], int) or not isinstance(event["hash"], str):
        return changed
    try:
        at = EPOCH + event["at"] * MICROSECOND
        expected = chain.event_hash(key, {**event, "at": at})
    except (TypeError, ValueError, OverflowError):
        return changed
    return "" if hmac.compare_digest(expected.encode(), event["hash"].encode("utf-8", "replace")) else changed


def _head_fits(conn: sa.Connection, reading: _Reading) -> bool:
    rows = [*each_row(conn, tables.chain)]
    if len(rows) != 1:
        return False
    seq, top = rows[0]["seq"], rows[0]["hash"]
    if seq != reading.events or top != reading.top or not re.fullmatch("[0-9a-f]{64}", str(rows[0]["secret"])):
        return False
    return seq == 0 or chain.head_mac(reading.key, seq, top) == rows[0]["mac"]


def _anchor_fault(
    conn: sa.Connection, store: Store, reading: _Reading, hashes: Mapping[int, str], anchors: Sequence[Anchor]
) -> Fault | None:
    why = mark_fault(store.mark, conn)
    if why:
        return Fault(reading.events + 1, why, "mark", str(store.mark))
    for anchor in sorted(anchors, key=lambda each: each.seq):
        found = _GENESIS_HASH if anchor.seq == 0 else hashes[anchor.seq]
        if anchor.mac and anchor.mac != chain.head_mac(reading.key, anchor.seq, anchor.hash):
            why = f"{anchor.where} was not made with the key of this store"
            return Fault(min(anchor.seq, reading.events + 1), why, anchor.kind, anchor.where)
        if found != anchor.hash:
            what = f"{anchor.where} says that event {anchor.seq} has the hash {anchor.hash[:16]}…"
            why = f"{what}, {f'not {found[:16]}…' if found else f'but the chain ends after event {reading.events}'}"
            return Fault(min(anchor.seq, reading.events + 1), why, anchor.kind, anchor.where)
    return None


_Expected = dict[tuple[str, int], tuple[Sum, int, str]]
"""Table and group to what its rows add up to, the event that says so, and the salt."""


def _read_seals(conn: sa.Connection, reading: _Reading) -> tuple[_Expected, Fault | None]:
    """Return what the rows of each group must add up to; a fault where the seals of an event are not its own."""
    expected, waiting = _Expected(), dict(reading.sealed)
    every = each_row(conn, tables.seals, order="seq", omit=("tags",))
    for seq, rows in groupby(every, key=lambda row: row["seq"]):
        lines = [tuple(row[name] for name in ("tbl", "grp", "n", "total", "salt")) for row in rows]
        digest = waiting.pop(seq, None) if isinstance(seq, int) else None
        if digest is None or seals.digest_of(reading.key, seq, (line[:4] for line in lines)) != digest:
            event = seq if isinstance(seq, int) and 0 < seq <= reading.events else reading.events + 1
            why = f"the seals of event {shown(seq)} were changed afterwards"
            return expected, Fault(event, why, "seals", shown(seq))
        for table, group, n, total, salt in lines:
            known = expected.get((table, group))
            kept = salt if salt is not None or known is None else known[2]
            expected[table, group] = (Sum(n, int(total, 16)), seq, str(kept or ""))
    if waiting:
        first = min(waiting)
        return expected, Fault(first, f"the seals of event {first} are gone", "seals", str(first))
    return expected, None


def _changed_rows(conn: sa.Connection, reading: _Reading, sealed: SealedTable, expected: _Expected) -> Iterator[Fault]:
    """Yield the first group of a table that is not as it was sealed, with the first row that can be named."""
    name = sealed.name
    wanted = {group: value for (table, group), value in expected.items() if table == name and group >= reading.since}
    actual: dict[int, Sum] = {}
    foreign: Fault | None = None
    for rows in sealed_rows(conn, sealed, reading.since):
        by_group = dict[int, list[tuple[Any, ...]]]()
        for group, *row in rows:
            if isinstance(group, int) and group in wanted:
                by_group.setdefault(group, []).append(tuple(row))
            elif group is not None or not _is_open(sealed, row):
                foreign = foreign or _foreign_fault(reading, sealed, group, row)
        for group, some in by_group.items():
            reading.rows += len(some)
            hashes = seals.hashes_of(reading.key, name, wanted[group][2], some)
            actual[group] = actual.get(group, Sum()) + seals.add_up(hashes)
    bad = sorted(group for group, value in wanted.items() if actual.get(group, Sum()) != value[0])
    faults = [
        _group_fault(conn, reading, sealed, group, wanted[group], actual.get(group, Sum()))
        for group in bad[:_LOOKED_AT]
    ]
    yield from [fault for fault in (*faults, foreign) if fault is not None and fault.key][:1] or faults[:1]


def _is_open(sealed: SealedTable, row: Sequence[Any]) -> bool:
    """Whether a row without an event is a run that was begun and not committed: no event stands for it yet."""
    return sealed.name == "runs" and row[sealed.columns.index("status")] == "open"


def _foreign_fault(reading: _Reading, sealed: SealedTable, group: Any, row: Sequence[Any]) -> Fault:
    key = key_of(sealed, row)
    event = group if isinstance(group, int) and 0 < group <= reading.events else reading.events + 1
    why = f"the row {key} of {sealed.name} stands under event {shown(group)}, which wrote no such row"
    return Fault(event, why, sealed.name, key)


def _group_fault(
    conn: sa.Connection, reading: _Reading, sealed: SealedTable, group: int, value: tuple[Sum, int, str], actual: Sum
) -> Fault:
    """Return which rows of a group differ, by the beginnings of their hashes as they were sealed."""
    name, (expected, _, salt) = sealed.name, value
    tags = _tags(conn, name, group)
    for rows in decoded_rows(conn, lambda: raw_rows(conn, sealed, f"{sealed.group} = ?", (group,))):
        hashes = seals.hashes_of(reading.key, name, salt, (tuple(row[1:]) for row in rows))
        heads = np.frombuffer(b"".join(each[: seals.TAG_BYTES] for each in hashes), dtype="<u8")
        odd = np.flatnonzero(~np.isin(heads, tags))
        if len(odd):
            key = key_of(sealed, rows[odd[0]][1:])
            why = f"the row {key} of {name} is not as event {group} left it"
            return Fault(group, why, name, key)
    change = actual.n - expected.n
    rows = f"{abs(change):,} {'row' if abs(change) == 1 else 'rows'} of {name}"
    if change < 0:
        key = _missing_record(conn, group) if sealed is SEALED["records"] else ""
        return Fault(
            group, f"{rows} that event {group} wrote are gone{f', {key} among them' if key else ''}", name, key
        )
    if change > 0:
        return Fault(group, f"{rows} were added to those that event {group} wrote", name)
    return Fault(group, f"rows of {name} that event {group} wrote were changed afterwards", name)


def _missing_record(conn: sa.Connection, group: int) -> str:
    """Return a record that the moves or the evidence of an event speak of, and that is not there; empty for none."""
    r = tables.records.c
    for table in (tables.moves, tables.evidence):
        c = table.c
        there = sa.exists().where(r.feed == c.feed, r.record_id == c.record_id)
        row = conn.execute(sa.select(c.feed, c.record_id).where(c.seq == group, ~there).limit(1)).first()
        if row is not None:
            return f"{shown(row.feed)}/{shown(row.record_id)}"
    return ""


def _tags(conn: sa.Connection, table: str, group: int) -> np.ndarray:
    c = tables.seals.c
    query = sa.select(c.tags).where(c.tbl == table, c.grp == group, c.tags.is_not(None))
    parts = [bytes(tags) for tags in conn.execute(query).scalars() if isinstance(tags, bytes | memoryview)]
    whole = b"".join(part[: len(part) // seals.TAG_BYTES * seals.TAG_BYTES] for part in parts)
    return np.frombuffer(whole, dtype="<u8")


def _changed_named_rows(conn: sa.Connection, reading: _Reading) -> Iterator[Fault]:
    """Yield the rows of the small tables that are not as the last event that names them left them."""
    named = {key: value for key, value in reading.named.items() if value[0] >= reading.since}
    for name, table in chain.NAMED.items():
        columns = [column.name for column in table.columns]
        for rows in decoded_rows(conn, lambda table=table: chain.raw_named_rows(conn, table)):
            for first, *row in rows:
                reading.rows += 1
                seq, digest = named.pop((name, str(first)), (None, ""))
                if seq is not None and seals.row_hash(reading.key, name, row) != digest:
                    why = f"the row {shown(first)} of {name} is not as event {seq} left it"
                    yield Fault(seq, why, name, shown(first))
                elif (
                    seq is None and (name, str(first)) not in reading.named and not _may_be_unnamed(name, columns, row)
                ):
                    why = f"no event speaks of the row {shown(first)} of {name}"
                    yield Fault(reading.events + 1, why, name, shown(first))
    for (name, row_id), (seq, _) in named.items():
        yield Fault(seq, f"the row {shown(row_id)} of {name} that event {seq} wrote is gone", name, shown(row_id))


def _may_be_unnamed(table: str, columns: Sequence[str], row: Sequence[Any]) -> bool:
    """Whether a row may stand without an event: a feed without runs, and a policy under its own hash."""
    values = dict(zip(columns, row, strict=True))
    if table == "feeds":
        return values["last_seq"] == 0
    if table != "policies":
        return False
    try:
        text = json.dumps(json.loads(values["body"]), sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        return False
    return hashlib.sha256(text.encode()).hexdigest() == values["hash"]


def _changed_links(conn: sa.Connection, reading: _Reading) -> Iterator[Fault]:
    """Yield what follows from other rows and does not: the last run of a feed, and which review undid which."""
    found = {row["name"]: row["last_seq"] for row in each_row(conn, tables.feeds)}
    for feed, seq in reading.commits.items():
        if found.get(feed) != seq:
            yield Fault(seq, f"the row {shown(feed)} of feeds does not tell its last run", "feeds", shown(feed))
    undone: dict[Any, Any] = {}
    marked: dict[Any, Any] = {}
    for row in each_row(conn, tables.reviews):
        if row["undoes"] is not None:
            undone[row["undoes"]] = row["seq"]
        if row["undone_by"] is not None:
            marked[row["seq"]] = row["undone_by"]
    for seq in sorted({*undone, *marked}, key=str):
        if undone.get(seq) != marked.get(seq):
            event = seq if isinstance(seq, int) else reading.events + 1
            yield Fault(event, f"the row {shown(seq)} of reviews does not tell what undid it", "reviews", shown(seq))


def _changed_files(store: Store, conn: sa.Connection, reading: _Reading) -> Iterator[Fault]:
    """Yield the lake files that are gone, or hold other bytes than were written."""
    for row in each_row(conn, tables.manifests, order="seq"):
        path, seq = row["path"], row["seq"]
        if seq < reading.since:
            continue
        reading.files += 1
        found = store.lake.sha256(path)
        if found != row["sha256"]:
            what = "is missing from the lake" if found is None else "in the lake is not the file that was written"
            yield Fault(seq, f"{shown(path)}, written by event {seq}, {what}", "lake", shown(path))
