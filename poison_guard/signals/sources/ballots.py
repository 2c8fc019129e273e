"""All votes that bear on the labels of some items, as codes: those that count, and those held, which do not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from poison_guard.frames import among
from poison_guard.signals.votes import COLUMNS, Votes, control_codes, encode, known_answers

__all__ = ["Ballots", "cast_ballots"]


@dataclass(frozen=True, slots=True)
class Ballots:
    """Votes with what is known of who gave them; arrays are ``(n,)``, one entry a vote of `votes`."""

    votes: Votes
    """Held votes weigh 0."""
    established: np.ndarray
    """Whether the vote's source was established."""
    held: np.ndarray
    """Whether the vote is held, by evidence about its source or a campaign."""
    group: np.ndarray
    """Code of the campaign a held vote belongs to, -1 for none."""
    control: np.ndarray
    """``(items,)`` code of the known answer, -1 where none is known."""
    asked: np.ndarray
    """``(items,)`` whether the item's label is asked for; the others only show how the crowd answers."""

    def by_item(self, weight: np.ndarray) -> np.ndarray:
        """Return ``(items,)`` sums of `weight` ``(n,)``."""
        return np.bincount(self.votes.item, weight, minlength=len(self.votes.items))


def cast_ballots(
    accepted: pd.DataFrame, held: pd.DataFrame, controls: pd.DataFrame, around: pd.DataFrame | None = None
) -> Ballots:
    """Return the ballots of `accepted` and `held` votes: ``item_id, source_id, vote, established``.

    `held` may have ``campaign_id``; `controls` is ``item_id, answer``; `around` are accepted votes about other items,
    ``item_id, source_id, vote``. A vote that is both accepted and held counts as accepted.
    """
    columns = [*COLUMNS, "established"]
    parts = [accepted[columns], held[columns]] if len(held) else [accepted[columns]]
    asked = pd.concat([part["item_id"] for part in parts]).unique()
    if around is not None and len(around := around[~among(around["item_id"], asked)]):
        old = set(accepted.loc[accepted["established"].astype(bool), "source_id"])
        parts.append(around[[*COLUMNS]].assign(established=among(around["source_id"], old)))
    both = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    counts = np.ones(len(both), bool)
    counts[len(accepted) : len(accepted) + len(held)] = False
    votes = encode(both, weights=counts.astype(float), known=known_answers(controls))
    n, used = len(votes.item), votes.rows >= 0
    at = votes.rows[used]
    old = np.bincount(at, both["established"].to_numpy(bool)[used], minlength=n) > 0
    group = np.full(n, -1, np.int64)
    if "campaign_id" in held and len(held):
        codes = np.full(len(both), -1)
        codes[len(accepted) : len(accepted) + len(held)] = pd.factorize(held["campaign_id"])[0]
        group[at] = codes[used]
    out = np.bincount(at, counts[used], minlength=n) == 0
    mine = np.ones(len(votes.items), bool) if len(asked) == len(votes.items) else votes.items.isin(asked)
    return Ballots(votes, old, out, np.where(out, group, -1), control_codes(votes, controls), mine)
