"""Find two replies side by side, and the column that says which of them was preferred."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd

from poison_guard.onboard.columns import ColumnProfile, snake_case
from poison_guard.onboard.role_names import ROLE_ORDER, is_prose
from poison_guard.onboard.roles import RoleGuess

__all__ = ["Pair", "find_pair"]

_MARKS = (("a", "b"), ("1", "2"), ("0", "1"), ("left", "right"), ("first", "second"), ("one", "two"), ("x", "y"))
"""What tells the names of two columns apart that are one thing twice."""
_BESIDE = frozenset(
    (
        "model", "response", "answer", "assistant", "option", "reply", "completion", "output", "text", "choice",
        "candidate", "summary", "system", "bot", "chatbot", "id", "index", "is", "better", "best", "wins", "win",
        "won", "preferred", "prefer", "much", "slightly", "clearly", "strongly", "significantly", "far",
    )
)  # fmt: skip
"""Words that may stand beside the mark in a judgement: ``model_a``, ``Response 1 is slightly better``."""
_JUDGES = re.compile(
    r"(.*_)?(better|best|winner|wins?|won|chosen|choice|pref(er(red|ence)?)?|pick(ed)?|selected|vote|verdict)(_.*)?"
)
_MOST_WORDS = 8
"""Different judgements of a pair: better by much or little, ties, both bad."""
_LEAST = 0.5
"""Share of the judged rows that must name one of the two replies."""
_TAKEN = {"answer", "label", "rating", "response", "chosen", "rejected", "text"}
"""Roles that no other column has beside a pair of replies and its judgement."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two columns of replies, and what the judgements of them say."""

    first: ColumnProfile
    second: ColumnProfile
    judged: ColumnProfile
    said: dict[str, bool]
    """Value of the judgement -> whether it prefers the first; those that prefer neither are left out."""
    others: tuple[str, ...]
    """Further columns whose values name one of the two."""

    @property
    def names(self) -> set[str]:
        """The columns that have no other use."""
        return {self.first.name, self.second.name, self.judged.name, *self.others}

    def added_to(self, roles: Sequence[RoleGuess]) -> list[RoleGuess]:
        """Return `roles` of the other columns with those of the pair."""
        by = {g.role: g for g in roles}
        given = {role: g for role, g in by.items() if role not in _TAKEN}
        if "prompt" not in given and "text" in by:
            given["prompt"] = RoleGuess("prompt", by["text"].column)
        elif "prompt" not in given and self.first.kind == "list":  # the dialogue up to the reply
            given["prompt"] = RoleGuess("prompt", replace(self.first, name=f"{_path(self.first.name)}[:-1]"))
        doubt = f"guess: {self.others[0]} says which reply, too" if self.others else ""
        given["label"] = RoleGuess("label", self.judged, doubt)
        for role, turned in (("chosen", False), ("rejected", True)):
            given[role] = RoleGuess(role, replace(self.first, name=self._path(turned=turned)))
        return [given[role] for role in ROLE_ORDER if role in given]

    def _path(self, *, turned: bool) -> str:
        last = "[-1]" if self.first.kind == "list" else ""
        reply = {True: _path(self.first.name) + last, False: _path(self.second.name) + last}
        cases = ", ".join(f"{_word(value)}: {reply[first != turned]}" for value, first in self.said.items())
        return f"{_path(self.judged.name)} ? {cases}"


def find_pair(frame: pd.DataFrame, columns: Sequence[ColumnProfile]) -> Pair | None:
    """Return the two columns of replies of a raw frame and the column that judges them; None where none is proved.

    The names of the two are one name but for a mark (`_MARKS`), and the values of a third name one or the other by that
    mark. Bare numbers prove it only where the name of their column is about preference.
    """
    for first, second, marks in _twins(columns):
        found = {c.name: said for c in columns if (said := _judgements(frame, c, first, marks))}
        judges = [c for c in columns if c.name in found and c not in (first, second)]
        named = [c for c in judges if _JUDGES.fullmatch(c.snake_name)]
        proved = named + [c for c in judges if c not in named and not all(value.isdigit() for value in found[c.name])]
        if proved:
            stem = set(_words(first.name)) - set(marks)
            others = [c.name for c in judges if c != proved[0] and (c in proved or stem & set(_words(c.name)))]
            return Pair(first, second, proved[0], found[proved[0].name], tuple(others))
    return None


def _twins(columns: Sequence[ColumnProfile]) -> Iterator[tuple[ColumnProfile, ColumnProfile, tuple[str, str]]]:
    """Yield two columns of prose whose names differ in a mark alone, and the marks."""
    prose = [c for c in columns if is_prose(c) and c.words and '"' not in c.name]
    for one, other in combinations(prose, 2):
        left, right = _words(one.name), _words(other.name)
        apart = [pair for pair in zip(left, right, strict=False) if pair[0] != pair[1]]
        if len(left) == len(right) and len(apart) == 1 and one.kind == other.kind:
            if apart[0] in _MARKS:
                yield one, other, apart[0]
            elif apart[0][::-1] in _MARKS:
                yield other, one, apart[0][::-1]


def _judgements(
    frame: pd.DataFrame, column: ColumnProfile, first: ColumnProfile, marks: tuple[str, str]
) -> dict[str, bool]:
    """Return which values of a column prefer the first (True) or the second reply; empty where it judges neither."""
    if column.kind not in ("text", "number") or not 2 <= column.distinct <= _MOST_WORDS:
        return {}
    values = frame[column.name].dropna().map(_written)
    counts = values.value_counts()
    beside = _BESIDE | set(_words(first.name))
    said: dict[str, bool] = {}
    for value in counts.index:
        rest = [word for word in _words(value) if word in marks or word not in beside]
        if len(rest) == 1 and rest[0] in marks and "'" not in value:
            said[value] = rest[0] == marks[0]
    if set(said.values()) != {True, False} or counts[list(said)].sum() < _LEAST * counts.sum():
        return {}
    return dict(sorted(said.items(), key=lambda case: (not case[1], case[0])))


def _written(value: object) -> str:
    return (
        str(int(value)) if isinstance(value, float | np.floating) and float(value).is_integer() else str(value).strip()
    )


def _words(name: str) -> list[str]:
    """Return the words of a name: ``responseA``, ``Response-1`` and ``answer2`` have two."""
    return re.findall(r"[^\W\d_]+|\d+", snake_case(name))


def _path(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name) else f'"{name}"'


def _word(value: str) -> str:
    return value if re.fullmatch(r"\w+", value) else f"'{value}'"
