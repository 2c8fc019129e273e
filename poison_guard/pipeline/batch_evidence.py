"""The reduce step: all scored partitions to what only the whole batch shows: sources, campaigns, conflicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd

from poison_guard.config import Contract
from poison_guard.errors import SignalFailure, run_isolated
from poison_guard.frames import empty_frame
from poison_guard.pipeline.prepare import Prepared
from poison_guard.records import Campaign, Place, Reason, State

if TYPE_CHECKING:
    from poison_guard.signals.sources.answer_clusters import CanonicalAnswers

__all__ = ["BatchEvidence", "find_batch_evidence"]


_CONTEXT = 1000  # remembered votes that help to tell what kind of answers a feed has
_T = TypeVar("_T")
_VOTE = ["item_id", "source_id", "vote"]
_ACCEPTED = ["record_id", "item_id", "source_id", "vote", "observed_at", "source_since"]


@dataclass(frozen=True, slots=True)
class BatchEvidence:
    """What the batch as a whole shows, and the votes that count; free text is written alike in all of them."""

    sources: pd.DataFrame
    campaigns: tuple[Campaign, ...]
    conflicts: pd.DataFrame
    crashes: Mapping[str, Reason]
    canonical: CanonicalAnswers
    """How free-text answers are written instead, by item and answer."""
    votes: pd.DataFrame
    """``item_id, source_id, vote, observed_at, established``, one row a row of the scored frame."""
    accepted: pd.DataFrame
    """Votes accepted before about the batch's items: `_ACCEPTED` and ``established``."""
    recent: pd.DataFrame
    """``item_id, vote`` of remembered records of earlier batches that people did not reject."""


def find_batch_evidence(scored: pd.DataFrame, contract: Contract, state: State, prepared: Prepared) -> BatchEvidence:
    """Return the batch evidence of a scored frame that is sorted by ``record_id`` (so that order cannot matter)."""
    from poison_guard.signals.sources import canonicalise, established, score_history, score_sources

    crashes: dict[str, Reason] = {}
    new, earlier, accepted = (
        ~_seen_before(scored, state),
        _earlier_records(scored, state),
        _accepted_before(scored, state),
    )
    old = established(scored, state.ledger, scored["received_at"], state.memory).to_numpy(bool)
    since = established(accepted, state.ledger, scored["received_at"].max(), state.memory)
    accepted = accepted.assign(established=since)
    votes = scored[["item_id", "source_id", "vote", "observed_at"]].assign(established=old)
    canonical = _clusters(votes, accepted, contract, state, crashes)
    campaigns = _campaigns(scored, earlier, old, contract, state, prepared, canonical, crashes)
    member = scored["record_id"].isin([record for campaign in campaigns for record in campaign.record_ids])
    if canonical and campaigns:  # campaign members do not vote on the canonical wording
        canonical = _clusters(votes.assign(established=old & ~member), accepted, contract, state, crashes)
    recent = earlier.loc[earlier["place"] != Place.REJECTED.value, ["item_id", "vote"]].dropna()
    votes, accepted, recent = (canonicalise(frame, canonical) for frame in (votes, accepted, recent))
    policy = contract.policy
    known = {
        "ledger": state.ledger,
        "alpha": policy.source_alpha,
        "verified": state.verified,
        "half_life": policy.half_life,
    }
    given = votes[new].dropna(subset=_VOTE)
    if contract.vote:
        established_votes = given["established"]
        scores = run_isolated(
            lambda: score_sources(given, controls=state.controls, established=established_votes, **known)
        )
    else:
        scores = run_isolated(lambda: score_history(scored["source_id"].dropna(), **known))
    sources = _or_failure(scores, "source", crashes, pd.DataFrame())
    alone = votes[new & ~(member.to_numpy() & ~old)]
    conflicts = _conflicts(alone, accepted, campaigns, contract) if contract.vote else empty_frame("conflicts")
    return BatchEvidence(sources, campaigns, conflicts, crashes, canonical, votes, accepted, recent)


def _seen_before(scored: pd.DataFrame, state: State) -> np.ndarray:
    """Return which rows ``(n,)`` were settled by an earlier run: delivered again, they count no second time."""
    known = state.known[state.known["place"] != Place.STAGED.value]
    settled = set(zip(known["record_id"], known["content_hash"], strict=True))
    pairs = zip(scored["record_id"], scored["content_hash"], strict=True)
    return (
        np.fromiter((pair in settled for pair in pairs), bool, len(scored)) if settled else np.zeros(len(scored), bool)
    )


def _earlier_records(scored: pd.DataFrame, state: State) -> pd.DataFrame:
    """Return what is remembered of earlier records, none of this batch, and of its items what was accepted before.

    Without the others an hour's batch would show a raid alone with itself: all that anybody says of its items there.
    """
    answers = state.answers[~state.answers["record_id"].isin(state.memory["record_id"])]
    answers = answers.assign(place=Place.ACCEPTED.value)
    both = pd.concat([state.memory, answers], ignore_index=True) if len(answers) else state.memory
    return both[~both["record_id"].isin(scored["record_id"])].reset_index(drop=True)


def _accepted_before(scored: pd.DataFrame, state: State) -> pd.DataFrame:
    """Return the votes accepted before about items of this batch (`_ACCEPTED`).

    When an account was made is known from what is remembered of its source, where the answer does not say.
    """
    before = state.answers[~state.answers["record_id"].isin(scored["record_id"])].reset_index(drop=True)
    before = before.reindex(columns=[c for c in _ACCEPTED if c in before or c == "source_since"])
    known = pd.concat([state.memory[["source_id", "source_since"]], scored[["source_id", "source_since"]]])
    since = known.dropna().groupby("source_id")["source_since"].max().reindex(before["source_id"])
    remembered = pd.to_datetime(since.set_axis(before.index), utc=True)
    return before.assign(source_since=pd.to_datetime(before["source_since"], utc=True).fillna(remembered))


def _clusters(
    votes: pd.DataFrame, accepted: pd.DataFrame, contract: Contract, state: State, crashes: dict[str, Reason]
) -> CanonicalAnswers:
    """Return how answers of free text are written alike: this batch's and those accepted before about its items."""
    from poison_guard.signals.sources import cluster_answers

    nothing: CanonicalAnswers = {}
    if not contract.vote:
        return nothing
    both, context = _complete(votes, accepted), state.memory[_VOTE].dropna().tail(_CONTEXT)
    clusters = run_isolated(
        lambda: cluster_answers(both, controls=state.controls, trusted=both["established"], context=context)
    )
    return _or_failure(clusters, "source", crashes, nothing)


def _complete(*votes: pd.DataFrame) -> pd.DataFrame:
    """Return ``item_id, source_id, vote, established`` of the votes of all frames that miss nothing."""
    return pd.concat([frame[[*_VOTE, "established"]].dropna() for frame in votes], ignore_index=True)


def _or_failure(result: _T | SignalFailure, signal: str, crashes: dict[str, Reason], empty: _T) -> _T:
    if isinstance(result, SignalFailure):
        crashes[signal] = Reason("signal_missing", {"signal": signal, "why": str(result)})
        return empty
    return result


def _campaigns(
    scored: pd.DataFrame,
    earlier: pd.DataFrame,
    established_rows: np.ndarray,
    contract: Contract,
    state: State,
    prepared: Prepared,
    canonical: CanonicalAnswers,
    crashes: dict[str, Reason],
) -> tuple[Campaign, ...]:
    """Return the campaigns; of free text those that paste it, and those that push one thing in other words."""
    from poison_guard.signals.campaigns import find_campaigns
    from poison_guard.signals.sources import canonicalise, established

    if "campaign" not in contract.signals:
        return ()
    alike = (canonicalise(scored, canonical), canonicalise(earlier, canonical)) if canonical else None
    before = established(earlier, state.ledger, earlier["received_at"])
    newcomer = ~np.r_[established_rows, before.to_numpy(bool)]
    found = run_isolated(
        lambda: find_campaigns(
            scored,
            earlier,
            contract,
            newcomer=newcomer,
            trusted=None if prepared.anomaly is None else prepared.anomaly.reference_vectors(),
            alike=alike,
        )
    )
    return _or_failure(found, "campaign", crashes, ())


def _conflicts(
    votes: pd.DataFrame, accepted: pd.DataFrame, campaigns: tuple[Campaign, ...], contract: Contract
) -> pd.DataFrame:
    """Return the items where newcomers contradict established sources, a campaign's newcomers left out."""
    from poison_guard.signals.sources import cohort_conflict

    members = {record for campaign in campaigns for record in campaign.earlier_ids}
    before = accepted[accepted["established"] | ~accepted["record_id"].isin(members)]
    if not contract.has("source_since"):  # nobody's age is known: what was accepted has a history of its own
        before = before.assign(established=True)
    both = _complete(votes, before)
    return cohort_conflict(both, both["established"])
