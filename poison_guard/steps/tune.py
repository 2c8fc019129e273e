"""Tune: what each threshold would cost and catch, tried on a feed's own trusted records; nothing is stored."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.config import Contract, Mode, Policy
from poison_guard.decide.reasons import sentence
from poison_guard.errors import UsageError
from poison_guard.numerics.intervals import proportion_bounds
from poison_guard.pipeline import Prepared, decide_batch, find_batch_evidence, prepare, score_partition
from poison_guard.pipeline.prepare import choose_sample
from poison_guard.pipeline.score import join_partitions
from poison_guard.pipeline.validate import Validation
from poison_guard.records import Batch, Decided, Place, State
from poison_guard.results import Result, html_table, text_table
from poison_guard.steps.collect import current_state
from poison_guard.steps.drift import DriftWatch, RunAlarm, batch_of, calibration_drift, run_alarms
from poison_guard.steps.handover import split
from poison_guard.steps.opening import Feed, torch_threads
from poison_guard.steps.own_attacks import own_attacks
from poison_guard.store import list_runs, load_trusted

__all__ = ["Line", "TuneResult", "tune"]


_HELD = (Place.QUARANTINED.value, Place.REJECTED.value)
_LEAST = 20  # holdout records without which nothing can be said
_MOST = 20  # values of a threshold: each is a row and a whole trial
_RUNS = 10_000  # runs looked at for alarms


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
    unjudged: str | None
    """Why no record could be accepted at this rate; None where they can."""

    @property
    def share(self) -> float:
        """Share of the honest records held."""
        return self.lost / self.honest


@dataclass(frozen=True, slots=True)
class TuneResult(Result):
    """What `Guard.tune` returns: the table, and what it was made with."""

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
    watch: Mapping[str, DriftWatch]
    """``holdout``, ``anchor``, ``entered``: how those trusted records lie among the calibration rows."""
    runs: tuple[RunAlarm, ...]
    """Committed and calibrated runs, oldest first, with those that held more than chance explains."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, with the share of honest records lost in every line."""
        document = Result.to_dict(self)
        document["lines"] = [
            {**line, "share": one.share} for line, one in zip(document["lines"], self.lines, strict=True)
        ]
        document["watch"] = {name: watch.to_dict() for name, watch in self.watch.items()}
        return document

    def __str__(self) -> str:
        return "\n".join([text_table(*self._table()), *self.remarks()])

    def _repr_html_(self) -> str:
        return html_table(*self._table())

    def _table(self) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        columns = ("rate", "source alpha", "campaign alpha", "honest lost", *(f"{n} missed" for n in self.attacks))
        rows: list[tuple[object, ...]] = [
            (
                f"{line.rate:g}{' (now)' if line.present else ''}",
                f"{line.source_alpha:g}",
                f"{line.campaign_alpha:g}",
                f"{line.share:.1%}",
                *("waits" if line.unjudged else f"{line.missed[name]:.0%}" for name in self.attacks),
            )
            for line in self.lines
        ]
        return columns, rows

    def remarks(self) -> list[str]:
        """Return what the table was made with, and what it says that a reader should not miss, a sentence each."""
        attacks = ", ".join(f"{n:,} {name}" for name, n in self.attacks.items()) or "none that its columns allow"
        remarks = [
            f"honest: {self.holdout:,} trusted records of the holdout; attacks made of half of them: {attacks}",
            f"hours: {self.per_day:,.0f} records a day ({_VOLUMES[self.per_day_from]}), {self.minutes:g} min a record, "
            f"audits of {self.audit_rate:.1%} of the accepted included; real attacks come on top",
        ]
        over = [line.rate for line in self.lines if line.held_a_day > self.review_budget]
        if over:
            budget = f"review_budget = {self.review_budget:,} a day"
            remarks.append(f"from rate {min(over):g} on there is more to look at than {budget}")
        waits = [f"at rate {x.rate:g} every record would wait: {x.unjudged}" for x in self.lines if x.unjudged]
        drifts = [f"{_WATCHED[name]}: {note}" for name, watch in self.watch.items() for note in watch.notes]
        alarms = [
            f"run {run.run_id} held {run.held:,} of {run.records:,} for their own content, of honest ones "
            f"{run.expected:,.0f} are expected: more than chance"
            for run in [run for run in self.runs if run.raised][-_ALARMS:]
        ]
        return list(dict.fromkeys([*remarks, *waits, *drifts, *alarms]))


_ALARMS = 5  # the newest runs named
_VOLUMES = {"runs": "as its runs took in", "given": "as given", "assumed": "assumed; give --per-day"}
_WATCHED = {
    "holdout": "the holdout, by today's model",
    "anchor": "what was entered first, by today's model",
    "entered": "what was entered since, by a model of the first",
}


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
    minutes: float,
    per_day: float | None,
    seed: int,
) -> TuneResult:
    """Decide the trusted holdout, and attacks made of it, at each of `rates` and at each of `alphas`.

    The models are fitted as in a run, on reference and calibration, which hold none of these records. Half of the
    holdout becomes what attackers have seen. A record's own expectations are not asked: they do not depend on
    thresholds. `minutes` a record; `per_day` records a day (None: as the feed's runs say, else 1,000). `UsageError`
    without a trusted set, with fewer than 20 holdout records, and for a number out of range.
    """
    contract = feed.contract
    _check_range("rates", rates, 0.5)
    _check_range("alphas", alphas, 0.1)
    held_out = _held_out(feed)
    volume, whence = _volume(feed, per_day)
    trial = _trial(feed, held_out, seed, volume, _positive("minutes", minutes))
    policy = contract.policy
    with torch_threads(feed):
        lines = tuple(_lines(trial, _settings(contract, rates, alphas)))
    return TuneResult(
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
        watch=calibration_drift(feed),
        runs=run_alarms(list_runs(feed.store, contract.name, limit=_RUNS)[::-1]),
    )


def _check_range(name: str, values: Sequence[float], most: float) -> None:
    wrong = next((value for value in values if not 0 < value <= most), None)
    if wrong is not None:
        raise UsageError(f"{name} takes numbers in (0, {most:g}], got {wrong:g}")
    if len(values) > _MOST:
        raise UsageError(f"{name} takes at most {_MOST} numbers, got {len(values)}")


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
    seen = _records_a_day(feed)
    return (1000.0, "assumed") if seen is None else (seen, "runs")


def _positive(name: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise UsageError(f"{name} must be a positive number, got {value}")
    return value


def _records_a_day(feed: Feed) -> float | None:
    """Return how many records a day the feed's last runs took in; None before there are two of them."""
    runs = [run for run in list_runs(feed.store, feed.contract.name, limit=100) if run.status == "committed"]
    if len(runs) < 2:
        return None
    span = (runs[0].received_at - runs[-1].received_at).total_seconds() / 86400
    taken = sum(run.counts.get("received", 0) for run in runs[:-1])
    return taken / span if span > 1 / 24 and taken else None


def _trial(feed: Feed, held_out: pd.DataFrame, seed: int, per_day: float, minutes: float) -> _Trial:
    ids = pd.Series([f"honest-{row:06d}" for row in range(len(held_out))], dtype="str")
    honest = held_out.assign(record_id=ids, content_hash=ids)
    attacks = own_attacks(feed.contract, honest.iloc[1::2].reset_index(drop=True), seed=seed)
    alone = batch_of(feed.contract, honest)
    attacked = batch_of(feed.contract, pd.concat([honest.iloc[::2], *attacks.values()], ignore_index=True))
    state = current_state(feed, attacked, remember=False)
    return _Trial(feed, state, alone, attacked, attacks, per_day, minutes)


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
    missing = next(iter(prepared.missing.values()), None)
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
        unjudged=None if missing is None else sentence(missing.code, missing.args),
    )


def _decide(trial: _Trial, batch: Batch, contract: Contract, prepared: Prepared) -> Decided:
    parts = split(batch.records, contract.data.partition_rows)
    scored = join_partitions([score_partition(part, contract, prepared) for part in parts])
    batch_evidence = find_batch_evidence(scored, contract, trial.state, prepared)
    nothing = Validation(batch.issues)
    return decide_batch(scored, batch.unreadable, nothing, batch_evidence, contract, trial.state, prepared)


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
