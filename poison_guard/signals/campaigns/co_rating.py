"""Find sources that rate the same items alike, far more than popular items, busy sources and shared taste explain.

No time and no age is needed: who chose which items to rate, and how, is the evidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from poison_guard.records import Campaign
from poison_guard.signals.campaigns.findings import components, make_campaign
from poison_guard.signals.pvalues import SMALLEST_P
from poison_guard.signals.votes import Votes, encode

__all__ = ["co_rating"]

_MIN_SHARED = 3  # items rated alike from which two sources can be linked
_PARTNERS = 3  # linked sources that each member of a group needs within it
_CHOSE = 4.0  # decades by which a pair's choice of items must exceed chance, ...
_ALIKE = 5.0  # ... and its like ratings; in a large crowd 20 times the number of sources, so that chance links few
_EVIDENCE = 50.0  # decades that the links of a member to its group must have together: more than shared taste gives
_MOVES = 0.25  # share of an item's ratings that the typical record of a group stands in: below, it moves no item
_TOGETHER = 0.5  # share of its members' ratings that are given together: honest people with one taste do more alone
_ASSIGNED = 0.5  # share of the sources grouped by choice alone from which on items were assigned to them, not chosen
_ACTIVE = 5  # ratings of a source from which on it counts there
_MOST_PAIRS = 20_000_000  # pairs of ratings looked at; the items with the most ratings are left out beyond
_ROUNDS, _TOLERANCE = 500, 1e-7
_MOST_DEGREES = 2048  # distinct numbers of ratings that are told apart exactly; larger ones are rounded
_BLOCK = 512  # sources whose partners are counted at a time


@dataclass(frozen=True, slots=True)
class _Links:
    """Pairs of sources with `_MIN_SHARED` things in common; all ``(m,)``."""

    left: np.ndarray
    right: np.ndarray
    decades: np.ndarray
    """``-log10`` of the chance that they have so many in common."""

    def where(self, chosen: np.ndarray) -> _Links:
        return _Links(self.left[chosen], self.right[chosen], self.decades[chosen])


def co_rating(frame: pd.DataFrame, *, alpha: float, earlier: pd.DataFrame | None = None) -> list[Campaign]:
    """Return groups of at least four sources in a campaign frame that chose the same items and rated them alike.

    `frame` has ``record_id, item_id, source_id, vote``. Null, twice: each source rates as many items as it does and
    each item has as many raters as it has, and otherwise chance decides who rates what (the bipartite configuration
    model); the same where an item with another rating counts as another item. What two sources have in common is then
    about Poisson. Pairs beyond both nulls are links. A group is where each has three links or more inside whose chances
    multiply to 1e-50: taste makes many weak links, and so many together are rare among honest raters of public sets.
    Only a group that can move its items counts: its typical record stands among a quarter of the item's ratings or
    more, and half of all that its members rate is rated together. Where half of the active sources are grouped by their
    choice alone, items were handed out, choice tells nothing, and nothing is found. Records: the ratings that a member
    gives like another one. `earlier` (the same columns, of former batches) is evidence like the rest, and named apart.
    An `alpha` below 1e-50 finds nothing.

    References: Saracco et al. (2017), "Inferring Monopartite Projections of Bipartite Networks: an Entropy-based
    Approach"; Hooi et al. (2016), "FRAUDAR"; Seidman (1983), "Network Structure and Minimum Degree" (cores).
    """
    both = frame if earlier is None or earlier.empty else pd.concat([frame, earlier], ignore_index=True)
    votes = encode(both)
    if alpha < 10**-_EVIDENCE or not len(votes.item):
        return []
    used = _affordable(votes)
    item, source, rated = votes.item[used], votes.source[used], votes.pair[used]
    size = len(votes.sources)
    chose, alike = _links(source, item, size), _links(source, rated, size)
    groups = _core(chose.where(chose.decades >= _CHOSE), size)
    active = np.bincount(source, minlength=size) >= _ACTIVE
    if (active & _members(groups, size)).sum() > _ASSIGNED * active.sum():
        return []
    floor = max(_ALIKE, np.log10(20 * size))
    linked = alike.where((alike.decades >= floor) & (_decades_of(alike, chose, size) >= _CHOSE))
    groups = _core(linked, size)
    return _campaigns(both, len(frame), votes, groups)


def _affordable(votes: Votes) -> np.ndarray:
    """Return which votes ``(n,)`` are looked at: of items whose pairs fit into `_MOST_PAIRS`, few ratings first."""
    size = np.bincount(votes.item, minlength=len(votes.items)).astype(float)
    order = np.argsort(size, kind="stable")
    fits = np.zeros(len(size), bool)
    fits[order] = np.cumsum((size * (size - 1) / 2)[order]) <= _MOST_PAIRS
    return fits[votes.item]


def _links(source: np.ndarray, thing: np.ndarray, size: int) -> _Links:
    """Return the pairs of sources with `_MIN_SHARED` things in common, left < right, sorted."""
    from scipy.sparse import csr_matrix
    from scipy.stats import poisson

    thing = np.unique(thing, return_inverse=True)[1]
    table = csr_matrix((np.ones(len(source), np.int32), (source, thing)), shape=(size, int(thing.max(initial=-1)) + 1))
    turned = table.T.tocsr()
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for start in range(0, size, _BLOCK):
        block = (table[start : start + _BLOCK] @ turned).tocoo()
        wanted = (block.data >= _MIN_SHARED) & (block.row + start < block.col)
        parts.append(
            (block.row[wanted].astype(np.int64) + start, block.col[wanted].astype(np.int64), block.data[wanted])
        )
    a, b, n = (np.concatenate(some) for some in zip(*parts, strict=True))
    order = np.lexsort((b, a))
    a, b, n = a[order], b[order], n[order]
    expected = _expected(np.bincount(source, minlength=size), np.bincount(thing), a, b)
    return _Links(a, b, -poisson.logsf(n - 1, expected) / np.log(10))


def _expected(given: np.ndarray, got: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return ``(m,)`` how many things the sources `a` and `b` are expected to share; `given`, `got`: ratings each.

    Source u rates thing i with chance ``x_u y_i / (1 + x_u y_i)``, which keeps the expected numbers of both sides.
    """
    if not len(a):
        return np.zeros(0)
    of_source, sources, n_sources = np.unique(_rounded(given), return_inverse=True, return_counts=True)
    of_thing, n_things = np.unique(_rounded(got), return_counts=True)
    x, y = of_source / np.sqrt(given.sum()), of_thing / np.sqrt(given.sum())
    for _ in range(_ROUNDS):
        before = x
        x = of_source / (n_things * y / (1 + np.outer(x, y))).sum(1)
        y = of_thing / (n_sources * x / (1 + np.outer(y, x))).sum(1)
        if np.abs(x - before).max() <= _TOLERANCE * x.max():
            break
    chance = np.outer(x, y) / (1 + np.outer(x, y))
    return ((chance * n_things) @ chance.T)[sources[a], sources[b]]


def _rounded(count: np.ndarray) -> np.ndarray:
    """Return counts, large ones to two digits where there are more than `_MOST_DEGREES` different ones."""
    if len(np.unique(count)) <= _MOST_DEGREES:
        return count.astype(float)
    step = 10.0 ** np.maximum(0, np.floor(np.log10(np.maximum(count, 1))) - 1)
    return np.round(count / step) * step


def _decades_of(links: _Links, others: _Links, size: int) -> np.ndarray:
    """Return ``(m,)`` the decades that `others` give the pairs of `links`, 0 for a pair that is not among them."""
    key, known = links.left * size + links.right, others.left * size + others.right
    if not len(known):
        return np.zeros(len(key))
    at = np.minimum(np.searchsorted(known, key), len(known) - 1)
    return np.where(known[at] == key, others.decades[at], 0.0)


def _core(links: _Links, size: int) -> _Links:
    """Return the links that are left when sources without enough of them are taken out again and again."""
    while len(links.left):
        ends, twice = np.r_[links.left, links.right], np.r_[links.decades, links.decades]
        stays = np.bincount(ends, minlength=size) >= _PARTNERS
        stays &= np.bincount(ends, twice, minlength=size) >= _EVIDENCE
        kept = stays[links.left] & stays[links.right]
        if kept.all():
            break
        links = links.where(kept)
    return links


def _members(links: _Links, size: int) -> np.ndarray:
    return np.bincount(np.r_[links.left, links.right], minlength=size) > 0


def _campaigns(both: pd.DataFrame, n_own: int, votes: Votes, links: _Links) -> list[Campaign]:
    """Return a campaign per connected group that has a rating of the batch."""
    found: list[Campaign] = []
    if not len(links.left):
        return found
    group = components(np.r_[links.left, links.right], np.tile(np.arange(len(links.left)), 2))[: len(links.left)]
    of = np.full(len(votes.sources), -1)
    of[links.left] = of[links.right] = group
    first, mine, total = votes.first_rows(), of[votes.source], np.bincount(votes.item)
    for g in np.unique(group):
        pushed = mine == g
        alike = pushed & (np.bincount(votes.pair, pushed)[votes.pair] >= 2)
        rows, together = first[alike], float(alike.sum() / pushed.sum())
        part = (np.bincount(votes.item, alike)[votes.item] / total[votes.item])[alike]
        if (rows < n_own).any() and together >= _TOGETHER and np.median(part) >= _MOVES:
            found.append(_campaign(both, n_own, rows, together))
    return found


def _campaign(both: pd.DataFrame, n_own: int, rows: np.ndarray, strength: float) -> Campaign:
    members = both.iloc[rows]
    counts = {f"n_{name}s": int(members[f"{name}_id"].nunique()) for name in ("source", "item")}
    return make_campaign(
        both,
        rows,
        kind="co_rating",
        p=max(10**-_EVIDENCE, SMALLEST_P),
        strength=strength,
        who="source_id",
        args={"n_records": len(rows), **counts},
        n_own=n_own,
    )
