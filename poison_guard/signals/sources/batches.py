"""Consensus batch by batch, in bounded memory: answers to open items, and of settled ones what they say of the sources.

stats = Statistics()
for batch in batches:
    stats = update(stats, batch)
    store(stats.settled)             # items that no longer change
result = consensus_of(stats)         # the open ones, and every source
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from poison_guard.errors import UsageError
from poison_guard.signals.pvalues import beta_low
from poison_guard.signals.sources.aggregators import OPEN_ANSWERS, Candidates, Fit, Prior, SettledCounts, cell_table
from poison_guard.signals.sources.consensus import COLD_PRIOR, MAX_CELLS, Consensus, fit_consensus, prior_of
from poison_guard.signals.sources.consensus_output import items_table, sources_table
from poison_guard.signals.votes import (
    Votes,
    as_text,
    check_columns,
    check_weights,
    control_codes,
    encode,
    known_answers,
    lookalikes,
)

__all__ = ["KEEP", "Statistics", "consensus_of", "update"]

KEEP = 2_000_000
"""Answers to open items that are kept by default: some 300 MB."""
_COLUMNS = ["item_id", "source_id", "vote", "weight", "batch"]


_NAMES = pd.Index([], dtype="str")


def _no_items(items: pd.Index = _NAMES) -> pd.DataFrame:
    nothing = {"answer": _NAMES, "probability": np.zeros(0), "disputed": np.zeros(0, bool)}
    return pd.DataFrame({"item_id": items[:0], **nothing})


@dataclass(frozen=True, slots=True)
class Statistics:
    """What is remembered between batches; `update` returns a new one. Size: open answers + sources x answers^2."""

    open: pd.DataFrame = field(default_factory=lambda: pd.DataFrame({name: [] for name in _COLUMNS}))
    """Answers to items that may still change: ``item_id, source_id, vote, weight, batch``."""
    settled: pd.DataFrame = field(default_factory=_no_items)
    """Items that the last `update` settled and dropped: ``item_id, answer, probability, disputed``."""
    sources: pd.Index = field(default_factory=lambda: _NAMES)
    answers: pd.Index = field(default_factory=lambda: _NAMES)
    """All answers so far, while they are few (a closed set)."""
    settled_counts: SettledCounts = field(
        default_factory=lambda: SettledCounts(np.zeros(0), np.zeros(0), np.zeros((0, 0, 0)), np.zeros(0))
    )
    """What settled items say, in the order of `sources` and `answers`."""
    batches: int = 0
    missing: int = 0
    repeated: int = 0


def update(
    stats: Statistics,
    answers: pd.DataFrame,
    *,
    controls: pd.DataFrame | None = None,
    model: str = "auto",
    prior: Mapping[str, tuple[float, float]] | None = None,
    weights: np.ndarray | None = None,
    keep: int | None = KEEP,
    half_life: float | None = None,
) -> Statistics:
    """Return `stats` with one more batch of `answers` (``item_id, source_id, answer``).

    When more than `keep` answers are open, the items longest without a new answer are settled: judged with all that is
    known, given out once in `settled`, and remembered only in what they say of the sources. With `keep` None nothing
    is settled, and `consensus_of` gives exactly what one pass gives. An answer that comes after its item was settled
    opens the item anew. `half_life`: batches after which what settled items say counts half; None forgets nothing.
    `UsageError` for a negative `keep` or a `half_life` that is not positive.

    References: Neal & Hinton (1998), "A View of the EM Algorithm that Justifies Incremental, Sparse, and Other
    Variants".
    """
    if (keep is not None and keep < 0) or (half_life is not None and not half_life > 0):
        raise UsageError(f"keep must be 0 or more answers and half_life positive, got {keep} and {half_life}")
    batch, missing = _complete(answers, weights, stats.batches)
    open_votes = pd.concat([stats.open, batch], ignore_index=True) if len(stats.open) else batch
    votes = _encode(stats, open_votes, controls)
    stats = replace(
        _faded(stats, half_life),
        open=open_votes,
        settled=_no_items(votes.items),
        batches=stats.batches + 1,
        missing=stats.missing + missing,
        repeated=stats.repeated + votes.repeated,
    )
    stats = _widened(stats, votes)
    if votes.repeated:
        first = np.unique(votes.rows, return_index=True)[1]
        distinct = open_votes.iloc[first].assign(weight=votes.weight / votes.share).reset_index(drop=True)
        stats, votes = replace(stats, open=distinct), replace(votes, rows=np.arange(len(first)))
    if keep is None or len(stats.open) <= keep:
        return stats
    control_code = control_codes(votes, controls)
    _, candidates, fit = fit_consensus(votes, control_code, model, _prior(stats, votes, prior))
    return _settle(stats, votes, candidates, fit, control_code, keep)


def consensus_of(
    stats: Statistics,
    *,
    controls: pd.DataFrame | None = None,
    model: str = "auto",
    prior: Mapping[str, tuple[float, float]] | None = None,
) -> Consensus:
    """Return the consensus of the open items, and all sources, those without an open answer too."""
    votes = _encode(stats, stats.open, controls)
    control_code = control_codes(votes, controls)
    name, candidates, fit = fit_consensus(votes, control_code, model, _prior(stats, votes, prior))
    return Consensus(
        items=items_table(votes, candidates, fit, control_code),
        sources=_all_sources(stats, votes, fit, prior),
        model=name,
        missing=stats.missing,
        repeated=stats.repeated,
        contradictory=votes.contradictory,
        lookalike=lookalikes(votes.items) + lookalikes(stats.sources),
    )


def _complete(answers: pd.DataFrame, weights: np.ndarray | None, batch: int) -> tuple[pd.DataFrame, int]:
    """Return the rows of `answers` that miss nothing, as they are kept, and how many miss something."""
    check_columns(answers, ("item_id", "source_id", "answer"), "answers")
    votes = answers[["item_id", "source_id", "answer"]].rename(columns={"answer": "vote"})
    weight = np.ones(len(answers)) if weights is None else check_weights(weights, len(answers))
    present = votes.notna().all(axis=1).to_numpy()
    votes = votes[present].reset_index(drop=True)
    votes = votes.assign(vote=as_text(votes["vote"]), weight=weight[present], batch=batch)
    return votes, int(len(answers) - len(votes))


def _encode(stats: Statistics, votes: pd.DataFrame, controls: pd.DataFrame | None) -> Votes:
    known = tuple(sorted({*stats.answers, *known_answers(controls)}))
    return encode(votes, weights=votes["weight"].to_numpy(float), known=known)


def _faded(stats: Statistics, half_life: float | None) -> Statistics:
    if half_life is None or not len(stats.sources):
        return stats
    left, settled_counts = 0.5 ** (1 / half_life), stats.settled_counts
    cells = None if settled_counts.cells is None else settled_counts.cells * left
    return replace(
        stats,
        settled_counts=SettledCounts(
            settled_counts.right * left, settled_counts.n * left, cells, settled_counts.classes * left
        ),
    )


def _widened(stats: Statistics, votes: Votes) -> Statistics:
    """Return `stats` with room for the sources and answers of `votes`; cells are given up when there are too many."""
    new = votes.sources[stats.sources.get_indexer(votes.sources) < 0] if len(stats.sources) else votes.sources
    sources = stats.sources.append(new) if len(stats.sources) else new
    right, n = (np.r_[x, np.zeros(len(new))] for x in (stats.settled_counts.right, stats.settled_counts.n))
    k = len(votes.answers)
    if stats.settled_counts.cells is None or k > OPEN_ANSWERS or len(sources) * k * k > MAX_CELLS:
        nothing = SettledCounts(right, n, None, np.zeros(0))
        return replace(stats, sources=sources, answers=stats.answers[:0], settled_counts=nothing)
    cells, classes = np.zeros((len(sources), k, k)), np.zeros(k)
    at = votes.answers.get_indexer(stats.answers)
    cells[: len(stats.sources), at[:, None], at[None, :]] = stats.settled_counts.cells
    classes[at] = stats.settled_counts.classes
    return replace(
        stats, sources=sources, answers=votes.answers, settled_counts=SettledCounts(right, n, cells, classes)
    )


def _prior(stats: Statistics, votes: Votes, prior: Mapping[str, tuple[float, float]] | None) -> Prior:
    at, settled_counts = stats.sources.get_indexer(votes.sources), stats.settled_counts
    classes = settled_counts.classes if settled_counts.cells is not None else np.zeros(len(votes.answers))
    cells = None if settled_counts.cells is None else settled_counts.cells[at]
    return prior_of(votes, prior, SettledCounts(settled_counts.right[at], settled_counts.n[at], cells, classes))


def _settle(
    stats: Statistics, votes: Votes, candidates: Candidates, fit: Fit, control_code: np.ndarray, keep: int
) -> Statistics:
    """Return `stats` without the items longest unanswered, as many as it takes to keep at most `keep` answers."""
    batch = np.zeros(len(votes.items), np.int64)
    item = votes.item[votes.rows]
    np.maximum.at(batch, item, stats.open["batch"].to_numpy(np.int64))
    order = np.argsort(batch, kind="stable")
    left = len(item) - np.cumsum(np.bincount(item, minlength=len(batch))[order])
    settled = np.zeros(len(batch), bool)
    settled[order[: int(np.searchsorted(-left, -keep)) + 1]] = True
    table = items_table(votes, candidates, fit, control_code)[settled].reset_index(drop=True)
    settled_counts = _remembered(stats, votes, candidates, fit, settled)
    return replace(
        stats, open=stats.open[~settled[item]].reset_index(drop=True), settled=table, settled_counts=settled_counts
    )


def _remembered(
    stats: Statistics, votes: Votes, candidates: Candidates, fit: Fit, settled: np.ndarray
) -> SettledCounts:
    """Return what the items settled so far, and now the `settled` ones, say of the sources."""
    at, settled_counts, size = stats.sources.get_indexer(votes.sources), stats.settled_counts, len(votes.sources)
    weight = votes.weight * settled[votes.item]
    right, n = settled_counts.right.copy(), settled_counts.n.copy()
    right[at] += np.bincount(votes.source, weight * fit.q[candidates.of_vote], minlength=size)
    n[at] += np.bincount(votes.source, weight, minlength=size)
    if settled_counts.cells is None:
        return SettledCounts(right, n, None, settled_counts.classes)
    k = len(votes.answers)
    q = np.zeros((len(votes.items), k))
    q[candidates.item, candidates.answer] = fit.q * settled[candidates.item]
    cells = settled_counts.cells.copy()
    cells[at] += (cell_table(votes, k).T @ q).reshape(size, k, k)
    return SettledCounts(right, n, cells, settled_counts.classes + q.sum(0))


def _all_sources(
    stats: Statistics, votes: Votes, fit: Fit, prior: Mapping[str, tuple[float, float]] | None
) -> pd.DataFrame:
    """Return the table of the sources with open answers and of those whose items are all settled, sorted by id."""
    at = stats.sources.get_indexer(votes.sources)
    table = sources_table(votes, fit)
    table["n"] += np.rint(stats.settled_counts.n[at]).astype(np.int64)
    silent = np.setdiff1d(np.arange(len(stats.sources)), at)
    if not len(silent):
        return table
    names = stats.sources[silent]
    a, b = np.transpose([(prior or {}).get(name, COLD_PRIOR) for name in names])
    right, n = stats.settled_counts.right[silent], stats.settled_counts.n[silent]
    a, b = a + right, b + n - right
    rest = pd.DataFrame(
        {
            "source_id": names,
            "reliability": a / (a + b),
            "lower_bound": beta_low(a, b),
            "n": np.rint(n).astype(np.int64),
        }
    )
    both = pd.concat([table, rest], ignore_index=True)
    return both.iloc[np.argsort(both["source_id"].astype("str").to_numpy(object), kind="stable")].reset_index(drop=True)
