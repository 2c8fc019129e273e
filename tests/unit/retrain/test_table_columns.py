"""Cells of any kind as numbers: categories by their value alone, whatever else is in the column and comes later."""

from __future__ import annotations

import numpy as np
import pandas as pd

from poison_guard.retrain.table_columns import TableColumns

TRUSTED = pd.DataFrame({
    "dwell": [1.0, 2.5, np.nan, 4.0],
    "mobile": ["yes", "no", "yes", None],
    "country": ["DE", "FR", "IT", "DE"],
    "bot": [True, False, True, False],
    "shape": ["[1, 2]", "[3, 4]", "[5, 6]", None],
    "empty": [None, None, None, None],
})  # fmt: skip


def test_a_value_has_the_same_numbers_in_every_batch_and_other_values_have_others() -> None:
    columns = TableColumns.of(TRUSTED, list(TRUSTED))
    some, names = columns.numbers(TRUSTED)
    assert some.shape == (4, 1 + 16 + 16 + 1 + 2 + 1)
    assert names[:3] == ("dwell", "mobile 0", "mobile 1")
    later = TRUSTED.iloc[[1, 0]].assign(country=["BR", "de "], mobile=["No", "YES"])
    other, _ = columns.numbers(later)
    country = slice(17, 33)
    np.testing.assert_array_equal(other[:, 1:17], some[[1, 0], 1:17])
    np.testing.assert_array_equal(other[1, country], some[0, country])
    assert len({row.tobytes() for row in [*some[:3, country], other[0, country]]}) == 4


def test_missing_cells_and_cells_of_another_kind_are_nan() -> None:
    columns = TableColumns.of(TRUSTED, list(TRUSTED))
    numbers, names = columns.numbers(TRUSTED.assign(dwell=["fast", "2.5", None, "1e3"]))
    assert np.isnan(numbers[[0, 2], 0]).all()
    assert numbers[[1, 3], 0].tolist() == [2.5, 1000.0]
    assert np.isnan(numbers[3, 1:17]).all()
    assert np.isnan(numbers[:, names.index("empty")]).all()


def test_no_rows_and_no_columns_give_tables_of_that_shape() -> None:
    columns = TableColumns.of(TRUSTED, list(TRUSTED))
    assert columns.numbers(TRUSTED.iloc[:0])[0].shape == (0, 37)
    assert TableColumns.of(TRUSTED, ()).numbers(TRUSTED)[0].shape == (4, 0)
