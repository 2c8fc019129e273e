"""Bags of reference rows, and a row's own place in them: a row must not count as its own neighbour."""

from __future__ import annotations

import numpy as np
import torch

from poison_guard.numerics.sampling import mix

__all__ = ["draw_bags", "mask_own", "own_cells"]


def draw_bags(rows: int, bags: int, size: int, seed: int) -> np.ndarray:
    """Return positions ``(size, bags)`` in ``range(rows)``, each bag without replacement; ``size <= rows``.

    While they last, no row is in two bags.
    """
    rng = np.random.default_rng(seed)
    whole = rows // size  # bags that one permutation fills
    permuted = [rng.permutation(rows)[: whole * size].reshape(whole, size) for _ in range(0, bags, whole)]
    return np.concatenate(permuted)[:bags].T


def own_cells(cells: torch.Tensor, bags: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the keys of the distinct rows of `cells` ``(size * bags, d)``, ascending, and their places ``(u, bags)``.

    Cell ``i`` is of bag ``i % bags``. A place is the first cell of the bag that holds the row, ``size * bags`` if none.
    """
    keys, which = torch.unique(_keys(cells), return_inverse=True)
    at = torch.arange(len(cells), device=cells.device)
    places = torch.full((len(keys) * bags,), len(cells), device=cells.device)
    places.scatter_reduce_(0, which * bags + at % bags, at, "amin")
    return keys, places.view(len(keys), bags)


def mask_own(
    values: torch.Tensor, block: torch.Tensor, cells: torch.Tensor, keys: torch.Tensor, places: torch.Tensor
) -> None:
    """Set ``values[i, j]`` to infinity where row ``i`` of `block` is cell ``j``: once in each bag that holds it.

    `keys` and `places` are those of `own_cells`.
    """
    key = _keys(block)
    at = torch.searchsorted(keys, key).clamp_(max=len(keys) - 1)
    rows = torch.nonzero(keys[at] == key)[:, 0]
    if not len(rows):
        return
    held = places[at[rows]]
    row, bag = torch.nonzero(held < len(cells), as_tuple=True)
    cell, row = held[row, bag], rows[row]
    same = (cells[cell] == block[row]).all(dim=1)  # keys of different rows may be equal, if somebody means them to be
    values[row[same], cell[same]] = torch.inf


def _keys(rows: torch.Tensor) -> torch.Tensor:
    """Return a number ``(n,)`` int64 for each row; equal rows have equal ones."""
    rows = rows + 0.0  # -0.0 becomes 0.0
    bits = rows.view(torch.int32 if rows.dtype == torch.float32 else torch.int64).long()
    factors = mix(np.arange(rows.shape[1], dtype=np.uint64)) | np.uint64(1)
    return (bits * torch.from_numpy(factors.view(np.int64)).to(rows.device)).sum(dim=1)
