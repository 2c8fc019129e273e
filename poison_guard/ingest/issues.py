"""Note what is wrong with single cells: a code and its arguments a row, a few a row at most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.ingest.cells import as_text
from poison_guard.ingest.limits import SHOWN_CHARS

__all__ = ["IssueLog"]

_A_ROW = 5
"""Issues kept of one row: one is enough to quarantine it, and a hostile row may have hundreds."""


class IssueLog:
    """Issues of the rows of one table, as ``(position, code, args)`` in `listed`."""

    def __init__(self, rows: int) -> None:
        self._counts = np.zeros(rows, np.int8)
        self.listed: list[tuple[int, str, Mapping[str, Any]]] = []

    def add(self, code: str, where: np.ndarray, column: str, **args: Any) -> None:
        """Note `code` for the rows where the mask `where`, ``(n,)``, is set.

        An argument that is an Arrow array gives each row its cell's text, cut; a NumPy array its number; others are the
        same for all.
        """
        positions = np.flatnonzero(where & (self._counts < _A_ROW))
        self._counts[positions] += 1
        each = {key: _each(value, positions) for key, value in args.items()}
        for k, position in enumerate(positions.tolist()):
            own = {key: values[k] for key, values in each.items()}
            self.listed.append((position, code, {"column": column, **own}))


def _each(value: Any, positions: np.ndarray) -> list[Any]:
    if isinstance(value, pa.Array):
        shown = as_text(value.take(pa.array(positions))).fill_null("bytes that are not text")
        return pc.utf8_slice_codeunits(shown, 0, SHOWN_CHARS).to_pylist()
    return value[positions].tolist() if isinstance(value, np.ndarray) else [value] * len(positions)
