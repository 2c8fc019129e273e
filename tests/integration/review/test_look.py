"""What is shown of the queue, of campaigns and of one record: one value each, whatever the record went through."""

from __future__ import annotations

import json

import pytest

from poison_guard.errors import NotFoundError, UsageError
from poison_guard.records import Reason
from poison_guard.review.filters import QueueFilter
from poison_guard.steps.claims import claim
from poison_guard.steps.look import bootstrap, campaigns, feed_of_record, list_decided, show
from poison_guard.steps.queue import list_queue
from poison_guard.steps.review import recall, release
from poison_guard.steps.sources import block, list_sources
from tests.integration.conftest import feed_of

PLACES = dict.fromkeys(("q1", "q2", "q3"), "quarantined") | {"s1": "staged", "s2": "staged"}
GROUP = "c-q1-q2"


@pytest.fixture
def feed(store, made):
    """Five records held or staged, two of them a campaign; one accepted; one row that could not be read."""
    records = made.records("q1", "q2", "q3", "s1", "s2", "a1")
    decided = made.decided(records, PLACES, campaign=("q1", "q2"))
    made.commit(store, made.begin(store, "b1"), records, decided, lost=("x1",))
    return feed_of(store, made.contract)


def whole(result) -> dict:
    """Return what `--json` prints, after its way through JSON; the text and the page say something too."""
    assert str(result)
    assert result._repr_html_().startswith("<table>")
    return json.loads(json.dumps(result.to_dict(), allow_nan=False))


def facts(feed, record_id) -> dict:
    return whole(show(feed.store, feed.contract.name, record_id))


def test_a_record_of_a_campaign_is_shown_with_the_others_and_the_sentence(feed):
    document = facts(feed, "q1")
    group = document["campaign"]
    assert (group["campaign_id"], group["others"]) == (GROUP, 1)
    assert [other["record_id"] for other in group["examples"]] == ["q2"]
    assert set(group["examples"][0]) == {"record_id", "source_id", "item_id", "answer", "place"}
    assert group["sentence"]
    assert document["evidence"][0]["sentence"]
    assert (document["payload"]["answer"], document["queue"]["state"]) == ("seven", "open")


def test_a_record_without_campaign_is_shown_with_its_source(feed, made):
    release(feed, by="ann", reason="fine", record_ids=["q3"], now=made.now)
    document = facts(feed, "q3")
    assert document["campaign"] is None
    assert document["source"]["outcomes_right"] == 1
    assert [(h["kind"], h["actor"], h["to_place"]) for h in document["history"]] == [
        ("run.committed", None, None),
        ("review.release", "ann", "accepted"),
    ]
    assert document["queue"]["state"] == "done"


def test_an_unreadable_row_is_shown_with_what_could_be_saved_of_it(feed):
    document = facts(feed, "x1")
    assert document["payload"]["raw"] == "x1,,"
    assert (document["source"], document["campaign"]) == (None, None)
    assert "could not be read" in str(show(feed.store, "captcha", "x1")) or document["evidence"]


def test_a_recalled_record_is_shown_as_it_waits_again(feed, made):
    recall(feed, by="ann", reason="odd", record_ids=["a1"], now=made.now)
    document = facts(feed, "a1")
    assert (document["record"]["place"], document["queue"]["kind"]) == ("recalled", "recalled")
    assert "nothing speaks against" in str(show(feed.store, "captcha", "a1"))


def test_a_record_that_an_observing_feed_accepted_is_shown_with_what_speaks_against_it(store, make_made):
    made = make_made(mode="observe")
    records = made.records("a1", "a2")
    decided = made.decided(records, {"a1": "quarantined"}, notes=(Reason("observing", {}),))
    decided.decisions["place"] = "accepted"
    made.commit(store, made.begin(store, "b1"), records, decided)
    document = facts(feed_of(store, made.contract), "a1")
    assert (document["record"]["place"], document["record"]["action"]) == ("accepted", "quarantine")
    assert document["evidence"]


def test_a_record_nobody_has_is_not_found_and_its_feed_neither(feed):
    with pytest.raises(NotFoundError, match="no record 'zzz'"):
        show(feed.store, "captcha", "zzz")
    with pytest.raises(NotFoundError, match="no feed has a record 'zzz'"):
        feed_of_record(feed.store, "zzz")
    assert feed_of_record(feed.store, "q1") == "captcha"


def test_a_record_of_two_feeds_is_asked_for_by_feed(feed, make_made):
    other = make_made(name="other")
    other.ingest(feed.store, "b9", other.records("q1"))
    with pytest.raises(UsageError, match="several feeds have a record 'q1': captcha, other"):
        feed_of_record(feed.store, "q1")


def test_a_long_queue_says_how_many_there_are(feed, made):
    document = whole(list_queue(feed, size=2, now=made.now))
    assert [entry["record_id"] for entry in document["entries"]] == ["x1", "q1"]
    assert (document["total"], document["staged"]) == (4, 2)
    assert [len(entry["reasons"]) for entry in document["entries"]] == [1, 1]
    assert list_queue(feed, QueueFilter(source_id="user-2"), now=made.now).total == 1


def test_groups_are_of_a_campaign_with_its_sources_or_of_a_source(feed, made):
    by_campaign = whole(list_queue(feed, group_by="campaign", now=made.now))
    assert [(e["value"], e["records"], e["sources"]) for e in by_campaign["entries"]] == [(GROUP, 2, 2)]
    by_source = list_queue(feed, group_by="source", size=2, now=made.now)
    assert (len(by_source.entries), by_source.total) == (2, 3)
    with pytest.raises(UsageError, match=r"group_by is one of campaign, source, .*, got 'kind'"):
        list_queue(feed, group_by="kind")


def test_decisions_are_counted_and_a_claim_names_who_holds_what(feed, made):
    held = claim(feed, by="bob", record_ids="q1", now=made.now)
    assert whole(held)["record_ids"] == ["q1"]
    waiting = list_queue(feed, now=made.now).entries.set_index("record_id")
    assert waiting["claimed_by"].dropna().to_dict() == {"q1": "bob"}
    for name in ("q2", "q3"):
        release(feed, by="ann", reason="fine", record_ids=name, now=made.now)
    decided = whole(list_decided(feed, limit=1))
    assert ([e["verb"] for e in decided["entries"]], decided["total"]) == (["release"], 2)


def test_a_sample_to_vet_is_drawn_from_what_is_staged_or_accepted_and_nobody_judged(feed, made):
    release(feed, by="ann", reason="fine", record_ids=["q1"], now=made.now)
    sample = whole(bootstrap(feed, 100))
    drawn = {entry["record_id"]: entry["place"] for entry in sample["entries"]}
    assert set(drawn.values()) == {"staged", "accepted"}
    assert {"s1", "s2"} < set(drawn)
    assert "q1" not in drawn
    assert sample["total"] == len(drawn)
    assert len(whole(bootstrap(feed, 1))["entries"]) == 1


def test_campaigns_say_why_and_where_their_records_are(feed, made):
    release(feed, by="ann", reason="fine", record_ids=["q1"], now=made.now)
    found = whole(campaigns(feed))["campaigns"]
    assert [(c["campaign_id"], c["accepted"], c["held"], c["rejected"]) for c in found] == [(GROUP, 1, 1, 0)]
    assert found[0]["why"]


def test_sources_that_match_are_counted_and_a_block_is_told_in_a_sentence(feed, made):
    done = block(feed, "user-1", by="ann", reason="a bot", now=made.now)
    assert whole(done)["message"] == f"blocked source user-1 (event {done.event})"
    listed = list_sources(feed, blocked=True)
    assert whole(listed)["sources"][0]["source_id"] == "user-1"
    assert (len(listed.sources), listed.total, list_sources(feed).total) == (1, 1, 3)
