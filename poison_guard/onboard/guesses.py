"""Guess what the columns of a file say together: the kind of feed, its features, and how its labels are compared."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.config import Kind
from poison_guard.ingest.collect import series_to_array
from poison_guard.ingest.values import canonical_labels
from poison_guard.onboard.columns import ColumnProfile
from poison_guard.onboard.roles import RoleGuess

__all__ = ["case_of", "guess_features", "guess_kind", "model_answer", "order_of"]

_MAX_FEATURES = 64
_MAX_CATEGORIES = 50
_INDEX = re.compile(r"|index|level_0|unnamed(_\d+)?|row|row_(number|no)|line|position")
_BEHAVIOUR = re.compile(
    r"(.*_)?(ms|millis|seconds|secs?|minutes|duration|dwell|elapsed|latency|delay|took|speed|velocity|acceleration|"
    r"pointer|mouse|clicks?|scrolls?|keys?|keystrokes?|taps|touches|distance|attempts?|retries|edits|words?|tokens?|"
    r"length|len|age|confidence|pressure|jitter|entropy)(_(ms|s|px|mean|avg|std|max|min|count|days|hours))*"
)
_COUNTED = re.compile(r"(n|num|number|count)_.+|.+_(count|ms|px|days|hours|seconds)")


def guess_kind(roles: Collection[str], n_numbers: int) -> Kind:
    """Return the kind of feed that `roles` make; `n_numbers` counts the columns of numbers without a role."""
    has = set(roles).__contains__
    if has("chosen") or has("prompt") or (has("response") and not has("item_id")):
        return Kind.PREFERENCES
    voted = has("answer") or has("label") or has("rating")
    if has("source_id") and has("item_id") and has("rating") and not (has("answer") or has("label")):
        return Kind.RATINGS
    if has("source_id") and (has("item_id") or has("answer")) and voted:
        return Kind.ANSWERS
    if has("text") or has("image"):
        return Kind.MESSAGES if has("source_id") or has("author_id") else Kind.EXAMPLES
    if has("source_id") and n_numbers >= 2:
        return Kind.TELEMETRY
    if has("source_id") and voted:
        return Kind.ANSWERS
    return Kind.EXAMPLES if has("label") else Kind.TELEMETRY


_PREDICTED = re.compile(r"(model_)?(predict(ed|ion)|inference|output)(_(label|class|value))?|(predicted|output)_.+")
_SURE = re.compile(r"(.*_)?(confidence|prob(ability)?|logits?|scores?)")


def model_answer(columns: Sequence[ColumnProfile], roles: Collection[str]) -> ColumnProfile | None:
    """Return the column of `columns` without a role that says what a model answered; None where none does.

    Only where somebody asked and nobody voted: with a source, and without an item.
    """
    if "source_id" not in roles or {"item_id", "answer", "rating", "chosen"} & set(roles):
        return None
    return next((c for c in columns if _PREDICTED.fullmatch(c.snake_name) and not c.constant), None)


def guess_features(columns: Sequence[ColumnProfile], kind: Kind, *, prose: bool) -> list[ColumnProfile]:
    """Return the columns without a role that describe how a record was made.

    Telemetry, queries and tabular examples: all numbers but those that number the rows, and categories with at most 50
    values; how sure a model was is no part of a query. Other feeds: numbers whose names are about behaviour (durations,
    speeds, counts); the others may be parts of the vote itself.
    """
    wide = kind in (Kind.TELEMETRY, Kind.QUERIES) or (kind is Kind.EXAMPLES and not prose)
    columns = [c for c in columns if kind is not Kind.QUERIES or not _SURE.fullmatch(c.snake_name)]
    chosen = [
        c for c in columns if _usable(c) and (wide or (c.kind == "number" and _speaks_of_behaviour(c.snake_name)))
    ]
    return chosen[:_MAX_FEATURES]


def _usable(c: ColumnProfile) -> bool:
    if c.constant or _INDEX.fullmatch(c.snake_name) or re.search(r"(^|_)(id|uuid|guid)$", c.snake_name):
        return False
    if c.kind == "number":
        return c.epoch is None and not c.counts_up
    return c.kind == "bool" or (c.kind == "text" and c.distinct <= _MAX_CATEGORIES and c.rows >= 5 * c.distinct)


def _speaks_of_behaviour(words: str) -> bool:
    return bool(_BEHAVIOUR.fullmatch(words) or _COUNTED.fullmatch(words))


_MOST = 1_000
"""Labels above which a column holds free text."""
_ROWS_A_LABEL = 5


def case_of(frame: pd.DataFrame, guesses: Sequence[RoleGuess]) -> tuple[str, str] | None:
    """Return ``fold`` or ``keep`` with its evidence for the answers (or labels) of a raw `frame`; None without text."""
    column = next((g.column.name for role in ("answer", "label") for g in guesses if g.role == role), None)
    if column is None or column not in frame or not (frame[column].dtype == object or _is_text(frame[column])):
        return None
    labels = pd.Series(canonical_labels(series_to_array(frame[column])[0]).to_pandas(), dtype="str").dropna()
    counts = labels.value_counts()
    alike: dict[str, list[str]] = defaultdict(list)
    for label in counts.index:
        alike[str(label).casefold()].append(str(label))
    if len(alike) > _MOST or len(labels) < _ROWS_A_LABEL * len(alike):
        return "keep", f"{column} has {len(alike):,} different values in {len(labels):,} rows: free text"
    twins = [same for same in alike.values() if len(same) > 1]
    if not twins:
        return "keep", f"no two of the {len(counts):,} labels in {column} differ in upper and lower case alone"
    shown = ", ".join(f"{label!r} ({counts[label]:,} rows)" for label in twins[0][:3])
    return "fold", f"{column} has {shown}: {len(counts):,} labels become {len(alike):,}"


def order_of(frame: pd.DataFrame, guesses: Sequence[RoleGuess]) -> str | None:
    """Return the evidence that lists in the answers (or labels) are no sets: they are lists of numbers; else None."""
    column = next((g.column.name for role in ("answer", "label") for g in guesses if g.role == role), None)
    if column is None or column not in frame or not (frame[column].dtype == object or _is_text(frame[column])):
        return None
    cells = series_to_array(frame[column].dropna())[0]
    if not pa.types.is_large_string(cells.type) or not len(cells):
        return None
    numbers = np.asarray(pc.match_substring_regex(cells, r"^\[ *-?[0-9.]+( *, *-?[0-9.]+)+ *\]$"))
    return f"{column} has lists of numbers, such as {cells[int(np.argmax(numbers))]}" if numbers.mean() > 0.5 else None


def _is_text(cells: pd.Series) -> bool:
    return pd.api.types.is_string_dtype(cells.dtype)
