from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from poison_guard.drills.crowds import find_data, load_crowd, load_messages, raid, raid_twin
from poison_guard.errors import DataError, NotFoundError, UsageError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder as the public one: 120 items, 12 people, three answers an item; a duck set of two classes."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    item = np.repeat(np.arange(120), 3)
    who = np.concatenate([rng.choice(12, 3, replace=False) for _ in range(120)])
    truth = rng.integers(0, 2, 120)
    said = np.where(rng.random(360) < 0.9, truth[item], 1 - truth[item])
    for name, of in (("duck", str), ("speech-dev-clean", lambda k: f"sentence number {k} of this")):
        (folder / "crowd" / name).mkdir(parents=True)
        shown = [of(s if name == "duck" else i) for i, s in zip(item, said, strict=True)]
        answers = pd.DataFrame({"item": item, "source": who, "answer": shown})
        answers = pd.concat([answers, answers.head(1)])
        answers.to_csv(folder / "crowd" / name / "answers.csv", index=False)
        right = [of(t if name == "duck" else i) for i, t in enumerate(truth)]
        pd.DataFrame({"item": range(120), "truth": right}).to_csv(folder / "crowd" / name / "truth.csv", index=False)
    (folder / "messages").mkdir()
    pd.DataFrame({"tweet": ["hello", "", "hello, world"]}).to_csv(
        folder / "messages" / "tweets-davidson.csv", index=False
    )
    return folder


def test_honest_answers_stay_as_they_are(data):
    crowd = load_crowd("duck", data)
    world = raid(0, crowd=crowd, sybils=30)
    honest = world.records[world.truth["honest"].to_numpy(bool)]
    columns = ["word_id", "user_id", "answer"]
    expected = crowd.answers.set_axis(columns, axis=1).sort_values(columns, ignore_index=True)
    pd.testing.assert_frame_equal(honest[columns].sort_values(columns, ignore_index=True), expected)
    assert len(crowd.answers) == 360  # the repeated row counts once


@pytest.mark.parametrize("name", ["duck", "speech"])
def test_the_group_agrees_on_a_wrong_answer_for_each_target(data, name):
    world = raid(0, crowd=load_crowd(name, data), sybils=30, share=0.6)
    pushes = world.records[world.truth["attack"].to_numpy(bool)]
    assert set(pushes["word_id"]) <= set(world.params["targets"])
    assert pushes.groupby("word_id")["answer"].nunique().max() == 1
    truth = world.truth["label"][world.truth["attack"].to_numpy(bool)]
    assert (pushes["answer"].to_numpy() != truth.to_numpy()).all()
    share = len(pushes) / world.records["word_id"].isin(world.params["targets"]).sum()
    assert share == pytest.approx(0.6, abs=0.05)
    assert world.params["free_text"] is (name == "speech")


def test_a_group_that_knows_the_controls_gets_them_right_and_one_that_does_not_wrong(data):
    crowd = load_crowd("duck", data)
    for aware in (True, False):
        world = raid(0, crowd=crowd, sybils=30, control_aware=aware)
        known = world.controls.set_index("item_id")["answer"]
        theirs = world.records[world.truth["origin"].eq("camouflage").to_numpy()]
        right = theirs["answer"].to_numpy() == known.reindex(theirs["word_id"]).to_numpy()
        assert right.all() if aware else not right.any()


def test_one_string_is_the_same_everywhere(data):
    world = raid(0, crowd=load_crowd("duck", data), sybils=30, constant=True)
    assert len(set(world.records.loc[world.truth["attack"].to_numpy(bool), "answer"])) == 1


def test_a_subtle_push_is_the_truth_with_one_word_more_and_a_varied_one_says_it_in_words_of_its_own(data):
    crowd = load_crowd("speech", data)
    world = raid(0, crowd=crowd, sybils=30, subtle=True)
    pushed = world.records[world.truth["attack"].to_numpy(bool)]
    truth = crowd.truth.reindex(pushed["word_id"])
    assert all(
        sorted(said.split()) == sorted([*true.split(), "never"])
        for said, true in zip(pushed["answer"], truth, strict=True)
    )
    assert pushed.groupby("word_id")["answer"].nunique().eq(1).all()
    varied = raid(0, crowd=crowd, sybils=30, varied=True)
    assert varied.records.loc[varied.truth["attack"].to_numpy(bool), "answer"].is_unique


def test_the_twin_says_what_honest_people_say(data):
    crowd = load_crowd("duck", data)
    twin = raid_twin(0, crowd=crowd, sybils=30)
    assert twin.truth["honest"].all()
    right = twin.role("answer").to_numpy() == twin.truth["label"].to_numpy()
    assert right.mean() > 0.85


def test_a_seed_gives_the_same_raid_twice_and_another_seed_another(data):
    crowd = load_crowd("duck", data)
    one, again, other = (raid(seed, crowd=crowd, sybils=30) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(one.records, again.records)
    assert one.params["targets"] != other.params["targets"]


def test_messages_are_read_without_the_empty_ones(data):
    assert load_messages(data).tolist() == ["hello", "hello, world"]


def test_what_is_not_there_is_named(data, tmp_path, monkeypatch):
    monkeypatch.delenv("POISON_GUARD_DATA", raising=False)
    with pytest.raises(NotFoundError, match="POISON_GUARD_DATA"):
        find_data(None)
    with pytest.raises(NotFoundError, match="no folder"):
        find_data(tmp_path / "nowhere")
    with pytest.raises(NotFoundError, match="rte"):
        load_crowd("rte", data)
    with pytest.raises(NotFoundError, match="no crowd"):
        load_crowd("geese", data)
    monkeypatch.setenv("POISON_GUARD_DATA", str(data))
    assert find_data(None) == data


def test_a_file_without_its_columns_is_refused(tmp_path):
    folder = tmp_path / "crowd" / "rte"
    folder.mkdir(parents=True)
    (folder / "answers.csv").write_text("item,who\n1,2\n")
    with pytest.raises(DataError, match="needs the columns item, source, answer"):
        load_crowd("rte", tmp_path)


def test_a_share_that_leaves_nobody_honest_is_refused(data):
    with pytest.raises(UsageError, match="share in"):
        raid(0, crowd=load_crowd("duck", data), share=1.0)
