"""Measurements of a snapshot from what steps load: examples, counts and predictions in, JSON-able dicts out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from poison_guard.errors import GuardError

if TYPE_CHECKING:
    import pandas as pd

    from poison_guard.config.gate import GatePolicy
    from poison_guard.records import Examples

__all__ = [
    "audits",
    "backlog",
    "candidate",
    "label_shift",
    "measure_examples",
    "new_cohort",
    "no_candidate",
    "no_sources",
    "observed",
    "source_share",
    "trusted_set",
]

_MOST = 20_000
"""New examples, old ones and trusted ones that are looked at; more are sampled, so that time and memory are bounded."""
_FAULTS = (GuardError, ValueError, ArithmeticError, LookupError, TypeError)


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
    from poison_guard.gate.canary import measure_canary
    from poison_guard.numerics.represent import fit_representation
    from poison_guard.signals.labels.copies import without_copies
    from poison_guard.signals.labels.neighbours import label_disagreement
    from poison_guard.signals.labels.posterior import fit_posterior
    from poison_guard.signals.labels.triggers import label_triggers

    names = ("label_neighbours", "triggers", "canary", "label_shift")
    if len(snapshot) == 0 or len(trusted) == 0:
        why = f"{len(snapshot)} examples in the snapshot and {len(trusted)} trusted ones; both are needed"
        return {name: {"error": why} for name in names}
    shift = label_shift(snapshot, trusted, anchor)
    random = np.random.default_rng(policy.seed)
    trusted, snapshot = _sample(trusted, random), _sample(snapshot, random)
    labels, given = trusted.frame["label"].to_numpy(), snapshot.frame["label"].to_numpy()
    new = snapshot.frame["is_new"].to_numpy(dtype=bool)
    try:
        representation = fit_representation(trusted)
        inside, outside = representation.vectors(trusted), representation.vectors(snapshot)
        posterior = fit_posterior(inside, labels)
    except _FAULTS as e:
        return {name: {"error": f"{type(e).__name__}: {e}"} for name in names}
    old_new = (outside[~new], given[~new], outside[new], given[new])
    once = without_copies(posterior, outside, given)

    def neighbours(rows: np.ndarray) -> dict[str, Any]:
        return label_disagreement(inside, labels, outside[rows], given[rows], is_new=new[rows], posterior=posterior)

    work: dict[str, Callable[[], dict[str, Any]]] = {
        "label_neighbours": lambda: _and_once(neighbours, once),
        "triggers": lambda: _and_once(
            lambda rows: label_triggers(posterior, trusted, snapshot.take(rows), outside[rows]), once
        ),
        "canary": lambda: measure_canary(inside, labels, trusted.frame["slice"].to_numpy(), *old_new, seed=policy.seed),
        "label_shift": lambda: shift,
    }
    return {name: _measured(work[name]) for name in names}


def _and_once(measured: Callable[[np.ndarray], dict[str, Any]], once: np.ndarray) -> dict[str, Any]:
    """Return a measurement of all rows; where near-copies are among them, under ``once`` that without the copies."""
    whole = measured(np.ones(len(once), dtype=bool))
    return whole if once.all() else {**whole, "copies": int((~once).sum()), "once": measured(once)}


def _sample(examples: Examples, random: np.random.Generator) -> Examples:
    """Return `examples`, or a sample of the new and of the old ones where there are more than `_MOST` of them."""
    new = examples.frame["is_new"].to_numpy(dtype=bool)
    kept = [random.permutation(np.flatnonzero(part))[:_MOST] for part in (~new, new)]
    return examples if len(new) == sum(map(len, kept)) else examples.take(np.sort(np.concatenate(kept)))


def _measured(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return work()
    except _FAULTS as e:
        return {"error": f"{type(e).__name__}: {e}"}


def label_shift(snapshot: Examples, trusted: Examples, anchor: Mapping[str, int] | None) -> dict[str, Any]:
    """Return the measurement of that name: label counts of the snapshot, of the trusted set and of the anchor."""
    from poison_guard.gate.canary import label_counts

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
    predicted label that no trusted example has. `against`: ``champion`` or ``trusted-only`` (`canary.trusted_only`).
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
        "strange": min({str(told) for told in predictions.values()} - set(labels), default=None),
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
