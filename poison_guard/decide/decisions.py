"""Evidence of every signal to one decision a record: risk, action, and the codes that carried it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from poison_guard.config import Policy
from poison_guard.decide.risk import HOLD, levels_risk
from poison_guard.records import Action, Level, SignalEvidence

__all__ = ["audit_sample", "decide_records", "evidence_table"]


def decide_records(
    record_ids: Sequence[str], evidence: Sequence[SignalEvidence], campaign_ids: Sequence[str | None], policy: Policy
) -> tuple[pd.DataFrame, dict[Level, np.ndarray]]:
    """Return ``record_id, action, risk, campaign_id, reasons`` and the risk ``(n,)`` of each level.

    A record is held from risk 0.5 and rejected from ``policy.reject_risk``. `reasons` lists the codes that reached 0.5
    by themselves, most suspicious first.
    """
    n = len(record_ids)
    risks = levels_risk(evidence, policy, n)
    risk = np.maximum.reduce(list(risks.values()))
    action = np.select(
        [risk >= policy.reject_risk, risk >= HOLD], [Action.REJECT.value, Action.QUARANTINE.value], Action.ACCEPT.value
    )
    frame = pd.DataFrame(
        {
            "record_id": pd.Series(record_ids, dtype="str"),
            "action": pd.Series(action, dtype="str"),
            "risk": risk,
            "campaign_id": pd.Series(campaign_ids, dtype="object"),
            "reasons": _codes(n, evidence, risks),
        }
    )
    return frame, risks


def _codes(n: int, evidence: Sequence[SignalEvidence], risks: Mapping[Level, np.ndarray]) -> list[list[str]]:
    found: list[list[tuple[float, str]]] = [[] for _ in range(n)]
    for one in evidence:
        level = risks[one.level]
        for row, reason in one.reasons.items():
            if level[row] >= HOLD:
                found[row].append((float(one.p[row]), reason.code))
    return [list(dict.fromkeys(code for _, code in sorted(pairs))) for pairs in found]


def evidence_table(record_ids: Sequence[str], evidence: Sequence[SignalEvidence]) -> pd.DataFrame:
    """Return ``record_id, signal, level, p, code, args`` (args as JSON), a row a reason, sorted by record."""
    ids = np.asarray(record_ids, dtype=object)
    rows = [
        (
            ids[row],
            one.signal,
            one.level.value,
            float(one.p[row]),
            reason.code,
            json.dumps(dict(reason.args), default=str),
        )
        for one in evidence
        for row, reason in one.reasons.items()
    ]
    table = pd.DataFrame(rows, columns=["record_id", "signal", "level", "p", "code", "args"])
    return table.sort_values(["record_id", "p", "signal"], ignore_index=True, kind="stable")


def audit_sample(accepted_ids: Sequence[str], key: bytes, rate: float) -> list[str]:
    """Return the ids that reviewers see although they were accepted: the `rate` share with the lowest keyed hash.

    `key` must not be known to who sends records (it is the store's secret), or they could choose ids that are never
    drawn.
    """
    limit = int(rate * 2**64)
    hashes = (hashlib.blake2b(i.encode(), digest_size=8, key=key[:64]).digest() for i in accepted_ids)
    return [i for i, value in zip(accepted_ids, hashes, strict=True) if int.from_bytes(value, "big") < limit]
