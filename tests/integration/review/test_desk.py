"""Rules about sources, second reviews, files of decisions, saved views, expiry and messages to a webhook."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pandas as pd
import pytest

from poison_guard.errors import BusyError, DataError, NotFoundError, UsageError
from poison_guard.review.filters import QueueFilter
from poison_guard.steps import agreement, handed, notify
from poison_guard.steps.outbox import drain
from poison_guard.steps.queue import list_queue
from poison_guard.steps.review import recall, reject, release, undo
from poison_guard.steps.source_rules import add_rule, end_rule, keep, rules
from poison_guard.steps.sources import list_sources
from poison_guard.steps.views import campaign, item, record, source
from poison_guard.store import find_records, verify
from poison_guard.store import waiting as waiting_store
from poison_guard.store.members import members
from tests.integration.conftest import feed_of

HELD = ("q1", "q2", "q3", "q4")
DAY = dt.timedelta(days=1)


@pytest.fixture
def feed(store, made):
    """Four held records, two of them a campaign, and two accepted ones."""
    made.ingest(store, "b1", made.records(*HELD, "a1", "a2"), dict.fromkeys(HELD, "quarantined"), campaign=("q1", "q2"))
    return feed_of(store, made.contract)


@pytest.fixture
def person(made):
    return {"by": "ann", "reason": "looked at it", "now": made.now}


def places(feed):
    return find_records(feed.store, "captcha").set_index("record_id")["place"].to_dict()


def waiting(feed, made, **filters):
    return sorted(list_queue(feed, QueueFilter(**filters), now=made.now).entries["record_id"])


def source_of(feed, record_id):
    return find_records(feed.store, "captcha", record_ids=[record_id])["source_id"].iloc[0]


FILTERS = [
    ({"campaign_id": "c-q1-q2"}, ["q1", "q2"]),
    ({"reason": "unusual_combination"}, list(HELD)),
    ({"reason": "copies"}, []),
    ({"signal": "anomaly", "risk_from": 0.5}, list(HELD)),
    ({"risk_to": 0.5}, []),
    ({"since": "2026-03-01", "until": "2026-03-01"}, list(HELD)),
    ({"until": "2026-02-28"}, []),
    ({"label": "seven", "state": "free"}, list(HELD)),
    ({"state": "claimed"}, []),
    ({"text": "seven"}, list(HELD)),
    ({"text": 'sev" OR *'}, []),
    ({"text": "'; DROP TABLE queue; --"}, []),
    ({"kind": "audit"}, []),
]


def test_filters_find_what_they_say_and_count_it(feed, made):
    for filters, found in FILTERS:
        asked = QueueFilter.of(filters)
        assert QueueFilter.of(asked.params()) == asked
        queue = list_queue(feed, asked, now=made.now)
        assert (sorted(queue.entries["record_id"]), queue.total) == (found, len(found)), filters
        groups = list_queue(feed, asked, group_by="reason", now=made.now).entries
        assert groups["records"].sum() == len(found)


def test_words_that_more_entries_hold_than_are_counted_are_listed_all_the_same(feed, made, monkeypatch):
    whole = list_queue(feed, QueueFilter(text="seven"), now=made.now).entries["record_id"].tolist()
    monkeypatch.setattr(waiting_store, "COUNTED", 2)
    queue = list_queue(feed, QueueFilter(text="seven"), now=made.now)
    assert (queue.entries["record_id"].tolist(), queue.total, queue.capped) == (whole, 2, True)


def test_of_a_source_the_newest_it_sent_or_wrote_come_first(store, made):
    sent = made.records("m1", "m2", source="eve")
    wrote = made.records("n1", "n2", source="ann").assign(author_id="eve")
    both = made.records("o1", source="eve").assign(author_id="eve")
    for batch, rows in (("b1", sent), ("b2", wrote), ("b3", both)):
        made.ingest(store, batch, rows)
    found = members(store, "captcha", source_id="eve", limit=4, newest=True)
    assert found["record_id"].tolist() == ["o1", "n2", "n1", "m2"]
    assert len(members(store, "captcha", source_id="eve", limit=9)) == 5


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"risk_from": "2"}, "a risk from 0 to 1, got 2"),
        ({"since": "yesterday"}, "since is a day as 2026-03-01, got 'yesterday'"),
        ({"reson": "x"}, "no filter 'reson'; did you mean `reason`"),
        ({"state": "done"}, "state is one of waiting"),
        ({"text": "x" * 501}, "at most 500 characters"),
    ],
)
def test_a_filter_that_cannot_be_is_refused_in_a_sentence(filters, message):
    with pytest.raises(UsageError, match=message):
        QueueFilter.of(filters)


def test_an_allowed_source_is_released_for_its_own_content_alone_until_the_rule_lapses(feed, made, person):
    name = source_of(feed, "q3")
    mine = {i for i in HELD if source_of(feed, i) == name}
    asked = {"expires": made.now + 9 * DAY, **person}
    would = add_rule(feed, name, "allow", dry_run=True, **asked)
    assert (would.event, would.released) == (None, len(mine - {"q1", "q2"}))
    assert set(waiting(feed, made)) == set(HELD)
    done = add_rule(feed, name, "allow", **asked)
    left = set(HELD) - (mine - {"q1", "q2"})  # what is in a campaign waits all the same
    assert (done.released, set(waiting(feed, made))) == (would.released, left)
    with pytest.raises(UsageError, match="already; end that one first"):
        add_rule(feed, name, "allow", **asked)
    later = made.now + 10 * DAY
    assert keep(feed, later).lapsed == (done.event,)
    assert rules(feed).rules == ()
    assert keep(feed, later).lapsed == ()
    with pytest.raises(UsageError, match="expire within a year"):
        add_rule(feed, name, "allow", **person)
    assert verify(feed.store).ok


def test_a_block_lapses_by_itself_and_a_rule_is_no_decision_to_undo(feed, made, person):
    name = source_of(feed, "q3")
    rule = add_rule(feed, name, "block", expires=made.now + DAY, **person)
    assert list_sources(feed, blocked=True).sources["source_id"].tolist() == [name]
    with pytest.raises(UsageError, match="--end-rule"):
        undo(feed, int(rule.event or 0), **person)
    keep(feed, made.now + 2 * DAY)
    assert list_sources(feed, blocked=True).total == 0
    with pytest.raises(NotFoundError, match="no rule 999"):
        end_rule(feed, 999, **person)


def test_what_nobody_read_expires_by_an_event_and_can_be_decided_all_the_same(feed, made, person):
    late = made.now + 31 * DAY
    assert keep(feed, late).expired == 4
    assert keep(feed, late).expired == 0
    assert list_queue(feed, now=late).total == 0
    assert sorted(list_queue(feed, QueueFilter(state="expired"), now=late).entries["record_id"]) == list(HELD)
    done = release(feed, record_ids=["q3"], **{**person, "now": late})
    assert places(feed)["q3"] == "accepted"
    undo(feed, int(done.seq or 0), **{**person, "now": late})
    assert places(feed)["q3"] == "quarantined"
    assert verify(feed.store).ok


def test_a_colleague_decides_blind_and_moves_nothing(store, make_made):
    made = make_made(policy={"second_review_rate": 1.0})
    made.ingest(store, "b1", made.records(*HELD), dict.fromkeys(HELD, "quarantined"))
    feed = feed_of(store, made.contract)
    release(feed, by="ann", reason="fine", record_ids=["q1", "q2"], now=made.now)
    assert agreement.checks(feed, by="ann").record_ids == ()
    assert set(agreement.checks(feed, by="bob").record_ids) == {"q1", "q2"}
    agreement.answer(feed, "q1", "release", by="bob", now=made.now)
    agreement.answer(feed, "q2", "reject", by="bob", now=made.now)
    with pytest.raises(BusyError, match="is not asked about 'q1', or it was answered"):
        agreement.answer(feed, "q1", "reject", by="bob", now=made.now)
    assert places(feed)["q2"] == "accepted"
    rows = {row["reviewer"]: row for row in agreement.agreement(feed).reviewers}
    assert {(row["second"], row["agreed"]) for row in rows.values()} == {(2, 1)}
    assert agreement.checks(feed, by="bob").record_ids == ()


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_a_view_is_decided_elsewhere_and_read_back_once(feed, made, person, tmp_path, ending):
    file = tmp_path / f"view{ending}"
    assert handed.export_queue(feed, file, now=made.now).records == 4
    read = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".jsonl": lambda f: pd.read_json(f, lines=True)}[ending]
    rows = read(file).assign(note="")
    rows["decision"] = rows["record_id"].map({"q1": "release", "q2": "reject", "q3": "reject"}).fillna("")
    write = {".csv": "to_csv", ".parquet": "to_parquet", ".jsonl": "to_json"}[ending]
    more = {"orient": "records", "lines": True} if ending == ".jsonl" else {"index": False}
    getattr(rows, write)(file, **more)
    reject(feed, record_ids=["q1"], **{**person, "by": "bob"})  # a colleague came first
    done = handed.import_decisions(feed, file, **person)
    assert (done.decided, done.empty, [r["record_id"] for r in done.refused]) == (2, 1, ["q1"])
    assert "bob" in done.refused[0]["why"]
    again = handed.import_decisions(feed, file, **person)
    assert (again.decided, again.again) == (0, 2)
    assert (places(feed)["q1"], places(feed)["q4"]) == ("rejected", "quarantined")


def test_a_file_that_says_something_else_decides_nothing(feed, person, tmp_path):
    file = tmp_path / "d.csv"
    file.write_text("record_id,decision\nq1,release\nq2,maybe\n")
    with pytest.raises(DataError, match="release, reject or empty, got 'maybe'"):
        handed.import_decisions(feed, file, **person)
    file.write_text("id,decision\nq1,release\n")
    with pytest.raises(DataError, match="no column record_id"):
        handed.import_decisions(feed, file, **person)
    assert places(feed)["q1"] == "quarantined"


def test_a_view_is_saved_under_its_name_and_forgotten(feed, made):
    handed.save_view(feed, "risky", QueueFilter(risk_from=0.9), by="ann", now=made.now)
    assert handed.save_view(feed, "risky", QueueFilter(risk_from=0.8), by="ann", now=made.now).views == {
        "risky": {"risk_from": "0.8"}
    }
    assert handed.delete_view(feed, "risky").views == {}
    with pytest.raises(NotFoundError, match="no saved view 'risky'"):
        handed.delete_view(feed, "risky")


def test_records_that_were_taken_back_show_their_payload_too(feed, made, person):
    recall(feed, record_ids=["a1"], **person)
    row = list_queue(feed, QueueFilter(kind="recalled"), now=made.now).entries.iloc[0]
    assert (row["record_id"], row["preview"]) == ("a1", "answer: seven\nspeed: 2")


def test_private_columns_are_not_shown_in_the_queue(store, make_made):
    made = make_made(privacy={"private": ["answer"]})
    made.ingest(store, "b1", made.records("q1", answer="secret"), {"q1": "quarantined"})
    shown = list_queue(feed_of(store, made.contract), now=made.now).entries["preview"].iloc[0]
    assert shown == "speed: 2"


def test_campaign_source_item_and_record_are_shown_with_what_surrounds_them(feed):
    group = campaign(feed, "c-q1-q2")
    assert (group.n_records, group.places, len(group.members)) == (2, {"quarantined": 2}, 2)
    assert group.benign[0]["name"] == "flash crowd"
    name = source_of(feed, "q1")
    assert source(feed, name).places["quarantined"] >= 1
    about = find_records(feed.store, "captcha", record_ids=["q1"])["item_id"].iloc[0]
    assert item(feed, about).votes["records"].sum() >= 1
    view = record(feed, "q1")
    assert (view.others["record_id"].tolist(), view.version) == (["q2"], view.facts.record["version"])
    for show, what in ((campaign, "campaign"), (source, "source"), (item, "item"), (record, "record")):
        with pytest.raises(NotFoundError, match="none-such"):
            show(feed, "none-such")
        assert what


@pytest.fixture
def server():
    """A server that keeps what it is told, and fails the first time."""
    told: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.append((dict(self.headers), body))
            self.send_response(500 if len(told) == 1 else 200)
            self.end_headers()

        def log_message(self, *_):
            pass

    running = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/hook?token=geheim", told
    running.shutdown()
    running.server_close()


def test_a_webhook_is_told_of_each_held_campaign_once_signed_and_again_where_it_failed(feed, made, server, caplog):
    url, told = server
    feed = dataclasses.replace(feed, settings=dataclasses.replace(feed.settings, webhook=url))
    notify.tell_of_queue(feed, made.now)
    notify.tell_of_queue(feed, made.now)
    assert drain(feed.store, feed.settings, made.now).done == 0
    assert "geheim" not in caplog.text
    assert "geheim" not in repr(feed.settings)
    assert drain(feed.store, feed.settings, made.now + DAY).done == 1
    headers, body = told[-1]
    assert json.loads(body)["campaign_id"] == "c-q1-q2"
    secret = notify.webhook_secret(feed.store.key)
    at = int(headers["X-Poison-Guard-Time"])
    assert headers["X-Poison-Guard-Signature"] == notify.signature(secret, at, body)
    assert len(told) == 2
