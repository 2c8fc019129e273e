"""Nearest neighbours in bounded memory, and bags of reference rows; a row never counts as its own neighbour."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from poison_guard.signals.anomaly.memory import halved
from poison_guard.signals.sampling import mix_bits

__all__ = [
    "SearchRows",
    "block_rows",
    "draw_bags",
    "index_rows",
    "mask_own_cells",
    "nearest",
    "nearest_others",
    "product_bytes",
    "product_rows",
    "search_bytes",
    "square_blocks",
]


_CELLS = {"cpu": 2**20, "cuda": 2**27}  # distances held at a time: 4 MB of float32 stay in a CPU's caches
_MOST_ROWS = {"cpu": 512, "cuda": 2**16}  # queries of one product, however small the reference
_LEAST_ROWS = 16
_CENTRED = 256  # rows whose median is the middle of all
_SPARE = 2  # candidates beyond k, against rounding in the block product
_POSITION = 2**29 - 1  # the bits of a float64's fraction that are 0 when it was a float32
_ENOUGH = 1e-4  # relative error of a squared distance up to which a missed neighbour does no harm


@dataclass(frozen=True, slots=True)
class SearchRows:
    """Reference rows `rows` ``(m, d)``, made ready once for many products with them."""

    rows: torch.Tensor
    centre: torch.Tensor  # (d,) in their middle
    norms: torch.Tensor  # (m,) squared, from the centre
    factors: torch.Tensor  # (m, d) -2 times the rows from the centre
    reach: float  # norm of the farthest

    @classmethod
    def of(cls, reference: torch.Tensor) -> Self:
        """Make `reference` ``(m, d)``, m >= 1, ready."""
        some = reference[:: max(1, len(reference) // _CENTRED)]
        centre = some.median(dim=0).values  # a few wild rows would drag the mean along, and precision with it
        shifted = reference - centre
        norms = shifted.square().sum(dim=1)
        return cls(reference, centre, norms, shifted.mul_(-2.0), math.sqrt(float(norms.amax())))


def block_rows(width: int, device: torch.device) -> int:
    """Return how many rows of `width` cells a block on `device` should have: no more than memory or cache carries."""
    return max(_LEAST_ROWS, min(8192 if device.type == "cpu" else 2**20, 2 * _CELLS[device.type] // max(1, width)))


def nearest(queries: torch.Tensor, reference: torch.Tensor | SearchRows, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return Euclidean distances ``(n, k)``, ascending, and positions ``(n, k)`` of the `k` nearest rows.

    `queries` ``(n, d)`` and `reference` ``(m, d)`` are of one floating type, which the distances share, and on one
    device; ``1 <= k <= m``. A row that is in both finds itself at distance 0. Each query's answer is independent of the
    other queries (up to exact ties). Distances are of float64 differences; where rounding in the block product could
    have hidden a row nearer by more than 0.005 %, as far from the reference's middle, the product is done in float64.
    """
    against = _ready(reference)
    n, m = len(queries), len(against.rows)
    if not 1 <= k <= m:
        raise ValueError(f"k must be in [1, {m}], got {k}")
    distances = queries.new_empty(n, k)
    positions = torch.empty(n, k, dtype=torch.int64, device=queries.device)
    in_doubt = torch.zeros(n, dtype=torch.bool, device=queries.device)
    for rows, squares, norms in square_blocks(queries, against):
        found = _smallest(squares, min(m, k + _SPARE))
        exact = _squares(queries[rows], against.rows, found)
        best, order = torch.topk(exact, k, dim=1, largest=False)
        distances[rows] = best.sqrt().to(queries.dtype)
        positions[rows] = found.gather(1, order)
        if m > k + _SPARE:
            seen = squares.gather(1, found).amax(dim=1).double() + norms
            in_doubt[rows] = seen - _error(norms, best[:, -1], against) < (1 - _ENOUGH) * best[:, -1]
    if queries.dtype != torch.float64 and bool(in_doubt.any()):
        again = nearest(queries[in_doubt].double(), against.rows.double(), k)
        distances[in_doubt], positions[in_doubt] = again[0].to(queries.dtype), again[1]
    return distances, positions


def nearest_others(
    queries: torch.Tensor, reference: torch.Tensor | SearchRows, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what `nearest` does, but leave out one reference row equal to the query, where there is one.

    So a row of the reference gets the same neighbours as if it were not in it. ``1 <= k <= max(1, m - 1)``; the
    only row of a reference is never left out.
    """
    against = _ready(reference)
    if len(against.rows) == 1:
        return nearest(queries, against, k)
    distances, positions = nearest(queries, against, k + 1)
    kept = torch.arange(k, device=queries.device) + (distances[:, :1] == 0)
    return distances.gather(1, kept), positions.gather(1, kept)


def square_blocks(
    queries: torch.Tensor, reference: torch.Tensor | SearchRows
) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
    """Yield, for blocks of `queries` ``(n, d)``: which rows, and their squared distances to `reference` ``(m, d)``.

    The squared distance is the sum of the second ``(b, m)``, which the next block overwrites, and the third ``(b,)``:
    the squared norm from the reference's middle. It carries the rounding of a product in the type of the rows. All
    products have one shape, so what a row gets does not depend on how many rows there are.
    """
    against, (n, d) = _ready(reference), queries.shape
    m, kind = len(against.rows), queries.device.type
    rows = product_rows(m, d, kind)
    products, block = queries.new_empty(rows, m), queries.new_zeros(rows, d)
    for start in range(0, n, rows):
        count = min(rows, n - start)
        torch.sub(queries[start : start + count], against.centre, out=block[:count])
        torch.addmm(against.norms, block, against.factors.T, out=products)
        yield slice(start, start + count), products[:count], block[:count].square().sum(dim=1)


def product_rows(m: int, d: int, kind: str) -> int:
    """Return how many rows of `d` cells one product with `m` rows has on a `kind` of device."""
    return halved(max(_LEAST_ROWS, min(_MOST_ROWS[kind], _CELLS[kind] // max(m, d))))


def product_bytes(m: int, d: int, kind: str, item: int) -> int:
    """Return the bytes that `square_blocks` and `SearchRows` hold, numbers being of `item` bytes."""
    return item * (m * (d + 1) + product_rows(m, d, kind) * (m + d + 1))


def search_bytes(rows: int, m: int, d: int, k: int, kind: str, item: int) -> int:
    """Return the most bytes that `nearest_others` of `rows` rows holds, but for rows done again in float64."""
    k = min(m, k + 1)
    several = min(m, k + _SPARE)
    group, groups = _groups(m, several)
    chosen = groups * item + several * group * (16 + item) if groups else 12 * several
    exact = several * (2 * item * d + 8 + 8)
    each = min(product_rows(m, d, kind), max(rows, 1))
    found = rows * (k * (item + 8) + d * item)
    return product_bytes(m, d, kind, item) + found + each * max(chosen, exact)


def _groups(m: int, k: int) -> tuple[int, int]:
    """Return the size and number of the groups that `_smallest` looks through; (1, 0) for none."""
    group = 2 ** round(math.log2(max(1.0, math.sqrt(m / k))))  # as many groups as candidates
    groups = m // group
    return (1, 0) if group == 1 or groups <= 2 * k else (group, groups)


def _ready(reference: torch.Tensor | SearchRows) -> SearchRows:
    return reference if isinstance(reference, SearchRows) else SearchRows.of(reference)


def _error(norms: torch.Tensor, best: torch.Tensor, against: SearchRows) -> torch.Tensor:
    """Bound the rounding of the product with any row that is not farther than `best` ``(n,)``, all squared.

    References: Higham and Mary, "A new approach to probabilistic rounding error analysis" (2019): the error of a sum of
    d products grows as the root of d.
    """
    size = norms.double().sqrt()
    other = (size + best.sqrt()).clamp(max=against.reach)
    rounding = torch.finfo(against.rows.dtype).eps * (4 + math.sqrt(against.rows.shape[1]))
    return rounding * (size + other).square()


def _smallest(values: torch.Tensor, k: int) -> torch.Tensor:
    """Return positions ``(n, k)`` of the `k` smallest of each row: first the groups by their minimum, then inside."""
    n, m = values.shape
    group, groups = _groups(m, k)
    if not groups:
        return _first(values, k)
    even = groups * group
    minima = values[:, :even].view(n, group, groups).amin(dim=1)
    steps = torch.arange(group, device=values.device).view(1, group, 1) * groups
    candidates = (_first(minima, k).unsqueeze(1) + steps).view(n, -1)
    if even < m:
        rest = torch.arange(even, m, device=values.device).expand(n, -1)
        candidates = torch.cat([candidates, rest], dim=1)
    return candidates.gather(1, _first(values.gather(1, candidates), k))


def _first(values: torch.Tensor, k: int) -> torch.Tensor:
    """Return positions ``(n, k)`` of the `k` smallest of each row.

    On a CPU numpy sorts whole rows several times as fast as torch finds the few smallest; the positions ride along in
    the bits that a float64 has beyond a float32.
    """
    if values.device.type != "cpu" or values.dtype != torch.float32:
        return torch.topk(values, k, dim=1, largest=False, sorted=False).indices
    packed = values.double().view(torch.int64)
    packed |= torch.arange(values.shape[1])
    packed.numpy().view(np.float64).sort(axis=1)
    return packed[:, :k] & _POSITION


def _squares(block: torch.Tensor, reference: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """Return squared distances ``(n, k)`` float64 to the found rows, summed so that block shapes leave no trace."""
    n, k = found.shape
    width = max(1, _CELLS[block.device.type] // max(1, k * block.shape[1]))
    parts = [
        (block[i : i + width].unsqueeze(1) - reference[found[i : i + width]]).square_().sum(dim=2, dtype=torch.float64)
        for i in range(0, n, width)
    ]
    return torch.cat(parts)


def draw_bags(rows: int, bags: int, size: int, seed: int) -> np.ndarray:
    """Return positions ``(size, bags)`` in ``range(rows)``, each bag without replacement; ``size <= rows``.

    While they last, no row is in two bags.
    """
    rng = np.random.default_rng(seed)
    whole = rows // size  # bags that one permutation fills
    permuted = [rng.permutation(rows)[: whole * size].reshape(whole, size) for _ in range(0, bags, whole)]
    return np.concatenate(permuted)[:bags].T


def index_rows(cells: torch.Tensor, bags: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the keys of the distinct rows of `cells` ``(size * bags, d)``, ascending, and their places ``(u, bags)``.

    Cell ``i`` is of bag ``i % bags``. A place is the first cell of the bag that holds the row, ``size * bags`` if none.
    """
    keys, which = torch.unique(_row_keys(cells), return_inverse=True)
    at = torch.arange(len(cells), device=cells.device)
    places = torch.full((len(keys) * bags,), len(cells), device=cells.device)
    places.scatter_reduce_(0, which * bags + at % bags, at, "amin")
    return keys, places.view(len(keys), bags)


def mask_own_cells(
    values: torch.Tensor, block: torch.Tensor, cells: torch.Tensor, keys: torch.Tensor, places: torch.Tensor
) -> None:
    """Set ``values[i, j]`` to infinity where row ``i`` of `block` is cell ``j``: once in each bag that holds it.

    `keys` and `places` are those of `index_rows`.
    """
    key = _row_keys(block)
    at = torch.searchsorted(keys, key).clamp_(max=len(keys) - 1)
    rows = torch.nonzero(keys[at] == key)[:, 0]
    if not len(rows):
        return
    held = places[at[rows]]
    row, bag = torch.nonzero(held < len(cells), as_tuple=True)
    cell, row = held[row, bag], rows[row]
    same = (cells[cell] == block[row]).all(dim=1)  # keys of different rows may be equal, if somebody means them to be
    values[row[same], cell[same]] = torch.inf


def _row_keys(rows: torch.Tensor) -> torch.Tensor:
    """Return a number ``(n,)`` int64 for each row; equal rows have equal ones."""
    rows = rows + 0.0  # -0.0 becomes 0.0
    bits = rows.view(torch.int32 if rows.dtype == torch.float32 else torch.int64).long()
    factors = mix_bits(np.arange(rows.shape[1], dtype=np.uint64)) | np.uint64(1)
    return (bits * torch.from_numpy(factors.view(np.int64)).to(rows.device)).sum(dim=1)
