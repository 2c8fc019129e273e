"""Give records their identity: a hash of their content, an id if none was given, a rule for ids given twice.

A row that comes with an id of other content is a newcomer: it gets a name of its own, ``ID~HASH8``, and the record that
has the id keeps it. `resolve_repeats` does so within a batch, `pipeline.newcomers` against what the store has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "ID_PREFIX_CHARS",
    "ResolvedIds",
    "content_hashes",
    "count_named",
    "derived_ids",
    "newcomer_names",
    "owners_of",
    "resolve_repeats",
    "unreadable_id",
]

_BLOCK_ROWS = 100_000
ID_PREFIX_CHARS = 200
"""Characters of a contested id that its new name begins with."""


def content_hashes(canonical: Mapping[str, pa.Array], rows: int) -> np.ndarray:
    """Return ``(n,)`` object array of BLAKE2b-128 hex over each row's canonical cells, columns by name.

    The given id is not part of it: two records with equal content have the same content hash under two ids.
    """
    cells = [canonical[name] for name in sorted(canonical) if name != "record_id"]
    out: list[str] = []
    digest = hashlib.blake2b
    for start in range(0, rows, _BLOCK_ROWS):
        size = min(_BLOCK_ROWS, rows - start)
        parts = [c.slice(start, size) for c in cells] or [pa.array([b""] * size, pa.large_binary())]
        joined = pc.binary_join_element_wise(*parts, pa.scalar(b"", pa.large_binary()))
        out.extend(digest(row, digest_size=16, person=b"record").hexdigest() for row in joined.to_pylist())
    return np.array(out, dtype=object)


def derived_ids(feed: str, names: Sequence[tuple[str, int]], hashes: Sequence[str], ordinals: np.ndarray) -> list[str]:
    """Return 32 hex of BLAKE2b over feed, object, content, and the content's ordinal among its equals in the object.

    `names` are the objects' names, each with a number of rows. The set of ids does not depend on the order of rows; two
    identical rows of one object are two records.
    """
    ids: list[str] = []
    for name, n in names:
        start, first = _id_state(feed, name), len(ids)
        for content, k in zip(hashes[first : first + n], ordinals[first : first + n].tolist(), strict=True):
            state = start.copy()
            state.update(f"{content}{k}".encode())
            ids.append(state.hexdigest())
    return ids


def count_named(feed: str, name: str, ids: Iterable[str], hashes: Iterable[str]) -> dict[str, int]:
    """Return content -> number of the records with these ids and contents that have their id by an object's name."""
    held: dict[str, set[str]] = {}
    for record_id, content in zip(ids, hashes, strict=True):
        held.setdefault(content, set()).add(record_id)
    start = _id_state(feed, name)
    counts: dict[str, int] = {}
    for content, there in held.items():
        for k in count():
            state = start.copy()
            state.update(f"{content}{k}".encode())
            if state.hexdigest() not in there:
                counts[content] = k
                break
    return counts


def unreadable_id(feed: str, uri: str, digest: str, occurrence: int) -> str:
    """Return the id of a row that is not a record, from the digest of its text, in whatever file that comes again.

    `occurrence` counts the rows of one object that have that text. `uri` is empty; of a whole object, its own.
    """
    state = _id_state(feed, uri)
    state.update(f"unreadable {digest} {occurrence}".encode())
    return state.hexdigest()


@dataclass(frozen=True, slots=True)
class ResolvedIds:
    """The ids of a batch after ids given more than once are resolved; all arrays are ``(n,)``."""

    ids: pd.Series
    keep: np.ndarray
    """bool: False if the row repeats, or is an older revision of, a row that is kept."""
    conflict: np.ndarray
    """bool: the row's id was given with two contents."""


def owners_of(columns: Mapping[str, pd.Series], n: int) -> pd.Series:
    """Return who may revise each of `n` rows: its source, its author where it has none; missing where it has neither.

    `columns` may lack ``source_id`` and ``author_id``.
    """
    nobody = pd.Series(None, index=range(n), dtype="str")
    source = columns.get("source_id", nobody).reset_index(drop=True)
    return source.fillna(columns.get("author_id", nobody).reset_index(drop=True))


def resolve_repeats(
    ids: pd.Series, hashes: np.ndarray, places: pd.DataFrame, *, owners: pd.Series | None = None
) -> ResolvedIds:
    """Resolve ids that a batch has more than once; the order of its rows does not matter.

    `places` ranks rows by its columns in order (time, object, row). Same id and content: the first row is kept. Same
    id, other content: where the contract takes revisions, `owners` says whose each row is (`owners_of`), and the last
    row of an owner is kept. Where more than one is left, the row with the smallest content hash keeps the id, the
    others get the id with a part of their hash, and all are in conflict.
    """
    n = len(ids)
    keep, conflict = np.ones(n, bool), np.zeros(n, bool)
    repeated = np.flatnonzero(ids.duplicated(keep=False).to_numpy())
    if not len(repeated):
        return ResolvedIds(ids, keep, conflict)
    rows = (
        places.iloc[repeated].set_axis(repeated).sort_values(list(places.columns), na_position="first", kind="stable")
    )
    rows = rows.assign(id=ids.to_numpy(dtype=object)[rows.index], hash=hashes[rows.index])
    if owners is None:
        dropped = rows.duplicated(["id", "hash"])
    else:
        dropped = rows.assign(owner=owners.to_numpy()[rows.index]).duplicated(["id", "owner"], keep="last")
    keep[rows.index[dropped]] = False
    kept = rows[~dropped]
    conflicts = kept[kept.duplicated("id", keep=False)]
    conflict[conflicts.index] = True
    return ResolvedIds(_rename_conflicts(ids, conflicts.sort_values(["id", "hash"])), keep, conflict)


def _rename_conflicts(ids: pd.Series, conflicts: pd.DataFrame) -> pd.Series:
    """Give all but the first row of each id in `conflicts` an id that no row of the batch has."""
    others = conflicts[conflicts.duplicated("id")]
    if others.empty:
        return ids
    taken, renamed = set(ids), ids.to_numpy(dtype=object).copy()
    for position, record_id, content in zip(others.index, others["id"], others["hash"], strict=True):
        renamed[position] = next(name for name in newcomer_names(record_id, content) if name not in taken)
        taken.add(renamed[position])
    return pd.Series(renamed, dtype="str")


def newcomer_names(record_id: str, content: str) -> Iterator[str]:
    """Yield the names that a newcomer may get, the first free one is taken: ``ID~HASH8``, longer ones after it."""
    base = record_id[:ID_PREFIX_CHARS]
    return chain((f"{base}~{content[:8]}", f"{base}~{content}"), (f"{base}~{content}~{k}" for k in count(2)))


def _id_state(feed: str, uri: str) -> hashlib.blake2b:
    prefix = f"{len(feed)}:{feed}{len(uri)}:{uri}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(prefix, digest_size=16, person=b"id")
