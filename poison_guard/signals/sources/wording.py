"""One wording for free-text answers that say nearly the same, so that they count as one answer wherever votes count."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from poison_guard.signals.sources.closest import MAX_CANDIDATES, is_free_text
from poison_guard.signals.sources.edits import edit_distances, words
from poison_guard.signals.sources.votes import as_text, control_codes, encode, known_answers

__all__ = ["NEAR", "reworded", "wordings"]

NEAR = 0.2
"""Share of the words in which two answers may differ and still say the same."""
_MOST = 200  # different answers of an item that are looked at, those with most votes; the others stay as they are
_TRUSTED = 2  # trusted votes of an item from which they alone choose the wording

Wordings = Mapping[tuple[str, str], str]
"""How an answer is written instead, by item and answer, both as text."""


def wordings(
    votes: pd.DataFrame, *, controls: pd.DataFrame | None = None, trusted: np.ndarray | pd.Series | None = None
) -> Wordings:
    """Return how the answers in `votes` (``item_id, source_id, answer``) are written that say nearly the same.

    Nothing where the answers are no long free text (`is_free_text`): "seven" is not nearly "eleven". An item's control
    is the wording of what is near it; then, again and again, the answer that most votes are near to, and of several the
    one nearest to all. Where two `trusted` votes (bool a row) or more are about an item, they alone choose. Distance is
    in words (`edit_distances`).
    """
    if votes.empty:
        return {}
    coded = encode(votes, known=known_answers(controls))
    if not is_free_text(coded):
        return {}
    control = control_codes(coded, controls)
    believed = np.zeros(len(coded.item))
    if trusted is not None:
        rows = coded.rows[np.asarray(trusted, bool)]
        believed[rows[rows >= 0]] = 1.0
    asked = np.bincount(coded.item, believed, minlength=len(control))[coded.item] >= _TRUSTED
    found = _candidates(coded.item, coded.answer, np.where(asked, believed, 1.0) * coded.share, control)
    item, answer, weight, first = found
    leader = _leaders(item, _texts(coded.answers, answer), answer, weight, first)
    moved = np.flatnonzero(leader != np.arange(len(item)))
    names = as_text(pd.Series(coded.items)).to_numpy(object)
    said = coded.answers.to_numpy(object)
    pairs = zip(names[item[moved]], said[answer[moved]], said[answer[leader[moved]]], strict=True)
    return {(name, given): wording for name, given, wording in pairs}


def reworded(frame: pd.DataFrame, table: Wordings, column: str = "answer") -> pd.DataFrame:
    """Return `frame` (``item_id`` and `column`) with the answers of `table` as they are written there."""
    if not table or frame.empty:
        return frame
    said = as_text(frame[column])
    keys = zip(as_text(frame["item_id"]).to_numpy(object), said.to_numpy(object), strict=True)
    told = [table.get(key, key[1]) for key in keys]
    return frame.assign(**{column: pd.Series(told, index=frame.index, dtype="str")})


def _candidates(
    item: np.ndarray, answer: np.ndarray, weight: np.ndarray, control: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return ``item, answer, weight, first`` of at most `_MOST` different answers an item, sorted by item and weight.

    `first`: whether it is the item's control; it comes before all others.
    """
    known = np.flatnonzero(control >= 0)
    table = pd.DataFrame(
        {
            "item": np.r_[item, known],
            "answer": np.r_[answer, control[known]],
            "weight": np.r_[weight, np.zeros(len(known))],
            "first": np.r_[np.zeros(len(item), bool), np.ones(len(known), bool)],
        }
    )
    table = table.groupby(["item", "answer"], sort=True).agg({"weight": "sum", "first": "any"}).reset_index()
    table = table.sort_values(["item", "first", "weight", "answer"], ascending=[True, False, False, True])
    table = table[(table.groupby("item").cumcount() < _MOST).to_numpy()]
    return tuple(table[c].to_numpy() for c in ("item", "answer", "weight", "first"))  # type: ignore[return-value]


def _texts(answers: pd.Index, wanted: np.ndarray) -> list[np.ndarray]:
    codes: dict[str, int] = {}
    used, at = np.unique(wanted, return_inverse=True)
    texts = [np.array([codes.setdefault(w, len(codes)) for w in words(str(text))], np.int32) for text in answers[used]]
    return [texts[i] for i in at]


def _leaders(
    item: np.ndarray, texts: list[np.ndarray], answer: np.ndarray, weight: np.ndarray, first: np.ndarray
) -> np.ndarray:
    """Return ``(c,)`` the candidate whose wording each takes, its own where it says something of its own."""
    start = np.flatnonzero(np.r_[True, item[1:] != item[:-1]])
    size = np.diff(np.r_[start, len(item)])
    begin, width = np.repeat(start, size), np.repeat(np.minimum(size, MAX_CANDIDATES), size)
    left = np.repeat(np.arange(len(item)), width)
    right = np.arange(len(left)) - np.repeat(np.cumsum(width) - width, width) + begin[left]
    away = edit_distances(texts, left, right)
    leader, free = np.arange(len(item)), np.ones(len(item), bool)
    may = np.arange(len(item)) - begin < MAX_CANDIDATES
    for _ in range(MAX_CANDIDATES):
        live = free[left] & free[right]
        near = live & (away <= NEAR)
        mass = np.bincount(right[near], weight[left[near]], minlength=len(item))
        cost = np.bincount(right[live], (weight[left] * away)[live], minlength=len(item))
        able = np.flatnonzero(free & may)
        if not len(able):
            break
        order = able[np.lexsort((answer[able], -weight[able], cost[able], -mass[able], ~first[able], item[able]))]
        best = order[np.unique(item[order], return_index=True)[1]]
        chosen = np.zeros(len(item), bool)
        chosen[best] = True
        takes = near & chosen[right]
        leader[left[takes]] = right[takes]
        free[left[takes]] = False
    return leader
