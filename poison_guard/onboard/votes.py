"""Find who said what about which item from the values alone, whatever the columns are called.

In a table of votes two columns of ids repeat, a pair of them hardly ever does, and a column of few values is the same
within one of them far more often than by chance: that one is the item, the other the source.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.ingest.collect import series_to_array
from poison_guard.ingest.nested_values import opened
from poison_guard.ingest.values import canonical_ids
from poison_guard.onboard.columns import ColumnProfile, describe_columns
from poison_guard.onboard.role_names import ROLE_ORDER
from poison_guard.onboard.roles import RoleGuess, guess_roles

__all__ = [
    "JudgementList",
    "complete_roles",
    "judgement_lists",
    "leaf_values",
    "looks_like_id",
    "object_leaves",
    "people_question",
    "source_question",
]


_ROWS = 20_000
"""Rows that are looked at."""
_PAIRS = 0.9
"""Share of rows whose source and item are a pair that no other row has."""
_AGREEMENT, _PROPERTY, _SIGMAS = 0.1, 0.995, 6.0
"""Agreement beyond chance within an item: at least; from here on the value is a property of the item; and its size in
standard errors."""
_CHANCE = 10.0
"""Pairs of whole numbers must be expected to repeat this often by chance where they never do: numbers that count or
measure something repeat."""
_JUDGEMENTS = ("answer", "label", "rating")


@dataclass(frozen=True, slots=True)
class _Vote:
    """Three columns that look like votes, by how much sources agree within an item."""

    source: str
    item: str
    judgement: str
    agreement: float


def complete_roles(
    frame: pd.DataFrame, columns: Sequence[ColumnProfile], guesses: Sequence[RoleGuess]
) -> list[RoleGuess]:
    """Return `guesses` with the source, item and judgement that only the values of `frame` show; each is a doubt."""
    found = {g.role: g for g in guesses}
    by_name = {c.name: c for c in columns if c.name in frame}
    _add_record_id(frame, found, by_name)
    judgement = next((role for role in _JUDGEMENTS if role in found), "answer")
    if not {"source_id", "item_id", judgement} <= found.keys() and "author_id" not in found:
        counted = {name: _as_ids(frame, c) for name, c in by_name.items()}
        _add_vote(frame.head(_ROWS), found, counted, judgement)
    return [found[role] for role in ROLE_ORDER if role in found]


def source_question(frame: pd.DataFrame, columns: Sequence[ColumnProfile], guesses: Sequence[RoleGuess]) -> str:
    """Return the question who sent the records, where no column has that role and some could; else empty."""
    roles = {g.role for g in guesses}
    taken = {g.column.name for g in guesses}
    if roles & {"source_id", "author_id"}:
        return ""
    ids = [_as_ids(frame, c) for c in columns if c.name in frame and c.name not in taken and c.kind == "text"]
    ids = [c for c in ids if _repeats(c) and looks_like_id(frame[c.name])]
    if not ids:
        return ""
    named = " or ".join(f"{c.name} ({c.distinct:,} values in {c.rows - c.nulls:,} rows)" for c in ids[:4])
    return f"who sent the records is not clear: source_id in [columns] could be {named}"


def people_question(frame: pd.DataFrame, columns: Sequence[ColumnProfile], guesses: Sequence[RoleGuess]) -> str:
    """Return the question whether columns are people who each judged the row; empty where they do not look like that.

    They do where three columns or more hold the same few words, which agree within a row beyond chance, and nothing
    else in the file says who judged.
    """
    taken = {g.column.name for g in guesses}
    if {"source_id", "author_id", *_JUDGEMENTS} & {g.role for g in guesses}:
        return ""
    free = [c for c in columns if c.name in frame and c.name not in taken]
    closed = [c.name for c in free if c.kind == "text" and c.is_closed_list and not c.constant]
    words = {name: frozenset(_plain(frame[name].head(_ROWS)).dropna()) for name in closed}
    alike = [[name for name in closed if 2 * len(words[name] & own) > len(words[name] | own)] for own in words.values()]
    people: list[str] = max(alike, key=len, default=[])
    if len(people) < _PEOPLE:
        return ""
    said = _plain(pd.concat([frame[name].head(_ROWS) for name in people], ignore_index=True))
    rows = np.tile(np.arange(min(len(frame), _ROWS)), len(people))
    if not _AGREEMENT <= _agreement(pd.factorize(said)[0], rows) < _PROPERTY:
        return ""
    named = ", ".join(people[:4]) + (", …" if len(people) > 4 else "")
    return (
        f"{named} hold the same {len(words[people[0]]):,} values and agree within a row: if each is what one person "
        "said, name these columns annotator_1, annotator_2 …, that of what they judged item_id, and run init again"
    )


_PEOPLE = 3
"""Columns from which on the same values in all of them are no chance."""


def looks_like_id(cells: pd.Series) -> bool:
    """Return whether most cells are one word that holds a digit or an @, such as ``u001`` or ``ann@example.org``."""
    present = cells.dropna().astype(str).head(1_000).str.strip()
    if not len(present) or present.nunique() < 5:
        return False
    words = present.str.fullmatch(r"\S*[\d@]\S*") & ~present.str.fullmatch(r"[-+$€£\d.,:/%]*")
    return bool(words.mean() >= 0.8)


def _add_record_id(frame: pd.DataFrame, found: dict[str, RoleGuess], by_name: Mapping[str, ColumnProfile]) -> None:
    """Give a column of hashes or UUIDs that never repeat the role of the record's id."""
    if "record_id" in found:
        return
    taken = {g.column.name for g in found.values() if g.role != "text"}
    for column in by_name.values():
        if column.name in taken or not column.unique or column.rows < 2:
            continue
        cells = frame[column.name].head(1_000)
        if column.kind in ("text", "binary") and all(map(_is_hash, cells)):
            if "text" in found and found["text"].column.name == column.name:
                del found["text"]
            found["record_id"] = RoleGuess("record_id", column, "guess: ids of which none repeats")
            return


def _is_hash(cell: object) -> bool:
    if isinstance(cell, bytes):
        return len(cell) == 16
    text = str(cell).replace("-", "").lower()
    return len(text) in (16, 24, 32, 40, 64) and set(text) <= set("0123456789abcdef")


def _as_ids(frame: pd.DataFrame, column: ColumnProfile) -> ColumnProfile:
    """Return the profile of a column of names with its values counted as ids are: trimmed and normalised."""
    if column.kind != "text" or not column.may_be_id:
        return column
    head = frame[column.name].head(_ROWS)
    spellings = max(1, head.nunique())
    return replace(column, distinct=round(column.distinct * _plain(head).nunique() / spellings))


def _repeats(c: ColumnProfile) -> bool:
    return c.may_be_id and c.distinct >= 5 and c.rows - c.nulls >= 1.5 * c.distinct


def _add_vote(
    frame: pd.DataFrame, found: dict[str, RoleGuess], by_name: Mapping[str, ColumnProfile], judgement: str
) -> None:
    taken = {g.column.name for g in found.values()}
    free = [c for c in by_name.values() if c.name not in taken]
    ids = [c.name for c in free if _repeats(c)]
    given = {role: found[role].column.name for role in ("source_id", "item_id", judgement) if role in found}
    pictures = [found["image"].column.name] if "image" in found and _repeats(found["image"].column) else []
    closed = [c.name for c in free if c.is_closed_list and not c.constant and c.kind != "binary" and c.epoch is None]
    votes = _votes(
        frame,
        [given["source_id"]] if "source_id" in given else ids,
        [given["item_id"]] if "item_id" in given else [*ids, *pictures],
        [given[judgement]] if judgement in given else closed,
        numbers={c.name for c in free if c.kind == "number"},
    )
    if not votes:
        return
    best = max(votes, key=lambda vote: (round(vote.agreement, 2), -by_name[vote.source].distinct))
    doubts = {
        "source_id": "guess by values: it repeats, and hardly ever twice with one item; is it who sent the record?",
        "item_id": f"guess by values: {best.judgement} agrees within it; is it what the record is about?",
        judgement: f"guess by values: it agrees within {best.item}; is it what the source said?",
    }
    for role, column in (("source_id", best.source), ("item_id", best.item), (judgement, best.judgement)):
        if role not in found and column in by_name:
            found[role] = RoleGuess(role, by_name[column], doubts[role])


def _votes(
    frame: pd.DataFrame,
    sources: Sequence[str],
    items: Sequence[str],
    judgements: Sequence[str],
    *,
    numbers: set[str],
) -> list[_Vote]:
    """Return the triples of columns that look like votes, of those that the names allow."""
    present = {name for name in {*sources, *items, *judgements} if name in frame}
    codes = {name: pd.factorize(_plain(frame[name]))[0] for name in present}
    votes: list[_Vote] = []
    for judgement in judgements:
        for item in items:
            if judgement not in codes or item not in codes or item == judgement:
                continue
            agreement = _agreement(codes[judgement], codes[item])
            if not _AGREEMENT <= agreement < _PROPERTY:
                continue
            votes += [
                _Vote(source, item, judgement, agreement)
                for source in sources
                if source in codes
                and source not in (item, judgement)
                and _are_pairs(codes[source], codes[item], strict=bool({source, item} & numbers))
                and _agreement(codes[judgement], codes[source]) < agreement
            ]
    return votes


def _plain(cells: pd.Series) -> pd.Series:
    """Return cells as they compare: text trimmed and normalised, capitals as small letters, lists as sets."""
    text = cells.map(lambda cell: str(sorted(map(str, cell))) if isinstance(cell, (list, np.ndarray)) else cell)
    text = text.where(text.isna(), text.astype(str)).astype("str")
    return pd.Series(canonical_ids(series_to_array(text)[0]).to_pandas(), index=cells.index).str.casefold()


def _agreement(judgements: np.ndarray, items: np.ndarray) -> float:
    """Return how much judgements agree within items beyond chance, at most 1; 0 where it could be chance."""
    both = (judgements >= 0) & (items >= 0)
    judgements, items = judgements[both], items[both]
    if not len(items):
        return 0.0
    choices = int(judgements.max()) + 1
    _, at = np.unique(items * choices + judgements, return_inverse=True)
    cells = np.bincount(at)
    sizes = np.bincount(items)
    pairs = (sizes * (sizes - 1)).sum() / 2
    if pairs < 20:
        return 0.0
    shares = np.bincount(judgements) / len(items)
    chance = float((shares**2).sum())
    seen = (cells * (cells - 1)).sum() / 2 / pairs
    error = np.sqrt(chance * (1 - chance) / pairs)
    return float((seen - chance) / (1 - chance)) if chance < 1 and seen - chance > _SIGMAS * error else 0.0


def _are_pairs(sources: np.ndarray, items: np.ndarray, *, strict: bool) -> bool:
    """Return whether many sources meet many items, mostly once; `strict`: never twice where chance alone would."""
    both = (sources >= 0) & (items >= 0)
    sources, items = sources[both], items[both]
    n, pairs = len(items), len(set(zip(sources.tolist(), items.tolist(), strict=True)))
    n_sources, n_items = len(set(sources.tolist())), len(set(items.tolist()))
    if not n or pairs < _PAIRS * n or pairs < 1.5 * max(n_sources, n_items):
        return False
    if not strict:
        return True
    chance = n * (n - 1) / 2 * float(((np.bincount(sources) / n) ** 2).sum() * ((np.bincount(items) / n) ** 2).sum())
    return pairs == n and chance >= _CHANCE


_LEAF_ROWS = 5_000
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
    head = frame.head(_LEAF_ROWS)
    return _leaves(head, columns).set_axis(head.index)


def judgement_lists(frame: pd.DataFrame, columns: Sequence[ColumnProfile]) -> list[JudgementList]:
    """Return the lists of objects that have a key for a source or a judgement."""
    found = []
    head = frame.head(_LEAF_ROWS)
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
