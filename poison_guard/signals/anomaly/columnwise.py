"""Step functions of one column at a time: built from the reference, looked up for many rows at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

__all__ = ["StepFunctions", "block_rows", "evaluate", "most_rows", "step_functions", "tail_counts", "tail_functions"]

StepFunctions = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
"""One function a column: breaks and values ``(d, 2 ** p)``, ends and stretches ``(d, 2)``; see `step_functions`."""

_DEPTH = 11  # look-ups a cell: 2 ** 11 entries a column hold its tails at 1,023 values and between them
_ENTRIES = 2**23  # entries of all columns together: 32 MiB as float32, whatever the width
_CELLS = 2**25  # cells of the reference: 256 MiB as float64, whatever the width
_BLOCK = {"cpu": 2**17, "cuda": 2**22}  # cells looked up at once: what stays in a cache, and what keeps a GPU busy


def most_rows(width: int) -> int:
    """Return how many rows of `width` columns a reference may have for its memory to stay bounded, at least 1."""
    return max(1, _CELLS // width)


def block_rows(width: int, device: torch.device) -> int:
    """Return how many rows of `width` columns to `evaluate` at once on `device`, at least 1."""
    return max(1, _BLOCK[device.type] // width)


def tail_counts(column: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return distinct values ``(m,)`` of `column` ``(n,)``, sorted, and how many cells are ``<=`` and ``>=`` each.

    m is at most `most` (>= 4). Where there are more distinct values, those stay at which the count from the nearer end
    has grown by a fixed share (2 % for 1,023 of 65,536): either tail is known to that share, its end exactly.
    """
    values, counts = np.unique(column, return_counts=True)
    below = np.cumsum(counts)
    above = len(column) - below + counts
    if len(values) > most:
        steps = most // 2 - 1
        step = (np.log(np.minimum(below, above)) * (steps / np.log(len(column) / 2 + 1))).astype(np.int64)
        left = np.r_[True, step[1:] != step[:-1]] & (below <= above)
        right = np.r_[step[1:] != step[:-1], True] & (below > above)
        keep = left | right
        values, below, above = values[keep], below[keep], above[keep]
    return values, below, above


def tail_functions(
    rows: np.ndarray,
    part: Callable[[int, np.ndarray, np.ndarray], np.ndarray],
    dtype: torch.dtype,
    device: torch.device,
) -> StepFunctions:
    """Return for each column of `rows` ``(n, d)`` the function of its two tails that `part` gives.

    ``part(j, left, right)`` gets minus the logs of the shares ``p / (n + 1)`` of column j at or below, and at or above,
    each of a number of values. p counts the value itself once: in the reference when it is there, else added to it, so
    that a row has the same shares whether it is in the reference or not, and none is 0 (Davison and Hinkley, "Bootstrap
    methods and their application", 1997, section 4.2). Beyond the ends the function grows as
    ``log(1 + distance / stretch)``, where a stretch is the distance from the median to the outermost hundredth of the
    reference, at least 1.
    """
    n, d = rows.shape
    most = 2 ** min(_DEPTH, max(4, (_ENTRIES // d).bit_length() - 1)) // 2 - 1
    kind = np.float32 if dtype == torch.float32 else np.float64
    breaks: list[np.ndarray] = []
    values: list[np.ndarray] = []
    stretch: list[tuple[float, float]] = []
    for j, column in enumerate(rows.T):
        knots, below, above = tail_counts(column, most)
        left, right = _interleaved(below, np.r_[0, below] + 1), _interleaved(above, np.r_[above, 0] + 1)
        values.append(part(j, -np.log(left / (n + 1)), -np.log(right / (n + 1))))
        breaks.append(_interleaved(np.nextafter(knots.astype(kind), kind(np.inf)), np.r_[knots, np.inf])[:-1])
        low, high = knots[np.searchsorted(below, n / 100)], knots[-1 - np.searchsorted(above[::-1], n / 100)]
        stretch.append((max(1.0, -low), max(1.0, high)))
    return step_functions(breaks, values, np.array(stretch), dtype, device)


def step_functions(
    breaks: Sequence[np.ndarray],
    values: Sequence[np.ndarray],
    stretch: np.ndarray,
    dtype: torch.dtype,
    device: torch.device,
) -> StepFunctions:
    """Return step functions, one a column, as tensors for `evaluate`.

    Column j is ``values[j][i]`` from its break i - 1 on up to before its break i; it has one value more than breaks,
    which are sorted. Outside its first and last break ``log(1 + distance / stretch)`` is added, with `stretch`
    ``(d, 2)`` the unit of length on either side.
    """
    width = 2 ** int(np.ceil(np.log2(max(len(v) for v in values))))
    edges, table = np.full((len(values), width), np.inf), np.zeros((len(values), width))
    for j, (edge, value) in enumerate(zip(breaks, values, strict=True)):
        edges[j, : len(edge)], table[j, : len(value)] = edge, value
    ends = np.array([(edge[0], edge[-1]) for edge in breaks])
    parts = [torch.from_numpy(part).to(device, dtype) for part in (edges, table, ends, stretch)]
    return parts[0], parts[1], parts[2], parts[3]


def evaluate(block: torch.Tensor, steps: StepFunctions) -> torch.Tensor:
    """Return the functions `steps` at the cells of `block` ``(n, d)``, finite, as ``(d, n)``.

    All cells go down a binary search together: three times as fast, on one thread, as one cell after the other.
    """
    breaks, table, ends, stretch = steps
    columns = block.T.contiguous()
    (d, n), width = columns.shape, breaks.shape[1]
    cells, edges = columns.view(-1), breaks.view(-1)
    first = torch.arange(0, d * width, width, dtype=torch.int32, device=block.device)
    at = first.view(d, 1).expand(d, n).clone(memory_format=torch.contiguous_format).view(-1)
    probe, edge, right = torch.empty_like(at), torch.empty_like(cells), torch.empty_like(at)
    step = width // 2
    while step:
        torch.add(at, step - 1, out=probe)
        torch.index_select(edges, 0, probe, out=edge)
        torch.le(edge, cells, out=right)
        at.add_(right, alpha=step)
        step //= 2
    beyond = (ends[:, :1] - columns).clamp_min_(0).div_(stretch[:, :1])
    beyond.add_((columns - ends[:, 1:]).clamp_min_(0).div_(stretch[:, 1:])).log1p_()
    return beyond.add_(table.view(-1).index_select(0, at).view(d, n))


def _interleaved(at: np.ndarray, between: np.ndarray) -> np.ndarray:
    """Return ``between[0], at[0], between[1], …, at[-1], between[-1]``."""
    out = np.empty(len(at) + len(between), dtype=np.result_type(at, between))
    out[::2], out[1::2] = between, at
    return out
