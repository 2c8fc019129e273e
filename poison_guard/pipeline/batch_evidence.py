"""The reduce step: all scored partitions to what only the whole batch shows: sources, campaigns, conflicts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from poison_guard.config import Contract
from poison_guard.frames import among, empty_frame, look_up
from poison_guard.pipeline.prepare import Prepared, isolated
from poison_guard.pipeline.proofs import is_proved
from poison_guard.records import Campaign, Place, Reason, State

if TYPE_CHECKING:
    from poison_guard.pipeline.query_evidence import QueryReader
    from poison_guard.signals.campaigns import BatchView
    from poison_guard.signals.sources.answer_clusters import CanonicalAnswers

__all__ = ["BatchEvidence", "find_batch_evidence"]


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
    compared: frozenset[str] = frozenset()
    """Signals and campaign finders that had something to compare; the others could not have found anything."""


def find_batch_evidence(
    scored: pd.DataFrame, contract: Contract, state: State, prepared: Prepared, *, contested: Collection[str] = ()
) -> BatchEvidence:
    """Return the batch evidence of a scored frame that is sorted by ``record_id`` (so that order cannot matter).

    `contested` are the records whose id came with other content before. They are held for that, and say nothing of
    sources, items or other records: nothing proves who sent them.
    """
    from poison_guard.signals.campaigns.finders import most_voters
    from poison_guard.signals.campaigns.findings import merge_campaigns
    from poison_guard.signals.sources import canonicalise, established
    from poison_guard.signals.sources.batch_votes import cluster_votes, find_conflicts, judge_sources

    free = ~among(scored["record_id"], contested)
    proved = is_proved(scored, contract)
    new, earlier = free & ~_seen_before(scored, state), _earlier_records(scored, state)
    accepted = _accepted_before(scored, state)
    old = established(scored, state.ledger, scored["received_at"], state.memory).to_numpy(bool)
    before = established(accepted, state.ledger, scored["received_at"].max(), state.memory)
    accepted = accepted.assign(established=before)
    votes = scored[[*_VOTE, "observed_at"]].assign(established=old)
    crashes: dict[str, Reason] = {}
    nothing: CanonicalAnswers = {}
    canonical = isolated("source", crashes, nothing, lambda: cluster_votes(votes[free], accepted, contract, state))
    compared, voters = _compared(scored, contract, state, prepared), most_voters(scored.loc[new, _VOTE])
    campaigns: tuple[Campaign, ...] = ()
    if "campaign" in contract.signals:
        around = voters if voters >= _JURY else most_voters(pd.concat([scored[_VOTE], earlier[_VOTE]]))
        view = _view(scored, free, old, earlier, contract, state, prepared, around)
        campaigns, kinds = _campaigns_in(view, canonical, crashes)
        compared |= kinds
    if prepared.queries is not None:
        asked, kinds = _extraction_in(scored[free], earlier, contract, prepared.queries, crashes)
        campaigns = merge_campaigns([*campaigns, *asked])
        compared |= frozenset() if "query" in prepared.missing else kinds
    member = among(scored["record_id"], (record for campaign in campaigns for record in campaign.record_ids))
    if canonical and campaigns:  # campaign members do not vote on the canonical wording
        others = votes.assign(established=old & ~member)[free]
        canonical = isolated("source", crashes, nothing, lambda: cluster_votes(others, accepted, contract, state))
    recent = earlier.loc[earlier["place"] != Place.REJECTED.value, ["item_id", "vote"]].dropna()
    votes, accepted, recent = (canonicalise(frame, canonical) for frame in (votes, accepted, recent))
    sources = isolated(
        "source",
        crashes,
        empty_frame("batch_sources"),
        lambda: judge_sources(votes[new & proved], scored[proved], contract, state, earlier),
    )
    alone = votes[new & ~(member & ~old)]
    conflicts = find_conflicts(alone, accepted, campaigns, contract) if contract.vote else empty_frame("conflicts")
    if "source" not in crashes and (voters >= _JURY or _has_history(scored, contract, state)):
        compared |= {"source"}
    return BatchEvidence(sources, campaigns, conflicts, crashes, canonical, votes, accepted, recent, compared)


def _extraction_in(
    free: pd.DataFrame, earlier: pd.DataFrame, contract: Contract, reader: QueryReader, crashes: dict[str, Reason]
) -> tuple[tuple[Campaign, ...], frozenset[str]]:
    """Return the sources and cohorts whose queries copy a model, and ``query`` where it had something to compare."""
    from poison_guard.pipeline.query_evidence import find_extraction

    seen = free.reset_index(drop=True)
    asked = isolated("query", crashes, (), lambda: find_extraction(seen, earlier, reader, contract))
    return asked, frozenset() if "query" in crashes else frozenset({"query"})


def _view(
    scored: pd.DataFrame,
    free: np.ndarray,
    old: np.ndarray,
    earlier: pd.DataFrame,
    contract: Contract,
    state: State,
    prepared: Prepared,
    around: int,
) -> BatchView:
    """Return what the finders look at: the free records, those remembered, and who of them is no newcomer."""
    from poison_guard.signals.campaigns import BatchView
    from poison_guard.signals.sources import established

    newcomer = ~np.r_[old[free], established(earlier, state.ledger, earlier["received_at"]).to_numpy(bool)]
    trusted = None if prepared.anomaly is None else prepared.anomaly.reference_vectors()
    texts = pd.concat([state.reference, state.calibration], ignore_index=True)
    return BatchView(scored[free].reset_index(drop=True), contract, earlier, newcomer, trusted, texts, around)


def _campaigns_in(
    view: BatchView, canonical: CanonicalAnswers, crashes: dict[str, Reason]
) -> tuple[tuple[Campaign, ...], frozenset[str]]:
    """Return the campaigns, and which finders had something to compare; a crash is noted in `crashes`."""
    from poison_guard.signals.campaigns import find_campaigns
    from poison_guard.signals.campaigns.finders import finders_that_compare
    from poison_guard.signals.sources import canonicalise

    alike = None
    if canonical:
        scored, earlier = canonicalise(view.scored, canonical), canonicalise(view.earlier, canonical)
        alike = replace(view, scored=scored, earlier=earlier)
    found = isolated("campaign", crashes, (), lambda: find_campaigns(view, alike))
    return found, frozenset() if "campaign" in crashes else finders_that_compare(view)


_JURY = 3
"""Sources that must answer one item before one of them can be told from the others."""
_COUNTED = ("controls_right", "controls_wrong", "agreed", "disagreed", "outcomes_right", "outcomes_wrong")


def _compared(scored: pd.DataFrame, contract: Contract, state: State, prepared: Prepared) -> frozenset[str]:
    """Return the record signals that had trusted records to compare with."""
    able = {name for name in (*prepared.models, "anomaly") if name in contract.signals and name not in prepared.missing}
    crashed = {name for name in able if f"crash.{name}" in scored and scored[f"crash.{name}"].notna().all()}
    return frozenset(able - crashed)


def _has_history(scored: pd.DataFrame, contract: Contract, state: State) -> bool:
    """Return whether the sources of a batch can be judged without each other: by controls, or by what they did."""
    if "source" not in contract.signals:
        return False
    if among(scored["item_id"], state.controls["item_id"]).any():
        return True
    known = state.ledger[among(state.ledger["source_id"], scored["source_id"])]
    return bool((known.reindex(columns=list(_COUNTED)).fillna(0).to_numpy(float) > 0).any())


def _seen_before(scored: pd.DataFrame, state: State) -> np.ndarray:
    """Return which rows ``(n,)`` were settled by an earlier run: delivered again, they count no second time."""
    known = state.known[state.known["place"] != Place.STAGED.value]
    content = known.set_index("record_id")["content_hash"].reindex(scored["record_id"]) if len(known) else None
    return np.zeros(len(scored), bool) if content is None else content.to_numpy() == scored["content_hash"].to_numpy()


def _earlier_records(scored: pd.DataFrame, state: State) -> pd.DataFrame:
    """Return what is remembered of earlier records, none of this batch, and of its items what was accepted before.

    Without the others an hour's batch would show a raid alone with itself: all that anybody says of its items there.
    """
    answers = state.answers[~among(state.answers["record_id"], state.memory["record_id"])]
    answers = answers.assign(place=Place.ACCEPTED.value)
    both = pd.concat([state.memory, answers], ignore_index=True) if len(answers) else state.memory
    return both[~among(both["record_id"], scored["record_id"])].reset_index(drop=True)


def _accepted_before(scored: pd.DataFrame, state: State) -> pd.DataFrame:
    """Return the votes accepted before about items of this batch (`_ACCEPTED`).

    When an account was made is known from what is remembered of its source, where the answer does not say.
    """
    before = state.answers[~among(state.answers["record_id"], scored["record_id"])].reset_index(drop=True)
    before = before.reindex(columns=[c for c in _ACCEPTED if c in before or c == "source_since"])
    known = pd.concat([state.memory[["source_id", "source_since"]], scored[["source_id", "source_since"]]])
    since = known.dropna().groupby("source_id")["source_since"].max()
    remembered = pd.to_datetime(look_up(before["source_id"], since), utc=True)
    return before.assign(source_since=pd.to_datetime(before["source_since"], utc=True).fillna(remembered))
