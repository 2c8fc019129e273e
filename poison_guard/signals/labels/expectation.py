"""Marks against expectation: how much more often a mark's carriers have a label than trusted examples expect."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from poison_guard.signals.labels.marks import Marks

__all__ = ["SURE", "Room", "evidence_of", "expected_marks", "learn_room", "least_carriers"]

SURE = 1.25
"""Times the evidence that chance alone asks for (``log(tests / error)``): rules that hold without exception in honest
data, of which no trusted row tells, reach a little beyond it."""
LEAST = 5
"""Carriers with one label below which no mark is tested."""
_TILTS = np.concatenate([np.arange(0.25, 4.0, 0.25), np.arange(4.0, 9.5, 0.5)])
_SPREAD = ((0.9, 1.0), (0.1, 2.5))  # weights, and widths in learned ones: some honest marks go with a label by far more
_NODES = 15
_LARGEST = 0.05  # share of the rows that may carry a mark: more common ones are compared with the trusted set alone
_SMALLEST_SPREAD = 0.3  # log-odds: below it trusted marks could not show that there is none
_RARE = 0.05  # chance up to which a label counts as denied where the room for wrong labels is learned
_SUSPECT = 0.1  # chance of its label up to which a row is looked at for conjunctions
_JOINED = 200  # marks of suspects that are joined
_PAIRS = 60  # pairs that are joined with a third mark
_MOST = 2**26  # cells of a block


@dataclass(frozen=True, slots=True)
class Room:
    """What honest marks may depart from expectation, by label, as trusted rows show."""

    floor: np.ndarray
    """``(K,)``: the least chance a label is given; trusted rows that deny it have it this often all the same."""
    spread: np.ndarray
    """``(K,)``: standard deviation of a mark's effect on the log-odds of a label, beyond what the posterior knows."""


def learn_room(own: np.ndarray, codes: np.ndarray, marks: Marks, inside: np.ndarray) -> Room:
    """Learn from trusted rows, each judged without itself: `own` ``(m, K)``, `codes` ``(m,)``, marks of rows `inside`.

    The spread follows from how far counts of labels among a mark's trusted carriers lie from what is expected: their
    mean square is the variance of a Poisson binomial and, beyond it, the spread's (method of moments).
    """
    hot = codes[:, None] == np.arange(own.shape[1])
    denied = own < _RARE
    floor = (1.0 + (hot & denied).sum(axis=0)) / (1.0 + denied.sum(axis=0))
    p = np.clip(own, floor, 1 - 1e-3)
    values = np.zeros((len(inside), 3 * own.shape[1] + 1))
    values[inside] = np.concatenate([np.ones((len(p), 1)), hot, p, p * (1 - p)], axis=1)
    n, counts, mean, variance = np.split(marks.sums(values), [1, 1 + p.shape[1], 1 + 2 * p.shape[1]], axis=1)
    asked = (n[:, 0] >= LEAST) & (n[:, 0] <= len(p) / 2)
    beyond = ((counts - mean) ** 2 - variance)[asked].sum(axis=0)
    square = (variance**2)[asked].sum(axis=0)
    pooled = beyond.sum() / max(float(square.sum()), 1e-9)
    each = np.maximum(beyond / np.maximum(square, 1e-9), pooled)
    return Room(floor, np.sqrt(np.clip(each, _SMALLEST_SPREAD**2, 4.0)))


@dataclass(frozen=True, slots=True)
class Vetted:
    """Trusted rows of one label's test: chance of the label, each without itself, whether they have it, their marks."""

    p: np.ndarray
    has: np.ndarray
    carried: Any


def evidence_of(
    p: np.ndarray, counts: np.ndarray, carried: Any, label: int, room: Room, vetted: Vetted | None = None
) -> np.ndarray:
    """Return ``(marks,)``: minus the log of a bound of the chance that so many carriers have the label; 0 at least.

    `p` ``(n,)``: each row's chance of the label; `counts` ``(marks,)``: carriers that have it; `carried` ``(n,
    marks)``. Chernoff's bound of a Poisson binomial, averaged over the room that honest marks have; of a mark that
    trusted rows carry, over what these leave of it (empirical Bayes).

    References: Chernoff (1952); Hodges and Le Cam, "The Poisson approximation to the Poisson binomial" (1960).
    """
    logits = special.logit(np.clip(p, room.floor[label], 1 - 1e-3))
    known = None if vetted is None else special.logit(np.clip(vetted.p, room.floor[label], 1 - 1e-3))
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    weights = weights / weights.sum()
    bounds: list[np.ndarray] = []
    priors: list[np.ndarray] = []
    for (share, wide), (node, weight) in itertools.product(_SPREAD, zip(nodes, weights, strict=True)):
        moved = special.expit(logits + node * wide * room.spread[label])
        growth = np.log1p(moved[:, None] * np.expm1(_TILTS))
        tail = (_summed(carried, growth) - counts[:, None] * _TILTS).min(axis=1)
        prior = np.full(len(counts), np.log(share * weight))
        if vetted is not None and known is not None:
            moved = special.expit(known + node * wide * room.spread[label])
            prior += _summed(vetted.carried, np.log(np.where(vetted.has, moved, 1 - moved))[:, None])[:, 0]
        bounds.append(np.minimum(tail, 0.0))
        priors.append(prior)
    tails, weighed = np.stack(bounds), np.stack(priors)
    return np.asarray(np.maximum(0.0, special.logsumexp(weighed, axis=0) - special.logsumexp(tails + weighed, axis=0)))


def _summed(carried: Any, values: np.ndarray) -> np.ndarray:
    if isinstance(carried, np.ndarray):
        return np.asarray(carried.T.astype(np.float32) @ values.astype(np.float32), dtype=np.float64)
    return np.asarray(carried.T.astype(np.float64) @ values)


def expected_marks(
    p: np.ndarray,
    codes: np.ndarray,
    marks: Marks,
    names: list[str],
    room: Room,
    own: np.ndarray,
    own_codes: np.ndarray,
) -> list[dict[str, Any]]:
    """Return the marks of a snapshot whose carriers have a label more often than expected, the surest first.

    `p` ``(n, K)`` and `codes` ``(n,)`` (K where no trusted row has the label) are the snapshot's, `own` ``(m, K)``
    and `own_codes` ``(m,)`` those of the trusted rows, which come first in `marks`; `names` are the labels. Rows
    ``{mark, label, carriers, with_label, expected, evidence, tests, rows}``: `evidence` is compared with
    ``log(tests / error)``; `rows` are positions of the carriers with the label. Marks alone are tested first; then
    conjunctions of two and three marks that suspicious rows with one label share, each counted among all the
    conjunctions that there are.
    """
    n, k = p.shape
    trusted, marks = marks.carried[: len(own)], Marks(marks.carried[len(own) :], marks.names)
    found: list[dict[str, Any]] = []
    size = max(1, len(marks.names))
    tests = [k * size, k * size**2 / 2, k * size**3 / 6]
    hot = (codes[:, None] == np.arange(k)).astype(np.float32)
    sums = marks.sums(np.concatenate([np.ones((n, 1), np.float32), hot, p.astype(np.float32)], axis=1))
    carriers, counts, mean = sums[:, 0], sums[:, 1 : k + 1], sums[:, k + 1 :]
    suspect = p[np.arange(n), np.minimum(codes, k - 1)] <= _SUSPECT
    for label in range(k):
        has, vetted = codes == label, Vetted(own[:, label], own_codes == label, trusted)
        asked = np.flatnonzero(
            (counts[:, label] >= LEAST) & (counts[:, label] > mean[:, label] + 2) & (carriers <= n * _LARGEST)
        )
        step = max(1, _MOST // max(1, n))
        for at in (asked[i : i + step] for i in range(0, len(asked), step)):
            of_these = Vetted(vetted.p, vetted.has, trusted[:, at])
            evidence = evidence_of(p[:, label], counts[at, label], marks.carried[:, at], label, room, of_these)
            for j in np.argsort(-evidence)[:_PAIRS]:
                which = _rows(marks.carried, (int(at[j]),))
                row = _row(marks, (int(at[j]),), which, has, p[:, label], evidence[j], tests[0])
                found.append({**row, "label": names[label]})
        for group, which, evidence in _conjunctions(p[:, label], has, suspect, marks, label, room, vetted):
            row = _row(marks, group, which, has, p[:, label], evidence, tests[len(group) - 1])
            found.append({**row, "label": names[label]})
    found.sort(key=lambda row: (-(row["evidence"] - np.log(row["tests"])), row["mark"]))
    return _distinct(found)


def _distinct(found: list[dict[str, Any]], most: int = 50) -> list[dict[str, Any]]:
    """Leave out marks that the rows of an earlier one carry: a trigger is told once."""
    kept: list[dict[str, Any]] = []
    seen: set[tuple[Any, ...]] = set()
    for row in found:
        key = (row["label"], *row["rows"])
        if key not in seen and len(kept) < most:
            seen.add(key)
            kept.append(row)
    return kept


def _rows(carried: Any, group: tuple[int, ...]) -> np.ndarray:
    columns = [
        carried[:, at] if isinstance(carried, np.ndarray) else carried[:, [at]].toarray().ravel() for at in group
    ]
    return np.logical_and.reduce([np.asarray(column, dtype=bool) for column in columns])


def _row(
    marks: Marks, group: tuple[int, ...], which: np.ndarray, has: np.ndarray, p: np.ndarray, evidence: Any, tests: float
) -> dict[str, Any]:
    return {
        "mark": " and ".join(marks.names[at] for at in group),
        "carriers": int(which.sum()),
        "with_label": int((which & has).sum()),
        "expected": float(p[which].sum()),
        "evidence": float(evidence),
        "tests": float(tests),
        "rows": np.flatnonzero(which & has).tolist(),
    }


def _conjunctions(
    p: np.ndarray, has: np.ndarray, suspect: np.ndarray, marks: Marks, label: int, room: Room, vetted: Vetted
) -> Iterator[tuple[tuple[int, ...], np.ndarray, float]]:
    """Yield ``(marks, carriers, evidence)`` of conjunctions that several suspicious rows with the label share."""
    rows = np.flatnonzero(suspect & has)
    if len(rows) < LEAST or not len(marks.names):
        return
    mine = marks.carried[rows] if isinstance(marks.carried, np.ndarray) else marks.carried.tocsr()[rows]
    often = np.asarray(mine.sum(axis=0)).ravel()
    share = np.asarray(marks.carried.sum(axis=0)).ravel() / len(p)
    excess = np.where(often >= LEAST, often - len(rows) * share, 0)
    top = np.argsort(-excess, kind="stable")[:_JOINED]
    top = top[excess[top] > 0]
    dense = np.asarray(mine[:, top].todense() if not isinstance(mine, np.ndarray) else mine[:, top], dtype=np.float32)
    together = np.triu(dense.T @ dense, 1)
    expected = np.outer(share[top], share[top]) * len(rows)
    pairs = np.argwhere(together >= LEAST)
    pairs = pairs[np.argsort(-(together - expected)[tuple(pairs.T)], kind="stable")[: 2 * _PAIRS]]
    groups = [(int(top[a]), int(top[b])) for a, b in pairs]
    for a, b in pairs[:_PAIRS]:
        third = (dense[:, a] * dense[:, b]) @ dense
        third[[a, b]] = 0
        best = np.argsort(-(third - share[top] * third.max(initial=0)), kind="stable")[:3]
        groups += [tuple(sorted((int(top[a]), int(top[b]), int(top[c])))) for c in best if third[c] >= LEAST]
    groups = list(dict.fromkeys(groups))
    if not groups:
        return
    carried = np.stack([_rows(marks.carried, group) for group in groups], axis=1)
    counts = carried[has].sum(axis=0).astype(np.float64)
    known = Vetted(vetted.p, vetted.has, np.stack([_rows(vetted.carried, group) for group in groups], axis=1))
    evidence = evidence_of(p, counts, carried, label, room, known)
    yield from zip(groups, carried.T, evidence, strict=True)


def least_carriers(own: np.ndarray, codes: np.ndarray, room: Room, tests: float, error: float) -> int:
    """Return from how many carriers, all with one label and drawn from the rows of others, a mark is found.

    For the label that hides them best; the size of trusted rows' own chances stands for the carriers'.
    """
    worst, asked = 0, SURE * np.log(tests / error)
    for label in range(own.shape[1]):
        others = own[codes != label, label]
        if not len(others):
            continue
        n = LEAST
        while n < 100_000:
            rows = np.resize(np.quantile(others, (np.arange(n) + 0.5) / n), n)
            if evidence_of(rows, np.array([float(n)]), np.ones((n, 1), bool), label, room)[0] >= asked:
                break
            n = max(n + 1, int(n * 1.15))
        worst = max(worst, n)
    return worst
