from __future__ import annotations

import pytest

from poison_guard.drills.attacks.queries import STREAMS, make, make_twin
from poison_guard.drills.trial import run_trial
from poison_guard.errors import UsageError

SMALL = {"queries": 300, "people": 40, "trusted": 40}


def test_made_up_queries_of_one_account_are_held_and_nobody_elses(tmp_path):
    figures = run_trial(make(0, stream="noise", **SMALL), home=tmp_path).figures
    assert figures["attack_recall"] == 1.0
    assert figures["honest_held"] == 0


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_has_as_many_queries_as_it_should_by_accounts_in_turn(stream):
    world = make(1, stream=stream, accounts=3, **SMALL)
    bad = world.records["api_key"].isin(world.source_truth.loc[~world.source_truth["honest"], "source_id"])
    assert world.truth["attack"].tolist() == bad.tolist()
    assert world.records.loc[bad, "api_key"].value_counts().tolist() == [100] * 3


def test_a_fast_stream_ends_within_the_hour():
    world = make(2, fast=True, **SMALL)
    at = world.records.loc[world.truth["attack"].to_numpy(), "asked_at"]
    assert (at.max() - at.min()).total_seconds() <= 3600


def test_the_twin_is_of_honest_people_alone():
    twin = make_twin(3, **SMALL)
    assert twin.truth["honest"].all()
    assert len(twin.records) == len(make(3, **SMALL).records)


def test_an_unknown_stream_is_refused_and_the_known_ones_are_named():
    with pytest.raises(UsageError, match="noise, cells, moved, line, alike, got 'fog'"):
        make(0, stream="fog")
