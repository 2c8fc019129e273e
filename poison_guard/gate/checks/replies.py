"""Checks of feedback without labels: triggers by judgement, what replies are preferred for, copies, and a canary."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from poison_guard.config.policies import GatePolicy
from poison_guard.gate.checks.canary import judge_drops
from poison_guard.gate.outcomes import (
    EXCLUSION_ALPHA,
    PASS_FACTOR,
    about,
    check_alpha,
    judge_harm,
    make_check,
)
from poison_guard.numerics.intervals import normal_quantile, sooner_elsewhere
from poison_guard.records import Check, Outcome
from poison_guard.signals.pvalues import beta_low, binomial_high

__all__ = ["near_copies", "reply_canary", "reply_shift", "reply_triggers"]


_LEAST = 8
"""Carriers below which no mark is looked at (`signals.campaigns.prompt_marks.LEAST`)."""
_NATURAL = 0.25
"""Chance from which a mark's misjudged carriers are as common among trusted examples: people judge it so."""


@about("AML.T0018", "backdoor poisoning", budget=0.50)
def reply_triggers(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    """Judge the marks of prompts and replies that have no topic and are judged against the others' opinion.

    Measurement: see `gate.replies`. FAIL: a mark whose carriers, over all marks looked at, are significantly often
    judged otherwise (Poisson binomial) and that trusted examples do not share. `high` is the share of the snapshot that
    a trigger must carry to be seen, were all of its carriers judged as honest ones are not; where it is beyond
    ``max_label_error`` the check is INCONCLUSIVE, and `needs` says how many examples would bring it below. A trigger
    whose replies others would give, too, is not seen.
    """
    n, m = int(measurement["n"]), int(measurement["trusted_n"])
    tail, size = check_alpha(policy, "reply_triggers"), int(measurement["size"])
    exponent, looked = float(measurement["exponent"]), int(measurement["looked"])
    if n == 0 or exponent <= 0 or looked == 0:
        why = "nothing is known of what others prefer or reply, so no trigger would show; add trusted examples"
        return make_check(
            "reply_triggers", Outcome.INCONCLUSIVE, why, n=n, value=0.0, limit=1.0, bounds=(0.0, 1.0), needs=2 * m
        )
    share = m / (m + size)
    least = max(_LEAST, math.ceil(math.log(looked / tail) / exponent))
    high = min(1.0, least / n)
    for row in measurement["found"]:
        here, there = int(row["here"]), int(row["there"])
        natural = float(sooner_elsewhere(np.array([here]), np.array([there]), share)[0])
        if float(row["p"]) <= tail and natural <= _NATURAL:
            what = "prefer what others reject" if row["flipped"] else "have a reply that does not fit"
            why = f"{row['mark']}: {here} examples with it {what}, and {there} of {m} trusted ones; it has no topic"
            value = here / size
            return make_check("reply_triggers", Outcome.FAIL, why, n=n, value=value, limit=high, bounds=(value, value))
    why = f"no mark goes with replies that others would not prefer or give; one would show from {least} examples"
    narrow = high <= policy.max_label_error
    return make_check(
        "reply_triggers",
        Outcome.PASS if narrow else Outcome.INCONCLUSIVE,
        f"{why} ({high:.2%})",
        n=n,
        value=0.0,
        limit=high,
        bounds=(0.0, high),
        needs=None if narrow else math.ceil(least / policy.max_label_error),
    )


@about("AML.T0020", "targeted poisoning", budget=0.25)
def reply_shift(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    """Judge whether replies are preferred for what trusted ones are: length, refusals, names, links, tone, script.

    Measurement: see `gate.replies`. Each trait's share is compared with the trusted examples' (difference of two
    shares, corrected over the traits), limit ``max_label_shift``; the worst decides.
    """
    traits: Mapping[str, list[int]] = measurement["traits"]
    tail, limit = check_alpha(policy, "reply_shift") / max(1, len(traits)), policy.max_label_shift
    worst: tuple[int, float] | None = None
    check = make_check("reply_shift", Outcome.INCONCLUSIVE, "no trait could be compared", n=0)
    for name, (hits, n, trusted_hits, m) in traits.items():
        if not n or not m:
            continue
        here, there = hits / n, trusted_hits / m
        pooled = (hits + trusted_hits + 1) / (n + m + 2)
        noise = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
        value = abs(here - there)
        low, high = value - normal_quantile(tail) * noise, value + normal_quantile(EXCLUSION_ALPHA) * noise
        outcome = judge_harm(value, low, high, limit)
        if worst is not None and (outcome.severity, value) <= worst:
            continue
        worst = outcome.severity, value
        needs = None
        if outcome is Outcome.INCONCLUSIVE and low <= 0:
            width = (PASS_FACTOR * limit - value) / normal_quantile(EXCLUSION_ALPHA)
            room = (width**2 / (pooled * (1 - pooled)) - 1 / n) if width > 0 else 0.0
            needs = max(m + 1, math.ceil(1 / room)) if room > 0 else 10 * m
        why = f"{here:.1%} of the replies: {name}, among trusted ones {there:.1%}; more than {high:.1%} is excluded"
        bounds = (low, high)
        check = make_check("reply_shift", outcome, why, n=m, value=value, limit=limit, bounds=bounds, needs=needs)
    return check


@about("AML.T0020", "availability poisoning", budget=0.10)
def near_copies(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    """Judge how much of the snapshot is near-copies of one text.

    Measurement: see `gate.replies`. FAIL: more than ``max_source_share`` of the snapshot, and more than trusted
    examples repeat their commonest text (binomial, its 95 % bound). What people pass on is less than that.
    """
    n, m, largest = (int(measurement[key]) for key in ("n", "trusted_n", "largest"))
    usual = int(measurement["usual"])
    rate = float(beta_low(usual + 1, max(m - usual, 1), 1 - EXCLUSION_ALPHA))
    p = float(binomial_high(largest, n, rate))
    share, limit = largest / n, policy.max_source_share
    failed = share > limit and p <= check_alpha(policy, "near_copies")
    why = f"the commonest text has {largest} near-copies of {n} examples ({share:.1%}), among {m} trusted ones {usual}"
    why += f"; {limit:.1%} may be one text" if failed else ""
    outcome = Outcome.FAIL if failed else Outcome.PASS
    return make_check("near_copies", outcome, why, n=n, value=share, limit=limit, bounds=(share, share))


@about("AML.T0031", "targeted poisoning", budget=0.10)
def reply_canary(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    """Judge whether a small model, trained with what is new, tells better replies from worse less often than without.

    Measurement: as for `canary`, on trusted examples and by slices of prompts. It can only FAIL: such a model is too
    weak to prove the absence of harm, and the sentence says the smallest drop that it could have shown.
    """
    check = judge_drops("reply_canary", measurement, policy, "a model of replies trained with what is new")
    if check.outcome in (Outcome.FAIL, Outcome.ERROR) or check.value is None or check.low is None:
        return check
    seen = max(policy.max_drop, check.value - check.low)
    why = f"{check.why}; it would show a drop of {seen:.1%}, and no smaller one"
    return dataclasses.replace(check, outcome=Outcome.PASS, why=why)
