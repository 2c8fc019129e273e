"""A mark that can be put on an example, and the marks of a snapshot that are worth trying on a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["Stamp"]


@dataclass(frozen=True, slots=True)
class Stamp:
    """A mark: how it is put on inputs, and which inputs carry it already."""

    name: str
    """What people are told: a word, a value, pixels and their place."""
    label: str | None
    """Label of the examples that it was found on; None: any label may be its target."""
    put: Callable[[np.ndarray], np.ndarray]
    """From inputs ``(n, …)`` to the same with the mark."""
    carried: Callable[[np.ndarray], np.ndarray]
    """Which inputs ``(n,)`` bool carry it."""
