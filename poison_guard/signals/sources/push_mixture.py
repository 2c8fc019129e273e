"""Posterior of each label under a mixture of honest items and items pushed by a group.

Independent people scatter when they err; a group that agrees does not. So each item's votes are either all honest, or a
group gave a share of them for one answer of its choice. How many items are pushed, how strongly, and how often honest
people are right, is learned from all items at once: in a feed without a group nothing changes, in one with a group even
a large majority no longer settles an item alone. It only ever lowers a label's probability.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["LabelChances", "PushMixture", "fit_push_mixture", "label_posteriors", "push_discount"]


_SKILL_GRID = np.array(
    [0.2, 0.35, 0.5, 0.7, 0.85, 0.95]
)  # grid of how far above chance honest people are right of an item
_SHARE_GRID = np.array([0.15, 0.3, 0.45, 0.6, 0.75, 0.9])  # grid of the group's share of a pushed item's votes
_SIZE_EDGES = np.array(
    [3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 10.5, 13.5, 20.5, 35.5, 60.5, 120.5]
)  # votes that part items: a group adds votes
_TOP_ANSWERS = 4  # answers of an item that may be true or pushed: its most given ones
_OPEN_SET_ANSWERS = 20  # answers that an open set counts as
_MAX_ROUNDS = 100
_TOLERANCE = 1e-4
_CLEAN_PRIOR_SHARE = 0.25  # of the items of each size are believed unpushed beforehand, on top of ...
_CLEAN_PRIOR_ITEMS = 20.0
_POOLED_ITEMS = 20.0  # items' worth of what all sizes show that each size starts with
_MIN_UNPUSHED = 0.5  # chance of a label without a push, below which the votes do not speak for it at all
_MAX_VOTES = 200  # votes of an item that count; more are scaled down


@dataclass(frozen=True, slots=True)
class PushMixture:
    """What was learned of a feed's votes, by how many an item has (`_SIZE_EDGES`)."""

    pushed_share: np.ndarray
    """``(9,)`` share of the items that are pushed."""
    skill: np.ndarray
    """``(9, 6)`` weights of `_SKILL_GRID`."""
    group_share: np.ndarray
    """``(6,)`` weights of `_SHARE_GRID`."""
    answers: int
    """Answers an item can have."""


@dataclass(frozen=True, slots=True)
class _VotePatterns:
    """Distinct patterns of votes: ``(u, _TOP + 1)`` top counts and the rest, how often each is, its size; an item's."""

    counts: np.ndarray
    times: np.ndarray
    size: np.ndarray
    of: np.ndarray
    rank: np.ndarray
    """``(c,)`` place of each answer among its item's, the most given first; ties in the order given."""


def _patterns(item: np.ndarray, n: np.ndarray) -> _VotePatterns:
    """Return the patterns of items 0, 1, …: `n` votes ``(c,)`` for each answer given, sorted by `item` ``(c,)``."""
    order = np.lexsort((-n, item))
    start = np.searchsorted(item, np.arange(int(item.max(initial=-1)) + 1))
    rank = np.empty(len(item), np.int64)
    rank[order] = np.arange(len(item)) - start[item]
    top = np.zeros((len(start), _TOP_ANSWERS + 1))
    np.add.at(top, (item, np.minimum(rank, _TOP_ANSWERS)), n)
    total = top.sum(1, keepdims=True)
    top = np.round(top * np.minimum(1.0, _MAX_VOTES / np.maximum(total, 1))).astype(np.int64)
    word = top @ (_MAX_VOTES + 2) ** np.arange(_TOP_ANSWERS + 1)
    _, first, of, times = np.unique(word, return_index=True, return_inverse=True, return_counts=True)
    counts = top[first].astype(float)
    return _VotePatterns(counts, times, np.searchsorted(_SIZE_EDGES, counts.sum(1)), of.ravel(), rank)


def _likelihoods(patterns: _VotePatterns, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the chance of each pattern where its j-th answer is true, relative to the likeliest.

    ``(u, j, skills)`` where nobody pushes, and ``(u, j, skills, shares)`` where any other answer is pushed.
    """
    n = patterns.counts[:, :_TOP_ANSWERS]
    total = patterns.counts.sum(1)
    right = 1 / k + (1 - 1 / k) * _SKILL_GRID
    wrong = (1 - right) / (k - 1)
    honest = n[..., None] * np.log(right) + (total[:, None] - n)[..., None] * np.log(wrong)
    slip = wrong[:, None] * (1 - _SHARE_GRID)
    rest = total[:, None, None] - n[:, :, None] - n[:, None, :]
    pushed = (
        n[:, :, None, None, None] * np.log(right[:, None] * (1 - _SHARE_GRID))
        + n[:, None, :, None, None] * np.log(_SHARE_GRID + slip)
        + rest[..., None, None] * np.log(slip)
        - np.log(k - 1)
    )
    pushed[:, np.arange(_TOP_ANSWERS), np.arange(_TOP_ANSWERS)] = -np.inf
    pushed = np.where(n[:, None, :, None, None] > 0, pushed, -np.inf)
    best = np.maximum(honest.max((1, 2)), pushed.max((1, 2, 3, 4)))
    given = (n > 0)[..., None]
    return (
        np.exp(honest - best[:, None, None]) * given,
        np.exp(pushed - best[:, None, None, None, None]).sum(2) * given[..., None],
    )


def push_discount(
    item: np.ndarray, n: np.ndarray, label: np.ndarray, mixture: PushMixture
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(items,)`` the factor in [0, 1] by which a possible push lowers the chance of each label.

    And the share of pushed items among those with as many votes.

    `n` ``(c,)`` votes for each answer given, sorted by `item` ``(c,)``; `label` ``(items,)`` is the position among them
    of each item's label, -1 for an answer that nobody gave: 1 there, and where no push is likely. A label that is not
    the most given one is no more certain than that nobody pushed its item at all.
    """
    told = label_posteriors(item, n, mixture)
    loss = np.minimum(told.chance / np.maximum(told.honest, 1e-12), 1.0)
    at = np.maximum(label, 0)
    if not len(loss):
        return np.ones(len(label)), np.zeros(len(label))
    against = told.honest[at] < _MIN_UNPUSHED
    factor = np.where(against, np.minimum(1.0 - told.pushed, np.maximum(loss[at], told.chance[at])), loss[at])
    return np.where(label < 0, 1.0, factor), told.share


def fit_push_mixture(item: np.ndarray, n: np.ndarray, answers: int) -> PushMixture:
    """Return what `n` votes ``(c,)`` for each answer, sorted by `item` ``(c,)``, say of pushed items.

    By expectation maximisation over a fixed grid.

    Each size of item has a skill of its own, drawn to that of all. With two answers a push looks like a hard item, and
    only by the other items can it be told: there the skill is that of the commonest size.

    References: Dempster, Laird & Rubin (1977), "Maximum Likelihood from Incomplete Data via the EM Algorithm"; Laird
    (1978), "Nonparametric Maximum Likelihood Estimation of a Mixing Distribution" (weights on a grid).
    """
    patterns = _patterns(item, n)
    k = int(np.clip(answers, 2, _OPEN_SET_ANSWERS))
    sizes = len(_SIZE_EDGES) + 1
    flat = np.full((sizes, len(_SKILL_GRID)), 1 / len(_SKILL_GRID))
    mixture = PushMixture(np.full(sizes, 0.05), flat, np.full(len(_SHARE_GRID), 1 / len(_SHARE_GRID)), k)
    if not len(patterns.counts):
        return PushMixture(np.zeros(sizes), flat, mixture.group_share, k)
    honest, pushed = (part.sum(1) for part in _likelihoods(patterns, k))
    of_size = np.equal.outer(np.arange(sizes), patterns.size) * patterns.times
    items = of_size.sum(1)
    for _ in range(_MAX_ROUNDS):
        at, skill = mixture.pushed_share[patterns.size], mixture.skill[patterns.size]
        no = (1 - at)[:, None] * honest * skill
        yes = at[:, None, None] * pushed * skill[..., None] * mixture.group_share
        whole = np.maximum(no.sum(1) + yes.sum((1, 2)), 1e-300)
        no, yes = no / whole[:, None], yes / whole[:, None, None]
        by_skill = of_size @ (no + yes.sum(2))
        whole_feed = by_skill.sum(0) if k > 2 else by_skill[items.argmax()]
        by_skill = (by_skill if k > 2 else 0) + _POOLED_ITEMS * (whole_feed + 1) / (whole_feed.sum() + len(_SKILL_GRID))
        by_skill = np.broadcast_to(by_skill, flat.shape)
        by_share = np.einsum("u,urs->s", patterns.times.astype(float), yes) + 1
        share = (of_size @ yes.sum((1, 2))) / ((1 + _CLEAN_PRIOR_SHARE) * items + _CLEAN_PRIOR_ITEMS)
        after = PushMixture(share, by_skill / by_skill.sum(1, keepdims=True), by_share / by_share.sum(), k)
        moved, mixture = np.abs(after.pushed_share - mixture.pushed_share).max(), after
        if moved < _TOLERANCE:
            break
    return mixture


@dataclass(frozen=True, slots=True)
class LabelChances:
    """Chance that each answer is true: ``chance`` under the mixture, ``honest`` if nobody pushed anything, ``(c,)``.

    Only an item's most given answers have one; 0 for the others. ``pushed``: chance that an item was, ``(items,)``, and
    ``share``: how many of those with as many votes were.
    """

    chance: np.ndarray
    honest: np.ndarray
    pushed: np.ndarray
    share: np.ndarray


def label_posteriors(item: np.ndarray, n: np.ndarray, mixture: PushMixture) -> LabelChances:
    """Return the chances of all answers given, `n` ``(c,)`` votes each, sorted by `item` ``(c,)``."""
    patterns = _patterns(item, n)
    if not len(patterns.counts):
        return LabelChances(*[np.zeros(0)] * 4)
    honest, pushed = _likelihoods(patterns, mixture.answers)
    at, skill = mixture.pushed_share[patterns.size], mixture.skill[patterns.size]
    clean = np.einsum("ujr,ur->uj", honest, skill)
    yes = at[:, None] * np.einsum("ujrs,ur,s->uj", pushed, skill, mixture.group_share)
    each = (1 - at)[:, None] * clean + yes
    chance, alone = (part / np.maximum(part.sum(1, keepdims=True), 1e-300) for part in (each, clean))
    row, rank = patterns.of[item], np.minimum(patterns.rank, _TOP_ANSWERS - 1)
    shown = patterns.rank < _TOP_ANSWERS
    was = yes.sum(1) / np.maximum(each.sum(1), 1e-300)
    return LabelChances(chance[row, rank] * shown, alone[row, rank] * shown, was[patterns.of], at[patterns.of])
