"""What is known of sources before they speak: for feeds without votes, and for people who ask."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from poison_guard.signals.sources.reliability import score_sources

__all__ = ["score_history"]


def score_history(
    source_ids: Iterable[str],
    *,
    ledger: pd.DataFrame,
    alpha: float,
    verified: pd.DataFrame | None = None,
    half_life: float = 0.0,
) -> pd.DataFrame:
    """Return `score_sources` of sources by their history alone, sorted by id: controls, reviews and outcomes before."""
    names = pd.Series(list(dict.fromkeys(source_ids)), dtype="str")
    alone = pd.DataFrame({"item_id": names, "source_id": names, "answer": "none"})  # nobody else votes: nothing agrees
    found = score_sources(alone, ledger=ledger, controls=None, alpha=alpha, verified=verified, half_life=half_life)
    return found.assign(n=0)
