"""The reduce step: all scored partitions to what only the whole batch shows: sources, campaigns, conflicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
    from poison_guard.signals.campaigns import BatchView, find_campaigns
    from poison_guard.signals.sources import canonicalise, established

    new, earlier = ~_seen_before(scored, state), _earlier_records(scored, state)
    accepted = _accepted_before(scored, state)
    old = established(scored, state.ledger, scored["received_at"], state.memory).to_numpy(bool)
    before = established(accepted, state.ledger, scored["received_at"].max(), state.memory)
    accepted = accepted.assign(established=before)
    votes = scored[[*_VOTE, "observed_at"]].assign(established=old)
    crashes: dict[str, Reason] = {}
    canonical = _clusters(votes, accepted, contract, state, crashes)
    campaigns: tuple[Campaign, ...] = ()
    if "campaign" in contract.signals:
        newcomer = ~np.r_[old, established(earlier, state.ledger, earlier["received_at"]).to_numpy(bool)]
        trusted = None if prepared.anomaly is None else prepared.anomaly.reference_vectors()
        view = BatchView(scored, contract, earlier, newcomer, trusted)
        alike = replace(view, scored=canonicalise(scored, canonical), earlier=canonicalise(earlier, canonical))
        campaigns = _isolated(
            "campaign", crashes, campaigns, lambda: find_campaigns(view, alike if canonical else None)
        )
    member = scored["record_id"].isin([record for campaign in campaigns for record in campaign.record_ids]).to_numpy()
    if canonical and campaigns:  # campaign members do not vote on the canonical wording
        canonical = _clusters(votes.assign(established=old & ~member), accepted, contract, state, crashes)
    recent = earlier.loc[earlier["place"] != Place.REJECTED.value, ["item_id", "vote"]].dropna()
    votes, accepted, recent = (canonicalise(frame, canonical) for frame in (votes, accepted, recent))
    sources = _sources(votes[new], scored, contract, state, crashes)
    alone = votes[new & ~(member & ~old)]
    conflicts = _conflicts(alone, accepted, campaigns, contract) if contract.vote else empty_frame("conflicts")
    return BatchEvidence(sources, campaigns, conflicts, crashes, canonical, votes, accepted, recent)


def _seen_before(scored: pd.DataFrame, state: State) -> np.ndarray:
    """Return which rows ``(n,)`` were settled by an earlier run: delivered again, they count no second time."""
    known = state.known[state.known["place"] != Place.STAGED.value]
    settled = set(zip(known["record_id"], known["content_hash"], strict=True))
    pairs = zip(scored["record_id"], scored["content_hash"], strict=True)
    return np.fromiter((pair in settled for pair in pairs), bool, len(scored))


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
    options = {"controls": state.controls, "trusted": both["established"], "context": context}
    return _isolated("source", crashes, nothing, lambda: cluster_answers(both, **options))


def _complete(*votes: pd.DataFrame) -> pd.DataFrame:
    """Return ``item_id, source_id, vote, established`` of the votes of all frames that miss nothing."""
    return pd.concat([frame[[*_VOTE, "established"]].dropna() for frame in votes], ignore_index=True)


def _isolated(signal: str, crashes: dict[str, Reason], empty: _T, find: Callable[[], _T]) -> _T:
    """Return what `find` returns; where it fails, note the failure of the signal in `crashes` and return `empty`."""
    result = run_isolated(find)
    if isinstance(result, SignalFailure):
        crashes[signal] = Reason("signal_missing", {"signal": signal, "why": str(result)})
        return empty
    return result


def _sources(
    votes: pd.DataFrame, scored: pd.DataFrame, contract: Contract, state: State, crashes: dict[str, Reason]
) -> pd.DataFrame:
    """Return how far the batch's sources can be believed: by their new votes, or where there are none by history."""
    from poison_guard.signals.sources import score_history, score_sources

    policy = contract.policy
    options = {"ledger": state.ledger, "alpha": policy.source_alpha, "verified": state.verified}
    options["half_life"] = policy.half_life
    if not contract.vote:
        return _isolated(
            "source", crashes, pd.DataFrame(), lambda: score_history(scored["source_id"].dropna(), **options)
        )
    complete = votes.dropna(subset=_VOTE)
    by = {"controls": state.controls, "established": complete["established"]}
    return _isolated("source", crashes, pd.DataFrame(), lambda: score_sources(complete, **by, **options))


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
