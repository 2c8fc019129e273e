"""What an item shows: of the contents that its records carry, the one that most established sources showed."""

from __future__ import annotations

import unicodedata

import numpy as np
import pandas as pd

__all__ = ["item_content"]

_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn"}
_BETWEEN = "\x1f"
"""Between the columns of a content."""


def item_content(
    records: pd.DataFrame,
    columns: tuple[str, ...],
    *,
    established: pd.Series | None = None,
) -> pd.DataFrame:
    """Return one row of `records` an item: that which shows the item as most of its sources do, ordered by item.

    `records` has ``item_id``, the content `columns` and, where they are known, ``source_id`` and ``seq``; order them by
    record. Contents are alike after NFC, without invisible characters and with blanks as one. The one that most
    `established` sources showed is taken, then the one that most sources showed, then the first one (by ``seq``, then
    by code point). Of its spellings the same rule takes one. A row without any content says nothing of its item; one
    source counts once, however often it shows an item.
    """
    rows = records[records["item_id"].notna()]
    if columns:
        rows = rows[rows[list(columns)].notna().any(axis=1)]
    trusty = np.zeros(len(rows), bool) if established is None else established.reindex(rows.index).to_numpy(bool)
    spelling = _joined(rows, columns)
    codes, spellings = pd.factorize(spelling)
    content = np.array([_plain(text) for text in spellings], dtype=object)[codes] if len(rows) else spelling
    table = pd.DataFrame(
        {
            "at": np.arange(len(rows)),
            "item": rows["item_id"].to_numpy(object),
            "spelling": spelling,
            "content": content,
            "source": rows["source_id"].to_numpy(object) if "source_id" in rows else np.arange(len(rows)),
            "old": trusty,
            "seq": rows["seq"].to_numpy() if "seq" in rows else 0,
        }
    )
    for name in ("content", "spelling"):
        best = _most_shown(table, name)
        table = table[table[name].to_numpy(object) == table["item"].map(best).to_numpy(object)]
    first = table.drop_duplicates("item").sort_values("item")["at"].to_numpy()
    return rows.iloc[first].reset_index(drop=True)


def _most_shown(table: pd.DataFrame, name: str) -> pd.Series:
    """Return by item the value of the column `name` that most established sources, then most sources, showed."""
    each = table.groupby(["item", name, "source"], dropna=False, sort=False).agg(old=("old", "any"), seq=("seq", "min"))
    shown = each.groupby(level=["item", name], dropna=False, sort=False).agg(
        old=("old", "sum"), sources=("old", "size"), seq=("seq", "min")
    )
    ranked = shown.reset_index().sort_values(["old", "sources", "seq", name], ascending=[False, False, True, True])
    return ranked.drop_duplicates("item").set_index("item")[name]


def _joined(rows: pd.DataFrame, columns: tuple[str, ...]) -> np.ndarray:
    """Return the content of each row as one text ``(n,)``; cells that are lists (images) as their numbers."""
    joined = np.full(len(rows), "", dtype=object)
    for name in columns:
        joined += np.array([_text(cell) + _BETWEEN for cell in rows[name].to_numpy(object)], dtype=object)
    return joined


def _text(cell: object) -> str:
    if isinstance(cell, str):
        return cell
    if hasattr(cell, "tolist"):
        cell = cell.tolist()
    return "" if cell is None or cell != cell else repr(cell)  # NaN differs from itself


def _plain(text: str) -> str:
    """Return a content as it is compared: NFC, without characters that draw nothing, blanks as one."""
    parts = unicodedata.normalize("NFC", text).split(_BETWEEN)
    return _BETWEEN.join(" ".join("".join(filter(_seen, part)).split()) for part in parts)


def _seen(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) not in _UNSEEN
