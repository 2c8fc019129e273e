"""p-values to one risk: monotone in every p-value, each level capped, the strongest level decides (law 4).

A level's p-value ``p`` with threshold ``alpha`` gives the risk ``alpha / (alpha + p)``: 0.5 exactly at the threshold,
towards 1 as `p` falls, towards 0 as it grows. Levels are combined by their maximum, never by a sum: two mild hints do
not add up to a hold, so the share of honest records held by record-level signals stays what conformal p-values promise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from poison_guard.config import Policy
from poison_guard.records import Level, SignalEvidence

__all__ = ["HOLD", "level_risk", "levels_risk"]

HOLD = 0.5
"""Risk from which a record is held."""

_CAP = {Level.RULE: 0.98, Level.RECORD: 0.95, Level.CAMPAIGN: 0.97, Level.SOURCE: 1.0}
"""Highest risk a level can give: only source evidence can pass the default `reject_risk`."""


def level_risk(p: np.ndarray, alpha: float) -> np.ndarray:
    """Return the risk of p-values ``(n,)`` in (0, 1] at threshold `alpha`; 0 where ``p`` is 1, 0.5 where it is `alpha`.

    >>> level_risk(np.array([1.0, 0.01, 0.0001]), 0.01).round(3).tolist()
    [0.0, 0.5, 0.99]
    """
    risk = alpha / (alpha + p)
    risk[p >= 1] = 0.0
    return risk


def levels_risk(evidence: Sequence[SignalEvidence], policy: Policy, n: int) -> dict[Level, np.ndarray]:
    """Return the capped risk ``(n,)`` of each level.

    Within a level the smallest p-value counts, multiplied by the number of signals of that level (Bonferroni), so that
    `false_quarantine_rate` holds for all record-level signals together. Rules are facts, not chances: no correction.
    """
    alpha = {
        Level.RULE: policy.false_quarantine_rate,
        Level.RECORD: policy.false_quarantine_rate,
        Level.SOURCE: policy.source_alpha,
        Level.CAMPAIGN: policy.campaign_alpha,
    }
    risks: dict[Level, np.ndarray] = {}
    for level in Level:
        mine = [e.p for e in evidence if e.level is level]
        if not mine:
            risks[level] = np.zeros(n)
            continue
        factor = len(mine) if level is not Level.RULE else 1
        p = np.minimum(1.0, factor * np.minimum.reduce(mine))
        risks[level] = np.minimum(level_risk(p, alpha[level]), _CAP[level])
    return risks
