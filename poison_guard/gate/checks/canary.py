"""Checks of what training on the snapshot does to trusted examples: losses overall, per class and per slice, paired."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from poison_guard.config.policies import GatePolicy
from poison_guard.gate.outcomes import (
    EXCLUSION_ALPHA,
    PASS_FACTOR,
    about,
    check_alpha,
    judge_harm,
    make_check,
    not_applicable,
)
from poison_guard.numerics.intervals import normal_quantile, paired_drop, pairs_to_exclude
from poison_guard.records import Check, Outcome

__all__ = ["canary", "candidate", "judge_drops"]

_GROUP_SPREAD = 0.4
"""Standard deviation of honest groups' drops around the overall one, in limits."""


@dataclass(frozen=True, slots=True)
class _Drop:
    """What one group of trusted examples lost."""

    outcome: Outcome
    group: str
    value: float
    bounds: tuple[float, float]
    limit: float
    n: int
    lost: int
    gained: int

    @property
    def rank(self) -> tuple[int, float]:
        return self.outcome.severity, self.value - self.limit


@about("AML.T0031", "targeted poisoning", budget=0.10)
def canary(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    """Judge a small fixed model with and without what is new, on every trusted example (cross-fitted).

    Measurement (`measure.measure_canary`): ``n, lost, gained`` overall (lost: right without what is new and wrong with
    it), ``classes`` and ``slices``: name to the same three. Limits ``max_drop`` overall, ``max_class_drop`` for a class
    or slice. The group that comes out worst decides. `low` is corrected for all groups; `high` excludes for each group
    (intersection-union). Where nothing is significant a class or slice holds back only if its drop is large even when
    shrunk towards the overall one, and never with fewer than ``min_trusted`` examples (the check of the trusted set
    says that they are small): so a passing group may still lose up to `high`.
    Backdoors do not show here: the trusted examples lack the trigger.
    """
    return judge_drops("canary", measurement, policy, "a model trained with what is new")


@about("AML.T0031", "targeted poisoning", budget=0.05)
def candidate(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    """Judge a candidate model by its predictions for the trusted holdout, against another model's.

    Measurement (`measure.candidate`): as for `canary`, with ``against`` (``champion`` or ``trusted-only``), ``missing``
    trusted examples without a prediction and ``unknown`` predictions for other ids; or ``{"absent": reason}`` when no
    candidate is judged; ``strange`` a predicted label that no trusted example has. Any missing or unknown id is an
    ERROR: predictions must be for exactly these examples.
    """
    if "absent" in measurement:
        return not_applicable("candidate", measurement["absent"])
    missing, unknown, n = int(measurement["missing"]), int(measurement["unknown"]), int(measurement["n"])
    if missing or unknown or n == 0:
        why = f"{missing} trusted examples have no prediction, {unknown} predictions are for other ids"
        return make_check(
            "candidate", Outcome.ERROR, f"{why}; predict exactly what `export --trusted holdout` gives", n=n
        )
    check = judge_drops("candidate", measurement, policy, f"the candidate, against the {measurement['against']} model,")
    strange = measurement.get("strange")
    if strange is None or check.outcome is Outcome.PASS:
        return check
    return dataclasses.replace(check, why=f"{check.why}; it predicts {strange!r}, a label no trusted example has")


def judge_drops(name: str, measurement: Mapping[str, Any], policy: GatePolicy, who: str) -> Check:
    """Return the check `name` of what `who` loses of the trusted examples: the group that comes out worst decides."""
    groups = {
        f"{kind} {key!r}": counts
        for kind, field in (("class", "classes"), ("slice", "slices"))
        for key, counts in measurement[field].items()
    }
    tail = check_alpha(policy, name) / 2
    drops = [_drop("all trusted examples", measurement, tail, policy.max_drop)]
    usual = max(0.0, drops[0].value)
    for group, counts in groups.items():
        drop = _drop(group, counts, tail / len(groups), policy.max_class_drop)
        drops.append(_shrink_to_overall(drop, usual, policy.min_trusted))
    worst = max(drops, key=lambda drop: drop.rank)
    why = f"{who} gets {worst.lost} of {worst.n} of {worst.group} newly wrong and {worst.gained} newly right"
    needs = None
    if worst.outcome is Outcome.INCONCLUSIVE:
        counts = (worst.lost, worst.gained, worst.n)
        needs = pairs_to_exclude(*counts, PASS_FACTOR * worst.limit, tail=EXCLUSION_ALPHA)
    return make_check(
        name, worst.outcome, why, n=worst.n, value=worst.value, limit=worst.limit, bounds=worst.bounds, needs=needs
    )


def _drop(group: str, counts: Mapping[str, Any], tail: float, limit: float) -> _Drop:
    n, lost, gained = (int(counts[key]) for key in ("n", "lost", "gained"))
    value, low, high = paired_drop(lost, gained, n, low_tail=tail, high_tail=EXCLUSION_ALPHA)
    return _Drop(judge_harm(value, low, high, limit), group, value, (low, high), limit, n, lost, gained)


def _shrink_to_overall(drop: _Drop, usual: float, least: int) -> _Drop:
    """Return the drop of a class or slice, a pass where nothing is significant and its company explains it.

    With many small groups one of them always loses a few by chance. Its drop, shrunk towards the `usual` one as far as
    groups of honest data differ (`_GROUP_SPREAD` limits, standard deviation), must then exclude the limit. A group of
    fewer than `least` cannot hold back.
    """
    if drop.outcome is not Outcome.INCONCLUSIVE or drop.bounds[0] > 0:
        return drop
    noise = ((drop.bounds[1] - drop.value) / normal_quantile(EXCLUSION_ALPHA)) ** 2
    weight = (_GROUP_SPREAD * drop.limit) ** 2 / ((_GROUP_SPREAD * drop.limit) ** 2 + noise)
    shrunk = usual + weight * (drop.value - usual) + normal_quantile(EXCLUSION_ALPHA) * math.sqrt(weight * noise)
    passes = drop.n < least or shrunk <= drop.limit
    return dataclasses.replace(drop, outcome=Outcome.PASS) if passes else drop
