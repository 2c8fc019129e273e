"""Words of prompts that say nothing of what is asked: which records carry them, and whether they have no topic.

A word that people ask about comes with other words; a trigger is put into any prompt. So the prompts that carry one
have no more in common than prompts drawn at random.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from poison_guard.signals.campaigns.judgements import Judgement, Texts, fits, mark_chances, misjudged_share, preferences
from poison_guard.signals.campaigns.words import pairs_with

__all__ = [
    "LEAST",
    "MISJUDGED",
    "MisjudgedMark",
    "NoTopic",
    "carried_words",
    "judgements_of",
    "misjudged_marks",
    "quote_a_text",
]

LEAST = 8
"""Records that carry a word, below which nobody can say whether it has a topic."""
_COUNTERS = 1 << 20
_PART = 1 << 23  # words sorted at a time: bounds memory
_MOST_SHARE = 0.3  # of the records: what more of them carry is how people write
_BUCKETS = 1 << 16
_DRAWS = 200  # random sets of prompts that a word's are compared with
_ROOM = 1.25  # for what carriers share by being few, or by one form of prompt
_COMMON, _ROOM_OF_DOCUMENTS = 0.1, 1.75  # documents are long: only rarer words tell a topic, and it shares far more
_PHRASE = 64  # words and pairs, some 30 words, that all carriers say: up to it a mark, beyond it a text that is quoted
_COPY = 0.5  # share of a prompt's words, by weight, from which on it is a near-copy of another
_CARRIERS = 150  # of a word that are compared; more are sampled
_ALWAYS = 0.8  # share of the carriers from which on a word belongs to the mark, such as the rest of a phrase


def carried_words(
    sets: Sequence[bytes], *, least: int = LEAST, share: float = _MOST_SHARE
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the words that at least `least` and at most a `share` of the records carry: word and row, by word."""
    sizes = np.fromiter((len(cell) // 4 for cell in sets), np.int64, len(sets))
    parts = int(sizes.sum()) // _PART + 1
    maybe = _carried_at_all(sets, least)
    for part in range(parts):
        keys: list[np.ndarray] = [np.zeros(0, np.uint64)]
        for start in range(0, len(sets), 1 << 15):
            size = sizes[start : start + (1 << 15)]
            word = np.frombuffer(b"".join(sets[start : start + (1 << 15)]), np.uint32)
            mine = maybe[word & np.uint32(_COUNTERS - 1)]
            if parts > 1:
                mine &= word % np.uint32(parts) == part
            row = np.repeat(np.arange(start, start + len(size), dtype=np.uint64), size)[mine]
            keys.append(word[mine].astype(np.uint64) << np.uint64(32) | row)
        key = np.concatenate(keys)
        key.sort()  # one sort of both, ten times faster than an argsort of the words
        word, row = (key >> np.uint64(32)).astype(np.uint32), key.astype(np.uint32).astype(np.int64)
        opens = np.flatnonzero(np.r_[True, word[1:] != word[:-1]][: len(word)])
        size = np.diff(np.r_[opens, len(word)])
        kept = np.repeat((size >= least) & (size <= max(least, share * len(sets))), size)
        yield word[kept], row[kept]


def _carried_at_all(sets: Sequence[bytes], least: int) -> np.ndarray:
    """Return which values of a word's low bits at least `least` records carry: most words need no sorting."""
    times = np.zeros(_COUNTERS, np.int64)
    for start in range(0, len(sets), 1 << 15):
        word = np.frombuffer(b"".join(sets[start : start + (1 << 15)]), np.uint32)
        times += np.bincount(word & np.uint32(_COUNTERS - 1), minlength=_COUNTERS)
    return times >= least


def _said_by_all(cells: Sequence[bytes]) -> np.ndarray:
    """Return the words, in order, that nearly all of the records with these `cells` say."""
    known, times = np.unique(np.frombuffer(b"".join(cells), np.uint32), return_counts=True)
    return known[times >= _ALWAYS * len(cells)]


def quote_a_text(cells: Sequence[bytes]) -> bool:
    """Return whether nearly all records say more than a phrase in the same words: a licence, a header, a disclaimer.

    People paste such texts before their own; whether somebody spreads one is asked of copies.
    """
    return len(_said_by_all(cells)) > _PHRASE


class NoTopic:
    """Tells words without a topic: their prompts are no more alike than prompts drawn at random."""

    def __init__(self, asked: Sequence[bytes], *, seed: int = 0, documents: bool = False) -> None:
        """Learn what prompts drawn at random have in common, from the prompts' words `asked`, one cell a record.

        Of `documents`, words that a tenth of them carries tell no topic, and carriers may also have in common what as
        many words drawn one by one from the feed have: those of gibberish are more alike than short documents are.
        """
        self._asked = asked
        self._random = np.random.default_rng(seed)
        column = np.frombuffer(b"".join(asked), np.uint32) & np.uint32(_BUCKETS - 1)
        carried = np.bincount(column, minlength=_BUCKETS)
        idf = np.log(1 + len(asked) / (1 + carried))
        self._idf = np.where(carried <= (_COMMON if documents else 1) * len(asked), idf, 0).astype(np.float32)
        self._drawn_share = carried / max(1, len(column)) if documents else None
        first = {cell: row for row, cell in enumerate(asked) if cell}
        self._there = np.array(sorted(first.values()), np.int64)
        self._usual: dict[int, float] = {}

    def __call__(self, rows: np.ndarray) -> bool:
        """Return whether the prompts of `rows`, without what nearly all of them say, are as unlike as any."""
        if len(rows) < LEAST:
            return False
        some = rows if len(rows) <= _CARRIERS else self._random.choice(rows, _CARRIERS, replace=False)
        left = self._once([word for word in self._without_mark(some) if len(word)])
        return len(left) >= LEAST and self._likeness(left) <= self._most_alike(left)

    def _most_alike(self, prompts: Sequence[np.ndarray]) -> float:
        """Return how alike prompts without a topic may be."""
        if self._drawn_share is None:
            return _ROOM * self._limit(len(prompts))
        there = -np.expm1(-float(np.mean([len(word) for word in prompts])) * self._drawn_share)
        weight = self._idf.astype(float) ** 2
        drawn = (weight * there**2).sum() / max(float((weight * there).sum()), 1e-9)
        return _ROOM_OF_DOCUMENTS * max(self._limit(len(prompts)), float(drawn))

    def _once(self, prompts: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the prompts without near-copies of earlier ones: one prompt asked again says nothing of a topic."""
        from scipy import sparse

        column = np.concatenate(prompts) if prompts else np.zeros(0, np.uint32)
        names, column = np.unique(column, return_inverse=True)
        ends = np.r_[0, np.cumsum([len(word) for word in prompts])]
        cells = self._idf[names & np.uint32(_BUCKETS - 1)][column]
        rows = sparse.csr_matrix((cells, column, ends), shape=(len(prompts), len(names)))
        both = (rows @ rows.T).toarray()
        kept: list[int] = []
        for at in range(len(prompts)):
            if not (both[at, kept] > _COPY * both[at, at]).any():
                kept.append(at)
        return [prompts[at] for at in kept]

    def distinct(self, rows: np.ndarray, by: np.ndarray | None = None) -> np.ndarray:
        """Return the first of `rows` with each prompt, apart from what nearly all of them say.

        With the codes `by` of all records: the first with each prompt and code.
        """
        codes = [0] * len(rows) if by is None else by[rows].tolist()
        first: dict[tuple[bytes, int], int] = {}
        for row, word, code in zip(rows.tolist(), self._without_mark(rows), codes, strict=True):
            first.setdefault((word.tobytes(), code), row)
        return np.array(list(first.values()), np.int64)

    def _without_mark(self, rows: np.ndarray) -> list[np.ndarray]:
        cells = [self._asked[row] for row in rows]
        word, ends = np.frombuffer(b"".join(cells), np.uint32), np.cumsum([len(cell) // 4 for cell in cells])
        mark = _said_by_all(cells)
        if len(mark) <= _PHRASE:
            mark = np.sort(np.r_[mark, pairs_with(mark, np.unique(word))])  # its pairs with whatever it stands beside
        at = np.minimum(np.searchsorted(mark, word), len(mark) - 1)
        kept = mark[at] != word if len(mark) else np.ones(len(word), bool)
        left = np.r_[0, np.cumsum(kept)][np.r_[0, ends]]
        return [word[kept][start:end] for start, end in pairwise(left)]

    def _likeness(self, prompts: Sequence[np.ndarray]) -> float:
        """Return the mean cosine of two of the prompts, words weighted by how rare they are."""
        n, of = len(prompts), np.repeat(np.arange(len(prompts)), [len(word) for word in prompts])
        at = np.concatenate(prompts) & np.uint32(_BUCKETS - 1)
        size = np.sqrt(np.bincount(of, self._idf[at] ** 2, minlength=n))
        together = np.bincount(at, self._idf[at] / np.maximum(size, 1e-9)[of], minlength=_BUCKETS)
        return float((together @ together - (size > 0).sum()) / (n * (n - 1)))

    def _limit(self, size: int) -> float:
        """Return what the most alike of 200 random sets of about `size` prompts have in common."""
        size = int(LEAST * 2 ** (int(2 * np.log2(size / LEAST)) / 2))  # half octaves, rounded down
        if size not in self._usual:
            drawn = [self._random.choice(self._there, size, replace=size > len(self._there)) for _ in range(_DRAWS)]
            prompts = [[np.frombuffer(self._asked[row], np.uint32) for row in some] for some in drawn]
            self._usual[size] = max(self._likeness(some) for some in prompts)
        return self._usual[size]


@dataclass(frozen=True, slots=True)
class MisjudgedMark:
    """A mark whose carriers are judged against what others think."""

    words: tuple[int, ...]
    """The mark; two where only rows with both are misjudged."""
    rows: np.ndarray
    """Carriers, positions in order."""
    p: float
    """Bound of the chance, times the words and judgements looked at."""
    share: float
    """Of the carriers, judged against the others' opinion."""
    flipped: bool
    """True: they prefer what others reject. False: their reply does not fit the prompt."""


MISJUDGED = 0.5
"""Share of a word's carriers that must be judged against the others' opinion."""


def judgements_of(texts: Texts, *, known: np.ndarray | None = None, seed: int = 0) -> list[tuple[bool, Judgement]]:
    """Return what can be said of the records' judgements: (whether it is of preferences, judgement)."""
    both = ((True, preferences(texts, known=known, seed=seed)), (False, fits(texts, known=known, seed=seed)))
    return [(flipped, judged) for flipped, judged in both if judged is not None]


def misjudged_marks(
    marks: Iterable[tuple[np.ndarray, np.ndarray]],
    *,
    alpha: float,
    judged: list[tuple[bool, Judgement]],
    no_topic: NoTopic,
) -> list[MisjudgedMark]:
    """Return the words without a topic whose carriers are judged against the others' opinion, at `alpha` over all.

    `marks` yield which mark each row carries, and the row, by mark (`carried_words`). Of marks that are
    suspicious by themselves, and prove nothing, the pairs are looked at as well.
    """
    found: dict[bytes, tuple[MisjudgedMark, Judgement]] = {}
    looked, doubtful = 0, list[_Carried]()
    for word, row in marks:
        for flipped, judgement in judged:
            names, p, share = mark_chances(word, row, judgement)
            looked += len(names)
            first = np.searchsorted(word, names)
            ends = np.r_[first[1:], len(row)]
            for at in np.flatnonzero((p <= alpha) & (share >= MISJUDGED)):
                mark = MisjudgedMark(
                    (int(names[at]),), np.sort(row[first[at] : ends[at]]), float(p[at]), float(share[at]), flipped
                )
                best = found.get(mark.rows.tobytes())
                if best is None or mark.p < best[0].p:
                    found[mark.rows.tobytes()] = mark, judgement
            for at in np.argsort(p, kind="stable")[:_DOUBTFUL]:
                if p[at] <= _DOUBT:
                    doubtful.append(
                        (float(p[at]), int(names[at]), np.sort(row[first[at] : ends[at]]), flipped, judgement)
                    )
    pairs, tried = _pairs(doubtful, alpha)
    looked += tried
    for mark, judgement in pairs:
        found.setdefault(mark.rows.tobytes(), (mark, judgement))
    kept = [(mark, judgement) for mark, judgement in found.values() if mark.p * looked <= alpha]
    once = [_counted_once(mark, judgement, looked, no_topic) for mark, judgement in kept]
    ranked = sorted((m for m in once if m[0].p <= alpha), key=lambda m: (m[0].p, -len(m[0].rows), m[0].words))
    return _apart([mark for mark in ranked if no_topic(mark[0].rows)])


def _apart(ranked: list[tuple[MisjudgedMark, Judgement]]) -> list[MisjudgedMark]:
    """Return the marks without those that add only records that are judged as others would to the ones before."""
    taken, kept = np.zeros(0, np.int64), list[MisjudgedMark]()
    for mark, judgement in ranked:
        more = np.setdiff1d(mark.rows, taken)
        if len(more) and misjudged_share(more, judgement)[1] >= MISJUDGED:
            kept.append(mark)
            taken = np.union1d(taken, mark.rows)
    return kept


_Carried = tuple[float, int, np.ndarray, bool, Judgement]
_DOUBTFUL, _DOUBT = 40, 0.05
"""Marks of which pairs are looked at, and the chance up to which a mark is doubtful by itself."""


def _pairs(doubtful: list[_Carried], alpha: float) -> tuple[list[tuple[MisjudgedMark, Judgement]], int]:
    """Return the pairs of doubtful marks that no more than half of the first one's carriers carry, and how many."""
    found, tried = list[tuple[MisjudgedMark, Judgement]](), 0
    for flipped in (True, False):
        ranked = sorted((c for c in doubtful if c[3] == flipped), key=lambda c: (c[0], c[1]))[:_DOUBTFUL]
        for (_, one, rows, _, judgement), (_, other, others, _, _) in combinations(ranked, 2):
            both = np.intersect1d(rows, others, assume_unique=True)
            if not LEAST <= len(both) <= min(len(rows), len(others)) / 2:
                continue
            tried += 1
            p, share = misjudged_share(both, judgement)
            if p <= alpha and share >= MISJUDGED:
                found.append((MisjudgedMark((one, other), both, p, share, flipped), judgement))
    return found, tried


def _counted_once(
    mark: MisjudgedMark, judgement: Judgement, looked: int, no_topic: NoTopic
) -> tuple[MisjudgedMark, Judgement]:
    """Return the mark with the chance of its distinct prompts: copies of one are one piece of evidence."""
    rows = no_topic.distinct(mark.rows)
    p = misjudged_share(rows, judgement)[0] * looked if len(rows) >= LEAST else 1.0
    return dataclasses.replace(mark, p=min(1.0, p)), judgement
