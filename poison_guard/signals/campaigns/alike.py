"""Group texts that are one text in somebody's words: each goes with the core it is like, cores take in what fits."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from poison_guard.numerics.minhash import WIDTH, band_pairs, feature_count, row_keys, similarity

__all__ = ["alike", "grow", "tightness"]

_SIMILAR = 0.45  # estimated Jaccard similarity from which two messages are one text, in somebody's words
_FITS = 0.35  # and from which a message fits what most of a group has; unrelated messages have 0.05 to 0.15
_BAND_ROWS = 4  # 32 bands of 4: a pair at 0.45 meets in some band with chance .74, a member of ten such for certain
_APART = 0.99  # share of everybody else's messages that one that fits is more like the text than
_BEYOND = 8.0  # and median deviations from the median of everybody else's likeness that it is beyond
_SAMPLE = 2000  # messages that stand for everybody else
_MIN_FEATURES = 9.0  # about two words: shorter messages are alike by nature
_FEW_FEATURES = 6.0  # shorter copies of a text that is long enough may still fit it
_MOST = 512  # groups that grow: bounds time
_SLOTS = 1 << 16
_BLOCK = 1 << 12


def alike(sketches: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return ``(m,)`` which group each of the sketches ``(m, 128)`` is in.

    Each message goes with the one that has the most messages like it among those it is like itself, and so on up to
    one that nobody like it surpasses: groups have a core, and no chain of likenesses makes one of all. Equal sketches
    go together; messages too short to tell are alone. `seed` chooses the bands. Order matters to the groups' numbers
    only.

    References: Koontz, Narendra & Fukunaga (1976), "A Graph-Theoretic Approach to Nonparametric Cluster Analysis".
    """
    if not len(sketches):
        return np.zeros(0, np.int64)
    _, first, node, size = np.unique(row_keys(sketches), return_index=True, return_inverse=True, return_counts=True)
    distinct = sketches[first]
    enough = feature_count(distinct) >= _MIN_FEATURES
    one, other = _similar_pairs(distinct, np.flatnonzero(enough), seed)
    n = len(distinct)
    like = size + np.bincount(one, size[other], n) + np.bincount(other, size[one], n)
    order = np.lexsort((np.arange(n), like))
    rank = np.empty(n, np.int64)
    rank[order] = np.arange(n)
    best = rank.copy()
    np.maximum.at(best, one, rank[other])
    np.maximum.at(best, other, rank[one])
    above = order[best]
    while (above[above] != above).any():
        above = above[above]
    return np.where(enough[node], above[node], n + np.arange(len(node)))


def _similar_pairs(sketches: np.ndarray, rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    n = len(sketches)
    met = [one * n + other for one, other in band_pairs(sketches[rows], rows=_BAND_ROWS, seed=seed)]
    pairs = np.sort(np.concatenate(met)) if met else np.zeros(0, np.int64)
    one, other = np.divmod(pairs[np.r_[True, pairs[1:] != pairs[:-1]][: len(pairs)]], n)  # np.unique is 20 times slower
    one, other = rows[one], rows[other]
    near = similarity(sketches, one, other) >= _SIMILAR
    return one[near], other[near]


def grow(sketches: np.ndarray, group: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Return `group` ``(m,)`` with the groups `seeds` (at most 512 of them, the first ones) joined, grown and trimmed.

    What a group is about is, in every cell, the value that most of its members have: copies that are edited apart from
    each other still share it with the text they come from. Groups about the same text become one; every message that is
    more like a group's text than any other's, and like enough, is in it; members that are not leave it.
    """
    seeds = seeds[:_MOST]
    if not len(seeds):
        return group
    texts = np.stack([_shared(sketches[group == g]) for g in seeds])
    left, right = np.triu_indices(len(seeds), 1)
    same = similarity(texts, left, right) >= _SIMILAR
    links = (np.ones(int(same.sum()), np.int8), (left[same], right[same]))
    text = connected_components(coo_matrix(links, shape=(len(seeds),) * 2), directed=False)[1]
    joined = np.array([seeds[text == t].min() for t in text])
    out = group.copy()
    for g, name in zip(seeds, joined, strict=True):
        out[group == g] = name
    names = np.unique(joined)
    texts = np.stack([_shared(sketches[out == g]) for g in names])
    members = np.flatnonzero(np.isin(out, names))
    others = np.flatnonzero((feature_count(sketches) >= _FEW_FEATURES) & ~np.isin(out, names))
    out[members] = out.max() + 1 + np.arange(len(members))
    for rows, least in ((members, np.full(len(texts), _FITS)), (others, _least_likeness(sketches, others, texts))):
        fit, best = _fitting(sketches, rows, texts, least)
        out[fit] = names[best]
    return out


def tightness(sketches: np.ndarray) -> float:
    """Return the mean estimated similarity of two of the sketches, over all pairs at once: equal cells by column."""
    ordered = np.sort(sketches, axis=0)
    edges = np.vstack([np.ones((1, WIDTH), bool), ordered[1:] != ordered[:-1]])
    n = len(sketches)
    sizes = np.diff(np.flatnonzero(np.vstack([edges, np.ones((1, WIDTH), bool)]).T.ravel()))
    sizes = sizes[sizes > 0].astype(float)
    return float((sizes * (sizes - 1)).sum() / (WIDTH * n * (n - 1)))


def _shared(sketches: np.ndarray) -> np.ndarray:
    """Return ``(128,)`` the most frequent value of each cell, the smallest of several."""
    ordered = np.sort(sketches, axis=0).T
    opens = np.hstack([np.ones((WIDTH, 1), bool), ordered[:, 1:] != ordered[:, :-1]])
    begin = np.flatnonzero(opens)
    size = np.diff(np.r_[begin, ordered.size])
    cell = begin // ordered.shape[1]
    best = np.lexsort((begin, -size, cell))
    return ordered.ravel()[begin[best[np.searchsorted(cell[best], np.arange(WIDTH))]]]


def _fitting(
    sketches: np.ndarray, rows: np.ndarray, texts: np.ndarray, least: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return which of `rows` are more like one of `texts` than its `least`, and the one each is most like.

    Cells that some text has are counted first, all texts at once: few messages are compared with each.
    """
    hits = np.zeros(len(rows), np.uint8)
    for cell, values in zip(sketches.T, texts.T, strict=True):
        known = np.zeros(_SLOTS, np.uint8)
        known[values % _SLOTS] = 1
        hits += known[cell[rows] % _SLOTS]
    maybe = rows[hits >= least.min() * WIDTH]
    fit, best = np.zeros(len(maybe), bool), np.zeros(len(maybe), np.int64)
    for start in range(0, len(maybe), _BLOCK):
        like = _likeness(sketches[maybe[start : start + _BLOCK]], texts)
        best[start : start + _BLOCK] = (like - least).argmax(1)
        fit[start : start + _BLOCK] = (like >= least).any(1)
    return maybe[fit], best[fit]


def _least_likeness(sketches: np.ndarray, rows: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Return ``(t,)`` how like a text a message must be: more than what people write here is like it anyway."""
    if not len(rows):
        return np.full(len(texts), _FITS)
    sample = rows[np.argsort(row_keys(sketches[rows]), kind="stable")[:_SAMPLE]]
    like = _likeness(sketches[sample], texts)
    usual = np.median(like, axis=0)
    beyond = usual + _BEYOND * np.median(np.abs(like - usual), axis=0)
    return np.maximum(np.maximum(_FITS, beyond), np.quantile(like, _APART, axis=0, method="higher"))


def _likeness(sketches: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Return ``(n, t)`` estimated similarities."""
    return np.stack([np.count_nonzero(sketches == text, axis=1) for text in texts], axis=1) / WIDTH
