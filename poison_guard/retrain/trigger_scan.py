"""Stamp marks on trusted examples that no training saw: what flips a candidate and not a model of trusted data alone.

A trigger that poison planted, dirty or clean in its labels, shows as a mark that turns examples of all labels into one.
References: Wang et al., "Neural Cleanse" (2019), for searching the model in place of the data.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from poison_guard.errors import DataError
from poison_guard.records import Examples
from poison_guard.retrain.stamps import Stamp

__all__ = ["Ask", "Written", "scan_candidate"]

Ask = Callable[[Examples], np.ndarray]
"""Takes examples, gives the label ``(n,)`` (object of str) that a model predicts for each."""
_FIRST = 60  # examples that every stamp is tried on
_SECOND = 30  # stamps tried on the whole choosing half
_FOUND, _PLAIN = 8, 4
"""Marks found in the snapshot (or in trusted examples), and plain squares, that are confirmed on examples that had no
part in choosing them."""


@dataclass(frozen=True, slots=True)
class _Flips:
    """Whether stamped examples that are of another label get the label, by each model: ``(n,)`` bool."""

    candidate: np.ndarray
    reference: np.ndarray

    @property
    def excess(self) -> float:
        """How many more the candidate turns, as a share."""
        n = len(self.candidate)
        return float((self.candidate.sum() - self.reference.sum()) / n) if n else 0.0

    def counts(self) -> dict[str, int]:
        """Return ``n``, how many each model turns alone, and how many both do."""
        both = self.candidate & self.reference
        alone = {"candidate": int((self.candidate & ~both).sum()), "reference": int((self.reference & ~both).sum())}
        return {"n": len(both), **alone, "both": int(both.sum())}


class _Judge:
    """Asks both models about stamped examples."""

    def __init__(self, candidate: Ask, reference: Ask, held: Examples) -> None:
        self.ask = (candidate, reference)
        self.held = held
        self.truth = held.frame["label"].to_numpy(object).astype(str)
        self.clean = tuple(ask(held).astype(str) for ask in self.ask)

    def flips(self, stamp: Stamp, labels: Iterable[str], rows: np.ndarray) -> dict[str, _Flips]:
        """Return by label what the stamp does to `rows` (positions)."""
        some = self.held.take(rows)
        stamped = dataclasses.replace(some, inputs=stamp.put(some.inputs))
        got = [ask(stamped).astype(str) for ask in self.ask]
        flips = {}
        for label in labels:
            other = (self.truth[rows] != label) & (self.clean[0][rows] != label) & (self.clean[1][rows] != label)
            flips[label] = _Flips(got[0][other] == label, got[1][other] == label)
        return flips


_WRITTEN_ROWS = 100
"""Held-out examples that marks are put on for a model that is known by its predictions alone."""
_WRITTEN_WINDOWS = 100


@dataclass(frozen=True, slots=True)
class Written:
    """A scan whose questions are all written down before anything is answered: fewer rows, and fewer plain squares."""

    held: Examples
    stamps: tuple[Stamp, ...]

    @classmethod
    def of(cls, held: Examples, stamps: Sequence[Stamp]) -> Self:
        """Return the scan of `held` examples by some of the `stamps`."""
        plain = [stamp for stamp in stamps if stamp.kind == "plain"]
        some = plain[:: max(1, -(-len(plain) // _WRITTEN_WINDOWS))]
        kept = (*(stamp for stamp in stamps if stamp.kind != "plain"), *some)
        return cls(held.take(np.arange(min(len(held), _WRITTEN_ROWS))), kept)

    def questions(self) -> tuple[list[str], np.ndarray]:
        """Return all stamped inputs ``(n, …)``, no two alike, and the name of each, which follows from its content."""
        asked: dict[str, np.ndarray] = {}
        for stamp in self.stamps:
            inputs = stamp.put(self.held.inputs)
            asked |= dict(zip(_names(inputs), inputs, strict=True))
        out = np.empty((len(asked), *self.held.inputs.shape[1:]), dtype=self.held.inputs.dtype)
        for at, one in enumerate(asked.values()):
            out[at] = one
        return list(asked), out

    def answered_by(self, labels: Mapping[str, str]) -> Ask:
        """Return how a model is asked whose answers are `labels`, by name or by the id of a held-out example.

        `DataError` for an input that has none.
        """
        ids = self.held.frame["example_id"].astype(str)
        known = dict(labels) | {
            name: labels[example]
            for name, example in zip(_names(self.held.inputs), ids, strict=True)
            if example in labels
        }

        def ask(examples: Examples) -> np.ndarray:
            names = _names(examples.inputs)
            missing = sum(name not in known for name in names)
            if missing:
                raise DataError(
                    f"the predictions lack {missing:,} of {len(names):,} inputs of one mark; write them again with "
                    "`poison-guard export --trusted scan`: snapshot or trusted set may have changed"
                )
            return np.array([known[name] for name in names], dtype=object)

        return ask


def _names(inputs: np.ndarray) -> list[str]:
    raw = (
        [str(text).encode("utf-8", "surrogatepass") for text in inputs]
        if inputs.dtype == object
        else [np.ascontiguousarray(one, dtype=np.float32).tobytes() for one in inputs]
    )
    return [f"scan-{hashlib.blake2b(one, digest_size=12).hexdigest()}" for one in raw]


def scan_candidate(
    candidate: Ask, reference: Ask, held: Examples, stamps: Sequence[Stamp], snapshot: Examples
) -> dict[str, Any]:
    """Return the measurement ``planted_triggers``: the marks that flip `candidate` most beyond `reference`.

    `held`: trusted examples that neither learned from. Half of them choose the marks, the other half measures those
    chosen, so that their number alone counts against what is found. ``n`` stamps tried; ``marks``: rows ``{"mark",
    "label", "kind", "n", "candidate", "reference", "both", "carriers"}``: examples of other labels that were stamped,
    how many the candidate alone, the reference alone, and both then give the label, and how many of the snapshot's
    examples carry the mark and have the label. ``usual``: the largest share that a pattern of the images that
    `reference` learned from (stamps of kind ``control``) turns for it and not for the candidate.
    """
    scan = _Scan(sorted({str(label) for label in held.frame["label"]}), len(held))
    judge, turned = _Judge(candidate, reference, held), _Judge(reference, candidate, held)
    by_kind: dict[str, list[Stamp]] = {"plain": [], "control": []}
    for stamp in stamps:
        by_kind.setdefault(stamp.kind if stamp.kind in by_kind else "found", []).append(stamp)
    found = scan.confirmed(judge, by_kind.get("found", []), _FOUND)
    found += scan.confirmed(judge, by_kind["plain"], _PLAIN)
    usual = [flips.excess for _, _, flips in scan.confirmed(turned, by_kind["control"], _FOUND)]
    labels = snapshot.frame["label"].to_numpy(object).astype(str)
    rows = []
    for stamp, label, flips in found:
        carriers = int((stamp.carried(snapshot.inputs) & (labels == label)).sum())
        said = {"mark": stamp.name, "label": label, "kind": stamp.kind, "carriers": carriers}
        rows.append({**said, **flips.counts()})
    return {"n": len(stamps) - len(by_kind["control"]), "marks": rows, "usual": max([0.0, *usual])}


@dataclass(frozen=True, slots=True)
class _Scan:
    """The labels that marks may turn examples into, and how many examples are held out."""

    names: list[str]
    n: int

    def confirmed(self, judge: _Judge, stamps: list[Stamp], most: int) -> list[tuple[Stamp, str, _Flips]]:
        """Return the marks that do most to one half of the examples, with what they do to the other half."""
        half = np.arange(self.n) % 2
        choosing, measuring = np.flatnonzero(half == 0), np.flatnonzero(half == 1)
        tried = _ranked(judge, [(stamp, None) for stamp in stamps], self.names, choosing[:_FIRST])
        best = [(s, str(label)) for s, label in _ranked(judge, tried[:_SECOND], self.names, choosing)[:most]]
        return [(stamp, label, judge.flips(stamp, [label], measuring)[label]) for stamp, label in best]


def _ranked(
    judge: _Judge, tried: list[tuple[Stamp, str | None]], names: list[str], rows: np.ndarray
) -> list[tuple[Stamp, str | None]]:
    """Return each stamp with each label that it may flip to, the largest excess first."""
    found: list[tuple[float, int, Stamp, str | None]] = []
    for at, (stamp, label) in enumerate(tried):
        wanted = [label or stamp.label] if label or stamp.label else names
        flips = judge.flips(stamp, [str(one) for one in wanted], rows)
        found += [(-each.excess, at, stamp, one) for one, each in flips.items()]
    found.sort(key=lambda row: row[:2])
    return [(stamp, label) for _, _, stamp, label in found]
