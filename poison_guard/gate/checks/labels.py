"""Checks of a snapshot's labels: how many trusted examples contradict, and whether the mix of labels moved."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from poison_guard.config.policies import GatePolicy
from poison_guard.gate.outcomes import (
    EXCLUSION_ALPHA,
    PASS_FACTOR,
    about,
    check_alpha,
    judge_harm,
    judge_without_copies,
    make_check,
)
from poison_guard.numerics.intervals import normal_quantile
from poison_guard.records import Check, Outcome

__all__ = ["label_neighbours", "label_shift"]


_PRIORS = ((0.95, 2.0, 1.0), (0.05, 0.5, 3.0))
"""How honest counts of denied labels lie around what is expected: weight, shape and mean of a mixture of gammas."""
_SHOWN = 5
"""Examples that the sentence names."""
_MIN_FLIP_EFFECT = 0.05
"""Effect of a flip on suspicion below which the trusted set cannot tell labels apart."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """One of the questions of the check, answered; `n` trusted examples speak to it."""

    outcome: Outcome
    why: str
    value: float
    bounds: tuple[float, float]
    limit: float
    n: int
    needs: int | None = None


@about("AML.T0020", "availability poisoning", budget=0.20)
def label_neighbours(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    """Judge the share of flipped labels: at random overall, into one label, and from one label into another.

    Measurement: `signals.labels.disagreement.label_disagreement`. Asked of the whole snapshot, and of its new part by
    itself, which can fail and not hold back (a small batch shows little, and the whole is asked too).

    - Overall: suspicion by label against the trusted set's, over the effect of a flip, is the share of labels flipped
      at random beyond the trusted set's own noise; limit ``max_label_error``.
    - By label and by ordered pair: the count of denied labels against its predictive, given the count that honest label
      probabilities expect and how the trusted counts depart from theirs (gamma-Poisson; trusted pairs are too few to
      estimate each alone). What would show of ``max_label_error``, spread evenly over the pairs, is granted: a vetted
      set holds fewer wrong labels than an honest feed. Where more than ``max_class_drop`` of one label may be labelled
      another unseen, a passing check says how much, and `needs` how many trusted examples would help.

    The error of the check is split: half overall, a quarter by label, a quarter by pair, each over its family.
    Blind to clean-label backdoors, and to flips between labels that the trusted set cannot tell apart: see `high`.
    """
    return judge_without_copies(_judge_labels, measurement, policy)


def _judge_labels(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    groups = [group for group in ("all", "new") if group in measurement["suspicion"]]
    tail = check_alpha(policy, "label_neighbours") / len(groups)
    parts: list[_Answer] = []
    for group in groups:
        overall = _overall(measurement, group, policy, tail / 2)
        if group == "new" and overall.outcome is Outcome.INCONCLUSIVE:
            continue
        parts += [overall, *_denied(measurement, group, policy, tail / 4)]
    worst = max(parts, key=lambda part: part.outcome.severity)
    if worst.outcome is Outcome.PASS and len(measurement["labels"]) > 1:
        more, needs = _hidden(measurement, policy.max_class_drop)
        worst = dataclasses.replace(worst, why=worst.why + more, needs=needs)
    denied = tuple(measurement.get("denied", ())) if worst.outcome is Outcome.FAIL else ()
    shown = f"; most denied: {', '.join(denied[:_SHOWN])}{', …' if len(denied) > _SHOWN else ''}" if denied else ""
    check = make_check(
        "label_neighbours",
        worst.outcome,
        worst.why + shown,
        n=worst.n,
        value=worst.value,
        limit=worst.limit,
        bounds=worst.bounds,
        needs=worst.needs,
    )
    return dataclasses.replace(check, records=denied)


def _overall(measurement: Mapping[str, Any], group: str, policy: GatePolicy, tail: float) -> _Answer:
    """Judge the share of labels flipped at random, stratified by the given label."""
    here, there = measurement["suspicion"][group], measurement["suspicion"]["trusted"]
    effect, limit, m = float(measurement["effect"]), policy.max_label_error, int(measurement["trusted_n"])
    unseen = int(measurement["unseen"][group])
    n = sum(row[0] for row in here.values()) + unseen
    if effect < _MIN_FLIP_EFFECT or n == 0:
        why = "the trusted examples cannot tell the labels apart; add trusted examples"
        return _Answer(Outcome.INCONCLUSIVE, why, 0.0, (0.0, 1.0), limit, m, 2 * m)
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
    low, high = value - normal_quantile(tail) * width, value + normal_quantile(EXCLUSION_ALPHA) * width
    outcome = judge_harm(value, low, high, limit)
    room = (PASS_FACTOR * limit * effect / (normal_quantile(EXCLUSION_ALPHA) + normal_quantile(tail))) ** 2 - fixed
    needs = math.ceil(m * shrinking / room) if room > 0 else 10 * m
    why = f"about {max(value, 0):.1%} of the {group if group == 'new' else 'snapshot'} labels look flipped, beyond "
    why += f"the trusted set's own {m} examples; more than {max(high, 0):.1%} is excluded"
    short = outcome is Outcome.INCONCLUSIVE and low <= 0
    return _Answer(outcome, why, value, (low, high), limit, m, max(needs, m + 1) if short else None)


@dataclass(frozen=True, slots=True)
class _DeniedCounts:
    """Denied labels ``(K, K)``, likelier label by given label: counts and expected ones, of a group and the trusted."""

    labels: list[str]
    rows: np.ndarray  # (K,) of the group, by given label
    here: np.ndarray
    expected: np.ndarray
    there: np.ndarray
    usual: np.ndarray


def _denied_counts(measurement: Mapping[str, Any], group: str) -> _DeniedCounts:
    labels = list(measurement["labels"])
    here, expected = _matrices(measurement["pairs"][group], labels)
    there, usual = _matrices(measurement["pairs"]["trusted"], labels)
    scale = (there.sum() + 1.0) / (usual.sum() + 1.0)  # what the probabilities get wrong everywhere alike
    rows = np.array([measurement["suspicion"][group][label][0] for label in labels])
    return _DeniedCounts(labels, rows, here, expected * scale, there, usual * scale)


def _denied(measurement: Mapping[str, Any], group: str, policy: GatePolicy, tail: float) -> list[_Answer]:
    """Judge the counts of denied labels by given label and by ordered pair; only the strangest of each family."""
    pairs = _denied_counts(measurement, group)
    k = len(pairs.labels)
    if k < 2:
        return []
    wrong = policy.max_label_error * pairs.rows / (k - 1)
    granted = wrong[:, None] * _shows(measurement["shows"], pairs.labels)

    def summed(values: np.ndarray) -> np.ndarray:
        return np.asarray(values.sum(axis=0)[None])

    into = _DeniedCounts(pairs.labels, pairs.rows, *map(summed, (pairs.here, pairs.expected, pairs.there, pairs.usual)))
    found = [_strangest(into, summed(granted), tail / k), _strangest(pairs, granted, tail / (k * (k - 1)))]
    return [part for part in found if part is not None]


def _strangest(counts: _DeniedCounts, granted: np.ndarray, tail: float) -> _Answer | None:
    """Return the count most beyond its predictive, if it is so at `tail`; `granted` is allowed for noise."""
    beyond = np.maximum(0.0, np.ceil(counts.here - granted))
    p, mean, variance = np.zeros(beyond.shape), np.zeros(beyond.shape), np.zeros(beyond.shape)
    for weight, shape, scale in _posterior(counts):
        p += weight * np.where(beyond > 0, special.betainc(np.maximum(beyond, 1), shape, scale / (1 + scale)), 1.0)
        mean += weight * shape * scale
        variance += weight * shape * scale**2
    at = np.unravel_index(int(p.argmin()), p.shape)
    if not p[at] <= tail:
        return None
    likelier, given = (int(place) for place in at)
    count, usual, total = int(counts.here[at]), int(counts.there[at]), int(counts.rows.sum())
    excess, width = count - float(mean[at]), normal_quantile(EXCLUSION_ALPHA) * math.sqrt(count + float(variance[at]))
    low, high = (min(1.0, max(0.0, bound) / total) for bound in (excess - width, excess + width))
    says = f"where trusted examples expect {counts.labels[likelier]!r}" if len(p) > 1 else "that trusted examples deny"
    why = f"{count} of {counts.rows[given]} examples have label {counts.labels[given]!r} {says}, about "
    why += f"{mean[at]:.0f} are usual ({usual} among the trusted)"
    return _Answer(Outcome.FAIL, why, excess / total, (low, high), 0.0, total)


def _posterior(counts: _DeniedCounts) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return components (weight, shape, scale) of the gamma posterior of the counts, given the trusted counts."""
    out = []
    for weight, shape, mean in _PRIORS:
        rate = shape / mean
        inside = counts.usual / (rate + counts.usual)
        log = math.log(weight) + special.gammaln(shape + counts.there) - special.gammaln(shape)
        log = log + shape * np.log1p(-inside) + special.xlogy(counts.there, inside)
        out.append((log, shape + counts.there, counts.expected / (rate + counts.usual)))
    weights = special.softmax(np.stack([log for log, _, _ in out]), axis=0)
    return [(weight, shape, scale) for weight, (_, shape, scale) in zip(weights, out, strict=True)]


def _hidden(measurement: Mapping[str, Any], limit: float) -> tuple[str, int | None]:
    """Return in words what flips from one label into another may hide at 95 %, and trusted examples that would help.

    The pair that speaks is the one of which most could hide: the excess over the usual count that is not excluded, over
    how many flips the trusted set would have denied. Nothing is said where less than `limit` could.
    """
    counts, m = _denied_counts(measurement, "all"), int(measurement["trusted_n"])
    mean, variance = np.zeros(counts.here.shape), np.zeros(counts.here.shape)
    for weight, shape, scale in _posterior(counts):
        mean += weight * shape * scale
        variance += weight * shape * scale**2
    width = normal_quantile(EXCLUSION_ALPHA) * np.sqrt(counts.here + 1 + variance)
    shown = np.maximum(counts.rows[:, None] * _shows(measurement["shows"], counts.labels), 1e-9)
    most = np.clip((counts.here - mean + width) / shown, 0.0, 1.0) * ~np.eye(len(shown), dtype=bool)
    true, given = (int(at) for at in np.unravel_index(int(most.argmax()), most.shape))
    share = float(most[true, given])
    if share <= limit:
        return "", None
    needs = math.ceil(m * min(10.0, max(1.1, (share / limit) ** 2)))
    words = f"; up to {share:.0%} of label {counts.labels[true]!r} labelled {counts.labels[given]!r} might not be seen"
    return words, needs


def _matrices(pairs: list[list[Any]], labels: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return counts and expected counts ``(K, K)``: likelier label by given label."""
    place = {label: at for at, label in enumerate(labels)}
    counts, expected = np.zeros((len(labels), len(labels))), np.full((len(labels), len(labels)), 1e-3)
    for likelier, given, count, usual in pairs:
        counts[place[likelier], place[given]] = int(count)
        expected[place[likelier], place[given]] = max(1e-3, float(usual))
    return counts, expected


def _shows(entries: list[list[Any]], labels: list[str]) -> np.ndarray:
    """Return ``(K, K)``: the share of a true label's trusted examples that would be denied were they given another."""
    place = {label: at for at, label in enumerate(labels)}
    out = np.zeros((len(labels), len(labels)))
    for true, given, share in entries:
        out[place[true], place[given]] = float(share)
    return out


@about("AML.T0020", "availability poisoning", budget=0.10)
def label_shift(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    """Judge how far each label's share of the snapshot lies from its share elsewhere; the farthest label speaks.

    Measurement: ``n`` and ``labels`` (label to count) of the snapshot, ``trusted_n`` and ``trusted`` likewise, and
    ``anchor_n`` and ``anchor``, the first admitted snapshot's counts, or None and {} before there is one. Either
    direction counts. The bounds add one example to each side (Agresti and Caffo 2000); `low` is corrected for all
    labels, both directions and both comparisons, `high` excludes per label (intersection-union).
    """
    n, labels = int(measurement["n"]), measurement["labels"]
    sides = [("the trusted set", measurement["trusted_n"], measurement["trusted"])]
    if not measurement["trusted_n"] or set(labels) == {""}:
        lacks = "the examples carry no label" if measurement["trusted_n"] else "there is no trusted label"
        return make_check("label_shift", Outcome.INCONCLUSIVE, f"{lacks} to compare", n=n)
    if measurement.get("anchor_n"):
        sides.append(("the anchor", measurement["anchor_n"], measurement["anchor"]))
    compared = sorted({*labels, *(label for _, _, counts in sides for label in counts)})
    tail = check_alpha(policy, "label_shift") / max(1, 2 * len(compared) * len(sides))
    worst: tuple[Outcome, float, float, float, str, int] | None = None
    for against, size, counts in sides:
        for label in compared:
            here, there = int(labels.get(label, 0)), int(counts.get(label, 0))
            value, low, high, needs = _share_difference(here, n, there, int(size), tail, policy.max_label_shift)
            outcome = judge_harm(value, low, high, policy.max_label_shift)
            shares = f"{here / max(n, 1):.1%} of the snapshot and {there / max(int(size), 1):.1%} of {against}"
            found = (outcome, value, low, high, f"label {label!r} is {shares}", needs)
            if worst is None or (outcome.severity, value) > (worst[0].severity, worst[1]):
                worst = found
    if worst is None:
        return make_check("label_shift", Outcome.INCONCLUSIVE, "there is no label to compare", n=n)
    outcome, value, low, high, why, needs = worst
    return make_check(
        "label_shift",
        outcome,
        why,
        n=int(measurement["trusted_n"]),
        value=value,
        limit=policy.max_label_shift,
        bounds=(low, high),
        needs=needs if outcome is Outcome.INCONCLUSIVE and low <= 0 else None,
    )


def _share_difference(
    here: int, n: int, there: int, size: int, tail: float, limit: float
) -> tuple[float, float, float, int]:
    """Return how far two shares lie apart, its bounds, and the size of the other side that would exclude the limit."""
    p, q = (here + 1) / (n + 2), (there + 1) / (size + 2)
    width = math.sqrt(p * (1 - p) / (n + 2) + q * (1 - q) / (size + 2))
    value = abs(here / n - there / size) if n and size else 1.0
    apart = abs(p - q)
    low = min(value, apart - normal_quantile(tail) * width)
    high = max(value, apart + normal_quantile(EXCLUSION_ALPHA) * width)
    room = (limit / (normal_quantile(EXCLUSION_ALPHA) + 1)) ** 2 - p * (1 - p) / (n + 2)
    needs = math.ceil(q * (1 - q) / room) if room > 0 else 10 * max(size, 1)
    return value, low, high, max(needs, size + 1)
