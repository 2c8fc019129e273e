"""What a model says of how sure it is: all of it, in tenths, or nothing. Who copies a model learns from confidences."""

from __future__ import annotations

import numpy as np

from poison_guard.errors import UsageError

__all__ = ["SAID", "coarse"]

SAID = ("full", "rounded", "none")
"""How confidences may be given."""
_TENTHS = 1  # decimal digits: a copy made of tenths is about what labels alone make of it


def coarse(probabilities: np.ndarray, said: str) -> np.ndarray:
    """Return probabilities ``(n, k)`` as they are given out; the likeliest class, the label, stays what it is.

    ``rounded``: to tenths, which need not add up to 1. ``none``: 1 for the label and 0 else. `UsageError` for another
    `said`.

    References: Tramèr et al., "Stealing machine learning models via prediction APIs" (2016), on rounding.

    >>> coarse(np.array([[0.46, 0.44, 0.1]]), "rounded").tolist()
    [[0.5, 0.4, 0.1]]
    """
    if said not in SAID:
        raise UsageError(f"confidences are given as {', '.join(SAID)}, got {said!r}")
    if said == "full":
        return probabilities
    label = probabilities.argmax(axis=1)[:, None] == np.arange(probabilities.shape[1])
    if said == "none":
        return label.astype(np.float64)
    rounded = probabilities.round(_TENTHS)
    own = rounded.max(axis=1, keepdims=True)
    return np.where(label, own, np.clip(rounded, 0.0, (own - 0.1).round(_TENTHS)))
