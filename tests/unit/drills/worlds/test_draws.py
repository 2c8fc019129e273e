from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from poison_guard.drills.worlds.draws import jitter, paraphrase

WORDS = [f"word{k}" for k in range(2000)]


def test_no_word_changes_at_rate_zero():
    assert paraphrase(np.random.default_rng(0), WORDS, 0, fillers=["x"], synonyms={}) == WORDS


def test_the_rate_is_the_share_of_words_touched():
    told = paraphrase(np.random.default_rng(0), WORDS, 0.15, fillers=["x"], synonyms={w: ["other"] for w in WORDS})
    lost = 1 - len(set(told) & set(WORDS)) / len(WORDS)
    assert 0.08 < lost < 0.15  # synonyms and deletions lose a word, swaps and insertions keep it


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_edits_invent_no_words(seed, rate):
    told = paraphrase(np.random.default_rng(seed), WORDS[:20], rate, fillers=["x"], synonyms={"word1": ["w"]})
    assert set(told) <= {*WORDS[:20], "x", "w"}


def test_jitter_is_relative_and_keeps_missing_values():
    values = np.array([[1.0, 1000.0, np.nan]] * 4000)
    moved = jitter(np.random.default_rng(0), values, 0.01, 0.05)
    spread = (moved[:, :2] / values[:, :2]).std(axis=0)
    assert spread.min() > 0.02
    assert spread.max() < 0.05
    assert np.isnan(moved[:, 2]).all()
