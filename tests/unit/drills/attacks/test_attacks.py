"""What every attack's world keeps, and that each does what its parameters say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from poison_guard.drills.attacks import answers, telemetry
from poison_guard.drills.world import Origin, World
from poison_guard.errors import UsageError

SMALL = {
    "spam": (answers.make_spam, answers.make_spam_twin, {"items": 200, "honest": 40}),
    "on-off": (answers.make_onoff, answers.make_onoff_twin, {"items": 300, "honest": 40, "after": 60, "strikes": 20}),
    "whitewash": (answers.make_whitewash, answers.make_whitewash_twin, {"items": 300, "honest": 40}),
    "replay": (telemetry.make, telemetry.make_twin, {"people": 60, "sessions": 300, "replays": 80, "trusted": 120}),
}


@pytest.fixture(params=SMALL)
def drawn(request: pytest.FixtureRequest) -> tuple[World, World, World]:
    """An attack's world, the same once more, and its twin."""
    make, twin, params = SMALL[request.param]
    return make(3, **params), make(3, **params), twin(3, **params)


def of(world: World, origin: Origin) -> pd.DataFrame:
    return world.records[world.truth["origin"].eq(str(origin)).to_numpy()]


def test_a_seed_gives_the_same_world_twice(drawn):
    world, again, _ = drawn
    pd.testing.assert_frame_equal(world.records, again.records)
    pd.testing.assert_frame_equal(world.truth, again.truth)


def test_records_and_truth_go_row_by_row_and_ids_are_in_order_of_time(drawn):
    for world in drawn:
        assert list(world.truth["record_id"]) == list(world.role("record_id"))
        assert world.role("record_id").is_unique
        assert world.role("observed_at").is_monotonic_increasing


def test_the_twin_is_honest_altogether_and_as_large(drawn):
    world, _, twin = drawn
    assert twin.truth["honest"].all()
    assert twin.source_truth["honest"].all()
    assert len(twin.records) == pytest.approx(len(world.records), rel=0.03)


def test_an_attackers_record_says_what_is_not_so(drawn):
    world = drawn[0]
    told = world.role("answer" if "answer" in world.columns else "label")
    attack = world.truth["attack"].to_numpy(bool)
    assert attack.any()
    assert (told[attack].to_numpy() != world.truth["label"][attack].to_numpy()).all()


def test_nobody_answers_an_item_twice(drawn):
    for world in drawn:
        if "item_id" in world.columns:
            assert not world.records.duplicated([world.columns["source_id"], world.columns["item_id"]]).any()


def test_accounts_are_older_than_what_they_send(drawn):
    for world in drawn:
        if not world.params.get("skew_hours"):
            assert (world.role("source_since") <= world.role("observed_at")).all()


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_spam_has_the_share_it_is_given(share):
    world = answers.make_spam(1, share=share, items=1000, honest=100)
    dishonest = ~world.truth["honest"]
    assert dishonest.mean() == pytest.approx(share, abs=0.12)


def test_spam_of_one_style_says_one_thing_an_account():
    world = answers.make_spam(1, style="first", items=200, honest=40)
    theirs = world.records[~world.truth["honest"].to_numpy(bool)]
    assert theirs.groupby("user_id")["answer"].nunique().max() == 1


def test_strikes_come_after_so_many_good_answers():
    world = answers.make_onoff(1, after=60, strikes=20, sleepers=3, items=300, honest=40)
    theirs = world.records.assign(attack=world.truth["attack"])[~world.truth["honest"].to_numpy(bool)]
    for _, one in theirs.groupby("user_id"):
        assert len(one) == 80
        assert not one["attack"].iloc[:60].any()
        assert one["attack"].iloc[60:].all()


def test_sleepers_who_know_the_controls_never_miss_one():
    world = answers.make_onoff(1, after=60, strikes=40, items=300, honest=40, control_aware=True)
    known = world.item_truth.set_index("item_id")["control"]
    assert not known[world.records.loc[world.truth["attack"].to_numpy(bool), "word_id"]].any()


@pytest.mark.parametrize("every", [5, 20])
def test_whitewashed_accounts_are_left_after_so_many_answers(every):
    world = answers.make_whitewash(1, every=every, items=300, honest=40, share=0.6)
    theirs = world.records[~world.truth["honest"].to_numpy(bool)]
    assert theirs["user_id"].value_counts().max() <= every
    assert theirs["user_id"].nunique() >= len(theirs) // every


def test_replays_are_as_far_from_a_tape_as_their_jitter():
    world = telemetry.make(1, jitter_share=0.01, tapes=5, replays=100, missing=0.0, trusted=100, sessions=200)
    values = np.log(of(world, Origin.POISON)[list(world.features)].to_numpy())
    gap = np.abs(values[:, None] - values[None]).max(axis=2)
    assert (np.sort(gap, axis=1)[:, 1] < 0.1).all()


def test_spoofed_replays_come_under_ids_of_honest_devices():
    world = telemetry.make(1, spoof=True, people=300, sessions=3000, trusted=100)
    honest = set(world.records.loc[world.truth["honest"].to_numpy(bool), "device_id"])
    theirs = of(world, Origin.POISON)["device_id"]
    assert theirs.isin(honest).mean() > 0.9


def test_skewed_clocks_end_no_later_than_the_batch_is_received():
    world = telemetry.make(1, skew_hours=48.0, trusted=100, sessions=300, people=60)
    assert pd.Timestamp(world.params["until"]).tzinfo is not None
    assert world.role("observed_at").min() < world.records["started_at"].quantile(0.01)


@pytest.mark.parametrize(
    ("make", "params", "sentence"),
    [
        (answers.make_spam, {"share": 1.0}, "share must be in"),
        (answers.make_spam, {"style": "loud"}, "random or first"),
        (answers.make_onoff, {"after": 5000}, "at most items"),
        (answers.make_whitewash, {"every": 1}, "every at least 2"),
        (telemetry.make, {"features": 11}, "from 2 to 10"),
    ],
)
def test_parameters_that_cannot_be_are_refused_in_one_sentence(make, params, sentence):
    with pytest.raises(UsageError, match=sentence):
        make(0, **params)
