"""Which answers were right or wrong, by controls, reviewers and outcomes, and the ledger of sources that sums it up.

The ledger is append-only deltas; a state is their sum up to a version. A record counts once: where several verdicts
exist, the outcome is believed before the reviewer, and both before a control.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import pandas as pd
import sqlalchemy as sa

from poison_guard.records import Place
from poison_guard.store import bulk, tables
from poison_guard.store.bulk import bounded_keys

__all__ = [
    "CONTROL",
    "MAX_ANSWERS",
    "OUTCOME",
    "REVIEW",
    "add_ledger_deltas",
    "control_verdicts",
    "given_at",
    "last_verdicts",
    "ledger_sums",
    "load_verified",
    "note_verdicts",
    "retract_verdicts",
]


def add_ledger_deltas(conn: sa.Connection, frame: pd.DataFrame, *, namespace: str, feed: str, seq: int) -> None:
    """Append deltas: `frame` has ``source_id, first_seen`` and any of `tables.LEDGER_COUNTS`, one row a source."""
    counts = [name for name in tables.LEDGER_COUNTS if name in frame.columns]
    rows = frame.assign(
        source_id=bounded_keys(frame["source_id"]), **{c: frame[c].fillna(0).astype(float) for c in counts}
    )
    moved = rows[rows[counts].ne(0).any(axis=1)] if counts else rows.iloc[:0]
    bulk.insert_frame(conn, tables.ledger, moved.assign(namespace=namespace, feed=feed, seq=seq))


def ledger_sums(
    conn: sa.Connection, namespace: str, *, version: int | None = None, source_ids: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return one row a source: ``source_id``, the sums up to `version`, ``first_seen`` and ``blocked`` (bool).

    Sorted by source, so that the same ledger is always the same frame.
    """
    c = tables.ledger.c
    totals = [sa.func.sum(c[name]).label(name) for name in tables.LEDGER_COUNTS]
    query = (
        sa.select(c.source_id, *totals, sa.func.min(c.first_seen, type_=tables.UtcTime).label("first_seen"))
        .where(c.namespace == namespace)
        .group_by(c.source_id)
    )
    if version is not None:
        query = query.where(c.seq <= version)
    if source_ids is None:
        frame = bulk.fetch_frame(conn, query)
    else:
        frame = bulk.select_many(conn, query, c.source_id, source_ids)
    frame = frame.assign(blocked=frame["blocked"] > 0)
    return frame.sort_values("source_id", ignore_index=True)


CONTROL, REVIEW, OUTCOME = "control", "review", "outcome"
MAX_ANSWERS = 500
"""Verified answers of a source that are looked back at."""
_PRECEDENCE = (OUTCOME, REVIEW, CONTROL)
_COLUMNS = ("record_id", "source_id", "given_at", "visible_at", "verdict")


def given_at(rows: pd.DataFrame) -> pd.Series:
    """Return when records (``observed_at, received_at``) were given: the sender's word, but no later than they came."""
    early = rows["observed_at"].notna() & (rows["observed_at"] < rows["received_at"])
    return rows["observed_at"].where(early, rows["received_at"])


def note_verdicts(
    conn: sa.Connection, rows: pd.DataFrame, *, feed: str, namespace: str, kind: str, seq: int, at: dt.datetime
) -> pd.DataFrame:
    """Write what `kind` says of records and return the rows that were news, with what they were ``before``.

    `rows` are ``record_id, source_id, given_at, verdict`` (1 right, -1 wrong, 0 nothing) and, for outcomes,
    ``visible_at``; a record once. Saying the same again changes nothing, something else takes the old word back. What
    reviewers and outcomes say is added to the ledger; controls are counted there by the run that met them.
    """
    earlier = last_verdicts(conn, feed, rows["record_id"])
    before = rows["record_id"].map(earlier.loc[earlier["kind"] == kind].set_index("record_id")["verdict"])
    silent = before.isna() & ((rows["verdict"] == 0) & (kind != OUTCOME))
    news = rows.assign(before=before.fillna(0).astype("int64"))[(before != rows["verdict"]) & ~silent]
    if news.empty:
        return news
    bulk.insert_frame(conn, tables.verified, news.assign(feed=feed, namespace=namespace, kind=kind, seq=seq))
    if kind != CONTROL:
        deltas = _ledger_deltas_of(earlier, news, kind).assign(first_seen=pd.Timestamp(at).as_unit("us"))
        add_ledger_deltas(conn, deltas, namespace=namespace, feed=feed, seq=seq)
    return news


def control_verdicts(rows: pd.DataFrame, controls: pd.DataFrame, near: pd.DataFrame) -> pd.DataFrame:
    """Return which decided records answer a control right, as `note_verdicts` takes it (pure).

    Several answers of a source to one control are one wrong answer; staged records are decided again, and wait. `near`
    are ``item_id, answer`` that are right though written otherwise (`Decided.near_controls`).
    """
    truth = rows["item_id"].map(dict(zip(bounded_keys(controls["item_id"]), controls["answer"], strict=True)))
    settled = (rows["place"] != Place.STAGED.value) & rows["source_id"].notna() & rows["answer"].notna()
    alike = pd.MultiIndex.from_arrays([bounded_keys(near["item_id"]), near["answer"]])
    right = (rows["answer"] == truth) | pd.MultiIndex.from_frame(rows[["item_id", "answer"]]).isin(alike)
    answers = rows.assign(right=right, given_at=given_at(rows))[settled & truth.notna()]
    always = answers.groupby(["source_id", "item_id"])["right"].transform("min").astype(bool)
    answers = answers.assign(verdict=always.astype("int64") * 2 - 1).sort_values("record_id")
    return answers.drop_duplicates(["source_id", "item_id"])[["record_id", "source_id", "given_at", "verdict"]]


def retract_verdicts(
    conn: sa.Connection, feed: str, old: int, *, seq: int, at: dt.datetime, record_ids: pd.Series | None = None
) -> None:
    """Undo what event `old` said: of each of its records (of `record_ids` alone) holds what was said before it."""
    c = tables.verified.c
    mine = bulk.fetch_frame(conn, sa.select(tables.verified).where(c.feed == feed, c.seq == old))
    if record_ids is not None:
        mine = mine[mine["record_id"].isin(record_ids)]
    earlier = last_verdicts(conn, feed, mine["record_id"], version=old - 1)
    for (namespace, kind), part in mine.groupby(["namespace", "kind"]):
        was = earlier.loc[earlier["kind"] == kind].set_index("record_id")["verdict"]
        rows = part.assign(verdict=part["record_id"].map(was).fillna(0).astype("int64"))[list(_COLUMNS)]
        note_verdicts(conn, rows, feed=feed, namespace=str(namespace), kind=str(kind), seq=seq, at=at)


def last_verdicts(
    conn: sa.Connection, feed: str, record_ids: Sequence[str] | pd.Series, *, version: int | None = None
) -> pd.DataFrame:
    """Return what each kind said last of records: ``record_id, kind, source_id, visible_at, verdict``."""
    c = tables.verified.c
    query = sa.select(c.record_id, c.kind, c.seq, c.source_id, c.visible_at, c.verdict).where(c.feed == feed)
    if version is not None:
        query = query.where(c.seq <= version)
    rows = bulk.select_many(conn, query, c.record_id, record_ids).sort_values("seq", kind="stable")
    return rows.drop_duplicates(["record_id", "kind"], keep="last").drop(columns="seq").reset_index(drop=True)


def load_verified(
    conn: sa.Connection,
    namespace: str,
    *,
    version: int | None = None,
    source_ids: Sequence[str] | None = None,
    last: int = MAX_ANSWERS,
) -> pd.DataFrame:
    """Return the `last` verified answers of each source as of `version`: ``source_id, at, right``, oldest first."""
    c = tables.verified.c
    newest = sa.func.row_number().over(partition_by=c.source_id, order_by=(c.given_at.desc(), c.record_id.desc()))
    rows = sa.select(c.source_id, c.feed, c.record_id, c.kind, c.seq, c.given_at, c.verdict, newest.label("newest"))
    rows = rows.where(c.namespace == namespace, c.source_id.is_not(None))
    r = (rows if version is None else rows.where(c.seq <= version)).subquery().c
    shown = (r.source_id, r.feed, r.record_id, r.kind, r.seq, r.given_at.label("at"), r.verdict)
    enough = last * (len(_PRECEDENCE) + 1)  # all kinds may speak of a record, and some rows are revisions
    query = sa.select(*shown).where(r.newest <= enough)
    if source_ids is None:
        frame = bulk.fetch_frame(conn, query)
    else:
        frame = bulk.select_many(conn, query, query.selected_columns["source_id"], source_ids)
    rank = {kind: place for place, kind in enumerate(_PRECEDENCE)}
    frame = frame.sort_values("seq", kind="stable").drop_duplicates(["feed", "record_id", "kind"], keep="last")
    frame = frame[frame["verdict"] != 0].assign(rank=frame["kind"].map(rank)).sort_values("rank", kind="stable")
    frame = frame.drop_duplicates(["feed", "record_id"]).sort_values(["source_id", "at", "record_id"])
    frame = frame.groupby("source_id").tail(last)
    return frame.assign(right=frame["verdict"] > 0)[["source_id", "at", "right"]].reset_index(drop=True)


def _ledger_deltas_of(earlier: pd.DataFrame, news: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Return what `news` of a kind change in the ledger: the word that holds of each record, after less before."""
    words = {k: earlier.loc[earlier["kind"] == k].set_index("record_id")["verdict"] for k in (OUTCOME, REVIEW)}
    before = {k: news["record_id"].map(word).fillna(0) for k, word in words.items()}
    after = before | {kind: news["verdict"]}
    was, now = (verdict[OUTCOME].where(verdict[OUTCOME] != 0, verdict[REVIEW]) for verdict in (before, after))
    counted = {
        "source_id": bounded_keys(news["source_id"]),
        "outcomes_right": (now == 1).astype(int) - (was == 1).astype(int),
        "outcomes_wrong": (now == -1).astype(int) - (was == -1).astype(int),
    }
    return pd.DataFrame(counted).dropna().groupby("source_id", as_index=False).sum()
