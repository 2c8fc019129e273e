"""Whether the calibration still stands: the trusted set of today beside the first one, and its holdout beside it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pandas as pd

from poison_guard.pipeline import prepare
from poison_guard.records import State
from poison_guard.steps.intake import current_state
from poison_guard.steps.opening import Feed, computing
from poison_guard.steps.tuning import batch_of
from poison_guard.store import load_trusted
from poison_guard.store.vetted import first_entry

if TYPE_CHECKING:
    from poison_guard.signals.anomaly.calibrate import Drift
    from poison_guard.signals.anomaly.model import AnomalyModel

__all__ = ["watch"]


def watch(feed: Feed) -> dict[str, Drift]:
    """Return what was compared, by name; empty where the feed has no features or too few trusted records.

    ``holdout``: the holdout by today's model, which parts where calibration rows were judged wrong that are right, or
    the splits differ. ``anchor``: the holdout of the first entry by today's model, which parts where the trusted set
    grew away from it. ``entered``: what was entered later by a model of the first entry alone, which parts where other
    records were let in, wrong ones too. The last two only where there were several entries.
    """
    contract = feed.contract
    trusted = load_trusted(feed.store, contract.name)
    if "anomaly" not in contract.signals or not trusted.hash:
        return {}
    with feed.store.read() as conn:
        first = first_entry(conn, contract.name)
    records = trusted.records.assign(first=trusted.records["record_id"].isin(first))
    unseen = records[records["split"] == "holdout"]
    later = records[~records["first"] & (records["split"] != "reference")]
    with computing(feed):
        state = current_state(feed, batch_of(contract, trusted.records), remember=False)
        model = _model(feed, state)
        found = {"holdout": _compare(feed, model, unseen)}
        if len(later):
            sides = {"reference": _of(state.reference, first), "calibration": _of(state.calibration, first)}
            begun = dataclasses.replace(state, **sides)
            found["anchor"] = _compare(feed, model, unseen[unseen["first"]])
            found["entered"] = _compare(feed, _model(feed, begun), later)
    return {name: drift for name, drift in found.items() if drift is not None}


def _of(records: pd.DataFrame, ids: set[str]) -> pd.DataFrame:
    return records[records["record_id"].isin(ids)].reset_index(drop=True)


def _compare(feed: Feed, model: AnomalyModel | None, others: pd.DataFrame) -> Drift | None:
    if model is None:
        return None
    return model.drift(others[[f"feature.{name}" for name in feed.contract.features]].reset_index(drop=True))


def _model(feed: Feed, state: State) -> AnomalyModel | None:
    """Return the model of a state's trusted records, None where those are too few to judge by."""
    settings = feed.settings
    prepared = prepare(feed.contract, state, state.reference, device=settings.device, threads=settings.threads)
    return prepared.anomaly if prepared.anomaly is not None and "anomaly" not in prepared.missing else None
