"""The frozen value of a drill: records as a guard sees them, and the truth that only the scoreboard reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import pandas as pd

__all__ = ["Origin", "World", "seal_world"]


class Origin(StrEnum):
    """Where a record comes from; recall counts POISON, honest losses count HONEST, the others count for neither."""

    HONEST = "honest"
    POISON = "poison"
    """What the attacker wants learned: pushed answers, campaign messages flagged as fine, forged sessions."""
    CAMOUFLAGE = "camouflage"
    """Correct answers that attackers give to look honest."""
    WITNESS = "witness"
    """An honest person's flag on a campaign message: true, but it carries the attacker's text."""


@dataclass(frozen=True, slots=True)
class World:
    """One simulated feed; `records` and `trusted` have the user's own columns, named in `columns` and `features`."""

    name: str
    seed: int
    columns: Mapping[str, str]
    """Role to column, the same as in the feed's contract."""
    features: tuple[str, ...]
    records: pd.DataFrame
    """Ordered by time; one row per record."""
    truth: pd.DataFrame
    """``record_id, origin, attack, honest, label``: one row per record, in the order of `records`; `label` is the truth
    about what the record speaks of, whatever the record says."""
    source_truth: pd.DataFrame
    """``source_id, honest``: one row per source of `records`."""
    trusted: pd.DataFrame
    """Vetted honest records; their record and source ids are none of the feed's."""
    item_truth: pd.DataFrame | None = None
    """``item_id, label, control``; None where the feed has no items."""
    controls: pd.DataFrame | None = None
    """``item_id, answer``."""
    items: pd.DataFrame | None = None
    """``item_id`` and what the item is, for training."""
    fresh: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Examples that a model is judged on, in neither the feed nor the trusted set: what a model sees of an example,
    ``label`` (the truth), ``attack`` (the attacker wants it misread) and ``attack_label`` (as what; empty elsewhere).
    No guard and no training may read it."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the attack and of the honest crowd, JSON-able."""

    def role(self, role: str) -> pd.Series:
        """Column of `records` that plays `role`; KeyError where none does."""
        return self.records[self.columns[role]]


def seal_world(
    records: pd.DataFrame,
    *,
    name: str,
    seed: int,
    columns: Mapping[str, str],
    features: tuple[str, ...] = (),
    prefix: str,
    trusted: pd.DataFrame,
    **rest: Any,
) -> World:
    """Order drafted records by time, number them and part them from their truth.

    `records` has every mapped column but the record id, plus ``origin``, ``honest_source`` (bool) and ``truth`` (the
    true label). Ids come from the time order, trusted ids from a range of their own, so that no id tells an attacker's
    record from an honest one.
    """
    when, source = columns["observed_at"], columns["source_id"]
    drafted = _in_utc(records).sort_values([when, source], kind="stable", ignore_index=True)
    ids = pd.Series([f"{prefix}{n:06d}" for n in range(1, len(drafted) + 1)], dtype="str")
    payload = [c for c in drafted.columns if c not in ("origin", "honest_source", "truth")]
    drafted.insert(0, columns["record_id"], ids)
    vetted = _in_utc(trusted).sort_values([when, source], kind="stable", ignore_index=True)
    vetted.insert(0, columns["record_id"], [f"{prefix}T{n:05d}" for n in range(1, len(vetted) + 1)])
    origin = drafted["origin"].astype("str")
    truth = pd.DataFrame(
        {
            "record_id": ids,
            "origin": origin,
            "attack": origin.eq(Origin.POISON),
            "honest": origin.eq(Origin.HONEST),
            "label": drafted["truth"].astype("str"),
        }
    )
    sources = drafted.groupby(source, sort=True)["honest_source"].all().reset_index()
    sources.columns = ["source_id", "honest"]
    keep = [columns["record_id"], *payload]
    return World(
        name=name,
        seed=seed,
        columns=dict(columns),
        features=features,
        records=drafted[keep],
        truth=truth,
        source_truth=sources,
        trusted=vetted[keep],
        **rest,
    )


def _in_utc(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(**{c: frame[c].dt.tz_localize("UTC") for c in frame.select_dtypes("datetime64").columns})
