"""Turn member rows of a campaign frame into a `Campaign`: who, when, how many."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from poison_guard.records import Campaign, Reason
from poison_guard.signals.campaigns.merge import campaign_id

__all__ = ["finding", "times"]


def finding(
    frame: pd.DataFrame,
    rows: np.ndarray,
    *,
    kind: str,
    p: float,
    strength: float,
    who: str,
    args: dict[str, Any],
    n_own: int | None = None,
) -> Campaign:
    """Return the campaign of `rows` (positions); `who` names the column of its sources.

    Rows from `n_own` on are of earlier batches. The reason is `kind` with `args`; ``minutes`` among them is the span,
    rounded up, unless `args` gives another.
    """
    own = np.sort(rows) < (len(frame) if n_own is None else n_own)
    members = frame.iloc[np.sort(rows)]
    at = times(members).dropna()
    first, last = (at.min(), at.max()) if len(at) else (None, None)
    if first is not None:
        args = {"minutes": max(1, int(np.ceil((last - first).total_seconds() / 60)))} | args
    ids = members["record_id"].astype("str")
    records, earlier = tuple(sorted(ids[own])), tuple(sorted(ids[~own]))
    return Campaign(
        campaign_id=campaign_id(records + earlier),
        kind=kind,
        p=float(p),
        strength=float(np.clip(strength, 0, 1)),
        record_ids=records,
        source_ids=tuple(sorted(members[who].dropna().astype("str").unique())),
        first_at=None if first is None else first.to_pydatetime(warn=False),
        last_at=None if last is None else last.to_pydatetime(warn=False),
        reason=Reason(kind, args),
        earlier_ids=earlier,
    )


def times(frame: pd.DataFrame) -> pd.Series:
    """Return when each row happened: the sender's word where given, else when it was received; missing NaT."""
    nothing = pd.Series(pd.NaT, index=frame.index, dtype="datetime64[us, UTC]")
    at = nothing
    for column in ("observed_at", "received_at"):
        if column in frame.columns:
            at = at.fillna(pd.to_datetime(frame[column], utc=True).astype("datetime64[us, UTC]"))
    return at
