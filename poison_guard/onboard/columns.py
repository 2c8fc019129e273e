"""What a file's columns look like: kind, nulls, distinct values and range of each, the facts that proposals rest on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["ColumnProfile", "blank_as_missing", "describe_columns", "epoch_unit", "snake_case"]


_MIN_PARSED = 0.9
"""Share of non-empty cells that must parse for a text column to count as numbers or times; the rest are faults."""
_SAMPLE_CELLS = 2_000
"""Cells looked at to tell the kind of a column; its counts and ranges are over all rows."""
_EPOCHS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_EPOCH_RANGE = (946_684_800.0, 4_102_444_800.0)
"""Seconds from 2000-01-01 to 2100-01-01."""
_BOOLS = {"true", "false"}


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """One column of a raw frame, described."""

    name: str
    words: str
    """The name in snake case: ``createdAtMillis`` is ``created_at_millis``."""
    kind: str
    """``number``, ``time``, ``bool``, ``text``, ``list``, ``binary`` or ``empty``."""
    rows: int
    nulls: int
    distinct: int
    whole: bool = False
    """Numbers without a fraction."""
    epoch: str | None = None
    """Unit (s, ms, us, ns) when all numbers are times between 2000 and 2100 in it."""
    low: float = 0.0
    high: float = 0.0
    chars: float = 0.0
    """Mean length of the cells, for text."""

    @property
    def unique(self) -> bool:
        """Whether every row has a value of its own."""
        return self.rows > 0 and self.nulls == 0 and self.distinct == self.rows

    @property
    def constant(self) -> bool:
        """Whether there is nothing to tell rows apart by."""
        return self.distinct <= 1

    @property
    def idlike(self) -> bool:
        """Whether the values can be names of something: short text or whole numbers."""
        return (self.kind == "text" and self.chars <= 80) or (self.kind == "number" and self.whole)

    @property
    def few(self) -> bool:
        """Whether the values look like a closed list: at most 20, each met five times on average."""
        return 1 <= self.distinct <= 20 and self.rows - self.nulls >= 5 * self.distinct and self.chars <= 60


def describe_columns(frame: pd.DataFrame) -> list[ColumnProfile]:
    """Return one `ColumnProfile` a column of `frame`, in its order."""
    return [_describe(str(name), blank_as_missing(frame[name])) for name in frame.columns]


def blank_as_missing(cells: pd.Series) -> pd.Series:
    """Return the cells with empty text taken as missing, as CSV means it."""
    if pd.api.types.is_string_dtype(cells.dtype) and cells.dtype != object:
        return cells.mask(cells.str.strip() == "")
    return cells


def epoch_unit(numbers: np.ndarray) -> str | None:
    """Return the unit in which all (finite) numbers are times between 2000 and 2100; None where there is no such unit.

    >>> epoch_unit(np.array([1763385772090.0]))
    'ms'
    """
    if numbers.size == 0:
        return None
    low, high = _EPOCH_RANGE
    return next((u for u, k in _EPOCHS.items() if numbers.min() >= low * k and numbers.max() <= high * k), None)


def snake_case(name: str) -> str:
    """Return a column name in snake case.

    >>> snake_case("createdAtMillis"), snake_case("COMMENT_ID"), snake_case("userID"), snake_case("Model version")
    ('created_at_millis', 'comment_id', 'user_id', 'model_version')
    """
    parted = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name[:200])
    return re.sub(r"[^a-z0-9]+", "_", parted.lower()).strip("_")


def _describe(name: str, cells: pd.Series) -> ColumnProfile:
    present = cells.dropna()
    kind = _kind(present)
    keys = present.map(_hashable_text) if kind in ("list", "binary") else present
    facts: dict[str, Any] = {}
    if kind == "number":
        facts = _number_facts(present)
    elif kind in ("text", "list"):
        facts = {"chars": float(keys.astype(str).str.len().mean())}
    return ColumnProfile(
        name=name, words=snake_case(name), kind=kind, rows=len(cells), nulls=int(cells.isna().sum()),
        distinct=int(keys.nunique()), **facts,
    )  # fmt: skip


def _number_facts(present: pd.Series) -> dict[str, Any]:
    numbers = pd.to_numeric(present, errors="coerce").to_numpy("float64", na_value=np.nan)
    numbers = numbers[np.isfinite(numbers)]
    if numbers.size == 0:
        return {}
    return {
        "whole": bool((numbers == np.floor(numbers)).all()),
        "epoch": epoch_unit(numbers),
        "low": float(numbers.min()),
        "high": float(numbers.max()),
    }


def _kind(present: pd.Series) -> str:
    dtype = present.dtype
    if present.empty:
        return "empty"
    if pd.api.types.is_bool_dtype(dtype):
        return "bool"
    if pd.api.types.is_numeric_dtype(dtype):
        return "number"
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return "time"
    step = max(1, len(present) // _SAMPLE_CELLS)
    return _kind_of_objects(present.iloc[::step])


def _kind_of_objects(sample: pd.Series) -> str:
    first = sample.iloc[0]
    if isinstance(first, (list, tuple, dict, np.ndarray)):
        return "list"
    if isinstance(first, (bytes, bytearray, memoryview)):
        return "binary"
    text = sample.astype(str)
    if text.str.lower().isin(_BOOLS).all():
        return "bool"
    if pd.to_numeric(text, errors="coerce").notna().mean() >= _MIN_PARSED:
        return "number"
    if text.str.match(r"\s*\[\s*\{").mean() >= _MIN_PARSED:
        return "list"
    dated = text.str.match(r"\d{4}-\d{2}-\d{2}").mean() >= _MIN_PARSED
    if dated and pd.to_datetime(text, errors="coerce", format="ISO8601", utc=True).notna().mean() >= _MIN_PARSED:
        return "time"
    return "text"


def _hashable_text(cell: object) -> str:
    return str(cell)[:1000]
