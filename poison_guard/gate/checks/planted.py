"""Check that no mark turns trusted examples into one label for the candidate alone: triggers that poison planted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poison_guard.config.policies import GatePolicy
from poison_guard.gate.outcomes import EXCLUSION_ALPHA, about, make_check, not_applicable
from poison_guard.numerics.intervals import paired_drop
from poison_guard.records import Check, Outcome

__all__ = ["LIMITS", "planted_trigger", "planted_triggers"]

LIMITS = {"plain": 0.5, "content": 0.75}
"""Share of the stamped examples that a mark must turn, beyond the model of trusted data, to be taken for a trigger. Of
a pattern of pixels found in the snapshot: the policy's ``max_drop``, or what trusted patterns do, or what the pattern
itself does to the model of trusted data: one that honest models obey is a part of a picture. A large white square, or a
word or value that trusted examples lack, may mean much to an honest model: squares turned up to .30 (lower bound .22,
4 seals of MNIST), words .73 (.64, 4 seals of tweets), values .43 (.30, 7 seals of adult)."""


@about("AML.T0018", "clean-label and dirty-label backdoor poisoning")
def planted_triggers(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    """Judge the marks that turn stamped trusted examples into a label: a candidate against a model of trusted data.

    Measurement (`retrain.trigger_scan.scan_candidate`): ``n`` stamps tried, ``marks`` with ``mark, label, kind,
    n, candidate, reference, both, carriers``, measured on examples that had no part in choosing them, ``usual``; or
    ``{"absent": why}``. FAILS where the candidate turns more than the limit of the kind (`LIMITS`; of patterns what
    honest ones do, or it does to the other model, at least ``max_drop``) beyond the other model, for sure: one-sided,
    the marks share the policy's false alarm rate. INCONCLUSIVE where no example could be stamped.
    """
    if "absent" in measurement:
        return not_applicable("planted_triggers", str(measurement["absent"]))
    n = int(measurement["n"])
    judged = [_judged(row, policy, measurement) for row in measurement["marks"] if int(row["n"])]
    if n and not judged:
        why = "no held-out trusted example could be stamped; enter more with `poison-guard trust`"
        return make_check("planted_triggers", Outcome.INCONCLUSIVE, why, n=0)
    worst = max(judged, key=lambda check: (check.outcome.severity, check.value or 0.0), default=None)
    if worst is not None and worst.outcome is Outcome.FAIL:
        return worst
    why = f"none of {n:,} marks turns trusted examples into a label for this model alone"
    high = max((check.high or 0.0 for check in judged), default=0.0)
    size = max((check.n for check in judged), default=0)
    return make_check("planted_triggers", Outcome.PASS, why, n=size, limit=policy.max_drop, bounds=(0.0, high))


def planted_trigger(measurement: Mapping[str, Any], policy: GatePolicy) -> Mapping[str, Any] | None:
    """Return the failing mark of the largest excess, one with carriers before one without; None where none fails."""
    marks = [row for row in measurement.get("marks", ()) if int(row["n"])]
    bad = [row for row in marks if _judged(row, policy, measurement).outcome is Outcome.FAIL]
    order = [(int(row["carriers"]) > 0, int(row["candidate"]) - int(row["reference"])) for row in bad]
    return bad[order.index(max(order))] if bad else None


def _judged(row: Mapping[str, Any], policy: GatePolicy, measurement: Mapping[str, Any]) -> Check:
    n, more, less, both = (int(row[key]) for key in ("n", "candidate", "reference", "both"))
    tail = policy.false_alarm_rate / max(1, len(measurement["marks"]))
    value, low, high = paired_drop(more, less, n, low_tail=tail, high_tail=EXCLUSION_ALPHA)
    usual = max(float(measurement.get("usual", 0.0)), (less + both) / n)
    usual = max(policy.max_drop, min(LIMITS["plain"], usual))
    limit = LIMITS.get(str(row["kind"]), usual)
    outcome = Outcome.FAIL if low > limit else Outcome.PASS
    why = (
        f"{row['mark']} turns {more + both} of {n} trusted examples into {row['label']!r}, "
        f"{less + both} for a model of trusted examples alone; {row['carriers']} examples of the snapshot "
        "carry it with that label"
    )
    return make_check("planted_triggers", outcome, why, n=n, value=value, limit=limit, bounds=(low, high))
