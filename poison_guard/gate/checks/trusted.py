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
    the snapshot's, ``age_days`` since somebody last added to the set (None: unknown), ``unvouched`` entries without a
    named person and reason, ``overlap`` of them that the snapshot would train on. FAIL: unvouched or overlapping
    examples. INCONCLUSIVE: no trusted set, a label of the snapshot with fewer than ``min_trusted`` trusted examples
    (`needs`: examples to add for the poorest label), or nothing added for ``trusted_days``. `value` is the poorest
    label's count turned into how many are missing.
    """
    n, have = int(measurement["n"]), measurement["labels"]
    missing = {x: max(0, policy.min_trusted - int(have.get(x, 0))) for x in measurement["snapshot_labels"]}
    poorest = max(sorted(missing), key=lambda x: missing[x], default=None)
    lacking = missing[poorest] if poorest is not None else 0
    age, overlap, unvouched = measurement.get("age_days"), int(measurement["overlap"]), int(measurement["unvouched"])
    outcome, why = Outcome.PASS, f"{n} trusted examples, at least {policy.min_trusted} of each label"
    if unvouched or overlap:
        outcome = Outcome.FAIL
        why = f"{unvouched} trusted examples have no named person behind them, {overlap} are in the snapshot as well"
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
