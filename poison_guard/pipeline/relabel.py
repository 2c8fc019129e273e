"""Settle the labels of items whose records people have moved since: released, rejected, recalled."""

from __future__ import annotations

import numpy as np
import pandas as pd

from poison_guard.config import Contract
from poison_guard.decide.adopt import adopt

__all__ = ["settle_labels"]


def _proven(ledger: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Return what verified answers say of each source, on top of what is assumed of a stranger: Beta(a, b)."""
    from poison_guard.signals.sources.consensus import COLD_PRIOR

    right = COLD_PRIOR[0] + ledger["controls_right"].astype(float) + ledger["outcomes_right"].astype(float)
    wrong = COLD_PRIOR[1] + ledger["controls_wrong"].astype(float) + ledger["outcomes_wrong"].astype(float)
    return dict(zip(ledger["source_id"], zip(right, wrong, strict=True), strict=True))


def settle_labels(
    accepted: pd.DataFrame,
    held: pd.DataFrame,
    ledger: pd.DataFrame,
    controls: pd.DataFrame,
    contract: Contract,
    context: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return ``item_id, label, probability, adopted, why`` from all votes about some items.

    `accepted` and `held` are ``item_id, source_id, vote, source_since, observed_at, received_at, verdict``, one row a
    record; `held` are those that people or evidence keep out. A vote that a reviewer released counts as an established
    source's word: a person vouches for it. Items whose last vote is gone come back as not adopted. `context` is as
    `cluster_answers` takes it.
    """
    from poison_guard.signals.sources import agree, canonicalise, cluster_answers, cohort_conflict, established

    trusty = established(accepted, ledger, accepted["received_at"]) | (accepted["verdict"] > 0)
    trusted = np.r_[trusty, np.zeros(len(held), bool)]
    alike = cluster_answers(pd.concat([accepted, held]), controls=controls, trusted=trusted, context=context)
    accepted, held = canonicalise(accepted, alike), canonicalise(held, alike)
    votes = accepted[["item_id", "source_id", "vote"]]
    result = agree(votes, controls=controls, model="one_coin" if alike else "auto", prior=_proven(ledger))
    supporting = votes.assign(established=trusty.to_numpy())
    against = held.loc[held["verdict"] >= 0, ["item_id", "source_id", "vote"]].assign(established=False)
    labels = adopt(result.items, supporting, against, cohort_conflict(votes, trusty), controls, contract.policy)
    unlabelled = sorted(set(held["item_id"]) - set(labels["item_id"]))  # people rejected all their votes
    lost = {"item_id": unlabelled, "label": None, "probability": 0.0, "adopted": False, "why": "too_few"}
    return pd.concat([labels, pd.DataFrame(lost)], ignore_index=True) if unlabelled else labels
