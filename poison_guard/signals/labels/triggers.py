"""Measure marks that go with one label against what trusted examples expect: what a dirty-label backdoor looks like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from poison_guard.signals.labels.copies import passed_on
from poison_guard.signals.labels.marks import marks_of
from poison_guard.signals.labels.posterior import Posterior

if TYPE_CHECKING:
    from poison_guard.records import Examples

__all__ = ["label_triggers"]

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
    pass on would look like a trigger). Blind to clean-label backdoors, whose labels nobody denies.
    """
    labels = snapshot.frame["label"].to_numpy(object)
    found, carriers = _marks(posterior, trusted, snapshot, vectors)
    echoes = passed_on(posterior, vectors, labels, carriers)
    if echoes.any():
        found, _ = _marks(posterior, trusted, snapshot.take(~echoes), vectors[~echoes])
    n, m = len(snapshot), len(trusted)
    ranked = sorted(found, key=lambda row: (-(row["here"] - row["there"] * n / max(1, m)), row["mark"]))
    return {
        "n": n,
        "trusted_n": m,
        "marks": ranked[:_MOST],
        "family": [[row["here"] + row["there"], row["weight"]] for row in ranked],
    }


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
    marks = marks_of((trusted, snapshot), least=LEAST)
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
