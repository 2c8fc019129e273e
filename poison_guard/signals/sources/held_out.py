"""Each item's posterior by what its sources did on the other items alone, and how well that predicts its answers.

A source's accuracy as EM finds it includes its answer to the item at hand, so whoever answered little confirms itself
and the posterior is too sure. Left out of its own item, the same counts give a posterior that is right as often as it
says, a control's as if its answer were not known, and a likelihood by which models are compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from poison_guard.signals.sources.aggregators import (
    MOST_LOG_ODDS,
    OPEN_ANSWERS,
    Candidates,
    Fit,
    Posterior,
    Prior,
    cell_table,
    confusion_weight,
    posterior_in,
    posterior_of,
    smoothed_cells,
)
from poison_guard.signals.votes import Votes

__all__ = ["HeldOut", "coin_held_out", "confusion_held_out"]

_LEAST_COUNT = 1e-3  # that a source keeps of its prior when an answer is taken away


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The `posterior` by the other items; the mean `log_likelihood` of an item's votes."""

    posterior: Posterior
    log_likelihood: float


def coin_held_out(votes: Votes, candidates: Candidates, fit: Fit) -> HeldOut:
    """Return what a `fit` of one accuracy a source says of each item by the others.

    References: Asuncion et al. (2009), "On Smoothing and Inference for Topic Models" (collapsed counts without one's
    own); Gelfand, Dey & Chang (1992), "Model Determination using Predictive Distributions" (items left out in turn).
    """
    k = min(max(len(votes.answers), 2), OPEN_ANSWERS)
    gain = _coin_gain(votes, fit.q[candidates.of_vote], fit.a, fit.b, k)
    score = np.bincount(candidates.of_vote, votes.weight * gain, minlength=len(candidates.item))
    unseen = np.maximum(k - np.diff(np.r_[candidates.start, len(score)]), len(votes.answers) > OPEN_ANSWERS)
    told = posterior_of(score, candidates, unseen)
    if not len(score):
        return HeldOut(told, 0.0)
    total = (score - told.log_q)[candidates.start] - np.log(k)
    missed = votes.weight @ np.log(np.exp(gain) + k - 1)
    return HeldOut(told, float(total.sum() - missed) / len(total))


def _coin_gain(votes: Votes, right: np.ndarray, a: np.ndarray, b: np.ndarray, k: int) -> np.ndarray:
    """Return ``(n,)`` what a vote adds to its answer's log odds, by its source's Beta(a, b) without the vote itself."""
    own, source = votes.weight * right, votes.source
    good = np.maximum(a[source] - own, _LEAST_COUNT)
    bad = np.maximum(b[source] - (votes.weight - own), _LEAST_COUNT)
    return np.clip(np.log(good / bad), -np.log(k - 1), MOST_LOG_ODDS) + np.log(k - 1)


def confusion_held_out(votes: Votes, candidates: Candidates, fit: Fit, prior: Prior) -> HeldOut:
    """Return the same for a `fit` of the blend of one accuracy and a confusion matrix a source (`aggregators.blend`).

    Time and memory grow with votes x answers.
    """
    k, items, each = max(len(votes.answers), 2), len(votes.items), np.arange(len(votes.item))
    q = _all_answers(candidates, fit, items, k)
    counts = (cell_table(votes, k).T @ q).reshape(len(votes.sources), k, k)
    own = votes.weight[:, None] * q[votes.item]
    full = smoothed_cells(counts, prior)
    left = np.maximum(full[votes.source, votes.answer] - own, _LEAST_COUNT)
    told = np.log(left / np.maximum(full.sum(1)[votes.source] - own, _LEAST_COUNT))
    gain = _coin_gain(votes, q[votes.item, votes.answer], fit.a, fit.b, k)
    coin = np.repeat(-np.log(np.exp(gain) + k - 1)[:, None], k, axis=1)
    coin[each, votes.answer] += gain
    trust = confusion_weight(votes, prior)
    part = trust[votes.source][:, None]
    told = part * told + (1 - part) * coin
    told = np.minimum(told, told[each, votes.answer][:, None])
    score = np.stack([np.bincount(votes.item, votes.weight * told[:, t], minlength=items) for t in range(k)], axis=1)
    share = (q.sum(0) + 1) ** float(votes.share @ trust[votes.source] / max(votes.share.sum(), 1e-12))
    score += np.log(share / share.sum())
    posterior = posterior_in(score, candidates)
    total = (score[candidates.item, candidates.answer] - posterior.log_q)[candidates.start]
    return HeldOut(posterior, float(total.mean()))


def _all_answers(candidates: Candidates, fit: Fit, items: int, k: int) -> np.ndarray:
    """Return ``(items, k)`` the posterior with answers that nobody gave: the best one as fitted, the others alike."""
    q = np.full((items, k), -1.0)
    q[candidates.item, candidates.answer] = fit.q
    if fit.unvoted is not None:
        code, chance = fit.unvoted
        at = q[np.arange(items), code] < 0
        q[np.flatnonzero(at), code[at]] = chance[at]
    open_ = q < 0
    rest = np.maximum(1 - np.where(open_, 0.0, q).sum(1), 0) / np.maximum(open_.sum(1), 1)
    return np.where(open_, rest[:, None], q)
