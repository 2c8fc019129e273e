"""Drift: which runs held more records than chance explains, and whether the calibration still holds."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from poison_guard.config import Contract
from poison_guard.decide.reasons import sentence
from poison_guard.frames import empty_frame
from poison_guard.pipeline import prepare
from poison_guard.records import Batch, Level, State
from poison_guard.results import Result
from poison_guard.signals.conformal import excess_p
from poison_guard.signals.pvalues import e_lond, e_value
from poison_guard.steps.collect import current_state
from poison_guard.steps.opening import Feed, torch_threads
from poison_guard.store import Run, load_trusted
from poison_guard.store.trusted import first_trusted_ids
from poison_guard.text import to_jsonable

if TYPE_CHECKING:
    from poison_guard.signals.anomaly.calibrate import Drift
    from poison_guard.signals.anomaly.model import AnomalyModel

__all__ = ["LEVEL", "DriftWatch", "RunAlarm", "batch_of", "calibration_drift", "run_alarms"]


LEVEL = 0.05
"""Expected share of false ones among all alarms a feed will ever raise."""


@dataclass(frozen=True, slots=True)
class RunAlarm:
    """What record-level signals held in one run, beside what they hold of honest records."""

    run_id: str
    records: int
    held: int
    expected: float
    """Honest records that are held on average among so many."""
    false_share: float
    """Benjamini and Hochberg's estimate of the share of honest ones among the held, in [0, 1]; 0 where none is held."""
    p: float
    """Chance of so many held, or more, where all are honest."""
    needed: float
    """e-value from which this run would raise an alarm; grows with the runs, falls with alarms before."""
    raised: bool


@dataclass(frozen=True, slots=True)
class DriftWatch(Result):
    """How some trusted records lie among the calibration rows, by one model."""

    figures: Mapping[str, Any]
    """``n, auc, low, high, ks_p, tails``."""
    parted: bool
    """Whether one of the tests says that something has changed."""
    notes: tuple[str, ...]
    """A sentence where they have parted."""

    def to_dict(self) -> dict[str, Any]:
        """Return the figures and whether the records have parted."""
        return {**self.figures, "parted": self.parted}

    @classmethod
    def of(cls, drift: Drift) -> DriftWatch:
        """Return what a model's comparison says."""
        notes = tuple(sentence(note.code, note.args) for note in drift.notes())
        return cls(to_jsonable(dataclasses.asdict(drift)), drift.parted, notes)


def run_alarms(runs: Sequence[Run]) -> tuple[RunAlarm, ...]:
    """Return one entry a committed and calibrated run of a feed, in the order of `runs`: oldest first, from the first.

    A run's p-value is beta-binomial: the calibration rows' luck and the records' own. All runs share calibration rows,
    so their p-values depend on each other; e-LOND's alarms hold all the same. Runs whose records come in clumps (many
    of one source alike) raise more than `LEVEL` promises: it counts records, not sources.
    """
    judged = [(run, *facts) for run in runs if run.status == "committed" and (facts := _run_facts(run))]
    chances = [excess_p(held, records, rows, rate) for _, records, held, rows, rate in judged]
    alarms = e_lond((float(e_value(p)) for p in chances), LEVEL)
    return tuple(
        RunAlarm(
            run_id=run.run_id,
            records=records,
            held=held,
            expected=records * rate,
            false_share=min(1.0, records * rate / held) if held else 0.0,
            p=p,
            needed=alarm.needed,
            raised=alarm.raised,
        )
        for (run, records, held, _, rate), p, alarm in zip(judged, chances, alarms, strict=True)
    )


def _run_facts(run: Run) -> tuple[int, int, int, float] | None:
    """Return records judged, those held by record-level signals, the fewest rows that calibrated any, and the rate."""
    calibration = run.measurements.get("calibration", {})
    groups = calibration.get("groups", {})
    if not calibration.get("supervised") or not groups or run.measurements.get("phase") != "enforcing":
        return None
    records = sum(sum(counts) for counts in run.measurements["risk_histogram"].values())
    held = int(run.measurements["held_by_level"].get(Level.RECORD.value, 0))
    return records, held, min(int(group["n"]) for group in groups.values()), float(calibration["rate"])


def calibration_drift(feed: Feed) -> dict[str, DriftWatch]:
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
        first = first_trusted_ids(conn, contract.name)
    records = trusted.records.assign(first=trusted.records["record_id"].isin(first))
    unseen = records[records["split"] == "holdout"]
    later = records[~records["first"] & (records["split"] != "reference")]
    with torch_threads(feed):
        state = current_state(feed, batch_of(contract, trusted.records), remember=False)
        model = _fit_model(feed, state)
        drifts = {"holdout": _compare(feed, model, unseen)}
        if len(later):
            sides = {"reference": _with_ids(state.reference, first), "calibration": _with_ids(state.calibration, first)}
            begun = dataclasses.replace(state, **sides)
            drifts["anchor"] = _compare(feed, model, unseen[unseen["first"]])
            drifts["entered"] = _compare(feed, _fit_model(feed, begun), later)
    return {name: DriftWatch.of(drift) for name, drift in drifts.items() if drift is not None}


def _with_ids(records: pd.DataFrame, ids: set[str]) -> pd.DataFrame:
    return records[records["record_id"].isin(ids)].reset_index(drop=True)


def _compare(feed: Feed, model: AnomalyModel | None, others: pd.DataFrame) -> Drift | None:
    if model is None:
        return None
    return model.drift(others[[f"feature.{name}" for name in feed.contract.features]].reset_index(drop=True))


def _fit_model(feed: Feed, state: State) -> AnomalyModel | None:
    """Return the model of a state's trusted records, None where those are too few to judge by."""
    settings = feed.settings
    prepared = prepare(feed.contract, state, state.reference, device=settings.device, threads=settings.threads)
    return prepared.anomaly if prepared.anomaly is not None and "anomaly" not in prepared.missing else None


def batch_of(contract: Contract, records: pd.DataFrame) -> Batch:
    """Return trusted records as one batch, received an hour after the last of them was made."""
    times = records["observed_at"] if "observed_at" in records else records["received_at"]
    last = times.max() if times.notna().any() else records["received_at"].max()
    now: dt.datetime = (last + pd.Timedelta(hours=1)).to_pydatetime()
    received = pd.Series([now] * len(records)).astype(records["received_at"].dtype)
    records = records.assign(received_at=received)
    return Batch(contract.name, "tune", now, (), records, empty_frame("issues"), empty_frame("unreadable"))
