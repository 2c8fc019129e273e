"""From evidence to decisions: the p-values of a record to one risk, the risk to an action, with the reasons' codes.

The risk is monotone in every p-value, each level is capped, and the strongest level decides (law 4). A level's p-value
``p`` with threshold ``alpha`` gives the risk ``alpha / (alpha + p)``: 0.5 exactly at the threshold, towards 1 as `p`
falls, towards 0 as it grows. Levels are combined by their maximum, never by a sum: two mild hints do not add up to a
hold, so the share of honest records held by record-level signals stays what conformal p-values promise. Of seven rules
compared on drills and on 23 public sets (benchmarks/results/fusion.md) none holds more attacks than this one at as many
honest records.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from poison_guard.config import Policy
from poison_guard.records import Action, Level, Place, SignalEvidence
from poison_guard.signals.conformal import rows_needed

__all__ = ["HOLD", "decide_records", "evidence_table", "record_shares", "risk_by_level", "risk_of_p", "simes_p"]


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


_WEIGHT = 2.0
"""What the label signal weighs where the others weigh 1: a wrong label shows in it alone."""


def record_shares(signals: Iterable[str], rate: float, rows: int) -> dict[str, float]:
    """Return the share of `rate` that each of the record signals among `signals` has; sum 1.

    The label signal has two parts where the others have one, if the `rows` of the calibration split are enough for so
    small a part of the rate; else all have the same.

    >>> record_shares(("validation", "anomaly", "label"), 0.01, 299)["anomaly"]
    0.3333333333333333
    >>> record_shares(("validation", "anomaly", "label"), 0.01, 298)["anomaly"]
    0.5
    """
    mine = [name for name in signals if name not in ("validation", "signature", "source", "campaign")]
    weights = {name: _WEIGHT if name == "label" else 1.0 for name in mine}
    total = sum(weights.values())
    if mine and rows < rows_needed(rate / total):
        return dict.fromkeys(mine, 1 / len(mine))
    return {name: weight / total for name, weight in weights.items()}


def simes_p(p: np.ndarray, shares: np.ndarray | None = None) -> np.ndarray:
    """Return one p-value ``(n,)`` in (0, 1] for the p-values ``(signals, n)`` of one level.

    ``min over i of K p_(i) / i``: K times the smallest, but signals that say the same count once. At most uniform for
    honest records where signals are independent or rise together; larger than no p-value that Bonferroni's rule gives.

    With `shares` ``(signals,)``, which add up to 1, it is ``min over i of p_(i) / (shares of the i smallest)``.

    References: Simes, "An improved Bonferroni procedure for multiple tests of significance" (1986); Sarkar, "Some
    probability inequalities for ordered MTP2 random variables: a proof of the Simes conjecture" (1998); Benjamini and
    Hochberg, "Multiple hypotheses testing with weights" (1997).

    >>> simes_p(np.array([[0.01, 0.01, 0.3], [0.5, 0.01, 1.0]])).round(3).tolist()
    [0.02, 0.01, 0.6]
    """
    k = len(p)
    if shares is None:
        scaled = np.sort(p, axis=0) * (k / np.arange(1, k + 1))[:, np.newaxis]
    else:
        order = np.argsort(p, axis=0, kind="stable")
        scaled = np.take_along_axis(p, order, axis=0) / np.cumsum(shares[order], axis=0)
    return np.minimum(1.0, scaled.min(axis=0))


def risk_by_level(
    evidence: Sequence[SignalEvidence], policy: Policy, n: int, shares: Mapping[str, float] | None = None
) -> dict[Level, np.ndarray]:
    """Return the capped risk ``(n,)`` of each level.

    Within a level p-values are fused by Simes' rule, so that `false_quarantine_rate` holds for all record-level signals
    together (in the `shares` of `record_shares`), and signals that say the same are not paid for
    twice. Rules are facts, not chances: the smallest counts.
    """
    alpha = {
        Level.RULE: policy.false_quarantine_rate,
        Level.RECORD: policy.false_quarantine_rate,
        Level.SOURCE: policy.source_alpha,
        Level.CAMPAIGN: policy.campaign_alpha,
    }
    risks: dict[Level, np.ndarray] = {}
    for level in Level:
        named = [e for e in evidence if e.level is level]
        mine = [e.p for e in named]
        if not mine:
            risks[level] = np.zeros(n)
            continue
        p = np.minimum.reduce(mine) if level is Level.RULE else simes_p(np.stack(mine), _shares(named, shares))
        risks[level] = np.minimum(risk_of_p(p, alpha[level]), _RISK_CAP[level])
    return risks


def _shares(evidence: Sequence[SignalEvidence], shares: Mapping[str, float] | None) -> np.ndarray | None:
    """Return the share of each signal of one level; None where all have the same."""
    mine = np.array([(shares or {}).get(one.signal, 0.0) for one in evidence])
    return None if (mine == mine[0]).all() or not mine.all() else mine / mine.sum()


def decide_records(
    record_ids: Sequence[str],
    evidence: Sequence[SignalEvidence],
    campaign_ids: Sequence[str | None],
    policy: Policy,
    shares: Mapping[str, float] | None = None,
) -> tuple[pd.DataFrame, dict[Level, np.ndarray]]:
    """Return ``record_id, action, risk, campaign_id, reasons, place`` and the risk ``(n,)`` of each level.

    A record is held from risk 0.5 and rejected from ``policy.reject_risk``. `reasons` lists the codes that reached 0.5
    by themselves, most suspicious first.
    """
    n = len(record_ids)
    risks = risk_by_level(evidence, policy, n, shares)
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
