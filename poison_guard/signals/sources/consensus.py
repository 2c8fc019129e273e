"""What the sources agree on: an answer an item with its probability, and what each source is worth by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from poison_guard.errors import UsageError
from poison_guard.numerics.tests import beta_low
from poison_guard.signals.sources.models import (
    OPEN_ANSWERS,
    Candidates,
    Fit,
    Prior,
    candidates,
    dawid_skene,
    majority,
    one_coin,
)
from poison_guard.signals.sources.votes import Votes, as_text, control_codes, encode

__all__ = ["COLD_PRIOR", "MODELS", "Consensus", "consensus"]

MODELS = {"majority": majority, "one_coin": one_coin, "dawid_skene": dawid_skene}
COLD_PRIOR = (4.0, 1.0)
"""Beta prior of a source nobody knows: right four times in five, worth five answers."""
_FULL_FROM = 10.0  # answers of the mean answer's source for each way to be wrong, from which full confusion pays
_MAX_CELLS = 40_000_000  # sources x answers^2 doubles that full confusion may take
_RUNNER_UP = 0.3  # share of the votes at which a second answer disputes an item


@dataclass(frozen=True, slots=True)
class Consensus:
    """What was agreed.

    `items`: ``item_id, answer, probability, disputed``, one row an item. `sources`: ``source_id, reliability,
    lower_bound, n``: mean and 5 % quantile of the Beta posterior, and answers counted. `model` is the one used.
    """

    items: pd.DataFrame
    sources: pd.DataFrame
    model: str
    missing: int = 0
    """Rows left out because item, source or answer is missing."""
    repeated: int = 0
    """Rows that repeat what their source had already answered to the item; counted once."""
    contradictory: int = 0
    """(item, source) pairs with several answers; they share one vote."""


def consensus(
    answers: pd.DataFrame,
    controls: pd.DataFrame | None = None,
    model: str = "auto",
    *,
    weights: np.ndarray | None = None,
    prior: Mapping[str, tuple[float, float]] | None = None,
) -> Consensus:
    """Return the consensus of `answers` (``item_id, source_id, answer``), row order without effect.

    `controls` (``item_id, answer``) are taken as true. `model` is ``majority``, ``one_coin``, ``dawid_skene`` or
    ``auto`` (full confusion once sources have answered enough for it). `weights`, ``(rows,)``, weigh answers; `prior`
    gives Beta(a, b) by source id (unknown sources: `COLD_PRIOR`). An item is disputed where the model's answer is not
    the one most voted for, or a second answer has at least two votes and three in ten of all: such items wait, a model
    never overrules votes. `UsageError` for a missing column or an unknown model.

    >>> import pandas as pd
    >>> votes = pd.DataFrame({"item_id": ["w"] * 3, "source_id": ["a", "b", "c"], "answer": ["7", "7", "1"]})
    >>> consensus(votes).items.loc[0, "answer"]
    '7'
    """
    if model != "auto" and model not in MODELS:
        raise UsageError(f"model must be auto, {', '.join(MODELS)}, got {model!r}")
    known = () if controls is None or controls.empty else tuple(as_text(controls["answer"].dropna()).unique())
    votes = encode(answers, weights=weights, known=known)
    control = control_codes(votes, controls)
    found = candidates(votes)
    name = _choose(votes) if model == "auto" else model
    if name == "dawid_skene" and len(votes.sources) * len(votes.answers) ** 2 > _MAX_CELLS:
        raise UsageError(
            f"dawid_skene over {len(votes.sources):,} sources and {len(votes.answers):,} answers is too large; "
            "use one_coin or auto"
        )
    fit = MODELS[name](votes, found, control, _prior(votes, prior))
    return Consensus(
        items=_items(votes, found, fit, control),
        sources=_sources(votes, fit),
        model=name,
        missing=votes.missing,
        repeated=votes.repeated,
        contradictory=votes.contradictory,
    )


def _choose(votes: Votes) -> str:
    """Return the model that the amount of history supports."""
    k = len(votes.answers)
    if k < 2 or k > OPEN_ANSWERS or len(votes.sources) * k * k > _MAX_CELLS:
        return "one_coin"
    n = np.bincount(votes.source, minlength=len(votes.sources)).astype(float)
    history = (n * n).sum() / n.sum() if n.sum() else 0.0
    return "dawid_skene" if history / (k * (k - 1)) >= _FULL_FROM else "one_coin"


def _prior(votes: Votes, prior: Mapping[str, tuple[float, float]] | None) -> Prior:
    table = np.tile(np.asarray(COLD_PRIOR), (len(votes.sources), 1))
    if prior:
        for code, name in enumerate(votes.sources):
            if name in prior:
                table[code] = prior[name]
    if not np.isfinite(table).all() or (table <= 0).any():
        raise UsageError("a source's prior must be two positive finite numbers (a, b)")
    return Prior(table[:, 0], table[:, 1])


def _items(votes: Votes, found: Candidates, fit: Fit, control: np.ndarray) -> pd.DataFrame:
    counts = np.bincount(found.of, votes.share, minlength=len(found.item))
    by_model = np.lexsort((found.answer, -counts, -fit.q, found.item))
    by_votes = np.lexsort((found.answer, -counts, found.item))
    best, first, second = by_model[found.start], by_votes[found.start], np.minimum(found.start + 1, len(found.item) - 1)
    second = by_votes[second]
    alone = found.item[second] != found.item[first]
    runner = np.where(alone | (second == first), 0.0, counts[second])
    total = np.add.reduceat(counts, found.start) if len(counts) else counts
    overruled = counts[best] < counts[first] - 1e-9
    known = control >= 0
    code = np.where(known, control, found.answer[best])
    return pd.DataFrame(
        {
            "item_id": votes.items,
            "answer": votes.answers[code],
            "probability": np.where(known, 1.0, fit.q[best]),
            "disputed": ~known & (overruled | ((runner >= 2) & (runner >= _RUNNER_UP * total))),
        }
    )


def _sources(votes: Votes, fit: Fit) -> pd.DataFrame:
    pairs = np.bincount(votes.source, votes.share, minlength=len(votes.sources))
    return pd.DataFrame(
        {
            "source_id": votes.sources,
            "reliability": fit.a / (fit.a + fit.b),
            "lower_bound": beta_low(fit.a, fit.b),
            "n": np.rint(pairs).astype(np.int64),
        }
    )
