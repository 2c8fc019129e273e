"""Consensus models over encoded votes, and the values they share: majority and one accuracy a source (one-coin)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from poison_guard.signals.sources.votes import Votes

__all__ = [
    "OPEN_ANSWERS",
    "ROUNDS",
    "TOLERANCE",
    "Candidates",
    "Fit",
    "Past",
    "Prior",
    "candidates",
    "coin_gain",
    "credit",
    "majority",
    "one_coin",
]

OPEN_ANSWERS = 20
"""From this many distinct answers on, the set is open: a wrong answer is one of (at least) this many."""
ROUNDS = 50
"""EM stops after as many rounds ..."""
TOLERANCE = 1e-4
"""... or when the mean probability moves less than this."""
_SURE = float(np.log(0.999 / 0.001))  # log odds: no source is believed more than this


@dataclass(frozen=True, slots=True)
class Candidates:
    """Distinct (item, answer) pairs that were voted for, sorted by item then answer; arrays are ``(c,)``."""

    item: np.ndarray
    answer: np.ndarray
    of: np.ndarray
    """``(votes,)`` candidate of each vote."""
    start: np.ndarray
    """``(items,)`` first candidate of each item."""


@dataclass(frozen=True, slots=True)
class Past:
    """What items that are settled and gone say of the sources; forgotten answers count in part.

    `right` and `n`: answers ``(sources,)``; `cells`: answers by source, answer and truth ``(sources, k, k)``, or None
    where the set of answers is open; `classes`: items by truth ``(k,)``.
    """

    right: np.ndarray
    n: np.ndarray
    cells: np.ndarray | None
    classes: np.ndarray


@dataclass(frozen=True, slots=True)
class Prior:
    """Beta(a, b) of each source before these votes, ``(sources,)`` each, and what earlier batches showed."""

    a: np.ndarray
    b: np.ndarray
    past: Past | None = None


@dataclass(frozen=True, slots=True)
class Fit:
    """Posterior probability of each candidate ``(c,)`` and Beta(a, b) of each source ``(sources,)``."""

    q: np.ndarray
    a: np.ndarray
    b: np.ndarray
    unvoted: tuple[np.ndarray, np.ndarray] | None = None
    """Most probable answer that nobody gave to an item and its probability, ``(items,)`` each, where a model has it."""
    raw: np.ndarray | None = None
    """``(c,)`` posterior as if there were no controls, where the model takes answers as independent."""
    choice: np.ndarray | None = None
    """``(items,)`` candidate chosen, where that is not the most probable one."""
    disputed: np.ndarray | None = None
    """``(items,)`` where the model says itself what disputes an item."""


def candidates(votes: Votes) -> Candidates:
    """Return the candidates of `votes`."""
    width, items = max(len(votes.answers), 1), len(votes.items)
    key = votes.item * width + votes.answer
    if items * width <= 8 * len(key) + 1000:  # a table of all pairs is smaller than a sort is long
        there = np.bincount(key, minlength=items * width) > 0
        keys, of = np.flatnonzero(there), (np.cumsum(there) - 1)[key]
    else:
        keys, of = np.unique(key, return_inverse=True)
    item = keys // width
    return Candidates(item, keys - item * width, of, np.searchsorted(item, np.arange(items)))


def majority(votes: Votes, found: Candidates, control: np.ndarray, prior: Prior) -> Fit:
    """Return shares of votes as probabilities, and sources judged against them."""
    counts = np.bincount(found.of, votes.weight, minlength=len(found.item))
    total = np.add.reduceat(counts, found.start) if len(counts) else counts
    q = counts / np.maximum(total, 1e-12)[found.item]
    q = _clamp(q, found, control)
    return Fit(q, *credit(votes, q[found.of], prior))


def one_coin(votes: Votes, found: Candidates, control: np.ndarray, prior: Prior) -> Fit:
    """Return the posterior under one accuracy a source, wrong answers equally likely, no answer likelier beforehand.

    An accuracy below chance counts as chance: no vote is ever turned upside down, or a hostile majority would turn the
    honest ones. The frequency of answers is not estimated: where sources favour one answer, it would grow without end.

    References: Dawid & Skene (1979), "Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm";
    Zheng et al. (2017), "Truth Inference in Crowdsourcing: Is the Problem Solved?" (the one-parameter form, ZenCrowd).
    """
    k = min(max(len(votes.answers), 2), OPEN_ANSWERS)
    q = majority(votes, found, control, prior).q
    table = _table(votes, found)
    n, (a0, b0) = table.T @ np.ones(len(q)), _before(prior)
    unseen = np.maximum(k - np.diff(np.r_[found.start, len(found.item)]), len(votes.answers) > OPEN_ANSWERS)
    raw = q
    for _ in range(ROUNDS):
        right = table.T @ q
        gain = coin_gain(a0 + right, b0 + np.maximum(n - right, 0), k)
        raw = _normalise(table @ gain, found, unseen)
        after = _clamp(raw, found, control)
        moved, q = np.abs(after - q).mean() if len(q) else 0.0, after
        if moved < TOLERANCE:
            break
    return Fit(q, *credit(votes, q[found.of], prior), raw=raw)


def coin_gain(a: np.ndarray, b: np.ndarray, k: int) -> np.ndarray:
    """Return ``(sources,)`` what one vote adds to the log odds of its answer, for accuracies Beta(a, b), k answers.

    The mean of the logarithm, not the logarithm of the mean: who has answered little is believed a little less.
    Never below 0. References: Liu, Peng & Ihler (2012), "Variational Inference for Crowdsourcing".
    """
    from scipy.special import digamma

    return np.clip(digamma(a) - digamma(b), -np.log(k - 1), _SURE) + np.log(k - 1)


def credit(votes: Votes, right: np.ndarray, prior: Prior) -> tuple[np.ndarray, np.ndarray]:
    """Return Beta(a, b) a source: the prior plus expected right and wrong answers; `right` is ``(votes,)``."""
    sources, (a, b) = len(votes.sources), _before(prior)
    good = np.bincount(votes.source, votes.weight * right, minlength=sources)
    total = np.bincount(votes.source, votes.weight, minlength=sources)
    return a + good, b + np.maximum(total - good, 0)


def _before(prior: Prior) -> tuple[np.ndarray, np.ndarray]:
    past = prior.past
    return (prior.a, prior.b) if past is None else (prior.a + past.right, prior.b + past.n - past.right)


def _table(votes: Votes, found: Candidates) -> Any:
    """Return the sparse matrix of vote weights, candidates by sources."""
    from scipy.sparse import coo_matrix

    shape = (len(found.item), len(votes.sources))
    return coo_matrix((votes.weight, (found.of.astype(np.int32), votes.source.astype(np.int32))), shape=shape).tocsr()


def _normalise(score: np.ndarray, found: Candidates, unseen: np.ndarray) -> np.ndarray:
    """Return probabilities of the candidates from log scores; each of the `unseen` answers of an item scores 0."""
    if not len(score):
        return score
    top = np.maximum(np.maximum.reduceat(score, found.start), 0.0)
    mass = np.exp(score - top[found.item])
    total = np.add.reduceat(mass, found.start) + unseen * np.exp(-top)
    return mass / total[found.item]


def _clamp(q: np.ndarray, found: Candidates, control: np.ndarray) -> np.ndarray:
    if not (control >= 0).any():
        return q
    truth = control[found.item]
    return np.where(truth >= 0, truth == found.answer, q)
