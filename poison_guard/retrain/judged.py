"""Read a stored evaluation back, trusting nothing in it: what is missing, not finite or of other examples is named."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from poison_guard.errors import DataError

__all__ = ["ADVERSARIES", "WORST", "Judged", "read", "unlike"]

ADVERSARIES = ("fgsm", "pgd", "blackbox")
"""Attacks that someone who means harm picks from; the others happen by themselves."""
WORST = "the best of " + ", ".join(ADVERSARIES)
_SETTINGS = ("version", "kind", "seed", "budget", "mutable")
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Judged:
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
    """By attack, and for `WORST`: the attacked ids that are wrong under it."""
    settings: Mapping[str, Any]


def read(who: str, metrics: Any) -> Judged:
    """Return what the evaluation `metrics` of `who` says; `DataError` names what is wrong with it."""
    if not isinstance(metrics, Mapping):
        raise _broken(who, "is no mapping")
    _all_finite(who, metrics)
    truth, predicted = _texts(who, metrics, "labels"), _texts(who, metrics, "predictions")
    if not truth or truth.keys() != predicted.keys():
        raise _broken(who, "has predictions for other examples than labels")
    classes = frozenset(map(str, _part(who, metrics, "classes", list)))
    if not classes.issuperset(predicted.values()):
        raise _broken(who, "has predictions that are not among its classes")
    wrong = frozenset(one for one, label in truth.items() if predicted[one] != label)
    accuracy = metrics.get("accuracy")
    if not isinstance(accuracy, (int, float)) or abs(accuracy - (1 - len(wrong) / len(truth))) > _ROUNDING:
        raise _broken(who, "has another accuracy than its predictions")
    attacked = list(dict.fromkeys(map(str, _part(who, metrics, "attacked", list))))
    fooled = _fooled(who, metrics)
    if not set(attacked) <= truth.keys() or not frozenset(attacked).issuperset(
        frozenset[str]().union(*fooled.values())
    ):
        raise _broken(who, "names attacked examples that it has no labels of")
    if not attacked:
        raise _broken(who, "attacked nothing")
    settings = {key: metrics.get(key) for key in _SETTINGS}
    settings["epsilon"] = {name: attack.get("epsilon") for name, attack in metrics["attacks"].items()}
    return Judged(truth, wrong, _texts(who, metrics, "slices"), classes, attacked, fooled, settings)


def _fooled(who: str, metrics: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    attacks = _part(who, metrics, "attacks", dict)
    fooled = {str(name): frozenset(map(str, _part(who, attack, "wrong", list))) for name, attack in attacks.items()}
    if not set(ADVERSARIES) <= fooled.keys():
        raise _broken(who, f"lacks one of {', '.join(ADVERSARIES)}")
    fooled[WORST] = frozenset[str]().union(*[fooled[name] for name in ADVERSARIES])
    return fooled


def _broken(who: str, what: str) -> DataError:
    return DataError(f"The evaluation of the {who} {what}; evaluate it again.")


def unlike(new: Judged, old: Judged, name: str) -> str:
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


def _part(who: str, metrics: Any, key: str, kind: type) -> Any:
    value = metrics.get(key) if isinstance(metrics, Mapping) else None
    if not isinstance(value, Mapping if kind is dict else kind):
        raise _broken(who, f"lacks {key}")
    return value


def _texts(who: str, metrics: Mapping[str, Any], key: str) -> dict[str, str]:
    return {str(one): str(text) for one, text in _part(who, metrics, key, dict).items()}


def _all_finite(who: str, value: Any, place: str = "") -> None:
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
        _all_finite(who, part, f"{place}.{key}" if place else str(key))
