"""Evidence that comes late: the accepted records of earlier batches whose campaign shows only now are taken back."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from poison_guard.config import Policy
from poison_guard.decide.risk import HOLD, level_risk
from poison_guard.records import RECALLS, Campaign, Place, State, memory_columns

__all__ = ["recalled", "remembered"]


def recalled(campaigns: Iterable[Campaign], state: State, policy: Policy) -> pd.DataFrame:
    """Return ``record_id, campaign_id`` of the accepted earlier members of campaigns that would be held, sorted by id.

    Merged campaigns share no record, so each record has one campaign.
    """
    accepted = set(state.memory.loc[state.memory["place"] == Place.ACCEPTED.value, "record_id"])
    accepted |= set(state.answers.loc[state.answers["verdict"] <= 0, "record_id"])  # a person's word stands
    held = (c for c in campaigns if level_risk(pd.Series([c.p]).to_numpy(), policy.campaign_alpha)[0] >= HOLD)
    pairs = sorted((record, c.campaign_id) for c in held for record in c.earlier_ids if record in accepted)
    return pd.DataFrame(pairs, columns=list(RECALLS), dtype="str")


def remembered(scored: pd.DataFrame) -> pd.DataFrame:
    """Return what later batches may see of a scored frame."""
    return scored[memory_columns(scored.columns)]
