"""Checks of who the snapshot rests on: one source's share, and what comes from new sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poison_guard.config.gate import GatePolicy
from poison_guard.gate.check import Check, Outcome
from poison_guard.gate.checks.judging import absent, said

__all__ = ["new_cohort", "source_share"]

_FEW = 3
"""Times an even share that one source may hold where sources are few."""


def source_share(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    """Judge how much of the snapshot rests on its largest source.

    Measurement (`measure.source_share`): ``n`` accepted records behind the snapshot, ``sources`` how many sources gave
    them, ``top`` records of the largest one, ``source`` its id; or ``{"absent": reason}`` for feeds without sources.
    FAIL above ``max(max_source_share, 3 / sources)``; with fewer than four sources that is all of it, and the check
    says so.
    """
    if "absent" in measurement:
        return absent("source_share", measurement["absent"])
    n, sources, top = int(measurement["n"]), int(measurement["sources"]), int(measurement["top"])
    share = top / n if n else 0.0
    limit = min(1.0, max(policy.max_source_share, _FEW / sources if sources else 1.0))
    outcome = Outcome.FAIL if share > limit else Outcome.PASS
    why = f"the largest of {sources} sources ({measurement['source']}) gave {top} of {n} records ({share:.1%})"
    why += f"; {limit:.1%} may rest on one source" if outcome is Outcome.FAIL else ""
    return said("source_share", outcome, why, n=n, value=share, limit=limit, bounds=(share, share))


def new_cohort(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    """Judge what rests on new sources: each one's count, and their share together.

    Measurement (`measure.new_cohort`): ``n`` records, ``new`` of them from sources whose account was new, ``sources``
    how many new sources, ``top`` records of the largest new one, ``source`` its id, ``unknown`` records from sources of
    unknown age (counted as not new, and said); or ``{"absent": reason}``. FAIL beyond ``max_new_source_examples`` for
    one new source, or when all new ones together hold more than ``max_new_share``.
    """
    if "absent" in measurement:
        return absent("new_cohort", measurement["absent"])
    n, new, top = int(measurement["n"]), int(measurement["new"]), int(measurement["top"])
    share = new / n if n else 0.0
    why = f"{measurement['sources']} new sources gave {new} of {n} records ({share:.1%}), {top} at most from one"
    if measurement.get("unknown"):
        why += f"; the age is unknown for {measurement['unknown']} records"
    outcome = Outcome.PASS
    if top > policy.max_new_source_examples:
        outcome = Outcome.FAIL
        why += f": {measurement['source']} may give {policy.max_new_source_examples} while new"
    elif share > policy.max_new_share:
        outcome = Outcome.FAIL
        why += f"; together they may give {policy.max_new_share:.0%}"
    limit = policy.max_new_share
    return said("new_cohort", outcome, why, n=n, value=share, limit=limit, bounds=(share, share))
