"""RFC 8785 JSON of whole columns: the one text of a record that its sender and the guard both make."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["es6_number", "json_rows", "json_values"]

_ESCAPED = r'[\x00-\x1f"\\]'
_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
_EXACT = 2**53
_TEXT = pa.large_string()


def es6_number(value: float) -> str:
    """Return a finite number as ECMAScript writes it (RFC 8785, 3.2.2.3); ``null`` for one that is not finite.

    >>> [es6_number(x) for x in (1.0, -0.0, 1e21, 123456789012345680000.0, 1e-7, 0.000001)]
    ['1', '0', '1e+21', '123456789012345680000', '1e-7', '0.000001']
    """
    if not math.isfinite(value):
        return "null"
    if value == 0:
        return "0"
    text = repr(float(value))
    if "e" not in text:
        return text.removesuffix(".0")
    mantissa, exponent = text.split("e")
    sign, digits = ("-", mantissa[1:]) if mantissa[0] == "-" else ("", mantissa)
    whole, _, rest = digits.partition(".")
    digits, point = (whole + rest).rstrip("0") or "0", len(whole) + int(exponent)
    if 0 < point <= 21:
        padded = digits.ljust(point, "0")
        return sign + padded[:point] + (f".{padded[point:]}" if padded[point:] else "")
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if digits[1:] else ""
    return f"{sign}{digits[0]}{tail}e{'+' if point > 0 else '-'}{abs(point - 1)}"


def json_values(cells: pa.Array, *, loose: bool = False) -> pa.Array:
    """Return each cell as JSON ``(n,)`` large_string: text, numbers, booleans and null as they are, times as text.

    With `loose`, text that is written like a number, true or false is taken for one, and empty text for null: what a
    sender signed as JSON and somebody keeps as CSV.
    """
    kind = cells.type
    if pa.types.is_boolean(kind):
        out = pc.cast(cells, _TEXT)
    elif pa.types.is_integer(kind):
        large = pc.greater(pc.abs_checked(pc.if_else(pc.equal(cells, -(2**63)), 0, cells)), _EXACT)
        out = pc.cast(cells, _TEXT) if not pc.any(large).as_py() else _mapped(cells, es6_number)
    elif pa.types.is_floating(kind):
        out = _floats(cells)
    elif pa.types.is_timestamp(kind):
        out = _mapped(cells, lambda at: json.dumps(at.isoformat().replace("+00:00", "Z")))
    elif pa.types.is_large_string(kind):
        out = _loose(cells) if loose else _quoted(cells)
    else:
        out = pa.nulls(len(cells), _TEXT)
    return pc.fill_null(out, "null")


def json_rows(columns: Sequence[tuple[str, pa.Array]], *, loose: bool = False) -> pa.Array:
    """Return ``(n,)`` large_string: each row's object of `columns` (name, cells), sorted as RFC 8785 does."""
    ordered = sorted(columns, key=lambda column: column[0].encode("utf-16-be", "surrogatepass"))
    parts: list[pa.Array | pa.Scalar] = []
    for at, (name, cells) in enumerate(ordered):
        head = f"{'{' if at == 0 else ','}{json.dumps(name, ensure_ascii=False)}:"
        parts += [pa.scalar(head, _TEXT), json_values(cells, loose=loose)]
    return pc.binary_join_element_wise(*parts, pa.scalar("}", _TEXT), pa.scalar("", _TEXT))


def _floats(cells: pa.Array) -> pa.Array:
    """Return numbers as `es6_number` does: Arrow writes those of usual size alike, and much faster."""
    cells = pc.add(cells, 0.0)  # minus zero is zero
    size = pc.abs(cells)
    usual = pc.fill_null(pc.or_(pc.equal(size, 0), pc.and_(pc.greater(size, 1e-4), pc.less(size, 1e9))), True)
    if pc.all(usual).as_py() in (True, None):
        return pc.cast(cells, _TEXT)
    odd = pc.invert(usual)
    written = pa.array([es6_number(value) for value in cells.filter(odd).to_pylist()], _TEXT)
    return pc.replace_with_mask(pc.cast(cells, _TEXT), odd, written)


def _quoted(cells: pa.Array) -> pa.Array:
    odd = pc.fill_null(pc.match_substring_regex(cells, _ESCAPED), False)
    quote = pa.scalar('"', _TEXT)
    plain = pc.binary_join_element_wise(quote, cells, quote, pa.scalar("", _TEXT))
    if not pc.any(odd).as_py():
        return plain
    escaped = [json.dumps(text, ensure_ascii=False) for text in cells.filter(odd).to_pylist()]
    return pc.replace_with_mask(plain, odd, pa.array(escaped, _TEXT))


def _loose(cells: pa.Array) -> pa.Array:
    out = _quoted(cells)
    number = pc.fill_null(pc.match_substring_regex(cells, _NUMBER), False)
    if pc.any(number).as_py():
        written = [es6_number(float(text)) for text in cells.filter(number).to_pylist()]
        out = pc.replace_with_mask(out, number, pa.array(written, _TEXT))
    word = pc.fill_null(pc.is_in(cells, value_set=pa.array(["true", "false"], _TEXT)), False)
    out = pc.if_else(word, cells, out)
    return pc.if_else(pc.fill_null(pc.equal(cells, ""), False), pa.scalar(None, _TEXT), out)


def _mapped(cells: pa.Array, write: object) -> pa.Array:
    return pa.array([None if cell is None else write(cell) for cell in cells.to_pylist()], _TEXT)  # type: ignore[operator]
