"""Robust location, scale and covariance: statistics that a minority of strange rows cannot pull along."""

from __future__ import annotations

import numpy as np

__all__ = ["column_scale", "quantile_skew", "trimmed_covariance"]

_NORMAL_IQR = 1.349  # interquartile range of a standard normal


def column_scale(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the median and a positive scale of each column of `X` ``(n, d)``, both ``(d,)``; X must be finite.

    The scale is the normal-consistent interquartile range; the standard deviation where half of the column is one
    value, and 1 for constant columns.
    """
    low, centre, high = np.quantile(X, (0.25, 0.5, 0.75), axis=0)
    scale = (high - low) / _NORMAL_IQR
    spread = X.std(axis=0)
    tight = scale <= 1e-3 * spread
    scale = np.where(tight, spread, scale)
    floor = 1e-12 * np.maximum(1.0, np.abs(centre))
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

    Deterministic concentration steps from the coordinatewise median; `ridge` times the mean variance is added to the
    diagonal, so the covariance can be inverted with constant or duplicate columns and with fewer rows than columns.

    References: Rousseeuw and Van Driessen, "A fast algorithm for the minimum covariance determinant estimator" (1999).
    """
    n, d = X.shape
    half = max(1, min(n, int(np.ceil(keep * n))))
    centre, scale = column_scale(X)
    distance = (((X - centre) / scale) ** 2).sum(axis=1)
    mean, covariance = X.mean(axis=0), np.eye(d)
    for _ in range(steps):
        kept = X[np.argpartition(distance, half - 1)[:half]]
        mean = kept.mean(axis=0)
        covariance = (kept - mean).T @ (kept - mean) / max(1, half - 1)
        covariance[np.diag_indices(d)] += ridge * max(float(np.trace(covariance)) / d, 1e-9)
        factor = np.linalg.cholesky(covariance)
        distance = (np.linalg.solve(factor, (X - mean).T) ** 2).sum(axis=0)
    return mean, covariance
