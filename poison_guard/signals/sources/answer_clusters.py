"""Cluster free-text answers that say nearly the same, so that they count as one answer wherever votes count."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from poison_guard.signals.sources.text_medoid import (
    MAX_CANDIDATES,
    MAX_WORDS,
    edit_distances,
    is_free_text,
    split_words,
)
from poison_guard.signals.votes import as_text, control_codes, encode, known_answers

__all__ = ["MAX_DISTANCE", "CanonicalAnswers", "canonicalise", "cluster_answers"]


MAX_DISTANCE = 0.2
"""Share of the words in which two answers may differ and still say the same."""
_MOST = 200  # different answers of an item that are looked at, those with most votes; the others stay as they are
_TRUSTED = 2  # trusted votes of an item from which they alone choose the wording
_NUMBER = re.compile(r"(?<!\w)[-+]?\d+(?:[.,:]\d+)*(?!\w)")

CanonicalAnswers = Mapping[tuple[str, str], str]
"""How an answer is written instead, by item and answer, both as text."""


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Different answers of an item, sorted by item, the control first, then by weight; all ``(c,)``."""

    item: np.ndarray
    answer: np.ndarray
    weight: np.ndarray
    """Votes that choose the wording."""
    votes: np.ndarray
    """All votes."""
    first: np.ndarray
    """Whether it is the item's control."""


def cluster_answers(
    votes: pd.DataFrame,
    *,
    controls: pd.DataFrame | None = None,
    trusted: np.ndarray | pd.Series | None = None,
    context: pd.DataFrame | None = None,
) -> CanonicalAnswers:
    """Return how the answers in `votes` (``item_id, source_id, vote``) are written that say nearly the same.

    Nothing where the answers are no long free text (`is_free_text`): "seven" is not nearly "eleven". An item's control
    is the wording of what is near it; then, again and again, the answer that most votes are near to, and of several the
    one nearest to the different texts among them, however often each was pasted. Where two `trusted` votes (bool a row)
    or more are about an item, they alone choose. Distance is in words (`edit_distances`); texts with other numbers, of
    `MAX_WORDS` words or more, or without any word are near nothing. `context` are other votes of the feed: a few
    answers alone do not tell what kind they are.
    """
    if votes.empty:
        return {}
    coded = encode(votes, known=known_answers(controls))
    around = coded if context is None or context.empty else encode(pd.concat([votes, context], ignore_index=True))
    if not is_free_text(around):
        return {}
    control_code = control_codes(coded, controls)
    believed = np.zeros(len(coded.item))
    if trusted is not None:
        rows = coded.rows[np.asarray(trusted, bool)]
        believed[rows[rows >= 0]] = 1.0
    by_trusted = np.bincount(coded.item, believed, minlength=len(control_code))[coded.item] >= _TRUSTED
    weight = np.where(by_trusted, believed, 1.0) * coded.share
    candidates = _candidates(coded.item, coded.answer, weight, coded.share, control_code)
    leader = _leaders(candidates, *_close_pairs(candidates, coded.answers))
    moved = np.flatnonzero(leader != np.arange(len(leader)))
    names = as_text(pd.Series(coded.items)).to_numpy(object)
    answers = coded.answers.to_numpy(object)
    pairs = zip(candidates.item[moved], candidates.answer[moved], candidates.answer[leader[moved]], strict=True)
    return {(names[item], answers[answer]): answers[wording] for item, answer, wording in pairs}


def canonicalise(votes: pd.DataFrame, table: CanonicalAnswers) -> pd.DataFrame:
    """Return `votes` (``item_id, vote``) with the answers of `table` as they are written there."""
    if not table or votes.empty:
        return votes
    keys = zip(as_text(votes["item_id"]).to_numpy(object), as_text(votes["vote"]).to_numpy(object), strict=True)
    written = [table.get(key, key[1]) for key in keys]
    return votes.assign(vote=pd.Series(written, index=votes.index, dtype="str"))


def _candidates(
    item: np.ndarray, answer: np.ndarray, weight: np.ndarray, share: np.ndarray, control_code: np.ndarray
) -> _Candidates:
    """Return at most `_MOST` different answers an item."""
    items = np.flatnonzero(control_code >= 0)
    table = pd.DataFrame(
        {
            "item": np.r_[item, items],
            "answer": np.r_[answer, control_code[items]],
            "weight": np.r_[weight, np.zeros(len(items))],
            "votes": np.r_[share, np.zeros(len(items))],
            "first": np.r_[np.zeros(len(item), bool), np.ones(len(items), bool)],
        }
    )
    sums = {"weight": "sum", "votes": "sum", "first": "any"}
    table = table.groupby(["item", "answer"], sort=True).agg(sums).reset_index()
    order = ["item", "first", "weight", "votes", "answer"]
    table = table.sort_values(order, ascending=[True, False, False, False, True])
    table = table[(table.groupby("item").cumcount() < _MOST).to_numpy()]
    return _Candidates(*(table[c].to_numpy() for c in ("item", "answer", "weight", "votes", "first")))


def _close_pairs(candidates: _Candidates, answers: pd.Index) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pairs ``(m,)`` of candidates that say nearly the same, both ways round and with themselves.

    The second of a pair is one of the first `MAX_CANDIDATES` of the item. Third: their distances.
    """
    texts, size, kind = _word_codes(answers, candidates.answer)
    item = candidates.item
    opens = np.flatnonzero(np.r_[True, item[1:] != item[:-1]])
    many = np.diff(np.r_[opens, len(item)])
    begin = np.repeat(opens, many)
    place = np.arange(len(item)) - begin
    earlier = np.minimum(place, MAX_CANDIDATES)  # each with the leaders before it
    later = np.repeat(np.arange(len(item)), earlier)
    before = np.arange(len(later)) - np.repeat(np.cumsum(earlier) - earlier, earlier) + begin[later]
    longest = np.maximum(size[later], size[before])
    able = (kind[later] == kind[before]) & (np.abs(size[later] - size[before]) <= MAX_DISTANCE * longest)
    later, before = later[able], before[able]
    away = edit_distances(texts, later, before)
    later, before, away = later[away <= MAX_DISTANCE], before[away <= MAX_DISTANCE], away[away <= MAX_DISTANCE]
    back = place[later] < MAX_CANDIDATES
    own = np.flatnonzero(place < MAX_CANDIDATES)
    first, second = np.r_[later, before[back], own], np.r_[before, later[back], own]
    return first, second, np.r_[away, away[back], np.zeros(len(own))]


def _word_codes(answers: pd.Index, wanted: np.ndarray) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Return the candidates' words as codes, how many they are, and a code that texts must share to be near."""
    codes: dict[str, int] = {}
    kinds: dict[tuple[str, ...], int] = {}
    used, at = np.unique(wanted, return_inverse=True)
    texts: list[np.ndarray] = []
    kind = np.zeros(len(used), np.int64)
    for k, text in enumerate(map(str, answers[used])):
        words = split_words(text)
        comparable = 0 < len(words) < MAX_WORDS
        kind[k] = kinds.setdefault(tuple(_NUMBER.findall(text)), len(kinds)) if comparable else -1 - k
        texts.append(np.array([codes.setdefault(w, len(codes)) for w in words], np.int32))
    size = np.array([len(text) for text in texts])
    return [texts[i] for i in at], size[at], kind[at]


def _leaders(candidates: _Candidates, first: np.ndarray, second: np.ndarray, away: np.ndarray) -> np.ndarray:
    """Return ``(c,)`` the candidate whose wording each takes, its own where it says something of its own.

    An untrusted answer with no trusted answer near it keeps its own wording.
    """
    n = len(candidates.item)
    leader, free = np.arange(n), np.ones(n, bool)
    able = np.flatnonzero(np.bincount(second, minlength=n) > 0)
    rank = np.where(candidates.first, 0, np.where(candidates.weight > 0, 1, 2))
    while len(able):
        live = free[first] & free[second]
        mass, size = (
            np.bincount(second[live], by[first[live]], minlength=n) for by in (candidates.weight, candidates.votes)
        )
        cost = np.bincount(second[live], (np.minimum(candidates.weight, 1)[first] * away)[live], minlength=n)
        keys = (candidates.answer, -size, cost, -mass, rank, candidates.item)
        order = able[np.lexsort([key[able] for key in keys])]
        chosen = np.zeros(n, bool)
        chosen[order[np.unique(candidates.item[order], return_index=True)[1]]] = True
        takes = live & chosen[second]
        leader[first[takes]] = second[takes]
        free[first[takes]] = False
        able = able[free[able]]
    return leader
