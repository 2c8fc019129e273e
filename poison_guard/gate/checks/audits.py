"""Checks of what people found or have yet to find: misses among audited records, what waits, what was let pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poison_guard.config.gate import GatePolicy
from poison_guard.gate.check import Check, Outcome
from poison_guard.gate.checks.judging import EXCLUDED, alpha, said
from poison_guard.numerics.intervals import proportion_bounds, rows_to_exclude

__all__ = ["audits", "backlog", "observed"]

_SHARE = 0.25
"""Share of the snapshot beyond which what waits is worth an alert; it closes nothing."""


def audits(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    """Judge the misses that audits of random accepted records found.

    Measurement (`measure.audits`): ``n`` accepted records of the snapshot that people audited, ``wrong`` of them that
    should not have been accepted. FAIL: significantly more than ``max_missed``. Where nothing is decided the check is
    INCONCLUSIVE and does not block, since a gate must not wait for ever for somebody to read; `needs` says how many
    audits without a miss exclude the limit.
    """
    n, wrong = int(measurement["n"]), int(measurement["wrong"])
    low, high = proportion_bounds(wrong, n, low_tail=alpha(policy, "audits"), high_tail=EXCLUDED)
    limit = policy.max_missed
    outcome = Outcome.FAIL if low > limit else Outcome.PASS if high <= limit else Outcome.INCONCLUSIVE
    needs = max(n + 1, rows_to_exclude(limit)) if outcome is Outcome.INCONCLUSIVE else None
    why = f"{wrong} of {n} audited accepted records were wrong; more than {high:.1%} is excluded"
    why = why if n else "nobody has judged what was drawn for audit; `poison-guard review list --kind audit` shows it"
    blocking = outcome is not Outcome.INCONCLUSIVE
    value = wrong / n if n else None
    return said(
        "audits", outcome, why, n=n, value=value, limit=limit, bounds=(low, high), needs=needs, blocking=blocking
    )


def backlog(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    """Say what is not in the snapshot because nobody decided it; an alert, never a closed gate.

    Measurement (`measure.backlog`): ``n`` examples in the snapshot, ``deferred`` items without enough undisputed
    evidence, ``expired`` quarantined records that nobody read in time, ``waiting`` records in the queue now.
    """
    n = int(measurement["n"])
    deferred, expired, waiting = (int(measurement[key]) for key in ("deferred", "expired", "waiting"))
    left = deferred + expired + waiting
    share = left / (n + left) if n + left else 0.0
    outcome = Outcome.PASS if share <= _SHARE else Outcome.INCONCLUSIVE
    why = f"{deferred} items deferred, {waiting} records waiting for review, {expired} expired unread"
    return said("backlog", outcome, why, n=n, value=share, limit=_SHARE, bounds=(share, share), blocking=False)


def observed(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    """Judge what was accepted only because the feed observed: the guard would have held it, and nobody released it.

    Measurement (`measure.observed`): ``n`` accepted records behind the snapshot, ``passed`` of them let pass. Any of
    these makes it INCONCLUSIVE: whether the guard or the record is right is for a person to say.
    """
    n, passed = int(measurement["n"]), int(measurement["passed"])
    share = passed / n if n else 0.0
    why = f"{passed} of {n} accepted records would have been held, but the feed only observed"
    why += "; `poison-guard recall --observed` takes them back into the queue"
    why = why if passed else "nothing was let pass that would have been held"
    outcome = Outcome.INCONCLUSIVE if passed else Outcome.PASS
    return said("observed", outcome, why, n=n, value=share, limit=0.0, bounds=(share, share))
