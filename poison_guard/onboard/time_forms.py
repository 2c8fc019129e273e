"""How the times of a file are written that need a key: day and month, zone names, a spreadsheet's days."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.config import Parse
from poison_guard.ingest.numbers import matches
from poison_guard.ingest.parsing import NUMBER_SHARE, parse_numbers, parse_times
from poison_guard.onboard.doubts import Doubt, Reading
from poison_guard.text import number_text, quoted

__all__ = ["by_order", "join_day_and_clock", "orders_of", "serial_doubt", "time_reading"]


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


def _zone_reading(name: str, cells: pa.Array) -> Reading | Doubt | None:
    """Return the place whose clocks a column of times with zone names follows; a doubt where several fit alike."""
    if matches(cells, "[0-9]{1,2}:[0-9]{2}").mean() < NUMBER_SHARE or not matches(cells, r"\b[A-Z]{3,4}\b").any():
        return None
    example = next((t for t in cells.slice(0, _SAMPLE).to_pylist() if set(_NAMED.findall(t)) & _ZONES.keys()), None)
    if example is None or parse_times(cells).ok.mean() >= NUMBER_SHARE:
        return None
    names = {word for text in cells.slice(0, _SAMPLE).to_pylist() for word in _NAMED.findall(text)} & _ZONES.keys()
    zones = list(dict.fromkeys(zone for word in sorted(names) for zone in _ZONES[word]))
    found: list[tuple[int, Reading]] = []
    for zone, form in itertools.product(zones, _ZONED):
        parsed = parse_times(cells, Parse(time_format=(form,), time_zone=zone))
        if parsed.ok.any():
            micros = parsed.values  # noqa: PD011  a NumPy array
            first = pd.Timestamp(int(micros[int(np.argmax(parsed.ok))]), unit="us", tz="UTC")
            told = f"{example} is {first:%Y-%m-%d %H:%M} UTC: {parsed.ok.sum():,} of {len(cells):,} rows"
            found.append((int(parsed.ok.sum()), Reading({"time_format": [form], "time_zone": zone}, told)))
    best = [reading for n, reading in found if n == max(found, key=lambda each: each[0])[0]]
    if len(best) == 1:
        return Reading(best[0].keys, f"{name} has {best[0].evidence}")
    return Doubt(name, example, tuple(best)) if best else None


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
