"""From evidence to decisions: the p-values of a record to one risk, the risk to an action, with the reasons' codes.

The risk is monotone in every p-value, each level is capped, and the strongest level decides (law 4). A level's p-value
``p`` with threshold ``alpha`` gives the risk ``alpha / (alpha + p)``: 0.5 exactly at the threshold, towards 1 as `p`
falls, towards 0 as it grows. Signals of one level are combined by the smallest p-value (those that judge a record by
itself were ranked together, `signals.joint`), levels by the largest risk, never by a sum: two mild hints do not add up
to a hold, so the share of honest records held by record-level signals stays what conformal p-values promise. Of seven
rules compared on drills and on 23 public sets (benchmarks/results/fusion.md) none holds more attacks than this one at
as many honest records.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd

from poison_guard.config import Policy
from poison_guard.records import Action, Level, Place, SignalEvidence

__all__ = ["HOLD", "decide_records", "evidence_table", "risk_by_level", "risk_of_p"]


_PLACES = {
    Action.ACCEPT.value: Place.ACCEPTED.value,
    Action.QUARANTINE.value: Place.QUARANTINED.value,
    Action.REJECT.value: Place.REJECTED.value,
}
HOLD = 0.5
"""Risk from which a record is held."""

_RISK_CAP = {Level.RULE: 0.98, Level.RECORD: 0.95, Level.CAMPAIGN: 0.97, Level.SOURCE: 1.0}
"""Highest risk a level can give: only source evidence can pass the default `reject_risk`."""


def risk_of_p(p: np.ndarray, alpha: float) -> np.ndarray:
    """Return the risk of p-values ``(n,)`` in (0, 1] at threshold `alpha`; 0 where ``p`` is 1, 0.5 where it is `alpha`.

    >>> risk_of_p(np.array([1.0, 0.01, 0.0001]), 0.01).round(3).tolist()
    [0.0, 0.5, 0.99]
    """
    risk = alpha / (alpha + p)
    risk[p >= 1] = 0.0
    return risk


def risk_by_level(evidence: Sequence[SignalEvidence], policy: Policy, n: int) -> dict[Level, np.ndarray]:
    """Return the capped risk ``(n,)`` of each level, by its smallest p-value."""
    alpha = {
        Level.RULE: policy.false_quarantine_rate,
        Level.RECORD: policy.false_quarantine_rate,
        Level.SOURCE: policy.source_alpha,
        Level.CAMPAIGN: policy.campaign_alpha,
    }
    risks: dict[Level, np.ndarray] = {}
    for level in Level:
        p = np.minimum.reduce([np.ones(n), *(e.p for e in evidence if e.level is level)])
        risks[level] = np.minimum(risk_of_p(p, alpha[level]), _RISK_CAP[level])
    return risks


def decide_records(
    record_ids: Sequence[str],
    evidence: Sequence[SignalEvidence],
    campaign_ids: Sequence[str | None],
    policy: Policy,
) -> tuple[pd.DataFrame, dict[Level, np.ndarray]]:
    """Return ``record_id, action, risk, campaign_id, reasons, place`` and the risk ``(n,)`` of each level.

    A record is held from risk 0.5 and rejected from ``policy.reject_risk``. `reasons` lists the codes that reached 0.5
    by themselves, most suspicious first.
    """
    n = len(record_ids)
    risks = risk_by_level(evidence, policy, n)
    risk = np.maximum.reduce(list(risks.values()))
    action = np.select(
        [risk >= policy.reject_risk, risk >= HOLD], [Action.REJECT.value, Action.QUARANTINE.value], Action.ACCEPT.value
    )
    codes: dict[int, list[tuple[float, str]]] = {}
    for one in evidence:
        for row, reason in one.reasons.items():
            if risks[one.level][row] >= HOLD:
                codes.setdefault(row, []).append((float(one.p[row]), reason.code))
    reasons: list[list[str]] = [[] for _ in range(n)]
    for row, pairs in codes.items():
        reasons[row] = list(dict.fromkeys(code for _, code in sorted(pairs)))
    frame = pd.DataFrame(
        {
            "record_id": pd.Series(record_ids, dtype="str"),
            "action": pd.Series(action, dtype="str"),
            "risk": risk,
            "campaign_id": pd.Series(campaign_ids, dtype="object"),
            "reasons": reasons,
            "place": pd.Series(action, dtype="str").map(_PLACES).astype("str"),
        }
    )
    return frame, risks


def evidence_table(record_ids: Sequence[str], evidence: Sequence[SignalEvidence]) -> pd.DataFrame:
    """Return ``record_id, signal, level, p, code, args`` (args as JSON), a row a reason, sorted by record."""
    rows = [(one, row, reason) for one in evidence for row, reason in one.reasons.items()]
    columns = {
        "record_id": pd.Series([record_ids[row] for _, row, _ in rows], dtype="str"),
        "signal": pd.Series([one.signal for one, _, _ in rows], dtype="str"),
        "level": pd.Series([one.level.value for one, _, _ in rows], dtype="str"),
        "p": pd.Series([one.p[row] for one, row, _ in rows], dtype="float64"),
        "code": pd.Series([reason.code for _, _, reason in rows], dtype="str"),
        "args": pd.Series([json.dumps(dict(reason.args), default=str) for _, _, reason in rows], dtype="str"),
    }
    return pd.DataFrame(columns).sort_values(["record_id", "p", "signal"], ignore_index=True, kind="stable")
