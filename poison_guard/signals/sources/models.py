"""Consensus models over encoded votes: majority, one-coin and full-confusion Dawid-Skene, all by bincount."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from poison_guard.signals.sources.votes import Votes

__all__ = ["OPEN_ANSWERS", "Candidates", "Fit", "Prior", "candidates", "dawid_skene", "majority", "one_coin"]

OPEN_ANSWERS = 20
"""From this many distinct answers on, the set is open: a wrong answer is one of (at least) this many."""
_ROUNDS = 50
_TOLERANCE = 1e-5  # mean change of a posterior probability at which EM stops
_CELL_PRIOR = 2.0  # pseudo-answers a class that pull a source's confusion rows to the pooled ones


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
class Prior:
    """Beta(a, b) of each source before this batch; arrays are ``(sources,)``."""

    a: np.ndarray
    b: np.ndarray


@dataclass(frozen=True, slots=True)
class Fit:
    """Posterior probability of each candidate ``(c,)`` and Beta(a, b) of each source ``(sources,)``."""

    q: np.ndarray
    a: np.ndarray
    b: np.ndarray


def candidates(votes: Votes) -> Candidates:
    """Return the candidates of `votes`."""
    width = max(len(votes.answers), 1)
    keys, of = np.unique(votes.item * width + votes.answer, return_inverse=True)
    item = keys // width
    return Candidates(item, keys % width, of, np.searchsorted(item, np.arange(len(votes.items))))


def majority(votes: Votes, found: Candidates, control: np.ndarray, prior: Prior) -> Fit:
    """Return shares of votes as probabilities, and sources judged against them."""
    counts = np.bincount(found.of, votes.weight, minlength=len(found.item))
    total = np.add.reduceat(counts, found.start) if len(counts) else counts
    q = counts / np.maximum(total, 1e-12)[found.item]
    q = _clamp(q, found, control)
    return Fit(q, *_credit(votes, q[found.of], prior))


def one_coin(votes: Votes, found: Candidates, control: np.ndarray, prior: Prior) -> Fit:
    """Return the MAP of one accuracy a source, wrong answers equally likely.

    An accuracy below chance counts as chance: no vote is ever turned upside down, or a hostile majority would turn the
    honest ones.

    References: Dawid & Skene (1979), "Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm";
    Zheng et al. (2017), "Truth Inference in Crowdsourcing: Is the Problem Solved?" (the one-parameter form, ZenCrowd).
    """
    is_open = len(votes.answers) > OPEN_ANSWERS
    k = min(max(len(votes.answers), 2), OPEN_ANSWERS)
    q = majority(votes, found, control, prior).q
    for _ in range(_ROUNDS):
        a, b = _credit(votes, q[found.of], prior)
        accuracy = np.clip(a / (a + b), 1 / k, 0.999)
        gain = np.log(accuracy * (k - 1) / (1 - accuracy))
        share = _class_shares(q, found, len(votes.answers))
        base = np.full(len(found.item), -np.log(k)) if is_open else np.log(share[found.answer])
        score = base + np.bincount(found.of, votes.weight * gain[votes.source], minlength=len(found.item))
        rest = _unseen(found, None if is_open else share, k)
        after = _clamp(_normalise(score, found, rest), found, control)
        moved, q = np.abs(after - q).mean() if len(q) else 0.0, after
        if moved < _TOLERANCE:
            break
    return Fit(q, *_credit(votes, q[found.of], prior))


def dawid_skene(votes: Votes, found: Candidates, control: np.ndarray, prior: Prior) -> Fit:
    """Return the MAP of one confusion matrix a source, each row shrunk to the pooled row.

    Time and memory grow with sources x answers^2. References: Dawid & Skene (1979); Kim & Ghahramani (2012), "Bayesian
    Classifier Combination" (Dirichlet priors on the rows).
    """
    items, k = len(votes.items), max(len(votes.answers), 1)
    q = np.zeros((items, k))
    q[found.item, found.answer] = majority(votes, found, control, prior).q
    q = _clamp_rows(q + 1e-2, control)
    for _ in range(_ROUNDS):
        confusion = _confusion(votes, q, prior)
        share = (q.sum(0) + 1) / (q.sum() + k)
        score = np.tile(np.log(share), (items, 1))
        logs = np.log(confusion + 1e-12)
        for truth in range(k):
            gain = votes.weight * logs[votes.source, truth, votes.answer]
            score[:, truth] += np.bincount(votes.item, gain, minlength=items)
        after = np.exp(score - score.max(1, keepdims=True))
        after = _clamp_rows(after, control)
        moved, q = np.abs(after - q).mean() if q.size else 0.0, after
        if moved < _TOLERANCE:
            break
    return Fit(q[found.item, found.answer], *_credit(votes, q[votes.item, votes.answer], prior))


def _confusion(votes: Votes, q: np.ndarray, prior: Prior) -> np.ndarray:
    """Return ``(sources, truth, answer)`` row-stochastic confusion matrices."""
    sources, k = len(votes.sources), max(len(votes.answers), 1)
    counts = np.empty((sources, k, k))
    cell = votes.source * k + votes.answer
    for truth in range(k):
        weight = votes.weight * q[votes.item, truth]
        counts[:, truth, :] = np.bincount(cell, weight, minlength=sources * k).reshape(sources, k)
    pooled = counts.sum(0) + 3 * np.eye(k) + 1
    pooled /= pooled.sum(1, keepdims=True)
    counts += _CELL_PRIOR * k * pooled
    earned = np.maximum(prior.a + prior.b - 5, 0) / k  # what the ledger adds to the cold prior, a class
    right = prior.a / (prior.a + prior.b)
    wrong = (1 - right) / max(k - 1, 1)
    eye = np.eye(k)
    counts += earned[:, None, None] * (right[:, None, None] * eye + wrong[:, None, None] * (1 - eye))
    return counts / counts.sum(2, keepdims=True)


def _credit(votes: Votes, right: np.ndarray, prior: Prior) -> tuple[np.ndarray, np.ndarray]:
    """Return Beta(a, b) a source: the prior plus expected right and wrong answers."""
    sources = len(votes.sources)
    good = np.bincount(votes.source, votes.weight * right, minlength=sources)
    total = np.bincount(votes.source, votes.weight, minlength=sources)
    return prior.a + good, prior.b + np.maximum(total - good, 0)


def _class_shares(q: np.ndarray, found: Candidates, k: int) -> np.ndarray:
    share = np.bincount(found.answer, q, minlength=k) + 1
    return share / share.sum()


def _unseen(found: Candidates, share: np.ndarray | None, k: int) -> np.ndarray:
    """Return ``(items,)`` the prior probability of answers that nobody gave to the item."""
    if share is None:
        size = np.diff(np.r_[found.start, len(found.item)])
        return np.maximum(k - size, 1) / k
    seen = np.add.reduceat(share[found.answer], found.start) if len(found.item) else np.zeros(0)
    return np.maximum(1 - seen, 0)


def _normalise(score: np.ndarray, found: Candidates, rest: np.ndarray) -> np.ndarray:
    if not len(score):
        return score
    top = np.maximum(np.maximum.reduceat(score, found.start), np.log(np.maximum(rest, 1e-300)))
    mass = np.exp(score - top[found.item])
    total = np.add.reduceat(mass, found.start) + rest * np.exp(-top)
    return mass / total[found.item]


def _clamp(q: np.ndarray, found: Candidates, control: np.ndarray) -> np.ndarray:
    truth = control[found.item]
    return np.where(truth >= 0, truth == found.answer, q)


def _clamp_rows(q: np.ndarray, control: np.ndarray) -> np.ndarray:
    q = q / q.sum(1, keepdims=True)
    known = np.flatnonzero(control >= 0)
    q[known] = 0.0
    q[known, control[known]] = 1.0
    return q
