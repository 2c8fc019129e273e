"""Attacks on answers by single accounts: *spam*, *on-off* and *whitewash*, and the honest answers beside them.

Spam: accounts answer at random, or always the same; twin: the same accounts answer as well as everybody else. On-off:
accounts answer well for a while, then everything they say is wrong; some of it becomes known later. Whitewash: a group
leaves each account after some answers and goes on with a new one. Twins: the same accounts answer well to the end;
guests who come without an account, so that each visit looks new.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from poison_guard.drills.world import Origin, World, seal_world
from poison_guard.drills.worlds.draws import account_births, activity, daily_times, draw_ids
from poison_guard.errors import UsageError

__all__ = [
    "COLUMNS",
    "DAYS",
    "Items",
    "answer_rows",
    "draw_answers",
    "draw_births",
    "draw_items",
    "honest_rows",
    "make_onoff",
    "make_onoff_twin",
    "make_spam",
    "make_spam_twin",
    "make_whitewash",
    "make_whitewash_twin",
    "seal_answers",
]


COLUMNS = {
    "record_id": "answer_id",
    "source_id": "user_id",
    "item_id": "word_id",
    "answer": "answer",
    "observed_at": "answered_at",
    "source_since": "account_created_at",
}
DAYS = 30
"""Days a world of answers lasts."""


@dataclass(frozen=True, slots=True)
class Items:
    """Items with one true class each; all arrays are ``(items,)``."""

    ids: np.ndarray
    truth: np.ndarray
    """Class number in [0, classes)."""
    control: np.ndarray
    """Whether the answer is known before."""
    classes: int

    def some(self, rng: np.random.Generator, share: float) -> np.ndarray:
        """Return the positions of a random `share` of the items that are no control, in order."""
        return np.flatnonzero((rng.random(len(self.ids)) < share) & ~self.control)


def draw_items(rng: np.random.Generator, items: int, classes: int, controls: float) -> Items:
    """Return `items` items of evenly many classes, a share `controls` of them with known answers."""
    truth = rng.integers(0, classes, items)
    return Items(draw_ids(rng, items, "w-"), truth, rng.random(items) < controls, classes)


def draw_answers(rng: np.random.Generator, items: Items, at: np.ndarray, right: np.ndarray | float) -> np.ndarray:
    """Return what people say of the items `at`, ``(n,)`` classes: the truth with chance `right`, else any other."""
    truth, k = items.truth[at], items.classes
    return np.where(rng.random(len(at)) < right, truth, (truth + rng.integers(1, k, len(at))) % k)


def answer_rows(who: np.ndarray, item: np.ndarray, answer: np.ndarray, at: np.ndarray, origin: Any) -> pd.DataFrame:
    """Return answers as drafted: ``who`` and ``item`` are positions, ``said`` a class, ``at`` datetime64[us]."""
    return pd.DataFrame({"who": who, "item": item, "said": answer, "at": at, "origin": origin})


def honest_rows(rng: np.random.Generator, items: Items, skill: np.ndarray, each: int) -> pd.DataFrame:
    """Return `each` answers an item by different people over `DAYS` days; ``who`` indexes `skill`, their accuracy.

    Some people are busier than others.
    """
    busy = np.log(activity(rng, len(skill), 1000 * len(skill), sigma=0.5) + 1)
    order = np.log(rng.exponential(size=(len(items.ids), len(skill)))) - busy  # without replacement, by weight
    each = min(each, len(skill))
    who = np.argpartition(order, each - 1, axis=1)[:, :each].ravel()
    item = np.repeat(np.arange(len(items.ids)), each)
    answer = draw_answers(rng, items, item, skill[who])
    return answer_rows(who, item, answer, daily_times(rng, len(item), days=DAYS), str(Origin.HONEST))


def draw_births(rng: np.random.Generator, rows: pd.DataFrame, aged: float) -> np.ndarray:
    """Return when the account of each row was made: a share `aged` months before its first answer, others days."""
    first = rows.groupby("who")["at"].min()
    old = rng.permutation(len(first)) < round(aged * len(first))
    history = account_births(rng, first.to_numpy(), new=0) - np.timedelta64(DAYS, "D")
    days = np.clip(rng.exponential(3, len(first)), 0.01, DAYS - 1)
    born = np.where(old, history, first.to_numpy() - (days * 86_400e6).astype("timedelta64[us]"))
    return rows["who"].map(pd.Series(born, index=first.index)).to_numpy()


def seal_answers(rows: pd.DataFrame, items: Items, *, name: str, seed: int, params: Mapping[str, Any]) -> World:
    """Return the world of drafted answers: `answer_rows` and ``born``; the first answer of a person to an item stands.

    A source is honest when all its answers are; ids tell nothing of who holds them, and an attacker's are its twin's.
    """
    rows = rows.sort_values("at", kind="stable").drop_duplicates(["who", "item"], ignore_index=True)
    who, item = rows["who"].to_numpy(int), rows["item"].to_numpy(int)
    people = draw_ids(np.random.default_rng([seed, 46]), int(who.max()) + 1, "u-")
    drafted = pd.DataFrame(
        {
            COLUMNS["source_id"]: pd.Series(people[who], dtype="str"),
            COLUMNS["item_id"]: pd.Series(items.ids[item], dtype="str"),
            COLUMNS["answer"]: pd.Series(rows["said"].to_numpy(int).astype(str), dtype="str"),
            COLUMNS["observed_at"]: rows["at"].astype("datetime64[us]"),
            COLUMNS["source_since"]: rows["born"].astype("datetime64[us]"),
            "origin": rows["origin"].astype("str"),
            "honest_source": rows["origin"].eq(str(Origin.HONEST)).groupby(rows["who"]).transform("all"),
            "truth": items.truth[item].astype(str),
        }
    )
    facts = pd.DataFrame({"item_id": items.ids, "label": items.truth.astype(str), "control": items.control})
    facts = facts.astype({"item_id": "str", "label": "str"})
    known = facts.loc[facts["control"], ["item_id", "label"]].set_axis(["item_id", "answer"], axis=1)
    return seal_world(
        drafted,
        name=name,
        seed=seed,
        columns=COLUMNS,
        prefix="a",
        trusted=drafted.head(0).drop(columns=["origin", "honest_source", "truth"]),
        item_truth=facts,
        controls=known.reset_index(drop=True),
        params=params,
    )


def make_spam(
    seed: int,
    *,
    share: float = 0.3,
    style: Literal["random", "first"] = "random",
    aged: float = 0.2,
    honest: int = 300,
    new: float = 0.2,
    accuracy: float = 0.8,
    answers_per_item: int = 5,
    items: int = 1500,
    classes: int = 4,
    controls: float = 0.1,
    benign: bool = False,
) -> World:
    """Return the world drawn from `seed`: thirty days of answers, a `share` of them by spammers, controls too.

    Spammers are as busy as the `honest` people, and a share `aged` of them has a history; of the honest ones all but a
    share `new`. `style`: any class, or each spammer always the same. What they get right by chance counts as
    camouflage. With `benign` they answer as honest people do. `UsageError` for a share outside [0, 0.9].
    """
    if not 0 <= share <= 0.9 or style not in ("random", "first"):
        raise UsageError(f"share must be in [0, 0.9] and style random or first, got {share} and {style!r}")
    params: dict[str, Any] = {key: value for key, value in locals().items() if key != "seed"}
    rng = np.random.default_rng([seed, 41])
    facts = draw_items(rng, items, classes, controls)
    spammers = round(honest * share / (1 - share))
    skill = rng.beta(10 * accuracy, 10 * (1 - accuracy), honest + spammers)
    crowd = honest_rows(rng, facts, skill[:honest], answers_per_item)
    crowd["born"] = draw_births(rng, crowd, 1 - new)
    parts = [crowd]
    if spammers:
        theirs = max(1, round(answers_per_item * share / (1 - share)))
        mine = honest_rows(rng, facts, skill[honest:], theirs)
        if not benign:
            habit = rng.integers(0, classes, spammers)[mine["who"]]
            mine["said"] = habit if style == "first" else draw_answers(rng, facts, mine["item"].to_numpy(), 1 / classes)
            right = mine["said"].to_numpy() == facts.truth[mine["item"]]
            mine["origin"] = np.where(right, str(Origin.CAMOUFLAGE), str(Origin.POISON))
        mine["born"] = draw_births(rng, mine, aged)
        parts.append(mine.assign(who=mine["who"] + honest))
    params["targets"] = facts.ids[~facts.control].tolist()
    return seal_answers(pd.concat(parts, ignore_index=True), facts, name="spam", seed=seed, params=params)


def make_spam_twin(seed: int, **params: Any) -> World:
    """Return the benign twin of `make_spam`: the same accounts, answering honestly."""
    return make_spam(seed, **params, benign=True)


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
    params: dict[str, Any] = {key: value for key, value in locals().items() if key != "seed"}
    rng = np.random.default_rng([seed, 42])
    facts = draw_items(rng, items, classes, controls)
    skill = rng.beta(100 * accuracy, 100 * (1 - accuracy), honest)
    crowd = honest_rows(rng, facts, skill, answers_per_item)
    theirs = _careers(rng, facts, sleepers, after + strikes, accuracy)
    if not benign:
        turned = theirs["place"].to_numpy() >= after
        if control_aware:
            turned &= ~facts.control[theirs["item"]]
        wrong = draw_answers(rng, facts, theirs["item"].to_numpy(), 0.0)
        theirs["said"] = np.where(turned, wrong, theirs["said"])
        theirs["origin"] = np.where(turned, str(Origin.POISON), str(Origin.CAMOUFLAGE))
    rows = pd.concat([crowd, theirs.assign(who=theirs["who"] + honest)], ignore_index=True)
    rows["born"] = draw_births(rng, rows, 1.0)
    params["outcomes"] = {"share": outcome_share, "hours": outcome_hours}
    return seal_answers(rows, facts, name="onoff", seed=seed, params=params)


def make_onoff_twin(seed: int, **params: Any) -> World:
    """Return the benign twin of `make_onoff`: the same accounts, who never strike."""
    return make_onoff(seed, **params, benign=True)


def _careers(rng: np.random.Generator, facts: Items, people: int, each: int, accuracy: float) -> pd.DataFrame:
    """Honest answers of busy people, `each` a person in order of time; ``place`` counts a person's answers from 0."""
    who = np.repeat(np.arange(people), each)
    item = np.concatenate([rng.choice(len(facts.ids), each, replace=False) for _ in range(people)])
    at = np.sort(daily_times(rng, people * each, days=DAYS).reshape(people, each), axis=1).ravel()
    rows = answer_rows(who, item, draw_answers(rng, facts, item, accuracy), at, str(Origin.HONEST))
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
    params: dict[str, Any] = {key: value for key, value in locals().items() if key != "seed"}
    rng = np.random.default_rng([seed, 43])
    facts = draw_items(rng, items, classes, controls)
    skill = rng.beta(10 * accuracy, 10 * (1 - accuracy), honest)
    crowd = honest_rows(rng, facts, skill, answers_per_item)
    crowd["born"] = draw_births(rng, crowd, 1 - new)
    aim = facts.some(rng, targeted)
    theirs = _throwaways(rng, facts, np.repeat(aim, _pushes(rng, len(aim), answers_per_item, share)), every)
    if benign:
        theirs["said"] = draw_answers(rng, facts, theirs["item"].to_numpy(), accuracy)
    else:
        pushed = ((facts.truth + rng.integers(1, classes, items)) % classes)[theirs["item"]]
        control = facts.control[theirs["item"]]
        known = facts.truth[theirs["item"]] if control_aware else pushed
        theirs["said"] = np.where(control, known, pushed)
        theirs["origin"] = np.where(control, str(Origin.CAMOUFLAGE), str(Origin.POISON))
    rows = pd.concat([crowd, theirs.assign(who=theirs["who"] + honest)], ignore_index=True)
    return seal_answers(rows, facts, name="whitewash", seed=seed, params=params | {"targets": facts.ids[aim].tolist()})


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
    rows = answer_rows(who, item, np.zeros(slots, int), at, str(Origin.HONEST))
    first = rows.groupby("who")["at"].transform("min").to_numpy()
    return rows.assign(
        born=first - (rng.uniform(1, 30, who.max() + 1 if slots else 0)[who] * 60e6).astype("timedelta64[us]")
    )
