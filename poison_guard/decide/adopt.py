"""Which item labels enter a snapshot: adopted with enough undisputed evidence, else deferred with the reason."""

from __future__ import annotations

import numpy as np
import pandas as pd

from poison_guard.config import Policy

__all__ = ["adopt"]

_COLUMNS = ["item_id", "label", "probability", "adopted", "why"]


def adopt(
    posterior: pd.DataFrame,
    accepted: pd.DataFrame,
    held: pd.DataFrame,
    conflicts: pd.DataFrame,
    controls: pd.DataFrame,
    policy: Policy,
) -> pd.DataFrame:
    """Return ``item_id, label, probability, adopted, why`` for every item with a vote, accepted or held.

    `posterior` is ``item_id, answer, probability, disputed`` of the consensus over accepted votes; `accepted` and
    `held` are votes ``item_id, vote, established`` (`held`: by campaign or source evidence); `conflicts` is
    ``item_id, established_answer, new_answer``; `controls` ``item_id, answer``. `why` is
    one of ``adopted, control, too_few, uncertain, disputed, conflict, contested``: *contested* means that held votes
    pull elsewhere and fewer than `min_answers` established sources support the label, so that holding the wrong side
    cannot decide it.
    """
    items = pd.DataFrame({"item_id": pd.unique(pd.concat([accepted["item_id"], held["item_id"]], ignore_index=True))})
    table = items.merge(posterior, on="item_id", how="left").rename(columns={"answer": "label"})
    support = accepted.merge(table[["item_id", "label"]], on="item_id")
    support = support[support["vote"] == support["label"]]
    against = held.merge(table[["item_id", "label"]], on="item_id")
    against = against[against["vote"] != against["label"]]
    n = _count(support, table)
    n_established = _count(support[support["established"].astype(bool)], table)
    n_against = _count(against, table)
    probability = table["probability"].to_numpy(float, na_value=0.0)
    why = np.select(
        [
            table["item_id"].isin(controls["item_id"]).to_numpy(),
            n < policy.min_answers,
            table["item_id"].isin(conflicts["item_id"]).to_numpy(),
            table["disputed"].to_numpy(bool, na_value=True),
            (n_against >= 2) & (n_established < policy.min_answers),
            probability < policy.adopt_probability,
        ],
        ["control", "too_few", "conflict", "disputed", "contested", "uncertain"],
        default="adopted",
    )
    known = dict(zip(controls["item_id"], controls["answer"], strict=True))
    table["label"] = [known.get(i, label) for i, label in zip(table["item_id"], table["label"], strict=True)]
    table["probability"] = np.where(why == "control", 1.0, probability)
    table["adopted"] = np.isin(why, ["adopted", "control"])
    table["why"] = why
    return table[_COLUMNS].sort_values("item_id", ignore_index=True)


def _count(votes: pd.DataFrame, table: pd.DataFrame) -> np.ndarray:
    return table["item_id"].map(votes.groupby("item_id").size()).fillna(0).to_numpy(int)
