"""Later truth about records: written once a record, and credited only to answers given before it could be seen."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import sqlalchemy as sa

from poison_guard.canonical_json import utc_or_now
from poison_guard.config import Contract
from poison_guard.records import ObjectRef
from poison_guard.store import bulk, chain, ground_truth, tables
from poison_guard.store.bulk import bounded_keys
from poison_guard.store.columns import UtcTime
from poison_guard.store.engine import Store
from poison_guard.store.runs import register_feed

__all__ = ["OutcomesAdded", "add_outcomes", "outcome_digest"]


@dataclass(frozen=True, slots=True)
class OutcomesAdded:
    """What a reading of outcomes brought."""

    right: int = 0
    """Records said to be right that were not before, and credited."""
    wrong: int = 0
    revised: int = 0
    """Of both, those of which the opposite was said before."""
    late: int = 0
    """Records that tell nothing of their source: the outcome of their item could be seen before they came."""
    unknown: int = 0
    """Records that the feed has not (yet) seen; should they come, they tell nothing."""
    repeated: int = 0
    """Outcomes that were known already."""


def outcome_digest(digest: str) -> str:
    """Return the name under which a file of outcomes is remembered among the objects that were taken in."""
    return f"outcomes:{digest}"


def add_outcomes(
    store: Store, contract: Contract, outcomes: pd.DataFrame, *, objects: Sequence[ObjectRef], now: dt.datetime
) -> OutcomesAdded:
    """Store outcomes (``record_id, correct`` bool, ``visible_at``; the last row of a record counts) in one event.

    `visible_at` is when the outcome became known outside; missing, the time of its first reading. A record counts, for
    or against its source, when it was received before any outcome of its item was visible: were only the right ones of
    the others left out, honest sources would look worse than they are.
    """
    feed, at = contract.name, utc_or_now(now)
    newest = _normalised(outcomes, at)
    with store.write() as conn:
        seq = chain.next_seq(conn)
        register_feed(conn, contract, at)
        rows = _with_records(conn, feed, newest)
        rows = rows.assign(verdict=rows["correct"].map({True: 1, False: -1}).where(rows["known"], 0))
        late = rows["known"] & (rows["received_at"] >= rows["first_visible"])
        rows = rows.assign(verdict=rows["verdict"].mask(late, 0).astype("int64"))
        said = ground_truth.said_in(rows)
        news = ground_truth.note_verdicts(
            conn, said, feed=feed, namespace=contract.namespace, kind=ground_truth.OUTCOME, seq=seq, at=at
        )
        added = _added_counts(rows, news, late)
        _write_objects(conn, feed, objects, seq=seq)
        counts = {name: getattr(added, name) for name in OutcomesAdded.__slots__}
        body = {"counts": counts, "files": [ref.digest for ref in objects]}
        named = ((tables.policies, [contract.policy.hash]),)
        chain.append(conn, store.key, kind="outcomes.read", at=at, body=body, feed=feed, rows=named)
    return added


def _normalised(outcomes: pd.DataFrame, at: dt.datetime) -> pd.DataFrame:
    """Return one row a record, with the time its outcome could be seen: never later than now."""
    newest = outcomes.assign(record_id=bounded_keys(outcomes["record_id"])).drop_duplicates("record_id", keep="last")
    now = pd.Timestamp(at).as_unit("us")
    visible = pd.to_datetime(newest["visible_at"], utc=True).astype("datetime64[us, UTC]").fillna(now).clip(upper=now)
    return newest.assign(visible_at=visible, correct=newest["correct"].astype(bool))


def _with_records(conn: sa.Connection, feed: str, outcomes: pd.DataFrame) -> pd.DataFrame:
    """Return outcomes with their records, and when the first outcome of each record's item could be seen."""
    c = tables.records.c
    query = sa.select(c.record_id, c.source_id, c.item_id, c.observed_at, c.received_at).where(c.feed == feed)
    rows = outcomes.merge(bulk.select_many(conn, query, c.record_id, outcomes["record_id"]), on="record_id", how="left")
    rows = rows.assign(known=rows["received_at"].notna())
    words = ground_truth.last_verdicts(conn, feed, rows["record_id"].tolist())
    seen = [words.get((name, ground_truth.OUTCOME), (0, None))[1] for name in rows["record_id"]]
    first = pd.Series(pd.to_datetime(seen, unit="us", utc=True), index=rows.index).astype("datetime64[us, UTC]")
    rows["visible_at"] = rows["visible_at"].where(first.isna() | (rows["visible_at"] <= first), first)
    of_item = pd.concat([rows[["item_id", "visible_at"]], _visible_before(conn, feed, rows["item_id"])])
    of_item = of_item.dropna().groupby("item_id")["visible_at"].min()
    earlier = of_item.reindex(rows["item_id"]).set_axis(rows.index)
    rows["first_visible"] = rows["visible_at"].where(earlier.isna() | (rows["visible_at"] <= earlier), earlier)
    return rows.assign(given_at=ground_truth.given_at(rows).fillna(rows["visible_at"]))


def _visible_before(conn: sa.Connection, feed: str, items: pd.Series) -> pd.DataFrame:
    """Return ``item_id, visible_at`` of the outcomes stored for records of some items."""
    v, r = tables.verified.c, tables.records.c
    first = sa.func.min(v.visible_at, type_=UtcTime).label("visible_at")
    query = (
        sa.select(r.item_id, first)
        .join_from(tables.records, tables.verified, sa.and_(v.feed == r.feed, v.record_id == r.record_id))
        .where(r.feed == feed, v.kind == ground_truth.OUTCOME)
        .group_by(r.item_id)
    )
    return bulk.select_many(conn, query, r.item_id, items.dropna().unique().tolist())


def _added_counts(rows: pd.DataFrame, news: Mapping[str, tuple[int, int]], late: pd.Series) -> OutcomesAdded:
    fresh = rows["record_id"].isin(list(news))
    return OutcomesAdded(
        right=sum(now == 1 for _, now in news.values()),
        wrong=sum(now == -1 for _, now in news.values()),
        revised=sum(before * now < 0 for before, now in news.values()),
        late=int((late & fresh).sum()),
        unknown=int((~rows["known"] & fresh).sum()),
        repeated=int((~fresh).sum()),
    )


def _write_objects(conn: sa.Connection, feed: str, objects: Sequence[ObjectRef], *, seq: int) -> None:
    rows = [
        {"feed": feed, "digest": outcome_digest(o.digest), "uri": o.uri, "size": o.size, "rows": o.rows,
         "watermark": None, "run_id": f"{feed}-outcomes", "seq": seq}
        for o in objects
    ]  # fmt: skip
    bulk.insert_missing(conn, tables.objects, rows)
