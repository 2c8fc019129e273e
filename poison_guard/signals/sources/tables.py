"""The tables that users see, from a fit: items with their answers and doubts, sources with what they are worth."""

from __future__ import annotations

import numpy as np
import pandas as pd

from poison_guard.numerics.tests import beta_low
from poison_guard.signals.sources.calibrate import calibrated
from poison_guard.signals.sources.models import Candidates, Fit
from poison_guard.signals.sources.votes import Votes

__all__ = ["items_table", "sources_table"]

_RUNNER_UP = 0.3  # share of the votes at which a second answer disputes an item


def items_table(votes: Votes, found: Candidates, fit: Fit, control: np.ndarray) -> pd.DataFrame:
    """Return ``item_id, answer, probability, disputed``; `control` is the known answer's code, or -1."""
    counts = np.bincount(found.of, votes.share, minlength=len(found.item))
    first, most = _best(found, counts)
    best = _best(found, fit.q, counts)[0] if fit.choice is None else fit.choice
    belief, unvoted = calibrated(votes, found, fit, control)
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
