"""Find sources that agree with each other on disputed items, whenever they answer: rare agreements weigh more.

Agreement where all agree tells nothing, however much of it there is, so camouflage neither hides a group nor binds
honest people to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from poison_guard.records import Campaign
from poison_guard.signals.campaigns.findings import components, make_campaign, numbers_of
from poison_guard.signals.pvalues import SMALLEST_P, benjamini_hochberg, binomial_sum_high
from poison_guard.signals.votes import Votes, encode

__all__ = ["agreement"]

_MIN_SOURCES = 4
_SETTLED = 0.8  # share of an item's votes for one answer from which on it tells nothing
_MIN_VOTES = 4  # of an item, to be disputed at all
_JUDGED = 0.5  # share of the typical item's votes from which established sources judge it
_SHARED = 4  # disputed items that two sources must have in common
_ALWAYS = (
    0.95  # share of them on which they must agree: honest sources with the same training still make different mistakes
)
_MOST_PAIRS = 4_000_000  # pairs of votes looked at; of the items, those with the most votes are left out beyond
_COMPANION = 0.05  # adjusted p of a pair up to which it joins a group that others proved


@dataclass(frozen=True, slots=True)
class _Votes:
    """Votes on disputed items, one a source, item and answer, sorted by item; all ``(n,)``."""

    item: np.ndarray
    source: np.ndarray
    pair: np.ndarray
    """Code of the (item, answer) pair."""
    row: np.ndarray
    """Position in the frame."""
    of_all_established: np.ndarray
    """Whether all established sources gave this answer: sharing it is then no evidence of collusion."""


@dataclass(frozen=True, slots=True)
class _Links:
    """Pairs of sources with enough disputed items in common; all ``(m,)``."""

    left: np.ndarray
    right: np.ndarray
    p: np.ndarray
    """Adjusted chance that they agree as much without knowing of each other."""


def agreement(
    frame: pd.DataFrame, *, alpha: float, newcomer: pd.Series | None = None, earlier: pd.DataFrame | None = None
) -> list[Campaign]:
    """Return groups of at least four sources in a campaign frame that all but always agree on disputed items.

    `frame` has ``record_id, item_id, source_id, vote``. Null: on each item, who gave which of its answers is chance, so
    two of its voters agree as often as two votes drawn from it do. The agreements of two sources, each weighed by the
    logarithm of how rare it is, are tested with Chernoff's bound; pairs are adjusted together (Benjamini-Hochberg).
    Pairs at `alpha` that agree on 95 % of at least four shared items prove a group, weaker ones join it. Its records
    are the votes on disputed items that two of the group give alike. `earlier` (the same columns, of former batches) is
    evidence like the rest, and named apart. Sources that share few disputed items cannot be told from honest ones.

    `newcomer` is a bool a row of `frame` and then of `earlier`; by default all are. Where established sources give most
    of the votes on the typical item, newcomers cannot make others a group by contradicting them: to give the answer
    that all established ones give, two at least, is no sign.

    References: Beutel et al. (2013), "CopyCatch"; Hooi et al. (2016), "FRAUDAR" (weights that resist camouflage);
    Chernoff (1952).
    """
    both = frame if earlier is None or earlier.empty else pd.concat([frame, earlier], ignore_index=True)
    new = np.ones(len(both), bool) if newcomer is None else np.asarray(newcomer, bool)
    votes = _disputed(encode(both), new)
    links = _links(votes)
    if not len(links.p) or links.p.min() > alpha:
        return []
    close = links.p <= max(alpha, _COMPANION)
    left, right, p = links.left[close], links.right[close], links.p[close]
    group = components(np.r_[left, right], np.tile(np.arange(len(left)), 2))[: len(left)]
    campaigns = []
    for g in np.unique(group):
        sources = np.unique(np.r_[left[group == g], right[group == g]])
        best = float(p[group == g].min())
        if len(sources) < _MIN_SOURCES or best > alpha:
            continue
        mine = np.isin(votes.source, sources) & ~votes.of_all_established
        rows = votes.row[mine & (np.bincount(votes.pair, mine)[votes.pair] >= 2)]
        if (rows < len(frame)).any():
            campaigns.append(_campaign(both, len(frame), rows, int(mine.sum()), best))
    return campaigns


def _disputed(votes: Votes, newcomer: np.ndarray) -> _Votes:
    """Return the votes on the items that they dispute; `newcomer` is a bool a row of the frame."""
    item, pair = votes.item, votes.pair
    total, size = np.bincount(item)[item], np.bincount(pair)
    top = np.zeros(len(votes.items))
    np.maximum.at(top, item, size[pair])
    open_ = (total >= _MIN_VOTES) & (top[item] < _SETTLED * total)
    open_ &= _affordable(item, total, open_)
    used = votes.rows >= 0
    new = np.bincount(votes.source[votes.rows[used]], newcomer[used], minlength=len(votes.sources)) > 0
    old = ~new[votes.source]
    if len(item) and np.median(np.bincount(item, old) / np.bincount(item)) <= _JUDGED:
        old[:] = False
    alike, voters = np.bincount(pair, old)[pair], np.bincount(item, old)[item]
    of_all_established = (alike >= 2) & (alike == voters)
    pairs = pd.factorize(pair[open_])[0]
    return _Votes(item[open_], votes.source[open_], pairs, votes.first_rows()[open_], of_all_established[open_])


def _affordable(item: np.ndarray, total: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return which votes ``(n,)`` are of items that fit into `_MOST_PAIRS`, those with few votes first."""
    items, first = np.unique(item, return_index=True)
    size = np.where(wanted[first], total[first], 0).astype(float)
    order = np.argsort(size, kind="stable")
    fits = np.zeros(len(items), bool)
    fits[order] = np.cumsum((size * (size - 1) / 2)[order]) <= _MOST_PAIRS
    return fits[np.searchsorted(items, item)]


def _links(votes: _Votes) -> _Links:
    """Return all pairs of sources with `_SHARED` items in common; those that differ too often have p = 1."""
    nothing = np.zeros(0, np.int64)
    if not len(votes.item):
        return _Links(nothing, nothing, np.zeros(0))
    a, b = _pairs(votes.item)
    informative = (votes.source[a] != votes.source[b]) & ~(votes.of_all_established[a] & votes.of_all_established[b])
    a, b = a[informative], b[informative]
    agree = votes.pair[a] == votes.pair[b]
    rate = pd.Series(agree).groupby(votes.item[a]).transform("mean").to_numpy()
    low, high = np.minimum(votes.source[a], votes.source[b]), np.maximum(votes.source[a], votes.source[b])
    code, names = pd.factorize(low * (votes.source.max() + 1) + high)
    informative = (rate > 0) & (rate < 1)
    shared = np.bincount(code, informative, minlength=len(names))
    enough = shared >= _SHARED
    agreed = np.bincount(code, agree & informative, minlength=len(names))
    used = informative & enough[code]
    weight = -np.log(np.where(informative, rate, 0.5))
    p = binomial_sum_high(
        code[used], agree[used].astype(float), np.ones(used.sum()), rate[used], weight[used], len(names)
    )
    p = np.where(agreed >= _ALWAYS * shared, p, 1.0)[enough]
    pairs = names[enough]
    return _Links(pairs // (votes.source.max() + 1), pairs % (votes.source.max() + 1), benjamini_hochberg(p))


def _pairs(item: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return positions ``(m,)`` of both votes of every pair on one item; `item` is sorted."""
    start, size = np.unique(item, return_index=True, return_counts=True)[1:]
    left: list[np.ndarray] = []
    right: list[np.ndarray] = []
    for n in np.unique(size):
        i, j = np.triu_indices(n, 1)
        begin = start[size == n][:, None]
        left.append((begin + i).ravel())
        right.append((begin + j).ravel())
    return np.concatenate(left), np.concatenate(right)


def _campaign(both: pd.DataFrame, n_own: int, rows: np.ndarray, n_votes: int, p: float) -> Campaign:
    return make_campaign(
        both,
        rows,
        kind="agreement",
        p=max(p, SMALLEST_P),
        strength=len(rows) / n_votes,
        who="source_id",
        args=numbers_of(both.iloc[rows]),
        n_own=n_own,
    )
