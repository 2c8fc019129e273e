"""The honest crowd as a Beta distribution of accuracies: the null that a source's p-value is drawn from."""

from __future__ import annotations

import numpy as np

from poison_guard.numerics.tests import beta_binomial_low

__all__ = ["honest_crowd"]

_MEAN = (0.5, 0.85)  # range of the crowd's mean accuracy; above it weak but honest sources would look like attackers
_CONCENTRATION = (5.0, 14.0)  # range of a + b: never narrower than a crowd of .85 in which 1.5 % are below .6
_TRIM = 0.01  # sources less likely than this do not shape the null they are tested against
_ROUNDS = 8


def honest_crowd(right: np.ndarray, n: np.ndarray) -> tuple[float, float]:
    """Return Beta(a, b) of honest accuracies from `right` of `n` answers a source, whatever the number of attackers.

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
        a, b = _moments(right[keep], n[keep]) if keep.any() else (a, b)
        if abs(a - before[0]) + abs(b - before[1]) < 1e-3:
            break
    return a, b


def _moments(right: np.ndarray, n: np.ndarray) -> tuple[float, float]:
    """Return Beta(a, b) by moments, each source weighed by what its answers tell, kept within the allowed ranges."""
    rate = right / n
    weight = n / (n + _CONCENTRATION[1])
    mean = float((weight * rate).sum() / weight.sum())
    spread = float((weight * (rate - mean) ** 2).sum() / weight.sum())
    sampling = float((weight * mean * (1 - mean) / n).sum() / weight.sum())
    between = max(spread - sampling, 1e-6)
    concentration = float(np.clip(mean * (1 - mean) / between - 1, *_CONCENTRATION))
    mean = float(np.clip(mean, *_MEAN))
    return mean * concentration, (1 - mean) * concentration
