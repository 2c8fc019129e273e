"""Robust location, scale and covariance: statistics that a minority of strange rows cannot pull along."""

from __future__ import annotations

import numpy as np

__all__ = ["column_scale", "quantile_skew", "trimmed_covariance", "winsorised_scale"]

_RANGES = ((0.25, 1.349), (0.05, 3.290), (0.01, 4.653))
"""Tail shares, and how many standard deviations of a normal lie between the two tails."""


_WILD = 3.0  # scales from the median beyond which a single cell is not taken for more


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


def winsorised_scale(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the median and a positive scale of each column of `X` ``(n, d)``, both ``(d,)``; X must be finite.

    The scale is the standard deviation of the column with its outer 1 % on either side drawn in to the 1 and 99 %
    quantiles: unlike the interquartile range it sees tails and second modes, unlike the plain one it is bounded
    whatever the outer percent holds. Where 98 % of a column are one value it is the plain one, and 1 for constant
    columns.

    References: Tukey, "The future of data analysis" (1962), for winsorising.
    """
    centre = np.median(X, axis=0)
    floor = 1e-12 * np.maximum(1.0, np.abs(centre))
    scale = np.clip(X, *np.quantile(X, (0.01, 0.99), axis=0)).std(axis=0)
    scale = np.where(scale > floor, scale, X.std(axis=0))
    return centre, np.where(scale > floor, scale, 1.0)


def quantile_skew(X: np.ndarray) -> np.ndarray:
    """Return the skew of each column of `X` ``(n, d)`` from its 10, 50 and 90 % quantiles, in [-1, 1]; 0 = symmetric.

    References: Hinkley, "On power transformations to symmetry" (1975).
    """
    low, middle, high = np.quantile(X, (0.1, 0.5, 0.9), axis=0)
    width = high - low
    return np.divide(high + low - 2 * middle, width, out=np.zeros_like(width), where=width > 0)


def trimmed_covariance(
    X: np.ndarray, *, keep: float = 0.75, steps: int = 6, ridge: float = 1e-3
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean ``(d,)`` and covariance ``(d, d)`` of the most central `keep` share of the rows of `X` ``(n, d)``.

    Deterministic concentration steps, at most `steps`, until they keep the same rows. They start from the rows whose
    columns, each for itself, lie nearest to the median, a wild cell counting no more than three scales; starts from
    rank and sign correlations led to no better places and, where copies of one row are many, to worse ones. `ridge`
    times the squared scale is added to each column's variance, so the covariance can be inverted with constant or
    duplicate columns and with fewer rows than columns.

    References: Rousseeuw and Van Driessen, "A fast algorithm for the minimum covariance determinant estimator" (1999);
    Hubert, Rousseeuw and Verdonck, "A deterministic algorithm for robust location and scatter" (2012).
    """
    n, d = X.shape
    half = max(1, min(n, int(np.ceil(keep * n))))
    centre, scale = column_scale(X)
    distance = np.minimum(np.abs(X - centre) / scale, _WILD).sum(axis=1)
    mean, covariance, before = centre, np.diag(scale**2), np.empty(0)
    for _ in range(steps):
        at = np.sort(np.argpartition(distance, half - 1)[:half])
        if np.array_equal(at, before):
            break
        kept, before = X[at], at
        mean = kept.mean(axis=0)
        covariance = (kept - mean).T @ (kept - mean) / max(1, half - 1)
        variance = np.diagonal(covariance).copy()
        # of a column that is wild even here, its variance decides: else the sum of both could not be factored
        covariance[np.diag_indices(d)] += ridge * np.maximum(scale**2, 1e-3 * variance)
        whiten = np.linalg.inv(np.linalg.cholesky(covariance))
        distance = (((X - mean) @ whiten.T) ** 2).sum(axis=1)
    return mean, covariance
