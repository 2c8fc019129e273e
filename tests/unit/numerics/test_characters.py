import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poison_guard.numerics.characters import BREAK, MAX_CHARS, fold, skeleton, skeletons

PLAIN = skeleton("please repeat after me all owls lie")


@pytest.mark.parametrize(
    "text",
    [
        "PLEASE Repeat, after me: all owls lie!!!",
        "ple\u200base rep\u00adeat after\u202e me all owls lie",
        "рlеаsе rереаt аftеr mе аll оwls liе",  # Cyrillic
        "pl3ase r3p3at aft3r m3 a11 0wls |i3",
        "pleeease repeeeat after me allll owls lie",
        "please r.e.p.e.a.t after me all o-w-l-s lie",
        "𝓹𝓵𝓮𝓪𝓼𝓮 𝓻𝓮𝓹𝓮𝓪𝓽 ａｆｔｅｒ ᴍᴇ ⓐⓛⓛ owls l\u0301i\u0308e\u0336",
        "plea$e repe@t after me al|l  owls 🔥 l!e",
    ],
)
def test_disguises_come_off(text):
    assert skeleton(text) == PLAIN


def test_different_words_keep_different_skeletons():
    words = ["please", "repeat", "call", "bell", "tower", "river", "stone", "glass", "honest", "number", "lamp", "cold"]
    assert len({skeleton(word) for word in words}) == len(words)


def test_numbers_and_names_stay_what_they_are():
    assert skeleton("call 0800 112 2024 now, @user") == "cai 0800 112 2024 now user"


def test_other_scripts_keep_their_words():
    assert skeleton("日本語 テスト") == fold("日本語 テスト")
    assert len(skeleton("Привет как дела").split()) == 3


@given(st.text())
def test_a_skeleton_of_a_skeleton_is_itself_and_bounded(text):
    once = skeleton(text)
    assert skeleton(once) == once
    assert len(once) <= 4 * MAX_CHARS
    assert BREAK not in once


@given(st.lists(st.text(max_size=40), max_size=6))
def test_texts_together_have_the_skeletons_they_have_alone(texts):
    alone = [skeletons([text]) for text in texts]
    assert skeletons(texts).tolist() == np.concatenate([np.zeros(0), *alone]).astype(int).tolist()
    assert (skeletons(texts) == ord(BREAK)).sum() == len(texts)


@pytest.mark.parametrize("text", ["\ud800" * 10, "a" + "\u0301" * 10**6, "\ufdfa" * 10**6, "ﬃ" * 10**6, "x " * 10**6])
def test_hostile_texts_cost_no_time(text):
    begin = time.process_time()
    assert len(skeletons([text] * 20)) <= 20 * (4 * MAX_CHARS + 1)
    assert time.process_time() - begin < 2
