"""What goes wrong between a page and its decision: the decision is made once or not at all, and a page says which."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading

import pandas as pd
import pytest

from poison_guard import Guard
from poison_guard.errors import BusyError
from poison_guard.guard import Home
from poison_guard.steps.claims import claim
from poison_guard.steps.opening import open_feed
from poison_guard.steps.review import release
from poison_guard.store import outbox
from poison_guard.web.people import OneName
from tests.integration.web.conftest import CONTRACT, csrf_of, pages_of, sign_in

_DECIDE, _QUEUE = "/feeds/notes/decide", "/feeds/notes/queue?by=none"
_DAY = dt.timedelta(days=1)


@pytest.fixture
def rob(home):
    return signed_in(home, "rob")


def signed_in(home, name):
    client = sign_in(pages_of(home), home, name)
    client.form = {"csrf": csrf_of(client), "reason": "looked at it"}
    return client


def notes_of(home):
    return open_feed(home / "feeds" / "notes.toml", home)


def pick_of(client):
    return re.search(r'name="pick" value="(\d+:r\d+)"', client.get(_QUEUE).text).group(1)


def decide(client, verb, pick):
    return client.post(_DECIDE, data={**client.form, "verb": verb, "pick": pick, "back": _QUEUE})


def place_of(home, pick):
    return Guard.open("notes", home=home).explain(pick.partition(":")[2]).record["place"]


def decisions(home):
    return [verb for verb in Guard.open("notes", home=home).decided().entries["verb"] if verb != "recall"]


def test_a_store_that_is_away_is_said_and_nothing_is_decided(rob, home, tmp_path):
    pick, gone = pick_of(rob), tmp_path / "gone"
    gone.mkdir()
    for file in home.glob("store.db*"):
        shutil.move(file, gone / file.name)
    answer = decide(rob, "release", pick)
    assert answer.status_code == 503
    assert "bring the database back" in answer.text
    assert not (home / "store.db").exists()
    for file in gone.iterdir():
        shutil.move(file, home / file.name)
    assert place_of(home, pick) == "recalled"
    assert decide(rob, "release", pick).status_code == 303
    assert decisions(home) == ["release"]


def test_a_store_that_fails_in_mid_decision_keeps_all_as_it_was(rob, home, monkeypatch):
    pick = pick_of(rob)
    with monkeypatch.context() as broken:
        broken.setattr("poison_guard.store.chain.event_hash", fail)
        answer = decide(rob, "release", pick)
    assert answer.status_code == 503
    assert "the disk reports an error" in answer.text
    assert "eload the page to see how things stand" in answer.text
    assert (place_of(home, pick), decisions(home)) == ("recalled", [])
    assert decide(rob, "release", pick).status_code == 303
    assert Home.open(home).audit().ok


def fail(*_args):
    raise sqlite3.OperationalError("disk I/O error")


def test_of_two_tabs_the_second_says_what_the_first_did(rob, home):
    pick = pick_of(rob)
    assert decide(rob, "release", pick).status_code == 303
    answer = rob.post(
        _DECIDE,
        data={**rob.form, "verb": "reject", "pick": pick, "back": _QUEUE},
        headers={"referer": f"http://testserver{_QUEUE}"},
    )
    assert answer.status_code == 409
    assert f'href="{_QUEUE}">Look at the page as it is now' in answer.text
    assert "rob" in answer.text
    assert "released it" in answer.text
    assert (place_of(home, pick), decisions(home)) == ("accepted", ["release"])


def test_a_claim_that_expired_is_a_colleagues_to_take_and_then_refused(rob, home):
    pick = pick_of(rob)
    with notes_of(home) as feed:
        then = dt.datetime.now(dt.UTC) - _DAY
        stale = claim(feed, by="eve", record_ids=[pick.partition(":")[2]], now=then)
    assert decide(rob, "reject", pick).status_code == 303
    with notes_of(home) as feed, pytest.raises(BusyError, match="rob rejected"):
        release(feed, by="eve", reason="mine", record_ids=list(stale.record_ids), token=stale.token)
    assert decide(signed_in(home, "eve"), "release", pick).status_code == 409
    assert (place_of(home, pick), decisions(home)) == ("rejected", ["reject"])


KILLED = """
import os, signal
from poison_guard import Guard
Guard.open("notes", home={home!r}).claim(by="eve", record_ids=[{record!r}], lease_seconds=3600)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_records_of_a_killed_reviewer_are_back_after_the_lease(rob, home):
    pick = pick_of(rob)
    record = pick.partition(":")[2]
    child = subprocess.run([sys.executable, "-c", KILLED.format(home=str(home), record=record)], check=False)
    assert child.returncode == -signal.SIGKILL
    answer = decide(rob, "release", pick)
    assert (answer.status_code, "eve" in answer.text) == (409, True)
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=2)
    with notes_of(home) as feed:
        mine = claim(feed, by="rob", record_ids=[record], now=later)
        release(feed, by="rob", reason="fine", record_ids=[record], token=mine.token, now=later)
    assert (place_of(home, pick), decisions(home)) == ("accepted", ["release"])


@pytest.mark.parametrize("skew", [-400 * _DAY, 400 * _DAY], ids=["a year behind", "a year ahead"])
def test_the_clock_of_another_host_makes_no_second_decision(rob, home, skew):
    pick = pick_of(rob)
    with notes_of(home) as feed:
        now = dt.datetime.now(dt.UTC) + skew
        release(feed, by="eve", reason="fine", record_ids=[pick.partition(":")[2]], now=now)
    answer = decide(rob, "reject", pick)
    assert (answer.status_code, "eve" in answer.text) == (409, True)
    for page in ("queue", "dashboard", "decided", f"record?id={pick.partition(':')[2]}"):
        assert rob.get(f"/feeds/notes/{page}").status_code == 200
    assert decisions(home) == ["release"]
    assert Home.open(home).audit().ok


def test_a_webhook_that_never_answers_holds_a_decision_up_once(rob, home, monkeypatch):
    monkeypatch.setattr("poison_guard.steps.notify._SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (home / "settings.toml").write_text(f'webhook = "http://127.0.0.1:{silent.getsockname()[1]}/hook"\n')
        with notes_of(home) as feed:
            for k in range(3):
                message = {"feed": "notes", "event": "task.ended", "k": k}
                outbox.add_once(feed.store, outbox.WEBHOOK, message, dt.datetime.now(dt.UTC) - _DAY)
        asked: list[object] = []
        threading.Thread(target=lambda: count(silent, asked), daemon=True).start()
        pick = pick_of(rob)
        assert decide(rob, "release", pick).status_code == 303
        with notes_of(home) as feed:
            assert len(outbox.pending(feed.store)) == 3
        # one for the drain before the decision, one for the drain after it
        assert len(asked) <= 2
    assert decisions(home) == ["release"]


def count(silent, asked):
    while True:
        try:
            asked.append(silent.accept())
        except OSError:
            return


def test_a_text_of_ten_megabytes_and_an_image_that_is_missing_are_said(tmp_path):
    home = tmp_path / "home"
    (home / "feeds").mkdir(parents=True)
    contract = CONTRACT.replace('text = "text"', 'text = "text"\nimage = "picture"')
    (home / "feeds" / "notes.toml").write_text(contract)
    row = {"user": "u1", "writer": "w1", "about": "i1", "says": "yes", "phone": "1"}
    rows = [
        {**row, "id": "r1", "text": "word <b> word <b> word <b> honest " * 300_000, "picture": "pictures/gone.png"},
        {**row, "id": "r2", "text": "short", "picture": None},
    ]
    guard = Guard.open("notes", home=home)
    guard.ingest(pd.DataFrame(rows))
    client = pages_of(home, OneName("ann"))
    for page in ("queue?by=none", "record?id=r1", "source?id=u1", "item?id=i1"):
        answer = client.get(f"/feeds/notes/{page}")
        assert answer.status_code == 200
        assert len(answer.text) < 200_000
        assert "<b> word" not in answer.text
    assert "Its image is missing or cannot be shown" in client.get("/feeds/notes/record?id=r1").text
    form = {"csrf": csrf_of(client), "verb": "reject", "reason": "too long", "pick": f"{version(guard)}:r1"}
    assert client.post(_DECIDE, data=form).status_code == 303
    assert guard.explain("r1").record["place"] == "rejected"


def version(guard):
    return guard.record("r1").version
