"""The reduce step: all scored partitions to what only the whole batch shows: sources, campaigns, conflicts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd

from poison_guard.config import Contract
from poison_guard.errors import SignalError, SignalFailure, run_isolated
from poison_guard.pipeline.prepare import Prepared
from poison_guard.records import Campaign, Place, Reason, State
from poison_guard.signals.campaigns.finders import FINDERS, Seen, read_vectors

if TYPE_CHECKING:
    from poison_guard.signals.sources.answer_clusters import CanonicalAnswers

__all__ = ["BatchEvidence", "find_batch_evidence", "seen_before"]


_CONTEXT = 1000  # remembered votes that help to tell what kind of answers a feed has
_T = TypeVar("_T")
_NO_CONFLICTS = pd.DataFrame({"item_id": [], "established_answer": [], "new_answer": []})
_ANSWER = ("record_id", "item_id", "source_id", "answer", "observed_at", "source_since")


@dataclass(frozen=True, slots=True)
class BatchEvidence:
    """What the batch as a whole says. `established` is ``(n,)`` bool a row of the scored frame."""

    sources: pd.DataFrame
    campaigns: tuple[Campaign, ...]
    conflicts: pd.DataFrame
    established: np.ndarray
    crashes: dict[str, Reason]
    wordings: CanonicalAnswers = field(default_factory=dict)
    """How free text is written alike, by item and answer."""


def find_batch_evidence(scored: pd.DataFrame, contract: Contract, state: State, prepared: Prepared) -> BatchEvidence:
    """Return the global evidence of a scored frame that is sorted by ``record_id`` (so that order cannot matter)."""
    from poison_guard.signals.sources import established

    old = established(scored, state.ledger, scored["received_at"], state.memory)
    crashes: dict[str, Reason] = {}
    alike = _clusters_or_failure(scored, old, contract, state, crashes)
    campaigns: tuple[Campaign, ...] = ()
    if "campaign" in contract.signals:
        named = run_isolated(lambda: _campaigns(scored, old, contract, state, prepared, alike))
        campaigns = _or_failure(named, "campaign", crashes, ())
    if alike and campaigns:  # who is in one chooses no words
        alike = _clusters_or_failure(scored, old & ~_in_campaign(scored, campaigns), contract, state, crashes)
    scored, state = with_clusters(alike, scored, state)
    found = run_isolated(lambda: _sources(scored, old, contract, state))
    sources = _or_failure(found, "source", crashes, pd.DataFrame())
    conflicts = _conflicts(scored, old, contract, state, campaigns) if contract.vote else _NO_CONFLICTS
    return BatchEvidence(sources, campaigns, conflicts, np.asarray(old, bool), crashes, alike)


def with_clusters(alike: CanonicalAnswers, scored: pd.DataFrame, state: State) -> tuple[pd.DataFrame, State]:
    """Return the scored frame and the state with free text written alike, as `BatchEvidence.wordings` says."""
    from poison_guard.signals.sources import canonicalise

    if not alike:
        return scored, state
    answers, memory = canonicalise(state.answers, alike, "answer"), canonicalise(state.memory, alike, "vote")
    return canonicalise(scored, alike, "vote"), replace(state, answers=answers, memory=memory)


def _clusters_or_failure(
    scored: pd.DataFrame, old: pd.Series, contract: Contract, state: State, crashes: dict[str, Reason]
) -> CanonicalAnswers:
    nothing: CanonicalAnswers = {}
    return _or_failure(run_isolated(lambda: _answer_clusters(scored, old, contract, state)), "source", crashes, nothing)


def _answer_clusters(scored: pd.DataFrame, old: pd.Series, contract: Contract, state: State) -> CanonicalAnswers:
    """Return how answers of free text are written alike: this batch's and those accepted before about its items."""
    from poison_guard.signals.sources import cluster_answers

    if not contract.vote:
        return {}
    votes = _votes(scored)
    both, trusty = _with_earlier(votes, old[votes.index], earlier_answers(scored, state))
    known = state.memory[["item_id", "source_id", "vote"]].dropna().tail(_CONTEXT).rename(columns={"vote": "answer"})
    return cluster_answers(both, controls=state.controls, trusted=trusty, context=known)


def _conflicts(
    scored: pd.DataFrame, old: pd.Series, contract: Contract, state: State, campaigns: tuple[Campaign, ...]
) -> pd.DataFrame:
    """Return the items where newcomers contradict established sources, a campaign's newcomers left out."""
    from poison_guard.signals.sources import cohort_conflict

    alone = ~seen_before(scored, state) & ~(_in_campaign(scored, campaigns) & ~old.to_numpy(bool))
    spoken = _votes(scored[alone])
    before = earlier_answers(scored, state)
    members = {record for campaign in campaigns for record in campaign.earlier_ids}
    before = before[before["established"] | ~before["record_id"].isin(members)]
    if not contract.has("source_since"):  # nobody's age is known: what was accepted has a history of its own
        before = before.assign(established=True)
    return cohort_conflict(*_with_earlier(spoken, old[spoken.index], before))


def _in_campaign(scored: pd.DataFrame, campaigns: tuple[Campaign, ...]) -> np.ndarray:
    """Return which rows ``(n,)`` belong to a campaign: its newcomers are one voice, which contradicts nobody alone."""
    members = {record for campaign in campaigns for record in campaign.record_ids}
    return scored["record_id"].isin(members).to_numpy(bool)


def seen_before(scored: pd.DataFrame, state: State) -> np.ndarray:
    """Return which rows ``(n,)`` were settled by an earlier run: delivered again, they count no second time."""
    known = state.known[state.known["place"] != Place.STAGED.value]
    settled = set(zip(known["record_id"], known["content_hash"], strict=True))
    if not settled:
        return np.zeros(len(scored), bool)
    pairs = zip(scored["record_id"], scored["content_hash"], strict=True)
    return np.fromiter((pair in settled for pair in pairs), bool, len(scored))


def earlier_answers(scored: pd.DataFrame, state: State) -> pd.DataFrame:
    """Return what was accepted before about items of this batch.

    Columns: ``record_id, item_id, source_id, vote, observed_at, source_since, established``. When an account was made
    is known from what is remembered of its source, where the answer does not say.
    """
    from poison_guard.signals.sources import established

    fresh = ~state.answers["record_id"].isin(scored["record_id"])
    columns = [c for c in _ANSWER if c in state.answers]
    before = state.answers.loc[fresh, columns].reset_index(drop=True)
    known = pd.concat([state.memory[["source_id", "source_since"]], scored[["source_id", "source_since"]]])
    since = (
        known.dropna().groupby("source_id")["source_since"].max().reindex(before["source_id"]).set_axis(before.index)
    )
    given = before.get("source_since", since)
    before["source_since"] = pd.to_datetime(given, utc=True).fillna(pd.to_datetime(since, utc=True))
    old = established(before, state.ledger, scored["received_at"].max(), state.memory)
    return before.rename(columns={"answer": "vote"}).assign(established=old)


def _with_earlier(votes: pd.DataFrame, trusty: pd.Series, earlier: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """Return `votes` and `earlier` together, and which of them are an established source's word."""
    before = earlier[["item_id", "source_id", "vote", "established"]].rename(columns={"vote": "answer"}).dropna()
    both = pd.concat([votes, before.drop(columns="established")], ignore_index=True)
    return both, pd.concat([trusty, before["established"].astype(bool)], ignore_index=True)


def _or_failure(found: _T | SignalFailure, signal: str, crashes: dict[str, Reason], empty: _T) -> _T:
    if isinstance(found, SignalFailure):
        crashes[signal] = Reason("signal_missing", {"signal": signal, "why": str(found)})
        return empty
    return found


def _votes(scored: pd.DataFrame) -> pd.DataFrame:
    votes = scored[["item_id", "source_id", "vote", "observed_at"]].rename(columns={"vote": "answer"})
    return votes.dropna(subset=["item_id", "source_id", "answer"])


def _sources(scored: pd.DataFrame, old: pd.Series, contract: Contract, state: State) -> pd.DataFrame:
    """Return what is known of the batch's sources: by their votes, or where there are none by their history."""
    from poison_guard.signals.sources import score_history, score_sources

    policy = contract.policy
    known = {"ledger": state.ledger, "alpha": policy.source_alpha, "verified": state.verified}
    if not contract.vote:
        return score_history(scored["source_id"].dropna(), half_life=policy.half_life, **known)
    votes = _votes(scored[~seen_before(scored, state)])
    trusty = old[votes.index]
    return score_sources(votes, controls=state.controls, established=trusty, half_life=policy.half_life, **known)


def _need_whole(scored: pd.DataFrame, contract: Contract) -> None:
    """Raise `SignalError` where a partition lacks what campaigns are found by: the others would pass unlooked at."""
    for name in (c for c in scored.columns if c.startswith("crash.") and c != "crash.content"):
        for why in scored[name].dropna().head(1):
            raise SignalError(str(why))
    if contract.features and len(scored) > 1 and read_vectors(scored) is None:
        raise SignalError("there is no model to compare feature vectors by")


def _campaigns(
    scored: pd.DataFrame, old: pd.Series, contract: Contract, state: State, prepared: Prepared, alike: CanonicalAnswers
) -> tuple[Campaign, ...]:
    """Return the campaigns; of free text those that paste it, and those that push one thing in other words."""
    from poison_guard.signals.campaigns import merge_campaigns

    _need_whole(scored, contract)
    views = [(_seen(scored, state, old, contract, prepared), list(FINDERS.values()))]
    if alike:
        by_vote = [finder for finder in FINDERS.values() if finder.votes]
        views.append((_seen(*with_clusters(alike, scored, state), old, contract, prepared), by_vote))
    able = [(seen, finder) for seen, finders in views for finder in finders if finder.able(seen)]
    share = contract.policy.campaign_alpha / max(1, len(able))
    return merge_campaigns([campaign for seen, finder in able for campaign in finder.find(seen, share)])


def _seen(scored: pd.DataFrame, state: State, old: pd.Series, contract: Contract, prepared: Prepared) -> Seen:
    from poison_guard.signals.sources import established

    trusted = prepared.anomaly.reference_vectors() if prepared.anomaly is not None else None
    earlier = earlier_records(scored, state)
    before = established(earlier, state.ledger, earlier["received_at"])
    return Seen(scored, contract, earlier, ~np.r_[old.to_numpy(bool), before.to_numpy(bool)], trusted)


def earlier_records(scored: pd.DataFrame, state: State, without: Place | None = None) -> pd.DataFrame:
    """Return what is remembered of earlier records, none of this batch, and of its items what was accepted before.

    Those in the place `without` are left out. Without the others an hour's batch would show a raid alone with itself:
    all that anybody says of its items there.
    """
    answers = state.answers.rename(columns={"answer": "vote"}).assign(place=Place.ACCEPTED.value)
    answers = answers[~answers["record_id"].isin(state.memory["record_id"])]
    both = pd.concat([state.memory, answers], ignore_index=True) if len(answers) else state.memory
    other = ~both["record_id"].isin(scored["record_id"])
    return both[other & (both["place"] != (without.value if without else ""))].reset_index(drop=True)
