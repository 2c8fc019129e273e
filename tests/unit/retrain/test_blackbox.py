from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poison_guard.errors import UsageError
from poison_guard.retrain.blackbox import search_images, search_tables, search_texts

IMAGES = np.random.default_rng(0).random((12, 2, 7, 5)).astype(np.float32)
ROWS = np.random.default_rng(1).normal(size=(40, 6)).astype(np.float32)
TEXTS = np.array(["please send the money to this account", "hello  there", "", " ", "x", "a bb ccc dddd"], dtype=object)


class Asked:
    """A linear model of two classes that counts how often it was asked."""

    def __init__(self, weights: np.ndarray):
        self.weights, self.calls, self.most = weights, 0, 0

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        self.calls += 1
        self.most = max(self.most, len(inputs))
        score = inputs.reshape(len(inputs), -1) @ self.weights
        return np.stack([-score, score], axis=1)


def linear(inputs: np.ndarray, seed: int = 3) -> tuple[Asked, np.ndarray]:
    model = Asked(np.random.default_rng(seed).normal(size=inputs[0].size))
    truth = model(inputs).argmax(axis=1)
    model.calls = 0
    return model, truth


def letters(texts: np.ndarray) -> np.ndarray:
    """Class 1 by the share of the letter e."""
    share = np.array([text.count("e") / max(1, len(text)) for text in texts])
    return np.stack([np.full(len(texts), 0.12), share], axis=1)


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 0.5), st.integers(1, 20), st.integers(0, 100))
def test_what_is_found_in_images_lies_within_the_radius_and_the_pixel_range(epsilon, queries, seed):
    model, truth = linear(IMAGES)
    found = search_images(model, IMAGES, truth, epsilon=epsilon, queries=queries, seed=seed)
    assert np.abs(found.inputs - IMAGES).max() <= epsilon + 1e-6
    assert found.inputs.min() >= 0
    assert found.inputs.max() <= 1
    assert model.calls <= queries
    assert found.spent.max() <= queries
    assert found.inputs.dtype == np.float32


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 2), st.integers(1, 20), st.integers(0, 100))
def test_rows_move_within_the_radius_and_only_where_they_may(epsilon, queries, seed):
    model, truth = linear(ROWS)
    mutable = np.random.default_rng(seed).random(ROWS.shape) < 0.5
    found = search_tables(model, ROWS, truth, epsilon=epsilon, mutable=mutable, queries=queries, seed=seed)
    moved = np.abs(found.inputs - ROWS)
    assert moved.max() <= epsilon + 1e-5
    assert (moved[~mutable] == 0).all()
    assert model.calls <= queries


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([0.0, 0.1, 0.3, 1.0]), st.integers(1, 20), st.integers(0, 100))
def test_texts_keep_all_but_the_allowed_share_of_their_words(share, queries, seed):
    found = search_texts(letters, TEXTS, np.ones(len(TEXTS), int), share=share, queries=queries, seed=seed)
    for before, after in zip(TEXTS, found.inputs, strict=True):
        old, new = before.split(" "), after.split(" ")
        assert len(old) == len(new)
        allowed = max(1, int(share * len([word for word in old if word]))) if share else 0
        assert sum(a != b for a, b in zip(old, new, strict=True)) <= allowed


def test_right_says_what_the_model_answers_to_the_inputs_found():
    for inputs, search, more in (
        (IMAGES, search_images, {}),
        (ROWS, search_tables, {"mutable": np.ones(6, dtype=bool)}),
    ):
        model, truth = linear(inputs)
        found = search(model, inputs, truth, epsilon=0.2, queries=60, seed=0, **more)
        np.testing.assert_array_equal(found.right, model(found.inputs).argmax(axis=1) == truth)
        assert 0 < found.right.sum() < len(inputs)


def test_rows_of_a_linear_model_that_can_fall_nearly_all_do_and_no_others():
    model, truth = linear(ROWS)
    found = search_tables(model, ROWS, truth, epsilon=0.3, mutable=np.ones(6, dtype=bool), queries=100, seed=0)
    can_fall = np.abs(ROWS @ model.weights) < 0.3 * np.abs(model.weights).sum()
    assert not (~found.right & ~can_fall).any()
    assert (~found.right).sum() >= 0.9 * can_fall.sum() > 10


def test_a_model_that_hides_its_gradient_by_rounding_is_found_out():
    model, _ = linear(IMAGES)
    query = lambda images: model(np.round(images * 8) / 8)  # noqa: E731 (a model without gradient, in one line)
    truth = query(IMAGES).argmax(axis=1)
    found = search_images(query, IMAGES, truth, epsilon=0.3, queries=100, seed=0)
    assert found.right.sum() <= 2


def test_misspelling_lowers_the_score_of_the_true_class():
    texts = np.array(["the weather here seems better these evenings"] * 5, dtype=object)
    found = search_texts(letters, texts, np.ones(5, int), share=0.5, queries=40, seed=0)
    assert (letters(found.inputs)[:, 1] < letters(texts)[:, 1]).all()


def test_the_same_seed_finds_the_same_and_another_seed_something_else():
    model, truth = linear(IMAGES)
    first, again, other = (
        search_images(model, IMAGES, truth, epsilon=0.05, queries=10, seed=seed).inputs for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_what_is_wrong_already_or_of_an_unknown_class_is_asked_about_once_and_left_alone():
    model, truth = linear(ROWS)
    truth[:5], truth[5:9] = 1 - truth[:5], -1
    found = search_tables(model, ROWS, truth, epsilon=0.5, mutable=np.ones(6, dtype=bool), queries=30, seed=0)
    assert not found.right[:9].any()
    assert (found.spent[:9] == 1).all()
    np.testing.assert_array_equal(found.inputs[:9], ROWS[:9])


def test_scores_that_are_no_numbers_are_a_wrong_answer():
    def query(rows: np.ndarray) -> np.ndarray:
        scores = np.stack([np.ones(len(rows)), np.zeros(len(rows))], axis=1)
        scores[np.abs(rows[:, 0] - ROWS[: len(rows), 0]) > 0] = np.nan
        return scores

    found = search_tables(
        query, ROWS, np.zeros(40, int), epsilon=0.1, mutable=np.ones(6, dtype=bool), queries=3, seed=0
    )
    assert not found.right.any()


def test_nothing_to_attack_is_no_error():
    model, _ = linear(IMAGES)
    nothing = np.zeros(0, dtype=int)
    assert len(search_images(model, IMAGES[:0], nothing, epsilon=0.1, queries=5, seed=0).right) == 0
    assert len(search_texts(letters, TEXTS[:0], nothing, share=0.1, queries=5, seed=0).right) == 0
    assert model.calls == 0


@pytest.mark.parametrize(("epsilon", "queries"), [(-0.1, 5), (float("nan"), 5), (0.1, 0)])
def test_a_radius_or_a_number_of_queries_that_cannot_be_is_refused(epsilon, queries):
    with pytest.raises(UsageError, match=r"radius|query"):
        search_images(linear(IMAGES)[0], IMAGES, np.zeros(12, int), epsilon=epsilon, queries=queries, seed=0)
