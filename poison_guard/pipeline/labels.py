"""Labels: bring the spellings of answers and labels to one, the declared spelling where exactly one is meant.

Declared are the labels of the suite, of the controls and of the trusted set. What is shown and sealed is the declared
spelling; what the sender wrote stays beside it in ``given.ROLE``. Free text (nearly each item has a label of its own)
is no list of labels and is left alone.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping

import numpy as np
import pandas as pd
import pyarrow as pa

from poison_guard.config import Case, Contract
from poison_guard.contracts.suite import Suite
from poison_guard.ingest.values import canonical_labels
from poison_guard.records import Reason

__all__ = [
    "LABEL_ROLES",
    "MOST_LABELS",
    "Spellings",
    "choose_spellings",
    "declared_labels",
    "fold_labels",
    "fold_votes",
    "label_notes",
]

LABEL_ROLES = ("answer", "label")
MOST_LABELS = 1_000
"""Labels of one role above which they are no short list."""
_LABELS_PER_ITEM = 0.5
"""Declared labels an item from which the vetted answers are free text."""
_TRUE = frozenset(("true", "t", "yes", "y", "1", "1.0"))
_FALSE = frozenset(("false", "f", "no", "n", "0", "0.0"))

Spellings = Mapping[str, Mapping[str, str]]
"""Role to spelling to the spelling that it is shown and sealed by, where that is another one."""


def declared_labels(
    contract: Contract, suite: Suite | None, controls: pd.DataFrame, trusted: Iterable[pd.DataFrame]
) -> dict[str, frozenset[str]]:
    """Return the declared labels of each role that `contract` maps, in their canonical form; none for free text.

    A vetted label that means one of the suite's declares no other spelling of it.
    """
    vetted = list(trusted)
    declared: dict[str, frozenset[str]] = {}
    for role in LABEL_ROLES:
        if contract.has(role):
            listed = _listed_in_suite(contract.columns[role], suite, ordered=contract.parse.ordered)
            rows = [pd.DataFrame({"item_id": frame.get("item_id", frame.get("record_id")), "label": frame[role]})
                    for frame in vetted if role in frame]  # fmt: skip
            if role == contract.vote and len(controls):
                rows.append(controls.rename(columns={"answer": "label"})[["item_id", "label"]])
            known = pd.concat(rows).dropna() if rows else pd.DataFrame({"item_id": [], "label": []})
            short = known["label"].nunique() <= min(MOST_LABELS, _LABELS_PER_ITEM * known["item_id"].nunique())
            first = _Declared(listed)
            vetted_labels = known["label"].astype("str").unique() if short else ()
            declared[role] = frozenset([*listed, *(label for label in vetted_labels if first.meant_by(label) is None)])
    return declared


def _listed_in_suite(column: str, suite: Suite | None, *, ordered: bool) -> set[str]:
    rules = suite.expectations if suite is not None else ()
    values = [
        value
        for rule in rules
        if rule.type == "expect_column_values_to_be_in_set" and rule.kwargs.get("column") == column
        for value in rule.kwargs.get("value_set") or ()
    ]
    texts = [str(value).lower() if isinstance(value, bool) else str(value) for value in values if value is not None]
    return set(canonical_labels(pa.array(texts, pa.large_string()), ordered=ordered).drop_null().to_pylist())


def choose_spellings(
    records: pd.DataFrame,
    contract: Contract,
    declared: Mapping[str, Collection[str]],
    *,
    established: Callable[[], np.ndarray],
    stored: Callable[[], Collection[str]],
    by_count: bool = False,
    earlier: Iterable[str] = (),
) -> Spellings:
    """Return how the labels of `records` are spelled, where they are spelled otherwise.

    A label folds onto the declared one that alone has the same letters in any case, the same truth (``yes`` and
    ``true``) or the same number (``1.0`` and ``1``). With ``case = "fold"`` the others fold onto each other: onto the
    spelling that the votes of the feed have in the store (`stored`), else that most `established` rows (``(n,)`` bool)
    have, ties by code point. Labels that are no votes are lower case then, unless they are spelled `by_count` too.
    `earlier` are votes of other batches: those fold that were stored before their label was declared.
    """
    chosen = {}
    for role, labels in declared.items():
        words = records[role].dropna().unique().tolist() if role in records else []
        known = _Declared(labels)
        found = {word: label for word in words if (label := known.meant_by(word)) is not None}
        left = [word for word in words if word not in found] if contract.parse.case is Case.FOLD else []
        if left and (by_count or role == contract.vote):
            found |= _fold_alike(left, _counts(records[role], established()), stored())
        elif left:
            found |= {word: _key(word) for word in left}
        if role == contract.vote:
            found |= {word: label for word in earlier if (label := known.meant_by(word)) is not None}
        moved = {word: label for word, label in found.items() if word != label}
        if moved:
            chosen[role] = moved
    return chosen


class _Declared:
    """Declared labels by what a spelling of them can share with them."""

    def __init__(self, labels: Collection[str]) -> None:
        self._labels = frozenset(labels)
        self._maps: list[tuple[Callable[[str], object], dict[object, list[str]]]] = []
        for key in (_key, _truth, _number):
            found: dict[object, list[str]] = defaultdict(list)
            for label in sorted(self._labels):
                found[key(label)].append(label)
            found.pop(None, None)
            self._maps.append((key, found))

    def meant_by(self, word: str) -> str | None:
        """Return the declared label that a spelling means; None where none or several could be meant."""
        if word in self._labels:
            return word
        for key, found in self._maps:
            if same := found.get(key(word)):
                return same[0] if len(same) == 1 else None
        return None


def _key(word: str) -> str:
    return unicodedata.normalize("NFC", word.casefold())


def _number(word: str) -> float | None:
    try:
        return float(word) if word.strip("0123456789.-") == "" else None
    except ValueError:
        return None


def _truth(word: str) -> bool | None:
    key = word.casefold()
    return True if key in _TRUE else False if key in _FALSE else None


def _counts(labels: pd.Series, established: np.ndarray) -> Counter[str]:
    """Return how many established rows have each spelling; of rows of which none is, how many rows."""
    rows = labels[established] if established.any() else labels
    return Counter(rows.dropna().tolist())


def _fold_alike(words: Iterable[str], counts: Counter[str], stored: Collection[str]) -> dict[str, str]:
    alike: dict[str, list[str]] = defaultdict(list)
    for word in words:
        alike[_key(word)].append(word)
    before: dict[str, list[str]] = defaultdict(list)
    for word in stored:
        before[_key(word)].append(word)
    shown = {key: min(before.get(key) or same, key=lambda word: (-counts[word], word)) for key, same in alike.items()}
    return {word: shown[key] for key, same in alike.items() for word in same}


def fold_labels(records: pd.DataFrame, spellings: Spellings) -> pd.DataFrame:
    """Return `records` with their labels spelled as chosen; what was written is kept in ``given.ROLE``."""
    changed = {}
    for role, words in spellings.items():
        if role in records:
            moved = records[role].isin(list(words))
            if moved.any():
                given = records.get(f"given.{role}", pd.Series(None, index=records.index, dtype="str"))
                changed[f"given.{role}"] = given.where(given.notna() | ~moved, records[role]).astype("str")
                changed[role] = records[role].where(~moved, records[role].map(words)).astype("str")
    return records.assign(**changed) if changed else records


def fold_votes(votes: pd.DataFrame, spellings: Spellings, vote: str | None, column: str = "vote") -> pd.DataFrame:
    """Return a frame of votes of other batches (or of controls), in `column`, as this batch spells them."""
    words = spellings.get(vote or "", {})
    if not words or votes.empty or not votes[column].isin(list(words)).any():
        return votes
    return votes.assign(**{column: votes[column].map(words).fillna(votes[column]).astype("str")})


def label_notes(records: pd.DataFrame, contract: Contract) -> tuple[Reason, ...]:
    """Return a note for each role whose labels are too many to be a list, where the contract folds their case."""
    if contract.parse.case is not Case.FOLD:
        return ()
    counts = {role: records[role].nunique() for role in LABEL_ROLES if contract.has(role) and role in records}
    return tuple(
        Reason("many_labels", {"column": contract.columns[role], "n": n})
        for role, n in counts.items()
        if n > MOST_LABELS
    )
