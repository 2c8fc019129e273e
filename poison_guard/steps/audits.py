"""Draw the accepted records that reviewers see all the same: without them, misses are never measured."""

from __future__ import annotations

import dataclasses
import json

import pandas as pd

from poison_guard.decide.decisions import audit_sample
from poison_guard.records import Decided, Level, Place

__all__ = ["with_audits"]


def with_audits(decided: Decided, *, key: bytes, rate: float) -> Decided:
    """Return `decided` with evidence ``audit_sample`` for the `rate` share of the accepted that the store's key draws.

    The draw depends on the record's id and the secret key alone: the same records again, and none that a sender could
    foresee.
    """
    accepted = decided.decisions.loc[decided.decisions["place"] == Place.ACCEPTED.value, "record_id"]
    drawn = audit_sample(accepted.tolist(), key, rate)
    rows = pd.DataFrame(
        {
            "record_id": pd.Series(drawn, dtype="str"),
            "signal": "audit",
            "level": Level.RULE.value,
            "p": 1.0,
            "code": "audit_sample",
            "args": json.dumps({}),
        }
    )
    return dataclasses.replace(decided, evidence=pd.concat([decided.evidence, rows], ignore_index=True))
