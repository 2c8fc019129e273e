"""Which item labels enter a snapshot: adopted with enough undisputed evidence, else deferred with the reason."""

from __future__ import annotations

import numpy as np
import pandas as pd

from poison_guard.config import Policy

__all__ = ["adopt"]

_COVERED_SHARE = 0.5  # share of the items with an established voter, from which on newcomers alone adopt nothing
_SPLIT_SHARE = (
    0.3  # share of the established sources' votes against the label, two at least, that newcomers cannot outvote
)
_COLUMNS = ["item_id", "label", "probability", "adopted", "why"]


def adopt(
    posterior: pd.DataFrame,
    accepted: pd.DataFrame,
    held: pd.DataFrame,
    conflicts: pd.DataFrame,
    controls: pd.DataFrame,
    policy: Policy,
    context: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return ``item_id, label, probability, adopted, why`` for every item with a vote, accepted or held.

    `posterior` is ``item_id, answer, probability, disputed`` of the consensus over accepted votes. `accepted` and
    `held` are votes ``item_id, vote, established``; `held` are those held by campaign or source evidence, with
    ``campaign_id``: the newcomers of a campaign count as one vote an item. `conflicts` is ``item_id,
    established_answer, new_answer``; `controls` ``item_id, answer``. The probability is lowered where the votes look
    pushed; pushes are learned from `context`: ``item_id, vote`` of all recent votes about these and other items (by
    default the accepted and held ones). Free text comes written alike (`cluster_answers`): its probability is that of
    saying nearly this.

    `why` is one of ``adopted, control, too_few, uncertain, disputed, conflict, contested, unproven, split, pushed``.
    *contested*: held votes are against the label and fewer than `min_answers` established sources support it, so that
    holding the wrong side cannot decide it. *unproven*: newcomers alone voted for it, where established sources voted
    on most items. *split*: established sources disagree, and newcomers would settle it. *pushed*: the label would be
    certain enough if it were certain that nobody pushed it.

    References: Resnick & Sami (2007), "The Influence Limiter" (*unproven* and *split*).
    """
    from poison_guard.signals.sources.push_mixture import push_discount

    items = pd.DataFrame({"item_id": pd.unique(pd.concat([accepted["item_id"], held["item_id"]], ignore_index=True))})
    table = items.merge(posterior, on="item_id", how="left").rename(columns={"answer": "label"})
    size, old = len(table), accepted["established"].astype(bool).to_numpy()
    (at, says), (held_at, held_says) = _labelled(accepted, table), _labelled(held, table)
    n, n_established = (np.bincount(at[which], minlength=size) for which in (says, says & old))
    n_against = np.bincount(held_at[~held_says], minlength=size)
    alone = table["probability"].to_numpy(float, na_value=0.0)
    counted, both = _counted_votes(accepted, held)
    counted, context = (
        votes[~votes["item_id"].isin(controls["item_id"])] for votes in (counted, both if context is None else context)
    )
    covered = len(at) > 0 and len(np.unique(at[old])) / len(np.unique(at)) >= _COVERED_SHARE
    probability = alone * push_discount(counted, table.set_index("item_id")["label"], context=context)
    why = np.select(
        [
            table["item_id"].isin(controls["item_id"]).to_numpy(),
            n < policy.min_answers,
            table["item_id"].isin(conflicts["item_id"]).to_numpy(),
            table["disputed"].to_numpy(bool, na_value=True),
            (n_against >= 2) & (n_established < policy.min_answers),
            (n_established == 0) & covered,
            _split(accepted, held, table),
            alone < policy.adopt_probability,
            probability < policy.adopt_probability,
        ],
        ["control", "too_few", "conflict", "disputed", "contested", "unproven", "split", "uncertain", "pushed"],
        default="adopted",
    )
    answers = dict(zip(controls["item_id"], controls["answer"], strict=True))
    table["label"] = [answers.get(i, label) for i, label in zip(table["item_id"], table["label"], strict=True)]
    table["probability"] = np.where(why == "control", 1.0, probability)
    table["adopted"] = np.isin(why, ["adopted", "control"])
    table["why"] = why
    return table[_COLUMNS].sort_values("item_id", ignore_index=True)


def _split(accepted: pd.DataFrame, held: pd.DataFrame, table: pd.DataFrame) -> np.ndarray:
    """Return ``(items,)`` whether too many established sources, held with a campaign or not, give one other answer."""
    votes = accepted if "campaign_id" not in held else pd.concat([accepted, held.dropna(subset=["campaign_id"])])
    old = votes[votes["established"].astype(bool)]
    at, says = _labelled(old, table)
    answer, names = pd.factorize(old["vote"])
    pairs, given = np.unique((at * len(names) + answer)[~says], return_counts=True)
    most = np.zeros(len(table))
    np.maximum.at(most, pairs // max(len(names), 1), given)
    return (most >= 2) & (most >= _SPLIT_SHARE * np.bincount(at, minlength=len(table)))


def _counted_votes(accepted: pd.DataFrame, held: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the votes that count, and all votes: the newcomers of a campaign have one vote an item together.

    Its established members keep their votes: nothing but the finding itself says which side of the item they are on.
    """
    alone = accepted[["item_id", "vote"]]
    if "campaign_id" not in held:
        return alone, alone
    group = held.dropna(subset=["campaign_id"])
    old = group["established"].astype(bool)
    one = group[~old].drop_duplicates(["item_id", "vote", "campaign_id"])
    counted = pd.concat([alone, group.loc[old, ["item_id", "vote"]], one[["item_id", "vote"]]], ignore_index=True)
    return counted, pd.concat([alone, group[["item_id", "vote"]]], ignore_index=True)


def _labelled(votes: pd.DataFrame, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(votes,)`` the position of each vote's item in `table`, and whether it is for that item's label."""
    at = pd.Index(table["item_id"]).get_indexer(votes["item_id"])
    labels = table["label"].to_numpy(object)[at]
    return at, votes["vote"].to_numpy(object) == labels
