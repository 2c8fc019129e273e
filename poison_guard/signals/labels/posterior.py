"""What label trusted examples expect of a vector: neighbours and ridge, stacked, calibrated without self."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

__all__ = ["Posterior", "fit_posterior"]

_K = 10
_RIDGES = (1e-3, 1e-2, 1e-1, 1.0)  # of the mean eigenvalue
_FLOOR = 1e-4
_CELLS = 2**22  # cells of a distance block
_BEYOND = 0.02  # share of the trusted coordinates that is cut on each side
_TIED = 1e-5  # of the mean squared length: distances this near are one


@dataclass(frozen=True, slots=True)
class Posterior:
    """Label probabilities fitted on trusted vectors; `own` are the trusted rows' own, each without itself."""

    labels: tuple[str, ...]
    own: np.ndarray
    """``(m, K)``, rows add up to 1: leave-one-out probabilities of the trusted rows."""
    reference: np.ndarray
    codes: np.ndarray
    weights: np.ndarray
    mean: np.ndarray
    stack: np.ndarray
    prior: np.ndarray
    ridge: float
    """The ridge chosen by leave-one-out error, as a multiple of the mean eigenvalue."""

    bounds: np.ndarray
    """``(2, d)``: between which trusted coordinates nearly all lie; what lies beyond says nothing of a label."""

    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        """Return ``(n, K)`` float64, rows add up to 1."""
        vectors = np.clip(vectors, *self.bounds)
        near = _neighbour_shares(vectors, self.reference, self.codes, self.prior, own=False)
        scores = _with_one(vectors - self.mean) @ self.weights
        return _stacked(self.stack, scores, near, self.prior)

    def neighbours(self, vectors: np.ndarray) -> np.ndarray:
        """Return ``(n, K)``: how many of the nearest trusted rows have each label; 10 rows, or more at one distance."""
        vectors = np.clip(vectors, *self.bounds)
        return _neighbour_counts(vectors, self.reference, self.codes, len(self.labels), own=False)


def fit_posterior(vectors: np.ndarray, labels: np.ndarray) -> Posterior:
    """Fit on trusted `vectors` ``(m, d)`` and `labels` ``(m,)`` of str; deterministic.

    Coordinates are cut to where nearly all trusted ones lie: a mark that no trusted example carries would move the
    ridge's prediction, by chance, and hide a wrong label. Two experts: the labels of the 10 nearest trusted
    vectors, shrunk to the label shares, and one-hot ridge regression (Rifkin and Klautau 2004), its strength chosen
    by closed-form leave-one-out error. Their log-odds are stacked by a multinomial logistic model with one weight
    each and one for the prior, fitted on leave-one-out predictions (Wolpert 1992). The trusted rows' own
    probabilities never saw their own label but for these few weights, so that they are what an honest new row's
    probabilities look like.
    """
    bounds = np.quantile(vectors, (_BEYOND, 1 - _BEYOND), axis=0).astype(vectors.dtype)
    vectors = np.clip(vectors, *bounds)
    names, codes = np.unique(np.asarray(labels, dtype=object).astype(str), return_inverse=True)
    prior = (np.bincount(codes, minlength=len(names)) + 0.5) / (len(codes) + 0.5 * len(names))
    mean = vectors.mean(axis=0)
    weights, scores, ridge = _ridge(_with_one(vectors - mean), codes, len(names))
    near = _neighbour_shares(vectors, vectors, codes, prior, own=True)
    stack = _fit_stack(scores, near, prior, codes)
    own = _stacked(stack, scores, near, prior)
    return Posterior(tuple(names.tolist()), own, vectors, codes, weights, mean, stack, prior, ridge, bounds)


def _with_one(vectors: np.ndarray) -> np.ndarray:
    return np.concatenate([vectors, np.ones((len(vectors), 1), dtype=vectors.dtype)], axis=1)


def _ridge(rows: np.ndarray, codes: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Return weights ``(d, k)``, leave-one-out scores ``(m, k)`` and the ridge of least leave-one-out error."""
    target = np.eye(k)[codes] - 1.0 / k
    values, axes = np.linalg.eigh((rows.T @ rows).astype(np.float64))
    turned = rows @ axes
    image = turned.T @ target
    best: tuple[float, np.ndarray, np.ndarray, float] | None = None
    for ridge in _RIDGES:
        inverse = 1.0 / (np.maximum(values, 0.0) + ridge * max(float(values.mean()), 1e-9))
        leverage = np.minimum((turned**2) @ inverse, 0.999)
        fitted = turned @ (inverse[:, None] * image)
        left_out = target - (target - fitted) / (1.0 - leverage)[:, None]
        error = float(((target - left_out) ** 2).mean())
        if best is None or error < best[0]:
            best = error, (axes * inverse) @ image, left_out, ridge
    assert best is not None  # noqa: S101 (_RIDGES is not empty)
    return best[1], best[2], best[3]


def _neighbour_shares(
    queries: np.ndarray, reference: np.ndarray, codes: np.ndarray, prior: np.ndarray, *, own: bool
) -> np.ndarray:
    """Return ``(n, K)``: label shares among the nearest reference rows, shrunk to `prior`; `own`: not itself."""
    k = min(_K, len(reference) - own)
    if k < 1:
        return np.asarray(np.tile(prior, (len(queries), 1)))
    counts = _neighbour_counts(queries, reference, codes, len(prior), own=own)
    return np.asarray((prior * 2.0 + counts * (k / counts.sum(axis=1, keepdims=True))) / (k + 2.0))


def _neighbour_counts(
    queries: np.ndarray, reference: np.ndarray, codes: np.ndarray, labels: int, *, own: bool
) -> np.ndarray:
    """Return ``(n, labels)`` counts of the nearest rows' labels, with all rows as near as the 10th; `own`: not itself.

    Rows at one distance are common in tables: were one of them chosen, rounding would choose, and with it the batch.
    """
    m, k = len(reference), min(_K, len(reference) - own)
    norms = (reference**2).sum(axis=1)
    slack, step = _TIED * float(norms.mean()), max(16, _CELLS // m)
    hot = np.eye(labels, dtype=np.float32)[codes]
    out = np.zeros((len(queries), labels))
    for start in range(0, len(queries), step):
        block = norms - 2.0 * (queries[start : start + step] @ reference.T)
        if own:
            at = np.arange(len(block))
            block[at, start + at] = np.inf
        farthest = np.partition(block, k - 1, axis=1)[:, k - 1, None]
        out[start : start + step] = (block <= farthest + slack).astype(np.float32) @ hot
    return out


def _stacked(stack: np.ndarray, scores: np.ndarray, near: np.ndarray, prior: np.ndarray) -> np.ndarray:
    logits = stack[0] * scores + stack[1] * np.log(near) + stack[2] * np.log(prior)
    shares = special.softmax(logits, axis=1)
    return (shares + _FLOOR) / (1.0 + _FLOOR * shares.shape[1])


def _fit_stack(scores: np.ndarray, near: np.ndarray, prior: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the three weights (the first two not negative) of least cross-entropy, lightly shrunk."""
    at = np.arange(len(codes))
    parts = [scores, np.log(near), np.tile(np.log(prior), (len(codes), 1))]

    def loss(stack: np.ndarray) -> tuple[float, np.ndarray]:
        logits = sum(w * part for w, part in zip(stack, parts, strict=True))
        logs = special.log_softmax(logits, axis=1)
        p = np.exp(logs)
        slopes = [
            ((p * part).sum() - part[at, codes].sum()) / len(codes) + 1e-3 * w
            for w, part in zip(stack, parts, strict=True)
        ]
        return float(-logs[at, codes].mean() + 5e-4 * (stack**2).sum()), np.array(slopes)

    bounds = [(0.0, 100.0), (0.0, 10.0), (-2.0, 2.0)]
    return np.asarray(optimize.minimize(loss, np.array([4.0, 0.5, 0.0]), jac=True, bounds=bounds).x)
