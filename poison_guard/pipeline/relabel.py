"""Settle the labels of items whose records people have moved since: released, rejected, recalled."""

from __future__ import annotations

import numpy as np
import pandas as pd

from poison_guard.config import Contract
from poison_guard.decide.adopt import Adoption, adopt

__all__ = ["adopt_anew", "settle_labels"]


def settle_labels(
    accepted: pd.DataFrame,
    held: pd.DataFrame,
    ledger: pd.DataFrame,
    controls: pd.DataFrame,
    contract: Contract,
    context: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return ``item_id, label, probability, adopted, why`` from all votes about some items, taken as `adopt_anew` does.

    Items whose last vote is gone come back as not adopted.
    """
    labels = adopt_anew(accepted, held, ledger, controls, contract, context).items
    unlabelled = sorted(set(held["item_id"]) - set(labels["item_id"]))  # people rejected all their votes
    lost = {"item_id": unlabelled, "label": None, "probability": 0.0, "adopted": False, "why": "too_few"}
    return pd.concat([labels, pd.DataFrame(lost)], ignore_index=True) if unlabelled else labels


def adopt_anew(
    accepted: pd.DataFrame,
    held: pd.DataFrame,
    ledger: pd.DataFrame,
    controls: pd.DataFrame,
    contract: Contract,
    context: pd.DataFrame | None = None,
) -> Adoption:
    """Return what all stored votes about some items say, as `adopt` does of a batch.

    `accepted` and `held` are ``item_id, source_id, vote, source_since, observed_at, received_at, verdict``, one row a
    record; `held` are those that people or evidence keep out, with ``campaign_id`` where it is known. A vote that a
    reviewer released counts as an established source's word: a person vouches for it. `context` is as `cluster_answers`
    takes it.
    """
    from poison_guard.signals.sources import canonicalise, cluster_answers, cohort_conflict, established

    trusty = established(accepted, ledger, accepted["received_at"]) | (accepted["verdict"] > 0)
    old = established(held, ledger, held["received_at"]).to_numpy(bool)
    trusted = np.r_[trusty, np.zeros(len(held), bool)]
    alike = cluster_answers(pd.concat([accepted, held]), controls=controls, trusted=trusted, context=context)
    accepted, held = canonicalise(accepted, alike), canonicalise(held, alike)
    columns = ["item_id", "source_id", "vote"]
    votes = accepted[columns].assign(established=trusty.to_numpy())
    out = held[[*columns, *(("campaign_id",) if "campaign_id" in held else ())]].assign(established=old)
    return adopt(
        votes,
        out[(held["verdict"] >= 0).to_numpy()],
        cohort_conflict(votes, trusty),
        controls,
        contract.policy,
        model="one_coin" if alike else "auto",
        ledger=ledger,
        audits=accepted[["item_id", "vote", "verdict"]],
        around=None if alike else context,
    )
