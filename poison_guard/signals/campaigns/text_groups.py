"""Group messages that are one text in somebody's words, and take in what fits the text of a group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from poison_guard.signals.campaigns.minhash import WIDTH, band_pairs, feature_count, row_keys, similarity

__all__ = ["MIN_FEATURES", "group_similar", "grow_groups", "mean_similarity", "shared_text"]

_SIMILAR = 0.45  # estimated Jaccard similarity from which two messages are one text, in somebody's words
_FITS = 0.25  # share of a text's cells, by how rare they are, from which a message fits it; unrelated have 0 to 0.1
_ROUNDS = 2  # in which a group grows
_BAND_ROWS = 4  # 32 bands of 4: a pair at 0.45 meets in some band with chance .74, a member of ten such for certain
_APART = 0.99  # share of everybody else's messages that one that fits is more like the text than
_BEYOND = 8.0  # and median deviations from the median of everybody else's likeness that it is beyond
_SAMPLE = 2000  # messages that stand for everybody else
MIN_FEATURES = 9.0
"""Features of about two words: shorter messages are alike by nature."""
_FEW_FEATURES = 6.0  # shorter copies of a text that is long enough may still fit it
_MOST = 512  # groups that grow: bounds time
_SLOTS = 1 << 16
_BLOCK = 1 << 12


def group_similar(sketches: np.ndarray, seed: int = 0) -> np.ndarray:
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
    enough = feature_count(distinct) >= MIN_FEATURES
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


def grow_groups(sketches: np.ndarray, group: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Return `group` ``(m,)`` with the groups `seeds` (at most 512 of them, the first ones) joined, grown and trimmed.

    What a group is about is, in every cell, the value that most of its members have: copies that are edited apart from
    each other still share it with the text they come from. Groups about the same text become one; every message that is
    more like a group's text than any other's, and like enough, is in it; members that are not leave it. That is done
    twice: the text of what was taken in is the surer one. Cells count the more the fewer other messages share them.
    """
    out, names = group.copy(), seeds[:_MOST]
    enough = feature_count(sketches) >= _FEW_FEATURES
    for _ in range(_ROUNDS if len(names) else 0):
        names = _joined(sketches, out, names)
        texts = np.stack([shared_text(sketches[out == name]) for name in names])
        member = np.isin(out, names)
        likeness = _Likeness.of(sketches, np.flatnonzero(enough & ~member), texts)
        rows = np.flatnonzero(enough | member)
        out[member] = out.max() + 1 + np.arange(np.count_nonzero(member))
        fit, best = likeness.fitting(sketches, rows)
        out[fit] = names[best]
        names = np.unique(names[best])
        if not len(names):
            break
    return out


def _joined(sketches: np.ndarray, group: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Give the groups `names` about the same text one name, in `group` itself, and return the names that are left."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    texts = np.stack([shared_text(sketches[group == name]) for name in names])
    left, right = np.triu_indices(len(names), 1)
    same = similarity(texts, left, right) >= _SIMILAR
    links = (np.ones(int(same.sum()), np.int8), (left[same], right[same]))
    text = connected_components(coo_matrix(links, shape=(len(names),) * 2), directed=False)[1]
    joined = np.array([names[text == t].min() for t in text])
    for name, new in zip(names, joined, strict=True):
        group[group == name] = new
    return np.unique(joined)


def mean_similarity(sketches: np.ndarray) -> float:
    """Return the mean estimated similarity of two of the sketches, over all pairs at once: equal cells by column."""
    ordered = np.sort(sketches, axis=0)
    edges = np.vstack([np.ones((1, WIDTH), bool), ordered[1:] != ordered[:-1]])
    n = len(sketches)
    sizes = np.diff(np.flatnonzero(np.vstack([edges, np.ones((1, WIDTH), bool)]).T.ravel()))
    sizes = sizes[sizes > 0].astype(float)
    return float((sizes * (sizes - 1)).sum() / (WIDTH * n * (n - 1)))


def shared_text(sketches: np.ndarray) -> np.ndarray:
    """Return ``(128,)`` the most frequent value of each cell, the smallest of several."""
    ordered = np.sort(sketches, axis=0).T
    opens = np.hstack([np.ones((WIDTH, 1), bool), ordered[:, 1:] != ordered[:, :-1]])
    begin = np.flatnonzero(opens)
    size = np.diff(np.r_[begin, ordered.size])
    cell = begin // ordered.shape[1]
    best = np.lexsort((begin, -size, cell))
    return ordered.ravel()[begin[best[np.searchsorted(cell[best], np.arange(WIDTH))]]]


@dataclass(frozen=True, slots=True)
class _Likeness:
    """How like some texts a message is: the weight of the cells it shares, of that of all, in [0, 1]."""

    texts: np.ndarray
    weight: np.ndarray
    """``(t, 128)`` of a text's cells: the log of how rarely everybody else has it."""
    least: np.ndarray
    """``(t,)`` from which on a message is like the text: more than what people write here is like it anyway."""

    @classmethod
    def of(cls, sketches: np.ndarray, others: np.ndarray, texts: np.ndarray) -> _Likeness:
        """Return what is rare and what is usual by a sample of the rows `others`, which are in no group."""
        sample = sketches[others[np.argsort(row_keys(sketches[others]), kind="stable")[:_SAMPLE]]]
        seen = np.stack([np.count_nonzero(sample == text, axis=0) for text in texts])
        weight = np.log((len(sample) + 2) / (seen + 1))
        like = cls(texts, weight, np.full(len(texts), _FITS))
        if not len(sample):
            return like
        usual = like.to(sample)
        middle = np.median(usual, axis=0)
        beyond = middle + _BEYOND * np.median(np.abs(usual - middle), axis=0)
        apart = np.quantile(usual, _APART, axis=0, method="higher")
        return cls(texts, weight, np.maximum(np.maximum(_FITS, beyond), apart))

    def to(self, sketches: np.ndarray) -> np.ndarray:
        """Return ``(n, t)`` how like each text the sketches are."""
        shared = [(sketches == text) @ weight for text, weight in zip(self.texts, self.weight, strict=True)]
        return np.stack(shared, axis=1) / self.weight.sum(axis=1)

    def fitting(self, sketches: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which of `rows` are like enough to a text, and the one each is most like.

        Cells that some text has are counted first, all texts at once: few messages are compared with each.
        """
        hits = np.zeros(len(rows), np.uint8)
        for cell, values in zip(sketches.T, self.texts.T, strict=True):
            known = np.zeros(_SLOTS, np.uint8)
            known[values % _SLOTS] = 1
            hits += known[cell[rows] % _SLOTS]
        needed = (self.least * self.weight.sum(axis=1) / self.weight.max(axis=1)).min()
        maybe = rows[hits >= needed]
        fit, best = np.zeros(len(maybe), bool), np.zeros(len(maybe), np.int64)
        for start in range(0, len(maybe), _BLOCK):
            beyond = self.to(sketches[maybe[start : start + _BLOCK]]) - self.least
            best[start : start + _BLOCK] = beyond.argmax(axis=1)
            fit[start : start + _BLOCK] = (beyond >= 0).any(axis=1)
        return maybe[fit], best[fit]
