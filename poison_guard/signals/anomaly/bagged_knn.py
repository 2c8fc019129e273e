"""Distance to the nearest row of many small bags of trusted rows: most of what all of them say, at a small price."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
import torch

from poison_guard.numerics.tensors import pick_device
from poison_guard.signals.anomaly.base import (
    MAX_REFERENCE,
    Columns,
    Options,
    bounded,
    check_whole,
    float_dtype,
    item_bytes,
    score_blocks,
)
from poison_guard.signals.anomaly.neighbours import (
    SearchRows,
    block_rows,
    draw_bags,
    index_rows,
    mask_own_cells,
    product_bytes,
    product_rows,
    square_blocks,
)

__all__ = ["BaggedNeighbours"]


class BaggedNeighbours(Options):
    """Mean over `bags` of the distance to the nearest of a bag's `size` rows, drawn from a bounded reference.

    A bag's row equal to the scored one is left out, so rows that were fitted on are scored as if they were not.
    Costs a product of the scored rows and those of all bags: 1,000,000 x 16 take about 3 CPU-seconds.

    References: Sugiyama and Borgwardt, "Rapid distance-based outlier detection via sampling" (2013); Aggarwal and
    Sathe, "Theoretical foundations and algorithms for outlier ensembles" (2015).
    """

    name: ClassVar[str] = "bagged_knn"

    def __init__(
        self,
        *,
        bags: int = 16,
        size: int = 128,
        reference: int = MAX_REFERENCE,
        seed: int = 0,
        device: str = "auto",
        dtype: str = "float32",
        threads: int | None = None,
    ) -> None:
        check_whole(bags=bags, size=size, reference=reference)
        self.bags, self.size, self.reference = bags, size, reference
        super().__init__(seed=seed, device=device, dtype=dtype, threads=threads)

    def fit(self, X: Any, y: object = None) -> Self:
        """Draw the bags from at most `reference` rows of `X` ``(n, d)``, chosen by hash."""
        rows = bounded(X, self.reference, self.seed)
        self.columns_ = Columns.fit(rows)
        at = draw_bags(len(rows), self.bags, min(self.size, max(min(len(rows), 2), len(rows) // 4)), self.seed)
        cells = torch.from_numpy(self.columns_.apply(rows, np.float64)[at.ravel()]).to(float_dtype(self.dtype))
        self.cells_ = cells.to(pick_device(self.device))
        self.keys_, self.places_ = index_rows(self.cells_, self.bags)
        return self

    def score(self, X: Any) -> np.ndarray:
        """Return the mean distance to the nearest row of each bag ``(n,)``, in scales of the columns; >= 0."""
        return self._blocks(X, self._mean)

    def explain(self, X: Any) -> np.ndarray:
        """Return each column's share of the distances ``(n, d)``, as in their squares; rows sum to the score."""
        return self._blocks(X, self._shares)

    def _blocks(self, X: Any, score: Callable[[torch.Tensor, SearchRows], torch.Tensor]) -> np.ndarray:
        device, against = self.cells_.device, SearchRows.of(self.cells_)
        rows = block_rows(max(self.columns_.width, self.bags), device)

        def one(block: torch.Tensor) -> torch.Tensor:
            return score(block, against)

        return score_blocks(
            X, self.columns_, device, rows, one, dtype=self.dtype, threads=self.threads, block_bytes=self.block_bytes
        )

    def block_bytes(self, rows: int) -> int:
        """Return the most bytes that scoring `rows` rows holds: mostly the distances of a product."""
        (m, d), kind, item = self.cells_.shape, self.cells_.device.type, item_bytes(self.dtype)
        each = min(product_rows(m, d, kind), max(rows, 1))
        return product_bytes(m, d, kind, item) + item * rows * (d + 1) + each * d * (item + 16)

    def _mean(self, block: torch.Tensor, against: SearchRows) -> torch.Tensor:
        score = block.new_empty(len(block))
        for rows, squares, norms in square_blocks(block, against):
            nearest = self._least(self._others(squares, block[rows])).add_(norms[:, None])
            score[rows] = nearest.clamp_(min=0.0).sqrt_().mean(dim=1, dtype=torch.float64).to(block.dtype)
        return score

    def _others(self, squares: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
        """Return `squares` as ``(b, size, bags)`` without the row's own cells."""
        if len(self.cells_) > self.bags:  # the only row of a bag is never left out
            mask_own_cells(squares, block, self.cells_, self.keys_, self.places_)
        return squares.view(len(block), -1, self.bags)

    def _least(self, squares: torch.Tensor) -> torch.Tensor:
        """Return the least of each bag ``(b, bags)``; several bags' widths at once, for long vectors are fast."""
        together = math.gcd(squares.shape[1], 8)
        wide = squares.reshape(len(squares), -1, together * self.bags).amin(dim=1)
        return wide.view(len(squares), together, self.bags).amin(dim=1)

    def _shares(self, block: torch.Tensor, against: SearchRows) -> torch.Tensor:
        parts = torch.zeros(block.shape, dtype=torch.float64, device=block.device)
        for rows, squares, _ in square_blocks(block, against):
            one = block[rows].double()
            found = self._others(squares, block[rows]).argmin(dim=1) * self.bags
            for bag in range(self.bags):
                apart = (one - self.cells_[found[:, bag] + bag]).square()
                parts[rows] += apart / apart.sum(dim=1, keepdim=True).sqrt().clamp(min=1e-300)
        return parts / self.bags
