"""How the numbers and times of a file are written: the keys of ``[parse]`` with their evidence, and the doubts.

A doubt is a column with two readings that explain its rows equally well (``03/11/2026``, ``3.312``): nobody but its
owner can say which one is meant, so that both are written into the contract as comments.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.config import Parse
from poison_guard.ingest.numbers import matches
from poison_guard.ingest.parsing import NUMBER_SHARE, parse_numbers, parse_times
from poison_guard.ingest.values import is_null_word
from poison_guard.text import number_text, quoted

__all__ = ["Doubt", "Readings", "find_readings", "join_day_and_clock", "toml_value"]


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a column."""

    keys: Mapping[str, Any]
    """Keys of ``[parse]`` that say so."""
    evidence: str
    """What an example would be, and how many rows it explains."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A column whose cells have several readings."""

    column: str
    example: str
    readings: tuple[Reading, ...]

    def __str__(self) -> str:
        ways = " or ".join(
            ", ".join(f"{k} = {toml_value(v)}" for k, v in r.keys.items()) or "none" for r in self.readings
        )
        return f"{self.column} ({quoted(self.example)}) can be read in {len(self.readings)} ways: [parse] needs {ways}"


@dataclass(frozen=True, slots=True)
class Readings:
    """How the cells of a file are written."""

    keys: Mapping[str, Any] = field(default_factory=dict)
    """Keys of ``[parse]`` that the file itself proves."""
    evidence: Mapping[str, str] = field(default_factory=dict)
    """By key, what proves it."""
    doubts: tuple[Doubt, ...] = ()
    times: frozenset[str] = frozenset()
    """Columns that hold times which are read by a key only."""

    @property
    def parse(self) -> Parse:
        """How the file is read while the doubts stand: each by its first reading."""
        keys: dict[str, Any] = dict(self.keys)
        for doubt in self.doubts:
            for key, value in doubt.readings[0].keys.items():
                keys[key] = [*keys.get(key, []), *value] if key == "time_format" else keys.get(key, value)
        keys["time_format"] = tuple(dict.fromkeys(keys.get("time_format", ())))
        return Parse(**keys)


def toml_value(value: object) -> str:
    """Return a value of ``[parse]`` as TOML: a list of one is its only element."""
    if isinstance(value, list):
        return toml_value(value[0]) if len(value) == 1 else f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"'


def find_readings(table: pa.Table) -> Readings:
    """Return how the numbers and times of the text columns of a raw `table` are written."""
    texts = {name: cells for name in table.column_names if len(cells := _filled(table[name].combine_chunks()))}
    numbers = number_readings(texts)
    keys, evidence, doubts = dict(numbers.keys), dict(numbers.evidence), list(numbers.doubts)
    times = {name: time_reading(name, cells) for name, cells in texts.items()}
    orders = orders_of(times.values())
    forms: list[str] = []
    proofs: list[str] = []
    for found in times.values():
        reading = by_order(found, orders) if isinstance(found, Doubt) else found
        if reading is not None:
            forms += reading.keys["time_format"]
            proofs.append(reading.evidence)
        elif isinstance(found, Doubt):
            doubts.append(found)
    if forms:
        keys["time_format"], evidence["time_format"] = list(dict.fromkeys(forms)), "; ".join(proofs[:3])
    serials = [d for name in table.column_names if (d := serial_doubt(name, table[name].combine_chunks())) is not None]
    read = {name for name, found in times.items() if found is not None} | {doubt.column for doubt in serials}
    return Readings(keys, evidence, (*doubts, *serials), frozenset(read))


def _filled(array: pa.Array) -> pa.Array:
    """Return the cells of a text column that hold something and no placeholder; none for a column of another type."""
    if not pa.types.is_large_string(array.type):
        return pa.array([], pa.large_string())
    text = pc.utf8_trim_whitespace(array.drop_null())
    text = text.filter(pc.greater(pc.binary_length(text), 0))
    return text.filter(pa.array(~is_null_word(text, Parse().null_set)))


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


_DATES = (
    *(f"%d{s}%m{s}%Y" for s in "/.-"), *(f"%m{s}%d{s}%Y" for s in "/.-"), *(f"%d{s}%m{s}%y" for s in "/.-"),
    *(f"%m{s}%d{s}%y" for s in "/.-"), "%Y/%m/%d", "%Y.%m.%d", "%d %b %Y", "%d-%b-%Y", "%d %B %Y", "%d. %B %Y",
    "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%a %b %d %Y", "%a, %d %b %Y", "%A, %d %B %Y", "%A, %B %d, %Y",
)  # fmt: skip
_CLOCKS = (
    "", *(f"{gap}{clock}{zone}" for gap in (" ", ", ", "T") for clock in ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f",
    "%I:%M %p", "%I:%M:%S %p") for zone in ("", " %z", "%z")),
)  # fmt: skip
_FORMATS = (*map("".join, itertools.product(_DATES, _CLOCKS)), "%a %b %d %H:%M:%S %Y", "%H:%M:%S %d.%m.%Y")
_SWAP = {"%d/%m/": "%m/%d/", "%d.%m.": "%m.%d.", "%d-%m-": "%m-%d-"}
_LOOKS_LIKE_A_DAY = (
    r"^(?:[A-Za-z]{3,9},? )?(?:[0-9]{1,4}[/. -]+[0-9A-Za-z]{1,9}|[A-Za-z]{3,9}\.? [0-9]{1,2})[/., -]+[0-9]{2,4}"
)
_DAY_ALONE = rf"{_LOOKS_LIKE_A_DAY}$|^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}$"
_CLOCK_ALONE = r"^[0-2]?[0-9]:[0-5][0-9](:[0-5][0-9](\.[0-9]+)?)?( ?[AaPp][Mm])?$"
_SAMPLE = 200


def join_day_and_clock(table: pa.Table) -> pa.Table:
    """Return a raw table whose only column of days and only column of clock times are one, named by the path of both.

    Days and clock times must stand in the same rows; a table without such a pair is returned as it is.
    """
    texts = {name: table[name].combine_chunks() for name in table.column_names if table[name].type == pa.large_string()}
    pairs = [
        [name for name, cells in texts.items() if cells.null_count < len(cells) and matches(cells, form).all()]
        for form in (_DAY_ALONE, _CLOCK_ALONE)
    ]
    if [len(names) for names in pairs] != [1, 1] or any('"' in name for names in pairs for name in names):
        return table
    (day,), (clock,) = pairs
    path = " + ' ' + ".join(name if re.fullmatch(r"[A-Za-z_]\w*", name) else f'"{name}"' for name in (day, clock))
    both = pc.binary_join_element_wise(texts[day], texts[clock], pa.scalar(" ", pa.large_string()))
    return table.drop_columns([clock]).set_column(table.column_names.index(day), path, both)


def time_reading(name: str, cells: pa.Array) -> Reading | Doubt | None:
    """Return how a column of times is written that needs a key for it; None for a column of something else."""
    return _day_reading(name, cells) or _zone_reading(name, cells)


def orders_of(found: Iterable[Reading | Doubt | None]) -> set[bool]:
    """Return which orders the columns of a file prove: True where the day comes first, False where the month does."""
    sure = [reading for reading in found if isinstance(reading, Reading)]
    return {_is_day_first(form) for reading in sure for form in reading.keys["time_format"] if _swapped(form)}


def by_order(doubt: Doubt, orders: set[bool]) -> Reading | None:
    """Return the reading of a doubt about day and month that the other columns of the file prove; None without."""
    if len(orders) != 1 or any("time_zone" in reading.keys for reading in doubt.readings):
        return None
    reading = doubt.readings[0 if orders == {True} else 1]
    return Reading(reading.keys, f"{doubt.column} has {quoted(doubt.example)}, in the order of the other column")


def _day_reading(name: str, cells: pa.Array) -> Reading | Doubt | None:
    """Return the format of a column of times that have one only with a key; None for a column of something else."""
    if matches(cells, _LOOKS_LIKE_A_DAY).mean() < NUMBER_SHARE:
        return None
    if parse_times(cells).ok.mean() >= NUMBER_SHARE or parse_numbers(cells).ok.mean() >= NUMBER_SHARE:
        return None
    sample = cells.take(pa.array(np.linspace(0, len(cells) - 1, min(_SAMPLE, len(cells))).astype(int)))
    fits = {form: n for form in _FORMATS if (n := _fitting(sample, form).sum())}
    chosen: list[str] = []
    left = np.ones(len(cells), bool)
    while fits and len(chosen) < 3 and left.any():
        best = max(fits, key=lambda form: (_fitting(cells, form) & left).sum())
        if not (_fitting(cells, best) & left).any():
            break
        chosen.append(best)
        left &= ~_fitting(cells, best)
    if not chosen or left.mean() > 1 - NUMBER_SHARE:
        return None
    return _day_or_month(name, cells, chosen)


def _fitting(cells: pa.Array, form: str) -> np.ndarray:
    text = pd.Series(cells.to_pandas(), dtype="str")
    return pd.to_datetime(text, format=form, errors="coerce", utc=True).notna().to_numpy()


def _day_or_month(name: str, cells: pa.Array, forms: list[str]) -> Reading | Doubt:
    """Return which number is the day, where a cell has one above 12; a doubt where none has, or both have."""
    pairs = [(form, _swapped(form)) for form in forms]
    if not any(swapped for _, swapped in pairs):
        own = np.logical_or.reduce([_fitting(cells, form) for form in forms])
        told = f"{name} has {quoted(cells[0].as_py())}: {own.sum():,} of {len(own):,} rows"
        return Reading({"time_format": forms}, told)
    day_first = [form if _is_day_first(form) else swapped or form for form, swapped in pairs]
    month_first = [swapped or form if _is_day_first(form) else form for form, swapped in pairs]
    day_first, month_first = list(dict.fromkeys(day_first)), list(dict.fromkeys(month_first))
    by_day, by_month = (np.logical_or.reduce([_fitting(cells, f) for f in some]) for some in (day_first, month_first))
    only_day, only_month = by_day & ~by_month, by_month & ~by_day
    if only_day.any() != only_month.any():
        sure, forms, proof = (only_day, day_first, by_day) if only_day.any() else (only_month, month_first, by_month)
        shown = quoted(cells[int(np.argmax(sure))].as_py())
        return Reading(
            {"time_format": forms},
            f"{name} has {shown}: {sure.sum():,} rows fit no other order, {proof.sum():,} this one",
        )
    example = cells[int(np.argmax(by_day & by_month))].as_py()
    readings = tuple(
        Reading({"time_format": some}, f"{example} is {_shown_day(example, some)}: {fit.sum():,} of {len(fit):,} rows")
        for some, fit in ((day_first, by_day), (month_first, by_month))
    )
    return Doubt(name, example, readings)


def _is_day_first(form: str) -> bool:
    return any(form.startswith(day) or f" {day}" in form for day in _SWAP)


def _swapped(form: str) -> str | None:
    for day, month in _SWAP.items():
        for a, b in ((day, month), (month, day)):
            if a in form:
                return form.replace(a, b)
    return None


def _shown_day(example: str, forms: Sequence[str]) -> str:
    times = (pd.to_datetime(example, format=form, errors="coerce") for form in forms)
    day = next((t for t in times if not pd.isna(t)), None)
    return "no day" if day is None else f"{day.day} {day:%B} {day.year}"


_ZONES = {
    "PST": ("America/Los_Angeles", "Asia/Manila"), "PDT": ("America/Los_Angeles",), "MST": ("America/Denver",),
    "MDT": ("America/Denver",), "CST": ("America/Chicago", "Asia/Shanghai"), "CDT": ("America/Chicago",),
    "EST": ("America/New_York", "America/Panama"), "EDT": ("America/New_York",), "BST": ("Europe/London", "Asia/Dhaka"),
    "CET": ("Europe/Berlin",), "CEST": ("Europe/Berlin",), "EET": ("Europe/Athens",), "EEST": ("Europe/Athens",),
    "IST": ("Asia/Kolkata", "Europe/Dublin", "Asia/Jerusalem"), "JST": ("Asia/Tokyo",), "KST": ("Asia/Seoul",),
    "AEST": ("Australia/Sydney",), "AEDT": ("Australia/Sydney",), "MSK": ("Europe/Moscow",), "SGT": ("Asia/Singapore",),
}  # fmt: skip
"""Names of zones that people write, and places whose clocks have them; names are used in several parts of the world."""
_NAMED = re.compile(r"(?<![A-Za-z])([A-Z]{3,4})(?![A-Za-z])")
_ZONED = ("%a %b %d %H:%M:%S %Z %Y", "%Y-%m-%d %H:%M:%S %Z", "%d/%b/%Y:%H:%M:%S %Z", "%a, %d %b %Y %H:%M:%S %Z",
          "%Y-%m-%d %H:%M %Z", "%d %b %Y %H:%M:%S %Z", "%b %d, %Y %H:%M:%S %Z")  # fmt: skip


def _zone_reading(name: str, cells: pa.Array) -> Doubt | None:
    """Return the places whose clocks a column of times with zone names may follow: only a key can say which."""
    if matches(cells, "[0-9]{1,2}:[0-9]{2}").mean() < NUMBER_SHARE or not matches(cells, r"\b[A-Z]{3,4}\b").any():
        return None
    example = next((t for t in cells.slice(0, _SAMPLE).to_pylist() if set(_NAMED.findall(t)) & _ZONES.keys()), None)
    if example is None or parse_times(cells).ok.mean() >= NUMBER_SHARE:
        return None
    names = {word for text in cells.slice(0, _SAMPLE).to_pylist() for word in _NAMED.findall(text)} & _ZONES.keys()
    zones = list(dict.fromkeys(zone for word in sorted(names) for zone in _ZONES[word]))
    found = []
    for zone, form in itertools.product(zones, _ZONED):
        parsed = parse_times(cells, Parse(time_format=(form,), time_zone=zone))
        if parsed.ok.any():
            micros = parsed.values  # noqa: PD011  a NumPy array
            first = pd.Timestamp(int(micros[int(np.argmax(parsed.ok))]), unit="us", tz="UTC")
            told = f"{example} is {first:%Y-%m-%d %H:%M} UTC: {parsed.ok.sum():,} of {len(cells):,} rows"
            found.append(Reading({"time_format": [form], "time_zone": zone}, told))
    return Doubt(name, example, tuple(found)) if found else None


_EXCEL = (36_526.0, 55_153.0)
"""Days of a spreadsheet from 2000 to 2050."""
_TIME_NAME = re.compile(
    r"(^|[^a-z])(at|on|date|day|time|datetime|timestamp|when|since|created|submitted|started|ended)([^a-z]|$)"
)


def serial_doubt(name: str, array: pa.Array) -> Doubt | None:
    """Return the doubt whether numbers in a column that is named as a time are a spreadsheet's days."""
    if not _TIME_NAME.search(re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()):
        return None
    parsed = parse_numbers(array)
    days = parsed.values  # noqa: PD011  a NumPy array
    inside = parsed.ok & (days >= _EXCEL[0]) & (days <= _EXCEL[1])
    n = int(parsed.present.sum())
    if not n or inside.sum() < NUMBER_SHARE * n:
        return None
    value = float(days[int(np.argmax(inside))])
    day = pd.Timestamp(1899, 12, 30) + pd.Timedelta(days=value)
    rows = f"{inside.sum():,} of {n:,} rows"
    return Doubt(
        name,
        number_text(value),
        (
            Reading(
                {"time_format": ["excel"]}, f"{number_text(value)} is {day:%Y-%m-%d %H:%M} in a spreadsheet: {rows}"
            ),
            Reading({}, f"{number_text(value)} is a number: {rows}"),
        ),
    )
