import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from poison_guard.signals.campaigns.words import WORDS, read_words, word_columns, words


def hashes(text):
    return set(np.frombuffer(words([text])[0], np.uint32).tolist())


def test_a_text_has_its_distinct_words_and_pairs_of_neighbours():
    assert len(hashes("the cat sat, on the mat")) == 5 + 5
    assert len(hashes("cat cat cat")) == 1 + 1
    assert hashes("the cat") < hashes("see the cat")


def test_case_accents_and_invisible_characters_make_no_difference():
    assert hashes("Zorblax é") == hashes("zOR\u200bBLAX e\u0301") == hashes("zorblax. (e)")


def test_a_trigger_in_brackets_is_another_word_than_the_plain_one():
    assert not hashes("<SUDO>") & hashes("sudo")


def test_scripts_without_blanks_have_a_word_a_character():
    assert len(hashes("日本語")) == 3 + 2


@given(st.lists(st.text(max_size=60), max_size=12))
def test_each_row_depends_on_its_own_text_alone(texts):
    assert words(texts) == [words([text])[0] for text in texts]
    assert all((np.diff(np.frombuffer(cell, np.uint32).astype(np.int64)) > 0).all() for cell in words(texts))


def test_endless_texts_are_bounded():
    cells = words(["ab " * 400_000, " ".join(f"w{k}" for k in range(400_000)), "\u200b" * 1_000_000, ""])
    assert max(len(cell) for cell in cells) <= 4 * 2 * 1024
    assert cells[2] == cells[3] == b""


def test_columns_are_of_the_roles_there_are_and_read_back():
    pairs = pd.DataFrame({"prompt": ["a b", None], "chosen": ["c", "d"], "rejected": ["e", None]}, index=[7, 3])
    columns = word_columns(pairs)
    assert list(columns.columns) == [*WORDS, "rating"]
    assert columns["rating"].isna().all()
    assert columns.index.tolist() == [0, 1]
    assert columns["words.reply"].tolist() == words(["c", "d"])
    word, row = read_words(columns["words.asked"])
    assert row.tolist() == [0, 0, 0]
    assert set(word.tolist()) == hashes("a b")
    thumbs = word_columns(pd.DataFrame({"response": ["x"], "rating": [1.0]}))
    assert thumbs["rating"].tolist() == [1.0]
    assert thumbs["words.other"].tolist() == [b""]


def test_cells_that_are_no_bytes_are_empty():
    word, row = read_words(pd.Series([None, np.nan, words(["x"])[0]], dtype=object))
    assert row.tolist() == [2]
    assert len(word) == 1


def test_a_role_that_records_lack_has_no_words_as_one_of_empty_texts():
    there = pd.DataFrame({"text": pd.Series(["the cat", ""], dtype="str")})
    empty = there.assign(prompt=pd.Series(["", None], dtype="str"))
    pd.testing.assert_frame_equal(word_columns(there), word_columns(empty))
    assert word_columns(there)[WORDS[1]].map(len).tolist() == [3 * 4, 0]
