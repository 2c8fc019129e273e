import pandas as pd
import pytest

from poison_guard.drills.attacks.answers import COLUMNS
from poison_guard.drills.attacks.coordinated import BURSTS, make, make_twin
from poison_guard.drills.world import Origin
from poison_guard.errors import UsageError


def pushes(world):
    return world.records[world.truth["origin"].eq(Origin.POISON).to_numpy()]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_the_group_gives_its_share_of_the_answers_on_targeted_items_one_answer_each(share):
    world = make(0, share=share)
    targets = world.role("item_id").isin(world.params["targets"])
    attack = world.truth["attack"].to_numpy()
    assert attack[targets].mean() == pytest.approx(share, abs=0.02)
    assert not attack[~targets].any()
    mine = pushes(world)
    assert len(mine[["word_id", "answer"]].drop_duplicates()) == mine["word_id"].nunique()
    assert (mine["answer"].to_numpy() != world.truth["label"][world.truth["attack"]].to_numpy()).all()


@pytest.mark.parametrize(("burst", "days"), [("1h", 0.05), ("1d", 1.0), ("30d", 30.0)])
def test_a_burst_lasts_as_long_as_it_says(burst, days):
    at = pushes(make(1, burst=burst))[COLUMNS["observed_at"]]
    assert at.max() - at.min() <= pd.Timedelta(days=days)
    assert BURSTS["waves"][0] == 5


def test_age_and_knowledge_of_controls_are_as_asked():
    for aged in (0.0, 0.5, 1.0):
        world = make(2, aged=aged)
        mine = world.records[~world.records["user_id"].isin(_people(world))].drop_duplicates("user_id")
        old = mine["answered_at"] - mine["account_created_at"] >= pd.Timedelta(days=30)
        assert old.mean() == pytest.approx(aged, abs=0.02)
    for aware, right in ((True, 0.97), (False, 0.03)):
        world = make(3, control_aware=aware, sybils=100)
        cover = world.truth["origin"].eq(Origin.CAMOUFLAGE).to_numpy()
        assert (
            world.role("answer")[cover].to_numpy() == world.truth["label"][cover].to_numpy()
        ).mean() == pytest.approx(right, abs=0.02)


def _people(world):
    return set(world.source_truth.loc[world.source_truth["honest"], "source_id"])


def test_the_twin_has_the_same_accounts_and_items_and_is_honest():
    world, twin = make(4, burst="1h"), make_twin(4, burst="1h")
    assert set(world.role("item_id")) == set(twin.role("item_id"))
    assert len(world.records) == len(twin.records)
    assert twin.source_truth["honest"].all()
    assert not twin.truth["attack"].any()


def test_the_same_seed_gives_the_same_world_and_a_constant_string_is_one_string():
    pd.testing.assert_frame_equal(make(5).records, make(5).records)
    assert set(pushes(make(5, constant=True))["answer"]) == {"lol"}


def test_an_unknown_burst_is_a_usage_error():
    with pytest.raises(UsageError, match="burst must be one of"):
        make(0, burst="2h")
