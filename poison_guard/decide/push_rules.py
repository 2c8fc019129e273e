"""Rules against pushed labels: each lowers the chance of labels that a group could have made, and never raises one."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from poison_guard.signals.sources.ballots import Ballots
    from poison_guard.signals.sources.certainty import Certainty

__all__ = ["lowered_chances"]

_COVERED_SHARE = 0.5  # share of the items with an established voter, from which on newcomers alone adopt nothing
_MANY = 3  # newcomers who must agree before they are at odds with more than one established source
_CAP = 1.0  # of the weight of established sources: what newcomers weigh together where the two disagree
_NO_LESS = 1e-3  # by which a chance is lowered without a doubt
_LEAST, _LEAST_PUSHED = 0.9, 0.98  # chances that doubted labels need by themselves
_PUSHES = 0.02  # share of pushed items among those of one size, from which labels of that size are doubted
_SPLIT_SHARE = (
    0.3  # share of the established sources' votes against the label, two at least, that newcomers cannot outvote
)


def lowered_chances(
    ballots: Ballots, sure: Certainty, alone: np.ndarray, conflicts: Collection[str], recent: pd.DataFrame | None
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return ``(items,)`` what each rule leaves of the chance `alone` of each label, and where that is too little.

    Too little is under .9 of a label that a rule doubts, and under .98 where pushes are likely: no mean makes it up.

    - *conflict*: newcomers agree on another answer than established sources: they weigh together no more than these.
    - *unproven*: newcomers alone voted for the label, where established sources voted on most items: nothing is left.
    - *contested*: two or more held votes are against the label, or a campaign gave it: what established sources alone
      say is left.
    - *split*: two or more established sources give one other answer: newcomers together weigh no more than they do.
    - *pushed*: what is left if the votes come from a mixture of honest and pushed items (`push_mixture`).

    References: Resnick & Sami (2007), "The Influence Limiter" (*unproven*, *contested* and *split*).
    """
    votes, candidates = ballots.votes, sure.candidates
    if not len(votes.items):
        return {}, {}
    counts = ~ballots.held
    old = ballots.established
    label = candidates.of_vote == sure.best[votes.item]
    n_old = ballots.by_item(counts & old & label)
    voted = ballots.asked & (ballots.by_item(counts) > 0)
    covered = (ballots.by_item(counts & old) > 0)[voted].sum() >= _COVERED_SHARE * max(voted.sum(), 1)
    member = _members_with_a_vote(ballots, candidates.of_vote, label)
    sides = old & (counts | member)
    others = np.bincount(candidates.of_vote, sides, minlength=len(candidates.item))
    others[sure.best] = 0
    most = np.maximum.reduceat(others, candidates.start)
    split = (most >= 2) & (most >= _SPLIT_SHARE * ballots.by_item(sides))
    contested = (ballots.by_item(~counts & ~label) >= 2) | (ballots.by_item((ballots.group >= 0) & label) >= 2)
    new = np.bincount(candidates.of_vote, counts & ~old, minlength=len(candidates.item))
    many = np.maximum.reduceat(new, candidates.start) >= _MANY
    at_odds = votes.items.isin(list(conflicts)) & (many | (ballots.by_item(counts & old) <= 1))
    capped = np.minimum(alone, _chance_by(ballots, sure, sides, counts & ~old))
    factor, suspect = _unpushed(ballots, sure, recent, member)
    established = np.minimum(alone, _chance_by(ballots, sure, counts & old))
    left = {
        "conflict": np.where(at_odds, capped, alone),
        "contested": np.where(contested, established, alone),
        "unproven": np.where((n_old == 0) & bool(covered), 0.0, alone),
        "split": np.where(split, capped, alone),
    }
    short = {name: (low < alone - _NO_LESS) & (low < _LEAST) for name, low in left.items()}
    left["pushed"] = alone * factor
    return left, short | {"pushed": suspect & (left["pushed"] < _LEAST_PUSHED)}


def _members_with_a_vote(ballots: Ballots, candidate: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return ``(n,)`` which votes of campaigns' established members still count as a side of their item.

    One an answer where they are more than the established sources left that gave the label: no honest minority is.
    Else all: nothing but the finding itself says which of the two sides is the group.
    """
    held = (ballots.group >= 0) & ballots.established
    rest = ballots.by_item(~ballots.held & ballots.established & label)
    more = (ballots.by_item(held) > rest)[ballots.votes.item]
    member = np.flatnonzero(held & more)
    pairs = candidate[member] * (int(ballots.group.max(initial=0)) + 1) + ballots.group[member]
    counts = held & ~more
    counts[member[np.unique(pairs, return_index=True)[1]]] = True
    return counts


def _chance_by(ballots: Ballots, sure: Certainty, some: np.ndarray, capped: np.ndarray | None = None) -> np.ndarray:
    """Return ``(items,)`` the chance of each label by `some` of the votes ``(n,)``, and by `capped` ones at most half.

    All `capped` votes of an item together weigh at most half of what `some` weigh there.
    """
    from poison_guard.signals.sources.aggregators import OPEN_ANSWERS

    votes, candidates = ballots.votes, sure.candidates
    gain = votes.share * sure.gain[votes.source]
    weight = np.where(some, gain, 0.0)
    if capped is not None:
        most, others = _CAP * ballots.by_item(weight), ballots.by_item(np.where(capped, gain, 0.0))
        weight += np.where(capped, gain, 0.0) * np.minimum(1.0, most / np.maximum(others, 1e-9))[votes.item]
    excess = np.maximum(ballots.by_item(some if capped is None else some | capped) - 1, 0)
    power = 1 / (1 + excess * sure.correlation)
    score = np.bincount(candidates.of_vote, weight, minlength=len(candidates.item)) * power[candidates.item]
    top, ways = np.maximum.reduceat(score, candidates.start), min(max(len(votes.answers), 2), OPEN_ANSWERS)
    mass = np.exp(score - top[candidates.item])
    unseen = np.maximum(ways - np.diff(np.r_[candidates.start, len(score)]), 0)
    return mass[sure.best] / (np.add.reduceat(mass, candidates.start) + unseen * np.exp(-top))


def _unpushed(
    ballots: Ballots, sure: Certainty, recent: pd.DataFrame | None, member: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(items,)`` the factor that a possible push leaves of each label's chance, and whether to doubt it.

    Pushes are learned from all votes, held and `recent` ones too; of held ones, `member` ``(n,)`` alone speak for or
    against a label: the push of the others is known.
    """
    from poison_guard.signals.sources.push_mixture import fit_push_mixture, push_discount

    votes, candidates, c = ballots.votes, sure.candidates, len(sure.candidates.item)
    counted = np.bincount(candidates.of_vote, ~ballots.held | member, minlength=c)
    every = np.bincount(candidates.of_vote, ~ballots.held | (ballots.group >= 0), minlength=c)
    free = ballots.control < 0
    item, n = _dense(candidates.item, every, free[candidates.item])
    around = pd.DataFrame({"item_id": [], "vote": []}) if recent is None else recent
    around = around[~around["item_id"].isin(votes.items)]
    also = around.groupby(["item_id", "vote"]).size()
    more, m = pd.factorize(also.index.get_level_values(0))[0], also.to_numpy(float)
    first = int(item.max(initial=-1)) + 1
    mixture = fit_push_mixture(np.r_[item, more + first], np.r_[n, m], len(votes.answers))
    part = free[candidates.item] & (counted > 0)
    item, n = _dense(candidates.item, counted, part)
    at = np.full(c, -1)
    at[part] = np.arange(part.sum())
    factor, suspect, some = np.ones(len(free)), np.zeros(len(free), bool), np.zeros(len(free), bool)
    some[candidates.item[part]] = True
    factor[some], share = push_discount(item, n, at[sure.best[some]], mixture)
    suspect[some] = (share >= _PUSHES) | (factor[some] < 1 - _NO_LESS)
    return factor, suspect


def _dense(item: np.ndarray, n: np.ndarray, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the items of some candidates, counted 0, 1, … in their order, and their votes."""
    part = part & (n > 0)
    return np.unique(item[part], return_inverse=True)[1], n[part]
