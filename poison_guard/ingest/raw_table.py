"""What reading one object gives, and the bounds it is read under.

It gives its rows as an Arrow table, and the rows that are no record. What passes a bound is quarantined, never loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from poison_guard.config import Contract, Data

__all__ = [
    "ID_CHARS",
    "MAX_UNREADABLE",
    "NAME_CHARS",
    "RAW_CHARS",
    "SHOWN_CHARS",
    "BadRow",
    "BadRows",
    "Flag",
    "Limits",
    "RawTable",
    "Unreadable",
]


ID_CHARS = 256
"""Longest identity or group kept as it is; ids are keys of SQL tables."""
NAME_CHARS = 200
"""Longest column name."""
RAW_CHARS = 2_000
"""Characters of an unreadable row that are kept to be looked at."""
SHOWN_CHARS = 120
"""Characters of a bad value that go into an issue's arguments."""
MAX_UNREADABLE = 100_000
"""Unreadable rows after which the whole object is given up as not being what its name says."""


_DEFAULTS = Data()


class Unreadable(Exception):  # noqa: N818  a finding about an object on its way to quarantine, not an error of the guard
    """A whole object cannot be read; the message says why and ends in no full stop."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one read; the defaults are the contract's."""

    max_bytes: int = _DEFAULTS.max_bytes
    """Bytes of an object, both as stored and as decoded."""
    max_rows: int = _DEFAULTS.max_rows
    max_columns: int = _DEFAULTS.max_columns
    max_cell_chars: int = _DEFAULTS.max_cell_chars
    max_depth: int = _DEFAULTS.max_depth
    """Containers inside one another in one cell."""
    max_line_chars: int = 64_000_000
    """Characters of one physical line of a text object."""
    memory_bytes: int = 2 << 30
    """Address space of the process that reads Parquet."""
    seconds: float = 600.0
    """Wall-clock time that reading one Parquet object may take."""

    @classmethod
    def of(cls, contract: Contract) -> Limits:
        """Return the bounds that `contract` sets in ``[data]``."""
        data = contract.data
        return cls(data.max_bytes, data.max_rows, data.max_columns, data.max_cell_chars, data.max_depth)


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
