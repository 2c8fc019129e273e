"""Every page of a hostile feed: complete, well-formed, and nothing of the feed is anything but text."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from urllib.parse import quote

import pytest

from poison_guard import Guard
from poison_guard.web.payload import marked_differences, picture_of
from poison_guard.web.people import OneName
from tests.integration.web.conftest import HOSTILE, pages_of
from tests.thorough import some

_TAGS = frozenset(
    """html head meta title link script body a header svg path nav div span button form input main h1 h2 h3 p strong
    small progress details summary label select option ol ul li dl dt dd dialog section table thead tbody tr th td kbd
    code img bdi b br ins del rect line text desc""".split()  # noqa: SIM905  as prose it is read at a glance
)


class Checker(HTMLParser):
    """Fails for what these pages never write: other elements, handlers, addresses of other sites, open elements."""

    void = frozenset({"meta", "link", "input", "br", "img"})

    def __init__(self):
        super().__init__()
        self.open, self.h1, self.text = [], 0, []

    def handle_starttag(self, tag, attrs):
        assert tag in _TAGS, tag
        self.h1 += tag == "h1"
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            assert name not in ("style", "srcdoc", "srcset", "formtarget", "http-equiv"), (tag, name)
            if name in ("href", "src", "action", "formaction"):
                assert value.startswith(("/", "data:image/png", "#main")), (tag, name, value)
                assert not value.startswith("//")
        if tag == "script":
            assert dict(attrs).get("src", "").startswith("/static/")
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.void:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.void:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def check(page):
    checker = Checker()
    checker.feed(page.text)
    checker.close()
    assert (checker.open, checker.h1) == ([], 1)
    shown = "".join(checker.text)
    assert not [c for c in shown if c in "\u202e\u2066\u2069\x1b\0"]
    return shown


_NAMES = ("", "queue", "queue?by=none", "queue?by=source", "queue?by=reason", "queue?by=day", "queue?by=item",
          "queue?by=label", "queue?by=none&sort=oldest&size=200", "queue?state=all&text=alert", "decided", "campaigns",
          "sources", "items", "gate", "models", "dashboard")  # fmt: skip


@pytest.mark.parametrize("name", _NAMES)
def test_every_page_of_a_hostile_feed_is_only_text(read_only, name):
    page = read_only.get(f"/feeds/notes/{name}" if name else "/")
    assert page.status_code == 200
    check(page)


def test_over_two_hundred_hostile_records_are_only_text(read_only):
    assert len(HOSTILE) > 200
    page = read_only.get("/feeds/notes/queue?by=none&size=400")
    assert page.text.count("data-row") == len(HOSTILE)
    check(page)


def test_the_page_of_each_kind_of_hostile_record_source_and_item_is_only_text(read_only, notes):
    rows = Guard.open("notes", home=notes / "home").queue(size=400).entries
    kinds = {"record": rows["record_id"].iloc[some(len(rows), 29)], "source": rows["source_id"].drop_duplicates()[::20]}
    for kind, values in {**kinds, "item": rows["item_id"].drop_duplicates()[::24]}.items():
        for value in values:
            page = read_only.get(f"/feeds/notes/{kind}?id={quote(value, safe='')}")
            assert page.status_code == 200, value
            check(page)


@pytest.mark.parametrize("where", ["record?id=", "source?id=", "item?id=", "campaign?id=", "gate?id=", "queue?text=",
                                   "queue?reason=", "queue?", "jobs/"])  # fmt: skip
def test_hostile_addresses_are_only_text_too(read_only, where):
    for text in HOSTILE[:28:3]:
        page = read_only.get(f"/feeds/notes/{where}{quote(text[:1500], safe='=' if where == 'queue?' else '')}")
        assert page.status_code in (200, 400, 404, 405), (text, page.status_code)
        check(page)


def test_the_queue_says_how_far_it_is(read_only):
    shown = check(read_only.get("/feeds/notes/queue?by=none"))
    assert "0 of 232 decided" in " ".join(shown.split())
    assert "Decide all 232 that match" in shown


def test_filters_live_in_the_address_and_a_wrong_one_is_said(read_only):
    one = read_only.get("/feeds/notes/queue?source_id=u1&by=none")
    assert 'name="source_id" value="u1"' in one.text
    wrong = read_only.get("/feeds/notes/queue?source_idd=u1")
    assert wrong.status_code == 400
    assert "did you mean `source_id`?" in check(wrong)


def test_a_view_is_saved_by_its_filters(home):
    client = pages_of(home, OneName("ann"))
    token = client.get("/feeds/notes/queue").text.partition('name="csrf" value="')[2][:64]
    form = {"csrf": token, "name": "<b>mine</b>", "query": "source_id=u1&by=none"}
    client.post("/feeds/notes/views", data=form)
    page = client.get("/feeds/notes/queue")
    assert "/feeds/notes/queue?source_id=u1" in page.text
    assert "<b>mine</b>" in check(page)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_view_is_sent_as_a_file(read_only, kind):
    answer = read_only.get(f"/feeds/notes/export.{kind}?source_id=u1")
    assert answer.headers["content-disposition"] == f'attachment; filename="notes-queue.{kind}"'
    if kind == "csv":
        cells = read_only.get("/feeds/notes/export.csv").text
        assert not [line for line in cells.splitlines() if line.startswith(("=", "@", "+"))]
    if kind == "jsonl":
        assert {json.loads(line)["source_id"] for line in answer.text.splitlines()} == {"u1"}
    assert read_only.get("/feeds/notes/export.exe").status_code == 404


def test_pages_without_a_store_say_so(tmp_path, notes):
    client = pages_of(tmp_path / "nowhere", OneName("ann"))
    page = client.get("/")
    assert (page.status_code, "there is no store" in check(page)) == (503, True)
    assert client.get("/api/v1/feeds").json()["error"].startswith("there is no store")
    assert client.get("/healthz").status_code == 503


def test_metrics_count_the_queue(read_only):
    text = read_only.get("/metrics").text
    assert 'poison_guard_records{feed="notes",place="recalled"} 232.0' in text
    assert "poison_guard_queue_decided_records" in text


def test_the_api_tells_what_the_verbs_tell(read_only, notes):
    guard = Guard.open("notes", home=notes / "home")
    document = read_only.get("/api/openapi.json").json()
    gets = [path for path, verbs in document["paths"].items() if "get" in verbs and path.startswith("/api/")]
    assert len(gets) > 15
    assert read_only.get("/api/v1/feeds/notes/record?id=r1").json()["version"] == guard.record("r1").version
    assert read_only.get("/api/v1/feeds/notes/queue?size=5").json()["total"] == 232
    posts = [path for path, verbs in document["paths"].items() if "post" in verbs]
    assert {path.rpartition("}/")[2] for path in posts} >= {
        "decide",
        "undo",
        "claim",
        "bulk",
        "rule",
        "approve",
        "reveal",
    }


_JUNK = ("r1", "", "\x00", "9" * 30, "-1", "null", "[]", "💥", "' OR 1=1 --", "%", "a" * 1900)


def test_whatever_is_asked_of_the_api_it_never_breaks(home):
    client = pages_of(home, OneName("ann"))
    document = client.get("/api/openapi.json").json()
    token = client.get("/feeds/notes/queue").text.partition('name="csrf" value="')[2][:64]
    bodies = [{}, [], None, {"reason": "x"}, {"verb": "release", "reason": "x", "expected": {"\0": 2**70}}]
    for path, verbs in document["paths"].items():
        for method, said in verbs.items():
            for k, junk in enumerate([_JUNK[i] for i in some(len(_JUNK), 3)] if method == "get" else _JUNK[:5]):
                at = path.format(feed="notes", job_id=quote(junk[:50] or "j", safe=""))
                query = {p["name"]: junk for p in said.get("parameters", ()) if p["in"] == "query"}
                body = {"json": bodies[k]} if method == "post" else {}
                answer = client.request(method, at, params=query, headers={"x-csrf-token": token}, **body)
                assert answer.status_code < 500, (path, junk, answer.text)


def test_an_image_is_drawn_from_numbers_or_from_bytes_of_an_image_only():
    assert picture_of(list(range(64)), 63).startswith("data:image/png;base64,")
    assert picture_of([[[1, 2, 3]] * 4] * 4).startswith("data:image/png;base64,")
    assert picture_of(b"\x89PNG\r\n\x1a\n123").startswith("data:image/png")
    for none in (
        "<svg onload=alert(1)>",
        b"<svg>",
        [1, 2, 3, 4, 5],
        [float("nan")] * 64,
        "data:image/svg+xml,<svg>",
        {},
        3,
    ):
        assert picture_of(none) is None


def test_differences_of_texts_are_marked_and_escaped():
    marked = str(marked_differences("buy <b>now</b> please", "buy <b>later</b> please"))
    assert "<del><bdi>&lt;b&gt;now&lt;/b&gt;</bdi></del>" in marked
    assert "<ins><bdi>&lt;b&gt;later&lt;/b&gt;</bdi></ins>" in marked
