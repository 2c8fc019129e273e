"""Read the cells of a column as numbers: which are there, which are numbers, and their values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.ingest.cells import EXACT

__all__ = ["Parsed", "parse_numbers", "present_cells"]

_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?$"
_LONGEST = 40
"""Characters of the longest text that is read as a number; bounds the memory of the slow path."""
_TRUTH = r"^(?:true|false|True|False|TRUE|FALSE)$"
_INFINITE = r"^[+-]?(?i:inf|infinity)$"
_MISSING = r"^[+-]?(?i:nan)$"


@dataclass(frozen=True, slots=True)
class Parsed:
    """Cells of one column read as one kind; all arrays are ``(n,)``."""

    values: np.ndarray
    """float64 numbers (NaN where not `ok`), or int64 microseconds since 1970."""
    present: np.ndarray
    """bool: the cell holds something."""
    ok: np.ndarray
    """bool: what it holds was understood."""

    @property
    def share(self) -> float:
        """Share of the cells present that were understood; 0 when none is present."""
        n = int(self.present.sum())
        return float(self.ok.sum()) / n if n else 0.0


def present_cells(array: pa.Array) -> np.ndarray:
    """Return ``(n,)`` bool: cells that are neither null nor empty text."""
    if pa.types.is_null(array.type):
        return np.zeros(len(array), bool)
    if pa.types.is_large_string(array.type):
        return np.asarray(pc.fill_null(pc.greater(pc.binary_length(array), 0), False))
    return np.asarray(array.is_valid())


def parse_numbers(array: pa.Array) -> Parsed:
    """Read an array of a simple type as float64; NaN is missing, infinity is a number (judged by the caller).

    Text that is a number counts, except whole numbers beyond 2^53, which float64 would change. ``true`` is 1.
    """
    kind, n = array.type, len(array)
    if pa.types.is_large_string(kind):
        return _parse_text(array)
    present = present_cells(array)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return Parsed(np.full(n, np.nan), present, np.zeros(n, bool))
    filled = array.fill_null(False if pa.types.is_boolean(kind) else 0).to_numpy(zero_copy_only=False)
    values = np.where(present, filled.astype(np.float64), np.nan)
    if pa.types.is_integer(kind):
        exact = (filled >= -EXACT) & (filled <= EXACT)
        return Parsed(np.where(exact, values, np.nan), present, present & exact)
    present = present & ~np.isnan(values)
    return Parsed(values, present, present)


def _parse_text(array: pa.Array) -> Parsed:
    present = present_cells(array)
    text = pc.if_else(pa.array(present), array, pa.scalar(None, pa.large_string()))
    whole = _cast(text)
    if whole is None:
        text = pc.utf8_trim_whitespace(text)
        whole = _by_cell(text)
    missing = np.zeros(len(array), bool)
    if bool(np.isnan(whole[present]).any()):
        missing = _matches(text, _MISSING)
    ok = present & ~np.isnan(whole)
    wide = ok & (np.abs(whole) > EXACT) & np.isfinite(whole)
    if wide.any():
        digits = _matches(text, r"^[+-]?[0-9]+$") & wide
        whole, ok = np.where(digits, np.nan, whole), ok & ~digits
    return Parsed(whole, present & ~missing, ok)


def _cast(text: pa.Array) -> np.ndarray | None:
    """Fast path: every cell is a plain number."""
    if (pc.max(pc.binary_length(text)).as_py() or 0) > _LONGEST:
        return None
    try:
        return pc.cast(text, pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return None


def _by_cell(text: pa.Array) -> np.ndarray:
    values = np.full(len(text), np.nan)
    text = pc.if_else(pc.less_equal(pc.binary_length(text), _LONGEST), text, pa.scalar(None, pa.large_string()))
    plain = _matches(text, _NUMBER)
    if plain.any():
        # NumPy reads "1e999" as infinity, where Arrow refuses
        values[plain] = np.array(text.filter(pa.array(plain)).to_pylist(), dtype="U").astype(np.float64)
    truth = _matches(text, _TRUTH)
    if truth.any():
        values[truth] = np.asarray(pc.starts_with(pc.utf8_lower(text.filter(pa.array(truth))), "t"))
    endless = _matches(text, _INFINITE)
    if endless.any():
        negative = np.asarray(pc.starts_with(text.filter(pa.array(endless)), "-"))
        values[endless] = np.where(negative, -np.inf, np.inf)
    return values


def _matches(text: pa.Array, pattern: str) -> np.ndarray:
    return np.asarray(pc.fill_null(pc.match_substring_regex(text, pattern), False))
