import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poison_guard.records import Campaign, Reason
from poison_guard.signals.campaigns import merge_campaigns
from poison_guard.signals.campaigns.findings import campaign_id

T = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def campaign(records, *, p=0.001, kind="lockstep", sources=("s",), strength=0.5, first=T, last=T):
    records = tuple(records)
    return Campaign(campaign_id(records), kind, p, strength, records, sources, first, last, Reason(kind, {"p": p}))


def test_overlapping_findings_become_one_with_the_most_significant_reason():
    found = [
        campaign("ab", p=1e-4, sources=("s", "t"), strength=0.9, last=T + dt.timedelta(hours=1)),
        campaign("bc", p=1e-9, kind="near_duplicate_text", sources=("u",), first=None, last=None),
        campaign("x", p=1e-5),
    ]
    first, second = merge_campaigns(found)
    assert first.record_ids == ("a", "b", "c")
    assert first.source_ids == ("s", "t", "u")
    assert (first.kind, first.p, first.reason.args) == ("near_duplicate_text", 1e-9, {"p": 1e-9})
    assert (first.strength, first.first_at, first.last_at) == (0.9, T, T + dt.timedelta(hours=1))
    assert second.record_ids == ("x",)


def test_findings_join_through_a_third():
    assert len(merge_campaigns([campaign("ab"), campaign("cd"), campaign("bc")])) == 1


def test_no_findings_are_no_campaigns():
    assert merge_campaigns([]) == ()


def test_an_id_depends_on_the_members_alone():
    assert campaign_id(["b", "a", "a"]) == campaign_id(["a", "b"])
    assert campaign_id(["ab", "c"]) != campaign_id(["a", "bc"])
    assert campaign_id(["\ud800"]).startswith("c-")
    assert len(campaign_id([])) == 14


@given(st.lists(st.sets(st.sampled_from("abcdefgh"), min_size=1, max_size=3), max_size=8), st.randoms())
def test_merging_is_order_free_disjoint_and_loses_nobody(groups, random):
    found = [campaign(sorted(g), p=10.0 ** -(1 + k % 4)) for k, g in enumerate(groups)]
    merged = merge_campaigns(found)
    shuffled = list(found)
    random.shuffle(shuffled)
    assert merge_campaigns(shuffled) == merged
    assert merge_campaigns(merged) == merged
    members = [record for c in merged for record in c.record_ids]
    assert sorted(members) == sorted(set().union(*groups)) if groups else members == []
    assert all(c.p == pytest.approx(min(f.p for f in found if set(f.record_ids) <= set(c.record_ids))) for c in merged)
