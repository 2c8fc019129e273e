"""Decide whether a candidate becomes the champion: a pure rule over evaluations of the same examples.

Promotion needs evidence that nothing was lost beyond the limits, so that a candidate about which too little is known is
refused like a bad one, and told how many examples would decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from poison_guard.config.policies import GatePolicy
from poison_guard.errors import DataError
from poison_guard.numerics.intervals import paired_drop, pairs_to_decide
from poison_guard.records import Check, Outcome
from poison_guard.retrain.evaluation import COMPARED, WORST_ADVERSARY, Evaluation, parse_evaluation, why_not_comparable

__all__ = ["CONFIDENCE", "Promotion", "decide_promotion"]

CONFIDENCE = 0.95
"""How sure the rule must be of each limit, one-sided. All must hold, so that no correction is due (intersection-union:
Berger 1982): a candidate that does break a limit passes it with chance 1 - CONFIDENCE at most, about."""
_NAMED = 5  # groups a sentence names


@dataclass(frozen=True, slots=True)
class Promotion:
    """Whether the candidate is promoted, why or why not, and the checks it follows from.

    `value` of a check is the accuracy lost (negative for a gain), `needs` the n of the group named that would decide.
    All blocking checks must pass.
    """

    promoted: bool
    why: str
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class _PairedLoss:
    """Pairs of one group: what the reference had right and the candidate has not, and the other way round."""

    group: str
    losses: int
    gains: int
    n: int


def decide_promotion(
    candidate: Mapping[str, Any],
    champion: Mapping[str, Any] | None,
    baseline: Mapping[str, Any] | None,
    policy: GatePolicy,
) -> Promotion:
    """Return whether a model with the evaluation `candidate` may take the champion's place.

    All three are what `evaluate` returned on the same examples under the same seed and budget. It is compared with the
    champion, and with the `baseline`, a model trained on trusted data alone: with both where there are both, so that
    many small losses, each within the limits, cannot add up. At least one is needed.

    Limits: `policy.max_drop` over all examples; `policy.max_class_drop` under any attack, and for any class and slice
    (those with fewer than `policy.min_trusted` examples taken together). Each with the interval of Bonett & Price for
    paired proportions. Never raises for what an evaluation holds: one that is broken, holds NaN, lacks a class or is
    of other examples is refused with the reason.
    """
    checks = tuple(_all_checks(candidate, {"champion": champion, "baseline": baseline}, policy))
    failed = [check for check in checks if check.blocking and check.outcome is not Outcome.PASS]
    why = " ".join([check.why for check in failed]) if failed else "Nothing was lost beyond the limits."
    return Promotion(not failed, why, checks)


def _all_checks(
    candidate: Mapping[str, Any], references: Mapping[str, Mapping[str, Any] | None], policy: GatePolicy
) -> Iterator[Check]:
    try:
        new = parse_evaluation("candidate", candidate)
        old = {name: parse_evaluation(name, metrics) for name, metrics in references.items() if metrics is not None}
    except DataError as error:
        yield Check("evaluation", Outcome.FAIL, why=str(error))
        return
    if not old:
        why = "There is no champion and no baseline to compare with; evaluate a model trained on trusted data alone."
        yield Check("comparison", Outcome.FAIL, why=why)
        return
    yield _covered(new, old)
    for name, reference in old.items():
        difference = why_not_comparable(new, reference, name)
        if difference:
            yield Check(f"comparison with the {name}", Outcome.FAIL, why=difference)
        else:
            yield from _compare_models(new, reference, name, policy)
    yield _masking(candidate)


def _covered(new: Evaluation, old: Mapping[str, Evaluation]) -> Check:
    """Every class that any of the models knows must be judged, and every class judged must be known."""
    judged = set(new.truth.values())
    unknown = sorted(judged - new.classes)
    known = new.classes.union(*[reference.classes for reference in old.values()])
    unjudged = sorted(known - judged)
    if unknown:
        why = f"The candidate does not know {_names('class', unknown)}; train it on examples of all classes."
    elif unjudged:
        why = f"No example of {_names('class', unjudged)} was evaluated; add trusted examples of each."
    else:
        why = f"All {len(judged)} classes are known and judged."
        return Check("classes covered", Outcome.PASS, n=len(judged), why=why)
    return Check("classes covered", Outcome.FAIL, n=len(judged), why=why)


def _compare_models(new: Evaluation, old: Evaluation, name: str, policy: GatePolicy) -> Iterator[Check]:
    """Compare over all examples, by class, by slice and under each attack."""
    ids = new.truth

    def count(
        group: str, members: Mapping[str, Any] | list[str], wrong: frozenset[str], before: frozenset[str]
    ) -> _PairedLoss:
        losses = sum(one in wrong and one not in before for one in members)
        gains = sum(one in before and one not in wrong for one in members)
        return _PairedLoss(group, losses, gains, len(members))

    yield _judge(f"accuracy against the {name}", "", [count("", ids, new.wrong, old.wrong)], policy.max_drop)
    for what, group_of in (("class", new.truth), ("slice", new.slices)):
        if groups := _grouped(group_of, policy.min_trusted):
            counts = [count(group, members, new.wrong, old.wrong) for group, members in groups.items()]
            yield _judge(f"every {what} against the {name}", what, counts, policy.max_class_drop)
    for attack in sorted(new.fooled.keys() & {*COMPARED, WORST_ADVERSARY}):
        loss = count("", new.attacked, new.fooled[attack], old.fooled[attack])
        yield _judge(f"robustness to {attack} against the {name}", "", [loss], policy.max_class_drop)


def _judge(name: str, what: str, losses: list[_PairedLoss], limit: float) -> Check:
    """Return the check of the worst group: the one whose loss may be the largest."""
    outcomes = {loss.group: _outcome(loss, limit) for loss in losses}
    worst = max(losses, key=lambda loss: (outcomes[loss.group].severity, _interval(loss)[1]))
    bad = sorted(group for group, outcome in outcomes.items() if outcome is not Outcome.PASS)
    outcome, (low, high) = outcomes[worst.group], _interval(worst)
    value = (worst.losses - worst.gains) / worst.n
    needs = None
    if outcome is Outcome.INCONCLUSIVE:
        needs = pairs_to_decide(worst.losses, worst.gains, worst.n, limit, tail=1 - CONFIDENCE)
    of = f" of {what} {worst.group!r}" if what else ""
    why = f"{name[0].upper()}{name[1:]}: {worst.losses} lost and {worst.gains} gained of {worst.n} examples{of}, "
    match outcome:
        case Outcome.PASS:
            why += f"a loss above {100 * max(high, 0):.1f} points is excluded (limit {100 * limit:g})."
        case Outcome.FAIL:
            why += f"a loss of at least {100 * low:.1f} points (limit {100 * limit:g})."
        case _:
            why += f"a loss of {100 * high:.1f} points is not excluded (limit {100 * limit:g}); "
            why += f"{needs} examples{of} would decide." if needs else "the loss lies at the limit."
    if len(bad) > 1:
        others = [group for group in bad if group != worst.group]
        why += f" Nor is it excluded for {_names(what, others)}."
    return Check(name, outcome, value, limit, worst.n, low, high, why, needs)


def _outcome(loss: _PairedLoss, limit: float) -> Outcome:
    low, high = _interval(loss)
    return Outcome.PASS if high <= limit else Outcome.FAIL if low > limit else Outcome.INCONCLUSIVE


def _interval(loss: _PairedLoss) -> tuple[float, float]:
    """Return one-sided bounds of the accuracy lost, each at `CONFIDENCE`."""
    return paired_drop(loss.losses, loss.gains, loss.n, low_tail=1 - CONFIDENCE, high_tail=1 - CONFIDENCE)[1:]


def _grouped(group_of: Mapping[str, str], least: int) -> dict[str, list[str]]:
    """Return the groups large enough to be judged; the smaller ones together, or not at all where that is too few."""
    groups: dict[str, list[str]] = {}
    for one, group in group_of.items():
        groups.setdefault(group, []).append(one)
    large = {group: members for group, members in groups.items() if len(members) >= least}
    rest = [one for group, members in groups.items() if group not in large for one in members]
    return large | ({"(all smaller ones)": rest} if len(rest) >= least else {})


def _masking(candidate: Mapping[str, Any]) -> Check:
    """Warn only: what hid from the gradient was found by the search, and counts as fooled already."""
    masking = candidate.get("masking")
    outcome, why = Outcome.PASS, "No attack was stronger than the one that should be."
    if isinstance(masking, Mapping) and masking.get("suspected"):
        outcome, why = Outcome.FAIL, str(masking.get("why", "Gradients may be masked."))
    return Check("gradient masking", outcome, why=why, blocking=False)


def _names(what: str, names: list[str]) -> str:
    shown = ", ".join([repr(name) for name in names[:_NAMED]])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{what} {shown}{more}".strip()
