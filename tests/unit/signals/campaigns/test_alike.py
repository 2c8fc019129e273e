import numpy as np
import pytest

from poison_guard.signals.campaigns.minhash import sketch
from poison_guard.signals.campaigns.text import group_similar, grow_groups, mean_similarity

LETTERS = np.array(list("abcdefghijkmnopqrstuvwxyz"))


def words(n, rng):
    return ["".join(rng.choice(LETTERS, rng.integers(3, 9))) for _ in range(n)]


def copies(text, n, lost, rng):
    """Return `n` copies of a list of words, each word replaced at the rate `lost`."""
    return [" ".join(words(1, rng)[0] if rng.random() < lost else word for word in text) for _ in range(n)]


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_copies_go_together_and_others_stay_apart(rng):
    sketches = sketch(copies(words(20, rng), 30, 0.1, rng) + [" ".join(words(15, rng)) for _ in range(100)])
    group = group_similar(sketches)
    assert len(set(group[:30])) == 1
    assert len(set(group[30:])) == 100


def test_a_chain_of_likenesses_makes_no_single_group(rng):
    chain = words(400, rng)
    texts = [" ".join(chain[k : k + 24]) for k in range(0, 370, 3)]
    group = group_similar(sketch(texts))
    assert np.bincount(np.unique(group, return_inverse=True)[1]).max() < len(texts) / 3


def test_short_texts_are_alone(rng):
    assert len(set(group_similar(sketch(["hi all"] * 10)))) == 10


def test_copies_too_far_apart_to_pair_fit_what_the_group_shares(rng):
    text = words(20, rng)
    near, far = copies(text, 20, 0.1, rng), copies(text, 20, 0.35, rng)
    sketches = sketch(near + far + [" ".join(words(15, rng)) for _ in range(300)])
    group = group_similar(sketches)
    core = np.array([group[0]])
    grown = grow_groups(sketches, group, core)
    assert (grown[20:40] == core).mean() >= 0.7 > (group[20:40] == core).mean()
    assert not (grown[40:] == core).any()


def test_groups_about_one_text_become_one(rng):
    text = words(20, rng)
    sketches = sketch(copies(text, 20, 0.1, rng) + copies(text, 20, 0.1, rng))
    grown = grow_groups(sketches, np.repeat([0, 1], 20), np.array([0, 1]))
    assert (grown == 0).all()


def test_members_that_do_not_fit_leave(rng):
    sketches = sketch(copies(words(20, rng), 20, 0.1, rng) + [" ".join(words(15, rng)) for _ in range(3)])
    grown = grow_groups(sketches, np.zeros(23, np.int64), np.array([0]))
    assert (grown[:20] == 0).all()
    assert len(set(grown)) == 4


def test_what_everybody_writes_fits_no_group(rng):
    form = words(14, rng)
    everybody = [" ".join(form + words(8, rng)) for _ in range(300)]
    pushed = copies(form + words(8, rng), 30, 0.05, rng)
    grown = grow_groups(sketch(pushed + everybody), np.r_[np.zeros(30, np.int64), 1 + np.arange(300)], np.array([0]))
    assert (grown[:30] == 0).all()
    assert (grown[30:] == 0).mean() <= 0.01


def test_tightness_is_one_for_copies_and_near_nothing_for_strangers(rng):
    assert mean_similarity(sketch([" ".join(words(12, rng))] * 5)) == 1
    assert mean_similarity(sketch([" ".join(words(12, rng)) for _ in range(5)])) < 0.1


def test_nothing_has_no_groups():
    assert group_similar(sketch([])).tolist() == []
    assert grow_groups(sketch([]), np.zeros(0, np.int64), np.zeros(0, np.int64)).tolist() == []
