from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poison_guard.records import Examples
from poison_guard.retrain.transforms import add_noise, misspell, move_images

IMAGES = np.random.default_rng(0).random((3, 2, 9, 9)).astype(np.float32)


def examples(kind: str, inputs: np.ndarray) -> Examples:
    n = len(inputs)
    frame = pd.DataFrame({"example_id": [str(i) for i in range(n)], "label": "a", "slice": "", "is_new": False})
    names = tuple(f"f{i}" for i in range(inputs.shape[1])) if kind == "table" else ()
    return Examples(kind, frame, inputs, names)


@pytest.mark.parametrize("quarters", [0, 1, 2, -1])
def test_quarter_turns_of_squares_are_exact_and_counter_clockwise(quarters):
    np.testing.assert_allclose(
        move_images(IMAGES, degrees=90 * quarters), np.rot90(IMAGES, quarters, axes=(2, 3)), atol=1e-4
    )


def test_a_long_image_is_turned_without_being_sheared():
    wide = np.zeros((1, 1, 11, 41), dtype=np.float32)
    wide[0, 0, 4:7, 5:36] = 1
    turned = move_images(wide, degrees=10)
    rows, columns = np.nonzero(turned[0, 0] > 0.5)
    slope = np.polyfit(columns, rows, 1)[0]
    assert np.degrees(np.arctan(-slope)) == pytest.approx(10, abs=1.5)
    assert turned.sum() == pytest.approx(wide.sum(), rel=0.1)


@settings(max_examples=20, deadline=None)
@given(st.floats(-180, 180), st.integers(1, 6), st.integers(1, 6))
def test_turned_images_keep_their_shape_and_range(degrees, height, width):
    images = np.random.default_rng(1).random((2, 1, height, width)).astype(np.float32)
    turned = move_images(images, degrees=degrees)
    assert turned.shape == images.shape
    assert turned.dtype == np.float32
    assert images.min() - 1e-5 <= turned.min()
    assert turned.max() <= images.max() + 1e-5


def test_no_images_turn_into_no_images():
    assert move_images(IMAGES[:0], degrees=15).shape == (0, 2, 9, 9)


def test_image_noise_has_its_size_and_stays_in_range():
    grey = np.full((4, 1, 50, 50), 0.5, dtype=np.float32)
    noise = add_noise(examples("image", grey), share=0.01, seed=0).inputs - grey
    assert noise.std() == pytest.approx(0.01, rel=0.05)
    edges = add_noise(examples("image", np.round(IMAGES)), share=0.2, seed=0).inputs
    assert edges.min() == 0
    assert edges.max() == 1
    assert edges.dtype == np.float32


def test_table_noise_is_in_each_columns_scale_and_leaves_missing_infinite_and_constant_cells():
    table = np.random.default_rng(2).normal(size=(5000, 3)) * [1.0, 1e6, 0.0] + 5
    table[0], table[1, 0] = np.nan, np.inf
    after = add_noise(examples("table", table), share=0.01, seed=0).inputs
    moved = after[2:] - table[2:]
    assert moved[:, 0].std() == pytest.approx(0.01, rel=0.1)
    assert moved[:, 1].std() == pytest.approx(1e4, rel=0.1)
    assert (moved[:, 2] == 0).all()
    assert np.isnan(after[0]).all()
    assert after[1, 0] == np.inf


def test_text_noise_touches_about_its_share_of_the_characters():
    texts = np.array(["the quick brown fox jumps over the lazy dog " * 50], dtype=object)
    after = add_noise(examples("text", texts), share=0.01, seed=0).inputs
    assert after.dtype == object
    assert after[0] != texts[0]
    assert abs(len(after[0]) - len(texts[0])) < 0.02 * len(texts[0])
    unchanged = add_noise(examples("text", texts), share=0.0, seed=0).inputs
    assert unchanged[0] == texts[0]


def test_noise_is_the_same_for_one_seed_and_does_not_change_what_it_was_given():
    before = IMAGES.copy()
    one, same, other = (add_noise(examples("image", IMAGES), share=0.1, seed=seed).inputs for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    np.testing.assert_array_equal(IMAGES, before)


@given(st.text(min_size=1, max_size=12), st.integers(0, 2**31))
def test_a_misspelt_word_is_another_of_nearly_the_same_length_and_never_empty(word, seed):
    after = misspell(word, np.random.default_rng(seed))
    assert after != word
    assert after
    assert abs(len(after) - len(word)) <= 1
    if len(word) > 2:
        assert after[0] == word[0]
