"""Decide whether a candidate becomes the champion: a pure rule over evaluations of the same examples.

Promotion needs evidence that nothing was lost beyond the limits, so that a candidate about which too little is known is
refused like a bad one, and told how many examples would decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from poison_guard.config.policies import GatePolicy
from poison_guard.errors import DataError
from poison_guard.numerics.intervals import paired_drop
from poison_guard.retrain.evaluation import Evaluation, parse_evaluation, why_not_comparable

__all__ = ["CONFIDENCE", "Promotion", "decide_promotion"]

CONFIDENCE = 0.95
"""How sure the rule must be of each limit, one-sided. All must hold, so that no correction is due (intersection-union:
Berger 1982): a candidate that does break a limit passes it with chance 1 - CONFIDENCE at most, about."""
_MOST = 10_000_000  # examples past which none are asked for: the loss lies at the limit itself
_NAMED = 5  # groups a sentence names


@dataclass(frozen=True, slots=True)
class Promotion:
    """Whether the candidate is promoted, why or why not, and what was looked at.

    `checks` are JSON-able: ``name``, ``outcome`` (pass, fail, inconclusive), ``value`` (accuracy lost, negative for a
    gain), ``limit``, ``n``, ``low`` and ``high`` (of the loss), ``why`` (a sentence), ``needs`` (n of the
    group named that would decide) and ``blocking``. All blocking ones must pass.
    """

    promoted: bool
    why: str
    checks: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _PromotionCheck:
    name: str
    outcome: str
    why: str
    value: float | None = None
    limit: float | None = None
    n: int = 0
    low: float | None = None
    high: float | None = None
    needs: int | None = None
    blocking: bool = True


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
    checks = list(_all_checks(candidate, {"champion": champion, "baseline": baseline}, policy))
    failed = [check for check in checks if check.blocking and check.outcome != "pass"]
    why = " ".join([check.why for check in failed]) if failed else "Nothing was lost beyond the limits."
    return Promotion(not failed, why, [asdict(check) for check in checks])


def _all_checks(
    candidate: Mapping[str, Any], references: Mapping[str, Mapping[str, Any] | None], policy: GatePolicy
) -> Iterator[_PromotionCheck]:
    try:
        new = parse_evaluation("candidate", candidate)
        old = {name: parse_evaluation(name, found) for name, found in references.items() if found is not None}
    except DataError as error:
        yield _PromotionCheck("evaluation", "fail", str(error))
        return
    if not old:
        yield _PromotionCheck(
            "comparison",
            "fail",
            "There is no champion and no baseline to compare with; evaluate a model trained on trusted data alone.",
        )
        return
    yield _covered(new, old)
    for name, reference in old.items():
        difference = why_not_comparable(new, reference, name)
        if difference:
            yield _PromotionCheck(f"comparison with the {name}", "fail", difference)
        else:
            yield from _compare_models(new, reference, name, policy)
    yield _masking(candidate)


def _covered(new: Evaluation, old: Mapping[str, Evaluation]) -> _PromotionCheck:
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
        return _PromotionCheck(
            "classes covered", "pass", f"All {len(judged)} classes are known and judged.", n=len(judged)
        )
    return _PromotionCheck("classes covered", "fail", why, n=len(judged))


def _compare_models(new: Evaluation, old: Evaluation, name: str, policy: GatePolicy) -> Iterator[_PromotionCheck]:
    """Compare over all examples, by class, by slice and under each attack."""
    ids = new.truth

    def count(
        group: str, members: Mapping[str, Any] | list[str], lost: frozenset[str], kept: frozenset[str]
    ) -> _PairedLoss:
        losses = sum(one in lost and one not in kept for one in members)
        gains = sum(one in kept and one not in lost for one in members)
        return _PairedLoss(group, losses, gains, len(members))

    yield _judge(f"accuracy against the {name}", "", [count("", ids, new.wrong, old.wrong)], policy.max_drop)
    for what, group_of in (("class", new.truth), ("slice", new.slices)):
        if groups := _grouped(group_of, policy.min_trusted):
            counts = [count(group, members, new.wrong, old.wrong) for group, members in groups.items()]
            yield _judge(f"every {what} against the {name}", what, counts, policy.max_class_drop)
    for attack in sorted(new.fooled):
        loss = count("", new.attacked, new.fooled[attack], old.fooled[attack])
        yield _judge(f"robustness to {attack} against the {name}", "", [loss], policy.max_class_drop)


def _judge(name: str, what: str, losses: list[_PairedLoss], limit: float) -> _PromotionCheck:
    """Return the check of the worst group: the one whose loss may be the largest."""
    outcomes = {loss.group: _outcome(loss, limit) for loss in losses}
    rank = {"pass": 0, "inconclusive": 1, "fail": 2}
    worst = max(losses, key=lambda loss: (rank[outcomes[loss.group]], _interval(loss)[1]))
    bad = sorted(group for group, outcome in outcomes.items() if outcome != "pass")
    outcome, (low, high) = outcomes[worst.group], _interval(worst)
    value = (worst.losses - worst.gains) / worst.n
    needs = _needed(worst, limit) if outcome == "inconclusive" else None
    of = f" of {what} {worst.group!r}" if what else ""
    why = f"{name[0].upper()}{name[1:]}: {worst.losses} lost and {worst.gains} gained of {worst.n} examples{of}, "
    match outcome:
        case "pass":
            why += f"a loss above {100 * max(high, 0):.1f} points is excluded (limit {100 * limit:g})."
        case "fail":
            why += f"a loss of at least {100 * low:.1f} points (limit {100 * limit:g})."
        case _:
            why += f"a loss of {100 * high:.1f} points is not excluded (limit {100 * limit:g}); "
            why += f"{needs} examples{of} would decide." if needs else "the loss lies at the limit."
    if len(bad) > 1:
        others = [group for group in bad if group != worst.group]
        why += f" Nor is it excluded for {_names(what, others)}."
    return _PromotionCheck(name, outcome, why, value, limit, worst.n, low, high, needs)


def _outcome(loss: _PairedLoss, limit: float) -> str:
    low, high = _interval(loss)
    return "pass" if high <= limit else "fail" if low > limit else "inconclusive"


def _needed(loss: _PairedLoss, limit: float) -> int | None:
    """Return the least n that decides at the observed shares; None when they lie at the limit."""
    share = (loss.losses - loss.gains) / loss.n

    def decides(n: int) -> bool:
        scaled = _PairedLoss(loss.group, round(loss.losses * n / loss.n), round(loss.gains * n / loss.n), n)
        low, high = _interval(scaled)
        return high <= limit if share <= limit else low > limit

    return _least(decides, loss.n)


def _least(holds: Callable[[int], bool], start: int) -> int | None:
    """Return the least n above `start` from which `holds`, by doubling and halving; None past ten million."""
    low, high = start, start + 1
    while not holds(high):
        low, high = high, 2 * high
        if high > _MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _interval(loss: _PairedLoss) -> tuple[float, float]:
    """Return one-sided bounds of the accuracy lost, each at `CONFIDENCE`."""
    return paired_drop(loss.losses, loss.gains, loss.n, low_tail=1 - CONFIDENCE, high_tail=1 - CONFIDENCE)[1:]


def _by(group_of: Mapping[str, str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for one, group in group_of.items():
        groups.setdefault(group, []).append(one)
    return groups


def _grouped(group_of: Mapping[str, str], least: int) -> dict[str, list[str]]:
    """Return the groups large enough to be judged; the smaller ones together, or not at all where that is too few."""
    groups = _by(group_of)
    large = {group: members for group, members in groups.items() if len(members) >= least}
    rest = [one for group, members in groups.items() if group not in large for one in members]
    return large | ({"(all smaller ones)": rest} if len(rest) >= least else {})


def _masking(candidate: Mapping[str, Any]) -> _PromotionCheck:
    """A warning only: what hid from the gradient was found by the search, and counts as fooled already."""
    found = candidate.get("masking")
    if not isinstance(found, Mapping) or not found.get("suspected"):
        return _PromotionCheck(
            "gradient masking", "pass", "No attack was stronger than the one that should be.", blocking=False
        )
    return _PromotionCheck(
        "gradient masking", "fail", str(found.get("why", "Gradients may be masked.")), blocking=False
    )


def _names(what: str, names: list[str]) -> str:
    shown = ", ".join([repr(name) for name in names[:_NAMED]])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{what} {shown}{more}".strip()
