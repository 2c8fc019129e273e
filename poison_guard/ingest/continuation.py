"""Find which earlier object a new one continues: an export that grew, or whose window moved on.

Rows that an export repeats are records that the feed has. Without ids they are known by their sequence: the whole of an
earlier object begins the new one, or its last rows do, at least 20 and at least half of it. Such rows get the ids they
had. An id is made of the row's content, too: a row that is not the same is never taken for one that is.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.records import ObjectRef
from poison_guard.text import shown_url

__all__ = ["NOTHING_EARLIER", "Earlier", "RowNames", "Trail", "name_rows", "object_name"]

MIN_ROWS = 20
_MIN_BITS = 64.0
"""Information in repeated rows below which honest rows may be the same by chance: a thousand times the word up."""
_MIN_CHANGES = 10
"""Rows that differ from the row before them; a sorted file of few words has hardly any."""
_ANCHORS = 128
_TRIES = 64

Part = tuple[str, int]
"""Name of the object by which rows have their ids, and how many rows."""


@dataclass(frozen=True, slots=True)
class Trail:
    """What is kept of the rows of an object, to know them again; its size does not grow with the object."""

    rows: int
    digest: str
    """Of all content hashes in order, hex."""
    last: str
    """Beginning of the last row's hash."""
    every: int
    """A row is an anchor if its hash is a multiple of this power of two."""
    anchors: tuple[tuple[int, str], ...]
    """Rows from an anchor to the end, and the digest of their hashes from the last to the first; the longest first."""
    parts: tuple[Part, ...]
    """Whose ids the rows have, in order."""
    cut: bool = False
    """Whether the first rows of the first part are not in this object."""

    def to_json(self) -> str:
        """Return the trail as compact JSON text."""
        return json.dumps([getattr(self, name) for name in self.__slots__], separators=(",", ":"))

    @classmethod
    def of_json(cls, text: str) -> Trail:
        """Return the trail of `to_json`."""
        rows, digest, last, every, anchors, parts, cut = json.loads(text)
        return cls(rows, digest, last, every, tuple((n, d) for n, d in anchors), tuple((n, k) for n, k in parts), cut)


def _no_total(name: str, hashes: Sequence[str]) -> Mapping[str, int]:
    return {}


@dataclass(frozen=True, slots=True)
class Earlier:
    """The objects that a feed took in before, newest first, and how often it has a content under an object's name."""

    objects: Sequence[tuple[str, str, Trail]] = ()
    """``(digest, uri, trail)``, the uri as it is shown."""
    total: Callable[[str, Sequence[str]], Mapping[str, int]] = _no_total
    """Name of an object and content hashes to the number of records of each that have their ids by that name."""


NOTHING_EARLIER = Earlier()


@dataclass(frozen=True, slots=True)
class RowNames:
    """By which object's name each row of an object has its id, and its ordinal among equal rows of that name."""

    names: Sequence[Part]
    ordinals: np.ndarray
    """``(n,)`` int64."""
    trail: Trail | None
    """None where the object is too short to be continued."""
    continued: str = ""
    """Object that is continued, as it is shown; empty: none."""
    repeated: int = 0
    """Rows that it has in common with this one."""


def object_name(ref: ObjectRef) -> str:
    """Return the name that ids are made of: the uri and the watermark; a uri that holds a secret only as a digest."""
    uri = ref.uri if shown_url(ref.uri) == ref.uri else f"url:{hashlib.sha256(ref.uri.encode()).hexdigest()}"
    return uri + (f"@{ref.watermark}" if ref.watermark else "")


@dataclass(slots=True)
class _Known:
    """An object that a new one may continue."""

    digest: str
    uri: str
    trail: Trail


@dataclass(slots=True)
class _Naming:
    """Names the rows of the objects of one batch, one object after the other."""

    earlier: Earlier
    known: list[_Known]
    follows: bool
    """Whether an object may continue another."""
    given: dict[str, list[pd.Series]] = field(default_factory=dict)
    """Name to ordinals by content of the ids given in this batch."""

    def name(self, ref: ObjectRef, hashes: Sequence[str]) -> RowNames:
        rows = _Rows(hashes)
        same = next((k for k in self.known if k.digest == ref.digest and k.trail.rows == len(hashes)), None)
        if same is not None:  # taken in before, and read once more
            return self._named(ref, rows, same.trail.parts, cut=same.trail.cut)
        best, k = self._continued(rows)
        if best is None:
            return self._named(ref, rows, ((self._own_name(ref), len(hashes)),), cut=False)
        parts, cut = _last_rows(best.trail, k)
        rest = len(hashes) - k
        if rest and (cut or len(parts) > 1):
            parts = (*parts, (f"{object_name(ref)}#{ref.digest[:16]}", rest))
        elif rest:
            parts = ((parts[0][0], parts[0][1] + rest),)
        return self._named(ref, rows, parts, cut=cut, continued=best.uri, repeated=k)

    def _own_name(self, ref: ObjectRef) -> str:
        """Return the object's name, or the one by which its rows had their ids when it was taken in before."""
        shown = shown_url(ref.uri)
        last = next((k.trail for k in self.known if k.uri == shown), None)
        return last.parts[0][0] if last is not None and len(last.parts) == 1 and not last.cut else object_name(ref)

    def _continued(self, rows: _Rows) -> tuple[_Known | None, int]:
        """Return the object that most rows are repeated of, and how many."""
        best, most = None, 0
        lengths = {k.trail.rows for k in self.known if MIN_ROWS <= k.trail.rows <= rows.n}
        digests = rows.digests(0, lengths)
        for k in self.known:
            if k.trail.rows > most and digests.get(k.trail.rows) == k.trail.digest:
                best, most = k, k.trail.rows
        for every in sorted({k.trail.every for k in self.known if k.trail.rows > most}):
            best, most = self._moved_on(rows, every, best, most)
        return (best, most) if best is not None and rows.is_telling(most) else (None, 0)

    def _moved_on(self, rows: _Rows, every: int, best: _Known | None, most: int) -> tuple[_Known | None, int]:
        """Return the best of those objects of `every` whose last rows begin the new object."""
        first = rows.first_anchor(every)
        if first is None:
            return best, most
        fits = [
            (first + length, k, digest)
            for k in self.known
            if k.trail.every == every and k.trail.rows > most
            for (length, digest), longer in zip(k.trail.anchors, _longer(k.trail), strict=True)
            if max(MIN_ROWS, k.trail.rows / 2, most + 1) <= first + length < k.trail.rows
            and first + length <= rows.n
            and longer - length > first
            and rows.hashes[first + length - 1].startswith(k.trail.last)
        ]
        fits.sort(key=lambda fit: -fit[0])
        for total, k, digest in fits[:_TRIES]:
            if rows.digest_back(first, total) == digest:
                return k, total
        return best, most

    def _named(
        self, ref: ObjectRef, rows: _Rows, parts: Sequence[Part], *, cut: bool, continued: str = "", repeated: int = 0
    ) -> RowNames:
        ordinals, start = np.zeros(rows.n, np.int64), 0
        for number, (name, n) in enumerate(parts):
            piece = pd.Series(rows.hashes[start : start + n], dtype=object)
            counts = piece.groupby(piece, sort=False).cumcount().to_numpy() if piece.duplicated().any() else 0
            ordinals[start : start + n] = counts
            if number == 0 and cut:
                ordinals[start : start + n] += self._missing(name, piece)
            self.given.setdefault(name, []).append(pd.Series(ordinals[start : start + n], index=piece.to_numpy()))
            start += n
        trail = rows.trail(parts, cut=cut) if self.follows and rows.n >= MIN_ROWS and not ref.watermark else None
        if trail is not None:
            self.known.insert(0, _Known(ref.digest, shown_url(ref.uri), trail))
        return RowNames(tuple(parts), ordinals, trail, continued, repeated)

    def _missing(self, name: str, piece: pd.Series) -> np.ndarray:
        """Return ``(n,)``: how many rows of equal content have ids by that name and are not in this object."""
        here = piece.value_counts()
        total = pd.Series(self.earlier.total(name, here.index.tolist()), dtype="int64").reindex(here.index).fillna(0)
        for ordinals in self.given.get(name, ()):
            last = ordinals.groupby(level=0).max().reindex(here.index)
            total = np.maximum(total, last.fillna(-1) + 1)
        return piece.map((total - here).clip(lower=0)).to_numpy(np.int64)


def _state() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=16, person=b"rows")


class _Rows:
    """The content hashes of an object's rows, in order."""

    def __init__(self, hashes: Sequence[str]) -> None:
        self.hashes, self.n = hashes, len(hashes)
        flat = np.frombuffer("".join(hashes).encode("ascii"), np.uint8)
        self._cells = flat.reshape(self.n, -1) if self.n else flat.reshape(0, 32)

    def digests(self, start: int, lengths: set[int]) -> dict[int, str]:
        """Return length -> digest of so many rows from `start` on."""
        state, at = _state(), 0
        found: dict[int, str] = {}
        for length in sorted(lengths):
            state.update(self._cells[start + at : start + length].tobytes())
            at, found[length] = length, state.copy().hexdigest()
        return found

    def anchors(self, every: int) -> np.ndarray:
        """Return the positions of the rows whose hash is a multiple of `every` (a power of two)."""
        last = self._cells[:, -6:].astype(np.int64)
        nibbles = (last & 15) + 9 * (last >> 6)
        return np.flatnonzero((nibbles @ (16 ** np.arange(5, -1, -1))) % every == 0)

    def first_anchor(self, every: int) -> int | None:
        found = self.anchors(every)
        return int(found[0]) if len(found) else None

    def is_telling(self, k: int) -> bool:
        """Return whether the first `k` rows are too many and too different to be the same by chance."""
        first = pd.Series(self.hashes[:k], dtype=object)
        share = first.value_counts(normalize=True).to_numpy()
        bits = -k * float((share * np.log2(share)).sum())
        return bits >= _MIN_BITS and int((first != first.shift()).sum()) > _MIN_CHANGES

    def trail(self, parts: Sequence[Part], *, cut: bool) -> Trail:
        every = 1 << max(0, (self.n // _ANCHORS).bit_length())
        starts = self.anchors(every)
        lengths = self.n - starts[self.n - starts >= self.n / 2 - 4 * every][: 2 * _ANCHORS]
        state, backwards, at = _state(), self._cells[::-1], 0
        anchors: list[tuple[int, str]] = []
        for length in lengths[::-1].tolist():
            state.update(backwards[at:length].tobytes())
            anchors.append((length, state.copy().hexdigest()[:16]))
            at = length
        last, whole = self.hashes[-1][:16], self.digests(0, {self.n})[self.n]
        return Trail(self.n, whole, last, every, tuple(anchors[::-1]), tuple(parts), cut)

    def digest_back(self, start: int, end: int) -> str:
        """Return the digest of the rows from `start` to `end`, the last first, as in `Trail.anchors`."""
        state = _state()
        state.update(self._cells[start:end][::-1].tobytes())
        return state.hexdigest()[:16]


def name_rows(refs: Sequence[ObjectRef], hashes: Sequence[Sequence[str]], earlier: Earlier | None) -> list[RowNames]:
    """Return the names of the rows of each object of a batch; `hashes` are the content hashes of its rows.

    `earlier` is None where rows have ids: then no object continues another. Objects are looked at in the order of their
    names, numbers in them by value: ``day-9`` comes before ``day-10``.
    """
    known = [_Known(*facts) for facts in earlier.objects] if earlier else []
    naming = _Naming(earlier or Earlier(), known, follows=earlier is not None)
    order = sorted(range(len(refs)), key=lambda i: _natural(refs[i].uri))
    named = {i: naming.name(refs[i], hashes[i]) for i in order}
    return [named[i] for i in range(len(refs))]


def _last_rows(trail: Trail, k: int) -> tuple[tuple[Part, ...], bool]:
    """Return whose ids the last `k` rows of an object have, and whether the first part is cut."""
    parts, drop, cut = list(trail.parts), trail.rows - k, trail.cut
    while drop:
        name, n = parts[0]
        if n > drop:
            parts[0], cut, drop = (name, n - drop), True, 0
        else:
            parts.pop(0)
            cut, drop = False, drop - n
    return tuple(parts), cut


def _longer(trail: Trail) -> list[int]:
    """Return for each anchor how many rows there are from the anchor before it (else from just before the start)."""
    lengths = [n for n, _ in trail.anchors]
    return [trail.rows + 1, *lengths[:-1]]


def _natural(uri: str) -> list[Any]:
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"([0-9]{1,18})", uri)]
