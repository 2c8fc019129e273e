"""What is measured of a window of queries: larger is less like people. Each has its null on trusted streams.

References: Juuti et al., "PRADA" (2019), for the spacing; Gretton et al., "A kernel two-sample test" (2012), for the
shift; Li et al., "Blacklight" (2022), and Park et al., "Mind the gap" (2025), for steps and directions of attacks that
ask again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["HISTORY", "MEASURES", "PERSONAL", "Pool", "Window", "measure"]

HISTORY = 512
"""Earlier queries of a stream that those of a window are compared with."""

_POOL, _KERNEL = 2048, 512  # trusted queries that distances are taken to, and kernels
_STRAIGHTEST = 1 - 1e-6
_CELLS = 64  # of them, around which the space is parted
_FEWEST = 10  # distances that show how they are spread
_OUTLYING = 3.0  # standard deviations beyond which PRADA leaves a distance out
_FEW_BEFORE = 5  # earlier queries with which the nearest one says how near a stream's queries are
_CLOSE = 0.25  # share of a window's queries that must be near to another for its steps to be small
_NEAREST = 1e-3  # in distances of two trusted queries: what is closer is as close as that
_ALL_ONE = 1e-3  # range of distances that are all the same: nothing says how they are spread


@dataclass(frozen=True, slots=True)
class Window:
    """Different queries that one stream asked one after the other: a query asked again teaches nothing."""

    vectors: np.ndarray
    """``(w, k)``, finite, in the order of time."""
    answers: np.ndarray
    """``(w,)`` int: the class that was answered; one number where answers are not known."""
    seconds: np.ndarray
    """``(w,)``, ascending."""
    before: np.ndarray
    """``(h, k)``: what the stream asked before the window, the last of it."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Trusted queries that windows are compared with, in an order that says nothing."""

    vectors: np.ndarray
    owner: np.ndarray
    """``(m,)`` int: whose each is."""
    width: float
    """Twice the square of the kernel's bandwidth, the median distance of two."""
    alike: float
    """The mean kernel of two of the first `_KERNEL`."""

    @classmethod
    def of(cls, vectors: np.ndarray, owner: np.ndarray) -> Pool:
        """Return a pool drawn from trusted queries ``(n, k)``."""
        at = np.random.default_rng(0).permutation(len(vectors))[:_POOL]
        kept = vectors[at].astype(np.float64)
        apart = squared_distances(kept[:_KERNEL], kept[:_KERNEL])
        width = 2 * float(np.median(apart[np.triu_indices(len(apart), 1)])) or 1.0
        return cls(kept, owner[at], width, float(np.exp(-apart / width).mean()))

    def without(self, owner: int) -> Pool:
        """Return the pool of what somebody else asked."""
        kept = self.owner != owner
        return Pool(self.vectors[kept], self.owner[kept], self.width, self.alike)


def measure(window: Window, pool: Pool) -> np.ndarray:
    """Return the value of each of `MEASURES`; NaN where a window shows nothing."""
    return np.array([one(window, pool) for one in MEASURES.values()])


def _shift(window: Window, pool: Pool) -> float:
    """The log of the squared maximum mean discrepancy between the window and trusted queries."""
    own = np.exp(-squared_distances(window.vectors, window.vectors) / pool.width).mean()
    across = np.exp(-squared_distances(window.vectors, pool.vectors[:_KERNEL]) / pool.width).mean()
    return float(np.log(max(own + pool.alike - 2 * across, 1e-6)))


def _novelty(window: Window, pool: Pool) -> float:
    """How far the queries are from the nearest trusted one, in the mean."""
    return float(_log_near(squared_distances(window.vectors, pool.vectors)).mean())


def _spacing(window: Window, pool: Pool) -> float:
    """How far from normal the least distances to earlier queries of the same answer are, by Shapiro and Wilk's W."""
    from scipy.stats import shapiro

    apart = np.sqrt(squared_distances(window.vectors, window.vectors))
    before = np.tri(len(apart), k=-1, dtype=bool) & (window.answers[:, None] == window.answers)
    least = np.where(before, apart, np.inf).min(axis=1)
    least = least[np.isfinite(least)]
    if len(least) < _FEWEST:
        return np.nan
    kept = least[np.abs(least - least.mean()) <= _OUTLYING * least.std()]
    if len(kept) < _FEWEST or np.ptp(kept) < _ALL_ONE:
        return np.nan
    return float(np.log(1.0 - min(shapiro(kept).statistic, 1 - 1e-4)))


def _steps(window: Window, pool: Pool) -> float:
    """How much nearer a quarter of the queries are to one before than to the nearest of as many trusted ones."""
    own = squared_distances(window.vectors, np.concatenate([window.before, window.vectors]))
    others = squared_distances(window.vectors, pool.vectors)
    before = np.arange(len(own)) + len(window.before)
    own, others = (np.where(np.arange(each.shape[1]) < before[:, None], each, np.inf) for each in (own, others))
    some = before >= _FEW_BEFORE
    return float(-np.quantile(_log_near(own[some]) - _log_near(others[some]), _CLOSE))


def _line(window: Window, pool: Pool) -> float:
    """How nearly successive changes point the same way, or back: a search along a line."""
    change = np.diff(window.vectors.astype(np.float64), axis=0)
    size = np.linalg.norm(change, axis=1)
    along = np.abs((change[1:] * change[:-1]).sum(axis=1)) / np.maximum(size[1:] * size[:-1], 1e-12)
    return float(np.arctanh(min(along.mean(), _STRAIGHTEST)))


def _breadth(window: Window, pool: Pool) -> float:
    """How many different parts of what trusted people ask about the window has been to."""
    centres = pool.vectors[:_CELLS]
    return float(np.log(len(np.unique(squared_distances(window.vectors, centres).argmin(axis=1)))))


def _pace(window: Window, pool: Pool) -> float:
    """The log of queries an hour."""
    return float(np.log(len(window.seconds) * 3600.0 / (1.0 + window.seconds[-1] - window.seconds[0])))


def _log_near(squared: np.ndarray) -> np.ndarray:
    """Return the log of the least distance of each row."""
    return np.log(np.maximum(np.sqrt(squared.min(axis=1)), _NEAREST))


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return ``(n, m)``."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return np.maximum(0.0, (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T)


MEASURES: Mapping[str, Callable[[Window, Pool], float]] = {
    "query_shift": _shift,
    "query_novelty": _novelty,
    "query_spacing": _spacing,
    "query_steps": _steps,
    "query_line": _line,
    "query_breadth": _breadth,
    "query_pace": _pace,
}
"""Kind of finding to what it is found by."""
PERSONAL = frozenset({"query_breadth", "query_pace"})
"""Measures that grow with the number of people: those of a group are compared with groups of trusted sources."""
