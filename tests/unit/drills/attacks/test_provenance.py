from __future__ import annotations

import pytest

from poison_guard.drills.attacks.provenance import ODDITIES, make, make_oddity, make_twin
from poison_guard.drills.trial import run_trial
from poison_guard.errors import UsageError

SMALL = {"people": 90, "sessions": 500, "trusted": 500}


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    """Figures of a small world of a forger, and of a thief who has six keys."""
    worlds = {stolen: make(0, stolen=stolen, forged=90, **SMALL) for stolen in (0, 6)}
    return {key: run_trial(world, home=tmp_path_factory.mktemp("home")).figures for key, world in worlds.items()}


def test_what_is_forged_without_keys_is_held_and_blames_nobody(held):
    figures = held[0]
    assert figures["attack_recall"] == 1.0
    assert figures["honest_held_by_source"] == figures["honest_held_by_campaign"] == 0
    assert figures["honest_held_by_rule"] == 0
    assert figures["honest_sources_blocked"] == 0


def test_a_stolen_key_shows_and_its_owner_is_held_with_the_thief_but_nobody_else(held):
    figures = held[6]
    assert figures["attack_recall"] >= 0.9
    assert 0 < figures["honest_held_by_campaign_rate"] < 0.2  # the sessions of six owners of ninety


@pytest.mark.parametrize("what", ODDITIES)
def test_an_oddity_is_of_honest_people_alone_and_differs_from_the_plain_world(what):
    world = make_oddity(1, what=what, **SMALL)
    assert world.truth["honest"].all()
    assert not world.truth["attack"].any()
    assert world.records["nonce"].is_unique


def test_the_twin_has_as_many_sessions_of_devices_with_keys_of_their_own():
    attack, twin = make(2, forged=60, **SMALL), make_twin(2, forged=60, **SMALL)
    assert len(attack.records) == len(twin.records)
    assert twin.truth["honest"].all()
    assert set(twin.records["device_id"]) == set(twin.params["signature"]["keys"])


def test_an_unknown_oddity_is_refused_and_the_known_ones_are_named():
    with pytest.raises(UsageError, match="version, shared, household, zone, outage, got 'fog'"):
        make_oddity(0, what="fog")
