"""Why a record is strange, in the user's own columns: outside the trusted range, never seen, or an odd combination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from poison_guard.numerics.robust import trimmed_covariance
from poison_guard.records import Reason
from poison_guard.signals.anomaly.features import FEATURE, FeatureMap, numbers, words

__all__ = ["Explainer"]

_MOST_NAMED = 3  # features named in one reason
_MOST_CHARS = 80  # of a hostile value shown in a reason
_MOST_COLUMNS = 512  # columns up to which combinations are taken apart
_ROWS = 4096  # trusted rows that combinations are compared with


@dataclass(frozen=True, slots=True)
class _Beyond:
    """One feature's trusted values: a range for numbers, a set for strings."""

    low: float
    high: float
    seen: frozenset[str] | None
    missing: bool  # some trusted row lacks the value


class Explainer:
    """Reasons for single rows; fitted on all trusted rows."""

    def __init__(self, features: FeatureMap) -> None:
        self.features = features

    def fit(self, trusted: pd.DataFrame) -> Self:
        """Learn ranges and combinations from `trusted` rows."""
        self.beyond_ = {name: self._values(trusted, name) for name in self.features.columns if self._is_single(name)}
        vectors = self.features.transform(trusted.iloc[:_ROWS]).astype(np.float64)
        self.mean_, covariance = trimmed_covariance(vectors[:, :_MOST_COLUMNS])
        self.precision_ = np.linalg.inv(covariance)
        return self

    def reasons(self, frame: pd.DataFrame, p: np.ndarray, calibrated_on: int) -> dict[int, Reason]:
        """Return a reason for each row of `frame`; `p` ``(n,)`` are the rows' p-values against `calibrated_on` rows."""
        vectors = self.features.transform(frame)
        found = self._outside(frame, vectors)
        order = self._combinations(vectors)
        for row in range(len(frame)):
            if row not in found:
                found[row] = order[row] or Reason("far_from_trusted", {"p": float(p[row]), "n": calibrated_on})
        return found

    def _is_single(self, name: str) -> bool:
        """Return whether an output column stands for one cell of a feature column, and no part of one."""
        return bool(name) and name not in self.features.spread_

    def _values(self, trusted: pd.DataFrame, name: str) -> _Beyond:
        if name not in self.features.numeric_:
            column = words(trusted[name])
            return _Beyond(0.0, 0.0, frozenset(column.dropna()), bool(column.isna().any()))
        values = numbers(trusted[name])
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (np.nan, np.nan)
        return _Beyond(low, high, None, bool(np.isnan(values).any()))

    def _outside(self, frame: pd.DataFrame, vectors: np.ndarray) -> dict[int, Reason]:
        """Return, for rows with a value no trusted row has, the one farthest out."""
        far = np.zeros(len(frame))
        found: dict[int, Reason] = {}
        for at, name in enumerate(self.features.columns):
            if not self._is_single(name):
                continue
            trusted = self.beyond_[name]
            values, gone, outside = _unlike(frame[name], trusted)
            excess = np.where(gone, vectors[:, -1], np.abs(vectors[:, at])) * (outside | gone)
            for row in np.flatnonzero(excess > far):
                found[int(row)] = _reason(name.removeprefix(FEATURE), values[row], trusted, gone=bool(gone[row]))
            far = np.maximum(far, excess)
        return found

    def _combinations(self, vectors: np.ndarray) -> list[Reason | None]:
        """Return for each row the few features that least fit the others, given all the others.

        A feature's part is how far the squared Mahalanobis distance falls when it is replaced by what the other
        features predict for it.
        """
        off = (vectors[:, :_MOST_COLUMNS].astype(np.float64) - self.mean_) @ self.precision_
        parts = off**2 / np.diag(self.precision_)
        names = self.features.columns[: parts.shape[1]]
        single = list(dict.fromkeys(name for name in names if name))
        if len(single) < 2:
            return [None] * len(vectors)
        kept = [parts[:, [at for at, other in enumerate(names) if other == name]].sum(axis=1) for name in single]
        parts, labels = np.column_stack(kept), np.array([name.removeprefix(FEATURE) for name in single])
        order = np.argsort(-parts, axis=1, kind="stable")[:, :_MOST_NAMED]
        top = np.take_along_axis(parts, order, axis=1)
        most = np.maximum(2, (top >= 0.25 * top[:, :1]).sum(axis=1))
        return [
            Reason("unusual_combination", {"features": [str(f) for f in labels[order[row, : most[row]]]]})
            for row in range(len(vectors))
        ]


def _unlike(column: pd.Series, trusted: _Beyond) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the values, where they are missing though no trusted row lacks them, and where no trusted row has them."""
    if trusted.seen is None:
        values = numbers(column)
        missing, outside = np.isnan(values), (values < trusted.low) | (values > trusted.high)
    else:
        strings = words(column)
        values = strings.to_numpy(dtype=object)
        missing, outside = strings.isna().to_numpy(), ~strings.isin(trusted.seen).to_numpy()
    return values, missing & (not trusted.missing), outside & ~missing


def _reason(feature: str, value: float | str, trusted: _Beyond, *, gone: bool) -> Reason:
    if gone:
        return Reason("never_missing", {"feature": feature})
    if isinstance(value, str):
        return Reason("unseen_value", {"feature": feature, "value": value[:_MOST_CHARS]})
    number = float(value) if np.isfinite(value) else str(value)  # JSON has no infinity
    return Reason("beyond_trusted", {"feature": feature, "value": number, "low": trusted.low, "high": trusted.high})
