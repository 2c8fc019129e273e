"""A state is exactly that of its version, whatever is written afterwards."""

from __future__ import annotations

import pandas as pd
import pytest

from poison_guard.errors import DataError, UsageError
from poison_guard.steps.review import reject
from poison_guard.steps.sources import block
from poison_guard.store import add_trusted, begin_run, count_trusted, load_state, load_trusted, verify
from poison_guard.store.trusted import SPLITS, split_of
from tests.integration.conftest import feed_of

CONTROLS = pd.DataFrame({"item_id": ["word-9"], "answer": ["nine"]})


def read(store, made, version, ids=("a1", "a2", "b1"), items=("word-0", "word-1", "word-2", "word-3")):
    return load_state(store, made.contract, record_ids=ids, item_ids=items, version=version, controls=CONTROLS)


def assert_same(one, other):
    for name in ("ledger", "reference", "calibration", "answers", "known", "verified"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
    assert (one.trusted_hash, dict(one.schema)) == (other.trusted_hash, dict(other.schema))


def test_a_state_read_later_is_the_state_read_then(store, made):
    add_trusted(
        store, made.contract, made.records(*(f"t{i}" for i in range(20))), by="ann", reason="audit", now=made.now
    )
    made.ingest(store, "b1", made.records("a1", "a2"), {"a2": "quarantined"})
    version = made.begin(store, "b2").state_version
    then = read(store, made, version)
    add_trusted(store, made.contract, made.records("u1", "u2"), by="ann", reason="more", now=made.now)
    made.ingest(store, "b3", made.records("b1"))
    reject(feed_of(store, made.contract), by="ann", reason="wrong", record_ids=["a1"], now=made.now)
    block(feed_of(store, made.contract), "user-1", by="ann", reason="a bot", now=made.now)
    assert_same(read(store, made, version), then)
    later = read(store, made, 10**6)
    assert set(later.known["record_id"]) == {"a1", "a2", "b1"}
    assert later.known.set_index("record_id")["place"]["a1"] == "rejected"
    assert later.answers["record_id"].tolist() == ["b1"]
    assert later.ledger.set_index("source_id")["blocked"].to_dict()["user-1"]
    assert not then.ledger["blocked"].any()
    assert then.trusted_hash != later.trusted_hash


def test_a_new_feed_has_an_empty_state(store, made):
    state = read(store, made, 0)
    assert state.ledger.empty
    assert state.reference.empty
    assert state.known.empty
    assert (state.trusted_hash, dict(state.schema)) == ("", {})
    assert state.controls is CONTROLS


def test_a_trusted_id_stands_for_its_content_though_the_feed_never_sent_it(store, made):
    before = made.begin(store, "b1").state_version
    add_trusted(store, made.contract, made.records("a1"), by="ann", reason="audit", now=made.now)
    assert read(store, made, before).known.empty
    known = read(store, made, 10**6).known
    assert known[["record_id", "place"]].to_numpy().tolist() == [["a1", "staged"]]
    assert known["content_hash"].tolist() == made.records("a1")["content_hash"].tolist()
    made.ingest(store, "b1", made.records("a1"))
    assert read(store, made, 10**6).known["place"].tolist() == ["accepted"]


def test_earlier_answers_say_how_old_their_source_was(store, made):
    old = pd.Timestamp("2019-05-01T00:00:00Z")
    since = pd.Series([old, pd.NaT], dtype="datetime64[us, UTC]")
    made.ingest(store, "b1", made.records("a1", "a2").assign(source_since=since))
    ages = read(store, made, 10**6).answers.set_index("record_id")["source_since"]
    assert ages["a1"] == old
    assert pd.isna(ages["a2"])


def test_answers_are_those_accepted_for_the_asked_items(store, made):
    records = made.records("a1", "a2", "a3", "a4")
    made.ingest(store, "b1", records, {"a2": "quarantined"})
    item = records["item_id"].iloc[0]
    found = read(store, made, 10**6, items=(item,)).answers
    lead = ["record_id", "item_id", "source_id", "vote", "observed_at", "source_since", "verdict"]
    assert list(found.columns) == lead
    expected = records[(records["item_id"] == item) & (records["record_id"] != "a2")]
    assert found["record_id"].tolist() == expected["record_id"].tolist()


def test_feeds_of_one_namespace_share_their_ledger(store, make_made):
    one, two = make_made(source_namespace="users"), make_made(name="chat", source_namespace="users")
    one.ingest(store, "b1", one.records("a1", source="eve"))
    two.ingest(store, "b2", two.records("a2", source="eve"))
    assert read(store, two, 10**6).ledger[["source_id", "n"]].to_numpy().tolist() == [["eve", 2.0]]


def test_a_trusted_set_is_split_by_content_whatever_order_it_comes_in(store, made, make_made):
    records = made.records(*(f"t{i}" for i in range(200)))
    summary = add_trusted(store, made.contract, records, by="ann", reason="audit", now=made.now)
    other = make_made(name="chat")
    add_trusted(store, other.contract, records.iloc[100:], by="ann", reason="audit", now=made.now)
    again = add_trusted(
        store, other.contract, records.sample(frac=1, random_state=1), by="ann", reason="audit", now=made.now
    )
    assert (again.added, again.already) == (100, 100)
    assert again.hash == summary.hash
    assert summary.n == 200 == sum(count_trusted(store, "captcha").values())
    for name in SPLITS:
        pd.testing.assert_frame_equal(
            load_trusted(store, "captcha").split(name), load_trusted(store, "chat").split(name)
        )
    assert verify(store).ok


def test_splits_are_about_as_large_as_they_should_be():
    counts = pd.Series([split_of(f"{i:032x}") for i in range(5000)]).value_counts(normalize=True)
    for name, percent in SPLITS.items():
        assert abs(counts[name] - percent / 100) < 0.03


@pytest.mark.parametrize(("by", "reason"), [("", "audit"), ("ann", " ")])
def test_trust_needs_a_name_and_a_reason(sqlite_store, made, by, reason):
    with pytest.raises(UsageError, match="named person with a reason"):
        add_trusted(sqlite_store, made.contract, made.records("t1"), by=by, reason=reason)


def test_records_of_the_feed_are_not_trusted_without_review(sqlite_store, made):
    made.ingest(sqlite_store, "b1", made.records("a1", "a2"))
    copied = made.records("a2").assign(record_id="renamed")
    for records in (made.records("t1", "a1"), copied):
        with pytest.raises(DataError, match="1 of these records were already seen in the feed captcha"):
            add_trusted(sqlite_store, made.contract, records, by="ann", reason="audit")
    assert load_trusted(sqlite_store, "captcha").records.empty
    added = add_trusted(sqlite_store, made.contract, made.records("a1"), by="ann", reason="reviewed", from_review=True)
    assert added.added == 1


def test_trusted_records_never_change(sqlite_store, made):
    add_trusted(sqlite_store, made.contract, made.records("t1"), by="ann", reason="audit")
    with pytest.raises(DataError, match="'t1' is in the trusted set of captcha with other content"):
        add_trusted(sqlite_store, made.contract, made.records("t1", answer="one"), by="ann", reason="audit")
    with pytest.raises(DataError, match="in the trusted set twice"):
        add_trusted(sqlite_store, made.contract, made.records("t2", "t2"), by="ann", reason="audit")


def test_adding_nothing_new_leaves_the_version_as_it_is(sqlite_store, made):
    first = add_trusted(sqlite_store, made.contract, made.records("t1"), by="ann", reason="audit")
    again = add_trusted(sqlite_store, made.contract, made.records("t1"), by="ann", reason="audit")
    assert (again.added, again.already, again.seq) == (0, 1, first.seq)
    run = begin_run(sqlite_store, made.contract, batch_id="b", objects=(), received_at=made.now, schema={})
    assert run.state_version == first.seq
