"""Measure marks that go with one label against what trusted examples expect; near-copies count as one example."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from poison_guard.signals.labels.expectation import LEAST as EXPECTED_LEAST
from poison_guard.signals.labels.expectation import expected_marks, learn_room, least_carriers
from poison_guard.signals.labels.marks import find_marks
from poison_guard.signals.labels.posterior import Posterior

if TYPE_CHECKING:
    from poison_guard.records import Examples

__all__ = ["harmless_repeats", "keep_first_copy", "label_triggers"]


_NEAR = 0.5
"""Near-copies are closer than this share of how far a trusted example usually is from the next one."""
_DENIED = 0.5
"""Probability of its label from which an example is not suspicious, and stays whatever lies beside it."""
_ROWS = 512  # trusted rows that the usual distance is measured on


def keep_first_copy(posterior: Posterior, vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return which rows ``(n,)`` bool stay when, of suspicious near-copies with one label, the first alone stays.

    `vectors` ``(n, d)``, `labels` ``(n,)`` of str. Each row that goes is near one that stays (leaders in row order), so
    that a chain of neighbours does not melt into one.
    """
    suspicious = np.flatnonzero(_p_of_labels(posterior, vectors, labels) < _DENIED)
    first = _first_alike(posterior, vectors, labels, suspicious)
    return first == np.arange(len(vectors))


def harmless_repeats(posterior: Posterior, vectors: np.ndarray, labels: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return which rows ``(n,)`` bool are near-copies of an earlier one of `among` ``(n,)``, and harmless together.

    A harmless text that goes round is new to the trusted set, and all its words have one label. Harmless: on average
    over the copies their label is not denied.
    """
    p = _p_of_labels(posterior, vectors, labels)
    first = _first_alike(posterior, vectors, labels, np.flatnonzero(among))
    size = np.bincount(first, minlength=len(p))
    mean = np.bincount(first, p, minlength=len(p)) / np.maximum(size, 1)
    return (first != np.arange(len(p))) & (mean[first] >= _DENIED)


def _p_of_labels(posterior: Posterior, vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return ``(n,)`` the probability of each row's label; 0 for a label that no trusted example has."""
    names = np.array(posterior.labels)
    given = np.asarray(labels, dtype=object).astype(str)
    codes = np.minimum(np.searchsorted(names, given), len(names) - 1)
    p = posterior.probabilities(vectors)[np.arange(len(given)), codes]
    return np.where(names[codes] == given, p, 0.0)


def _first_alike(posterior: Posterior, vectors: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return ``(n,)`` the position of the first of `rows` with the same label that each of them is near; else its own.

    Leaders in row order: a chain of neighbours does not melt into one.
    """
    first = np.arange(len(vectors))
    given = np.asarray(labels, dtype=object).astype(str)
    near = (_NEAR * _usual_distance(posterior.reference)) ** 2
    for label in np.unique(given[rows]):
        left = rows[given[rows] == label]
        while len(left):
            close = ((vectors[left] - vectors[left[0]]) ** 2).sum(axis=1) < near
            close[0] = True
            first[left[close]] = left[0]
            left = left[~close]
    return first


def _usual_distance(reference: np.ndarray) -> float:
    """Return the median distance of a trusted row to the nearest other one."""
    if len(reference) < 2:
        return 0.0
    rows = np.linspace(0, len(reference) - 1, min(_ROWS, len(reference))).astype(int)
    squared = (reference[rows] ** 2).sum(axis=1)[:, None] - 2.0 * reference[rows] @ reference.T
    squared += (reference**2).sum(axis=1)
    squared[np.arange(len(rows)), rows] = np.inf
    return float(np.sqrt(np.median(np.maximum(squared.min(axis=1), 0.0))))


PURE = 0.75
"""Share of a mark's carriers that must have one label for the mark to be of interest."""
BEYOND = 0.25
"""How much larger that share must be than the label's mean probability, as trusted examples see the carriers."""
LEAST = 10
"""Carriers, of snapshot and trusted set together, below which no mark is looked at."""
_STRICT = 8
"""Power of the purity in a mark's weight: an honest word seldom has one label alone, a trigger always."""
_MOST = 200
_MOST_CARRIERS = 4_000
"""Carriers of marks of interest, of the snapshot, that are compared for near-copies."""


def label_triggers(posterior: Posterior, trusted: Examples, snapshot: Examples, vectors: np.ndarray) -> dict[str, Any]:
    """Return the marks whose carriers have one label that trusted examples deny, with how many carry it on each side.

    `posterior`: fitted on the trusted vectors; `vectors` ``(n, d)``: the snapshot's. Result: ``n``, ``trusted_n``,
    ``marks``: rows ``{"mark", "label", "here", "there", "expected", "weight"}``: carriers with that label in the
    snapshot and in the trusted set; each row's probabilities were computed without it. ``family``: rows ``[carriers
    with that label, weight]`` of all such marks, the marks themselves cut at 200. Whether a mark is listed, and the
    weight of its test (more the purer and the less expected its label is), depend on both sets together and not on
    which of the two a row is from, so the split between them is an exact test of exchangeability. Marks carried by the
    same rows are listed once; carriers that are near-copies of one harmless example count once (else whatever people
    pass on would look like a trigger). Beside it ``found`` are marks against expectation (`expected_marks`, with the
    examples' ids in the place of rows), and ``least`` says from how many carriers one would be found. Blind to
    clean-label backdoors, whose labels nobody denies.
    """
    labels = snapshot.frame["label"].to_numpy(object)
    found, carriers = _marks(posterior, trusted, snapshot, vectors)
    echoes = harmless_repeats(posterior, vectors, labels, carriers)
    if echoes.any():
        found, _ = _marks(posterior, trusted, snapshot.take(~echoes), vectors[~echoes])
    n, m = len(snapshot), len(trusted)
    expected = _against_expectation(posterior, trusted, snapshot, vectors)
    ranked = sorted(found, key=lambda row: (-(row["here"] - row["there"] * n / max(1, m)), row["mark"]))
    return {
        "n": n,
        "trusted_n": m,
        "marks": ranked[:_MOST],
        "family": [[row["here"] + row["there"], row["weight"]] for row in ranked],
        **expected,
    }


EXPECTATION_ERROR = 0.005
"""Chance of an honest mark found against expectation that ``least`` is told for: half of the check's, by default."""
_NAMED = 200  # examples named of one mark


def _against_expectation(
    posterior: Posterior, trusted: Examples, snapshot: Examples, vectors: np.ndarray
) -> dict[str, Any]:
    m, n = len(trusted), len(snapshot)
    marks = find_marks((trusted, snapshot), least=EXPECTED_LEAST)
    inside = np.arange(n + m) < m
    room = learn_room(posterior.own, posterior.codes, marks, inside)
    names = np.array(posterior.labels)
    given = snapshot.frame["label"].to_numpy(object).astype(str)
    at = np.minimum(np.searchsorted(names, given), len(names) - 1)
    codes = np.where(names[at] == given, at, len(names))
    p = posterior.probabilities(vectors)
    found = expected_marks(p, codes, marks, list(posterior.labels), room, posterior.own, posterior.codes)
    ids = snapshot.frame["example_id"].to_numpy(object)
    for row in found:
        row["examples"] = [str(name) for name in ids[row.pop("rows")][:_NAMED]]
    tests = max(1, len(marks.names)) * len(names)
    return {"found": found, "least": least_carriers(posterior.own, posterior.codes, room, tests, EXPECTATION_ERROR)}


def _marks(
    posterior: Posterior, trusted: Examples, snapshot: Examples, vectors: np.ndarray
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Return the marks of interest, and which rows of the snapshot ``(n,)`` bool carry one (the first so many)."""
    n, m = len(snapshot), len(trusted)
    p = np.concatenate([posterior.own, posterior.probabilities(vectors)])
    names = np.array(posterior.labels)
    given = np.concatenate([part.frame["label"].to_numpy(object).astype(str) for part in (trusted, snapshot)])
    every = np.unique(np.concatenate([given, names]))
    hot = given[:, None] == every
    expected = np.zeros(hot.shape)
    expected[:, np.searchsorted(every, names)] = p
    inside = np.arange(n + m) < m
    marks = find_marks((trusted, snapshot), least=LEAST)
    sums = marks.sums(np.concatenate([np.ones((n + m, 1)), hot, hot & inside[:, None], expected], axis=1))
    carriers, k = np.maximum(sums[:, :1], 1), len(every)
    with_label, there, surprise = sums[:, 1 : k + 1], sums[:, k + 1 : 2 * k + 1], sums[:, 2 * k + 1 :] / carriers
    pure = with_label / carriers
    wanted = (with_label >= LEAST) & (pure >= PURE) & (pure - surprise >= BEYOND)
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for at, c in np.argwhere(wanted):
        row = {"label": str(every[c]), "here": int(with_label[at, c] - there[at, c]), "there": int(there[at, c])}
        key = (*row.values(), int(carriers[at, 0]), round(float(surprise[at, c]), 5))
        weight = float(pure[at, c] ** _STRICT * (pure[at, c] - surprise[at, c]) ** 2)
        found.setdefault(key, {"mark": marks.names[at], **row, "expected": float(surprise[at, c]), "weight": weight})
    carrying = marks.carriers(np.flatnonzero(wanted.any(axis=1)))[m:]
    return list(found.values()), carrying & (np.cumsum(carrying) <= _MOST_CARRIERS)
