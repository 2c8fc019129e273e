"""Which sources of a campaign frame are newcomers: what only newcomers do, the established never asked for."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd

from poison_guard.signals.campaigns.finding import times

__all__ = ["NEW", "new_sources"]

NEW = dt.timedelta(days=30)
"""Age below which an account is new."""


def new_sources(frame: pd.DataFrame, source: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return ``(sources,)`` whether each was new at one of its records, and whether any account's age is known.

    `source` is ``(n,)`` codes, -1 for none. Among known ages an unknown one counts as new; where none is known nobody
    is.
    """
    size = int(source.max(initial=-1)) + 1
    if "source_since" not in frame.columns or frame["source_since"].isna().all():
        return np.zeros(size, bool), False
    since = pd.to_datetime(frame["source_since"], utc=True)
    at = times(frame).fillna(since.max())
    young = (((at - since) < NEW) | since.isna()).to_numpy(bool) & (source >= 0)
    return np.bincount(source[young], minlength=size) > 0, True
