"""The raw view: a records frame under the user's own column names, the names that suites speak of."""

from __future__ import annotations

import pandas as pd

from poison_guard.config import Contract

__all__ = ["raw_view"]


def raw_view(records: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Return the columns of `records` (`Batch.records`, any row labels) named as in the user's data, rows as they are.

    ``feature.NAME`` and ``extra.NAME`` become NAME, a role the column its contract maps it to; bookkeeping
    (``content_hash``, ``object``, ``row``, ``received_at``, a derived ``record_id``) is left out. Where one column
    plays several parts, its feature (typed as a number) is shown, else its first role. No cell is copied.
    """
    source: dict[str, str] = {}
    for role, name in contract.columns.items():
        if role in records.columns:
            source.setdefault(name, role)
    for column in records.columns:
        part, _, name = str(column).partition(".")
        if part == "feature":
            source[name] = column
        elif part == "extra":
            source.setdefault(name, column)
    return pd.DataFrame({name: records[column] for name, column in source.items()}, index=records.index, copy=False)
