"""Isolation forest: strange is what few random cuts set apart from the trusted rows."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Self

import numpy as np
import torch

from poison_guard.numerics.device import pick_device
from poison_guard.signals.anomaly.base import MAX_REFERENCE, Columns, bounded, float_dtype, score_blocks

__all__ = ["IsolationForest"]

_MOST_COLUMNS = 128  # columns one tree looks at; wider data gives each tree its own random ones


class IsolationForest:
    """Mean path length over random trees, all trees grown and walked at once.

    References: Liu, Ting and Zhou, "Isolation forest" (2008).
    """

    name: ClassVar[str] = "iforest"

    def __init__(
        self,
        *,
        trees: int = 100,
        sample: int = 256,
        seed: int = 0,
        device: str = "auto",
        dtype: str = "float32",
        threads: int | None = None,
    ) -> None:
        self.trees, self.sample = trees, sample
        self.seed, self.device, self.dtype, self.threads = seed, device, dtype, threads

    def fit(self, X: Any) -> Self:
        """Grow `trees` trees, each on `sample` rows of `X` ``(n, d)``."""
        rows = bounded(X, MAX_REFERENCE, self.seed)
        self.columns_ = Columns.fit(rows)
        rows = self.columns_.apply(rows)
        rng = np.random.default_rng(self.seed)
        size = min(self.sample, len(rows))
        depth = max(1, math.ceil(math.log2(max(size, 2))))
        grown = [_grow(rows[rng.permutation(len(rows))[:size]], depth, rng) for _ in range(self.trees)]
        device = pick_device(self.device)
        feature, cut, path = (np.stack(part) for part in zip(*grown, strict=True))
        self.depth_, self.norm_ = depth, max(float(_unsuccessful(np.array([size]))[0]), 1.0)
        self.feature_ = torch.from_numpy(feature.astype(np.int32)).to(device)
        self.cut_ = torch.from_numpy(cut).to(device, float_dtype(self.dtype))
        self.path_ = torch.from_numpy(path.astype(np.float32)).to(device)
        return self

    def score(self, X: Any) -> np.ndarray:
        """Return ``2 ** (-mean path length / expected length)``, ``(n,)`` in (0, 1)."""
        return score_blocks(
            X, self.columns_, self.cut_.device, 2048, self._walk, dtype=self.dtype, threads=self.threads
        )

    def _walk(self, block: torch.Tensor) -> torch.Tensor:
        n, width = block.shape
        trees, nodes = self.feature_.shape
        feature, cut = self.feature_.reshape(-1), self.cut_.reshape(-1)
        cells = block.reshape(-1)
        first = torch.arange(trees, dtype=torch.int32, device=block.device) * nodes
        start = (torch.arange(n, dtype=torch.int32, device=block.device) * width).view(n, 1)
        node = (block.index_select(1, self.feature_[:, 0]) > self.cut_[:, 0]).to(torch.int32) + 1
        for _ in range(1, self.depth_):
            at = (node + first).view(-1)
            value = cells.index_select(0, feature.index_select(0, at).view(n, trees).add_(start).view(-1))
            node.mul_(2).add_(1).add_((value > cut.index_select(0, at)).view(n, trees))
        path = self.path_.reshape(-1).index_select(0, (node + first).view(-1)).view(n, trees)
        return torch.exp2(-path.double().mean(dim=1) / self.norm_).float()


def _grow(rows: np.ndarray, depth: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grow one tree as a heap: feature and cut of the inner nodes, path length at the bottom level's nodes.

    A node that cannot be cut (one row, or equal rows) sends everything left, with its own path length handed down.
    """
    n, width = rows.shape
    seen = rng.permutation(width)[:_MOST_COLUMNS]
    rows = rows[:, seen]
    nodes = 2 ** (depth + 1) - 1
    feature, cut, path = np.zeros(nodes, dtype=np.int64), np.full(nodes, np.inf), np.zeros(nodes)
    node = np.zeros(n, dtype=np.int64)
    for level in range(depth + 1):
        first, wide = 2**level - 1, 2**level
        order = np.argsort(node, kind="stable")
        rows, node = rows[order], node[order]
        filled, starts, counts = np.unique(node, return_index=True, return_counts=True)
        stopped = np.isinf(cut[(filled - 1) // 2]) if level else np.zeros(len(filled), dtype=bool)
        own = level + _unsuccessful(counts)
        path[filled] = np.where(stopped, path[(filled - 1) // 2], own)
        if level == depth:
            break
        low = np.minimum.reduceat(rows, starts, axis=0)
        high = np.maximum.reduceat(rows, starts, axis=0)
        spread = high > low
        pick = (rng.random((wide, rows.shape[1]))[filled - first] * spread).argmax(axis=1)
        where = np.arange(len(filled))
        point = rng.random(wide)[filled - first]
        low, high = low[where, pick], high[where, pick]
        can = spread.any(axis=1) & ~stopped
        feature[filled] = np.where(can, seen[pick], 0)
        cut[filled] = np.where(can, np.minimum(low + (high - low) * point, np.nextafter(high, low)), np.inf)
        value = rows[np.arange(n), np.repeat(pick, counts)]
        node = 2 * node + 1 + (value > np.repeat(cut[filled], counts))
    return feature, cut, path


def _unsuccessful(n: np.ndarray) -> np.ndarray:
    """Mean length of an unsuccessful search in a binary tree of `n` rows (Liu 2008, equation 1)."""
    n = n.astype(np.float64)
    long = 2 * (np.log(np.maximum(n - 1, 1)) + np.euler_gamma) - 2 * (n - 1) / n
    return np.where(n > 2, long, np.where(n == 2, 1.0, 0.0))
