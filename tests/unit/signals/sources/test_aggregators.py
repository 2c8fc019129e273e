import numpy as np
import pandas as pd
import pytest

from poison_guard.signals.sources import consensus
from poison_guard.signals.sources.aggregators import Prior, _logs, blend, confusion_weight, list_candidates
from poison_guard.signals.sources.consensus import prior_of
from poison_guard.signals.votes import control_codes, encode


def leaning(seed, people=40, items=300, each=9):
    """Half of the people say 1 too often, half say 0 too often: one number a source cannot say that."""
    r = np.random.default_rng(seed)
    truth = r.integers(0, 2, items)
    item = np.repeat(np.arange(items), each)
    who = np.argsort(r.random((items, people)), axis=1)[:, :each].ravel()
    right = np.where(truth[item] == who % 2, 0.98, 0.4)
    said = np.where(r.random(len(item)) < right, truth[item], 1 - truth[item])
    return pd.DataFrame({"item_id": item, "source_id": who, "answer": said}).astype("str"), truth.astype(str)


@pytest.mark.parametrize("model", ["dawid_skene", "blend", "auto"])
def test_leaning_sources_are_understood_by_their_confusion(model):
    frame, truth = leaning(0)
    found = consensus(frame, model=model).items
    right = (found["answer"].to_numpy() == truth[found["item_id"].astype(int)]).mean()
    coin = consensus(frame, model="one_coin").items
    assert right > (coin["answer"].to_numpy() == truth[coin["item_id"].astype(int)]).mean() + 0.01
    assert right > 0.92


def test_a_vote_never_speaks_more_for_another_answer_than_for_its_own():
    r = np.random.default_rng(1)
    counts = r.gamma(0.3, 20, (50, 4, 4))  # sources of every kind, most of them wrong most of the time
    prior = Prior(np.full(50, 4.0), np.full(50, 1.0))
    for trust in (np.ones(50), np.linspace(0, 1, 50)):
        logs = _logs(counts, prior, trust)
        own = np.einsum("saa->sa", logs)
        assert (logs <= own[:, :, None] + 1e-12).all()


@pytest.mark.parametrize("model", ["one_coin", "dawid_skene", "blend"])
def test_a_hostile_majority_wins_its_items_at_most_and_turns_no_others(model, crowd):
    world = crowd(4, share=0.75, attackers=200, window=None)
    items = consensus(world.frame, world.controls, model).items.set_index("item_id")["answer"]
    away = sorted(set(world.truth.index) - world.targets)
    assert (items.reindex(away) == world.truth[away]).mean() > 0.95


def test_history_grows_with_answers_and_shrinks_with_the_number_of_ways_to_be_wrong():
    def of(n, k):
        rows = [(f"i{j}", "a", str(j % k)) for j in range(n)]
        coded = encode(pd.DataFrame(rows, columns=["item_id", "source_id", "vote"]))
        return confusion_weight(coded, prior_of(coded, None))[0]

    assert of(4, 2) < of(10, 2) < of(100, 2) < 1
    assert of(10, 2) == pytest.approx(0.5)
    assert of(100, 5) == pytest.approx(0.5)


def test_an_answer_that_all_gave_is_given_and_disputed_where_the_model_thinks_all_are_wrong():
    r = np.random.default_rng(0)
    rows = [(f"i{k}", f"good{s}", str(k % 2)) for k in range(300) for s in range(4)]
    rows += [(f"i{k}", f"bad{s}", "1" if r.random() < 0.98 else "0") for k in range(300) for s in range(3)]
    rows += [("odd", f"bad{s}", "1") for s in range(2)]
    frame = pd.DataFrame(rows, columns=["item_id", "source_id", "answer"])
    skewed = frame[~frame["item_id"].isin([f"i{k}" for k in range(1, 300, 2) if k % 30 != 1])]
    row = consensus(skewed, model="dawid_skene").items.set_index("item_id").loc["odd"]
    assert row["answer"] == "0"
    assert bool(row["disputed"])


def test_one_answer_and_one_source_leave_nothing_to_confuse():
    coded = encode(pd.DataFrame({"item_id": ["w"], "source_id": ["a"], "vote": ["x"]}))
    fit = blend(coded, list_candidates(coded), control_codes(coded, None), prior_of(coded, None))
    assert list(fit.q) == [1.0]
