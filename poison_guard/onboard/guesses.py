"""Decide from the labels of a file whether upper and lower case make two labels or one: the key ``case``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.ingest.collect import series_to_array
from poison_guard.ingest.values import canonical_labels
from poison_guard.onboard.roles import RoleGuess

__all__ = ["case_of", "order_of"]

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
