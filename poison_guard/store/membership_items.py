"""Which items a snapshot holds: those whose label is adopted, and for which an accepted vote speaks."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
import sqlalchemy as sa

from poison_guard.config import Contract
from poison_guard.store import bulk, tables
from poison_guard.store.engine import Store
from poison_guard.store.manifests import file_rows
from poison_guard.store.membership_votes import chunks, items_with_votes
from poison_guard.store.names import fit_names
from poison_guard.store.rows import item_rows

__all__ = ["item_homes", "item_members", "moved_items"]

_MEMBER = ["item_id", "label", "probability", "home"]


def item_members(
    store: Store, feed: str, *, homes: Iterable[int], seq: int, items: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return the items of some homes that were adopted as of `seq`: ``item_id, label, probability, home``.

    `items` are labels about to be sealed (columns of the items table), which take the place of stored ones; an item
    that has none stored is at home in 0. Without an accepted vote as of `seq` no item is a member, whatever its label
    says. Ordered by home and item.
    """
    wanted = {int(home) for home in homes}
    with store.read() as conn:
        found = pd.concat([_labels(conn, feed, some, seq) for some in chunks(wanted - {0})], ignore_index=True)
        if items is not None and len(items):
            found = pd.concat([found, _overriding(conn, feed, items, wanted, seq)], ignore_index=True)
            found = found.drop_duplicates("item_id", keep="last")
        found = found[found["adopted"] & found["label"].notna()]
        voted = items_with_votes(conn, feed, found["item_id"], seq=seq)
    members = found.loc[found["item_id"].isin(voted), _MEMBER]
    return members.sort_values(["home", "item_id"], ignore_index=True)


def item_homes(conn: sa.Connection, feed: str, moved: Iterable[str], *, since: int, seq: int) -> set[int]:
    """Return the homes of the items that got a label after `since`, and of `moved` ones; always 0 as well."""
    c = tables.items.c
    labelled = sa.select(c.item_id).where(c.feed == feed, c.seq > since, c.seq <= seq).distinct()
    home = sa.func.min(c.seq).label("home")
    each = sa.select(home).where(c.feed == feed, c.item_id.in_(labelled)).group_by(c.item_id).subquery()
    known = sa.select(c.item_id, home).where(c.feed == feed, c.seq <= seq).group_by(c.item_id)
    of_moved = bulk.select_many(conn, known, c.item_id, moved)["home"]
    return {0, *conn.execute(sa.select(each.c.home).distinct()).scalars(), *of_moved.unique().tolist()}


def moved_items(store: Store, conn: sa.Connection, contract: Contract, *, since: int, seq: int) -> set[str]:
    """Return the items whose label as of `seq` does not know of a move of their records after `since`.

    A label knows what its run pinned, not what came before its commit: moves are looked for from the oldest pin on.
    """
    feed, runs = contract.name, tables.runs.c
    query = sa.select(runs.commit_seq, runs.state_version).where(runs.feed == feed, runs.commit_seq <= seq)
    pins = {int(commit): int(pin) for commit, pin in conn.execute(query)}
    start = min([since, *(pin for commit, pin in pins.items() if commit > since)])
    moved = _last_moves(conn, feed, start, seq)
    if contract.data.revisions:
        moved = pd.concat([moved, _left_by_revision(store, conn, feed, start, seq)], ignore_index=True)
    if moved.empty:
        return set()
    last = moved.groupby("item_id")["seq"].max()
    c = tables.items.c
    newest = sa.select(c.item_id, sa.func.max(c.seq).label("seq")).where(c.feed == feed, c.seq <= seq)
    rows = bulk.select_many(conn, newest.group_by(c.item_id), c.item_id, last.index.tolist()).set_index("item_id")
    knows = rows["seq"].map(lambda number: pins.get(number, number)).reindex(last.index).fillna(0)
    return set(last.index[(last > knows).to_numpy()])


def _labels(conn: sa.Connection, feed: str, homes: list[int], seq: int) -> pd.DataFrame:
    """Return the newest label as of `seq` of each item whose first one was written at one of `homes`."""
    first, earlier, row, later = (sa.alias(tables.items, name) for name in ("first", "earlier", "newest", "later"))
    same = sa.and_(earlier.c.feed == feed, earlier.c.item_id == first.c.item_id, earlier.c.seq < first.c.seq)
    top = sa.select(sa.func.max(later.c.seq)).where(
        later.c.feed == feed, later.c.item_id == first.c.item_id, later.c.seq <= seq
    )
    query = (
        sa.select(row.c.item_id, row.c.label, row.c.probability, row.c.adopted, first.c.seq.label("home"))
        .join_from(first, row, sa.and_(row.c.feed == feed, row.c.item_id == first.c.item_id))
        .where(first.c.feed == feed, first.c.seq.in_(homes), first.c.seq <= seq)
        .where(~sa.exists().where(same), row.c.seq == top.scalar_subquery())
    )
    return bulk.fetch_frame(conn, query)


def _overriding(conn: sa.Connection, feed: str, items: pd.DataFrame, homes: set[int], seq: int) -> pd.DataFrame:
    """Return the labels about to be sealed whose item is at home in one of `homes`."""
    c = tables.items.c
    rows = item_rows(items)
    query = sa.select(c.item_id, sa.func.min(c.seq).label("home")).where(c.feed == feed, c.seq <= seq)
    known = bulk.select_many(conn, query.group_by(c.item_id), c.item_id, rows["item_id"]).set_index("item_id")["home"]
    home = rows["item_id"].map(known).fillna(0).astype("int64")
    rows = rows.assign(home=home)[["item_id", "label", "probability", "adopted", "home"]]
    return rows[rows["home"].isin(homes)]


def _last_moves(conn: sa.Connection, feed: str, after: int, seq: int) -> pd.DataFrame:
    """Return ``item_id, seq``: the last move of a record of each item after `after`."""
    r, m = tables.records.c, tables.moves.c
    query = (
        sa.select(r.item_id, sa.func.max(m.seq).label("seq"))
        .join_from(tables.moves, tables.records, sa.and_(m.feed == r.feed, m.record_id == r.record_id))
        .where(m.feed == feed, m.seq > after, m.seq <= seq, r.item_id.is_not(None))
        .group_by(r.item_id)
    )
    return bulk.fetch_frame(conn, query)


def _left_by_revision(store: Store, conn: sa.Connection, feed: str, after: int, seq: int) -> pd.DataFrame:
    """Return ``item_id, seq`` of items that a record was about before it was revised; only the lake still knows."""
    r, m = tables.records.c, tables.moves.c
    query = (
        sa.select(m.record_id, m.from_file, m.seq)
        .join_from(tables.moves, tables.records, sa.and_(m.feed == r.feed, m.record_id == r.record_id))
        .where(m.feed == feed, m.seq > after, m.seq <= seq, m.from_hash != r.content_hash)
    )
    revised = bulk.fetch_frame(conn, query)
    files = file_rows(conn, revised["from_file"].unique().tolist())
    found = [pd.DataFrame({"item_id": pd.Series(dtype="str"), "seq": pd.Series(dtype="int64")})]
    for file in files[files["lane"] != "unreadable"].itertuples():
        payload = store.lake.read_frame(file.path, columns=["record_id", "item_id"], sha256=file.sha256)
        mine = revised.loc[revised["from_file"] == file.file_id, ["record_id", "seq"]]
        found.append(mine.merge(payload, on="record_id")[["item_id", "seq"]].dropna())
    whole = pd.concat(found, ignore_index=True)
    return whole.assign(item_id=fit_names(whole["item_id"]))
