"""What the votes of a batch show: how free text is written alike, how far sources can be believed, who contradicts."""

from __future__ import annotations

from typing import Any

import pandas as pd

from poison_guard.config import Contract
from poison_guard.frames import among
from poison_guard.records import Campaign, State
from poison_guard.signals.sources.answer_clusters import CanonicalAnswers, cluster_answers
from poison_guard.signals.sources.raters import Scale, rated_by_others, scale_of, standing
from poison_guard.signals.sources.reliability import score_history, score_sources
from poison_guard.signals.sources.standing import cohort_conflict

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


def judge_sources(
    votes: pd.DataFrame, scored: pd.DataFrame, contract: Contract, state: State, before: pd.DataFrame
) -> pd.DataFrame:
    """Return how far the batch's sources can be believed: by their new votes, or where there are none by history.

    Ratings are compared by their side of the scale; with those of `before` (``item_id, source_id, vote``) they may say
    something of the sources themselves.
    """
    policy = contract.policy
    options = {"ledger": state.ledger, "alpha": policy.source_alpha, "verified": state.verified}
    options["half_life"] = policy.half_life
    if not contract.vote:
        return score_history(scored["source_id"].dropna(), **options)
    complete = votes.dropna(subset=_VOTE)
    seen = pd.concat([complete[_VOTE], before[_VOTE].dropna()], ignore_index=True)
    scale = scale_of(seen["vote"]) if contract.rates else None
    if scale is not None:
        return _judge_raters(complete, seen, scale, state, options, seed=policy.seed)
    return score_sources(complete, controls=state.controls, established=complete["established"], **options)


def _judge_raters(
    votes: pd.DataFrame, seen: pd.DataFrame, scale: Scale, state: State, options: dict[str, Any], *, seed: int
) -> pd.DataFrame:
    """Return `score_sources` of raters, those who took no side included."""
    opinions = standing(seen, scale, seed=seed) if rated_by_others(seen) else None
    sided = votes.assign(vote=scale.sides(votes["vote"])).dropna(subset=_VOTE)
    controls = state.controls.assign(answer=scale.sides(state.controls["answer"])).dropna(subset=["answer"])
    found = score_sources(sided, controls=controls, established=sided["established"], standing=opinions, **options)
    silent = votes.loc[~votes["source_id"].isin(found["source_id"]), "source_id"]
    rest = score_history(silent, standing=opinions, **options)
    return (
        pd.concat([found, rest], ignore_index=True).sort_values("source_id", ignore_index=True) if len(rest) else found
    )


def find_conflicts(
    votes: pd.DataFrame, accepted: pd.DataFrame, campaigns: tuple[Campaign, ...], contract: Contract
) -> pd.DataFrame:
    """Return the items where newcomers contradict established sources, a campaign's newcomers left out."""
    members = {record for campaign in campaigns for record in campaign.earlier_ids}
    before = accepted[accepted["established"] | ~among(accepted["record_id"], members)]
    if not contract.has("source_since"):  # nobody's age is known: what was accepted has a history of its own
        before = before.assign(established=True)
    both = _complete(votes, before)
    return cohort_conflict(both, both["established"])


def _complete(*votes: pd.DataFrame) -> pd.DataFrame:
    """Return ``item_id, source_id, vote, established`` of the votes of all frames that miss nothing."""
    return pd.concat([frame[[*_VOTE, "established"]].dropna() for frame in votes], ignore_index=True)
