"""From examples to the numbers a module sees: transforms fitted on the training examples and saved with the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from poison_guard.errors import DataError
from poison_guard.numerics.characters import fold, skeleton
from poison_guard.numerics.robust import bend, column_scale, find_knee
from poison_guard.records import Examples
from poison_guard.retrain.perturb import Space

__all__ = ["INPUTS", "ImageInputs", "Inputs", "TableInputs", "TextInputs", "fit_inputs", "to_dense"]

BUCKETS = 1 << 12
"""Hash buckets for words, and as many for characters."""
_LIMIT = 20.0  # scales from the median beyond which a cell is as far as any
_HUGE = 1e100


@dataclass(frozen=True, slots=True)
class ImageInputs:
    """Pixels as they are, in [0, 1]."""

    shape: tuple[int, ...]
    kind = "image"

    @classmethod
    def fit(cls, examples: Examples, mutable: tuple[str, ...] | None = None) -> Self:
        """Take the size of the images; `mutable` is for tables."""
        if examples.inputs.ndim != 4:
            raise DataError(f"images must be (n, channels, height, width), got shape {examples.inputs.shape}")
        return cls(tuple(int(side) for side in examples.inputs.shape[1:]))

    @property
    def space(self) -> Space:
        """Each pixel by up to the radius, within [0, 1]."""
        return Space("linf", 0.0, 1.0)

    def encode(self, examples: Examples) -> Tensor:
        """Return pixels ``(n, channels, height, width)`` float32; `DataError` for another size or values outside."""
        pixels = np.ascontiguousarray(examples.inputs, dtype=np.float32)
        if pixels.shape[1:] != self.shape:
            raise DataError(f"the model was made for images of shape {self.shape}, got {pixels.shape[1:]}")
        if pixels.size and not (pixels.min() >= 0 and pixels.max() <= 1):
            raise DataError("pixel values must be in [0, 1]; set pixel_max in [retrain] to the value of a full pixel")
        return torch.from_numpy(pixels)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the fitted arrays by name."""
        return {}

    def settings(self) -> dict[str, Any]:
        """Return the fitted settings, JSON-able."""
        return {"shape": list(self.shape)}

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """Return what `settings` and `arrays` describe."""
        return cls(tuple(settings["shape"]))


@dataclass(frozen=True, slots=True, eq=False)
class TableInputs:
    """Columns in robust scales from their median, skewed ones through a signed logarithm, then a missing flag each."""

    features: tuple[str, ...]
    mutable: tuple[str, ...]
    knee: np.ndarray
    """Where the logarithm of a column bends ``(d,)``; 0: linear."""
    centre: np.ndarray
    scale: np.ndarray
    flagged: np.ndarray
    """``(d,)`` bool: columns with missing cells among the examples fitted on; only these have a flag."""
    kind = "table"

    @classmethod
    def fit(cls, examples: Examples, mutable: tuple[str, ...] | None = None) -> Self:
        """Learn medians and scales; `mutable` names the columns an adversary can change, None: all."""
        cells = _cells(examples, examples.features)
        missing = np.isnan(cells)
        full = [cells[~missing[:, j], j] if not missing[:, j].all() else np.zeros(1) for j in range(cells.shape[1])]
        knee = np.array([find_knee(column) for column in full])
        fitted = [column_scale(bend(column, k)[:, None]) for column, k in zip(full, knee, strict=True)]
        centre, scale = (np.array([float(pair[i][0]) for pair in fitted]) for i in (0, 1))
        names = examples.features if mutable is None else tuple(n for n in examples.features if n in mutable)
        return cls(examples.features, names, knee, centre, scale, np.asarray(missing.any(axis=0)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Columns and their flags."""
        return (2 * len(self.features),)

    @property
    def space(self) -> Space:
        """Each mutable column that is not missing by up to the radius in standard deviations; flags never."""
        d = len(self.features)
        mutable = tuple(name in self.mutable for name in self.features) + (False,) * d
        return Space("linf", -_LIMIT, _LIMIT, mutable, d)

    def encode(self, examples: Examples) -> Tensor:
        """Return ``(n, 2 d)`` float32, finite; `DataError` for other columns. Missing cells count as the median."""
        cells = _cells(examples, self.features)
        missing = np.isnan(cells)
        values = (bend(np.where(missing, 0.0, cells), self.knee) - self.centre) / self.scale
        values = np.where(missing, 0.0, np.clip(values, -_LIMIT, _LIMIT))
        return torch.from_numpy(np.hstack([values, missing & self.flagged]).astype(np.float32))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the fitted arrays by name."""
        return {"knee": self.knee, "centre": self.centre, "scale": self.scale, "flagged": self.flagged}

    def settings(self) -> dict[str, Any]:
        """Return the fitted settings, JSON-able."""
        return {"features": list(self.features), "mutable": list(self.mutable)}

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """Return what `settings` and `arrays` describe."""
        features = tuple(str(name) for name in settings["features"])
        made = cls(features, tuple(str(name) for name in settings["mutable"]), **arrays)
        if any(array.shape != (len(features),) for array in arrays.values()) or not (made.scale > 0).all():
            raise ValueError("its scales are not those of its columns")
        return made


def _cells(examples: Examples, features: tuple[str, ...]) -> np.ndarray:
    cells = np.asarray(examples.inputs, dtype=np.float64)
    if cells.ndim != 2 or cells.shape[1] != len(features) or not features or examples.features != features:
        raise DataError(
            f"the table must have the columns {', '.join(features) or '(none)'}, got shape {cells.shape} with "
            f"{', '.join(examples.features) or 'no names'}"
        )
    return np.clip(cells, -_HUGE, _HUGE)


@dataclass(frozen=True, slots=True, eq=False)
class TextInputs:
    """Hashed words (1-2) and characters (3-5) of folded text, weighted by rarity, as rows of length 1."""

    rarity: np.ndarray
    """Weight of each bucket ``(2 * BUCKETS,)``: log of one over its share of the texts fitted on."""
    squeezed: bool = False
    """Whether texts are read in their normal form: look-alikes, signs for letters, repeated and spaced letters gone."""
    kind = "text"

    @classmethod
    def fit(cls, examples: Examples, mutable: tuple[str, ...] | None = None, *, squeezed: bool = False) -> Self:
        """Learn how rare the buckets are; `mutable` is for tables."""
        counts = _hashed(examples, squeezed)
        seen = np.bincount(counts.indices, minlength=counts.shape[1])
        return cls(np.log((1 + len(examples)) / (1 + seen)) + 1, squeezed)

    @property
    def shape(self) -> tuple[int, ...]:
        """Buckets of words and characters."""
        return (len(self.rarity),)

    @property
    def space(self) -> Space:
        """The whole vector of a text, by up to the radius times its length."""
        return Space("l2")

    def encode(self, examples: Examples) -> Any:
        """Return a SciPy CSR matrix ``(n, 2 * BUCKETS)`` float32; rows of length 1, or 0 for texts without letters."""
        from sklearn.preprocessing import normalize

        counts = _hashed(examples, self.squeezed)
        counts.data = np.sign(counts.data) * (1 + np.log(np.abs(counts.data)))
        counts.data *= self.rarity[counts.indices]
        return normalize(counts, copy=False).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the fitted arrays by name."""
        return {"rarity": self.rarity}

    def settings(self) -> dict[str, Any]:
        """Return the fitted settings, JSON-able."""
        return {"squeezed": True} if self.squeezed else {}

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """Return what `settings` and `arrays` describe."""
        made = cls(**arrays, squeezed=settings.get("squeezed") is True)
        if made.rarity.shape != (2 * BUCKETS,):
            raise ValueError(f"it has {made.rarity.shape} buckets for n-grams, not {2 * BUCKETS}")
        return made


def _hashed(examples: Examples, squeezed: bool) -> Any:
    """Return counts of hashed n-grams, signed so that collisions cancel: words in the first buckets.

    A text of which its normal form leaves nothing is read as it is.
    """
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import HashingVectorizer

    texts = [(skeleton(text) if squeezed else "") or fold(text) for text in examples.inputs]
    # single letters and digits are words here, so that "u r" counts
    one_letter = {"token_pattern": r"(?u)\b\w+\b"}
    words = HashingVectorizer(n_features=BUCKETS, ngram_range=(1, 2), norm=None, **one_letter)
    characters = HashingVectorizer(n_features=BUCKETS, ngram_range=(3, 5), norm=None, analyzer="char_wb")
    if not texts:
        raise DataError("there are no texts to learn from or to judge")
    counts = hstack([words.transform(texts), characters.transform(texts)], format="csr")
    counts.eliminate_zeros()
    return counts


Inputs = ImageInputs | TableInputs | TextInputs
INPUTS: dict[str, type[Inputs]] = {"image": ImageInputs, "table": TableInputs, "text": TextInputs}
"""The transform of each kind of examples."""


def fit_inputs(examples: Examples, mutable: tuple[str, ...] | None = None, *, squeezed: bool = False) -> Inputs:
    """Return the transform fitted on `examples`; `DataError` for a kind that no model learns from.

    `squeezed` texts are read in their normal form.
    """
    if examples.kind not in INPUTS:
        raise DataError(f"examples must be {', '.join(INPUTS)}, got {examples.kind!r}")
    if examples.kind == "text":
        return TextInputs.fit(examples, squeezed=squeezed)
    return INPUTS[examples.kind].fit(examples, mutable)


def to_dense(encoded: Any, rows: Any) -> Tensor:
    """Return `rows` (positions or a slice) of what `encode` gave as a float32 tensor ``(b, …)``."""
    if isinstance(encoded, Tensor):
        return encoded[rows]
    return torch.from_numpy(encoded[np.asarray(rows) if isinstance(rows, Tensor) else rows].toarray())
