"""What a snapshot is made of, told from places and labels as they were at a sequence number."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
import sqlalchemy as sa

from poison_guard.steps.review import recall, reject, release
from poison_guard.store import chain, last_snapshot, tables
from poison_guard.store.membership import accepted_votes, find_changes, held_votes, item_members, record_members
from tests.integration.conftest import feed_of

TELEMETRY = {
    "kind": "telemetry",
    "columns": {"record_id": "id", "source_id": "user", "observed_at": "at", "features": ["speed"]},
}
REVISED = {"data": {"path": "inbox/*.csv", "revisions": True}}


def head(store):
    with store.read() as conn:
        return chain.head(conn)


def look(verb, store, made, *ids):
    return verb(feed_of(store, made.contract), by="ann", reason="looked", record_ids=list(ids), now=made.now)


def one_item(made, *ids, answer="seven"):
    return made.records(*ids, answer=answer).assign(item_id="word-1")


def put(store, made, batch, records, places=None, labels=None):
    run = made.begin(store, batch)
    decided = made.decided(records, places)
    items = decided.items.iloc[:0] if labels is None else labels
    made.commit(store, run, records, dataclasses.replace(decided, items=items))
    return head(store)


def adopted(item, label):
    return pd.DataFrame(
        [(item, label, 0.9, True, "clear")], columns=["item_id", "label", "probability", "adopted", "why"]
    )


@pytest.fixture
def telemetry(make_made):
    return make_made(**TELEMETRY)


def test_records_belong_to_the_commit_that_first_stored_them(store, telemetry):
    first = put(store, telemetry, "b1", telemetry.records("a", "b"))
    second = put(store, telemetry, "b2", telemetry.records("c", "d"), {"d": "quarantined"})
    assert find_changes(store, telemetry.contract, since=0, seq=second).buckets == (first, second)
    members = record_members(store, "captcha", buckets=[first, second], seq=second)
    assert list(zip(members["record_id"], members["bucket"], strict=True)) == [
        ("a", first),
        ("b", first),
        ("c", second),
    ]
    released = look(release, store, telemetry, "d").seq
    recalled = look(recall, store, telemetry, "a").seq
    assert find_changes(store, telemetry.contract, since=second, seq=released).buckets == (second,)
    assert find_changes(store, telemetry.contract, since=second, seq=recalled).buckets == (first, second)
    assert record_members(store, "captcha", buckets=[first], seq=recalled)["record_id"].tolist() == ["b"]
    assert record_members(store, "captcha", buckets=[first], seq=released)["record_id"].tolist() == ["a", "b"]
    assert record_members(store, "captcha", buckets=[], seq=recalled).empty
    assert find_changes(store, telemetry.contract, since=recalled, seq=recalled).buckets == ()


def test_a_batch_that_brings_nothing_new_touches_nothing_that_has_members(store, telemetry):
    first = put(store, telemetry, "b1", telemetry.records("a"))
    again = put(store, telemetry, "b2", telemetry.records("a"))
    buckets = find_changes(store, telemetry.contract, since=first, seq=again).buckets
    assert record_members(store, "captcha", buckets=buckets, seq=again).empty


def test_an_item_whose_votes_moved_must_be_settled_again_until_it_is_sealed(store, made, sealing):
    put(store, made, "b1", one_item(made, "a", "b"), labels=adopted("word-1", "seven"))
    assert find_changes(store, made.contract, since=0, seq=head(store)).items == ()
    look(recall, store, made, "a")
    snapshot = sealing.seal(store)
    assert sealing.members(store, snapshot) == {"word-1": "seven"}
    since = snapshot.seq
    assert find_changes(store, made.contract, since=0, seq=head(store)).items == ()  # the seal settled it
    moved = look(recall, store, made, "b").seq
    assert find_changes(store, made.contract, since=since, seq=moved).items == ("word-1",)
    assert sealing.members(store, sealing.seal(store)) == {}


def test_a_label_does_not_know_what_was_decided_while_its_run_was_scored(store, made, sealing):
    put(store, made, "b1", one_item(made, "a"), labels=adopted("word-1", "seven"))
    run = made.begin(store, "b2")
    look(recall, store, made, "a")
    sealing.seal(store)
    records = one_item(made, "c", answer="one")
    late = dataclasses.replace(made.decided(records), items=adopted("word-1", "seven"))  # as of its pin: a still counts
    made.commit(store, run, records, late)
    last = last_snapshot(store, "captcha")
    assert last is not None
    assert find_changes(store, made.contract, since=last.seq, seq=head(store)).items == ("word-1",)
    assert sealing.members(store, sealing.seal(store)) == {"word-1": "one"}


def test_an_item_without_an_accepted_vote_is_no_member_whatever_its_label_says(store, made):
    seq = put(store, made, "b1", one_item(made, "a"), {"a": "quarantined"}, labels=adopted("word-1", "seven"))
    assert item_members(store, "captcha", buckets=[seq], seq=seq).empty
    told = item_members(store, "captcha", buckets=[seq], seq=seq, items=adopted("word-1", "seven"))
    assert told.empty


def test_an_item_that_no_run_labelled_belongs_to_the_seal(store, made, sealing):
    put(store, made, "b1", one_item(made, "a"), {"a": "quarantined"})
    look(release, store, made, "a")
    snapshot = sealing.seal(store)
    assert [part.bucket for part in snapshot.parts] == [0]
    assert sealing.members(store, snapshot) == {"word-1": "seven"}
    put(store, made, "b2", one_item(made, "b"), labels=adopted("word-1", "seven"))
    after = sealing.seal(store)
    assert after == snapshot, "the same content, whatever its bucket"
    assert sealing.members(store, after) == {"word-1": "seven"}


def test_an_item_that_a_revised_vote_left_is_settled_again(store, make_made, make_sealing):
    made = make_made(**REVISED)
    sealing = make_sealing(made.contract)
    put(store, made, "b1", one_item(made, "a", answer="one"), labels=adopted("word-1", "one"))
    assert sealing.members(store, sealing.seal(store)) == {"word-1": "one"}
    moved = made.records("a", answer="two").assign(item_id="word-2")
    put(store, made, "b2", moved, labels=adopted("word-2", "two"))
    assert sealing.members(store, sealing.seal(store)) == {"word-2": "two"}


def test_an_item_takes_the_newest_label_and_what_is_about_to_be_sealed_comes_first(store, made):
    first = put(store, made, "b1", one_item(made, "a"), labels=adopted("word-1", "one"))
    second = put(store, made, "b2", one_item(made, "b"), labels=adopted("word-1", "two"))
    assert item_members(store, "captcha", buckets=[first], seq=first)["label"].tolist() == ["one"]
    members = item_members(store, "captcha", buckets=[first, second], seq=second)
    assert members[["item_id", "label", "bucket"]].to_numpy().tolist() == [["word-1", "two", first]]
    assert item_members(store, "captcha", buckets=[second], seq=second).empty
    new = item_members(store, "captcha", buckets=[first], seq=second, items=adopted("word-1", "three"))
    assert new["label"].tolist() == ["three"]
    gone = adopted("word-1", "three").assign(adopted=False)
    assert item_members(store, "captcha", buckets=[first], seq=second, items=gone).empty
    assert find_changes(store, made.contract, since=first, seq=second).buckets == (0, first)


def test_votes_are_told_as_they_were_placed(store, made):
    records = one_item(made, "a", "b", "c")
    seq = put(store, made, "b1", records, {"b": "quarantined", "c": "staged"})
    after = look(reject, store, made, "a").seq
    assert accepted_votes(store, "captcha", ["word-1", "word-9"], seq=seq)["record_id"].tolist() == ["a"]
    assert held_votes(store, "captcha", ["word-1"], seq=seq)["record_id"].tolist() == ["b"]
    assert accepted_votes(store, "captcha", ["word-1"], seq=after).empty
    held = held_votes(store, "captcha", ["word-1"], seq=after)
    assert held[["record_id", "verdict"]].to_numpy().tolist() == [["a", -1], ["b", 0]]
    assert accepted_votes(store, "captcha", ["word-1"], seq=seq - 1).empty


def test_what_a_seal_reads_is_looked_up_by_indexes(sqlite_store, made, telemetry):
    put(sqlite_store, made, "b1", one_item(made, "a"), labels=adopted("word-1", "seven"))
    asked = []
    sa.event.listen(sqlite_store.engine, "before_cursor_execute", lambda *args: asked.append(args[2:4]))
    find_changes(sqlite_store, made.contract, since=1, seq=1)
    find_changes(sqlite_store, telemetry.contract, since=1, seq=1)
    record_members(sqlite_store, "captcha", buckets=[1], seq=1)
    item_members(sqlite_store, "captcha", buckets=[1], seq=1)
    accepted_votes(sqlite_store, "captcha", ["word-1"], seq=1)
    selects = [(text, values) for text, values in asked if text.startswith("SELECT")]
    with sqlite_store.read() as conn:
        steps = [
            row[3] for text, values in selects for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)
        ]
    assert [step for step in steps if step.startswith("SEARCH")]
    assert [step for step in steps if step.startswith("SCAN") and step.split()[1] in tables.METADATA.tables] == []
