"""Distance to the nearest trusted rows: strange is what no trusted record is near to."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import torch

from poison_guard.numerics.device import pick_device
from poison_guard.numerics.neighbours import nearest
from poison_guard.signals.anomaly.base import MAX_REFERENCE, Columns, bounded, float_dtype, score_blocks

__all__ = ["NearestNeighbours"]


class NearestNeighbours:
    """Mean distance to the `k` nearest rows of a bounded reference.

    References: Ramaswamy, Rastogi and Shim, "Efficient algorithms for mining outliers from large data sets" (2000);
    Livernoche et al., "On diffusion modeling for anomaly detection" (2024), where it is called DTE-NP.

    >>> NearestNeighbours(k=1, device="cpu").fit([[0.0], [1.0]]).score([[0.5], [9.0]]).argmax()
    np.int64(1)
    """

    name: ClassVar[str] = "knn"

    def __init__(
        self,
        *,
        k: int = 5,
        reference: int = MAX_REFERENCE,
        seed: int = 0,
        device: str = "auto",
        dtype: str = "float32",
        threads: int | None = None,
    ) -> None:
        self.k, self.reference = k, reference
        self.seed, self.device, self.dtype, self.threads = seed, device, dtype, threads

    def fit(self, X: Any) -> Self:
        """Keep at most `reference` rows of `X` ``(n, d)``, chosen by hash."""
        rows = bounded(X, self.reference, self.seed)
        self.columns_ = Columns.fit(rows)
        scaled = torch.from_numpy(self.columns_.apply(rows)).to(float_dtype(self.dtype))
        self.reference_ = scaled.to(pick_device(self.device))
        return self

    def score(self, X: Any) -> np.ndarray:
        """Return the mean distance to the nearest `k` kept rows ``(n,)``, in scales of the columns; >= 0."""
        k = min(self.k, len(self.reference_))
        return score_blocks(
            X,
            self.columns_,
            self.reference_.device,
            8192,
            lambda block: self._mean(block, k),
            dtype=self.dtype,
            threads=self.threads,
        )

    def _mean(self, block: torch.Tensor, k: int) -> torch.Tensor:
        distances, _ = nearest(block, self.reference_, k)
        return distances.double().mean(dim=1).float()
