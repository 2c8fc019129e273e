"""Check that the trusted set can carry the other checks: large enough for each label, fresh, vouched for, apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poison_guard.config.gate import GatePolicy
from poison_guard.gate.check import Check, Outcome
from poison_guard.gate.checks.judging import said

__all__ = ["trusted_set"]


def trusted_set(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    """Judge the trusted examples (calibration and holdout splits) that the gate compares with.

    Measurement (`measure.trusted_set`): ``n`` trusted examples, ``labels`` their count by label, ``snapshot_labels``
    the snapshot's, ``age_days`` since somebody last added to the set (None: unknown), ``seen_before`` entries that the
    feed had sent before they were vetted, and that no review took from it. FAIL: such an entry. INCONCLUSIVE: no
    trusted set, a label of the snapshot with fewer than ``min_trusted`` trusted examples (`needs`: examples to add for
    the poorest label), or nothing added for ``trusted_days``. `value` is how many the poorest label lacks.
    """
    n, have = int(measurement["n"]), measurement["labels"]
    missing = {x: max(0, policy.min_trusted - int(have.get(x, 0))) for x in measurement["snapshot_labels"]}
    poorest = max(sorted(missing), key=lambda x: missing[x], default=None)
    lacking = missing[poorest] if poorest is not None else 0
    age, seen = measurement.get("age_days"), int(measurement["seen_before"])
    outcome, why = Outcome.PASS, f"{n} trusted examples, at least {policy.min_trusted} of each label"
    if seen:
        outcome = Outcome.FAIL
        why = f"the feed had sent {seen} trusted records before they were vetted; it may have written its own judge"
    elif n == 0:
        outcome, why = Outcome.INCONCLUSIVE, "there is no trusted set; add one with `poison-guard trust`"
    elif lacking:
        outcome = Outcome.INCONCLUSIVE
        why = (
            f"label {poorest!r} has {int(have.get(poorest, 0))} trusted examples of {policy.min_trusted} needed "
            f"({sum(v > 0 for v in missing.values())} labels lack some)"
        )
    elif age is None or age > policy.trusted_days:
        outcome = Outcome.INCONCLUSIVE
        why = f"nobody added to the trusted set for {'unknown' if age is None else round(age)} days; review and add"
    needs = n + sum(missing.values()) if lacking else None
    value = float(lacking)
    return said("trusted_set", outcome, why, n=n, value=value, limit=0.0, bounds=(value, value), needs=needs)
