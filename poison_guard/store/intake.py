"""Compare what came in with what the store has: new, seen before, decided again, revised or in conflict (pure)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from poison_guard.errors import StoreError
from poison_guard.records import Place

__all__ = ["Intake", "Lookup", "sort_intake"]

Lookup = Callable[[Sequence[str]], pd.DataFrame]
"""Record ids -> ``record_id, content_hash, place, …`` of those that the store has."""


@dataclass(frozen=True, slots=True)
class Intake:
    """Rows of a batch by what has to be done with them; frames have the columns that `sort_intake` was given."""

    new: pd.DataFrame
    again: pd.DataFrame
    """Were staged, and are decided once more."""
    revised: pd.DataFrame
    """Same id with other content, where the contract takes that for a revision."""
    seen: int
    """Same id and same content, settled before."""
    renamed: Mapping[str, str]
    """Given id -> id under which content that contradicts a stored record is kept."""
    contested: tuple[str, ...]
    """Ids that were given to different contents; none of them may stay accepted."""


def sort_intake(rows: pd.DataFrame, look_up: Lookup, *, revisions: bool) -> Intake:
    """Sort `rows` (``record_id, content_hash, place, …``; `place` is missing where a record was not decided)."""
    rows = rows.reset_index(drop=True)
    known = look_up(rows["record_id"].tolist()).set_index("record_id")
    there = known.reindex(rows["record_id"])
    is_known = pd.Series(there["content_hash"].notna().to_numpy(), index=rows.index)
    same = is_known & (there["content_hash"].to_numpy() == rows["content_hash"].to_numpy())
    again = same & (there["place"].to_numpy() == Place.STAGED.value) & rows["place"].notna()
    other = is_known & ~same
    revised = rows[other] if revisions else rows.iloc[:0]
    clash = rows.iloc[:0] if revisions else rows[other]
    renamed = {
        name: _contested_name(name, content)
        for name, content in zip(clash["record_id"], clash["content_hash"], strict=True)
    }
    clash = clash.assign(record_id=clash["record_id"].map(renamed).astype("str"))
    fresh = pd.concat([rows[~is_known], clash]).sort_index()
    new, echoes, bases = _without_echoes(fresh, look_up)
    seen = int((same & ~again).sum()) + echoes
    for part in (new, revised):
        _check_decided(part)
    contested = tuple(sorted({*bases} - set(revised["record_id"])))
    return Intake(new, rows[again], revised, seen, renamed, contested)


def _contested_name(name: str, content_hash: str) -> str:
    return f"{name}~{content_hash[:8]}"


def _without_echoes(fresh: pd.DataFrame, look_up: Lookup) -> tuple[pd.DataFrame, int, tuple[str, ...]]:
    """Return the rows that are truly new, how many were not, and the ids that new rows contest.

    A row called ``ID~HASH8`` contests ID; it is an echo when it, or ID with the same content, is stored already.
    """
    suffix = "~" + fresh["content_hash"].str[:8]
    named = pd.Series(
        [n.endswith(s) for n, s in zip(fresh["record_id"].tolist(), suffix.tolist(), strict=True)],
        index=fresh.index,
        dtype=bool,
    )
    claims = fresh[named]
    if claims.empty:
        return fresh, 0, ()
    base = claims["record_id"].str[:-9]
    known = look_up([*claims["record_id"], *base]).set_index("record_id")["content_hash"]
    echo = claims["record_id"].isin(known.index) | (base.map(known) == claims["content_hash"]).fillna(False)
    kept = fresh.drop(index=claims.index[echo])
    return kept, int(echo.sum()), tuple(base[~echo])


def _check_decided(rows: pd.DataFrame) -> None:
    undecided = rows["place"].isna()
    if undecided.any():
        first = rows.loc[undecided, "record_id"].iloc[0]
        raise StoreError(f"{int(undecided.sum())} records have no decision, the first is {first!r}; nothing was stored")
    if rows["record_id"].duplicated().any():
        first = rows.loc[rows["record_id"].duplicated(), "record_id"].iloc[0]
        raise StoreError(f"the record {first!r} is in the batch twice; nothing was stored")
