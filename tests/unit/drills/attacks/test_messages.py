import pandas as pd
import pytest

from poison_guard.drills.attacks import messages
from poison_guard.drills.world import World
from poison_guard.errors import UsageError
from poison_guard.signals.campaigns import near_duplicate_text, sketch_text

ATTACKS = [messages.make_repeat_after_me, messages.make_clean_abuse]
LOOKALIKES = [
    messages.make_repeat_after_me_twin,
    messages.make_clean_abuse_twin,
    messages.make_viral_meme,
    messages.make_flash_crowd,
    messages.make_dialect,
    messages.make_pasted_document,
]
REAL = pd.Series(
    [
        f"the {who} of {place} was seen near {where} by {k} people and a dog"
        for k in range(4)
        for who in ("mayor", "queen", "ghost", "statue")
        for place in ("Oslo", "Lima", "Turin")
        for where in ("home", "sea")
    ]
)


def held(world: World) -> pd.Series:
    frame = pd.DataFrame({role: world.role(role) for role in world.columns}).rename(columns={"source_id": "speaker"})
    found = near_duplicate_text(frame, sketch_text(frame["text"]), alpha=0.001)
    names = {name for campaign in found for name in campaign.record_ids}
    return frame["record_id"].isin(names)


@pytest.mark.parametrize("make", ATTACKS + LOOKALIKES)
def test_a_seed_gives_the_same_world_and_another_seed_another(make):
    once, again, other = make(1, messages=200), make(1, messages=200), make(2, messages=200)
    pd.testing.assert_frame_equal(once.records, again.records)
    assert once.records["text"].tolist() != other.records["text"].tolist()
    assert set(once.columns.values()) == set(once.records.columns) == set(once.trusted.columns)
    assert len(once.params["watched"]) == len(once.records) - 200


@pytest.mark.parametrize("make", ATTACKS)
def test_attacks_are_found_and_honest_messages_pass(make):
    world = make(3, messages=2000)
    found, attack = held(world), world.truth["attack"].to_numpy()
    assert attack.sum() == 1000
    assert found[attack].mean() >= 0.97
    assert found[~attack].mean() <= 0.005


@pytest.mark.parametrize("make", LOOKALIKES)
def test_lookalikes_are_honest_and_pass(make):
    world = make(3)
    assert world.truth["honest"].all()
    assert world.source_truth["honest"].all()
    assert held(world)[world.records["message_id"].isin(world.params["watched"])].mean() <= 0.01


def test_real_messages_are_what_campaigns_repeat():
    world = messages.make_repeat_after_me(0, base=REAL, mutation=0.0, campaigns=3, copies=5)
    attack = world.truth["attack"].to_numpy()
    assert set(world.records.loc[attack, "text"]) < set(REAL)
    assert len(world.records) == len(REAL) + 15


def test_bought_accounts_are_as_old_as_anybody():
    young = messages.make_repeat_after_me(0, messages=200)
    old = messages.make_repeat_after_me(0, messages=200, aged=1.0)
    ages = [(w.role("observed_at") - w.role("source_since"))[w.truth["attack"]].dt.days.median() for w in (young, old)]
    assert ages[0] < 10 < 100 < ages[1]


@pytest.mark.parametrize("params", [{"mutation": 1.5}, {"copies": 0}, {"base": REAL.str[:3]}])
def test_impossible_parameters_are_refused(params):
    with pytest.raises(UsageError):
        messages.make_repeat_after_me(0, **params)
