"""Gradient-boosted trees as plain arrays: a member whose mistakes are not those of networks, saved without code.

References: Friedman, "Greedy function approximation: a gradient boosting machine" (2001); grown by scikit-learn's
histogram gradient boosting.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["MOST_CELLS", "Trees", "grow_trees"]

MOST_CELLS = 1 << 25
"""Cells of the table that trees are grown on: of more rows, as many as that leaves."""
_ROUNDS, _LEAVES, _DEPTH, _RATE = 60, 16, 6, 0.15
_COLUMNS = 1024  # columns that vary most, of which trees are grown


class Trees(nn.Module):
    """Trees of up to `nodes` nodes each, from ``(b, …)`` to logits ``(b, k)``; they have no gradient."""

    feature: Tensor
    threshold: Tensor
    child: Tensor
    value: Tensor
    base: Tensor

    def __init__(self, trees: int, nodes: int, n_classes: int) -> None:
        super().__init__()
        self.register_buffer("feature", torch.zeros(trees, nodes, dtype=torch.int64))
        self.register_buffer("threshold", torch.zeros(trees, nodes))
        self.register_buffer("child", torch.zeros(2, trees, nodes, dtype=torch.int64))
        self.register_buffer("value", torch.zeros(trees, nodes))
        self.register_buffer("base", torch.zeros(n_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits; of two classes the trees raise the second."""
        flat = x.flatten(1)
        trees, k = len(self.feature), len(self.base)
        every = torch.arange(trees, device=x.device)
        at = torch.zeros(len(flat), trees, dtype=torch.int64, device=x.device)
        for _ in range(_DEPTH):  # a leaf is its own child
            left = flat.gather(1, self.feature[every, at]) <= self.threshold[every, at]
            at = torch.where(left, self.child[0][every, at], self.child[1][every, at])
        leaves = self.value[every, at]
        if k == 2:
            sums = torch.stack([torch.zeros_like(leaves[:, 0]), leaves.sum(1)], dim=1)
        else:
            sums = leaves.view(len(flat), -1, k).sum(1)
        return self.base + sums

    def check(self, columns: int) -> None:
        """Raise `ValueError` unless every node asks for one of `columns` columns and leads to a node that exists."""
        trees, nodes = self.feature.shape
        k = len(self.base)
        if trees % (1 if k == 2 else k) or not trees:
            raise ValueError("its trees are not as many as its classes need")
        for name, most in (("feature", columns), ("child", nodes)):
            index = getattr(self, name)
            if index.dtype != torch.int64 or int(index.min()) < 0 or int(index.max()) >= most:
                raise ValueError(f"its trees have a {name} that is not there")


def grow_trees(x: np.ndarray, y: np.ndarray, weight: np.ndarray, n_classes: int, *, seed: int) -> Trees:
    """Return trees grown on rows `x` ``(n, d)`` float32 with classes `y` ``(n,)``, all of `n_classes`, and weights."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    columns = np.sort(np.argsort(-x.var(axis=0), kind="stable")[:_COLUMNS])
    grower = HistGradientBoostingClassifier(
        max_iter=_ROUNDS,
        max_leaf_nodes=_LEAVES,
        max_depth=_DEPTH,
        learning_rate=_RATE,
        max_bins=63,
        early_stopping=False,
        random_state=seed,
    )
    grower.fit(x[:, columns], y, sample_weight=weight)
    grown = [tree.nodes for rounds in grower._predictors for tree in rounds]
    out = Trees(len(grown), max(map(len, grown)), n_classes)
    base = np.ravel(grower._baseline_prediction)
    out.base.copy_(torch.from_numpy(np.array([0.0, base[0]] if n_classes == 2 else base, dtype=np.float32)))
    for at, nodes in enumerate(grown):
        own, leaf = np.arange(len(nodes)), nodes["is_leaf"].astype(bool)
        some = slice(0, len(nodes))
        out.feature[at, some] = torch.from_numpy(np.where(leaf, 0, columns[nodes["feature_idx"]]).astype(np.int64))
        out.threshold[at, some] = torch.from_numpy(np.where(leaf, 0.0, _below(nodes["num_threshold"])))
        for side, name in enumerate(("left", "right")):
            out.child[side, at, some] = torch.from_numpy(np.where(leaf, own, nodes[name]).astype(np.int64))
        out.value[at, some] = torch.from_numpy(np.where(leaf, nodes["value"], 0.0).astype(np.float32))
    return out.eval()


def _below(threshold: np.ndarray) -> np.ndarray:
    """Return the largest float32 not above each threshold: float32 inputs fall on the same side of both."""
    near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near).astype(np.float32)
