"""Short forms of two published models of crowds, to compare with: EBCC (correlated errors) and BWA (weighted means)."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import digamma

from poison_guard.signals.votes import Votes

__all__ = ["bwa", "ebcc"]

_SUBTYPES, _ROUNDS = 10, 100
_DIAGONAL, _OTHER = 4.0, 1.0  # pseudo-answers of a source: right, and each wrong one
_SHAPE = 15.0  # strength of what is believed of a source's precision beforehand


def _one_hot(votes: Votes) -> Any:
    """Return ``(items, sources * k)``: which source gave which answer to an item."""
    from scipy.sparse import csr_matrix

    k = len(votes.answers)
    shape = (len(votes.items), len(votes.sources) * k)
    return csr_matrix((votes.weight, (votes.item, votes.source * k + votes.answer)), shape=shape)


def _shares(votes: Votes) -> np.ndarray:
    """Return ``(items, k)`` shares of the votes."""
    k = len(votes.answers)
    n = np.bincount(votes.item * k + votes.answer, votes.weight, len(votes.items) * k).reshape(-1, k)
    return n / n.sum(1, keepdims=True)


def ebcc(votes: Votes, seed: int = 0) -> np.ndarray:
    """Return ``(items, k)`` posteriors of enhanced Bayesian classifier combination, from one random start.

    Each class has ten subtypes of items, which all sources see alike: that is how their errors correlate. Mean field.
    References: Li, Rubinstein & Cohn (2019), "Exploiting Worker Correlation for Label Aggregation in Crowdsourcing".
    """
    k, m, answers = len(votes.answers), _SUBTYPES, _one_hot(votes)
    prior = np.where(np.eye(k, dtype=bool), _DIAGONAL, _OTHER)  # truth, answer
    rho = _shares(votes)[:, :, None] * np.random.default_rng(seed).dirichlet(np.ones(m), (len(votes.items), k))
    for _ in range(_ROUNDS):
        flat = rho.reshape(len(rho), k * m)
        seen = (answers.T @ flat).reshape(len(votes.sources), k, k, m)  # source, answer, truth, subtype
        counts = seen + prior.T[None, :, :, None]
        logs = digamma(counts) - digamma(counts.sum(1, keepdims=True))
        kinds, classes = rho.sum(0) + 0.1 / m, rho.sum((0, 2)) + 1
        score = answers @ logs.reshape(len(votes.sources) * k, k * m)
        score = score.reshape(rho.shape) + digamma(kinds) - digamma(kinds.sum(1, keepdims=True))
        score += digamma(classes)[:, None]
        after = np.exp(score - score.max((1, 2), keepdims=True))
        after /= after.sum((1, 2), keepdims=True)
        moved, rho = np.abs(after - rho).mean(), after
        if moved < 1e-6:
            break
    return rho.sum(2)


def bwa(votes: Votes) -> np.ndarray:
    """Return ``(items, k)`` weighted means of answers: a source weighs by its precision, the prior by fifteen answers.

    References: Li, Rubinstein & Cohn (2019), "Truth Inference at Scale: A Bayesian Model for Adjudicating Highly
    Redundant Crowd Annotations".
    """
    k, sources = len(votes.answers), len(votes.sources)
    mean = _shares(votes)
    given = np.eye(k)[votes.answer]
    n = np.bincount(votes.source, votes.weight, sources)
    usual = float(votes.weight @ ((given - mean[votes.item]) ** 2).sum(1) / votes.weight.sum())
    for _ in range(_ROUNDS):
        left = votes.weight * ((given - mean[votes.item]) ** 2).sum(1)
        weight = (n + _SHAPE) / (np.bincount(votes.source, left, sources) + _SHAPE * usual)
        each = votes.weight * weight[votes.source]
        total = np.bincount(votes.item, each, len(mean))
        top = np.stack([np.bincount(votes.item, each * given[:, c], len(mean)) for c in range(k)], axis=1)
        after = (top + 1 / k) / (total + 1)[:, None]
        moved, mean = np.abs(after - mean).mean(), after
        if moved < 1e-6:
            break
    return mean
