"""Measure how often trusted examples deny the labels of a snapshot, against how often they deny each other's."""

from __future__ import annotations

from typing import Any

import numpy as np

from poison_guard.signals.labels.posterior import Posterior, fit_posterior

__all__ = ["DESIGN_FLIP_RATE", "MARGIN", "label_disagreement"]


DESIGN_FLIP_RATE = 0.05
"""Share of random flips at which the suspicion of a label is the posterior chance that it was flipped."""
_LISTED_FROM = 0.001  # expected count from which a pair is listed
MARGIN = 3.0
"""Times more likely another label must be for a label to count as denied."""


def label_disagreement(
    trusted_vectors: np.ndarray,
    trusted_labels: np.ndarray,
    vectors: np.ndarray,
    labels: np.ndarray,
    *,
    is_new: np.ndarray | None = None,
    posterior: Posterior | None = None,
) -> dict[str, Any]:
    """Return sums and counts by label, of a snapshot and of the trusted set (each row judged without itself).

    `trusted_vectors` ``(m, d)``, `vectors` ``(n, d)``, labels of str, `is_new` ``(n,)`` bool (None: all new),
    `posterior` when it is fitted already. The result is JSON-able:

    - ``labels``: names; ``n``, ``trusted_n``; ``unseen``: rows of the snapshot whose label no trusted example has
      (they count as denied);
    - ``suspicion``: for the groups ``trusted``, ``all`` and, when part of the snapshot is old, ``new``: label to
      ``[rows, sum, sum of squares]`` of the suspicion, in [0, 1], that a row's label was flipped at random;
    - ``denied``: positions of the most suspicious rows, the most suspicious first, 200 at most;
    - ``effect``: by how much a randomly flipped row's suspicion exceeds that of the label it is given, on average over
      the trusted rows, so that the difference of means within labels, over ``effect``, is a share of flipped labels;
    - ``pairs``: for the same groups rows ``[likelier label, given label, count, expected]`` of denied labels, with the
      count that the rows' own label probabilities expect were the labels honest;
    - ``shows``: rows ``[true label, given label, share]``: how often such a flip of a trusted row would be denied.

    Label disagreement is blind to clean-label backdoors: their labels are what trusted examples expect.
    """
    fitted = posterior if posterior is not None else fit_posterior(trusted_vectors, trusted_labels)
    names = np.array(fitted.labels)
    given = np.asarray(labels, dtype=object).astype(str)
    codes = np.minimum(np.searchsorted(names, given), len(names) - 1)
    seen = names[codes] == given
    p = fitted.probabilities(vectors)
    inside, outside = _suspicion(fitted.own), _suspicion(p)
    n, m, k = len(p), len(fitted.own), len(names)
    at = np.arange(n)
    suspicion = np.where(seen, outside[at, codes], 1.0)
    own = inside[np.arange(m), fitted.codes]
    usual = np.bincount(fitted.codes, own, minlength=k) / np.bincount(fitted.codes, minlength=k)
    beyond = inside - usual  # a flipped row is compared with the rows of the label that it was given
    flipped = (beyond.sum(axis=1) - beyond[np.arange(m), fitted.codes]) / max(1, k - 1)
    groups = {"all": np.ones(n, dtype=bool)}
    if is_new is not None and not bool(np.all(is_new)) and bool(np.any(is_new)):
        groups["new"] = np.asarray(is_new, dtype=bool)
    sums = {"trusted": _sums(names, fitted.codes, own)}
    pairs = {"trusted": _pairs(names, fitted.own, fitted.codes)}
    for group, rows in groups.items():
        sums[group] = _sums(names, codes[rows & seen], suspicion[rows & seen])
        pairs[group] = _pairs(names, p[rows & seen], codes[rows & seen])
    return {
        "labels": names.tolist(),
        "n": n,
        "trusted_n": m,
        "unseen": {group: int((rows & ~seen).sum()) for group, rows in groups.items()},
        "suspicion": sums,
        "denied": _most_suspicious(suspicion),
        "effect": float(flipped.mean()) if k > 1 else 0.0,
        "pairs": pairs,
        "shows": _shows(names, fitted.own, fitted.codes),
    }


_NAMED = 200


def _most_suspicious(suspicion: np.ndarray) -> list[int]:
    rows = np.argsort(-suspicion, kind="stable")[:_NAMED]
    return [int(row) for row in rows if suspicion[row] > 0.5]


def _suspicion(p: np.ndarray) -> np.ndarray:
    """Return ``(n, K)``: the posterior chance that each label, were it given, came from a random flip."""
    other = (1.0 - p) / max(1, p.shape[1] - 1)
    return np.asarray(DESIGN_FLIP_RATE * other / ((1 - DESIGN_FLIP_RATE) * p + DESIGN_FLIP_RATE * other))


def _sums(names: np.ndarray, codes: np.ndarray, values: np.ndarray) -> dict[str, list[float]]:
    k = len(names)
    rows = np.bincount(codes, minlength=k)
    first, second = np.bincount(codes, values, minlength=k), np.bincount(codes, values**2, minlength=k)
    return {str(name): [int(rows[c]), float(first[c]), float(second[c])] for c, name in enumerate(names)}


def _pairs(names: np.ndarray, p: np.ndarray, codes: np.ndarray) -> list[list[Any]]:
    k, at = len(names), np.arange(len(p))
    likelier = p.argmax(axis=1)
    deniable = p[at, likelier, None] > MARGIN * p
    counts, expected = np.zeros((k, k), dtype=np.int64), np.zeros((k, k))
    denied = deniable[at, codes]
    np.add.at(counts, (likelier[denied], codes[denied]), 1)
    np.add.at(expected, likelier, p * deniable)
    told = np.argwhere((counts > 0) | (expected >= _LISTED_FROM))
    return [[str(names[a]), str(names[b]), int(counts[a, b]), float(expected[a, b])] for a, b in told]


def _shows(names: np.ndarray, p: np.ndarray, codes: np.ndarray) -> list[list[Any]]:
    likelier = p.argmax(axis=1)
    denied = p[np.arange(len(p)), likelier, None] > MARGIN * p
    out: list[list[Any]] = []
    for a, name in enumerate(names):
        rows = (codes == a) & (likelier == a)
        shares = denied[rows].sum(axis=0) / max(1, int((codes == a).sum()))
        out += [[str(name), str(names[b]), float(shares[b])] for b in range(len(names)) if b != a]
    return out
