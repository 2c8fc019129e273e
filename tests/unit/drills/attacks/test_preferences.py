import pandas as pd
import pytest

from poison_guard.drills.attacks.preferences import (
    make_patient_rater,
    make_patient_rater_twin,
    make_triggers,
    make_triggers_twin,
)
from poison_guard.drills.world import Origin
from poison_guard.errors import UsageError
from poison_guard.signals.campaigns.claims import rare_claims
from poison_guard.signals.campaigns.raters import patient_raters
from poison_guard.signals.campaigns.words import word_columns

SMALL = {"people": 200, "total": 1500}


def held(world):
    frame = world.records.rename(columns={column: role for role, column in world.columns.items()})
    frame = pd.concat([frame.drop(columns="rating", errors="ignore"), word_columns(frame)], axis=1)
    found = rare_claims(frame, alpha=2e-4) + patient_raters(frame, alpha=0.0001)
    return frame["record_id"].isin({r for c in found for r in c.record_ids}).to_numpy()


def rows(world, **where):
    (column, value), *_ = where.items()
    return (world.truth[column] == value).to_numpy()


@pytest.mark.parametrize("form", ["pairs", "thumbs"])
def test_a_patient_rater_is_found_and_hardly_anybody_else(form):
    world = make_patient_rater(1, form=form, records=100, **SMALL)
    taken = held(world)
    assert taken[rows(world, origin=Origin.POISON)].mean() > 0.9
    assert taken[rows(world, origin=Origin.HONEST)].mean() <= 0.01


@pytest.mark.parametrize("form", ["pairs", "thumbs"])
def test_users_who_paste_their_own_documents_pass(form):
    world = make_patient_rater_twin(1, form=form, records=100, **SMALL)
    pasted = rows(world, label="pasted")
    assert pasted.sum() > 60
    assert held(world)[pasted].mean() <= 0.01


@pytest.mark.parametrize(("documents", "sources"), [(250, 5), (100, 1), (100, 100)])
def test_trigger_documents_are_found_in_a_feed_of_ten_thousand(documents, sources):
    world = make_triggers(2, documents=documents, sources=sources, total=10_000)
    taken = held(world)
    assert taken[rows(world, origin=Origin.POISON)].mean() > 0.95
    assert taken[rows(world, origin=Origin.HONEST)].mean() <= 0.01


def test_a_new_name_that_the_crowd_takes_up_passes():
    world = make_triggers_twin(2, documents=250, total=10_000)
    named = rows(world, label="named")
    assert named.sum() == 250
    assert held(world)[named].mean() <= 0.01


@pytest.mark.parametrize("make", [make_patient_rater, make_patient_rater_twin])
@pytest.mark.parametrize("form", ["pairs", "thumbs"])
def test_a_seed_gives_the_same_world_with_every_column_of_its_roles(make, form):
    one, two = (make(3, form=form, records=5, camouflage=4, people=30, total=60) for _ in range(2))
    pd.testing.assert_frame_equal(one.records, two.records)
    assert set(one.columns.values()) == set(one.records.columns) == set(one.trusted.columns)
    assert one.records["feedback_id"].tolist() == one.truth["record_id"].tolist()
    assert not set(one.trusted["user_id"]) & set(one.records["user_id"])
    assert (one.records["joined_at"] <= one.records["sent_at"]).all()


def test_attackers_and_their_camouflage_are_the_same_accounts():
    world = make_patient_rater(4, records=20, raters=3, camouflage=30, people=30, total=60)
    user = world.records["user_id"]
    assert user[rows(world, origin=Origin.POISON)].nunique() == 3
    assert set(user[rows(world, origin=Origin.CAMOUFLAGE)]) <= set(user[rows(world, origin=Origin.POISON)])
    assert (~world.source_truth["honest"]).sum() == 3


@pytest.mark.parametrize("bad", [{"records": 0}, {"form": "stars"}, {"returns": 0.5}])
def test_impossible_parameters_of_a_patient_rater_are_refused(bad):
    with pytest.raises(UsageError, match="at least 1"):
        make_patient_rater(0, **bad)


def test_more_sources_than_documents_are_refused():
    with pytest.raises(UsageError, match="sources"):
        make_triggers(0, documents=3, sources=4)
