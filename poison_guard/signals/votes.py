"""Votes as integer codes in one canonical order, so that row order can change nothing."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np
import pandas as pd

from poison_guard.errors import DataError, UsageError

__all__ = [
    "COLUMNS",
    "Votes",
    "as_text",
    "check_columns",
    "check_weights",
    "control_codes",
    "encode",
    "known_answers",
    "lookalikes",
]

COLUMNS = ("item_id", "source_id", "vote")
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn")  # Unicode categories of characters that show nothing
_PACKED = 62  # bits of a sortable word


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

    @property
    def pair(self) -> np.ndarray:
        """``(n,)`` code of each vote's (item, answer) pair, in their order."""
        return np.unique(self.item * max(len(self.answers), 1) + self.answer, return_inverse=True)[1]

    def first_rows(self, order: np.ndarray | None = None) -> np.ndarray:
        """Return ``(n,)`` the row of the frame that gave each vote first, in the frame's order or another one."""
        order = np.arange(len(self.rows)) if order is None else order
        votes, first = np.unique(self.rows[order], return_index=True)
        return order[first[votes >= 0]]


def encode(frame: pd.DataFrame, *, weights: np.ndarray | None = None, known: tuple[str, ...] = ()) -> Votes:
    """Return the votes of `frame` (``item_id, source_id, vote``); `known` are answers that exist besides those given.

    Ids are compared by their text (`as_text`); those of a column of mixed types come back as text. `UsageError` when a
    column is missing or the weights do not fit the rows; `DataError` for text that is no Unicode.
    """
    check_columns(frame)
    weight = None if weights is None else check_weights(weights, len(frame))
    present = np.logical_and.reduce([frame[name].notna().to_numpy() for name in COLUMNS])
    used = frame if present.all() else frame[present]
    item, items = _codes(used["item_id"])
    source, sources = _codes(used["source_id"])
    answer, answers = _codes(as_text(used["vote"]), known)
    order, first, (item, source, answer) = _triples(item, source, answer, (len(items), len(sources), len(answers)))
    rows = np.full(len(frame), -1, np.int64)
    rows[order if present.all() else np.flatnonzero(present)[order]] = np.cumsum(first) - 1
    if not first.all():
        item, source, answer = item[first], source[first], answer[first]
    size = _answers_a_pair(item, source)
    share = 1.0 / size
    heaviest = 1.0
    if weight is not None and len(item):
        heaviest = np.maximum.reduceat(weight[present][order], np.flatnonzero(first))
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
        contradictory=int(np.rint(share[size > 1].sum())),
    )


def known_answers(controls: pd.DataFrame | None) -> tuple[str, ...]:
    """Return the distinct answers of `controls` (``item_id, answer``) as text; `UsageError` for a missing column."""
    if controls is None or controls.empty:
        return ()
    check_columns(controls, ("item_id", "answer"), "controls")
    return tuple(as_text(controls["answer"].dropna()).unique())


def control_codes(votes: Votes, controls: pd.DataFrame | None) -> np.ndarray:
    """Return ``(items,)`` answer codes of the controls, -1 where an item is none; `DataError` for two of one item."""
    codes = np.full(len(votes.items), -1, np.int64)
    if controls is None or controls.empty:
        return codes
    answers = pd.DataFrame({"item": as_text(controls["item_id"]), "answer": as_text(controls["answer"])}).dropna()
    answers = answers.drop_duplicates()
    twice = answers["item"].duplicated()
    if twice.any():
        raise DataError(f"the controls give two answers for item {answers['item'][twice].iloc[0]!r}; keep one")
    at = _names_as_text(votes.items).get_indexer(pd.Index(answers["item"]))
    label = votes.answers.get_indexer(pd.Index(answers["answer"]))
    if (label[at >= 0] < 0).any():
        raise UsageError("a control's answer is not among the known answers of these votes; pass it to `encode`")
    codes[at[at >= 0]] = label[at >= 0]
    return codes


def as_text(values: pd.Series) -> pd.Series:
    """Return ids or answers as text; whole numbers lose their ``.0`` (4.0 and "4" are one answer).

    `DataError` for text that is no Unicode.
    """
    try:
        if pd.api.types.is_float_dtype(values.dtype):
            number = values.to_numpy(float, na_value=np.nan)
            whole = np.isfinite(number) & (np.abs(number) < 2**53) & (number == np.floor(number))
            text = values.astype("str")
            digits = pd.Series(np.where(whole, number, 0).astype(np.int64), index=values.index).astype("str")
            return text.mask(whole, digits)
        return (values.map(_value_as_text) if values.dtype == object else values).astype("str")
    except UnicodeEncodeError as error:
        raise DataError(
            "an id or answer holds a lone surrogate (half a character); read the data as UTF-8, replace what is invalid"
        ) from error


def _value_as_text(value: object) -> str | None:
    """Return one value of a column of mixed types as text, None for a missing one."""
    match value:
        case None:
            return None
        case bytes():
            return value.decode("utf-8", "backslashreplace")
        case float() | np.floating() if np.isfinite(value) and abs(value) < 2**53 and value == int(value):
            return str(int(value))
    return None if pd.api.types.is_scalar(value) and pd.isna(value) else str(value)


def _names_as_text(names: pd.Index) -> pd.Index:
    return pd.Index(as_text(pd.Series(names)))


def lookalikes(names: pd.Index) -> int:
    """Return how many of the distinct ids `names` read like another one but for case or invisible characters."""
    import pyarrow.compute as pc

    text = _names_as_text(names).array.__arrow_array__()
    low = pc.utf8_lower(text)
    odd = pc.or_(pc.not_equal(low, text), pc.invert(pc.string_is_ascii(text)))
    if not pc.any(odd, min_count=0).as_py():
        return 0
    changed = pd.Index([_read(name) for name in text.filter(odd).to_pylist()])
    plain = pd.Index(text.filter(pc.invert(odd)).to_pylist())
    met = changed.isin(plain) | changed.duplicated(keep=False)
    return int(met.sum() + plain.isin(changed).sum())


def _read(name: str) -> str:
    """Return what a reader sees of an id: no case, no characters that show nothing."""
    seen = name if name.isascii() else "".join(c for c in name if unicodedata.category(c) not in _UNSEEN)
    return unicodedata.normalize("NFC", seen).casefold()


def check_columns(frame: pd.DataFrame, columns: tuple[str, ...] = COLUMNS, what: str = "votes") -> None:
    """Raise `UsageError` where one of the `columns` is missing, or is there twice."""
    for column in columns:
        if list(frame.columns).count(column) != 1:
            has = ", ".join(map(str, frame.columns)) or "none"
            raise UsageError(f"{what} need one column `{column}`; they have {has}")


def check_weights(weights: np.ndarray, n: int) -> np.ndarray:
    """Return `weights` as doubles ``(n,)``; `UsageError` where they are something else, negative or not finite."""
    weight = np.asarray(weights, dtype=float)
    if weight.shape != (n,) or not np.isfinite(weight).all() or (weight < 0).any():
        raise UsageError(f"weights must be {n} finite numbers that are not negative, one an answer")
    return weight


def _codes(values: pd.Series, more: tuple[str, ...] = ()) -> tuple[np.ndarray, pd.Index]:
    """Return codes by the sorted text of the values, and the values (and `more`) in that order."""
    import pyarrow.compute as pc

    codes, names = pd.factorize(as_text(values) if values.dtype == object else values)
    names = pd.Index(names)
    if more:
        names = names.append(pd.Index(more, dtype=names.dtype).difference(names, sort=False))
    order = pc.sort_indices(_names_as_text(names).array.__arrow_array__()).to_numpy()
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[codes] if len(order) else codes.astype(np.int64), names[order]


def _triples(
    item: np.ndarray, source: np.ndarray, answer: np.ndarray, sizes: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return the order by (item, source, answer), which rows of it open a new triple, and the three so sorted."""
    n = len(item)
    row = max(n, 1).bit_length()
    bits = [max(size, 1).bit_length() for size in sizes]
    if sum(bits) + row > _PACKED:
        order = np.lexsort((answer, source, item))
        i, s, a = item[order], source[order], answer[order]
        return order, np.r_[True, (i[1:] != i[:-1]) | (s[1:] != s[:-1]) | (a[1:] != a[:-1])][:n], (i, s, a)
    word = (item << (bits[1] + bits[2])) | (source << bits[2]) | answer
    word = np.sort((word << row) | np.arange(n))
    order = word & ((1 << row) - 1)
    word >>= row
    first = np.r_[True, word[1:] != word[:-1]][:n]
    low = (1 << bits[1]) - 1
    return order, first, (word >> (bits[1] + bits[2]), (word >> bits[2]) & low, word & ((1 << bits[2]) - 1))


def _answers_a_pair(item: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Return ``(n,)`` how many answers each triple's source gave to its item, for sorted triples."""
    if not len(item):
        return np.ones(0)
    opens = np.r_[True, (item[1:] != item[:-1]) | (source[1:] != source[:-1])]
    if opens.all():
        return np.ones(len(item))
    at = np.flatnonzero(opens)
    size = np.diff(np.r_[at, len(item)])
    return np.repeat(size, size).astype(float)
