"""Probabilities to be taken at their word: answers to one item err together, so each says less than models think."""

from __future__ import annotations

import numpy as np

from poison_guard.signals.sources.models import OPEN_ANSWERS, Candidates, Fit
from poison_guard.signals.sources.votes import Votes

__all__ = ["CORRELATION", "calibrated"]

CORRELATION = 0.15
"""Intra-item correlation of errors that is assumed: what three real crowds show (`benchmarks/consensus.py`)."""
_MORE = (0.2, 0.3, 0.45, 0.7, 1.0)  # what controls may teach instead: attackers may know them, so they teach only doubt
_PULL = 2.0  # log likelihood that a step away from `CORRELATION` must gain
_LOG_LEAST = -5.0  # of one control: no single one decides


def calibrated(
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
    q, rest = _cooled(votes, found, fit, 1 / (1 + excess * r))
    code = None if fit.unvoted is None else fit.unvoted[0]
    return np.where(known, fit.q, q), None if code is None else (code, np.where(control >= 0, 0.0, rest))


def _cooled(votes: Votes, found: Candidates, fit: Fit, power: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
    for step, r in enumerate((CORRELATION, *_MORE)):
        q, _ = _cooled(votes, found, fit, 1 / (1 + excess * r))
        said = np.zeros(len(control))
        said[found.item[right]] = q[right]
        never = np.clip(1 - np.bincount(found.item, q, minlength=len(control)), 0, 1)
        truth = np.where(said > 0, said, never)[asked]
        gained = float(np.maximum(np.log(np.maximum(truth, 1e-9)), _LOG_LEAST).sum()) - _PULL * step
        if gained > reached:
            best, reached = r, gained
    return best
