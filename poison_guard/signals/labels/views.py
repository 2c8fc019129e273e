"""How likely labels are by the whole of an input, or by what is left of it without one part, whichever says most.

A mark that no trusted example carries moves what is expected of a picture, by chance, and in one place only. So a label
counts as denied where it is denied whatever part is not looked at: a mark alone holds no honest record, and a wrong
label is wrong in every view.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from poison_guard.signals.labels.posterior import Posterior, fit_posterior

__all__ = ["Views"]


@dataclass(frozen=True, slots=True)
class Views:
    """Posteriors of the same trusted rows, each of some columns of their vectors."""

    whole: Posterior
    """Of all columns."""
    partial: tuple[Posterior, ...]
    columns: np.ndarray
    """``(parts, d)`` bool: which columns each partial one knows."""

    @classmethod
    def fit(cls, vectors: np.ndarray, labels: np.ndarray, columns: np.ndarray) -> Self:
        """Fit on trusted `vectors` ``(m, d)`` and `labels` ``(m,)`` of str, in views of `columns` ``(parts, d)``."""
        partial = tuple(fit_posterior(vectors[:, known], labels) for known in columns)
        return cls(fit_posterior(vectors, labels), partial, columns)

    def own_chance(self) -> np.ndarray:
        """Return ``(m,)``: the chance of each trusted row's label, without itself, in the view that gives it most."""
        at = np.arange(len(self.whole.own)), self.whole.codes
        return np.max([one.own[at] for one in (self.whole, *self.partial)], axis=0)

    def chance(self, vectors: np.ndarray, codes: np.ndarray, whole: np.ndarray) -> np.ndarray:
        """Return ``(n,)``: the chance of the labels `codes` of `vectors` in the view that gives it most.

        `whole` ``(n, K)`` are the chances by all columns, which the caller knows.
        """
        at = np.arange(len(codes)), codes
        parts = zip(self.partial, self.columns, strict=True)
        return np.max([whole[at], *(one.probabilities(vectors[:, known])[at] for one, known in parts)], axis=0)
