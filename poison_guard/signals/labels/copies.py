"""Count near-copies of suspicious examples once: a text that fifty people pass on is one piece of evidence."""

from __future__ import annotations

import numpy as np

from poison_guard.signals.labels.posterior import Posterior

__all__ = ["without_copies"]

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
    names = np.array(posterior.labels)
    given = np.asarray(labels, dtype=object).astype(str)
    codes = np.minimum(np.searchsorted(names, given), len(names) - 1)
    p = posterior.probabilities(vectors)[np.arange(len(given)), codes]
    suspicious = np.flatnonzero((p < _DENIED) | (names[codes] != given))
    stays = np.ones(len(given), dtype=bool)
    near = (_NEAR * _usual_distance(posterior.reference)) ** 2
    for label in np.unique(given[suspicious]):
        rows = suspicious[given[suspicious] == label]
        stays[rows] = _leaders(vectors[rows], near)
    return stays


def _leaders(vectors: np.ndarray, near: float) -> np.ndarray:
    """Return which rows are not within `near` (squared distance) of an earlier one that stays."""
    stays = np.zeros(len(vectors), dtype=bool)
    gone = np.zeros(len(vectors), dtype=bool)
    for at in range(len(vectors)):
        if not gone[at]:
            stays[at] = True
            gone[at:] |= ((vectors[at:] - vectors[at]) ** 2).sum(axis=1) < near
    return stays


def _usual_distance(reference: np.ndarray) -> float:
    """Return the median distance of a trusted row to the nearest other one."""
    if len(reference) < 2:
        return 0.0
    rows = np.linspace(0, len(reference) - 1, min(_ROWS, len(reference))).astype(int)
    squared = (reference[rows] ** 2).sum(axis=1)[:, None] - 2.0 * reference[rows] @ reference.T
    squared += (reference**2).sum(axis=1)
    squared[np.arange(len(rows)), rows] = np.inf
    return float(np.sqrt(np.median(np.maximum(squared.min(axis=1), 0.0))))
