"""What the sources agree on: an answer an item with its probability, and what each source is worth by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from poison_guard.errors import UsageError
from poison_guard.signals.sources.aggregators import (
    OPEN_ANSWERS,
    Candidates,
    Fit,
    Prior,
    SettledCounts,
    blend,
    confusion_weight,
    dawid_skene,
    list_candidates,
    majority,
    one_coin,
)
from poison_guard.signals.sources.consensus_output import items_table, sources_table
from poison_guard.signals.sources.text_medoid import closest, is_free_text
from poison_guard.signals.votes import Votes, check_columns, control_codes, encode, known_answers, lookalikes

__all__ = ["COLD_PRIOR", "MAX_CELLS", "MODELS", "Consensus", "agree", "consensus", "fit_consensus", "prior_of"]

MODELS = {"majority": majority, "one_coin": one_coin, "dawid_skene": dawid_skene, "blend": blend, "closest": closest}
COLD_PRIOR = (4.0, 1.0)
"""Beta prior of a source nobody knows: right four times in five, worth five answers."""
_FULL_FROM = 0.5  # mean weight of the confusion matrices in the evidence, from which they are worth their time
MAX_CELLS = 40_000_000
"""Doubles that a table of full confusion (sources x answers^2, items x answers) may take."""


@dataclass(frozen=True, slots=True)
class Consensus:
    """What was agreed.

    `items`: ``item_id, answer, probability, disputed``, one row an item; the probability is calibrated on real crowds
    (`calibrate_probabilities`), for majority the share of the votes, for free text of those that say nearly the same.
    `sources`: ``source_id, reliability, lower_bound, n``: mean and 5 % quantile of the Beta posterior, and answers
    counted. `model` is the one used.
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
    lookalike: int = 0
    """Ids of items and sources that differ from another one only by case or invisible characters; kept apart."""


def consensus(
    answers: pd.DataFrame,
    controls: pd.DataFrame | None = None,
    model: str = "auto",
    *,
    weights: np.ndarray | None = None,
    prior: Mapping[str, tuple[float, float]] | None = None,
) -> Consensus:
    """Return the consensus of `answers` (``item_id, source_id, answer``), row order without effect.

    `controls` (``item_id, answer``) are taken as true. `model`: ``majority``, ``one_coin``, ``dawid_skene``, ``blend``
    (each source between the last two by how much it has answered), ``closest`` (long free text), or ``auto``: *closest*
    where answers are long and hardly repeated, *blend* where confusion matrices would carry half the evidence,
    *one_coin* otherwise and for open sets of answers. `weights`, ``(rows,)``, weigh answers; `prior` gives Beta(a, b)
    by source id (unknown sources: `COLD_PRIOR`).

    An item is disputed where the model's answer is not the one most voted for, or a second answer has at least two
    votes and three in ten of all: such items wait, a model never overrules votes. `UsageError` for a missing column, an
    unknown model, or one too large for the answers; `DataError` for controls that contradict themselves.

    >>> import pandas as pd
    >>> votes = pd.DataFrame({"item_id": ["w"] * 3, "source_id": ["a", "b", "c"], "answer": ["7", "7", "1"]})
    >>> consensus(votes).items.loc[0, "answer"]
    '7'
    """
    check_columns(answers, ("item_id", "source_id", "answer"), "answers")
    votes = answers[["item_id", "source_id", "answer"]].rename(columns={"answer": "vote"})
    return agree(votes, controls, model, weights=weights, prior=prior)


def agree(
    votes: pd.DataFrame,
    controls: pd.DataFrame | None = None,
    model: str = "auto",
    *,
    weights: np.ndarray | None = None,
    prior: Mapping[str, tuple[float, float]] | None = None,
) -> Consensus:
    """Return `consensus` of `votes` (``item_id, source_id, vote``), the name that the rooms have for answers."""
    coded = encode(votes, weights=weights, known=known_answers(controls))
    control_code = control_codes(coded, controls)
    name, candidates, fit = fit_consensus(coded, control_code, model, prior_of(coded, prior))
    return Consensus(
        items=items_table(coded, candidates, fit, control_code),
        sources=sources_table(coded, fit),
        model=name,
        missing=coded.missing,
        repeated=coded.repeated,
        contradictory=coded.contradictory,
        lookalike=lookalikes(coded.items) + lookalikes(coded.sources),
    )


def fit_consensus(votes: Votes, control_code: np.ndarray, model: str, prior: Prior) -> tuple[str, Candidates, Fit]:
    """Return the model used, the candidates and the fit; `UsageError` for an unknown model or one too large."""
    if model != "auto" and model not in MODELS:
        raise UsageError(f"model must be auto, {', '.join(MODELS)}, got {model!r}")
    name = _choose(votes, prior) if model == "auto" else model
    if name in ("dawid_skene", "blend") and _cells(votes) > MAX_CELLS:
        raise UsageError(
            f"{name} over {len(votes.items):,} items, {len(votes.sources):,} sources and {len(votes.answers):,} "
            "answers is too large; use one_coin or auto"
        )
    candidates = list_candidates(votes)
    return name, candidates, MODELS[name](votes, candidates, control_code, prior)


def _cells(votes: Votes) -> int:
    k = len(votes.answers)
    return max(len(votes.sources) * k, len(votes.items)) * k


def _choose(votes: Votes, prior: Prior) -> str:
    """Return the model that the answers' kind and the amount of history support."""
    k = len(votes.answers)
    if is_free_text(votes):
        return "closest"
    if k < 2 or k > OPEN_ANSWERS or _cells(votes) > MAX_CELLS:
        return "one_coin"
    n = np.bincount(votes.source, minlength=len(votes.sources))
    return "blend" if (confusion_weight(votes, prior) * n).sum() > _FULL_FROM * n.sum() else "one_coin"


def prior_of(
    votes: Votes, prior: Mapping[str, tuple[float, float]] | None, settled: SettledCounts | None = None
) -> Prior:
    """Return the Beta prior of each source of `votes`, `COLD_PRIOR` where `prior` does not name it."""
    table = np.tile(np.asarray(COLD_PRIOR), (len(votes.sources), 1))
    wrong = UsageError("a source's prior must be two positive finite numbers (a, b)")
    try:
        for code, name in enumerate(votes.sources if prior else ()):
            a, b = (prior or {}).get(name, COLD_PRIOR)
            table[code] = a, b
    except (TypeError, ValueError):
        raise wrong from None
    if not np.isfinite(table).all() or (table <= 0).any():
        raise wrong
    return Prior(table[:, 0], table[:, 1], settled)
