import numpy as np
import pandas as pd
import pytest

from poison_guard.signals.campaigns.agreement import agreement

ALPHA = 0.0002


def held(world, found):
    members = {r for c in found for r in (*c.record_ids, *c.earlier_ids)}
    return world.frame["record_id"].isin(members).to_numpy()


@pytest.mark.parametrize("camouflage", [0, 100])
def test_a_slow_group_that_always_agrees_is_found_whatever_its_age(crowd, camouflage):
    world = crowd(0, share=0.6, attackers=40, window=None, camouflage=camouflage, aged=1.0)
    told = held(world, agreement(world.frame, alpha=ALPHA))
    assert told[world.rows("pushed")].mean() >= 0.95
    assert told[world.rows("honest")].mean() <= 0.005


def test_honest_crowds_of_any_overlap_form_no_group(crowd):
    for seed in range(3):
        assert agreement(crowd(seed, per_item=5).frame, alpha=ALPHA) == []
        assert agreement(crowd(seed, per_item=12, weak=0.3, spammers=30).frame, alpha=ALPHA) == []


@pytest.mark.parametrize("name", ["duck", "product", "rte"])
def test_real_crowds_form_no_group(public_data, name):
    answers = pd.read_csv(public_data / "crowd" / name / "answers.csv").astype("str")
    frame = answers.set_axis(["item_id", "source_id", "vote"], axis=1)
    frame = frame.assign(record_id=[f"r{k}" for k in range(len(frame))], observed_at=pd.NaT)
    assert agreement(frame, alpha=ALPHA) == []


def test_newcomers_who_contradict_established_people_do_not_make_these_a_group():
    r = np.random.default_rng(0)
    rows = [(i, who, "a" if r.random() < 0.97 else "b", False) for i in range(1500) for who in r.choice(15, 3, False)]
    rows += [(i, 100 + who, "b", True) for i in range(600) for who in r.choice(200, 5, False)]
    table = pd.DataFrame(rows, columns=["item_id", "source_id", "vote", "new"]).astype({"item_id": "str"})
    frame = table.assign(record_id=[f"r{k}" for k in range(len(table))], observed_at=pd.NaT, source_since=pd.NaT)
    frame["source_id"] = frame["source_id"].map(lambda k: f"s{k}")
    told = {i for c in agreement(frame, alpha=ALPHA, newcomer=frame["new"]) for i in c.record_ids}
    assert frame.loc[~frame["new"], "record_id"].isin(told).mean() <= 0.02
    blind = {i for c in agreement(frame, alpha=ALPHA) for i in c.record_ids}
    assert frame.loc[~frame["new"], "record_id"].isin(blind).mean() >= 0.2  # without ages, either side may be the group


@pytest.mark.parametrize("aged", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("strangers", [0.2, 0.5, 0.8])
def test_a_group_is_found_whoever_is_known(crowd, aged, strangers):
    world = crowd(0, share=0.6, attackers=40, window=None, aged=aged)
    new = world.frame["observed_at"] - world.frame["source_since"] < pd.Timedelta(days=30)
    more = world.frame["source_id"].isin([f"s{k}" for k in range(300) if k % 10 < 10 * strangers])
    told = held(world, agreement(world.frame, alpha=ALPHA, newcomer=new | more))
    assert told[world.rows("pushed")].mean() >= 0.85
    assert told[world.rows("honest")].mean() <= 0.005


def test_members_of_earlier_batches_are_named_apart(crowd):
    world = crowd(1, share=0.6, attackers=40, window=None, aged=1.0)
    late = (world.frame["observed_at"] > world.frame["observed_at"].quantile(0.9)).to_numpy()
    new, old = world.frame[late].reset_index(drop=True), world.frame[~late].reset_index(drop=True)
    (found,) = agreement(new, alpha=ALPHA, earlier=old)
    assert set(found.record_ids) <= set(new["record_id"])
    assert set(found.earlier_ids) <= set(old["record_id"])
    pushed = set(old["record_id"][old["kind"] == "pushed"])
    assert len(pushed & set(found.earlier_ids)) >= 0.9 * len(pushed)


def test_row_order_does_not_matter(crowd):
    world = crowd(2, share=0.6, attackers=40, window=None)
    ids = [c.campaign_id for c in agreement(world.frame, alpha=ALPHA)]
    shuffled = world.frame.sample(frac=1, random_state=3).reset_index(drop=True)
    assert [c.campaign_id for c in agreement(shuffled, alpha=ALPHA)] == ids
    assert len(ids) == 1


def test_one_item_with_very_many_votes_is_left_out_in_bounded_time():
    n = 50_000
    frame = pd.DataFrame(
        {"record_id": [f"r{k}" for k in range(n)], "item_id": "i", "source_id": [f"s{k}" for k in range(n)],
         "vote": np.where(np.arange(n) % 2, "a", "b"), "observed_at": pd.NaT}
    )  # fmt: skip
    assert agreement(frame, alpha=ALPHA) == []
    assert agreement(frame.head(0), alpha=ALPHA) == []
