"""Parse the cells of a column as times: ISO 8601, epochs and what common tools write; else by the contract's format."""

from __future__ import annotations

import datetime as dt
import re
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.config import Parse
from poison_guard.ingest.numbers import ParsedCells, matches, parse_numbers, present_cells

__all__ = ["EARLIEST", "LATEST", "iso_times", "parse_times"]

EARLIEST = int(dt.datetime(1970, 1, 1, tzinfo=dt.UTC).timestamp() * 1e6)
LATEST = int(dt.datetime(2200, 1, 1, tzinfo=dt.UTC).timestamp() * 1e6)
"""Microseconds since 1970 between which a sender's time is accepted."""
_NO_TEXT = pa.scalar(None, pa.large_string())
_EPOCH_PATTERN = r"^(?:[0-9]{9,19}(?:\.[0-9]{1,9})?|[0-9]\.[0-9]{1,17}[eE]\+?[0-9]{1,2})$"
_ISO = r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}(?:[T ][0-9:.,]{1,24} ?(?:Z|[+-][0-9]{2}:?(?:[0-9]{2})?)?)?"
_ISO_PATTERN = rf"^{_ISO}$"
_FULL_ISO_PATTERN = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?$"
)
_ISO_WITH_ZONE = r"[T ].*(?:Z|[+-][0-9]{2}:?(?:[0-9]{2})?)$"
_MONTHS = pa.array(
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], pa.large_string()
)
_CLOCK = r"(?P<t>[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?)"
_ZONE = r"(?P<z>(?:GMT|UTC|UT|Z)?(?:[+-][0-9]{2}:?[0-9]{2})?)"
_DAY, _MONTH, _YEAR = r"(?P<d>[0-9]{1,2})", r"(?P<b>[A-Za-z]{3})", r"(?P<y>[0-9]{4})"
_NAME = r"(?: \([^()]{1,60}\))?"
_WRITTEN = (
    rf"^(?:[A-Za-z]{{3}}, ?)?{_DAY}[ -]{_MONTH}[ -]{_YEAR} {_CLOCK} ?{_ZONE}{_NAME}$",  # RFC 2822, HTTP
    rf"^[A-Za-z]{{3}} {_MONTH} {_DAY} {_YEAR} {_CLOCK} {_ZONE}{_NAME}$",  # Date.toString of JavaScript
    rf"^[A-Za-z]{{3}} {_MONTH} +{_DAY} {_CLOCK} {_ZONE} {_YEAR}$",  # Date.toString of Java, Ruby
    rf"^\[?{_DAY}/{_MONTH}/{_YEAR}:{_CLOCK} {_ZONE}\]?$",  # Apache's log
)
"""Times with a month's English name and a numeric zone (or UTC): they have one reading each."""
_EPOCH_UNITS = {"epoch_s": 1e6, "epoch_ms": 1e3, "epoch_us": 1.0, "epoch_ns": 1e-3}
_EXCEL_1970, _DAY_MICROS = 25_569, 86_400_000_000
_SHORT_FORMS = {"%D": "%m/%d/%y", "%T": "%H:%M:%S", "%R": "%H:%M"}
_PLAIN = Parse()


def parse_times(array: pa.Array, parse: Parse = _PLAIN, *, naive: bool = False) -> ParsedCells:
    """Read an array of a simple type as int64 microseconds since 1970, UTC.

    What fits a `time_format` of `parse` is read by the first that it fits; else a number from 1e8 (1973) is seconds,
    from 1e11 milliseconds, from 1e14 microseconds, from 1e17 nanoseconds, and one below is not a time. A time without a
    zone (all times of a `naive` column of timestamps) is in `time_zone`. Times outside 1970 to 2200 are not `ok`.
    """
    present = present_cells(array)
    micros, ok = np.zeros(len(array), np.int64), np.zeros(len(array), bool)
    for form in parse.time_format:
        left = present & ~ok
        if left.any():
            found, fits = _by_format(array, form, parse)
            micros, ok = np.where(left & fits, found, micros), ok | (left & fits)
    if (present & ~ok).any():
        found, fits, present = _recognised(array, present, parse, naive=naive)
        micros, ok = np.where(ok, micros, found), ok | fits
    ok = ok & present & (micros >= EARLIEST) & (micros < LATEST)
    return ParsedCells(np.where(ok, micros, 0), present, ok)


def iso_times(cells: pa.Array) -> ParsedCells:
    """Read the texts that are a day or a time in full ISO 8601 as microseconds since 1970; of any year."""
    present = present_cells(cells)
    micros, ok = np.zeros(len(cells), np.int64), np.zeros(len(cells), bool)
    if pa.types.is_large_string(cells.type):
        ok = matches(cells, _FULL_ISO_PATTERN)
        if ok.any():
            micros[ok], ok[ok] = _micros_of_iso(cells.filter(pa.array(ok)), "UTC")
    return ParsedCells(micros, present, ok)


def _recognised(
    array: pa.Array, present: np.ndarray, parse: Parse, *, naive: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return microseconds, which cells have one reading without any key, and which hold something."""
    kind = array.type
    if pa.types.is_timestamp(kind):
        micros = array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
        return (_from_zone(micros, parse.time_zone) if naive else micros), present, present
    if pa.types.is_integer(kind):
        return _epoch_micros(array.fill_null(0).to_numpy(zero_copy_only=False)), present, present
    if pa.types.is_floating(kind):
        numbers = parse_numbers(array)
        return _epoch_micros(numbers.values), numbers.ok, numbers.present
    if pa.types.is_large_string(kind):
        return *_micros_of_text(array, present, parse.time_zone), present
    return np.zeros(len(array), np.int64), np.zeros(len(array), bool), present


def _epoch_micros(values: np.ndarray) -> np.ndarray:
    """Return the microseconds of epoch numbers; -1 for a number that cannot be a time."""
    are_integers = values.dtype.kind == "i"
    values = np.where(np.isfinite(values), values, -1)
    size = np.abs(values.astype(np.float64))
    parts = [
        (size < 1e8, lambda v: v * 0 - 1),
        (size < 1e11, lambda v: v * 1_000_000),
        (size < 1e14, lambda v: v * 1_000),
        (size < 1e17, lambda v: v),
        (size < 9e18, lambda v: v // 1_000),
    ]
    micros = np.full(len(values), -1, np.int64)
    open_ = np.ones(len(values), bool)
    for fits, scale in parts:
        now = open_ & fits
        scaled = scale(values[now])
        micros[now] = scaled if are_integers else np.rint(scaled).astype(np.int64)
        open_ &= ~fits
    return micros


def _micros_of_text(array: pa.Array, present: np.ndarray, zone: str) -> tuple[np.ndarray, np.ndarray]:
    """Return microseconds since 1970, and which cells could be parsed."""
    text = pc.utf8_trim_whitespace(pc.if_else(pa.array(present), array, _NO_TEXT))
    text = pc.replace_substring_regex(text, r" ?UTC$", "Z")
    micros, ok = np.zeros(len(array), np.int64), np.zeros(len(array), bool)
    digits = matches(text, _EPOCH_PATTERN)
    if digits.any():
        micros[digits] = _epoch_micros_of_text(text.filter(pa.array(digits)))
        ok |= digits
    # the pattern keeps words such as "now" from pandas, which would read the clock
    iso = matches(text, _ISO_PATTERN) & ~digits
    if iso.any():
        micros[iso], ok[iso] = _micros_of_iso(text.filter(pa.array(iso)), zone)
    left = present & ~digits & ~iso
    if left.any():
        left &= matches(text, r"[0-9]{1,2}:[0-9]{2}")
    if left.any():
        micros[left], ok[left] = _micros_of_written(text.filter(pa.array(left)), zone)
    return micros, ok


def _epoch_micros_of_text(text: pa.Array) -> np.ndarray:
    try:
        return _epoch_micros(pc.cast(text, pa.int64()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid:
        return _epoch_micros(np.array(text.to_pylist(), dtype="U").astype(np.float64))


def _micros_of_iso(text: pa.Array, zone: str) -> tuple[np.ndarray, np.ndarray]:
    cells = pd.Series(text.to_pandas(), dtype="str")
    times = pd.to_datetime(cells, format="ISO8601", utc=True, errors="coerce").dt.as_unit("us")
    good = times.notna().to_numpy()
    micros = np.where(good, times.astype("int64").to_numpy(), 0)
    if zone != "UTC":
        naive = ~matches(text, _ISO_WITH_ZONE)
        micros[naive] = _from_zone(micros[naive], zone)
    return micros, good


def _micros_of_written(text: pa.Array, zone: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the times of cells with a month's name, or in ISO 8601 with a zone's name after its offset."""
    text = pc.replace_substring_regex(text, rf"^({_ISO})\[[A-Za-z0-9_/+-]{{1,40}}\]$", r"\1")
    iso = pc.if_else(pa.array(matches(text, _ISO_PATTERN) & matches(text, _ISO_WITH_ZONE)), text, _NO_TEXT)
    for pattern in _WRITTEN:
        iso = pc.coalesce(iso, _as_iso(text, pattern))
    micros, ok = np.zeros(len(text), np.int64), np.zeros(len(text), bool)
    found = np.asarray(iso.is_valid())
    if found.any():
        micros[found], ok[found] = _micros_of_iso(iso.filter(pa.array(found)), zone)
    return micros, ok


def _as_iso(text: pa.Array, pattern: str) -> pa.Array:
    """Return the cells that match as ISO 8601 with an offset, the others null; one without any zone stays null."""
    parts = pc.extract_regex(text, pattern)
    year, month, day, clock, zone = (pc.struct_field(parts, name) for name in ("y", "b", "d", "t", "z"))
    number = pc.add(pc.index_in(pc.ascii_lower(month), value_set=_MONTHS), 1).cast(pa.string()).cast(pa.large_string())
    offset = pc.replace_substring_regex(zone, r"^(?:GMT|UTC|UT|Z)", "")
    offset = pc.if_else(pc.equal(offset, ""), pa.scalar("+00:00", pa.large_string()), offset)
    offset = pc.if_else(pc.equal(zone, ""), _NO_TEXT, offset)
    date = _joined(year, pc.utf8_lpad(number, 2, "0"), pc.utf8_lpad(day, 2, "0"), by="-")
    clock = pc.if_else(pc.equal(pc.find_substring(clock, ":"), 1), _joined("0", clock), clock)
    return _joined(date, "T", clock, offset)


def _joined(*parts: pa.Array | str, by: str = "") -> pa.Array:
    texts = [pa.scalar(part, pa.large_string()) if isinstance(part, str) else part for part in (*parts, by)]
    return pc.binary_join_element_wise(*texts)


def _from_zone(micros: np.ndarray, zone: str) -> np.ndarray:
    """Return the UTC microseconds of clock times in a zone; of an hour that a clock shows twice, the first."""
    if zone == "UTC" or not len(micros):
        return micros
    if (offset := re.fullmatch(r"([+-])(\d\d):(\d\d)", zone)) is not None:
        minutes = int(offset[2]) * 60 + int(offset[3])
        return micros - (1 if offset[1] == "+" else -1) * minutes * 60_000_000
    inside = np.clip(micros, EARLIEST, LATEST)
    clock = pd.DatetimeIndex(inside.astype("datetime64[us]"))
    local = clock.tz_localize(zone, ambiguous=np.ones(len(clock), bool), nonexistent="shift_forward")
    moved: np.ndarray = local.tz_convert("UTC").as_unit("us").asi8
    return np.where(inside == micros, moved, micros)


def _by_format(array: pa.Array, form: str, parse: Parse) -> tuple[np.ndarray, np.ndarray]:
    """Return the times of cells that fit one format of a contract, and which cells do."""
    if form in _EPOCH_UNITS or form == "excel":
        numbers = parse_numbers(array, parse)
        values = np.where(numbers.ok & (np.abs(numbers.values) < 1e19), numbers.values, -1.0)
        if form == "excel":
            micros = _from_zone(_rounded((values - _EXCEL_1970) * _DAY_MICROS), parse.time_zone)
        else:
            micros = _rounded(values * _EPOCH_UNITS[form])
        return micros, numbers.ok & (micros >= EARLIEST) & (micros < LATEST)
    if not pa.types.is_large_string(array.type):
        return np.zeros(len(array), np.int64), np.zeros(len(array), bool)
    for short, long in _SHORT_FORMS.items():
        form = form.replace(short, long)
    text = pd.Series(pc.utf8_trim_whitespace(array).to_pandas(), dtype="str")
    if "%Z" not in form:
        return _strptime(text, form, parse.time_zone)
    micros, ok = np.zeros(len(text), np.int64), np.zeros(len(text), bool)
    for name, offset in _zone_names(parse.time_zone):
        found, fits = _strptime(text, form.replace("%Z", name), "UTC")
        micros, ok = np.where(fits & ~ok, found - offset, micros), ok | fits
    return micros, ok


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values, -9e18, 9e18)).astype(np.int64)


def _strptime(text: pd.Series, form: str, zone: str) -> tuple[np.ndarray, np.ndarray]:
    times = pd.to_datetime(text, format=form, errors="coerce", utc=True).dt.as_unit("us")
    ok = times.notna().to_numpy()
    micros = np.where(ok, times.astype("int64").to_numpy(), 0)
    return (micros if "%z" in form else _from_zone(micros, zone)), ok


@lru_cache
def _zone_names(zone: str) -> tuple[tuple[str, int], ...]:
    """Return the names that `zone` has in a year, and UTC's, each with its offset in microseconds."""
    names = {"UTC": 0, "GMT": 0, "Z": 0}
    if not zone.startswith(("+", "-")):
        for month in (1, 7):
            there = dt.datetime(2026, month, 1, tzinfo=ZoneInfo(zone))
            names[there.tzname() or "UTC"] = round((there.utcoffset() or dt.timedelta()).total_seconds() * 1e6)
    return tuple(sorted(names.items(), key=lambda pair: (-len(pair[0]), pair)))
