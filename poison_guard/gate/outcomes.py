"""Judge a measured harm by one rule and one error budget; the verdict over all checks, and what each is about."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from poison_guard.config.policies import GatePolicy
from poison_guard.records import Check, Outcome

__all__ = [
    "ERROR_BUDGET",
    "EXCLUSION_ALPHA",
    "PASS_FACTOR",
    "THREATS",
    "Threat",
    "Verdict",
    "about",
    "check_alpha",
    "judge_harm",
    "make_check",
    "not_applicable",
]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's verdict over a snapshot: the worst outcome of its blocking checks."""

    outcome: Outcome
    checks: tuple[Check, ...]

    @property
    def why(self) -> tuple[str, ...]:
        """What the blocking checks that did not pass say, worst first."""
        closed = [c for c in self.checks if c.blocking and c.outcome is not Outcome.PASS]
        return tuple(f"{c.name}: {c.why}" for c in sorted(closed, key=lambda c: -c.outcome.severity))

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as a JSON-able dict."""
        return {"outcome": self.outcome.value, "checks": [check.to_json() for check in self.checks]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Verdict:
        """Return the verdict of `to_json`; `TypeError` or `ValueError` for anything else."""
        return cls(Outcome(value["outcome"]), tuple(Check.from_json(check) for check in value["checks"]))


EXCLUSION_ALPHA = 0.05
"""One-sided error of "harm beyond the limit is excluded"; an intersection over classes needs no correction."""
PASS_FACTOR = 5 / 3
"""Harm of this many limits is excluded by every pass; harm between one and this many only where none is significant."""
ERROR_BUDGET: dict[str, float] = {}
"""Share of the policy's false alarm rate that each statistical check takes, as `about` says at the check.

They add up to 1, so the checks together keep the rate (Bonferroni). Triggers get half, since a small trigger is what is
hardest to see; denied labels show by far more than they need."""


_Check = TypeVar("_Check", bound=Callable[[Mapping[str, Any], GatePolicy], Check])


@dataclass(frozen=True, slots=True)
class Threat:
    """What a check is about, by its ids in MITRE ATLAS and the classes of NIST AI 100-2 (2025)."""

    atlas: str
    nist: str


THREATS: dict[str, Threat] = {}
"""What each check is about, as `about` says at the check."""


def about(atlas: str, nist: str, *, budget: float = 0.0) -> Callable[[_Check], _Check]:
    """Say at a check, which has the name of its function, which threat it is about; and its share of the budget."""

    def enter(check: _Check) -> _Check:
        THREATS[check.__name__] = Threat(atlas, nist)
        if budget:
            ERROR_BUDGET[check.__name__] = budget
        return check

    return enter


def check_alpha(policy: GatePolicy, name: str) -> float:
    """Return the chance that check `name` may take of stopping an honest snapshot."""
    return policy.false_alarm_rate * ERROR_BUDGET[name]


def judge_harm(value: float, low: float, high: float, limit: float) -> Outcome:
    """Return the outcome for a harm `value` with one-sided bounds `low` (corrected) and `high` (at `EXCLUSION_ALPHA`).

    PASS: harm beyond the limit is excluded; or none is significant and harm of ``PASS_FACTOR * limit`` is excluded, so
    that harm of that size passes in 5 % of cases at most. FAIL: significant, and beyond the limit. INCONCLUSIVE:
    between, or too few examples to tell. NaN is never a pass.
    """
    if low > 0 and value > limit:
        return Outcome.FAIL
    if high <= limit or (low <= 0 and high <= PASS_FACTOR * limit):
        return Outcome.PASS
    return Outcome.INCONCLUSIVE


def not_applicable(name: str, reason: str) -> Check:
    """Return the check of something the feed declares it has not (no sources, no candidate): said, never blocking."""
    return make_check(name, Outcome.PASS, reason, n=0, blocking=False)


def make_check(
    name: str,
    outcome: Outcome,
    why: str,
    *,
    n: int,
    value: float | None = None,
    limit: float | None = None,
    bounds: tuple[float | None, float | None] = (None, None),
    needs: int | None = None,
    blocking: bool = True,
) -> Check:
    """Return the `Check` with the ids of its threat."""
    threat = THREATS[name]
    return Check(name, outcome, value, limit, n, *bounds, why, needs, threat.atlas, threat.nist, blocking)


def judge_without_copies(
    judged: Callable[[Mapping[str, Any], GatePolicy], Check], measurement: Mapping[str, Any], policy: GatePolicy
) -> Check:
    """Return a check that fails only where it also fails with near-copies counted once (``once``, where there are any).

    Copies of one example are one piece of evidence: whether they are a campaign or a meme, a person must look.
    """
    check = judged(measurement, policy)
    if check.outcome is not Outcome.FAIL or "once" not in measurement:
        return check
    if judged(measurement["once"], policy).outcome is Outcome.FAIL:
        return check
    why = f"{check.why}; with {measurement['copies']} near-copies left out nothing shows, so look at one of each"
    return dataclasses.replace(check, outcome=Outcome.INCONCLUSIVE, why=why)
