"""Measure a snapshot: examples, counts and predictions in, one JSON-able dict per check out.

The canary is a ridge classifier trained with and without the new examples and judged on trusted ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import linalg

from poison_guard.signals.isolation import SignalFailure, run_isolated

if TYPE_CHECKING:
    import pandas as pd

    from poison_guard.config.policies import GatePolicy
    from poison_guard.records import Examples

__all__ = [
    "audits",
    "backlog",
    "candidate",
    "label_counts",
    "label_shift",
    "measure_canary",
    "measure_examples",
    "new_cohort",
    "no_candidate",
    "no_sources",
    "observed",
    "source_share",
    "trusted_only",
    "trusted_set",
]


_RIDGE = 0.02
"""Ridge as a multiple of the mean eigenvalue of the rows trained on."""
_MAX_WEIGHT = 10.0
"""Times a snapshot's row may weigh, to make up for a label that it has too few of."""


def measure_canary(
    trusted_vectors: np.ndarray,
    trusted_labels: np.ndarray,
    trusted_slices: np.ndarray,
    old_vectors: np.ndarray,
    old_labels: np.ndarray,
    new_vectors: np.ndarray,
    new_labels: np.ndarray,
    *,
    folds: int = 5,
    seed: int = 0,
) -> dict[str, Any]:
    """Return ``n, lost, gained``, and the same under ``classes`` and ``slices``, over all trusted examples.

    Each trusted example is predicted by two models that never saw it: one trained on the other trusted folds and what
    is old, one on the same and what is new. `lost` counts those right without the new and wrong with it. Old and new
    rows of each label are weighted to the trusted mix of labels, so that an honest snapshot with another mix does not
    move the border between labels. Vectors are ``(·, d)``, labels and slices str ``(·,)``.
    """
    labels = [np.asarray(part, dtype=object).astype(str) for part in (trusted_labels, old_labels, new_labels)]
    names = np.unique(np.concatenate(labels))
    inside, old, new = (np.searchsorted(names, part) for part in labels)
    place = np.random.default_rng(seed).permutation(len(inside)) % max(2, min(folds, len(inside)))
    rows = [_with_intercept(part) for part in (trusted_vectors, old_vectors, new_vectors)]
    mix = np.bincount(inside, minlength=len(names)) / max(1, len(inside))
    both = np.bincount(np.concatenate([old, new]), minlength=len(names))
    before = _moments(rows[1], old, _weights(np.bincount(old, minlength=len(names)), mix)[old], len(names))
    weights = _weights(both, mix)
    after = tuple(
        a + b
        for a, b in zip(
            _moments(rows[1], old, weights[old], len(names)),
            _moments(rows[2], new, weights[new], len(names)),
            strict=True,
        )
    )
    was, now = np.zeros(len(inside), dtype=bool), np.zeros(len(inside), dtype=bool)
    for fold in np.unique(place):
        tested, rest = place == fold, place != fold
        own = _moments(rows[0][rest], inside[rest], np.ones(int(rest.sum())), len(names))
        for right, (gram, image) in ((was, before), (now, after)):
            scores = rows[0][tested] @ _solve_ridge(gram + own[0], image + own[1])
            right[tested] = scores.argmax(axis=1) == inside[tested]
    slices = [str(part) for part in trusted_slices]
    return paired_counts(was.tolist(), now.tolist(), labels[0].tolist(), slices)


def trusted_only(vectors: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Return the labels ``(n,)`` that a ridge classifier trained on trusted `vectors` and `labels` gives `queries`.

    What a candidate is compared with where there is no champion; train on the calibration split, query the holdout.
    """
    names, codes = np.unique(np.asarray(labels, dtype=object).astype(str), return_inverse=True)
    gram, image = _moments(_with_intercept(vectors), codes, np.ones(len(codes)), len(names))
    return np.asarray(names[(_with_intercept(queries) @ _solve_ridge(gram, image)).argmax(axis=1)])


def label_counts(labels: np.ndarray) -> dict[str, int]:
    """Return label to count, by label."""
    return dict(sorted(Counter(str(label) for label in labels).items()))


def _with_intercept(vectors: np.ndarray) -> np.ndarray:
    return np.concatenate([vectors, np.ones((len(vectors), 1), dtype=vectors.dtype)], axis=1)


def _weights(counts: np.ndarray, mix: np.ndarray) -> np.ndarray:
    """Return the weight of a row by its label: the trusted mix over the rows' own, 1 for labels nobody trusts."""
    share = counts / max(1, int(counts.sum()))
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.where((counts > 0) & (mix > 0), mix / share, 1.0)
    return np.clip(weights, 1 / _MAX_WEIGHT, _MAX_WEIGHT)


def _moments(rows: np.ndarray, codes: np.ndarray, weights: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    weighted = rows * weights[:, None].astype(rows.dtype)
    target = (np.eye(k)[codes] - 1.0 / k).astype(rows.dtype)
    return (weighted.T @ rows).astype(np.float64), (weighted.T @ target).astype(np.float64)


def _solve_ridge(gram: np.ndarray, image: np.ndarray) -> np.ndarray:
    ridge = _RIDGE * max(float(np.trace(gram)) / len(gram), 1e-9)
    return np.asarray(linalg.solve(gram + ridge * np.eye(len(gram)), image, assume_a="pos"))


_TOPICS = 256
"""Directions of texts: with as many as there are trusted texts, these would be told better than new ones are."""
_SAMPLE_SIZE = 20_000
"""New examples, old ones and trusted ones that are looked at; more are sampled, so that time and memory are bounded."""


def measure_examples(
    snapshot: Examples, trusted: Examples, anchor: Mapping[str, int] | None, policy: GatePolicy
) -> dict[str, dict[str, Any]]:
    """Return the measurements ``label_neighbours``, ``triggers``, ``canary`` and ``label_shift``.

    `snapshot`: what a model would train on; ``frame.is_new`` marks what the last admitted snapshot lacked (all True
    before there is one). `trusted`: the calibration and holdout splits, none of them in the snapshot. `anchor`: label
    to count of the first admitted snapshot, or None. Deterministic under ``policy.seed``. A measurement that fails says
    ``{"error": why}``, which the verdict closes on. Of more than 20,000 new, old or trusted examples a sample is looked
    at (the mix of labels is counted whole).
    """
    from poison_guard.signals.labels.disagreement import label_disagreement
    from poison_guard.signals.labels.triggers import keep_first_copy, label_triggers

    names = ("label_neighbours", "triggers", "canary", "label_shift")
    if len(trusted) == 0:
        why = "there is no trusted example to compare with; enter vetted records with `poison-guard trust`"
        return {name: {"lacking": why} for name in names}
    if len(snapshot) == 0:
        return {name: {"lacking": "no example of the snapshot is unknown to the trusted set"} for name in names}
    shift = label_shift(snapshot, trusted, anchor)
    random = np.random.default_rng(policy.seed)
    trusted, snapshot = _sample(trusted, random), _sample(snapshot, random)
    labels, snapshot_labels = trusted.frame["label"].to_numpy(), snapshot.frame["label"].to_numpy()
    new = snapshot.frame["is_new"].to_numpy(dtype=bool)
    fit = run_isolated(lambda: _fit_vectors(trusted, snapshot, labels), passes=(MemoryError,))
    if isinstance(fit, SignalFailure):
        return {name: {"error": str(fit)} for name in names}
    inside, outside, posterior = fit
    old_new = (outside[~new], snapshot_labels[~new], outside[new], snapshot_labels[new])
    once = keep_first_copy(posterior, outside, snapshot_labels)

    def neighbours(rows: np.ndarray) -> dict[str, Any]:
        found = label_disagreement(
            inside, labels, outside[rows], snapshot_labels[rows], is_new=new[rows], posterior=posterior
        )
        ids = snapshot.frame["example_id"].to_numpy(object)[rows]
        return {**found, "denied": [str(ids[row]) for row in found["denied"]]}

    work: dict[str, Callable[[], dict[str, Any]]] = {
        "label_neighbours": lambda: _with_copies_left_out(neighbours, once),
        "triggers": lambda: _with_copies_left_out(
            lambda rows: label_triggers(posterior, trusted, snapshot.take(rows), outside[rows]), once
        ),
        "canary": lambda: measure_canary(inside, labels, trusted.frame["slice"].to_numpy(), *old_new, seed=policy.seed),
        "label_shift": lambda: shift,
    }
    return {name: _run_measurement(work[name]) for name in names}


def _fit_vectors(trusted: Examples, snapshot: Examples, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, Any]:
    """Return the vectors of both and the posterior of a label by its trusted neighbours."""
    from poison_guard.signals.labels.posterior import fit_posterior
    from poison_guard.signals.labels.representation import fit_representation

    representation = fit_representation(trusted, topics=_TOPICS)
    inside, outside = representation.vectors(trusted), representation.vectors(snapshot)
    return inside, outside, fit_posterior(inside, labels)


def _with_copies_left_out(measured: Callable[[np.ndarray], dict[str, Any]], once: np.ndarray) -> dict[str, Any]:
    """Return a measurement of all rows; where near-copies are among them, under ``once`` that without the copies."""
    measurement = measured(np.ones(len(once), dtype=bool))
    return measurement if once.all() else {**measurement, "copies": int((~once).sum()), "once": measured(once)}


def _sample(examples: Examples, random: np.random.Generator) -> Examples:
    """Return `examples`, or a sample of new and old ones where there are more than `_SAMPLE_SIZE`."""
    new = examples.frame["is_new"].to_numpy(dtype=bool)
    sampled = [random.permutation(np.flatnonzero(part))[:_SAMPLE_SIZE] for part in (~new, new)]
    return examples if len(new) == sum(map(len, sampled)) else examples.take(np.sort(np.concatenate(sampled)))


def _run_measurement(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    measured = run_isolated(work, passes=(MemoryError,))
    return {"error": str(measured)} if isinstance(measured, SignalFailure) else measured


def label_shift(snapshot: Examples, trusted: Examples, anchor: Mapping[str, int] | None) -> dict[str, Any]:
    """Return the measurement of that name: label counts of the snapshot, of the trusted set and of the anchor."""
    return {
        "n": len(snapshot),
        "labels": label_counts(snapshot.frame["label"].to_numpy()),
        "trusted_n": len(trusted),
        "trusted": label_counts(trusted.frame["label"].to_numpy()),
        "anchor_n": sum(anchor.values()) if anchor else None,
        "anchor": dict(anchor) if anchor else {},
    }


def no_sources() -> dict[str, Any]:
    """Return the measurement of ``source_share`` and ``new_cohort`` for a feed whose contract names no source."""
    return {"absent": "the contract names no source"}


def no_candidate() -> dict[str, Any]:
    """Return the measurement of ``candidate`` when no candidate model is judged."""
    return {"absent": "no candidate was given"}


def source_share(counts: Mapping[str, int]) -> dict[str, Any]:
    """Return the measurement of that name from `counts`: source to its accepted records (votes) in the snapshot."""
    top = max(sorted(counts), key=lambda source: counts[source], default=None)
    n = sum(int(count) for count in counts.values())
    return {"n": n, "sources": len(counts), "top": int(counts[top]) if top is not None else 0, "source": top}


def new_cohort(counts: Mapping[str, int], young: Mapping[str, int], *, unknown: int = 0) -> dict[str, Any]:
    """Return the measurement of that name from `counts` (as `source_share`) and the records of new accounts.

    `young`: source to how many of its records it made while its account was younger than ``new_days``; `unknown`:
    records from accounts of unknown age.
    """
    fresh = {source: int(young[source]) for source in sorted(young) if young[source]}
    top = max(fresh, key=lambda source: fresh[source], default=None)
    return {
        "n": sum(int(count) for count in counts.values()),
        "new": sum(fresh.values()),
        "sources": len(fresh),
        "top": fresh[top] if top is not None else 0,
        "source": top,
        "unknown": int(unknown),
    }


def trusted_set(
    labels: Mapping[str, int],
    snapshot_labels: Mapping[str, int],
    *,
    age_days: float | None,
    seen_before: int = 0,
) -> dict[str, Any]:
    """Return the measurement of that name.

    `labels`, `snapshot_labels`: label to count, of the trusted calibration and holdout examples and of the snapshot;
    `age_days` since the last entry; `seen_before`: entries that the feed had sent before they were vetted, and that no
    review took from it.
    """
    return {
        "n": sum(int(count) for count in labels.values()),
        "labels": {str(k): int(v) for k, v in labels.items()},
        "snapshot_labels": {str(k): int(v) for k, v in snapshot_labels.items()},
        "age_days": None if age_days is None else float(age_days),
        "seen_before": int(seen_before),
    }


def audits(*, n: int, wrong: int) -> dict[str, Any]:
    """Return the measurement of that name: `n` audited accepted records of this snapshot, `wrong` of them misses."""
    return {"n": int(n), "wrong": int(wrong)}


def backlog(*, n: int, deferred: int = 0, expired: int = 0, waiting: int = 0) -> dict[str, Any]:
    """Return the measurement of that name: examples in, items deferred, records expired unread, records waiting."""
    return {"n": int(n), "deferred": int(deferred), "expired": int(expired), "waiting": int(waiting)}


def observed(*, n: int, passed: int) -> dict[str, Any]:
    """Return the measurement of that name: `n` accepted records, `passed` of them only because the feed observed."""
    return {"n": int(n), "passed": int(passed)}


def candidate(
    trusted: pd.DataFrame, predictions: Mapping[str, str], baseline: Mapping[str, str], *, against: str
) -> dict[str, Any]:
    """Return the measurement of that name from the candidate's predictions and another model's.

    `trusted`: ``example_id, label, slice`` of the trusted holdout. `predictions`, `baseline`: example id to predicted
    label; ids that are missing or that nobody asked for are counted, and the check closes on them; ``strange`` is a
    predicted label that no trusted example has. `against`: ``champion`` or ``trusted-only`` (`trusted_only`).
    """
    ids = [str(i) for i in trusted["example_id"]]
    missing = sum(i not in predictions for i in ids) + sum(i not in baseline for i in ids)
    labels, slices = [str(x) for x in trusted["label"]], [str(x) for x in trusted["slice"]]
    known = set(ids)
    was = [baseline.get(i) == y for i, y in zip(ids, labels, strict=True)]
    now = [predictions.get(i) == y for i, y in zip(ids, labels, strict=True)]
    counted = paired_counts(was, now, labels, slices)
    return {
        **counted,
        "missing": missing,
        "unknown": sum(str(i) not in known for i in predictions),
        "strange": min({str(label) for label in predictions.values()} - set(labels), default=None),
        "against": against,
    }


def paired_counts(
    was: Sequence[bool], now: Sequence[bool], labels: Sequence[str], slices: Sequence[str]
) -> dict[str, Any]:
    """Return ``n, lost, gained`` overall and under ``classes`` and ``slices`` (a slice "" is none), aligned inputs."""
    total = {"n": 0, "lost": 0, "gained": 0}
    classes: dict[str, dict[str, int]] = {}
    groups: dict[str, dict[str, int]] = {}
    for before, after, label, part in zip(was, now, labels, slices, strict=True):
        rows = [total, classes.setdefault(label, {"n": 0, "lost": 0, "gained": 0})]
        if part:
            rows.append(groups.setdefault(part, {"n": 0, "lost": 0, "gained": 0}))
        for row in rows:
            row["n"] += 1
            row["lost"] += int(before and not after)
            row["gained"] += int(after and not before)
    return {**total, "classes": classes, "slices": groups}
