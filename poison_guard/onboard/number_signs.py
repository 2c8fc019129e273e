"""Which sign stands before the decimals of a file's numbers, and which between their thousands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.ingest.numbers import matches
from poison_guard.ingest.parsing import NUMBER_SHARE
from poison_guard.onboard.doubts import Doubt, Reading, Readings
from poison_guard.text import number_text, quoted

__all__ = ["number_readings"]


_SIGN, _MARKS = r"^[+-]?", r" '\x{2019}\x{A0}\x{202F}"
_PATTERNS = {
    "whole": rf"{_SIGN}[0-9]+$",
    "long": rf"{_SIGN}[0-9]{{4,}}(?:$|[.,])",
    "decimal .": rf"{_SIGN}(?:[0-9]{{1,3}}(?:,[0-9]{{3}})+|[0-9]*)\.[0-9]+$",
    "decimal ,": rf"{_SIGN}(?:[0-9]{{1,3}}(?:\.[0-9]{{3}})+|[0-9]*),[0-9]+$",
    "either .": rf"{_SIGN}[1-9][0-9]{{0,2}}\.[0-9]{{3}}$",
    "either ,": rf"{_SIGN}[1-9][0-9]{{0,2}},[0-9]{{3}}$",
    "thousands .": rf"{_SIGN}[0-9]{{1,3}}(?:\.[0-9]{{3}}){{2,}}$",
    "thousands ,": rf"{_SIGN}[0-9]{{1,3}}(?:,[0-9]{{3}}){{2,}}$",
    "thousands  ": rf"{_SIGN}[0-9]{{1,3}}(?:[{_MARKS}][0-9]{{3}})+(?:[.,][0-9]+)?$",
    "spaced ,": rf"{_SIGN}[0-9]{{1,3}}(?:[{_MARKS}][0-9]{{3}})+,[0-9]+$",
}
_NAMES = r"[0-9]{6,}\.[0-9]{9,}"
"""Digits of a name, such as a client id with a time in it: more than a number has."""


@dataclass(frozen=True, slots=True)
class _Counts:
    """Cells of one column by what they can be."""

    name: str
    n: int
    of: Mapping[str, int]
    example: Mapping[str, str]


def number_readings(texts: Mapping[str, pa.Array]) -> Readings:
    """Return the decimal sign and the thousands' sign of a file: they are one for all its columns."""
    columns = [c for name, cells in texts.items() if (c := _count_numbers(name, cells)) is not None]
    proofs = {
        sign: [c for c in columns if c.of[f"decimal {sign}"] or c.of[f"thousands {_other(sign)}"]] for sign in ".,"
    }
    spaced = [c for c in columns if c.of["thousands  "]]
    open_ = [c for c in columns if c.of["either ."] or c.of["either ,"]]
    sure = [sign for sign, found in proofs.items() if found]
    if len(sure) == 2 or (open_ and not sure):
        doubtful = open_ if not sure else [*proofs[","], *(c for c in open_ if c not in proofs[","])]
        return Readings(doubts=tuple(_number_doubt(c, columns) for c in doubtful))
    if not sure:
        return _with_spaces({}, {}, spaced)
    sign = sure[0]
    first = proofs[sign][0]
    kind = f"decimal {sign}" if first.of[f"decimal {sign}"] else f"thousands {_other(sign)}"
    proof = f"{first.name} has {quoted(first.example[kind])} and {first.of[kind] - 1:,} more such cells"
    grouped = [
        c for c in columns if c.of[f"either {_other(sign)}"] or c.of[f"thousands {_other(sign)}"] or _mixed(c, sign)
    ]
    keys: dict[str, Any] = {"decimal": sign} if sign == "," or open_ or grouped else {}
    evidence = {"decimal": proof}
    if grouped:
        shown = grouped[0].example.get(f"either {_other(sign)}") or next(iter(grouped[0].example.values()))
        keys["thousands"] = _other(sign)
        evidence["thousands"] = f"{grouped[0].name} has {quoted(shown)}, and the decimal sign is {quoted(sign)}"
    return _with_spaces(keys, evidence, spaced)


def _mixed(c: _Counts, sign: str) -> bool:
    """Whether a column has cells with both signs, such as ``1.234,5``."""
    return _other(sign) in c.example.get(f"decimal {sign}", "")


def _with_spaces(keys: dict[str, Any], evidence: dict[str, str], spaced: Sequence[_Counts]) -> Readings:
    if spaced and "thousands" not in keys:
        c = spaced[0]
        example = c.example["thousands  "]
        keys["thousands"] = "'" if set(example) & set("'’") else " "
        evidence["thousands"] = f"{c.name} has {quoted(example)} and {c.of['thousands  '] - 1:,} more such cells"
        if c.of["spaced ,"] and "decimal" not in keys:
            keys["decimal"], evidence["decimal"] = ",", f"{c.name} has {quoted(c.example['spaced ,'])}"
    return Readings(keys, {key: evidence[key] for key in keys})


def _other(sign: str) -> str:
    return "," if sign == "." else "."


def _count_numbers(name: str, cells: pa.Array) -> _Counts | None:
    """Return what the cells of a column of numbers can be; None for a column of something else, or of plain numbers."""
    if (pc.max(pc.binary_length(cells)).as_py() or 0) > 200:
        return None
    masks = {kind: matches(cells, pattern) for kind, pattern in _PATTERNS.items()}
    zero = matches(cells, rf"{_SIGN}0*[.,]")
    for sign in ".,":
        certain = zero | (masks["long"] & masks[f"decimal {sign}"])
        masks[f"either {sign}"] &= ~certain
        masks[f"decimal {sign}"] &= ~masks[f"either {sign}"]
    names = matches(cells, _NAMES)
    is_number = np.logical_or.reduce([mask for kind, mask in masks.items() if kind != "long"]) & ~names
    if is_number.mean() < NUMBER_SHARE or not any(masks[kind].any() for kind in masks if kind not in ("whole", "long")):
        return None
    if (masks["long"] & masks["whole"]).any():  # 1845 beside 3.312: no sign stands between thousands
        for sign in ".,":
            masks[f"decimal {sign}"] |= masks[f"either {sign}"]
            masks[f"either {sign}"] &= False
    example = {kind: cells[int(np.argmax(mask))].as_py() for kind, mask in masks.items() if mask.any()}
    return _Counts(name, len(cells), {kind: int(mask.sum()) for kind, mask in masks.items()}, example)


def _number_doubt(c: _Counts, columns: Sequence[_Counts]) -> Doubt:
    kind = next(k for k in ("either .", "either ,", "decimal .", "decimal ,") if c.of[k])
    example, sign = c.example[kind], kind[-1]
    others = any(each.of[f"either {_other(sign)}"] for each in columns)
    whole, split = example.replace(sign, ""), example.replace(sign, ".")
    decimal: dict[str, Any] = {"decimal": sign} | ({"thousands": _other(sign)} if others else {})
    thousands: dict[str, Any] = {"decimal": _other(sign), "thousands": sign}
    rows = f"{c.n:,} of {c.n:,} rows"
    return Doubt(
        c.name,
        example,
        (
            Reading(decimal, f"{example} is {number_text(float(split))}: {rows}"),
            Reading(thousands, f"{example} is {number_text(float(whole))}: {rows}"),
        ),
    )
