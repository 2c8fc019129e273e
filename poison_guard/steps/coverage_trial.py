"""Try attacks of one kind and one size after the other on a feed's own records, as a run would judge them now."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from poison_guard.config import Contract, Mode
from poison_guard.decide.coverage import MeasuredKind
from poison_guard.frames import empty_frame
from poison_guard.pipeline import (
    Prepared,
    choose_sample,
    find_batch_evidence,
    join_partitions,
    prepare,
    score_partition,
)
from poison_guard.pipeline.batch_evidence import BatchEvidence
from poison_guard.pipeline.decide import weigh
from poison_guard.records import Place, State
from poison_guard.steps.collect import current_state
from poison_guard.steps.drift import batch_of
from poison_guard.steps.opening import Feed
from poison_guard.steps.own_attacks import Size, attack_of, attack_sizes

__all__ = ["TRIES", "Trial", "make_trial", "measure_kind"]

TRIES = 10
"""Attacks of a size that must all be held for the kind to be seen from it."""
_HELD = 0.5  # share of an attack's records that must be held for the attack to be
_PLACES = (Place.QUARANTINED.value, Place.REJECTED.value)


@dataclass(frozen=True)
class Trial:
    """What every attack is tried on: a feed's own records, scored, and all that they are judged by."""

    contract: Contract
    records: pd.DataFrame
    scored: pd.DataFrame
    state: State
    prepared: Prepared

    @cached_property
    def _own(self) -> tuple[float, frozenset[str]]:
        evidence = find_batch_evidence(self.scored, self.contract, self.state, self.prepared)
        return float(self._held(self.scored, evidence).mean()), evidence.compared

    @property
    def honest_held(self) -> float:
        """Share of the own records that are held without an attack."""
        return self._own[0]

    @property
    def compared(self) -> frozenset[str]:
        """Signals and finders that have something to compare in these records."""
        return self._own[1]

    def _held(self, scored: pd.DataFrame, evidence: BatchEvidence) -> np.ndarray:
        decisions = weigh(scored, empty_frame("failures"), evidence, self.contract, self.state)[0]
        return decisions["place"].isin(_PLACES).to_numpy()

    def is_held(self, attack: pd.DataFrame) -> bool:
        """Return whether at least half of an attack's records are held when they come among the own ones."""
        return self.shares_held(attack)[0] >= _HELD

    def shares_held(self, attack: pd.DataFrame) -> tuple[float, float]:
        """Return the shares held of an attack's records, which come among the own ones, and of the own ones."""
        scored = join_partitions([self.scored, score_partition(attack, self.contract, self.prepared)])
        evidence = find_batch_evidence(scored, self.contract, self.state, self.prepared)
        of_attack = scored["record_id"].isin(attack["record_id"]).to_numpy()
        held = self._held(scored, evidence)
        return float(held[of_attack].mean()), float(held[~of_attack].mean())


def make_trial(feed: Feed, records: pd.DataFrame, controls: pd.DataFrame, *, device: str = "cpu") -> Trial:
    """Score a feed's own `records` by what the guard knows now."""
    contract = dataclasses.replace(feed.contract, mode=Mode.ENFORCE)
    batch = batch_of(contract, records)
    records, state = batch.records, current_state(feed, batch, controls=controls, remember=False)
    prepared = prepare(contract, state, choose_sample(records), device=device, threads=feed.settings.threads)
    return Trial(contract, records, score_partition(records, contract, prepared), state, prepared)


def measure_kind(trial: Trial, kind: str, seed: int) -> MeasuredKind | None:
    """Return from what size attacks of a kind are all held; None where the records have no room for any.

    Sizes are searched by halving. Since ten attacks that are all held may be luck, the next larger size is named, or
    where there is none, or the smallest is held, the same one after ten more.
    """
    sizes = attack_sizes(trial.contract, kind, trial.records)
    if not sizes:
        return None

    def held(size: Size, draw: int, *, all_or_none: bool = True, aged: bool = False) -> float:
        return _share(
            lambda attempt: trial.is_held(
                attack_of(trial.contract, trial.records, kind, size, seed=_seed(seed, draw, attempt), aged=aged)
            ),
            all_or_none=all_or_none,
        )

    most = held(sizes[-1], 0, all_or_none=False)
    if most < 1:
        return MeasuredKind(most, sizes[-1][0])
    low, high = -1, len(sizes) - 1  # all at `high` are held, not all at `low`
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if held(sizes[middle], 0) == 1 else (middle, high)
    if high < len(sizes) - 1 and low >= 0:
        high += 1
    while high < len(sizes) and held(sizes[high], 1) < 1:
        high += 1
    if high == len(sizes):
        return MeasuredKind(most, sizes[-1][0])
    records, accounts = sizes[high]
    aged = None
    if accounts and trial.contract.has("source_since"):
        aged = held(sizes[high], 2, aged=True) == 1
    return MeasuredKind(most, sizes[-1][0], records, accounts, aged)


def _seed(seed: int, draw: int, attempt: int) -> int:
    return (seed * 3 + draw) * TRIES + attempt


def _share(try_one: Callable[[int], bool], *, all_or_none: bool) -> float:
    """Return the share of the tries that are held; 0 after the first that is not, where `all_or_none`."""
    held = 0
    for attempt in range(TRIES):
        if try_one(attempt):
            held += 1
        elif all_or_none:
            return 0.0
    return held / TRIES
