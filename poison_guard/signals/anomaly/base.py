"""What every detector shares: protocol, options, input check, bounded reference, the columns' scale, and tail ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
import pandas as pd
import torch

from poison_guard.errors import UsageError
from poison_guard.numerics.tensors import check_device, limited_threads
from poison_guard.numerics.transfers import in_turns
from poison_guard.signals.anomaly.columnwise import StepFunctions, block_rows, evaluate
from poison_guard.signals.anomaly.estimator import Estimator, Fitted, InputError, NotFittedError
from poison_guard.signals.anomaly.memory import halved, halvings, halvings_that_fit
from poison_guard.signals.sampling import hash_subsample, hash_subsample_of_blocks

__all__ = [
    "HUGE",
    "LIMIT",
    "MAX_REFERENCE",
    "ByColumn",
    "Columns",
    "Detector",
    "Explains",
    "Fitted",
    "NotFittedError",
    "Options",
    "TailRank",
    "as_matrix",
    "bounded",
    "check_share",
    "check_whole",
    "float_dtype",
    "item_bytes",
    "score_blocks",
    "winsorised_scale",
]


def as_matrix(X: Any, *, width: int | None = None) -> np.ndarray:
    """Return `X` as floats ``(n, d)``, float32 kept; `DataError` unless numeric, 2-D, and `width` columns wide.

    Numbers are floats, integers and booleans; cells that a nullable or masked table lacks are NaN. Numbers written as
    text, dates and complex numbers are errors: what they should mean is not guessed.
    """
    if hasattr(X, "tocsr"):
        raise InputError("detectors take dense tables, and sparse ones are not supported; pass X.toarray()")
    matrix = _numeric(X)
    if matrix is None:
        raise InputError(
            f"detectors need a dense table of numbers, and this {type(X).__name__} holds something else; pass text,"
            " categories and dates through FeatureMap first"
        )
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise InputError(
            f"detectors need a table of (rows, columns) with at least one column, got shape {matrix.shape}. Reshape "
            "your data: one row is X.reshape(1, -1)"
        )
    if width is not None and matrix.shape[1] != width:
        raise InputError(f"the detector was fitted on {width} columns and cannot score {matrix.shape[1]}")
    return matrix


def _numeric(X: Any) -> np.ndarray | None:
    """Return the cells of `X` as float32 or float64, None where they are no numbers."""
    try:
        cells = _cells(X)
        texts = cells.dtype.kind == "O" and any(isinstance(cell, str | bytes) for cell in cells.flat)
        if texts or cells.dtype.kind not in "biufO":
            return None
        return cells if cells.dtype in (np.float32, np.float64) else cells.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        return None


def _cells(X: Any) -> np.ndarray:
    if isinstance(X, pd.DataFrame) and any(isinstance(kind, pd.api.extensions.ExtensionDtype) for kind in X.dtypes):
        if not all(pd.api.types.is_numeric_dtype(kind) for kind in X.dtypes):
            raise TypeError
        return X.to_numpy(dtype=np.float64, na_value=np.nan)
    if isinstance(X, torch.Tensor):
        rows = X.detach().cpu()
        return (rows.double() if rows.dtype in (torch.float16, torch.bfloat16) else rows).numpy()
    if isinstance(X, np.ma.MaskedArray):
        return np.ma.filled(X.astype(np.float64), np.nan)
    return np.asarray(X)


@dataclass(frozen=True, slots=True)
class TailRank:
    """Minus the log of the share of held-out reference scores at or above a score, continued beyond the largest."""

    ordered: np.ndarray
    stretch: float

    @classmethod
    def fit(cls, scores: np.ndarray) -> Self:
        """Learn from ``(m,)`` scores of reference rows by detectors that had not seen them."""
        ordered = np.sort(scores)
        middle, high = np.quantile(ordered, (0.5, 0.99))
        return cls(ordered, max(float(high - middle), 1e-12))

    def apply(self, scores: np.ndarray) -> np.ndarray:
        """Return ``(n,)`` >= 0, non-decreasing in `scores`; past the largest known score it grows as a logarithm."""
        at_or_above = len(self.ordered) - np.searchsorted(self.ordered, scores, side="left")
        beyond = np.maximum(scores - self.ordered[-1], 0.0) / self.stretch
        return -np.log((1.0 + at_or_above) / (len(self.ordered) + 1.0)) + np.log1p(beyond)


LIMIT = 1e6  # scales from the median beyond which a value is as strange as infinity; its square still fits float32
HUGE = 1e100  # fitted values of this size count as infinite: their squares still fit float64
MAX_REFERENCE = 8192  # rows a detector keeps or learns from; more rows are subsampled by hash
_MOST_CELLS = 2**25  # of a reference: wide data keeps fewer rows, 256 MB at most
_SEVERAL = 65_536  # rows from which blocks are spread over threads; fewer are done before threads have started
_MOST_SEED = 2**63 - 1
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

    def fit(self, X: Any, y: object = None) -> Self:
        """Learn from `X` ``(n, d)``, n >= 1, or an iterator of such; `DataError` names what is wrong with it.

        `y` is not looked at.
        """

    def score(self, X: Any) -> np.ndarray:
        """Return raw scores ``(n,)`` float64 of `X` ``(n, d)``; larger means stranger; n may be 0."""

    def block_bytes(self, rows: int) -> int:
        """Return the most bytes that scoring a block of `rows` rows holds on a device, beside what was fitted.

        What kernels take for themselves is not counted.
        """


@runtime_checkable
class Explains(Protocol):
    """A detector that can say which columns made a row strange."""

    def explain(self, X: Any) -> np.ndarray:
        """Return each column's part in the score ``(n, d)`` float64, >= 0; larger means it made the row stranger."""


class Options(Estimator):
    """The options that every detector takes, checked before any row is read."""

    def __init__(self, *, seed: int, device: str, dtype: str, threads: int | None) -> None:
        check_whole(0, seed=seed)
        if seed > _MOST_SEED:
            raise UsageError(f"seed must be below 2 ** 63, got {seed}")
        if threads is not None:
            check_whole(threads=threads)
        float_dtype(dtype)
        check_device(device)
        self.seed, self.device, self.dtype, self.threads = seed, device, dtype, threads


def check_whole(least: int = 1, **given: object) -> None:
    """Raise `UsageError` unless every value given is a whole number of at least `least`; it names the first other."""
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
            raise UsageError(f"{name} must be a whole number of at least {least}, got {value!r}")


def check_share(**given: object) -> None:
    """Raise `UsageError` unless every value given is a number in (0, 1]; it names the first other."""
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) <= 1:
            raise UsageError(f"{name} must be a number in (0, 1], got {value!r}")


def float_dtype(name: str) -> torch.dtype:
    """Return torch's dtype of that name; `UsageError` unless ``float32`` or ``float64``."""
    if not isinstance(name, str) or name not in _DTYPES:
        raise UsageError(f"dtype must be one of {', '.join(_DTYPES)}, got {name!r}")
    return _DTYPES[name]


def item_bytes(dtype: str) -> int:
    """Return the bytes of a number of `dtype`, ``float32`` or ``float64``."""
    return float_dtype(dtype).itemsize


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
        raise InputError("a detector cannot be fitted on 0 rows; give it at least one trusted record")
    return chosen


def _most(matrix: np.ndarray, rows: int) -> int:
    return min(rows, max(256, _MOST_CELLS // matrix.shape[1])) if matrix.size else rows


def _of_one_width(blocks: Iterator[Any]) -> Iterator[np.ndarray]:
    width = None
    for block in blocks:
        matrix = as_matrix(block)
        if width not in (None, matrix.shape[1]):
            raise InputError(
                f"tables one after the other need one width, got {width} columns and then {matrix.shape[1]}"
            )
        width = matrix.shape[1]
        yield matrix


def winsorised_scale(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the median and a positive scale of each column of `X` ``(n, d)``, both ``(d,)``; X must be finite.

    The scale is the standard deviation of the column with its outer 1 % on either side drawn in to the 1 and 99 %
    quantiles: unlike the interquartile range it sees tails and second modes, unlike the plain one it is bounded
    whatever the outer percent holds. Where 98 % of a column are one value it is the plain one, and 1 for constant
    columns.

    References: Tukey, "The future of data analysis" (1962), for winsorising.
    """
    centre = np.median(X, axis=0)
    floor = 1e-12 * np.maximum(1.0, np.abs(centre))
    scale = np.clip(X, *np.quantile(X, (0.01, 0.99), axis=0)).std(axis=0)
    scale = np.where(scale > floor, scale, X.std(axis=0))
    return centre, np.where(scale > floor, scale, 1.0)


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
    block_bytes: Callable[[int], int] | None = None,
) -> np.ndarray:
    """Return `score` ``(n,)`` or ``(n, w)`` float64 of scaled blocks of `rows` rows of `X`; memory stays bounded.

    `score` gets ``(at most rows, d)`` on `device` and must not let one row depend on another. On a CPU, 65,536 rows or
    more are spread over `threads` threads, each computing with one.

    On a GPU, blocks are halved until `block_bytes` of one (what it holds at most) and the next one's input fit half of
    the free memory; a block is copied while the one before is scored. Where the memory is full all the same, a block is
    scored in two halves.
    """
    if isinstance(X, Iterator):
        how: dict[str, Any] = {"dtype": dtype, "threads": threads, "block_bytes": block_bytes}
        parts = [score_blocks(block, columns, device, rows, score, **how) for block in X]
        return np.concatenate(parts) if parts else np.empty(0)
    matrix = as_matrix(X, width=columns.width)
    kind = np.dtype(str(float_dtype(dtype)).removeprefix("torch."))

    def one(start: int) -> np.ndarray:
        return halves(start, min(start + rows, len(matrix)))

    def halves(start: int, stop: int) -> np.ndarray:
        try:
            return whole(start, stop)
        except torch.OutOfMemoryError:
            if stop - start < 2:
                raise
        torch.cuda.empty_cache()
        middle = (start + stop) // 2
        with halvings(1):
            return np.concatenate([halves(start, middle), halves(middle, stop)])

    def scaled(start: int, stop: int) -> torch.Tensor:
        return torch.from_numpy(columns.apply(matrix[start:stop], kind))

    def whole(start: int, stop: int) -> np.ndarray:  # by itself, so that where it fails nothing of it is held
        with torch.inference_mode():
            return score(scaled(start, stop).to(device)).double().cpu().numpy()

    next_input = columns.width * kind.itemsize if len(matrix) > rows else 0
    fit = halvings_that_fit(device, lambda: block_bytes(halved(rows)) + halved(rows) * next_input) if block_bytes else 0
    with limited_threads(threads), halvings(fit):
        rows = halved(rows)
        starts = range(0, max(len(matrix), 1), rows)  # no rows: one empty block, so that the shape is right
        workers = torch.get_num_threads() if device.type == "cpu" and len(matrix) >= _SEVERAL else 1
        with limited_threads(1 if device.type == "cpu" else None):
            done = _copied_ahead(device, (scaled(start, start + rows) for start in starts), score)
            if workers == 1:
                return np.concatenate([*done, *(one(start) for start in starts[len(done) :])])
            with ThreadPoolExecutor(workers) as pool:
                return np.concatenate(list(pool.map(one, starts)))


def _copied_ahead(
    device: torch.device, blocks: Iterator[torch.Tensor], score: Callable[[torch.Tensor], torch.Tensor]
) -> list[np.ndarray]:
    """Return the scores of `blocks` on a GPU, until its memory is full; none on a CPU."""
    done = list[np.ndarray]()
    if device.type == "cuda":
        with suppress(torch.OutOfMemoryError):
            for part in in_turns(device, blocks, score):
                done.append(part)
    return done


class ByColumn(Options):
    """A detector that judges every column by itself: its score is the sum of one step function a column."""

    columns_: Columns
    steps_: StepFunctions

    def score(self, X: Any) -> np.ndarray:
        """Return the sum over the columns ``(n,)``, >= 0, in natural logs."""
        return self._blocks(X, lambda block: evaluate(block, self.steps_).double().sum(dim=0).float())

    def explain(self, X: Any) -> np.ndarray:
        """Return each column's term of the score ``(n, d)``, >= 0."""
        return self._blocks(X, lambda block: evaluate(block, self.steps_).T)

    def _blocks(self, X: Any, part: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
        device, width = self.steps_[0].device, self.columns_.width
        how: dict[str, Any] = {"dtype": self.dtype, "threads": self.threads, "block_bytes": self.block_bytes}
        return score_blocks(X, self.columns_, device, block_rows(width, device), part, **how)

    def block_bytes(self, rows: int) -> int:
        """Return the most bytes that scoring `rows` rows holds: five of a cell's numbers and three indices."""
        return rows * self.columns_.width * (5 * item_bytes(self.dtype) + 12)
