"""Feature columns of any kind as one matrix: numbers straightened, categories by rarity; fitted on trusted rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from poison_guard.errors import DataError
from poison_guard.numerics.robust import column_scale, quantile_skew
from poison_guard.signals.anomaly.base import HUGE, LIMIT

__all__ = ["FEATURE", "FeatureMap", "numbers", "words"]

FEATURE = "feature."
"""Prefix of the feature columns of a records frame."""
_STRAIGHTER = 0.05  # skew a logarithm must take away to be used


def numbers(column: pd.Series) -> np.ndarray:
    """Return `column` as float64 ``(n,)``; what is no number is NaN."""
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def words(column: pd.Series) -> pd.Series:
    """Return `column` as strings, numbers canonically (4.0 is "4"), missing cells as NaN."""
    if not pd.api.types.is_numeric_dtype(column):
        return column.astype("str")
    values = column.astype("float64")
    return values.map(lambda v: f"{v:.15g}", na_action="ignore").astype("str")


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
    missing: _Rarity

    @classmethod
    def fit(cls, values: np.ndarray) -> Self:
        finite = values[np.abs(values) < HUGE]
        if len(finite) == 0:
            finite = np.zeros(1)
        knee = _knee(finite)
        centre, scale = column_scale(_bend(finite, knee)[:, None])
        constant = finite.min() == finite.max()
        # any other value than the one that all trusted rows share is as strange as an unseen category
        width = 1e-3 * max(1.0, abs(float(finite[0]))) if constant else float(scale[0])
        return cls(knee, float(centre[0]), width, _Rarity.fit(pd.Series(np.isnan(values))))

    def apply(self, values: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = (_bend(values, self.knee) - self.centre) / self.scale
        return np.clip(np.nan_to_num(scaled, nan=0.0, posinf=LIMIT, neginf=-LIMIT), -LIMIT, LIMIT)


def _knee(finite: np.ndarray) -> float:
    """Return where a signed logarithm bends, or 0 when the column is straighter as it is."""
    sizes = np.abs(finite[finite != 0])
    if len(sizes) < 2:
        return 0.0
    knee = 0.1 * float(np.median(sizes))
    if not 0 < knee < np.inf:
        return 0.0
    plain, bent = np.abs(quantile_skew(np.column_stack([finite / knee, _bend(finite, knee)])))
    return knee if bent + _STRAIGHTER < plain else 0.0


def _bend(values: np.ndarray, knee: float) -> np.ndarray:
    if knee == 0.0:
        return values
    with np.errstate(over="ignore"):
        return np.sign(values) * np.log1p(np.abs(values) / knee)


class FeatureMap:
    """Map the ``feature.*`` columns of a records frame to a finite matrix.

    A numeric column becomes its robust z-score (of a signed logarithm when that makes it symmetric), missing cells the
    median. A string column becomes the rarity of its value among the trusted rows, 0 = common, in nats. One last column
    adds up how surprising the missing cells of the numeric columns are. Values never seen, missing cells where none
    was, and any change of a constant column come out large; nothing comes out infinite.
    """

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
        self.string_: dict[str, _Rarity] = {}
        for name in names:
            if pd.api.types.is_numeric_dtype(frame[name]):
                self.numeric_[name] = _Number.fit(numbers(frame[name]))
            else:
                self.string_[name] = _Rarity.fit(words(frame[name]))
        self.outputs_ = (*self.numeric_, *self.string_, *(("",) if self.numeric_ else ()))
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The feature column behind each output column; the last one, for missing cells, stands for none: ``""``."""
        return self.outputs_

    def transform(self, frame: pd.DataFrame) -> np.ndarray:
        """Return ``(n, d)`` float32, finite; `DataError` names a feature column that is not there."""
        out = np.zeros((len(frame), len(self.outputs_)), dtype=np.float32)
        for at, name in enumerate(self.outputs_):
            if name and name not in frame.columns:
                raise DataError(
                    f"feature column {name!r} is in the trusted set but not in the batch; check columns.features"
                )
            if name in self.numeric_:
                number, values = self.numeric_[name], numbers(frame[name])
                out[:, at] = number.apply(values)
                out[:, -1] += number.missing.apply(pd.Series(np.isnan(values)))
            elif name in self.string_:
                out[:, at] = self.string_[name].apply(words(frame[name]))
        return out

    def compared(self, frame: pd.DataFrame) -> np.ndarray:
        """Return ``(n, d)`` float32 to compare records by: as `transform`, with missing numbers as NaN, not summed."""
        out = self.transform(frame)[:, : len(self.numeric_) + len(self.string_)]
        for at, name in enumerate(self.numeric_):
            out[np.isnan(numbers(frame[name])), at] = np.nan
        return out
