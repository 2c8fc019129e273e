import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poison_guard.signals.sources.text_medoid import MAX_WORDS, edit_distances, split_words

TEXT = st.lists(st.integers(0, 4), max_size=9)


def one_by_one(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (x != y)))
    return row[-1]


@settings(max_examples=80, deadline=None)
@given(texts=st.lists(TEXT, min_size=2, max_size=6))
def test_distances_are_the_textbook_ones(texts):
    left, right = np.triu_indices(len(texts), 1)
    found = edit_distances([np.array(t, np.int32) for t in texts], left, right)
    wanted = [one_by_one(texts[i], texts[j]) / max(len(texts[i]), len(texts[j]), 1) for i, j in zip(left, right)]  # noqa: B905 - of one length by construction
    assert found == pytest.approx(wanted)


def test_words_are_folded_and_bounded():
    assert split_words("  Don’t SHOUT, please!  ") == ["don't", "shout", "please"]
    assert len(split_words("word " * 1_000_000)) == MAX_WORDS
    assert split_words("") == []
    assert len(split_words("漢" * 200)) == MAX_WORDS
