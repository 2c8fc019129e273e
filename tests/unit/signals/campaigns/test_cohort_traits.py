import numpy as np
import pandas as pd

from poison_guard.signals.campaigns import merge_campaigns
from poison_guard.signals.campaigns.cohort_traits import _predicted_high, cohort_traits

ALPHA = 0.0002


def newcomers(world):
    return world.frame["observed_at"] - world.frame["source_since"] < pd.Timedelta(days=30)


def held(world, found):
    members = {r for c in found for r in (*c.record_ids, *c.earlier_ids)}
    return world.frame["record_id"].isin(members).to_numpy()


def test_newcomers_that_push_slowly_are_found_and_honest_newcomers_are_not_held(crowd):
    for attackers in (200, 1000):
        world = crowd(0, share=0.6, attackers=attackers, window=None)
        told = held(world, cohort_traits(world.frame, alpha=ALPHA, newcomer=newcomers(world)))
        assert told[world.rows("pushed")].mean() >= 0.6
        assert told[world.rows("honest")].mean() <= 0.005


def test_honest_newcomers_that_err_more_often_are_no_campaign(crowd):
    for seed in range(3):
        world = crowd(seed, weak=0.3)
        weak = world.frame["source_id"].isin({f"s{k}" for k in range(90)})  # those who are right six times in ten
        assert cohort_traits(world.frame, alpha=ALPHA, newcomer=weak) == []


def test_aged_accounts_made_at_once_are_a_cohort_too(crowd):
    world = crowd(1, share=0.6, attackers=200, window=None, aged=1.0)
    r = np.random.default_rng(0)
    frame = world.frame.copy()
    pushing = frame["kind"] != "honest"
    days = pd.Series(r.uniform(100, 900, frame["source_id"].nunique()), index=frame["source_id"].unique())
    frame["source_since"] = world.end - pd.to_timedelta(frame["source_id"].map(days), unit="D")
    frame.loc[pushing, "source_since"] = world.end - pd.Timedelta(days=400)
    found = cohort_traits(frame, alpha=ALPHA, newcomer=pd.Series(False, index=frame.index))
    assert held(world, found)[world.rows("pushed")].mean() >= 0.6
    assert held(world, found)[world.rows("honest")].mean() <= 0.005
    honest = frame[~pushing].reset_index(drop=True)
    assert cohort_traits(honest, alpha=ALPHA, newcomer=pd.Series(False, index=honest.index)) == []


def test_honest_people_who_joined_on_one_day_are_not_the_campaign(crowd):
    world = crowd(0, share=0.6, attackers=200, window=None)  # all established accounts were made at one moment
    found = cohort_traits(world.frame, alpha=ALPHA, newcomer=newcomers(world))
    assert held(world, found)[world.rows("honest")].mean() <= 0.01


def test_members_of_earlier_batches_are_named_apart_and_order_does_not_matter(crowd):
    world = crowd(2, share=0.6, attackers=200, window=None)
    late = (world.frame["observed_at"] > world.frame["observed_at"].quantile(0.9)).to_numpy()
    new, old = world.frame[late].reset_index(drop=True), world.frame[~late].reset_index(drop=True)
    flags = newcomers(world)
    both = pd.concat([flags[late], flags[~late]], ignore_index=True)
    (found,) = merge_campaigns(cohort_traits(new, alpha=ALPHA, newcomer=both, earlier=old))
    assert set(found.record_ids) <= set(new["record_id"])
    pushed = set(old["record_id"][old["kind"] == "pushed"])
    assert len(set(found.earlier_ids) & pushed) >= 0.6 * len(pushed)
    turned = pd.concat([flags[late][::-1], flags[~late]], ignore_index=True)
    (again,) = merge_campaigns(
        cohort_traits(new[::-1].reset_index(drop=True), alpha=ALPHA, newcomer=turned, earlier=old)
    )
    assert again.campaign_id == found.campaign_id


def test_feeds_without_ages_or_votes_have_no_cohorts(crowd):
    frame = crowd(0).frame.assign(source_since=pd.NaT)
    nobody = pd.Series(False, index=frame.index)
    assert cohort_traits(frame, alpha=ALPHA, newcomer=nobody) == []
    assert cohort_traits(frame.head(0), alpha=ALPHA, newcomer=nobody.head(0)) == []


def test_newcomers_of_a_crowd_that_is_often_wrong_are_no_campaign():
    """Half of all answers wrong, on the same wrong answer as a rule: a rate that few votes cannot tell."""
    for seed in range(3):
        r = np.random.default_rng(seed)
        item, source = np.repeat(np.arange(500), 20), np.concatenate([r.permutation(60)[:20] for _ in range(500)])
        said = np.where(r.random(len(item)) < 0.5, "right", np.where(r.random(len(item)) < 0.8, "lure", "other"))
        frame = pd.DataFrame({"item_id": item, "source_id": source, "vote": said}).astype("str")
        frame["record_id"] = [f"r{k}" for k in range(len(frame))]
        frame["observed_at"] = pd.Timestamp("2025-06-01", tz="UTC") + pd.to_timedelta(r.uniform(0, 30, len(item)), "D")
        frame["source_since"] = pd.Timestamp("2024-06-01", tz="UTC") + pd.to_timedelta(5 * source, "D")
        assert cohort_traits(frame, alpha=ALPHA, newcomer=pd.Series(source % 2 == 0)) == []


def test_the_chance_over_all_rates_is_that_of_the_beta_binomial():
    from scipy import stats

    n, of = np.array([0, 2, 3, 5, 3]), np.array([4, 2, 7, 5, 7])
    a, b = np.array([0.45, 1.45, 0.2, 3.0, 0.2]), np.array([6.5, 2.0, 0.9, 1.0, 0.9])
    expected = stats.betabinom.sf(n - 1, of, a, b)
    np.testing.assert_allclose(_predicted_high(n.astype(float), of.astype(float), a, b), expected)
    assert len(_predicted_high(*np.zeros((4, 0)))) == 0
