"""Explode a row: its lists that hold judgements, element by element, and how much one row may become."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.config.parse import NULL_WORDS
from poison_guard.ingest.nested_values import is_empty, listed, opened, plain
from poison_guard.ingest.paths import Deep, Each, Expression, Key, Row, Star, Step
from poison_guard.text import quoted

__all__ = ["Unfit", "elements", "exploded_columns", "row_chars", "within_bound"]

_ROW_CHARS = 64_000_000
"""Characters that the records of one row may have together."""


class Unfit(Exception):  # noqa: N818  a finding about one row
    """A row cannot be exploded: it would become too many records, or has something else where a list should be."""


def elements(paths: Mapping[str, Expression], row: Row, most: int) -> dict[str, list[Any]]:
    """Return, for each column that is exploded, the cells of the records of a row; lists side by side are as long."""
    found: dict[str, list[Any]] = {}
    counts: dict[str, int] = {}
    for text, path in paths.items():
        start = path.root(row.names)
        if start is None and isinstance(path.steps[0], Star):
            parts = _of_columns(path.steps[0], path.steps[1:], row)
        elif start is None:
            continue
        else:
            parts = {start[0]: list(itertools.islice(_narrowed(row.cell(start[0]), start[1]), most + 1))}
        counts[text] = len(next(iter(parts.values()), ()))
        if counts[text] > most:
            raise Unfit(f"{text} holds more than max_explode = {most:,} elements in it")
        found |= parts
    if len(set(counts.values())) > 1:
        said = " and ".join(f"{n:,} in {text}" for text, n in counts.items())
        raise Unfit(f"its lists are not equally long: {said}")
    return found


def exploded_columns(path: Expression, names: Sequence[str]) -> list[str]:
    """Return the columns of `names` whose cells a path explodes."""
    start, first = path.root(dict.fromkeys(names)), path.steps[0]
    if start is not None:
        return [start[0]]
    return [name for name in names if fnmatchcase(name, first.pattern)] if isinstance(first, Star) else []


def _of_columns(star: Star, steps: Sequence[Step], row: Row) -> dict[str, list[Any]]:
    """Return the cells of records that have one of the columns each that a star at the top names."""
    names = [name for name in row.names if fnmatchcase(name, star.pattern)]
    cells = {name: cell for name in names if (cell := row.cell(name)) not in (None, "")}
    narrowed = [next(iter(part.items())) for part in _narrowed(cells, [star, *steps])]
    return {name: [value if key == name else None for key, value in narrowed] for name in names}


def _narrowed(value: Any, steps: Sequence[Step]) -> Iterator[Any]:
    """Yield a value once for each element that `steps` lead to, with only this element where the others were."""
    if not steps:
        if value is not None:
            yield value
        return
    step, rest = steps[0], steps[1:]
    match step:
        case Key(name):
            inside = _object(value)
            if name in inside:
                yield from ({**inside, name: part} for part in _narrowed(inside[name], rest))
        case Each():
            yield from ([part] for element in _list(value) for part in _narrowed(element, rest))
        case Star(pattern):
            for key, element in _object(value).items():
                if fnmatchcase(str(key), pattern):
                    yield from ({key: part} for part in _narrowed(element, rest))
        case Deep(name):
            yield from _tree(opened(value), name)
        case _:
            return


def _list(value: Any) -> list[Any]:
    found, inside = listed(value), opened(value)
    no_rows = isinstance(inside, dict) and all(column == [] for column in inside.values())  # as Hugging Face writes it
    if not (found or no_rows or is_empty(inside) or str(inside).strip().casefold() in NULL_WORDS):
        raise Unfit(f"there is {quoted(plain(value))} in it where [data] explode says that a list is")
    return found


def _tree(root: Any, name: str) -> Iterator[dict[str, Any]]:
    """Yield an object, those in its list `name`, and those in theirs, each without that list."""
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            yield {key: value for key, value in node.items() if key != name}
            stack += reversed(listed(node.get(name)))


def _object(value: Any) -> dict[str, Any]:
    inside = opened(value)
    return inside if isinstance(inside, dict) else {}


def within_bound(parts: Mapping[str, list[Any]], row_chars: int, explode: str) -> int:
    """Return about how many characters the records of a row have; raise `Unfit` past the bound."""
    n = len(next(iter(parts.values()), ()))
    size = n * row_chars
    for element in itertools.chain.from_iterable(parts.values()):
        if size > _ROW_CHARS:
            break
        size += _size(element)
    if size > _ROW_CHARS:
        raise Unfit(f"the {n:,} records that {explode} makes of it have more than {_ROW_CHARS:,} characters")
    return size


def _size(value: Any) -> int:
    """Return about how many characters the JSON text of a value has."""
    if isinstance(value, str):
        return len(value) + 4
    if isinstance(value, dict):
        return sum(len(str(key)) + 6 + _size(inner) for key, inner in value.items()) + 2
    return sum(map(_size, value)) + 2 * len(value) if isinstance(value, list) else 8


def row_chars(table: pa.Table) -> np.ndarray:
    """Return ``(n,)`` int64: characters of each row, eight for what is no text."""
    total = np.full(table.num_rows, 8 * table.num_columns, np.int64)
    for column in table.columns:
        if pa.types.is_large_string(column.type) or pa.types.is_large_binary(column.type):
            total += pc.fill_null(pc.binary_length(column), 0).to_numpy().astype(np.int64)
    return total
