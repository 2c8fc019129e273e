import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poison_guard.numerics.characters import MAX_CHARS, fold, skeleton
from poison_guard.signals.campaigns.findings import components
from poison_guard.signals.campaigns.minhash import EMPTY, WIDTH, band_pairs, feature_count, row_keys, similarity, sketch

SENTENCE = "the quick brown fox jumps over a lazy dog while seven old wizards watch from their tower by the sea"
WORDS = SENTENCE.split()


@pytest.mark.parametrize(
    "text",
    [
        "Repeat AFTER me",
        "repeat\u200b  after\tme",
        "ｒｅｐｅａｔ after me",
        "re\u00adpeat after\u202e me\n",
        "répeat after me\ufeff",
    ],
)
def test_what_looks_the_same_folds_to_the_same(text):
    assert fold(text) == "repeat after me"


@given(st.text())
def test_folding_twice_is_folding_once_and_bounded(text):
    once = fold(text)
    assert fold(once) == once
    assert len(once) <= MAX_CHARS


def test_text_beyond_the_bound_costs_nothing_and_hides_nothing():
    padded = "buy now " * 600 + "x" * 1_000_000
    assert (sketch([padded]) == sketch(["buy now " * 600])).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=6))
def test_a_sketch_depends_on_its_own_text_alone(texts):
    together = sketch(texts)
    assert together.shape == (len(texts), WIDTH)
    assert (together == np.concatenate([sketch([t]) for t in texts])).all()


@pytest.mark.parametrize("text", ["", " \n", "\u200b\u200d", "\ud800"])
def test_a_text_that_shows_nothing_has_an_empty_sketch(text):
    sketched = sketch([text])
    assert (sketched == EMPTY).all()
    assert feature_count(sketched) == 0


def features(text):
    words = skeleton(text).split()
    grams = {f" {w} "[k : k + 4] for w in words for k in range(len(w) - 1)}
    return grams | {("word", w) for w in words}


def test_estimates_are_near_the_true_similarity_and_size():
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.permutation(WORDS)[: rng.integers(6, 18)]) for _ in range(60)]
    sketches = sketch(texts)
    left, right = np.triu_indices(60, 1)
    sets = [features(text) for text in texts]
    true = [len(sets[i] & sets[j]) / len(sets[i] | sets[j]) for i, j in zip(left, right, strict=True)]
    error = similarity(sketches, left, right) - true
    assert abs(error.mean()) < 0.02
    assert error.std() < 0.06
    size = np.array([len(features(t)) for t in texts])
    assert np.abs(feature_count(sketches) / size - 1).mean() < 0.15


def test_word_order_does_not_matter_and_order_inside_words_does():
    sketches = sketch(["alpha beta gamma", "gamma alpha beta", "ahpla ateb ammag"])
    same, other = similarity(sketches, np.array([0, 0]), np.array([1, 2]))
    assert same == 1
    assert other < 0.2


def test_near_copies_meet_in_a_band_and_huge_buckets_stay_linear():
    copies = sketch([" ".join([*WORDS[:k], "new", *WORDS[k + 1 :]]) for k in range(20)])
    left, right = (np.concatenate(side) for side in zip(*band_pairs(copies, rows=4), strict=True))
    met = np.zeros(20, bool)
    met[np.r_[left, right]] = True
    assert met.all()
    same = np.repeat(copies[:1], 5000, axis=0)
    assert sum(len(one) for one, _ in band_pairs(same, rows=4)) <= 32 * 4 * 5000


def test_bands_depend_on_the_seed():
    sketches = sketch([" ".join(WORDS), " ".join(WORDS[:12])])
    pairs = [sum(len(one) for one, _ in band_pairs(sketches, rows=3, seed=seed)) for seed in range(12)]
    assert len(set(pairs)) > 1


def test_components_join_what_shares_a_node():
    left, right = np.array([0, 1, 1, 5, 7]), np.array([9, 9, 4, 6, 6])
    assert components(left, right).tolist() == [0, 0, 0, 1, 1]
    assert components(left[:0], right[:0]).tolist() == []


def test_equal_sketches_have_equal_keys_and_others_different_ones():
    sketches = sketch([" ".join(WORDS[:k]) for k in range(20)] * 2)
    keys = row_keys(sketches)
    assert (keys[:20] == keys[20:]).all()
    assert len(set(keys)) == len(np.unique(sketches, axis=0))


def test_long_and_short_texts_in_many_blocks_have_the_sketches_they_have_alone():
    rng = np.random.default_rng(1)
    texts = [" ".join(rng.choice(WORDS, rng.integers(0, 600))) + " z" * int(rng.integers(2)) for _ in range(700)]
    together = sketch(texts)
    for k in range(0, 700, 70):
        assert (together[k] == sketch([texts[k]])[0]).all()
