"""Reviewers decide once, all or nothing, and can take any of it back."""

from __future__ import annotations

import datetime as dt
import threading

import pandas as pd
import pytest

from poison_guard.errors import BusyError, DataError, NotFoundError, UsageError
from poison_guard.records import Reason
from poison_guard.review.filters import QueueFilter
from poison_guard.review.rules import Selector
from poison_guard.steps.claims import claim, unclaim
from poison_guard.steps.queue import list_queue
from poison_guard.steps.review import (
    ReviewResult,
    decide_selection,
    recall,
    reject,
    release,
    select,
    undo,
)
from poison_guard.steps.sources import block, unblock
from poison_guard.store import (
    accepted_frames,
    add_trusted,
    explain,
    feed_facts,
    find_records,
    load_sources,
    load_state,
    verify,
)
from poison_guard.store.standing import list_reviews
from tests.integration.conftest import feed_of

HELD = ("q1", "q2", "q3")
GROUP = "c-q1-q2"


@pytest.fixture
def full(store, made):
    """Six records: three held, two of them a campaign; one accepted that is an audit sample, two accepted."""
    made.ingest(
        store,
        "b1",
        made.records(*HELD, "a1", "a2", "s1"),
        dict.fromkeys(HELD, "quarantined"),
        campaign=("q1", "q2"),
        samples=("s1",),
    )
    return store


@pytest.fixture
def person(made):
    return {"by": "ann", "reason": "looked at it", "now": made.now}


def places(store):
    return find_records(store, "captcha").set_index("record_id")["place"].to_dict()


def queue(store, made):
    frame = list_queue(feed_of(store, made.contract), now=made.now).entries
    return dict(zip(frame["record_id"], frame["kind"], strict=True))


def snapshot(store, made):
    """What undo must restore: places, verdicts, who waits, and the sums of the ledger."""
    rows = (
        find_records(store, "captcha").sort_values("record_id")[["record_id", "place", "verdict"]].to_numpy().tolist()
    )
    return rows, sorted(queue(store, made)), load_sources(store, made.contract).to_dict("list")


def test_the_queue_tells_why_riskiest_first(full, made):
    frame = list_queue(feed_of(full, made.contract), now=made.now).entries
    assert frame["record_id"].tolist()[:3] == ["q1", "q2", "q3"]
    assert frame["reasons"].iloc[0][0]["code"] == "unusual_combination"
    assert queue(full, made) == {**dict.fromkeys(HELD, "held"), "s1": "audit"}
    assert list_queue(feed_of(full, made.contract), QueueFilter(campaign_id=GROUP), now=made.now).entries[
        "record_id"
    ].tolist() == ["q1", "q2"]
    assert list_queue(feed_of(full, made.contract), size=1, now=made.now).entries["record_id"].tolist() == ["q1"]
    groups = list_queue(feed_of(full, made.contract), group_by="campaign", now=made.now).entries
    assert groups[["value", "records"]].to_numpy().tolist() == [[GROUP, 2]]
    assert list_queue(feed_of(full, made.contract), group_by="source", now=made.now).entries["records"].sum() == 4


def test_unread_entries_expire_and_stay_recoverable(full, made):
    late = made.now + dt.timedelta(days=31)
    assert list_queue(feed_of(full, made.contract), now=late).entries.empty
    assert len(list_queue(feed_of(full, made.contract), QueueFilter(state="all"), now=late).entries) == 4
    facts = feed_facts(full, "captcha", now=late, expire_days=30)
    assert (facts["open"], facts["expired"], facts["oldest"]) == (0, 4, None)
    assert feed_facts(full, "captcha", now=made.now, expire_days=30)["oldest"] == made.now
    release(feed_of(full, made.contract), by="ann", reason="found it", record_ids=["q1"], now=late)
    assert places(full)["q1"] == "accepted"


def test_a_release_accepts_and_speaks_for_the_source(full, made, person):
    result = release(feed_of(full, made.contract), campaign_id=GROUP, **person)
    assert result.record_ids == ("q1", "q2")
    assert {places(full)[i] for i in ("q1", "q2")} == {"accepted"}
    assert {"q1", "q2"} <= set(pd.concat(accepted_frames(full, "captcha"))["record_id"])
    assert load_sources(full, made.contract)["outcomes_right"].sum() == 2
    assert set(queue(full, made)) == {"q3", "s1"}


def test_a_rejection_speaks_against_and_a_changed_mind_counts_once(full, made, person):
    reject(feed_of(full, made.contract), record_ids=["q1"], **person)
    assert load_sources(full, made.contract)["outcomes_wrong"].sum() == 1
    release(feed_of(full, made.contract), record_ids=["q1"], **person)
    sums = load_sources(full, made.contract)
    assert (sums["outcomes_right"].sum(), sums["outcomes_wrong"].sum()) == (1, 0)


def test_an_audit_sample_is_confirmed_or_rejected(full, made, person):
    release(feed_of(full, made.contract), record_ids=["s1"], **person)
    assert places(full)["s1"] == "accepted"
    assert "s1" not in queue(full, made)
    assert load_sources(full, made.contract)["outcomes_right"].sum() == 1
    with pytest.raises(BusyError, match="'s1' is already accepted"):
        release(feed_of(full, made.contract), record_ids=["s1"], **person | {"reason": "looked at it again"})


@pytest.mark.parametrize("chosen", [{"record_ids": ["a1", "a2"]}, {"source_id": "user-0"}, {"source_id": "user-2"}])
def test_a_recall_takes_accepted_records_back_into_the_queue(full, made, person, chosen):
    before = places(full)
    result = recall(feed_of(full, made.contract), **chosen, **person)
    assert {before[i] for i in result.record_ids} == {"accepted"}
    assert {places(full)[i] for i in result.record_ids} == {"recalled"}
    assert {queue(full, made)[i] for i in result.record_ids} == {"recalled"}
    left = [i for f in accepted_frames(full, "captcha") for i in f["record_id"]]
    assert not set(left) & set(result.record_ids)
    assert load_sources(full, made.contract)["outcomes_wrong"].sum() == 0


@pytest.mark.parametrize(
    ("verb", "chosen"),
    [
        (release, {"record_ids": ["q1", "q3"]}),
        (release, {"record_ids": ["s1"]}),
        (reject, {"campaign_id": GROUP}),
        (reject, {"record_ids": ["a1", "s1", "q2"]}),
        (recall, {"record_ids": ["a1", "a2"]}),
    ],
)
def test_undo_restores_exactly_what_was_and_undoing_that_redoes_it(full, made, person, verb, chosen):
    before = snapshot(full, made)
    done = verb(feed_of(full, made.contract), **chosen, **person)
    after = snapshot(full, made)
    assert after != before
    undone = undo(feed_of(full, made.contract), done.seq, **person)
    assert snapshot(full, made) == before
    assert undone.record_ids == done.record_ids
    with pytest.raises(UsageError, match=f"undone already, by {undone.seq}"):
        undo(feed_of(full, made.contract), done.seq, **person | {"by": "bob"})
    again = undo(feed_of(full, made.contract), done.seq, **person)
    assert (again.to_dict(), again.again) == (undone.to_dict(), True)
    assert str(again).startswith("already undid")
    undo(feed_of(full, made.contract), undone.seq, **person)
    assert snapshot(full, made) == after
    assert verify(full).ok


@pytest.mark.parametrize("verb", [release, reject])
def test_a_dry_run_says_what_the_decision_would_do_and_changes_nothing(full, made, person, verb):
    feed, before = feed_of(full, made.contract), snapshot(full, made)
    dry = verb(feed, campaign_id=GROUP, dry_run=True, **person)
    assert snapshot(full, made) == before
    done = verb(feed, campaign_id=GROUP, **person)
    assert dry.to_dict() | {"dry_run": False, "event": done.seq} == done.to_dict()
    dry_undo = undo(feed, done.seq, dry_run=True, **person)
    assert (dry_undo.seq, dry_undo.record_ids, dry_undo.undone_verb) == (None, ("q1", "q2"), verb.__name__)
    undone = undo(feed, done.seq, **person)
    assert dry_undo.to_dict() | {"dry_run": False, "event": undone.seq} == undone.to_dict()
    with pytest.raises(UsageError, match="undone already"):
        undo(feed, done.seq, dry_run=True, **person)
    with pytest.raises(UsageError, match="needs a reason"):
        verb(feed, campaign_id=GROUP, by="ann", reason=" ", dry_run=True)


def test_trust_is_for_released_ids_that_were_vetted(full, made, person):
    feed = feed_of(full, made.contract)
    with pytest.raises(UsageError, match="needs record ids"):
        release(feed, campaign_id=GROUP, trust=True, **person)
    with pytest.raises(UsageError, match="choose one of them"):
        release(feed, record_ids=["q1"], trust=True, right=False, **person)
    assert release(feed, record_ids=["q1"], trust=True, dry_run=True, **person).trusted is None
    assert release(feed, record_ids=["q1"], trust=True, **person).trusted.n == 1


def test_an_accepted_record_enters_the_trusted_set_as_a_persons_decision_that_undo_takes_back(full, made, person):
    feed = feed_of(full, made.contract)
    with pytest.raises(BusyError, match="already accepted"):
        release(feed, record_ids=["a1"], **person)
    done = release(feed, record_ids=["a1", "q1"], trust=True, **person)
    assert (done.trusted.added, done.places) == (2, {"accepted": 1, "quarantined": 1})
    assert explain(full, "captcha", "a1")["record"]["verdict"] == 1
    again = release(feed, record_ids=["a1", "q1"], trust=True, **person)
    assert (again.seq, again.again, again.trusted.already) == (done.seq, True, 2)
    undo(feed, done.seq, **person)
    assert (places(full)["q1"], explain(full, "captcha", "a1")["record"]["verdict"]) == ("quarantined", 0)
    assert verify(full).ok


def test_json_lists_a_hundred_ids_of_a_decision_and_counts_all():
    ids = tuple(f"r{k:03d}" for k in range(250))
    document = ReviewResult("captcha", "reject", 7, ids, {"quarantined": 250}, 3).to_dict()
    assert (document["records"], len(document["record_ids"]), document["record_ids_left_out"]) == (250, 100, 150)


def test_a_release_of_what_cannot_be_trusted_releases_nothing(full, made, person):
    feed = feed_of(full, made.contract)
    other = made.records("q1").assign(content_hash="other")
    add_trusted(full, made.contract, other, by="ann", reason="vetted", from_review=True)
    before = places(full)
    for dry_run in (True, False):
        with pytest.raises(DataError, match="'q1' is in the trusted set of captcha with other content"):
            release(feed, record_ids=["q2", "q1"], trust=True, dry_run=dry_run, **person)
    assert places(full) == before
    assert release(feed, record_ids="q2", trust=True, **person).to_dict()["trusted"]["added"] == 1


def test_an_id_that_is_no_text_is_refused_in_a_sentence(full, made, person):
    feed = feed_of(full, made.contract)
    with pytest.raises(UsageError, match="an id is text, got 3"):
        release(feed, record_ids=[3], **person)
    with pytest.raises(UsageError, match="an id is text, got 3"):
        explain(full, "captcha", 3)


def test_what_was_decided_again_is_undone_in_turn(full, made, person):
    start = snapshot(full, made)
    first = release(feed_of(full, made.contract), record_ids=["q1", "q2"], **person)
    second = recall(feed_of(full, made.contract), record_ids=["q1"], **person)
    with pytest.raises(UsageError, match=f"decided again since, last by {second.seq}"):
        undo(feed_of(full, made.contract), first.seq, **person)
    undo(feed_of(full, made.contract), second.seq, **person)
    undo(feed_of(full, made.contract), first.seq, **person)
    assert snapshot(full, made) == start
    assert verify(full).ok


def test_an_unknown_or_undoable_event_is_named(full, made, person):
    with pytest.raises(NotFoundError, match="no decision 1 in captcha"):
        undo(feed_of(full, made.contract), 1, **person)


def test_a_decision_is_all_or_nothing(full, made, person):
    reject(feed_of(full, made.contract), record_ids=["q2"], **person)
    before = snapshot(full, made)
    with pytest.raises(BusyError, match="1 of 3 records cannot be moved by reject: 'q2' is already rejected"):
        reject(feed_of(full, made.contract), record_ids=list(HELD), **person)
    with pytest.raises(NotFoundError, match="no record 'nobody'"):
        reject(feed_of(full, made.contract), record_ids=["q1", "nobody"], **person)
    assert snapshot(full, made) == before


def test_records_that_were_shown_by_id_are_decided_all_or_none(full, made, person):
    chosen = select(feed_of(full, made.contract), "recall", Selector.of("recall", record_ids=["a1", "a2"]))
    reject(feed_of(full, made.contract), record_ids=["a1"], **person)
    with pytest.raises(BusyError):
        decide_selection(feed_of(full, made.contract), chosen, **person)
    assert places(full)["a2"] == "accepted"


def test_of_a_group_that_was_shown_what_was_decided_meanwhile_is_left_and_counted(full, made, person):
    chosen = select(feed_of(full, made.contract), "release", Selector.of("release", campaign_id=GROUP))
    assert (chosen.record_ids, dict(chosen.places)) == (("q1", "q2"), {"quarantined": 2})
    reject(feed_of(full, made.contract), record_ids=["q1"], **person)
    done = decide_selection(feed_of(full, made.contract), chosen, **person)
    assert (done.record_ids, done.left, done.to_dict()["left"]) == (("q2",), 1, 1)
    assert "left 1 that people decided otherwise or meanwhile" in str(done)
    assert (places(full)["q1"], places(full)["q2"]) == ("rejected", "accepted")
    assert verify(full).ok


def test_a_group_decided_after_a_colleague_decided_some_of_it_leaves_and_counts_these(full, made, person):
    reject(feed_of(full, made.contract), record_ids=["q1"], **person | {"by": "bob"})
    done = release(feed_of(full, made.contract), campaign_id=GROUP, **person)
    assert (done.record_ids, done.left) == (("q2",), 1)


@pytest.mark.parametrize(
    ("verb", "chosen"),
    [
        (release, {"record_ids": ["q1", "q3"]}),
        (release, {"record_ids": ["q1"], "right": False}),
        (release, {"campaign_id": GROUP}),
        (reject, {"record_ids": ["a1", "q2"]}),
        (reject, {"source_id": "user-2"}),
        (recall, {"record_ids": ["a1", "a2"]}),
        (recall, {"run_id": None}),
    ],
)
def test_the_same_decision_again_says_what_it_did_and_changes_nothing(full, made, person, verb, chosen):
    feed = feed_of(full, made.contract)
    if "run_id" in chosen:
        chosen = {"run_id": explain(full, "captcha", "a1")["record"]["run_id"]}
    first = verb(feed, **chosen, **person)
    before = snapshot(full, made)
    again = verb(feed, **chosen, **person)
    assert (again.to_dict(), again.again) == (first.to_dict(), True)
    assert f"under event {first.seq}" in str(again)
    assert snapshot(full, made) == before
    with pytest.raises((BusyError, NotFoundError)):
        verb(feed, **chosen, **person | {"by": "bob"})


def test_a_decision_that_was_decided_over_since_is_not_done_already(full, made, person):
    feed = feed_of(full, made.contract)
    reject(feed, record_ids=["q1"], **person)
    release(feed, record_ids=["q1"], **person)
    reject(feed, record_ids=["q1"], **person | {"by": "bob"}, overrule=True)
    with pytest.raises(BusyError, match="already rejected"):
        reject(feed, record_ids=["q1"], **person)


@pytest.mark.parametrize(("first", "second", "place"), [(reject, release, "rejected"), (release, reject, "accepted")])
def test_a_colleagues_opposite_decision_is_refused_by_name_unless_it_is_overruled(
    full, made, person, first, second, place
):
    feed = feed_of(full, made.contract)
    done = first(feed, record_ids=["q1", "q2"], **person | {"by": "bob"})
    named = f"bob {place if place == 'rejected' else 'released'} 1 of 2 records on 2026-.* UTC .event {done.seq}.*"
    with pytest.raises(BusyError, match=f"{named}review undo {done.seq}.*--overrule"):
        second(feed, record_ids=["q2", "q3"], **person)
    assert (places(full)["q2"], places(full)["q3"]) == (place, "quarantined")
    second(feed, record_ids=["q2", "q3"], **person, overrule=True)
    assert places(full)["q2"] != place
    second(feed, record_ids=["q1"], **person | {"by": "Bob"})  # one's own decision may be changed
    assert verify(full).ok


def test_an_undone_decision_of_a_colleague_stands_in_nobodys_way_and_one_redone_does(full, made, person):
    feed = feed_of(full, made.contract)
    done = reject(feed, record_ids=["q1"], **person | {"by": "bob"})
    undone = undo(feed, done.seq, **person | {"by": "bob"})
    redone = undo(feed, undone.seq, **person | {"by": "bob"})
    with pytest.raises(BusyError, match=f"review undo {redone.seq}` takes that back, and --overrule"):
        release(feed, record_ids=["q1"], **person)
    undo(feed, redone.seq, **person | {"by": "bob"})
    assert places(full)["q1"] == "quarantined"
    assert release(feed, record_ids=["q1"], **person).seq > redone.seq


def test_a_campaign_without_held_records_is_not_found(full, made, person):
    with pytest.raises(NotFoundError, match="no records to recall for campaign_id"):
        recall(feed_of(full, made.contract), campaign_id=GROUP, **person)


def test_rows_that_could_not_be_read_cannot_be_released(store, made, person):
    made.commit(store, made.begin(store, "b1"), made.records("a1"), lost=("x1",))
    with pytest.raises(UsageError, match="'x1' is a row that could not be read"):
        release(feed_of(store, made.contract), record_ids=["x1"], **person)
    reject(feed_of(store, made.contract), record_ids=["x1"], **person)
    found = explain(store, "captcha", "x1")
    assert (found["record"]["place"], found["payload"]["raw"]) == ("rejected", "x1,,")
    assert found["evidence"][0]["args"] == {"line": 0, "why": "ragged"}


def test_releasing_a_changed_schema_accepts_it(store, made, person):
    made.ingest(store, "b1", made.records("a1"))
    wide = {"id": "text", "answer": "text", "extra": "number"}
    run = made.begin(store, "b2", schema=wide)
    decided = made.decided(made.records("a2"), {"a2": "staged"}, notes=(Reason("schema_drift", {"added": ["extra"]}),))
    decided.decisions["reasons"] = [["schema_drift"]]
    made.commit(store, run, made.records("a2"), decided)

    def schema():
        controls = pd.DataFrame({"item_id": [], "answer": []})
        return load_state(store, made.contract, record_ids=[], item_ids=[], version=10**6, controls=controls).schema

    assert "extra" not in schema()
    told = explain(store, "captcha", "a2")["evidence"]
    assert [e["args"] for e in told if e["code"] == "schema_drift"] == [{"added": ["extra"]}]
    done = release(feed_of(store, made.contract), run_id="captcha-b2", **person)
    assert done.record_ids == ("a2",)
    assert schema() == wide
    undo(feed_of(store, made.contract), done.seq, **person)
    assert "extra" not in schema()


def test_blocking_is_said_once_and_taken_back(full, made, person):
    seq = block(feed_of(full, made.contract), "user-1", **person).event
    blocked = load_sources(full, made.contract).set_index("source_id")["blocked"]
    assert blocked.to_dict()["user-1"]
    assert block(feed_of(full, made.contract), "user-1", **person).event == seq
    with pytest.raises(UsageError, match="blocked already"):
        block(feed_of(full, made.contract), "user-1", **person | {"by": "bob"})
    with pytest.raises(UsageError, match="blocked already"):
        block(feed_of(full, made.contract), "user-1", dry_run=True, **person)
    assert block(feed_of(full, made.contract), "user-2", dry_run=True, **person).event is None
    undo(feed_of(full, made.contract), seq, **person)
    assert not load_sources(full, made.contract)["blocked"].any()
    with pytest.raises(UsageError, match="is not blocked"):
        unblock(feed_of(full, made.contract), "user-1", **person)
    block(feed_of(full, made.contract), "never-seen", **person)
    unblock(feed_of(full, made.contract), "never-seen", **person)
    assert verify(full).ok


def test_decisions_are_listed_with_who_and_why(full, made, person):
    done = release(feed_of(full, made.contract), campaign_id=GROUP, **person)
    undo(feed_of(full, made.contract), done.seq, by="bob", reason="too soon", now=made.now)
    listed = list_reviews(full, "captcha")
    assert listed["verb"].tolist() == ["undo", "release"]
    assert listed["actor"].tolist() == ["bob", "ann"]
    assert listed["selector"].tolist()[1] == {"campaign_id": GROUP}
    assert listed["undone_by"].tolist()[1] == listed["seq"].tolist()[0]


def test_a_claim_hides_entries_until_it_ends(full, made):
    mine = claim(feed_of(full, made.contract), by="ann", limit=2, now=made.now)
    assert mine.record_ids == ("q1", "q2")
    theirs = claim(feed_of(full, made.contract), by="bob", limit=9, now=made.now)
    assert theirs.record_ids == ("q3", "s1")
    assert claim(feed_of(full, made.contract), by="bob", record_ids=["q1"], now=made.now).record_ids == ()
    with pytest.raises(BusyError, match="1 of 1 records are being reviewed by ann"):
        release(feed_of(full, made.contract), by="bob", reason="fine", record_ids=["q1"], now=made.now)
    later = mine.until + dt.timedelta(seconds=1)
    taken = claim(feed_of(full, made.contract), by="bob", record_ids=["q1"], now=later)
    assert taken.record_ids == ("q1",)
    with pytest.raises(BusyError, match="reviewed by bob"):
        release(feed_of(full, made.contract), by="ann", reason="late", record_ids=["q1"], token=mine.token, now=later)
    release(feed_of(full, made.contract), by="bob", reason="fine", record_ids=["q1"], token=taken.token, now=later)


def test_a_claim_holds_up_to_its_last_moment(full, made):
    mine = claim(feed_of(full, made.contract), by="ann", record_ids=["q1"], now=made.now)
    assert claim(feed_of(full, made.contract), by="bob", record_ids=["q1"], now=mine.until).record_ids == ()
    with pytest.raises(BusyError, match="reviewed by ann"):
        release(feed_of(full, made.contract), by="bob", reason="fine", record_ids=["q1"], now=mine.until)
    ended = mine.until + dt.timedelta(microseconds=1)
    assert claim(feed_of(full, made.contract), by="bob", record_ids=["q1"], now=ended).record_ids == ("q1",)


@pytest.mark.parametrize(("limit", "seconds"), [(0, 600), (1, 0)])
def test_a_claim_is_for_some_entries_and_some_time(full, made, limit, seconds):
    with pytest.raises(UsageError, match="must be above 0"):
        claim(feed_of(full, made.contract), by="ann", limit=limit, lease_seconds=seconds, now=made.now)


def test_a_claim_of_one_tab_is_not_decided_by_another(full, made):
    claim(feed_of(full, made.contract), by="ann", record_ids=["q1"], now=made.now)
    renewed = claim(feed_of(full, made.contract), by="ann", record_ids=["q1"], now=made.now)
    with pytest.raises(BusyError):
        release(feed_of(full, made.contract), by="ann", reason="x", record_ids=["q1"], token="old", now=made.now)
    assert unclaim(feed_of(full, made.contract), renewed.token).records == 1
    release(feed_of(full, made.contract), by="bob", reason="x", record_ids=["q1"], now=made.now)


def test_many_reviewers_decide_every_record_once(store, made):
    ids = [f"q{i:03d}" for i in range(40)]
    made.ingest(store, "b1", made.records(*ids), dict.fromkeys(ids, "quarantined"))
    claimed: list[str] = []
    decided: list[str] = []
    refused: list[str] = []

    def work(name: str) -> None:
        while (lot := claim(feed_of(store, made.contract), by=name, limit=3, now=made.now)).record_ids:
            claimed.extend(lot.record_ids)
            try:
                verb = release if len(lot.record_ids) % 2 else reject
                verb(
                    feed_of(store, made.contract),
                    by=name,
                    reason="x",
                    record_ids=lot.record_ids,
                    token=lot.token,
                    now=made.now,
                )
            except BusyError:
                refused.extend(lot.record_ids)
            else:
                decided.extend(lot.record_ids)

    run_all([threading.Thread(target=work, args=(f"reviewer-{i}",)) for i in range(6)])
    assert sorted(claimed) == sorted(decided) == ids
    assert refused == []
    assert set(places(store).values()) <= {"accepted", "rejected"}
    assert verify(store).ok


def test_two_decisions_on_one_set_are_never_both_made(store, made):
    ids = [f"q{i}" for i in range(12)]
    made.ingest(store, "b1", made.records(*ids), dict.fromkeys(ids, "quarantined"))
    outcomes: list[str] = []

    def work(verb) -> None:
        try:
            verb(feed_of(store, made.contract), by="x", reason="x", record_ids=ids, now=made.now)
            outcomes.append(verb.__name__)
        except BusyError:
            outcomes.append("refused")

    run_all([threading.Thread(target=work, args=(verb,)) for verb in (release, reject, release, reject)])
    made_by = [o for o in outcomes if o != "refused"]
    assert (len(made_by), outcomes.count("refused")) == (1, 3) or set(made_by) == {"reject", "release"}
    assert len(set(places(store).values())) == 1
    assert verify(store).ok


def run_all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_decision_whose_later_ones_were_all_undone_can_be_undone(store, made):
    made.ingest(store, "b1", made.records("a1"))
    first = recall(feed_of(store, made.contract), record_ids=["a1"], by="ann", reason="odd", now=made.now)
    let_in = release(feed_of(store, made.contract), record_ids=["a1"], by="ann", reason="fine", now=made.now)
    back = undo(feed_of(store, made.contract), let_in.seq, by="ann", reason="no", now=made.now)
    again = undo(feed_of(store, made.contract), back.seq, by="ann", reason="yes", now=made.now)
    with pytest.raises(UsageError, match="decided again since"):
        undo(feed_of(store, made.contract), first.seq, by="ann", reason="was fine", now=made.now)
    undo(feed_of(store, made.contract), again.seq, by="ann", reason="no", now=made.now)
    undo(feed_of(store, made.contract), first.seq, by="ann", reason="was fine", now=made.now)
    record = find_records(store, "captcha").iloc[0]
    assert (record["place"], record["verdict"]) == ("accepted", 0)
    assert verify(store).ok
