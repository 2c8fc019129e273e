"""`poison-guard sources` tells who has changed, alarming sources first, with how far each can be believed."""

from __future__ import annotations

import pandas as pd
import pytest

CONTRACT = """
name = "sessions"
kind = "messages"
[data]
path = "inbox/*.csv"
[columns]
record_id = "id"
source_id = "who"
observed_at = "at"
text = "said"
[outcomes]
path = "outcomes.csv"
"""


@pytest.fixture
def told(fresh):
    """A feed in which three people spoke 65 times each: one was always right, one turned, one always was so-so."""
    fresh.feed.write_text(CONTRACT)
    (fresh.folder / "home" / "inbox" / "day1.csv").unlink()
    right = {"steady": [True] * 65, "turned": [True] * 60 + [False] * 5, "weak": [k % 3 > 0 for k in range(65)]}
    rows = [
        (f"{who}-{k}", who, pd.Timestamp.now("UTC") - pd.Timedelta(minutes=100 - k)) for who in right for k in range(65)
    ]
    frame = pd.DataFrame(rows, columns=["id", "who", "at"])
    frame["said"] = [f"message number {k * 7919} about {who}" for k, who in enumerate(frame["who"])]
    frame.to_csv(fresh.folder / "home" / "inbox" / "a.csv", index=False)
    truth = pd.DataFrame({"record_id": frame["id"], "correct": [said for each in right.values() for said in each]})
    assert fresh("run", "--feed", fresh.feed).exit_code in (0, 3)
    truth.to_csv(fresh.folder / "home" / "outcomes.csv", index=False)
    assert fresh("run", "--feed", fresh.feed).exit_code in (0, 3)
    return fresh


def test_sources_show_reliability_lower_bound_and_change_alarms(told):
    shown = told.json("sources", "--feed", told.feed)["sources"]
    assert [s["source_id"] for s in shown] == ["turned", "weak", "steady"]
    first = shown[0]
    assert (first["changed"], first["changed_wrong"], first["changed_n"]) == (True, 5, 5)
    assert first["reliability"] == pytest.approx(64 / 70)
    assert [s["changed"] for s in shown[1:]] == [False, False]
    assert shown[1]["lower_bound"] < shown[2]["lower_bound"] <= shown[2]["reliability"]
    table = told("sources", "--feed", told.feed).stdout
    assert "has changed" in table
    assert "5 of the last 5 wrong" in table


def test_sources_are_found_by_name_reliability_and_number_of_records(told):
    def names(*filters):
        listed = told.json("sources", "--feed", told.feed, *filters)
        assert listed["total"] >= len(listed["sources"])
        return [source["source_id"] for source in listed["sources"]]

    assert names("--source", "steady", "--source", "weak") == ["weak", "steady"]
    assert names("--changed") == ["turned"]
    assert names("--below", "0.8") == ["weak"]
    assert names("--min-records", "66") == []
    assert names("--min-records", "65", "--limit", "1") == ["turned"]
    unknown = told("sources", "--feed", told.feed, "--source", "nobody")
    assert unknown.exit_code == 2
    assert "knows no source 'nobody'" in unknown.stderr
