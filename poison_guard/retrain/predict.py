"""What a trained model says of examples: probabilities, in bounded memory."""

from __future__ import annotations

import numpy as np
import torch

from poison_guard.errors import DataError
from poison_guard.numerics.device import limited_threads
from poison_guard.records import Examples
from poison_guard.retrain.inputs import dense
from poison_guard.retrain.trained import TrainedModel

__all__ = ["probabilities"]

_BLOCK = 16_384  # examples encoded at a time


def probabilities(model: TrainedModel, examples: Examples, *, batch: int = 1024, threads: int = 1) -> np.ndarray:
    """Return ``(n, k)`` float64 in [0, 1], rows adding up to 1, columns in the order of ``model.classes``.

    Labels of `examples` are not looked at: an example of a class that the model was not trained on gets probabilities
    of the classes it knows. They are those of equally common classes, since training balances them. `DataError` for
    examples of another kind, size or columns than the model was trained on, and for outputs that are no numbers.
    """
    if examples.kind != model.kind:
        raise DataError(f"the model judges examples of kind {model.kind}, got {examples.kind}")
    found = [np.empty((0, len(model.classes)))]
    with limited_threads(threads):
        model.module.eval()
        for start in range(0, len(examples), _BLOCK):
            encoded = model.inputs.encode(examples.take(np.arange(start, min(start + _BLOCK, len(examples)))))
            found += [
                torch.softmax(model.module(dense(encoded, slice(at, at + batch))).double(), dim=1).numpy()
                for at in range(0, encoded.shape[0], batch)
            ]
    table = np.concatenate(found)
    if not np.isfinite(table).all():
        raise DataError(
            "the model's outputs are no numbers for some examples; train it again with a lower learning_rate"
        )
    return table
