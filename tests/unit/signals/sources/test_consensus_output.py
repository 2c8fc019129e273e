import numpy as np
import pandas as pd
import pytest

from poison_guard.signals.sources import consensus


def crowd_of(seed, items=1500, people=60, each=8, hard=0.0):
    """On hard items most people give the same wrong answer."""
    r = np.random.default_rng(seed)
    truth = r.integers(0, 3, items)
    other = (truth + r.integers(1, 3, items)) % 3
    item = np.repeat(np.arange(items), each)
    who = np.argsort(r.random((items, people)), axis=1)[:, :each].ravel()
    right = np.where((r.random(items) < hard)[item], 0.2, r.beta(8, 3, people)[who])
    said = np.where(r.random(len(item)) < right, truth[item], other[item])
    frame = pd.DataFrame({"item_id": item, "source_id": who, "answer": said}).astype("str")
    return frame, pd.Series(truth.astype(str), index=np.arange(items).astype(str))


def gap(items, truth):
    right = (items["answer"] == truth.reindex(items.index)).mean()
    return items["probability"].mean() - right


@pytest.mark.parametrize("name", ["duck", "product", "rte"])
def test_on_real_crowds_a_probability_is_nearly_what_it_says(public_data, name):
    frame = pd.read_csv(public_data / "crowd" / name / "answers.csv", dtype=str)
    frame.columns = ["item_id", "source_id", "answer"]
    truth = pd.read_csv(public_data / "crowd" / name / "truth.csv", dtype=str).set_index("item")["truth"]
    assert abs(gap(consensus(frame).items.set_index("item_id"), truth)) < 0.04


def test_controls_teach_doubt_where_items_are_hard():
    frame, truth = crowd_of(0, hard=0.3)
    controls = truth.iloc[:300].rename_axis("item_id").rename("answer").reset_index()
    without = consensus(frame).items.set_index("item_id").drop(truth.index[:300])
    taught = consensus(frame, controls).items.set_index("item_id").drop(truth.index[:300])
    assert abs(gap(taught, truth)) < abs(gap(without, truth)) - 0.01
    assert gap(taught, truth) > -0.03


def test_controls_that_everybody_knows_teach_no_certainty():
    frame, truth = crowd_of(1)
    known = truth.index[:300]
    frame.loc[frame["item_id"].isin(known), "answer"] = frame["item_id"].map(truth)
    controls = truth[known].rename_axis("item_id").rename("answer").reset_index()
    easy = consensus(frame, controls).items.set_index("item_id").drop(known)["probability"]
    plain = consensus(frame[~frame["item_id"].isin(known)]).items.set_index("item_id")["probability"]
    assert (easy - plain).abs().mean() < 0.05


def test_one_answer_alone_is_believed_as_far_as_its_source():
    row = consensus(pd.DataFrame({"item_id": ["w", "v"], "source_id": ["a", "a"], "answer": ["1", "2"]})).items
    assert row["probability"].between(0.6, 0.9).all()


def test_more_of_the_same_answers_are_surer_but_less_than_independent_ones():
    def unanimous(n):
        rows = [("w", f"s{k}", "1") for k in range(n)] + [("v", "t", "2")]
        items = consensus(pd.DataFrame(rows, columns=["item_id", "source_id", "answer"]), model="one_coin").items
        return items.set_index("item_id").loc["w", "probability"]

    said = [unanimous(n) for n in (1, 2, 4, 8, 16)]
    assert said == sorted(said)
    assert 0.9 < said[2] < 1 - 1e-3
