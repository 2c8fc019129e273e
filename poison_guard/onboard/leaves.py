"""Look into nested columns: what keys of objects could be roles, and which lists could hold judgements."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from poison_guard.ingest.nested_values import opened
from poison_guard.onboard.columns import ColumnProfile, describe_columns
from poison_guard.onboard.roles import RoleGuess, guess_roles
from poison_guard.onboard.votes import complete_roles

__all__ = ["JudgementList", "judgement_lists", "leaf_values", "object_leaves"]

_ROWS = 5_000
"""Rows that are looked into."""
_LEAVES, _DEPTH = 60, 3
_SHARE = 0.9
"""Share of a column's cells that must be objects (or lists of objects)."""
_PLAIN = re.compile(r"[\w-]+")
"""Names that a path can say without quotes."""


@dataclass(frozen=True, slots=True)
class JudgementList:
    """A list of objects in each row that somebody may have said, with the roles that its keys may have."""

    path: str
    keys: tuple[str, ...]
    roles: tuple[tuple[str, str], ...]


def object_leaves(frame: pd.DataFrame, columns: Sequence[ColumnProfile]) -> list[ColumnProfile]:
    """Return a profile for each plain value inside the objects of nested columns, named by its path."""
    return describe_columns(leaf_values(frame, columns))


def leaf_values(frame: pd.DataFrame, columns: Sequence[ColumnProfile]) -> pd.DataFrame:
    """Return a column for each plain value inside the objects of nested columns, named by its path."""
    head = frame.head(_ROWS)
    return _leaves(head, columns).set_axis(head.index)


def judgement_lists(frame: pd.DataFrame, columns: Sequence[ColumnProfile]) -> list[JudgementList]:
    """Return the lists of objects that have a key for a source or a judgement."""
    found = []
    head = frame.head(_ROWS)
    for column in columns:
        cells = [value for value in map(opened, head[column.name]) if _is_present(value)]
        lists = [value for value in cells if isinstance(value, list)]
        elements = [element for value in lists for element in value if isinstance(element, dict)]
        if not lists or len(lists) < _SHARE * len(cells) or not elements or not _PLAIN.fullmatch(column.name):
            continue
        table = _leaves_of(elements, "")
        rows = [row for row, value in enumerate(lists) for element in value if isinstance(element, dict)]
        roles = tuple((role, f"{column.name}[].{name}") for role, name in _roles_of_elements(table, rows))
        if {role for role, _ in roles} & {"source_id", "author_id", "answer", "label", "rating"} and not _is_talk(
            elements
        ):
            found.append(JudgementList(f"{column.name}[]", tuple(table), roles))
    return found


def _roles_of_elements(table: Mapping[str, list[Any]], rows: Sequence[int]) -> list[tuple[str, str]]:
    """Return role and key of the values of objects in lists; `rows`, the row of each, is the item if no key is."""
    if not table:
        return []
    frame = pd.DataFrame(table)
    profiles = describe_columns(frame)
    guesses = guess_roles(profiles)
    if not any(guess.role == "item_id" for guess in guesses):
        frame = frame.assign(**{_ROW: [f"row {row}" for row in rows]})
        of_row = describe_columns(frame[[_ROW]])[0]
        guesses = complete_roles(frame, [*profiles, of_row], [*guesses, RoleGuess("item_id", of_row)])
    return [(guess.role, guess.column.name) for guess in guesses if guess.column.name != _ROW]


_ROW = "\0row"


def _is_talk(elements: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether objects are the turns of a conversation: who speaks there did not judge."""
    return all({"role", "content"} <= e.keys() or {"from", "value"} <= e.keys() for e in elements[:100])


def _leaves(frame: pd.DataFrame, columns: Sequence[ColumnProfile]) -> pd.DataFrame:
    table: dict[str, list[Any]] = {}
    for column in columns:
        cells = [value if isinstance(value := opened(cell), dict) else None for cell in frame[column.name]]
        present = sum(map(_is_present, frame[column.name]))
        if _PLAIN.fullmatch(column.name) and any(cells) and sum(c is not None for c in cells) >= _SHARE * present:
            table |= _leaves_of(cells, f"{column.name}.")
    return pd.DataFrame(dict(list(table.items())[:_LEAVES]))


def _leaves_of(objects: Sequence[Mapping[str, Any] | None], prefix: str) -> dict[str, list[Any]]:
    """Return the values at each path of plain values in objects, the most frequent paths first."""
    counts = Counter(path for value in objects if value for path in _paths(value))
    wanted = [path for path, _ in counts.most_common(_LEAVES)]
    return {prefix + path: [_at(value, path) for value in objects] for path in wanted}


def _at(value: Mapping[str, Any] | None, path: str) -> Any:
    found: Any = value
    for key in path.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return None if isinstance(found, (dict, list)) else found


def _paths(value: Mapping[str, Any], depth: int = 1) -> Iterator[str]:
    for key, inner in value.items():
        if not _PLAIN.fullmatch(str(key)):
            continue
        if isinstance(inner, dict) and depth < _DEPTH:
            yield from (f"{key}.{rest}" for rest in _paths(inner, depth + 1))
        elif not isinstance(inner, (dict, list)):
            yield str(key)


def _is_present(cell: Any) -> bool:
    return cell is not None and cell == cell and cell != ""
