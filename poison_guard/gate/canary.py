"""Measure what training on the new examples does to trusted ones: a ridge classifier with and without them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from scipy import linalg

from poison_guard.gate.measure import paired_counts

__all__ = ["label_counts", "measure_canary", "trusted_only"]

_RIDGE = 0.02
"""Ridge as a multiple of the mean eigenvalue of the rows trained on."""
_MOST = 10.0
"""Times a snapshot's row may weigh, to make up for a label that it has too few of."""


def measure_canary(
    trusted_vectors: np.ndarray,
    trusted_labels: np.ndarray,
    trusted_slices: np.ndarray,
    old_vectors: np.ndarray,
    old_labels: np.ndarray,
    new_vectors: np.ndarray,
    new_labels: np.ndarray,
    *,
    folds: int = 5,
    seed: int = 0,
) -> dict[str, Any]:
    """Return ``n, lost, gained``, and the same under ``classes`` and ``slices``, over all trusted examples.

    Each trusted example is predicted by two models that never saw it: one trained on the other trusted folds and what
    is old, one on the same and what is new. `lost` counts those right without the new and wrong with it. Old and new
    rows of each label are weighted to the trusted mix of labels, so that an honest snapshot with another mix does not
    move the border between labels. Vectors are ``(·, d)``, labels and slices str ``(·,)``.
    """
    labels = [np.asarray(part, dtype=object).astype(str) for part in (trusted_labels, old_labels, new_labels)]
    names = np.unique(np.concatenate(labels))
    inside, old, new = (np.searchsorted(names, part) for part in labels)
    place = np.random.default_rng(seed).permutation(len(inside)) % max(2, min(folds, len(inside)))
    rows = [_with_one(part) for part in (trusted_vectors, old_vectors, new_vectors)]
    mix = np.bincount(inside, minlength=len(names)) / max(1, len(inside))
    both = np.bincount(np.concatenate([old, new]), minlength=len(names))
    before = _moments(rows[1], old, _weights(np.bincount(old, minlength=len(names)), mix)[old], len(names))
    weights = _weights(both, mix)
    after = tuple(
        a + b
        for a, b in zip(
            _moments(rows[1], old, weights[old], len(names)),
            _moments(rows[2], new, weights[new], len(names)),
            strict=True,
        )
    )
    was, now = np.zeros(len(inside), dtype=bool), np.zeros(len(inside), dtype=bool)
    for fold in np.unique(place):
        left, kept = place == fold, place != fold
        own = _moments(rows[0][kept], inside[kept], np.ones(int(kept.sum())), len(names))
        for right, (gram, image) in ((was, before), (now, after)):
            right[left] = (rows[0][left] @ _solve(gram + own[0], image + own[1])).argmax(axis=1) == inside[left]
    slices = [str(part) for part in trusted_slices]
    return paired_counts(was.tolist(), now.tolist(), labels[0].tolist(), slices)


def trusted_only(vectors: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Return the labels ``(n,)`` that a ridge classifier trained on trusted `vectors` and `labels` gives `queries`.

    What a candidate is compared with where there is no champion; train on the calibration split, query the holdout.
    """
    names, codes = np.unique(np.asarray(labels, dtype=object).astype(str), return_inverse=True)
    gram, image = _moments(_with_one(vectors), codes, np.ones(len(codes)), len(names))
    return np.asarray(names[(_with_one(queries) @ _solve(gram, image)).argmax(axis=1)])


def label_counts(labels: np.ndarray) -> dict[str, int]:
    """Return label to count, by label."""
    return dict(sorted(Counter(str(label) for label in labels).items()))


def _with_one(vectors: np.ndarray) -> np.ndarray:
    return np.concatenate([vectors, np.ones((len(vectors), 1), dtype=vectors.dtype)], axis=1)


def _weights(counts: np.ndarray, mix: np.ndarray) -> np.ndarray:
    """Return the weight of a row by its label: the trusted mix over the rows' own, 1 for labels nobody trusts."""
    share = counts / max(1, int(counts.sum()))
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.where((counts > 0) & (mix > 0), mix / share, 1.0)
    return np.clip(weights, 1 / _MOST, _MOST)


def _moments(rows: np.ndarray, codes: np.ndarray, weights: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    weighted = rows * weights[:, None].astype(rows.dtype)
    target = (np.eye(k)[codes] - 1.0 / k).astype(rows.dtype)
    return (weighted.T @ rows).astype(np.float64), (weighted.T @ target).astype(np.float64)


def _solve(gram: np.ndarray, image: np.ndarray) -> np.ndarray:
    ridge = _RIDGE * max(float(np.trace(gram)) / len(gram), 1e-9)
    return np.asarray(linalg.solve(gram + ridge * np.eye(len(gram)), image, assume_a="pos"))
