"""Tail shares with a preferred side, column by column: strange is what lies far out on their longer tails."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np

from poison_guard.numerics.tensors import pick_device
from poison_guard.signals.anomaly.base import ByColumn, Columns, bounded, check_whole, float_dtype
from poison_guard.signals.anomaly.columnwise import most_rows, tail_functions

__all__ = ["COPOD"]

_EVEN = 1e-5  # share of a column's absolute third moment below which its skew is rounding


class COPOD(ByColumn):
    """Sum over the columns of the tail on the side a column is skewed to, or of both tails' mean (COPOD).

    Of minus the log of the left and right tail share of the reference, each column gives the one on the side of its
    longer tail, or the mean of the two where that is larger; a column without skew gives the larger. Shares are those
    of the fitted rows, never of the rows scored along, and beyond the fitted range the score goes on as a logarithm of
    the distance. It has nothing to choose; despite its name no copula enters, and odd combinations of ordinary values
    pass.

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
        check_whole(reference=reference)
        self.reference = reference
        super().__init__(seed=seed, device=device, dtype=dtype, threads=threads)

    def fit(self, X: Any, y: object = None) -> Self:
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
