"""Fit what every partition needs, once: the anomaly model on the trusted reference, and how far it lets us judge."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import numpy as np
import pandas as pd

from poison_guard.config import Contract
from poison_guard.records import Phase, Reason, SignalEvidence, State
from poison_guard.signals.conformal import ALL, Calibration, labels_needed
from poison_guard.signals.isolation import SignalFailure, run_isolated
from poison_guard.signals.joint import Known, joint_scores

if TYPE_CHECKING:
    from poison_guard.pipeline.query_evidence import QueryReader
    from poison_guard.signals.anomaly.model import AnomalyModel

__all__ = ["Prepared", "RecordModel", "choose_sample", "isolated", "prepare"]

_T = TypeVar("_T")
SAMPLE_ROWS = 8192
"""Rows of the batch that an unsupervised model is fitted on when there is no trusted set."""


class RecordModel(Protocol):
    """What a room of a record signal fits on trusted records."""

    def evidence(self, records: pd.DataFrame, *, groups: pd.Series | None = None) -> SignalEvidence:
        """Return the p-value of each record and its reason."""
        ...

    @property
    def known(self) -> Known:
        """Scores of the trusted rows."""
        ...

    def ranked_among(self, calibration: Calibration) -> Self:
        """Return the same model with another calibration, in its own scores."""
        ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """Fitted models and the phase they allow; `missing` names each signal that cannot judge, with the reason."""

    phase: Phase
    anomaly: AnomalyModel | None
    missing: Mapping[str, Reason]
    notes: tuple[Reason, ...]
    models: Mapping[str, RecordModel] = field(default_factory=dict)
    """Models of the other record signals, by signal."""
    queries: QueryReader | None = None
    """How queries are read, and what trusted streams of them look like."""
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
    if "query" in contract.signals:
        fitted = _with_queries(fitted, contract, state)
    for signal in record_signals(contract):
        if signal != "anomaly":
            fitted = _with_model(fitted, signal, contract, state)
    return _ranked_together(fitted, contract, state)


def isolated(signal: str, crashes: dict[str, Reason], nothing: _T, find: Callable[[], _T]) -> _T:
    """Return what `find` returns; where it fails, note the failure of the signal in `crashes` and return `nothing`."""
    result = run_isolated(find)
    if isinstance(result, SignalFailure):
        crashes[signal] = Reason("signal_missing", {"signal": signal, "why": str(result)})
        return nothing
    return result


def record_signals(contract: Contract) -> list[str]:
    """Return the signals that judge each record by itself; those a feed asks for come after ``anomaly``."""
    return [signal for signal in contract.signals if signal not in _OF_MANY]


_OF_MANY = ("validation", "signature", "source", "campaign", "query")
"""Signals that judge what is no single record: rules, keys, sources, campaigns, streams."""


def _with_queries(fitted: Prepared, contract: Contract, state: State) -> Prepared:
    """Return `fitted` with what reads queries, or why no stream of them can be judged."""
    from poison_guard.pipeline.query_evidence import fit_queries, too_few

    crashes: dict[str, Reason] = {}
    reader = isolated("query", crashes, None, lambda: fit_queries(contract, state))
    found = None if isinstance(reader, Reason) else reader
    why: Reason | None = crashes.get("query") or (reader if isinstance(reader, Reason) else None)
    if found is not None:
        why = too_few(found)
    if why is None:
        return dataclasses.replace(fitted, queries=found)
    phase = Phase.CALIBRATING if len(state.reference) else Phase.COLD
    return dataclasses.replace(
        fitted, queries=found, phase=phase, missing={**fitted.missing, "query": why}, notes=(*fitted.notes, why)
    )


def _with_model(fitted: Prepared, signal: str, contract: Contract, state: State) -> Prepared:
    """Return `fitted` with the model of a signal's room, by its ``fit(contract, state)``, or why there is none."""
    crashes: dict[str, Reason] = {}
    model = isolated(signal, crashes, None, lambda: _fitted(signal, contract, state))
    if model is None or isinstance(model, Reason):
        why = model or crashes[signal]
        if _may_wait(why, fitted, contract):
            return dataclasses.replace(fitted, notes=(*fitted.notes, why))
        if signal in contract.required:
            unfit = Phase.CALIBRATING if len(state.reference) and len(state.calibration) else Phase.COLD
            fitted = dataclasses.replace(fitted, phase=unfit if fitted.phase is Phase.ENFORCING else fitted.phase)
        return dataclasses.replace(fitted, missing={**fitted.missing, signal: why}, notes=(*fitted.notes, why))
    return dataclasses.replace(fitted, models={**fitted.models, signal: model})


def _may_wait(why: Reason, fitted: Prepared, contract: Contract) -> bool:
    """Return whether a signal that the contract does not name counts as one that did not run.

    It has no trusted labels at all; or too few rows of its own, and another signal has enough.
    """
    judged = bool(fitted.models) or (fitted.anomaly is not None and "anomaly" not in fitted.missing)
    return contract.policy.required is None and (
        why.code == "signal_silent" or (why.code == "few_calibration_rows" and judged)
    )


def _ranked_together(fitted: Prepared, contract: Contract, state: State) -> Prepared:
    """Return `fitted` with its record models calibrated as one, so that they hold the promised share together."""
    models: dict[str, Any] = dict(fitted.models)
    if fitted.anomaly is not None and fitted.anomaly.supervised:
        models["anomaly"] = fitted.anomaly
    if len(models) < 2:
        return fitted
    scores, whole = joint_scores({name: model.known for name, model in models.items()})
    rate = contract.policy.false_quarantine_rate
    groups = state.calibration["group"].astype("str").fillna(ALL) if contract.has("group") else None
    names = np.full(len(whole), ALL, dtype=object) if groups is None else groups.to_numpy(object)
    ranked = {
        name: model.ranked_among(Calibration.fit(scores[name], names[whole], rate)) for name, model in models.items()
    }
    return dataclasses.replace(fitted, anomaly=ranked.pop("anomaly", fitted.anomaly), models=ranked)


def _fitted(signal: str, contract: Contract, state: State) -> RecordModel | Reason:
    if signal == "label":
        from poison_guard.pipeline.label_evidence import fit_labels

        return fit_labels(contract, state)
    fitted: RecordModel | Reason = importlib.import_module(f"poison_guard.signals.{signal}").fit(contract, state)
    return fitted


def _prepare(contract: Contract, state: State, sample: pd.DataFrame, *, device: str, threads: int | None) -> Prepared:
    if "anomaly" not in contract.signals:
        return Prepared(Phase.ENFORCING, None, {}, ())
    from poison_guard.signals.anomaly.model import AnomalyModel

    policy = contract.policy
    features = [f"feature.{name}" for name in contract.features]
    options = {"rate": policy.false_quarantine_rate, "seed": policy.seed, "device": device, "threads": threads}
    if not len(state.reference) or not len(state.calibration):
        why = Reason("no_trusted_set", {"needed": labels_needed(policy.false_quarantine_rate)})
        model = None
        if len(sample) > 1:
            groups = sample["group"] if contract.has("group") else None
            rows = sample[features]
            model = isolated("anomaly", {}, None, lambda: AnomalyModel.fit_unsupervised(rows, groups=groups, **options))
        return Prepared(Phase.COLD, model, {"anomaly": why}, (why,))
    absent = [name for name in contract.features if f"feature.{name}" not in state.reference]
    if absent:
        told = f"no trusted record has {', '.join(absent)}; enter vetted records that do"
        why = Reason("signal_missing", {"signal": "anomaly", "why": told})
        return Prepared(Phase.CALIBRATING, None, {"anomaly": why}, (why,))
    groups = state.calibration["group"] if contract.has("group") else None
    reference, calibration = state.reference[features], state.calibration[features]
    crashes: dict[str, Reason] = {}
    fitted = isolated(
        "anomaly", crashes, None, lambda: AnomalyModel.fit(reference, calibration, groups=groups, **options)
    )
    if fitted is None:
        return Prepared(Phase.CALIBRATING, None, crashes, tuple(crashes.values()))
    notes = fitted.notes()
    whole = next((note for note in notes if not note.args["group"]), None)
    if whole is not None:
        return Prepared(Phase.CALIBRATING, fitted, {"anomaly": whole}, notes)
    return Prepared(Phase.ENFORCING, fitted, {}, notes)
