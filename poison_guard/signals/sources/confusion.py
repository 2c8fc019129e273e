"""Full confusion: what each source answers for each truth, shrunk to the crowd's; alone, or where history allows it."""

from __future__ import annotations

from typing import Any

import numpy as np

from poison_guard.signals.sources.models import (
    ROUNDS,
    TOLERANCE,
    Candidates,
    Fit,
    Prior,
    coin_gain,
    credit,
    majority,
)
from poison_guard.signals.sources.votes import Votes

__all__ = ["blend", "cell_table", "dawid_skene", "history"]

_CELL_PRIOR = 1.0  # pseudo-answers a class that pull a source's confusion rows to the pooled ones
_POOLED_PRIOR = 3.0  # pseudo-answers that the pooled matrix has right, a class, above one in each cell
_HALF = 5.0  # answers for each way to be wrong at which a source's confusion counts half
_NONE = 1e-12  # keeps an item whose answers weigh nothing from having no answer


def dawid_skene(votes: Votes, found: Candidates, control: np.ndarray, prior: Prior) -> Fit:
    """Return the MAP of one confusion matrix a source, each row shrunk to the pooled row.

    A vote for an answer never speaks more for another one: a hostile majority cannot turn honest votes upside down.
    Time and memory grow with sources x answers^2. References: Dawid & Skene (1979); Kim & Ghahramani (2012), "Bayesian
    Classifier Combination" (Dirichlet priors on the rows).
    """
    return _fit(votes, found, control, prior, np.ones(len(votes.sources)))


def blend(votes: Votes, found: Candidates, control: np.ndarray, prior: Prior) -> Fit:
    """Return the MAP where each source's log likelihood is between one-coin's and full confusion's, by its `history`.

    A source that has answered little is believed by one number; its confusion matrix speaks as it fills.
    """
    return _fit(votes, found, control, prior, history(votes, prior))


def history(votes: Votes, prior: Prior) -> np.ndarray:
    """Return ``(sources,)`` how far each source's answers carry a confusion matrix, from 0 to 1."""
    k = max(len(votes.answers), 2)
    n = np.bincount(votes.source, votes.share, minlength=len(votes.sources))
    if prior.past is not None and prior.past.cells is not None:
        n = n + prior.past.n
    cells = n / (k * (k - 1))
    return cells**2 / (cells**2 + _HALF**2)


def _fit(votes: Votes, found: Candidates, control: np.ndarray, prior: Prior, trust: np.ndarray) -> Fit:
    items, k, past = len(votes.items), max(len(votes.answers), 1), prior.past
    q = np.zeros((items, k))
    q[found.item, found.answer] = majority(votes, found, control, prior).q
    q = _clamp_rows(q + _NONE, control)
    table = cell_table(votes, k)
    cells0 = None if past is None else past.cells
    classes0 = 1.0 if past is None or cells0 is None else 1.0 + past.classes
    given = np.bincount(votes.source, minlength=len(votes.sources)) + (0 if past is None or cells0 is None else past.n)
    known = float((trust * given).sum() / max(given.sum(), 1e-12))
    raw = q
    for _ in range(ROUNDS):
        counts = (table.T @ q).reshape(len(votes.sources), k, k)
        logs = _logs(counts if cells0 is None else counts + cells0, prior, trust)
        share = q.sum(0) + classes0
        score = table @ logs.reshape(-1, k)
        score += known * np.log(share / share.sum())
        raw = np.exp(score - score.max(1, keepdims=True))
        raw /= raw.sum(1, keepdims=True)
        after = _clamp_rows(raw, control)
        moved, q = np.abs(after - q).mean() if q.size else 0.0, after
        if moved < TOLERANCE / max(k / 2, 1):
            break
    a, b = credit(votes, q[votes.item, votes.answer], prior)
    return Fit(q[found.item, found.answer], a, b, unvoted=_unvoted(q, found), raw=raw[found.item, found.answer])


def cell_table(votes: Votes, k: int) -> Any:
    """Return the sparse matrix of vote weights, items by (source, answer)."""
    from scipy.sparse import csr_matrix

    start = np.searchsorted(votes.item, np.arange(len(votes.items) + 1)).astype(np.int32)
    cell = (votes.source * k + votes.answer).astype(np.int32)
    return csr_matrix((votes.weight, cell, start), shape=(len(votes.items), len(votes.sources) * k))


def _logs(counts: np.ndarray, prior: Prior, trust: np.ndarray) -> np.ndarray:
    """Return ``(sources, answer, truth)`` log likelihoods, from the expected counts of the same shape."""
    k = counts.shape[1]
    eye = np.eye(k)
    pooled = counts.sum(0) + _POOLED_PRIOR * eye + 1
    pooled /= pooled.sum(0, keepdims=True)
    right = prior.a / (prior.a + prior.b)
    earned = np.maximum(prior.a + prior.b - 5, 0) / k  # what the ledger adds to the cold prior, a class
    told = right[:, None, None] * eye + ((1 - right) / max(k - 1, 1))[:, None, None] * (1 - eye)
    full = counts + _CELL_PRIOR * k * pooled + earned[:, None, None] * told
    full = np.log(full / full.sum(1, keepdims=True))
    if not (trust == 1).all():
        coin = _coin(counts, prior, k)
        full = trust[:, None, None] * full + (1 - trust)[:, None, None] * coin
    own = np.einsum("saa->sa", full)
    return np.minimum(full, own[:, :, None])


def _coin(counts: np.ndarray, prior: Prior, k: int) -> np.ndarray:
    """Return the same for one accuracy a source, chance at least."""
    good, ways = np.einsum("saa->s", counts), max(k, 2)
    gain = coin_gain(prior.a + good, prior.b + np.maximum(counts.sum((1, 2)) - good, 0), ways)
    return (gain - np.log(np.exp(gain) + ways - 1))[:, None, None] - gain[:, None, None] * (1 - np.eye(k))


def _unvoted(q: np.ndarray, found: Candidates) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(items,)`` the most probable answer that nobody gave, and its probability."""
    left = q.copy()
    left[found.item, found.answer] = 0.0
    code = left.argmax(1)
    return code, left[np.arange(len(left)), code]


def _clamp_rows(q: np.ndarray, control: np.ndarray) -> np.ndarray:
    q = q / q.sum(1, keepdims=True)
    known = np.flatnonzero(control >= 0)
    q[known] = 0.0
    q[known, control[known]] = 1.0
    return q
