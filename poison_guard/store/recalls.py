"""Take accepted records back because a campaign shows only now, in the transaction of the run that found it."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import sqlalchemy as sa

from poison_guard.records import Action, Decided, Place
from poison_guard.store import bulk, places, quarantine, tables
from poison_guard.store.names import fit_names
from poison_guard.store.plain import to_json

__all__ = ["mark_late", "take_back"]

_RISK = 0.97  # of a record whose campaign has no record in this batch to take the risk from


def take_back(
    conn: sa.Connection, feed: str, run_id: str, decided: Decided, *, seq: int, at: dt.datetime
) -> pd.DataFrame:
    """Move the accepted records of ``decided.recalls`` to recalled, into the queue; return ``record_id, campaign_id``.

    Left where they are: records moved since the run looked, those that came with this very run, and those that a
    reviewer released or confirmed; a person's word stands. So the same recall again changes nothing.
    """
    rows = _standing(conn, feed, decided, seq=seq)
    if rows.empty:
        return rows[["record_id", "campaign_id"]]
    places.move(conn, feed, rows.assign(to_place=Place.RECALLED.value, to_verdict=rows["verdict"]), seq=seq)
    _mark(conn, feed, rows)
    _tell(conn, feed, run_id, rows, decided)
    entries = rows.assign(kind=quarantine.RECALLED)[["record_id", "kind", "risk"]]
    quarantine.open_entries(conn, feed, entries, seq=seq, at=at)
    return rows[["record_id", "campaign_id"]].reset_index(drop=True)


def mark_late(conn: sa.Connection, feed: str, run_id: str, decided: Decided, *, seq: int) -> None:
    """Note on the accepted records of ``decided.recalls`` that they would be held now, and leave them where they are.

    For a feed that only observes: they count among what it let pass. Those noted before are not noted again.
    """
    rows = _standing(conn, feed, decided, seq=seq)
    rows = rows[rows["action"] == Action.ACCEPT.value]
    if len(rows):
        _mark(conn, feed, rows)
        _tell(conn, feed, run_id, rows, decided)


def _standing(conn: sa.Connection, feed: str, decided: Decided, *, seq: int) -> pd.DataFrame:
    """Return the records that may be taken back, with the campaign and risk they get."""
    asked = decided.recalls.assign(record_id=fit_names(decided.recalls["record_id"])).drop_duplicates("record_id")
    rows = places.find(conn, feed, asked["record_id"])
    stand = (rows["place"] == Place.ACCEPTED.value) & (rows["verdict"] <= 0) & (rows["seq"] < seq)
    rows = rows[stand].sort_values("record_id")
    rows = rows.assign(campaign_id=rows["record_id"].map(asked.set_index("record_id")["campaign_id"]))
    worst = decided.decisions.groupby("campaign_id")["risk"].max()
    return rows.assign(risk=rows["campaign_id"].map(worst).fillna(_RISK).clip(lower=rows["risk"]))


def _mark(conn: sa.Connection, feed: str, rows: pd.DataFrame) -> None:
    """Write decision, campaign and risk on the records, so that reviewers see them as one with the rest."""
    c = tables.records.c
    statement = (
        sa.update(tables.records)
        .where(c.feed == feed, c.record_id == sa.bindparam("which"))
        .values(action=Action.QUARANTINE.value, campaign_id=sa.bindparam("new_group"), risk=sa.bindparam("new_risk"))
    )
    values = zip(rows["record_id"], rows["campaign_id"], rows["risk"], strict=True)
    conn.execute(statement, [{"which": name, "new_group": group, "new_risk": risk} for name, group, risk in values])


def _tell(conn: sa.Connection, feed: str, run_id: str, rows: pd.DataFrame, decided: Decided) -> None:
    """Write why, as evidence of the run that took them back."""
    found = {campaign.campaign_id: campaign for campaign in decided.campaigns}
    told = rows[rows["campaign_id"].isin(found)]
    campaigns = [found[name] for name in told["campaign_id"]]
    evidence = {
        "feed": feed,
        "run_id": run_id,
        "record_id": told["record_id"],
        "signal": "campaign",
        "level": "campaign",
        "p": [campaign.p for campaign in campaigns],
        "code": [campaign.reason.code for campaign in campaigns],
        "args": [to_json(campaign.reason.args) for campaign in campaigns],
    }
    bulk.insert_frame(conn, tables.evidence, pd.DataFrame(evidence))
