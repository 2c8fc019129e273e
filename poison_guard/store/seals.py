"""Seal the rows that an event wrote: keyed hashes that the audit recomputes to find what was changed past the guard.

Every sealed table tells which event wrote a row last. When an event is appended, its rows are read back and hashed,
each with the key and the salt of its group; a row of `seals` keeps how many there are and what their hashes add up to,
and the event keeps one hash over its seals. Whoever is about to change rows that an earlier event wrote calls `take`
first: then they leave that event's group, and the new event seals them as they are then. So rows that were edited,
removed, added, put under another event or put back to an older version do not add up any more.

References:
    Bellare, Micciancio, "A new paradigm for collision-free hashing: incrementality at reduced cost" (1997): sums of
    hashes over sets; here the hashes are keyed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from poison_guard.store import bulk, tables
from poison_guard.store.tables import seals
from poison_guard.store.writing import Seal, Seqs, Sum, head_of, writing_of

__all__ = [
    "SEALED",
    "SealedTable",
    "digest_of",
    "hashes_of",
    "raw_rows",
    "reseal_group",
    "rotate_secret",
    "row_hash",
    "seal_rows",
    "take",
]

_HASH_BYTES = 16
TAG_BYTES = 8
_CHUNK = 20_000


@dataclass(frozen=True)
class SealedTable:
    """How the rows of a table are sealed."""

    table: sa.Table
    group: str = "seq"
    """SQL: the event that wrote a row last; NULL for rows that no event stands for yet."""
    key: tuple[str, ...] = ("feed", "record_id")
    """Columns to name a row by."""
    omit: tuple[str, ...] = ()
    """Columns that change without an event, or follow from other rows."""

    @property
    def name(self) -> str:
        """Name of the table."""
        return self.table.name

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that are hashed, in their order."""
        return tuple(column.name for column in self.table.columns if column.name not in self.omit)

    @cached_property
    def select(self) -> str:
        """SQL: the event of each row, then its hashed columns."""
        return f"SELECT {self.group}, {bulk.quoted(self.columns)} FROM {self.name}"


SEALED = {
    sealed.name: sealed
    for sealed in (
        SealedTable(tables.records, group="changed_seq"),
        SealedTable(tables.moves, key=("feed", "record_id", "seq")),
        SealedTable(tables.items, key=("feed", "item_id", "seq")),
        SealedTable(tables.ledger, key=("namespace", "source_id", "seq")),
        SealedTable(tables.verified, key=("feed", "record_id", "kind", "seq")),
        SealedTable(tables.trusted),
        SealedTable(tables.manifests, key=("file_id", "path")),
        SealedTable(tables.evidence, key=("feed", "record_id", "signal", "code")),
        SealedTable(
            tables.queue,
            group="changed_seq",
            omit=("entry_id", "claimed_by", "token", "lease_until", "preview"),
        ),
        SealedTable(tables.campaigns, key=("feed", "campaign_id")),
        SealedTable(tables.objects, key=("feed", "digest")),
        SealedTable(tables.schemas, key=("feed", "seq")),
        SealedTable(tables.runs, group="commit_seq", key=("run_id",)),
        SealedTable(tables.reviews, key=("seq",), omit=("undone_by",)),
        SealedTable(tables.source_rules, key=("seq",)),
        SealedTable(tables.snapshot_parts, key=("feed", "bucket", "seq")),
        SealedTable(tables.nonces, key=("feed", "nonce")),
    )
}
"""The tables whose rows are sealed in groups, in the order in which they are compared."""


def raw_rows(
    conn: sa.Connection, sealed: SealedTable, where: str = "", values: Sequence[Any] = (), *, few: bool = False
) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the rows of a table in chunks, as the driver reads them: the event of each, then its hashed columns.

    `where` is SQL with ``?`` for the `values`; `few`: they are at most a chunk.
    """
    query = f"{sealed.select} WHERE {where}" if where else sealed.select
    if conn.dialect.name == "postgresql":
        name = f"guard_{sealed.name}"
        cursor = conn.connection.cursor() if few else conn.connection.cursor(name)  # on the server: rows come in chunks
        query = query.replace("?", "%s")
    else:
        cursor = conn.connection.cursor()
    try:
        cursor.execute(query, tuple(values))
        while rows := cursor.fetchmany(_CHUNK):
            yield list(rows)
    finally:
        cursor.close()


def hashes_of(key: bytes, table: str, salt: str, rows: Iterable[tuple[Any, ...]]) -> list[bytes]:
    """Return the keyed hash of each row (hashed columns alone); `ascii` writes cells the same way in every version."""
    secret = hashlib.blake2b(f"row\0{table}\0{salt}".encode(), key=key[:64], digest_size=32).digest()
    keyed, hashes = hashlib.blake2b(key=secret, digest_size=_HASH_BYTES), list[bytes]()
    for row in rows:
        state = keyed.copy()
        state.update(ascii(row).encode())
        hashes.append(state.digest())
    return hashes


def row_hash(key: bytes, table: str, row: Iterable[Any]) -> str:
    """Return the keyed hash of one row that an event names by itself, hex."""
    return hashes_of(key, table, "", [tuple(row)])[0].hex()


def add_up(hashes: Sequence[bytes]) -> Sum:
    """Return how many hashes there are, and their sum."""
    return Sum() + Sum(len(hashes), sum(int.from_bytes(each, "little") for each in hashes))


def seal_rows(conn: sa.Connection, key: bytes, seqs: range) -> dict[int, str]:
    """Seal all rows that the events `seqs` wrote, and return the hash over the seals of each that wrote any."""
    first, last = seqs[0], seqs[-1]
    counts = bulk.raw(conn, _COUNTS, (first, last) * len(SEALED)).fetchone()
    written = [(sealed, n) for sealed, n in zip(SEALED.values(), counts, strict=True) if n]
    few = [sealed for sealed, n in written if n <= _CHUNK]
    read = bulk.raw_each(conn, [(f"{s.select} WHERE {s.group} BETWEEN ? AND ?", (first, last)) for s in few])
    new = writing_of(conn).seals
    for sealed, found in zip(few, read, strict=True):
        rows_of: dict[int, list[tuple[Any, ...]]] = {}
        for row in found:
            rows_of.setdefault(row[0], []).append(row)
        for seq, some in rows_of.items():
            new[sealed.name, seq] = {seq: _seal_now(conn, key, sealed, seq, seq=seq, read=[some])}
    for sealed in (sealed for sealed, n in written if n > _CHUNK):
        for seq in seqs:
            new[sealed.name, seq] = {seq: _seal_now(conn, key, sealed, seq, seq=seq)}
    rows: dict[int, list[tuple[Any, ...]]] = {}
    for (table, group), by_event in new.items():
        for seq, seal in by_event.items():
            row = (seq, table, group, seal.sum.n, f"{seal.sum.total:032x}", seal.salt, seal.tags)
            rows.setdefault(seq, []).append(row)
    new.clear()
    names = ("seq", "tbl", "grp", "n", "total", "salt", "tags")
    bulk.insert_rows(conn, seals, names, [row for some in rows.values() for row in some])
    return {seq: digest_of(key, seq, (row[1:5] for row in some)) for seq, some in rows.items()}


_COUNT = "(SELECT count(*) FROM {0.name} WHERE {0.group} BETWEEN ? AND ?)"
_COUNTS = f"SELECT {', '.join(_COUNT.format(sealed) for sealed in SEALED.values())}"
"""How many rows of each table some events wrote, in one statement: most tables have none."""


def _seal_now(conn: sa.Connection, key: bytes, sealed: SealedTable, group: int, *, seq: int, read: Any = None) -> Seal:
    """Return the seal of the rows of a group as they are now (`read`: chunks of them), with a salt of its own."""
    salt, hashes = _new_salt(conn, sealed.name, group, seq), list[bytes]()
    for rows in read or raw_rows(conn, sealed, f"{sealed.group} = ?", (group,)):
        hashes += hashes_of(key, sealed.name, salt, (tuple(row[1:]) for row in rows))
    return Seal(salt, add_up(hashes), b"".join(each[:TAG_BYTES] for each in hashes))


def digest_of(key: bytes, seq: int, rows: Iterable[tuple[Any, ...]]) -> str:
    """Return the keyed hash over the seals of an event: rows of ``tbl, grp, n, total``, in any order."""
    lines = "\n".join(sorted(ascii(row) for row in rows))
    return hmac.digest(key, f"seals\0{seq}\0{lines}".encode(), "sha256").hex()


def take(
    conn: sa.Connection, table: sa.Table, feed: str, record_ids: Sequence[str], *, seq: Seqs, where: str = ""
) -> list[dict[str, Any]]:
    """Let rows of some records leave the events that wrote them, before the events `seq` change or remove them.

    Rows that `seq` wrote itself are its own already. `where`: SQL for those of the rows that will change. Returns the
    rows as they are: their hashed columns, as the driver reads them.
    """
    sealed, found = SEALED[table.name], list[dict[str, Any]]()
    taken: dict[tuple[int, Any], list[tuple[Any, ...]]] = {}
    for start in range(0, len(record_ids), _CHUNK):
        those, some = bulk.among(conn, record_ids[start : start + _CHUNK])
        for rows in raw_rows(conn, sealed, f"feed = ? AND record_id {those} {where}", (feed, some), few=True):
            for group, *row in rows:
                cells = dict(zip(sealed.columns, row, strict=True))
                found.append(cells)
                mine = seq if isinstance(seq, int) else seq[cells["record_id"]]
                if group != mine:
                    taken.setdefault((mine, group), []).append(tuple(row))
    writing = writing_of(conn)
    for mine, group in sorted(taken, key=lambda pair: pair[0]):
        before = _last_seal(conn, sealed.name, group)
        gone = hashes_of(writing.key, sealed.name, before.salt or "", taken[mine, group])
        number = group if isinstance(group, int) else -1  # a row of no event: the sum under -1 can never be met
        seal = Seal(before.salt or None, before.sum - add_up(gone))
        writing.seals.setdefault((sealed.name, number), {})[mine] = seal
    return found


def reseal_group(conn: sa.Connection, key: bytes, table: str, group: int, *, seq: int) -> None:
    """Seal a group anew as it is now, under event `seq`, and destroy the salts of its earlier seals.

    Without its salt, a seal does not show any more what its rows were, not even to who has the key and guesses them.
    """
    seal, c = _seal_now(conn, key, SEALED[table], group, seq=seq), seals.c
    conn.execute(sa.update(seals).where(c.tbl == table, c.grp == group).values(salt=None, tags=None))
    writing_of(conn).seals[table, group] = {seq: seal}


def group_is_whole(conn: sa.Connection, key: bytes, table: str, group: int) -> bool:
    """Whether the rows of a group are those that were sealed."""
    sealed = SEALED[table]
    expected = _last_seal(conn, table, group)
    actual = Sum()
    for rows in raw_rows(conn, sealed, f"{sealed.group} = ?", (group,)):
        actual += add_up(hashes_of(key, table, expected.salt or "", (tuple(row[1:]) for row in rows)))
    return actual == expected.sum


def rotate_secret(conn: sa.Connection, secret: str) -> None:
    """Replace what new salts are made of, so that destroyed ones cannot be made again."""
    head_of(conn).secret = secret
    conn.execute(sa.update(tables.chain).where(tables.chain.c.id == 1).values(secret=secret))


def _new_salt(conn: sa.Connection, table: str, group: int, seq: int) -> str:
    """Return the salt of a new seal: the same again where a transaction is repeated."""
    text = f"salt\0{table}\0{group}\0{seq}"
    return hashlib.blake2b(text.encode(), key=bytes.fromhex(head_of(conn).secret), digest_size=16).hexdigest()


def _last_seal(conn: sa.Connection, table: str, group: int) -> Seal:
    """Return the seal of a group that holds now; an empty one for a group that was never sealed."""
    new = writing_of(conn).seals.get((table, group))
    if new or not isinstance(group, int):
        return next(reversed(new.values())) if new else Seal()
    query = "SELECT salt, n, total FROM seals WHERE tbl = ? AND grp = ? ORDER BY seq DESC LIMIT 1"
    row = bulk.raw(conn, query, (table, group)).fetchone()
    return Seal() if row is None else Seal(row[0], Sum(row[1], int(row[2], 16)))
