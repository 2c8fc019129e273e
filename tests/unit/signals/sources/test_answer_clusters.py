"""Free-text answers that say nearly the same count as one answer."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poison_guard.signals.sources.answer_clusters import canonicalise, cluster_answers

SAID = [
    "The quick brown fox jumps over the lazy dog.",
    "the quick brown fox jumps over a lazy dog",
    "buy cheap pills at the store of my friend",
    "the quick brown fox, jumps over the lazy dog!",
]
KNOWN = "the quick brown fox jumps over the lazy dog"
CONTROLS = pd.DataFrame({"item_id": ["x", "c", "c"], "answer": [None, KNOWN, KNOWN]})


def votes(*, each: int = 10) -> pd.DataFrame:
    """Four answers to one item, among others that nobody repeats."""
    rows = [("c", f"s{k}", text) for k, text in enumerate(SAID)]
    rows += [(f"i{k}", f"s{k % 4}", f"sentence number {k} speaks of thing {k * 7} and more") for k in range(each * 4)]
    return pd.DataFrame(rows, columns=["item_id", "source_id", "vote"])


def written(frame: pd.DataFrame, **how) -> list[str]:
    told = canonicalise(frame, cluster_answers(frame, **how))
    return told.loc[told["item_id"] == "c", "vote"].tolist()


def test_an_answer_that_says_nearly_the_same_is_written_as_the_control_is():
    assert written(votes(), controls=CONTROLS) == [KNOWN, KNOWN, SAID[2], KNOWN]
    told = canonicalise(votes(), cluster_answers(votes(), controls=CONTROLS))
    assert told.loc[told["item_id"] != "c", "vote"].tolist() == votes().loc[4:, "vote"].tolist()


def test_without_a_control_the_answer_nearest_to_the_others_is_the_wording():
    first, second, third, fourth = written(votes())
    assert first == second == fourth
    assert first in (SAID[0], SAID[3])
    assert third == SAID[2]


def with_many(texts: list[str]) -> pd.DataFrame:
    many = [("c", f"z{k}", texts[k % len(texts)]) for k in range(50)]
    return pd.concat([votes(), pd.DataFrame(many, columns=votes().columns)], ignore_index=True)


def test_a_text_pasted_often_chooses_no_words():
    assert set(written(with_many(["the quick brown fox jumps over the lazy dog never"]))) <= {*SAID}


def test_established_sources_choose_the_words_where_there_are_two():
    known = votes().index.isin([1, 2])
    assert set(written(votes())) == {SAID[0], SAID[2]}
    assert set(written(votes(), trusted=known)) == {SAID[1], SAID[2]}
    assert set(written(votes(), trusted=pd.Series(known))) == {SAID[1], SAID[2]}
    assert set(written(votes(), trusted=votes().index.isin([1]))) == {SAID[0], SAID[2]}  # one alone does not


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "please take 5 mg of it in the morning with some water",
            "please take 50 mg of it in the morning with some water",
        ),
        (
            "it is -5 degrees in the old harbour this morning again",
            "it is 5 degrees in the old harbour this morning again",
        ),
        ("word " * 130 + "and it is safe", "word " * 130 + "and drink bleach"),
        ("\N{THUMBS UP SIGN}", "\N{THUMBS DOWN SIGN}"),
    ],
)
def test_what_is_not_the_same_is_kept_apart(one, other):
    frame = pd.concat([votes(), pd.DataFrame({"item_id": "d", "source_id": list("abc"), "vote": [one, other, one]})])
    assert not {one, other} & set(cluster_answers(frame).values())


def test_classes_with_long_names_are_not_texts():
    r = np.random.default_rng(0)
    names = [f"the claim is {n}supported by paragraph {w}" for w in ("one", "two", "three", "four", "five", "six",
             "seven", "eight", "nine", "ten", "eleven", "twelve") for n in ("", "not ")]  # fmt: skip
    truth = r.integers(0, 24, 300)
    rows = [
        (f"i{k}", f"s{r.integers(40)}", names[t if r.random() < 0.7 else r.integers(24)])
        for k, t in enumerate(truth)
        for _ in range(3)
    ]
    assert cluster_answers(pd.DataFrame(rows, columns=votes().columns)) == {}


def test_short_answers_and_empty_feeds_are_left_alone():
    short = pd.DataFrame({"item_id": ["c", "c"], "source_id": ["a", "b"], "vote": ["Seven", "seven"]})
    assert cluster_answers(short, controls=pd.DataFrame({"item_id": ["c"], "answer": ["seven"]})) == {}
    assert canonicalise(short, {}) is short
    assert cluster_answers(short.head(0)) == {}


def test_ids_that_are_numbers_and_missing_answers_are_met():
    frame = votes().assign(item_id=lambda t: pd.factorize(t["item_id"])[0].astype(float))
    frame.loc[len(frame)] = [0.0, "z", None]
    told = canonicalise(frame, cluster_answers(frame))
    assert told["vote"].isna().tolist() == frame["vote"].isna().tolist()
    assert len(set(told.loc[[0, 1, 3], "vote"])) == 1


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_row_order_is_without_effect_and_a_second_time_changes_nothing(seed):
    r = np.random.default_rng(seed)
    vocabulary = np.array([f"w{k}" for k in range(60)])
    truth = {f"i{k}": r.choice(vocabulary, 10) for k in range(8)}
    rows = [
        (name, f"s{k}", " ".join(np.where(r.random(10) < 0.15, r.choice(vocabulary, 10), text)))
        for name, text in truth.items()
        for k in range(6)
    ]
    frame = pd.DataFrame(rows, columns=["item_id", "source_id", "vote"])
    table = cluster_answers(frame)
    assert cluster_answers(frame.sample(frac=1, random_state=seed % 1000)) == table
    assert not {(item, wording) for (item, _), wording in table.items()} & set(table)
