"""Consensus models over encoded votes: majority, one accuracy a source, full confusion, and a blend of the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from poison_guard.signals.votes import Votes

__all__ = [
    "MOST_LOG_ODDS",
    "OPEN_ANSWERS",
    "ROUNDS",
    "TOLERANCE",
    "Candidates",
    "Fit",
    "Posterior",
    "Prior",
    "SettledCounts",
    "blend",
    "cell_table",
    "confusion_weight",
    "dawid_skene",
    "list_candidates",
    "log_odds_gain",
    "majority",
    "one_coin",
    "posterior_in",
    "posterior_of",
    "smoothed_cells",
    "update_reliability",
]


OPEN_ANSWERS = 20
"""From this many distinct answers on, the set is open: a wrong answer is one of (at least) this many."""
ROUNDS = 50
"""EM stops after as many rounds ..."""
TOLERANCE = 1e-4
"""... or when the mean probability moves less than this."""
MOST_LOG_ODDS = float(np.log(0.999 / 0.001))
"""No source is believed more than this."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Distinct (item, answer) pairs that were voted for, sorted by item then answer; arrays are ``(c,)``."""

    item: np.ndarray
    answer: np.ndarray
    of_vote: np.ndarray
    """``(votes,)`` candidate of each vote."""
    start: np.ndarray
    """``(items,)`` first candidate of each item."""


@dataclass(frozen=True, slots=True)
class SettledCounts:
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
    settled: SettledCounts | None = None


@dataclass(frozen=True, slots=True)
class Posterior:
    """Logarithms of probabilities, which many answers make too small for numbers: of each candidate ``(c,)``, and of

    all answers together that nobody gave to an item, `rest` ``(items,)``, -inf where there are none.
    """

    log_q: np.ndarray
    rest: np.ndarray

    @property
    def q(self) -> np.ndarray:
        """``(c,)`` probabilities."""
        return np.exp(self.log_q)


@dataclass(frozen=True, slots=True)
class Fit:
    """Posterior probability of each candidate ``(c,)`` and Beta(a, b) of each source ``(sources,)``."""

    q: np.ndarray
    a: np.ndarray
    b: np.ndarray
    unvoted: tuple[np.ndarray, np.ndarray] | None = None
    """Most probable answer that nobody gave to an item and its probability, ``(items,)`` each, where a model has it."""
    raw: Posterior | None = None
    """Posterior as if there were no controls, where the model takes answers as independent."""
    choice: np.ndarray | None = None
    """``(items,)`` candidate chosen, where that is not the most probable one."""
    disputed: np.ndarray | None = None
    """``(items,)`` where the model says itself what disputes an item."""


def list_candidates(votes: Votes) -> Candidates:
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


def majority(votes: Votes, candidates: Candidates, control_code: np.ndarray, prior: Prior) -> Fit:
    """Return shares of votes as probabilities, and sources judged against them."""
    counts = np.bincount(candidates.of_vote, votes.weight, minlength=len(candidates.item))
    total = np.add.reduceat(counts, candidates.start) if len(counts) else counts
    q = counts / np.maximum(total, 1e-12)[candidates.item]
    q = _clamp(q, candidates, control_code)
    return Fit(q, *update_reliability(votes, q[candidates.of_vote], prior))


def one_coin(votes: Votes, candidates: Candidates, control_code: np.ndarray, prior: Prior) -> Fit:
    """Return the posterior under one accuracy a source, wrong answers equally likely, no answer likelier beforehand.

    An accuracy below chance counts as chance: no vote is ever turned upside down, or a hostile majority would turn the
    honest ones. The frequency of answers is not estimated: where sources favour one answer, it would grow without end.

    References: Dawid & Skene (1979), "Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm";
    Zheng et al. (2017), "Truth Inference in Crowdsourcing: Is the Problem Solved?" (the one-parameter form, ZenCrowd).
    """
    k = min(max(len(votes.answers), 2), OPEN_ANSWERS)
    q = majority(votes, candidates, control_code, prior).q
    table = _table(votes, candidates)
    n, (a0, b0) = table.T @ np.ones(len(q)), _prior_counts(prior)
    unseen = np.maximum(k - np.diff(np.r_[candidates.start, len(candidates.item)]), len(votes.answers) > OPEN_ANSWERS)
    score = np.zeros(len(q))
    for _ in range(ROUNDS):
        right = table.T @ q
        gain = log_odds_gain(a0 + right, b0 + np.maximum(n - right, 0), k)
        score = table @ gain
        after = _clamp(_normalise(score, candidates, unseen), candidates, control_code)
        moved, q = np.abs(after - q).mean() if len(q) else 0.0, after
        if moved < TOLERANCE:
            break
    raw = posterior_of(score, candidates, unseen)
    return Fit(q, *update_reliability(votes, q[candidates.of_vote], prior), raw=raw)


def posterior_of(score: np.ndarray, candidates: Candidates, unseen: np.ndarray) -> Posterior:
    """Return the posterior of candidates from log scores ``(c,)``; each of the `unseen` ``(items,)`` answers scores 0.

    >>> one = Candidates(np.zeros(1, int), np.zeros(1, int), np.zeros(1, int), np.zeros(1, int))
    >>> posterior_of(np.array([2000.0]), one, np.array([1])).rest.tolist()
    [-2000.0]
    """
    if not len(score):
        return Posterior(score, np.zeros(0))
    top = np.maximum(np.maximum.reduceat(score, candidates.start), 0.0)
    mass = np.exp(score - top[candidates.item])
    total = top + np.log(np.add.reduceat(mass, candidates.start) + unseen * np.exp(-top))
    with np.errstate(divide="ignore"):
        return Posterior(score - total[candidates.item], np.log(unseen) - total)


def log_odds_gain(a: np.ndarray, b: np.ndarray, k: int) -> np.ndarray:
    """Return ``(sources,)`` what one vote adds to the log odds of its answer, for accuracies Beta(a, b), k answers.

    The mean of the logarithm, not the logarithm of the mean: who has answered little is believed a little less.
    Never below 0. References: Liu, Peng & Ihler (2012), "Variational Inference for Crowdsourcing".
    """
    from scipy.special import digamma

    return np.clip(digamma(a) - digamma(b), -np.log(k - 1), MOST_LOG_ODDS) + np.log(k - 1)


def update_reliability(votes: Votes, right: np.ndarray, prior: Prior) -> tuple[np.ndarray, np.ndarray]:
    """Return Beta(a, b) a source: the prior plus expected right and wrong answers; `right` is ``(votes,)``."""
    sources, (a, b) = len(votes.sources), _prior_counts(prior)
    good = np.bincount(votes.source, votes.weight * right, minlength=sources)
    total = np.bincount(votes.source, votes.weight, minlength=sources)
    return a + good, b + np.maximum(total - good, 0)


def _prior_counts(prior: Prior) -> tuple[np.ndarray, np.ndarray]:
    settled = prior.settled
    return (prior.a, prior.b) if settled is None else (prior.a + settled.right, prior.b + settled.n - settled.right)


def _table(votes: Votes, candidates: Candidates) -> Any:
    """Return the sparse matrix of vote weights, candidates by sources."""
    from scipy.sparse import coo_matrix

    shape = (len(candidates.item), len(votes.sources))
    return coo_matrix(
        (votes.weight, (candidates.of_vote.astype(np.int32), votes.source.astype(np.int32))), shape=shape
    ).tocsr()


def _normalise(score: np.ndarray, candidates: Candidates, unseen: np.ndarray) -> np.ndarray:
    """Return probabilities of the candidates from log scores; each of the `unseen` answers of an item scores 0."""
    if not len(score):
        return score
    top = np.maximum(np.maximum.reduceat(score, candidates.start), 0.0)
    mass = np.exp(score - top[candidates.item])
    total = np.add.reduceat(mass, candidates.start) + unseen * np.exp(-top)
    return mass / total[candidates.item]


def _clamp(q: np.ndarray, candidates: Candidates, control_code: np.ndarray) -> np.ndarray:
    if not (control_code >= 0).any():
        return q
    truth = control_code[candidates.item]
    return np.where(truth >= 0, truth == candidates.answer, q)


_CELL_PRIOR = 1.0  # pseudo-answers a class that pull a source's confusion rows to the pooled ones
_POOLED_PRIOR = 3.0  # pseudo-answers that the pooled matrix has right, a class, above one in each cell
_HALF = 5.0  # answers for each way to be wrong at which a source's confusion counts half
_NONE = 1e-12  # keeps an item whose answers weigh nothing from having no answer


def dawid_skene(votes: Votes, candidates: Candidates, control_code: np.ndarray, prior: Prior) -> Fit:
    """Return the MAP of one confusion matrix a source, each row shrunk to the pooled row.

    A vote for an answer never speaks more for another one: a hostile majority cannot turn honest votes upside down.
    Time and memory grow with sources x answers^2. References: Dawid & Skene (1979); Kim & Ghahramani (2012), "Bayesian
    Classifier Combination" (Dirichlet priors on the rows).
    """
    return _fit(votes, candidates, control_code, prior, np.ones(len(votes.sources)))


def blend(votes: Votes, candidates: Candidates, control_code: np.ndarray, prior: Prior) -> Fit:
    """Return the MAP with each source's log likelihood between one-coin's and full confusion's, by `confusion_weight`.

    A source that has answered little is believed by one number; its confusion matrix speaks as it fills.
    """
    return _fit(votes, candidates, control_code, prior, confusion_weight(votes, prior))


def confusion_weight(votes: Votes, prior: Prior) -> np.ndarray:
    """Return ``(sources,)`` how far each source's answers carry a confusion matrix, from 0 to 1."""
    k = max(len(votes.answers), 2)
    n = np.bincount(votes.source, votes.share, minlength=len(votes.sources))
    if prior.settled is not None and prior.settled.cells is not None:
        n = n + prior.settled.n
    cells = n / (k * (k - 1))
    return cells**2 / (cells**2 + _HALF**2)


def _fit(votes: Votes, candidates: Candidates, control_code: np.ndarray, prior: Prior, trust: np.ndarray) -> Fit:
    items, k, settled = len(votes.items), max(len(votes.answers), 1), prior.settled
    q = np.zeros((items, k))
    q[candidates.item, candidates.answer] = majority(votes, candidates, control_code, prior).q
    q = _clamp_rows(q + _NONE, control_code)
    table = cell_table(votes, k)
    cells0 = None if settled is None else settled.cells
    classes0 = 1.0 if settled is None or cells0 is None else 1.0 + settled.classes
    answered = np.bincount(votes.source, minlength=len(votes.sources)) + (
        0 if settled is None or cells0 is None else settled.n
    )
    share_known = float((trust * answered).sum() / max(answered.sum(), 1e-12))
    score = np.zeros(q.shape)
    for _ in range(ROUNDS):
        counts = (table.T @ q).reshape(len(votes.sources), k, k)
        logs = _logs(counts if cells0 is None else counts + cells0, prior, trust)
        share = q.sum(0) + classes0
        score = table @ logs.reshape(-1, k)
        score += share_known * np.log(share / share.sum())
        raw = np.exp(score - score.max(1, keepdims=True))
        raw /= raw.sum(1, keepdims=True)
        after = _clamp_rows(raw, control_code)
        moved, q = np.abs(after - q).mean() if q.size else 0.0, after
        if moved < TOLERANCE / max(k / 2, 1):
            break
    a, b = update_reliability(votes, q[votes.item, votes.answer], prior)
    return Fit(
        q[candidates.item, candidates.answer],
        a,
        b,
        unvoted=_unvoted(q, candidates),
        raw=posterior_in(score, candidates),
    )


def posterior_in(score: np.ndarray, candidates: Candidates) -> Posterior:
    """Return the posterior from the log scores ``(items, k)`` of all answers."""
    top = score.max(1, keepdims=True)
    total = (top + np.log(np.exp(score - top).sum(1, keepdims=True)))[:, 0]
    left = score.copy()
    left[candidates.item, candidates.answer] = -np.inf
    most = np.maximum(left.max(1), -1e308)
    with np.errstate(divide="ignore"):
        rest = most + np.log(np.exp(left - most[:, None]).sum(1)) - total
    return Posterior(score[candidates.item, candidates.answer] - total[candidates.item], rest)


def cell_table(votes: Votes, k: int) -> Any:
    """Return the sparse matrix of vote weights, items by (source, answer)."""
    from scipy.sparse import csr_matrix

    start = np.searchsorted(votes.item, np.arange(len(votes.items) + 1)).astype(np.int32)
    cell = (votes.source * k + votes.answer).astype(np.int32)
    return csr_matrix((votes.weight, cell, start), shape=(len(votes.items), len(votes.sources) * k))


def _logs(counts: np.ndarray, prior: Prior, trust: np.ndarray) -> np.ndarray:
    """Return ``(sources, answer, truth)`` log likelihoods, from the expected counts of the same shape."""
    k = counts.shape[1]
    full = smoothed_cells(counts, prior)
    full = np.log(full / full.sum(1, keepdims=True))
    if not (trust == 1).all():
        coin = _coin(counts, prior, k)
        full = trust[:, None, None] * full + (1 - trust)[:, None, None] * coin
    own = np.einsum("saa->sa", full)
    return np.minimum(full, own[:, :, None])


def smoothed_cells(counts: np.ndarray, prior: Prior) -> np.ndarray:
    """Return the expected `counts` ``(sources, answer, truth)`` with what is believed of a source beforehand."""
    k = counts.shape[1]
    eye = np.eye(k)
    pooled = counts.sum(0) + _POOLED_PRIOR * eye + 1
    pooled /= pooled.sum(0, keepdims=True)
    right = prior.a / (prior.a + prior.b)
    earned = np.maximum(prior.a + prior.b - 5, 0) / k  # what the ledger adds to the cold prior, a class
    told = right[:, None, None] * eye + ((1 - right) / max(k - 1, 1))[:, None, None] * (1 - eye)
    return counts + _CELL_PRIOR * k * pooled + earned[:, None, None] * told


def _coin(counts: np.ndarray, prior: Prior, k: int) -> np.ndarray:
    """Return the same for one accuracy a source, chance at least."""
    good, ways = np.einsum("saa->s", counts), max(k, 2)
    gain = log_odds_gain(prior.a + good, prior.b + np.maximum(counts.sum((1, 2)) - good, 0), ways)
    return (gain - np.log(np.exp(gain) + ways - 1))[:, None, None] - gain[:, None, None] * (1 - np.eye(k))


def _unvoted(q: np.ndarray, candidates: Candidates) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(items,)`` the most probable answer that nobody gave, and its probability."""
    left = q.copy()
    left[candidates.item, candidates.answer] = 0.0
    code = left.argmax(1)
    return code, left[np.arange(len(left)), code]


def _clamp_rows(q: np.ndarray, control_code: np.ndarray) -> np.ndarray:
    q = q / q.sum(1, keepdims=True)
    is_control = np.flatnonzero(control_code >= 0)
    q[is_control] = 0.0
    q[is_control, control_code[is_control]] = 1.0
    return q
