"""What each threshold would cost and catch, tried on a feed's own trusted records; nothing is stored."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.config import Contract, Mode, Policy
from poison_guard.errors import UsageError
from poison_guard.frames import empty_frame
from poison_guard.numerics.intervals import proportion_bounds
from poison_guard.pipeline import Prepared, decide_batch, find_batch_evidence, prepare, score_partition
from poison_guard.pipeline.prepare import choose_sample
from poison_guard.pipeline.score import join_partitions, split
from poison_guard.pipeline.validate import Validation
from poison_guard.records import Batch, Decided, Place, Reason, State
from poison_guard.steps.collect import current_state
from poison_guard.steps.opening import Feed, torch_threads
from poison_guard.store import list_runs, load_trusted

__all__ = ["Attacks", "Line", "Tuned", "batch_of", "records_a_day", "tune"]


Attacks = Callable[[Contract, pd.DataFrame], Mapping[str, pd.DataFrame]]
"""Honest records to attack name and its records, both with the columns of `Batch.records`."""

_HELD = (Place.QUARANTINED.value, Place.REJECTED.value)
_LEAST = 20  # holdout records without which nothing can be said


@dataclass(frozen=True, slots=True)
class Line:
    """One setting of the thresholds, and what came of it."""

    rate: float
    """``false_quarantine_rate``."""
    source_alpha: float
    campaign_alpha: float
    present: bool
    """Whether these are the feed's thresholds now."""
    honest: int
    """Trusted holdout records judged."""
    lost: int
    lost_low: float
    lost_high: float
    """Bounds of the share of honest records held, exact, 95 %; of all reasons."""
    lost_by: Mapping[str, int]
    """Level to honest records it held; one may be held at several."""
    missed: Mapping[str, float]
    """Attack to the share of its records that would be learned."""
    held_a_day: float
    """Honest records a day for people to look at, those drawn for audit included."""
    hours_a_day: float
    unjudged: Reason | None
    """Why no record could be accepted at this rate; None where they can."""

    @property
    def share(self) -> float:
        """Share of the honest records held."""
        return self.lost / self.honest


@dataclass(frozen=True, slots=True)
class Tuned:
    """The table, and what it was made with."""

    feed: str
    reference: int
    calibration: int
    holdout: int
    attacks: Mapping[str, int]
    """Attack to its records."""
    per_day: float
    per_day_from: str
    """``runs`` where the feed's last runs say so, ``given``, or ``assumed``."""
    minutes: float
    audit_rate: float
    review_budget: int
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class _Trial:
    """What every setting is tried on."""

    feed: Feed
    state: State
    alone: Batch
    """Honest records only."""
    attacked: Batch
    """Half of them, and the attacks made of the other half."""
    attacks: Mapping[str, pd.DataFrame]
    per_day: float
    minutes: float


def tune(
    feed: Feed,
    *,
    rates: Sequence[float],
    alphas: Sequence[float],
    make_attacks: Attacks,
    minutes: float,
    per_day: float | None = None,
) -> Tuned:
    """Decide the trusted holdout, and attacks made of it, at each of `rates` and at each of `alphas`.

    The models are fitted as in a run, on reference and calibration, which hold none of these records. Half of the
    holdout becomes what attackers have seen. A record's own expectations are not asked: they do not depend on
    thresholds. `minutes` a record; `per_day` records a day (None: as the feed's runs say, else 1,000). `UsageError`
    without a trusted set, with fewer than 20 holdout records, or where these two are no positive numbers.
    """
    contract = feed.contract
    held_out = _held_out(feed)
    volume, whence = _volume(feed, per_day)
    trial = _trial(feed, held_out, make_attacks, volume, _positive("minutes", minutes))
    policy = contract.policy
    with torch_threads(feed):
        lines = tuple(_lines(trial, _settings(contract, rates, alphas)))
    return Tuned(
        feed=contract.name,
        reference=len(trial.state.reference),
        calibration=len(trial.state.calibration),
        holdout=len(held_out),
        attacks={name: len(frame) for name, frame in trial.attacks.items()},
        per_day=volume,
        per_day_from=whence,
        minutes=minutes,
        audit_rate=policy.audit_rate,
        review_budget=policy.review_budget,
        lines=lines,
    )


def _held_out(feed: Feed) -> pd.DataFrame:
    trusted = load_trusted(feed.store, feed.contract.name)
    held_out = trusted.split("holdout") if trusted.hash else pd.DataFrame()
    if len(held_out) < _LEAST:
        raise UsageError(
            f"tune tries thresholds on trusted records; the holdout split of {feed.contract.name} has {len(held_out)} "
            f"of the {_LEAST} needed; enter vetted records with `poison-guard trust`"
        )
    return held_out


def _volume(feed: Feed, per_day: float | None) -> tuple[float, str]:
    if per_day is not None:
        return _positive("per_day", per_day), "given"
    seen = records_a_day(feed)
    return (1000.0, "assumed") if seen is None else (seen, "runs")


def _positive(name: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise UsageError(f"{name} must be a positive number, got {value}")
    return value


def records_a_day(feed: Feed) -> float | None:
    """Return how many records a day the feed's last runs took in; None before there are two of them."""
    runs = [run for run in list_runs(feed.store, feed.contract.name, limit=100) if run.status == "committed"]
    if len(runs) < 2:
        return None
    span = (runs[0].received_at - runs[-1].received_at).total_seconds() / 86400
    taken = sum(run.counts.get("received", 0) for run in runs[:-1])
    return taken / span if span > 1 / 24 and taken else None


def _trial(feed: Feed, held_out: pd.DataFrame, make: Attacks, per_day: float, minutes: float) -> _Trial:
    ids = pd.Series([f"honest-{row:06d}" for row in range(len(held_out))], dtype="str")
    honest = held_out.assign(record_id=ids, content_hash=ids)
    attacks = make(feed.contract, honest.iloc[1::2].reset_index(drop=True))
    alone = batch_of(feed.contract, honest)
    attacked = batch_of(feed.contract, pd.concat([honest.iloc[::2], *attacks.values()], ignore_index=True))
    state = current_state(feed, attacked, remember=False)
    return _Trial(feed, state, alone, attacked, attacks, per_day, minutes)


def batch_of(contract: Contract, records: pd.DataFrame) -> Batch:
    """Return trusted records as one batch, received an hour after the last of them was made."""
    times = records["observed_at"] if "observed_at" in records else records["received_at"]
    last = times.max() if times.notna().any() else records["received_at"].max()
    now: dt.datetime = (last + pd.Timedelta(hours=1)).to_pydatetime()
    received = pd.Series([now] * len(records)).astype(records["received_at"].dtype)
    nothing = empty_frame("issues")
    unreadable = empty_frame("unreadable")
    return Batch(contract.name, "tune", now, (), records.assign(received_at=received), nothing, unreadable)


def _settings(contract: Contract, rates: Sequence[float], alphas: Sequence[float]) -> list[Policy]:
    """Return the feed's policy, at each rate where a signal judges what records hold, then at each alpha."""
    now = contract.policy
    able = {"anomaly", "content"} & set(contract.signals)
    tried = sorted({*(rates if able else ()), now.false_quarantine_rate})
    policies = [dataclasses.replace(now, false_quarantine_rate=rate) for rate in tried]
    if {"source", "campaign"} & set(contract.signals):
        policies += [dataclasses.replace(now, source_alpha=a, campaign_alpha=a) for a in sorted(set(alphas))]
    return list(dict.fromkeys(policies))


def _lines(trial: _Trial, policies: Sequence[Policy]) -> Iterator[Line]:
    fitted: dict[float, Prepared] = {}
    settings, sample = trial.feed.settings, choose_sample(trial.alone.records)
    for policy in policies:
        contract = dataclasses.replace(trial.feed.contract, policy=policy, mode=Mode.ENFORCE)
        rate = policy.false_quarantine_rate
        if rate not in fitted:
            fitted[rate] = prepare(contract, trial.state, sample, device=settings.device, threads=settings.threads)
        yield _line(trial, contract, fitted[rate])


def _line(trial: _Trial, contract: Contract, prepared: Prepared) -> Line:
    policy = contract.policy
    alone, attacked = (_decide(trial, batch, contract, prepared) for batch in (trial.alone, trial.attacked))
    n, lost = len(alone.decisions), int(alone.decisions["place"].isin(_HELD).sum())
    low, high = proportion_bounds(lost, n, low_tail=0.025, high_tail=0.025)
    queue = trial.per_day * (lost / n + (1 - lost / n) * policy.audit_rate)
    return Line(
        rate=policy.false_quarantine_rate,
        source_alpha=policy.source_alpha,
        campaign_alpha=policy.campaign_alpha,
        present=policy == trial.feed.contract.policy,
        honest=n,
        lost=lost,
        lost_low=low,
        lost_high=high,
        lost_by=_by_level(alone),
        missed={name: _missed(attacked, frame, contract) for name, frame in trial.attacks.items()},
        held_a_day=queue,
        hours_a_day=queue * trial.minutes / 60,
        unjudged=next(iter(prepared.missing.values()), None),
    )


def _decide(trial: _Trial, batch: Batch, contract: Contract, prepared: Prepared) -> Decided:
    parts = split(batch.records, contract.data.partition_rows)
    scored = join_partitions([score_partition(part, contract, prepared) for part in parts])
    found = find_batch_evidence(scored, contract, trial.state, prepared)
    nothing = Validation(batch.issues)
    return decide_batch(scored, batch.unreadable, nothing, found, contract, trial.state, prepared)


def _by_level(decided: Decided) -> dict[str, int]:
    counts: Any = decided.measurements["held_by_level"]
    return {str(level): int(n) for level, n in counts.items() if level != "rule"}


def _missed(decided: Decided, attack: pd.DataFrame, contract: Contract) -> float:
    """Return the share of an attack's records that would be learned: neither held nor, as votes, without effect."""
    decisions = decided.decisions.set_index("record_id")
    passed = ~decisions.loc[attack["record_id"], "place"].isin(_HELD).to_numpy()
    if contract.vote and len(decided.items):
        labels = decided.items[decided.items["adopted"].astype(bool)].set_index("item_id")["label"].astype("str")
        adopted = attack["item_id"].map(labels)
        passed &= (adopted == _as_said(attack[contract.vote])).to_numpy(bool, na_value=False)
    return float(np.mean(passed)) if len(passed) else 0.0


def _as_said(votes: pd.Series) -> pd.Series:
    if not pd.api.types.is_numeric_dtype(votes):
        return votes.astype("str")
    return votes.map(lambda v: None if pd.isna(v) else f"{v:g}").astype("str")
