from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from poison_guard.errors import DataError
from poison_guard.records import Examples
from poison_guard.retrain.inputs import INPUTS, TableInputs, fit_inputs, to_dense


@pytest.mark.parametrize("kind", sorted(INPUTS))
def test_a_transform_comes_back_from_its_settings_and_arrays(small, kind):
    examples = small(kind)
    fitted = fit_inputs(examples)
    again = INPUTS[kind].restore(fitted.settings(), fitted.arrays())
    rows = np.arange(len(examples))
    assert torch.equal(to_dense(again.encode(examples), rows), to_dense(fitted.encode(examples), rows))
    assert (again.space, again.shape) == (fitted.space, fitted.shape)
    assert to_dense(fitted.encode(examples), rows).shape == (len(examples), *fitted.shape)


def test_units_of_a_table_make_no_difference(small):
    examples = small("table")
    scaled = dataclasses.replace(examples, inputs=examples.inputs * [1000.0, 0.01, 1.0] + [5e4, 0.0, 0.0])
    linear = fit_inputs(examples)
    assert linear.knee.tolist() == [0, 0, 0]
    torch.testing.assert_close(fit_inputs(scaled).encode(scaled), linear.encode(examples), rtol=1e-4, atol=1e-4)


def test_missing_cells_count_as_the_median_and_are_flagged_where_training_saw_some():
    cells = np.array([[1.0, 5.0], [2.0, 6.0], [3.0, 7.0], [np.nan, 8.0]])
    examples = Examples("table", None, cells, ("a", "b"))
    fitted = TableInputs.fit(examples)
    both = dataclasses.replace(examples, inputs=np.full((1, 2), np.nan))
    assert fitted.encode(both).tolist() == [[0, 0, 1, 0]]


def test_infinite_and_huge_cells_and_empty_or_constant_columns_stay_finite():
    cells = np.array([[np.inf, np.nan, 4.0], [-np.inf, np.nan, 4.0], [1e308, np.nan, 4.0], [0.0, np.nan, 4.0]])
    examples = Examples("table", None, cells, ("a", "b", "c"))
    encoded = fit_inputs(examples).encode(examples)
    assert torch.isfinite(encoded).all()
    assert encoded.abs().max() <= 20


def test_only_mutable_columns_that_are_there_can_be_changed():
    cells = np.array([[1.0, 5.0], [np.nan, 6.0], [3.0, 7.0]])
    fitted = fit_inputs(Examples("table", None, cells, ("a", "b")), ("a",))
    encoded = fitted.encode(Examples("table", None, cells, ("a", "b")))
    assert fitted.space.mask(encoded).tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]


def test_other_columns_sizes_and_pixel_ranges_are_named(small):
    table, image = small("table"), small("image")
    with pytest.raises(DataError, match="columns a, b, c"):
        fit_inputs(table).encode(dataclasses.replace(table, features=("a", "c", "b")))
    with pytest.raises(DataError, match="shape"):
        fit_inputs(image).encode(dataclasses.replace(image, inputs=image.inputs[..., :5]))
    for wrong in (255.0, -0.1, np.nan):
        pixels = image.inputs.copy()
        pixels[3, 0, 1, 1] = wrong
        with pytest.raises(DataError, match="pixel_max"):
            fit_inputs(image).encode(dataclasses.replace(image, inputs=pixels))


def test_case_and_invisible_characters_do_not_change_a_text_and_an_empty_one_is_zero(small):
    fitted = fit_inputs(small("text"))
    texts = np.array(["you fool", "YOU  fo\u200bol", "", "?!"], dtype=object)
    rows = to_dense(fitted.encode(Examples("text", None, texts)), slice(None))
    assert torch.equal(rows[0], rows[1])
    assert rows[0].norm() == pytest.approx(1.0, abs=1e-5)
    assert rows[2].abs().sum() == 0
    assert torch.isfinite(rows).all()


def test_a_kind_that_no_model_learns_from_is_refused(small):
    with pytest.raises(DataError, match="sound"):
        fit_inputs(dataclasses.replace(small("table"), kind="sound"))
