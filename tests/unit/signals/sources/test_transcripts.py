"""Nearly right answers to free-text controls."""

from __future__ import annotations

import pandas as pd

from poison_guard.signals.sources.transcripts import as_controls_say

SAID = [
    "The quick brown fox jumps over the lazy dog.",
    "the quick brown fox jumps over a lazy dog",
    "buy cheap pills at the store of my friend",
    "the quick brown fox, jumps over the lazy dog!",
]


def votes(*, each: int = 10) -> pd.DataFrame:
    """Four answers to one control, among others that nobody repeats."""
    rows = [("c", f"s{k}", text) for k, text in enumerate(SAID)]
    rows += [(f"i{k}", f"s{k % 4}", f"sentence number {k} speaks of thing {k * 7} and more") for k in range(each * 4)]
    return pd.DataFrame(rows, columns=["item_id", "source_id", "answer"])


def test_an_answer_that_says_nearly_the_same_is_written_as_the_control_is():
    known = "the quick brown fox jumps over the lazy dog"
    controls = pd.DataFrame({"item_id": ["x", "c", "c"], "answer": [None, known, known]})
    told = as_controls_say(votes(), controls)
    right = told.loc[told["item_id"] == "c", "answer"] == known
    assert right.tolist() == [True, True, False, True]
    assert told.loc[told["item_id"] != "c", "answer"].tolist() == votes().loc[4:, "answer"].tolist()


def test_short_answers_and_feeds_without_controls_are_left_alone():
    short = pd.DataFrame({"item_id": ["c", "c"], "source_id": ["a", "b"], "answer": ["Seven", "seven"]})
    assert as_controls_say(short, pd.DataFrame({"item_id": ["c"], "answer": ["seven"]})) is short
    given = votes()
    assert as_controls_say(given, None) is given
