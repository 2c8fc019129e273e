"""How honest sources behave: the distribution of their accuracies, and a CUSUM that finds who has changed."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from poison_guard.signals.pvalues import SMALLEST_P, beta_binomial_low
from poison_guard.signals.sources.consensus import COLD_PRIOR

__all__ = ["detect_changes", "fit_honest_prior"]


_MEAN = (0.5, 0.85)  # range of the crowd's mean accuracy; above it weak but honest sources would look like attackers
_CONCENTRATION = (5.0, 14.0)  # range of a + b: never narrower than a crowd of .85 in which 1.5 % are below .6
_TRIM = 0.01  # sources less likely than this do not shape the null they are tested against
_ROUNDS = 8


def fit_honest_prior(right: np.ndarray, n: np.ndarray, *, most: float = _MEAN[1]) -> tuple[float, float]:
    """Return Beta(a, b) of honest accuracies from `right` of `n` answers a source, whatever the number of attackers.

    `most` bounds the crowd's mean accuracy.

    It starts from a generous fixed crowd, not from the data, trims who does not fit it, and refits: sources that answer
    at random or wrongly cannot shape the null, however many they are. The spread has a floor, so that in a crowd of
    experts a merely weak source stays believable.
    """
    a, b = _MEAN[1] * _CONCENTRATION[1], (1 - _MEAN[1]) * _CONCENTRATION[1]
    if not (n > 0).any():
        return a, b
    for _ in range(_ROUNDS):
        keep = (n > 0) & (beta_binomial_low(right, n, a, b) > _TRIM)
        before = a, b
        a, b = _moments(right[keep], n[keep], most) if keep.any() else (a, b)
        if abs(a - before[0]) + abs(b - before[1]) < 1e-3:
            break
    return a, b


def _moments(right: np.ndarray, n: np.ndarray, most: float) -> tuple[float, float]:
    """Return Beta(a, b) by moments, each source weighed by what its answers tell, kept within the allowed ranges."""
    rate = right / n
    weight = n / (n + _CONCENTRATION[1])
    mean = float((weight * rate).sum() / weight.sum())
    spread = float((weight * (rate - mean) ** 2).sum() / weight.sum())
    sampling = float((weight * mean * (1 - mean) / n).sum() / weight.sum())
    between = max(spread - sampling, 1e-6)
    concentration = float(np.clip(mean * (1 - mean) / between - 1, *_CONCENTRATION))
    mean = float(np.clip(mean, _MEAN[0], most))
    return mean * concentration, (1 - mean) * concentration


_MOST_ACCURATE = 0.95  # no source is expected to be better: one wrong answer of an expert is no alarm
_CHANGED_SHARE = 0.3  # a source that changed is right this share as often as before


def detect_changes(verified: pd.DataFrame) -> pd.DataFrame:
    """Return ``source_id, p, wrong, n, before``, one row a source of `verified` (``source_id, right``, oldest first).

    `p` in (0, 1] is the chance that a source which is as reliable as ever looks so changed now: ``exp(-S)`` of Page's
    CUSUM of the log-likelihood ratio of being right 0.3 times as often as before (Ville's inequality). How often it was
    right `before` is its own mean over all earlier verified answers, on top of what is assumed of a stranger, and at
    most 0.95. `wrong` of the last `n` answers: those since the suspicion began; 0 of 0 where there is none.

    References: Page (1954), "Continuous Inspection Schemes"; Lorden (1971), "Procedures for Reacting to a Change in
    Distribution".
    """
    codes, names = pd.factorize(verified["source_id"])
    order = np.argsort(codes, kind="stable")
    right = verified["right"].to_numpy(bool)[order]
    size = np.bincount(codes, minlength=len(names))
    start = np.cumsum(size) - size
    failed = np.bincount(codes, ~verified["right"].to_numpy(bool), minlength=len(names)) > 0
    longest = np.flatnonzero(failed)[np.argsort(-size[failed], kind="stable")]  # who was never wrong did not change
    total, wrong, n, before = (np.zeros(len(names)) for _ in range(4))
    before += COLD_PRIOR[0] / sum(COLD_PRIOR)
    found = _cusum(right, start[longest], size[longest])
    total[longest], wrong[longest], n[longest], before[longest] = found
    return pd.DataFrame(
        {
            "source_id": names,
            "p": np.maximum(np.exp(-total), SMALLEST_P),
            "wrong": wrong.astype(np.int64),
            "n": n.astype(np.int64),
            "before": before,
        }
    )


def _cusum(
    right: np.ndarray, start: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the CUSUM after the last answer, wrong answers and answers since it was 0, and the rate before that.

    Sources are ordered by `size`, the largest first; each step looks at the next answer of all that still have one.
    """
    m = len(size)
    total, wrong, n, before, hits = (np.zeros(m) for _ in range(5))
    a, b = COLD_PRIOR
    for step in range(int(size.max(initial=0))):
        live = int(np.searchsorted(-size, -step))
        answer = right[start[:live] + step]
        rate = np.minimum(_MOST_ACCURATE, (a + hits[:live]) / (a + b + step))
        calm = total[:live] <= 0
        before[:live] = np.where(calm, rate, before[:live])
        change = np.where(answer, math.log(_CHANGED_SHARE), np.log((1 - _CHANGED_SHARE * rate) / (1 - rate)))
        total[:live] = np.maximum(total[:live] + change, 0)
        rising = total[:live] > 0
        wrong[:live] = np.where(rising, np.where(calm, 0, wrong[:live]) + ~answer, 0)
        n[:live] = np.where(rising, np.where(calm, 0, n[:live]) + 1, 0)
        hits[:live] += answer
    return total, wrong, n, before
