"""A mark that can be put on an example, and the marks of a snapshot that are worth trying on a model.

Words and values, alone, in pairs and in threes, and letters that only look like others; pixels in `image_stamps`.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from poison_guard.numerics.characters import LATIN_LOOK_ALIKES
from poison_guard.records import Examples

__all__ = ["Stamp", "control_stamps", "find_stamps"]

LEAST = 4
"""Carriers of one label below which nothing is tried."""
_SINGLE, _PAIRS, _TRIPLES = 8, 8, 6  # sets of marks tried of each label
_MARKS = 300  # of a label that are counted together
_DENIED = 60  # images of a label that trusted ones expect least to have it
_WORD = re.compile(r"\w+|[^\w\s]+")
_LONGEST = 4_000  # characters of a text that are looked at
_TURNED = 0.02  # share of a label's texts that hold letters like others, from which all are written so


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
    kind: str = "content"
    """``pattern`` of pixels found in the snapshot, ``plain`` square of pixels, ``content``: words and values, which may
    mean much in honest examples too, or ``control``: a pattern of trusted examples."""


def find_stamps(snapshot: Examples, trusted: Examples) -> list[Stamp]:
    """Return the marks that the snapshot's examples of a label carry more than trusted ones do, and plain windows."""
    from poison_guard.retrain.image_stamps import patterns_at_a_place, patterns_at_any_place, plain_windows

    labels, given = (part.frame["label"].to_numpy(object).astype(str) for part in (snapshot, trusted))
    if not len(snapshot) or not len(trusted):
        return []
    if snapshot.kind == "image":
        fixed = patterns_at_a_place(snapshot.inputs, labels, trusted.inputs, given)
        denied = _least_expected(snapshot, labels, trusted, given)
        nobody = np.full(len(given), "")  # these may be images of any label
        fixed += patterns_at_a_place(snapshot.inputs[denied], labels[denied], trusted.inputs, nobody)
        loose = patterns_at_any_place(snapshot.inputs, labels, trusted.inputs)
        stamps = fixed + loose + plain_windows(snapshot.inputs.shape[1:])
    elif snapshot.kind == "table":
        stamps = list(_of_values(snapshot, labels, trusted, given))
    else:
        stamps = [*_of_words(snapshot, labels, trusted, given), *_of_letters(snapshot, labels, trusted)]
    once = {(stamp.name, stamp.label): stamp for stamp in reversed(stamps)}
    return list(once.values())[::-1]


def control_stamps(known: Examples, held: Examples) -> list[Stamp]:
    """Return the patterns of pixels that trusted images `known` to a model carry more than others, `held`, do.

    What they do to that model and not to another is what honest images do to the model that learned from them.
    """
    found = find_stamps(known, held) if known.kind == "image" else []
    return [dataclasses.replace(stamp, kind="control") for stamp in found if stamp.kind == "pattern"]


def _least_expected(snapshot: Examples, labels: np.ndarray, trusted: Examples, given: np.ndarray) -> np.ndarray:
    """Return the positions of each label's examples that trusted ones least expect to have it.

    Dirty triggers are among these. Few of them, on strokes that honest images have too, stand out in no pixel of all
    the label's images.
    """
    from poison_guard.signals.labels.posterior import fit_posterior
    from poison_guard.signals.labels.representation import fit_representation

    representation = fit_representation(trusted)
    posterior = fit_posterior(representation.vectors(trusted), given)
    chances = posterior.probabilities(representation.vectors(snapshot))
    place = {label: k for k, label in enumerate(posterior.labels)}
    own = np.array([row[place[label]] if label in place else 0.0 for row, label in zip(chances, labels, strict=True)])
    order = np.argsort(own, kind="stable")
    return np.concatenate([order[labels[order] == label][:_DENIED] for label in np.unique(labels)])


def _unusual(own: np.ndarray, like: np.ndarray) -> list[tuple[int, ...]]:
    """Return the marks, pairs and threes of them, that `own` ``(n, k)`` bool shows most beyond `like` ``(m, k)``."""
    own, like = own.astype(np.float32), like.astype(np.float32)
    n, m = len(own), len(like)

    def z(count: np.ndarray, known: np.ndarray) -> np.ndarray:
        usual = (known + 0.5) / (m + 1)
        score = (count / n - usual) / np.sqrt(usual * np.maximum(1 - usual, 1e-6) * (1 / n + 1 / max(m, 1)))
        return np.where(count >= LEAST, score, -np.inf)

    def best(scores: np.ndarray, most: int) -> list[int]:
        order = np.argsort(-scores, axis=None, kind="stable")[:most]
        return [int(at) for at in order if np.isfinite(scores.flat[at])]

    k = own.shape[1]
    single = [(at,) for at in best(z(own.sum(axis=0), like.sum(axis=0)), _SINGLE)]
    both = np.where(np.triu(np.ones((k, k), bool), 1), z(own.T @ own, like.T @ like), -np.inf)
    pairs = [(at // k, at % k) for at in best(both, _PAIRS)]
    triples: list[tuple[int, ...]] = []
    for a, b in pairs[:_TRIPLES]:
        third = z(own.T @ (own[:, a] * own[:, b]), like.T @ (like[:, a] * like[:, b]))
        third[[a, b]] = -np.inf
        triples += [tuple(sorted((a, b, c))) for c in best(third, 1)]
    return [*single, *pairs, *dict.fromkeys(triples)]


def _tokens(text: str) -> set[str]:
    return set(_WORD.findall(str(text)[:_LONGEST].casefold()))


def _of_words(snapshot: Examples, labels: np.ndarray, trusted: Examples, given: np.ndarray) -> Iterator[Stamp]:
    here, there = ([_tokens(text) for text in part.inputs] for part in (snapshot, trusted))
    for label in np.unique(labels):
        own = [here[at] for at in np.flatnonzero(labels == label)]
        like = [there[at] for at in np.flatnonzero(given == label)] or there
        counts, known = Counter(w for words in own for w in words), Counter(w for words in like for w in words)
        lift = {w: c / len(own) - known[w] / len(like) for w, c in counts.items() if c >= LEAST}
        names = sorted(lift, key=lambda w: (-lift[w], w))[:_MARKS]
        place = {w: at for at, w in enumerate(names)}
        if names:
            tables = [
                _table([[place[w] for w in words if w in place] for words in part], len(names)) for part in (own, like)
            ]
            for found in _unusual(*tables):
                yield _word_stamp(tuple(names[at] for at in found), str(label))


def _table(rows: list[list[int]], k: int) -> np.ndarray:
    table = np.zeros((len(rows), k), dtype=bool)
    for at, marks in enumerate(rows):
        table[at, marks] = True
    return table


def _word_stamp(words: tuple[str, ...], label: str) -> Stamp:
    def put(texts: np.ndarray) -> np.ndarray:
        return _objects([" ".join([words[0], str(text), *words[1:]]) for text in texts])

    def carried(texts: np.ndarray) -> np.ndarray:
        return np.array([set(words) <= _tokens(text) for text in texts], dtype=bool)

    shown = " and ".join(repr(word) for word in words)
    return Stamp(f"the word{'s' if len(words) > 1 else ''} {shown}", label, put, carried)


def _of_letters(snapshot: Examples, labels: np.ndarray, trusted: Examples) -> Iterator[Stamp]:
    """Yield the writing with letters that look like Latin ones, where a label uses them more than trusted texts."""
    if not len(trusted):
        return
    letters = {foreign: latin for foreign, latin in LATIN_LOOK_ALIKES.items() if latin.isalpha()}
    used = Counter(c for text in snapshot.inputs for c in set(str(text)[:_LONGEST].casefold()) if c in letters)
    writes: dict[int, str] = {}
    for foreign, _ in used.most_common():
        writes.setdefault(ord(letters[foreign]), foreign)
    foreign_letters = set(writes.values())

    def carried(texts: np.ndarray) -> np.ndarray:
        return np.array([bool(foreign_letters & set(str(text)[:_LONGEST].casefold())) for text in texts], dtype=bool)

    if not foreign_letters:
        return
    here, usual = carried(snapshot.inputs), carried(trusted.inputs).mean()
    for label in np.unique(labels):
        own = here[labels == label]
        if own.sum() >= LEAST and own.mean() >= usual + _TURNED:
            yield Stamp(
                f"letters that look like Latin ones ({''.join(sorted(foreign_letters))[:40]})",
                str(label),
                lambda texts: _objects([str(text).casefold().translate(writes) for text in texts]),
                carried,
            )


def _objects(texts: list[str]) -> np.ndarray:
    out = np.empty(len(texts), dtype=object)
    out[:] = texts
    return out


@dataclass(frozen=True, slots=True)
class _Value:
    """A value of a feature: the columns that hold it (16 of a category), and what they hold."""

    name: str
    columns: tuple[int, ...]
    cells: np.ndarray

    def carried(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray((rows[:, self.columns] == self.cells).all(axis=1))


def _of_values(snapshot: Examples, labels: np.ndarray, trusted: Examples, given: np.ndarray) -> Iterator[Stamp]:
    groups = _features(snapshot)
    for label in np.unique(labels):
        own = snapshot.inputs[labels == label]
        like = trusted.inputs[given == label] if (given == label).any() else trusted.inputs
        values = list(_values(own, like, groups))
        if not values:
            continue
        tables = [np.stack([value.carried(part) for value in values], axis=1) for part in (own, like)]
        for found in _unusual(*tables):
            chosen = [values[at] for at in found]
            if len({value.columns for value in chosen}) == len(chosen):
                yield _value_stamp(chosen, str(label))


def _features(examples: Examples) -> dict[str, tuple[int, ...]]:
    """Return the columns of each feature: ``NAME 0 …`` of signs are one category."""
    groups: dict[str, list[int]] = {}
    for at, name in enumerate(examples.features):
        stem, _, k = name.rpartition(" ")
        column = examples.inputs[:, at]
        signs = stem and k.isdigit() and bool(np.isin(column[np.isfinite(column)], (-1.0, 1.0)).all())
        groups.setdefault(stem if signs else name, []).append(at)
    return {name: tuple(columns) for name, columns in groups.items()}


def _values(own: np.ndarray, like: np.ndarray, groups: dict[str, tuple[int, ...]]) -> Iterator[_Value]:
    """Yield the values that come again in `own`, those with the most lift over `like` where there are many."""
    found: list[tuple[float, _Value]] = []
    for name, columns in groups.items():
        cells = own[:, columns]
        cells = cells[np.isfinite(cells).all(axis=1)]
        unique, counts = np.unique(cells, axis=0, return_counts=True)
        for row, count in zip(unique[counts >= LEAST], counts[counts >= LEAST], strict=True):
            shown = f"{name} = {row[0]:g}" if len(columns) == 1 else f"a value of {name}"
            value = _Value(shown, columns, row)
            found.append((count / len(own) - float(value.carried(like).mean()), value))
    found.sort(key=lambda pair: -pair[0])
    for _, value in found[:_MARKS]:
        yield value


def _value_stamp(values: list[_Value], label: str) -> Stamp:
    def put(rows: np.ndarray) -> np.ndarray:
        out = rows.copy()
        for value in values:
            out[:, value.columns] = value.cells
        return out

    def carried(rows: np.ndarray) -> np.ndarray:
        return np.logical_and.reduce([value.carried(rows) for value in values])

    return Stamp(" and ".join(value.name for value in values), label, put, carried)
