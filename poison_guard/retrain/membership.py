"""Membership inference: how well whoever asks a model can tell what it was trained on from what it never saw."""

from __future__ import annotations

from typing import Any

import numpy as np

from poison_guard.records import Examples
from poison_guard.retrain.trained_model import TrainedModel, predict_probabilities

__all__ = ["membership"]

_MOST = 1_000  # examples of each side
_FALSE = 0.01  # share of strangers that may be taken for members


def membership(model: TrainedModel, members: Examples, others: Examples) -> dict[str, Any]:
    """Return how well the probability of the true label tells `members`, trained on, from `others`: ``n, auc, found``.

    ``auc`` is the chance that a member has the higher one (.5: nothing is told), ``found`` the share of members that
    are told while 1 % of the others are taken for members. Examples of labels that the model does not know are left
    out; an empty dict where a side has none. A stronger attacker trains models of his own and tells more.

    References: Yeom et al., "Privacy risk in machine learning" (2018); Carlini et al., "Membership inference attacks
    from first principles" (2022), for the share at few false ones.
    """
    if not len(members) or not len(others):
        return {}
    sides = [_true_label(model, side.take(_spread(len(side)))) for side in (members, others)]
    if not all(map(len, sides)):
        return {}
    inside, outside = sides
    ordered = np.sort(outside)
    below = np.searchsorted(ordered, inside, side="left") + np.searchsorted(ordered, inside, side="right")
    limit = ordered[min(len(ordered) - 1, int(np.ceil((1 - _FALSE) * len(ordered))))]
    return {
        "n": min(len(inside), len(outside)),
        "auc": float(below.mean() / 2 / len(ordered)),
        "found": float((inside > limit).mean()),
    }


def _spread(n: int) -> np.ndarray:
    return np.unique(np.linspace(0, max(0, n - 1), min(n, _MOST)).astype(int))


def _true_label(model: TrainedModel, examples: Examples) -> np.ndarray:
    """Return the probability of the true label of each example whose label is known."""
    targets = model.targets(examples.frame["label"].astype(str))
    table = predict_probabilities(model, examples)[np.arange(len(targets)), targets]
    return np.asarray(table[targets >= 0])
