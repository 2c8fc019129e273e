import numpy as np
import pandas as pd
import pytest

from poison_guard.signals.campaigns import lockstep, merge_campaigns
from tests.thorough import some

ALPHA = 0.001
START = pd.Timestamp("2025-03-01", tz="UTC")


def held(world):
    campaigns = merge_campaigns(lockstep(world.frame, alpha=ALPHA))
    records = {record for campaign in campaigns for record in campaign.record_ids}
    return world.frame["record_id"].isin(records).to_numpy(), campaigns


@pytest.mark.parametrize("share", [0.3, 0.6])
@pytest.mark.parametrize("window", [3600, 86400])
@pytest.mark.parametrize("camouflage", [0, 300])
def test_bursts_are_found_whatever_their_camouflage_and_honest_answers_are_not(crowd, share, window, camouflage):
    recall, false = [], []
    for seed in range(3):
        world = crowd(seed, share=share, window=window, camouflage=camouflage)
        taken, _ = held(world)
        recall.append(taken[world.rows("pushed")].mean())
        false.append(taken[world.rows("honest")].mean())
    assert np.mean(recall) >= 0.95
    assert np.mean(false) < 0.005


def test_a_campaign_names_its_sources_and_leaves_the_camouflage(crowd):
    world = crowd(0, share=0.6, camouflage=100)
    taken, campaigns = held(world)
    assert len(campaigns) == 1
    campaign = campaigns[0]
    assert {f"s{k}" for k in range(300, 340)} <= set(campaign.source_ids)
    assert taken[world.rows("cover")].mean() < 0.02
    assert campaign.reason.code == "lockstep"
    assert set(campaign.reason.args) == {"n_records", "n_sources", "n_items", "minutes"}
    assert campaign.reason.args["n_records"] == len(campaign.record_ids)
    assert campaign.p <= ALPHA
    assert campaign.first_at >= START.to_pydatetime()
    assert 0.5 <= campaign.strength <= 1


def test_a_burst_alone_in_its_batch_is_told_by_what_was_said_before(crowd):
    world = crowd(0, share=0.6, span=86400.0 * 3)
    pushed = world.rows("pushed")
    raid = world.frame[pushed].reset_index(drop=True)
    assert lockstep(raid, alpha=ALPHA) == []
    earlier = world.frame.loc[~pushed, ["record_id", "item_id", "source_id", "vote", "observed_at"]]
    campaigns = lockstep(raid, alpha=ALPHA, earlier=earlier)
    records = [record for campaign in campaigns for record in campaign.record_ids]
    assert len(set(records) & set(raid["record_id"])) >= 0.95 * len(raid)
    assert set(records) <= set(raid["record_id"])
    late = [record for campaign in campaigns for record in campaign.earlier_ids]
    assert set(late) <= set(earlier["record_id"])
    assert sum(c.reason.args["n_records"] for c in campaigns) == len(records) + len(late)


def test_a_burst_that_goes_over_two_batches_names_its_earlier_half(crowd):
    world = crowd(0, share=0.6)
    first = world.frame["observed_at"] < world.frame["observed_at"].median()
    new, old = world.frame[~first].reset_index(drop=True), world.frame[first].reset_index(drop=True)
    late = {record for campaign in lockstep(new, alpha=ALPHA, earlier=old) for record in campaign.earlier_ids}
    mine = set(old["record_id"][old["kind"] == "pushed"])
    assert len(late & mine) >= 0.9 * len(mine)
    assert len(late - mine) <= 0.05 * len(late)


def test_a_flash_crowd_is_no_campaign(crowd):
    assert all(not lockstep(crowd(seed, span=3600.0).frame, alpha=ALPHA) for seed in some(50, 5))


def test_an_honest_month_is_no_campaign(crowd):
    assert all(not lockstep(crowd(seed).frame, alpha=ALPHA) for seed in some(20, 4))


def test_items_open_for_an_hour_each_are_no_campaign(crowd):
    world = crowd(1)
    opened = world.frame["item_id"].str[1:].astype(int) * 1000.0
    wait = np.random.default_rng(0).uniform(0, 3600, len(opened))
    frame = world.frame.assign(observed_at=START + pd.to_timedelta(opened + wait, unit="s"))
    assert lockstep(frame, alpha=ALPHA) == []


def test_a_minority_that_sees_some_items_otherwise_in_its_own_hours_is_no_campaign(crowd):
    for seed in range(5):
        frame = crowd(seed, per_item=10).frame.copy()
        dialect = (frame["source_id"].str[1:].astype(int) < 30).to_numpy()
        theirs = (frame["item_id"].str[1:].astype(int) % 10 == 0).to_numpy()
        frame.loc[dialect & theirs, "vote"] = "local word"
        hour = np.random.default_rng(seed).uniform(0, 8 * 3600, len(frame)) + np.where(dialect, 12 * 3600, 0)
        frame["observed_at"] = frame["observed_at"].dt.floor("D") + pd.to_timedelta(hour, unit="s")
        taken = {record for campaign in lockstep(frame, alpha=ALPHA) for record in campaign.record_ids}
        assert len(taken) <= 0.01 * len(frame)


def test_slow_pushing_is_not_seen_by_time(crowd):
    taken, _ = held(crowd(2, share=0.3, window=None))
    assert taken.mean() < 0.01


def test_row_order_changes_nothing(crowd):
    world = crowd(3, share=0.6)
    once = lockstep(world.frame, alpha=ALPHA)
    again = lockstep(world.frame.sample(frac=1, random_state=1), alpha=ALPHA)
    assert {c.campaign_id: c.p for c in once} == {c.campaign_id: c.p for c in again}


def test_rows_that_miss_a_time_or_a_vote_are_passed_over(crowd):
    frame = crowd(4, share=0.6).frame.copy()
    frame.loc[::50, "vote"] = None
    frame.loc[1::50, "observed_at"] = pd.NaT
    records = {record for campaign in lockstep(frame, alpha=ALPHA) for record in campaign.record_ids}
    assert records
    assert not records & set(frame.loc[frame["vote"].isna() | frame["observed_at"].isna(), "record_id"])


@pytest.mark.parametrize("rows", [0, 1])
def test_too_little_to_judge_gives_nothing(crowd, rows):
    assert lockstep(crowd(5).frame.iloc[:rows], alpha=ALPHA) == []


def test_times_centuries_apart_do_no_harm(crowd):
    frame = crowd(6).frame.head(200).copy()
    frame["observed_at"] = frame["observed_at"].astype("datetime64[us, UTC]")
    frame.loc[0, "observed_at"] = pd.Timestamp("0001-01-02", tz="UTC").as_unit("us")
    frame.loc[1, "observed_at"] = pd.Timestamp("9999-01-01", tz="UTC").as_unit("us")
    assert lockstep(frame, alpha=ALPHA) == []
