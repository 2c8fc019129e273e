"""Attack *coordinated*: a group that agrees on one wrong answer for each item it targets, in a crowd of honest people.

Honest people are right about four times in five and most have a history; the group may know the controls, come at once
or slowly, with few or many accounts, new or aged, and hide among right answers. Benign twin: the same accounts at the
same times on the same items, answering honestly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from poison_guard.drills.attacks.answers import COLUMNS, DAYS, Items, draw_answers, draw_births, honest_rows
from poison_guard.drills.world import Origin, World, seal_world
from poison_guard.drills.worlds.draws import daily_times, draw_ids, stamp
from poison_guard.errors import UsageError

__all__ = ["BURSTS", "make", "make_twin", "raid_times"]

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
    params = {k: v for k, v in locals().items() if k != "seed"}
    if burst not in BURSTS or not 0 <= share < 1:
        raise UsageError(f"burst must be one of {', '.join(BURSTS)} and share in [0, 1), got {burst!r} and {share}")
    rng = np.random.default_rng([seed, 40])
    truth, known = rng.integers(0, classes, items), rng.random(items) < controls
    ids, words = draw_ids(rng, honest + sybils, "u-"), draw_ids(rng, items, "w-")
    facts = Items(words, truth, known, classes)
    skill = rng.beta(10 * accuracy, 10 * (1 - accuracy), honest + sybils)
    crowd = honest_rows(rng, facts, skill[:honest], answers_per_item)
    crowd = crowd.assign(said=crowd["said"].astype(str), born=draw_births(rng, crowd, 1 - new))
    aim = facts.some(rng, targeted)
    group = _group(rng, facts, aim, answers_per_item, params)
    if len(group):
        group["born"] = draw_births(rng, group, aged)
        group["who"] += honest
        if benign:
            group["said"] = draw_answers(rng, facts, group["item"].to_numpy(), skill[group["who"]]).astype(str)
            group["origin"] = str(Origin.HONEST)
    drafted = _draft(pd.concat([crowd, group], ignore_index=True), facts, ids)
    drafted["honest_source"] |= benign
    return _sealed(drafted, facts, seed, params | {"targets": words[aim].tolist()})


def make_twin(seed: int, **params: Any) -> World:
    """Return the benign twin of `make`: the same accounts, times and items, answered honestly."""
    return make(seed, **params, benign=True)


def _group(
    rng: np.random.Generator, facts: Items, aim: np.ndarray, honest_each: int, params: dict[str, Any]
) -> pd.DataFrame:
    """The group's answers, as `answer_rows` gives them: pushes on `aim`, and what else its accounts answer."""
    sybils, share, truth, known = params["sybils"], params["share"], facts.truth, facts.control
    if not share or not sybils:
        return pd.DataFrame({"item": [], "who": [], "said": [], "at": [], "origin": []}).astype({"item": int})
    wrong = (truth + rng.integers(1, facts.classes, len(truth))) % facts.classes
    pushed = np.full(len(truth), _STRING, object) if params["constant"] else wrong.astype(str).astype(object)
    wanted = honest_each * share / (1 - share)
    each = np.minimum(np.floor(wanted + rng.random(len(aim))).astype(int), sybils)
    hit = np.repeat(aim, each)
    who = np.concatenate([rng.choice(sybils, n, replace=False) for n in each]) if len(hit) else np.zeros(0, int)
    parts = [(hit, who, pushed[hit], raid_times(rng, hit, aim, params["burst"]), Origin.POISON)]
    n_controls = min(_CONTROLS_EACH, int(known.sum()))
    seen = np.concatenate([rng.choice(np.flatnonzero(known), n_controls, replace=False) for _ in range(sybils)])
    right = rng.random(len(seen)) < (_CARE if params["control_aware"] else 1 - _CARE)
    answers = np.where(right, truth[seen].astype(str), pushed[seen])
    others = np.setdiff1d(np.flatnonzero(~known), aim)
    cover = rng.choice(others, sybils * params["camouflage"])
    careful = draw_answers(rng, facts, cover, _CARE).astype(str)
    for item, by, answer in ((seen, n_controls, answers), (cover, params["camouflage"], careful)):
        at = daily_times(rng, len(item), days=DAYS)
        parts.append((item, np.repeat(np.arange(sybils), by), answer, at, Origin.CAMOUFLAGE))
    names = ("item", "who", "said", "at", "origin")
    rows = pd.concat([pd.DataFrame(dict(zip(names, part, strict=True))) for part in parts], ignore_index=True)
    return rows.drop_duplicates(["item", "who"], ignore_index=True)


def raid_times(rng: np.random.Generator, hit: np.ndarray, aim: np.ndarray, burst: str) -> np.ndarray:
    """Return when each push on `hit` comes: in the raid that its item belongs to, or at any time; `aim` is sorted."""
    raids, seconds = BURSTS[burst]
    if not raids:
        return daily_times(rng, len(hit), days=DAYS)
    begin = rng.choice(np.arange(2, DAYS - 2), raids, replace=False) * 86_400 + rng.uniform(9, 20, raids) * 3600
    raid = rng.integers(0, raids, len(aim))
    of = raid[np.searchsorted(aim, hit)]
    return stamp(begin[of] + rng.random(len(hit)) * seconds)


def _draft(rows: pd.DataFrame, facts: Items, ids: np.ndarray) -> pd.DataFrame:
    item = rows["item"].to_numpy(int)
    return pd.DataFrame(
        {
            COLUMNS["source_id"]: pd.Series(ids[rows["who"].to_numpy(int)], dtype="str"),
            COLUMNS["item_id"]: pd.Series(facts.ids[item], dtype="str"),
            COLUMNS["answer"]: rows["said"].astype("str"),
            COLUMNS["observed_at"]: rows["at"].astype("datetime64[us]"),
            COLUMNS["source_since"]: rows["born"].astype("datetime64[us]"),
            "origin": rows["origin"].astype("str"),
            "honest_source": rows["origin"].eq(Origin.HONEST).groupby(rows["who"]).transform("all"),
            "truth": facts.truth[item].astype(str),
        }
    )


def _sealed(drafted: pd.DataFrame, facts: Items, seed: int, params: dict[str, Any]) -> World:
    labels = pd.DataFrame({"item_id": facts.ids, "label": facts.truth.astype(str), "control": facts.control})
    labels = labels.astype({"item_id": "str"})
    answers = labels.loc[facts.control, ["item_id", "label"]].set_axis(["item_id", "answer"], axis=1)
    return seal_world(
        drafted,
        name="coordinated",
        seed=seed,
        columns=COLUMNS,
        prefix="a",
        trusted=drafted.head(0).drop(columns=["origin", "honest_source", "truth"]),
        item_truth=labels.astype({"label": "str"}),
        controls=answers.reset_index(drop=True),
        params=params,
    )
