"""The report page: self-contained, escaped, whole whatever is missing."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from urllib.parse import quote

import pytest

from poison_guard.steps.report import ReportResult
from poison_guard.web.report import render_report
from tests.unit.web.facts_of_a_run import make_facts

_EMPTY = {"run": {"run_id": "chat-0", "feed": "chat", "received_at": "2026-11-14T09:00:00+00:00"}}
_VOID = {"meta", "br"}


class _Page(HTMLParser):
    """Collects what a browser would see: tags, attributes, text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def said(page: _Page) -> str:
    """Return the text of a page, its pieces apart by one space."""
    return " ".join(" ".join(page.text).split())


@pytest.fixture(scope="module")
def html() -> str:
    return render_report(ReportResult(**make_facts()))


@pytest.fixture(scope="module")
def page(html) -> _Page:
    return _Page(html)


def test_hostile_text_stays_text(page, html):
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in "".join(page.text)
    assert "{{7*7}}" in html
    assert not [a for a in page.attributes if a[1].startswith("on")]


def test_hidden_characters_are_nowhere_in_the_page(html):
    assert not re.search("[\u200b\u202a-\u202e\u2066-\u2069\x1b]", html)
    assert 'title="right-to-left override">U+202E</span>' in html


def test_the_page_needs_nothing_from_outside(page, html):
    assert not re.search(r"https?:|//[a-z]", html.split("</style>")[1])
    assert {"link", "img", "iframe", "object", "embed", "form", "base"}.isdisjoint(page.tags)
    assert all(value.startswith("#") for _, name, value in page.attributes if name in ("href", "src", "xlink:href"))
    assert "url(" not in html
    assert "@import" not in html


def test_the_security_policy_allows_only_the_page_s_own_style(page, html):
    policy = next(value for tag, name, value in page.attributes if tag == "meta" and "default-src" in value)
    css = re.search(r"<style>(.*?)</style>", html, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert not [a for a in page.attributes if a[1] == "style"]


def test_the_page_is_well_formed_and_its_tables_have_headers(page, html):
    assert page.open == []
    assert page.tags.count("h1") == 1
    assert html.count("<thead>") == html.count("<table>")
    identities = [value for _, name, value in page.attributes if name == "id"]
    assert len(identities) == len(set(identities))
    named = {value for _, name, value in page.attributes if name == "aria-labelledby"}
    assert named <= set(identities)
    anchors = {value[1:] for tag, name, value in page.attributes if tag == "a" and name == "href"}
    assert anchors <= set(identities)


def test_every_chart_tells_a_screen_reader_what_it_shows(html):
    charts = re.findall(r"<svg class=\"chart\".*?</svg>", html, re.DOTALL)
    assert len(charts) >= 8
    assert all('role="img"' in c and "<title>" in c and "<desc>" in c for c in charts)
    assert not [c for c in charts if "nan" in c.lower().replace("finance", "")]


def test_the_page_says_what_happened(page):
    text = "".join(page.text)
    assert "12,480 records came in: 11,702 were accepted, 693 were held for review and 61 were rejected" in text
    assert "3 campaigns of accounts acting together sent 476 of them." in text
    assert "answered 9 of 10 controls wrong" in text
    assert "only 74 calibration records in group android" in text
    assert "9f2c9f2c" in text
    assert "4182" in text


def test_the_gate_tells_every_check_with_what_it_measured(page):
    text = said(page)
    assert "A check could not be judged: a named person may approve" in text
    for part in ("label neighbours", "0.011", "0.03", "4,210", "0 to 0.024", "AML.T0020", "availability poisoning"):
        assert part in text
    assert "class 7 may have lost 21 % needs 340 to decide" in text
    assert "backlog inconclusive alert only – 0.03 4,210 – 118 items deferred" in text
    assert text.index("may have lost") < text.index("are contradicted")  # what did not pass comes first
    assert "manifest cdcdcd" in text


def test_the_models_show_the_champion_and_why_another_was_refused(page):
    text = said(page)
    assert "The champion is captcha-3990-aa00bb11-07" in text
    assert "lost 12 points" in text
    assert "Its gradients may be masked: blackbox finds more than pgd" in text
    for part in ("96.8 %", "82.0 %", "82.8 %", "pgd 90.0 %"):
        assert part in text


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"outcome": None, "checks": []}, "This snapshot was not judged yet: nothing trains on it."),
        ({"outcome": "fail"}, "A check failed: nothing trains on this snapshot unless two people approve"),
        ({"outcome": "error"}, "A check could not run, so the gate is closed."),
        ({"outcome": "something new"}, "This snapshot was not judged yet: nothing trains on it."),
    ],
)
def test_the_gate_s_sentence_follows_its_outcome(changes, told):
    facts = make_facts()
    facts["gate"] |= {**changes, "admission": None}
    text = said(_Page(render_report(ReportResult(**facts))))
    assert told in text
    assert "Admitted no" in text


def test_a_revoked_snapshot_says_so_and_its_admission_is_not_shown():
    facts = make_facts()
    facts["gate"]["snapshot"]["revoked_why"] = "recall: forged by a solver farm"
    facts["gate"]["admission"]["revoked"] = True
    text = said(_Page(render_report(ReportResult(**facts))))
    assert "Revoked: recall: forged by a solver farm." in text
    assert "Admitted no" in text


@pytest.mark.parametrize("part", ["gate", "models"])
def test_a_feed_without_snapshots_or_models_has_no_section_and_no_link_to_it(part):
    facts = make_facts()
    assert f'href="#{part}"' in render_report(ReportResult(**facts))
    facts[part] = type(facts[part])()
    html = render_report(ReportResult(**facts))
    assert f"#{part}" not in html
    assert f'id="{part}"' not in html


def test_a_run_of_which_nothing_is_known_still_gives_a_page():
    page = _Page(render_report(ReportResult(**_EMPTY)))
    assert "No new record came in." in "".join(page.text)
    assert page.open == []


@pytest.mark.parametrize("part", ["counts", "reasons", "risk", "sources", "campaigns", "calibration", "items", "cost"])
def test_any_part_may_be_missing(part):
    facts = make_facts()
    del facts[part]
    assert _Page(render_report(ReportResult(**facts))).open == []


def test_records_sources_and_campaigns_lead_to_their_pages_where_these_are_known():
    facts = make_facts()
    html = render_report(ReportResult(**facts), lambda part, name: f"https://guard.example/{part}?id={quote(name)}")
    for part, names in (
        ("record", [facts["reasons"][0]["examples"][0]["record_id"]]),
        ("campaign", [campaign["campaign_id"] for campaign in facts["campaigns"]]),
        ("source", facts["campaigns"][0]["source_ids"][:3]),
    ):
        assert all(f'<a href="https://guard.example/{part}?id={quote(name)}">' in html for name in names)
    assert _Page(html).open == []
    assert "guard.example" not in render_report(ReportResult(**facts))


def test_the_same_facts_give_the_same_page():
    assert render_report(ReportResult(**make_facts())) == render_report(ReportResult(**make_facts()))


def test_a_campaign_of_one_moment_is_drawn():
    facts = make_facts()
    for campaign in facts["campaigns"]:
        campaign["first_at"] = campaign["last_at"] = "2026-11-14T09:00:00+00:00"
        campaign["times"] = []
    assert "Campaigns in time" in render_report(ReportResult(**facts))
