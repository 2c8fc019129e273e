"""Attack *coordinated*: a group that agrees on one wrong answer for each item it targets, in a crowd of honest people.

Honest people are right about four times in five and most have a history; the group may know the controls, come at once
or slowly, with few or many accounts, new or aged, and hide among right answers. Benign twin: the same accounts at the
same times on the same items, answering honestly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from poison_guard.drills.world import Origin, World, seal_world
from poison_guard.drills.worlds.people import account_births, activity, daily_times, draw_ids, stamp
from poison_guard.errors import UsageError

__all__ = ["BURSTS", "COLUMNS", "make", "make_twin"]

COLUMNS = {
    "record_id": "answer_id",
    "source_id": "user_id",
    "item_id": "word_id",
    "answer": "answer",
    "observed_at": "answered_at",
    "source_since": "account_created_at",
}
SPAN_DAYS = 30
BURSTS: dict[str, tuple[int, float]] = {"1h": (1, 3600.0), "1d": (1, 86_400.0), "waves": (5, 6 * 3600.0), "30d": (0, 0)}
"""Burst to how many raids there are, each on its part of the targets, and the seconds one lasts; 0: spread out."""
_CONTROLS_EACH = 20  # controls that an account of the group answers
_CARE = 0.97  # share of their camouflage that is right
_STRING = "lol"  # what the group answers everywhere where it pushes one string


def make(
    seed: int,
    *,
    share: float = 0.6,
    sybils: int = 200,
    burst: str = "1h",
    camouflage: int = 0,
    aged: float = 0.0,
    control_aware: bool = True,
    constant: bool = False,
    honest: int = 300,
    new: float = 0.2,
    accuracy: float = 0.8,
    answers_per_item: int = 5,
    items: int = 2000,
    classes: int = 4,
    targeted: float = 0.2,
    controls: float = 0.1,
    benign: bool = False,
) -> World:
    """Return the world drawn from `seed`: thirty days of answers about `items` items of `classes` classes.

    `share` of the answers on a `targeted` share of the items is the group's, which has `sybils` accounts, `aged` of
    them with a history like honest ones; each also gives `camouflage` answers about other items, right as a rule, and
    answers controls: right where `control_aware`, else as it pushes. `burst` is one of `BURSTS`. With `constant` the
    group pushes one string on all its items. Of the `honest` people, a share `new` has no history. With `benign` the
    group answers as honest people do. `UsageError` for an unknown burst or a share that is not below 1.
    """
    given = {k: v for k, v in locals().items() if k != "seed"}
    if burst not in BURSTS or not 0 <= share < 1:
        raise UsageError(f"burst must be one of {', '.join(BURSTS)} and share in [0, 1), got {burst!r} and {share}")
    rng = np.random.default_rng([seed, 40])
    truth, known = rng.integers(0, classes, items), rng.random(items) < controls
    ids, words = draw_ids(rng, honest + sybils, "u-"), draw_ids(rng, items, "w-")
    skill = rng.beta(10 * accuracy, 10 * (1 - accuracy), honest + sybils)
    crowd = _crowd(rng, truth, skill[:honest], answers_per_item, classes)
    crowd["account"] = _born(rng, crowd, aged=1 - new)
    aim = np.flatnonzero((rng.random(items) < targeted) & ~known)
    group = _group(rng, truth, known, aim, answers_per_item, given)
    if len(group):
        group["account"] = _born(rng, group, aged=aged)
        group["who"] += honest
        if benign:
            group["said"] = _answers(rng, truth[group["item"]], skill[group["who"]], classes).astype(str)
            group["origin"] = str(Origin.HONEST)
    drafted = _draft(pd.concat([crowd, group], ignore_index=True), truth, ids, words)
    labels = pd.DataFrame({"item_id": words, "label": truth.astype(str), "control": known}).astype({"item_id": "str"})
    answers = labels.loc[known, ["item_id", "label"]].set_axis(["item_id", "answer"], axis=1).reset_index(drop=True)
    return seal_world(
        drafted.assign(honest_source=drafted["honest_source"] | benign),
        name="coordinated",
        seed=seed,
        columns=COLUMNS,
        prefix="a",
        trusted=drafted.head(0).drop(columns=["origin", "honest_source", "truth"]),
        item_truth=labels.astype({"label": "str"}),
        controls=answers,
        params=given | {"targets": words[aim].tolist()},
    )


def make_twin(seed: int, **params: Any) -> World:
    """Return the benign twin of `make`: the same accounts, times and items, answered honestly."""
    return make(seed, **params, benign=True)


def _crowd(rng: np.random.Generator, truth: np.ndarray, skill: np.ndarray, each: int, classes: int) -> pd.DataFrame:
    """Honest answers ``item, who, said, at, origin``: `each` different people an item, some of them busier."""
    busy = np.log(activity(rng, len(skill), 1000 * len(skill), sigma=0.5) + 1)
    order = busy - np.log(rng.exponential(size=(len(truth), len(skill))))  # drawn without replacement, by weight
    each = min(each, len(skill))
    who = np.argpartition(-order, each - 1, axis=1)[:, :each].ravel()
    item = np.repeat(np.arange(len(truth)), each)
    said = _answers(rng, truth[item], skill[who], classes).astype(str)
    at = daily_times(rng, len(item), days=SPAN_DAYS)
    return pd.DataFrame({"item": item, "who": who, "said": said, "at": at, "origin": str(Origin.HONEST)})


def _answers(rng: np.random.Generator, truth: np.ndarray, right: np.ndarray, classes: int) -> np.ndarray:
    """Honest answers: the truth with chance `right`, else any other."""
    return np.where(rng.random(len(truth)) < right, truth, (truth + rng.integers(1, classes, len(truth))) % classes)


def _born(rng: np.random.Generator, rows: pd.DataFrame, *, aged: float) -> np.ndarray:
    """When the account of each row was made: a share `aged` months before it came, the others days before."""
    first = rows.groupby("who")["at"].min()
    old = rng.permutation(len(first)) < round(aged * len(first))
    history = account_births(rng, first.to_numpy(), new=0) - np.timedelta64(SPAN_DAYS, "D")
    days = np.clip(rng.exponential(3, len(first)), 0.01, SPAN_DAYS - 1)
    born = np.where(old, history, first.to_numpy() - (days * 86_400e6).astype("timedelta64[us]"))
    return rows["who"].map(pd.Series(born, index=first.index)).to_numpy()


def _group(
    rng: np.random.Generator,
    truth: np.ndarray,
    known: np.ndarray,
    aim: np.ndarray,
    honest_each: int,
    given: dict[str, Any],
) -> pd.DataFrame:
    """The group's answers, as `_crowd` gives them: pushes on `aim`, and what else its accounts answer."""
    sybils, classes, share = given["sybils"], given["classes"], given["share"]
    if not share or not sybils:
        return pd.DataFrame({"item": [], "who": [], "said": [], "at": [], "origin": []}).astype({"item": int})
    wrong = (truth + rng.integers(1, classes, len(truth))) % classes
    pushed = np.full(len(truth), _STRING, object) if given["constant"] else wrong.astype(str).astype(object)
    wanted = honest_each * share / (1 - share)
    each = np.minimum(np.floor(wanted + rng.random(len(aim))).astype(int), sybils)
    hit = np.repeat(aim, each)
    who = np.concatenate([rng.choice(sybils, n, replace=False) for n in each]) if len(hit) else np.zeros(0, int)
    parts = [(hit, who, pushed[hit], _raids(rng, hit, aim, given["burst"]), Origin.POISON)]
    asked = min(_CONTROLS_EACH, int(known.sum()))
    seen = np.concatenate([rng.choice(np.flatnonzero(known), asked, replace=False) for _ in range(sybils)])
    right = rng.random(len(seen)) < (_CARE if given["control_aware"] else 1 - _CARE)
    said = np.where(right, truth[seen].astype(str), pushed[seen])
    others = np.setdiff1d(np.flatnonzero(~known), aim)
    cover = rng.choice(others, sybils * given["camouflage"])
    told = _answers(rng, truth[cover], np.full(len(cover), _CARE), classes).astype(str)
    for item, by, answer in ((seen, asked, said), (cover, given["camouflage"], told)):
        at = daily_times(rng, len(item), days=SPAN_DAYS)
        parts.append((item, np.repeat(np.arange(sybils), by), answer, at, Origin.CAMOUFLAGE))
    names = ("item", "who", "said", "at", "origin")
    rows = pd.concat([pd.DataFrame(dict(zip(names, part, strict=True))) for part in parts], ignore_index=True)
    return rows.drop_duplicates(["item", "who"], ignore_index=True)


def _raids(rng: np.random.Generator, hit: np.ndarray, aim: np.ndarray, burst: str) -> np.ndarray:
    """When each push on `hit` comes: in the raid that its item belongs to, or at any time."""
    raids, seconds = BURSTS[burst]
    if not raids:
        return daily_times(rng, len(hit), days=SPAN_DAYS)
    begin = rng.choice(np.arange(2, SPAN_DAYS - 2), raids, replace=False) * 86_400 + rng.uniform(9, 20, raids) * 3600
    raid = rng.integers(0, raids, len(aim))
    of = raid[np.searchsorted(aim, hit)]
    return stamp(begin[of] + rng.random(len(hit)) * seconds)


def _draft(rows: pd.DataFrame, truth: np.ndarray, ids: np.ndarray, words: np.ndarray) -> pd.DataFrame:
    item = rows["item"].to_numpy(int)
    return pd.DataFrame(
        {
            COLUMNS["source_id"]: pd.Series(ids[rows["who"].to_numpy(int)], dtype="str"),
            COLUMNS["item_id"]: pd.Series(words[item], dtype="str"),
            COLUMNS["answer"]: rows["said"].astype("str"),
            COLUMNS["observed_at"]: rows["at"].astype("datetime64[us]"),
            COLUMNS["source_since"]: rows["account"].astype("datetime64[us]"),
            "origin": rows["origin"].astype("str"),
            "honest_source": rows["origin"].eq(Origin.HONEST).groupby(rows["who"]).transform("all"),
            "truth": truth[item].astype(str),
        }
    )
