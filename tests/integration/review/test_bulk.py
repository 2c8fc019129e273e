"""A bulk decision is about a frozen set, once, and one command takes it back."""

from __future__ import annotations

import pytest

from poison_guard.errors import BusyError, StaleDecisionError, UsageError
from poison_guard.records import Person
from poison_guard.review.filters import QueueFilter
from poison_guard.steps import bulk as bulk_steps
from poison_guard.steps.bulk import bulk, bulk_preview, cancel, jobs_of, run_job, undo_job
from poison_guard.steps.claims import claim
from poison_guard.steps.queue import list_queue
from poison_guard.steps.review import reject, release
from poison_guard.store import find_records, load_sources, verify
from poison_guard.store.standing import list_reviews
from tests.integration.conftest import feed_of

IDS = tuple(f"q{k:03d}" for k in range(30))


@pytest.fixture
def feed(store, made, monkeypatch):
    """Thirty held records of three sources."""
    monkeypatch.setattr(bulk_steps, "_PART", 7)
    made.ingest(store, "b1", made.records(*IDS, "a1"), dict.fromkeys(IDS, "quarantined"))
    return feed_of(store, made.contract)


def places(feed):
    return find_records(feed.store, "captcha").set_index("record_id")["place"].to_dict()


def frozen(feed, made, **filters):
    return bulk_preview(feed, QueueFilter(**filters), now=made.now)


def begin(feed, made, one, verb="release", **more):
    return bulk(feed, one.job_id, verb, by="ann", reason="looked at a sample", now=made.now, **more)


def test_a_frozen_set_is_decided_part_by_part_and_undone_as_one(feed, made):
    before = load_sources(feed.store, made.contract).to_dict("list"), places(feed)
    one = frozen(feed, made)
    assert (one.total, one.confirm, len(one.sample)) == (30, "", len(set(one.sample["record_id"])))
    begin(feed, made, one)
    told = []
    job = run_job(feed, one.job_id, report=lambda j: told.append(j.done), now=made.now)
    assert (job.state, job.decided, job.left, told) == ("done", 30, 0, [7, 14, 21, 28, 30])
    assert {places(feed)[i] for i in IDS} == {"accepted"}
    assert load_sources(feed.store, made.contract)["outcomes_right"].sum() == 3  # one credit a source, over all parts
    assert [r["verb"] for r in list_reviews(feed.store, "captcha").to_dict("records")] == ["bulk"]
    assert list_queue(feed, now=made.now).total == 0
    assert run_job(feed, one.job_id, now=made.now) == job
    undone = undo_job(feed, one.job_id, by="bob", reason="too early", now=made.now)
    assert (undone.state, places(feed)) == ("undone", before[1])
    assert load_sources(feed.store, made.contract).to_dict("list") == before[0]
    assert list_queue(feed, now=made.now).total == 30
    assert undo_job(feed, one.job_id, by="bob", reason="again", now=made.now) == undone
    assert verify(feed.store).ok


def test_what_was_decided_claimed_or_came_after_the_set_was_frozen_is_left(feed, made):
    one = frozen(feed, made)
    reject(feed, by="bob", reason="wrong", record_ids=["q003"], now=made.now)
    claim(feed, by="eve", record_ids=["q004"], now=made.now)
    made.ingest(feed.store, "b2", made.records("late"), {"late": "quarantined"})
    begin(feed, made, one)
    job = run_job(feed, one.job_id, now=made.now)
    assert (job.decided, job.left) == (28, 2)
    assert (places(feed)["q003"], places(feed)["q004"], places(feed)["late"]) == (
        "rejected",
        "quarantined",
        "quarantined",
    )


def test_an_undo_leaves_what_was_decided_again_since(feed, made):
    one = frozen(feed, made)
    begin(feed, made, one)
    run_job(feed, one.job_id, now=made.now)
    reject(feed, by="bob", reason="wrong", record_ids=["q003"], overrule=True, now=made.now)
    wrong = load_sources(feed.store, made.contract)["outcomes_wrong"].sum()
    undo_job(feed, one.job_id, by="ann", reason="too early", now=made.now)
    assert places(feed)["q003"] == "rejected"
    assert {places(feed)[i] for i in IDS if i != "q003"} == {"quarantined"}
    assert load_sources(feed.store, made.contract)["outcomes_wrong"].sum() == wrong == 1
    assert verify(feed.store).ok


def test_a_cancelled_job_stops_after_its_part_and_its_part_can_be_undone(feed, made):
    one = frozen(feed, made)
    begin(feed, made, one)
    job = run_job(feed, one.job_id, report=lambda j: cancel(feed, j.job_id, by="ann"), now=made.now)
    assert (job.state, job.decided) == ("cancelled", 7)
    assert sum(place == "accepted" for place in places(feed).values()) == 8
    assert undo_job(feed, one.job_id, by="ann", reason="too early", now=made.now).state == "undone"
    assert sum(place == "accepted" for place in places(feed).values()) == 1


def test_a_killed_job_goes_on_where_it_was(feed, made):
    one = frozen(feed, made)
    begin(feed, made, one)

    def killed(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(feed, one.job_id, report=killed, now=made.now)
    assert begin(feed, made, one).done == 7  # the same again begins nothing
    assert run_job(feed, one.job_id, now=made.now).decided == 30
    assert load_sources(feed.store, made.contract)["outcomes_right"].sum() == 3
    assert [j.total for j in jobs_of(feed).jobs] == [30]


def test_more_than_a_hundred_have_to_be_confirmed_by_their_number(feed, made, monkeypatch):
    monkeypatch.setattr(bulk_steps, "CONFIRMED", 10)
    one = frozen(feed, made)
    for typed in ("", "3", "yes"):
        with pytest.raises(UsageError, match="confirm with the number 30"):
            begin(feed, made, one, confirm=typed)
    assert begin(feed, made, one, confirm="30").state == "running"
    with pytest.raises(BusyError, match=r"ann decided .* already: release"):
        bulk(feed, one.job_id, "reject", by="bob", reason="no", now=made.now)


def test_a_filter_that_finds_nothing_freezes_nothing(feed, made):
    with pytest.raises(UsageError, match="no entry of the queue of captcha meets the filter"):
        frozen(feed, made, campaign_id="c-none")


def test_a_stale_decision_is_refused_and_says_who_decided(feed, made):
    shown = list_queue(feed, QueueFilter(source_id="user-0"), now=made.now).entries
    version = dict(zip(shown["record_id"], (int(v) for v in shown["version"]), strict=True))
    first = shown["record_id"].iloc[0]
    person = Person("ann", "session")
    done = release(feed, by=person, reason="fine", record_ids=[first], expected=version, now=made.now)
    with pytest.raises(StaleDecisionError, match=f"'{first}', ann released it on .* nothing was changed"):
        reject(feed, by="bob", reason="no", record_ids=[first], expected=version, overrule=True, now=made.now)
    twice = release(feed, by=person, reason="fine", record_ids=[first], expected=version, now=made.now)
    assert (twice.again, twice.seq) == (True, done.seq)  # a double click, and the back button
    row = list_reviews(feed.store, "captcha", limit=1).iloc[0]
    assert (row["actor"], row["via"]) == ("ann", "session")
