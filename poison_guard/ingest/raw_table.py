"""The rows of one object as they were read, and the bounds of one read.

A reader returns the readable rows as an Arrow table and lists the others. What is past a bound is never loaded.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from poison_guard.config import Contract, Data

__all__ = [
    "HIDDEN",
    "ID_CHARS",
    "MAX_UNREADABLE",
    "NAME_CHARS",
    "RAW_CHARS",
    "SHOWN_CHARS",
    "BadRow",
    "BadRows",
    "Flag",
    "Limits",
    "NotRead",
    "RawTable",
    "Unreadable",
    "is_fault_of_file",
    "nesting_depth",
    "nesting_flags",
    "unreadable_object",
]


ID_CHARS = 256
"""Longest identity or group that is kept unchanged; ids are keys of SQL tables."""
NAME_CHARS = 200
"""Longest column name."""
RAW_CHARS = 2_000
"""Characters of an unreadable row that are kept for a person to look at."""
SHOWN_CHARS = 120
"""Characters of a bad value that go into the arguments of an issue."""
MAX_UNREADABLE = 100_000
"""Unreadable rows after which the whole object is given up."""


_TEXT_CHARS = 16_000_000
"""Characters that are kept of all unreadable rows of an object together; of those past it only `SHOWN_CHARS` each."""
_DEFAULTS = Data()


class Unreadable(Exception):  # noqa: N818  a finding about an object, not an error of the guard
    """A whole object cannot be read for what it is; the message is the reason, without a full stop."""


class NotRead(Exception):  # noqa: N818  becomes a `ReadError` where the object's name is known
    """Something around an object failed while it was read: machine, disk or network; the message says what."""


_FAULTS_OF_FILES = frozenset(
    (None, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL)
)
"""What the system answers for what a file is; None: a parser's own word. All others are faults of the machine."""


def is_fault_of_file(error: OSError) -> bool:
    """Return whether an error while reading says something about the file, and not about the machine."""
    return error.errno in _FAULTS_OF_FILES and not isinstance(error, (TimeoutError, ConnectionError))


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one read, and how the text of a file is to be taken; the defaults are the contract's."""

    max_bytes: int = _DEFAULTS.max_bytes
    """Bytes of an object, both as stored and as decoded."""
    max_rows: int = _DEFAULTS.max_rows
    max_columns: int = _DEFAULTS.max_columns
    max_cell_chars: int = _DEFAULTS.max_cell_chars
    max_depth: int = _DEFAULTS.max_depth
    """Containers inside one another in one cell."""
    max_explode: int = _DEFAULTS.max_explode
    """Records that one row may become."""
    max_line_chars: int = 12_000_000
    """Characters of one physical line of a text object; a longer one is one unreadable row."""
    memory_bytes: int = 560 << 20
    """Address space that the process that reads may take above what it has when it starts."""
    cpu_seconds: float = 300.0
    """Computing time for reading one object; more is the object's fault."""
    seconds: float = 1_800.0
    """Wall-clock time for reading one object; more, without the computing time, is the machine's fault."""
    encoding: str | None = None
    """Encoding of text files; None: UTF-8, or UTF-16 with a byte order mark."""
    delimiter: str | None = None
    """Character between the fields of a CSV file; None: found in its header."""
    header: bool | None = None
    """Whether the first row of a CSV file names its columns; None: it does."""
    names: tuple[str, ...] = ()
    """Names of the columns of a CSV file without a header."""
    rows: str | None = None
    """Where a JSON file holds its records: the keys that lead to the list, joined by dots; None: looked for."""

    @classmethod
    def of(cls, contract: Contract) -> Limits:
        """Return the bounds that `contract` sets in ``[data]``."""
        data = contract.data
        return cls(
            data.max_bytes, data.max_rows, data.max_columns, data.max_cell_chars, data.max_depth,
            encoding=data.encoding, delimiter=data.delimiter, header=data.header,
            names=data.names, rows=data.rows, max_explode=data.max_explode,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read."""

    row: int
    """Its 1-based place; 0 stands for the whole object."""
    reason: str
    text: str
    """Its text, cut to `RAW_CHARS`."""
    digest: str
    """BLAKE2b-128 of its whole text, hex: identity without the text. Of a whole object, the object's digest."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A problem of one cell that a reader noticed; `position` counts the readable rows of the object from 0."""

    position: int
    code: str
    args: Mapping[str, Any]


def nesting_flags(column: str, values: Sequence[Any], limit: int) -> list[Flag]:
    """Return a flag for each of `values` that is nested deeper than `limit`."""
    args = {"column": column, "limit": limit}
    return [Flag(i, "nested_too_deep", args) for i, value in enumerate(values) if nesting_depth(value, limit) > limit]


def nesting_depth(value: Any, limit: int) -> int:
    """Return how many containers of `value` lie inside one another, at most ``limit + 1``; never recursive."""
    depth, layer = 0, [value]
    while depth <= limit:
        layer = [v for v in layer if isinstance(v, (dict, list))]
        if not layer:
            return depth
        depth += 1
        layer = [v for outer in layer for v in (outer.values() if isinstance(outer, dict) else outer)]
    return depth


@dataclass(frozen=True, slots=True)
class RawTable:
    """Rows of one object under the user's column names.

    Column types are those of `cells.simple_type`: large_string, int64, float64, bool, timestamp[us, UTC],
    large_binary or null. A field whose metadata holds ``kind: list`` is JSON text of nested values.
    """

    table: pa.Table
    row_numbers: np.ndarray
    """``(n,)`` int64, 1-based place of each readable row: the line in text formats, the ordinal in Parquet."""
    bad: Sequence[BadRow] = ()
    flags: Sequence[Flag] = ()
    sparse: bool = False
    """Whether rows may lack columns (JSON): an absent column is then missing, not an error."""
    notes: Sequence[str] = ()
    """What is to be said of the whole object, in sentences without its name."""
    shapes: Sequence[str] = ()
    """How rows looked in their file, each as `original.Shape` writes it."""
    hidden: pa.Table | None = None
    """Beside rows ``\\0row``, ``\\0shape`` (number of its shape) and ``\\0was:NAME`` (cells that `table` cannot hold as
    they are). None: all rows have the first shape."""
    unpaired: int = 0
    """Rows that found no partner in the file that they are joined with."""


HIDDEN = "\0"
"""What the names of `RawTable.hidden` begin with; no column of an object has such a name."""


def unreadable_object(digest: str, reason: str) -> RawTable:
    """Return the table of an object that cannot be used: no rows, and one bad row that stands for the object."""
    return RawTable(pa.table({}), np.empty(0, np.int64), (BadRow(0, reason, "", digest),))


@dataclass(slots=True)
class BadRows:
    """Unreadable rows, collected while one object is read; bounded."""

    rows: list[BadRow] = field(default_factory=list)
    _chars: int = 0

    def add(self, row: int, reason: str, text: str) -> None:
        """Add one unreadable row; raise `Unreadable` if there are too many for an object of this format."""
        if len(self.rows) >= MAX_UNREADABLE:
            first = self.rows[0]
            raise Unreadable(
                f"more than {MAX_UNREADABLE:,} of its rows cannot be read, the first is row {first.row}: {first.reason}"
            )
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        limit = RAW_CHARS if self._chars < _TEXT_CHARS else SHOWN_CHARS
        shown = text[:limit].encode("utf-8", "backslashreplace").decode("utf-8")[:limit]
        self._chars += len(shown)
        self.rows.append(BadRow(row, reason, shown, digest))
