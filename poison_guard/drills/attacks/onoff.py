"""Attacks *on-off* and *whitewash*: a good name that is spent, and a bad one that is left behind.

On-off: accounts answer well for a while, then strike: everything they say is wrong. Some of what they said becomes
known later. Whitewash: a group leaves each account after some answers and goes on with a new one. Benign twins: the
same accounts answering well to the end; guests who come without an account, so that each visit looks new.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from poison_guard.drills.attacks.answering import DAYS, Items, births, draw_items, honest_rows, rows_of, sealed, told
from poison_guard.drills.world import Origin, World
from poison_guard.drills.worlds.people import daily_times
from poison_guard.errors import UsageError

__all__ = ["make_onoff", "make_onoff_twin", "make_whitewash", "make_whitewash_twin"]


def make_onoff(
    seed: int,
    *,
    after: int = 200,
    strikes: int = 40,
    sleepers: int = 10,
    control_aware: bool = False,
    outcome_share: float = 0.5,
    outcome_hours: float = 12.0,
    honest: int = 200,
    accuracy: float = 0.95,
    answers_per_item: int = 5,
    items: int = 2000,
    classes: int = 4,
    controls: float = 0.1,
    benign: bool = False,
) -> World:
    """Return the world drawn from `seed`: each of `sleepers` accounts answers `after` items well, then `strikes` wrong.

    Their answers are spread evenly over thirty days, each strike begins when it comes, and no two accounts agree on
    what to say. Controls are struck too, unless `control_aware`. An `outcome_share` of all records is told right or
    wrong `outcome_hours` after it was made. Everybody has a history. `UsageError` where an account has more to answer
    than there are `items`.
    """
    if after + strikes > items:
        raise UsageError(f"after + strikes must be at most items, got {after} + {strikes} and {items}")
    given: dict[str, Any] = {key: value for key, value in locals().items() if key != "seed"}
    rng = np.random.default_rng([seed, 42])
    facts = draw_items(rng, items, classes, controls)
    skill = rng.beta(100 * accuracy, 100 * (1 - accuracy), honest)
    crowd = honest_rows(rng, facts, skill, answers_per_item)
    theirs = _careers(rng, facts, sleepers, after + strikes, accuracy)
    if not benign:
        turned = theirs["place"].to_numpy() >= after
        if control_aware:
            turned &= ~facts.control[theirs["item"]]
        wrong = told(rng, facts, theirs["item"].to_numpy(), 0.0)
        theirs["said"] = np.where(turned, wrong, theirs["said"])
        theirs["origin"] = np.where(turned, str(Origin.POISON), str(Origin.CAMOUFLAGE))
    rows = pd.concat([crowd, theirs.assign(who=theirs["who"] + honest)], ignore_index=True)
    rows["born"] = births(rng, rows, 1.0)
    given["outcomes"] = {"share": outcome_share, "hours": outcome_hours}
    return sealed(rows, facts, name="onoff", seed=seed, params=given)


def make_onoff_twin(seed: int, **params: Any) -> World:
    """Return the benign twin of `make_onoff`: the same accounts, who never strike."""
    return make_onoff(seed, **params, benign=True)


def _careers(rng: np.random.Generator, facts: Items, people: int, each: int, accuracy: float) -> pd.DataFrame:
    """Honest answers of busy people, `each` a person in order of time; ``place`` counts a person's answers from 0."""
    who = np.repeat(np.arange(people), each)
    item = np.concatenate([rng.choice(len(facts.ids), each, replace=False) for _ in range(people)])
    at = np.sort(daily_times(rng, people * each, days=DAYS).reshape(people, each), axis=1).ravel()
    rows = rows_of(who, item, told(rng, facts, item, accuracy), at, str(Origin.HONEST))
    return rows.assign(place=np.tile(np.arange(each), people))


def make_whitewash(
    seed: int,
    *,
    every: int = 20,
    share: float = 0.5,
    control_aware: bool = True,
    honest: int = 300,
    new: float = 0.2,
    accuracy: float = 0.8,
    answers_per_item: int = 5,
    items: int = 1500,
    classes: int = 4,
    targeted: float = 0.1,
    controls: float = 0.1,
    benign: bool = False,
) -> World:
    """Return the world drawn from `seed`: a group pushes one wrong answer on each targeted item, slowly over 30 days.

    It gives a `share` of the answers on a `targeted` share of the items, and leaves each account after `every` answers,
    every fourth of them to a control: right where `control_aware`. Each account was made minutes before its first
    answer. Of the `honest` people, a share `new` has no history. With `benign`, the accounts are guests who answer
    honestly. `UsageError` for a share outside [0, 0.9] or fewer than two answers an account.
    """
    if not 0 <= share <= 0.9 or every < 2:
        raise UsageError(f"share must be in [0, 0.9] and every at least 2, got {share} and {every}")
    given: dict[str, Any] = {key: value for key, value in locals().items() if key != "seed"}
    rng = np.random.default_rng([seed, 43])
    facts = draw_items(rng, items, classes, controls)
    skill = rng.beta(10 * accuracy, 10 * (1 - accuracy), honest)
    crowd = honest_rows(rng, facts, skill, answers_per_item)
    crowd["born"] = births(rng, crowd, 1 - new)
    aim = facts.some(rng, targeted)
    theirs = _throwaways(rng, facts, np.repeat(aim, _pushes(rng, len(aim), answers_per_item, share)), every)
    if benign:
        theirs["said"] = told(rng, facts, theirs["item"].to_numpy(), accuracy)
    else:
        pushed = ((facts.truth + rng.integers(1, classes, items)) % classes)[theirs["item"]]
        control = facts.control[theirs["item"]]
        known = facts.truth[theirs["item"]] if control_aware else pushed
        theirs["said"] = np.where(control, known, pushed)
        theirs["origin"] = np.where(control, str(Origin.CAMOUFLAGE), str(Origin.POISON))
    rows = pd.concat([crowd, theirs.assign(who=theirs["who"] + honest)], ignore_index=True)
    return sealed(rows, facts, name="whitewash", seed=seed, params=given | {"targets": facts.ids[aim].tolist()})


def make_whitewash_twin(seed: int, **params: Any) -> World:
    """Return the benign twin of `make_whitewash`: guests, each visit under a new account, answering honestly."""
    return make_whitewash(seed, **params, benign=True)


def _pushes(rng: np.random.Generator, n: int, honest_each: int, share: float) -> np.ndarray:
    """How many answers the group gives to each of `n` targets, ``(n,)``."""
    return np.floor(honest_each * share / (1 - share) + rng.random(n)).astype(int)


def _throwaways(rng: np.random.Generator, facts: Items, pushes: np.ndarray, every: int) -> pd.DataFrame:
    """Answers in order of time, dealt out to accounts of `every` answers; every fourth is about a control."""
    work = rng.permutation(pushes)
    slots = len(work) + len(work) // 3
    item = np.full(slots, -1)
    item[np.arange(slots) % 4 != 3] = work[: int((np.arange(slots) % 4 != 3).sum())]
    gaps = item < 0
    item[gaps] = rng.choice(np.flatnonzero(facts.control), int(gaps.sum()))
    at = np.sort(daily_times(rng, slots, days=DAYS))
    who = np.arange(slots) // every
    rows = rows_of(who, item, np.zeros(slots, int), at, str(Origin.HONEST))
    first = rows.groupby("who")["at"].transform("min").to_numpy()
    return rows.assign(
        born=first - (rng.uniform(1, 30, who.max() + 1 if slots else 0)[who] * 60e6).astype("timedelta64[us]")
    )
