"""Scores to p-values that hold for each group, what few rows can do, suspects to label, and drift from the anchor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from poison_guard.numerics.intervals import normal_quantile
from poison_guard.records import Reason
from poison_guard.signals.conformal import ALL, Calibration, conformal_p, held_bounds

__all__ = ["ALL", "Calibration", "Drift", "Tail", "drift", "label_trim", "suspects"]

_PARTED = 0.001  # chance, per look, that a calibration nothing has happened to is said to have parted
_TAILS = (0.05, 0.2)  # rates at which tails are compared, besides the feed's own


def suspects(p: np.ndarray, verdicts: np.ndarray, budget: int) -> np.ndarray:
    """Return the positions of at most `budget` trusted rows that people should look at next, strangest first.

    `p` ``(n,)`` are the rows' own p-values among the calibration rows (or ranks), `verdicts` ``(n,)`` what people said
    of them: 1 is right, -1 is wrong, 0 nobody has looked. The first step of Label-Trim (see `label_trim`).

    >>> suspects(np.array([0.5, 0.01, 0.02, 0.3]), np.array([0, 1, 0, 0]), 2).tolist()
    [2, 3]
    """
    order = np.argsort(p, kind="stable")
    return order[verdicts[order] == 0][: max(0, budget)]


def label_trim(verdicts: np.ndarray) -> np.ndarray:
    """Return which trusted rows stay ``(n,)`` bool: all but those that people found wrong.

    Rows nobody looked at stay, however strange, and so do strange ones that are right: they are why honest records look
    strange too. Dropping the top without labels would hold more honest records than stated; leaving the wrong ones in
    hides attacks like them. What contamination is left makes p-values larger, never smaller.

    References: Bashari, Sesia and Romano, "Robust conformal outlier detection under contaminated reference data"
    (2025).

    >>> label_trim(np.array([0, -1, 1])).tolist()
    [True, False, True]
    """
    return np.asarray(verdicts) >= 0


@dataclass(frozen=True, slots=True)
class Tail:
    """How many trusted rows have a p-value up to a rate, and how many may."""

    rate: float
    held: int
    low: int
    high: int

    @property
    def within(self) -> bool:
        """Whether chance explains the count."""
        return self.low <= self.held <= self.high


@dataclass(frozen=True, slots=True)
class Drift:
    """How the scores of other trusted rows lie among those of the calibration rows, under the same model."""

    n: int
    """The other rows."""
    auc: float
    """Chance that one of them is stranger than a calibration row, ties half; 0.5 where nothing has changed."""
    low: float
    high: float
    """Bounds of `auc`, 95 %."""
    ks_p: float
    """Chance of so large a distance between the two distributions where nothing has changed."""
    tails: tuple[Tail, ...]
    """The feed's rate first, then larger ones."""

    @property
    def parted(self) -> bool:
        """Whether one of the tests says that something has changed: by chance once in a thousand looks."""
        return self.ks_p <= _PARTED / (1 + len(self.tails)) or not all(tail.within for tail in self.tails)

    def notes(self) -> tuple[Reason, ...]:
        """Return one reason where they have parted, none where they have not."""
        if not self.parted:
            return ()
        tail = next((tail for tail in self.tails if not tail.within), self.tails[0])
        args = {"n": self.n, "rate": tail.rate, "held": tail.held, "low": tail.low, "high": tail.high}
        return (Reason("calibration_drift", {**args, "auc": round(self.auc, 3)}),)


def drift(calibration: np.ndarray, others: np.ndarray, rate: float) -> Drift | None:
    """Compare the scores ``(m,)`` of calibration rows with those ``(n,)`` of other trusted rows, by the same model.

    Two questions are asked with it. The frozen anchor by today's model: does an honest record of then still look as
    strange as the calibration says? Rows trusted since by the anchor's model: is what was entered like what was there?
    Only the second sees wrong rows that today's model has learned from. Tails (what share would be held, beta-binomial)
    and the whole (Kolmogorov and Smirnov) are tested apart. None where either side has no row.

    References: DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating
    characteristic curves" (1988), for the bounds of the AUC.
    """
    m, n = len(calibration), len(others)
    if not m or not n:
        return None
    calibration_scores, others_sorted = np.sort(calibration), np.sort(others)
    auc, error = _auc(calibration_scores, others_sorted)
    width = normal_quantile(0.025) * error
    p = conformal_p(calibration_scores, others_sorted)
    rates = (rate, *(wide for wide in _TAILS if wide > rate))
    each = _PARTED / (1 + len(rates))
    tails = tuple(Tail(q, int((p <= q).sum()), *held_bounds(m, q, n, tail=each / 2)) for q in rates)
    return Drift(n, auc, max(0.0, auc - width), min(1.0, auc + width), _ks_p(calibration_scores, others_sorted), tails)


def _auc(calibration: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """Return the AUC of `others` over `calibration`, both ascending, and its standard error."""
    above = _placed(calibration, others)
    below = 1.0 - _placed(others, calibration)
    parts = [float(side.var(ddof=1)) / len(side) if len(side) > 1 else 0.25 for side in (above, below)]
    return float(above.mean()), float(np.sqrt(sum(parts)))


def _placed(ordered: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the share of `ordered` below each value, ties half."""
    left, right = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return np.asarray((left + right) / (2.0 * len(ordered)))


def _ks_p(calibration: np.ndarray, others: np.ndarray) -> float:
    """Return the asymptotic p-value of the two-sample Kolmogorov-Smirnov test."""
    from scipy import special

    at = np.concatenate([calibration, others])
    steps = [np.searchsorted(side, at, side="right") / len(side) for side in (calibration, others)]
    size = len(calibration) * len(others) / (len(calibration) + len(others))
    return float(special.kolmogorov(np.sqrt(size) * np.abs(steps[0] - steps[1]).max()))
