import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poison_guard.signals.sources import push_mixture


def counted(votes):
    """Return the items of each (item, answer) pair as 0, 1, …, and its votes, with the table of pairs."""
    table = votes.groupby(["item_id", "vote"], sort=True).size().rename("n").reset_index()
    return table, pd.factorize(table["item_id"])[0], table["n"].to_numpy(float)


def fit_push_mixture(votes):
    _, item, n = counted(votes)
    return push_mixture.fit_push_mixture(item, n, votes["vote"].nunique())


def label_posteriors(votes, mixture):
    table, item, n = counted(votes)
    return table.assign(chance=push_mixture.label_posteriors(item, n, mixture).chance)


def push_discount(votes, labels, *, context=None):
    table, item, n = counted(votes)
    at = pd.MultiIndex.from_frame(table[["item_id", "vote"]]).get_indexer(
        pd.MultiIndex.from_arrays([labels.index, labels])
    )
    mixture = fit_push_mixture(votes if context is None else context)
    return push_mixture.push_discount(item, n, at, mixture)[0]


def crowd(seed, *, items=600, each=5, extra=0, pushed=0.0, right=0.8, classes=4):
    """Votes of honest people, and `extra` for one wrong answer on a share `pushed` of the items; labels by majority."""
    r = np.random.default_rng(seed)
    truth = r.integers(0, classes, items)
    item = np.repeat(np.arange(items), each)
    said = np.where(
        r.random(len(item)) < right, truth[item], (truth[item] + r.integers(1, classes, len(item))) % classes
    )
    aim = np.repeat(np.flatnonzero(r.random(items) < pushed), extra)
    votes = pd.DataFrame({"item_id": np.r_[item, aim], "vote": np.r_[said, (truth[aim] + 1) % classes]}).astype("str")
    labels = votes.groupby("item_id")["vote"].agg(lambda v: v.mode().iloc[0])
    wrong = labels.to_numpy() != truth[labels.index.astype(int)].astype(str)
    return votes, labels, wrong, np.isin(labels.index.astype(int), aim)


def test_in_an_honest_crowd_nothing_is_doubted():
    votes, labels, _, _ = crowd(0)
    assert (push_discount(votes, labels) >= 0.99).mean() >= 0.9  # the others are ties


def test_what_a_group_pushed_is_no_longer_certain_and_what_it_left_alone_is():
    for seed in range(3):
        votes, labels, wrong, aimed = crowd(seed, extra=8, pushed=0.2)
        loss = push_discount(votes, labels)
        assert wrong[aimed].mean() >= 0.9
        assert (loss[wrong & aimed] < 0.95).mean() >= 0.99
        assert (loss[~aimed] >= 0.99).mean() >= 0.9


def test_a_label_that_most_votes_are_against_is_worth_its_own_chance():
    votes, labels, _, aimed = crowd(1, extra=8, pushed=0.2)
    truth = labels.copy()
    truth[aimed] = [str((int(v) - 1) % 4) for v in labels[aimed]]
    assert (push_discount(votes, truth)[aimed] < 0.95).mean() >= 0.5


def test_held_votes_teach_what_is_doubted_although_they_do_not_count():
    votes, labels, _, aimed = crowd(2, extra=8, pushed=0.2)
    few = votes[votes["item_id"].isin(labels.index[aimed][:3])]
    alone = push_discount(few, labels[few["item_id"].unique()])
    taught = push_discount(few, labels[few["item_id"].unique()], context=votes)
    assert taught.mean() < alone.mean()


def test_no_votes_leave_every_label_as_it_is():
    nothing = pd.DataFrame({"item_id": [], "vote": []}, dtype="str")
    assert push_discount(nothing, pd.Series(["a"], index=["i"])).tolist() == [1.0]
    assert label_posteriors(nothing, fit_push_mixture(nothing)).empty


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 5)), min_size=1, max_size=120), st.randoms())
def test_chances_are_chances_and_row_order_does_not_matter(rows, random):
    votes = pd.DataFrame(rows, columns=["item_id", "vote"]).astype("str")
    shuffled = votes.sample(frac=1, random_state=random.randrange(2**31))
    told = label_posteriors(votes, fit_push_mixture(votes))
    again = label_posteriors(shuffled, fit_push_mixture(shuffled))
    pd.testing.assert_frame_equal(told, again)
    assert told["chance"].between(0, 1).all()
    assert (told.groupby("item_id")["chance"].sum() <= 1 + 1e-9).all()


def test_a_million_votes_for_one_item_stay_finite():
    votes = pd.DataFrame({"item_id": ["i"] * 1_000_000, "vote": np.where(np.arange(1_000_000) % 3, "a", "b")})
    assert np.isfinite(push_discount(votes, pd.Series(["a"], index=["i"]))).all()


@pytest.mark.parametrize("items", [60, 600])
def test_a_fifth_of_the_items_is_believed_unpushed_even_where_all_are_pushed(items):
    votes, _, _, aimed = crowd(3, items=items, extra=8, pushed=1.0)
    assert aimed.all()
    share = fit_push_mixture(votes).pushed_share
    assert share.max() <= items / (1.25 * items + 20)
    assert share.max() >= 0.8 * items / (1.25 * items + 20)  # and the push is seen
