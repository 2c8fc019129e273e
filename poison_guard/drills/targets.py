"""What was learned of the items an attack aimed at, and what honest people lost there and elsewhere."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Any

import pandas as pd

from poison_guard.drills.world import World
from poison_guard.records import Action

__all__ = ["target_items", "targeted"]

_UNLIKE = 0.5  # share of words in common below which a transcript is of something else


def target_items(world: World) -> frozenset[str]:
    """Return the items the attack aims at: ``params["targets"]``, else those that attack records are about."""
    if "targets" in world.params:
        return frozenset(world.params["targets"])
    if "item_id" not in world.columns:
        return frozenset()
    return frozenset(world.role("item_id")[world.truth["attack"].to_numpy(bool)])


def targeted(world: World, labels: pd.Series | None, decisions: pd.DataFrame) -> dict[str, Any]:
    """Return the figures of targeted items; shares are of all of them, in [0, 1], None where there are none.

    `labels`: the adopted label by item id. ``target_wrong``: adopted with another label than the truth (free text,
    where ``params["free_text"]``: with a text nearer to what the attack pushes); ``target_deferred``: not adopted.
    ``honest_held_on_targets`` and ``honest_held_elsewhere`` part the honest records held by what they are about;
    without targeted items all of them count as elsewhere.
    """
    aimed = target_items(world)
    out: dict[str, Any] = dict.fromkeys(("target_items", "target_right", "target_wrong", "target_deferred"))
    if labels is not None and world.item_truth is not None and aimed:
        out |= _adopted(world, world.item_truth, aimed, labels)
    held = decisions.set_index("record_id")["action"].ne(str(Action.ACCEPT)).reindex(world.truth["record_id"])
    honest = world.truth["honest"].to_numpy(bool)
    about = world.role("item_id") if "item_id" in world.columns else world.truth["record_id"]
    on = about.isin(aimed).to_numpy()
    for name, mine in (("on_targets", honest & on), ("elsewhere", honest & ~on)):
        n = int(mine.sum())
        out |= {f"honest_{name}": n, f"honest_held_{name}": float(held.to_numpy()[mine].mean()) if n else None}
    return out


def _adopted(world: World, facts: pd.DataFrame, aimed: frozenset[str], labels: pd.Series) -> dict[str, Any]:
    open_ones = facts[facts["item_id"].isin(aimed) & ~facts["control"].astype(bool)]
    truth = open_ones.set_index("item_id")["label"].astype("str")
    label = labels.reindex(truth.index)
    there = label.notna()
    if world.params.get("free_text"):
        wrong = _nearer_the_push(label[there], truth[there], _pushed(world))
    else:
        wrong = label[there].ne(truth[there])
    n, bad, got = len(truth), int(wrong.sum()), int(there.sum())
    shares = {"target_right": got - bad, "target_wrong": bad, "target_deferred": n - got}
    return {"target_items": n, **{name: count / n if n else None for name, count in shares.items()}}


def _pushed(world: World) -> dict[str, str]:
    """Item to the answer that most of its attack records give."""
    attack = world.truth["attack"].to_numpy(bool)
    pairs = pd.DataFrame({"item": world.role("item_id")[attack], "answer": world.role("answer")[attack]})
    top = pairs.value_counts().reset_index().drop_duplicates("item")
    return dict(zip(top["item"], top["answer"], strict=True))


def _nearer_the_push(label: pd.Series, truth: pd.Series, pushed: dict[str, str]) -> pd.Series:
    wrong = [
        _likeness(said, pushed[item]) > _likeness(said, truth[item])
        if item in pushed
        else _likeness(said, truth[item]) < _UNLIKE
        for item, said in label.items()
    ]
    return pd.Series(wrong, index=label.index, dtype=bool)


def _likeness(one: str, other: str) -> float:
    """Share of words that two texts have in common, in order, in [0, 1]; case and punctuation aside."""
    words = [
        [w for raw in text.casefold().split() if (w := "".join(c for c in raw if c.isalnum()))] for text in (one, other)
    ]
    return SequenceMatcher(None, *words, autojunk=False).ratio()
