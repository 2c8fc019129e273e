"""Run the whole line on one world of pictures: guard, gate, training, scan, and what the poison did to the models.

Harm is told as *excess*: what the attack reaches on a model, less what it reaches on a model of the same recipe and
seed that was trained without the poison.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from poison_guard.drills.trial import FEED, By, Trial, held_ids, short_params, write_contract
from poison_guard.drills.world import World
from poison_guard.guard import Guard
from poison_guard.pipeline.content import content_of, record_content, to_examples
from poison_guard.records import Examples
from poison_guard.steps.opening import open_feed

if TYPE_CHECKING:
    from poison_guard.config import Contract

__all__ = ["run_line"]

_TRAININGS = 3
"""A refused model takes its trigger's records back at most once without a person: after that nothing changes."""


def run_line(world: World, *, by: By = "all", home: str | Path) -> Trial:
    """Take `world` in, at once or a batch a day, into `home`, an empty folder; seal, judge, train and promote it.

    Where a model was refused and the records of its trigger were taken back, the next one is trained without them.
    ``ended``: ``champion``, ``closed`` (by the gate) or ``refused`` (at promotion), and ``, after records were taken
    back``. ``excess_before``: excess of a model trained on all that came; ``excess_after``: of the champion, 0 where
    there is none; ``accuracy_lost``: accuracy of the model trained without the poison less the champion's.
    """
    contract = write_contract(world, Path(home))
    guard = Guard.open(contract, home=home)
    guard.trust(world.trusted, by="drill", reason="the world's vetted records")
    first: set[str] = set()
    for batch in _batches(world, by):
        found = guard.ingest(batch).decisions
        first |= set(found.loc[found["action"] != "accept", "record_id"])
    figures = _held(world, first, _now_held(guard))
    figures |= {"ended": _trained(guard)}
    if world.truth["attack"].any():
        figures |= _harm(world, guard)
    return Trial(world.name, world.seed, by, short_params(world.params), figures)


def _batches(world: World, by: By) -> Iterator[pd.DataFrame]:
    if by == "all":
        yield world.records
        return
    for _, batch in world.records.groupby(world.truth["day"].to_numpy(), sort=True):
        yield batch.reset_index(drop=True)


def _now_held(guard: Guard) -> frozenset[str]:
    with open_feed(guard.contract_path, guard.home) as feed:
        return held_ids(feed)


def _held(world: World, first: set[str], last: frozenset[str]) -> dict[str, Any]:
    truth = world.truth
    now, attack, honest = truth["record_id"].isin(last), truth["attack"], truth["honest"]
    own = truth["lookalike"] & honest

    def share(of: pd.Series, which: pd.Series) -> float | None:
        return float(of[which].mean()) if which.any() else None

    return {
        "attack_records": int(attack.sum()),
        "attack_recall": share(now, attack),
        "recall_at_first": share(truth["record_id"].isin(first), attack),
        "honest_records": int(honest.sum()),
        "honest_held_rate": share(now, honest),
        "honest_elsewhere": int(honest.sum()),
        "honest_held_elsewhere": share(now, honest),
        "own_records": int(own.sum()),
        "own_held": share(now, own),
        "detect_hours": None,
        "accepted_per_attacker": None,
    }


def _trained(guard: Guard) -> str:
    """Seal, judge and train until a model is the champion or nothing is left to do; return how it ended."""
    taken = ""
    for _ in range(_TRAININGS):
        guard.seal()
        if not guard.gate().admitted:
            return f"closed{taken}"
        made = guard.retrain()
        if made.promoted:
            return f"champion{taken}"
        if "were taken back" not in made.why:
            break
        taken = ", after records were taken back"
    return f"refused{taken}"


def _harm(world: World, guard: Guard) -> dict[str, Any]:
    """Return what the poison did to a model without the guard, and to the champion."""
    contract = guard.contract
    came, fresh = _examples(world, contract), _fresh(world, contract)
    plain = world.fresh["attack"].to_numpy(bool)
    answers = {
        "before": _taught(came, contract, fresh),
        "never": _taught(came.take(~world.truth["attack"].to_numpy(bool)), contract, fresh),
        "after": _champion_says(guard, fresh),
    }
    reached = {name: _reached(world, said) for name, said in answers.items() if said is not None}
    right = {n: float((s == world.fresh["label"])[~plain].mean()) for n, s in answers.items() if s is not None}
    never = reached["never"]
    return {
        "aimed": int(plain.sum()),
        "judged": int((~plain).sum()),
        "excess_before": reached["before"] - never,
        "excess_after": reached["after"] - never if "after" in reached else 0.0,
        "accuracy_lost": right["never"] - right["after"] if "after" in right else None,
    }


def _reached(world: World, said: np.ndarray) -> float:
    """Return the share of what the attack aims at that is read as it wants: as its label, or as any wrong one."""
    aimed = world.fresh["attack"].to_numpy(bool)
    want, truth = (world.fresh.loc[aimed, name].to_numpy(object) for name in ("attack_label", "label"))
    return float(np.where(want == "", said[aimed] != truth, said[aimed] == want).mean())


def _taught(examples: Examples, contract: Contract, fresh: Examples) -> np.ndarray:
    """Return what a model by the feed's recipe says of `fresh` ``(n,)``, trained on `examples`."""
    from poison_guard.retrain.train import train_classifier
    from poison_guard.steps.model_scan import asking

    return asking(train_classifier(examples, contract.retrain, device="cpu", threads=1))(fresh)


def _champion_says(guard: Guard, fresh: Examples) -> np.ndarray | None:
    from poison_guard.steps.model_scan import asking
    from poison_guard.steps.promote import load_trained
    from poison_guard.store.models import champion

    with open_feed(guard.contract_path, guard.home) as feed:
        best = champion(feed.store, FEED)
        return None if best is None else asking(load_trained(feed, best))(fresh)


def _examples(world: World, contract: Contract) -> Examples:
    lead = {"example_id": world.role("record_id"), "label": world.role("label")}
    return _shown(world, contract, world.records, lead)


def _fresh(world: World, contract: Contract) -> Examples:
    names = [f"fresh-{n}" for n in range(len(world.fresh))]
    return _shown(world, contract, world.fresh, {"example_id": names, "label": world.fresh["label"]})


def _shown(world: World, contract: Contract, rows: pd.DataFrame, lead: dict[str, Any]) -> Examples:
    content = content_of(contract)
    shown = record_content(rows.rename(columns={world.columns["image"]: "image"}), content)
    frame = pd.concat([pd.DataFrame(lead).assign(slice="").reset_index(drop=True), shown], axis=1)
    return to_examples(frame, content, np.ones(len(frame), bool), frame)
