"""The reduce step: all scored partitions to what only the whole batch shows: sources, campaigns, conflicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd

from poison_guard.config import Contract
from poison_guard.pipeline.finders import FINDERS, Seen
from poison_guard.pipeline.guarded import Crash, SignalError, guarded
from poison_guard.pipeline.prepare import Prepared
from poison_guard.pipeline.score import read_vectors
from poison_guard.records import Campaign, Place, Reason, State

__all__ = ["Globals", "find_globals", "seen_before"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Globals:
    """What the batch as a whole says. `established` is ``(n,)`` bool a row of the scored frame."""

    sources: pd.DataFrame
    campaigns: tuple[Campaign, ...]
    conflicts: pd.DataFrame
    established: np.ndarray
    crashes: dict[str, Reason]


def find_globals(scored: pd.DataFrame, contract: Contract, state: State, prepared: Prepared) -> Globals:
    """Return the global evidence of a scored frame that is sorted by ``record_id`` (so that order cannot matter)."""
    from poison_guard.signals.sources import cohort_conflict, established

    old = established(scored, state.ledger, scored["received_at"])
    crashes: dict[str, Reason] = {}
    sources, conflicts = pd.DataFrame(), pd.DataFrame({"item_id": [], "established_answer": [], "new_answer": []})
    if contract.vote:
        votes = _votes(scored[~seen_before(scored, state)])
        trusty = old[votes.index]
        found = guarded(lambda: _sources(votes, trusty, contract, state))
        sources = _or_crash(found, "source", crashes, pd.DataFrame())
        conflicts = cohort_conflict(*_spoken(votes, trusty, earlier_answers(scored, state)))
    campaigns: tuple[Campaign, ...] = ()
    if "campaign" in contract.signals:
        found = guarded(lambda: _campaigns(scored, contract, prepared, earlier_records(scored, state)))
        campaigns = _or_crash(found, "campaign", crashes, ())
    return Globals(sources, campaigns, conflicts, np.asarray(old, bool), crashes)


def seen_before(scored: pd.DataFrame, state: State) -> np.ndarray:
    """Return which rows ``(n,)`` were settled by an earlier run: delivered again, they count no second time."""
    known = state.known[state.known["place"] != Place.STAGED.value]
    settled = set(zip(known["record_id"], known["content_hash"], strict=True))
    if not settled:
        return np.zeros(len(scored), bool)
    pairs = zip(scored["record_id"], scored["content_hash"], strict=True)
    return np.fromiter((pair in settled for pair in pairs), bool, len(scored))


def earlier_answers(scored: pd.DataFrame, state: State) -> pd.DataFrame:
    """Return what was accepted before about items of this batch: ``item_id, source_id, vote, observed_at``."""
    fresh = ~state.answers["record_id"].isin(scored["record_id"])
    earlier = state.answers.loc[fresh, ["item_id", "source_id", "answer", "observed_at"]]
    return earlier.rename(columns={"answer": "vote"})


def _spoken(votes: pd.DataFrame, trusty: pd.Series, earlier: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """Return `votes` and `earlier` together; what was accepted before counts as an established word."""
    before = earlier[["item_id", "source_id", "vote"]].rename(columns={"vote": "answer"}).dropna()
    word = pd.Series(np.ones(len(before), bool))
    return pd.concat([votes, before], ignore_index=True), pd.concat([trusty, word], ignore_index=True)


def _or_crash(found: _T | Crash, signal: str, crashes: dict[str, Reason], empty: _T) -> _T:
    if isinstance(found, Crash):
        crashes[signal] = Reason("signal_missing", {"signal": signal, "why": str(found)})
        return empty
    return found


def _votes(scored: pd.DataFrame) -> pd.DataFrame:
    votes = scored[["item_id", "source_id", "vote"]].rename(columns={"vote": "answer"})
    return votes.dropna()


def _sources(votes: pd.DataFrame, old: pd.Series, contract: Contract, state: State) -> pd.DataFrame:
    from poison_guard.signals.sources import score_sources

    alpha = contract.policy.source_alpha
    return score_sources(votes, ledger=state.ledger, controls=state.controls, alpha=alpha, established=old)


def _need_whole(scored: pd.DataFrame, contract: Contract) -> None:
    """Raise `SignalError` where a partition lacks what campaigns are found by: the others would pass unlooked at."""
    for name in (column for column in scored.columns if column.startswith("crash.")):
        for why in scored[name].dropna().head(1):
            raise SignalError(str(why))
    if contract.features and len(scored) > 1 and read_vectors(scored) is None:
        raise SignalError("there is no model to compare feature vectors by")


def _campaigns(
    scored: pd.DataFrame, contract: Contract, prepared: Prepared, earlier: pd.DataFrame
) -> tuple[Campaign, ...]:
    from poison_guard.signals.campaigns import merge_campaigns

    _need_whole(scored, contract)
    trusted = prepared.anomaly.reference_vectors() if prepared.anomaly is not None else None
    seen = Seen(scored, contract, earlier, trusted)
    able = [finder for finder in FINDERS.values() if finder.able(seen)]
    share = contract.policy.campaign_alpha / max(1, len(able))
    return merge_campaigns([campaign for finder in able for campaign in finder.find(seen, share)])


def earlier_records(scored: pd.DataFrame, state: State) -> pd.DataFrame:
    """Return what is remembered of earlier records, none of this batch, and of its items what was accepted before.

    Without it an hour's batch would show a raid alone with itself: all that anybody says of its items there.
    """
    answers = state.answers.rename(columns={"answer": "vote"}).assign(place=Place.ACCEPTED.value)
    answers = answers[~answers["record_id"].isin(state.memory["record_id"])]
    both = pd.concat([state.memory, answers], ignore_index=True) if len(answers) else state.memory
    return both[~both["record_id"].isin(scored["record_id"])].reset_index(drop=True)
