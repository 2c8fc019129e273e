"""Simple fixed representations of images, tables and texts, fitted on trusted examples only: no learned network."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from poison_guard.errors import DataError
from poison_guard.numerics.characters import plain_letters
from poison_guard.numerics.robust import column_scale

if TYPE_CHECKING:
    from poison_guard.records import Examples

__all__ = ["Representation", "fit_representation"]


_CHUNK = 1024  # examples at a time: bounds the memory of what is between input and vector
_TURNS = 8  # signed gradient directions of a cell
_CELLS = 6  # cells along each side of an image, at most
_TENTS = 5  # knots of a numeric column's piecewise-linear expansion
_FEW = 12  # distinct values up to which a numeric column is taken for a code
_BUCKETS = 2**17  # hashed word and character n-grams
_TOPICS = 1_024  # directions that a text's n-grams are projected on
_FITTED = 2_000  # trusted texts, evenly spaced, that the directions are found from
_PIECE = r"\w+|[^\w\s]"


class Representation(Protocol):
    """Maps examples of one kind to vectors; what it learned came from trusted examples."""

    def vectors(self, examples: Examples) -> np.ndarray:
        """Return ``(n, d)`` float32, finite; `DataError` for another kind or shape than it was fitted on."""
        ...

    def views(self) -> np.ndarray:
        """Return ``(parts, d)`` bool: the columns that are left where one part of an input after another is not seen.

        No rows where an input has no parts.
        """
        ...


def fit_representation(examples: Examples, *, topics: int = _TOPICS) -> Representation:
    """Return the representation of the kind of `examples`, fitted on them (the trusted ones), at least one.

    Images of at least 4x4 pixels: gradient orientations in cells and coarse brightness (Dalal and Triggs 2005).
    Tables: robust scores, piecewise-linear tents, codes as flags, missing cells as flags. Texts: hashed word and
    character n-grams weighted by tf-idf, projected on the trusted texts' main directions, `topics` at most.
    `DataError` for anything else.
    """
    if len(examples) == 0:
        raise DataError("a representation cannot be fitted on 0 trusted examples; add trusted examples first")
    match examples.kind:
        case "image":
            shape = examples.inputs.shape[1:]
            if len(shape) != 3 or min(shape[1:]) < 4:
                raise DataError(f"images must be (n, channels, height, width) of 4x4 pixels or more, got {shape}")
            return _Cells(tuple(int(size) for size in shape))
        case "table":
            return _fit_table(np.asarray(examples.inputs, dtype=np.float64))
        case "text":
            return _fit_text(examples.inputs, topics)
        case kind:
            raise DataError(f"examples must be of kind image, table or text, got {kind!r}")


@dataclass(frozen=True, slots=True)
class _Cells:
    """Gradient orientations in cells; nothing is fitted but the shape."""

    shape: tuple[int, ...]

    def vectors(self, examples: Examples) -> np.ndarray:
        if examples.kind != "image" or tuple(examples.inputs.shape[1:]) != self.shape:
            raise DataError(f"expected images of shape {self.shape}, got {examples.kind} {examples.inputs.shape[1:]}")
        _, height, width = self.shape
        rows, columns = _cell_weights(height), _cell_weights(width)
        parts = [
            _oriented(np.nan_to_num(examples.inputs[i : i + _CHUNK].astype(np.float32)), rows, columns)
            for i in range(0, len(examples), _CHUNK)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, 1), dtype=np.float32)

    def views(self) -> np.ndarray:
        """Return the columns that each quarter leaves; a cell in the middle belongs to all quarters that it lies in."""
        channels, height, width = self.shape
        halves = [[np.arange(n) < (n + 1) // 2, np.arange(n) >= n // 2] for n in map(_cells, (height, width))]
        left = [~np.outer(rows, columns).ravel() for rows in halves[0] for columns in halves[1]]
        return np.array([[*np.repeat(cells, _TURNS), *np.tile(cells, channels)] for cells in left])


def _cells(size: int) -> int:
    """Return how many cells lie along a side of `size` pixels."""
    return min(_CELLS, max(2, size // 2 if size < 16 else size // 4))


@functools.cache
def _cell_weights(size: int) -> np.ndarray:
    """Return ``(cells, size)``: how much each pixel belongs to each cell, bilinear between cell centres."""
    cells = _cells(size)
    centres = (np.arange(cells) + 0.5) * size / cells
    away = np.abs(np.arange(size) + 0.5 - centres[:, None]) / (size / cells)
    weights = np.maximum(0.0, 1.0 - away)
    return (weights / weights.sum(axis=0)).astype(np.float32)


def _oriented(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the vectors of ``(n, c, h, w)`` float32 images: cells x directions, square-rooted, then brightness."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    right = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    steepest = np.hypot(down, right).argmax(axis=1)[:, None]
    down = np.take_along_axis(down, steepest, axis=1)[:, 0]
    right = np.take_along_axis(right, steepest, axis=1)[:, 0]
    size = np.hypot(down, right)
    turn = np.arctan2(down, right) * (_TURNS / (2 * math.pi)) % _TURNS
    cells = []
    for direction in range(_TURNS):
        away = np.abs(turn - direction)
        near = np.maximum(0.0, 1.0 - np.minimum(away, _TURNS - away)) * size
        cells.append(rows @ near @ columns.T)
    pooled = np.stack(cells, axis=-1)
    energy = np.sqrt((pooled**2).sum(axis=(1, 2, 3), keepdims=True) / pooled.shape[1] / pooled.shape[2])
    angles = np.sqrt(pooled / (pooled.sum(axis=-1, keepdims=True) + 0.5 * energy + 1e-6)).reshape(len(images), -1)
    light = (rows @ images @ columns.T).reshape(len(images), -1)
    return np.concatenate([angles, light], axis=1).astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Column:
    """One numeric column: robust score and tents, or flags where it has few values; a flag for missing cells."""

    centre: float
    scale: float
    knots: np.ndarray
    values: np.ndarray

    def expand(self, column: np.ndarray) -> list[np.ndarray]:
        absent = ~np.isfinite(column)
        filled = np.where(absent, self.centre, column)
        score = np.arcsinh(np.clip((filled - self.centre) / self.scale, -1e6, 1e6))
        out = [absent.astype(np.float64), 0.5 * score]
        if len(self.values):
            return [*out, *((filled == value).astype(np.float64) * 0.7 for value in self.values)]
        place = np.interp(filled, self.knots, np.arange(len(self.knots), dtype=np.float64))
        return [*out, *(np.maximum(0.0, 1.0 - np.abs(place - k)) * 0.7 for k in range(len(self.knots)))]


@dataclass(frozen=True, slots=True)
class _Table:
    """Columns expanded one by one."""

    columns: tuple[_Column, ...]

    def vectors(self, examples: Examples) -> np.ndarray:
        values = np.asarray(examples.inputs, dtype=np.float64)
        if examples.kind != "table" or values.shape[1:] != (len(self.columns),):
            raise DataError(f"expected a table of {len(self.columns)} columns, got {examples.kind} {values.shape[1:]}")
        parts = [part for at, column in enumerate(self.columns) for part in column.expand(values[:, at])]
        return np.stack(parts, axis=1).astype(np.float32)

    def views(self) -> np.ndarray:
        """Return no view."""
        return np.empty((0, 0), bool)


def _fit_table(values: np.ndarray) -> _Table:
    columns = []
    for column in values.T:
        finite = column[np.isfinite(column)]
        finite = finite if len(finite) else np.zeros(1)
        centre, scale = column_scale(finite[:, None])
        distinct = np.unique(finite)
        codes = distinct if len(distinct) <= _FEW else distinct[:0]
        values, counts = np.unique(finite, return_counts=True)
        others, shares = finite[finite != values[counts.argmax()]], np.linspace(0, 1, _TENTS)
        knots = np.unique(np.quantile(finite, shares))
        if len(others) and counts.max() > len(finite) / 2:  # mostly one value: how far off the others are says more
            knots = np.unique([values[counts.argmax()], *np.quantile(others, shares)])
        columns.append(_Column(float(centre[0]), float(scale[0]), knots, codes))
    return _Table(tuple(columns))


@dataclass(frozen=True, slots=True)
class _Topics:
    """Hashed n-grams, tf-idf, projected."""

    idf: np.ndarray
    axes: np.ndarray

    def vectors(self, examples: Examples) -> np.ndarray:
        if examples.kind != "text":
            raise DataError(f"expected texts, got {examples.kind}")
        parts = [
            np.asarray(_grams(examples.inputs[i : i + _CHUNK], self.idf) @ self.axes, dtype=np.float32)
            for i in range(0, len(examples), _CHUNK)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.axes.shape[1]), dtype=np.float32)

    def views(self) -> np.ndarray:
        """Return no view."""
        return np.empty((0, 0), bool)


_NAMED = re.compile(r"https?://\S+|&#?\w+;|@\w+|\d+")


def _plain(text: str) -> str:
    """Return a text as a reader sees it; a link, a name after @ and a number are one sign each: they name, not say."""
    return _NAMED.sub(lambda found: _SIGNS.get(found.group()[0], "0"), plain_letters(text))


_SIGNS = {"h": "http", "&": " ", "@": "@"}


def _grams(texts: Sequence[Any] | np.ndarray, idf: np.ndarray) -> Any:
    """Return the sparse ``(n, buckets)`` tf-idf rows of texts as a reader sees them; of unit length."""
    from scipy import sparse
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.preprocessing import normalize

    short = [_plain(str(text)) for text in texts]
    half = {"n_features": _BUCKETS // 2, "alternate_sign": False, "norm": None, "lowercase": False, "dtype": np.float32}
    words = HashingVectorizer(ngram_range=(1, 2), token_pattern=_PIECE, **half)
    pieces = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), **half)
    weighed = []
    for half_idf, counts in zip(np.split(idf, 2), (words.transform(short), pieces.transform(short)), strict=True):
        counts.data = 1.0 + np.log(counts.data)
        weighed.append(normalize(counts.multiply(half_idf).tocsr()))  # words and pieces count alike
    return sparse.hstack(weighed, format="csr") * np.float32(math.sqrt(0.5))


def _fit_text(texts: np.ndarray, topics: int) -> _Topics:
    from scipy.linalg import eigh

    seen = np.asarray((_grams(texts, np.ones(_BUCKETS, dtype=np.float32)) > 0).sum(axis=0)).ravel()
    # an n-gram that one trusted text has at most weighs nothing, so that it moves no text towards another
    idf = np.where(seen > 1, 1.0 + np.log((1 + len(texts)) / (1 + seen)), 0.0).astype(np.float32)
    rows = _grams(texts[:: max(1, -(-len(texts) // _FITTED))], idf)
    alike = np.asarray((rows @ rows.T).todense(), dtype=np.float64)
    rank = max(1, min(topics, len(alike) - 1))
    size, turns = eigh(alike, subset_by_index=[len(alike) - rank, len(alike) - 1])
    axes = rows.T @ (turns / np.sqrt(np.maximum(size, 1e-9)))
    return _Topics(idf, np.ascontiguousarray(axes, dtype=np.float32))
