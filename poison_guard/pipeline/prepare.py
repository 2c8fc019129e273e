"""Fit what every partition needs, once: the anomaly model on the trusted reference, and how far it lets us judge."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from poison_guard.config import Contract
from poison_guard.errors import SignalFailure, run_isolated
from poison_guard.records import Phase, Reason, State
from poison_guard.signals.conformal import labels_needed, rows_needed

if TYPE_CHECKING:
    from poison_guard.signals.anomaly.model import AnomalyModel
    from poison_guard.signals.content.model import ContentModel

__all__ = ["Prepared", "prepare"]

SAMPLE_ROWS = 8192
"""Rows of the batch that an unsupervised model is fitted on when there is no trusted set."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Fitted models and the phase they allow; `missing` names each signal that cannot judge, with the reason."""

    phase: Phase
    anomaly: AnomalyModel | None
    missing: Mapping[str, Reason]
    notes: tuple[Reason, ...]
    content: ContentModel | None = None
    calibration: Mapping[str, Any] | None = None
    """JSON-able facts of the anomaly model's calibration, for reports."""


def choose_sample(records: pd.DataFrame, rows: int = SAMPLE_ROWS) -> pd.DataFrame:
    """Return at most `rows` records with the lowest content hashes: the same ones in whatever order they came."""
    return records.sort_values(["content_hash", "record_id"]).head(rows)


def prepare(
    contract: Contract, state: State, sample: pd.DataFrame, *, device: str = "auto", threads: int | None = None
) -> Prepared:
    """Fit on the trusted reference; without one, on `sample` (records of the batch), which can rank but not judge."""
    fitted = _prepare(contract, state, sample, device=device, threads=threads)
    if fitted.anomaly is not None:
        fitted = dataclasses.replace(fitted, calibration=fitted.anomaly.calibration_facts())
    if "content" not in contract.signals:
        return fitted
    least = rows_needed(contract.policy.false_quarantine_rate / 2)  # two tests share the rate
    if len(state.calibration) < least:
        why = Reason("few_calibration_rows", {"n": len(state.calibration), "needed": least, "group": ""})
        return _without_content(fitted, why)
    found = run_isolated(lambda: _fit_content(contract, state))
    if isinstance(found, SignalFailure):
        return _without_content(fitted, Reason("signal_missing", {"signal": "content", "why": str(found)}))
    return dataclasses.replace(fitted, content=found)


def _without_content(fitted: Prepared, why: Reason) -> Prepared:
    return dataclasses.replace(fitted, missing={**fitted.missing, "content": why}, notes=(*fitted.notes, why))


def _fit_content(contract: Contract, state: State) -> ContentModel:
    from poison_guard.signals.content import ContentModel

    groups = state.calibration["group"] if contract.has("group") else None
    rate = contract.policy.false_quarantine_rate
    return ContentModel.fit(state.calibration, roles=contract.texts, rate=rate, groups=groups)


def _prepare(contract: Contract, state: State, sample: pd.DataFrame, *, device: str, threads: int | None) -> Prepared:
    if "anomaly" not in contract.signals:
        return Prepared(Phase.ENFORCING, None, {}, ())
    from poison_guard.signals.anomaly.model import AnomalyModel

    policy = contract.policy
    features = [f"feature.{name}" for name in contract.features]
    options = {"rate": policy.false_quarantine_rate, "seed": policy.seed, "device": device, "threads": threads}
    options["tests"] = len({"anomaly", "content"} & set(contract.signals))  # they share the rate
    if not len(state.reference) or not len(state.calibration):
        why = Reason("no_trusted_set", {"needed": labels_needed(policy.false_quarantine_rate)})
        model = None
        if len(sample) > 1:
            groups = sample["group"] if contract.has("group") else None
            model = run_isolated(lambda: AnomalyModel.fit_unsupervised(sample[features], groups=groups, **options))
        return Prepared(Phase.COLD, None if isinstance(model, SignalFailure) else model, {"anomaly": why}, (why,))
    absent = [name for name in contract.features if f"feature.{name}" not in state.reference]
    if absent:
        told = f"no trusted record has {', '.join(absent)}; enter vetted records that do"
        why = Reason("signal_missing", {"signal": "anomaly", "why": told})
        return Prepared(Phase.CALIBRATING, None, {"anomaly": why}, (why,))
    groups = state.calibration["group"] if contract.has("group") else None
    reference, calibration = state.reference[features], state.calibration[features]
    fitted = run_isolated(lambda: AnomalyModel.fit(reference, calibration, groups=groups, **options))
    if isinstance(fitted, SignalFailure):
        why = Reason("signal_missing", {"signal": "anomaly", "why": str(fitted)})
        return Prepared(Phase.CALIBRATING, None, {"anomaly": why}, (why,))
    notes = fitted.notes()
    whole = next((note for note in notes if not note.args["group"]), None)
    if whole is not None:
        return Prepared(Phase.CALIBRATING, fitted, {"anomaly": whole}, notes)
    return Prepared(Phase.ENFORCING, fitted, {}, notes)
