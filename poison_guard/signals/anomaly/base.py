"""What every detector shares: protocol, input check, bounded reference and the columns' scale; nothing else here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
import torch

from poison_guard.errors import DataError, UsageError
from poison_guard.numerics.device import limited_threads
from poison_guard.numerics.robust import winsorised_scale
from poison_guard.numerics.sampling import hash_subsample, hash_subsample_of_blocks

__all__ = [
    "HUGE",
    "LIMIT",
    "MAX_REFERENCE",
    "Columns",
    "Detector",
    "Explains",
    "as_matrix",
    "bounded",
    "float_dtype",
    "score_blocks",
]

LIMIT = 1e6  # scales from the median beyond which a value is as strange as infinity; its square still fits float32
HUGE = 1e100  # fitted values of this size count as infinite: their squares still fit float64
MAX_REFERENCE = 8192  # rows a detector keeps or learns from; more rows are subsampled by hash
_MOST_CELLS = 2**25  # of a reference: wide data keeps fewer rows, 256 MB at most
_SEVERAL = 65_536  # rows from which blocks are spread over threads; fewer are done before threads have started
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


@runtime_checkable
class Detector(Protocol):
    """One anomaly detector: `fit` on trusted rows, `score` others; larger scores are stranger.

    Every one takes, by keyword, ``seed``, ``device`` (``auto``, ``cpu``, ``cuda``, ``cuda:N``), ``dtype`` (``float32``
    or ``float64``: what scores are computed in) and ``threads`` (None: as many as torch has). `fit` and `score` also
    take an iterator of tables of one width, for data past memory: never more than one of them and the bounded
    reference is held.

    Scores are finite, deterministic under `seed`, and independent of the rows scored along with them and of the order
    of the rows fitted on. Columns are scaled inside, so units do not matter. NaN counts as the fitted median;
    infinities and values beyond a million scales count as a million scales.
    """

    name: ClassVar[str]

    def fit(self, X: Any) -> Self:
        """Learn from `X` ``(n, d)``, n >= 1, or an iterator of such; `DataError` names what is wrong with it."""

    def score(self, X: Any) -> np.ndarray:
        """Return raw scores ``(n,)`` float64 of `X` ``(n, d)``; larger means stranger; n may be 0."""


@runtime_checkable
class Explains(Protocol):
    """A detector that can say which columns made a row strange."""

    def explain(self, X: Any) -> np.ndarray:
        """Return each column's part in the score ``(n, d)`` float64, >= 0; larger means it made the row stranger."""


def as_matrix(X: Any, *, width: int | None = None) -> np.ndarray:
    """Return `X` as floats ``(n, d)``, float32 kept; `DataError` unless numeric, 2-D, and `width` columns wide."""
    try:
        matrix = np.asarray(X)
        if matrix.dtype not in (np.float32, np.float64):
            matrix = matrix.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError("detectors need numbers only; pass mixed columns through FeatureMap first") from error
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise DataError(f"detectors need a table of (rows, columns) with at least one column, got shape {matrix.shape}")
    if width is not None and matrix.shape[1] != width:
        raise DataError(f"the detector was fitted on {width} columns and cannot score {matrix.shape[1]}")
    return matrix


def float_dtype(name: str) -> torch.dtype:
    """Return torch's dtype of that name; `UsageError` unless ``float32`` or ``float64``."""
    if name not in _DTYPES:
        raise UsageError(f"dtype must be one of {', '.join(_DTYPES)}, got {name!r}")
    return _DTYPES[name]


def bounded(X: Any, rows: int, seed: int) -> np.ndarray:
    """Return at most `rows` rows of `X` ``(n, d)``, or of an iterator of such, chosen by the hash of what they hold.

    Fewer where they are so wide that they would pass 33 million cells, but not below 256.

    `DataError` names an input without rows or with tables of several widths.
    """
    if isinstance(X, Iterator):
        chosen = hash_subsample_of_blocks(_of_one_width(X), rows, seed)
        chosen = chosen[hash_subsample(chosen, _most(chosen, rows), seed)]
    else:
        matrix = as_matrix(X)
        chosen = matrix[hash_subsample(matrix, _most(matrix, rows), seed)]
    if len(chosen) == 0:
        raise DataError("a detector cannot be fitted on 0 rows; give it at least one trusted record")
    return chosen


def _most(matrix: np.ndarray, rows: int) -> int:
    return min(rows, max(256, _MOST_CELLS // matrix.shape[1])) if matrix.size else rows


def _of_one_width(blocks: Iterator[Any]) -> Iterator[np.ndarray]:
    width = None
    for block in blocks:
        matrix = as_matrix(block, width=width)
        width = matrix.shape[1]
        yield matrix


@dataclass(frozen=True, slots=True)
class Columns:
    """Median and scale of the fitted columns, both ``(d,)`` float64."""

    centre: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, X: np.ndarray) -> Self:
        """Learn from the finite cells of `X` ``(n, d)``, n >= 1, as `bounded` gives it."""
        X = X.astype(np.float64)
        finite = np.abs(X) < HUGE
        if finite.all():
            return cls(*winsorised_scale(X))
        filled = np.where(finite, X, np.nan)
        empty = ~finite.any(axis=0)
        filled[:, empty] = 0.0
        middle = np.nanmedian(filled, axis=0)
        return cls(*winsorised_scale(np.where(np.isnan(filled), middle, filled)))

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.centre)

    def apply(self, X: np.ndarray, dtype: Any = np.float32) -> np.ndarray:
        """Return `X` in scales from the median, `dtype` ``(n, d)``, finite, within plus and minus `LIMIT`."""
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = (X - self.centre) / self.scale
        np.nan_to_num(scaled, copy=False, nan=0.0, posinf=LIMIT, neginf=-LIMIT)
        return np.clip(scaled, -LIMIT, LIMIT, out=scaled).astype(dtype, copy=False)


def score_blocks(
    X: Any,
    columns: Columns,
    device: torch.device,
    rows: int,
    score: Callable[[torch.Tensor], torch.Tensor],
    *,
    dtype: str = "float32",
    threads: int | None = None,
) -> np.ndarray:
    """Return `score` ``(n,)`` or ``(n, w)`` float64 of scaled blocks of `rows` rows of `X`; memory stays bounded.

    `score` gets ``(at most rows, d)`` on `device` and must not let one row depend on another. On a CPU, 65,536 rows or
    more are spread over `threads` threads, each computing with one.
    """
    if isinstance(X, Iterator):
        parts = [score_blocks(block, columns, device, rows, score, dtype=dtype, threads=threads) for block in X]
        return np.concatenate(parts) if parts else np.empty(0)
    matrix = as_matrix(X, width=columns.width)
    kind = np.dtype(str(float_dtype(dtype)).removeprefix("torch."))

    def one(start: int) -> np.ndarray:
        with torch.inference_mode():
            block = torch.from_numpy(columns.apply(matrix[start : start + rows], kind)).to(device)
            return score(block).double().cpu().numpy()

    starts = range(0, max(len(matrix), 1), rows)  # no rows: one empty block, so that the shape is right
    with limited_threads(threads):
        workers = torch.get_num_threads() if device.type == "cpu" and len(matrix) >= _SEVERAL else 1
        with limited_threads(1 if device.type == "cpu" else None):
            if workers == 1:
                return np.concatenate([one(start) for start in starts])
            with ThreadPoolExecutor(workers) as pool:
                return np.concatenate(list(pool.map(one, starts)))
