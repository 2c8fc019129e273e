"""The status of records, now and as of an earlier version: every change is an appended move.

A run that finds a late campaign takes accepted records back here, in its own transaction.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pandas as pd
import sqlalchemy as sa

from poison_guard.errors import BusyError
from poison_guard.records import ID_CONFLICT, Action, Campaign, Decided, Place
from poison_guard.store import bulk, quarantine, seals, tables
from poison_guard.store.bulk import bounded_keys, to_json
from poison_guard.store.rows import reasons_text
from poison_guard.store.writing import Seqs

__all__ = [
    "Move",
    "decided_by_people",
    "find_status",
    "mark_late",
    "move_records",
    "moves_of",
    "recall_late",
    "status_as_of",
    "void_events",
]


_STATUS_COLUMNS = (
    "record_id",
    "content_hash",
    "place",
    "action",
    "verdict",
    "file_id",
    "seq",
    "run_id",
    "source_id",
    "author_id",
    "risk",
    "readable",
    "observed_at",
    "source_since",
    "received_at",
    "changed_seq",
)


def find_status(
    conn: sa.Connection, feed: str, record_ids: Iterable[str], columns: Sequence[str] = _STATUS_COLUMNS
) -> pd.DataFrame:
    """Return where the given records are now: ``record_id, content_hash, place, verdict, file_id, seq, …``."""
    c = tables.records.c
    query = sa.select(*(c[name] for name in columns)).where(c.feed == feed)
    return bulk.select_many(conn, query, c.record_id, record_ids)


def status_as_of(conn: sa.Connection, feed: str, rows: pd.DataFrame, version: int) -> pd.DataFrame:
    """Return `rows` (``record_id, seq, place``, perhaps ``content_hash, verdict``) as of `version`, no later ones."""
    c = tables.moves.c
    first = (
        sa.select(c.record_id, sa.func.min(c.seq).label("seq"))
        .where(c.feed == feed, c.seq > version)
        .group_by(c.record_id)
        .subquery()
    )
    query = sa.select(c.record_id, c.from_place, c.from_hash, c.from_verdict).where(
        c.feed == feed, c.record_id == first.c.record_id, c.seq == first.c.seq
    )
    rows = rows[rows["seq"] <= version]
    later = bulk.fetch_frame(conn, query).set_index("record_id")
    if later.empty or rows.empty:
        return rows
    before = later.reindex(rows["record_id"])
    place = before["from_place"].set_axis(rows.index)
    if "content_hash" in rows.columns:
        content = before["from_hash"].set_axis(rows.index)
        rows = rows.assign(content_hash=content.fillna(rows["content_hash"]))
    if "verdict" in rows.columns:
        verdict = before["from_verdict"].set_axis(rows.index).fillna(rows["verdict"])
        rows = rows.assign(verdict=verdict.astype("int64"))
    return rows.assign(place=place.fillna(rows["place"]))


def decided_by_people(
    conn: sa.Connection, feed: str, record_ids: Iterable[str], *, version: int | None = None
) -> set[str]:
    """Return which of the records a person released, rejected or recalled, as of `version` (None: now).

    A decision that was undone is none.
    """
    m, v = tables.moves.c, tables.reviews.c
    query = sa.select(m.record_id, m.seq).join_from(tables.moves, tables.reviews, m.seq == v.seq).where(m.feed == feed)
    if version is not None:
        query = query.where(m.seq <= version)
    moved = bulk.select_many(conn, query, m.record_id, record_ids)
    if moved.empty:
        return set()
    return set(moved.loc[~moved["seq"].isin(void_events(conn, feed, version=version)), "record_id"])


def void_events(conn: sa.Connection, feed: str, *, version: int | None = None) -> set[int]:
    """Return the events without effect as of `version`: decisions that were undone, and what undid them."""
    c = tables.reviews.c
    query = sa.select(c.seq, c.undoes).where(c.feed == feed, c.undoes.is_not(None)).order_by(c.seq.desc())
    if version is not None:
        query = query.where(c.seq <= version)
    void: set[int] = set()
    for seq, undoes in conn.execute(query):
        if seq not in void:  # an undo that was undone itself: what it undid holds again
            void |= {int(seq), int(undoes)}
    return void


class Move(NamedTuple):
    """A record that moves: what its row said, and where it goes."""

    record_id: str
    from_place: str
    from_hash: str
    from_file: int
    from_verdict: int
    to_place: str
    to_verdict: int


def moves_of(rows: pd.DataFrame) -> list[Move]:
    """Return the moves of rows of `find_status` with ``to_place`` and ``to_verdict`` added."""
    names = ("record_id", "place", "content_hash", "file_id", "verdict", "to_place", "to_verdict")
    return [Move(*row) for row in zip(*(bulk.bindable(rows[name]) for name in names), strict=True)]


def move_records(conn: sa.Connection, feed: str, moves: Sequence[Move], *, seq: Seqs) -> None:
    """Move records, as the events `seq`.

    Compare-and-set: `BusyError` when one of them is no longer where it was found, and the transaction must end.
    """
    ids = [move.record_id for move in moves]
    seals.take(conn, tables.records, feed, ids, seq=seq)
    rows = [(*move, feed, seq if isinstance(seq, int) else seq[move.record_id]) for move in moves]
    those, values = bulk.as_table(conn, _MOVED, rows)
    change = "place = v.to_place, verdict = v.to_verdict, changed_seq = v.seq"
    as_found = "r.place || '' = v.from_place AND r.verdict = v.from_verdict"  # not by the index of places
    where = f"r.feed = v.feed AND r.record_id = v.record_id AND {as_found}"
    update = f"UPDATE records AS r SET {change} FROM {those} WHERE {where} RETURNING 1"
    changed = len(bulk.raw(conn, update, values).fetchall()) if rows else 0
    if changed != len(moves):
        raise BusyError(
            f"{len(moves) - changed} of {len(moves)} records were decided by someone else meanwhile; list them again"
        )
    bulk.insert_rows(conn, tables.moves, [*_MOVED], rows)


_MOVED = {name: tables.moves.c[name].type for name in (*Move._fields, "feed", "seq")}
"""Columns of a move, and their types."""
_RECALL_RISK = 0.97  # of a record whose campaign has no record in this batch to take the risk from


def recall_late(
    conn: sa.Connection, feed: str, run_id: str, decided: Decided, *, seq: int, at: dt.datetime
) -> pd.DataFrame:
    """Move the accepted records of ``decided.recalls`` to recalled, into the queue; return ``record_id, campaign_id``.

    Left where they are: records moved since the run looked, those that this very run decided, and those that a person
    decided. So the same recall again changes nothing. A group of conflicts also takes a staged first comer back.
    """
    rows = _recallable(conn, feed, run_id, decided)
    if rows.empty:
        return rows[["record_id", "campaign_id"]]
    moved = moves_of(rows.assign(to_place=Place.RECALLED.value, to_verdict=rows["verdict"]))
    move_records(conn, feed, moved, seq=seq)
    _mark_recalled(conn, feed, rows, decided.campaigns, seq=seq)
    _write_recall_evidence(conn, feed, run_id, rows, decided, seq=seq)
    entries = quarantine.one_of_each_group(rows.assign(kind=quarantine.RECALLED), decided.campaigns)
    quarantine.open_entries(conn, feed, entries, seq=seq, at=at)
    return rows[["record_id", "campaign_id"]].reset_index(drop=True)


def mark_late(conn: sa.Connection, feed: str, run_id: str, decided: Decided, *, seq: int) -> None:
    """Note on the accepted records of ``decided.recalls`` that they would be held now, and leave them where they are.

    For a feed that only observes: they count among what it let pass. Those noted before are not noted again.
    """
    rows = _recallable(conn, feed, run_id, decided)
    rows = rows[rows["action"] == Action.ACCEPT.value]
    if len(rows):
        seals.take(conn, tables.records, feed, rows["record_id"].tolist(), seq=seq)
        _mark_recalled(conn, feed, rows, decided.campaigns, seq=seq)
        _write_recall_evidence(conn, feed, run_id, rows, decided, seq=seq)


def _recallable(conn: sa.Connection, feed: str, run_id: str, decided: Decided) -> pd.DataFrame:
    """Return the records that may be taken back, with the campaign and risk they get."""
    recalls = decided.recalls.assign(record_id=bounded_keys(decided.recalls["record_id"])).drop_duplicates("record_id")
    rows = find_status(conn, feed, recalls["record_id"])
    rows = rows.assign(campaign_id=rows["record_id"].map(recalls.set_index("record_id")["campaign_id"]))
    contested = rows["campaign_id"].isin([c.campaign_id for c in decided.campaigns if c.kind == ID_CONFLICT])
    may_go = (rows["place"] == Place.ACCEPTED.value) | (contested & (rows["place"] == Place.STAGED.value))
    by_person = rows["record_id"].isin(decided_by_people(conn, feed, rows["record_id"]))
    rows = rows[may_go & (rows["run_id"] != run_id) & ~by_person].sort_values("record_id")
    worst = decided.decisions.groupby("campaign_id")["risk"].max()
    return rows.assign(risk=rows["campaign_id"].map(worst).fillna(_RECALL_RISK).clip(lower=rows["risk"]))


def _mark_recalled(
    conn: sa.Connection, feed: str, rows: pd.DataFrame, campaigns: Iterable[Campaign], *, seq: int
) -> None:
    """Write the new decision on the records, so that reviewers see them as one with the rest of the campaign."""
    c = tables.records.c
    codes = {campaign.campaign_id: reasons_text([campaign.reason.code]) for campaign in campaigns}
    statement = (
        sa.update(tables.records)
        .where(c.feed == feed, c.record_id == sa.bindparam("which"))
        .values(
            action=Action.QUARANTINE.value,
            campaign_id=sa.bindparam("new_campaign"),
            risk=sa.bindparam("new_risk"),
            reasons=sa.bindparam("new_reasons"),
            changed_seq=seq,
        )
    )
    values = zip(rows["record_id"], rows["campaign_id"], rows["risk"], strict=True)
    conn.execute(
        statement,
        [
            {"which": name, "new_campaign": group, "new_risk": risk, "new_reasons": codes.get(group)}
            for name, group, risk in values
        ],
    )


def _write_recall_evidence(
    conn: sa.Connection, feed: str, run_id: str, rows: pd.DataFrame, decided: Decided, *, seq: int
) -> None:
    """Write why, as evidence of the run that took them back."""
    by_id = {campaign.campaign_id: campaign for campaign in decided.campaigns}
    members = rows[rows["campaign_id"].isin(by_id)]
    campaigns = [by_id[name] for name in members["campaign_id"]]
    evidence = {
        "feed": feed,
        "run_id": run_id,
        "record_id": members["record_id"],
        "signal": "campaign",
        "level": "campaign",
        "p": [campaign.p for campaign in campaigns],
        "code": [campaign.reason.code for campaign in campaigns],
        "args": [to_json(campaign.reason.args) for campaign in campaigns],
        "seq": seq,
    }
    bulk.insert_frame(conn, tables.evidence, pd.DataFrame(evidence))
