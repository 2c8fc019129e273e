"""Tail shares, column by column: strange is what lies far out in the tails of many columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
import torch

from poison_guard.numerics.columnwise import block_rows, evaluate, most_rows, tail_functions
from poison_guard.numerics.device import pick_device
from poison_guard.signals.anomaly.base import Columns, bounded, float_dtype, score_blocks

__all__ = ["ECOD"]


class ECOD:
    """Sum over the columns of minus the log of the smaller tail share of the reference (ECOD).

    Shares are those of the fitted rows, never of the rows scored along, and beyond the fitted range the score goes on
    as a logarithm of the distance. It has nothing to choose, and is blind to odd combinations of ordinary values.

    The sum of each column's smaller share is what PyOD's detector of this name computes; Li et al. sum left, right and
    skew-chosen tails over all columns first and take the largest of the three, which was 1.4 points of AUROC lower on
    the mean of 23 public sets.

    Cost: sorting `reference` rows once; 11 look-ups a cell to score, some 25 ns.

    References: Li et al., "ECOD: unsupervised outlier detection using empirical cumulative distribution functions"
    (2022).

    >>> ECOD(device="cpu").fit([[0.0], [1.0], [2.0], [3.0]]).score([[1.5], [3.0], [5.0], [50.0]]).argsort()
    array([0, 1, 2, 3])
    """

    name: ClassVar[str] = "ecod"

    def __init__(
        self,
        *,
        reference: int = 16_384,
        seed: int = 0,
        device: str = "auto",
        dtype: str = "float32",
        threads: int | None = None,
    ) -> None:
        self.reference = reference
        self.seed, self.device, self.dtype, self.threads = seed, device, dtype, threads

    def fit(self, X: Any) -> Self:
        """Learn the tails of at most `reference` rows of `X` ``(n, d)``, fewer when they have over 2,048 columns."""
        dtype = float_dtype(self.dtype)
        rows = bounded(X, self.reference, self.seed)
        rows = rows[: most_rows(rows.shape[1])]
        self.columns_ = Columns.fit(rows)
        scaled = self.columns_.apply(rows, np.dtype(self.dtype))
        self.steps_ = tail_functions(
            scaled, lambda _, left, right: np.maximum(left, right), dtype, pick_device(self.device)
        )
        return self

    def score(self, X: Any) -> np.ndarray:
        """Return the sum over the columns ``(n,)``, > 0, in natural logs."""
        return self._blocks(X, lambda block: evaluate(block, self.steps_).double().sum(dim=0).float())

    def explain(self, X: Any) -> np.ndarray:
        """Return each column's term of the score ``(n, d)``, > 0."""
        return self._blocks(X, lambda block: evaluate(block, self.steps_).T)

    def _blocks(self, X: Any, part: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
        device, width = self.steps_[0].device, self.columns_.width
        rows = block_rows(width, device)
        return score_blocks(X, self.columns_, device, rows, part, dtype=self.dtype, threads=self.threads)
