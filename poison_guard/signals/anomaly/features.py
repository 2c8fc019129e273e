"""Feature columns of any kind as one matrix: numbers, categories, embeddings and times; fitted on trusted rows."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from poison_guard.errors import DataError
from poison_guard.numerics.robust import bend, column_scale, find_knee
from poison_guard.signals.anomaly.base import HUGE, LIMIT, Fitted

__all__ = ["FEATURE", "CyclicTime", "Embedding", "FeatureMap", "as_numbers", "as_words", "text_encoding"]


WIDEST = 4096
"""Numbers of an embedding that are read; the rest is left out."""
_MOST = 0.99  # share of the trusted cells that must be of a kind
_ONE_LENGTH = 0.5  # share of trusted lists that have the commonest length, from which all lists should have it
_PARTS = 8  # of a sequence: jitter of single numbers averages out, and an event lost moves the edges of parts little
_MANY = 50  # different moments below which a column of dates is one of names (releases, seasons)
_PEEK = 1000  # cells that tell the kind
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?")
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Embedding:
    """Lists of numbers, each number in robust scales from its median.

    Where trusted lists are of many lengths they are sequences, such as a pointer's path: each is read as the means of
    8 equal parts of its way, and the logarithm of its length.
    """

    centre: np.ndarray
    scale: np.ndarray
    sequence: bool

    @classmethod
    def fit(cls, column: pd.Series) -> Self:
        """Learn from trusted cells; an embedding's length is the most common one."""
        lists = [cell for cell in map(_listed, column) if cell is not None]
        lengths = np.bincount([len(cell) for cell in lists])
        sequence = lengths.max() < _ONE_LENGTH * len(lists)
        alike = map(_parts, lists) if sequence else [cell for cell in lists if len(cell) == lengths.argmax()]
        centre, scale = column_scale(np.array(list(alike)))
        return cls(centre, scale, bool(sequence))

    @property
    def width(self) -> int:
        """Numbers in a cell."""
        return len(self.centre)

    def apply(self, column: pd.Series) -> np.ndarray:
        """Return ``(n, width)`` float64; rows of NaN for cells that are no such list."""
        out = np.full((len(column), self.width), np.nan)
        for row, cell in enumerate(map(_listed, column)):
            if cell is not None and (self.sequence or len(cell) == self.width):
                out[row] = _parts(cell) if self.sequence else cell
        return np.clip((out - self.centre) / self.scale, -LIMIT, LIMIT)


def _parts(cell: np.ndarray) -> np.ndarray:
    """Return the means of the equal parts of a list, ``(9,)``; the last is the logarithm of its length."""
    sums, places = np.r_[0.0, np.cumsum(cell)], np.linspace(0, len(cell), _PARTS + 1)
    means = np.diff(np.interp(places, np.arange(len(sums)), sums)) * _PARTS / len(cell)
    return np.r_[means, np.log(len(cell))]


@dataclass(frozen=True, slots=True)
class CyclicTime:
    """Moments as points on two circles, the day and the week, in UTC.

    The date itself is left out: every later record would be stranger than the one before. Where it matters how long ago
    something was, map a column of numbers.
    """

    centre: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, column: pd.Series) -> Self:
        """Learn from trusted cells."""
        circles = _circles(column)
        return cls(*column_scale(circles[~np.isnan(circles[:, 0])]))

    @property
    def width(self) -> int:
        """Sine and cosine of the time of day and of the time of week."""
        return 4

    def apply(self, column: pd.Series) -> np.ndarray:
        """Return ``(n, 4)`` float64; rows of NaN for cells that are no moment."""
        return (_circles(column) - self.centre) / self.scale


def text_encoding(column: pd.Series) -> type[Embedding] | type[CyclicTime] | None:
    """Return what the strings of a trusted `column` hold when nearly all are lists of numbers or moments; else None."""
    cells = column.dropna().head(_PEEK)
    if not len(cells):
        return None
    if cells.str.startswith("[").mean() >= _MOST and np.mean([_listed(c) is not None for c in cells]) >= _MOST:
        return Embedding
    dated = cells.map(lambda cell: _DATE.fullmatch(cell) is not None).mean() >= _MOST
    return CyclicTime if dated and column.nunique() > _MANY and _times(cells).notna().mean() >= _MOST else None


def _listed(cell: object) -> np.ndarray | None:
    """Return the numbers of a cell such as ``[0.1, -2]``, None when it is no list of finite numbers."""
    if not isinstance(cell, str) or not cell.startswith("["):
        return None
    try:
        found = np.array(json.loads(cell)[:WIDEST], dtype=np.float64)
    except (ValueError, TypeError, RecursionError, OverflowError):
        return None
    return found if found.ndim == 1 and len(found) and np.isfinite(found).all() else None


def _times(column: pd.Series) -> pd.Series:
    return pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601")


def _circles(column: pd.Series) -> np.ndarray:
    times = _times(column)
    seconds = (times - pd.Timestamp("1970-01-01", tz="UTC")).dt.total_seconds().to_numpy(dtype=np.float64)
    day, week = (2 * np.pi * np.mod(seconds, length) / length for length in (_DAY, 7 * _DAY))
    return np.column_stack([np.sin(day), np.cos(day), np.sin(week), np.cos(week)])


FEATURE = "feature."
"""Prefix of the feature columns of a records frame."""
_NEAR_ZERO = 0.4
"""Trusted scales from zero within which a value is compared by its difference: there, noise is no share of it."""
_COMPARED = 64  # numbers of one cell that records are compared by
_NUMBERS = ("floating", "integer", "mixed-integer-float", "decimal")  # what pandas calls columns of Python's numbers


def as_numbers(column: pd.Series) -> np.ndarray:
    """Return `column` as float64 ``(n,)``, durations in seconds; what is no number is NaN."""
    if column.dtype.kind == "m":
        return np.asarray(pd.TimedeltaIndex(column).to_numpy() / np.timedelta64(1, "s"))
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def _is_number(name: str, column: pd.Series) -> bool:
    """Return whether a trusted column counts as numbers; `DataError` where they are complex."""
    kind = pd.api.types.infer_dtype(column, skipna=True) if column.dtype == object else ""
    if column.dtype.kind == "c" or kind == "complex":
        raise DataError(f"feature column {name!r} holds complex numbers; map their parts as two columns")
    return column.dtype.kind == "m" or pd.api.types.is_numeric_dtype(column) or kind in _NUMBERS


def as_words(column: pd.Series) -> pd.Series:
    """Return `column` as strings, numbers canonically (4.0 is "4"), moments in ISO 8601, missing cells as NaN.

    Each cell by itself: pandas would write all moments of a column alike, by what the others need.
    """
    if column.dtype.kind == "M":
        return column.map(pd.Timestamp.isoformat, na_action="ignore").astype("str")
    if column.dtype == object:
        return column.map(_word, na_action="ignore").astype("str")
    if not pd.api.types.is_numeric_dtype(column):
        return column.astype("str")
    values = column.astype("float64")
    return values.map(lambda v: f"{v:.15g}", na_action="ignore").astype("str")


def _word(cell: object) -> str:
    return str(cell.tolist() if isinstance(cell, np.ndarray) else cell)


@dataclass(frozen=True, slots=True)
class _Rarity:
    """Minus the log of the share of trusted rows whose value is as rare as this one, the row itself not counted."""

    surprise: pd.Series  # by value
    unseen: float
    missing: float

    @classmethod
    def fit(cls, column: pd.Series) -> Self:
        counts = column.value_counts(dropna=False)
        n = int(counts.sum())
        others = np.sort(np.repeat(counts.to_numpy() - 1, counts.to_numpy()))

        def surprise(seen: np.ndarray) -> np.ndarray:
            return -np.log((np.searchsorted(others, seen, side="right") + 1) / (n + 1))

        table = pd.Series(surprise(counts.to_numpy()), index=counts.index)
        unseen = float(surprise(np.array(0)))
        gone = table[table.index.isna()]
        return cls(table[table.index.notna()], unseen, float(gone.iloc[0]) if len(gone) else unseen)

    def apply(self, column: pd.Series) -> np.ndarray:
        found = column.map(self.surprise).to_numpy(dtype=np.float64, na_value=np.nan)
        found = np.where(np.isnan(found), self.unseen, found)
        return np.where(column.isna().to_numpy(), self.missing, found)


@dataclass(frozen=True, slots=True)
class _Number:
    """A numeric column in robust scales from its median, through a signed logarithm where that takes away skew."""

    knee: float  # 0: linear
    centre: float
    scale: float
    near_zero: float  # values up to here differ by their difference, larger ones by their ratio
    missing: _Rarity

    @classmethod
    def fit(cls, values: np.ndarray) -> Self:
        finite = values[np.abs(values) < HUGE]
        if len(finite) == 0:
            finite = np.zeros(1)
        knee = find_knee(finite)
        centre, scale = column_scale(bend(finite, knee)[:, None])
        constant = finite.min() == finite.max()
        # any other value than the one that all trusted rows share is as strange as an unseen category
        width = 1e-3 * max(1.0, abs(float(finite[0]))) if constant else float(scale[0])
        near_zero = _NEAR_ZERO * float(column_scale(finite[:, None])[1][0])
        return cls(knee, float(centre[0]), width, near_zero, _Rarity.fit(pd.Series(np.isnan(values))))

    def in_proportion(self, values: np.ndarray) -> np.ndarray:
        """Return signed logarithms of `values` ``(n,)`` in which a change of 5 % moves every large value by .05."""
        with np.errstate(invalid="ignore"):
            return np.clip(bend(values, self.near_zero), -LIMIT, LIMIT)

    def apply(self, values: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = (bend(values, self.knee) - self.centre) / self.scale
        return np.clip(np.nan_to_num(scaled, nan=0.0, posinf=LIMIT, neginf=-LIMIT), -LIMIT, LIMIT)


@dataclass(frozen=True, slots=True)
class _Spread:
    """A column whose cells hold several numbers."""

    cells: Embedding | CyclicTime
    missing: _Rarity

    @classmethod
    def fit(cls, kind: type[Embedding] | type[CyclicTime], column: pd.Series) -> Self:
        cells = kind.fit(column)
        return cls(cells, _Rarity.fit(pd.Series(np.isnan(cells.apply(column)[:, 0]))))


class FeatureMap(Fitted):
    """Map the ``feature.*`` columns of a records frame to a finite matrix.

    A numeric column becomes its robust z-score (of a signed logarithm when that makes it symmetric), missing cells the
    median; durations count in seconds. A list of numbers becomes a column for each, a moment its place in the day and
    the week (`text_encoding`). Any other column is text, and becomes the rarity of its value among trusted rows, 0 =
    common, in nats. One last column adds up how surprising the missing cells of all but text are. Values never seen,
    missing cells where none was, and any change of a constant column come out large; nothing comes out infinite. What
    kind a column has is decided by the trusted rows alone.
    """

    name: ClassVar[str] = "the feature map"

    def fit(self, frame: pd.DataFrame) -> Self:
        """Learn from trusted rows, at least one; `DataError` without feature columns or rows."""
        names = [c for c in frame.columns if str(c).startswith(FEATURE)]
        if not names:
            raise DataError(
                "the anomaly signal needs feature columns; name some under columns.features in the contract"
            )
        if len(frame) == 0:
            raise DataError("the anomaly signal cannot be fitted on 0 records; add trusted records first")
        self.numeric_: dict[str, _Number] = {}
        self.spread_: dict[str, _Spread] = {}
        self.string_: dict[str, _Rarity] = {}
        for name in names:
            if _is_number(name, frame[name]):
                self.numeric_[name] = _Number.fit(as_numbers(frame[name]))
                continue
            column = as_words(frame[name])
            if (kind := text_encoding(column)) is not None:
                self.spread_[name] = _Spread.fit(kind, column)
            else:
                self.string_[name] = _Rarity.fit(column)
        wide = [name for name, one in self.spread_.items() for _ in range(one.cells.width)]
        self.outputs_ = (*self.numeric_, *wide, *self.string_, *(("",) if self.numeric_ or self.spread_ else ()))
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The feature column behind each output column; the last one, for missing cells, stands for none: ``""``."""
        return self.outputs_

    def transform(self, frame: pd.DataFrame) -> np.ndarray:
        """Return ``(n, d)`` float32, finite; `DataError` names a feature column that is not there."""
        out = np.zeros((len(frame), len(self.outputs_)), dtype=np.float32)
        at = 0
        for name in dict.fromkeys(filter(None, self.outputs_)):
            cells, missing = self._cells(name, frame)
            out[:, at : at + cells.shape[1]] = np.nan_to_num(cells)
            if missing is not None:
                out[:, -1] += missing
            at += cells.shape[1]
        return out

    def compared(self, frame: pd.DataFrame) -> np.ndarray:
        """Return ``(n, d)`` float32 to compare records by: missing cells are NaN.

        Numbers are compared in proportion (`_Number.in_proportion`), everything else as by `transform`; of an embedding
        the first 64 numbers: enough to see copies.
        """
        parts = []
        for name in dict.fromkeys(filter(None, self.outputs_)):
            cells = self._cells(name, frame)[0][:, :_COMPARED]
            if name in self.numeric_:
                cells = self.numeric_[name].in_proportion(as_numbers(frame[name]))[:, None]
            parts.append(cells)
        return np.concatenate(parts, axis=1).astype(np.float32)

    def _cells(self, name: str, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray | None]:
        """Return one column's numbers ``(n, w)``, NaN where missing, and how surprising each missing cell is."""
        if name not in frame.columns:
            raise DataError(
                f"feature column {name!r} is in the trusted set but not in the batch; check columns.features"
            )
        if name in self.string_:
            return self.string_[name].apply(as_words(frame[name]))[:, None], None
        if name in self.numeric_:
            values, missing = as_numbers(frame[name]), self.numeric_[name].missing
            cells = np.where(np.isnan(values), np.nan, self.numeric_[name].apply(values))[:, None]
        else:
            cells, missing = self.spread_[name].cells.apply(as_words(frame[name])), self.spread_[name].missing
        return cells, missing.apply(pd.Series(np.isnan(cells[:, 0])))
