"""Measure marks that go with one label against what trusted examples expect; near-copies count as one example."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from poison_guard.errors import DataError
from poison_guard.signals.labels.posterior import Posterior

if TYPE_CHECKING:
    from poison_guard.records import Examples

__all__ = ["Marks", "find_marks", "harmless_repeats", "keep_first_copy", "label_triggers"]


_NEAR = 0.5
"""Near-copies are closer than this share of how far a trusted example usually is from the next one."""
_DENIED = 0.5
"""Probability of its label from which an example is not suspicious, and stays whatever lies beside it."""
_ROWS = 512  # trusted rows that the usual distance is measured on


def keep_first_copy(posterior: Posterior, vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return which rows ``(n,)`` bool stay when, of suspicious near-copies with one label, the first alone stays.

    `vectors` ``(n, d)``, `labels` ``(n,)`` of str. Each row that goes is near one that stays (leaders in row order), so
    that a chain of neighbours does not melt into one.
    """
    suspicious = np.flatnonzero(_p_of_labels(posterior, vectors, labels) < _DENIED)
    first = _first_alike(posterior, vectors, labels, suspicious)
    return first == np.arange(len(vectors))


def harmless_repeats(posterior: Posterior, vectors: np.ndarray, labels: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return which rows ``(n,)`` bool are near-copies of an earlier one of `among` ``(n,)``, and harmless together.

    A harmless text that goes round is new to the trusted set, and all its words have one label. Harmless: on average
    over the copies their label is not denied.
    """
    p = _p_of_labels(posterior, vectors, labels)
    first = _first_alike(posterior, vectors, labels, np.flatnonzero(among))
    size = np.bincount(first, minlength=len(p))
    mean = np.bincount(first, p, minlength=len(p)) / np.maximum(size, 1)
    return (first != np.arange(len(p))) & (mean[first] >= _DENIED)


def _p_of_labels(posterior: Posterior, vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return ``(n,)`` the probability of each row's label; 0 for a label that no trusted example has."""
    names = np.array(posterior.labels)
    given = np.asarray(labels, dtype=object).astype(str)
    codes = np.minimum(np.searchsorted(names, given), len(names) - 1)
    p = posterior.probabilities(vectors)[np.arange(len(given)), codes]
    return np.where(names[codes] == given, p, 0.0)


def _first_alike(posterior: Posterior, vectors: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return ``(n,)`` the position of the first of `rows` with the same label that each of them is near; else its own.

    Leaders in row order: a chain of neighbours does not melt into one.
    """
    first = np.arange(len(vectors))
    given = np.asarray(labels, dtype=object).astype(str)
    near = (_NEAR * _usual_distance(posterior.reference)) ** 2
    for label in np.unique(given[rows]):
        left = rows[given[rows] == label]
        while len(left):
            close = ((vectors[left] - vectors[left[0]]) ** 2).sum(axis=1) < near
            close[0] = True
            first[left[close]] = left[0]
            left = left[~close]
    return first


def _usual_distance(reference: np.ndarray) -> float:
    """Return the median distance of a trusted row to the nearest other one."""
    if len(reference) < 2:
        return 0.0
    rows = np.linspace(0, len(reference) - 1, min(_ROWS, len(reference))).astype(int)
    squared = (reference[rows] ** 2).sum(axis=1)[:, None] - 2.0 * reference[rows] @ reference.T
    squared += (reference**2).sum(axis=1)
    squared[np.arange(len(rows)), rows] = np.inf
    return float(np.sqrt(np.median(np.maximum(squared.min(axis=1), 0.0))))


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


PURE = 0.75
"""Share of a mark's carriers that must have one label for the mark to be of interest."""
BEYOND = 0.25
"""How much larger that share must be than the label's mean probability, as trusted examples see the carriers."""
LEAST = 10
"""Carriers, of snapshot and trusted set together, below which no mark is looked at."""
_STRICT = 8
"""Power of the purity in a mark's weight: an honest word seldom has one label alone, a trigger always."""
_MOST = 200
_MOST_CARRIERS = 4_000
"""Carriers of marks of interest, of the snapshot, that are compared for near-copies."""


def label_triggers(posterior: Posterior, trusted: Examples, snapshot: Examples, vectors: np.ndarray) -> dict[str, Any]:
    """Return the marks whose carriers have one label that trusted examples deny, with how many carry it on each side.

    `posterior`: fitted on the trusted vectors; `vectors` ``(n, d)``: the snapshot's. Result: ``n``, ``trusted_n``,
    ``marks``: rows ``{"mark", "label", "here", "there", "expected", "weight"}``: carriers with that label in the
    snapshot and in the trusted set; each row's probabilities were computed without it. ``family``: rows ``[carriers
    with that label, weight]`` of all such marks, the marks themselves cut at 200. Whether a mark is listed, and the
    weight of its test (more the purer and the less expected its label is), depend on both sets together and not on
    which of the two a row is from, so the split between them is an exact test of exchangeability. Marks carried by the
    same rows are listed once; carriers that are near-copies of one harmless example count once (else whatever people
    pass on would look like a trigger). Blind to clean-label backdoors, whose labels nobody denies.
    """
    labels = snapshot.frame["label"].to_numpy(object)
    found, carriers = _marks(posterior, trusted, snapshot, vectors)
    echoes = harmless_repeats(posterior, vectors, labels, carriers)
    if echoes.any():
        found, _ = _marks(posterior, trusted, snapshot.take(~echoes), vectors[~echoes])
    n, m = len(snapshot), len(trusted)
    ranked = sorted(found, key=lambda row: (-(row["here"] - row["there"] * n / max(1, m)), row["mark"]))
    return {
        "n": n,
        "trusted_n": m,
        "marks": ranked[:_MOST],
        "family": [[row["here"] + row["there"], row["weight"]] for row in ranked],
    }


def _marks(
    posterior: Posterior, trusted: Examples, snapshot: Examples, vectors: np.ndarray
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Return the marks of interest, and which rows of the snapshot ``(n,)`` bool carry one (the first so many)."""
    n, m = len(snapshot), len(trusted)
    p = np.concatenate([posterior.own, posterior.probabilities(vectors)])
    names = np.array(posterior.labels)
    given = np.concatenate([part.frame["label"].to_numpy(object).astype(str) for part in (trusted, snapshot)])
    every = np.unique(np.concatenate([given, names]))
    hot = given[:, None] == every
    expected = np.zeros(hot.shape)
    expected[:, np.searchsorted(every, names)] = p
    inside = np.arange(n + m) < m
    marks = find_marks((trusted, snapshot), least=LEAST)
    sums = marks.sums(np.concatenate([np.ones((n + m, 1)), hot, hot & inside[:, None], expected], axis=1))
    carriers, k = np.maximum(sums[:, :1], 1), len(every)
    with_label, there, surprise = sums[:, 1 : k + 1], sums[:, k + 1 : 2 * k + 1], sums[:, 2 * k + 1 :] / carriers
    pure = with_label / carriers
    wanted = (with_label >= LEAST) & (pure >= PURE) & (pure - surprise >= BEYOND)
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for at, c in np.argwhere(wanted):
        row = {"label": str(every[c]), "here": int(with_label[at, c] - there[at, c]), "there": int(there[at, c])}
        key = (*row.values(), int(carriers[at, 0]), round(float(surprise[at, c]), 5))
        weight = float(pure[at, c] ** _STRICT * (pure[at, c] - surprise[at, c]) ** 2)
        found.setdefault(key, {"mark": marks.names[at], **row, "expected": float(surprise[at, c]), "weight": weight})
    carrying = marks.carriers(np.flatnonzero(wanted.any(axis=1)))[m:]
    return list(found.values()), carrying & (np.cumsum(carrying) <= _MOST_CARRIERS)
