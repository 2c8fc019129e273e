"""What one check of the gate says, and the verdict over all of them: frozen values that go to JSON and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["Check", "Outcome", "Verdict"]


class Outcome(StrEnum):
    """How a check or a verdict ends; only `PASS` opens the gate by itself."""

    PASS = "pass"  # noqa: S105 (an outcome, no password)
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"

    @property
    def severity(self) -> int:
        """Order of the outcomes, 0 = best: PASS, INCONCLUSIVE, FAIL, ERROR."""
        return (Outcome.PASS, Outcome.INCONCLUSIVE, Outcome.FAIL, Outcome.ERROR).index(self)


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found; `low` and `high` bound `value`, and None stands for what could not be measured."""

    name: str
    outcome: Outcome
    value: float | None
    """What was measured, in the unit of `limit`; larger is worse."""
    limit: float | None
    """The policy's limit on `value`."""
    n: int
    """Examples, records or trusted examples behind `value`."""
    low: float | None
    """Below this the value does not lie, at the check's share of the false alarm rate (one-sided)."""
    high: float | None
    """Above this the value does not lie, at 95 % (one-sided): harm beyond it is excluded, harm below it is not."""
    why: str
    """One sentence for people."""
    needs: int | None
    """How many of what `n` counts would decide an inconclusive check, or let a passing one exclude its limit."""
    atlas: str
    """MITRE ATLAS id of the attack that the check is about."""
    nist: str
    """Class of attack in NIST AI 100-2 (2025)."""
    blocking: bool = True
    """False: the check alerts, and the verdict does not depend on it."""

    def to_json(self) -> dict[str, Any]:
        """Return the check as a JSON-able dict."""
        return {**dataclasses.asdict(self), "outcome": self.outcome.value}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Check:
        """Return the check of `to_json`; `TypeError` or `ValueError` for anything else."""
        fields: dict[str, Any] = {**value, "outcome": Outcome(value["outcome"])}
        return cls(**fields)


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
