"""Judge a model on trusted examples: clean, by class and slice, calibrated or not, and under each family of attack."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from poison_guard.config.retrain import RetrainConfig
from poison_guard.errors import DataError
from poison_guard.numerics.intervals import paired_drop, proportion_bounds
from poison_guard.records import Examples
from poison_guard.retrain.attacks import Attack, Budget, attack_all
from poison_guard.retrain.judged import ADVERSARIES
from poison_guard.retrain.predict import probabilities
from poison_guard.retrain.trained import TrainedModel

__all__ = ["VERSION", "Budget", "evaluate"]

VERSION = 1
"""Of what an evaluation measures and holds: those of different versions are not compared."""
BINS = 10
"""Equal bins of confidence that the calibration error is averaged over."""
_TAIL = 0.025  # outside each end of an interval: 95 % between them
_SURE = 0.05  # one-sided chance that two attacks of equal strength are taken for masking


def evaluate(
    model: TrainedModel,
    examples: Examples,
    *,
    config: RetrainConfig,
    seed: int,
    budget: Budget | None = None,
) -> dict[str, Any]:
    """Return what `model` does on `examples` that it never saw, as JSON-able values.

    ``n, right, accuracy, low, high``; ``per_class`` and ``per_slice`` ``{name: {n, right}}``; ``calibration`` ``{ece,
    brier}``; ``attacks`` by family ``{n, right, low, high, epsilon, unit, wrong}`` with ``wrong`` the ids among
    ``attacked``; ``robust``, the same for an adversary who picks the best of fgsm, pgd and blackbox for each example;
    ``masking`` ``{suspected, why, …}``; ``predictions``, ``labels`` and ``slices`` by example id, for paired
    comparisons; and the settings. Of an attack, right means right before and after. Intervals hold 95 % (Clopper and
    Pearson). The same arguments give the same values; the order of `examples` makes no difference to what is judged.

    `DataError` for no examples, an id given twice, examples that are not what the model takes, or outputs that are no
    numbers.

    References: Naeini et al. (2015) for the calibration error; Athalye, Carlini and Wagner (2018) for masking.
    """
    budget = budget or Budget()
    examples = _chosen(examples, budget.examples)
    ids, labels = _strings(examples, "example_id"), _strings(examples, "label")
    table = probabilities(model, examples)
    predicted = np.array(model.classes, dtype=object)[table.argmax(axis=1)]
    right = predicted == labels
    some = np.arange(min(budget.attacked, len(ids)))
    attacks = attack_all(model, examples.take(some), right[some], config=config, seed=seed, budget=budget)
    return {
        **_settings(model, config, seed, budget),
        **_counted(right),
        "accuracy": float(right.mean()),
        "per_class": _per(labels, right),
        "per_slice": _per(_strings(examples, "slice"), right),
        "calibration": _calibration(table, model.targets(labels)),
        "attacked": ids[some].tolist(),
        "attacks": {name: _attack(attack, ids[some]) for name, attack in attacks.items()},
        "robust": _counted(np.logical_and.reduce([attacks[name].right for name in ADVERSARIES])),
        "masking": _masking(attacks),
        "predictions": dict(zip(ids.tolist(), predicted.tolist(), strict=True)),
        "labels": dict(zip(ids.tolist(), labels.tolist(), strict=True)),
        "slices": {one: name for one, name in zip(ids, _strings(examples, "slice"), strict=True) if name},
    }


def _settings(model: TrainedModel, config: RetrainConfig, seed: int, budget: Budget) -> dict[str, Any]:
    return {
        "version": VERSION,
        "kind": model.kind,
        "seed": seed,
        "budget": dataclasses.asdict(budget),
        "mutable": None if config.mutable is None else sorted(config.mutable),
        "classes": [str(label) for label in model.classes],
    }


def _chosen(examples: Examples, most: int) -> Examples:
    """Return at most `most` examples, in the order of the hashes of their ids: a sample that does not move."""
    if not len(examples):
        raise DataError("there are no examples to judge the model by; enter trusted ones with `poison-guard trust`")
    ids = _strings(examples, "example_id")
    if len(set(ids)) < len(ids):
        raise DataError("an example is there twice; each must be judged once")
    keys = [hashlib.sha256(one.encode("utf-8", "surrogatepass")).digest() for one in ids]
    order = np.array(sorted(range(len(ids)), key=keys.__getitem__), dtype=np.int64)
    return examples.take(order[:most])


def _strings(examples: Examples, column: str) -> np.ndarray:
    return examples.frame[column].astype("str").to_numpy(dtype=object)


def _counted(right: np.ndarray) -> dict[str, Any]:
    n, hits = len(right), int(right.sum())
    low, high = proportion_bounds(hits, n, low_tail=_TAIL, high_tail=_TAIL)
    return {"n": n, "right": hits, "low": low, "high": high}


def _per(groups: np.ndarray, right: np.ndarray) -> dict[str, dict[str, int]]:
    names = sorted(set(groups.tolist()) - {""})
    return {name: {"n": int((groups == name).sum()), "right": int(right[groups == name].sum())} for name in names}


def _calibration(table: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Return the expected calibration error of the label given and Brier's score over all classes, in [0, 2]."""
    confidence, hit = table.max(axis=1), table.argmax(axis=1) == targets
    at = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(at, weights=confidence - hit, minlength=BINS)
    truth = (targets[:, None] == np.arange(table.shape[1])).astype(np.float64)
    unknown = (targets < 0).sum()  # their probability belongs to no class the model has
    brier = (((table - truth) ** 2).sum() + unknown) / len(table)
    return {"ece": float(np.abs(gaps).sum() / len(table)), "brier": float(brier)}


def _attack(attack: Attack, ids: np.ndarray) -> dict[str, Any]:
    fooled = sorted(ids[~attack.right].tolist())
    return {**_counted(attack.right), "epsilon": attack.epsilon, "unit": attack.unit, "wrong": fooled}


def _masking(attacks: Mapping[str, Attack]) -> dict[str, Any]:
    """Return whether an attack that should be weaker than PGD is stronger: the gradient then leads nowhere.

    The others are compared with it example by example, where they work within the same radius.
    """
    pgd = attacks["pgd"]
    weaker = {name: attacks[name] for name in ("fgsm", "blackbox") if attacks[name].unit == pgd.unit}
    found = {}
    for name, attack in weaker.items():
        alone, other = int((~attack.right & pgd.right).sum()), int((attack.right & ~pgd.right).sum())
        low = paired_drop(alone, other, len(pgd.right), low_tail=_SURE, high_tail=_SURE)[1]
        found[name] = {"fooled_alone": alone, "pgd_alone": other, "low": low}
    stronger = [name for name, pair in found.items() if pair["low"] > 0]
    why = "No attack found more than PGD, which follows the gradient."
    if stronger:
        counts = " and ".join(f"{name} fooled {found[name]['fooled_alone']} examples" for name in stronger)
        why = f"{counts} that PGD did not: gradients may be masked, and robustness to PGD is not to be relied on."
        why = why[0].upper() + why[1:]
    return {"suspected": bool(stronger), "why": why, "compared": found}
