"""Count near-copies of one example once: a text that fifty people pass on is one piece of evidence."""

from __future__ import annotations

import numpy as np

from poison_guard.signals.labels.posterior import Posterior

__all__ = ["passed_on", "without_copies"]

_NEAR = 0.5
"""Near-copies are closer than this share of how far a trusted example usually is from the next one."""
_DENIED = 0.5
"""Probability of its label from which an example is not suspicious, and stays whatever lies beside it."""
_ROWS = 512  # trusted rows that the usual distance is measured on


def without_copies(posterior: Posterior, vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return which rows ``(n,)`` bool stay when, of suspicious near-copies with one label, the first alone stays.

    `vectors` ``(n, d)``, `labels` ``(n,)`` of str. Each row that goes is near one that stays (leaders in row order), so
    that a chain of neighbours does not melt into one.
    """
    suspicious = np.flatnonzero(_p_of_labels(posterior, vectors, labels) < _DENIED)
    first = _first_alike(posterior, vectors, labels, suspicious)
    return first == np.arange(len(vectors))


def passed_on(posterior: Posterior, vectors: np.ndarray, labels: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return which rows ``(n,)`` bool are near-copies of an earlier one of `among` ``(n,)``, and harmless together.

    A harmless text that goes round is new to the trusted set, and all its words have one label. Harmless: on average
    over the copies their label is not denied.
    """
    p = _p_of_labels(posterior, vectors, labels)
    first = _first_alike(posterior, vectors, labels, np.flatnonzero(among))
    size = np.bincount(first, minlength=len(p))
    mean = np.bincount(first, p, minlength=len(p)) / np.maximum(size, 1)
    return (first != np.arange(len(p))) & (mean[first] >= _DENIED)


def _p_of_labels(posterior: Posterior, vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return ``(n,)`` the probability of each row's label; 0 for a label that no trusted example has."""
    names = np.array(posterior.labels)
    given = np.asarray(labels, dtype=object).astype(str)
    codes = np.minimum(np.searchsorted(names, given), len(names) - 1)
    p = posterior.probabilities(vectors)[np.arange(len(given)), codes]
    return np.where(names[codes] == given, p, 0.0)


def _first_alike(posterior: Posterior, vectors: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return ``(n,)`` the position of the first of `rows` with the same label that each of them is near; else its own.

    Leaders in row order: a chain of neighbours does not melt into one.
    """
    first = np.arange(len(vectors))
    given = np.asarray(labels, dtype=object).astype(str)
    near = (_NEAR * _usual_distance(posterior.reference)) ** 2
    for label in np.unique(given[rows]):
        left = rows[given[rows] == label]
        while len(left):
            close = ((vectors[left] - vectors[left[0]]) ** 2).sum(axis=1) < near
            close[0] = True
            first[left[close]] = left[0]
            left = left[~close]
    return first


def _usual_distance(reference: np.ndarray) -> float:
    """Return the median distance of a trusted row to the nearest other one."""
    if len(reference) < 2:
        return 0.0
    rows = np.linspace(0, len(reference) - 1, min(_ROWS, len(reference))).astype(int)
    squared = (reference[rows] ** 2).sum(axis=1)[:, None] - 2.0 * reference[rows] @ reference.T
    squared += (reference**2).sum(axis=1)
    squared[np.arange(len(rows)), rows] = np.inf
    return float(np.sqrt(np.median(np.maximum(squared.min(axis=1), 0.0))))
