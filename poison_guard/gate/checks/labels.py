"""Check that trusted examples deny no more of a snapshot's labels than of each other's: overall, by label, by pair."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from poison_guard.config.gate import GatePolicy
from poison_guard.gate.check import Check, Outcome
from poison_guard.gate.checks.judging import EXCLUDED, SEES, alpha, judge, said, without_copies
from poison_guard.numerics.intervals import beta_binomial_tail, normal_quantile

__all__ = ["label_neighbours"]

_NOISE = 1 / 3
"""Share of ``max_label_error`` that honest data may have more of than the trusted set, spread over all pairs."""
_SHAPES = {"label": 1.0, "pair": 0.25}
"""Shape of the prior of a label's or a pair's rate of denial: the smaller, the more those of honest data may differ."""
_CLEAR = 0.25
"""Share of a label's trusted examples that a flip must show in for the pair to hold a snapshot back."""
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
      third of ``max_label_error``, spread evenly, is granted for honest noise. INCONCLUSIVE where more than
    ``max_class_drop`` of one label looks flipped into another, and too few trusted examples speak to it.

    The error of the check is split: half overall, a quarter by label, a quarter by pair, each over its family.
    Blind to clean-label backdoors, and to flips between labels that the trusted set cannot tell apart: see `high`.
    """
    return without_copies(_judged, measurement, policy)


def _judged(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    groups = [group for group in ("all", "new") if group in measurement["suspicion"]]
    tail = alpha(policy, "label_neighbours") / len(groups)
    parts: list[_Part] = []
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
    spread = granted.sum() - granted
    families = {
        "label": (here.sum(axis=0)[None], there.sum(axis=0)[None], spread, average, tail / k),
        "pair": (here, there, granted[:, None], average / (k - 1), tail / (k * (k - 1))),
    }
    found = [_strangest(name, labels, rows, size, *family) for name, family in families.items()]
    held = _unclear(labels, rows, size, here, there, _shows(measurement["shows"], labels), average / (k - 1), policy)
    return [part for part in (*found, held) if part is not None]


def _unclear(
    labels: list[str],
    rows: np.ndarray,
    size: np.ndarray,
    here: np.ndarray,
    there: np.ndarray,
    shows: np.ndarray,
    average: float,
    policy: GatePolicy,
) -> _Part | None:
    """Return the pair for which a flip of more than ``max_class_drop`` of a label looks likely and is not excluded."""
    shape, limit = _SHAPES["pair"], policy.max_class_drop
    a, b = shape + there, shape / average + np.maximum(0, size - there)
    expected, flippable = rows * a / (a + b), np.maximum(rows[:, None] * shows, 1.0)
    value = (here - expected) / flippable
    width = np.sqrt(here + expected**2 / a) / flippable
    high = value + normal_quantile(EXCLUDED) * width
    open_ = (shows >= _CLEAR) & (value > limit) & (high > SEES * limit)
    if not open_.any():
        return None
    likelier, given = (int(x) for x in np.unravel_index(int(np.where(open_, value, -1.0).argmax()), value.shape))
    share, bound = float(value[likelier, given]), float(high[likelier, given])
    why = f"about {share:.0%} of what should be label {labels[likelier]!r} may be labelled {labels[given]!r}: "
    why += f"{here[likelier, given]} such examples, {there[likelier, given]} among the trusted ones, too few to tell"
    m = int(size[given])
    return _Part(Outcome.INCONCLUSIVE, why, share, (0.0, min(1.0, bound)), limit, m, 2 * m)


def _shows(entries: list[list[Any]], labels: list[str]) -> np.ndarray:
    """Return ``(K, K)``: the share of a true label's trusted examples that would be denied were they given another."""
    place = {label: at for at, label in enumerate(labels)}
    out = np.zeros((len(labels), len(labels)))
    for true, given, share in entries:
        out[place[true], place[given]] = float(share)
    return out


def _strangest(
    family: str,
    labels: list[str],
    rows: np.ndarray,
    size: np.ndarray,
    here: np.ndarray,
    there: np.ndarray,
    granted: np.ndarray,
    average: float,
    tail: float,
) -> _Part | None:
    """Return the count most beyond its predictive, if it is so at `tail`; `here`, `there` are by given label last.

    `rows`, `size` are the labels' rows on both sides, `granted` what is allowed for noise, `average` the prior mean.
    """
    n = np.broadcast_to(rows, here.shape)
    shape = _SHAPES[family]
    a, b = shape + there, shape / average + np.maximum(0, size - there)
    p = beta_binomial_tail(np.clip(np.ceil(here - granted), 0, n), n, a, b)
    at = np.unravel_index(int(p.argmin()), p.shape)
    if not p[at] <= tail:
        return None
    likelier, given = (int(place) for place in at)
    count, usual, total = int(here[at]), int(there[at]), int(rows.sum())
    expected = float((n * a / (a + b))[at])
    excess, width = count - expected, math.sqrt(count + expected**2 / float(a[at]))
    bounds = (max(0.0, excess - normal_quantile(EXCLUDED) * width), excess + normal_quantile(EXCLUDED) * width)
    says = f"where trusted examples expect {labels[likelier]!r}" if family == "pair" else "that trusted examples deny"
    why = f"{count} of {rows[given]} examples have label {labels[given]!r} {says}; {usual} of {size[given]} trusted do"
    low, high = (min(1.0, bound / total) for bound in bounds)
    return _Part(Outcome.FAIL, why, excess / total, (low, high), 0.0, int(size[given]))


def _matrix(pairs: list[list[Any]], labels: list[str]) -> np.ndarray:
    """Return ``(K, K)`` counts: likelier label by given label."""
    place = {label: at for at, label in enumerate(labels)}
    out = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for likelier, given, count in pairs:
        out[place[likelier], place[given]] = int(count)
    return out
