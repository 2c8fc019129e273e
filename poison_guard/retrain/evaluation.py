"""Evaluate a model on trusted examples, clean and under each attack; read a stored evaluation back, checked."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from poison_guard.config.policies import RetrainConfig
from poison_guard.errors import DataError
from poison_guard.numerics.intervals import paired_drop, proportion_bounds
from poison_guard.numerics.tensors import full_precision
from poison_guard.records import Examples
from poison_guard.retrain.attacks import ADVERSARIES, FAST, Attack, Attacks, Budget, attack_all
from poison_guard.retrain.bounds import can_be_bounded, proven_right
from poison_guard.retrain.detection import evades, fit_detector, input_scores
from poison_guard.retrain.inputs import to_dense
from poison_guard.retrain.models import fill_defaults
from poison_guard.retrain.parts import certificate
from poison_guard.retrain.perturb import pgd
from poison_guard.retrain.trained_model import TrainedModel, answer, device_of, on_device, predict_probabilities

__all__ = [
    "ADVERSARIES",
    "COMPARED",
    "VERSION",
    "WORST_ADVERSARY",
    "Budget",
    "Evaluation",
    "evaluate",
    "parse_evaluation",
    "why_not_comparable",
]


COMPARED = (*ADVERSARIES, "noise", "rotation")
"""Attacks under which a promotion compares two models: what training is meant to withstand."""
WORST_ADVERSARY = "all attacks within the radius"
_SETTINGS = ("version", "kind", "seed", "budget", "mutable")
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One model's answers, by example."""

    truth: Mapping[str, str]
    """Label of each example id."""
    wrong: frozenset[str]
    """Ids answered wrongly."""
    slices: Mapping[str, str]
    """Slice of each id that is in one."""
    classes: frozenset[str]
    """Labels that the model knows."""
    attacked: list[str]
    fooled: Mapping[str, frozenset[str]]
    """By attack, and for `WORST_ADVERSARY`: the attacked ids that are wrong under it."""
    settings: Mapping[str, Any]


def parse_evaluation(who: str, metrics: Any) -> Evaluation:
    """Return what the evaluation `metrics` of `who` says; `DataError` names what is wrong with it."""
    if not isinstance(metrics, Mapping):
        raise _broken(who, "is no mapping")
    _require_finite(who, metrics)
    truth, predicted = _require_texts(who, metrics, "labels"), _require_texts(who, metrics, "predictions")
    if not truth or truth.keys() != predicted.keys():
        raise _broken(who, "has predictions for other examples than labels")
    classes = frozenset(map(str, _require(who, metrics, "classes", list)))
    if not classes.issuperset(predicted.values()):
        raise _broken(who, "has predictions that are not among its classes")
    wrong = frozenset(one for one, label in truth.items() if predicted[one] != label)
    accuracy = metrics.get("accuracy")
    if not isinstance(accuracy, (int, float)) or abs(accuracy - (1 - len(wrong) / len(truth))) > _ROUNDING:
        raise _broken(who, "has another accuracy than its predictions")
    attacked = list(dict.fromkeys(map(str, _require(who, metrics, "attacked", list))))
    fooled = _fooled(who, metrics)
    if not set(attacked) <= truth.keys() or not frozenset(attacked).issuperset(
        frozenset[str]().union(*fooled.values())
    ):
        raise _broken(who, "names attacked examples that it has no labels of")
    if not attacked:
        raise _broken(who, "attacked nothing")
    settings = {key: metrics.get(key) for key in _SETTINGS}
    settings["epsilon"] = {name: attack.get("epsilon") for name, attack in metrics["attacks"].items()}
    return Evaluation(truth, wrong, _require_texts(who, metrics, "slices"), classes, attacked, fooled, settings)


def _fooled(who: str, metrics: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    attacks = _require(who, metrics, "attacks", dict)
    fooled = {str(name): frozenset(map(str, _require(who, attack, "wrong", list))) for name, attack in attacks.items()}
    if not set(ADVERSARIES) <= fooled.keys():
        raise _broken(who, f"lacks one of {', '.join(ADVERSARIES)}")
    fooled[WORST_ADVERSARY] = frozenset[str]().union(*[fooled[name] for name in ADVERSARIES])
    return fooled


def _broken(who: str, what: str) -> DataError:
    return DataError(f"The evaluation of the {who} {what}; evaluate it again.")


def why_not_comparable(new: Evaluation, old: Evaluation, name: str) -> str:
    """Return why the two cannot be compared, in a sentence; empty when they can."""
    again = f"evaluate the {name} again on the candidate's examples"
    if new.truth.keys() != old.truth.keys():
        only_new, only_old = len(new.truth.keys() - old.truth.keys()), len(old.truth.keys() - new.truth.keys())
        return f"The {name} was evaluated on other examples ({only_new} are missing, {only_old} are others); {again}."
    if new.truth != old.truth or new.slices != old.slices:
        return f"The {name} was evaluated against other labels or slices of the same examples; {again}."
    if new.attacked != old.attacked or new.settings != old.settings:
        keys = sorted(key for key in new.settings if new.settings[key] != old.settings[key]) or ["examples attacked"]
        return f"The {name} was evaluated with another {', '.join(keys)}; {again} with the same settings."
    return ""


def _require(who: str, metrics: Any, key: str, kind: type) -> Any:
    value = metrics.get(key) if isinstance(metrics, Mapping) else None
    if not isinstance(value, Mapping if kind is dict else kind):
        raise _broken(who, f"lacks {key}")
    return value


def _require_texts(who: str, metrics: Mapping[str, Any], key: str) -> dict[str, str]:
    return {str(one): str(text) for one, text in _require(who, metrics, key, dict).items()}


def _require_finite(who: str, value: Any, place: str = "") -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(
            f"The evaluation of the {who} is not finite at {place or 'its top'}; evaluate or train it again."
        )
    parts: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        parts = value.items()
    elif isinstance(value, (list, tuple)):
        parts = enumerate(value)
    for key, part in parts:
        _require_finite(who, part, f"{place}.{key}" if place else str(key))


VERSION = 2
"""Of what an evaluation measures and holds: those of different versions are not compared."""
BINS = 10
"""Equal bins of confidence that the calibration error is averaged over."""
_TAIL = 0.025  # outside each end of an interval: 95 % between them
_FLAGGED = 0.01  # share of clean inputs that the detector flags while it is attacked
_SURE = 0.05  # one-sided chance that two attacks of equal strength are taken for masking


def evaluate(
    model: TrainedModel,
    examples: Examples,
    *,
    config: RetrainConfig,
    seed: int,
    budget: Budget | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Return what `model` does on `examples` that it never saw, as JSON-able values.

    Answers and attacks are computed on `device`, as `pick_device` takes it, in full float32 precision.

    ``n, right, accuracy, low, high``; ``per_class`` and ``per_slice`` ``{name: {n, right}}``; ``calibration`` ``{ece,
    brier}``; ``attacks`` by family ``{n, right, low, high, epsilon, unit, wrong, confidence_lost, margin_left}`` with
    ``wrong`` the ids among ``attacked``, and of those right before the mean fall of the true class's probability and
    the mean lead that is left to it; ``robust``, the same counts for an adversary who picks the best of all attacks
    within the radius for each example, ``worst`` of all attacks whatever their radius; ``pairs`` ``{source: {target:
    {n, hits}}}`` of the targeted attack; of a bounded network ``certified``, right whatever is done within the radius;
    of one that escalates ``right_answered``, ``wrong_answered`` and ``escalated`` under these attacks; with a full
    budget ``rejecting``, right and not flagged under an attacker who knows the detector (1 % of clean inputs flagged),
    and ``half_radius``, right at half the radius without it; ``noise`` ``{n, accepted, at_once, confidence}`` (a full
    budget); ``masking`` ``{suspected, why, …}``; ``cohorts`` of a model
    of parts (`parts.certificate`); ``predictions``, ``labels`` and ``slices`` by example id, for paired
    comparisons; and the settings. Of an attack, right means right before and after. Intervals hold 95 % (Clopper and
    Pearson). The same arguments give the same values; the order of `examples` makes no difference to what is judged.

    `DataError` for no examples, an id given twice, examples that are not what the model takes, or outputs that are no
    numbers.

    References: Naeini et al. (2015) for the calibration error; Athalye, Carlini and Wagner (2018) for masking.
    """
    with full_precision():
        return _evaluate(on_device(model, device), examples, config, seed, budget or FAST)


def _evaluate(
    model: TrainedModel, examples: Examples, config: RetrainConfig, seed: int, budget: Budget
) -> dict[str, Any]:
    examples = _chosen(examples, budget.examples)
    ids, labels = _strings(examples, "example_id"), _strings(examples, "label")
    table = predict_probabilities(model, examples)
    predicted = np.array(model.classes, dtype=object)[table.argmax(axis=1)]
    right = predicted == labels
    some = np.arange(min(budget.attacked, len(ids)))
    done = attack_all(model, examples.take(some), right[some], config=config, seed=seed, budget=budget)
    attacks = done.by_name
    return {
        **_settings(model, config, seed, budget),
        **_counted(right),
        "accuracy": float(right.mean()),
        "per_class": _per(labels, right),
        "per_slice": _per(_strings(examples, "slice"), right),
        "calibration": _calibration(table, model.targets(labels)),
        "attacked": ids[some].tolist(),
        "attacks": {name: _attack(attack, done, ids[some]) for name, attack in attacks.items()},
        "robust": _counted(np.logical_and.reduce([attacks[name].right for name in ADVERSARIES])),
        "worst": _counted(np.logical_and.reduce([attack.right for attack in attacks.values()])),
        **_beside(model, examples, len(some), attacks, config, seed, budget),
        "cohorts": certificate(model, examples),
        "pairs": done.pairs,
        "noise": done.noise,
        "masking": _masking(attacks),
        "predictions": dict(zip(ids.tolist(), predicted.tolist(), strict=True)),
        "labels": dict(zip(ids.tolist(), labels.tolist(), strict=True)),
        "slices": {one: name for one, name in zip(ids, _strings(examples, "slice"), strict=True) if name},
    }


def _beside(
    model: TrainedModel,
    examples: Examples,
    n: int,
    attacks: Mapping[str, Attack],
    config: RetrainConfig,
    seed: int,
    budget: Budget,
) -> dict[str, Any]:
    """Return what only some models have, of the first `n` examples: what is proven, escalated and rejected."""
    some = examples.take(np.arange(n))
    settled = fill_defaults(config, some)
    epsilon, y = float(settled.epsilon or 0), torch.from_numpy(model.targets(some.frame["label"]))
    found: dict[str, Any] = {}
    if model.kind == "text" or not epsilon:
        return found
    x, space, random = to_dense(model.inputs.encode(some), slice(None)), model.inputs.space, torch.Generator()
    x, known = x.to(device_of(model.module)), y.numpy() >= 0
    y = y.to(x.device)
    if can_be_bounded(model.module):
        found["certified"] = _counted(proven_right(model.module, x, y, epsilon=epsilon, space=space).cpu().numpy())
    random.manual_seed(seed)
    if model.config.escalate:
        worst = pgd(model.module, x, y.clamp_min(0), epsilon=epsilon, space=space, steps=budget.steps, generator=random)
        answers, left = answer(model.module, worst)
        right, left = (answers.argmax(1) == y).cpu().numpy(), left.cpu().numpy()
        found |= {"right_answered": _counted(right & ~left), "wrong_answered": _counted(~right & ~left)}
        found["escalated"] = _counted(left)
    rest = examples.take(np.arange(n, len(examples)))
    if budget.full and len(rest) * _FLAGGED >= 1:
        detector = fit_detector(input_scores(model, rest), _FLAGGED)
        clean = np.logical_or.reduce(list(detector.flags(input_scores(model, some)).values()))
        how: dict[str, Any] = {"steps": budget.steps, "generator": random}
        fooled = evades(model, detector, x, y.clamp_min(0), epsilon=epsilon, **how)
        right = (model.module(x).argmax(1) == y).cpu().numpy()
        found["rejecting"] = _counted(right & ~clean & ~fooled & known)
        half = pgd(model.module, x, y.clamp_min(0), epsilon=epsilon / 2, space=space, restarts=budget.restarts, **how)
        found["half_radius"] = _counted((model.module(half).argmax(1) == y).cpu().numpy())
    return found


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


def _attack(attack: Attack, done: Attacks, ids: np.ndarray) -> dict[str, Any]:
    fooled = sorted(ids[~attack.right].tolist())
    before = np.isfinite(done.confidence)
    lost, left = (done.confidence - attack.confidence)[before], attack.margin[before]
    means = [float(values.mean()) if len(values) else 0.0 for values in (lost, left)]
    return {
        **_counted(attack.right),
        "epsilon": attack.epsilon,
        "unit": attack.unit,
        "confidence_lost": means[0],
        "margin_left": means[1],
        "wrong": fooled,
    }


def _masking(attacks: Mapping[str, Attack]) -> dict[str, Any]:
    """Return whether an attack that should be weaker than those by gradient is stronger: it then leads nowhere.

    The others are compared with all of these example by example, where they work within the same radius.
    """
    unit = attacks["pgd"].unit
    gradient = np.logical_and.reduce([attacks[name].right for name in ("pgd", "apgd", "apgd targeted")])
    weaker = {name: attacks[name] for name in ("fgsm", "blackbox") if attacks[name].unit == unit}
    compared = {}
    for name, attack in weaker.items():
        alone, other = int((~attack.right & gradient).sum()), int((attack.right & ~gradient).sum())
        low = paired_drop(alone, other, len(gradient), low_tail=_SURE, high_tail=_SURE)[1]
        compared[name] = {"fooled_alone": alone, "gradient_alone": other, "low": low}
    stronger = [name for name, pair in compared.items() if pair["low"] > 0]
    why = "No attack found more than those that follow the gradient."
    if stronger:
        counts = " and ".join(f"{name} fooled {compared[name]['fooled_alone']} examples" for name in stronger)
        why = f"{counts} that no gradient did: gradients may be masked, and robustness to them is not to be relied on."
        why = why[0].upper() + why[1:]
    return {"suspected": bool(stronger), "why": why, "compared": compared}
