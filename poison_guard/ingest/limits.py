"""The bounds every object is read under; whatever passes one of them is quarantined, never loaded."""

from __future__ import annotations

from dataclasses import dataclass

from poison_guard.config import Contract, Data

__all__ = ["ID_CHARS", "MAX_UNREADABLE", "NAME_CHARS", "RAW_CHARS", "SHOWN_CHARS", "Limits", "Unreadable"]

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


_DATA = Data()


class Unreadable(Exception):  # noqa: N818  a finding about an object on its way to quarantine, not an error of the guard
    """A whole object cannot be read; the message says why and ends in no full stop."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one read; the defaults are the contract's."""

    max_bytes: int = _DATA.max_bytes
    """Bytes of an object, both as stored and as decoded."""
    max_rows: int = _DATA.max_rows
    max_columns: int = _DATA.max_columns
    max_cell_chars: int = _DATA.max_cell_chars
    max_depth: int = _DATA.max_depth
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
