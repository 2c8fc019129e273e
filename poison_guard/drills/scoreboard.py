"""Compare decisions with the truth of a world: what got through, who was held wrongly, what would be learned.

The baseline is what people do without a guard: majority vote, an isolation forest fitted in the batch, exact
duplicates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from poison_guard.config import Contract
from poison_guard.config.policies import Policy
from poison_guard.drills.world import Origin, World
from poison_guard.errors import DataError
from poison_guard.records import Action, Level

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Baseline", "majority_labels", "run_baseline", "score", "score_baseline", "score_home", "table"]


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the baseline would hold and learn."""

    decisions: pd.DataFrame
    """``record_id, action``."""
    items: pd.DataFrame
    """``item_id, label, adopted``: the majority's label of every item but the controls; empty where there are none."""


def run_baseline(world: World) -> Baseline:
    """Hold what disagrees with its item's majority, what the forest calls an outlier, and what was seen word for word.

    The forest is scikit-learn's `IsolationForest` with its own threshold (``contamination="auto"``).
    """
    held = np.zeros(len(world.records), dtype=bool)
    items = pd.DataFrame({"item_id": [], "label": [], "adopted": []})
    if world.item_truth is not None:
        items, disagrees = _majority(world)
        held |= disagrees
    if world.features:
        held |= _outliers(world)
    held |= _exact_duplicates(world)
    action = np.where(held, str(Action.QUARANTINE), str(Action.ACCEPT))
    return Baseline(pd.DataFrame({"record_id": world.role("record_id"), "action": action}), items)


def _vote(world: World) -> pd.Series:
    return world.role("answer" if "answer" in world.columns else "label")


def majority_labels(world: World) -> pd.Series:
    """Return the label of every item with a vote, indexed by item id: its control's answer, else what most say.

    Ties go to the first in order.
    """
    votes = pd.DataFrame({"item_id": world.role("item_id"), "vote": _vote(world)})
    counts = votes.value_counts().rename("n").reset_index()
    counts = counts.sort_values(["item_id", "n", "vote"], ascending=[True, False, True])
    label = counts.drop_duplicates("item_id").set_index("item_id")["vote"]
    if world.controls is not None:
        known = world.controls.set_index("item_id")["answer"]
        label.update(known)
    return label


def _majority(world: World) -> tuple[pd.DataFrame, np.ndarray]:
    """Labels of the unknown items by majority, and which records disagree with their item's."""
    label = majority_labels(world)
    disagrees = _vote(world).to_numpy() != label.reindex(world.role("item_id")).to_numpy()
    items = label.rename("label").reset_index().assign(adopted=True)
    if world.controls is not None:
        items = items[~items["item_id"].isin(world.controls["item_id"])]
    return items.reset_index(drop=True), disagrees


def _outliers(world: World) -> np.ndarray:
    from sklearn.ensemble import IsolationForest

    vectors = world.records[list(world.features)]
    vectors = vectors.fillna(vectors.median()).to_numpy()
    return IsolationForest(random_state=0).fit_predict(vectors) < 0


def _exact_duplicates(world: World) -> np.ndarray:
    """Records whose text is that of another item, or whose features are those of another record."""
    held = np.zeros(len(world.records), dtype=bool)
    if "text" in world.columns:
        pairs = pd.DataFrame({"text": world.role("text"), "item_id": world.role("item_id")})
        held |= (pairs.groupby("text")["item_id"].transform("nunique") > 1).to_numpy()
    if world.features:
        held |= world.records.duplicated(list(world.features), keep=False).to_numpy()
    return held


_LEVELS = (Level.RULE, Level.RECORD, Level.SOURCE, Level.CAMPAIGN)


def score(
    world: World,
    decisions: pd.DataFrame,
    items: pd.DataFrame | None = None,
    sources: pd.DataFrame | None = None,
    evidence: pd.DataFrame | None = None,
    *,
    policy: Policy | None = None,
) -> dict[str, Any]:
    """Return the figures of one feed; shares are in [0, 1] and None where there is nothing to divide by.

    `decisions` has ``record_id, action`` for every record of the world; `items` ``item_id, label, adopted``; `sources`
    ``source_id, blocked``; `evidence` ``record_id, level, p``. A held honest record counts for every level whose
    smallest p is at or below the level's threshold in `policy`. An honest source is blocked when source evidence holds
    more than half of its records. `DataError` when a record of the world has no decision.
    """
    limits = policy or Policy()
    facts = _facts(world, decisions)
    out: dict[str, Any] = {"feed": world.name, "seed": world.seed, "records_in": len(facts)}
    out |= _counts(facts)
    if evidence is not None:
        out |= _false_holds(world, facts, evidence, sources, limits)
    out |= _labels(world, items)
    return out


def score_home(world: World, contract: Contract, home: Path) -> dict[str, Any]:
    """Return the figures of all that a home stored of a feed, run upon run; the newest result for an item counts."""
    from poison_guard.steps.opening import open_feed
    from poison_guard.steps.results import stored_result
    from poison_guard.store import list_runs

    with open_feed(contract, home, create_store=False) as feed:
        runs = [run for run in list_runs(feed.store, contract.name, limit=1000) if run.status == "committed"]
        stored = [stored_result(feed.store, run.run_id) for run in reversed(runs)]
    return score(
        world,
        pd.concat([result.decisions for result in stored]),
        pd.concat([result.items for result in stored]).drop_duplicates("item_id", keep="last"),
        pd.concat([result.sources for result in stored]).drop_duplicates("source_id", keep="last"),
        pd.concat([result.evidence for result in stored]),
        policy=contract.policy,
    )


def score_baseline(world: World) -> dict[str, Any]:
    """Return the figures of the naive baseline (`run_baseline`), in the form of `score`."""
    naive = run_baseline(world)
    return score(world, naive.decisions, naive.items)


def _facts(world: World, decisions: pd.DataFrame) -> pd.DataFrame:
    """Truth and action of every record: ``record_id, origin, attack, honest, source_id, action, held, mislabelled``.

    Mislabelled: honest, and yet its own label is not the truth.
    """
    action = decisions.drop_duplicates("record_id").set_index("record_id")["action"].astype("str")
    facts = world.truth.assign(source_id=world.role("source_id").to_numpy())
    facts["action"] = action.reindex(facts["record_id"]).to_numpy()
    missing = int(facts["action"].isna().sum())
    if missing:
        raise DataError(
            f"{missing} of {len(facts)} records of the world `{world.name}` have no decision; score them all"
        )
    facts["held"] = facts["action"] != Action.ACCEPT
    said = world.role("label").astype("str").to_numpy() if "label" in world.columns else facts.get("label")
    facts["mislabelled"] = facts["honest"] & (said != facts.get("label"))
    return facts


def _counts(facts: pd.DataFrame) -> dict[str, Any]:
    attack, honest, wrong = (facts[facts[name]] for name in ("attack", "honest", "mislabelled"))
    camouflage = facts[facts["origin"] == Origin.CAMOUFLAGE]
    return {
        "accepted": int((facts["action"] == Action.ACCEPT).sum()),
        "quarantined": int((facts["action"] == Action.QUARANTINE).sum()),
        "rejected": int((facts["action"] == Action.REJECT).sum()),
        "attack_records": len(attack),
        "attack_held": int(attack["held"].sum()),
        "attack_recall": _ratio(attack["held"].sum(), len(attack)),
        "camouflage_held": _ratio(camouflage["held"].sum(), len(camouflage)),
        "honest_records": len(honest),
        "honest_held": int(honest["held"].sum()),
        "honest_held_rate": _ratio(honest["held"].sum(), len(honest)),
        "mislabelled_records": len(wrong),
        "mislabelled_held": int(wrong["held"].sum()),
        "mislabelled_held_rate": _ratio(wrong["held"].sum(), len(wrong)),
        "rightly_labelled": len(honest) - len(wrong),
    }


def _false_holds(
    world: World, facts: pd.DataFrame, evidence: pd.DataFrame, sources: pd.DataFrame | None, policy: Policy
) -> dict[str, Any]:
    """Which level holds honest records, and which honest sources lose most of theirs to source evidence.

    What an honest source labelled wrong is held as it should be, so the record level is counted without it.
    """
    limit = {
        Level.RULE: 0.05,
        Level.RECORD: policy.false_quarantine_rate,
        Level.SOURCE: policy.source_alpha,
        Level.CAMPAIGN: policy.campaign_alpha,
    }
    out: dict[str, Any] = {}
    for level in _LEVELS:
        own = facts[facts["honest"] & ~(facts["mislabelled"] & (level == Level.RECORD))]
        mine = evidence[(evidence["level"].astype("str") == level) & (evidence["p"] <= limit[level])]
        count = int((own["held"] & own["record_id"].isin(mine["record_id"])).sum())
        out[f"honest_held_by_{level}"] = count
        out[f"honest_held_by_{level}_rate"] = _ratio(count, len(own))
        if level == Level.SOURCE:
            out |= _blocked(
                world, facts.assign(mine=facts["held"] & facts["record_id"].isin(mine["record_id"])), sources
            )
    return out


def _blocked(world: World, facts: pd.DataFrame, sources: pd.DataFrame | None) -> dict[str, Any]:
    lost = facts.groupby("source_id")["mine"].mean() > 0.5
    blocked = set(lost.index[lost])
    if sources is not None and "blocked" in sources.columns:
        blocked |= set(sources.loc[sources["blocked"].fillna(False).astype(bool), "source_id"])
    honest = world.source_truth.loc[world.source_truth["honest"], "source_id"]
    count = int(honest.isin(blocked).sum())
    return {
        "honest_sources": len(honest),
        "honest_sources_blocked": count,
        "honest_sources_blocked_rate": _ratio(count, len(honest)),
    }


def _labels(world: World, items: pd.DataFrame | None) -> dict[str, Any]:
    """Labels adopted and deferred; controls are known before and count for neither."""
    names = ("adopted_items", "deferred_items", "wrong_labels", "wrong_label_rate")
    if world.item_truth is None or items is None or not len(items):
        return dict.fromkeys(names)
    unknown = world.item_truth[~world.item_truth["control"]].set_index("item_id")["label"]
    judged = items[items["item_id"].isin(unknown.index)]
    adopted = judged[judged["adopted"].astype(bool)]
    wrong = int((adopted["label"].astype("str").to_numpy() != unknown.reindex(adopted["item_id"]).to_numpy()).sum())
    values = (len(adopted), len(judged) - len(adopted), wrong, _ratio(wrong, len(adopted)))
    return dict(zip(names, values, strict=True))


def _ratio(part: float | np.integer, whole: int) -> float | None:
    return float(part) / whole if whole else None


_ROWS = (
    ("records in", "records_in", None),
    ("accepted", "accepted", None),
    ("quarantined", "quarantined", None),
    ("rejected", "rejected", None),
    ("items deferred", "deferred_items", None),
    ("attack recall", "attack_recall", "attack_records"),
    ("honest records held", "honest_held_rate", "honest_records"),
    ("  by record-level signals", "honest_held_by_record_rate", "rightly_labelled"),
    ("  honest, but labelled wrong", "mislabelled_held_rate", "mislabelled_records"),
    ("  by campaign signals", "honest_held_by_campaign_rate", "honest_records"),
    ("  by their source", "honest_held_by_source_rate", "honest_records"),
    ("wrong labels adopted", "wrong_label_rate", "adopted_items"),
    ("honest sources blocked", "honest_sources_blocked_rate", "honest_sources"),
)
"""Line of the table, figure, and what a share is of."""


def table(guard: Mapping[str, Any], baseline: Mapping[str, Any] | None = None) -> Table:
    """Return a rich table of one feed, the baseline beside the guard where given."""
    from rich.table import Table

    out = Table(title=f"feed {guard['feed']}", title_justify="left")
    out.add_column("")
    out.add_column("guard", justify="right")
    if baseline is not None:
        out.add_column("naive baseline", justify="right")
    for line, figure, whole in _ROWS:
        cells = [_cell(side, figure, whole) for side in (guard, baseline) if side is not None]
        out.add_row(line, *cells)
    return out


def _cell(figures: Mapping[str, Any], figure: str, whole: str | None) -> str:
    value = figures.get(figure)
    if value is None:
        return "–"
    return f"{value:,}" if whole is None else f"{value:.1%} of {figures.get(whole) or 0:,}"
