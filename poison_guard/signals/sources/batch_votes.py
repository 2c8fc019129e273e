"""What the votes of a batch show: how free text is written alike, how far sources can be believed, who contradicts."""

from __future__ import annotations

import pandas as pd

from poison_guard.config import Contract
from poison_guard.records import Campaign, State
from poison_guard.signals.sources.answer_clusters import CanonicalAnswers, cluster_answers
from poison_guard.signals.sources.cohorts import cohort_conflict
from poison_guard.signals.sources.reliability import score_history, score_sources

__all__ = ["cluster_votes", "find_conflicts", "judge_sources"]

_CONTEXT = 1000  # remembered votes that help to tell what kind of answers a feed has
_VOTE = ["item_id", "source_id", "vote"]


def cluster_votes(votes: pd.DataFrame, accepted: pd.DataFrame, contract: Contract, state: State) -> CanonicalAnswers:
    """Return how answers of free text are written alike: this batch's and those accepted before about its items.

    `votes` and `accepted` are ``item_id, source_id, vote, established``, here and below.
    """
    if not contract.vote:
        return {}
    both, context = _complete(votes, accepted), state.memory[_VOTE].dropna().tail(_CONTEXT)
    return cluster_answers(both, controls=state.controls, trusted=both["established"], context=context)


def judge_sources(votes: pd.DataFrame, scored: pd.DataFrame, contract: Contract, state: State) -> pd.DataFrame:
    """Return how far the batch's sources can be believed: by their new votes, or where there are none by history."""
    policy = contract.policy
    options = {"ledger": state.ledger, "alpha": policy.source_alpha, "verified": state.verified}
    options["half_life"] = policy.half_life
    if not contract.vote:
        return score_history(scored["source_id"].dropna(), **options)
    complete = votes.dropna(subset=_VOTE)
    return score_sources(complete, controls=state.controls, established=complete["established"], **options)


def find_conflicts(
    votes: pd.DataFrame, accepted: pd.DataFrame, campaigns: tuple[Campaign, ...], contract: Contract
) -> pd.DataFrame:
    """Return the items where newcomers contradict established sources, a campaign's newcomers left out."""
    members = {record for campaign in campaigns for record in campaign.earlier_ids}
    before = accepted[accepted["established"] | ~accepted["record_id"].isin(members)]
    if not contract.has("source_since"):  # nobody's age is known: what was accepted has a history of its own
        before = before.assign(established=True)
    both = _complete(votes, before)
    return cohort_conflict(both, both["established"])


def _complete(*votes: pd.DataFrame) -> pd.DataFrame:
    """Return ``item_id, source_id, vote, established`` of the votes of all frames that miss nothing."""
    return pd.concat([frame[[*_VOTE, "established"]].dropna() for frame in votes], ignore_index=True)
