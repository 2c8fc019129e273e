"""Isolation by nearest-neighbour balls: strange is what no ball around trusted rows covers, or a large one only."""

from __future__ import annotations

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

__all__ = ["NeighbourBalls"]

_TINY = 1e-300  # so that balls without a radius are all alike
_ROUNDING = 1.0 - 1e-5  # copies are in a ball without a radius, whatever rounding made of their distance 0


class NeighbourBalls(Options):
    """Isolation by nearest-neighbour ensembles: `bags` samples of `size` rows, a ball around each up to its nearest.

    A bag's score of a row is 1 - r(nearest) / r(own), where r(own) is the radius of the smallest ball that covers the
    row and r(nearest) that of the ball around its centre's nearest row; 1 if no ball covers it.

    References: Bandaragoda, Ting, Albrecht, Liu, Zhu and Wells, "Isolation-based anomaly detection using
    nearest-neighbor ensembles" (2018).
    """

    name: ClassVar[str] = "inne"

    def __init__(
        self,
        *,
        bags: int = 200,
        size: int = 8,
        reference: int = MAX_REFERENCE,
        seed: int = 0,
        device: str = "auto",
        dtype: str = "float32",
        threads: int | None = None,
    ) -> None:
        check_whole(bags=bags, reference=reference)
        check_whole(2, size=size)
        self.bags, self.size, self.reference = bags, size, reference
        super().__init__(seed=seed, device=device, dtype=dtype, threads=threads)

    def fit(self, X: Any, y: object = None) -> Self:
        """Draw the bags from at most `reference` rows of `X` ``(n, d)``, chosen by hash, and measure their balls."""
        rows = bounded(X, self.reference, self.seed)
        self.columns_ = Columns.fit(rows)
        at = draw_bags(len(rows), self.bags, min(self.size, len(rows)), self.seed)
        scaled = torch.from_numpy(self.columns_.apply(rows, np.float64)).to(pick_device(self.device))
        with torch.inference_mode():
            where, squares, scores = self._balls(scaled, torch.from_numpy(at).to(scaled.device))
            self.cells_ = scaled[where.flatten()].to(float_dtype(self.dtype))
            self.squares_, self.scores_ = squares, scores
            self.keys_, self.places_ = index_rows(self.cells_, self.bags)
        return self

    def score(self, X: Any) -> np.ndarray:
        """Return the mean of the bags' scores ``(n,)``, in [0, 1]."""
        device, against = self.cells_.device, SearchRows.of(self.cells_)
        rows = block_rows(max(self.columns_.width, self.bags), device)

        def mean(block: torch.Tensor) -> torch.Tensor:
            return self._mean(block, against)

        return score_blocks(
            X, self.columns_, device, rows, mean, dtype=self.dtype, threads=self.threads, block_bytes=self.block_bytes
        )

    def block_bytes(self, rows: int) -> int:
        """Return the most bytes that scoring `rows` rows holds: mostly a product's distances, and what they are in."""
        (m, d), kind, item = self.cells_.shape, self.cells_.device.type, item_bytes(self.dtype)
        each = min(product_rows(m, d, kind), max(rows, 1))
        own = each * max(d * (item + 16), m * (1 + item) + self.bags * item)
        return product_bytes(m, d, kind, item) + item * rows * (d + 1) + own

    def _balls(self, rows: torch.Tensor, at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the rows in the middle, the squared radii and the scores of the balls, smaller balls first."""
        size = len(at)
        if size == 1:
            return at, torch.zeros_like(at, dtype=torch.float64), torch.zeros(2, self.bags, device=rows.device)
        bags = [rows[at[:, bag]] for bag in range(self.bags)]
        apart = torch.stack([torch.cdist(b, b, compute_mode="donot_use_mm_for_euclid_dist") for b in bags])
        radius, nearest = apart.masked_fill_(torch.eye(size, dtype=torch.bool, device=rows.device), torch.inf).min(2)
        ratio = (radius.gather(1, nearest) + _TINY) / (radius + _TINY)
        radius, order = radius.sort(dim=1, stable=True)
        score = (1.0 - ratio.gather(1, order)).clamp_(0.0, 1.0)
        score = torch.cat([score, torch.ones(self.bags, 1, dtype=score.dtype, device=rows.device)], dim=1)
        return at.gather(0, order.T), radius.square().T.contiguous(), score.T.contiguous()

    def _mean(self, block: torch.Tensor, against: SearchRows) -> torch.Tensor:
        score = block.new_empty(len(block))
        size = len(self.scores_) - 1
        place = torch.arange(size, dtype=block.dtype, device=block.device)[:, None]
        radii = self.squares_.to(block.dtype).flatten()
        for rows, squares, norms in square_blocks(block, against):
            mask_own_cells(squares, block[rows], self.cells_, self.keys_, self.places_)
            outside = (squares.add_(norms[:, None] * _ROUNDING) > radii).view(-1, size, self.bags)
            first = torch.where(outside, float(size), place).amin(dim=1).long()
            score[rows] = self.scores_.gather(0, first).mean(dim=1, dtype=torch.float64).to(block.dtype)
        return score
