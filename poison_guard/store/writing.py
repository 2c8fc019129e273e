"""What a transaction that writes knows: the key, the head of the audit chain behind its lock, and seals to be written.

The head is read once a transaction: from then on nobody else can move it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import sqlalchemy as sa

from poison_guard.errors import StoreError
from poison_guard.store import bulk

__all__ = ["Seal", "Seqs", "Sum", "Writing", "head_of", "writing_of"]

_MODULUS = 1 << 128

Seqs = int | Mapping[str, int]
"""The event that writes some records: one for all of them, or one for each."""


@dataclass(frozen=True, slots=True)
class Sum:
    """What the hashes of the rows of a group add up to."""

    n: int = 0
    total: int = 0

    def __add__(self, other: Sum) -> Sum:
        return Sum(self.n + other.n, (self.total + other.total) % _MODULUS)

    def __sub__(self, other: Sum) -> Sum:
        return Sum(self.n - other.n, (self.total - other.total) % _MODULUS)


class Seal(NamedTuple):
    """What the rows of a group are as of an event: the salt of their hashes, their sum, and how each hash begins."""

    salt: str | None = ""
    sum: Sum = Sum()
    tags: bytes | None = None


@dataclass(slots=True)
class _Head:
    seq: int
    hash: str
    secret: str


@dataclass(slots=True)
class Writing:
    """One transaction that writes."""

    key: bytes = field(repr=False)
    head: _Head | None = None
    """None until something asks for the next number."""
    seals: dict[tuple[str, int], dict[int, Seal]] = field(default_factory=dict)
    """Of the next events, by table and group, then by event in their order; the events write them."""


def writing_of(conn: sa.Connection) -> Writing:
    """Return what the transaction of a connection that writes knows."""
    writing: Writing = conn.get_execution_options()["guard_writing"]
    return writing


def head_of(conn: sa.Connection) -> _Head:
    """Take the chain's lock until the transaction ends, and return its head."""
    writing = writing_of(conn)
    if writing.head is None:
        now = "SELECT seq, hash, secret FROM chain WHERE id = 1"  # SQLite's writers hold a lock from the start
        row = bulk.raw(conn, f"{now} FOR UPDATE" if conn.dialect.name == "postgresql" else now).fetchone()
        if row is None:
            raise StoreError("the store has lost the head of its audit chain; restore it from a backup")
        writing.head = _Head(*row)
    return writing.head
