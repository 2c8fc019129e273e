"""Check that no word, value or pixel goes with a label that trusted examples deny: dirty-label backdoors."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from poison_guard.config.policies import GatePolicy
from poison_guard.gate.outcomes import about, check_alpha, judge_without_copies, make_check
from poison_guard.numerics.intervals import sooner_elsewhere
from poison_guard.records import Check, Outcome
from poison_guard.signals.labels.expectation import SURE

__all__ = ["triggers"]

_MOST_NAMED = 200
_SHOWN = 5
"""Examples that the sentence names."""
_NEEDED_SHARE = 0.01
"""Share of the snapshot with one trigger that `needs` says how to see."""


@about("AML.T0018", "backdoor poisoning", budget=0.50)
def triggers(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    """Judge the marks whose carriers have one label against what trusted examples expect of the carriers.

    Measurement: see `signals.labels.triggers.label_triggers`. Were the snapshot as honest as the trusted set, such
    carriers would fall on both in proportion to their sizes; the check FAILS where they are significantly in the
    snapshot alone (conditional binomial test, over the marks that could have been significant, each
    with its share of the error: Tarone 1990; Genovese, Roeder and Wasserman 2006).
    `high` is the share of the snapshot that a trigger unknown to the trusted set must carry to be seen: smaller ones
    are not excluded, and where it is beyond ``max_label_error`` the check is INCONCLUSIVE; `needs` is how many trusted
    examples would show one of 1 %. A clean-label trigger is not seen.
    """
    return judge_without_copies(_judge_triggers, measurement, policy)


def _judge_triggers(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    error = check_alpha(policy, "triggers") / 2  # half for each of the two tests
    found = _found(measurement, error)
    if found is not None:
        return found
    n, m = int(measurement["n"]), int(measurement["trusted_n"])
    share = m / (n + m)
    tail = error
    rivals = sum(float(weight) for total, weight in measurement["family"] if (1 - share) ** int(total) <= tail)
    sharp = math.log(tail / (1.0 + rivals))  # a trigger that always has its label, which nobody expects, weighs 1
    least = math.ceil(sharp / math.log1p(-share))
    marks = measurement["marks"]
    here, there = (np.array([int(row[key]) for row in marks], dtype=np.int64) for key in ("here", "there"))
    p = sooner_elsewhere(here, there, share) if marks else np.ones(1)
    weights = np.array([float(row["weight"]) for row in marks]) if marks else np.ones(1)
    scaled = p * np.maximum(rivals, weights) / weights
    at = int(np.argmin(scaled))
    least = min(least, int(measurement.get("least", least)))
    high = min(1.0, least / n)
    needs = math.ceil(n * (math.exp(-sharp / max(1.0, _NEEDED_SHARE * n)) - 1))
    if scaled[at] <= tail:
        row, value = marks[at], float(here[at] / n)
        why = f"{row['mark']} has label {row['label']!r} in {here[at]} examples and {there[at]} of {m} trusted ones, "
        why += "against what else the examples hold"
        return make_check("triggers", Outcome.FAIL, why, n=m, value=value, limit=high, bounds=(value, value))
    value = float(here[at] / n) if marks else 0.0
    why = f"no mark goes with a denied label; one new to the trusted set would show from {least} examples ({high:.2%})"
    return make_check(
        "triggers",
        Outcome.PASS if high <= policy.max_label_error else Outcome.INCONCLUSIVE,
        why,
        n=m,
        value=value,
        limit=high,
        bounds=(0.0, high),
        needs=needs if needs > m else None,
    )


def _found(measurement: Mapping[str, Any], error: float) -> Check | None:
    """Return the check that fails on the mark most beyond expectation; None where none is beyond it."""
    n = max(1, int(measurement["n"]))
    sure = [row for row in measurement.get("found", ()) if row["evidence"] >= SURE * math.log(row["tests"] / error)]
    if not sure:
        return None
    row = sure[0]
    named = ", ".join(row["examples"][:_SHOWN]) + (", …" if len(row["examples"]) > _SHOWN else "")
    why = f"{row['mark']} has label {row['label']!r} in {row['with_label']} of {row['carriers']} examples, where "
    why += f"trusted examples expect {row['expected']:.1f}: {named}"
    value = row["with_label"] / n
    check = make_check(
        "triggers", Outcome.FAIL, why, n=int(measurement["trusted_n"]), value=value, limit=0.0, bounds=(value, value)
    )
    carriers = dict.fromkeys(name for one in sure for name in one["examples"])
    return dataclasses.replace(check, records=tuple(carriers)[:_MOST_NAMED])
