"""Find who said what about which item from the values alone, whatever the columns are called.

In a table of votes two columns of ids repeat, a pair of them hardly ever does, and a column of few values is the same
within one of them far more often than by chance: that one is the item, the other the source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from poison_guard.ingest.collect import series_to_array
from poison_guard.ingest.values import canonical_ids
from poison_guard.onboard.columns import ColumnProfile
from poison_guard.onboard.roles import ROLE_ORDER, RoleGuess

__all__ = ["complete_roles", "looks_like_id", "source_question"]

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
