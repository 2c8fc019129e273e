"""From measurements to a verdict: every check runs, a missing or crashed measurement is an error, the worst decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from poison_guard.config.policies import GatePolicy
from poison_guard.gate.checks.canary import canary, candidate
from poison_guard.gate.checks.counts import audits, backlog, new_cohort, observed, source_share, trusted_set
from poison_guard.gate.checks.labels import label_neighbours, label_shift
from poison_guard.gate.checks.planted import planted_triggers
from poison_guard.gate.checks.replies import near_copies, reply_canary, reply_shift, reply_triggers
from poison_guard.gate.checks.triggers import triggers
from poison_guard.gate.outcomes import Verdict, make_check
from poison_guard.records import Check, Outcome

__all__ = ["ALERTS", "CHECKS", "REPLY_CHECKS", "evaluate_checks"]

_Checks = dict[str, Callable[[Mapping[str, Any], GatePolicy], Check]]
CHECKS: _Checks = {
    "trusted_set": trusted_set,
    "label_neighbours": label_neighbours,
    "triggers": triggers,
    "canary": canary,
    "label_shift": label_shift,
    "source_share": source_share,
    "new_cohort": new_cohort,
    "audits": audits,
    "observed": observed,
    "candidate": candidate,
    "planted_triggers": planted_triggers,
    "backlog": backlog,
}
"""Check by name, in the order in which people read them; the measurement of a check has its name."""
REPLY_CHECKS: _Checks = {
    "trusted_set": trusted_set,
    "reply_triggers": reply_triggers,
    "reply_shift": reply_shift,
    "near_copies": near_copies,
    "reply_canary": reply_canary,
    "source_share": source_share,
    "new_cohort": new_cohort,
    "audits": audits,
    "observed": observed,
    "backlog": backlog,
}
"""The checks of feedback without labels: pairs, instructions, documents."""
ALERTS = frozenset({"backlog"})
"""Checks that never close the gate, not even by their absence."""
BY_TRUSTED = frozenset(
    {"label_neighbours", "triggers", "canary", "label_shift"}
    | {"reply_triggers", "reply_shift", "near_copies", "reply_canary"}
)
"""Checks that compare with trusted examples: where there is none, ``trusted_set`` says it for all of them."""


def evaluate_checks(
    measurements: Mapping[str, Mapping[str, Any]], policy: GatePolicy, checks: _Checks = CHECKS
) -> Verdict:
    """Return the verdict: ERROR before FAIL before INCONCLUSIVE before PASS, over the blocking checks.

    Pure, and never raises for what a measurement holds: one that is missing, that says ``{"error": why}`` (it crashed)
    or ``{"lacking": why}`` (there was nothing to compare), or that its check cannot read, is an ERROR. A measurement
    that no check asks for is ignored. Without a trusted example the checks that need some are left out: ``trusted_set``
    is INCONCLUSIVE.
    """
    left_out = BY_TRUSTED if _has_no_trusted(measurements.get("trusted_set")) else frozenset()
    done = tuple(
        _run_check(name, check, measurements.get(name), policy)
        for name, check in checks.items()
        if name not in left_out
    )
    worst = max((c.outcome for c in done if c.blocking), key=lambda outcome: outcome.severity, default=Outcome.ERROR)
    return Verdict(worst, done)


def _has_no_trusted(measurement: Any) -> bool:
    """Return whether a snapshot with examples has no trusted one to be compared with."""
    return isinstance(measurement, Mapping) and measurement.get("n") == 0 and bool(measurement.get("snapshot_labels"))


def _run_check(
    name: str, check: Callable[[Mapping[str, Any], GatePolicy], Check], measurement: Any, policy: GatePolicy
) -> Check:
    blocking = name not in ALERTS
    if not isinstance(measurement, Mapping):
        return make_check(
            name, Outcome.ERROR, "it was not measured; seal again and run the gate", n=0, blocking=blocking
        )
    if "error" in measurement:
        return make_check(name, Outcome.ERROR, f"measuring failed: {measurement['error']}", n=0, blocking=blocking)
    if "lacking" in measurement:
        return make_check(name, Outcome.ERROR, str(measurement["lacking"]), n=0, blocking=blocking)
    try:
        return check(measurement, policy)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as e:
        why = f"its measurement cannot be read ({type(e).__name__}: {e}); run the gate again"
        return make_check(name, Outcome.ERROR, why, n=0, blocking=blocking)
