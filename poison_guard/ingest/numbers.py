"""Parse the cells of a column as numbers, from every file type, and written as the contract says."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.config import Parse
from poison_guard.ingest.cells import MAX_EXACT_INT

__all__ = ["TRUTH_PATTERN", "ParsedCells", "are_names", "matches", "parse_numbers", "present_cells"]


_NUMBER_PATTERN = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
_NUMBER_CHARS = 40
"""Characters of the longest text that is read as a number; bounds the memory of the slow path."""
TRUTH_PATTERN = r"^(?:true|false|True|False|TRUE|FALSE)$"
_INFINITY_PATTERN = r"^[+-]?(?i:inf|infinity)$"
_NAN_PATTERN = r"^[+-]?(?i:nan)$"
_NO_TEXT = pa.scalar(None, pa.large_string())
_PLAIN = Parse()
_SPACES, _QUOTES = " \u00a0\u202f\u2009", "'\u2019"
"""What else stands between thousands where a blank or an apostrophe does."""


@dataclass(frozen=True, slots=True)
class ParsedCells:
    """Cells of one column read as one kind; all arrays are ``(n,)``."""

    values: np.ndarray
    """float64 numbers (NaN where not `ok`), or int64 microseconds since 1970."""
    present: np.ndarray
    """bool: the cell holds something."""
    ok: np.ndarray
    """bool: its content could be parsed."""


def present_cells(array: pa.Array) -> np.ndarray:
    """Return ``(n,)`` bool: cells that are neither null nor empty text."""
    if pa.types.is_null(array.type):
        return np.zeros(len(array), bool)
    if pa.types.is_large_string(array.type):
        return np.asarray(pc.fill_null(pc.greater(pc.binary_length(array), 0), False))
    return np.asarray(array.is_valid())


def parse_numbers(array: pa.Array, parse: Parse = _PLAIN) -> ParsedCells:
    """Read an array of a simple type as float64; NaN is missing, infinity is a number (judged by the caller).

    Text that is a number as `parse` says it is written counts, except whole numbers above 2^53, which float64 would
    change. ``true`` is 1.
    """
    kind, n = array.type, len(array)
    if pa.types.is_large_string(kind):
        return _numbers_of_text(array) if _is_plain(parse) else _numbers_in_style(array, parse)
    present = present_cells(array)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return ParsedCells(np.full(n, np.nan), present, np.zeros(n, bool))
    filled = array.fill_null(False if pa.types.is_boolean(kind) else 0).to_numpy(zero_copy_only=False)
    values = np.where(present, filled.astype(np.float64), np.nan)
    if pa.types.is_integer(kind):
        exact = (filled >= -MAX_EXACT_INT) & (filled <= MAX_EXACT_INT)
        return ParsedCells(np.where(exact, values, np.nan), present, present & exact)
    present = present & ~np.isnan(values)
    return ParsedCells(values, present, present)


def _numbers_of_text(array: pa.Array) -> ParsedCells:
    present = present_cells(array)
    text = pc.if_else(pa.array(present), array, _NO_TEXT)
    values = None
    if (pc.max(pc.binary_length(text)).as_py() or 0) <= _NUMBER_CHARS:
        with contextlib.suppress(pa.ArrowInvalid):  # fast path: every cell is a plain number
            values = pc.cast(text, pa.float64()).to_numpy(zero_copy_only=False)
    if values is None:
        text = pc.utf8_trim_whitespace(text)
        values = _parse_each(text)
    missing = np.zeros(len(array), bool)
    if bool(np.isnan(values[present]).any()):
        missing = matches(text, _NAN_PATTERN)
    ok = present & ~np.isnan(values)
    inexact = ok & (np.abs(values) > MAX_EXACT_INT) & np.isfinite(values)
    if inexact.any():
        inexact &= matches(text, r"^[+-]?[0-9]+$")
        values, ok = np.where(inexact, np.nan, values), ok & ~inexact
    return ParsedCells(values, present & ~missing, ok)


def _is_plain(parse: Parse) -> bool:
    return parse.decimal == "." and not parse.thousands


def _numbers_in_style(array: pa.Array, parse: Parse) -> ParsedCells:
    """Read text whose numbers have another decimal sign, or signs between thousands; no other spelling is a number."""
    text = pc.utf8_trim_whitespace(array)
    marks = {" ": _SPACES, "'": _QUOTES}.get(parse.thousands, parse.thousands)
    grouped = f"[0-9]{{1,3}}(?:[{re.escape(marks)}][0-9]{{3}})+|" if marks else ""
    decimal = re.escape(parse.decimal)
    fits = matches(text, rf"^[+-]?(?:{grouped}[0-9]+)?(?:{decimal}[0-9]*)?(?:[eE][+-]?[0-9]+)?$")
    fits &= matches(text, "[0-9]")
    plain = pc.replace_substring_regex(text, f"[{re.escape(marks)}]", "") if marks else text
    plain = pc.replace_substring(plain, parse.decimal, ".")
    parsed = _numbers_of_text(pc.if_else(pa.array(fits), plain, text))
    words = ~matches(text, "[0-9]")  # true, inf, nan
    return ParsedCells(np.where(fits | words, parsed.values, np.nan), parsed.present, parsed.ok & (fits | words))


def _parse_each(text: pa.Array) -> np.ndarray:
    values = np.full(len(text), np.nan)
    text = pc.if_else(pc.less_equal(pc.binary_length(text), _NUMBER_CHARS), text, _NO_TEXT)
    plain = matches(text, _NUMBER_PATTERN)
    if plain.any():
        # NumPy reads "1e999" as infinity, where Arrow refuses
        values[plain] = np.array(text.filter(pa.array(plain)).to_pylist(), dtype="U").astype(np.float64)
    truth = matches(text, TRUTH_PATTERN)
    if truth.any():
        values[truth] = np.asarray(pc.starts_with(pc.utf8_lower(text.filter(pa.array(truth))), "t"))
    endless = matches(text, _INFINITY_PATTERN)
    if endless.any():
        negative = np.asarray(pc.starts_with(text.filter(pa.array(endless)), "-"))
        values[endless] = np.where(negative, -np.inf, np.inf)
    return values


_BEYOND = r"^[+-]?[1-9][0-9]*\.[0-9]{9,}$"


def are_names(text: pa.Array) -> bool:
    """Return whether most cells have more digits than a number holds, such as a client id with a time in it."""
    full = text.drop_null()
    return bool(len(full)) and float((matches(full, _BEYOND) & matches(full, r"^.{19,}$")).mean()) > 0.5


def matches(text: pa.Array, pattern: str) -> np.ndarray:
    """Return ``(n,)`` bool: cells in which a regular expression matches."""
    return np.asarray(pc.fill_null(pc.match_substring_regex(text, pattern), False))
