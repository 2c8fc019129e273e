"""Which sources have something in common that accounts of one owner would share: when they began, and where."""

from __future__ import annotations

import pandas as pd

__all__ = ["cohort_keys"]


def cohort_keys(since: pd.Series, place: pd.Series) -> pd.Series:
    """Return the week in which each source began and its network block as one text; missing where neither is known.

    A place that is an address counts without its last number.
    """
    week = pd.to_datetime(since, utc=True).dt.strftime("%G-%V").fillna("")
    block = place.fillna("").astype("str").str.replace(r"\.\d+$", "", regex=True)
    return (week + " " + block).where(since.notna() | place.notna())
