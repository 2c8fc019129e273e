"""Check that trusted examples deny no more of a snapshot's labels than of each other's: overall, by label, by pair."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from poison_guard.config.gate import GatePolicy
from poison_guard.gate.check import Check, Outcome
from poison_guard.gate.checks.judging import EXCLUDED, SEES, alpha, judge, said
from poison_guard.numerics.intervals import beta_binomial_tail, normal_quantile

__all__ = ["label_neighbours"]

_NOISE = 1 / 3
"""Share of ``max_label_error`` that honest data may have more of than the trusted set, spread over all pairs."""
_SHAPE = 0.25
"""Shape of the prior of a pair's rate of denial: the smaller, the more the pairs of honest data may differ."""
_LEAST = 0.05
"""Effect of a flip on suspicion below which the trusted set cannot tell labels apart."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One of the questions of the check, answered; `n` trusted examples speak to it."""

    outcome: Outcome
    why: str
    value: float
    bounds: tuple[float, float]
    limit: float
    n: int
    needs: int | None = None


def label_neighbours(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    """Judge the share of flipped labels: at random overall, into one label, and from one label into another.

    Measurement: see `signals.labels.neighbours.label_disagreement`. Asked of the whole snapshot, and of its new part by
    itself, which can fail and not hold back (a small batch shows little, and the whole is asked too).

    - Overall: suspicion by label against the trusted set's, over the effect of a flip, is the share of labels flipped
      at random beyond the trusted set's own noise; limit ``max_label_error``.
    - By label and by ordered pair: the count of denied labels against its beta-binomial predictive given the trusted
      counts, under a wide prior centred on the average pair (trusted pairs are too few to estimate each alone). A
      third of ``max_label_error``, spread evenly, is granted for honest noise.

    The error of the check is split: half overall, a quarter by label, a quarter by pair, each over its family.
    Blind to clean-label backdoors, and to flips between labels that the trusted set cannot tell apart: see `high`.
    """
    groups = [group for group in ("all", "new") if group in measurement["suspicion"]]
    tail = alpha(policy, "label_neighbours") / len(groups)
    parts = []
    for group in groups:
        overall = _overall(measurement, group, policy, tail / 2)
        if group == "new" and overall.outcome is Outcome.INCONCLUSIVE:
            continue
        parts += [overall, *_denied(measurement, group, policy, tail / 4)]
    worst = max(parts, key=lambda part: part.outcome.severity)
    return said(
        "label_neighbours",
        worst.outcome,
        worst.why,
        n=worst.n,
        value=worst.value,
        limit=worst.limit,
        bounds=worst.bounds,
        needs=worst.needs,
    )


def _overall(measurement: Mapping[str, Any], group: str, policy: GatePolicy, tail: float) -> _Part:
    """Judge the share of labels flipped at random, stratified by the given label."""
    here, there = measurement["suspicion"][group], measurement["suspicion"]["trusted"]
    effect, limit, m = float(measurement["effect"]), policy.max_label_error, int(measurement["trusted_n"])
    unseen = int(measurement["unseen"][group])
    n = sum(row[0] for row in here.values()) + unseen
    if effect < _LEAST or n == 0:
        why = "the trusted examples cannot tell the labels apart; add trusted examples"
        return _Part(Outcome.INCONCLUSIVE, why, 0.0, (0.0, 1.0), limit, m, 2 * m)
    difference, fixed, shrinking = unseen / n, 0.0, 0.0
    for label, (rows, total, squares) in here.items():
        size, trusted_total, trusted_squares = there[label]
        if rows and size:
            mean = (total + trusted_total) / (rows + size)
            spread = max(0.0, (squares + trusted_squares) / (rows + size) - mean**2)
            difference += rows / n * (total / rows - trusted_total / size)
            fixed += (rows / n) ** 2 * spread / rows
            shrinking += (rows / n) ** 2 * spread / size
    value, width = difference / effect, math.sqrt(fixed + shrinking) / effect
    low, high = value - normal_quantile(tail) * width, value + normal_quantile(EXCLUDED) * width
    outcome = judge(value, low, high, limit)
    room = (SEES * limit * effect / (normal_quantile(EXCLUDED) + normal_quantile(tail))) ** 2 - fixed
    needs = math.ceil(m * shrinking / room) if room > 0 else 10 * m
    why = f"about {max(value, 0):.1%} of the {group if group == 'new' else 'snapshot'} labels look flipped, beyond "
    why += f"the trusted set's own {m} examples; more than {max(high, 0):.1%} is excluded"
    short = outcome is Outcome.INCONCLUSIVE and low <= 0
    return _Part(outcome, why, value, (low, high), limit, m, max(needs, m + 1) if short else None)


def _denied(measurement: Mapping[str, Any], group: str, policy: GatePolicy, tail: float) -> list[_Part]:
    """Judge the counts of denied labels by given label and by ordered pair; only the strangest of each family."""
    labels = list(measurement["labels"])
    k = len(labels)
    if k < 2:
        return []
    here, there = _matrix(measurement["pairs"][group], labels), _matrix(measurement["pairs"]["trusted"], labels)
    rows = np.array([measurement["suspicion"][group][label][0] for label in labels])
    size = np.array([measurement["suspicion"]["trusted"][label][0] for label in labels])
    granted = _NOISE * policy.max_label_error * rows / (k - 1)  # by likelier label
    average = max(1.0, float(there.sum())) / max(1, int(measurement["trusted_n"]))
    into = _strangest(
        here.sum(axis=0)[None], there.sum(axis=0)[None], rows, size, granted.sum() - granted, average, tail / k
    )
    pair = _strangest(here, there, rows, size, granted[:, None], average / (k - 1), tail / max(1, k * (k - 1)))
    out = []
    for found, family in ((into, "label"), (pair, "pair")):
        if found is not None:
            a, b, low, excess = found
            source = f" where trusted examples say {labels[a]!r}" if family == "pair" else " against trusted examples"
            count, usual = (int(here[a, b]), there[a, b]) if family == "pair" else (int(here[:, b].sum()), there[:, b].sum())
            why = f"{count} of {rows[b]} examples are labelled {labels[b]!r}{source}; {int(usual)} of {size[b]} trusted are"
            total = max(1, int(rows.sum()))
            bounds = (low / total, 1.0)
            out.append(_Part(Outcome.FAIL, why, excess / total, bounds, 0.0, int(size[b])))
    return out


def _strangest(  # noqa: PLR0913 (counts, exposures and prior of one family)
    here: np.ndarray,
    there: np.ndarray,
    rows: np.ndarray,
    size: np.ndarray,
    granted: np.ndarray,
    average: float,
    tail: float,
) -> tuple[int, int, float, float] | None:
    """Return where a count is past its predictive at `tail` (row, column, significant excess, excess), or None."""
    beyond = np.maximum(0, np.ceil(here - granted)).astype(np.int64)
    n = np.broadcast_to(rows, here.shape)
    a = _SHAPE + there
    b = _SHAPE / average + np.maximum(0, size - there)
    p = beta_binomial_tail(np.minimum(beyond, n), n, a, b)
    at = np.unravel_index(int(p.argmin()), p.shape)
    if p[at] > tail:
        return None
    expected = float((n * a / (a + b))[at])
    return int(at[0]), int(at[1]), 1.0, float(here[at]) - expected


def _matrix(pairs: list[list[Any]], labels: list[str]) -> np.ndarray:
    """Return ``(K, K)`` counts: likelier label by given label."""
    place = {label: at for at, label in enumerate(labels)}
    out = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for likelier, given, count in pairs:
        out[place[likelier], place[given]] = int(count)
    return out
