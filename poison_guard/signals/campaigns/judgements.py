"""What the rest of a feed expects of a judgement: which reply others prefer, and whether a reply fits its prompt.

A record with one judge has no second opinion. Its words have: a linear model of the other records' preferences, and how
much of a prompt replies usually take up. What goes against that is `odd`, as honest records are at a known rate; a mark
whose carriers are odd again and again is a trigger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from poison_guard.signals.pvalues import SMALLEST_P

if TYPE_CHECKING:
    from scipy import sparse

__all__ = ["Judgement", "Texts", "fits", "mark_chances", "misjudged_share", "preferences", "would_show"]

_BUCKETS = 1 << 18
_FOLDS = 5
_RIDGE = 0.3  # of unit vectors: copies are remembered, single words shrunk
_STEPS = 60
_LEAST = 60  # judged records below which nobody knows what others prefer
_BINS = 10  # of confidence, or of length: honest records of one bin are odd at one rate
_DRAWN = 20  # replies to other prompts that a reply is compared with
_MISFIT = 0.25  # share of these that take up as much of the prompt, from which on the reply does not fit
_FLOOR = 0.02  # least rate at which honest records are odd, and how far their rate may be from what is expected
_SURE = 0.45  # rate of odd ones from which on a record says nothing
_SHOWS = 4.0
_EXPONENTS = np.array([0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.25])
_ALIKE = 0.5  # cosine of two prompts from which the reply to one says something of the other
_RARE, _FEW, _MANY = 0.02, 20, 120  # share of the prompts, within these numbers, up to which a word tells them apart
_BLOCK = 512  # prompts compared with all at a time
_MOST = 20_000  # records that models are fitted on; more are sampled


@dataclass(frozen=True, slots=True)
class Texts:
    """Records as sets of hashed words (`campaigns.words`): prompt, reply, and the reply it was preferred to."""

    asked: Sequence[bytes]
    reply: Sequence[bytes]
    other: Sequence[bytes]
    sign: np.ndarray
    """``(n,)`` 1 where the reply is endorsed, -1 where it is turned down, 0 where nobody can tell."""

    def __len__(self) -> int:
        return len(self.asked)

    @classmethod
    def split(cls, asked: Sequence[bytes], reply: Sequence[bytes], other: Sequence[bytes], sign: np.ndarray) -> Texts:
        """Return the texts; of two replies without a prompt, what both say is the prompt that they begin with."""
        if any(asked) or not any(other):
            return cls(asked, reply, other, sign)
        both = [_words(a)[np.isin(_words(a), _words(b), assume_unique=True)] for a, b in zip(reply, other, strict=True)]
        own = [_without(text, shared) for text, shared in zip(reply, both, strict=True)]
        theirs = [_without(text, shared) for text, shared in zip(other, both, strict=True)]
        return cls([shared.tobytes() for shared in both], own, theirs, sign)


def _words(cell: bytes) -> np.ndarray:
    return np.frombuffer(cell, np.uint32)


def _without(text: bytes, shared: np.ndarray) -> bytes:
    words = _words(text)
    return words[~np.isin(words, shared, assume_unique=True)].tobytes()


@dataclass(frozen=True, slots=True)
class Judgement:
    """What each record does against the others' opinion, ``(n,)`` all; `expected` is 0.5 where nothing is known."""

    odd: np.ndarray
    """bool: it prefers what others reject, or its reply does not fit its prompt."""
    expected: np.ndarray
    """The rate at which honest records like it are odd, in [0.02, 0.5]."""
    asked: np.ndarray
    """bool: whether there is anything to judge."""

    @property
    def weight(self) -> np.ndarray:
        """How much being odd says, ``(n,)``: log odds, 0 where nothing is known."""
        return np.where(self.expected < _SURE, np.log((1 - self.expected) / self.expected), 0.0)


def preferences(
    texts: Texts, *, known: np.ndarray | None = None, without: np.ndarray | None = None, seed: int = 0
) -> Judgement | None:
    """Return which records prefer what the other records reject; None with too few judged ones.

    A ridge on the difference of the two replies' words (of one rated reply: on its words), cross-fitted, so that no
    record speaks of itself and copies of a pair speak of each other. `known`: rows ``(n,)`` bool that are vetted; where
    there are sixty of them they alone say how often a margin of some size is wrong. `without`: rows (positions) that
    teach nothing, so that many who agree do not become the others. Replies that nobody else judged are harder to tell
    than others: they are compared with such ones alone, and with fewer than sixty of these nothing is known of them.
    """
    first, second = _matrix(texts.reply), _matrix(texts.other)
    pair = (first.getnnz(1) > 0) & (second.getnnz(1) > 0)
    paired = bool(pair.any())
    judged = np.flatnonzero((texts.sign != 0) & (pair if paired else first.getnnz(1) > 0))
    taught = len(judged) if without is None else int((~np.isin(judged, without)).sum())
    if taught < _LEAST or not (paired or (texts.sign[judged] < 0).any()):
        return None
    idf = _idf(first + second, least=np.log(2))  # what everybody says tells replies apart, too
    rows = _unit((first - second)[judged].multiply(idf).tocsr())
    sign = texts.sign[judged].astype(float)
    pupils = np.isin(judged, without) if without is not None else np.zeros(len(judged), bool)
    margin = sign * _cross_fitted(rows, sign, ~pupils, np.random.default_rng(seed), centred=not paired)
    odd, expected = np.zeros(len(texts), bool), np.full(len(texts), 0.5)
    odd[judged] = margin < 0
    vetted, alone = _teachers(known, judged) & ~pupils, ~_judged_again(texts, judged, ~pupils)
    size = np.abs(margin)
    expected[judged] = _rates(size, margin < 0, vetted if vetted.any() else ~pupils)
    teachers = vetted & alone if (vetted & alone).sum() >= _LEAST else ~pupils & alone
    told = teachers.sum() >= _LEAST
    expected[judged[alone]] = _rates(size, margin < 0, teachers)[alone] if told else 0.5
    return Judgement(odd, expected, np.isin(np.arange(len(texts)), judged))


def _judged_again(texts: Texts, judged: np.ndarray, teach: np.ndarray) -> np.ndarray:
    """Return ``(m,)`` whether another record of those that `teach` judges the same replies as each of `judged`."""
    replies = pd.Series([(min(pair), max(pair)) for pair in ((texts.reply[at], texts.other[at]) for at in judged)])
    code = pd.factorize(replies)[0]
    return np.bincount(code, teach)[code] - teach > 0


def fits(texts: Texts, *, known: np.ndarray | None = None, seed: int = 0) -> Judgement | None:
    """Return which replies fit their prompt no better than replies to other prompts do; None without prompts.

    A reply fits by the words it takes up of the prompt, and of the reply that the nearest other prompt got, the rarer
    the more. It is odd where a quarter or more of 20 replies drawn from other records fit as well. Honest replies of
    like length say how often that is so.
    """
    from scipy import sparse

    asked, reply = _matrix(texts.asked), _matrix(texts.reply)
    there = np.flatnonzero((asked.getnnz(1) > 0) & (reply.getnnz(1) > 0) & (texts.sign >= 0))
    if len(there) < _LEAST:
        return None
    idf = _idf(asked + reply)
    prompts, replies = (_unit(part[there].multiply(idf).tocsr()) for part in (asked, reply))
    nearest, alike = _nearest_prompts(prompts)
    wanted = prompts + sparse.diags(alike.astype(np.float32)) @ replies[nearest]
    own = _rowwise(wanted, replies)
    random, beaten = np.random.default_rng(seed), np.zeros(len(there))
    for _ in range(_DRAWN):
        drawn = _rowwise(wanted, replies[random.permutation(len(there))])
        beaten += (drawn > own) + 0.5 * (drawn == own)
    misfit = beaten / _DRAWN >= _MISFIT
    length = np.minimum(asked.getnnz(1), reply.getnnz(1))[there].astype(float)
    odd, expected = np.zeros(len(texts), bool), np.full(len(texts), 0.5)
    odd[there] = misfit
    expected[there] = _rates(length, misfit, _teachers(known, there))
    return Judgement(odd, expected, np.isin(np.arange(len(texts)), there))


def _nearest_prompts(prompts: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(n,)`` which other prompt each one is most like by rare words, and the cosine: 0 where below a half."""
    from scipy import sparse

    n = prompts.shape[0]
    spread = np.bincount(prompts.indices, minlength=_BUCKETS)
    rare = (spread >= 2) & (spread <= min(max(_FEW, _RARE * n), _MANY))
    rows = sparse.csr_matrix(prompts[:, rare])
    nearest, alike = np.arange(n), np.zeros(n)
    for start in range(0, n, _BLOCK):
        block = rows[start : start + _BLOCK]
        own, at = _rowwise(block, block), np.arange(block.shape[0])
        some = sparse.csr_matrix(block @ rows.T - sparse.csr_matrix((own, (at, start + at)), shape=(len(at), n)))
        nearest[start : start + _BLOCK] = np.asarray(some.argmax(axis=1)).ravel()
        alike[start : start + _BLOCK] = some.max(axis=1).toarray().ravel()
    return nearest, np.where(alike >= _ALIKE, alike, 0.0)


def _teachers(known: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
    mine = np.ones(len(rows), bool) if known is None else known[rows]
    return mine if mine.sum() >= _LEAST else np.ones(len(rows), bool)


def _matrix(sets: Sequence[bytes]) -> sparse.csr_matrix:
    from scipy import sparse

    sizes = np.fromiter((len(cell) // 4 for cell in sets), np.int64, len(sets))
    column = (np.frombuffer(b"".join(sets), np.uint32) & np.uint32(_BUCKETS - 1)).astype(np.int32)
    ones = np.ones(len(column), np.float32)
    return sparse.csr_matrix((ones, column, np.r_[0, np.cumsum(sizes)]), shape=(len(sets), _BUCKETS))


def _idf(counts: sparse.csr_matrix, least: float = 0.0) -> np.ndarray:
    spread = np.bincount(counts.indices, minlength=_BUCKETS)
    n = counts.shape[0]
    return np.maximum(np.log((1 + n) / (1 + np.minimum(spread, n))), least).astype(np.float32)[None, :]


def _unit(rows: sparse.csr_matrix) -> sparse.csr_matrix:
    from scipy import sparse

    size = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    return sparse.csr_matrix(sparse.diags((1 / np.maximum(size, 1e-9)).astype(np.float32)) @ rows)


def _rowwise(left: sparse.csr_matrix, right: sparse.csr_matrix) -> np.ndarray:
    return np.asarray(left.multiply(right).sum(axis=1)).ravel()


def _cross_fitted(
    rows: sparse.csr_matrix, sign: np.ndarray, teach: np.ndarray, random: np.random.Generator, *, centred: bool
) -> np.ndarray:
    """Return ``(n,)`` the score of each row by a ridge on those of the other folds that `teach`, at most 20,000."""
    fold = random.permutation(len(sign)) % _FOLDS
    score = np.zeros(len(sign))
    for k in range(_FOLDS):
        taught = np.flatnonzero((fold != k) & teach)
        taught = taught if len(taught) <= _MOST else np.sort(random.choice(taught, _MOST, replace=False))
        middle = float(sign[taught].mean()) if centred else 0.0
        dual = _solve(rows[taught], sign[taught] - middle)
        score[fold == k] = rows[fold == k] @ (rows[taught].T @ dual) + middle
    return score


def _solve(rows: sparse.csr_matrix, target: np.ndarray) -> np.ndarray:
    """Return the dual ridge solution by conjugate gradients."""
    found, left = np.zeros(len(target)), target.astype(float)
    way, size = left.copy(), float(left @ left)
    for _ in range(_STEPS):
        if size <= 1e-6 * len(target):
            break
        image = rows @ (rows.T @ way) + _RIDGE * way
        step = size / float(way @ image)
        found, left = found + step * way, left - step * image
        size, before = float(left @ left), size
        way = left + size / before * way
    return found


def _rates(of: np.ndarray, odd: np.ndarray, teachers: np.ndarray) -> np.ndarray:
    """Return ``(n,)`` how often honest records with such a value are odd: by bins of the teachers' values, shrunk."""
    usual = float(odd[teachers].mean())
    edges = np.unique(np.quantile(of[teachers], np.linspace(0, 1, _BINS + 1)[1:-1]))
    place = np.searchsorted(edges, of, side="right")
    n = np.bincount(place[teachers], minlength=len(edges) + 1)
    hits = np.bincount(place[teachers], odd[teachers], minlength=len(edges) + 1)
    rate = (hits + 5 * usual) / (n + 5)
    return np.clip(rate + np.sqrt(rate * (1 - rate) / (n + 5)), _FLOOR, 0.5)[place]


def mark_chances(word: np.ndarray, row: np.ndarray, judged: Judgement) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the marks, in order, a bound of the chance that their carriers are so odd, and the share that is beyond.

    `word`, `row` ``(m,)``: which mark each row carries, sorted by mark. The bound is Chernoff's, on the sum of the odd
    ones' log odds (Poisson binomial). The share is that of carriers judged against the others' opinion, in [0, 1].
    """
    opens = np.flatnonzero(np.r_[True, word[1:] != word[:-1]][: len(word)])
    if not len(opens):
        return word[:0], np.zeros(0), np.zeros(0)
    e, w = judged.expected, judged.weight
    total = np.add.reduceat((w * judged.odd)[row], opens)
    usual, room = np.add.reduceat((w * e)[row], opens), np.add.reduceat((w * (1 - 2 * e))[row], opens)
    least = np.zeros(len(opens))
    for exponent in _EXPONENTS:
        log_moment = np.log1p(e * np.expm1(exponent * w))
        np.minimum(least, np.add.reduceat(log_moment[row], opens) - exponent * total, out=least)
    share = np.clip((total - usual) / np.maximum(room, 1e-9), 0, 1)
    return word[opens], np.exp(np.maximum(least, np.log(SMALLEST_P))), share


def misjudged_share(rows: np.ndarray, judged: Judgement) -> tuple[float, float]:
    """Return the bound of `mark_chances` and the share for one mark, carried by `rows` (positions)."""
    _, p, share = mark_chances(np.zeros(len(rows), np.uint32), rows, judged)
    return (float(p[0]), float(share[0])) if len(p) else (1.0, 0.0)


def would_show(rows: np.ndarray, judged: Judgement) -> bool:
    """Return whether carriers that all are misjudged would show: by four standard deviations of honest ones."""
    e, w = judged.expected[rows], judged.weight[rows]
    return bool((w * (1 - 2 * e)).sum() >= _SHOWS * np.sqrt((w * w * e * (1 - e)).sum()) > 0)
