"""Check that no word, value or pixel goes with a label that trusted examples deny: dirty-label backdoors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from poison_guard.config.gate import GatePolicy
from poison_guard.gate.check import Check, Outcome
from poison_guard.gate.checks.judging import alpha, said, without_copies
from poison_guard.numerics.intervals import sooner_elsewhere

__all__ = ["triggers"]

_SHARE = 0.01
"""Share of the snapshot with one trigger that `needs` says how to see."""


def triggers(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    """Judge the marks whose carriers have one label against what trusted examples expect of the carriers.

    Measurement: see `signals.labels.triggers.label_triggers`. Were the snapshot as honest as the trusted set, such
    carriers would fall on both in proportion to their sizes; the check FAILS where they are significantly in the
    snapshot alone (conditional binomial test, corrected for the marks that could have been significant: Tarone 1990).
    `high` is the share of the snapshot that a trigger unknown to the trusted set must carry to be seen: smaller ones
    are not excluded, and where it is beyond ``max_label_error`` the check is INCONCLUSIVE; `needs` is how many trusted
    examples would show one of 1 %. A clean-label trigger is not seen.
    """
    return without_copies(_judged, measurement, policy)


def _judged(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    n, m = int(measurement["n"]), int(measurement["trusted_n"])
    share = m / (n + m)
    tail = alpha(policy, "triggers")
    family = _family([int(total) for total in measurement["family"]], share, tail)
    least = math.ceil(math.log(tail / max(1, family)) / math.log1p(-share))
    marks = measurement["marks"]
    here, there = (np.array([int(row[key]) for row in marks], dtype=np.int64) for key in ("here", "there"))
    p = sooner_elsewhere(here, there, share) if marks else np.ones(1)
    at = int(np.argmin(p))
    high = min(1.0, least / n)
    needs = math.ceil(n * (math.exp(-math.log(tail / max(1, family)) / max(1.0, _SHARE * n)) - 1))
    if p[at] <= tail / max(1, family):
        row, value = marks[at], float(here[at] / n)
        why = f"{row['mark']} has label {row['label']!r} in {here[at]} examples and {there[at]} of {m} trusted ones, "
        why += "against what else the examples hold"
        return said("triggers", Outcome.FAIL, why, n=m, value=value, limit=high, bounds=(value, value))
    value = float(here[at] / n) if marks else 0.0
    why = f"no mark goes with a denied label; one new to the trusted set would show from {least} examples ({high:.2%})"
    return said(
        "triggers",
        Outcome.PASS if high <= policy.max_label_error else Outcome.INCONCLUSIVE,
        why,
        n=m,
        value=value,
        limit=high,
        bounds=(0.0, high),
        needs=needs if needs > m else None,
    )


def _family(totals: list[int], share: float, tail: float) -> int:
    """Return the number of marks that could be significant at ``tail / number`` with all carriers in the snapshot."""
    best = np.sort(np.array([(1 - share) ** total for total in totals]))
    k = 1
    while np.count_nonzero(best <= tail / k) > k:
        k += 1
    return k
