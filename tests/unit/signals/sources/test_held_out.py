import numpy as np
import pandas as pd
import pytest

from poison_guard.signals.sources.aggregators import Prior
from poison_guard.signals.sources.consensus import fit_consensus
from poison_guard.signals.sources.held_out import coin_held_out, confusion_held_out
from poison_guard.signals.votes import encode


def crowd(seed, *, items, sources, each=4, classes=4, right=0.75, confuse=False):
    """Return the votes of a crowd, and whether each item's most given answers are true, by item and answer code.

    With `confuse` people who err say the next class, else any other.
    """
    r = np.random.default_rng(seed)
    truth = r.integers(0, classes, items)
    item = np.repeat(np.arange(items), each)
    who = np.argsort(r.random((items, sources)), axis=1)[:, :each].ravel()
    step = 1 if confuse else r.integers(1, classes, len(item))
    said = np.where(r.random(len(item)) < right, truth[item], (truth[item] + step) % classes)
    table = {"item_id": [f"i{k:05d}" for k in item], "source_id": [f"s{k}" for k in who], "vote": said.astype(str)}
    return encode(pd.DataFrame(table)), truth


def prior(votes, a=15.0, b=5.0):
    return Prior(np.full(len(votes.sources), a), np.full(len(votes.sources), b))


def unknown(votes):
    return np.full(len(votes.items), -1)


def surplus(chance, true):
    """Return the errors beyond those expected, in standard deviations."""
    return ((~true).sum() - (1 - chance).sum()) / np.sqrt((chance * (1 - chance)).sum())


def test_who_answers_little_no_longer_confirms_itself():
    votes, truth = crowd(0, items=3000, sources=900)
    _, candidates, fit = fit_consensus(votes, unknown(votes), "one_coin", prior(votes))
    true = candidates.answer == truth[candidates.item]
    told = coin_held_out(votes, candidates, fit)
    sure = fit.raw.q >= 0.5
    assert surplus(fit.raw.q[sure], true[sure]) > 3
    assert abs(surplus(told.posterior.q[sure], true[sure])) < 3


def test_a_control_says_nothing_of_itself():
    votes = encode(pd.DataFrame({"item_id": "i", "source_id": ["a", "b", "c"], "vote": ["0", "0", "1"]}))
    for known in (-1, 0, 1):
        _, candidates, fit = fit_consensus(votes, np.array([known]), "one_coin", prior(votes, 4.0, 1.0))
        told = coin_held_out(votes, candidates, fit)
        assert told.posterior.q == pytest.approx([16 / 20, 4 / 20])  # odds of 4 to 1 a vote, two of three agree


def test_confusion_matrices_are_the_likelier_model_where_people_confuse_the_same_classes():
    for confuse in (True, False):
        votes, truth = crowd(1, items=1200, sources=30, each=6, right=0.6, confuse=confuse)
        _, candidates, plain = fit_consensus(votes, unknown(votes), "one_coin", prior(votes))
        full = fit_consensus(votes, unknown(votes), "blend", prior(votes))[2]
        coin, cells = coin_held_out(votes, candidates, plain), confusion_held_out(votes, candidates, full, prior(votes))
        assert (cells.log_likelihood > coin.log_likelihood) == confuse
        best = cells if confuse else coin
        sure = best.posterior.q >= 0.5
        assert abs(surplus(best.posterior.q[sure], (candidates.answer == truth[candidates.item])[sure])) < 3


def test_likelihoods_are_those_of_the_answers():
    votes = encode(pd.DataFrame({"item_id": ["i", "j"], "source_id": ["a", "b"], "vote": ["0", "1"]}))
    _, candidates, fit = fit_consensus(votes, unknown(votes), "one_coin", prior(votes))
    assert coin_held_out(votes, candidates, fit).log_likelihood == pytest.approx(np.log(0.5))
    assert (
        coin_held_out(encode(pd.DataFrame({"item_id": [], "source_id": [], "vote": []})), *_nothing()).posterior.q.size
        == 0
    )


def _nothing():
    empty = encode(pd.DataFrame({"item_id": [], "source_id": [], "vote": []}))
    return fit_consensus(empty, unknown(empty), "one_coin", prior(empty))[1:]
