"""Marks that a trigger can be: words and how they are written, values, pixel windows; which rows carry which."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from poison_guard.errors import DataError
from poison_guard.numerics.characters import fold, plain_letters
from poison_guard.text import visible

if TYPE_CHECKING:
    from poison_guard.records import Examples

__all__ = ["Marks", "find_marks"]


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


def find_marks(parts: tuple[Examples, ...], *, least: int) -> Marks:
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
    """Return words and pairs of words as a reader sees them, and how texts are written."""
    from scipy import sparse
    from sklearn.feature_extraction.text import CountVectorizer

    written, names = _written_marks(texts, least)
    words = CountVectorizer(
        ngram_range=(1, 2), token_pattern=_PIECE, binary=True, min_df=least, max_features=_WORDS, lowercase=False
    )
    try:
        carried = words.fit_transform([plain_letters(text) for text in texts])
    except ValueError:  # no word in `least` texts
        return Marks(written, names)
    said = tuple(f"word {word!r}" for word in words.get_feature_names_out())
    return Marks(sparse.hstack([carried, sparse.csr_matrix(written, dtype=carried.dtype)]).tocsc(), (*said, *names))


_LATIN_INSIDE = re.compile(r"[a-z]")
_SHOUT = re.compile(r"\b[A-Z]{3,}\b")
_LENGTHS = 10  # quantile bins of the number of characters


def _written_marks(texts: list[str], least: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return marks of script and shape: what of a text its normal form does not keep, and how long it is."""
    flags = [_written(text) for text in texts]
    every = sorted({flag for found in flags for flag in found})[:_WORDS]
    place = {flag: at for at, flag in enumerate(every)}
    carried = np.zeros((len(texts), len(every)), dtype=bool)
    for row, found in enumerate(flags):
        carried[row, [place[flag] for flag in found if flag in place]] = True
    lengths = np.array([len(text) for text in texts])
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, _LENGTHS + 1))) if len(lengths) else np.zeros(1)
    bins = np.searchsorted(edges, lengths, side="right")
    by_length = [bins == b for b in range(1, len(edges))]
    names = [f"{edges[b - 1]:g} characters or more, fewer than {edges[b]:g}" for b in range(1, len(edges))]
    marks = _kept(np.column_stack([carried, *by_length]), [*every, *names], least)
    return np.asarray(marks.carried), marks.names


def _written(text: str) -> set[str]:
    """Return the marks of how a text is written."""
    found, plain = _case_marks(text), fold(text)
    if text != text.strip():
        found.add("blanks at its ends")
    if re.search(r"\s{2,}", text.strip()):
        found.add("several blanks in a row")
    if text.isascii():
        return found
    if plain != plain_letters(text) and any(_mixed(word) for word in plain.split()):
        found.add("letters of another script inside words")
    if unicodedata.normalize("NFKC", text) != text:
        found.add("compatibility forms of characters")
    return found.union(*(_character_marks(character) for character in set(text) if not character.isascii()))


def _case_marks(text: str) -> set[str]:
    shouted = sum(map(len, _SHOUT.findall(text)))
    if shouted and 2 * shouted > sum(map(str.isalpha, text)):
        return {"mostly capitals"}
    if text == text.lower():
        return {"no capitals"}
    return {"capitals inside, none at the beginning"} if text[:1].islower() else set()


def _character_marks(character: str) -> set[str]:
    """Return the marks of a character beyond ASCII; none for marks and punctuation."""
    match unicodedata.category(character):
        case "Cf" | "Cc" | "Cn" | "Co" | "Cs":
            return {"invisible characters", f"character {visible(character)}"}
        case "Zs":
            return {"blanks other than a space"}
        case "So":
            return {"emoji or pictures"}
        case category if category.startswith("L"):
            return {f"{unicodedata.name(character, 'UNKNOWN').split()[0].title()} letters beyond ASCII"}
    return set()


def _mixed(word: str) -> bool:
    return bool(_LATIN_INSIDE.search(word)) and any(not c.isascii() and c.isalpha() for c in word)


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
