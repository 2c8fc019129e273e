"""The anomaly signal of a feed: feature map, ensemble, conformal calibration, and why a record is strange."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd

from poison_guard.errors import DataError, UsageError
from poison_guard.records import Level, Reason, SignalEvidence
from poison_guard.signals.anomaly.base import MAX_REFERENCE
from poison_guard.signals.anomaly.calibrate import ALL, Calibration, Drift, drift, suspects
from poison_guard.signals.anomaly.ensemble import Ensemble
from poison_guard.signals.anomaly.features import FEATURE, FeatureMap, as_numbers, as_words
from poison_guard.signals.anomaly.mahalanobis import trimmed_covariance
from poison_guard.signals.joint import Known
from poison_guard.signals.sampling import hash_order

__all__ = ["AnomalyModel", "Explainer"]


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
            column = as_words(trusted[name])
            return _Beyond(0.0, 0.0, frozenset(column.dropna()), bool(column.isna().any()))
        values = as_numbers(trusted[name])
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
        values = as_numbers(column)
        missing, outside = np.isnan(values), (values < trusted.low) | (values > trusted.high)
    else:
        strings = as_words(column)
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


_REPORTED_P = 0.05  # p-value up to which a row gets a reason
_BLOCK = 65_536  # rows scored at a time


@dataclass(frozen=True, slots=True)
class AnomalyModel:
    """How strange records are against the trusted ones, as p-values that hold for each group.

    Made by `AnomalyModel.fit` from trusted rows, or by `AnomalyModel.fit_unsupervised` from an untrusted batch. The
    p-value of a record depends on the fitted model and the record alone.
    """

    features: FeatureMap
    ensemble: Ensemble
    explainer: Explainer
    reference: np.ndarray
    """Vectors ``(m, d)`` float32 of the rows that the ensemble was fitted on, as `vectors` gives them."""
    calibration: Calibration
    """What records are ranked among: the signal's own scores, or what `joint_scores` makes of them."""
    known: Known
    supervised: bool = True

    @classmethod
    def fit(
        cls,
        reference: pd.DataFrame,
        calibration: pd.DataFrame,
        *,
        groups: pd.Series | None = None,
        rate: float = 0.01,
        mode: str = "reference",
        seed: int = 0,
        device: str = "auto",
        threads: int | None = None,
    ) -> Self:
        """Learn what is usual from `reference` rows and rank against `calibration` rows, which must not overlap.

        `groups` gives the group of each calibration row (default: its ``group`` column when there is one). A group with
        too few rows for `rate` is ranked among all calibration rows, and `notes` says so.
        `mode` is the ensemble's.
        """
        if not 0 < rate < 1:
            raise UsageError(f"rate must be in (0, 1), got {rate}")
        features = FeatureMap().fit(reference)
        ensemble = Ensemble(mode=mode, seed=seed, device=device, threads=threads).fit(features.transform(reference))
        explainer = Explainer(features).fit(pd.concat([reference, calibration], ignore_index=True))
        nothing = Calibration.fit(np.empty(0), np.empty(0, dtype=object), rate)
        known = Known(ensemble.held_out_, np.empty(0))
        model = cls(features, ensemble, explainer, features.compared(reference), nothing, known, mode == "reference")
        scores = model.score(calibration)
        fitted = Calibration.fit(scores, _names(calibration, groups), rate)
        return replace(model, calibration=fitted, known=Known(ensemble.held_out_, scores))

    @classmethod
    def fit_unsupervised(
        cls,
        frame: pd.DataFrame,
        *,
        groups: pd.Series | None = None,
        rate: float = 0.01,
        seed: int = 0,
        device: str = "auto",
        threads: int | None = None,
    ) -> Self:
        """Learn from the batch itself, for feeds without a trusted set: two disjoint subsamples chosen by content.

        p-values then say how a record ranks within its batch, attackers included: about `rate` of all fall below
        `rate`, and a large campaign can make itself look usual.
        """
        if len(frame) < 2:
            raise DataError(f"the anomaly signal needs 2 records to compare, got {len(frame)}; add trusted records")
        order = hash_order(FeatureMap().fit(frame).transform(frame), seed)[: 2 * MAX_REFERENCE]
        reference, calibration = (frame.iloc[half].reset_index(drop=True) for half in (order[::2], order[1::2]))
        names = pd.Series(_names(frame, groups)[order[1::2]])
        options: dict[str, Any] = {"rate": rate, "seed": seed, "device": device, "threads": threads}
        return cls.fit(reference, calibration, groups=names, mode="unsupervised", **options)

    def ranked_among(self, calibration: Calibration) -> Self:
        """Return the same model with another calibration, that of all record signals together."""
        return replace(self, calibration=calibration)

    def score(self, frame: pd.DataFrame) -> np.ndarray:
        """Return raw scores ``(n,)``, larger = stranger, computed in blocks of bounded memory."""
        parts = [
            self.ensemble.score(self.features.transform(frame.iloc[start : start + _BLOCK]))
            for start in range(0, len(frame), _BLOCK)
        ]
        return np.concatenate(parts) if parts else np.empty(0)

    def vectors(self, frame: pd.DataFrame) -> np.ndarray:
        """Return ``(n, d)`` float32 to compare records by, in scales of the reference; NaN for missing numbers."""
        return self.features.compared(frame)

    def reference_vectors(self) -> np.ndarray | None:
        """Return the vectors of the trusted reference ``(m, d)`` float32; None when the model was fitted on a batch."""
        return self.reference if self.supervised else None

    def evidence(self, frame: pd.DataFrame, groups: pd.Series | None = None) -> SignalEvidence:
        """Return conformal p-values ``(n,)`` of the rows of `frame`, with a reason for each row up to 0.05."""
        names = _names(frame, groups)
        scores = self.score(frame)
        p = self.calibration.p(scores, names)
        reported = np.flatnonzero(p <= _REPORTED_P)
        return SignalEvidence("anomaly", Level.RECORD, p, self._reasons(frame, p, reported))

    def _reasons(self, frame: pd.DataFrame, p: np.ndarray, reported: np.ndarray) -> dict[int, Reason]:
        n = self.calibration.n
        if not self.supervised:
            rank = np.rint(p * (n + 1)).astype(int)  # among the calibration rows, so that partitions do not matter
            return {int(row): Reason("strange_in_batch", {"rank": int(rank[row]), "n": n}) for row in reported}
        reasons = self.explainer.reasons(frame.iloc[reported], p[reported], n)
        return {int(reported[row]): why for row, why in reasons.items()}

    def suspects(
        self, trusted: pd.DataFrame, verdicts: np.ndarray, budget: int, *, groups: pd.Series | None = None
    ) -> list[tuple[int, float, Reason | None]]:
        """Return position, p-value and reason of at most `budget` trusted rows to look at again, strangest first.

        `verdicts` ``(n,)`` says what people found: 1 right, -1 wrong, 0 for rows nobody has looked at, which are asked
        for.
        """
        evidence = self.evidence(trusted, groups)
        rank = np.empty(len(trusted))
        rank[np.lexsort((-self.score(trusted), evidence.p))] = np.arange(len(trusted))  # the score where p-values tie
        rows = suspects(rank, verdicts, budget)
        return [(int(row), float(evidence.p[row]), evidence.reasons.get(int(row))) for row in rows]

    def drift(self, others: pd.DataFrame) -> Drift | None:
        """Return how trusted rows that nothing was fitted on lie among the calibration rows; None without either."""
        return (
            drift(np.sort(self.known.calibration), self.score(others), self.calibration.rate) if len(others) else None
        )

    def notes(self) -> tuple[Reason, ...]:
        """Return what the signal has to say about itself: groups, or a feed, with too few calibration rows."""
        return self.calibration.notes()

    def calibration_facts(self) -> dict[str, Any]:
        """Return the JSON-able facts of `Calibration.facts`, and whether they are of trusted rows."""
        return {"supervised": self.supervised, **self.calibration.facts()}


def _names(frame: pd.DataFrame, groups: pd.Series | None) -> np.ndarray:
    """Return the group of each row as ``(n,)`` strings; no group is ``""``."""
    if groups is None:
        groups = frame["group"] if "group" in frame.columns else pd.Series([ALL] * len(frame), dtype="str")
    if len(groups) != len(frame):
        raise DataError(f"groups has {len(groups)} entries for {len(frame)} records")
    return groups.astype("str").fillna(ALL).to_numpy(dtype=object)
