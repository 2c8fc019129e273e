"""How far down a ranking of labels a promised error reaches: in the mean (promise B) or certified (promise A)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.numerics.intervals import proportion_bounds, rows_to_exclude

__all__ = ["Checks", "adopt_bounded", "adopt_by_mean", "certificate"]

_AIM = 0.78
"""Share of the promised error that is aimed at: a mean varies, and a model is never quite right."""
_MODEL_WORTH = 400.0
"""Controls that the model's own word about its error is worth."""
_CONFIDENCE = 0.95
_STEPS = 50  # thresholds that are tested in turn
_SURE = 0.9  # chance from which a control that says otherwise is odd


@dataclass(frozen=True, slots=True)
class Checks:
    """Labels whose truth is known, with the chance the votes gave them; arrays are ``(m,)``."""

    chance: np.ndarray
    right: np.ndarray
    items: pd.Index
    basis: str
    """Whose answers to controls counted: ``established``, ``all``, ``none``."""
    agreed: np.ndarray
    """The chance as answers alone say it, before the checks taught how far they can be believed."""
    audits: int
    """How many of them people judged; the others are controls."""

    def above(self, least: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Return how many checks have at least the chance `least`, and how many of these are wrong."""
        order = np.argsort(-self.chance, kind="stable")
        n = np.searchsorted(-self.chance[order], -np.asarray(least), side="right")
        return n, np.r_[0, np.cumsum(~self.right[order])][n]

    def contradicted(self, limit: float) -> np.ndarray:
        """Return the items of controls that contradict sources that agree, where they are more than `limit` explains.

        Most certain first.
        """
        sure = self.agreed >= _SURE
        odd = np.flatnonzero(sure & ~self.right)
        expected = limit * sure.sum()
        found = odd[np.argsort(-self.agreed[odd], kind="stable")]
        return self.items[found].to_numpy(object) if len(odd) > expected + 2 * np.sqrt(expected + 1) else np.array([])


def adopt_by_mean(chance: np.ndarray, checks: Checks, limit: float) -> np.ndarray:
    """Return ``(n,)`` bool: the most certain labels whose mean error, aimed below `limit`, holds.

    The error of the labels above a chance is what the model says of them and what the checks above it show, the model's
    word being worth 400 checks: a beta-binomial mean.
    """
    order = np.argsort(-chance, kind="stable")
    n, wrong = checks.above(chance[order])
    told = np.cumsum(1 - chance[order]) / np.arange(1, len(chance) + 1)
    error = (wrong + _MODEL_WORTH * told) / (n + _MODEL_WORTH)
    return _first(order, chance, np.flatnonzero(error <= _AIM * limit))


def adopt_bounded(chance: np.ndarray, checks: Checks, limit: float) -> np.ndarray:
    """Return ``(n,)`` bool: the most certain labels with P(wrong share above `limit`) at most .05, by the checks alone.

    Learn-then-Test with a fixed sequence: ever larger shares of the labels, fixed before any check is looked at, are
    tested from the first that has enough checks until one fails. References: Angelopoulos et al. (2021), "Learn then
    Test: Calibrating Predictive Algorithms to Achieve Risk Control".
    """
    order = np.argsort(-chance, kind="stable")
    passed = np.zeros(0, np.int64)
    ends = np.unique(np.ceil(np.arange(1, _STEPS + 1) / _STEPS * len(chance)).astype(int)) - 1
    n, wrong = checks.above(chance[order][ends] if len(chance) else np.zeros(0))
    for end, size, bad in zip(ends, n, wrong, strict=True):
        if size < rows_to_exclude(limit, tail=1 - _CONFIDENCE):
            continue
        if proportion_bounds(int(bad), int(size), low_tail=0.05, high_tail=1 - _CONFIDENCE)[1] > limit:
            break
        passed = np.array([end])
    return _first(order, chance, passed)


def _first(order: np.ndarray, chance: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the labels down to the last of `ends` (positions in `order`); equals of the last one are in or out."""
    taken = np.zeros(len(chance), bool)
    if not len(ends):
        return taken
    last, ranked = int(ends[-1]), chance[order]
    if last + 1 < len(ranked) and ranked[last + 1] == ranked[last]:
        inside = ends[ranked[ends] > ranked[last]]
        after = np.searchsorted(-ranked, -ranked[last], side="right") - 1
        last = after if after in ends else int(inside[-1]) if len(inside) else -1
    taken[order[: last + 1]] = True
    return taken


def certificate(checks: Checks, least: float, limit: float) -> dict[str, Any]:
    """Return what checks with at least the chance `least` say: ``controls, audits, basis, checked, checked_wrong``.

    And ``bound``, below which the wrong share lies at 95 %, and ``needs``: the checks that would certify `limit`.
    """
    n, wrong = (int(x) for x in checks.above(least))
    return {
        "controls": len(checks.right) - checks.audits,
        "audits": checks.audits,
        "basis": checks.basis,
        "checked": n,
        "checked_wrong": wrong,
        "bound": proportion_bounds(wrong, n, low_tail=0.05, high_tail=1 - _CONFIDENCE)[1],
        "needs": rows_to_exclude(limit, tail=1 - _CONFIDENCE),
    }
