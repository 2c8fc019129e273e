"""Decide: record evidence and batch evidence become one decision for each record, and the labels of items.

Evidence can come late: accepted records of earlier batches whose campaign shows only now are recalled here too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from poison_guard.config import Contract, Mode, Policy
from poison_guard.decide.adopt import Adoption, adopt
from poison_guard.decide.coverage import Coverage
from poison_guard.decide.decisions import HOLD, decide_records, evidence_table, risk_of_p
from poison_guard.frames import FRAMES, among, empty_frame, look_up
from poison_guard.pipeline.batch_evidence import BatchEvidence
from poison_guard.pipeline.newcomers import conflict_groups, join_groups
from poison_guard.pipeline.prepare import Prepared
from poison_guard.pipeline.proofs import is_proved, proof_groups, refuted
from poison_guard.pipeline.score import read_evidence
from poison_guard.pipeline.validate import Validation
from poison_guard.records import (
    Action,
    Campaign,
    Decided,
    Level,
    Place,
    Reason,
    SignalEvidence,
    State,
)

__all__ = ["decide_batch", "recalled", "weigh"]


_RULE_P = 1e-6
_RULE_RISK = 0.98
_BLOCKED_P = 1e-12
_ENOUGH = 5_000  # votes that show how a crowd answers
_REMEMBERED = FRAMES["remembered"]


def decide_batch(
    scored: pd.DataFrame,
    unreadable: pd.DataFrame,
    validation: Validation,
    batch_evidence: BatchEvidence,
    contract: Contract,
    state: State,
    prepared: Prepared,
    newcomers: pd.DataFrame | None = None,
) -> Decided:
    """Return the batch decided; `scored` is sorted by ``record_id``, `unreadable` rows are quarantined as such.

    `newcomers` are the rows in conflict over their id (`newcomers.find_newcomers`); None where no id was compared.
    """
    newcomers = empty_frame("newcomers") if newcomers is None else newcomers
    over = newcomers.loc[newcomers["first_id"].notna(), "record_id"]
    contested = among(scored["record_id"], [*over, *refuted(validation.failures)])
    stated = Coverage.of(contract, batch_evidence.compared, empty=validation.empty)
    missing = _missing(scored, contract, prepared, batch_evidence, validation.empty, stated)
    decisions, risks, evidence = weigh(scored, validation.failures, batch_evidence, contract, state)
    table = evidence_table(scored["record_id"].to_numpy(object), evidence)
    decisions = _stage(decisions, missing, validation.batch)
    flawed, flaws = _unreadable(unreadable)
    all_decisions = pd.concat([decisions, flawed], ignore_index=True)
    measurements = _measure(all_decisions, risks, prepared)
    if len(scored):
        measurements["coverage"] = _covered(stated, batch_evidence, validation, state)
    if contract.mode is Mode.OBSERVE:  # each record goes where it would have gone without a guard
        passed = decisions.assign(place=Place.ACCEPTED.value)
        all_decisions = pd.concat([passed, flawed], ignore_index=True)
    crashed = (*batch_evidence.crashes.values(), *(why for _, why in missing.values()))
    groups = conflict_groups(newcomers, decisions, scored, batch_evidence.votes["established"].to_numpy(bool), state)
    groups += proof_groups(validation.failures, scored)
    recalls = recalled(batch_evidence.campaigns, groups, state, contract.policy)
    adoption = _items(decisions, risks, batch_evidence, contract, state, recalls, contested)
    notes = (*prepared.notes, *validation.batch, *validation.warnings, *crashed)
    if adoption is not None:
        measurements["adoption"] = adoption.facts
        notes += adoption.notes
    return Decided(
        decisions=join_groups(all_decisions, groups),
        evidence=pd.concat([table, flaws], ignore_index=True),
        sources=_ledger(scored, decisions, batch_evidence),
        campaigns=(*batch_evidence.campaigns, *groups),
        phase=prepared.phase,
        notes=tuple(note for at, note in enumerate(notes) if note not in notes[:at]),
        measurements=measurements,
        recalls=recalls,
        near_controls=_near_controls(batch_evidence, state),
        memory=_to_remember(scored[~contested]),
        items=empty_frame("items") if adoption is None else adoption.items,
    )


def _covered(
    stated: Coverage, batch_evidence: BatchEvidence, validation: Validation, state: State
) -> dict[str, object]:
    """Return what is stored of how far the batch was judged."""
    return {
        "compared": sorted(batch_evidence.compared),
        "empty": sorted(validation.empty),
        "judged": stated.judged,
        "trusted": state.trusted_hash,
    }


def _to_remember(scored: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of records that later batches are compared with."""
    return scored[[*_REMEMBERED.columns, *(n for n in scored if n.startswith(tuple(_REMEMBERED.prefixes)))]]


def weigh(
    scored: pd.DataFrame, failures: pd.DataFrame, batch_evidence: BatchEvidence, contract: Contract, state: State
) -> tuple[pd.DataFrame, dict[Level, np.ndarray], list[SignalEvidence]]:
    """Return the decisions by evidence alone, none staged yet; the risk ``(n,)`` of each level; and the evidence."""
    ids = scored["record_id"].to_numpy(object)
    campaign, campaign_ids = _campaign_evidence(ids, batch_evidence.campaigns)
    rules = _validation_evidence(ids, failures)
    evidence = [
        rules,
        _source_evidence(scored, batch_evidence, state, is_proved(scored, contract)),
        campaign,
        *read_evidence(scored),
    ]
    return *decide_records(ids, evidence, campaign_ids, contract.policy), evidence


def _near_controls(batch_evidence: BatchEvidence, state: State) -> pd.DataFrame:
    """Return ``item_id, answer`` of the answers that are written otherwise than their control and say the same."""
    known = dict(zip(state.controls["item_id"].astype("str"), state.controls["answer"].astype("str"), strict=True))
    near = [pair for pair, wording in batch_evidence.canonical.items() if known.get(pair[0]) == wording]
    return pd.DataFrame(near, columns=["item_id", "answer"], dtype="str")


def _missing(
    scored: pd.DataFrame,
    contract: Contract,
    prepared: Prepared,
    batch_evidence: BatchEvidence,
    empty: frozenset[str],
    stated: Coverage,
) -> dict[str, tuple[np.ndarray, Reason]]:
    """Return, per required signal that could not judge, the rows it failed for and why.

    `empty` are the roles that no record has a value for: a signal that needs them had nothing to compare. That nothing
    judged the batch, as is `stated`, is one reason more.
    """
    everywhere = np.ones(len(scored), bool)
    missing: dict[str, tuple[np.ndarray, Reason]] = {}
    able, chosen = contract.without(empty).signals, contract.policy.required is not None
    for signal in contract.required:
        crash = scored.get(f"crash.{signal}")
        why = prepared.missing.get(signal) or batch_evidence.crashes.get(signal)
        if why is not None:
            missing[signal] = (everywhere, why)
        elif crash is not None and crash.notna().any():
            first = str(crash[crash.notna()].iloc[0])
            missing[signal] = (crash.notna().to_numpy(), Reason("signal_missing", {"signal": signal, "why": first}))
        elif signal not in able or (chosen and not _had_company(signal, batch_evidence.compared)):
            missing[signal] = (everywhere, Reason("nothing_to_compare", {"signal": signal}))
    if len(scored) and not stated.judged:
        missing["unjudged"] = (everywhere, Reason("unjudged", {"remedy": stated.nearest_remedy()}))
    return missing


def _had_company(signal: str, compared: frozenset[str]) -> bool:
    """Return whether a signal had something to compare; a feed's contract is always something to validate by."""
    from poison_guard.signals.campaigns.finders import FINDERS

    match signal:
        case "validation" | "signature":
            return True
        case "campaign":
            return bool(compared & FINDERS.keys())
    return signal in compared


def _stage(
    decisions: pd.DataFrame, missing: Mapping[str, tuple[np.ndarray, Reason]], batch: Sequence[Reason]
) -> pd.DataFrame:
    """Return `decisions` with each record that would pass unjudged staged instead: never accepted, never lost."""
    rows = np.zeros(len(decisions), bool)
    codes: list[str] = [reason.code for reason in batch]
    if batch:
        rows[:] = True
    for which, reason in missing.values():
        rows |= which
        codes.append(reason.code)
    rows &= (decisions["action"] == Action.ACCEPT.value).to_numpy()
    if not rows.any():
        return decisions
    staged = decisions.copy()
    staged.loc[rows, "place"] = Place.STAGED.value
    staged.loc[rows, "action"] = Action.QUARANTINE.value
    staged.loc[rows, "risk"] = np.maximum(staged.loc[rows, "risk"], HOLD)
    staged_codes = list(dict.fromkeys(codes))
    staged["reasons"] = [staged_codes if row else own for row, own in zip(rows, staged["reasons"], strict=True)]
    return staged


def _validation_evidence(ids: np.ndarray, failures: pd.DataFrame) -> SignalEvidence:
    p = np.ones(len(ids))
    reasons: dict[int, Reason] = {}
    rows = pd.Index(ids).get_indexer(failures["record_id"])
    for row, code, args in zip(rows, failures["code"], failures["args"], strict=True):
        if row >= 0:
            p[row] = _RULE_P
            reasons.setdefault(int(row), Reason(code, args))
    return SignalEvidence("validation", Level.RULE, p, reasons)


def _source_evidence(
    scored: pd.DataFrame, batch_evidence: BatchEvidence, state: State, proved: np.ndarray
) -> SignalEvidence:
    """Return what is known of each record's sources: the statistics of its source, and blocks by reviewers.

    A record whose source is not `proved` ``(n,)`` is not judged by what others did under its name.
    """
    p = np.ones(len(scored))
    reasons: dict[int, Reason] = {}
    if len(batch_evidence.sources):
        suspects = batch_evidence.sources[batch_evidence.sources["p"] <= 0.05]
        reason_of = {
            row.source_id: (row.p, Reason(row.code, row.args))
            for row in suspects[["source_id", "p", "code", "args"]].itertuples(index=False)
        }
        for row, source in enumerate(scored["source_id"].to_numpy(object)):
            if proved[row] and source in reason_of:
                p[row], reasons[row] = reason_of[source]
    blocked = set(state.ledger.loc[state.ledger["blocked"].astype(bool), "source_id"])
    if blocked:
        hit = scored["source_id"].isin(blocked) | scored["author_id"].isin(blocked)
        for row in np.flatnonzero(hit.to_numpy()):
            p[row] = _BLOCKED_P
            reasons[int(row)] = Reason("blocked_source", {"by": "a reviewer", "reason": "see the source's history"})
    return SignalEvidence("source", Level.SOURCE, p, reasons)


def _campaign_evidence(ids: np.ndarray, campaigns: Sequence[Campaign]) -> tuple[SignalEvidence, list[str | None]]:
    """Return the evidence of campaigns and the campaign of each record, the most certain one of several."""
    p = np.ones(len(ids))
    reasons: dict[int, Reason] = {}
    campaign_ids: list[str | None] = [None] * len(ids)
    index = pd.Index(ids)
    for campaign in campaigns:
        for row in index.get_indexer(list(campaign.record_ids)):
            if row >= 0 and (campaign_ids[row] is None or campaign.p < p[row]):
                p[row], reasons[int(row)], campaign_ids[row] = campaign.p, campaign.reason, campaign.campaign_id
    return SignalEvidence("campaign", Level.CAMPAIGN, p, reasons), campaign_ids


def _unreadable(unreadable: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the decisions and the evidence of rows that could not be read: each is quarantined."""
    reasons = {row: Reason(*why) for row, why in enumerate(zip(unreadable["code"], unreadable["args"], strict=True))}
    flaws = SignalEvidence("validation", Level.RULE, np.full(len(unreadable), _RULE_P), reasons)
    decisions = pd.DataFrame(
        {
            "record_id": unreadable["record_id"].astype("str"),
            "action": Action.QUARANTINE.value,
            "risk": _RULE_RISK,
            "campaign_id": pd.Series(None, dtype="object", index=unreadable.index),
            "reasons": pd.Series([[code] for code in unreadable["code"]], dtype="object", index=unreadable.index),
            "place": Place.QUARANTINED.value,
        }
    )
    return decisions.astype({"action": "str", "risk": float, "place": "str"}), evidence_table(
        unreadable["record_id"].tolist(), [flaws]
    )


def _items(
    decisions: pd.DataFrame,
    risks: Mapping[Level, np.ndarray],
    batch_evidence: BatchEvidence,
    contract: Contract,
    state: State,
    recalls: pd.DataFrame,
    contested: np.ndarray,
) -> Adoption | None:
    """Return which labels are adopted, from this batch's accepted votes and those accepted before and not recalled.

    Votes of `contested` records ``(n,)`` do not count, on no side.
    """
    if not contract.vote:
        return None
    complete = batch_evidence.votes[["item_id", "source_id", "vote"]].notna().all(axis=1).to_numpy() & ~contested
    passed = complete & (decisions["place"] == Place.ACCEPTED.value).to_numpy()
    together = complete & (np.maximum(risks[Level.SOURCE], risks[Level.CAMPAIGN]) >= HOLD)
    votes = batch_evidence.votes[["item_id", "source_id", "vote", "established"]].assign(
        campaign_id=decisions["campaign_id"].to_numpy(object)
    )
    late = among(batch_evidence.accepted["record_id"], recalls["record_id"])
    before = batch_evidence.accepted[["item_id", "source_id", "vote", "established"]].assign(
        campaign_id=look_up(batch_evidence.accepted["record_id"], recalls.set_index("record_id")["campaign_id"])
    )
    accepted = pd.concat([votes[passed], before[~late]], ignore_index=True)
    held = pd.concat([votes[together], before[late]], ignore_index=True)
    return adopt(
        accepted,
        held,
        batch_evidence.conflicts,
        state.controls,
        contract.policy,
        model="one_coin" if batch_evidence.canonical else "auto",  # texts written alike are counted
        ledger=state.ledger,
        recent=batch_evidence.recent,
        audits=state.answers[["item_id", "vote", "verdict"]],
        around=None if batch_evidence.canonical or len(accepted) >= _ENOUGH else _remembered_votes(state),
    )


def _remembered_votes(state: State) -> pd.DataFrame:
    """Return the last accepted votes that are remembered: a small batch does not show how the crowd answers."""
    place = Place.ACCEPTED.value
    votes = state.memory.loc[state.memory["place"] == place, ["item_id", "source_id", "vote"]].dropna()
    return votes.tail(_ENOUGH)


def _ledger(scored: pd.DataFrame, decisions: pd.DataFrame, batch_evidence: BatchEvidence) -> pd.DataFrame:
    """Return the sources with this batch's ledger deltas.

    Sources in a campaign get no credit for agreement; sources with staged records get it when those are decided.
    """
    if not len(batch_evidence.sources):
        return empty_frame("sources")
    sources = batch_evidence.sources.drop(columns=["code", "args"])
    in_campaign = set(scored.loc[decisions["campaign_id"].notna().to_numpy(), "source_id"])
    undecided = set(scored.loc[(decisions["place"] == Place.STAGED.value).to_numpy(), "source_id"])
    sources.loc[among(sources["source_id"], in_campaign), "agreed"] = 0
    counted = ["controls_right", "controls_wrong", "agreed", "disagreed"]
    sources.loc[among(sources["source_id"], undecided), counted] = 0
    first = scored.groupby("source_id")["received_at"].min()
    return sources.assign(first_seen=sources["source_id"].map(first))


def _measure(decisions: pd.DataFrame, risks: Mapping[Level, np.ndarray], prepared: Prepared) -> dict[str, object]:
    """Return the JSON-able facts of a report: the risk histogram by action, holds by level, the calibration."""
    edges = np.linspace(0, 1, 21)
    histogram = {
        action.value: np.histogram(decisions.loc[decisions["action"] == action.value, "risk"], edges)[0].tolist()
        for action in Action
    }
    facts: dict[str, object] = {
        "risk_edges": edges.round(3).tolist(),
        "risk_histogram": histogram,
        "held_by_level": {level.value: int((risk >= HOLD).sum()) for level, risk in risks.items()},
        "phase": prepared.phase.value,
    }
    if prepared.calibration is not None:
        facts["calibration"] = prepared.calibration
    return facts


def recalled(campaigns: Iterable[Campaign], groups: Iterable[Campaign], state: State, policy: Policy) -> pd.DataFrame:
    """Return ``record_id, campaign_id`` of the accepted earlier members of campaigns that would be held, sorted by id.

    So are the first comers of the conflict `groups`, which are held too. Merged campaigns share no record, so each
    record has one campaign; a first comer in a campaign is taken back with that.
    """
    held = [c for c in campaigns if risk_of_p(np.array([c.p]), policy.campaign_alpha)[0] >= HOLD]
    named = pd.Series([record for c in held for record in c.earlier_ids], dtype="str")
    memory, answers = (rows[among(rows["record_id"], named)] for rows in (state.memory, state.answers))
    accepted = set(memory.loc[memory["place"] == Place.ACCEPTED.value, "record_id"])
    accepted |= set(answers.loc[answers["verdict"] <= 0, "record_id"])  # a person's word stands
    campaign_of = {first: group.campaign_id for group in groups for first in group.earlier_ids}
    campaign_of |= {record: c.campaign_id for c in held for record in c.earlier_ids if record in accepted}
    return pd.DataFrame(sorted(campaign_of.items()), columns=list(FRAMES["recalls"].columns), dtype="str")
