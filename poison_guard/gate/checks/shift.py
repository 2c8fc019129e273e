"""Check that the snapshot's mix of labels is still that of the trusted set and of the frozen anchor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from poison_guard.config.gate import GatePolicy
from poison_guard.gate.check import Check, Outcome
from poison_guard.gate.checks.judging import EXCLUDED, alpha, judge, said
from poison_guard.numerics.intervals import normal_quantile

__all__ = ["label_shift"]


def label_shift(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    """Judge how far each label's share of the snapshot lies from its share elsewhere; the farthest label speaks.

    Measurement: ``n`` and ``labels`` (label to count) of the snapshot, ``trusted_n`` and ``trusted`` likewise, and
    ``anchor_n`` and ``anchor``, the first admitted snapshot's counts, or None and {} before there is one. Either
    direction counts. The bounds add one example to each side (Agresti and Caffo 2000); `low` is corrected for all
    labels, both directions and both comparisons, `high` excludes per label (intersection-union).
    """
    sides = [("the trusted set", measurement["trusted_n"], measurement["trusted"])]
    if measurement.get("anchor_n"):
        sides.append(("the anchor", measurement["anchor_n"], measurement["anchor"]))
    n, labels = int(measurement["n"]), measurement["labels"]
    compared = sorted({*labels, *(label for _, _, counts in sides for label in counts)})
    tail = alpha(policy, "label_shift") / max(1, 2 * len(compared) * len(sides))
    worst: tuple[Outcome, float, float, float, str, int] | None = None
    for against, size, counts in sides:
        for label in compared:
            here, there = int(labels.get(label, 0)), int(counts.get(label, 0))
            value, low, high, needs = _apart(here, n, there, int(size), tail, policy.max_label_shift)
            outcome = judge(value, low, high, policy.max_label_shift)
            shares = f"{here / max(n, 1):.1%} of the snapshot and {there / max(int(size), 1):.1%} of {against}"
            found = (outcome, value, low, high, f"label {label!r} is {shares}", needs)
            if worst is None or (outcome.severity, value) > (worst[0].severity, worst[1]):
                worst = found
    if worst is None:
        return said("label_shift", Outcome.INCONCLUSIVE, "there is no label to compare", n=n)
    outcome, value, low, high, why, needs = worst
    return said(
        "label_shift",
        outcome,
        why,
        n=int(measurement["trusted_n"]),
        value=value,
        limit=policy.max_label_shift,
        bounds=(low, high),
        needs=needs if outcome is Outcome.INCONCLUSIVE and low <= 0 else None,
    )


def _apart(here: int, n: int, there: int, size: int, tail: float, limit: float) -> tuple[float, float, float, int]:
    """Return how far two shares lie apart, its bounds, and the size of the other side that would exclude the limit."""
    p, q = (here + 1) / (n + 2), (there + 1) / (size + 2)
    width = math.sqrt(p * (1 - p) / (n + 2) + q * (1 - q) / (size + 2))
    value = abs(here / n - there / size) if n and size else 1.0
    apart = abs(p - q)
    low = min(value, apart - normal_quantile(tail) * width)
    high = max(value, apart + normal_quantile(EXCLUDED) * width)
    room = (limit / (normal_quantile(EXCLUDED) + 1)) ** 2 - p * (1 - p) / (n + 2)
    needs = math.ceil(q * (1 - q) / room) if room > 0 else 10 * max(size, 1)
    return value, low, high, max(needs, size + 1)
