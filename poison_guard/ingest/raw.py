"""What reading one object gives: its rows as an Arrow table of few types, and the rows that are no record at all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from poison_guard.ingest.limits import MAX_UNREADABLE, RAW_CHARS, Unreadable

__all__ = ["BadRow", "BadRows", "Flag", "RawTable"]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is no record: where it is, why it cannot be read, and its text, cut."""

    row: int
    why: str
    raw: str
    digest: str
    """BLAKE2b-128 of the whole text, hex: identity without keeping the text."""


@dataclass(frozen=True, slots=True)
class Flag:
    """Something wrong with one cell, seen while reading: `position` counts the readable rows of the object from 0."""

    position: int
    code: str
    args: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RawTable:
    """Rows of one object under the user's column names.

    Column types are those of `cells.simple_type`: large_string, int64, float64, bool, timestamp[us, UTC],
    large_binary or null. A field whose metadata holds ``kind: list`` is JSON text of nested values.
    """

    table: pa.Table
    rows: np.ndarray
    """``(n,)`` int64, 1-based place of each readable row: the line for text formats, the ordinal for Parquet."""
    bad: Sequence[BadRow] = ()
    flags: Sequence[Flag] = ()
    sparse: bool = False
    """Whether rows may lack columns (JSON): then a column that is absent is missing, not an error."""


@dataclass(slots=True)
class BadRows:
    """Unreadable rows collected while one object is read; bounded."""

    found: list[BadRow] = field(default_factory=list)

    def add(self, row: int, why: str, text: str) -> None:
        """Keep one unreadable row; `Unreadable` when there are too many for the object to be what it claims."""
        if len(self.found) >= MAX_UNREADABLE:
            first = self.found[0]
            raise Unreadable(
                f"more than {MAX_UNREADABLE:,} of its rows cannot be read, the first is row {first.row}: {first.why}"
            )
        whole = text.encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(whole, digest_size=16).hexdigest()
        shown = text[:RAW_CHARS].encode("utf-8", "backslashreplace").decode("utf-8")
        self.found.append(BadRow(row, why, shown[:RAW_CHARS], digest))
