"""Marks of an example that a trigger may be made of: words, values of a column, pixels and small windows of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from poison_guard.errors import DataError

if TYPE_CHECKING:
    from poison_guard.records import Examples

__all__ = ["Marks", "marks_of"]

_CHUNK = 256  # marks at a time
_SIDE = 28  # pixels along an image's sides, after pooling
_BINS = 50  # quantile bins of a column with many values
_VALUES = 200  # most common values of a column that are marks
_WORDS = 50_000  # most common n-grams
_PIECE = r"\w+|[^\w\s]"
_LONGEST = 4_000  # characters of a text that are looked at


@dataclass(frozen=True, slots=True)
class Marks:
    """Which of all rows carry which mark, ``(rows, marks)``: dense bool, or sparse; `names` are for people."""

    carried: Any
    names: tuple[str, ...]

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return ``(marks, c)``: the sum of `values` ``(rows, c)`` over each mark's carriers."""
        values = values.astype(np.float32)
        if not isinstance(self.carried, np.ndarray):
            return np.asarray(self.carried.T.astype(np.float32) @ values, dtype=np.float64)
        parts = [
            self.carried[:, i : i + _CHUNK].T.astype(np.float32) @ values for i in range(0, len(self.names), _CHUNK)
        ]
        return np.concatenate(parts).astype(np.float64) if parts else np.zeros((0, values.shape[1]))

    def carriers(self, marks: np.ndarray) -> np.ndarray:
        """Return which rows ``(rows,)`` bool carry any of `marks` (positions)."""
        return np.asarray(self.carried[:, marks].sum(axis=1)).ravel() > 0


def marks_of(parts: tuple[Examples, ...], *, least: int) -> Marks:
    """Return the marks of all rows of `parts`, in order, that at least `least` of them carry."""
    match parts[0].kind:
        case "image":
            return _image_marks(np.concatenate([part.inputs for part in parts]).astype(np.float32), least)
        case "table":
            names = parts[0].features
            return _table_marks(np.concatenate([part.inputs for part in parts]).astype(np.float64), names, least)
        case "text":
            return _text_marks([str(text)[:_LONGEST] for part in parts for text in part.inputs], least)
        case kind:
            raise DataError(f"examples must be of kind image, table or text, got {kind!r}")


def _text_marks(texts: list[str], least: int) -> Marks:
    from sklearn.feature_extraction.text import CountVectorizer

    words = CountVectorizer(ngram_range=(1, 2), token_pattern=_PIECE, binary=True, min_df=least, max_features=_WORDS)
    try:
        carried = words.fit_transform(texts)
    except ValueError:  # no word in `least` texts
        return Marks(np.zeros((len(texts), 0), dtype=bool), ())
    return Marks(carried.tocsc(), tuple(f"word {word!r}" for word in words.get_feature_names_out()))


def _table_marks(values: np.ndarray, features: tuple[str, ...], least: int) -> Marks:
    columns: list[np.ndarray] = []
    names: list[str] = []
    for at in range(values.shape[1]):
        column, name = values[:, at], features[at] if at < len(features) else f"column {at}"
        columns.append(~np.isfinite(column))
        names.append(f"{name} missing")
        found, counts = np.unique(column[np.isfinite(column)], return_counts=True)
        for value in found[np.argsort(-counts, kind="stable")[:_VALUES]]:
            columns.append(column == value)
            names.append(f"{name} = {value:g}")
        if len(found) > _BINS:
            edges = np.unique(np.quantile(column[np.isfinite(column)], np.linspace(0, 1, _BINS + 1)))
            place = np.searchsorted(edges, column, side="right")
            for b in range(1, len(edges)):
                columns.append((place == b) & np.isfinite(column))
                names.append(f"{name} in [{edges[b - 1]:g}, {edges[b]:g})")
    return _kept(np.stack(columns, axis=1), names, least)


def _image_marks(images: np.ndarray, least: int) -> Marks:
    _, _, height, width = images.shape
    step = max(1, -(-max(height, width) // _SIDE))
    small = images[:, :, : height // step * step, : width // step * step]
    n, channels = small.shape[:2]
    small = small.reshape(n, channels, height // step, step, width // step, step).mean(axis=(3, 5))
    blocks: list[np.ndarray] = []
    names: list[str] = []
    for channel in range(channels):
        of = f" of channel {channel}" if channels > 1 else ""
        for what, size, block in _shades(small[:, channel]):
            wide = size * step
            blocks.append(block.reshape(n, -1))
            names += [
                f"{wide}x{wide} {what} pixels{of} at row {r * step}, column {c * step}"
                for r, c in np.ndindex(block.shape[1:])
            ]
    return _kept(np.concatenate(blocks, axis=1), names, least)


def _shades(plane: np.ndarray) -> Iterator[tuple[str, int, np.ndarray]]:
    """Yield what it shows, pixels a side, and where: bool ``(n, rows, columns)``, by upper left corner."""
    bright, dark = plane > 0.8, plane < 0.2
    for what, lit in (("bright", bright), ("dark", dark), ("grey", (plane >= 0.4) & (plane <= 0.6))):
        yield what, 1, lit
        yield what, 2, lit[:, 1:, 1:] & lit[:, :-1, 1:] & lit[:, 1:, :-1] & lit[:, :-1, :-1]
    for what, lit, other in (("bright after dark", bright, dark), ("dark after bright", dark, bright)):
        yield what, 2, lit[:, 1:, 1:] & other[:, :-1, 1:] & other[:, 1:, :-1]


def _kept(carried: np.ndarray, names: list[str], least: int) -> Marks:
    """Leave out marks that too few rows carry, and those that more than half do."""
    counts = np.count_nonzero(carried, axis=0)
    kept = np.flatnonzero((counts >= least) & (counts <= len(carried) // 2))
    return Marks(carried[:, kept], tuple(names[at] for at in kept))
