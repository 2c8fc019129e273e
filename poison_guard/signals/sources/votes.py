"""Turn a frame of answers into integer arrays in one canonical order, so that row order can change nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from poison_guard.errors import DataError, UsageError

__all__ = ["COLUMNS", "Votes", "as_text", "control_codes", "encode"]

COLUMNS = ("item_id", "source_id", "answer")


@dataclass(frozen=True, slots=True)
class Votes:
    """Distinct (item, source, answer) triples, sorted by them; arrays are ``(n,)``.

    One source has one vote an item: if it gave k different answers, each has ``share`` 1/k. `weight` is the caller's
    weight times `share`.
    """

    item: np.ndarray
    source: np.ndarray
    answer: np.ndarray
    share: np.ndarray
    weight: np.ndarray
    items: pd.Index
    """Item ids, by code."""
    sources: pd.Index
    answers: pd.Index
    """Answers as text, by code."""
    rows: np.ndarray
    """``(rows of the frame,)`` position of each row's triple, -1 for rows that miss something."""
    missing: int
    """Rows left out because item, source or answer is missing."""
    repeated: int
    """Rows that say again what their source had said of the item."""
    contradictory: int
    """(item, source) pairs with more than one answer."""


def encode(frame: pd.DataFrame, *, weights: np.ndarray | None = None, known: tuple[str, ...] = ()) -> Votes:
    """Return the votes of `frame` (`COLUMNS`); `known` are answers that exist besides those given.

    `UsageError` when a column is missing or the weights do not fit the rows.
    """
    for column in COLUMNS:
        if column not in frame.columns:
            has = ", ".join(map(str, frame.columns)) or "none"
            raise UsageError(f"answers need a column `{column}`; they have {has}")
    weight = np.ones(len(frame)) if weights is None else np.asarray(weights, dtype=float)
    if weight.shape != (len(frame),) or not np.isfinite(weight).all() or (weight < 0).any():
        raise UsageError(f"weights must be {len(frame)} finite numbers that are not negative, one an answer")
    present = frame[list(COLUMNS)].notna().all(axis=1).to_numpy()
    used = frame if present.all() else frame[present]
    item, items = _codes(used["item_id"])
    source, sources = _codes(used["source_id"])
    answer, answers = _codes(pd.concat([as_text(used["answer"]), pd.Series(known, dtype="str")], ignore_index=True))
    order, first = _triples(item, source, answer[: len(used)], (len(items), len(sources), len(answers)))
    rows = np.full(len(frame), -1, np.int64)
    triple = np.cumsum(first) - 1
    rows[np.flatnonzero(present)[order]] = triple
    pick = order[first]
    starts = np.flatnonzero(first)
    item, source, answer = item[pick], source[pick], answer[pick]
    pair = np.cumsum(np.r_[True, (item[1:] != item[:-1]) | (source[1:] != source[:-1])][: len(item)]) - 1
    size = np.bincount(pair)
    share = 1.0 / size[pair] if len(pair) else np.ones(0)
    heaviest = np.maximum.reduceat(weight[present][order], starts) if len(starts) else np.ones(0)
    return Votes(
        item=item,
        source=source,
        answer=answer,
        share=share,
        weight=share * heaviest,
        items=items,
        sources=sources,
        answers=answers,
        rows=rows,
        missing=int(len(frame) - len(used)),
        repeated=int(len(used) - len(item)),
        contradictory=int((size > 1).sum()),
    )


def control_codes(votes: Votes, controls: pd.DataFrame | None) -> np.ndarray:
    """Return ``(items,)`` answer codes of the controls, -1 where an item is none; `DataError` for two of one item."""
    codes = np.full(len(votes.items), -1, np.int64)
    if controls is None or controls.empty:
        return codes
    known = pd.DataFrame({"item": controls["item_id"].astype("str"), "answer": as_text(controls["answer"])}).dropna()
    known = known.drop_duplicates()
    twice = known["item"].duplicated()
    if twice.any():
        raise DataError(f"the controls give two answers for item {known['item'][twice].iloc[0]!r}; keep one")
    at = pd.Index(votes.items.astype("str")).get_indexer(pd.Index(known["item"]))
    label = votes.answers.get_indexer(pd.Index(known["answer"]))
    if (label[at >= 0] < 0).any():
        raise UsageError("a control's answer is not among the known answers of these votes; pass it to `encode`")
    codes[at[at >= 0]] = label[at >= 0]
    return codes


def as_text(values: pd.Series) -> pd.Series:
    """Return answers as text; whole numbers lose their ``.0`` (4.0 and "4" are one answer)."""
    if pd.api.types.is_float_dtype(values.dtype):
        number = values.to_numpy(float, na_value=np.nan)
        whole = np.isfinite(number) & (np.abs(number) < 2**53) & (number == np.floor(number))
        text = values.astype("str")
        digits = pd.Series(np.where(whole, number, 0).astype(np.int64), index=values.index).astype("str")
        return text.mask(whole, digits)
    return values.astype("str")


def _codes(values: pd.Series) -> tuple[np.ndarray, pd.Index]:
    """Return codes by the sorted text of the values, and the values in that order."""
    codes, names = pd.factorize(values)
    names = pd.Index(names)
    order = np.argsort(names.astype("str").to_numpy(dtype=object), kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[codes] if len(order) else codes.astype(np.int64), names[order]


def _triples(
    item: np.ndarray, source: np.ndarray, answer: np.ndarray, sizes: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the order that sorts rows by (item, source, answer) and which sorted rows open a new triple."""
    if float(sizes[0]) * sizes[1] * sizes[2] < 2**62:
        key = (item * sizes[1] + source) * sizes[2] + answer
        order = np.argsort(key, kind="stable")
        key = key[order]
        return order, np.r_[True, key[1:] != key[:-1]][: len(key)]
    order = np.lexsort((answer, source, item))
    i, s, a = item[order], source[order], answer[order]
    return order, np.r_[True, (i[1:] != i[:-1]) | (s[1:] != s[:-1]) | (a[1:] != a[:-1])][: len(order)]
