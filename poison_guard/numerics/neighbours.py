"""Exact nearest neighbours in bounded memory: block products choose candidates, float64 differences decide."""

from __future__ import annotations

import torch

__all__ = ["nearest"]

_CELLS = 2**18  # cells of one distance block: 1 MB of float32, stays in a CPU core's cache
_GROUP = 32  # reference rows that share one minimum in the first pass
_SPARE = 3  # candidates beyond k, against rounding in the block product


def nearest(queries: torch.Tensor, reference: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return Euclidean distances ``(n, k)``, ascending, float32, and positions ``(n, k)`` of the `k` nearest rows.

    `queries` ``(n, d)`` and `reference` ``(m, d)`` are float32 on one device, ``1 <= k <= m``. A row that is in both
    finds itself at distance 0. Each query's answer is independent of the other queries (up to exact ties).
    """
    n, m = len(queries), len(reference)
    if not 1 <= k <= m:
        raise ValueError(f"k must be in [1, {m}], got {k}")
    centre = reference.mean(dim=0)
    shifted = reference - centre
    norms = shifted.square().sum(dim=1)
    columns = (-2.0 * shifted).T.contiguous()
    distances = torch.empty(n, k, device=queries.device)
    positions = torch.empty(n, k, dtype=torch.int64, device=queries.device)
    rows = max(16, _CELLS // m)
    for start in range(0, n, rows):
        block = queries[start : start + rows]
        products = torch.addmm(norms, block - centre, columns)
        found = _smallest(products, min(m, k + _SPARE))
        exact = _distances(block, reference, found)
        best, order = torch.topk(exact, k, dim=1, largest=False)
        distances[start : start + rows] = best
        positions[start : start + rows] = found.gather(1, order)
    return distances, positions


def _smallest(values: torch.Tensor, k: int) -> torch.Tensor:
    """Return positions ``(n, k)`` of the `k` smallest of each row: first the groups by their minimum, then inside."""
    n, m = values.shape
    groups = m // _GROUP
    if groups <= 2 * k:
        return torch.topk(values, k, dim=1, largest=False).indices
    even = groups * _GROUP
    minima = values[:, :even].view(n, _GROUP, groups).amin(dim=1)
    chosen = torch.topk(minima, k, dim=1, largest=False, sorted=False).indices
    steps = torch.arange(_GROUP, device=values.device).view(1, _GROUP, 1) * groups
    candidates = (chosen.unsqueeze(1) + steps).reshape(n, -1)
    if even < m:
        rest = torch.arange(even, m, device=values.device).expand(n, -1)
        candidates = torch.cat([candidates, rest], dim=1)
    order = torch.topk(values.gather(1, candidates), k, dim=1, largest=False, sorted=False).indices
    return candidates.gather(1, order)


def _distances(block: torch.Tensor, reference: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """Exact distances to the found rows, summed in float64 and rounded, so that block shapes leave no trace."""
    n, k = found.shape
    width = max(1, _CELLS // max(1, k * block.shape[1]))
    parts = [
        (block[i : i + width].unsqueeze(1).double() - reference[found[i : i + width]])
        .square()
        .sum(dim=2)
        .sqrt()
        .float()
        for i in range(0, n, width)
    ]
    return torch.cat(parts)
