"""Robust location, scale and covariance: statistics that a minority of strange rows cannot pull along."""

from __future__ import annotations

import numpy as np

__all__ = ["bend", "column_scale", "find_knee", "quantile_skew"]

_RANGES = ((0.25, 1.349), (0.05, 3.290), (0.01, 4.653))
"""Tail shares, and how many standard deviations of a normal lie between the two tails."""


def column_scale(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the median and a positive scale of each column of `X` ``(n, d)``, both ``(d,)``; X must be finite.

    The scale is the normal-consistent interquartile range; where half of the column is one value the 5-95 % or 1-99 %
    range, then the standard deviation, and 1 for constant columns.
    """
    tails = [tail for tail, _ in _RANGES]
    low, high = np.quantile(X, tails, axis=0), np.quantile(X, [1 - tail for tail in tails], axis=0)
    centre = np.median(X, axis=0)
    floor = 1e-12 * np.maximum(1.0, np.abs(centre))
    scale = X.std(axis=0)
    for (_, width), a, b in reversed(list(zip(_RANGES, low, high, strict=True))):
        scale = np.where((b - a) / width > floor, (b - a) / width, scale)
    return centre, np.where(scale > floor, scale, 1.0)


def quantile_skew(X: np.ndarray) -> np.ndarray:
    """Return the skew of each column of `X` ``(n, d)`` from its 10, 50 and 90 % quantiles, in [-1, 1]; 0 = symmetric.

    References: Hinkley, "On power transformations to symmetry" (1975).
    """
    low, middle, high = np.quantile(X, (0.1, 0.5, 0.9), axis=0)
    width = high - low
    return np.divide(high + low - 2 * middle, width, out=np.zeros_like(width), where=width > 0)


_STRAIGHTER = 0.05
"""Skew that a logarithm must take away to be used."""


def find_knee(finite: np.ndarray) -> float:
    """Return where a signed logarithm of a column ``(n,)`` bends, or 0 where the column is straighter as it is."""
    sizes = np.abs(finite[finite != 0])
    if len(sizes) < 2:
        return 0.0
    knee = 0.1 * float(np.median(sizes))
    if not 0 < knee < np.inf:
        return 0.0
    plain, bent = np.abs(quantile_skew(np.column_stack([finite / knee, bend(finite, knee)])))
    return knee if bent + _STRAIGHTER < plain else 0.0


def bend(values: np.ndarray, knee: np.ndarray | float) -> np.ndarray:
    """Return the signed logarithm ``sign(v) log(1 + |v| / knee)`` of `values`; the values where `knee` is 0."""
    bends = np.asarray(knee) > 0
    if not bends.any():
        return values
    with np.errstate(over="ignore"):
        logs = np.sign(values) * np.log1p(np.abs(values) / np.where(bends, knee, 1.0))
    return np.where(bends, logs, values)
