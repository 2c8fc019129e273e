"""Streams of queries, of one source or of a cohort: which windows of them no trusted stream looks like.

The null of a measure is its value on the first window of each trusted source: people differ, and sources are the unit.
Its log is taken for normal, so that a p-value is a tail of Student's t, and 1 for whatever a trusted source did, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from poison_guard.signals.pvalues import SMALLEST_P
from poison_guard.signals.queries.measures import HISTORY, MEASURES, PERSONAL, Pool, Window, measure

__all__ = ["SIZES", "KnownStreams", "Queries", "Stream", "find_streams"]

SIZES = (25, 100, 400)
"""Different queries of a window: few show a search, more a copy that asks about what people ask."""
FEWEST_SOURCES = 30
"""Trusted sources of so many queries that a null is measured on."""
_LOOKS = 64  # windows of a stream that are looked at, evenly spaced
_DRAWS = 64  # groups of trusted sources that groups are compared with
_FEWEST_MEMBERS = 3  # sources of a cohort
_USUAL = 0.05  # chance of what a source shows by itself, over its windows and measures, above which it is like people
_NARROWEST = 0.1  # of a measure's spread over people: logs, so 10 %
_OF_STEPS = 0.3  # the same of steps: one narrow interest makes a stream's own queries up to 1.5 times as dense


@dataclass(frozen=True, slots=True)
class Queries:
    """Queries in any order, aligned ``(n, …)``; one without a source, a time or a vector is in no stream."""

    vectors: np.ndarray
    source: np.ndarray
    """Codes, -1 for none."""
    seconds: np.ndarray
    """NaN where not known."""
    answers: np.ndarray
    """Codes of what was answered; one number where that is not known."""
    cohort: np.ndarray
    """Codes of what sources have in common, -1 where nothing is known."""
    own: np.ndarray
    """Bool: of this batch, and not of earlier ones."""

    def streams(self, codes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield each of `codes` ``(n,)`` but -1 with its different queries: positions in the order of time."""
        usable = (codes >= 0) & np.isfinite(self.seconds) & np.isfinite(self.vectors).all(axis=1)
        at = np.flatnonzero(usable)
        at = at[np.lexsort((self.seconds[at], codes[at]))]
        for rows in np.split(at, np.flatnonzero(np.diff(codes[at])) + 1):
            if len(rows):
                first = np.unique(self.vectors[rows], axis=0, return_index=True)[1]
                yield int(codes[rows[0]]), rows[np.sort(first)]

    def window(self, rows: np.ndarray, end: int, size: int) -> Window:
        """Return the `size` queries of a stream's `rows` before position `end` as a window."""
        at, before = rows[end - size : end], rows[max(0, end - HISTORY) : end - size]
        return Window(self.vectors[at], self.answers[at], self.seconds[at], self.vectors[before])


@dataclass(frozen=True, slots=True)
class KnownStreams:
    """Trusted streams: what windows are compared with, and the values of each measure on theirs."""

    pool: Pool
    values: Mapping[int, np.ndarray]
    """By size of a window: ``(sources, measures)``; only sizes that enough sources have."""
    queries: Queries
    rows: tuple[np.ndarray, ...]
    """Positions of each trusted stream."""

    @classmethod
    def of(cls, queries: Queries) -> Self | None:
        """Return what trusted queries show of people; None where too few sources asked enough."""
        known = list(queries.streams(queries.source))
        able = [size for size in SIZES if sum(len(rows) >= size for _, rows in known) >= FEWEST_SOURCES]
        if not able:
            return None
        every = np.sort(np.concatenate([rows for _, rows in known]))
        pool = Pool.of(queries.vectors[every], queries.source[every])
        values = {
            size: np.array(
                [measure(queries.window(r, size, size), pool.without(who)) for who, r in known if len(r) >= size]
            )
            for size in able
        }
        return cls(pool, values, queries, tuple(rows for _, rows in known))

    def p(self, values: np.ndarray, size: int, members: int) -> np.ndarray:
        """Return p-values ``(w, measures)`` of windows' `values`, of one source or of a group of `members`."""
        p = _tail(values, self.values[size], len(self.values[size]) - 1)
        if members > 1:
            drawn, groups = self._groups(size, members), len(self.rows) // members
            personal = np.array([name in PERSONAL for name in MEASURES])
            p[:, personal] = _tail(values, drawn, groups - 1)[:, personal] if groups > 1 and len(drawn) > 1 else 1.0
        return p

    def _groups(self, size: int, members: int) -> np.ndarray:
        """Return the values of windows of groups of trusted sources, drawn at random, as if all began together.

        Only those of `PERSONAL` measures, NaN for the others: they are asked for each cohort.
        """
        rng = np.random.default_rng(members)
        found = []
        for _ in range(_DRAWS if members <= len(self.rows) // 2 else 0):
            chosen = [self.rows[i] for i in rng.choice(len(self.rows), members, replace=False)]
            rows = np.concatenate(chosen)
            since = np.concatenate([self.queries.seconds[r] - self.queries.seconds[r[0]] for r in chosen])
            order = np.argsort(since, kind="stable")[:size]
            if len(order) == size:
                at, nothing = rows[order], self.queries.vectors[:0]
                window = Window(self.queries.vectors[at], self.queries.answers[at], since[order], nothing)
                found.append([f(window, self.pool) if name in PERSONAL else np.nan for name, f in MEASURES.items()])
        return np.array(found).reshape(-1, len(MEASURES))


def _tail(values: np.ndarray, known: np.ndarray, freedom: int) -> np.ndarray:
    """Return ``(w, measures)`` chances that a stream like the `known` ``(m, measures)`` has values so large."""
    from scipy.stats import t as student

    n = np.isfinite(known).sum(axis=0)
    narrowest = [_OF_STEPS if name == "query_steps" else _NARROWEST for name in MEASURES]
    usable = n >= len(known) / 2  # a measure that half of the people do not show judges nobody
    with np.errstate(invalid="ignore", divide="ignore"):
        filled = np.where(np.isfinite(known), known, 0.0)
        mean = filled.sum(axis=0) / n
        spread = np.sqrt((np.where(np.isfinite(known), known - mean, 0.0) ** 2).sum(axis=0) / (n - 1))
        z = (values - mean) / (np.maximum(spread, narrowest) * np.sqrt(1 + 1 / n))
        beyond = values > np.where(np.isfinite(known), known, -np.inf).max(axis=0)
    p = student.sf(z, max(1, freedom))
    return np.where(usable & beyond & np.isfinite(z), np.maximum(p, SMALLEST_P), 1.0)


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream that no honest one looks like."""

    rows: np.ndarray
    """Its queries, positions: all from the first window on that shows it, repeated ones too."""
    kind: str
    """The measure that shows it best."""
    p: float
    """Bound of the chance that an honest source looks so, or that any of the cohorts does."""
    size: int
    """Queries of the window that shows it."""


def find_streams(queries: Queries, known: KnownStreams, *, alpha: float) -> list[Stream]:
    """Return the sources, and cohorts of three sources or more, that an honest one looks like at most at `alpha`.

    Looked at are windows that have a query of the batch; all windows and measures of a stream count as tests
    (Bonferroni), and of cohorts those of all. Sources that are found by themselves are in no cohort. Of a cohort, those
    that look like people by themselves are let go, where the others are fewer than three or still found without them.
    """
    looks = {code: _look(queries, known, rows, 1) for code, rows in queries.streams(queries.source)}
    alone = {code: _found(queries, queries.source == code, look, len(look), alpha) for code, look in looks.items()}
    caught = [code for code, stream in alone.items() if stream is not None]
    usual = [code for code, look in looks.items() if look and _least(look) * len(look) * len(MEASURES) > _USUAL]
    cohorts = np.where(np.isin(queries.source, caught), -1, queries.cohort)
    whole, tests = _looks_of(queries, known, cohorts)
    rest, _ = _looks_of(queries, known, np.where(np.isin(queries.source, usual), -1, cohorts))
    found = list(alone.values())
    for code, look in whole.items():
        stream = _found(queries, cohorts == code, look, tests, alpha)
        odd = (cohorts == code) & ~np.isin(queries.source, usual)
        if stream is not None and code in rest:
            stream = _found(queries, odd, rest[code], tests, alpha) or stream
        elif stream is not None and odd.any():
            stream = replace(stream, rows=stream.rows[odd[stream.rows]])
        found.append(stream)
    return [stream for stream in found if stream is not None and len(stream.rows)]


def _looks_of(queries: Queries, known: KnownStreams, cohorts: np.ndarray) -> tuple[dict[int, _Look], int]:
    """Return the windows of each cohort that has enough sources, and how many they are in all."""
    looks: dict[int, _Look] = {}
    for code, rows in queries.streams(cohorts):
        members = len(np.unique(queries.source[rows]))
        if members >= _FEWEST_MEMBERS:
            looks[code] = _look(queries, known, rows, members)
    return looks, sum(map(len, looks.values()))


def _least(look: _Look) -> float:
    return min(float(p.min()) for _, _, p in look)


_Look = list[tuple[int, int, np.ndarray]]
"""Of each window of a stream: its size, the position of its first query, and the p-values of all measures."""


def _look(queries: Queries, known: KnownStreams, rows: np.ndarray, members: int) -> _Look:
    found: _Look = []
    for size in known.values:
        ends = _ends(queries.own[rows], size)
        values = np.array([measure(queries.window(rows, end, size), known.pool) for end in ends])
        if ends:
            found += [
                (size, int(rows[end - size]), p) for end, p in zip(ends, known.p(values, size, members), strict=True)
            ]
    return found


def _found(queries: Queries, mine: np.ndarray, look: _Look, windows: int, alpha: float) -> Stream | None:
    """Return the stream of the queries `mine` ``(n,)`` bool, where one of its windows shows it among all `windows`."""
    bounds = [np.minimum(1.0, p * windows * len(MEASURES)) for _, _, p in look]
    hits = [i for i, bound in enumerate(bounds) if (bound <= alpha).any()]
    if not hits:
        return None
    best = min(hits, key=lambda i: float(bounds[i].min()))
    since = min(float(queries.seconds[look[i][1]]) for i in hits)
    rows = np.flatnonzero(mine & (queries.seconds >= since))
    return Stream(rows, list(MEASURES)[int(bounds[best].argmin())], float(bounds[best].min()), look[best][0])


def _ends(own: np.ndarray, size: int) -> list[int]:
    """Return where windows of `size` end, from the newest back, that have a query of this batch; `_LOOKS` at most."""
    ends = [*range(len(own), size - 1, -size), *([size] if len(own) > size and len(own) % size else [])]
    ends = [end for end in ends if own[end - size : end].any()]
    kept = np.unique(np.linspace(0, len(ends) - 1, min(_LOOKS, len(ends))).astype(int)) if ends else ()
    return [ends[i] for i in kept]
