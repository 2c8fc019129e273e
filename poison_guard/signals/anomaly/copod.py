"""Tail shares with a preferred side, column by column: strange is what lies far out on their longer tails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
import torch

from poison_guard.numerics.columnwise import block_rows, evaluate, most_rows, tail_functions
from poison_guard.numerics.device import pick_device
from poison_guard.signals.anomaly.base import Columns, bounded, float_dtype, score_blocks

__all__ = ["COPOD"]

_EVEN = 1e-5  # share of a column's absolute third moment below which its skew is rounding


class COPOD:
    """Sum over the columns of the tail on the side a column is skewed to, or of both tails' mean (COPOD).

    Of minus the log of the left and right tail share of the reference, each column gives the one on the side of its
    longer tail, or the mean of the two where that is larger; a
    column without skew gives the larger. Shares are those of the fitted rows, never of the rows
    scored along, and beyond the fitted range the score goes on as a logarithm of the distance. It has nothing to
    choose; despite its name no copula enters, and odd combinations of ordinary values pass.

    Cost: as `ECOD`.

    References: Li et al., "COPOD: copula-based outlier detection" (2020).

    >>> COPOD(device="cpu").fit([[0.0], [1.0], [2.0], [9.0]]).score([[1.5], [9.0], [50.0]]).argsort()
    array([0, 1, 2])
    """

    name: ClassVar[str] = "copod"

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
        off = scaled - scaled.mean(axis=0, dtype=np.float64)
        square = off * off
        skew = (square * off).sum(axis=0)
        lopsided = np.abs(skew) > _EVEN * (square * np.abs(off)).sum(axis=0)

        def part(j: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
            if not lopsided[j]:
                return np.maximum(left, right)
            return np.maximum(right if skew[j] > 0 else left, (left + right) / 2)

        self.steps_ = tail_functions(scaled, part, dtype, pick_device(self.device))
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
