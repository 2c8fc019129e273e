"""Which item labels enter a snapshot: as many as keep the promised error, the most certain first; the others wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from poison_guard.config import Policy
from poison_guard.decide.certify import Checks, adopt_bounded, adopt_by_mean, certificate
from poison_guard.decide.push_rules import lowered_chances
from poison_guard.records import Reason

if TYPE_CHECKING:
    from poison_guard.signals.sources.ballots import Ballots
    from poison_guard.signals.sources.certainty import Certainty

__all__ = ["Adoption", "adopt"]

_LEAST_CHANCE = 0.8  # that every adopted label needs, however certain the others are
_SEVERAL = 20  # votes, of which one source gave half: worth a note
_TIE = 2  # votes on the other side: one alone is a slip


@dataclass(frozen=True, slots=True)
class Adoption:
    """What was adopted, and what is known of its error."""

    items: pd.DataFrame
    """``item_id, label, probability, adopted, why``, one row an item with a vote, sorted by id."""
    facts: Mapping[str, Any]
    """JSON-able: the promise, the expected error, the certificate, why labels wait, what groups could still move."""
    notes: tuple[Reason, ...]
    hidden: pd.DataFrame
    """``item_id, adopted, one_more, two_more``: the chance of a caught group's target if one, two of those who gave its
    label were members of the group that nobody found."""
    doubts: np.ndarray
    """``(items,)`` the rule that doubts the label, whether it would be adopted otherwise or not; empty for none."""
    ballots: Ballots
    """Votes of the items asked for and those around them; so is `certainty`."""
    certainty: Certainty


def adopt(
    accepted: pd.DataFrame,
    held: pd.DataFrame,
    conflicts: pd.DataFrame,
    controls: pd.DataFrame,
    policy: Policy,
    *,
    model: str = "auto",
    ledger: pd.DataFrame | None = None,
    recent: pd.DataFrame | None = None,
    audits: pd.DataFrame | None = None,
    around: pd.DataFrame | None = None,
) -> Adoption:
    """Return the labels of every item with a vote, accepted or held.

    `accepted` and `held` are votes ``item_id, source_id, vote, established``; `held` are those held by evidence about
    their source or a campaign, with ``campaign_id``. `conflicts` names items (``item_id``); `controls` is ``item_id,
    answer``; `ledger` has the sources' verified answers; `recent` is ``item_id, vote`` of remembered votes, from which
    pushes are learned too; `audits` is ``item_id, vote, verdict``: what people said of accepted answers; `around` are
    accepted votes about other items, ``item_id, source_id, vote``, that show how this crowd answers.

    A label's probability is the calibrated chance that it is true (`certain`), lowered where votes look pushed
    (`lowered_chances`). Labels are adopted from the most certain one on while their mean error, as the model and the
    controls say it, is within ``max_adopted_error``; with ``label_promise = "bound"`` while it is certified.

    `why` is one of ``adopted, control, too_few, uncertain, disputed`` or the rule without which the label would be
    adopted: ``conflict, contested, unproven, split, pushed``.
    """
    from poison_guard.signals.sources.ballots import cast_ballots
    from poison_guard.signals.sources.certainty import certain

    ballots = cast_ballots(accepted, held, controls, around)
    sure = certain(ballots, model, _earned(ballots, ledger), policy.seed)
    known = ballots.control >= 0
    disputed = sure.doubtful | _tied(ballots, sure)
    alone = np.where(disputed, 0.0, sure.probability[sure.best]) if len(known) else np.zeros(0)
    rules, short = lowered_chances(ballots, sure, alone, set(conflicts["item_id"]), recent)
    left = np.minimum.reduce([alone, *rules.values()])
    chance = np.where(np.any([np.zeros(len(known), bool), *short.values()], axis=0), 0.0, left)
    support = _support(ballots, sure)
    open_, floor = ~known & (support >= policy.min_answers), policy.adopt_probability or _LEAST_CHANCE
    checks = _checks(ballots, sure, audits)
    decide = adopt_bounded if policy.label_promise == "bound" else adopt_by_mean
    taken = np.zeros(len(known), bool)
    taken[open_] = decide(chance[open_], checks, policy.max_adopted_error)
    taken &= chance >= floor
    least = float(chance[taken].min()) if taken.any() else 1 - policy.max_adopted_error
    codes = [(~taken & (alone >= least) & ((low < least) | short[name]), name) for name, low in rules.items()]
    why = np.select(
        [known, taken, support < policy.min_answers, disputed, *(where for where, _ in codes)],
        ["control", "adopted", "too_few", "disputed", *(name for _, name in codes)],
        default="uncertain",
    )
    items, taken = _items(ballots, sure, left, taken, why)[ballots.asked], taken & ballots.asked
    doubts = np.select(list(short.values()), list(short), default="") if short else np.zeros(0, object)
    hidden = _hidden_members(ballots, sure, left, taken)
    facts = _facts(policy, sure, checks, chance, taken, items["why"].to_numpy(object), hidden)
    notes = _notes(policy, ballots, checks, facts)
    return Adoption(items.reset_index(drop=True), facts, notes, hidden, doubts[ballots.asked], ballots, sure)


def _items(ballots: Ballots, sure: Certainty, left: np.ndarray, taken: np.ndarray, why: np.ndarray) -> pd.DataFrame:
    """Return the label of each item, the control's where there is one, and whether and why it is adopted."""
    known = ballots.control >= 0
    code = np.where(known, ballots.control, sure.candidates.answer[sure.best]) if len(known) else np.zeros(0, int)
    return pd.DataFrame(
        {
            "item_id": ballots.votes.items,
            "label": ballots.votes.answers[code],
            "probability": np.where(known, 1.0, left),
            "adopted": taken | known,
            "why": why,
        }
    )


def _earned(ballots: Ballots, ledger: pd.DataFrame | None) -> tuple[np.ndarray, np.ndarray]:
    """Return verified right and wrong answers ``(sources,)`` of the ledger; right ones of established sources alone.

    Newcomers may have recognised the controls that they answered.
    """
    sources = ballots.votes.sources
    if ledger is None or not len(ledger):
        return np.zeros(len(sources)), np.zeros(len(sources))
    by = ledger.set_index("source_id").reindex(sources)
    right, wrong = (
        (by[f"controls_{end}"].fillna(0).to_numpy(float) + by[f"outcomes_{end}"].fillna(0).to_numpy(float))
        for end in ("right", "wrong")
    )
    old = np.bincount(ballots.votes.source, ballots.established, minlength=len(sources)) > 0
    return np.where(old, right, 0.0), wrong


def _support(ballots: Ballots, sure: Certainty) -> np.ndarray:
    """Return ``(items,)`` how many accepted votes an item's label has."""
    n = np.bincount(sure.candidates.of_vote, ~ballots.held, minlength=len(sure.probability))
    return n[sure.best] if len(n) else np.zeros(0)


def _tied(ballots: Ballots, sure: Certainty) -> np.ndarray:
    """Return ``(items,)`` where another answer has as many votes as the label, two at least.

    Who is believed does not settle it: where the same few contradict each other on many items, a model believes one
    side for no reason.
    """
    candidates = sure.candidates
    if not len(candidates.item):
        return np.zeros(0, bool)
    n = np.bincount(candidates.of_vote, ~ballots.held, minlength=len(candidates.item))
    others = n.copy()
    others[sure.best] = 0
    most = np.maximum.reduceat(others, candidates.start)
    return (most >= _TIE) & (most >= n[sure.best])


def _checks(ballots: Ballots, sure: Certainty, audits: pd.DataFrame | None) -> Checks:
    """Return the labels whose truth is known: controls, as if they were not, and items whose answers people judged."""
    at, votes = np.flatnonzero(sure.checked), ballots.votes
    chance = sure.probability[sure.best[at]]
    right = sure.candidates.answer[sure.best[at]] == ballots.control[at]
    names, agreed = votes.items[at], sure.agreed[sure.best[at]]
    n_audits = 0
    if audits is not None and len(audits):
        told = audits[audits["verdict"] != 0].drop_duplicates("item_id", keep="last")
        item = votes.items.get_indexer(pd.Index(told["item_id"]))
        code = votes.answers.get_indexer(pd.Index(told["vote"].astype("str")))
        yes, known = told["verdict"].to_numpy() > 0, (item >= 0) & (code >= 0)
        item, code, yes = item[known], code[known], yes[known]
        said = sure.candidates.answer[sure.best[item]]
        useful = (ballots.control[item] < 0) & (
            yes | (said == code)
        )  # a wrong answer that is not the label tells nothing
        item, yes, said, code = item[useful], yes[useful], said[useful], code[useful]
        n_audits = len(item)
        chance, right = np.r_[chance, sure.probability[sure.best[item]]], np.r_[right, yes & (said == code)]
        names, agreed = names.append(votes.items[item]), np.r_[agreed, sure.agreed[sure.best[item]]]
    return Checks(chance, right, names, sure.basis, agreed, n_audits)


def _hidden_members(ballots: Ballots, sure: Certainty, chance: np.ndarray, taken: np.ndarray) -> pd.DataFrame:
    """Return ``item_id, adopted, one_more, two_more`` of the targets of caught groups (`Adoption.hidden`)."""
    votes = ballots.votes
    targets = np.flatnonzero(ballots.by_item(ballots.group >= 0) > 0)
    label = sure.best[votes.item] if len(sure.best) else votes.item
    mine = ~ballots.held & (sure.candidates.of_vote == label) & np.isin(votes.item, targets)
    item, gain = votes.item[mine], sure.gain[votes.source[mine]]
    order = np.lexsort((-gain, item))
    item, gain = item[order], gain[order]
    rank = np.arange(len(item)) - np.searchsorted(item, item)
    excess = np.maximum(ballots.by_item(~ballots.held) - 1, 0)[targets]
    p = np.clip(chance[targets], 0, 1 - 1e-9)
    lost, told = np.zeros(len(targets)), {"item_id": votes.items[targets], "adopted": taken[targets]}
    for place, name in enumerate(("one_more", "two_more")):
        lost = lost + np.bincount(item[rank == place], gain[rank == place], len(votes.items))[targets]
        odds = p / (1 - p) * np.exp(-lost / (1 + excess * sure.correlation))
        told[name] = odds / (1 + odds)
    return pd.DataFrame(told)


def _facts(
    policy: Policy,
    sure: Certainty,
    checks: Checks,
    chance: np.ndarray,
    taken: np.ndarray,
    why: np.ndarray,
    hidden: pd.DataFrame,
) -> dict[str, Any]:
    least = float(chance[taken].min()) if taken.any() else 1 - policy.max_adopted_error
    names, counts = np.unique(why.astype(str), return_counts=True)
    return {
        "promise": policy.label_promise,
        "max_adopted_error": policy.max_adopted_error,
        "expected_error": float(1 - chance[taken].mean()) if taken.any() else None,
        "least_chance": least if taken.any() else None,
        "correlation": sure.correlation,
        **certificate(checks, least, policy.max_adopted_error),
        "why": dict(zip(names.tolist(), counts.tolist(), strict=True)),
        "targets": len(hidden),
        "targets_adopted": int(hidden["adopted"].sum()),
        "targets_with_one_more": int((hidden["adopted"] & (hidden["one_more"] >= least)).sum()),
        "targets_with_two_more": int((hidden["adopted"] & (hidden["two_more"] >= least)).sum()),
    }


def _agreement(ballots: Ballots) -> dict[str, Any]:
    """Return how many items have several answers, and what share of the pairs of answers about one item agree."""
    votes, mine = ballots.votes, ballots.asked[ballots.votes.item]
    item, answer = votes.item[mine], votes.answer[mine]
    answers, alike = np.bincount(item), np.unique(np.stack([item, answer]), axis=1, return_counts=True)[1]
    pairs, agree = (float((n * (n - 1)).sum()) for n in (answers, alike))
    share = f"{agree / pairs:.0%}" if pairs else ""
    return {"items": int(ballots.asked.sum()), "several": int((answers > 1).sum()), "agree": share}


def _notes(policy: Policy, ballots: Ballots, checks: Checks, facts: Mapping[str, Any]) -> tuple[Reason, ...]:
    """Return what a reader must know of the promise: what does not check it, and which controls look wrong."""
    notes: list[Reason] = []
    if facts["why"].keys() <= {"control"}:
        return ()
    if not len(checks.right):
        notes.append(Reason("adoption_unchecked", {"max": policy.max_adopted_error, "needs": facts["needs"]}))
    elif facts["expected_error"] is not None:
        shown = ("expected_error", "checked", "checked_wrong", "bound", "basis")
        notes.append(Reason("adoption_promise", {name: facts[name] for name in shown}))
    if policy.label_promise != "bound" and "adopted" not in facts["why"] and ballots.asked.sum() >= _SEVERAL:
        notes.append(Reason("none_adopted", _agreement(ballots)))
    if facts["targets"]:
        shown = ("targets", "targets_with_one_more", "targets_with_two_more")
        adopted = {"adopted": facts["targets_adopted"]}
        notes.append(Reason("targets_settled", {name: facts[name] for name in shown} | adopted))
    by = np.bincount(ballots.votes.source, ~ballots.held)
    if by.sum() >= _SEVERAL and by.max() >= by.sum() / 2:
        share = f"{by.max() / by.sum():.0%}"
        notes.append(Reason("one_source", {"source": str(ballots.votes.sources[by.argmax()]), "share": share}))
    odd = checks.contradicted(policy.max_adopted_error)
    if len(odd):
        said = {"controls": len(checks.right), "wrong": len(odd), "items": list(map(str, odd[:3]))}
        notes.append(Reason("controls_contradicted", said))
    if policy.label_promise == "bound" and "adopted" not in facts["why"]:
        said = {"max": policy.max_adopted_error, "controls": len(checks.right), "needs": facts["needs"]}
        notes.append(Reason("bound_waits", said))
    return tuple(notes)
