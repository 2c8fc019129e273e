"""Local outlier factor against a trusted reference: strange is what lies more thinly than its neighbours do."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import torch

from poison_guard.numerics.tensors import limited_threads, pick_device
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
from poison_guard.signals.anomaly.neighbours import SearchRows, block_rows, nearest_others, search_bytes

__all__ = ["LocalOutlierFactor"]

_FLOOR = 1e-3  # of the reference's median neighbour distance: copies are not infinitely dense


class LocalOutlierFactor(Options):
    """How much thinner a row's surroundings are than those of its `k` nearest rows in a bounded reference.

    Densities of the reference rows are known from fitting, so a row's score says nothing of the rows scored with it.
    A kept row equal to the scored one is left out once, so rows that were fitted on are scored as in the paper. Copies
    are held apart by a thousandth of the median distance to the `k`-th neighbour, so that no density is infinite.

    References: Breunig, Kriegel, Ng and Sander, "LOF: identifying density-based local outliers" (2000).
    """

    name: ClassVar[str] = "lof"

    def __init__(
        self,
        *,
        k: int = 30,
        reference: int = MAX_REFERENCE,
        seed: int = 0,
        device: str = "auto",
        dtype: str = "float32",
        threads: int | None = None,
    ) -> None:
        check_whole(k=k, reference=reference)
        self.k, self.reference = k, reference
        super().__init__(seed=seed, device=device, dtype=dtype, threads=threads)

    def fit(self, X: Any, y: object = None) -> Self:
        """Keep at most `reference` rows of `X` ``(n, d)``, chosen by hash, and how densely they lie."""
        rows = bounded(X, self.reference, self.seed)
        self.columns_ = Columns.fit(rows)
        scaled = torch.from_numpy(self.columns_.apply(rows, np.float64)).to(float_dtype(self.dtype))
        self.reference_ = scaled.to(pick_device(self.device))
        with limited_threads(self.threads):
            distances, found = nearest_others(self.reference_, self.reference_, self._neighbours())
            self.reach_ = distances[:, -1].double()
            positive = self.reach_[self.reach_ > 0]
            self.floor_ = _FLOOR * float(positive.median()) if len(positive) else 1.0
            self.thin_ = self._thinness(distances, found)
        return self

    def score(self, X: Any) -> np.ndarray:
        """Return the factors ``(n,)``, > 0: about 1 inside a cluster, larger outside."""
        device, against = self.reference_.device, SearchRows.of(self.reference_)
        rows = block_rows(self.columns_.width, device)

        def factor(block: torch.Tensor) -> torch.Tensor:
            return self._factor(block, against)

        return score_blocks(
            X, self.columns_, device, rows, factor, dtype=self.dtype, threads=self.threads, block_bytes=self.block_bytes
        )

    def block_bytes(self, rows: int) -> int:
        """Return the most bytes that scoring `rows` rows holds: mostly a product's distances, some of each row's."""
        m, d = self.reference_.shape
        k, kind, item = self._neighbours(), self.reference_.device.type, item_bytes(self.dtype)
        return max(search_bytes(rows, m, d, k, kind, item), item * m * (d + 1) + rows * (k * (item + 32) + d * item))

    def _neighbours(self) -> int:
        return max(1, min(self.k, len(self.reference_) - 1))

    def _thinness(self, distances: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
        """Return the mean reachability distance ``(n,)`` float64, the inverse of the local density."""
        return torch.maximum(distances.double(), self.reach_[found]).clamp(min=self.floor_).mean(dim=1)

    def _factor(self, block: torch.Tensor, against: SearchRows) -> torch.Tensor:
        distances, found = nearest_others(block, against, self._neighbours())
        return (self._thinness(distances, found) * (1.0 / self.thin_[found]).mean(dim=1)).to(block.dtype)
