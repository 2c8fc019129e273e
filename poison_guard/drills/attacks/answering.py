"""What attacks on answers have in common: items with a truth, honest people who answer them, and the sealed world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.drills.world import Origin, World, seal_world
from poison_guard.drills.worlds.people import account_births, activity, daily_times, draw_ids

__all__ = ["COLUMNS", "DAYS", "Items", "births", "draw_items", "honest_rows", "rows_of", "sealed", "told"]

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


def told(rng: np.random.Generator, items: Items, at: np.ndarray, right: np.ndarray | float) -> np.ndarray:
    """Return what people say of the items `at`, ``(n,)`` classes: the truth with chance `right`, else any other."""
    truth, k = items.truth[at], items.classes
    return np.where(rng.random(len(at)) < right, truth, (truth + rng.integers(1, k, len(at))) % k)


def rows_of(who: np.ndarray, item: np.ndarray, said: np.ndarray, at: np.ndarray, origin: Any) -> pd.DataFrame:
    """Return answers as drafted: ``who`` and ``item`` are positions, ``said`` a class, ``at`` datetime64[us]."""
    return pd.DataFrame({"who": who, "item": item, "said": said, "at": at, "origin": origin})


def honest_rows(rng: np.random.Generator, items: Items, skill: np.ndarray, each: int) -> pd.DataFrame:
    """Return `each` answers an item by different people over `DAYS` days; ``who`` indexes `skill`, their accuracy.

    Some people are busier than others.
    """
    busy = np.log(activity(rng, len(skill), 1000 * len(skill), sigma=0.5) + 1)
    order = np.log(rng.exponential(size=(len(items.ids), len(skill)))) - busy  # without replacement, by weight
    each = min(each, len(skill))
    who = np.argpartition(order, each - 1, axis=1)[:, :each].ravel()
    item = np.repeat(np.arange(len(items.ids)), each)
    said = told(rng, items, item, skill[who])
    return rows_of(who, item, said, daily_times(rng, len(item), days=DAYS), str(Origin.HONEST))


def births(rng: np.random.Generator, rows: pd.DataFrame, aged: float) -> np.ndarray:
    """Return when the account of each row was made: a share `aged` months before its first answer, others days."""
    first = rows.groupby("who")["at"].min()
    old = rng.permutation(len(first)) < round(aged * len(first))
    history = account_births(rng, first.to_numpy(), new=0) - np.timedelta64(DAYS, "D")
    days = np.clip(rng.exponential(3, len(first)), 0.01, DAYS - 1)
    born = np.where(old, history, first.to_numpy() - (days * 86_400e6).astype("timedelta64[us]"))
    return rows["who"].map(pd.Series(born, index=first.index)).to_numpy()


def sealed(rows: pd.DataFrame, items: Items, *, name: str, seed: int, params: Mapping[str, Any]) -> World:
    """Return the world of drafted answers: `rows_of` and ``born``; the first answer of a person to an item stands.

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
