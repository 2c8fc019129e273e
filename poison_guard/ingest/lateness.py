"""Times outside all sense: of a clock that is wrong, or of a record that comes too late."""

from __future__ import annotations

import pandas as pd

from poison_guard.config import Contract
from poison_guard.records import Reason

__all__ = ["move_times"]

_TIME_DTYPE = "datetime64[us, UTC]"
_CLOCK_AHEAD = pd.Timedelta(hours=1)
"""How far a sender's clock may be ahead of the time at which a record was received."""


def move_times(
    roles: dict[str, pd.Series], records: pd.DataFrame, received: pd.Timestamp, contract: Contract
) -> tuple[Reason, ...]:
    """Move times outside all sense to the nearest one that has some; what was sent stays in ``given.observed_at``."""
    if "observed_at" not in roles:
        return ()
    sent, days = roles["observed_at"], contract.policy.lateness_days
    roles["observed_at"] = clamped = _clamp_times(sent, received, days)
    moved = sent.notna() & (sent != clamped)
    if not moved.any():
        return ()
    written = pd.Series(sent[moved].map(pd.Timestamp.isoformat), index=sent.index, dtype="str")
    roles["given.observed_at"] = roles.get("given.observed_at", written).fillna(written)
    first = int(records["row"].iloc[int(moved.argmax())])
    args = {"column": contract.columns["observed_at"], "days": days, "rows": len(moved), "row": first}
    return (Reason("times_moved", {**args, "n": int(moved.sum())}),)


def _clamp_times(observed: pd.Series, received: pd.Timestamp, days: int) -> pd.Series:
    """Return times held within the window before `received`; if most are older, the batch is history, not late.

    A wrong clock is the exception. A file of last year's records would lose all its times: every account of it would
    look old, and no two records would act together.
    """
    earliest = received - pd.Timedelta(days=days)
    present = observed.dropna()
    history = len(present) > 0 and bool((present < earliest).mean() > 0.5)
    return observed.clip(None if history else earliest, received + _CLOCK_AHEAD).astype(_TIME_DTYPE)
