"""What was accepted before its campaign showed is taken back by the run that finds it, in the same transaction."""

from __future__ import annotations

import dataclasses

import pytest
import sqlalchemy as sa

from poison_guard.review.filters import QueueFilter
from poison_guard.steps.queue import list_queue
from poison_guard.steps.review import recall, release, undo
from poison_guard.store import (
    accepted_frames,
    explain,
    find_records,
    last_snapshot,
    list_campaigns,
    list_snapshots,
    load_run,
    tables,
    verify,
)
from poison_guard.store.gate_counts import would_be_held_ids
from tests.integration.conftest import feed_of

LATE = "c-n1-a1-a2"


@pytest.fixture
def accepted(store, made):
    """A store with three accepted records."""
    made.ingest(store, "b1", made.records("a1", "a2", "a3"))
    return store


def late(store, made, batch="b2", name="n1", recalls=("a1", "a2")):
    """A batch whose campaign takes earlier records along."""
    return made.ingest(store, batch, made.records(name), {name: "quarantined"}, campaign=(name,), recalls=recalls)


def places(store):
    return find_records(store, "captcha").set_index("record_id")["place"].to_dict()


def test_earlier_records_of_a_campaign_are_recalled_into_the_queue(accepted, made):
    counts = late(accepted, made)
    assert counts["recalled"] == 2
    assert places(accepted) == {"a1": "recalled", "a2": "recalled", "a3": "accepted", "n1": "quarantined"}
    waiting = list_queue(feed_of(accepted, made.contract), QueueFilter(campaign_id=LATE), now=made.now).entries
    assert dict(zip(waiting["record_id"], waiting["kind"], strict=True)) == {
        "a1": "recalled", "a2": "recalled", "n1": "held",
    }  # fmt: skip
    assert waiting["risk"].min() >= 0.9
    assert [n for f in accepted_frames(accepted, "captcha") for n in f["record_id"]] == ["a3"]
    assert verify(accepted).ok


def test_the_run_and_the_record_say_what_was_taken_back_and_why(accepted, made):
    late(accepted, made)
    run = load_run(accepted, "captcha-b2")
    assert run.counts["recalled"] == 2
    assert list(run.notes) == [{"code": "took_back", "args": {"campaign_id": LATE, "n_records": 2}}]
    found = explain(accepted, "captcha", "a1")
    assert found["record"]["campaign_id"] == found["campaign"]["campaign_id"] == LATE
    assert found["campaign"]["n_records"] == 3
    assert [(e["code"], e["run_id"]) for e in found["evidence"]] == [("lockstep", "captcha-b2")]
    assert [(h["kind"], h["to_place"]) for h in found["history"]] == [
        ("run.committed", None),
        ("run.committed", "recalled"),
    ]
    assert found["queue"]["kind"] == "recalled"
    assert list_campaigns(accepted, "captcha").iloc[0][["accepted", "held"]].tolist() == [0, 3]


def test_snapshots_that_hold_a_recalled_record_are_revoked_and_no_others(accepted, made, make_sealing):
    sealing = make_sealing(made.contract)
    held = sealing.seal(accepted)
    late(accepted, made)
    revoked = list_snapshots(accepted, "captcha")[0]
    assert (revoked.snapshot_id, revoked.revoked_seq is not None) == (held.snapshot_id, True)
    assert "2 records taken back with c-n1-a1-a2" in revoked.revoked_why
    fresh = sealing.seal(accepted)
    late(accepted, made, "b3", "n2", recalls=("a1", "n1"))
    assert last_snapshot(accepted, "captcha").snapshot_id == fresh.snapshot_id
    assert verify(accepted).ok


def test_the_same_run_again_and_the_same_campaign_again_take_back_nothing_more(accepted, made, dump):
    first = late(accepted, made)
    before = dump(accepted)
    assert late(accepted, made) == first
    assert dump(accepted) == before
    assert late(accepted, made, "b3", "n2")["recalled"] == 0


def test_what_a_person_released_or_confirmed_stands(accepted, made):
    late(accepted, made)
    release(feed_of(accepted, made.contract), by="ann", reason="a class trip", record_ids=["a1", "a2"], now=made.now)
    assert late(accepted, made, "b3", "n2")["recalled"] == 0
    assert places(accepted)["a1"] == "accepted"


def test_a_record_moved_since_the_run_looked_stays_where_it_was_put(accepted, made):
    records = made.records("n1")
    run = made.begin(accepted, "b2")
    recall(feed_of(accepted, made.contract), by="ann", reason="poison", record_ids=["a1"], now=made.now)
    decided = made.decided(records, {"n1": "quarantined"}, campaign=("n1",), recalls=("a1", "a2", "nobody"))
    assert made.commit(accepted, run, records, decided)["recalled"] == 1


def test_a_review_of_what_was_taken_back_can_be_undone(accepted, made):
    late(accepted, made)
    done = release(feed_of(accepted, made.contract), by="ann", reason="fine", campaign_id=LATE, now=made.now)
    assert set(places(accepted).values()) == {"accepted"}
    undo(feed_of(accepted, made.contract), done.seq, by="ann", reason="no", now=made.now)
    assert places(accepted)["a1"] == "recalled"


def test_a_feed_that_is_only_observed_keeps_what_it_took_in(sqlite_store, make_made):
    made = make_made(mode="observe")
    made.ingest(sqlite_store, "b1", made.records("a1", "a2"))
    assert late(sqlite_store, made)["recalled"] == 0
    assert places(sqlite_store)["a1"] == "accepted"


def test_a_feed_that_is_only_observed_says_which_records_it_would_have_taken_back(sqlite_store, make_made):
    made = make_made(mode="observe")
    made.ingest(sqlite_store, "b1", made.records("a1", "a2", "a3"))
    late(sqlite_store, made)
    assert would_be_held_ids(sqlite_store, "captcha").tolist() == ["a1", "a2"]
    assert [e["code"] for e in explain(sqlite_store, "captcha", "a1")["evidence"]] == ["lockstep"]
    late(sqlite_store, made, "b3", "n2", recalls=("a1", "a2"))
    assert len(explain(sqlite_store, "captcha", "a1")["evidence"]) == 1
    assert verify(sqlite_store).ok


def test_tampering_with_a_recall_is_found(accepted, made):
    late(accepted, made)
    with accepted.write() as conn:
        conn.execute(sa.delete(tables.moves).where(tables.moves.c.record_id == "a1"))
    assert verify(accepted).first_bad == 2


def test_recalls_of_a_whole_campaign_share_its_risk(accepted, made):
    records = made.records("n1")
    decided = made.decided(records, {"n1": "quarantined"}, campaign=("n1",), recalls=("a1",))
    decided = dataclasses.replace(decided, decisions=decided.decisions.assign(risk=0.61))
    made.commit(accepted, made.begin(accepted, "b2"), records, decided)
    assert find_records(accepted, "captcha", record_ids=["a1"])["risk"].iloc[0] == pytest.approx(0.61)
