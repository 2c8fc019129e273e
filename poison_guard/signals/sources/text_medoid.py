"""Consensus of long free text: the answer closest to all others in word edits, reliable sources counting more."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from poison_guard.signals.sources.aggregators import OPEN_ANSWERS, Candidates, Fit, Prior, update_reliability
from poison_guard.signals.votes import Votes

__all__ = ["MAX_CANDIDATES", "MAX_WORDS", "closest", "edit_distances", "is_free_text", "split_words"]


MAX_WORDS = 128
"""Words of a text that are compared; the rest costs no time."""
_MAX_CHARS = 4_000
_WORD = re.compile(r"\w+(?:['’]\w+)*")
_BLOCK = 4_000  # pairs at a time


def split_words(text: str) -> list[str]:
    """Return the first `MAX_WORDS` words of `text`, casefolded, without punctuation.

    Text that hardly has spaces (Chinese, Japanese, Thai) is taken character by character.

    >>> split_words("It's NOT there!")
    ["it's", 'not', 'there']
    """
    found = _WORD.findall(text[:_MAX_CHARS].casefold().replace("’", "'"))
    if found and sum(map(len, found)) > 20 * len(found):
        found = list("".join(found))
    return found[:MAX_WORDS]


def edit_distances(texts: Sequence[np.ndarray], left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return ``(pairs,)`` edits between ``texts[left]`` and ``texts[right]`` over the longer one's length, in [0, 1].

    `texts` are arrays of non-negative word codes. Levenshtein's distance, all pairs of a block at once, row by row: in
    a row, insertions are a running minimum. Time grows with pairs x `MAX_WORDS`^2. References: Wagner & Fischer (1974),
    "The String-to-String Correction Problem".
    """
    size = np.array([len(text) for text in texts], np.int64)
    longest = np.maximum(size[left], size[right])
    edits = np.zeros(len(left))
    order = np.argsort(longest, kind="stable")
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        edits[block] = _edits([texts[i] for i in left[block]], [texts[i] for i in right[block]])
    return edits / np.maximum(longest, 1)


def _edits(left: list[np.ndarray], right: list[np.ndarray]) -> np.ndarray:
    a, a_size = _padded(left, -1)
    b, b_size = _padded(right, -2)
    at = np.arange(b.shape[1] + 1, dtype=np.int16)
    row = np.tile(at, (len(a), 1))
    edits = np.where(a_size == 0, b_size, 0)
    for i in range(a.shape[1]):
        change = row[:, :-1] + (a[:, i, None] != b)
        row[:, 1:] = np.minimum(row[:, 1:] + 1, change)
        row[:, 0] = i + 1
        row -= at
        np.minimum.accumulate(row, axis=1, out=row)
        row += at
        ends = np.flatnonzero(a_size == i + 1)
        edits[ends] = row[ends, b_size[ends]]
    return edits


def _padded(texts: list[np.ndarray], fill: int) -> tuple[np.ndarray, np.ndarray]:
    size = np.array([len(text) for text in texts], np.int64)
    table = np.full((len(texts), int(size.max(initial=0))), fill, np.int32)
    table[np.arange(table.shape[1])[None, :] < size[:, None]] = np.concatenate([*texts, np.zeros(0, np.int32)])
    return table, size


MAX_CANDIDATES = 24
"""Different answers of an item that are compared: the most frequent ones, then those of the most frequent words."""
_WORDS = 4  # of the most frequent answer to the typical item, from which it is free text
_REPEATS = 0.5  # share of the others who repeat it there, up to which exact counting is no use
_LOOKED_AT = 1000  # items that tell what kind of text it is
_SHARED = 20  # items with two votes from which those with one tell nothing
_ELSEWHERE = 1.5  # items on which that answer is given: names of classes are given on many
_ROUNDS = 5
_COLD = 5.0  # answers at the mean distance that every source is taken to have given before
_MOST = 10.0  # times the mean that a source can weigh
_NEAR, _FAR = 0.2, 0.5  # share of the words: up to it two answers say the same; from it they do not
_OTHER = 0.25  # of a mean vote that is always elsewhere, so that one answer alone is no certainty
_RUNNER_UP = 0.3  # share of the votes at which an answer far from the chosen one disputes the item


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Pairs of different answers to one item, both ways round; arrays are ``(pairs,)``."""

    left: np.ndarray
    right: np.ndarray
    distance: np.ndarray


def is_free_text(votes: Votes) -> bool:
    """Return whether the answers are long free text: hardly ever given word by word, and about one item each.

    The typical item decides, by the median: what is repeated on fewer than half of all items, by however many accounts,
    cannot turn texts into labels, under which every honest answer that misses by a letter would be wrong. Items with
    one vote count only where there are hardly any others.
    """
    if len(votes.answers) <= OPEN_ANSWERS:
        return False
    size = np.bincount(votes.item, minlength=len(votes.items))
    several = np.flatnonzero(size >= (2 if (size >= 2).sum() >= _SHARED else 1))
    some = np.unique(several[np.linspace(0, len(several) - 1, min(len(several), _LOOKED_AT)).astype(int)])
    looked = np.isin(votes.item, some)
    keys, counts = np.unique(votes.item[looked] * len(votes.answers) + votes.answer[looked], return_counts=True)
    item, answer = np.divmod(keys, len(votes.answers))
    order = np.lexsort((answer, -counts, item))
    top = order[np.unique(item[order], return_index=True)[1]]
    if np.median((counts[top] - 1) / np.maximum(size[item[top]] - 1, 1)) > _REPEATS:
        return False
    if np.median([len(split_words(str(text))) for text in votes.answers[answer[top]]]) < _WORDS:
        return False
    answers = np.unique(votes.item * len(votes.answers) + votes.answer) % len(votes.answers)
    return bool(np.median(np.bincount(answers, minlength=len(votes.answers))[answer[top]]) <= _ELSEWHERE)


def closest(votes: Votes, candidates: Candidates, control_code: np.ndarray, prior: Prior) -> Fit:
    """Return as each item's choice the answer with the least weighted distance to the other answers.

    Distance is in words (`edit_distances`). A source weighs by the inverse square of its mean distance to the others'
    answers, its own left out; sources of the ledger start with their errors there. `q` is the weighted share of an
    item's answers that say nearly the same. Disputed: a second answer, far from the chosen one, has two votes and three
    in ten, or more than the chosen one. Controls' answers are chosen where anybody gave them.

    References: Li et al. (2014), "Resolving Conflicts in Heterogeneous Data by Truth Discovery" (weights from
    distances, CRH); Kobayashi (2018), "Frustratingly Easy Model Ensemble for Abstractive Summarization" (the medoid).
    """
    counts = np.bincount(candidates.of_vote, votes.share, minlength=len(candidates.item))
    compared, pairs = _compared(votes, candidates, counts)
    weight = votes.weight * compared[candidates.of_vote]
    trust, cost, mass = np.ones(len(votes.sources)), np.zeros(len(counts)), np.zeros(len(counts))
    for _ in range(_ROUNDS):
        mass = np.bincount(candidates.of_vote, weight * trust[votes.source], minlength=len(counts))
        cost = np.bincount(pairs.left, mass[pairs.right] * pairs.distance, minlength=len(counts))
        total = _total(mass, candidates)[candidates.item]
        own = weight * trust[votes.source]
        error = cost[candidates.of_vote] / np.maximum(total[candidates.of_vote] - own, 1e-12)
        trust = _trust(votes, weight * (total[candidates.of_vote] - own > 1e-12), np.minimum(error, 1.0), prior)
    cost = np.where(compared, cost, np.inf)
    cost[control_code[candidates.item] == candidates.answer] = -1.0
    choice = _first(candidates, np.lexsort((candidates.answer, -counts, cost, candidates.item)))
    near = _near(mass, pairs)
    q = (
        near
        / np.maximum(_total(mass, candidates) + _OTHER * mass.sum() / max(weight.sum(), 1e-12), 1e-12)[candidates.item]
    )
    a, b = update_reliability(votes, 1 - _from_choice(votes, candidates, pairs, choice), prior)
    return Fit(np.minimum(q, 1.0), a, b, choice=choice, disputed=_rivalled(candidates, counts, pairs, choice))


def _compared(votes: Votes, candidates: Candidates, counts: np.ndarray) -> tuple[np.ndarray, _Pairs]:
    """Return which candidates ``(c,)`` are compared, and their pairs."""
    codes: dict[str, int] = {}
    used, of = np.unique(candidates.answer, return_inverse=True)
    texts = [
        np.array([codes.setdefault(word, len(codes)) for word in split_words(str(text))], np.int32)
        for text in votes.answers[used]
    ]
    rank = np.lexsort((candidates.answer, -_popularity(candidates, of, texts, len(codes)), -counts, candidates.item))
    place = np.empty(len(rank), np.int64)
    place[rank] = np.arange(len(rank)) - candidates.start[candidates.item[rank]]
    compared = place < MAX_CANDIDATES
    at = np.flatnonzero(compared)
    size = np.bincount(candidates.item[at], minlength=len(candidates.start))
    first = np.cumsum(size) - size
    others = size[candidates.item[at]]
    left = np.repeat(np.arange(len(at)), others)
    right = np.arange(len(left)) - np.repeat(np.cumsum(others) - others, others) + first[candidates.item[at[left]]]
    upper = left < right
    left, right = at[left[upper]], at[right[upper]]
    distance = edit_distances(texts, of[left], of[right])
    return compared, _Pairs(np.r_[left, right], np.r_[right, left], np.r_[distance, distance])


def _popularity(candidates: Candidates, of: np.ndarray, texts: list[np.ndarray], vocabulary: int) -> np.ndarray:
    """Return ``(c,)`` how many answers of the item use an answer's words, on average; only where that is needed."""
    crowded = np.bincount(candidates.item, minlength=len(candidates.start))[candidates.item] > MAX_CANDIDATES
    popular = np.zeros(len(candidates.item))
    at = np.flatnonzero(crowded)
    if not len(at):
        return popular
    bags = [np.unique(texts[of[c]]) for c in at]
    owner = np.repeat(at, [len(bag) for bag in bags])
    key = candidates.item[owner] * max(vocabulary, 1) + np.concatenate(bags)
    _, which, count = np.unique(key, return_inverse=True, return_counts=True)
    used = np.bincount(owner, count[which], minlength=len(popular))
    return used / np.maximum(np.bincount(owner, minlength=len(popular)), 1)


def _trust(votes: Votes, weight: np.ndarray, error: np.ndarray, prior: Prior) -> np.ndarray:
    """Return ``(sources,)`` weights: the inverse square of the mean distance, the crowd's mean for the unknown."""
    size = len(votes.sources)
    n, far = (
        np.bincount(votes.source, weight, minlength=size),
        np.bincount(votes.source, weight * error, minlength=size),
    )
    mean = max(float(far.sum() / max(n.sum(), 1e-12)), 1e-3)
    history = np.maximum(prior.a + prior.b - _COLD, 0)  # the ledger's answers, beyond a stranger's
    wrong = prior.b / (prior.a + prior.b)
    before = _COLD * mean + history * wrong
    return np.clip(((n + _COLD + history) * mean / (far + before)) ** 2, 1 / _MOST, _MOST)


def _total(mass: np.ndarray, candidates: Candidates) -> np.ndarray:
    return np.bincount(candidates.item, mass, minlength=len(candidates.start))


def _first(candidates: Candidates, order: np.ndarray) -> np.ndarray:
    """Return ``(items,)`` the first candidate of each item in an order by item."""
    return order[candidates.start] if len(order) else order


def _near(mass: np.ndarray, pairs: _Pairs) -> np.ndarray:
    """Return ``(c,)`` the mass of what says nearly the same as each candidate, itself included."""
    return mass + np.bincount(pairs.left, mass[pairs.right] * (pairs.distance <= _NEAR), minlength=len(mass))


def _from_choice(votes: Votes, candidates: Candidates, pairs: _Pairs, choice: np.ndarray) -> np.ndarray:
    """Return ``(votes,)`` the distance of each answer from the chosen one; what was not compared is all wrong."""
    away = np.ones(len(candidates.item))
    away[choice] = 0.0
    chosen = choice[candidates.item[pairs.left]] == pairs.right
    away[pairs.left[chosen]] = pairs.distance[chosen]
    return away[candidates.of_vote]


def _rivalled(candidates: Candidates, counts: np.ndarray, pairs: _Pairs, choice: np.ndarray) -> np.ndarray:
    """Return ``(items,)`` whether an answer far from the chosen one has too many votes to pass over."""
    far = np.zeros(len(counts), bool)
    far[pairs.left[(choice[candidates.item[pairs.left]] == pairs.right) & (pairs.distance >= _FAR)]] = True
    near = _near(counts, pairs)
    rival = np.maximum.reduceat(np.where(far, near, 0.0), candidates.start) if len(near) else near
    total = _total(counts, candidates)
    return ((rival >= 2) & (rival >= _RUNNER_UP * total)) | (rival > near[choice])
