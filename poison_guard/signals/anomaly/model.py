"""The anomaly signal of a feed: feature map, ensemble and conformal calibration in one fitted value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd

from poison_guard.errors import DataError, UsageError
from poison_guard.numerics.conformal import attainable_p, conformal_p, rows_needed
from poison_guard.numerics.sampling import hash_order
from poison_guard.records import Level, Reason, SignalEvidence
from poison_guard.signals.anomaly.base import MAX_REFERENCE
from poison_guard.signals.anomaly.ensemble import Ensemble
from poison_guard.signals.anomaly.explain import Explainer
from poison_guard.signals.anomaly.features import FeatureMap

__all__ = ["AnomalyModel"]

_TOLD = 0.05  # p-value up to which a row gets a reason
_BLOCK = 65_536  # rows scored at a time
_ALL = ""  # the group that stands for all calibration rows together


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
    calibration: Mapping[str, np.ndarray]
    """Ascending scores of the calibration rows of each calibrated group; ``""`` stands for all rows together."""
    small: Mapping[str, int]
    """Calibration rows of the groups that have too few of them."""
    rate: float
    supervised: bool = True

    @classmethod
    def fit(
        cls,
        reference: pd.DataFrame,
        calibration: pd.DataFrame,
        *,
        groups: pd.Series | None = None,
        rate: float = 0.01,
        seed: int = 0,
        device: str = "auto",
        threads: int | None = None,
    ) -> Self:
        """Learn what is usual from `reference` rows and rank against `calibration` rows, which must not overlap.

        `groups` gives the group of each calibration row (default: its ``group`` column when there is one). A group with
        too few rows for `rate` is ranked among all calibration rows, and `notes` says so.
        """
        if not 0 < rate < 1:
            raise UsageError(f"rate must be in (0, 1), got {rate}")
        features = FeatureMap().fit(reference)
        ensemble = Ensemble(seed=seed, device=device, threads=threads).fit(features.transform(reference))
        explainer = Explainer(features).fit(pd.concat([reference, calibration], ignore_index=True))
        model = cls(features, ensemble, explainer, features.compared(reference), {}, {}, rate)
        calibrated, small = _by_group(model.score(calibration), _names(calibration, groups), rows_needed(rate))
        return replace(model, calibration=calibrated, small=small)

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
        model = cls.fit(reference, calibration, groups=names, rate=rate, seed=seed, device=device, threads=threads)
        return replace(model, supervised=False)

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
        p = np.ones(len(frame))
        for name in set(names):
            rows = names == name
            p[rows] = conformal_p(self.calibration.get(name, self.calibration[_ALL]), scores[rows])
        told = np.flatnonzero(p <= _TOLD)
        return SignalEvidence("anomaly", Level.RECORD, p, self._reasons(frame, p, told))

    def _reasons(self, frame: pd.DataFrame, p: np.ndarray, told: np.ndarray) -> dict[int, Reason]:
        n = len(self.calibration[_ALL])
        if not self.supervised:
            rank = np.rint(p * (n + 1)).astype(int)  # among the calibration rows, so that partitions do not matter
            return {int(row): Reason("strange_in_batch", {"rank": int(rank[row]), "n": n}) for row in told}
        reasons = self.explainer.reasons(frame.iloc[told], p[told], n)
        return {int(told[row]): why for row, why in reasons.items()}

    def notes(self) -> tuple[Reason, ...]:
        """Return what the signal has to say about itself: groups, or a feed, with too few calibration rows."""
        needed = rows_needed(self.rate)
        small = dict(self.small)
        if len(self.calibration[_ALL]) < needed:
            small = {_ALL: len(self.calibration[_ALL])}
        return tuple(
            Reason("few_calibration_rows", {"n": n, "needed": needed, "group": name}) for name, n in small.items()
        )

    def calibration_facts(self) -> dict[str, Any]:
        """Return JSON-able facts: rows, attainable p and score quantiles of each calibrated group, ``""`` being all."""
        shares = np.linspace(0.0, 1.0, 101)
        return {
            "supervised": self.supervised,
            "rate": self.rate,
            "needed": rows_needed(self.rate),
            "groups": {
                name: {
                    "n": len(scores),
                    "attainable_p": attainable_p(len(scores)),
                    "quantiles": np.quantile(scores, shares).tolist() if len(scores) else [],
                }
                for name, scores in self.calibration.items()
            },
            "pooled": dict(self.small),
        }


def _by_group(scores: np.ndarray, names: np.ndarray, needed: int) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Return the ascending scores of all and of each group with `needed` rows, and the sizes of the other groups."""
    calibrated = {_ALL: np.sort(scores)}
    small: dict[str, int] = {}
    for name in sorted(set(names) - {_ALL}):
        rows = np.sort(scores[names == name])
        if len(rows) >= needed:
            calibrated[name] = rows
        else:
            small[name] = len(rows)
    return calibrated, small


def _names(frame: pd.DataFrame, groups: pd.Series | None) -> np.ndarray:
    """Return the group of each row as ``(n,)`` strings; no group is ``""``."""
    if groups is None:
        groups = frame["group"] if "group" in frame.columns else pd.Series([_ALL] * len(frame), dtype="str")
    if len(groups) != len(frame):
        raise DataError(f"groups has {len(groups)} entries for {len(frame)} records")
    return groups.astype("str").fillna(_ALL).to_numpy(dtype=object)
