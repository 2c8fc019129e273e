"""Result tables of a consensus: items with calibrated probabilities and disputes, sources with their reliability."""

from __future__ import annotations

import numpy as np
import pandas as pd

from poison_guard.signals.pvalues import beta_low
from poison_guard.signals.sources.aggregators import OPEN_ANSWERS, Candidates, Fit
from poison_guard.signals.votes import Votes

__all__ = ["CORRELATION", "best_candidates", "calibrate_probabilities", "items_table", "sources_table", "temper"]


CORRELATION = 0.15
"""Intra-item correlation of errors that is assumed: what three real crowds show (`benchmarks/consensus.py`)."""
_LARGER_CORRELATIONS = (
    0.2,
    0.3,
    0.45,
    0.7,
    1.0,
)  # what controls may teach instead: attackers may know them, so they teach only doubt
_STEP_PENALTY = 2.0  # log likelihood that a step away from `CORRELATION` must gain
_LEAST_LOG_LIKELIHOOD = -5.0  # of one control: no single one decides


def calibrate_probabilities(
    votes: Votes, candidates: Candidates, fit: Fit, control_code: np.ndarray
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray] | None]:
    """Calibrate label probabilities for errors that are correlated within an item.

    Returns the probability of each candidate ``(c,)`` and of the best answer nobody gave (code and probability). A
    model that takes the n answers to an item as independent is too sure when all find it hard or err the same way.
    With correlation r they are worth n / (1 + (n - 1) r) independent ones: the posterior is raised to that power's
    share and normalised, which changes no choice. r is `CORRELATION`, or more where controls ask for it. A fit without
    `raw` (shares of votes, free text) is returned as it is.

    References: Kish (1965), "Survey Sampling" (the design effect); Guo et al. (2017), "On Calibration of Modern Neural
    Networks" (temperature).
    """
    if fit.raw is None or not len(fit.q):
        return fit.q, fit.unvoted
    answered = np.bincount(votes.item, votes.weight, minlength=len(votes.items))
    excess = np.maximum(answered - 1, 0)
    r = _correlation(votes, candidates, fit, control_code, excess)
    is_control = control_code[candidates.item] >= 0
    q, rest = temper(votes, candidates, fit, 1 / (1 + excess * r))
    code = None if fit.unvoted is None else fit.unvoted[0]
    return np.where(is_control, fit.q, q), None if code is None else (code, np.where(control_code >= 0, 0.0, rest))


def temper(votes: Votes, candidates: Candidates, fit: Fit, power: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the candidates' probabilities raised to ``power`` (items,), and that of the best unvoted answer."""
    if fit.raw is None:
        return fit.q, np.zeros(len(votes.items))
    size = np.diff(np.r_[candidates.start, len(candidates.item)])
    k = max(len(votes.answers), 2)
    others = np.maximum(k - size if k <= OPEN_ANSWERS else OPEN_ANSWERS - size, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rest = fit.raw.rest
        top = np.full(len(size), -np.inf) if fit.unvoted is None else np.minimum(np.log(fit.unvoted[1]), rest)
        split = np.maximum(others - np.isfinite(top), 0)
        left = np.where(np.isfinite(rest) & (split > 0), rest + np.log1p(-np.exp(top - rest)) - np.log(split), -np.inf)
        scaled = power[candidates.item] * fit.raw.log_q
        best, tail = np.where(top > -np.inf, power * top, -np.inf), np.where(left > -np.inf, power * left, -np.inf)
    most = np.maximum.reduce([np.maximum.reduceat(scaled, candidates.start), best, tail])
    mass, best, tail = np.exp(scaled - most[candidates.item]), np.exp(best - most), split * np.exp(tail - most)
    total = np.bincount(candidates.item, mass, minlength=len(size)) + best + tail
    return mass / total[candidates.item], best / total


def _correlation(votes: Votes, candidates: Candidates, fit: Fit, control_code: np.ndarray, excess: np.ndarray) -> float:
    """Return the correlation that the controls make likeliest, never less than `CORRELATION`."""
    controls = np.flatnonzero((control_code >= 0) & (excess > 0))
    right = np.flatnonzero(control_code[candidates.item] == candidates.answer)
    if not len(controls):
        return CORRELATION
    best, reached = CORRELATION, -np.inf
    for step, r in enumerate((CORRELATION, *_LARGER_CORRELATIONS)):
        q, _ = temper(votes, candidates, fit, 1 / (1 + excess * r))
        probability = np.zeros(len(control_code))
        probability[candidates.item[right]] = q[right]
        never = np.clip(1 - np.bincount(candidates.item, q, minlength=len(control_code)), 0, 1)
        truth = np.where(probability > 0, probability, never)[controls]
        gained = float(np.maximum(np.log(np.maximum(truth, 1e-9)), _LEAST_LOG_LIKELIHOOD).sum()) - _STEP_PENALTY * step
        if gained > reached:
            best, reached = r, gained
    return best


_RUNNER_UP = 0.3  # share of the votes at which a second answer disputes an item


def items_table(votes: Votes, candidates: Candidates, fit: Fit, control_code: np.ndarray) -> pd.DataFrame:
    """Return ``item_id, answer, probability, disputed``; `control_code` is the known answer's code, or -1."""
    counts = np.bincount(candidates.of_vote, votes.share, minlength=len(candidates.item))
    first, most = best_candidates(candidates, counts)
    best = best_candidates(candidates, fit.q, counts)[0] if fit.choice is None else fit.choice
    belief, unvoted = calibrate_probabilities(votes, candidates, fit, control_code)
    probability = belief[best]
    runner = best_candidates(candidates, np.where(np.arange(len(counts)) == first[candidates.item], 0.0, counts))[1]
    total = np.add.reduceat(counts, candidates.start) if len(counts) else counts
    overruled = counts[best] < most - 1e-9
    code = candidates.answer[best]
    if fit.unvoted is not None and unvoted is not None:  # where the model thinks that all are wrong
        guessed = fit.unvoted[1] > fit.q[best]
        code, overruled = np.where(guessed, fit.unvoted[0], code), overruled | guessed
        probability = np.where(guessed, unvoted[1], probability)
    disputed = overruled | ((runner >= 2) & (runner >= _RUNNER_UP * total))
    if fit.disputed is not None:
        disputed = fit.disputed
    is_control = control_code >= 0
    code = np.where(is_control, control_code, code)
    return pd.DataFrame(
        {
            "item_id": votes.items,
            "answer": votes.answers[code],
            "probability": np.where(is_control, 1.0, probability),
            "disputed": ~is_control & disputed,
        }
    )


def best_candidates(candidates: Candidates, *by: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(items,)`` the largest candidate `by` the values in turn, then by answer, and its first value."""
    if not len(candidates.item):
        return np.zeros(0, np.int64), np.zeros(0)
    left, value = np.ones(len(candidates.item), bool), np.zeros(0)
    for values in by:
        top = np.maximum.reduceat(np.where(left, values, -np.inf), candidates.start)
        left &= values == top[candidates.item]
        value = value if len(value) else top
    at = np.flatnonzero(left)
    return at[np.searchsorted(candidates.item[at], np.arange(len(candidates.start)))], value


def sources_table(votes: Votes, fit: Fit) -> pd.DataFrame:
    """Return ``source_id, reliability, lower_bound, n``."""
    pairs = np.bincount(votes.source, votes.share, minlength=len(votes.sources))
    return pd.DataFrame(
        {
            "source_id": votes.sources,
            "reliability": fit.a / (fit.a + fit.b),
            "lower_bound": beta_low(fit.a, fit.b),
            "n": np.rint(pairs).astype(np.int64),
        }
    )
