"""Distance to the nearest trusted rows: strange is what no trusted record is near to."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import torch

from poison_guard.numerics.device import limited_threads, pick_device
from poison_guard.numerics.neighbours import nearest
from poison_guard.numerics.sampling import hash_subsample
from poison_guard.signals.anomaly.base import MAX_REFERENCE, Columns, as_matrix, score_blocks

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
        threads: int | None = None,
    ) -> None:
        self.k, self.reference, self.seed, self.device, self.threads = k, reference, seed, device, threads

    def fit(self, X: Any) -> Self:
        """Keep at most `reference` rows of `X` ``(n, d)``, chosen by hash."""
        matrix = as_matrix(X)
        self.columns_ = Columns.fit(matrix)
        rows = self.columns_.apply(matrix[hash_subsample(matrix, self.reference, self.seed)])
        self.reference_ = torch.from_numpy(rows).to(pick_device(self.device))
        return self

    def score(self, X: Any) -> np.ndarray:
        """Return the mean distance to the nearest `k` kept rows ``(n,)``, in scales of the columns; >= 0."""
        k = min(self.k, len(self.reference_))
        with limited_threads(self.threads):
            return score_blocks(X, self.columns_, self.reference_.device, 65_536, lambda block: self._mean(block, k))

    def _mean(self, block: torch.Tensor, k: int) -> torch.Tensor:
        distances, _ = nearest(block, self.reference_, k)
        return distances.double().mean(dim=1).float()
