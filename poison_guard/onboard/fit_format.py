"""Find the known format of a file, and say what a contract of it maps: paths that find something in its rows."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from poison_guard.config import Kind
from poison_guard.errors import DataError, UsageError
from poison_guard.ingest.collect import read_frame
from poison_guard.ingest.nested import Reshaper, Shape, rows_of
from poison_guard.ingest.nested_values import is_empty
from poison_guard.ingest.paths import Expression, PathError, Row, parse_path
from poison_guard.ingest.raw_table import Limits, RawTable, Unreadable
from poison_guard.onboard.formats import FORMATS, KnownFormat
from poison_guard.text import nearest

__all__ = ["FittedFormat", "find_format", "fit_format", "named_format"]

_SAMPLE = 500
_REPEATS = 0.99
"""Share of different ids below which an id names what is judged, and not the judgement."""


@dataclass(frozen=True, slots=True)
class FittedFormat:
    """What a contract of a file of a known format says."""

    entry: KnownFormat
    kind: Kind
    roles: Mapping[str, str]
    features: tuple[str, ...]
    explode: str
    join: tuple[str, str, str] = ("", "", "")
    """Name, key and partner's key, where a second file was given."""
    missing: str = ""

    def not_said(self, roles: Collection[str]) -> str:
        """Return what the format does not say, in one sentence; "" where the `roles` of a contract are all there."""
        whole = set(self.entry.roles) <= set(roles) and not {"source_id", "author_id"}.isdisjoint(roles)
        return "" if whole else self.missing


@dataclass(frozen=True, slots=True)
class _Sample:
    names: Mapping[str, Any]
    rows: Sequence[Row]

    def values(self, path: str) -> list[Any]:
        """Return what a path finds in each row, None where nothing."""
        expression = _expression(path)
        return [expression.value(row) for row in self.rows]

    def finds(self, path: str) -> bool:
        """Return whether a path finds something in any row."""
        return any(not is_empty(value) for value in self.values(path))

    def has(self, path: str) -> bool:
        """Return whether a path is there: a column, though it may be empty, or one that finds something."""
        parts = [part.strip() for part in path.split(" | ")]
        return any(part.strip('"') in self.names or self.finds(part) for part in parts)


def named_format(name: str) -> KnownFormat:
    """Return the format of a name; `UsageError` names the nearest one."""
    if name in FORMATS:
        return FORMATS[name]
    near = nearest(name, FORMATS)
    hint = f"did you mean {near}?" if near else "`poison-guard formats` lists them"
    raise UsageError(f"there is no known format {name!r}; {hint}")


def find_format(frame: pd.DataFrame) -> KnownFormat | None:
    """Return the first known format that a frame fits (as read: raw columns, nested cells as JSON text)."""
    sample = _sample(frame)
    return next((entry for entry in FORMATS.values() if _misfit(entry, sample) is None), None)


def fit_format(entry: KnownFormat, frame: pd.DataFrame, *, shown: str, joined: Sequence[RawTable] = ()) -> FittedFormat:
    """Return what a contract maps of `frame`, a file of a format, joined to the rows of a second file.

    Raises `DataError` if the file, called `shown`, is not of this format.
    """
    sample = _sample(frame)
    misfit = _misfit(entry, sample)
    if misfit is not None:
        other = find_format(frame)
        hint = f"; it looks like {other.name} ({other.title})" if other else ""
        raise DataError(f"{shown} is not {entry.name} ({entry.title}): {misfit}{hint}")
    filled = {role: _filled(path, entry, sample) for role, path in entry.roles.items()}
    join = ("", "", "")
    if joined:
        if entry.join is None:
            raise UsageError(f"the format {entry.name} has no second file; leave --join out")
        join = (entry.join.name, _pruned(entry.join.key, sample), entry.join.to)
        sample = _with_joined(frame, filled, join, joined)
    roles = {role: path for role, text in filled.items() if (path := _pruned(text, sample))}
    if not entry.explode:
        _by_uniqueness(roles, sample)
    if not entry.explode and "group" in roles and len({str(value) for value in sample.values(roles["group"])}) == 1:
        del roles["group"]
    features = tuple(path for path in entry.features if sample.has(path))
    missing = "" if joined else entry.missing
    return FittedFormat(entry, entry.kind, roles, features, _lists(entry, sample), join, missing)


def _sample(frame: pd.DataFrame) -> _Sample:
    return _of_table(read_frame(frame.head(_SAMPLE), Limits(max_columns=100_000)).table)


def _of_table(table: Any) -> _Sample:
    return _Sample(dict.fromkeys(table.column_names), rows_of(table))


def _with_joined(
    frame: pd.DataFrame, roles: Mapping[str, str], join: tuple[str, str, str], joined: Sequence[RawTable]
) -> _Sample:
    limits = Limits(max_columns=100_000)
    shape = Shape(tuple((path, False) for path in roles.values()), "", join)
    try:
        reshaper = Reshaper(shape, limits, shape.joined_by(joined))
    except Unreadable as refusal:
        raise DataError(f"the file of --join cannot be used: {refusal}") from None
    return _of_table(reshaper.with_partners(read_frame(frame.head(_SAMPLE), limits).table))


def _expression(path: str) -> Expression:
    return parse_path(path)


def _misfit(entry: KnownFormat, sample: _Sample) -> str | None:
    """Return why a sample is not of a format; None if it is."""
    columns = "\n".join(sample.names)
    for pattern in entry.names:
        if not re.search(pattern, columns):
            return "the names of its columns are others"
    for name in entry.lacks:
        if name in sample.names:
            return f"it has a column {name}"
    if entry.only and set(sample.names) - set(entry.has):
        return f"it has other columns than {', '.join(entry.has)}"
    for path in entry.has:
        if not sample.has(_filled(path, entry, sample)):
            return f"nothing is at {_filled(path, entry, sample)}"
    for path, pattern in entry.holds.items():
        values = [v for v in sample.values(path) if v not in (None, "")]
        if not values or any(re.fullmatch(pattern, _word(v)) is None for v in values):
            return f"its {path} is something else"
    return None


def _word(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip(" ")


def _filled(path: str, entry: KnownFormat, sample: _Sample) -> str:
    """Return a path with the parts of names that the entry's patterns found."""
    columns = "\n".join(sample.names)
    for pattern in entry.names:
        match = re.search(pattern, columns)
        for key, value in (match.groupdict() if match else {}).items():
            path = path.replace(f"{{{key}}}", value or "")
    return path


def _pruned(text: str, sample: _Sample) -> str:
    """Return a path without the alternatives that have no column, or that find nothing below one; "" if none is left.

    Alternatives whose parts are all there come first. What follows one that finds something in every row is left out.
    """
    kept: list[str] = []
    covered = [False] * len(sample.rows)
    parts = [(part, [t for t in part.split(" + ") if _is_there(t, sample)]) for part in text.split(" | ")]
    for _, there in sorted(parts, key=lambda part: len(part[1]) <= part[0].count(" + ")):
        path = _plain(" + ".join(there), sample)
        if not path or (path not in sample.names and not sample.finds(path)):
            continue
        kept.append(path)
        covered = [c or not is_empty(v) for c, v in zip(covered, sample.values(path), strict=True)]
        if all(covered):
            break
    return " | ".join(kept) if any(covered) else ""


def _is_there(path: str, sample: _Sample) -> bool:
    try:
        return _expression(path).is_there(sample.names)
    except PathError:
        return False


def _plain(path: str, sample: _Sample) -> str:
    """Return the bare name of a column that a path quotes and no more."""
    bare = path.strip().strip('"')
    return bare if bare in sample.names else path.strip()


def _by_uniqueness(roles: dict[str, str], sample: _Sample) -> None:
    """Let an id that repeats be what is judged: a verdict on a reply comes with the reply's id, one per person."""
    if "record_id" not in roles:
        return
    ids = [str(value) for value in sample.values(roles["record_id"]) if value is not None]
    if len(ids) == len(sample.rows) and len(set(ids)) >= _REPEATS * len(ids):
        return
    path = roles.pop("record_id")
    if len(set(ids)) > 1 and ids and "source_id" in roles:
        roles.setdefault("item_id", path)


def _lists(entry: KnownFormat, sample: _Sample) -> str:
    """Return the lists to explode that the file has."""
    parts = [_filled(part.strip(), entry, sample) for part in entry.explode.split(",") if part.strip()]
    return ", ".join(part for part in parts if _is_there(part, sample))
