import numpy as np
import pandas as pd
import pytest

from poison_guard.signals.campaigns.camps import camps

ALPHA = 0.0002


def newcomers(world):
    return world.frame["observed_at"] - world.frame["source_since"] < pd.Timedelta(days=30)


def found(world, **more):
    return camps(world.frame, alpha=ALPHA, newcomer=newcomers(world), **more)


def held(world, campaigns):
    members = {r for c in campaigns for r in (*c.record_ids, *c.earlier_ids)}
    return world.frame["record_id"].isin(members).to_numpy()


def table(rows, new):
    """Return a campaign frame of ``item, source, answer`` and which rows are of newcomers, by source number."""
    frame = pd.DataFrame(rows, columns=["item_id", "source_id", "vote"])
    new = pd.Series(np.asarray(new)[frame["source_id"].to_numpy()])
    return frame.astype("str").assign(record_id=[f"r{k}" for k in range(len(frame))], observed_at=pd.NaT), new


@pytest.mark.parametrize(("aged", "camouflage"), [(0.5, 0), (0.5, 100), (1.0, 0)])
def test_a_slow_group_is_found_though_half_or_all_of_it_has_a_history(crowd, aged, camouflage):
    world = crowd(5, share=0.6, attackers=200, window=None, aged=aged, camouflage=camouflage)
    told = held(world, found(world))
    assert told[world.rows("pushed")].mean() >= 0.85
    assert told[world.rows("honest")].mean() <= 0.002


def test_nobody_is_found_where_a_camp_is_like_all_others(crowd):
    world = crowd(5, share=0.6, attackers=200, window=None, aged=0.8, camouflage=100)  # as new and as busy as people
    assert found(world) == []


def test_honest_crowds_have_no_camps(crowd):
    for seed in range(2):
        assert found(crowd(seed)) == []
        assert found(crowd(seed, per_item=12, weak=0.3, spammers=30)) == []


@pytest.mark.parametrize("accuracy", [0.8, 0.97])
def test_two_schools_that_each_keep_their_custom_are_no_campaign(accuracy):
    r = np.random.default_rng(0)
    items, people, k = 1200, 240, 4
    truth, custom, school = r.integers(0, k, items), r.random(items) < 0.2, np.arange(people) < 100
    rows = []
    for i in range(items):
        for s in r.choice(people, 8, replace=False):
            right = (truth[i] + (custom[i] & school[s])) % k
            rows.append((i, s, right if r.random() < accuracy else (right + r.integers(1, k)) % k))
    frame, new = table(rows, np.where(school, r.random(people) < 0.6, r.random(people) < 0.2))
    assert camps(frame, alpha=ALPHA, newcomer=new) == []


def test_experts_who_are_asked_about_disputed_items_alone_are_no_campaign():
    r = np.random.default_rng(1)
    items, people, k = 1200, 200, 4
    truth, hard = r.integers(0, k, items), r.random(items) < 0.3
    rows = []
    for i in range(items):
        for s in r.choice(people, 5, replace=False):
            odd = (truth[i] + 1) % k if hard[i] else r.integers(0, k)  # on hard items all err alike
            rows.append((i, s, odd if r.random() < (0.45 if hard[i] else 0.2) else truth[i]))
        if hard[i]:
            rows += [(i, people + e, truth[i] if r.random() < 0.97 else 0) for e in r.choice(30, 3, replace=False)]
    frame, new = table(rows, r.random(people + 30) < 0.2)
    assert camps(frame, alpha=ALPHA, newcomer=new) == []


@pytest.mark.parametrize("name", ["duck", "product", "rte"])
def test_real_crowds_have_no_camps_whoever_is_new(public_data, name):
    answers = pd.read_csv(public_data / "crowd" / name / "answers.csv").astype("str")
    frame = answers.set_axis(["item_id", "source_id", "vote"], axis=1)
    frame = frame.assign(record_id=[f"r{k}" for k in range(len(frame))], observed_at=pd.NaT)
    people = frame["source_id"].unique()
    new = pd.Series(np.random.default_rng(0).random(len(people)) < 0.3, index=people)
    assert camps(frame, alpha=ALPHA, newcomer=frame["source_id"].map(new)) == []


def test_members_of_earlier_batches_are_named_apart_and_row_order_does_not_matter(crowd):
    world = crowd(6, share=0.6, attackers=200, window=None, aged=0.5)
    late = (world.frame["observed_at"] > world.frame["observed_at"].quantile(0.8)).to_numpy()
    new, old = world.frame[late].reset_index(drop=True), world.frame[~late].reset_index(drop=True)
    flags = pd.concat([newcomers(world)[late], newcomers(world)[~late]], ignore_index=True)
    (one,) = camps(new, alpha=ALPHA, newcomer=flags, earlier=old)
    assert set(one.record_ids) <= set(new["record_id"])
    assert set(one.earlier_ids) <= set(old["record_id"])
    mixed = np.random.default_rng(3).permutation(len(world.frame))
    again = camps(
        world.frame.iloc[mixed].reset_index(drop=True),
        alpha=ALPHA,
        newcomer=newcomers(world).iloc[mixed].reset_index(drop=True),
    )
    assert [c.campaign_id for c in again] == [c.campaign_id for c in found(world)]


def test_nothing_and_one_item_with_very_many_votes_are_no_camp():
    frame, new = table([(0, s, s % 2) for s in range(50_000)], np.arange(50_000) % 2 == 1)
    assert camps(frame, alpha=ALPHA, newcomer=new) == []
    assert camps(frame.head(0), alpha=ALPHA, newcomer=new.head(0)) == []
