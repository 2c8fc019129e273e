"""Join the rows of a second file to those of an object by a key: scores to the traces that they are about.

A row has at most one partner. A key that stands in several rows of the second file that differ has none: nobody can say
which of them is meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from poison_guard.ingest.cells import as_text
from poison_guard.ingest.values import canonical_ids

__all__ = ["Joined", "key_texts"]

_SHOWN_CHARS = 60


@dataclass(frozen=True, slots=True)
class Joined:
    """The rows of a second file by their key, under names that begin with `name`."""

    table: pa.Table
    """Columns ``NAME.COLUMN``."""
    name: str
    by: str
    """The two keys, as the contract says them."""
    places: dict[str, int]
    """Key to row of `table`; -1 for a key of several rows that differ."""
    lines: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Of the keys of several rows that differ: the numbers of two of these rows."""

    @classmethod
    def of(cls, table: pa.Table, numbers: np.ndarray, keys: Sequence[str | None], name: str, by: str) -> Joined:
        """Return the rows of `table` by `keys`, one each; rows of one key that say the same are one."""
        places: dict[str, int] = {}
        lines: dict[str, tuple[int, int]] = {}
        twice: list[tuple[str, int]] = []
        for i, key in enumerate(keys):
            if key is not None and places.setdefault(key, i) != i:
                twice.append((key, i))
        for key, i in twice:
            first = places[key]
            if first >= 0 and table.slice(first, 1).to_pylist() != table.slice(i, 1).to_pylist():
                places[key] = -1
                lines[key] = (int(numbers[first]), int(numbers[i]))
        return cls(table.rename_columns([f"{name}.{c}" for c in table.column_names]), name, by, places, lines)

    def partners(self, keys: Sequence[str | None]) -> np.ndarray:
        """Return ``(n,)`` int64: the row of `table` for each key, -1 without one, -2 where several differ."""
        found = [-1 if key is None else self.places.get(key, -1) for key in keys]
        several = [key is not None and key in self.lines for key in keys]
        return np.where(several, -2, np.array(found, np.int64)) if keys else np.empty(0, np.int64)

    def take(self, partners: np.ndarray) -> pa.Table:
        """Return the columns of the partners; missing where there is none."""
        return self.table.take(pa.array(partners, mask=partners < 0))

    def note(self, key: str | None, *, several: bool) -> str:
        """Return what is to be said of a key without a partner."""
        shown = "an empty key" if key is None else repr(key[:_SHOWN_CHARS])
        if not several or key is None:
            return f"no partner in the joined file by {self.by}, the first: {shown}"
        a, b = self.lines[key]
        return (
            f"several partners that differ by {self.by}, the first: {shown} in rows {a:,} and {b:,}; keep one of them"
        )


def key_texts(cells: pa.Array | Sequence[Any]) -> list[str | None]:
    """Return keys as texts that are equal where ids are: a whole number without a fraction, no outer blanks."""
    if not isinstance(cells, pa.Array):
        return [None if v is None else str(v).strip().removesuffix(".0") or None for v in cells]
    return [None if v is None else v.strip() or None for v in canonical_ids(as_text(cells)).to_pylist()]
