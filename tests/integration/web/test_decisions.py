"""Decisions made on pages: once, with the signed-in name, on what was shown, and back again."""

from __future__ import annotations

import json
import re

import pytest

from poison_guard import Guard
from poison_guard.guard import Home
from poison_guard.web.people import OneName
from tests.integration.web.conftest import csrf_of, pages_of, sign_in

_DECIDE, _QUEUE = "/feeds/notes/decide", "/feeds/notes/queue?by=none"


@pytest.fixture
def rob(home):
    client = sign_in(pages_of(home), home, "rob")
    client.csrf = {"csrf": csrf_of(client), "reason": "looked at it"}
    return client


def picks(client):
    return re.findall(r'name="pick" value="(\d+:r\d+)"', client.get(_QUEUE).text)


def place_of(home, pick):
    return Guard.open("notes", home=home).explain(pick.partition(":")[2]).record["place"]


def test_a_decision_is_made_once_and_taken_back_by_the_toast(rob, home):
    chosen = picks(rob)[:3]
    answer = rob.post(_DECIDE, data={**rob.csrf, "verb": "release", "pick": chosen, "back": _QUEUE})
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(f"{_QUEUE}&event=")
    page = rob.get(answer.headers["location"]).text
    assert [place_of(home, one) for one in chosen] == ["accepted"] * 3
    again = rob.post(_DECIDE, data={**rob.csrf, "verb": "release", "pick": chosen, "back": _QUEUE})
    assert again.headers["location"] == answer.headers["location"]  # a double click: the same event
    event = re.search(r'name="event" value="(\d+)"', page).group(1)
    rob.post("/feeds/notes/undo", data={**rob.csrf, "event": event, "back": _QUEUE})
    assert [place_of(home, one) for one in chosen] == ["recalled"] * 3
    last = Guard.open("notes", home=home).decided(limit=2).entries
    assert last["verb"].tolist() == ["undo", "release"]
    assert set(last["actor"]) == {"rob"}
    assert set(last["via"]) == {"session"}


def test_a_stale_page_shows_who_decided_and_changes_nothing(rob, home):
    chosen = picks(rob)[0]
    eve = sign_in(pages_of(home), home, "eve")
    eve.post(_DECIDE, data={"csrf": csrf_of(eve), "verb": "reject", "reason": "forged", "pick": chosen})
    answer = rob.post(_DECIDE, data={**rob.csrf, "verb": "release", "pick": chosen})
    assert answer.status_code == 409
    assert "eve" in answer.text
    assert place_of(home, chosen) == "rejected"


def test_what_a_colleague_claimed_is_theirs(rob, home):
    chosen = picks(rob)[0]
    rob.post("/feeds/notes/claim", data={**rob.csrf, "pick": chosen, "back": _QUEUE})
    eve = sign_in(pages_of(home), home, "eve")
    answer = eve.post(_DECIDE, data={"csrf": csrf_of(eve), "verb": "reject", "reason": "forged", "pick": chosen})
    assert (answer.status_code, "rob" in answer.text) == (409, True)
    assert place_of(home, chosen) == "recalled"


def test_a_bulk_decision_is_typed_runs_to_its_end_and_is_undone_as_one(rob, home):
    preview = rob.post("/feeds/notes/bulk/preview", data={**rob.csrf, "query": ""}).text
    job, total = re.search(r'name="job_id" value="([^"]+)"', preview).group(1), 232
    assert f"Type {total} to go on" in preview
    asked = {**rob.csrf, "job_id": job, "verb": "reject"}
    assert rob.post("/feeds/notes/bulk", data=asked).status_code == 400
    answer = rob.post("/feeds/notes/bulk", data={**asked, "confirm": str(total)})
    page = rob.get(answer.headers["location"]).text
    assert f"{total} of {total}" in page
    assert Home.open(home).status("notes").feeds[0].places["rejected"] == total
    rob.post(f"/feeds/notes/jobs/{job}/undo", data=rob.csrf)
    assert Home.open(home).status("notes").feeds[0].places["recalled"] == total


def test_private_columns_are_masked_until_a_person_asks_and_that_is_kept(rob, home):
    one = picks(rob)[0].partition(":")[2]
    page = rob.get(f"/feeds/notes/record?id={one}").text
    assert "(private)" in page
    assert "+49" not in page
    shown = rob.post("/feeds/notes/reveal", data={**rob.csrf, "id": one}).text
    assert f"+49 {one.removeprefix('r')}" in shown
    last = Guard.open("notes", home=home).decided(limit=1).entries.iloc[0]
    assert (last["verb"], last["actor"], last["reason"]) == ("reveal", "rob", "looked at it")
    assert rob.post("/feeds/notes/undo", data={**rob.csrf, "event": str(last["seq"])}).status_code == 400


def test_a_get_changes_nothing(rob, home):
    before = Home.open(home).audit_head().to_dict()
    pages = [rob.get(_QUEUE), rob.get("/feeds/notes/decided"), rob.get("/feeds/notes/record?id=r1"), rob.get(_DECIDE)]
    assert [page.status_code for page in pages] == [200, 200, 200, 405]
    after = Home.open(home).audit_head().to_dict()
    assert {k: v for k, v in before.items() if k != "at"} == {k: v for k, v in after.items() if k != "at"}


@pytest.mark.parametrize(
    "form",
    [
        {"verb": "release", "pick": "r1"},
        {"verb": "release", "pick": "x:r1"},
        {"verb": "destroy", "pick": "1:r1"},
        {"verb": "release"},
        {"verb": "release", "pick": "1:r1", "source_id": "u1"},
        {"verb": "release", "pick": "1:r1", "reason": ""},
        {"verb": "release", "pick": "1:r1", "reason": "x" * 501},
    ],
)
def test_a_wrong_form_is_refused_in_a_sentence(rob, form):
    answer = rob.post(_DECIDE, data={**rob.csrf, **form})
    assert answer.status_code == 400
    assert "Nothing was changed" in answer.text


@pytest.mark.parametrize("back", ["//evil.example/x", "https://evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_no_form_leads_to_another_site(rob, back):
    answer = rob.post("/feeds/notes/claim", data={**rob.csrf, "back": back})
    assert answer.headers["location"].startswith("/feeds/notes/queue")


def test_decisions_of_a_file_are_made_once_by_page_and_by_program(home):
    client = pages_of(home, OneName("ann"))
    rows = Guard.open("notes", home=home).queue(size=4).entries
    facts = [{"record_id": r.record_id, "decision": "reject", "version": int(r.version)} for r in rows.itertuples()]
    headers = {"x-csrf-token": csrf_of(client), "sec-fetch-site": "same-origin"}
    asked = {"reason": "seen elsewhere", "decisions": facts[:2]}
    for decided, again in ((2, 0), (0, 2)):
        said = client.post("/api/v1/feeds/notes/import", json=asked, headers=headers).json()
        assert (said["decided"], said["again"], said["refused"]) == (decided, again, [])
    for done in ("2 decided, 2 decided so before", "0 decided, 4 decided so before"):
        file = "".join(json.dumps(row) + "\n" for row in facts)
        page = client.post(
            "/feeds/notes/import",
            files={"file": ("view.jsonl", file)},
            data={"reason": "seen elsewhere", "csrf": headers["x-csrf-token"]},
            headers={"sec-fetch-site": "same-origin"},
        )
        assert (page.status_code, done in page.text) == (200, True), page.text
    for name, body in (("view.exe", b"x"), ("view.csv", b"a,b\n1,2\n"), ("view.parquet", b"no parquet")):
        page = client.post("/feeds/notes/import", files={"file": (name, body)}, data={"reason": "x"}, headers=headers)
        assert (page.status_code, "/tmp" in page.text) == (400, False), (name, page.text)
