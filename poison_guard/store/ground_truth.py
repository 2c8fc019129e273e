"""Which answers were right or wrong, by controls, reviewers and outcomes, and the ledger of sources that sums it up.

The ledger is append-only deltas; a state is their sum up to a version. A record counts once: where several verdicts
exist, the outcome is believed before the reviewer, and both before a control.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Container, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
import sqlalchemy as sa

from poison_guard.records import Place
from poison_guard.store import bulk, tables
from poison_guard.store.bulk import bounded_keys
from poison_guard.store.columns import EPOCH, MICROSECOND, UtcTime
from poison_guard.store.writing import Seqs

__all__ = [
    "CONTROL",
    "MAX_ANSWERS",
    "OUTCOME",
    "REVIEW",
    "Said",
    "add_ledger_deltas",
    "control_verdicts",
    "given_at",
    "last_verdicts",
    "ledger_sums",
    "load_verified",
    "note_verdicts",
    "retract_verdicts",
    "said_in",
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
        sa.select(c.source_id, *totals, sa.func.min(c.first_seen, type_=UtcTime).label("first_seen"))
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


class Said(NamedTuple):
    """What somebody says of one record; times are whole microseconds."""

    record_id: str
    source_id: str | None
    given_at: int
    verdict: int
    """1 right, -1 wrong, 0 nothing."""
    visible_at: int | None = None
    """Of an outcome: when all could know it."""


Words = Mapping[tuple[str, str], tuple[int, int | None]]
"""Record and kind to the last ``verdict, visible_at``."""


def given_at(rows: pd.DataFrame) -> pd.Series:
    """Return when records (``observed_at, received_at``) were given: the sender's word, but no later than they came."""
    early = rows["observed_at"].notna() & (rows["observed_at"] < rows["received_at"])
    return rows["observed_at"].where(early, rows["received_at"])


def said_in(rows: pd.DataFrame) -> list[Said]:
    """Return what rows of ``record_id, source_id, given_at, verdict``, perhaps ``visible_at``, say."""
    names = [name for name in Said._fields if name in rows.columns]
    return [Said(*row) for row in zip(*(bulk.bindable(rows[name]) for name in names), strict=True)]


def note_verdicts(
    conn: sa.Connection,
    said: Sequence[Said],
    *,
    feed: str,
    namespace: str,
    kind: str,
    seq: Seqs,
    at: dt.datetime | Mapping[int, dt.datetime],
) -> dict[str, tuple[int, int]]:
    """Write what `kind` says of records, each once, and return the news: record to the verdict before and now.

    Saying the same again changes nothing, something else takes the old word back. What reviewers and outcomes say is
    added to the ledger; controls are counted there by the run that met them. `at`: when it was said, perhaps by event.
    """
    words = last_verdicts(conn, feed, [one.record_id for one in said])
    news = [one for one in said if _is_news(words.get((one.record_id, kind)), one.verdict, kind)]
    events = [seq if isinstance(seq, int) else seq[one.record_id] for one in news]
    bulk.insert_rows(
        conn,
        tables.verified,
        (*Said._fields, "feed", "namespace", "kind", "seq"),
        [(*one, feed, namespace, kind, mine) for one, mine in zip(news, events, strict=True)],
    )
    if kind != CONTROL:
        names = ("source_id", "seq", "outcomes_right", "outcomes_wrong", "namespace", "feed", "first_seen")
        rows = list[tuple[Any, ...]]()
        for (source, mine), counts in _ledger_deltas_of(words, news, events, kind).items():
            when = at if isinstance(at, dt.datetime) else at[mine]
            rows.append((source, mine, *counts, namespace, feed, (when - EPOCH) // MICROSECOND))
        bulk.insert_rows(conn, tables.ledger, names, rows)
    return {one.record_id: (words.get((one.record_id, kind), _SILENT)[0], one.verdict) for one in news}


_SILENT = (0, None)


def _is_news(before: tuple[int, int | None] | None, verdict: int, kind: str) -> bool:
    return (verdict != 0 or kind == OUTCOME) if before is None else before[0] != verdict


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
    conn: sa.Connection, feed: str, old: int, *, seq: int, at: dt.datetime, record_ids: Container[str] | None = None
) -> None:
    """Undo what event `old` said: of each of its records (of `record_ids` alone) holds what was said before it."""
    names = "namespace, kind, record_id, source_id, given_at, visible_at"
    query = f"SELECT {names} FROM verified WHERE feed = ? AND seq = ?"
    mine = bulk.raw(conn, query, (feed, old)).fetchall()
    mine = [row for row in mine if record_ids is None or row[2] in record_ids]
    words = last_verdicts(conn, feed, [row[2] for row in mine], version=old - 1)
    back: dict[tuple[str, str], list[Said]] = {}
    for namespace, kind, record_id, source_id, given, visible in mine:
        verdict = words.get((record_id, kind), _SILENT)[0]
        back.setdefault((namespace, kind), []).append(Said(record_id, source_id, given, verdict, visible))
    for (namespace, kind), said in back.items():
        note_verdicts(conn, said, feed=feed, namespace=namespace, kind=kind, seq=seq, at=at)


def last_verdicts(conn: sa.Connection, feed: str, record_ids: Sequence[str], *, version: int | None = None) -> Words:
    """Return what each kind said last of records, as of `version`."""
    those, some = bulk.among(conn, record_ids)
    query = f"SELECT record_id, kind, verdict, visible_at FROM verified WHERE feed = ? AND record_id {those}"
    upto = "" if version is None else f" AND seq <= {int(version)}"
    rows = bulk.raw(conn, f"{query}{upto} ORDER BY seq", (feed, some)).fetchall()
    return {(record_id, kind): (verdict, visible_at) for record_id, kind, verdict, visible_at in rows}


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


def _ledger_deltas_of(
    words: Words, news: Sequence[Said], events: Sequence[int], kind: str
) -> dict[tuple[str, int], tuple[float, float]]:
    """Return what `news` add to the ledger, by source and event: the word that holds of a record, less before."""
    sums: dict[tuple[str, int], list[int]] = {}
    for one, event in zip(news, events, strict=True):
        if one.source_id is None:
            continue
        before = {k: words.get((one.record_id, k), _SILENT)[0] for k in (OUTCOME, REVIEW)}
        after = before | {kind: one.verdict}
        was, now = (each[OUTCOME] or each[REVIEW] for each in (before, after))
        total = sums.setdefault((bulk.bounded_key(one.source_id), event), [0, 0])
        total[0] += (now == 1) - (was == 1)
        total[1] += (now == -1) - (was == -1)
    return {key: (float(right), float(wrong)) for key, (right, wrong) in sums.items() if right or wrong}
