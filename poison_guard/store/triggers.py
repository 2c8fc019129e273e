"""Write down a trigger that a model learned, with the records that carry it, and take them back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from poison_guard.frames import empty_frame
from poison_guard.records import Campaign, Decided, Phase, Place
from poison_guard.store import bulk, chain, seals, snapshots, status, tables
from poison_guard.store.engine import Store
from poison_guard.store.rows import campaign_rows

__all__ = ["TRIGGER", "Carriers", "note_trigger", "was_taken_back"]

TRIGGER = "trigger"
"""Kind of a campaign whose records carry a mark that a model learned to obey."""


@dataclass(frozen=True, slots=True)
class Carriers:
    """What became of the records that carry a trigger."""

    campaign_id: str
    records: int
    taken_back: int
    """0 where a person must decide."""
    snapshots: tuple[str, ...] = ()
    """Revoked with them."""


def note_trigger(
    store: Store, feed: str, campaign: Campaign, *, model_id: str, take_back: bool, why: str, at: dt.datetime
) -> Carriers:
    """Store the campaign of a trigger, and take its accepted records back in the same transaction if `take_back`.

    Records that a person decided stay where they are. Without `take_back` the records are marked as the campaign's, so
    that a person can recall it. Noted before, nothing changes.
    """
    c = tables.campaigns.c
    with store.write() as conn:
        seq = chain.next_seq(conn)
        known = conn.execute(
            sa.select(c.n_records).where(c.feed == feed, c.campaign_id == campaign.campaign_id)
        ).first()
        if known is not None:
            return Carriers(campaign.campaign_id, int(known.n_records), 0)
        row = campaign_rows([campaign]).assign(feed=feed, run_id=model_id, seq=seq)
        bulk.insert_frame(conn, tables.campaigns, row)
        taken: Sequence[str] = ()
        if take_back:
            recalled = status.recall_late(conn, feed, model_id, _decided(campaign), seq=seq, at=at)
            taken = recalled["record_id"].tolist()
        else:
            _mark(conn, feed, campaign, seq=seq)
        body = {"n": len(campaign.record_ids), "taken_back": len(taken), "reason": chain.keyed_hash(store.key, why)}
        chain.append(conn, store.key, kind="trigger.found", at=at, body=body, feed=feed, actor="poison-guard")
        revoked = snapshots.revoke_holding(conn, store.key, feed, taken, by="poison-guard", why=why, at=at)
    return Carriers(campaign.campaign_id, len(campaign.record_ids), len(taken), tuple(revoked))


def was_taken_back(store: Store, feed: str, *, since: int) -> bool:
    """Return whether the records of a trigger were taken back after event `since` without a person."""
    m, c = tables.moves.c, tables.campaigns.c
    query = (
        sa.select(sa.func.count())
        .select_from(tables.campaigns.join(tables.moves, sa.and_(c.feed == m.feed, c.seq == m.seq)))
        .where(c.feed == feed, c.kind == TRIGGER, c.seq > since)
    )
    with store.read() as conn:
        return bool(conn.execute(query).scalar())


def _decided(campaign: Campaign) -> Decided:
    """Return the campaign as the decision of a run that had no record of its own."""
    recalls = empty_frame("recalls").reindex(range(len(campaign.record_ids)))
    recalls = recalls.assign(record_id=list(campaign.record_ids), campaign_id=campaign.campaign_id)
    decisions, evidence, items, sources = (empty_frame(n) for n in ("decisions", "evidence", "items", "sources"))
    return Decided(decisions, evidence, items, sources, (campaign,), Phase.ENFORCING, (), recalls=recalls)


def _mark(conn: sa.Connection, feed: str, campaign: Campaign, *, seq: int) -> None:
    """Put accepted records under the campaign's id, those of no other one."""
    c, names = tables.records.c, list(campaign.record_ids)
    free = sa.select(c.record_id).where(c.feed == feed, c.place == Place.ACCEPTED.value, c.campaign_id.is_(None))
    some = bulk.select_many(conn, free, c.record_id, names)["record_id"].tolist()
    seals.take(conn, tables.records, feed, some, seq=seq)
    chosen = sa.update(tables.records).where(c.feed == feed, c.record_id == sa.bindparam("which"))
    if some:
        values = [{"which": name} for name in some]
        conn.execute(chosen.values(campaign_id=campaign.campaign_id, changed_seq=seq), values)
