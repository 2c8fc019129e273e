from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from poison_guard.errors import DataError
from poison_guard.records import Examples
from poison_guard.signals.labels.representation import fit_representation


def make(kind, inputs):
    frame = pd.DataFrame(
        {"example_id": [str(i) for i in range(len(inputs))], "label": "a", "slice": "", "is_new": True}
    )
    return Examples(kind, frame, inputs)


RNG = np.random.default_rng(0)
TABLE = np.column_stack([RNG.standard_normal(50), RNG.integers(0, 3, 50), np.where(RNG.random(50) < 0.2, np.nan, 1.0)])
TEXTS = np.array([f"message number {i} says hello {'there' * (i % 3)}" for i in range(50)], dtype=object)
CASES = [
    make("image", RNG.random((50, 1, 8, 8)).astype(np.float32)),
    make("image", RNG.random((50, 3, 33, 20)).astype(np.float32)),
    make("image", RNG.random((50, 1, 4, 4)).astype(np.float32)),
    make("table", TABLE),
    make("text", TEXTS),
]


@pytest.mark.parametrize("examples", CASES, ids=lambda e: f"{e.kind}{e.inputs.shape}")
def test_vectors_are_finite_float32_and_do_not_depend_on_batchmates(examples):
    representation = fit_representation(examples)
    every = representation.vectors(examples)
    assert every.dtype == np.float32
    assert np.isfinite(every).all()
    some = representation.vectors(examples.take(np.array([3, 40])))
    np.testing.assert_allclose(some, every[[3, 40]], atol=1e-5)


@pytest.mark.parametrize("examples", CASES, ids=lambda e: f"{e.kind}{e.inputs.shape}")
def test_an_empty_set_gives_no_vectors_and_cannot_be_fitted(examples):
    none = examples.take(np.array([], dtype=int))
    assert len(fit_representation(examples).vectors(none)) == 0
    with pytest.raises(DataError, match="0 trusted examples"):
        fit_representation(none)


def test_images_with_other_brightness_or_blank_are_finite():
    blank = make("image", np.zeros((5, 1, 8, 8), dtype=np.float32))
    assert np.isfinite(fit_representation(blank).vectors(blank)).all()


def test_hostile_cells_and_texts_stay_finite():
    table = fit_representation(CASES[3])
    wild = np.array([[np.inf, -np.inf, 1e300], [np.nan, np.nan, np.nan]])
    assert np.isfinite(table.vectors(make("table", wild))).all()
    text = fit_representation(CASES[4])
    assert np.isfinite(text.vectors(make("text", np.array(["", "\x00" * 9, "x" * 10_000], dtype=object)))).all()


def test_words_that_no_trusted_text_has_do_not_move_a_text():
    text = fit_representation(CASES[4])
    plain, more = text.vectors(make("text", np.array(["hello there", "hello there zzqqxxyy"], dtype=object)))
    assert plain @ more / np.linalg.norm(plain) / np.linalg.norm(more) > 0.999


@pytest.mark.parametrize("kind", ["image", "table", "text"])
def test_another_kind_or_shape_is_refused(kind):
    fitted = {"image": CASES[0], "table": CASES[3], "text": CASES[4]}[kind]
    other = CASES[3] if kind != "table" else CASES[0]
    with pytest.raises(DataError):
        fit_representation(fitted).vectors(other)
    with pytest.raises(DataError, match="kind"):
        fit_representation(make("sound", TABLE))


def test_images_too_small_are_refused():
    with pytest.raises(DataError, match="4x4"):
        fit_representation(make("image", np.zeros((2, 1, 3, 9), dtype=np.float32)))
