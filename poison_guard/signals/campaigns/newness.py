"""Which sources of a campaign frame are newcomers: what only newcomers do, the established never asked for."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd

from poison_guard.signals.campaigns.finding import times

__all__ = ["NEW", "new_sources", "young"]

NEW = dt.timedelta(days=30)
"""Age below which an account is new."""


def young(frame: pd.DataFrame) -> tuple[np.ndarray, bool]:
    """Return ``(n,)`` whether each record's account was new then, and whether any account's age is known.

    Among known ages an unknown one counts as new; where none is known nobody is.
    """
    if "source_since" not in frame.columns or frame["source_since"].isna().all():
        return np.zeros(len(frame), bool), False
    since = pd.to_datetime(frame["source_since"], utc=True)
    at = times(frame).fillna(since.max())
    return ((at - since) < NEW).to_numpy(bool) | since.isna().to_numpy(), True


def new_sources(frame: pd.DataFrame, source: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return ``(sources,)`` whether each was new at one of its records (`young`), and whether any age is known.

    `source` is ``(n,)`` codes, -1 for none.
    """
    new, known = young(frame)
    return np.bincount(source[new & (source >= 0)], minlength=int(source.max(initial=-1)) + 1) > 0, known
