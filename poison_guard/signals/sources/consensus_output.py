"""Result tables of a consensus: items with calibrated probabilities and disputes, sources with their reliability."""

from __future__ import annotations

import numpy as np
import pandas as pd

from poison_guard.signals.pvalues import beta_low
from poison_guard.signals.sources.aggregators import OPEN_ANSWERS, Candidates, Fit
from poison_guard.signals.votes import Votes

__all__ = ["CORRELATION", "calibrate_probabilities", "items_table", "sources_table"]


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
    votes: Votes, found: Candidates, fit: Fit, control: np.ndarray
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray] | None]:
    """Return the probability of each candidate ``(c,)`` and of the best answer nobody gave (code and probability).

    A model that takes the n answers to an item as independent is too sure when all find it hard or err the same way.
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
    r = _correlation(votes, found, fit, control, excess)
    known = control[found.item] >= 0
    q, rest = _tempered(votes, found, fit, 1 / (1 + excess * r))
    code = None if fit.unvoted is None else fit.unvoted[0]
    return np.where(known, fit.q, q), None if code is None else (code, np.where(control >= 0, 0.0, rest))


def _tempered(votes: Votes, found: Candidates, fit: Fit, power: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the candidates' probabilities raised to ``power`` (items,), and that of the best unvoted answer."""
    raw = np.zeros(0) if fit.raw is None else fit.raw
    size = np.diff(np.r_[found.start, len(found.item)])
    k = max(len(votes.answers), 2)
    others = np.maximum(k - size if k <= OPEN_ANSWERS else OPEN_ANSWERS - size, 0)
    rest = np.clip(1 - np.bincount(found.item, raw, minlength=len(size)), 1e-12, 1)
    top = np.zeros(len(size)) if fit.unvoted is None else np.minimum(fit.unvoted[1], rest)
    split = np.maximum(others - (top > 0), 0)
    mass = np.maximum(raw, 1e-300) ** power[found.item]
    best = np.where(top > 0, np.maximum(top, 1e-300) ** power, 0.0)
    tail = split * (np.maximum(rest - top, 1e-12) / np.maximum(split, 1)) ** power
    total = np.bincount(found.item, mass, minlength=len(size)) + best + tail
    return mass / total[found.item], best / total


def _correlation(votes: Votes, found: Candidates, fit: Fit, control: np.ndarray, excess: np.ndarray) -> float:
    """Return the correlation that the controls make likeliest, never less than `CORRELATION`."""
    asked = np.flatnonzero((control >= 0) & (excess > 0))
    right = np.flatnonzero(control[found.item] == found.answer)
    if not len(asked):
        return CORRELATION
    best, reached = CORRELATION, -np.inf
    for step, r in enumerate((CORRELATION, *_LARGER_CORRELATIONS)):
        q, _ = _tempered(votes, found, fit, 1 / (1 + excess * r))
        said = np.zeros(len(control))
        said[found.item[right]] = q[right]
        never = np.clip(1 - np.bincount(found.item, q, minlength=len(control)), 0, 1)
        truth = np.where(said > 0, said, never)[asked]
        gained = float(np.maximum(np.log(np.maximum(truth, 1e-9)), _LEAST_LOG_LIKELIHOOD).sum()) - _STEP_PENALTY * step
        if gained > reached:
            best, reached = r, gained
    return best


_RUNNER_UP = 0.3  # share of the votes at which a second answer disputes an item


def items_table(votes: Votes, found: Candidates, fit: Fit, control: np.ndarray) -> pd.DataFrame:
    """Return ``item_id, answer, probability, disputed``; `control` is the known answer's code, or -1."""
    counts = np.bincount(found.of, votes.share, minlength=len(found.item))
    first, most = _best(found, counts)
    best = _best(found, fit.q, counts)[0] if fit.choice is None else fit.choice
    belief, unvoted = calibrate_probabilities(votes, found, fit, control)
    probability = belief[best]
    runner = _best(found, np.where(np.arange(len(counts)) == first[found.item], 0.0, counts))[1]
    total = np.add.reduceat(counts, found.start) if len(counts) else counts
    overruled = counts[best] < most - 1e-9
    code = found.answer[best]
    if fit.unvoted is not None and unvoted is not None:  # where the model thinks that all are wrong
        guessed = fit.unvoted[1] > fit.q[best]
        code, overruled = np.where(guessed, fit.unvoted[0], code), overruled | guessed
        probability = np.where(guessed, unvoted[1], probability)
    disputed = overruled | ((runner >= 2) & (runner >= _RUNNER_UP * total))
    if fit.disputed is not None:
        disputed = fit.disputed
    known = control >= 0
    code = np.where(known, control, code)
    return pd.DataFrame(
        {
            "item_id": votes.items,
            "answer": votes.answers[code],
            "probability": np.where(known, 1.0, probability),
            "disputed": ~known & disputed,
        }
    )


def _best(found: Candidates, *by: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(items,)`` the largest candidate `by` the values in turn, then by answer, and its first value."""
    if not len(found.item):
        return np.zeros(0, np.int64), np.zeros(0)
    left, value = np.ones(len(found.item), bool), np.zeros(0)
    for values in by:
        top = np.maximum.reduceat(np.where(left, values, -np.inf), found.start)
        left &= values == top[found.item]
        value = value if len(value) else top
    at = np.flatnonzero(left)
    return at[np.searchsorted(found.item[at], np.arange(len(found.start)))], value


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
