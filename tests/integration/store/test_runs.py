"""Runs: begun once, committed once, all of it or none; the laws of one place and of running twice."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from poison_guard.errors import NotFoundError, StaleStateError, StoreError
from poison_guard.records import Place, Reason
from poison_guard.steps.queue import list_queue
from poison_guard.steps.review import reject, release
from poison_guard.store import (
    accepted_frames,
    begin_run,
    commit,
    commit_run,
    count_places,
    find_open_run,
    find_records,
    last_watermark,
    list_runs,
    load_items,
    load_payloads,
    load_run,
    load_run_result,
    load_state,
    repin,
    run_facts,
    seen_objects,
    verify,
)
from poison_guard.store.reading import frames_in
from tests.integration.conftest import feed_of

NO_CONTROLS = pd.DataFrame({"item_id": [], "answer": []})
PLACES = {"a1": "accepted", "a2": "quarantined", "a3": "rejected", "a4": "staged"}


def staged_payloads(store):
    return pd.concat(list(frames_in(store, "captcha", (Place.STAGED,))) or [pd.DataFrame({"record_id": []})])


def settled(counts):
    return sum(counts[name] for name in ("staged", "accepted", "quarantined", "rejected", "seen_before"))


def test_a_committed_batch_is_where_it_was_decided_to_be(store, made):
    records = made.records(*PLACES)
    counts = made.commit(store, made.begin(store, "b1"), records, made.decided(records, PLACES), lost=("x1",))
    assert counts["received"] == settled(counts) == 5
    assert (counts["unreadable"], counts["adopted_items"], counts["deferred_items"]) == (1, 1, 1)
    assert count_places(store, "captcha") == {
        "accepted": 1,
        "quarantined": 2,
        "rejected": 1,
        "staged": 1,
        "recalled": 0,
    }
    accepted = pd.concat(accepted_frames(store, "captcha"))
    assert accepted["record_id"].tolist() == ["a1"]
    pd.testing.assert_frame_equal(accepted, records.iloc[:1])
    assert staged_payloads(store)["record_id"].tolist() == ["a4"]
    assert load_items(store, "captcha")["adopted"].tolist() == [True, False]
    assert verify(store).ok


def test_accepted_files_hold_only_accepted_records(store, made):
    made.ingest(store, "b1", made.records(*PLACES), PLACES)
    held = [store.lake.read_frame(p)["record_id"].tolist() for p in store.lake.list("runs/captcha-b1/accepted")]
    assert held == [["a1"]]


def test_beginning_a_batch_again_gives_the_same_run(store, made):
    run = made.begin(store, "b1")
    assert made.begin(store, "b1") == run
    assert find_open_run(store, "captcha") == run
    made.commit(store, run, made.records("a1"))
    again = made.begin(store, "b1")
    assert (again.status, again.counts["accepted"], again.state_version) == ("committed", 1, run.state_version)
    assert find_open_run(store, "captcha") is None


def test_committing_a_committed_run_changes_nothing(store, made, dump):
    run = made.begin(store, "b1")
    first = made.commit(store, run, made.records(*PLACES), made.decided(made.records(*PLACES), PLACES))
    before = dump(store)
    assert made.commit(store, run, made.records("other")) == first
    assert dump(store) == before


def test_records_of_an_earlier_batch_are_seen_before(store, made):
    made.ingest(store, "b1", made.records("a1", "a2"), {"a2": "quarantined"})
    counts = made.ingest(store, "b2", made.records("a1", "a2", "a3"))
    assert (counts["received"], counts["seen_before"], counts["accepted"]) == (3, 2, 1)
    assert count_places(store, "captcha")["quarantined"] == 1


def test_a_run_that_looked_before_another_was_committed_is_stale(store, made):
    early, late = made.begin(store, "b1"), made.begin(store, "b2")
    made.commit(store, early, made.records("a1"))
    with pytest.raises(StaleStateError, match="score the batch again"):
        made.commit(store, late, made.records("a2"))
    assert count_places(store, "captcha")["accepted"] == 1
    made.commit(store, repin(store, late), made.records("a2"))
    assert count_places(store, "captcha")["accepted"] == 2


def test_a_run_may_not_commit_with_a_pin_that_was_moved(store, made):
    run = made.begin(store, "b1")
    made.ingest(store, "b2", made.records("a2"))
    repin(store, run)
    with pytest.raises(StaleStateError):
        made.commit(store, run, made.records("a1"))


def test_a_record_that_a_person_decides_while_a_run_writes_its_files_makes_it_stale(store, made, monkeypatch):
    made.ingest(store, "b1", made.records("a1"), {"a1": "staged"})
    plan_files = commit.plan_commit

    def decided_meanwhile(*args):
        plan = plan_files(*args)
        release(feed_of(store, made.contract), record_ids=["a1"], by="ann", reason="known", now=made.now)
        return plan

    monkeypatch.setattr(commit, "plan_commit", decided_meanwhile)
    with pytest.raises(StaleStateError, match="a reviewer decided some of these records meanwhile"):
        made.commit(store, made.begin(store, "b2"), made.records("a1"))
    assert count_places(store, "captcha")["accepted"] == 1


def test_other_feeds_do_not_make_a_run_stale(store, made, make_made):
    run = made.begin(store, "b1")
    make_made(name="chat").ingest(store, "b9", made.records("z1"))
    assert made.commit(store, run, made.records("a1"))["accepted"] == 1


def test_of_the_same_id_with_other_content_the_newcomer_is_held(store, made):
    made.ingest(store, "b1", made.records("a1", "a2"))
    other = made.records("a1", answer="one")
    counts = made.ingest(store, "b2", other)
    kept = f"a1~{other['content_hash'].iloc[0][:8]}"
    assert (counts["quarantined"], counts["accepted"]) == (1, 0)
    places = find_records(store, "captcha").set_index("record_id")["place"]
    assert places.to_dict() == {"a1": "accepted", "a2": "accepted", kept: "quarantined"}
    codes = load_run_result(store, load_run(store, "captcha-b2"))["evidence"]
    assert set(codes.loc[codes["code"] == "id_conflict", "record_id"]) == {kept}
    again = made.ingest(store, "b3", other)
    assert (again["seen_before"], again["quarantined"]) == (1, 0)
    assert verify(store).ok


def test_observing_holds_no_conflict_back(store, make_made):
    made = make_made(mode="observe")
    made.ingest(store, "b1", made.records("a1"))
    made.ingest(store, "b2", made.records("a1", answer="one"))
    assert count_places(store, "captcha")["accepted"] == 2


def test_a_revision_takes_the_place_of_the_old_content(store, make_made):
    made = make_made(data={"path": "x.csv", "revisions": True})
    made.ingest(store, "b1", made.records("a1"))
    version = load_run(store, "captcha-b1").commit_seq
    counts = made.ingest(store, "b2", made.records("a1", answer="one"))
    assert (counts["revised"], counts["accepted"]) == (1, 1)
    assert sum(count_places(store, "captcha").values()) == 1
    assert pd.concat(accepted_frames(store, "captcha"))["answer"].tolist() == ["one"]
    old = load_state(store, made.contract, record_ids=["a1"], item_ids=[], version=version, controls=NO_CONTROLS).known
    assert old["content_hash"].tolist() == made.records("a1")["content_hash"].tolist()
    assert verify(store).ok


def test_staged_records_are_decided_by_a_later_run(store, made):
    made.ingest(store, "b1", made.records("a1", "a2", "a3"), dict.fromkeys(("a1", "a2", "a3"), "staged"))
    staged = staged_payloads(store)
    counts = made.ingest(store, "b2", staged, {"a2": "quarantined", "a3": "staged"})
    assert counts["received"] == settled(counts) == 3
    assert (counts["unstaged"], counts["seen_before"]) == (3, 0)
    assert count_places(store, "captcha") == {
        "accepted": 1,
        "quarantined": 1,
        "rejected": 0,
        "staged": 1,
        "recalled": 0,
    }
    assert pd.concat(accepted_frames(store, "captcha"))["record_id"].tolist() == ["a1"]
    assert verify(store).ok


def test_a_staged_record_that_this_very_run_decides_is_not_recalled_by_it(store, made):
    made.ingest(store, "b1", made.records("a1"), {"a1": "staged"})
    counts = made.ingest(store, "b2", staged_payloads(store), recalls=("a1",))
    assert (counts["accepted"], counts["recalled"]) == (1, 0)
    assert verify(store).ok


def decided_frames(made, records):
    """Return a batch decided by the test, every kind of row in it, and an unreadable row's decision."""
    decided = made.decided(records, PLACES, campaign=("a2", "a3"))
    reasons = [
        [] if place == "accepted" else ["unusual_combination", "lockstep"] for place in decided.decisions["place"]
    ]
    return dataclasses.replace(decided, decisions=decided.decisions.assign(reasons=reasons))


def test_a_stored_run_reads_back_as_it_was_decided(store, made):
    records = made.records(*PLACES)
    decided = decided_frames(made, records)
    run = made.begin(store, "b1")
    made.commit(store, run, records, decided, lost=("Z9",))
    frames = load_run_result(store, load_run(store, run.run_id))
    lost = {"record_id": "Z9", "action": "quarantine", "risk": 0.98, "campaign_id": None, "reasons": ["unreadable_row"]}
    expected = pd.concat([decided.decisions, pd.DataFrame([lost])], ignore_index=True)
    columns = ["record_id", "action", "risk", "campaign_id", "reasons"]
    pd.testing.assert_frame_equal(
        frames["decisions"][columns], expected.sort_values("record_id", ignore_index=True)[columns], check_exact=True
    )
    assert [value is None for value in frames["decisions"]["campaign_id"]].count(True) == 3
    pd.testing.assert_frame_equal(frames["items"], decided.items)
    pd.testing.assert_frame_equal(frames["sources"], decided.sources)
    evidence = frames["evidence"].set_index("record_id")
    assert evidence.loc["Z9", ["signal", "p", "code"]].tolist() == ["validation", 1e-6, "unreadable_row"]
    assert list(frames["campaigns"]["campaign_id"]) == [campaign.campaign_id for campaign in decided.campaigns]


def test_a_held_id_that_came_with_other_content_says_so_in_its_reasons(store, made):
    made.ingest(store, "b1", made.records("a1"))
    made.ingest(store, "b2", made.records("a1", answer="one"))
    decisions = load_run_result(store, load_run(store, "captcha-b2"))["decisions"]
    assert decisions[["action", "reasons"]].to_numpy().tolist() == [["quarantine", ["id_conflict"]]]


def test_an_unreadable_row_without_a_decision_stores_nothing(store, made, dump):
    run, records = made.begin(store, "b1"), made.records("a1")
    before = dump(store)
    with pytest.raises(StoreError, match="'x1' has no decision"):
        commit_run(
            store, run, made.contract, records=records, unreadable=made.unreadable("x1"), decided=made.decided(records),
            objects=(), cost=dict, now=made.now,
        )  # fmt: skip
    assert dump(store) == before


def test_a_record_without_a_decision_stores_nothing(store, made, dump):
    run = made.begin(store, "b1")
    before = dump(store)
    with pytest.raises(StoreError, match="'a2' has no decision"):
        made.commit(store, run, made.records("a1", "a2"), made.decided(made.records("a1")))
    assert dump(store) == before


def test_a_held_schema_is_not_accepted_with_its_batch(store, made):
    made.ingest(store, "b1", made.records("a1"))
    run = made.begin(store, "b2", schema={"id": "text", "answer": "number"})
    drift = made.decided(
        made.records("a2"), {"a2": "quarantined"}, notes=(Reason("schema_drift", {"changed": ["answer"]}),)
    )
    made.commit(store, run, made.records("a2"), drift)
    state = load_state(store, made.contract, record_ids=[], item_ids=[], version=10**9, controls=NO_CONTROLS)
    assert state.schema == {"id": "text", "answer": "text"}


def test_objects_and_watermarks_are_remembered(store, made):
    from poison_guard.records import ObjectRef

    made.ingest(store, "b1", made.records("a1"))
    window = (ObjectRef("query:q", "d2", 0, 1, watermark="17"),)
    run = begin_run(store, made.contract, batch_id="b2", objects=window, received_at=made.now, schema={}, now=made.now)
    made.commit(store, run, made.records("a2"))
    assert seen_objects(store, "captcha") == {"digest-b1", "d2"}
    assert (last_watermark(store, "captcha"), last_watermark(store, "chat")) == ("17", None)


def test_an_unknown_run_is_named(store):
    with pytest.raises(NotFoundError, match="no run 'captcha-zzz'"):
        load_run(store, "captcha-zzz")


def test_the_facts_of_a_run_tell_its_report(store, made):
    records = made.records(*PLACES)
    made.ingest(store, "b1", records, PLACES, campaign=("a2", "a3"))
    facts = run_facts(store, "captcha-b1")
    assert facts["counts"]["received"] == 4
    assert facts["reasons"].iloc[0][["code", "records"]].tolist() == ["unusual_combination", 3]
    assert facts["reasons"]["examples"].iloc[0][0]["args"] == {"features": ["speed"]}
    assert facts["risk"][["accepted", "quarantined"]].sum().tolist() == [1, 1]
    assert facts["campaigns"][["n_records", "held", "rejected"]].iloc[0].tolist() == [2, 1, 1]
    assert set(facts["sources"]["source_id"]) == set(records["source_id"])
    assert facts["policy"]["false_quarantine_rate"] == made.contract.policy.false_quarantine_rate
    assert facts["measurements"]["phase"] == "enforcing"
    assert [run["run_id"] for run in facts["runs"]] == ["captcha-b1"] == [r.run_id for r in list_runs(store)]


def test_hostile_names_are_kept_apart_and_bounded(store, made):
    long = "x" * 5000
    ids = ["nul\0one", "nul␀one", long, long + "y"]
    counts = made.ingest(store, "b1", made.records(*ids, source="s\0" + long))
    assert counts["accepted"] == 4
    assert find_records(store, "captcha")["record_id"].nunique() == 4
    assert load_payloads(store, "captcha", [long])["feature.speed"].tolist() == [5000.0]
    assert made.ingest(store, "b2", made.records(*ids, source="s\0" + long))["seen_before"] == 4
    state = load_state(store, made.contract, record_ids=ids, item_ids=[], version=10**9, controls=NO_CONTROLS)
    assert set(state.known["record_id"]) == set(ids)


def test_every_place_is_counted(store, made):
    assert set(count_places(store, "captcha")) == {place.value for place in Place}


def test_a_group_of_conflicts_is_one_entry_and_its_next_record_is_asked_about(store, made):
    records = made.records("n1", "n2", "n3", "n4")
    decided = made.decided(records, dict.fromkeys(records["record_id"], "quarantined"), campaign=("n1", "n2", "n3"))
    group = dataclasses.replace(decided.campaigns[0], kind="id_conflict")
    made.commit(store, made.begin(store, "b1"), records, dataclasses.replace(decided, campaigns=(group,)))
    feed = feed_of(store, made.contract)

    def waiting():
        return sorted(list_queue(feed, now=made.now).entries["record_id"])

    assert waiting() == ["n1", "n4"]
    reject(feed, record_ids=["n1"], by="ann", reason="forged", now=made.now)
    assert waiting() == ["n2", "n4"]
    reject(feed, campaign_id=group.campaign_id, by="ann", reason="forged", now=made.now)
    assert waiting() == ["n4"]
    assert verify(store).ok
