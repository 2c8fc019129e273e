import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poison_guard.errors import DataError
from poison_guard.signals import votes as module
from poison_guard.signals.votes import encode, lookalikes

ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 3)), max_size=30)


def frame(triples):
    return pd.DataFrame(triples, columns=["item_id", "source_id", "vote"]).astype("str")


@settings(max_examples=60, deadline=None)
@given(triples=ROWS, packed=st.booleans())
def test_every_row_finds_its_triple_and_triples_are_sorted_and_distinct(triples, packed):
    before, module._PACKED = module._PACKED, 62 if packed else 0
    try:
        votes = encode(frame(triples))
    finally:
        module._PACKED = before
    held = list(zip(votes.item, votes.source, votes.answer, strict=True))
    assert held == sorted(set(held))
    said = [(str(votes.items[i]), str(votes.sources[s]), str(votes.answers[a])) for i, s, a in held]
    assert [said[row] for row in votes.rows] == [tuple(map(str, t)) for t in triples]
    assert votes.repeated == len(triples) - len(set(triples))
    pairs = pd.Series([t[:2] for t in set(triples)], dtype=object).value_counts()
    assert votes.contradictory == int((pairs > 1).sum())
    assert np.bincount(votes.source, votes.share).sum() == pytest.approx(len(pairs))


def test_the_heaviest_weight_of_repeated_answers_counts_once():
    votes = encode(frame([("w", "a", "1"), ("w", "a", "1"), ("v", "a", "1")]), weights=np.array([0.2, 0.7, 0.4]))
    assert list(votes.weight) == [0.4, 0.7]


def test_known_answers_get_codes_of_their_own_and_those_given_keep_theirs():
    votes = encode(frame([("w", "a", "b"), ("w", "c", "d")]), known=("a", "d", "z"))
    assert list(votes.answers) == ["a", "b", "d", "z"]
    assert list(votes.answer) == [1, 2]


def test_half_a_character_is_an_error_that_says_what_to_do():
    for column in ("item_id", "source_id", "vote"):
        broken = frame([("w", "a", "1")]).astype(object)
        broken.loc[0, column] = "x\ud800"
        with pytest.raises(DataError, match="replace what is invalid"):
            encode(broken)


@pytest.mark.parametrize(
    ("names", "alike"),
    [
        (["a", "b", "ab"], 0),
        (["A", "b"], 0),
        (["A", "a", "b"], 2),
        (["straße", "STRASSE"], 2),
        (["x", "x\u200d", "\u202ex"], 3),
        (["josé", "jose\u0301", "jose"], 2),
        ([], 0),
    ],
)
def test_lookalikes_differ_only_by_case_or_what_nobody_sees(names, alike):
    assert lookalikes(pd.Index(names, dtype="str")) == alike
