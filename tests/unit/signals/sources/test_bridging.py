import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poison_guard.errors import DataError, UsageError
from poison_guard.signals.sources.bridging import bridge


def crowd(seed, *, people=120, items=60, each=20):
    """Return ratings of two camps: a third of items all like, a third nobody, a third one camp only."""
    rng = np.random.default_rng(seed)
    rows = []
    for u in range(people):
        for i in rng.choice(items, each, replace=False):
            liked = (0.9, 0.1, 0.95 if (u % 2) == (i // 3) % 2 else 0.05)[i % 3]
            rows.append((f"i{i:02d}", f"u{u}", float(rng.random() < liked)))
    return pd.DataFrame(rows, columns=["item_id", "source_id", "rating"])


def pushed(ratings, targets, size, *, like=None):
    rows = [(item, f"x{k}", 1.0) for k in range(size) for item in targets]
    if like is not None:
        liked = ratings[(ratings["source_id"] == like) & ~ratings["item_id"].isin(targets)]
        for k in range(size):
            own = liked.sample(12, random_state=k)
            rows += [(item, f"x{k}", value) for item, value in zip(own["item_id"], own["rating"], strict=True)]
    return pd.concat([ratings, pd.DataFrame(rows, columns=ratings.columns)], ignore_index=True)


def scores(ratings):
    return bridge(ratings).items.set_index("item_id")["score"]


def test_what_both_camps_like_ranks_above_what_one_camp_loves():
    for seed in range(3):
        kind = pd.Series({f"i{i:02d}": i % 3 for i in range(60)})
        found = scores(crowd(seed)).groupby(kind).agg(["min", "max"])
        assert found.loc[0, "min"] > found.loc[2, "max"] > found.loc[2, "min"] > found.loc[1, "max"]


def test_the_two_camps_are_told_apart_by_their_factor():
    sources = bridge(crowd(0)).sources
    even = sources["source_id"].str[1:].astype(int) % 2 == 0
    signs = np.sign(sources["factor"])
    assert abs(signs[even].sum() - signs[~even].sum()) == len(sources)


@pytest.mark.parametrize("size", [50, 500])
@pytest.mark.parametrize("like", [None, "u0"])
def test_a_one_sided_brigade_lifts_the_mean_but_not_the_score(size, like):
    ratings = crowd(1)
    targets = [f"i{i:02d}" for i in range(1, 31, 3)]
    before, after = scores(ratings), bridge(pushed(ratings, targets, size, like=like)).items.set_index("item_id")
    assert after.loc[targets, "rated"].min() > 0.5
    assert after.loc[targets, "score"].max() < 0.5
    assert after.loc[targets, "low"].max() < 0.4
    liked = [f"i{i:02d}" for i in range(0, 60, 3)]
    assert after.loc[liked, "score"].min() > after.loc[targets, "score"].max()
    rest = before.index.difference(targets)
    assert (after.loc[rest, "score"] - before[rest]).abs().max() < 0.25


def test_copies_of_one_rater_share_a_weight():
    ratings = crowd(2)
    own = ratings[ratings["source_id"] == "u3"]
    copies = pd.concat([own.assign(source_id=f"copy{k}") for k in range(40)])
    weight = bridge(pd.concat([ratings, copies])).sources.set_index("source_id")["weight"]
    assert weight[[f"copy{k}" for k in range(40)]].sum() < 1
    assert weight.between(0, 1).all()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), data=st.data())
def test_the_order_of_rows_makes_no_difference_and_figures_stay_in_range(seed, data):
    rng = np.random.default_rng(seed)
    n = data.draw(st.integers(1, 60))
    table = pd.DataFrame(
        {
            "item_id": rng.integers(0, 8, n).astype(str),
            "source_id": rng.integers(0, 10, n).astype(str),
            "rating": rng.random(n),
        }
    )
    first, second = bridge(table), bridge(table.sample(frac=1, random_state=seed))
    pd.testing.assert_frame_equal(first.items, second.items, rtol=1e-9)
    pd.testing.assert_frame_equal(first.sources, second.sources, rtol=1e-6, atol=1e-9)
    assert all(first.items[column].between(0, 1).all() for column in ("score", "low", "rated"))
    assert (first.items["low"] <= first.items["score"]).all()
    assert first.items["raters"].sum() == len(table.drop_duplicates(["item_id", "source_id"]))


def test_several_ratings_of_one_item_by_one_source_count_as_their_mean():
    table = pd.DataFrame({"item_id": ["a"] * 4, "source_id": ["u", "u", "v", "v"], "rating": [0.0, 1.0, 1.0, 1.0]})
    items = bridge(table).items
    assert items["raters"].tolist() == [2]
    assert items["rated"].tolist() == [0.75]


def test_rows_without_an_id_or_rating_are_left_out_and_nothing_gives_nothing():
    table = pd.DataFrame({"item_id": ["a", None, "b"], "source_id": ["u", "u", None], "rating": [None, 1.0, 1.0]})
    found = bridge(table)
    assert found.items.empty
    assert found.sources.empty
    assert list(found.items.columns) == ["item_id", "score", "low", "rated", "raters"]


@pytest.mark.parametrize("bad", [1.5, -1, float("inf"), "up"])
def test_a_rating_outside_the_range_is_an_error_that_names_it(bad):
    with pytest.raises(DataError, match="scale ratings"):
        bridge(pd.DataFrame({"item_id": ["a"], "source_id": ["u"], "rating": [bad]}))


def test_a_missing_column_is_named():
    with pytest.raises(UsageError, match="source_id"):
        bridge(pd.DataFrame({"item_id": ["a"], "rating": [1]}))


def test_one_rater_of_half_of_all_ratings_moves_the_others_little():
    ratings = crowd(2)
    alone = pd.DataFrame({"item_id": [f"n{k}" for k in range(len(ratings))], "source_id": "busy", "rating": 1.0})
    before, after = bridge(ratings).items.set_index("item_id"), bridge(pd.concat([ratings, alone])).items
    after = after.set_index("item_id")
    assert (after.loc[before.index, "score"] - before["score"]).abs().max() < 0.05
    assert after.loc[alone["item_id"], "low"].max() < before["low"].max()
    assert after.loc[alone["item_id"], "low"].max() < 0.3
